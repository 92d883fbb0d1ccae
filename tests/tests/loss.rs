//! Bad links between real clients and the fast path.

use sidestep_tests::clock::{lasting, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::link::Shape;
use sidestep_tests::load::Load;
use sidestep_tests::net::Plan;
use sidestep_tests::site::{HELLO, INDEX, PING, Site, large};
use sidestep_tests::wrk::Wrk;
use std::time::Duration;

/// Longest that one answer may take: several retransmissions of the client's or of ours in a row.
const PATIENCE: Duration = Duration::from_secs(30);

/// Idle connections end soon, so that one whose client is gone without a trace is not taken for a stuck one.
const LIMITS: &str = "[limits]\nidle_timeout = \"3s\"\nheader_timeout = \"3s\"";

#[test]
fn one_per_cent_loss_costs_no_answer_and_no_connection() {
    let net = Plan::new().queues(2).link(Shape::lossy(0.01), 1).build();
    let site = Site::new("none").with(LIMITS);
    let daemon = Daemon::start(&net.server, &site.config());
    for pipeline in [1, 24] {
        let wrk = Wrk {
            to: net.server.at(80),
            path: "/hello",
            body: HELLO,
            connections: 100,
            pipeline,
            duration: lasting(Duration::from_secs(4), Duration::from_secs(60)),
            timeout: PATIENCE,
        };
        wrk.run(&net.client).assert_clean(1000);
    }
    let tallies = net.link().expect("planned").tallies();
    assert!(tallies.iter().all(|tally| tally.lost > 100), "{tallies:?}");
    wait_for(PATIENCE, "no connection is stuck", || {
        daemon
            .connections()
            .iter()
            .all(|open| *open == 0)
            .then_some(())
    });
}

#[test]
fn every_kind_of_damage_at_once_costs_only_time() {
    let shape = Shape {
        loss: 0.01,
        duplicate: 0.01,
        reorder: 0.03,
        bit_errors: 1e-6,
        delay: Duration::from_millis(1),
        jitter: Duration::from_millis(1),
        ..Shape::default()
    };
    let net = Plan::new().queues(2).link(shape, 2).build();
    let site = Site::new("none").with(LIMITS);
    let daemon = Daemon::start(&net.server, &site.config());
    let large = large();
    for to in net.server.addresses(80) {
        Load {
            to,
            expect: &[("/ping", PING), ("/large.bin", &large), ("/", INDEX)],
            connections: 16,
            pipeline: 3,
            duration: lasting(Duration::from_secs(3), Duration::from_secs(60)),
            patience: PATIENCE,
        }
        .run(&net.client)
        .assert_clean(100);
    }
    wait_for(PATIENCE, "no connection is stuck", || {
        daemon
            .connections()
            .iter()
            .all(|open| *open == 0)
            .then_some(())
    });
}
