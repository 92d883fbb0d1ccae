//! Data going out: windows, loss, probes, a full transmit side.

use core::time::Duration;

use super::{ask, full, lengths};
use crate::testing::{Jar, answer, seg};
use crate::{CloseReason, DropReason};

#[test]
fn slow_start_from_ten_segments() {
    let mut jar = Jar::established(|_| {});
    let end = ask(&mut jar, 100_000);
    assert_eq!(lengths(&mut jar), full(1, 10));
    // Each ACK of two segments lets two out and opens the window by two.
    for n in 0..5 {
        jar.send(seg("A", end, 2001 + 2000 * n));
        assert_eq!(lengths(&mut jar), full(10_001 + 4000 * n, 4));
    }
}

#[test]
fn timeout_backs_off_and_sends_all_again() {
    let mut jar = Jar::established(|_| {});
    let end = ask(&mut jar, 3500);
    assert_eq!(
        lengths(&mut jar),
        [(1, 1000), (1001, 1000), (2001, 1000), (3001, 500)]
    );
    for wait in [200, 400, 800, 1600] {
        jar.pass_ms(wait - 20);
        assert_eq!(lengths(&mut jar), []);
        jar.pass_ms(25);
        assert_eq!(lengths(&mut jar), [(1, 1000)]);
    }
    // Go back: one segment acknowledged lets two out.
    jar.send(seg("A", end, 1001));
    assert_eq!(lengths(&mut jar), [(1001, 1000), (2001, 1000)]);
    // All of it had arrived.
    jar.send(seg("A", end, 3501));
    assert_eq!(lengths(&mut jar), []);
    assert_eq!(jar.app.held, 0);
    assert_eq!(jar.stack.counters().timeouts, 4);
}

#[test]
fn third_duplicate_repairs_without_sack() {
    let mut jar = Jar::established(|_| {});
    let end = ask(&mut jar, 30_000);
    assert_eq!(lengths(&mut jar), full(1, 10));
    jar.send(seg("A", end, 1001));
    assert_eq!(lengths(&mut jar), full(10_001, 2));
    // 1001 and 5001 are lost. Two duplicates let new segments out (RFC 3042), the third repairs.
    jar.send(seg("A", end, 1001));
    assert_eq!(lengths(&mut jar), full(12_001, 1));
    jar.send(seg("A", end, 1001));
    assert_eq!(lengths(&mut jar), full(13_001, 1));
    jar.send(seg("A", end, 1001));
    assert_eq!(lengths(&mut jar), full(1001, 1));
    // A partial ACK repairs the next gap at once (RFC 6582).
    jar.send(seg("A", end, 5001));
    assert_eq!(lengths(&mut jar)[0], (5001, 1000));
    assert_eq!(jar.stack.counters().fast_retransmits, 1);
    jar.send(seg("A", end, 14_001));
    // Half the flight at the loss (13 segments), and not more.
    assert!(lengths(&mut jar).len() <= 7);
    assert_eq!(jar.stack.counters().timeouts, 0);
}

#[test]
fn zero_window_is_probed_then_given_up() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).win(0).data("GET 5000\n"));
    jar.expect(&[]);
    jar.pass_ms(40);
    jar.expect(&[seg("A", 1, 10)]);
    let mut probes = 0;
    for _ in 0..1000 {
        if jar.stack.is_empty() {
            break;
        }
        jar.pass_ms(100);
        for probe in jar.sent() {
            if probe.flags == seg("RA", 0, 0).flags {
                continue;
            }
            assert_eq!((probe.seq, &probe.data), (1, &answer(5000, 0, 1)));
            probes += 1;
            // The peer lives, and has no room.
            jar.send(seg("A", 10, 1).win(0));
        }
    }
    assert!((6..=12).contains(&probes), "{probes}");
    assert_eq!(jar.log(), ["established", "closed UserTimeout 1"]);
    jar.assert_gone();
}

#[test]
fn window_that_opens_again() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).win(0).data("GET 1500\n"));
    jar.pass_ms(250);
    let _ = jar.sent();
    jar.send(seg("A", 10, 1).win(65_535));
    assert_eq!(lengths(&mut jar), [(1, 1000), (1001, 500)]);
    jar.send(seg("A", 10, 1501));
    assert_eq!(jar.app.held, 0);
    // The probe's byte was taken.
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).win(0).data("GET 1500\n"));
    jar.pass_ms(250);
    let _ = jar.sent();
    jar.send(seg("A", 10, 2).win(65_535));
    assert_eq!(lengths(&mut jar), [(2, 1000), (1002, 499)]);
}

/// A retransmission with a newer ACK brings the newest window, although its SEQ is lower; what it overtook does not.
#[test]
fn the_window_of_a_retransmission_counts() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).win(1000).data("GET 3000\n"));
    assert_eq!(lengths(&mut jar), [(1, 1000)]);
    // Ahead of a gap.
    jar.send(seg("PA", 17, 1).win(1000).data("GET 10\n"));
    let _ = jar.sent();
    jar.send(seg("PA", 10, 1001).win(0).data("GET 10\n"));
    jar.expect(&[seg("A", 1001, 24)]);
    jar.send(seg("A", 24, 1).win(1000));
    jar.expect(&[]);
    jar.send(seg("A", 24, 1001).win(3000));
    assert_eq!(lengths(&mut jar), [(1001, 1000), (2001, 1000), (3001, 20)]);
}

/// Not a silly segment at once, but the window's worth after a while (RFC 9293 section 3.8.6.2.1).
#[test]
fn small_window_is_filled_by_timer() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).win(100).data("GET 1500\n"));
    jar.expect(&[]);
    jar.pass_ms(250);
    let mut sent = lengths(&mut jar);
    sent.retain(|s| s.1 > 0);
    assert_eq!(sent, [(1, 100)]);
}

/// Whatever the transmit side takes per flush, everything arrives once and in order.
#[test]
fn full_transmit_side() {
    for room in 1..4 {
        let mut jar = Jar::established(|_| {});
        jar.out.room = 0;
        let end = ask(&mut jar, 9500);
        jar.expect(&[]);
        assert!(
            jar.stack
                .next_deadline()
                .is_some_and(|at| at <= jar.now + Duration::from_millis(1))
        );
        let mut next = 1;
        for _ in 0..20 {
            jar.out.room = room;
            jar.pass_ms(1);
            for sent in jar.sent() {
                assert_eq!(sent.seq, next);
                assert_eq!(sent.data, answer(9500, next - 1, sent.data.len() as u32));
                next += sent.data.len() as u32;
            }
        }
        assert_eq!(next, 9501);
        jar.send(seg("A", end, next));
        jar.assert_idle();
    }
}

/// A SYN-ACK, an ACK and a FIN that met a full transmit side leave later.
#[test]
fn full_transmit_side_for_control_segments() {
    let mut jar = Jar::new(|_| {});
    jar.out.room = 0;
    jar.send(seg("S", 0, 0).mss(1000));
    jar.out.room = 1;
    jar.pass_ms(2);
    jar.expect(&[seg("SA", 0, 1).mss(1460)]);
    jar.send(seg("A", 1, 1));
    jar.send(seg("A", 5, 1).data("x"));
    jar.expect(&[]);
    jar.out.room = 1;
    jar.pass_ms(2);
    jar.expect(&[seg("A", 1, 1)]);
    jar.send(seg("A", 1, 1).data("BYE\n"));
    jar.expect(&[]);
    jar.out.room = 1;
    jar.pass_ms(2);
    jar.expect(&[seg("FA", 1, 6)]);
}

#[test]
fn full_queue_pauses_the_application() {
    let mut jar = Jar::established(|config| config.pieces_per_connection = 2);
    jar.send(seg("PA", 1, 1).data("GET 1\nGET 2\nGET 3\nGET 4\nGET 5\n"));
    assert_eq!(lengths(&mut jar), [(1, 3)]);
    jar.send(seg("A", 31, 4));
    assert_eq!(lengths(&mut jar), [(4, 7)]);
    // One piece acknowledged is room for one.
    jar.send(seg("A", 31, 7));
    assert_eq!(lengths(&mut jar), [(11, 5)]);
    jar.send(seg("A", 31, 16));
    assert_eq!(jar.app.held, 0);
    assert_eq!(jar.log(), ["established", "full", "full"]);
}

/// FIN waits for the application that waits for room.
#[test]
fn eof_comes_after_the_last_request() {
    let mut jar = Jar::established(|config| config.pieces_per_connection = 1);
    jar.send(seg("FPA", 1, 1).data("GET 1\nGET 2\nGET 3\nrest"));
    assert_eq!(lengths(&mut jar), [(1, 1)]);
    jar.send(seg("A", 24, 2));
    assert_eq!(lengths(&mut jar), [(2, 2)]);
    assert_eq!(jar.log(), ["established", "full", "full"]);
    jar.send(seg("A", 24, 4));
    jar.expect(&[seg("FPA", 4, 24).data(answer(3, 0, 3))]);
    assert_eq!(jar.log(), ["eof 4"]);
}

/// A deadline that passes meanwhile does not end the waiting for room.
#[test]
fn deadline_while_waiting_for_room() {
    let mut jar = Jar::established(|config| config.pieces_per_connection = 1);
    jar.app.stay = true;
    jar.send(seg("PA", 1, 1).data("WAIT 30\nGET 1\nGET 2\n"));
    assert_eq!(lengths(&mut jar), [(1, 1)]);
    jar.pass_ms(40);
    assert_eq!(jar.log(), ["established", "full", "deadline 6"]);
    jar.send(seg("A", 21, 2));
    assert_eq!(lengths(&mut jar), [(2, 2)]);
}

/// FIN alone against a closed window.
#[test]
fn fin_is_probed_too() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).win(0).data("BYE\n"));
    jar.pass_ms(250);
    jar.expect(&[seg("A", 1, 5), seg("FA", 1, 5)]);
    jar.send(seg("A", 5, 1).win(0));
    jar.expect(&[]);
    jar.pass_ms(450);
    jar.expect(&[seg("FA", 1, 5)]);
    jar.send(seg("A", 5, 1).win(100));
    jar.expect(&[seg("FA", 1, 5)]);
    jar.send(seg("FA", 5, 2).win(100));
    jar.expect(&[seg("A", 2, 6)]);
}

/// The slab is held by another connection: nobody's ACK will wake this one, its timer does.
#[test]
fn full_slab_is_asked_again() {
    let mut jar = Jar::established(|config| config.pieces = 1);
    jar.send(seg("PA", 1, 1).data("GET 7\n"));
    let _ = jar.sent();
    let (first, first_iss) = (jar.flow, jar.iss);
    jar.flow.remote.port = 77;
    jar.send(seg("S", 0, 0).mss(1000));
    let _ = jar.sent();
    let (second, second_iss) = (jar.flow, jar.iss);
    jar.send(seg("PA", 1, 1).data("GET 3\n"));
    jar.pass_ms(50);
    jar.expect(&[seg("A", 1, 7)]);
    (jar.flow, jar.iss) = (first, first_iss);
    jar.send(seg("A", 7, 8));
    (jar.flow, jar.iss) = (second, second_iss);
    jar.pass_ms(11);
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
    jar.send(seg("A", 7, 4));
    jar.assert_idle();
}

#[test]
fn path_mtu_is_lowered_for_outstanding_data_only() {
    let mut jar = Jar::established(|_| {});
    let end = ask(&mut jar, 2000);
    assert_eq!(lengths(&mut jar), full(1, 2));
    let at = |jar: &Jar, seq: u32| crate::SeqNum(jar.iss) + seq;
    let big = |jar: &mut Jar, seq: u32, mtu: u16| {
        let seq = at(jar, seq);
        let known = jar.stack.on_packet_too_big(jar.now, &jar.flow, seq, mtu);
        jar.flush();
        known
    };
    // Not outstanding: forged.
    assert!(big(&mut jar, 5000, 600) && big(&mut jar, 0, 600));
    // No news.
    assert!(big(&mut jar, 1, 1500));
    assert_eq!(lengths(&mut jar), []);
    assert!(big(&mut jar, 1, 640));
    assert_eq!(
        lengths(&mut jar),
        [(1, 600), (601, 600), (1201, 600), (1801, 200)]
    );
    // Never below what a path must carry.
    assert!(big(&mut jar, 1, 10));
    assert_eq!(lengths(&mut jar)[0], (1, 512));
    jar.send(seg("A", end, 2001));
    assert_eq!((jar.app.held, jar.stack.counters().path_mtu), (0, 2));
    let mut other = jar.flow;
    other.remote.port = 9;
    assert!(
        !jar.stack
            .on_packet_too_big(jar.now, &other, crate::SeqNum(0), 600)
    );
}

#[test]
fn silent_peer_is_given_up() {
    let mut jar = Jar::established(|_| {});
    ask(&mut jar, 2000);
    jar.pass(Duration::from_secs(200));
    assert_eq!(jar.stack.counters().closed(CloseReason::UserTimeout), 1);
    jar.assert_gone();
    assert_eq!(jar.stack.next_deadline(), None);
    let last = jar.sent().pop().expect("a reset");
    assert_eq!((last.flags, last.seq), (seg("RA", 0, 0).flags, 2001));
}

/// Slow is not silent: every byte that is acknowledged starts the user timeout again.
#[test]
fn slow_peer_is_not_given_up() {
    let mut jar = Jar::established(|_| {});
    let end = ask(&mut jar, 100_000);
    for segment in 1..=20 {
        jar.pass(Duration::from_secs(10));
        let _ = jar.sent();
        jar.send(seg("A", end, 1 + 1000 * segment));
    }
    assert_eq!((jar.stack.len(), jar.log().len()), (1, 1));
}

/// An ACK below snd_una must not move anything back, nor an older segment the window.
#[test]
fn late_acks_change_nothing() {
    let mut jar = Jar::established(|_| {});
    let end = ask(&mut jar, 30_000);
    jar.send(seg("A", end, 5001));
    let _ = jar.sent();
    jar.send(seg("A", end, 3001).win(0));
    jar.drops(seg("A", end - 1, 5001).win(0), DropReason::OutOfWindow);
    jar.expect(&[seg("A", 20_001, end)]);
    // The window is still open: a timeout, not a probe.
    jar.pass_ms(250);
    assert_eq!(lengths(&mut jar), [(5001, 1000)]);
    jar.send(seg("A", end, 6001));
    assert_eq!(lengths(&mut jar).len(), 2);
    jar.drops(seg("A", end + 70_000, 6001), DropReason::OutOfWindow);
}
