//! The stack against smoltcp as client, over a link that loses, reorders and duplicates, in virtual time.
//!
//! Every run is a pure function of its seed. A failure prints the command that replays it:
//! `TCP_LITE_SEED=<seed> cargo test -p tcp-lite --test simulation`. `TCP_LITE_SEEDS=<count>` runs more of them.

mod client;
mod kernel;
mod link;
mod rng;
mod server;
mod world;

use std::panic::catch_unwind;

/// Seeds in the normal test: a few seconds of one core.
const SEEDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_answer_arrives_whole() {
    if let Some(seed) = number("TCP_LITE_SEED") {
        let report = world::run(seed, true);
        println!("{report:#?}");
        return;
    }
    let mut total = world::Report::default();
    let seeds = number("TCP_LITE_SEEDS").unwrap_or(SEEDS);
    for seed in 0..seeds {
        match catch_unwind(|| world::run(seed, false)) {
            Ok(report) => total.add(&report),
            Err(_) => panic!(
                "replay: TCP_LITE_SEED={seed} cargo test -p tcp-lite --test simulation -- --nocapture"
            ),
        }
    }
    println!("{total:#?}");
    assert!(total.forgotten_fins <= 1 + seeds / 5_000);
    // The link did what it is for; without this a broken link would make every seed pass.
    assert!(total.lost > 1_000 && total.retransmits > 1_000 && total.fast_retransmits > 100);
    assert!(total.out_of_order > 100 && total.probes > 10);
    assert!(total.cookies > 500 && total.black_holes > 20);
    assert!(total.taken > seeds / 10 && total.returned > seeds / 50);
}
