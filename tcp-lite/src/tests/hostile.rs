//! Segments that no honest peer sends.

use core::time::Duration;

use crate::testing::{Jar, answer, seg};
use crate::{Addr, Disposition, DropReason, Ecn};

#[test]
fn wrong_bytes_are_counted_drops() {
    let mut jar = Jar::established(|_| {});
    let good = jar.bytes(seg("PA", 1, 1).data("GET 3\n"));
    for len in 0..20 {
        assert_eq!(
            jar.hand_bytes(&good[..len]),
            Disposition::Dropped(DropReason::Malformed),
            "{len}"
        );
    }
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let disposition = jar.hand_bytes(&bad);
        let wanted = matches!(
            disposition,
            Disposition::Dropped(DropReason::BadChecksum | DropReason::Malformed)
        );
        assert!(wanted, "bit {bit}: {disposition:?}");
    }
    assert_eq!(jar.stack.counters().dropped(DropReason::Malformed), 20 + 4);
    // All that left no trace.
    jar.send(seg("PA", 1, 1).data("GET 3\n"));
    jar.expect(&[seg("PA", 1, 7).data(answer(3, 0, 3))]);
}

#[test]
fn impossible_options_and_flags() {
    let mut jar = Jar::established(|_| {});
    let mut patched = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = jar.bytes(seg("A", 1, 1).mss(1000));
        change(&mut bytes);
        bytes[16..18].fill(0);
        let swapped = crate::Flow {
            local: jar.flow.remote,
            remote: jar.flow.local,
        };
        let sum = crate::wire::pseudo_header(&swapped, bytes.len())
            .plus(crate::wire::Sum::of(&bytes))
            .finish();
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        jar.hand_bytes(&bytes)
    };
    let dropped = Disposition::Dropped;
    assert_eq!(patched(&|b| b[21] = 1), dropped(DropReason::BadOptions));
    assert_eq!(patched(&|b| b[21] = 0), dropped(DropReason::BadOptions));
    assert_eq!(patched(&|b| b[21] = 5), dropped(DropReason::BadOptions));
    for (flags, why) in [
        (0x00, DropReason::OddFlags),
        (0x01, DropReason::OddFlags),
        (0x06, DropReason::OddFlags),
        (0x3f, DropReason::OddFlags),
        (0x29, DropReason::OddFlags),
    ] {
        assert_eq!(patched(&|b| b[13] = flags), dropped(why), "{flags:#x}");
    }
    jar.flush();
    jar.expect(&[]);
}

#[test]
fn odd_addresses() {
    for (remote, port) in [
        (Addr::v4([0, 0, 0, 0]), 9),
        (Addr::v4([224, 0, 0, 1]), 9),
        (Addr::v4([255, 255, 255, 255]), 9),
        (Addr::v4([127, 0, 0, 1]), 9),
        (Addr::v4([192, 0, 2, 1]), 9),
        (Addr::v4([10, 0, 0, 1]), 0),
    ] {
        let mut jar = Jar::new(|_| {});
        jar.flow.remote.addr = remote;
        jar.flow.remote.port = port;
        assert_eq!(
            jar.hand(seg("S", 0, 0)),
            Disposition::Dropped(DropReason::OddAddress),
            "{remote:?}"
        );
        jar.flush();
        jar.expect(&[]);
        jar.assert_gone();
    }
    let mut jar = Jar::new(|_| {});
    jar.flow.local.addr = Addr::v4([255, 255, 255, 255]);
    assert_eq!(
        jar.hand(seg("S", 0, 0)),
        Disposition::Dropped(DropReason::OddAddress)
    );
}

/// Many connections that keep one byte far ahead must not take the memory that half requests need.
#[test]
fn far_islands_leave_memory_for_requests() {
    let mut jar = Jar::new(|config| {
        config.receive_budget = 200 << 10;
        config.capacity = 20;
    });
    for port in 1..=10 {
        jar.flow.remote.port = port;
        jar.send(seg("S", 0, 0).mss(1000));
        let _ = jar.sent();
        jar.send(seg("A", 1, 1));
        let _ = jar.hand(seg("A", 60_000, 1).data("x"));
    }
    assert!(jar.stack.receive_budget_left() > 50 << 10);
    jar.send(seg("PA", 1, 1).data("GET "));
    jar.send(seg("PA", 5, 1).data("3\n"));
    assert!(jar.sent().iter().any(|s| s.data == answer(3, 0, 3)));
}

/// Random segments with near-miss numbers at connections in every state: never a panic or a livelock, no piece lost or
/// released twice, nothing left at the end.
#[test]
fn random_segments() {
    let seeds = std::env::var("TCP_LITE_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok());
    for seed in 0..seeds.unwrap_or(1500u64) {
        let mut rng = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = |below: u64| {
            rng ^= rng << 13;
            rng ^= rng >> 7;
            rng ^= rng << 17;
            (rng >> 11) % below
        };
        let mut jar = Jar::new(|config| {
            config.pieces = 4;
            config.pieces_per_connection = 3;
            config.receive_budget = 70_000;
            config.receive_window = [65_535, 300][(seed % 2) as usize];
            config.linger_bytes = 5_000;
            config.half_open = [8_192, 8_192, 0][(seed % 3) as usize];
        });
        jar.app.stay = seed % 3 == 0;
        // The right edge that the connection of this many SYNs has told.
        let mut edge = (0, 0u32);
        let (mut nxt, mut ours) = (0u32, 0u32);
        for _ in 0..60 {
            let near = [0u64, 0, 0, 1, 2, 9, 300, 70_000][random(8) as usize] as u32;
            let flip = |base: u32, back: bool| {
                if back {
                    base.wrapping_sub(near)
                } else {
                    base.wrapping_add(near)
                }
            };
            let flags = [
                "S", "A", "A", "A", "PA", "PA", "FA", "R", "RA", "SA", "F", "FPA", "SEW", "AE",
                "PAW",
            ][random(15) as usize];
            let text = [
                "",
                "",
                "GET 700\n",
                "GET 3\nGET 2000\n",
                "BYE\n",
                "DIE\n",
                "WAIT 30\n",
                "x",
                "\n",
            ];
            let mut segment = seg(
                flags,
                flip(nxt, random(2) == 0),
                ours.wrapping_sub(near * random(2) as u32),
            );
            segment.win = [65_535, 65_535, 0, 1, 900][random(5) as usize];
            segment.ecn = [Ecn::NotEct, Ecn::Ect0, Ecn::Ce][random(3) as usize];
            if flags != "S" || random(9) == 0 {
                segment = segment.data(text[random(9) as usize]);
            }
            if random(4) == 0 {
                segment = segment.sack(&[(ours.wrapping_sub(500), ours.wrapping_sub(100))]);
            }
            jar.out.room = if random(5) == 0 {
                random(2) as usize
            } else {
                usize::MAX
            };
            let _ = jar.hand(segment);
            if random(3) > 0 {
                jar.flush();
            }
            if random(4) == 0 {
                // Full for so long would be a retry every millisecond, which is not what this is about.
                jar.out.room = usize::MAX;
                jar.pass_ms([1, 50, 300, 5_000, 30_000][random(5) as usize]);
            }
            if random(40) == 0 {
                jar.stack.on_packet_too_big(
                    jar.now,
                    &jar.flow.clone(),
                    crate::SeqNum(jar.iss),
                    600,
                );
            }
            for sent in jar.sent() {
                if sent.flags.has(crate::wire::Flags::RST) {
                    continue;
                }
                let right = sent.ack.wrapping_add(u32::from(sent.win));
                let counters = jar.stack.counters();
                let syns = counters.syns + counters.cookies_sent + counters.cookies_taken;
                let moved_left = edge.0 == syns && right.wrapping_sub(edge.1) >= 1 << 31;
                assert!(!moved_left, "seed {seed}: the window's edge moved left");
                edge = (syns, right);
                nxt = sent.ack;
                ours = sent.seq.wrapping_add(sent.data.len() as u32);
            }
        }
        jar.out.room = usize::MAX;
        jar.stack.drain();
        jar.pass(Duration::from_secs(300));
        jar.assert_gone();
        assert_eq!(
            (jar.stack.time_wait(), jar.stack.next_deadline()),
            (0, None),
            "seed {seed}"
        );
        assert_eq!(jar.stack.receive_budget_left(), 70_000, "seed {seed}");
        assert_eq!(
            jar.stack.counters().established as usize,
            ended(&jar),
            "seed {seed}"
        );
    }
}

fn ended(jar: &Jar) -> usize {
    jar.app
        .log
        .iter()
        .filter(|line| line.starts_with("closed"))
        .count()
}

/// The links by which everything sent since the last call went out.
fn links(jar: &mut Jar) -> Vec<u8> {
    jar.out.sent.drain(..).map(|(_, link, _, _)| link).collect()
}

#[test]
fn a_damaged_ack_does_not_turn_the_answer_elsewhere() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 4000\n"));
    assert_eq!(links(&mut jar), [1, 1, 1, 1]);
    jar.link = 2;
    jar.send(seg("A", 10, 1001));
    jar.pass_ms(300);
    assert!(links(&mut jar).iter().all(|link| *link == 1));
    // The timer rang: the old way is in doubt.
    jar.send(seg("A", 10, 1001));
    jar.pass_ms(2_000);
    assert_eq!(links(&mut jar).last(), Some(&2));
}

#[test]
fn a_segment_that_is_sent_again_shows_the_way() {
    let mut jar = Jar::established(|_| {});
    jar.link = 2;
    jar.send(seg("PA", 1, 1).data("GET 10\n"));
    assert_eq!(links(&mut jar), [2]);
    jar.link = 3;
    jar.drops(seg("PA", 1, 1).data("GET 10\n"), DropReason::OutOfWindow);
    links(&mut jar);
    // The answer again, by its timer.
    jar.pass_ms(2_000);
    assert_eq!(links(&mut jar).first(), Some(&3));
}
