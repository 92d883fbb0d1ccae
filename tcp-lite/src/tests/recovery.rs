//! Loss, reordering and false alarms: what is sent again, when, and what it costs.

use core::time::Duration;

use super::{ask, full, lengths};
use crate::testing::{Jar, Seg, seg};
use crate::{Config, CongestionControl, Disposition};

/// Round trip of the paths here, ms.
const RTT: u64 = 20;

/// A connection of MSS 1000 with SACK, over [`RTT`].
fn sacking(change: impl FnOnce(&mut Config)) -> Jar {
    let mut jar = Jar::new(change);
    let mut syn = seg("S", 0, 0).mss(1000);
    syn.options.sack_permitted = true;
    jar.send(syn);
    let _ = jar.sent();
    jar.pass_ms(RTT);
    jar.send(seg("A", 1, 1));
    jar
}

/// The same, with timestamps too: MSS 1012.
fn stamped(change: impl FnOnce(&mut Config)) -> Jar {
    let mut jar = Jar::new(change);
    let mut syn = seg("S", 0, 0).mss(1012).ts(100, 0);
    syn.options.sack_permitted = true;
    jar.send(syn);
    let clock = clock(&jar.sent());
    jar.pass_ms(RTT);
    jar.send(seg("A", 1, 1).ts(100, clock));
    jar
}

/// TSval of the last segment.
fn clock(sent: &[Seg]) -> u32 {
    let last = sent.last().and_then(|s| s.options.timestamps);
    last.expect("a timestamp").val
}

/// With SACK blocks exactly the gaps are sent again, one per segment that is reported (PRR).
#[test]
fn sack_repairs_the_gaps_only() {
    let mut jar = sacking(|_| {});
    let end = ask(&mut jar, 10_000);
    assert_eq!(lengths(&mut jar), full(1, 10));
    jar.pass_ms(RTT);
    // 1, 3001 and 4001 are lost.
    jar.send(seg("A", end, 1).sack(&[(1001, 2001)]));
    jar.send(seg("A", end, 1).sack(&[(1001, 3001)]));
    assert_eq!(lengths(&mut jar), []);
    jar.send(seg("A", end, 1).sack(&[(5001, 6001), (1001, 3001)]));
    assert_eq!(lengths(&mut jar), [(1, 1000)]);
    jar.send(seg("A", end, 1).sack(&[(5001, 7001), (1001, 3001)]));
    assert_eq!(lengths(&mut jar), [(3001, 1000)]);
    jar.send(seg("A", end, 1).sack(&[(5001, 8001), (1001, 3001)]));
    assert_eq!(lengths(&mut jar), [(4001, 1000)]);
    jar.send(seg("A", end, 1).sack(&[(5001, 10_001), (1001, 3001)]));
    assert_eq!(lengths(&mut jar), []);
    jar.pass_ms(RTT);
    jar.send(seg("A", end, 3001).sack(&[(5001, 10_001)]));
    jar.send(seg("A", end, 4001).sack(&[(5001, 10_001)]));
    assert_eq!(lengths(&mut jar), []);
    jar.send(seg("A", end, 10_001));
    assert_eq!((lengths(&mut jar), jar.app.held), (vec![], 0));
    let counters = jar.stack.counters();
    assert_eq!((counters.retransmits, counters.timeouts), (3, 0));
}

/// Blocks outside of what is outstanding, or upside down, say nothing; nor do blocks that were not agreed on.
#[test]
fn hostile_sack_blocks() {
    for (mut jar, duplicates) in [(sacking(|_| {}), 0), (Jar::established(|_| {}), 1)] {
        let end = ask(&mut jar, 5000);
        assert_eq!(lengths(&mut jar), full(1, 5));
        for block in [
            (1, 1001),
            (3001, 2001),
            (4001, 90_000),
            (0, 5001),
            (2001, 2001),
        ] {
            jar.send(seg("A", end, 1).sack(&[block]).win(65_000));
        }
        let _ = jar.sent();
        jar.pass(Duration::from_secs(1));
        let counters = jar.stack.counters();
        assert_eq!(counters.fast_retransmits, duplicates);
        jar.send(seg("A", end, 5001));
        assert_eq!(jar.app.held, 0);
    }
}

/// ACKs of one batch let out what they would have let out one by one, so that recovery begins with as much in the
/// network. The repetition behind that new data, sent at the same time, is not overtaken by it.
#[test]
fn acks_of_one_batch_are_answered_in_turn() {
    let mut jar = sacking(|_| {});
    let end = ask(&mut jar, 60_000);
    assert_eq!(lengths(&mut jar), full(1, 10));
    jar.pass_ms(RTT);
    for ack in [1001, 2001, 3001] {
        assert_eq!(jar.hand(seg("A", end, ack)), Disposition::Handled);
    }
    for right in [5001, 6001, 7001] {
        let report = seg("A", end, 3001).sack(&[(4001, right)]);
        assert_eq!(jar.hand(report), Disposition::Handled);
    }
    jar.flush();
    let sent = lengths(&mut jar);
    // Two for each ACK, and limited transmit.
    assert_eq!(sent[..8], full(10_001, 8));
    assert_eq!(sent[8..], full(3001, 1));
    jar.pass_ms(RTT);
    jar.send(seg("A", end, 3001).sack(&[(4001, 18_001)]));
    assert!(lengths(&mut jar).iter().all(|s| s.0 >= 18_001));
    jar.send(seg("A", end, 18_001));
    assert_eq!(jar.stack.counters().retransmits, 1);
}

/// Everything but the last segment arrived: it is sent again after two round trips, not after the timeout.
#[test]
fn tail_loss_is_probed() {
    let mut jar = sacking(|_| {});
    let end = ask(&mut jar, 4000);
    assert_eq!(lengths(&mut jar), full(1, 4));
    jar.pass_ms(2 * RTT - 2);
    assert_eq!(lengths(&mut jar), []);
    jar.pass_ms(4);
    assert_eq!(lengths(&mut jar), [(3001, 1000)]);
    jar.pass_ms(RTT);
    // The probe arrived; that the first three are lost shows by it.
    jar.send(seg("A", end, 1).sack(&[(3001, 4001)]));
    jar.pass_ms(RTT / 4 + 1);
    assert_eq!(lengths(&mut jar)[0], (1, 1000));
    jar.pass_ms(RTT);
    jar.send(seg("A", end, 1001).sack(&[(3001, 4001)]));
    assert_eq!(lengths(&mut jar), full(1001, 2));
    jar.send(seg("A", end, 4001));
    assert_eq!(jar.app.held, 0);
    let counters = jar.stack.counters();
    assert_eq!((counters.timeouts, counters.tail_probes), (0, 1));
    jar.assert_idle();
}

/// A lone segment may wait for a delayed ACK; it is probed behind that, once.
#[test]
fn lone_segment_is_probed_behind_a_delayed_ack() {
    let mut jar = sacking(|config| config.peer_ack_delay = Duration::from_millis(45));
    let end = ask(&mut jar, 500);
    let _ = jar.sent();
    jar.pass_ms(3 * RTT / 2 + 43);
    assert_eq!(lengths(&mut jar), []);
    jar.pass_ms(4);
    assert_eq!(lengths(&mut jar), [(1, 500)]);
    // The probe is lost too: the timeout is next, and it backs off.
    jar.pass_ms(190);
    assert_eq!(lengths(&mut jar), []);
    jar.pass_ms(RTT + 20);
    assert_eq!(lengths(&mut jar), [(1, 500)]);
    jar.send(seg("A", end, 501));
    assert_eq!(jar.app.held, 0);
}

/// There is more to send than the window took: the probe is new data, which costs nothing.
#[test]
fn probe_is_new_data_if_there_is_any() {
    let mut jar = sacking(|_| {});
    ask(&mut jar, 20_000);
    assert_eq!(lengths(&mut jar), full(1, 10));
    jar.pass_ms(2 * RTT + 2);
    assert_eq!(lengths(&mut jar), full(10_001, 1));
    assert_eq!(jar.stack.counters().retransmits, 0);
}

/// The probe repaired the loss: the window answers for it. If it was for nothing, it does not.
#[test]
fn repaired_tail_counts_as_a_loss() {
    for (dsack, window) in [(false, 7), (true, 10)] {
        let mut jar = sacking(|_| {});
        let end = ask(&mut jar, 3000);
        assert_eq!(lengths(&mut jar).len(), 3);
        jar.pass_ms(RTT);
        jar.send(seg("A", end, 2001));
        jar.pass_ms(2 * RTT + 52);
        assert_eq!(lengths(&mut jar), full(2001, 1));
        let ack = seg("A", end, 3001);
        jar.send(if dsack {
            ack.sack(&[(2001, 3001)])
        } else {
            ack
        });
        assert_eq!(jar.app.held, 0);
        jar.send(seg("PA", end, 3001).data("GET 50000\n"));
        assert_eq!(lengths(&mut jar).len(), window, "dsack {dsack}");
    }
}

/// What is overtaken by less than a quarter of the round trip is not lost.
#[test]
fn reordering_is_waited_for() {
    let mut jar = sacking(|_| {});
    let end = ask(&mut jar, 10_000);
    assert_eq!(lengths(&mut jar), full(1, 10));
    jar.pass_ms(RTT);
    jar.send(seg("A", end, 1).sack(&[(1001, 3001)]));
    jar.pass_ms(RTT / 4 - 2);
    assert_eq!(lengths(&mut jar), []);
    jar.send(seg("A", end, 3001));
    assert_eq!(lengths(&mut jar), []);
    // The path reorders, that is known now: also many segments behind are waited for.
    jar.send(seg("A", end, 3001).sack(&[(4001, 9001)]));
    jar.pass_ms(RTT / 4 - 2);
    assert_eq!(lengths(&mut jar), []);
    jar.send(seg("A", end, 10_001));
    assert_eq!(jar.stack.counters().retransmits, 0);
    // Not for ever.
    jar.send(seg("PA", end, 10_001).data("GET 8000\n"));
    let end = end + 9;
    assert_eq!(lengths(&mut jar), full(10_001, 8));
    jar.pass_ms(RTT);
    jar.send(seg("A", end, 10_001).sack(&[(12_001, 18_001)]));
    assert_eq!(lengths(&mut jar), []);
    jar.pass_ms(RTT / 4 + 2);
    assert_eq!(lengths(&mut jar)[0], (10_001, 1000));
    assert_eq!(jar.stack.counters().timeouts, 0);
}

/// A repetition that is lost as well is noticed by what was sent behind it, without a timeout; the window is lowered
/// twice (RFC 5681 section 4.3).
#[test]
fn lost_retransmission_is_sent_again() {
    let mut jar = sacking(|config| config.congestion = CongestionControl::NewReno);
    let end = ask(&mut jar, 40_000);
    assert_eq!(lengths(&mut jar), full(1, 10));
    jar.pass_ms(RTT);
    jar.send(seg("A", end, 1).sack(&[(1001, 5001)]));
    // The gap, then one segment per two that arrive.
    assert_eq!(lengths(&mut jar)[0], (1, 1000));
    jar.send(seg("A", end, 1).sack(&[(1001, 8001)]));
    jar.send(seg("A", end, 1).sack(&[(1001, 10_001)]));
    let new = lengths(&mut jar);
    assert!(!new.is_empty() && new[0].0 == 10_001, "{new:?}");
    // The new segments arrive, the repetition before them does not.
    let last = new.last().map_or(0, |s| s.0 + 1000);
    jar.pass_ms(RTT);
    jar.send(seg("A", end, 1).sack(&[(1001, last)]));
    jar.pass_ms(RTT / 4 + 2);
    assert_eq!(lengths(&mut jar)[0], (1, 1000));
    let counters = jar.stack.counters();
    assert_eq!((counters.timeouts, counters.fast_retransmits), (0, 2));
    jar.pass_ms(RTT);
    jar.send(seg("A", end, last));
    // 10 segments, halved twice.
    let sent = lengths(&mut jar);
    assert!((1..=3).contains(&sent.len()), "{sent:?}");
}

/// The path only stalled: the echoed timestamp says that the originals arrived, and the window is what it was.
#[test]
fn spurious_timeout_is_taken_back() {
    let mut jar = stamped(|_| {});
    let text = "GET 60000\n";
    jar.send(seg("PA", 1, 1).data(text).ts(100, 0));
    let end = 1 + text.len() as u32;
    let sent = jar.sent();
    assert_eq!(sent.len(), 10);
    let first = clock(&sent);
    // A probe with new data, then the timeout.
    jar.pass_ms(300);
    let sent = jar.sent();
    assert_eq!(sent.last().map(|s| s.seq), Some(1));
    assert_eq!(jar.stack.counters().timeouts, 1);
    jar.send(seg("A", end, 2001).ts(200, first));
    assert_eq!(jar.stack.counters().spurious, 1);
    // Neither is anything sent again nor the window closed: two more for the two that left, and slow start goes on.
    let more = jar.sent();
    assert!(more.iter().all(|s| s.seq >= 10_001), "{more:?}");
    jar.send(seg("A", end, 11_001).ts(201, first));
    let more = jar.sent().len();
    assert!(more >= 10, "{more}");
    assert_eq!(jar.stack.counters().retransmits, 1);
}

/// Without timestamps the peer is asked with new data (F-RTO): ACKs of what was sent once, before the timeout, take it back.
#[test]
fn spurious_timeout_is_found_by_asking() {
    for sack in [true, false] {
        let mut jar = sacking(|config| config.sack = sack);
        let end = ask(&mut jar, 60_000);
        assert_eq!(jar.sent().len(), 10);
        jar.pass_ms(300);
        let next = if sack { 11_001 } else { 10_001 };
        assert_eq!(lengths(&mut jar).last(), Some(&(1, 1000)));
        assert_eq!(jar.stack.counters().timeouts, 1);
        jar.send(seg("A", end, 1001));
        assert_eq!(lengths(&mut jar), full(next, 2));
        jar.send(seg("A", end, 2001));
        assert_eq!(jar.stack.counters().spurious, 1);
        let more = lengths(&mut jar);
        assert!(more.iter().all(|(seq, _)| *seq >= next + 2000), "{more:?}");
        jar.send(seg("A", end, next));
        assert!(lengths(&mut jar).len() >= 8);
        assert_eq!(jar.stack.counters().retransmits, 1);
    }
}

/// The answer to the question is that the new data arrived and nothing before it did; or there is nothing to ask with.
#[test]
fn true_timeout_is_not_taken_back_for_asking() {
    for sack in [true, false] {
        let mut jar = sacking(|config| config.sack = sack);
        let end = ask(&mut jar, 60_000);
        jar.pass_ms(300);
        let _ = jar.sent();
        jar.send(seg("A", end, 1001));
        let new = lengths(&mut jar);
        assert_eq!(new.len(), 2);
        let told = (new[0].0, new[0].0 + 1000);
        let ack = seg("A", end, 1001);
        jar.send(if sack { ack.sack(&[told]) } else { ack });
        assert_eq!(lengths(&mut jar)[0], (1001, 1000));
        assert_eq!(jar.stack.counters().spurious, 0);
    }
    let mut jar = sacking(|_| {});
    let end = ask(&mut jar, 5_000);
    jar.pass_ms(300);
    let _ = jar.sent();
    jar.send(seg("A", end, 1001));
    assert_eq!(lengths(&mut jar)[0], (1001, 1000));
}

/// Again and again the data arrives and its ACK is lost. The ACK of the repetition echoes the first one and reports a
/// duplicate: the age of that echo is the timeout's, and must not become the measure of the next one.
#[test]
fn lost_acks_do_not_make_the_timer_grow() {
    let mut jar = stamped(|_| {});
    let mut una = 1;
    let mut asked = 1;
    for round in 0..4 {
        let text = "GET 1000\n";
        jar.send(seg("PA", asked, una).data(text).ts(100, 0));
        asked += text.len() as u32;
        let first = clock(&jar.sent());
        let mut waited = 0;
        while jar.stack.counters().timeouts <= round {
            jar.pass_ms(10);
            waited += 10;
        }
        assert!(waited < 1_500, "round {round}: {waited} ms");
        jar.pass_ms(RTT);
        una += 1000;
        let twice = (una - 1000, una);
        jar.send(seg("A", asked, una).ts(100, first).sack(&[twice]));
        assert_eq!(jar.app.held, 0);
    }
    assert_eq!(jar.stack.counters().spurious, 4);
}

/// A timeout of which the ACK echoes the repetition: the loss was one.
#[test]
fn true_timeout_is_not_taken_back() {
    let mut jar = stamped(|_| {});
    let text = "GET 60000\n";
    jar.send(seg("PA", 1, 1).data(text).ts(100, 0));
    let end = 1 + text.len() as u32;
    let _ = jar.sent();
    jar.pass_ms(300);
    let sent = jar.sent();
    assert_eq!(sent.last().map(|s| s.seq), Some(1));
    jar.send(seg("A", end, 1001).ts(200, clock(&sent)));
    assert_eq!(jar.stack.counters().spurious, 0);
    let more = jar.sent();
    assert_eq!(more.iter().map(|s| s.seq).collect::<Vec<_>>(), [1001, 2001]);
}

/// After a timeout what the peer reported is not sent again; unless it turns out that it took it back.
#[test]
fn reports_outlive_a_timeout() {
    let mut jar = sacking(|_| {});
    let end = ask(&mut jar, 6000);
    assert_eq!(lengths(&mut jar), full(1, 6));
    jar.send(seg("A", end, 1).sack(&[(2001, 4001)]));
    jar.pass_ms(400);
    assert_eq!(jar.stack.counters().timeouts, 1);
    let _ = jar.sent();
    jar.send(seg("A", end, 1001).sack(&[(2001, 4001)]));
    let mut sent = lengths(&mut jar);
    jar.send(seg("A", end, 4001));
    sent.extend(lengths(&mut jar));
    assert!(sent.iter().all(|s| s.0 == 1001 || s.0 > 4000), "{sent:?}");
    assert!(sent.contains(&(1001, 1000)));
    // Taken back: it waits for what it had reported.
    let mut jar = sacking(|_| {});
    let end = ask(&mut jar, 6000);
    let _ = jar.sent();
    jar.send(seg("A", end, 1).sack(&[(2001, 4001)]));
    jar.pass_ms(RTT);
    let _ = jar.sent();
    jar.send(seg("A", end, 2001));
    jar.pass_ms(RTT);
    assert!(lengths(&mut jar).contains(&(2001, 1000)));
}

/// All of the window is lost but one segment: it is repaired in slow start, in order, each once.
#[test]
fn nearly_everything_lost() {
    let mut jar = sacking(|_| {});
    let end = ask(&mut jar, 10_000);
    let _ = jar.sent();
    jar.pass_ms(RTT);
    jar.send(seg("A", end, 1).sack(&[(9001, 10_001)]));
    let mut una = 1;
    let mut again = Vec::new();
    for _ in 0..12 {
        jar.pass_ms(RTT);
        let sent = lengths(&mut jar);
        again.extend(sent.iter().map(|s| s.0));
        for (seq, len) in sent {
            if seq == una {
                una += len as u32;
            }
        }
        if una >= 9001 {
            jar.send(seg("A", end, 10_001));
            break;
        }
        jar.send(seg("A", end, una).sack(&[(9001, 10_001)]));
    }
    assert_eq!(again, (0..9).map(|n| 1 + 1000 * n).collect::<Vec<_>>());
    assert_eq!((jar.app.held, jar.stack.counters().timeouts), (0, 0));
}
