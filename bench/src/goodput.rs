//! Goodput over bad links, beside nginx on Linux's TCP: same host, same NIC, same link, in turn.
//!
//! Clients are kernel sockets. Each opens a connection, asks for one object, compares every byte, and begins anew; what
//! counts is the bytes of bodies that arrive in the time given.

mod cell;
mod client;

use cell::{Cell, Outcome, Round};
use client::Got;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Frames lost in each direction, in per cent.
const LOSS: [f64; 5] = [0.0, 0.1, 1.0, 3.0, 10.0];
/// Round-trip times in milliseconds.
const RTT: [u64; 3] = [1, 20, 100];
/// Object sizes in bytes.
const SIZE: [(&str, usize); 3] = [("1KiB", 1 << 10), ("64KiB", 64 << 10), ("1MiB", 1 << 20)];

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds for each server in each cell and round; more where an object takes long
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// How often the servers take turns, with a new seed of the link for both
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Connections at a time; by default as many as the processors can do without being busy
    #[arg(long)]
    connections: Option<usize>,
    /// Cells at a time, of those that leave the processors idle
    #[arg(long, default_value_t = 6)]
    parallel: usize,
    /// Linux's congestion control
    #[arg(long, default_value = "cubic")]
    congestion: String,
    /// Only links that lose this many per cent: 0, 0.1, 1, 3, 10
    #[arg(long, value_delimiter = ',')]
    loss: Vec<f64>,
    /// Only links with this round-trip time in ms: 1, 20, 100
    #[arg(long, value_delimiter = ',')]
    rtt: Vec<u64>,
    /// Only objects of this size: 1KiB, 64KiB, 1MiB
    #[arg(long, value_delimiter = ',')]
    size: Vec<String>,
    /// Also print what the servers' TCPs counted
    #[arg(long)]
    counters: bool,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let cells = cells(options);
    let outcomes = measure(options, &cells);
    print(options, &cells, &outcomes);
    ExitCode::SUCCESS
}

fn cells(options: &Options) -> Vec<Cell> {
    let mut cells = Vec::new();
    for loss in LOSS {
        for rtt in RTT {
            for (name, size) in SIZE {
                let wanted = chosen(&options.loss, &loss)
                    && chosen(&options.rtt, &rtt)
                    && chosen(&options.size, &name.to_owned());
                if wanted {
                    cells.push(Cell {
                        loss,
                        rtt,
                        name,
                        size,
                    });
                }
            }
        }
    }
    cells
}

fn chosen<T: PartialEq>(from: &[T], value: &T) -> bool {
    from.is_empty() || from.contains(value)
}

/// Some at a time, the longest first; then, each alone, those that need the processors.
fn measure(options: &Options, cells: &[Cell]) -> Vec<Option<Outcome>> {
    let asked = Duration::from_secs(options.seconds);
    let (busy, mut idle): (Vec<usize>, Vec<usize>) =
        (0..cells.len()).partition(|&at| cells[at].is_busy());
    idle.sort_by_key(|&at| cells[at].turn(asked));
    let outcomes: Mutex<Vec<Option<Outcome>>> = Mutex::new(cells.iter().map(|_| None).collect());
    let done = |at: usize| {
        let cell = &cells[at];
        let outcome = cell.run(options);
        let all = outcome.rounds.len();
        eprintln!(
            "{} %, {} ms, {}: {all} rounds",
            cell.loss, cell.rtt, cell.name
        );
        outcomes.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(outcome);
    };
    let waiting = Mutex::new(idle);
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop()
    };
    std::thread::scope(|scope| {
        for _ in 0..options.parallel.max(1) {
            scope.spawn(|| {
                while let Some(at) = next() {
                    done(at);
                }
            });
        }
    });
    busy.into_iter().for_each(done);
    outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
}

fn print(options: &Options, cells: &[Cell], outcomes: &[Option<Outcome>]) {
    println!(
        "| loss | RTT | object | connections | objects | Linux {} + nginx, MB/s | sidestep, MB/s | ratio |",
        options.congestion
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut ratios = Vec::new();
    for (cell, outcome) in cells.iter().zip(outcomes) {
        let Some(outcome) = outcome else { continue };
        let Round { linux, ours } = total(&outcome.rounds);
        let rate = |got: Got| got.bytes as f64 / outcome.seconds / 1e6;
        let (ratio, error) = ratio(&outcome.rounds);
        println!(
            "| {} % | {} ms | {} | {} | {} / {} | {:.3} | {:.3} | {ratio:.2} ± {error:.2} |",
            cell.loss,
            cell.rtt,
            cell.name,
            outcome.connections,
            linux.objects,
            ours.objects,
            rate(linux),
            rate(ours)
        );
        ratios.push(ratio);
    }
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let even = ratios.iter().filter(|ratio| **ratio >= 1.0).count();
    println!(
        "\nLeast ratio {least:.2}; {even} of {} cells at 1.0 or more.",
        ratios.len()
    );
    if options.counters {
        for (cell, outcome) in cells.iter().zip(outcomes) {
            let Some(outcome) = outcome else { continue };
            println!("\n{} %, {} ms, {}:", cell.loss, cell.rtt, cell.name);
            println!("Linux {:?}", outcome.linux);
            println!("sidestep {:?}", outcome.ours);
        }
    }
}

fn total(rounds: &[Round]) -> Round {
    let mut total = Round::default();
    for round in rounds {
        total.linux += round.linux;
        total.ours += round.ours;
    }
    total
}

/// Ours to Linux's bytes, and the standard error of that, from how the rounds differ.
fn ratio(rounds: &[Round]) -> (f64, f64) {
    let Round { linux, ours } = total(rounds);
    let linux = linux.bytes.max(1) as f64;
    let ratio = ours.bytes as f64 / linux;
    let n = rounds.len() as f64;
    let squares: f64 = rounds
        .iter()
        .map(|round| (round.ours.bytes as f64 - ratio * round.linux.bytes as f64).powi(2))
        .sum();
    let error = (squares * n / (n - 1.0).max(1.0)).sqrt() / linux;
    (ratio, error)
}

#[cfg(test)]
mod tests {
    use super::{Got, Round, ratio};

    fn rounds(pairs: &[(u64, u64)]) -> Vec<Round> {
        let got = |bytes| Got { bytes, objects: 0 };
        let round = |&(linux, ours)| Round {
            linux: got(linux),
            ours: got(ours),
        };
        pairs.iter().map(round).collect()
    }

    #[test]
    fn error_of_a_ratio() {
        assert_eq!(ratio(&rounds(&[(100, 90), (200, 180)])), (0.9, 0.0));
        let (even, error) = ratio(&rounds(&[(100, 110), (100, 90)]));
        // Two rounds at 1.1 and 0.9: a mean of 1.0, known to 0.1.
        assert!((even - 1.0).abs() < 1e-9 && (error - 0.1).abs() < 1e-9);
    }
}
