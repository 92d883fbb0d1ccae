//! One cell of the table: one object size over one kind of link, the two servers in turn.

use super::Options;
use super::client::{Got, load};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::link::Shape;
use sidestep_tests::net::{Host, Net, Plan};
use sidestep_tests::server::Nginx;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

const FAST_PORT: u16 = 80;
const NGINX_PORT: u16 = 8080;
const PATH: &str = "/object.bin";
/// Payload of a full segment, near enough.
const SEGMENT: usize = 1448;
/// Frames per second, both directions, that a cell may make: six such cells at a time leave a core of two idle. More
/// measures the machine, less makes few objects.
const MAX_FRAMES: f64 = 10_000.0;
/// Fewer connections at a time see too few losses, more only need threads.
const CONNECTIONS: std::ops::RangeInclusive<usize> = 4..=64;
/// A turn lasts this many objects, or most of what is measured is the first congestion window of each.
const OBJECTS_PER_TURN: f64 = 4.0;
/// Longest turn, in turns of the time asked for.
const MAX_TURN: f64 = 5.0;

/// A kind of link and an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// Per cent, in each direction.
    pub loss: f64,
    /// Milliseconds
    pub rtt: u64,
    pub name: &'static str,
    /// Bytes
    pub size: usize,
}

/// One turn of each server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    pub linux: Got,
    pub ours: Got,
}

/// What came of a cell.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Seconds of each server.
    pub seconds: f64,
    pub connections: usize,
    pub rounds: Vec<Round>,
    /// Counters of each server that are not zero.
    pub linux: BTreeMap<String, u64>,
    pub ours: BTreeMap<String, u64>,
}

impl Cell {
    /// Seconds that an object takes, roughly: its rounds of slow start or its rate under loss (Mathis), and the timeouts
    /// of its handshake and its end.
    fn object_time(&self) -> f64 {
        let (loss, rtt) = (self.loss / 100.0, self.rtt as f64 / 1e3);
        let segments = self.size.div_ceil(SEGMENT) as f64;
        let slow_start = 1.0 + (segments / 10.0 + 1.0).log2().ceil();
        let limited = segments * (loss / 1.5).sqrt();
        rtt * slow_start.max(limited) + 3.0 * loss
    }

    /// Connections at a time; `None`: as few as may be still keep the processors busy.
    fn connections(&self) -> Option<usize> {
        let frames = 10.0 + 1.5 * self.size.div_ceil(SEGMENT) as f64;
        let fitting = (MAX_FRAMES * self.object_time() / frames) as usize;
        let fitting = fitting.min(*CONNECTIONS.end());
        CONNECTIONS.contains(&fitting).then_some(fitting)
    }

    /// It needs the machine for itself.
    pub fn is_busy(&self) -> bool {
        self.connections().is_none()
    }

    /// How long each server has its turn.
    pub fn turn(&self, asked: Duration) -> Duration {
        let least = asked.as_secs_f64();
        let fitting = OBJECTS_PER_TURN * self.object_time();
        Duration::from_secs_f64(fitting.clamp(least, MAX_TURN * least))
    }

    pub fn run(&self, options: &Options) -> Outcome {
        let shape = Shape {
            loss: self.loss / 100.0,
            delay: Duration::from_micros(self.rtt * 500),
            ..Shape::default()
        };
        let mut net = Plan::new().link(shape.clone(), 0).beside_others().build();
        name_congestion_control(&net, &options.congestion);
        let body = body(self.size);
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::write(root.path().join(&PATH[1..]), &body).expect("a file");
        let tree: [(&str, &[u8]); 1] = [(PATH, &body)];
        let nginx = Nginx::start(&net.server, NGINX_PORT, &tree);
        let config = config(&root.path().display().to_string());
        let turn = self.turn(Duration::from_secs(options.seconds));
        let connections = options
            .connections
            .or(self.connections())
            .unwrap_or(*CONNECTIONS.start());
        let mut outcome = Outcome {
            seconds: turn.as_secs_f64() * f64::from(options.rounds),
            connections,
            rounds: Vec::new(),
            linux: BTreeMap::new(),
            ours: BTreeMap::new(),
        };
        for seed in 1..=u64::from(options.rounds) {
            let fetch = |net: &Net, port| {
                let to = net.server.at(port);
                load(&net.client, to, PATH, &body, connections, turn)
            };
            // Without the daemon's program on the NIC: Linux as it is without us.
            net.relink(&shape, seed);
            let before = kernel_counters(&net.server);
            let linux = fetch(&net, NGINX_PORT);
            add(&mut outcome.linux, &before, &kernel_counters(&net.server));
            net.relink(&shape, seed);
            let daemon = Daemon::start(&net.server, &config);
            let ours = fetch(&net, FAST_PORT);
            add(&mut outcome.ours, &BTreeMap::new(), &our_counters(&daemon));
            daemon.stop();
            outcome.rounds.push(Round { linux, ours });
        }
        drop(nginx);
        outcome
    }
}

/// The same bytes in every run, no two segments of them alike.
fn body(size: usize) -> Vec<u8> {
    (0..size as u32)
        .map(|i| (i.wrapping_mul(0x9e37_79b9) >> 24) as u8)
        .collect()
}

fn config(root: &str) -> String {
    format!(
        r#"
[[listen]]
address = "interface"
port = {FAST_PORT}
fallback = "none"
[[site]]
hosts = ["*"]
[[site.static]]
path = "/"
root = "{root}"
max_object = "1MiB"
"#
    )
}

/// Linux's default differs from machine to machine, and a namespace may not change it: a route may.
fn name_congestion_control(net: &Net, name: &str) {
    let device = net.server.device;
    let routes = net
        .server
        .must(&["ip", "-4", "route", "show", "dev", device]);
    let subnet = routes.split_whitespace().next().expect("a route");
    let change = [
        "ip", "route", "change", subnet, "dev", device, "congctl", name,
    ];
    net.server.must(&change);
}

/// What the kernel's TCP of a host counts.
fn kernel_counters(host: &Host) -> BTreeMap<String, u64> {
    let text = host.must(&["cat", "/proc/net/snmp", "/proc/net/netstat"]);
    let lines: Vec<&str> = text.lines().collect();
    let mut counters = BTreeMap::new();
    for pair in lines.chunks_exact(2) {
        let rows = pair[0].split_whitespace().zip(pair[1].split_whitespace());
        let tcp = pair[0].starts_with("Tcp");
        for (name, value) in rows.filter(|_| tcp) {
            // Negative: a limit, not a count.
            if let Ok(value) = value.parse() {
                counters.insert(name.to_owned(), value);
            }
        }
    }
    counters
}

fn our_counters(daemon: &Daemon<'_>) -> BTreeMap<String, u64> {
    let status = daemon.status();
    let tcp = status["workers"][0]["counters"]["tcp"].as_object();
    tcp.into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)))
        .collect()
}

fn add(
    sum: &mut BTreeMap<String, u64>,
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) {
    for (name, value) in after {
        let more = value.saturating_sub(before.get(name).copied().unwrap_or(0));
        if more > 0 {
            *sum.entry(name.clone()).or_default() += more;
        }
    }
}
