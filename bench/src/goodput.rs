//! Goodput over bad links, beside nginx on Linux's TCP: same host, same NIC, same link, in turn.
//!
//! Clients are kernel sockets. Each opens a connection, asks for one object, compares every byte, and begins anew; what
//! counts is the bytes of bodies that arrive in the time given.

use sidestep_tests::clock::Deadline;
use sidestep_tests::daemon::Daemon;
use sidestep_tests::link::Shape;
use sidestep_tests::net::{Host, Net, Plan};
use sidestep_tests::server::Nginx;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// Frames lost in each direction, in per cent.
const LOSS: [f64; 5] = [0.0, 0.1, 1.0, 3.0, 10.0];
/// Round-trip times in milliseconds.
const RTT: [u64; 3] = [1, 20, 100];
/// Object sizes in bytes.
const SIZE: [(&str, usize); 3] = [("1 KiB", 1 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)];

const FAST_PORT: u16 = 80;
const NGINX_PORT: u16 = 8080;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds for each server in each cell and round
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// How often the servers take turns
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Connections at a time
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Linux's congestion control
    #[arg(long, default_value = "cubic")]
    congestion: String,
    /// Only links that lose this many per cent
    #[arg(long)]
    loss: Option<f64>,
}

/// Bytes that each server brought across, in all rounds.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    ours: u64,
    linux: u64,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    println!(
        "| loss | RTT | object | Linux {} + nginx, MB/s | sidestep, MB/s | ratio |",
        options.congestion
    );
    println!("|---|---|---|---|---|---|");
    let mut ratios = Vec::new();
    let losses = LOSS.into_iter();
    for loss in losses.filter(|loss| options.loss.is_none_or(|only| only == *loss)) {
        for rtt in RTT {
            for ((name, _), cell) in SIZE.iter().zip(link(options, loss, rtt)) {
                let seconds = (options.seconds * u64::from(options.rounds)) as f64;
                let rate = |bytes: u64| bytes as f64 / seconds / 1e6;
                let ratio = cell.ours as f64 / cell.linux.max(1) as f64;
                println!(
                    "| {loss} % | {rtt} ms | {name} | {:.3} | {:.3} | {ratio:.2} |",
                    rate(cell.linux),
                    rate(cell.ours)
                );
                ratios.push(ratio);
            }
        }
    }
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let even = ratios.iter().filter(|ratio| **ratio >= 1.0).count();
    println!(
        "\nLeast ratio {least:.2}; {even} of {} cells at 1.0 or more.",
        ratios.len()
    );
    ExitCode::SUCCESS
}

/// All objects over one kind of link.
fn link(options: &Options, loss: f64, rtt: u64) -> [Cell; SIZE.len()] {
    let shape = Shape {
        loss: loss / 100.0,
        delay: Duration::from_micros(rtt * 500),
        ..Shape::default()
    };
    let net = Plan::new().link(shape, 1).build();
    name_congestion_control(&net, &options.congestion);
    let bodies = SIZE.map(|(_, size)| body(size));
    let paths: Vec<String> = (0..SIZE.len()).map(|n| format!("/{n}.bin")).collect();
    let tree: Vec<(&str, &[u8])> = paths
        .iter()
        .zip(&bodies)
        .map(|(path, body)| (path.as_str(), body.as_slice()))
        .collect();
    let root = tempfile::tempdir().expect("a temporary directory");
    for (path, body) in &tree {
        fs::write(root.path().join(&path[1..]), body).expect("a file");
    }
    let _nginx = Nginx::start(&net.server, NGINX_PORT, &tree);
    let daemon = Daemon::start(&net.server, &config(&root.path().display().to_string()));
    let mut cells = [Cell::default(); SIZE.len()];
    for _ in 0..options.rounds {
        for ((path, body), cell) in tree.iter().zip(&mut cells) {
            let time = Duration::from_secs(options.seconds);
            let fetch = |port| {
                let to = net.server.at(port);
                load(&net.client, to, path, body, options.connections, time)
            };
            cell.linux += fetch(NGINX_PORT);
            cell.ours += fetch(FAST_PORT);
        }
    }
    daemon.stop();
    cells
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

/// Bytes of `body` that `connections` clients at a time get in `time`.
fn load(
    client: &Host,
    to: SocketAddr,
    path: &str,
    body: &[u8],
    connections: usize,
    time: Duration,
) -> u64 {
    let deadline = Deadline::after(time);
    client.enter(|| {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..connections)
                .map(|_| scope.spawn(move || fetch_until(&deadline, to, path, body)))
                .collect();
            clients
                .into_iter()
                .map(|client| client.join().expect("a client that does not panic"))
                .sum()
        })
    })
}

fn fetch_until(deadline: &Deadline, to: SocketAddr, path: &str, body: &[u8]) -> u64 {
    let mut got = 0;
    while !deadline.passed() {
        match fetch(deadline, to, path, body, &mut got) {
            Ok(()) => {}
            // The time is over in the middle of something.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) => {}
            Err(e) => panic!("{path} from {to}: {e}"),
        }
    }
    got
}

/// One object on one connection; `got` counts body bytes as they come.
fn fetch(
    deadline: &Deadline,
    to: SocketAddr,
    path: &str,
    body: &[u8],
    got: &mut u64,
) -> io::Result<()> {
    let left = || deadline.left().max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&to, left())?;
    stream.set_read_timeout(Some(left()))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let mut at = 0;
    let mut chunk = [0; 16 << 10];
    while at < body.len() {
        reader.get_ref().set_read_timeout(Some(left()))?;
        let n = reader.read(&mut chunk)?;
        assert!(n > 0, "{path} from {to} ends after {at} bytes");
        assert!(
            body[at..].starts_with(&chunk[..n]),
            "{path} from {to}: wrong bytes behind {at}"
        );
        at += n;
        *got += n as u64;
    }
    Ok(())
}
