//! Pacing: how much of a window leaves at once, and that nothing of it is left out.

use super::{ask, lengths};
use crate::testing::{Jar, seg};

/// A connection of MSS 1000 with SACK and a wide window over a path of `rtt` ms, whose congestion window has grown to
/// 160 segments: the segments that left at the end of the last round, and the next number expected.
fn wide(rtt: u64) -> (Jar, Vec<u64>, u32) {
    let mut jar = Jar::new(|_| {});
    let mut syn = seg("S", 0, 0).mss(1000);
    syn.options.sack_permitted = true;
    syn.options.window_scale = Some(6);
    jar.send(syn);
    let _ = jar.sent();
    jar.pass_ms(rtt);
    jar.send(seg("A", 1, 1));
    let end = ask(&mut jar, 2_000_000);
    let mut next = 1;
    let mut each_ms = Vec::new();
    for _ in 0..5 {
        each_ms.clear();
        let first = next;
        for _ in 0..rtt {
            let sent = lengths(&mut jar);
            each_ms.push(sent.len() as u64);
            for (seq, len) in sent {
                assert_eq!(seq, next);
                next += len as u32;
            }
            jar.pass_ms(1);
        }
        // All ACKs of a round in one batch: the worst case.
        for ack in (first + 2000..=next).step_by(2000) {
            let _ = jar.hand(seg("A", end, ack));
        }
    }
    (jar, each_ms, next)
}

#[test]
fn a_large_window_is_spread_over_the_round_trip() {
    let (jar, each_ms, next) = wide(40);
    // 10, 20, 40, 80, 160: nothing of it is left out.
    assert_eq!(next, 1 + 310 * 1000);
    assert!((16..=25).contains(&each_ms[0]), "{each_ms:?}");
    assert!(each_ms[1..].iter().all(|n| *n <= 10), "{each_ms:?}");
    let last = each_ms.iter().rposition(|n| *n > 0);
    assert!(
        last.is_some_and(|ms| (15..=20).contains(&ms)),
        "{each_ms:?}"
    );
    let counters = jar.stack.counters();
    assert_eq!(
        (counters.timeouts, counters.tail_probes, counters.probes),
        (0, 0, 0)
    );
}

#[test]
fn a_short_path_is_not_paced() {
    let (_, each_ms, next) = wide(2);
    assert_eq!((next, each_ms[0]), (1 + 310 * 1000, 160));
}
