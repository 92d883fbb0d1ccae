//! Frame to frame without a kernel: what a request costs the worker itself.
//!
//! For instruction counts, which are the same on every run:
//! `valgrind --tool=callgrind --toggle-collect='*MemHost*run*' sidestep-bench mem …`.

use sidestep_tests::mem::{MemConn, MemHost};
use stats_alloc::{Region, StatsAlloc};
use std::alloc::System;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

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
[limits]
connections = 100_000
"#;

/// What wrk sends.
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n";

/// Frames a worker takes from its receive ring at a time.
const BATCH: usize = 64;

/// Batches that are run before anything is counted: tables grow to their working size in them.
const WARM_UP: usize = 1_000;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Requests in all
    #[arg(long, default_value_t = 2_000_000)]
    requests: usize,
    /// Requests sent at once on a connection
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// Connections, served in turn
    #[arg(long, default_value_t = 100)]
    connections: u16,
}

#[expect(clippy::disallowed_methods, reason = "this is a benchmark")]
pub(crate) fn run(options: &Options, allocator: &'static StatsAlloc<System>) -> ExitCode {
    let mut host = MemHost::new(CONFIG, 1024, 1024);
    let to = SocketAddr::from(([192, 0, 2, 1], 80));
    let mut conns: Vec<MemConn> = (0..options.connections)
        .map(|n| MemConn::open(&mut host, ([192, 0, 2, 2], 1024 + n).into(), to))
        .collect();
    let requests = REQUEST.repeat(options.depth);
    let per_batch = BATCH.min(conns.len()) * options.depth;
    let batches = options.requests.div_ceil(per_batch);
    let mut busy = Duration::ZERO;
    let mut allocations = 0;
    let mut bytes = 0;
    let mut turn = 0;
    for batch in 0..WARM_UP + batches {
        for conn in 0..BATCH.min(conns.len()) {
            let conn = (turn + conn) % conns.len();
            assert!(host.offer(&conns[conn].data(requests.as_bytes())));
        }
        let before = Region::new(allocator);
        let start = Instant::now();
        host.run();
        if batch >= WARM_UP {
            busy += start.elapsed();
            let change = before.change();
            allocations += change.allocations + change.reallocations;
        }
        let mut place = turn;
        let mut answered = 0;
        host.take_sent(|frame| {
            // Answers leave in the order in which the requests came.
            let mut got = Vec::new();
            while got.is_empty() && place < turn + BATCH {
                got = conns[place % options.connections as usize].take(frame);
                place += usize::from(got.is_empty());
            }
            answered += got.len();
        });
        assert!(answered > 0, "no answer to batch {batch}");
        bytes += answered;
        turn = (turn + BATCH) % conns.len();
        host.advance(Duration::from_micros(50));
    }
    let done = batches * per_batch;
    println!(
        "{done} requests, {} at once: {:.0} ns each, {:.2} million/s, {:.4} allocations each, {} MiB answered",
        options.depth,
        busy.as_nanos() as f64 / done as f64,
        done as f64 / busy.as_secs_f64() / 1e6,
        allocations as f64 / done as f64,
        bytes >> 20
    );
    if allocations == 0 {
        ExitCode::SUCCESS
    } else {
        eprintln!("error: the data path allocates");
        ExitCode::FAILURE
    }
}
