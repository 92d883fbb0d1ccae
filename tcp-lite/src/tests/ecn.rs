//! Explicit congestion notification: agreed to, marked, echoed, answered (RFC 3168).

use crate::testing::{Jar, Seg, answer, seg};
use crate::wire::Flags;
use crate::{Config, Disposition, Ecn};

/// A connection of MSS 1000 with ECN, in ESTABLISHED.
fn with_ecn() -> Jar {
    let mut jar = Jar::new(|_| {});
    jar.send(seg("SEW", 0, 0).mss(1000));
    jar.expect(&[seg("SAE", 0, 1).mss(1460)]);
    jar.send(seg("A", 1, 1));
    jar
}

/// What was sent: seq, bytes, CWR. All of it new data, and marked so.
fn marked(jar: &mut Jar) -> Vec<(u32, usize, bool)> {
    let sent = jar.sent();
    assert!(sent.iter().all(|s| s.ecn == Ecn::Ect0), "{sent:?}");
    sent.iter()
        .map(|s| (s.seq, s.data.len(), s.flags.has(Flags::CWR)))
        .collect()
}

fn echoes(sent: &[Seg]) -> Vec<bool> {
    sent.iter().map(|s| s.flags.has(Flags::ECE)).collect()
}

#[test]
fn only_an_ecn_setup_syn_is_agreed_to() {
    let on: fn(&mut Config) = |_| {};
    let off: fn(&mut Config) = |config| config.ecn = false;
    for (config, syn, agreed) in [
        (on, seg("SEW", 0, 0), true),
        (off, seg("SEW", 0, 0), false),
        (on, seg("S", 0, 0), false),
        (on, seg("SE", 0, 0), false),
        (on, seg("SW", 0, 0), false),
        // A router, or worse, that writes these bits on everything.
        (on, seg("SEW", 0, 0).ecn(Ecn::Ect0), false),
        (on, seg("SEW", 0, 0).ecn(Ecn::Ce), false),
    ] {
        let mut jar = Jar::new(config);
        jar.send(syn.clone());
        let flags = if agreed { "SAE" } else { "SA" };
        jar.expect(&[seg(flags, 0, 1).mss(1460)]);
        jar.send(seg("PA", 1, 1).data("GET 3\n"));
        let want = if agreed { Ecn::Ect0 } else { Ecn::NotEct };
        jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3)).ecn(want)]);
    }
}

/// A peer whose ECN-setup SYN gets lost on some paths tries without.
#[test]
fn a_second_syn_without_ecn_counts() {
    let mut jar = Jar::new(|_| {});
    jar.send(seg("SEW", 0, 0).mss(1000));
    jar.expect(&[seg("SAE", 0, 1).mss(1460)]);
    jar.send(seg("S", 0, 0).mss(1000));
    jar.expect(&[seg("SA", 0, 1).mss(1460)]);
    jar.send(seg("SEW", 0, 0).mss(1000));
    jar.expect(&[seg("SA", 0, 1).mss(1460)]);
    jar.send(seg("PA", 1, 1).data("GET 3\n"));
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
}

/// RFC 3168 sections 6.1.4 to 6.1.6: no ACK, no retransmission, no probe, no RST.
#[test]
fn only_new_data_is_marked() {
    let mut jar = with_ecn();
    jar.send(seg("A", 2, 1).data("x"));
    jar.expect(&[seg("A", 1, 1)]);
    jar.send(seg("PA", 1, 1).data("GET 1500\n"));
    assert_eq!(marked(&mut jar), [(1, 1000, false), (1001, 500, false)]);
    jar.pass_ms(300);
    assert!(jar.sent().iter().all(|s| s.ecn == Ecn::NotEct));
    jar.send(seg("A", 10, 1501).win(0));
    jar.send(seg("PA", 10, 1501).data("GET 2\n").win(0));
    let _ = jar.sent();
    jar.pass_ms(1_500);
    let sent = jar.sent();
    assert!(sent.iter().any(|s| s.data.len() == 1));
    assert!(sent.iter().all(|s| s.ecn == Ecn::NotEct));
    jar.send(seg("PA", 16, 1501).data("DIE\n"));
    assert!(jar.sent().iter().all(|s| s.ecn == Ecn::NotEct));
}

/// Every segment after a mark echoes it, until one with CWR comes; that one may be marked itself.
#[test]
fn marks_are_echoed_until_the_peer_slows_down() {
    let mut jar = with_ecn();
    jar.send(seg("PA", 1, 1).data("GET 3\n").ecn(Ecn::Ect0));
    assert_eq!(echoes(&jar.sent()), [false]);
    jar.send(seg("PA", 7, 4).data("GET 3\n").ecn(Ecn::Ce));
    assert_eq!(echoes(&jar.sent()), [true]);
    jar.send(seg("PA", 13, 7).data("GET 2500\n"));
    assert_eq!(echoes(&jar.sent()), [true; 3]);
    jar.send(seg("PAW", 22, 2507).data("GET 3\n").ecn(Ecn::Ce));
    assert_eq!(echoes(&jar.sent()), [true]);
    // A bare ACK says nothing: it may be old.
    jar.send(seg("AW", 28, 2510));
    jar.send(seg("PA", 28, 2510).data("GET 3\n"));
    assert_eq!(echoes(&jar.sent()), [true]);
    jar.send(seg("PAW", 34, 2513).data("GET 3\n").ecn(Ecn::Ect0));
    assert_eq!(echoes(&jar.sent()), [false]);
    assert_eq!(jar.stack.counters().congestion_marks, 2);
}

/// Neither a segment outside the window nor one of a connection without ECN is believed.
#[test]
fn marks_that_do_not_count() {
    let mut jar = with_ecn();
    let _ = jar.hand(seg("A", 90_000, 1).data("x").ecn(Ecn::Ce));
    jar.flush();
    assert_eq!(echoes(&jar.sent()), [false]);
    jar.send(seg("A", 1, 1).ecn(Ecn::Ce));
    jar.send(seg("PA", 1, 1).data("GET 3\n"));
    assert_eq!(echoes(&jar.sent()), [false]);
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 3\n").ecn(Ecn::Ce));
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
    assert_eq!(jar.stack.counters().congestion_marks, 0);
}

/// An echo halves the window, once for all that was outstanding; the first new data says so.
#[test]
fn an_echo_halves_the_window_once() {
    let mut jar = with_ecn();
    jar.send(seg("PA", 1, 1).data("GET 200000\n"));
    assert_eq!(marked(&mut jar).len(), 10);
    jar.send(seg("AE", 12, 2001));
    assert_eq!(marked(&mut jar), []);
    // The whole window is acknowledged with echoes: half of it stays, or what CUBIC keeps.
    for ack in [4001, 6001, 8001, 10_001] {
        jar.send(seg("AE", 12, ack));
    }
    let sent = marked(&mut jar);
    assert_eq!(sent[0], (10_001, 1000, true));
    assert!(sent[1..].iter().all(|s| !s.2));
    assert!((4..=7).contains(&sent.len()), "{sent:?}");
    assert_eq!(jar.stack.counters().ecn_responses, 1);
    // The peer has seen CWR and echoes a new mark.
    let before = sent.len();
    jar.send(seg("AE", 12, 10_001 + 1000 * before as u32));
    let sent = marked(&mut jar);
    assert!(sent[0].2 && sent.len() < before, "{sent:?}");
    assert_eq!(jar.stack.counters().ecn_responses, 2);
    assert_eq!(jar.stack.counters().retransmits, 0);
}

/// A loss is told of as well (RFC 3168 section 6.1.2: for any reason).
#[test]
fn a_loss_says_cwr_too() {
    let mut jar = with_ecn();
    jar.send(seg("PA", 1, 1).data("GET 60000\n"));
    assert_eq!(marked(&mut jar).len(), 10);
    jar.pass_ms(400);
    let _ = jar.sent();
    // The echo is of the same window: once is enough.
    jar.send(seg("AE", 11, 10_001));
    assert!(marked(&mut jar)[0].2);
    assert_eq!(jar.stack.counters().ecn_responses, 0);
}

/// A peer that always echoes slows its own answer down, and no more: two segments per round trip.
#[test]
fn a_flood_of_echoes_does_not_stop_the_answer() {
    let mut jar = with_ecn();
    jar.send(seg("PA", 1, 1).data("GET 100000\n"));
    let mut next = 1u32;
    for _ in 0..100 {
        for sent in jar.sent() {
            assert!(sent.seq <= next, "{sent:?}");
            next = next.max(sent.seq + sent.data.len() as u32);
        }
        for _ in 0..3 {
            // Stale ones among them.
            let _ = jar.hand(seg("AE", 12, next.saturating_sub(2000).max(1)));
        }
        assert_eq!(jar.hand(seg("AE", 12, next)), Disposition::Handled);
        jar.flush();
    }
    assert_eq!((next, jar.app.held), (100_001, 0));
    let counters = jar.stack.counters();
    // Three stale ones in a row look like a loss besides.
    let reductions = counters.ecn_responses + counters.fast_retransmits;
    assert!(reductions > 5 && counters.timeouts == 0);
}

/// Without ECN an echo means nothing.
#[test]
fn echoes_without_ecn_are_ignored() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 200000\n"));
    let _ = jar.sent();
    jar.send(seg("AE", 12, 10_001));
    assert!(jar.sent().len() > 10);
    assert_eq!(jar.stack.counters().ecn_responses, 0);
}

/// A cookie keeps ECN where it keeps all else.
#[test]
fn a_cookie_keeps_ecn() {
    for stamped in [true, false] {
        let mut jar = Jar::new(|config| config.half_open = 0);
        let mut syn = seg("SEW", 0, 0).mss(1460);
        if stamped {
            syn = syn.ts(5, 0);
        }
        jar.send(syn);
        let got = jar.sent().remove(0);
        assert_eq!(got.flags.has(Flags::ECE), stamped);
        let mut request = seg("PA", 1, 1).data("GET 3\n");
        if let Some(ts) = got.options.timestamps {
            request = request.ts(6, ts.val);
        }
        jar.send(request);
        assert_eq!(jar.sent()[0].ecn == Ecn::Ect0, stamped);
    }
}
