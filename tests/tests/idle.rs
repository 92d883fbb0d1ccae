//! Connections that only wait.

use sidestep_tests::crowd::Crowd;
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::Net;
use sidestep_tests::site::{HELLO, PING, Site};
use sidestep_tests::wrk::Wrk;
use std::time::Duration;

/// Idle connections: a million in `cargo xtask soak`.
fn count() -> usize {
    if std::env::var_os("SIDESTEP_SOAK").is_some() {
        1_000_000
    } else {
        20_000
    }
}

/// What a connection that waits may cost, of everything: slot, index, timer, and the pages they begin and end in.
const MOST_BYTES: u64 = 256;

#[test]
fn a_crowd_waits_while_others_are_served_and_is_answered_afterwards() {
    let net = Net::new();
    let limits = format!(
        "[limits]\nconnections = {}\nidle_timeout = \"1h\"",
        count() + 2000
    );
    let site = Site::new("none").with(&limits);
    let daemon = Daemon::start(&net.server, &site.config());
    // Only against hanging.
    let limit = Duration::from_secs(60) + Duration::from_micros(500) * count() as u32;
    let before = daemon.resident();
    let mut crowd = Crowd::open(&net, 80, count(), limit);
    let waiting = daemon.resident();
    let each = (waiting - before) / count() as u64;
    assert_eq!(daemon.connections().iter().sum::<u64>(), count() as u64);
    println!(
        "{} idle connections: {each} bytes each of {} MiB resident",
        count(),
        waiting >> 20
    );
    assert!(each <= MOST_BYTES, "{each} bytes for each connection");
    let wrk = Wrk {
        to: net.server.at(80),
        path: "/hello",
        body: HELLO,
        connections: 1000,
        pipeline: 1,
        duration: Duration::from_secs(3),
        timeout: Duration::from_secs(10),
    };
    wrk.run(&net.client).assert_clean(1000);
    let served = daemon.resident();
    let right = |answer: &[u8]| answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(PING);
    crowd.ask(b"GET /ping HTTP/1.1\r\nHost: crowd\r\n\r\n", &right, limit);
    let asked = daemon.resident();
    println!(
        "resident: {} KiB before, {} KiB with the crowd, {} KiB once others were served, {} KiB once all were",
        before >> 10,
        waiting >> 10,
        served >> 10,
        asked >> 10
    );
    daemon.audit();
    // Its clients are no kernels: nobody would answer a million goodbyes.
    daemon.kill9();
}
