//! The stack against two clients over a link that loses, reorders, duplicates and damages, in virtual time: smoltcp, and
//! a model of our own that does what smoltcp cannot. A referee checks every segment that the stack says.
//!
//! Every run is a pure function of its seed. A failure prints the command that replays it with a trace;
//! `TCP_LITE_SEEDS=<count>` runs more of them than the normal test does.

mod away;
mod kernel;
mod link;
mod model;
mod packet;
mod peer;
mod plan;
mod ranges;
mod referee;
mod rng;
mod server;
mod smol;
mod world;

use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use world::{Client, Report};

/// Seeds per client in the normal test: a few seconds of one core, not optimised.
const SEEDS: u64 = 1_500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs one seed with a trace if one is named, else all of them on all cores.
fn all(client: Client, test: &str) -> Option<(Report, u64)> {
    if let Some(seed) = number("TCP_LITE_SEED") {
        match world::run(client, seed, true) {
            Ok(report) => println!("{report:#?}"),
            Err(what) => panic!("{what}"),
        }
        return None;
    }
    let seeds = number("TCP_LITE_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    let total = Mutex::new(Report::default());
    let work = || {
        let mut sum = Report::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                break;
            }
            let result = catch_unwind(|| world::run(client, seed, false));
            match result.unwrap_or_else(|_| Err("panicked".into())) {
                Ok(report) => sum.add(&report),
                Err(what) => {
                    next.store(seeds, Ordering::Relaxed);
                    failed.lock().unwrap().push((seed, what));
                }
            }
        }
        total.lock().unwrap().add(&sum);
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(work);
        }
    });
    if let Some((seed, what)) = failed.into_inner().unwrap().into_iter().min() {
        panic!(
            "seed {seed}: {what}\nreplay: TCP_LITE_SEED={seed} cargo test -p tcp-lite --test simulation {test} -- --nocapture"
        );
    }
    let total = total.into_inner().unwrap();
    println!("{client:?}, {seeds} seeds: {total:#?}");
    Some((total, seeds))
}

#[test]
fn every_answer_arrives_whole() {
    let Some((total, seeds)) = all(Client::Smoltcp, "every_answer") else {
        return;
    };
    assert!(total.forgotten_fins <= 1 + seeds / 5_000);
    assert_it_was_rough(&total);
}

#[test]
fn a_strict_client_has_nothing_to_complain_of() {
    let Some((total, _)) = all(Client::Model, "strict_client") else {
        return;
    };
    assert_it_was_rough(&total);
    assert!(total.ecn_responses > 100 && total.given_up > 50);
}

#[test]
fn another_tcp_goes_on_where_a_connection_left() {
    let Some((total, seeds)) = all(Client::Leaving, "another_tcp") else {
        return;
    };
    assert_it_was_rough(&total);
    assert!(total.taken > seeds / 3 && total.returned > seeds / 10);
}

/// The link did what it is for; without this a broken link would make every seed pass.
fn assert_it_was_rough(total: &Report) {
    assert!(total.lost > 1_000 && total.damaged > 100 && total.retransmits > 1_000);
    assert!(total.fast_retransmits > 100 && total.timeouts > 100 && total.probes > 10);
    assert!(total.out_of_order > 100 && total.cookies > 500 && total.black_holes > 20);
}
