//! One script of segments against Linux's TCP and ours: the same answers, or a difference that is listed with its reason.
//!
//! The exchanges are in `tests/parity/*.seg`, the differences in `tests/parity/differences.toml`; `docs/parity.md` says
//! what is compared.

#[path = "parity/differences.rs"]
mod differences;
#[path = "parity/run.rs"]
mod run;
#[path = "parity/script.rs"]
mod script;
#[path = "parity/target.rs"]
mod target;

use differences::{Difference, Listed};
use script::Exchange;
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::Net;
use sidestep_tests::raw::RawClient;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use target::{Answers, Linux};

/// The suite, the slowest first, so that the lanes end together.
const SCRIPTS: [(&str, &str); 9] = [
    ("timers.seg", include_str!("../parity/timers.seg")),
    ("handshake.seg", include_str!("../parity/handshake.seg")),
    ("reset.seg", include_str!("../parity/reset.seg")),
    ("receive.seg", include_str!("../parity/receive.seg")),
    ("gaps.seg", include_str!("../parity/gaps.seg")),
    ("timestamps.seg", include_str!("../parity/timestamps.seg")),
    ("send.seg", include_str!("../parity/send.seg")),
    ("ecn.seg", include_str!("../parity/ecn.seg")),
    ("close.seg", include_str!("../parity/close.seg")),
];

/// Fewest exchanges that the suite may have.
const FEWEST: usize = 80;

/// Exchanges run at the same time. Most of their time is waiting for timers; more of them would delay each other's
/// segments on a machine of two cores, fewer take longer: one lane needs more than a minute.
const LANES: u16 = 8;

/// How often Linux is asked: the thread that serves a connection may hold its socket while segments come, and the kernel
/// looks at them later then. Ours is asked once, so whatever it does is judged.
const LINUX_RUNS: usize = 3;

/// First port of lane 0; each lane has its own range of [`PORTS`].
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 5_000;

fn exchanges() -> Vec<Exchange> {
    let all: Vec<Exchange> = SCRIPTS
        .iter()
        .flat_map(|(file, text)| {
            script::parse(file, text).unwrap_or_else(|error| panic!("{error}"))
        })
        .collect();
    let mut names = HashSet::new();
    for exchange in &all {
        assert!(names.insert(&exchange.name), "{} twice", exchange.name);
    }
    all
}

/// Runs one exchange against both servers; the text says what is wrong.
fn judge(
    raw: &mut RawClient,
    exchange: &Exchange,
    answers: &Answers,
    server: &Linux,
    listed: &[Listed],
) -> Option<String> {
    let expected = listed
        .iter()
        .find(|entry| entry.exchange == exchange.name)
        .map(Listed::difference)
        .unwrap_or_default();
    let ours = run::run(raw, exchange, answers, None);
    let mut tries = 0;
    let (linux, found) = loop {
        let linux = run::run(raw, exchange, answers, Some(server));
        let found = differences::between(&linux, &ours);
        tries += 1;
        if found == expected || tries == LINUX_RUNS {
            break (linux, found);
        }
    };
    if std::env::var_os("PARITY_PRINT").is_some() {
        let text = linux.join("\n");
        println!("[{}] to {}\n{text}\n", exchange.name, raw.peer);
    }
    differences::fault(&found, &expected).map(|what| {
        format!(
            "[{}] to {} {what}\nlinux = {:#?}\nours = {:#?}\n--- whole, Linux ---\n{}\n--- whole, ours ---\n{}\n",
            exchange.name,
            raw.peer,
            found.linux,
            found.ours,
            linux.join("\n"),
            ours.join("\n")
        )
    })
}

#[test]
fn every_exchange_is_answered_as_linux_answers_it_or_listed() {
    let listed = differences::listed();
    let all = exchanges();
    assert!(all.len() >= FEWEST, "only {} exchanges", all.len());
    for entry in &listed {
        let known = all.iter().any(|exchange| exchange.name == entry.exchange);
        assert!(known, "{} is listed but is no exchange", entry.exchange);
    }
    // PARITY_ONLY=text picks the exchanges with that in their names, for work on one of them.
    let only = std::env::var("PARITY_ONLY").unwrap_or_default();
    let chosen: Vec<_> = all
        .iter()
        .filter(|exchange| exchange.name.contains(&only))
        .collect();
    let net = Net::new();
    let daemon = Daemon::start(&net.server, &target::config());
    let answers = target::learn(&net);
    let linux = Linux::start(&net, &answers);
    let (turn, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let (net, chosen, answers, listed) = (&net, &chosen, &answers, &listed);
            let (linux, turn, faults) = (&linux, &turn, &faults);
            scope.spawn(move || {
                let first = FIRST_PORT + lane * PORTS;
                let mut clients =
                    [RawClient::v4(net), RawClient::v6(net)].map(|raw| raw.from_port(first));
                loop {
                    let turn = turn.fetch_add(1, Ordering::Relaxed);
                    let Some(exchange) = chosen.get(turn / clients.len()) else {
                        return;
                    };
                    let raw = &mut clients[turn % 2];
                    if let Some(fault) = judge(raw, exchange, answers, linux, listed) {
                        faults.lock().expect("no lane panicked").push(fault);
                    }
                }
            });
        }
    });
    daemon.audit();
    daemon.stop();
    let faults = faults.into_inner().expect("no lane panicked");
    let count = chosen.len();
    println!(
        "{count} exchanges over IPv4 and IPv6, {} differences listed",
        listed.len()
    );
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn an_unlisted_difference_and_a_listed_one_that_is_gone_are_faults() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let linux = lines("> S 0\nsync\n    S. 0 ack 1\n    . 1 ack 1");
    let ours = lines("> S 0\nsync\n    . 1 ack 1\n    R 1");
    let found = differences::between(&linux, &ours);
    assert_eq!(found.linux, ["S. 0 ack 1"]);
    assert_eq!(found.ours, ["R 1"]);
    let (none, same) = (Difference::default(), found.clone());
    let mut other = found.clone();
    other.ours.clear();
    assert_eq!(differences::fault(&found, &same), None);
    assert_eq!(differences::fault(&none, &none), None);
    assert_eq!(differences::between(&linux, &linux), none);
    for (found, expected) in [(&found, &none), (&none, &found), (&found, &other)] {
        assert!(differences::fault(found, expected).is_some());
    }
}

#[test]
fn a_script_with_a_mistake_is_refused() {
    for line in [
        "> Q 0",
        "> S",
        "> S 0 mss",
        "> S 0 mss 70000",
        "> S 0 raw 0z",
        "> . 1 ack x",
        "until soon",
        "next 5",
        "sync now",
        "wait",
    ] {
        let script = format!("[mistake]\n{line}\n");
        assert!(script::parse("a test", &script).is_err(), "{line}");
    }
}
