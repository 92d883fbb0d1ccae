//! Path MTU: what routers say, and what their silence says.

use crate::testing::{Jar, seg};
use crate::{Addr, Endpoint};

/// The connection that asks for 20,000 bytes with full segments, over a path that takes none of them.
fn lost(v6: bool, stamped: bool) -> (Jar, Vec<usize>) {
    let mut jar = Jar::new(|_| {});
    if v6 {
        let end = |last, port| Endpoint {
            addr: Addr::v6([0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]),
            port,
        };
        (jar.flow.local, jar.flow.remote) = (end(1, 80), end(2, 9));
    }
    let stamp = |s: crate::testing::Seg| if stamped { s.ts(5, 0) } else { s };
    jar.send(stamp(seg("S", 0, 0).mss(9000)));
    let _ = jar.sent();
    jar.send(stamp(seg("PA", 1, 1).data("GET 20000\n")));
    let _ = jar.sent();
    let mut lengths = Vec::new();
    for _ in 0..3_000 {
        jar.pass_ms(10);
        lengths.extend(
            jar.sent()
                .iter()
                .filter(|s| s.seq == 1)
                .map(|s| s.data.len()),
        );
    }
    lengths.dedup();
    (jar, lengths)
}

#[test]
fn a_black_hole_is_found_by_timeouts() {
    for (v6, stamped, sizes) in [
        (false, false, vec![1460, 1240, 536]),
        (false, true, vec![1448, 1228, 524]),
        (true, false, vec![1440, 1220]),
        (true, true, vec![1428, 1208]),
    ] {
        let (jar, lengths) = lost(v6, stamped);
        assert_eq!(lengths, sizes);
        assert_eq!(jar.stack.counters().black_holes, sizes.len() as u64 - 1);
        assert_eq!(jar.stack.counters().path_mtu, 0);
    }
}

/// Losses in a row on a path that has carried full segments are losses, for longer.
#[test]
fn a_proven_path_is_trusted_for_longer() {
    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1460));
    let _ = jar.sent();
    jar.send(seg("PA", 1, 1).data("GET 100000\n"));
    let _ = jar.sent();
    jar.send(seg("A", 12, 1461));
    let mut found = Vec::new();
    for timeouts in 1..=8 {
        while jar.stack.counters().timeouts < timeouts {
            jar.pass_ms(10);
        }
        found.push(jar.stack.counters().black_holes);
    }
    assert_eq!(found, [0, 0, 0, 0, 0, 1, 1, 2]);
}

/// What gets through then stays small, and everything arrives.
#[test]
fn the_answer_goes_on_in_small_segments() {
    let (mut jar, _) = lost(false, false);
    let mut next = 1;
    for _ in 0..1_000 {
        jar.send(seg("A", 11, next));
        for sent in jar.sent() {
            assert!(sent.data.len() <= 536);
            if sent.seq <= next {
                next = next.max(sent.seq + sent.data.len() as u32);
            }
        }
        if next == 20_001 {
            break;
        }
        jar.pass_ms(100);
    }
    jar.send(seg("A", 11, 20_001));
    assert_eq!((next, jar.app.held), (20_001, 0));
}

/// Small segments that are lost, and a closed window that is probed, say nothing of the path.
#[test]
fn other_silence_is_no_black_hole() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 500\n"));
    jar.pass_ms(30_000);
    assert!(jar.stack.counters().timeouts > 5);
    assert_eq!(jar.stack.counters().black_holes, 0);
    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1460));
    let _ = jar.sent();
    jar.send(seg("PA", 1, 1).data("GET 5000\n").win(0));
    jar.pass_ms(30_000);
    assert!(jar.stack.counters().probes > 5);
    assert_eq!(jar.stack.counters().black_holes, 0);
}
