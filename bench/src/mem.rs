//! Frame to frame without a kernel: what a request costs the worker itself.
//!
//! Times depend on the machine; instructions do not. `cargo xtask instructions` counts those of [`counted`], through
//! which go the batches that are measured, and no others.

mod allocations;
mod case;
mod whole;

pub(crate) use allocations::Counted;
pub(crate) use case::Case;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use sidestep_tests::mem::{MemConn, MemHost};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Frames a worker takes from its receive ring at a time.
const BATCH: usize = 64;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What is asked for
    #[arg(long, value_enum, default_value_t = Case::Hello)]
    case: Case,
    /// Requests in all, of each thread
    #[arg(long, default_value_t = 2_000_000)]
    requests: usize,
    /// Requests sent at once on a connection; their answers must fit its first window, ten segments. Of no effect where
    /// each has a connection of its own
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// Connections, served in turn. Of no effect where each request has one of its own
    #[arg(long, default_value_t = 100)]
    connections: u16,
    /// Clients with Linux's TCP options, timestamps in each segment among them. Of no effect where each request has a
    /// connection of its own
    #[arg(long)]
    linux: bool,
    /// Batches that are run before anything is counted: tables grow to their working size in them
    #[arg(long, default_value_t = 1000)]
    warm_up: usize,
    /// Workers, each with a core and connections of its own; more than 1 are compared with 1
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// What one worker did.
struct Measured {
    requests: usize,
    busy: Duration,
    allocations: usize,
    bytes: usize,
}

impl Measured {
    /// Nothing yet of `requests`.
    fn of(requests: usize) -> Self {
        Self {
            requests,
            busy: Duration::ZERO,
            allocations: 0,
            bytes: 0,
        }
    }

    fn rate(&self) -> f64 {
        self.requests as f64 / self.busy.as_secs_f64()
    }

    /// One batch that counts.
    #[expect(clippy::disallowed_methods, reason = "this is a benchmark")]
    fn run(&mut self, host: &mut MemHost, batches: &mut usize) {
        let before = allocations::made();
        let start = Instant::now();
        counted(host, batches);
        self.busy += start.elapsed();
        self.allocations += allocations::made() - before;
    }
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let alone = measure(options, || ());
    let mut allocations = alone.allocations;
    let each = |count: f64| count / alone.requests as f64;
    println!(
        "{} requests, {} at once: {:.0} ns each, {:.2} million/s, {:.4} allocations each, {} MiB answered",
        alone.requests,
        options.depth,
        each(alone.busy.as_nanos() as f64),
        alone.rate() / 1e6,
        each(alone.allocations as f64),
        alone.bytes >> 20
    );
    if options.threads > 1 {
        let together = side_by_side(options);
        let rate: f64 = together.iter().map(Measured::rate).sum();
        println!(
            "{} threads: {:.2} million/s, {:.2} times one thread",
            options.threads,
            rate / 1e6,
            rate / alone.rate()
        );
        allocations += together.iter().map(|one| one.allocations).sum::<usize>();
    }
    if allocations == 0 {
        ExitCode::SUCCESS
    } else {
        eprintln!("error: the data path allocates: {allocations} times");
        ExitCode::FAILURE
    }
}

/// What each of the threads did, all at the same time.
fn side_by_side(options: &Options) -> Vec<Measured> {
    let start = Barrier::new(options.threads);
    std::thread::scope(|scope| {
        let worker = |core: usize| {
            let start = &start;
            scope.spawn(move || {
                let mut cores = CpuSet::new();
                let pinned = cores
                    .set(core)
                    .and_then(|()| sched_setaffinity(Pid::from_raw(0), &cores));
                if let Err(error) = pinned {
                    eprintln!("core {core}: {error}; the thread is not pinned");
                }
                measure(options, || {
                    start.wait();
                })
            })
        };
        let workers: Vec<_> = (0..options.threads).map(worker).collect();
        let done = workers.into_iter().map(|worker| worker.join());
        done.map(|done| done.expect("a worker does not panic"))
            .collect()
    })
}

/// One batch that counts. Its name is what `cargo xtask instructions` looks for.
#[inline(never)]
fn counted(host: &mut MemHost, batches: &mut usize) {
    host.run();
    // A call that is the last thing may become a jump, behind which the name is lost.
    *batches += 1;
}

/// Runs it; `warm` is called once between what does not count and what does.
fn measure(options: &Options, warm: impl FnOnce()) -> Measured {
    if let Some(closes) = options.case.closes() {
        return whole::measure(options, closes, warm);
    }
    let mut host = MemHost::new(&options.case.config(), 1024, 1024);
    let to = SocketAddr::from(([192, 0, 2, 1], 80));
    let open = |host: &mut MemHost, n| {
        let from = ([192, 0, 2, 2], 1024 + n).into();
        match options.linux {
            true => MemConn::open_as_linux(host, from, to),
            false => MemConn::open(host, from, to),
        }
    };
    let mut first = open(&mut host, options.connections);
    let requests = options.case.requests(&mut host, &mut first);
    let lengths: Vec<usize> = requests
        .iter()
        .map(|request| first.request(&mut host, request.as_bytes()).len())
        .collect();
    let mut conns: Vec<MemConn> = (0..options.connections)
        .map(|n| open(&mut host, n))
        .collect();
    let at_once = BATCH.min(conns.len());
    let per_batch = at_once * options.depth;
    let batches = options.requests.div_ceil(per_batch);
    let mut warm = Some(warm);
    let mut measured = Measured::of(batches * per_batch);
    let mut done = 0;
    let mut turn = 0;
    let mut next = (0..requests.len()).cycle();
    for batch in 0..options.warm_up + batches {
        let mut expected = 0;
        for conn in turn..turn + at_once {
            let mut data = String::new();
            for request in next.by_ref().take(options.depth) {
                data.push_str(&requests[request]);
                expected += lengths[request];
            }
            let place = conn % conns.len();
            assert!(host.offer(&conns[place].data(data.as_bytes())));
        }
        if batch < options.warm_up {
            host.run();
        } else {
            if let Some(warm) = warm.take() {
                warm();
            }
            measured.run(&mut host, &mut done);
        }
        let all = conns.len();
        let mut place = turn;
        let mut answered = 0;
        host.take_sent(|frame| {
            // Answers leave in the order in which the requests came.
            let mut got = Vec::new();
            while got.is_empty() && place < turn + at_once {
                got = conns[place % all].take(frame);
                place += usize::from(got.is_empty());
            }
            answered += got.len();
        });
        assert_eq!(answered, expected, "bytes answered in batch {batch}");
        measured.bytes += answered;
        turn = (turn + at_once) % all;
        // Else each connection would ask for the same each time where one number divides the other.
        next.next();
        host.advance(Duration::from_micros(50));
    }
    assert_eq!(done, batches);
    measured
}
