//! Connections that leave for another TCP, and come back.

use crate::testing::{Jar, Lines, answer, seg};
use crate::{Detached, Disposition, DropReason, Terms};

/// What is left of a connection of [`Jar::established`].
fn terms(seq: u32, ack: u32) -> Terms {
    Terms {
        seq: crate::SeqNum(seq),
        ack: crate::SeqNum(ack),
        mss: 1000,
        snd_shift: None,
        rcv_shift: 0,
        window: 65_535,
        sack: false,
        ecn: false,
        timestamps: None,
    }
}

/// Exactly this has left, with nothing said to the peer.
#[track_caller]
fn has_left(jar: &mut Jar, want: Terms, unread: &str, fin: bool) -> Detached<Lines> {
    let (detached, got) = jar.detached();
    assert_eq!(got, want);
    assert_eq!(String::from_utf8_lossy(detached.unread()), unread);
    assert_eq!((detached.fin(), *detached.flow()), (fin, jar.flow));
    jar.expect(&[]);
    assert_eq!(
        (
            jar.stack.len(),
            jar.app.held,
            jar.stack.receive_budget_left()
        ),
        (0, 0, 64 << 20)
    );
    detached
}

#[test]
fn the_first_request_leaves_at_once() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("OUT\nmore"));
    has_left(&mut jar, terms(1, 1), "OUT\nmore", false);
    assert_eq!(jar.hand(seg("A", 9, 1)), Disposition::Unknown);
    assert!(jar.stack.take_detached().is_none());
    assert_eq!(jar.log(), ["established"]);
    jar.assert_idle();
}

#[test]
fn everything_negotiated_goes_along() {
    let mut jar = Jar::new(|c| c.window_shift = 7);
    let mut syn = seg("SEW", 0, 0).mss(900).ts(7000, 0);
    syn.options.sack_permitted = true;
    syn.options.window_scale = Some(10);
    jar.send(syn);
    let ours = jar.sent()[0].options.timestamps.expect("agreed on").val;
    jar.pass_ms(5);
    jar.send(seg("A", 1, 1).win(3).ts(7001, ours));
    jar.pass_ms(3);
    jar.send(seg("PA", 1, 1).win(3).ts(7009, ours).data("OUT\n"));
    let want = Terms {
        mss: 900,
        snd_shift: Some(10),
        rcv_shift: 7,
        window: 3,
        sack: true,
        ecn: true,
        timestamps: Some(crate::wire::Timestamps {
            val: 7009,
            ecr: ours + 8,
        }),
        ..terms(1, 1)
    };
    has_left(&mut jar, want, "OUT\n", false);
}

#[test]
fn answers_before_it_are_acknowledged_first() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 5\nOUT\nGET 6\n"));
    // The first request is acknowledged, what is to leave is not.
    jar.expect(&[seg("PA", 1, 7).data(answer(5, 0, 5))]);
    assert!(jar.stack.take_detached().is_none());
    jar.send(seg("A", 17, 3));
    assert!(jar.stack.take_detached().is_none());
    // More comes meanwhile: it is kept, and still nothing is acknowledged.
    jar.send(seg("PA", 17, 3).data("BYE\n"));
    jar.pass_ms(100);
    jar.expect(&[]);
    jar.pass_ms(900);
    assert_eq!(jar.sent()[0].ack, 7, "a retransmission");
    jar.send(seg("A", 21, 6));
    has_left(&mut jar, terms(7, 6), "OUT\nGET 6\nBYE\n", false);
}

#[test]
fn the_window_does_not_shrink_while_it_waits() {
    let mut jar = Jar::established(|c| c.receive_window = 100);
    jar.send(seg("PA", 1, 1).data("GET 5\nOUT\n"));
    let edge = |s: &crate::testing::Seg| s.ack + u32::from(s.win);
    assert_eq!(jar.sent().iter().map(edge).collect::<Vec<_>>(), [101]);
    jar.send(seg("PA", 11, 1).data([b'x'; 90]));
    jar.drops(seg("PA", 101, 1).data("y"), DropReason::OutOfWindow);
    let sent = jar.sent();
    assert_eq!(sent.iter().map(edge).collect::<Vec<_>>(), [101]);
    assert_eq!(sent[0].ack, 7);
}

#[test]
fn what_was_acknowledged_in_part_goes_along_whole() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("OU"));
    jar.pass_ms(100);
    jar.expect(&[seg("A", 1, 3)]);
    jar.send(seg("PA", 3, 1).data("T\n"));
    has_left(&mut jar, terms(1, 1), "OUT\n", false);
}

#[test]
fn a_peer_that_goes_back_to_what_is_not_acknowledged_is_heard() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 5\nOUT\n"));
    jar.send(seg("PA", 11, 1).data("more"));
    jar.sent();
    jar.send(seg("PA", 7, 6).data("OUT\n"));
    has_left(&mut jar, terms(7, 6), "OUT\nmore", false);
}

#[test]
fn nothing_is_reported_that_would_be_taken_back() {
    let mut jar = Jar::new(|_| {});
    let mut syn = seg("S", 0, 0).mss(1000);
    syn.options.sack_permitted = true;
    jar.send(syn);
    jar.sent();
    jar.send(seg("A", 1, 1));
    jar.send(seg("PA", 1, 1).data("GET 5\nOUT\n"));
    jar.sent();
    jar.send(seg("PA", 15, 1).data("tail"));
    jar.send(seg("PA", 7, 1).data("OUT\n"));
    jar.expect(&[]);
    jar.pass_ms(1000);
    assert!(
        jar.sent()
            .iter()
            .all(|s| s.options.sack.as_slice().is_empty())
    );
    jar.send(seg("A", 19, 6));
    let want = Terms {
        sack: true,
        ..terms(7, 6)
    };
    has_left(&mut jar, want, "OUT\n", false);
}

#[test]
fn a_closed_window_does_not_keep_it_from_leaving() {
    let mut jar = Jar::established(|c| c.receive_window = 100);
    jar.send(seg("PA", 1, 1).data("GET 5\nOUT\n"));
    jar.send(seg("PA", 11, 1).data([b'x'; 90]));
    jar.sent();
    // Its probe brings the ACK that we wait for.
    jar.drops(seg("PA", 101, 6).data("y"), DropReason::OutOfWindow);
    jar.sent();
    assert!(jar.stack.take_detached().is_some());
}

#[test]
fn a_fin_goes_along_whenever_it_comes() {
    // With the request.
    let mut jar = Jar::established(|_| {});
    jar.send(seg("FPA", 1, 1).data("OUT\n"));
    has_left(&mut jar, terms(1, 1), "OUT\n", true);
    // While answers are out.
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 5\nOUT\n"));
    jar.expect(&[seg("PA", 1, 7).data(answer(5, 0, 5))]);
    jar.send(seg("FA", 11, 1));
    jar.expect(&[]);
    jar.send(seg("A", 12, 6));
    has_left(&mut jar, terms(7, 6), "OUT\n", true);
    // Before the application came to the request, for want of room.
    let mut jar = Jar::established(|c| c.pieces_per_connection = 1);
    jar.send(seg("FPA", 1, 1).data("GET 5\nGET 6\nOUT\n"));
    jar.expect(&[seg("PA", 1, 18).data(answer(5, 0, 5))]);
    jar.send(seg("A", 18, 6));
    jar.expect(&[seg("PA", 6, 18).data(answer(6, 0, 6))]);
    jar.send(seg("A", 18, 12));
    has_left(&mut jar, terms(13, 12), "OUT\n", true);
    assert_eq!(jar.log(), ["established", "full"]);
}

#[test]
fn a_fin_behind_a_gap_is_left_to_be_sent_again() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 5\nOUT\n"));
    jar.send(seg("FPA", 15, 1).data("tail"));
    jar.sent();
    jar.send(seg("A", 20, 6));
    has_left(&mut jar, terms(7, 6), "OUT\n", false);
}

#[test]
fn a_reset_ends_it_while_it_waits() {
    // A peer that is gone takes the number from our ACK.
    for seq in [7, 11] {
        let mut jar = Jar::established(|_| {});
        jar.send(seg("PA", 1, 1).data("GET 5\nOUT\n"));
        jar.sent();
        jar.send(seg("R", seq, 0));
        assert!(jar.stack.take_detached().is_none());
        assert_eq!(jar.log(), ["established", "closed PeerReset 1"]);
        jar.assert_gone();
    }
}

#[test]
fn a_peer_that_never_acknowledges_ends_it() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 5\nOUT\n"));
    jar.pass_ms(70_000);
    assert_eq!(jar.log(), ["established", "closed UserTimeout 1"]);
    jar.assert_gone();
}

#[test]
fn what_nobody_wants_comes_back() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("FPA", 1, 1).data("OUT\nGET 5\n"));
    let detached = has_left(&mut jar, terms(1, 1), "OUT\nGET 5\n", true);
    jar.app.keep = true;
    jar.stack
        .adopt(jar.now, detached, &mut jar.app, &mut jar.out);
    jar.flush();
    jar.expect(&[seg("FPA", 1, 12).data(answer(5, 0, 5))]);
    assert_eq!(jar.log(), ["established", "out", "eof 0"]);
    jar.send(seg("A", 12, 7));
    assert_eq!(jar.log(), ["closed Finished 1"]);
    jar.assert_gone();
}

#[test]
fn it_may_leave_a_second_time() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("OUT\n"));
    let detached = has_left(&mut jar, terms(1, 1), "OUT\n", false);
    jar.stack
        .adopt(jar.now, detached, &mut jar.app, &mut jar.out);
    jar.flush();
    has_left(&mut jar, terms(1, 1), "OUT\n", false);
}

#[test]
fn without_room_it_is_reset() {
    let mut jar = Jar::established(|c| c.capacity = 1);
    jar.send(seg("PA", 1, 1).data("OUT\n"));
    let detached = has_left(&mut jar, terms(1, 1), "OUT\n", false);
    jar.flow.remote.port += 1;
    jar.send(seg("S", 0, 0).mss(1000));
    jar.sent();
    jar.stack
        .adopt(jar.now, detached, &mut jar.app, &mut jar.out);
    assert!(
        jar.out
            .sent
            .iter()
            .any(|(flow, ..)| flow.remote.port == 4242)
    );
    assert_eq!(jar.log(), ["established", "closed Aborted 0"]);
}

#[test]
fn a_peer_that_began_anew_has_one_connection() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("OUT\n"));
    let detached = has_left(&mut jar, terms(1, 1), "OUT\n", false);
    jar.send(seg("S", 9000, 0).mss(1000));
    jar.sent();
    jar.stack
        .adopt(jar.now, detached, &mut jar.app, &mut jar.out);
    assert_eq!(jar.log(), ["established", "closed Aborted 0"]);
    assert_eq!(jar.stack.len(), 1);
}

#[test]
fn a_drain_lets_idle_ones_go_at_once_and_busy_ones_once_answered() {
    let mut jar = Jar::established(|_| {});
    jar.flow.remote.port += 1;
    jar.send(seg("S", 0, 0).mss(1000));
    jar.sent();
    jar.send(seg("PA", 1, 1).data("GET 5\nGE"));
    jar.sent();
    jar.app.leave = true;
    jar.stack.refuse();
    let mut next = Some(0);
    let mut steps = 0;
    while let Some(from) = next {
        let (now, app, out) = (jar.now, &mut jar.app, &mut jar.out);
        next = jar.stack.drain_some(now, from, 1, app, out);
        steps += 1;
    }
    assert_eq!(steps, 2);
    let idle = jar.stack.take_detached().expect("the idle one leaves");
    assert_eq!((idle.flow().remote.port, idle.unread()), (4242, &b""[..]));
    assert!(jar.stack.take_detached().is_none());
    jar.send(seg("A", 9, 6));
    has_left(&mut jar, terms(7, 6), "GE", false);
}

#[test]
fn a_drain_by_fin_leaves_alone_what_is_leaving() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 5\nOUT\n"));
    jar.expect(&[seg("PA", 1, 7).data(answer(5, 0, 5))]);
    jar.stack.drain();
    jar.flush();
    jar.expect(&[]);
    jar.send(seg("A", 11, 6));
    has_left(&mut jar, terms(7, 6), "OUT\n", false);
}
