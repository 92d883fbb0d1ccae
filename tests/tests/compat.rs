//! Unmodified servers of users behind sidestep, at the same address and port: every scenario works as it does without.
//!
//! Each scenario runs three times: against the server alone, which shows that the scenario is right, and with sidestep
//! attached in front, by the kernel's own way and by the proxy. `docs/compat.md` is written from the results. COMPAT_ONLY=text picks the servers with that in their names.

#[path = "compat/load.rs"]
mod load;
#[path = "compat/matrix.rs"]
mod matrix;
#[path = "compat/scenario.rs"]
mod scenario;
#[path = "compat/websocket.rs"]
mod websocket;

use scenario::{Case, Front, SCENARIOS, Sizes};
use sidestep_tests::clock::lasting;
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::Net;
use sidestep_tests::server::user::{Kind, Running};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Servers asked at the same time. More of them would wait for each other on a machine of two cores.
const LANES: usize = 3;

/// The first server's port; the others follow.
const FIRST_PORT: u16 = 8001;

/// What came of one scenario with one server over one IP version: `None` is not applicable.
#[derive(Clone, Debug)]
struct Outcome {
    kind: Kind,
    scenario: usize,
    v6: bool,
    front: Front,
    result: Option<Result<(), String>>,
}

/// sidestep on the ports of all servers, with one response of its own, and this `fallback_mode`.
fn config(servers: &[Running], mode: &str) -> String {
    let mut text = String::new();
    for server in servers {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "[[listen]]\naddress = \"interface\"\nport = {}\nfallback = \"kernel\"\nfallback_mode = \"{mode}\"\n",
            server.port
        );
    }
    let body = String::from_utf8_lossy(scenario::FAST_HIT);
    text + &format!(
        "[[site]]\nhosts = [\"*\"]\n[[site.response]]\npath = \"/hit\"\ncontent_type = \"text/plain\"\nbody = {body:?}\n"
    )
}

/// All scenarios with all servers, both IP versions; a server's own one after the other.
fn run(
    net: &Net,
    servers: &[Running],
    front: Front,
    sizes: &Sizes,
    hits: &AtomicU64,
) -> Vec<Outcome> {
    let (turn, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let lane = || {
        while let Some(server) = servers.get(turn.fetch_add(1, Ordering::Relaxed)) {
            for to in net.server.addresses(server.port) {
                let case = Case {
                    net,
                    server,
                    to,
                    front,
                    sizes,
                    hits,
                };
                let of_server = all(&case, to);
                outcomes.lock().expect("no lane panicked").extend(of_server);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(lane);
        }
    });
    outcomes.into_inner().expect("no lane panicked")
}

fn all(case: &Case, to: SocketAddr) -> Vec<Outcome> {
    let each = SCENARIOS.iter().enumerate().map(|(number, scenario)| {
        let applies = scenario::not_applicable(case.server.kind, scenario.name).is_none();
        let result = applies.then(|| (scenario.run)(case).map_err(|error| error.to_string()));
        Outcome {
            kind: case.server.kind,
            scenario: number,
            v6: to.is_ipv6(),
            front: case.front,
            result,
        }
    });
    each.collect()
}

/// What is red, with the end of the server's log.
fn faults(outcomes: &[Outcome], servers: &[Running]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let Some(Err(error)) = &outcome.result else {
            continue;
        };
        let server = servers.iter().find(|server| server.kind == outcome.kind);
        let log = server.map(Running::log).unwrap_or_default();
        let tail: Vec<_> = log.lines().rev().take(3).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} ({}, {:?}, {}): {error}\n  its log, the last first: {tail:#?}",
            outcome.kind.name(),
            SCENARIOS[outcome.scenario].name,
            outcome.front,
            if outcome.v6 { "IPv6" } else { "IPv4" },
        );
    }
    text
}

#[test]
fn servers_work_behind_sidestep_as_they_do_alone() {
    let only = std::env::var("COMPAT_ONLY").unwrap_or_default();
    let chosen = Kind::ALL
        .into_iter()
        .filter(|kind| kind.name().contains(&only));
    let long = !lasting(Duration::ZERO, Duration::MAX).is_zero();
    let sizes = if long { Sizes::whole() } else { Sizes::short() };
    let net = Net::new();
    let servers: Vec<_> = chosen
        .zip(FIRST_PORT..)
        .map(|(kind, port)| Running::start(&net.server, kind, port))
        .collect();
    for server in &servers {
        server.ready(&net.server);
        server.can_download(sizes.download.len());
    }
    let mut outcomes = run(&net, &servers, Front::Alone, &sizes, &AtomicU64::new(0));
    for (front, mode) in [(Front::Handoff, "handoff"), (Front::Proxy, "proxy")] {
        let daemon = Daemon::start(&net.server, &config(&servers, mode));
        let hits = AtomicU64::new(0);
        outcomes.extend(run(&net, &servers, front, &sizes, &hits));
        let counted: u64 = daemon.requests().iter().sum();
        daemon.stop();
        let seen = hits.into_inner();
        assert_eq!(
            counted,
            seen,
            "{front:?}: hits, as sidestep counts them and as clients saw them\n{}",
            faults(&outcomes, &servers)
        );
    }
    let faults = faults(&outcomes, &servers);
    if only.is_empty() {
        matrix::write(&outcomes);
    }
    assert!(faults.is_empty(), "\n{faults}");
}
