//! How long answers take over lossy links, in virtual time.

mod peer;
#[path = "../simulation/rng.rs"]
#[expect(dead_code, reason = "the simulation draws in more ways")]
mod rng;
mod transfer;

use transfer::{Path, transfer};

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
        let report = transfer(seed, Path { rtt, loss }, size as u32, true);
        println!("{report:#?}");
        return;
    }
    for (size, rtt, loss, runs, most) in ROWS {
        let (mut time, mut lost, mut again, mut timeouts, mut twice) = (0, 0, 0, 0, 0);
        for seed in 0..runs {
            let report = transfer(seed, Path { rtt, loss }, size, false);
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
