//! Data coming in: order, windows, timestamps, resets.

use crate::testing::{Jar, answer, seg};
use crate::{CloseReason, DropReason};

pub(super) fn with_sack(change: impl FnOnce(&mut crate::Config)) -> Jar {
    let mut jar = Jar::new(change);
    let mut syn = seg("S", 0, 0).mss(1000);
    syn.options.sack_permitted = true;
    jar.send(syn);
    let _ = jar.sent();
    jar.send(seg("A", 1, 1));
    jar
}

/// Every segment ahead of a gap is answered at once, the newest island first in the SACK option.
#[test]
fn islands_are_reported_and_joined() {
    let mut jar = with_sack(|_| {});
    // "GET 3\nGET 4\nGET 5\n" is 18 bytes, at 1.
    let text = b"GET 3\nGET 4\nGET 5\n";
    let part = |from: usize, to: usize| seg("A", 1 + from as u32, 1).data(&text[from..to]);
    let blocks = |list: &[(u32, u32)]| {
        let mut want = seg("A", 1, 1);
        list.iter()
            .for_each(|&(l, r)| want.options.sack.push(crate::SeqNum(l), crate::SeqNum(r)));
        want
    };
    jar.send(part(4, 6));
    jar.expect(&[blocks(&[(5, 7)])]);
    jar.send(part(9, 11));
    jar.expect(&[blocks(&[(10, 12), (5, 7)])]);
    jar.send(part(6, 8));
    jar.expect(&[blocks(&[(5, 9), (10, 12)])]);
    jar.send(part(14, 16));
    jar.expect(&[blocks(&[(15, 17), (5, 9), (10, 12)])]);
    // Overlaps are harmless; the first of the parts that came twice leads.
    jar.send(part(5, 10));
    jar.expect(&[blocks(&[(6, 9), (5, 12), (15, 17)])]);
    let mut all = answer(3, 0, 3);
    jar.send(part(0, 4));
    // What is still behind a gap is said with data as well.
    let mut want = seg("PA", 1, 12).data(&all).sack(&[(15, 17)]);
    jar.expect(&[want]);
    all = answer(4, 0, 4);
    all.extend(answer(5, 0, 5));
    jar.send(part(11, 18));
    want = seg("PA", 4, 19).data(&all);
    jar.expect(&[seg("A", 4, 19).sack(&[(15, 17)]), want]);
    assert_eq!(jar.stack.counters().out_of_order, 5);
}

/// What came twice leads the SACK option (RFC 2883 section 4): below the ACK, or before the island that it lies in; once.
#[test]
fn duplicates_are_reported() {
    let mut jar = with_sack(|_| {});
    jar.send(seg("A", 11, 1).data("GET 5\n"));
    jar.expect(&[seg("A", 1, 1).sack(&[(11, 17)])]);
    jar.send(seg("A", 12, 1).data("ET"));
    jar.expect(&[seg("A", 1, 1).sack(&[(12, 14), (11, 17)])]);
    // More than there was: the part that was.
    jar.send(seg("A", 12, 1).data("ET 5\n\n"));
    jar.expect(&[seg("A", 1, 1).sack(&[(12, 17), (11, 18)])]);
    jar.send(seg("A", 1, 1).data("GET 10000\n"));
    let ack = 18;
    let _ = jar.sent();
    for (seq, text, block) in [(1, "GET 10000\n", (1, 11)), (11, "GET 5\n\n", (11, 18))] {
        jar.drops(seg("A", seq, 1).data(text), DropReason::OutOfWindow);
        let last = jar.sent().pop().expect("an ACK");
        assert_eq!(
            (last.ack, last.options.sack),
            (ack, seg("A", 0, 0).sack(&[block]).options.sack)
        );
    }
    // Not agreed on: not reported.
    let mut jar = Jar::established(|_| {});
    jar.send(seg("A", 1, 1).data("x"));
    jar.drops(seg("A", 1, 1).data("x"), DropReason::OutOfWindow);
    jar.expect(&[seg("A", 1, 2)]);
}

#[test]
fn too_many_islands_are_dropped_not_kept() {
    let mut jar = with_sack(|_| {});
    for n in 0..8 {
        jar.send(seg("A", 10 + 10 * n, 1).data("x"));
    }
    jar.drops(seg("A", 500, 1).data("x"), DropReason::NoRoom);
    let last = jar.sent().pop().expect("an ACK");
    assert_eq!((last.ack, last.options.sack.as_slice().len()), (1, 4));
}

#[test]
fn fin_ahead_of_a_gap_counts_once_the_gap_is_filled() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("FA", 7, 1));
    jar.expect(&[seg("A", 1, 1)]);
    // Nothing is behind a FIN.
    jar.send(seg("A", 7, 1).data("GET 9\n"));
    jar.expect(&[seg("A", 1, 1)]);
    jar.send(seg("A", 1, 1).data("GET 3\nGET 9\n"));
    jar.expect(&[seg("FPA", 1, 8).data(answer(3, 0, 3))]);
    assert_eq!(jar.log(), ["established", "eof 0"]);
}

#[test]
fn data_behind_fin_is_ignored() {
    let mut jar = Jar::established(|_| {});
    jar.app.stay = true;
    jar.send(seg("FA", 1, 1));
    jar.expect(&[seg("A", 1, 2)]);
    jar.send(seg("A", 2, 1).data("GET 3\n"));
    jar.expect(&[seg("A", 1, 2)]);
    jar.send(seg("FA", 2, 1).data("GET 3\n"));
    jar.expect(&[seg("A", 1, 2)]);
    assert_eq!(jar.log(), ["established", "eof 0"]);
}

#[test]
fn unread_rest_is_shown_again_with_the_next_bytes() {
    let mut jar = Jar::established(|_| {});
    for (n, byte) in b"GET 3".iter().enumerate() {
        jar.send(seg("PA", 1 + n as u32, 1).data([*byte]));
        jar.expect(&[]);
    }
    jar.send(seg("PA", 6, 1).data("\n"));
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
    assert_eq!(jar.stack.receive_budget_left(), 64 << 20);
}

#[test]
fn old_and_overlapping_segments() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 3\n"));
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
    // Our ACK was lost: the same again.
    jar.drops(seg("PA", 1, 1).data("GET 3\n"), DropReason::OutOfWindow);
    jar.expect(&[seg("A", 4, 7)]);
    // The same with more behind it.
    jar.send(seg("PA", 1, 4).data("GET 3\nGET 4\n"));
    jar.expect(&[seg("PA", 4, 13).data(answer(4, 0, 4))]);
    // Keep-alive: one old byte, or none.
    jar.drops(seg("A", 12, 8), DropReason::OutOfWindow);
    jar.expect(&[seg("A", 8, 13)]);
    jar.drops(seg("A", 12, 8).data("\n"), DropReason::OutOfWindow);
    jar.expect(&[seg("A", 8, 13)]);
}

#[test]
fn delayed_ack_waits_and_every_second_full_segment_does_not() {
    let mut jar = Jar::established(|_| {});
    jar.app.deaf = true;
    jar.send(seg("A", 1, 1).data([b'x'; 1000]));
    jar.pass_ms(39);
    jar.expect(&[]);
    jar.pass_ms(1);
    jar.expect(&[seg("A", 1, 1001)]);
    jar.send(seg("A", 1001, 1).data([b'x'; 1000]));
    jar.expect(&[]);
    jar.send(seg("A", 2001, 1).data([b'x'; 1000]));
    jar.expect(&[seg("A", 1, 3001)]);
    jar.pass_ms(100);
    jar.expect(&[]);
    // A peer with small segments: 600 bytes are a full one as far as it showed.
    let mut jar = Jar::established(|_| {});
    jar.app.deaf = true;
    jar.send(seg("A", 1, 1).data([b'x'; 600]));
    jar.expect(&[]);
    jar.send(seg("A", 601, 1).data([b'x'; 600]));
    jar.expect(&[seg("A", 1, 1201)]);
}

/// The right edge never moves left, the last byte of the window is taken, none behind it; ACKs count at a closed window.
#[test]
fn window_closes_and_opens() {
    // The probe may be joined with what is repeated.
    for from in [3001, 2900, 1] {
        closes_and_opens(from);
    }
}

fn closes_and_opens(probe_from: u32) {
    let mut jar = Jar::established(|config| {
        config.receive_window = 3000;
        config.pieces_per_connection = 1;
    });
    // A window of 3000 was offered; one request fills the queue, the rest waits.
    let mut text = b"GET 2000\nGET 4\n".to_vec();
    text.resize(4000, b'\n');
    let mut edge = 1 + 3000;
    let mut acked = 1;
    for from in (0..3000).step_by(500) {
        let _ = jar.hand(
            seg("A", 1 + from as u32, 1)
                .win(1000)
                .data(&text[from..from + 500]),
        );
        jar.flush();
        for sent in jar.sent() {
            assert!(
                sent.ack + u32::from(sent.win) >= edge,
                "the edge moved left"
            );
            edge = sent.ack + u32::from(sent.win);
            acked = sent.ack;
        }
    }
    jar.pass_ms(50);
    acked = jar.sent().last().map_or(acked, |sent| sent.ack);
    // "GET 2000\n" was consumed: 9 bytes, less than half the buffer, which does not open the window.
    assert_eq!((acked, edge), (3001, 3001));
    // A probe: refused, answered, and its ACK field counts.
    let probe = &text[probe_from as usize - 1..3001];
    jar.drops(
        seg("A", probe_from, 1001).win(1000).data(probe),
        DropReason::OutOfWindow,
    );
    let sent = jar.sent();
    assert_eq!((sent[0].ack, sent[0].win, sent[0].data.len()), (3001, 0, 0));
    assert_eq!((sent[1].seq, sent[1].data.len()), (1001, 1000));
    // The answer is acknowledged whole: the application goes on, and the window opens by a segment of its own or on data.
    jar.send(seg("A", 3001, 2001).win(1000));
    let last = jar.sent().pop().expect("a window update");
    assert_eq!(
        (last.ack, last.win, last.data),
        (3001, 3000, answer(4, 0, 4))
    );
}

#[test]
fn a_request_as_large_as_the_window_can_complete() {
    let mut jar = Jar::established(|config| config.receive_window = 2000);
    let mut at = 1;
    for _ in 0..1999 {
        jar.send(seg("A", at, 1).data("x"));
        at += 1;
    }
    jar.pass_ms(50);
    let last = jar.sent().pop().expect("an ACK");
    assert_eq!((last.ack, last.win), (2000, 1));
    jar.send(seg("A", at, 1).data("\n"));
    jar.pass_ms(50);
    let last = jar.sent().pop().expect("an ACK");
    assert_eq!((last.ack, last.win), (2001, 2000));
}

/// Half a request that leaves less than a segment free still gets every free byte, or it could never be completed.
#[test]
fn half_a_request_is_offered_what_is_left() {
    let mut jar = Jar::established(|config| config.receive_window = 2000);
    let line = |len: usize, end: &str| "x".repeat(len) + end;
    jar.send(seg("A", 1, 1).data(line(989, "\n")));
    jar.send(seg("A", 991, 1).data(line(1010, "")));
    jar.pass_ms(50);
    let last = jar.sent().pop().expect("an ACK");
    assert_eq!((last.ack, last.win), (2001, 990));
    jar.send(seg("A", 2001, 1).data(line(989, "\n")));
    jar.pass_ms(50);
    let last = jar.sent().pop().expect("an ACK");
    assert_eq!((last.ack, last.win), (2991, 2000));
}

#[test]
fn acks_out_of_range() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).win(1000).data("GET 2000\n"));
    let _ = jar.sent();
    jar.drops(seg("A", 10, 1002), DropReason::BadAck);
    jar.expect(&[seg("A", 1001, 10)]);
    jar.drops(seg("A", 10, 1u32.wrapping_sub(70_000)), DropReason::BadAck);
    jar.expect(&[seg("A", 1001, 10)]);
    // Old, but not older than any window: looked at, without effect.
    jar.send(seg("A", 10, 0u32.wrapping_sub(100)).win(1000));
    jar.expect(&[]);
    // No ACK at all.
    jar.drops(seg("", 10, 0).data("x"), DropReason::OddFlags);
    jar.expect(&[]);
}

#[test]
fn resets_and_syns_in_the_window_are_challenged() {
    let mut jar = Jar::established(|_| {});
    for (given, why, answered) in [
        (seg("R", 2, 0), DropReason::InexactReset, true),
        (seg("R", 65_535, 0), DropReason::InexactReset, true),
        (seg("R", 65_536, 0), DropReason::OutOfWindow, false),
        (seg("R", 0, 0), DropReason::OutOfWindow, false),
        (seg("S", 0, 0), DropReason::UnexpectedSyn, true),
        (seg("S", 1, 0), DropReason::UnexpectedSyn, true),
        (seg("SA", 100_000, 1), DropReason::UnexpectedSyn, true),
        (seg("SF", 1, 0), DropReason::UnexpectedSyn, true),
        (seg("SFA", 1, 1), DropReason::UnexpectedSyn, true),
        (seg("SR", 1, 0), DropReason::OddFlags, false),
    ] {
        jar.drops(given, why);
        let answer = seg("A", 1, 1);
        jar.expect(if answered {
            core::slice::from_ref(&answer)
        } else {
            &[]
        });
    }
    assert_eq!(jar.stack.len(), 1);
    jar.send(seg("RA", 1, 1));
    jar.assert_gone();
}

#[test]
fn challenge_acks_are_limited() {
    let mut jar = Jar::established(|config| config.challenge_acks_per_second = 10);
    for _ in 0..1000 {
        jar.drops(seg("S", 1, 0), DropReason::UnexpectedSyn);
    }
    assert!((5..=10).contains(&jar.sent().len()));
    assert!(jar.stack.counters().challenge_acks_limited >= 990);
}

/// RFC 5961 section 7 with CVE-2016-5696 in mind: one budget for all connections, and nobody can tell how large it is.
#[test]
fn challenge_ack_budget_is_shared_and_unsteady() {
    let mut jar = Jar::established(|config| config.challenge_acks_per_second = 100);
    let first = (jar.flow, jar.iss);
    jar.flow.remote.port += 1;
    jar.send(seg("S", 0, 0).mss(1000));
    let _ = jar.sent();
    jar.send(seg("A", 1, 1));
    let mut sizes = Vec::new();
    for _ in 0..20 {
        for _ in 0..60 {
            let here = (jar.flow, jar.iss);
            jar.drops(seg("R", 2, 0), DropReason::InexactReset);
            (jar.flow, jar.iss) = first;
            jar.drops(seg("S", 1, 0), DropReason::UnexpectedSyn);
            (jar.flow, jar.iss) = here;
        }
        sizes.push(jar.out.sent.drain(..).count());
        jar.pass_ms(1_000);
    }
    assert!(sizes.iter().all(|n| (50..=100).contains(n)), "{sizes:?}");
    sizes.sort_unstable();
    sizes.dedup();
    assert!(sizes.len() > 5);
}

/// RFC 7323: TS.Recent is taken from segments at or before Last.ACK.sent, PAWS drops what is older, across the wrap.
#[test]
fn timestamps() {
    let mut jar = Jar::new(|_| {});
    let base = u32::MAX - 1;
    jar.send(seg("S", 0, 0).mss(1000).ts(base, 0));
    jar.expect(&[seg("SA", 0, 1).mss(1460).ts(0, base)]);
    jar.send(seg("PA", 1, 1).ts(base.wrapping_add(5), 0).data("GET 3\n"));
    jar.expect(&[seg("PA", 1, 7)
        .ts(0, base.wrapping_add(5))
        .data(answer(3, 0, 3))]);
    // Older: dropped, acknowledged.
    jar.drops(
        seg("PA", 7, 4).ts(base, 0).data("GET 3\n"),
        DropReason::Paws,
    );
    jar.expect(&[seg("A", 4, 7).ts(0, base.wrapping_add(5))]);
    jar.drops(seg("PA", 7, 4).data("GET 3\n"), DropReason::NoTimestamp);
    jar.expect(&[]);
    // Ahead of a gap: its timestamp is not echoed, the one that fills the gap is.
    jar.send(seg("PA", 10, 4).ts(base.wrapping_add(9), 0).data(" 3\n"));
    jar.expect(&[seg("A", 4, 7).ts(0, base.wrapping_add(5))]);
    jar.send(seg("PA", 7, 4).ts(base.wrapping_add(7), 0).data("GET"));
    jar.expect(&[seg("PA", 4, 13)
        .ts(0, base.wrapping_add(7))
        .data(answer(3, 0, 3))]);
    // With a delayed ACK the earliest unacknowledged segment's is echoed.
    jar.send(seg("PA", 13, 7).ts(base.wrapping_add(20), 0).data("G"));
    jar.send(seg("PA", 14, 7).ts(base.wrapping_add(21), 0).data("E"));
    jar.pass_ms(50);
    jar.expect(&[seg("A", 7, 15).ts(0, base.wrapping_add(20))]);
    // An old RST still resets: no PAWS for it.
    jar.send(seg("R", 15, 0));
    jar.assert_gone();
}

/// RFC 7323 section 3.2: timestamps in a RST as well (SHOULD).
#[test]
fn reset_has_timestamps() {
    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1000).ts(7, 0));
    let _ = jar.sent();
    jar.send(seg("PA", 1, 1).ts(8, 0).data("DIE\n"));
    jar.expect(&[seg("RA", 1, 5).ts(0, 8)]);
    jar.assert_gone();
}

/// After 24 days without a segment TS.Recent is not believed any more.
#[test]
fn stale_timestamp_is_forgotten() {
    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1000).ts(1_000_000, 0));
    let _ = jar.sent();
    jar.send(seg("A", 1, 1).ts(1_000_000, 0));
    jar.pass_ms(25 * 24 * 3600 * 1000);
    jar.send(seg("PA", 1, 1).ts(5, 0).data("GET 3\n"));
    jar.expect(&[seg("PA", 1, 7).ts(0, 5).data(answer(3, 0, 3))]);
}

#[test]
fn receive_budget_sheds_what_cannot_be_kept() {
    let mut jar = Jar::established(|config| config.receive_budget = 1000);
    // An island does not fit: the peer keeps it.
    jar.drops(seg("A", 10, 1).data("x"), DropReason::NoRoom);
    jar.expect(&[seg("A", 1, 1)]);
    // A whole request needs no memory.
    jar.send(seg("PA", 1, 1).data("GET 3\n"));
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
    // Half a request does.
    jar.send(seg("PA", 7, 4).data("GET"));
    jar.expect(&[seg("RA", 4, 10)]);
    jar.assert_gone();
    assert_eq!(jar.stack.counters().closed(CloseReason::ReceiveBudget), 1);
    assert_eq!(jar.stack.receive_budget_left(), 1000);
}
