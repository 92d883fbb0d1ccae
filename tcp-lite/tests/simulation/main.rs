//! The stack against smoltcp as client, over a link that loses, reorders and duplicates, in virtual time.
//!
//! Every run is a pure function of its seed. A failure prints the command that replays it:
//! `TCP_LITE_SEED=<seed> cargo test -p tcp-lite --test simulation`. `TCP_LITE_SEEDS=<count>` runs more of them.

mod client;
mod link;
mod long;
mod peer;
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
}

/// Mean times of long answers: (bytes, round trip in ms, lost of a thousand, runs, most ms). The bounds are some tenths above
/// what is reached. A run is printed by `TCP_LITE_LONG=<seed>,<ms>,<per mille>,<bytes>`.
#[test]
fn long_answers_come_in_time() {
    const ROWS: [(u32, u64, u64, u64, u64); 7] = [
        (65_536, 100, 0, 1, 400),
        (65_536, 100, 30, 400, 550),
        (65_536, 100, 100, 400, 950),
        (1 << 20, 20, 0, 1, 175),
        (1 << 20, 100, 0, 1, 850),
        (1 << 20, 100, 10, 100, 3_800),
        (1 << 20, 20, 100, 20, 10_000),
    ];
    if let Ok(run) = std::env::var("TCP_LITE_LONG") {
        let run: Vec<u64> = run.split(',').filter_map(|n| n.parse().ok()).collect();
        let [seed, rtt, loss, size] = run[..] else {
            panic!("four numbers, not {run:?}");
        };
        let report = long::transfer(seed, long::Path { rtt, loss }, size as u32, true);
        println!("{report:#?}");
        return;
    }
    for (size, rtt, loss, runs, most) in ROWS {
        let (mut time, mut lost, mut again, mut timeouts, mut twice) = (0, 0, 0, 0, 0);
        for seed in 0..runs {
            let report = long::transfer(seed, long::Path { rtt, loss }, size, false);
            time += report.time;
            lost += report.lost;
            twice += u64::from(report.twice);
            again += report.counters.retransmits;
            timeouts += report.counters.timeouts;
        }
        let mean = time / runs / 1000;
        println!(
            "{size} bytes, {rtt} ms, {loss} of 1000 lost: {mean} ms; {lost} lost, {again} sent again, {twice} twice, \
             {timeouts} timeouts"
        );
        assert!(mean <= most, "{mean} ms, not {most}");
        // What is sent again was lost, or its ACKs were.
        assert!(
            twice <= lost / 10,
            "{twice} segments came twice, {lost} were lost"
        );
    }
}
