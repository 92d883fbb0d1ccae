//! What stepping aside costs: connections whose next request is handed to a server, beside the same to the server alone.
//!
//! Each server runs twice on one NIC; sidestep has the port of one. Clients are kernel sockets, and take turns request by
//! request where latencies are measured and second by second where rates are. All of it runs on one core, so that a
//! difference in time per connection is a difference in work; with more of them what the worker clears up behind a handoff
//! delays nobody.

use nix::libc::linger;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt::Linger};
use nix::unistd::Pid;
use sidestep_tests::clock::{Deadline, PATIENCE, now};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::Client;
use sidestep_tests::net::Net;
use sidestep_tests::server::user::{Kind, Running, client_seen};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

const PORT: u16 = 80;
const ALONE_PORT: u16 = 8080;

/// A fast server, beside which every microsecond shows, and one that does something.
const SERVERS: [Kind; 2] = [Kind::Nginx, Kind::Uvicorn];

/// What to run; `cargo xtask servers` gets the servers.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Connections for each latency
    #[arg(long, default_value_t = 2_000)]
    connections: usize,
    /// Seconds for each rate
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The cores that clients, servers and sidestep share
    #[arg(long, value_delimiter = ',', default_value = "0")]
    cores: Vec<usize>,
}

/// What a connection asks for, and what of it is timed.
struct Way {
    name: &'static str,
    before: &'static [&'static str],
    timed: &'static [&'static str],
    /// From connect(2) on, with all that comes before.
    whole: bool,
}

const MISS: &[&str] = &["/miss"];

/// One request of a connection. A server alone accepts the connection when it comes; behind sidestep it does so with
/// the first miss.
const REQUESTS: [Way; 4] = [
    Way {
        name: "miss first",
        before: &[],
        timed: MISS,
        whole: false,
    },
    Way {
        name: "hit, then miss",
        before: &["/hit"],
        timed: MISS,
        whole: false,
    },
    // The kernel has the connection already, but the worker may still have to clear up.
    Way {
        name: "a second miss",
        before: MISS,
        timed: MISS,
        whole: false,
    },
    Way {
        name: "a fifth miss",
        before: &["/miss"; 4],
        timed: MISS,
        whole: false,
    },
];

/// All that a client waits for: here both sides accept within the time.
const CONNECTIONS: [Way; 3] = [
    Way {
        name: "1 miss",
        before: &[],
        timed: MISS,
        whole: true,
    },
    Way {
        name: "1 hit, 1 miss",
        before: &["/hit"],
        timed: MISS,
        whole: true,
    },
    Way {
        name: "1 hit, 10 misses",
        before: &["/hit"],
        timed: &["/miss"; 10],
        whole: true,
    },
];

pub(crate) fn run(options: &Options) -> ExitCode {
    let mut cores = CpuSet::new();
    for &core in &options.cores {
        cores.set(core).expect("such a core");
    }
    // Children inherit it.
    sched_setaffinity(Pid::from_raw(0), &cores).expect("a core that this process may use");
    for kind in SERVERS {
        let net = Net::new();
        let servers = [PORT, ALONE_PORT].map(|port| Running::start(&net.server, kind, port));
        for server in &servers {
            server.ready(&net.server);
        }
        let daemon = Daemon::start(&net.server, &config());
        let targets = [net.server.at(PORT), net.server.at(ALONE_PORT)];
        println!("\n## {} {}\n", kind.name(), kind.version());
        net.client.enter(|| {
            println!("The server alone has accepted a connection before its first answer, a hit too;");
            println!("behind sidestep it accepts within the first miss. Of whole connections all is timed.\n");
            latencies(options, targets, "answer to", &REQUESTS);
            latencies(options, targets, "connect and", &CONNECTIONS);
            rates(options, targets);
        });
        daemon.stop();
    }
    ExitCode::SUCCESS
}

fn config() -> String {
    format!(
        "[[listen]]\naddress = \"interface\"\nport = {PORT}\nfallback = \"kernel\"\n\
         [[site]]\nhosts = [\"*\"]\n[[site.response]]\npath = \"/hit\"\nbody = \"a hit\"\n"
    )
}

/// One connection; the time of what is timed, up to the last answer.
fn connection(to: SocketAddr, way: &Way) -> Duration {
    let mut start = now();
    let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.set_nodelay(true).expect("no delay");
    // Ends with a reset: a hundred thousand connections in TIME-WAIT would slow down the search for a port.
    let abort = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, Linger, &abort).expect("no lingering");
    let local = stream.local_addr().expect("an address");
    let mut client = Client::new(stream);
    for path in way.before {
        assert_eq!(client.get(path).expect("an answer").status, 200, "{path}");
    }
    if !way.whole {
        start = now();
    }
    let mut last = None;
    for path in way.timed {
        last = Some(client.get(path).expect("an answer"));
    }
    let time = now() - start;
    let last = last.expect("a timed request");
    assert_eq!(client_seen(&last.body), Some(local), "{}", last.head);
    time
}

/// Request by request in turn.
fn latencies(options: &Options, targets: [SocketAddr; 2], what: &str, ways: &[Way]) {
    println!("| {what} | alone p50, µs | p99 | with sidestep p50, µs | p99 | p50 ratio |");
    println!("|---|---|---|---|---|---|");
    for way in ways {
        let mut times = [vec![], vec![]];
        for _ in 0..options.connections {
            for (to, times) in targets.iter().zip(&mut times) {
                times.push(connection(*to, way));
            }
        }
        times.iter_mut().for_each(|times| times.sort_unstable());
        let at = |which: usize, share: f64| {
            let times: &Vec<Duration> = &times[which];
            times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e6
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
    println!();
}

/// Second by second in turn, one connection at a time.
fn rates(options: &Options, targets: [SocketAddr; 2]) {
    println!("| connections | alone, per s | with sidestep, per s | µs more each |");
    println!("|---|---|---|---|");
    for way in &CONNECTIONS {
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
