//! From FIN-WAIT-1 to TIME-WAIT, and ends without ceremony.

use core::time::Duration;

use crate::testing::{Jar, answer, seg};
use crate::{CloseReason, Disposition, DropReason};

/// Closed by us behind five bytes; FIN is not acknowledged yet.
fn fin_wait_1() -> Jar {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 5\nBYE\n"));
    jar.expect(&[seg("FPA", 1, 11).data(answer(5, 0, 5))]);
    jar
}

fn fin_wait_2() -> Jar {
    let mut jar = fin_wait_1();
    jar.send(seg("A", 11, 7));
    jar.expect(&[]);
    assert_eq!(jar.app.held, 0);
    jar
}

fn time_wait() -> Jar {
    let mut jar = fin_wait_2();
    jar.send(seg("FA", 11, 7));
    jar.expect(&[seg("A", 7, 12)]);
    assert_eq!(jar.log(), ["established", "closed Finished 1"]);
    jar
}

#[test]
fn simultaneous_close() {
    let mut jar = fin_wait_1();
    // Their FIN crosses ours and acknowledges nothing: CLOSING.
    jar.send(seg("FA", 11, 1));
    jar.expect(&[seg("A", 7, 12)]);
    jar.pass_ms(250);
    jar.expect(&[seg("FPA", 1, 12).data(answer(5, 0, 5))]);
    jar.send(seg("A", 12, 7));
    jar.expect(&[]);
    assert_eq!((jar.stack.len(), jar.stack.time_wait()), (0, 1));
    assert_eq!(jar.log(), ["established", "closed Finished 1"]);
}

#[test]
fn fin_waits_for_the_window_and_survives_loss() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).win(1000).data("GET 1300\nBYE\n"));
    jar.expect(&[seg("A", 1, 14).data(answer(1300, 0, 1000))]);
    jar.send(seg("A", 14, 1001).win(1000));
    jar.expect(&[seg("FPA", 1001, 14).data(answer(1300, 1000, 300))]);
    // Lost: the answer's rest and FIN come again together, later each time.
    jar.pass_ms(250);
    jar.expect(&[seg("FPA", 1001, 14).data(answer(1300, 1000, 300))]);
    jar.pass_ms(400);
    jar.expect(&[seg("FPA", 1001, 14).data(answer(1300, 1000, 300))]);
    // The data arrived this time, FIN did not.
    jar.send(seg("A", 14, 1301).win(1000));
    jar.expect(&[]);
    jar.pass_ms(250);
    jar.expect(&[seg("FA", 1301, 14)]);
    jar.send(seg("FA", 14, 1302));
    jar.expect(&[seg("A", 1302, 15)]);
    assert_eq!(jar.stack.time_wait(), 1);
}

/// FIN takes a number of the window like a byte.
#[test]
fn fin_does_not_reach_past_the_window() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).win(1000).data("GET 1000\nBYE\n"));
    jar.expect(&[seg("PA", 1, 14).data(answer(1000, 0, 1000))]);
    jar.send(seg("A", 14, 1001).win(1000));
    jar.expect(&[seg("FA", 1001, 14)]);
}

#[test]
fn half_close_still_gets_its_answer() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("FPA", 1, 1).win(1000).data("GET 1500\n"));
    jar.expect(&[seg("A", 1, 11).data(answer(1500, 0, 1000))]);
    assert_eq!(jar.log(), ["established", "eof 0"]);
    jar.send(seg("A", 11, 1001).win(1000));
    jar.expect(&[seg("FPA", 1001, 11).data(answer(1500, 1000, 500))]);
    jar.send(seg("A", 11, 1502));
    assert_eq!(jar.log(), ["closed Finished 1"]);
    jar.assert_gone();
}

/// LAST-ACK: a lost ACK of our FIN, and the peer's FIN once more.
#[test]
fn last_ack_repeats_fin() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("FA", 1, 1));
    jar.expect(&[seg("FA", 1, 2)]);
    jar.drops(seg("FA", 1, 1), DropReason::OutOfWindow);
    jar.expect(&[seg("A", 2, 2)]);
    jar.pass_ms(250);
    jar.expect(&[seg("FA", 1, 2)]);
    jar.send(seg("A", 2, 2));
    jar.assert_gone();
    assert_eq!(jar.stack.time_wait(), 0);
}

#[test]
fn linger_discards_and_acknowledges() {
    let mut jar = fin_wait_2();
    jar.send(seg("PA", 11, 7).data("GET 9\n"));
    jar.pass_ms(50);
    jar.expect(&[seg("A", 7, 17)]);
    // Ahead of a gap: not kept.
    jar.drops(seg("PA", 20, 7).data("x"), DropReason::NoRoom);
    jar.expect(&[seg("A", 7, 17)]);
    jar.send(seg("FPA", 17, 7).data("more"));
    jar.expect(&[seg("A", 7, 22)]);
    assert_eq!((jar.stack.len(), jar.stack.time_wait()), (0, 1));
    assert_eq!(jar.log(), ["established", "closed Finished 1"]);
}

#[test]
fn linger_is_bounded_in_time_and_bytes() {
    let mut jar = fin_wait_2();
    jar.pass(Duration::from_secs(9));
    assert_eq!(jar.stack.len(), 1);
    jar.pass(Duration::from_millis(1_100));
    jar.expect(&[]);
    jar.assert_gone();
    assert_eq!(jar.log(), ["established", "closed LingerTimeout 1"]);

    let mut jar = fin_wait_2();
    let mut seq = 11;
    for _ in 0..2000 {
        if jar.stack.is_empty() {
            break;
        }
        jar.send(seg("A", seq, 7).data([b'x'; 1000]));
        seq += 1000;
    }
    assert_eq!(jar.log(), ["established", "closed LingerFlood 1"]);
    let last = jar.sent().pop().expect("a reset");
    assert_eq!((last.flags, last.seq), (seg("RA", 0, 0).flags, 7));
}

#[test]
fn time_wait_answers_repeated_fin_and_starts_again() {
    let mut jar = time_wait();
    jar.pass(Duration::from_secs(40));
    jar.send(seg("FA", 11, 7));
    jar.expect(&[seg("A", 7, 12)]);
    jar.pass(Duration::from_secs(40));
    assert_eq!(jar.stack.time_wait(), 1);
    jar.send(seg("A", 12, 7));
    jar.expect(&[]);
    jar.drops(seg("R", 13, 7), DropReason::TimeWaitReset);
    jar.drops(seg("PA", 12, 7).data("GET 3\n"), DropReason::OutOfWindow);
    jar.expect(&[seg("A", 7, 12)]);
    jar.pass(Duration::from_secs(21));
    assert_eq!(
        (jar.stack.time_wait(), jar.stack.next_deadline()),
        (0, None)
    );
    assert!(jar.log().is_empty());
}

/// What a client does whose SYN is not later: it resets what our ACK speaks of, and sends the SYN again.
#[test]
fn time_wait_ends_by_a_reset_in_order() {
    let mut jar = time_wait();
    jar.drops(seg("S", 5, 0).mss(1000), DropReason::UnexpectedSyn);
    jar.expect(&[seg("A", 7, 12)]);
    jar.send(seg("R", 12, 0));
    jar.expect(&[]);
    assert_eq!((jar.stack.len(), jar.stack.time_wait()), (0, 0));
    assert_eq!(jar.stack.next_deadline(), None);
    jar.send(seg("S", 5, 0).mss(1000));
    jar.expect(&[seg("SA", 0, 6).mss(1460)]);
}

#[test]
fn time_wait_gives_way_to_a_later_syn() {
    let mut jar = time_wait();
    let old = jar.iss;
    // Not later: not taken.
    jar.drops(seg("S", 5, 0), DropReason::UnexpectedSyn);
    jar.expect(&[seg("A", 7, 12)]);
    jar.send(seg("S", 100, 0).mss(1000));
    jar.expect(&[seg("SA", 0, 101).mss(1460)]);
    assert!(jar.iss.wrapping_sub(old) >= 64 * 1024 && jar.iss.wrapping_sub(old) < 1 << 30);
    assert_eq!((jar.stack.len(), jar.stack.time_wait()), (1, 0));
    jar.send(seg("PA", 101, 1).data("GET 3\n"));
    jar.expect(&[seg("PA", 1, 107).data(answer(3, 0, 3))]);
}

/// RFC 6191: a later timestamp will do, also with an earlier sequence number.
#[test]
fn time_wait_gives_way_to_a_later_timestamp() {
    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1000).ts(100, 0));
    let _ = jar.sent();
    jar.send(seg("PA", 1, 1).ts(101, 0).data("BYE\n"));
    jar.send(seg("FA", 5, 2).ts(102, 0));
    let _ = jar.sent();
    assert_eq!(jar.stack.time_wait(), 1);
    jar.drops(seg("S", 3, 0).ts(102, 0), DropReason::UnexpectedSyn);
    jar.send(seg("S", 3, 0).ts(103, 0));
    assert_eq!((jar.stack.len(), jar.stack.time_wait()), (1, 0));
}

/// The cases of RFC 6191 section 2: did the old connection have timestamps, TSval of the SYN (the last one seen was 102),
/// is its sequence number later, is it taken?
#[test]
fn time_wait_reuse_case_by_case() {
    for (had, ts, later, taken) in [
        (true, Some(103), false, true),
        (true, Some(102), true, true),
        (true, Some(102), false, false),
        (true, Some(101), true, false),
        (true, None, true, true),
        (true, None, false, false),
        (false, Some(1), false, true),
        (false, None, true, true),
        (false, None, false, false),
    ] {
        let mut jar = Jar::new(|_| {});
        let stamp = |s: crate::testing::Seg, ts: u32| if had { s.ts(ts, 0) } else { s };
        jar.send(stamp(seg("S", 0, 0).mss(1000), 100));
        let _ = jar.sent();
        jar.send(stamp(seg("PA", 1, 1), 101).data("BYE\n"));
        jar.send(stamp(seg("FA", 5, 2), 102));
        let _ = jar.sent();
        assert_eq!(jar.stack.time_wait(), 1);
        let mut syn = seg("S", if later { 100 } else { 3 }, 0);
        if let Some(ts) = ts {
            syn = syn.ts(ts, 0);
        }
        let _ = jar.hand(syn);
        let left = (jar.stack.len(), jar.stack.time_wait());
        let want = if taken { (1, 0) } else { (0, 1) };
        assert_eq!(left, want, "{had} {ts:?} {later}");
    }
    // Where we do not agree to timestamps theirs mean nothing.
    let mut jar = Jar::established(|config| config.timestamps = false);
    jar.send(seg("PA", 1, 1).data("BYE\n"));
    jar.send(seg("FA", 5, 2));
    let _ = jar.hand(seg("S", 3, 0).ts(1, 0));
    assert_eq!((jar.stack.len(), jar.stack.time_wait()), (0, 1));
}

#[test]
fn peer_reset_releases_everything() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).win(100).data("GET 800\nGET 5\n"));
    let _ = jar.sent();
    assert_eq!(jar.app.held, 2);
    jar.send(seg("R", 15, 1));
    jar.expect(&[]);
    jar.assert_gone();
    assert_eq!(jar.log(), ["established", "closed PeerReset 2"]);
    assert_eq!(jar.stack.next_deadline(), None);
}

#[test]
fn abort_resets_at_snd_nxt() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).win(1000).data("GET 1800\n"));
    let _ = jar.sent();
    jar.send(seg("PA", 10, 1).win(1000).data("DIE\n"));
    jar.expect(&[seg("RA", 1001, 14)]);
    jar.assert_gone();
    assert_eq!(jar.log(), ["established", "closed Aborted 1"]);
}

#[test]
fn half_closed_application_that_never_closes() {
    let mut jar = Jar::established(|_| {});
    jar.app.stay = true;
    jar.send(seg("FA", 1, 1));
    jar.expect(&[seg("A", 1, 2)]);
    jar.pass(Duration::from_secs(11));
    jar.expect(&[seg("RA", 1, 2)]);
    assert_eq!(
        jar.log(),
        ["established", "eof 0", "closed HalfClosedTimeout 0"]
    );
    jar.assert_gone();
}

#[test]
fn deadline_rings_once_and_closes() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("WAIT 500\nGE"));
    jar.pass_ms(499);
    jar.expect(&[seg("A", 1, 12)]);
    jar.pass_ms(2);
    jar.expect(&[seg("FA", 1, 12)]);
    assert_eq!(jar.log(), ["established", "deadline 2"]);
}

#[test]
fn drain_closes_behind_what_is_queued() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).win(1000).data("GET 1500\n"));
    jar.expect(&[seg("A", 1, 10).data(answer(1500, 0, 1000))]);
    jar.stack.drain();
    jar.flush();
    jar.expect(&[]);
    jar.send(seg("A", 10, 1001));
    jar.expect(&[seg("FPA", 1001, 10).data(answer(1500, 1000, 500))]);
    // An idle one at once.
    let mut jar = Jar::established(|_| {});
    jar.stack.drain();
    jar.flush();
    jar.expect(&[seg("FA", 1, 1)]);
    // A half-open one as soon as it is established.
    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1000));
    let _ = jar.sent();
    jar.stack.drain();
    jar.send(seg("A", 1, 1));
    jar.expect(&[seg("FA", 1, 1)]);
}

#[test]
fn abort_all_leaves_nothing() {
    let mut jar = time_wait();
    jar.flow.remote.port = 7;
    jar.send(seg("S", 0, 0).mss(1000));
    let _ = jar.sent();
    jar.send(seg("PA", 1, 1).win(10).data("GET 100\n"));
    jar.flow.remote.port = 8;
    jar.send(seg("S", 0, 0).mss(1000));
    let _ = jar.sent();
    jar.stack.abort_all(jar.now, &mut jar.app, &mut jar.out);
    assert_eq!(jar.sent().len(), 2);
    assert_eq!(
        (jar.stack.len(), jar.stack.time_wait(), jar.app.held),
        (0, 0, 0)
    );
    assert_eq!(jar.log(), ["established", "closed Shutdown 1"]);
    assert_eq!(jar.stack.next_deadline(), None);
    assert_eq!(jar.stack.counters().closed(CloseReason::Shutdown), 2);
}

#[test]
fn unknown_segments_are_reset_but_never_a_reset() {
    let mut jar = Jar::new(|_| {});
    for (given, want) in [
        (seg("A", 5, 77), Some(seg("R", 77, 0))),
        (seg("FA", 5, 77), Some(seg("R", 77, 0))),
        (seg("SA", 5, 77), Some(seg("R", 77, 0))),
        (seg("R", 5, 0), None),
        (seg("RA", 5, 77), None),
    ] {
        assert_eq!(jar.hand(given.clone()), Disposition::Unknown);
        jar.reset(given);
        jar.expect(want.as_slice());
    }
}
