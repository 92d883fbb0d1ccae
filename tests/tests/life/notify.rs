//! What the service manager is told (sd_notify(3)), on a socket of the test's own.

use super::CONFIG;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use sidestep_tests::clock::PATIENCE;
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::Net;
use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;

/// The next message: its assignments.
fn next(socket: &UnixDatagram) -> BTreeMap<String, String> {
    let mut buf = [0; 4096];
    let len = socket.recv(&mut buf).expect("a message");
    let text = std::str::from_utf8(&buf[..len]).expect("text");
    let lines = text.lines().map(|line| {
        let (name, value) = line.split_once('=').expect("an assignment");
        (name.to_owned(), value.to_owned())
    });
    lines.collect()
}

fn is(message: &BTreeMap<String, String>, name: &str) -> bool {
    message.get(name).map(String::as_str) == Some("1")
}

/// As the protocol counts (CLOCK_MONOTONIC).
fn microseconds() -> i128 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is such a clock");
    i128::from(now.tv_sec()) * 1_000_000 + i128::from(now.tv_nsec()) / 1_000
}

#[test]
fn the_service_manager_is_told_of_each_step() {
    let net = Net::new();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let variable = format!("NOTIFY_SOCKET={}", path.display());
    let daemon = Daemon::start_by(&["env", &variable], &net.server, CONFIG);
    let message = next(&socket);
    assert!(is(&message, "READY"), "{message:?}");

    // One that works, and one that changes nothing: both end.
    for config in [CONFIG, "nonsense"] {
        daemon.rewrite(config);
        let before = microseconds();
        daemon.signal(Signal::SIGHUP);
        let message = next(&socket);
        assert!(is(&message, "RELOADING"), "{message:?}");
        let at = message["MONOTONIC_USEC"].parse().expect("a number");
        assert!((before..=microseconds()).contains(&at), "{at}");
        let message = next(&socket);
        assert!(is(&message, "READY"), "{message:?}");
    }

    daemon.terminate();
    let message = next(&socket);
    assert!(is(&message, "STOPPING"), "{message:?}");
    assert_eq!(daemon.gone().code(), 0);
}
