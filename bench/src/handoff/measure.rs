//! Connections with and without sidestep, in turns, and what they took.

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt::Linger};
use sidestep_tests::clock::{Deadline, PATIENCE, now};
use sidestep_tests::http::Client;
use sidestep_tests::server::user::client_seen;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Where the same server listens, and what a client waits for there.
#[derive(Clone, Copy)]
pub(super) struct Targets {
    pub with: SocketAddr,
    pub alone: SocketAddr,
}

/// What both sides took, microseconds, in any order.
#[derive(Default)]
pub(super) struct Times {
    with: Vec<f64>,
    alone: Vec<f64>,
}

/// What a connection asks for, and what of it is timed.
pub(super) struct Way {
    pub name: &'static str,
    pub before: &'static [&'static str],
    pub timed: &'static [&'static str],
    /// From connect(2) on, with all that comes before.
    pub whole: bool,
}

/// Requests of a connection of the mixed load: half of them hits, half of them misses.
pub(super) const MIXED: usize = 20;

const HIT: &str = "/hit";
const MISS: &str = "/miss";

impl Times {
    /// Median and 99th percentile, with and alone.
    fn quantiles(&mut self) -> [[f64; 2]; 2] {
        [&mut self.with, &mut self.alone].map(|times| {
            times.sort_unstable_by(f64::total_cmp);
            [0.5, 0.99].map(|share| times[(times.len() as f64 * share) as usize])
        })
    }

    /// Medians, with and alone, microseconds.
    pub fn medians(&mut self) -> [f64; 2] {
        self.quantiles().map(|[median, _]| median)
    }

    /// A row of [`Times::HEAD`].
    pub fn row(&mut self, name: &str) -> String {
        let [[w50, w99], [a50, a99]] = self.quantiles();
        let ratio = w50 / a50;
        format!("| {name} | {a50:.0} | {a99:.0} | {w50:.0} | {w99:.0} | {ratio:.2} |\n")
    }

    pub const HEAD: &str = "| what | alone: p50, µs | p99 | with sidestep: p50, µs | p99 | ratio of p50 |\n\
                            |---|---|---|---|---|---|\n";

    fn add(&mut self, with: bool, time: Duration) {
        let to = if with {
            &mut self.with
        } else {
            &mut self.alone
        };
        to.push(time.as_secs_f64() * 1e6);
    }
}

/// The two in an order that changes, so that what one leaves to be done falls on both alike.
fn both(targets: Targets, turn: usize) -> [(bool, SocketAddr); 2] {
    let mut order = [(true, targets.with), (false, targets.alone)];
    // As even as chance, and the same in every run.
    if (turn.wrapping_mul(0x9e37_79b9) >> 13) & 1 == 1 {
        order.reverse();
    }
    order
}

fn connect(to: SocketAddr) -> Client {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.set_nodelay(true).expect("no delay");
    // Ends with a reset: a hundred thousand connections in TIME-WAIT would slow down the search for a port.
    let abort = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, Linger, &abort).expect("no lingering");
    Client::new(stream)
}

fn get(client: &mut Client, path: &str) -> Duration {
    let start = now();
    let answer = client.get(path).expect("an answer");
    let time = now() - start;
    assert_eq!(answer.status, 200, "{path}");
    if path == MISS {
        // The user's server answered, and saw the client itself.
        let local = client.stream().local_addr().expect("an address");
        assert_eq!(client_seen(&answer.body), Some(local), "{}", answer.head);
    }
    time
}

/// One connection; the time of what is timed, up to the last answer.
fn connection(to: SocketAddr, way: &Way) -> Duration {
    let start = now();
    let mut client = connect(to);
    for path in way.before {
        get(&mut client, path);
    }
    if way.whole {
        for path in way.timed {
            get(&mut client, path);
        }
        return now() - start;
    }
    way.timed.iter().map(|path| get(&mut client, path)).sum()
}

/// So many connections of each side.
pub(super) fn latencies(targets: Targets, way: &Way, connections: usize) -> Times {
    let mut times = Times::default();
    for turn in 0..connections {
        for (with, to) in both(targets, turn) {
            times.add(with, connection(to, way));
        }
    }
    times
}

/// Keep-alive connections with hits and misses in turns that chance decides, the same for both sides: what all misses
/// took, and what the first one of each connection did.
pub(super) fn mixed(targets: Targets, connections: usize) -> [Times; 2] {
    let [mut all, mut first] = [Times::default(), Times::default()];
    let mut chance = 1_u64;
    for turn in 0..connections {
        // Knuth's MMIX generator; its upper bits are good enough to toss coins.
        let tosses = [(); MIXED].map(|()| {
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            chance >> 63 == 1
        });
        for (with, to) in both(targets, turn) {
            let mut client = connect(to);
            let mut missed = false;
            for miss in tosses {
                let time = get(&mut client, if miss { MISS } else { HIT });
                if miss {
                    all.add(with, time);
                    if !std::mem::replace(&mut missed, true) {
                        first.add(with, time);
                    }
                }
            }
        }
    }
    [all, first]
}

/// What one side did in its seconds.
#[derive(Clone, Copy, Default)]
pub(super) struct Rate {
    /// Connections per second.
    pub per_second: f64,
    /// Time of the worker's thread for each, microseconds.
    pub worker: f64,
}

/// Second by second in turn, one connection at a time; with sidestep, then alone. `worker` says how long the worker's
/// thread has run.
pub(super) fn rates(
    targets: Targets,
    way: &Way,
    seconds: usize,
    worker: impl Fn() -> Duration,
) -> [Rate; 2] {
    let mut counts = [0_u64; 2];
    let mut ran = [Duration::ZERO; 2];
    for turn in 0..seconds {
        for (with, to) in both(targets, turn) {
            let side = usize::from(!with);
            let before = worker();
            let deadline = Deadline::after(Duration::from_secs(1));
            while !deadline.passed() {
                connection(to, way);
                counts[side] += 1;
            }
            ran[side] += worker() - before;
        }
    }
    [0, 1].map(|side| Rate {
        per_second: counts[side] as f64 / seconds as f64,
        worker: ran[side].as_secs_f64() * 1e6 / counts[side] as f64,
    })
}
