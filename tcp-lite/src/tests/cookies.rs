//! SYN cookies: handshakes that the peer remembers for us.

use core::time::Duration;

use crate::testing::{Jar, Seg, answer, seg};
use crate::{Disposition, DropReason, RefuseReason};

/// No half-open connection is allowed: every handshake takes a cookie.
fn jar() -> Jar {
    Jar::new(|config| config.half_open = 0)
}

/// The SYN-ACK to `syn`, which must leave nothing behind.
fn syn_ack(jar: &mut Jar, syn: Seg) -> Seg {
    let before = jar.stack.len();
    jar.send(syn);
    assert_eq!(jar.stack.len(), before);
    let mut sent = jar.sent();
    assert_eq!(sent.len(), 1);
    sent.remove(0)
}

fn syn() -> Seg {
    let mut syn = seg("S", 0, 0).mss(1400).ts(7_000, 0);
    syn.options.window_scale = Some(9);
    syn.options.sack_permitted = true;
    syn
}

/// The third segment to a SYN-ACK with timestamps.
fn third(syn_ack: &Seg) -> Seg {
    let ours = syn_ack.options.timestamps.expect("timestamps").val;
    seg("A", 1, 1).ts(7_001, ours)
}

#[test]
fn a_cookie_opens_the_connection() {
    let mut jar = jar();
    let got = syn_ack(&mut jar, seg("S", 0, 0).mss(1000));
    let mut want = seg("SA", 0, 1).mss(1460);
    want.win = got.win;
    assert_eq!(got, want);
    jar.send(seg("A", 1, 1));
    jar.expect(&[]);
    assert_eq!(jar.log(), ["established"]);
    jar.send(seg("PA", 1, 1).data("GET 2500\n"));
    // The MSS that was kept is the next lower one of a few.
    let lengths: Vec<_> = jar.sent().iter().map(|s| s.data.len()).collect();
    assert_eq!(lengths, [966, 966, 568]);
    let counters = jar.stack.counters();
    assert_eq!((counters.cookies_sent, counters.cookies_taken), (1, 1));
    assert_eq!((counters.syns, counters.established), (0, 1));
}

/// A request opens it as well as a bare ACK, and FIN with it.
#[test]
fn request_and_fin_bring_the_cookie_back() {
    let mut jar = jar();
    syn_ack(&mut jar, seg("S", 0, 0).mss(1460));
    jar.send(seg("FPA", 1, 1).data("GET 3\n"));
    jar.expect(&[seg("FPA", 1, 8).data(answer(3, 0, 3))]);
    jar.send(seg("A", 8, 5));
    assert_eq!(jar.log(), ["established", "eof 0", "closed Finished 1"]);
    jar.assert_gone();
}

/// Beside timestamps a cookie keeps all that the SYN offered, and only what the config allows.
#[test]
fn timestamps_carry_the_options() {
    for bits in 0..32u32 {
        let bit = |n: u32| bits & 1 << n != 0;
        let mut jar = Jar::new(|config| {
            config.half_open = 0;
            config.timestamps = bit(0);
        });
        // Every value that the low bits of our clock can have.
        jar.pass_ms(u64::from(bits) * 7);
        let mut syn = seg("S", 0, 0).mss(1460);
        syn.options.window_scale = bit(1).then_some(14);
        syn.options.sack_permitted = bit(2);
        if bit(3) {
            syn = syn.ts(100, 0);
        }
        let got = syn_ack(&mut jar, syn);
        let stamped = bit(0) && bit(3);
        assert_eq!(
            got.options.timestamps.map(|ts| ts.ecr),
            stamped.then_some(100)
        );
        assert_eq!(got.options.window_scale, (stamped && bit(1)).then_some(0));
        assert_eq!(got.options.sack_permitted, stamped && bit(2));
        let ours = got.options.timestamps.map_or(0, |ts| ts.val);
        let stamp = |s: Seg, val: u32| if bit(3) { s.ts(val, ours) } else { s };
        // Ahead of a gap: SACK says so if it was agreed to.
        jar.send(stamp(seg("A", 1, 1), 101).win(1));
        let _ = jar.hand(stamp(seg("PA", 11, 1).data("x\n"), 102).win(1));
        jar.flush();
        let ack = jar.sent().remove(0);
        assert_eq!(
            !ack.options.sack.as_slice().is_empty(),
            stamped && bit(2),
            "{bits:#b}"
        );
        // Our clock does not run back behind the SYN-ACK's.
        if let Some(ts) = ack.options.timestamps {
            assert!(ts.val.wrapping_sub(ours) < 64 + 10);
        }
        // A window of 1 is 16 KiB if it is scaled.
        jar.send(stamp(seg("PA", 1, 1).data("GET 9000\n\n"), 103).win(1));
        let sent: usize = jar.sent().iter().map(|s| s.data.len()).sum();
        assert_eq!(sent > 1, stamped && bit(1), "{bits:#b}");
    }
}

/// Never more than what was offered, but for what is too little for anybody.
#[test]
fn the_mss_that_is_kept_is_not_above_the_offer() {
    let mut last = 0;
    for offer in (0..9_000)
        .step_by(41)
        .chain([88, 536, 1220, 1440, 1460, 8940, 65_535])
    {
        let mut jar = Jar::new(|config| {
            config.half_open = 0;
            config.mtu = 9_000;
        });
        syn_ack(&mut jar, seg("S", 0, 0).mss(offer));
        jar.send(seg("PA", 1, 1).data("GET 20000\n"));
        let kept = jar.sent()[0].data.len();
        match offer {
            // As good as none.
            0 => assert_eq!(kept, 536),
            88 | 536 | 1220 | 1440 | 1460 | 8940 => assert_eq!(kept, usize::from(offer)),
            _ => assert!(
                kept <= usize::from(offer.max(88)) && kept >= 88,
                "{offer}: {kept}"
            ),
        }
        last = last.max(kept);
    }
    assert_eq!(last, 8_940);
}

#[test]
fn half_open_connections_come_first() {
    let mut jar = Jar::new(|config| config.half_open = 1);
    jar.flow.remote.port = 1;
    jar.send(seg("S", 0, 0).mss(1000));
    let _ = jar.sent();
    assert_eq!(jar.stack.counters().syns, 1);
    let first = (jar.flow, jar.iss);
    jar.flow.remote.port = 2;
    syn_ack(&mut jar, seg("S", 0, 0).mss(1000));
    jar.send(seg("A", 1, 1));
    assert_eq!(jar.stack.counters().cookies_taken, 1);
    (jar.flow, jar.iss) = first;
    jar.send(seg("A", 1, 1));
    // There is room again.
    jar.flow.remote.port = 3;
    jar.send(seg("S", 0, 0).mss(1000));
    assert_eq!((jar.stack.counters().syns, jar.stack.len()), (2, 3));
    assert_eq!(jar.stack.counters().cookies_sent, 1);
}

#[test]
fn without_cookies_the_budget_refuses() {
    let mut jar = Jar::new(|config| {
        config.half_open = 0;
        config.syn_cookies = false;
    });
    let refused = Disposition::Refused(RefuseReason::HalfOpenFull);
    assert_eq!(jar.hand(seg("S", 0, 0)), refused);
    jar.expect(&[]);
}

/// One bit of the ISN, another peer's ISN, another flow, another TSecr: nothing of it opens a connection.
#[test]
fn forged_cookies_are_strangers() {
    let mut jar = jar();
    let got = syn_ack(&mut jar, syn());
    let good = third(&got);
    for bit in 0..32 {
        let mut forged = good.clone();
        forged.ack ^= 1 << bit;
        assert_eq!(jar.hand(forged), Disposition::Unknown, "{bit}");
    }
    // An ISN farther away is nothing that a segment of this connection could have.
    for bit in 0..18 {
        let mut forged = good.clone();
        forged.seq ^= 1 << bit;
        assert_eq!(jar.hand(forged), Disposition::Unknown, "{bit}");
    }
    for bit in 0..6 {
        let mut forged = good.clone();
        let ts = forged.options.timestamps.as_mut().expect("timestamps");
        ts.ecr ^= 1 << bit;
        assert_eq!(jar.hand(forged), Disposition::Unknown, "{bit}");
    }
    // The options are of one piece: without timestamps it is another cookie.
    assert_eq!(jar.hand(seg("A", 1, 1)), Disposition::Unknown);
    assert_eq!(jar.hand(seg("R", 1, 1)), Disposition::Unknown);
    assert_eq!(jar.hand(seg("SA", 1, 1)), Disposition::Unknown);
    jar.flow.remote.port += 1;
    assert_eq!(jar.hand(good.clone()), Disposition::Unknown);
    jar.flow.remote.port -= 1;
    assert_eq!(
        (jar.stack.len(), jar.stack.counters().cookies_taken),
        (0, 0)
    );
    jar.expect(&[]);
    jar.send(good);
    assert_eq!(jar.log(), ["established"]);
}

/// Guesses by one who knows the flow and nothing else.
#[test]
fn guessing_does_not_pay() {
    let mut jar = jar();
    syn_ack(&mut jar, seg("S", 0, 0).mss(1460));
    let mut guess = 1u32;
    for _ in 0..20_000 {
        guess = guess.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        assert_ne!(jar.hand(seg("A", 1, guess)), Disposition::Handled);
    }
    assert_eq!(jar.stack.counters().cookies_taken, 0);
}

/// What is told of a connection that was reset must not open it again.
#[test]
fn replayed_cookie_is_a_stranger() {
    let mut jar = jar();
    syn_ack(&mut jar, seg("S", 0, 0).mss(1460));
    let request = seg("PA", 1, 1).data("GET 3\n");
    jar.send(request.clone());
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
    jar.send(seg("R", 7, 0));
    jar.assert_gone();
    for _ in 0..3 {
        assert_eq!(jar.hand(request.clone()), Disposition::Unknown);
        assert_eq!(jar.hand(seg("A", 1, 1)), Disposition::Unknown);
        jar.pass_ms(5_000);
    }
    assert_eq!(jar.stack.counters().cookies_taken, 1);
}

/// Cookies are believed for a while after the last one was sent, and each for a while after it was.
#[test]
fn old_cookies_are_strangers() {
    // At most one turn of the counter old: always good for 32 s.
    let mut jar = jar();
    for (wait, good) in [(0, true), (31, true), (65, false)] {
        jar.flow.remote.port += 1;
        syn_ack(&mut jar, seg("S", 0, 0).mss(1460));
        jar.pass(Duration::from_secs(wait));
        let want = if good {
            Disposition::Handled
        } else {
            Disposition::Unknown
        };
        assert_eq!(jar.hand(seg("A", 1, 1)), want, "{wait}");
    }
    // Others keep the stack under pressure: it is too old all the same.
    jar.flow.remote.port = 9;
    syn_ack(&mut jar, seg("S", 0, 0).mss(1460));
    let first = (jar.flow, jar.iss);
    jar.pass(Duration::from_secs(65));
    jar.flow.remote.port = 10;
    syn_ack(&mut jar, seg("S", 0, 0).mss(1460));
    (jar.flow, jar.iss) = first;
    assert_eq!(jar.hand(seg("A", 1, 1)), Disposition::Unknown);
}

/// A stack that sent none believes none, not even one that another with the same secret sent just now: as long as there
/// is no pressure there is nothing to guess.
#[test]
fn cookies_count_under_pressure_only() {
    let mut jar = jar();
    syn_ack(&mut jar, seg("S", 0, 0).mss(1460));
    let mut calm = Jar::new(|_| {});
    calm.iss = jar.iss;
    assert_eq!(calm.hand(seg("A", 1, 1)), Disposition::Unknown);
    // Under pressure itself it would have taken it: secret and counter are the same.
    let mut pressed = Jar::new(|config| config.half_open = 0);
    pressed.flow.remote.port += 1;
    syn_ack(&mut pressed, seg("S", 0, 0).mss(1460));
    pressed.flow.remote.port -= 1;
    pressed.iss = jar.iss;
    assert_eq!(pressed.hand(seg("A", 1, 1)), Disposition::Handled);
}

/// The second segment of the peer says nothing of its ISN: it is neither believed nor reset, and comes again.
#[test]
fn a_segment_ahead_of_the_first_waits() {
    let mut jar = jar();
    syn_ack(&mut jar, seg("S", 0, 0).mss(1460));
    let second = seg("PA", 4, 1).data(" 3\n");
    assert_eq!(jar.hand(second.clone()), Disposition::Unknown);
    assert!(jar.is_early(second.clone()));
    assert_eq!(jar.stack.counters().cookies_early, 1);
    assert!(!jar.is_early(seg("PA", 4, 0x0aaa_aaaa)), "of no cookie");
    jar.send(seg("A", 1, 1).data("GET"));
    jar.send(second);
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
    // An ACK of anything else is reset.
    jar.flow.remote.port += 1;
    let stray = seg("A", 1, 0x0123_4567);
    assert_eq!(jar.hand(stray.clone()), Disposition::Unknown);
    jar.reset(stray);
    assert_eq!(jar.sent().len(), 1);
}

/// No segment in the window is taken for the first one by luck: the bytes before it would count as received.
#[test]
fn no_segment_ahead_is_taken_for_the_first() {
    for port in 0..3 {
        let mut jar = jar();
        jar.flow.remote.port += port;
        syn_ack(&mut jar, seg("S", 0, 0).mss(1460));
        for ahead in 1..=65_535 {
            assert_eq!(jar.hand(seg("A", 1 + ahead, 1)), Disposition::Unknown);
        }
    }
}

/// The client's SYN came twice: the first got a cookie, the second a half-open connection. It takes the first answer.
#[test]
fn a_cookie_ends_the_half_open_connection_beside_it() {
    let mut jar = Jar::new(|config| config.half_open = 1);
    let client = jar.flow;
    jar.flow.remote.port = 9;
    jar.send(seg("S", 0, 0).mss(1000));
    let _ = jar.sent();
    let other = jar.flow;
    jar.flow = client;
    syn_ack(&mut jar, seg("S", 0, 0).mss(1460));
    let cookie = jar.iss;
    jar.flow = other;
    jar.send(seg("R", 1, 0));
    jar.flow = client;
    jar.send(seg("S", 0, 0).mss(1460));
    let _ = jar.sent();
    assert_ne!(jar.iss, cookie);
    assert_eq!(jar.stack.counters().syns, 2);
    jar.iss = cookie;
    jar.send(seg("PA", 1, 1).data("GET 3\n"));
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
    assert_eq!(jar.stack.len(), 1);
    // Its budget is free.
    jar.flow = other;
    jar.send(seg("S", 0, 0).mss(1000));
    assert_eq!(jar.stack.counters().syns, 3);
}

#[test]
fn a_full_table_takes_no_cookie() {
    let mut jar = Jar::new(|config| {
        config.half_open = 0;
        config.capacity = 2;
    });
    let numbers = [1, 2, 3].map(|port| {
        jar.flow.remote.port = port;
        syn_ack(&mut jar, seg("S", 0, 0).mss(1460));
        jar.iss
    });
    for port in 1..=2 {
        jar.flow.remote.port = port;
        jar.iss = numbers[usize::from(port) - 1];
        jar.send(seg("A", 1, 1));
    }
    jar.flow.remote.port = 3;
    jar.iss = numbers[2];
    let full = Disposition::Refused(RefuseReason::TableFull);
    assert_eq!(jar.hand(seg("A", 1, 1)), full);
    jar.flow.remote.port = 4;
    assert_eq!(jar.hand(seg("S", 0, 0).mss(1460)), full);
    // Not used up: once there is room it counts.
    jar.stack.abort_all(jar.now, &mut jar.app, &mut jar.out);
    let _ = jar.sent();
    jar.flow.remote.port = 3;
    jar.send(seg("A", 1, 1));
    assert_eq!(jar.stack.len(), 1);
}

#[test]
fn a_full_transmit_side_loses_the_cookie() {
    let mut jar = jar();
    jar.out.room = 0;
    jar.send(seg("S", 0, 0).mss(1460));
    assert_eq!((jar.sent(), jar.stack.counters().cookies_sent), (vec![], 0));
    jar.drops(seg("SF", 0, 0), DropReason::OddFlags);
}

/// A slot that TIME-WAIT holds is taken over with state, whatever the budget: its number goes on from the last.
#[test]
fn time_wait_gives_way_without_a_cookie() {
    let mut jar = jar();
    syn_ack(&mut jar, seg("S", 0, 0).mss(1460));
    jar.send(seg("PA", 1, 1).data("BYE\n"));
    jar.send(seg("FA", 5, 2));
    let _ = jar.sent();
    let old = jar.iss;
    assert_eq!(jar.stack.time_wait(), 1);
    jar.send(seg("S", 100, 0).mss(1000));
    let _ = jar.sent();
    assert!(jar.iss.wrapping_sub(old) >= 64 * 1024 && jar.iss.wrapping_sub(old) < 1 << 31);
    assert_eq!((jar.stack.len(), jar.stack.counters().cookies_sent), (1, 1));
}

#[test]
fn a_drain_takes_no_cookie() {
    let mut jar = jar();
    syn_ack(&mut jar, seg("S", 0, 0).mss(1460));
    jar.stack.drain();
    assert_eq!(jar.hand(seg("A", 1, 1)), Disposition::Unknown);
}
