//! What stepping aside costs: connections whose next request is handed to nginx, beside the same to nginx alone.
//!
//! Both nginx are alike and on one NIC; sidestep has the port of one. Clients are kernel sockets, and take turns request by
//! request where latencies are measured and second by second where rates are. All of it runs on one core, so that a
//! difference in time per connection is a difference in work.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use sidestep_tests::clock::{Deadline, PATIENCE, now};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::Client;
use sidestep_tests::net::Net;
use sidestep_tests::server::Nginx;
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

const PORT: u16 = 80;
const ALONE_PORT: u16 = 8080;

const HIT: &[u8] = b"a hit";
const MISS: &[u8] = b"a miss";

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Connections for each latency
    #[arg(long, default_value_t = 2_000)]
    connections: usize,
    /// Seconds for each rate
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The core that clients, servers and sidestep share
    #[arg(long, default_value_t = 0)]
    core: usize,
}

/// What a connection asks for before the miss that is timed.
struct Way {
    name: &'static str,
    before: &'static [(&'static str, &'static [u8])],
}

const WAYS: [Way; 3] = [
    Way {
        name: "miss first",
        before: &[],
    },
    Way {
        name: "hit, then miss",
        before: &[("/hit", HIT)],
    },
    // The kernel has the connection already.
    Way {
        name: "a second miss",
        before: &[("/miss", MISS)],
    },
];

pub(crate) fn run(options: &Options) -> ExitCode {
    let mut core = CpuSet::new();
    core.set(options.core).expect("such a core");
    // Children inherit it.
    sched_setaffinity(Pid::from_raw(0), &core).expect("a core that this process may use");
    let net = Net::new();
    net.client.enter(room_for_ports);
    let tree = [("/hit", HIT), ("/miss", MISS)];
    let _behind = Nginx::start(&net.server, PORT, &tree);
    let _alone = Nginx::start(&net.server, ALONE_PORT, &tree);
    let daemon = Daemon::start(&net.server, &config());
    let targets = [net.server.at(PORT), net.server.at(ALONE_PORT)];
    net.client.enter(|| {
        latencies(options, targets);
        rates(options, targets);
    });
    daemon.stop();
    ExitCode::SUCCESS
}

fn config() -> String {
    let body = String::from_utf8_lossy(HIT);
    format!(
        "[[listen]]\naddress = \"interface\"\nport = {PORT}\nfallback = \"kernel\"\n\
         [[site]]\nhosts = [\"*\"]\n[[site.response]]\npath = \"/hit\"\nbody = \"{body}\"\n"
    )
}

/// The client closes first and so keeps each port for a minute, unless it may use it again after a second.
fn room_for_ports() {
    for (name, value) in [("ip_local_port_range", "1024 65535"), ("tcp_tw_reuse", "1")] {
        let path = format!("/proc/sys/net/ipv4/{name}");
        std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

/// One connection; the time from the request for the miss to its answer.
fn connection(to: SocketAddr, way: &Way) -> Duration {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.set_nodelay(true).expect("no delay");
    let mut client = Client::new(stream);
    let mut get = |path, body| {
        let answer = client.get(path).expect("an answer");
        assert_eq!(
            (answer.status, &answer.body[..]),
            (200, body),
            "{path} from {to}"
        );
    };
    for (path, body) in way.before {
        get(path, body);
    }
    let start = now();
    get("/miss", MISS);
    now() - start
}

/// Request by request in turn.
fn latencies(options: &Options, targets: [SocketAddr; 2]) {
    println!(
        "| answer to a miss | nginx alone p50, µs | p99 | with sidestep p50, µs | p99 | p50 ratio |"
    );
    println!("|---|---|---|---|---|---|");
    for way in &WAYS {
        let mut times = [vec![], vec![]];
        for _ in 0..options.connections {
            for (to, times) in targets.iter().zip(&mut times) {
                times.push(connection(*to, way));
            }
        }
        times.iter_mut().for_each(|times| times.sort_unstable());
        let at = |which: usize, share: f64| {
            let times: &Vec<Duration> = &times[which];
            let index = (times.len() as f64 * share) as usize;
            times[index.min(times.len() - 1)].as_secs_f64() * 1e6
        };
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} |",
            way.name,
            at(1, 0.5),
            at(1, 0.99),
            at(0, 0.5),
            at(0, 0.99),
            at(0, 0.5) / at(1, 0.5)
        );
    }
}

/// Second by second in turn, one connection at a time.
fn rates(options: &Options, targets: [SocketAddr; 2]) {
    println!("\n| connections | nginx alone, per s | with sidestep, per s | µs more each |");
    println!("|---|---|---|---|");
    for way in &WAYS {
        let mut counts = [0_u64; 2];
        for _ in 0..options.seconds {
            for (to, count) in targets.iter().zip(&mut counts) {
                let deadline = Deadline::after(Duration::from_secs(1));
                while !deadline.passed() {
                    connection(*to, way);
                    *count += 1;
                }
            }
        }
        let rate = counts.map(|count| count as f64 / options.seconds as f64);
        println!(
            "| {} | {:.0} | {:.0} | {:.1} |",
            way.name,
            rate[1],
            rate[0],
            1e6 / rate[0] - 1e6 / rate[1]
        );
    }
}
