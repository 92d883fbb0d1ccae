//! `docs/compat.md`.

use super::Outcome;
use super::scenario::{Front, SCENARIOS, keeps_alive, not_applicable};
use sidestep_tests::server::user::Kind;
use std::fs;
use std::path::Path;

const HEAD: &str = "\
# Servers behind sidestep

Written by `tests/tests/compat.rs`, which starts each server, unmodified and with a small app of its own
([`tests/servers/`](../tests/servers)), and runs every scenario over IPv4 and IPv6: first against the server alone, then with
sidestep attached to the same NIC, on the server's address and port, by both ways of a connection to the server:

| `fallback_mode` | how a connection gets to the server | the server sees |
|---|---|---|
| `handoff` | the kernel makes its own socket of it, and the server accepts that | the client's own address and port |
| `proxy` | sidestep connects to the server and carries the bytes to and fro | the address of its own host that the client has asked, with another port; \
the client's with `proxy_protocol = \"v2\"` |

`auto`, the default, takes `handoff` wherever the kernel can.

```
cargo xtask servers && cargo build -p sidestep && cargo test -p sidestep-tests --test compat     # needs root
COMPAT_ONLY=Tornado cargo test -p sidestep-tests --test compat                                   # the servers with that in their names
```

`/hit` is a response of sidestep's; the server gives other bytes for it, so that the answer tells who gave it. All else is the
server's. But for \"miss first\" each scenario has hits on the same connection before the first request that is the server's.

| scenario | what is compared |
|---|---|
| miss first | the address and port that the server sees; what follows on the connection is the server's, `/hit` too |
| 1,000 hits, miss | every answer; the address and port that the server sees |
| hit, hit, miss, hit in one segment | four answers in order: two of sidestep's, two of the server's |
| POST | the body that arrived, by length and SHA-256: 10 MiB in `cargo xtask soak`, 256 KiB in `cargo xtask test` |
| POST, 100-continue | the same, sent when the server says so; by curl too |
| download | every byte: 100 MiB in `cargo xtask soak`, 4 MiB in `cargo xtask test` |
| WebSocket | the upgrade, messages of 5, 1,000 and 70,000 bytes echoed, the close |
| server-sent events | five events |
| address in its log | the server's own access log has that address and port |
";

/// Writes it, where it differs from what is there.
pub fn write(outcomes: &[Outcome]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compat.md");
    let mut text = HEAD.to_owned();
    for (front, title) in [
        (Front::Handoff, "Behind sidestep, handed over"),
        (Front::Proxy, "Behind sidestep, through its proxy"),
        (Front::Alone, "Alone, for reference"),
    ] {
        text += &format!("\n## {title}\n{}", table(outcomes, front));
    }
    text += &format!("\n## Notes\n{}", notes());
    if fs::read_to_string(&path).is_ok_and(|had| had == text) {
        return;
    }
    fs::write(&path, text).expect("docs/compat.md is written");
}

fn table(outcomes: &[Outcome], front: Front) -> String {
    let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    let mut text = format!("| server | version | {} |\n", names.join(" | "));
    text += &format!("|---|---{}|\n", "|---".repeat(names.len()));
    for kind in Kind::ALL {
        text += &format!("| {} | {} |", kind.name(), kind.version());
        for number in 0..SCENARIOS.len() {
            let of_cell = |outcome: &&Outcome| {
                outcome.kind == kind && outcome.scenario == number && outcome.front == front
            };
            let results: Vec<_> = outcomes.iter().filter(of_cell).collect();
            text += &format!(" {} |", cell(&results));
        }
        text += "\n";
    }
    text
}

/// Both IP versions in one cell.
fn cell(outcomes: &[&Outcome]) -> &'static str {
    let passed = |v6: bool| {
        let result = outcomes.iter().find(|outcome| outcome.v6 == v6);
        result.and_then(|outcome| outcome.result.as_ref().map(Result::is_ok))
    };
    match (passed(false), passed(true)) {
        (Some(true), Some(true)) => "yes",
        (Some(true), Some(false)) => "IPv4 only",
        (Some(false), Some(true)) => "IPv6 only",
        (None, None) => "–",
        _ => "**no**",
    }
}

fn notes() -> String {
    let mut text = String::new();
    for kind in Kind::ALL {
        for scenario in &SCENARIOS {
            if let Some(why) = not_applicable(kind, scenario.name) {
                text += &format!("- {}, {}: {why}.\n", kind.name(), scenario.name);
            }
        }
        if !keeps_alive(kind) {
            text += &format!(
                "- {} closes each connection after its first answer. Alone it has no hits before other requests, and of requests in \
                 one segment it answers the first; behind sidestep the hits before the miss are answered too.\n",
                kind.name()
            );
        }
    }
    text
}
