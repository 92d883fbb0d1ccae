//! Bad links between real clients and the fast path.

use sidestep_tests::clock::{lasting, soak, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::link::{Shape, Tally};
use sidestep_tests::load::Load;
use sidestep_tests::net::{Host, Plan};
use sidestep_tests::site::{HELLO, INDEX, PING, Site, large};
use sidestep_tests::wrk::Wrk;
use std::fmt::Write as _;
use std::net::SocketAddr;
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

/// Per direction. A full frame has 12,000 bits: one in 84 is damaged, by one flipped bit, which the checksum always sees.
const BIT_ERRORS: f64 = 1e-6;

/// Longest that a request may take at the worst: a SYN or an answer's last segment that is lost again and again, each wait
/// twice the one before.
const HUNG: Duration = Duration::from_secs(120);

/// The connections outlive any wait for a request, so that no client has to ask again on a new one.
const PATIENT: &str = "[limits]\nidle_timeout = \"120s\"\nheader_timeout = \"120s\"";

/// 10,000 requests of curl and as many of wrk in the long form.
#[test]
fn curl_and_wrk_get_every_answer_through_a_very_bad_link() {
    let shape = Shape {
        loss: 0.05,
        reorder: 0.10,
        duplicate: 0.02,
        bit_errors: BIT_ERRORS,
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(1),
        ..Shape::default()
    };
    let net = Plan::new().queues(2).link(shape, 3).build();
    let site = Site::new("none").with(PATIENT);
    let daemon = Daemon::start(&net.server, &site.config());
    let each = if soak() { 5_000 } else { 150 };
    for to in net.server.addresses(80) {
        let answered = || daemon.requests().iter().sum::<u64>();
        let before = answered();
        ask_with_curl(&net.client, to, each);
        let served = wait_for(PATIENCE, "every request is counted", || {
            Some(answered() - before).filter(|served| *served >= each as u64)
        });
        // Had a connection failed, curl would have asked again on a new one, without a word.
        assert_eq!(served, each as u64, "requests asked twice, to {to}");
    }
    let want = 2 * each as u64;
    let (mut done, mut runs) = (0, 0);
    while done < want {
        runs += 1;
        assert!(runs <= 100, "wrk gets nowhere: {done} of {want}");
        let wrk = Wrk {
            to: net.server.at(80),
            path: "/index.html",
            body: INDEX,
            connections: 50,
            pipeline: 1,
            duration: lasting(Duration::from_secs(3), Duration::from_secs(30)),
            timeout: HUNG,
        };
        let counts = wrk.run(&net.client);
        counts.assert_clean(0);
        done += counts.requests;
    }
    println!("wrk: {done} requests, 0 wrong, 0 hung");
    let tallies = net.link().expect("planned").tallies();
    println!("link: {tallies:#?}");
    let kinds = |tally: &Tally| {
        [
            tally.lost,
            tally.reordered,
            tally.duplicated,
            tally.corrupted,
        ]
    };
    let [there, back] = tallies.each_ref().map(kinds);
    assert!((0..4).all(|kind| there[kind] + back[kind] > 0));
    // A client that closes by RST says so once: what it lost ends by the idle timeout, which is as long.
    wait_for(HUNG * 2, "no connection is stuck", || {
        let open = daemon.connections();
        open.iter().all(|open| *open == 0).then_some(())
    });
}

/// `count` requests, fifty at a time, each answer compared; without `--retry`.
fn ask_with_curl(client: &Host, to: SocketAddr, count: usize) {
    let large = large();
    let pages: [(&str, &[u8]); 4] = [
        ("/ping", PING),
        ("/index.html", INDEX),
        ("/hello", HELLO),
        ("/large.bin", &large),
    ];
    // Mostly small ones, as the fast path is for; each tenth one takes many segments.
    let page = |n: usize| pages[if n % 10 == 9 { 3 } else { n % 3 }];
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |n: usize| dir.path().join(n.to_string());
    let mut list = String::new();
    for n in 0..count {
        let page = page(n).0;
        let output = path(n).display().to_string();
        writeln!(list, "url = \"http://{to}{page}\"\noutput = \"{output}\"").expect("a string");
    }
    let config = dir.path().join("list");
    std::fs::write(&config, list).expect("a list of requests");
    let argv = [
        "curl",
        "--silent",
        "--globoff",
        "--fail",
        "--parallel",
        "--parallel-max",
        "50",
        "--max-time",
        &HUNG.as_secs().to_string(),
        "--write-out",
        "done %{exitcode} %{http_code}\\n",
        "--config",
        &config.display().to_string(),
    ];
    let ended = client.run(&argv, HUNG * 5);
    let lines = || {
        ended
            .stdout
            .lines()
            .filter(|line| line.starts_with("done "))
    };
    let hung = lines().filter(|line| line.starts_with("done 28 ")).count();
    let failed = lines().filter(|line| *line != "done 0 200").count() - hung;
    let right = |n: &usize| std::fs::read(path(*n)).is_ok_and(|body| body == page(*n).1);
    let wrong = count - (0..count).filter(right).count();
    println!("curl to {to}: {count} requests, {wrong} wrong, {hung} hung, {failed} failed");
    assert!(
        (lines().count(), wrong, hung, failed) == (count, 0, 0, 0) && ended.status.success(),
        "{}: {} answers; {}",
        ended.status,
        lines().count(),
        ended.stderr
    );
}
