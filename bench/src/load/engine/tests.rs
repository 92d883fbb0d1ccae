//! The client against sidestep's own stack in memory, and against what no server should do.

use super::*;
use crate::load::answers::Expected;
use crate::load::requests::render;
use crate::load::sources::Prefix;
use crate::load::wire::flag;
use sidestep_tests::mem::MemHost;
use std::net::SocketAddr;

const CONFIG: &str = r#"
[[listen]]
address = "192.0.2.1"
port = 80
fallback = "none"
[[site]]
hosts = ["*"]
[[site.response]]
path = "/"
content_type = "text/plain"
body = "Hello, world"
[[site.response]]
path = "/other"
content_type = "text/plain"
body = "Something else, and a bit longer"
[[site.response]]
path = "/long"
content_type = "text/plain"
body = "LONG"
[limits]
connections = 20_000
"#;

const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// How far the clock goes between two batches.
const STEP: Duration = Duration::from_micros(100);
/// Frames of the host's queue.
const ROOM: usize = 8192;

#[derive(Default)]
struct Frames {
    sent: Vec<Vec<u8>>,
    room: Option<usize>,
}

impl Sink for Frames {
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        if self.room.is_some_and(|room| self.sent.len() >= room) {
            return false;
        }
        let mut frame = vec![0; len];
        fill(&mut frame);
        self.sent.push(frame);
        true
    }
}

fn settings(connections: u32, paths: &[&str]) -> Settings {
    let target: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let prefix: Prefix = "10.64.0.0/10".parse().unwrap();
    let sources = Sources::new(prefix, connections).unwrap();
    let requests: Vec<_> = paths
        .iter()
        .map(|path| render("GET", path, "192.0.2.1", &[]))
        .collect();
    Settings {
        template: Template::new(OWN_MAC, HOST_MAC, sources.first(), target),
        sources,
        neighbours: Neighbours {
            own: OWN_MAC,
            prefix,
        },
        requests: Requests::new(&requests, 1460),
        expected: paths
            .iter()
            .map(|_| Expected::new(200, false, None))
            .collect(),
        path_of: (0..paths.len() as u16).collect(),
        mss: 1460,
        connections,
        active: connections,
        depth: 1,
        per_connection: 0,
        rate: None,
        in_flight: 1024,
        compare_each: 1,
        check_sums: true,
        patience: Duration::from_secs(30),
        warm_up: Duration::ZERO,
        seconds: Duration::from_millis(100),
        abandon: false,
    }
}

/// The client, the host and what is between them.
struct Rig {
    engine: Engine,
    host: MemHost,
    sink: Frames,
    now: u64,
    /// Share of the frames that are lost, each way.
    loss: f64,
    rng: fastrand::Rng,
    /// What the host's frames become on the way.
    tamper: fn(&mut Vec<u8>, u64),
    /// The host does not run in this time.
    stall: std::ops::Range<u64>,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let config = CONFIG.replace("LONG", &"0123456789abcdef".repeat(300));
        Self {
            engine: Engine::new(settings, 0),
            host: MemHost::new(&config, ROOM, ROOM),
            sink: Frames::default(),
            now: 0,
            loss: 0.0,
            rng: fastrand::Rng::with_seed(1),
            tamper: |_, _| {},
            stall: 0..0,
        }
    }

    /// One batch each way. False once the client is done.
    fn step(&mut self) -> bool {
        let step = self.idle().max(STEP);
        self.now += step.as_nanos() as u64;
        self.host.advance(step);
        let mut back = Vec::new();
        if !self.stall.contains(&self.now) {
            for frame in self.sink.sent.drain(..) {
                if self.rng.f64() >= self.loss {
                    assert!(
                        self.host.offer(&frame),
                        "more in flight than the host has room for"
                    );
                }
            }
            self.host.run();
            self.host.take_sent(|frame| back.push(frame.to_vec()));
        }
        for mut frame in back {
            if self.rng.f64() >= self.loss {
                (self.tamper)(&mut frame, self.now);
                self.engine.on_frame(self.now, &frame, &mut self.sink);
            }
        }
        self.engine.turn(self.now, &mut self.sink)
    }

    /// How long nothing will happen by itself.
    fn idle(&self) -> Duration {
        if !self.sink.sent.is_empty() {
            return Duration::ZERO;
        }
        let client = self.engine.next(self.now).saturating_sub(self.now);
        let host = self.host.next_deadline().unwrap_or(Duration::MAX);
        Duration::from_nanos(client).min(host)
    }

    fn run(mut self) -> Self {
        while self.step() {
            assert!(
                self.now < 200_000_000_000,
                "it ends: {:?}",
                self.engine.phase
            );
        }
        let last = std::mem::take(&mut self.sink.sent);
        self.host.exchange(&last);
        assert_eq!(self.engine.busy, 0);
        assert!(
            self.engine
                .conns
                .iter()
                .all(|conn| conn.state == State::Closed)
        );
        self
    }

    fn tally(&self) -> &Tally {
        &self.engine.tally
    }

    fn assert_clean(&self, least: u64) {
        let tally = self.tally();
        assert_eq!((tally.wrong, tally.all_failures()), (0, 0), "{tally:?}");
        assert!(tally.requests >= least, "{} requests", tally.requests);
        assert_eq!(self.engine.first_wrong(), None);
    }
}

#[test]
fn every_answer_is_right_at_any_depth_and_nothing_is_left_open() {
    for depth in [1, 3, 24] {
        let mut set = settings(10, &["/", "/other", "/", "/long"]);
        set.path_of = vec![0, 1, 0, 2];
        set.depth = depth;
        let rig = Rig::new(set).run();
        rig.assert_clean(1000);
        assert!(
            rig.tally().compared + 30 >= rig.tally().requests,
            "each body is compared but the first"
        );
        assert_eq!(rig.tally().retransmits, 0);
        assert_eq!(rig.engine.counted(), 10);
        assert_eq!(rig.host.connections(), 0, "all are closed");
    }
}

#[test]
fn loss_both_ways_costs_time_and_nothing_else() {
    for depth in [1, 8] {
        let mut set = settings(40, &["/", "/long", "/other"]);
        set.depth = depth;
        set.per_connection = 20;
        set.seconds = Duration::from_secs(4);
        let mut rig = Rig::new(set);
        rig.loss = 0.02;
        let rig = rig.run();
        rig.assert_clean(300);
        assert!(rig.tally().retransmits > 10, "{}", rig.tally().retransmits);
    }
}

#[test]
fn connections_end_after_their_requests_and_others_follow() {
    for (per_connection, depth) in [(1, 1), (3, 1), (10, 4), (1, 8)] {
        let mut set = settings(30, &["/", "/other"]);
        set.per_connection = per_connection;
        set.depth = depth;
        let rig = Rig::new(set).run();
        rig.assert_clean(500);
        let tally = rig.tally();
        let want = tally.requests / u64::from(per_connection);
        assert!(
            tally.opened.abs_diff(want) <= 60,
            "{} opened, not {want}",
            tally.opened
        );
        assert_eq!(rig.host.connections(), 0);
    }
}

#[test]
fn a_server_may_end_connections_after_some_requests() {
    for depth in [1, 3, 10] {
        let mut set = settings(20, &["/", "/other"]);
        set.depth = depth;
        let mut rig = Rig::new(set);
        let limits = "[limits]\nrequests_per_connection = 7\n";
        let config = CONFIG.replace("[limits]\n", limits).replace("LONG", "x");
        rig.host = MemHost::new(&config, ROOM, ROOM);
        let rig = rig.run();
        // What was asked behind the last answer is asked again, and not lost.
        rig.assert_clean(500);
        let want = rig.tally().requests / 7;
        let opened = rig.tally().opened;
        assert!(opened.abs_diff(want) <= 40, "{opened} opened, not {want}");
        assert_eq!(rig.host.connections(), 0);
    }
}

#[test]
fn a_rate_is_kept_and_a_stall_is_seen_in_full() {
    let mut set = settings(100, &["/"]);
    set.rate = Some(1000.0);
    set.seconds = Duration::from_secs(2);
    let mut rig = Rig::new(set);
    // Shorter than a retransmission takes, so that nothing is sent twice.
    rig.stall = 1_000_000_000..1_200_000_000;
    let rig = rig.run();
    rig.assert_clean(1990);
    assert!(rig.tally().requests <= 2000);
    let run = super::super::tally::Run {
        opening: Duration::ZERO,
        measured: Duration::from_secs(2),
        connections: 0,
        cpu: Duration::ZERO,
        busy: 0.0,
        between: [0.0; 2],
        mode: "",
    };
    let latency = &rig.tally().json(&run)["latency_us"];
    let at = |name: &str| latency[name].as_f64().unwrap();
    assert!(at("p50") < 1000.0, "{latency}");
    // A tenth of the requests falls into the stall, one in two hundred into its first hundredth.
    assert!((100_000.0..195_000.0).contains(&at("p99")), "{latency}");
    assert!(at("max") > 195_000.0, "{latency}");
}

#[test]
fn a_lie_in_one_byte_is_reported() {
    let lie: fn(&mut Vec<u8>, u64) = |frame, now| {
        if now > 50_000_000 && frame.ends_with(b"world") {
            let last = frame.len() - 1;
            frame[last] ^= 1;
        }
    };
    for (compare_each, wrong) in [(1, true), (100, true), (0, false)] {
        let mut set = settings(10, &["/"]);
        set.compare_each = compare_each;
        set.check_sums = false;
        let mut rig = Rig::new(set);
        rig.tamper = lie;
        let rig = rig.run();
        assert_eq!(rig.tally().wrong > 0, wrong, "{compare_each}");
        assert_eq!(rig.engine.first_wrong().is_some(), wrong);
        assert_eq!(rig.tally().all_failures(), 0);
    }
    // With the checksum of what it was the segment is not even looked at.
    let mut set = settings(10, &["/"]);
    set.patience = Duration::from_secs(2);
    let mut rig = Rig::new(set);
    rig.tamper = lie;
    let rig = rig.run();
    assert_eq!(rig.tally().wrong, 0);
    assert_eq!(rig.tally().failures(Failure::Unanswered), 10);
}

#[test]
fn another_status_or_length_is_wrong_and_what_is_no_answer_fails() {
    let cases: [(&str, &str, bool, Option<Failure>); 4] = [
        ("200 OK", "404 No", true, None),
        ("gth: 12", "gth: 11", true, None),
        ("HTTP/1.1", "SMTP/1.1", false, Some(Failure::Malformed)),
        (
            "Content-Length",
            "Content-Wealth",
            false,
            Some(Failure::NoLength),
        ),
    ];
    for (from, to, wrong, failure) in cases {
        let mut set = settings(1, &["/"]);
        set.check_sums = false;
        let mut rig = Rig::new(set);
        while rig.engine.phase < Phase::Draining {
            rig.now += STEP.as_nanos() as u64;
            rig.host.advance(STEP);
            let sent = std::mem::take(&mut rig.sink.sent);
            for frame in rig.host.exchange(&sent) {
                let changed = if rig.now > 50_000_000 {
                    // Of the same length, so that the stream goes on.
                    let at = memchr::memmem::find(&frame, from.as_bytes());
                    let mut frame = frame;
                    if let Some(at) = at {
                        frame[at..at + to.len()].copy_from_slice(to.as_bytes());
                    }
                    frame
                } else {
                    frame
                };
                rig.engine.on_frame(rig.now, &changed, &mut rig.sink);
            }
            rig.engine.turn(rig.now, &mut rig.sink);
        }
        assert_eq!(rig.tally().wrong > 0, wrong, "{from}");
        if let Some(failure) = failure {
            assert!(
                rig.tally().failures(failure) > 0,
                "{from}: {:?}",
                rig.tally()
            );
        }
    }
}

#[test]
fn only_the_active_ones_ask() {
    let mut set = settings(1000, &["/"]);
    set.active = 10;
    let mut rig = Rig::new(set);
    while rig.engine.phase < Phase::Draining {
        rig.step();
    }
    let asked = rig
        .engine
        .conns
        .iter()
        .filter(|conn| conn.asked > 0)
        .count();
    assert_eq!(
        (asked, rig.engine.counted(), rig.host.connections()),
        (10, 1000, 1000)
    );
    rig.run().assert_clean(500);
}

#[test]
fn no_more_wait_at_once_than_allowed_and_all_have_their_turn() {
    let mut set = settings(1000, &["/"]);
    set.in_flight = 64;
    set.seconds = Duration::from_millis(200);
    let mut rig = Rig::new(set);
    while rig.engine.phase < Phase::Draining {
        rig.step();
        assert!(rig.engine.busy <= 64, "{}", rig.engine.busy);
    }
    let asked = rig.engine.conns.iter().map(|conn| conn.asked);
    let (least, most) = (asked.clone().min(), asked.max());
    assert!(
        least >= Some(1) && most.unwrap() - least.unwrap() <= 1,
        "{least:?} to {most:?}"
    );
    rig.run().assert_clean(1000);
}

#[test]
fn a_sink_without_room_costs_nothing() {
    let mut set = settings(200, &["/", "/other"]);
    set.depth = 4;
    let mut rig = Rig::new(set);
    rig.sink.room = Some(16);
    rig.run().assert_clean(300);
}

#[test]
fn a_reset_costs_what_waits_on_its_connection_and_no_more() {
    let mut set = settings(20, &["/"]);
    set.seconds = Duration::from_millis(2500);
    set.depth = 4;
    set.check_sums = false;
    let mut rig = Rig::new(set);
    rig.tamper = |frame, now| {
        if (50_000_000..50_100_000).contains(&now) {
            frame[47] |= flag::RST;
        }
    };
    while rig.now < 51_000_000 {
        rig.step();
    }
    let before = rig.tally().requests;
    let rig = rig.run();
    assert!(
        rig.tally().requests > before + 1000,
        "they are opened again"
    );
    assert_eq!(rig.tally().wrong, 0);
    let failed = rig.tally().failures(Failure::Reset);
    assert!(
        (4..=80).contains(&failed) && failed == rig.tally().all_failures(),
        "{:?}",
        rig.tally()
    );
}

#[test]
fn what_refuses_or_is_silent_is_given_up_with_its_name() {
    for (answers, failure) in [(true, Failure::Refused), (false, Failure::NoHandshake)] {
        let mut engine = Engine::new(settings(3, &["/"]), 0);
        let mut sink = Frames::default();
        let mut now = 0;
        while engine.turn(now, &mut sink) {
            let syns = std::mem::take(&mut sink.sent);
            for syn in syns.iter().filter(|_| answers) {
                engine.on_frame(now, &refusal(syn), &mut sink);
            }
            now = engine.next(now).max(now + 1);
            assert!(now < 400_000_000_000, "it ends");
        }
        assert!(engine.tally.failures(failure) >= 3, "{:?}", engine.tally);
        assert_eq!((engine.tally.requests, engine.open), (0, 0));
    }
}

/// The reset that answers a SYN.
fn refusal(syn: &[u8]) -> Vec<u8> {
    let seq = u32::from_be_bytes([syn[38], syn[39], syn[40], syn[41]]);
    let port = u16::from_be_bytes([syn[34], syn[35]]);
    let low = u32::from_be_bytes([syn[26], syn[27], syn[28], syn[29]]);
    // As if the client were the target and the other way round.
    let back = SocketAddr::from((low.to_be_bytes(), port));
    let template = Template::new(HOST_MAC, OWN_MAC, [192, 0, 2, 0].into(), back);
    let segment = wire::Segment {
        low: u32::from_be_bytes([192, 0, 2, 1]),
        port: 80,
        seq: 0,
        ack: seq.wrapping_add(1),
        flags: flag::RST | flag::ACK,
        options: 0,
        window: 0,
    };
    let mut frame = vec![0; template.len(0)];
    template.write(&mut frame, segment, &[], 0);
    frame
}
