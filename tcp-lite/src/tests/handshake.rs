//! LISTEN and SYN-RCVD.

use crate::testing::{Jar, answer, seg};
use crate::wire::{Options, Timestamps};
use crate::{Addr, Disposition, DropReason, Endpoint, RefuseReason};

fn offer(mss: Option<u16>, ws: Option<u8>, sack: bool, ts: Option<u32>) -> Options {
    let timestamps = ts.map(|val| Timestamps { val, ecr: 0 });
    Options {
        mss,
        window_scale: ws,
        sack_permitted: sack,
        timestamps,
        ..Options::default()
    }
}

/// Only what the peer offers and the config allows is agreed to.
#[test]
fn options_are_the_intersection() {
    for bits in 0..64u8 {
        let bit = |n: u8| bits & 1 << n != 0;
        let mut jar = Jar::new(|config| {
            config.window_scale = bit(0);
            config.sack = bit(1);
            config.timestamps = bit(2);
        });
        let mut syn = seg("S", 0, 0);
        syn.options = offer(
            Some(1000),
            bit(3).then_some(9),
            bit(4),
            bit(5).then_some(77),
        );
        jar.send(syn);
        let got = jar.sent().remove(0);
        assert_eq!(got.options.mss, Some(1460));
        assert_eq!(got.options.window_scale, (bit(0) && bit(3)).then_some(0));
        assert_eq!(got.options.sack_permitted, bit(1) && bit(4));
        assert_eq!(
            got.options.timestamps.map(|ts| ts.ecr),
            (bit(2) && bit(5)).then_some(77)
        );
        assert_eq!((got.win, got.ack, got.data.len()), (65_535, 1, 0));
    }
}

#[test]
fn mss_by_family_and_default() {
    for (v6, peer, own, segment) in [
        (false, Some(1400), 1460, 1400),
        (false, None, 1460, 536),
        (false, Some(0), 1460, 536),
        (false, Some(1), 1460, 88),
        (false, Some(9000), 1460, 1460),
        (true, Some(9000), 1440, 1440),
        (true, None, 1440, 1220),
    ] {
        let mut jar = Jar::new(|_| {});
        if v6 {
            jar.flow.local = Endpoint {
                addr: Addr::v6([0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
                port: 80,
            };
            jar.flow.remote = Endpoint {
                addr: Addr::v6([0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]),
                port: 9,
            };
        }
        let mut syn = seg("S", 0, 0);
        syn.options.mss = peer;
        jar.send(syn);
        jar.expect(&[seg("SA", 0, 1).mss(own)]);
        jar.send(seg("PA", 1, 1).data("GET 9000\n"));
        assert_eq!(jar.sent()[0].data.len(), segment, "{v6} {peer:?}");
    }
}

#[test]
fn timestamps_come_out_of_the_segment() {
    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1000).ts(5, 0));
    jar.expect(&[seg("SA", 0, 1).mss(1460).ts(0, 5)]);
    jar.send(seg("PA", 1, 1).ts(6, 0).data("GET 2000\n"));
    let sent = jar.sent();
    assert_eq!(
        sent.iter().map(|s| s.data.len()).collect::<Vec<_>>(),
        [988, 988, 24]
    );
    assert!(
        sent.iter()
            .all(|s| s.options.timestamps.is_some_and(|ts| ts.ecr == 6))
    );
}

#[test]
fn window_scale_counts_from_the_third_segment_on() {
    let mut jar = Jar::new(|_| {});
    let mut syn = seg("S", 0, 0).win(1000);
    syn.options = offer(Some(1000), Some(20), false, None);
    jar.send(syn);
    let _ = jar.sent();
    // 2^14 is the most (RFC 7323 section 2.3): a window of 16 KiB, not of 1 MiB.
    jar.send(seg("PA", 1, 1).win(1).data("GET 50000\n"));
    let mut total: usize = jar.sent().iter().map(|s| s.data.len()).sum();
    assert_eq!(total, 10_000);
    for segment in 1..=10 {
        jar.send(seg("A", 11, 1 + 1000 * segment).win(1));
        total += jar.sent().iter().map(|s| s.data.len()).sum::<usize>();
    }
    assert_eq!(total - 10_000, 16_000);
}

#[test]
fn our_windows_are_told_in_units_of_our_scale() {
    // The window does not move for six bytes.
    for (offered, shift, field) in [(Some(3), 7, 65_529 >> 7), (None, 0, 65_529)] {
        let mut jar = Jar::new(|c| c.window_shift = 7);
        let mut syn = seg("S", 0, 0);
        syn.options = offer(Some(1000), offered, false, None);
        jar.send(syn);
        let syn_ack = jar.sent().remove(0);
        assert_eq!(syn_ack.options.window_scale, offered.map(|_| shift));
        assert_eq!(syn_ack.win, 65_535, "never scaled in a SYN");
        jar.send(seg("PA", 1, 1).data("GET 5\n"));
        assert_eq!(jar.sent()[0].win, field);
    }
}

#[test]
fn repeated_syn_gets_the_same_syn_ack() {
    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1000));
    jar.expect(&[seg("SA", 0, 1).mss(1460)]);
    let iss = jar.iss;
    jar.pass_ms(300);
    jar.send(seg("S", 0, 0).mss(1000));
    jar.expect(&[seg("SA", 0, 1).mss(1460)]);
    assert_eq!((jar.iss, jar.stack.len()), (iss, 1));
    // With timestamps the newest is echoed.
    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1000).ts(5, 0));
    jar.expect(&[seg("SA", 0, 1).mss(1460).ts(0, 5)]);
    jar.send(seg("S", 0, 0).mss(1000).ts(1005, 0));
    jar.expect(&[seg("SA", 0, 1).mss(1460).ts(0, 1005)]);
}

#[test]
fn syn_ack_is_sent_again_and_given_up() {
    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1000));
    jar.expect(&[seg("SA", 0, 1).mss(1460)]);
    for wait in [1_000, 2_000, 4_000, 8_000] {
        jar.pass_ms(wait - 1);
        jar.expect(&[]);
        jar.pass_ms(1);
        jar.expect(&[seg("SA", 0, 1).mss(1460)]);
    }
    jar.pass_ms(16_000);
    jar.expect(&[]);
    jar.assert_gone();
    assert!(jar.log().is_empty() && jar.stack.next_deadline().is_none());
}

/// A SYN-ACK is lost: the echo gives the round trip all the same, so that the answer's tail is probed; and one loss does not
/// cost the initial window, two do.
#[test]
fn lost_syn_ack_costs_little() {
    for (lost, segments) in [(0, 10), (1, 10), (2, 1)] {
        let mut jar = Jar::new(|_| {});
        let mut syn = seg("S", 0, 0).mss(1012).ts(100, 0);
        syn.options.sack_permitted = true;
        jar.send(syn);
        let mut sent = jar.sent();
        for n in 0..lost {
            jar.pass_ms(1000 << n);
            sent = jar.sent();
        }
        let clock = sent[0].options.timestamps.map_or(0, |ts| ts.val);
        jar.pass_ms(20);
        jar.send(seg("PA", 1, 1).data("GET 9500\n").ts(100, clock));
        assert_eq!(jar.sent().len(), segments);
        let before = jar.stack.counters().timeouts;
        jar.pass_ms(100);
        assert_eq!(jar.sent().len(), 1);
        let counters = jar.stack.counters();
        assert_eq!((counters.tail_probes, counters.timeouts), (1, before));
    }
}

#[test]
fn request_carries_the_lost_third_ack() {
    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1000));
    jar.expect(&[seg("SA", 0, 1).mss(1460)]);
    jar.send(seg("PA", 1, 1).data("GET 3\n"));
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
}

#[test]
fn request_and_fin_carry_the_third_ack() {
    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1000));
    jar.expect(&[seg("SA", 0, 1).mss(1460)]);
    jar.send(seg("FPA", 1, 1).data("GET 3\n"));
    jar.expect(&[seg("FPA", 1, 8).data(answer(3, 0, 3))]);
    jar.send(seg("A", 8, 5));
    assert_eq!(jar.log(), ["established", "eof 0", "closed Finished 1"]);
    jar.assert_gone();
}

/// A request that overtakes the third ACK opens the connection; bytes before it are still missing.
#[test]
fn second_segment_first() {
    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1000));
    jar.expect(&[seg("SA", 0, 1).mss(1460)]);
    jar.send(seg("PA", 4, 1).data(" 3\n"));
    jar.expect(&[seg("A", 1, 1)]);
    jar.send(seg("PA", 1, 1).data("GET"));
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
}

#[test]
fn in_syn_rcvd() {
    let half_open = || {
        let mut jar = Jar::new(|_| {});
        jar.send(seg("S", 0, 0).mss(1000));
        jar.expect(&[seg("SA", 0, 1).mss(1460)]);
        jar
    };
    // An ACK of something else may be another stack's; if it is nobody's, RST from where it points.
    for ack in [0, 2, 1000] {
        let mut jar = half_open();
        assert_eq!(jar.hand(seg("A", 1, ack)), Disposition::Unknown);
        jar.expect(&[]);
        jar.reset(seg("A", 1, ack));
        let mut want = seg("R", ack, 0);
        want.win = 0;
        jar.expect(&[want]);
        assert_eq!(jar.stack.len(), 1);
    }
    // RFC 5961: only the exact RST.
    let mut jar = half_open();
    jar.drops(seg("R", 2, 0), DropReason::InexactReset);
    jar.expect(&[seg("A", 1, 1)]);
    jar.drops(seg("R", 0, 0), DropReason::OutOfWindow);
    jar.expect(&[]);
    jar.send(seg("R", 1, 0));
    jar.expect(&[]);
    jar.assert_gone();
    assert!(jar.log().is_empty());
    // The peer began anew: the ACK makes it send the exact RST.
    let mut jar = half_open();
    jar.drops(seg("S", 5000, 0).mss(1000), DropReason::UnexpectedSyn);
    jar.expect(&[seg("A", 1, 1)]);
    // Out of the window, and without ACK.
    let mut jar = half_open();
    jar.drops(seg("A", 2 + 65_535, 1), DropReason::OutOfWindow);
    jar.expect(&[seg("A", 1, 1)]);
    // As if it were not there, like Linux.
    jar.send(seg("SF", 0, 0));
    jar.expect(&[seg("SA", 0, 1).mss(1460)]);
}

/// No TCP fast open here: what a SYN carries comes again.
#[test]
fn data_on_a_syn_is_not_acknowledged() {
    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1000).data("GET 3\n"));
    jar.expect(&[seg("SA", 0, 1).mss(1460)]);
    jar.send(seg("PA", 1, 1).data("GET 3\n"));
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
}

#[test]
fn half_open_budget_and_full_table() {
    let mut jar = Jar::new(|config| {
        config.half_open = 3;
        config.syn_cookies = false;
        config.capacity = 5;
    });
    let open = |jar: &mut Jar, port: u16, finish: bool| {
        jar.flow.remote.port = port;
        let disposition = jar.hand(seg("S", 0, 0).mss(1000));
        jar.flush();
        let _ = jar.sent();
        if finish {
            jar.send(seg("A", 1, 1));
        }
        disposition
    };
    for port in 1..=3 {
        assert_eq!(open(&mut jar, port, false), Disposition::Handled);
    }
    assert_eq!(
        open(&mut jar, 4, false),
        Disposition::Refused(RefuseReason::HalfOpenFull)
    );
    // Given up ones make room.
    jar.pass_ms(32_000);
    let _ = jar.sent();
    assert_eq!(jar.stack.len(), 0);
    for port in 11..=15 {
        assert_eq!(open(&mut jar, port, true), Disposition::Handled);
    }
    assert_eq!(
        open(&mut jar, 16, false),
        Disposition::Refused(RefuseReason::TableFull)
    );
    assert_eq!(jar.stack.counters().refused(RefuseReason::TableFull), 1);
    // TIME-WAIT makes room as well. (Port 15's is the numbering in use.)
    jar.flow.remote.port = 15;
    jar.send(seg("PA", 1, 1).data("BYE\n"));
    jar.send(seg("FA", 5, 2));
    assert_eq!((jar.stack.len(), jar.stack.time_wait()), (4, 1));
    assert_eq!(open(&mut jar, 17, true), Disposition::Handled);
    assert_eq!((jar.stack.len(), jar.stack.time_wait()), (5, 0));
}

#[test]
fn draining_refuses() {
    let mut jar = Jar::new(|_| {});
    jar.stack.drain();
    assert_eq!(
        jar.hand(seg("S", 0, 0)),
        Disposition::Refused(RefuseReason::Draining)
    );
    assert_eq!(jar.hand(seg("A", 0, 0)), Disposition::Unknown);
}

#[test]
fn initial_numbers_differ_by_flow_and_grow_with_time() {
    let mut jar = Jar::new(|_| {});
    let mut numbers = Vec::new();
    for port in [1, 2] {
        jar.flow.remote.port = port;
        jar.send(seg("S", 0, 0));
        let _ = jar.sent();
        numbers.push(jar.iss);
        jar.send(seg("R", 1, 0));
    }
    assert_ne!(numbers[0], numbers[1]);
    jar.flow.remote.port = 1;
    jar.pass_ms(4);
    jar.send(seg("S", 0, 0));
    let _ = jar.sent();
    assert_eq!(jar.iss.wrapping_sub(numbers[0]), 1000);
}
