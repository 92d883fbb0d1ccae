//! What is predicted comes out as if nothing were: two stacks get the same segments at the same times, one of them
//! without prediction, and everything about them is the same after each step.

use crate::connection::Connection;
use crate::testing::{Jar, Lines, Seg, answer, seg};
use crate::time::Timer;
use crate::wire::SegmentView;
use crate::{Ecn, Endpoint, Flow};
use core::time::Duration;

/// One client, as far as the generator knows it.
struct Peer {
    flow: Flow,
    iss: u32,
    /// Our next number, and the peer's, relative to the first ones.
    nxt: u32,
    ours: u32,
    timestamps: bool,
    sack: bool,
    ecn: bool,
    /// We said that there is no more.
    over: bool,
}

struct Pair {
    with: Jar,
    without: Jar,
}

/// Everything that a connection is, but for when the stack looks at it next: it is looked at early enough.
fn picture(connection: &Connection<Lines>, timer: Timer) -> String {
    let Connection {
        key,
        link,
        conn,
        deadline,
        wake: _,
        terms,
        rcv,
        state,
        touched: _,
        probes,
    } = connection;
    assert!(connection.touched || !timer.is_before(connection.wake));
    format!("{key:?} {link} {conn} {deadline:?} {timer:?} {terms:?} {rcv:?} {state:?} {probes}")
}

impl Pair {
    fn each(&mut self, mut act: impl FnMut(&mut Jar)) {
        act(&mut self.with);
        act(&mut self.without);
    }

    /// Compares, and empties the wire; `see` gets each segment of ours.
    #[track_caller]
    fn compare(&mut self, seed: u64, mut see: impl FnMut(&Flow, &[u8])) {
        let (with, without) = (&mut self.with, &mut self.without);
        assert_eq!(with.out.sent, without.out.sent, "seed {seed}");
        for (flow, _, _, bytes) in with.out.sent.drain(..) {
            see(&flow, &bytes);
        }
        without.out.sent.clear();
        assert_eq!(with.app.log, without.app.log, "seed {seed}");
        assert_eq!(with.app.held, without.app.held, "seed {seed}");
        let pictures = |jar: &mut Jar| jar.stack.pictures(jar.now, picture);
        assert_eq!(pictures(with), pictures(without), "seed {seed}");
        let counters = |jar: &Jar| format!("{:?}", jar.stack.counters());
        assert_eq!(counters(with), counters(without), "seed {seed}");
        let left = |jar: &Jar| jar.stack.receive_budget_left();
        assert_eq!(left(with), left(without), "seed {seed}");
    }
}

/// What a client says next: mostly what clients say.
fn next_segment(peer: &mut Peer, now_ms: u32, mut random: impl FnMut(u64) -> u64) -> Seg {
    const TEXTS: [&str; 12] = [
        "GET 1\n",
        "GET 100\n",
        "GET 999\n",
        "GET 1000\n",
        "GET 1001\n",
        "GET 2500\n",
        "GET 3\nGET 0\nGET 40\n",
        "GET 40000\n",
        "GE",
        "WAIT 30\n",
        "x\n",
        "BYE\n",
    ];
    // A full segment has 1000 bytes, or 988 beside timestamps.
    const LAST: [&str; 6] = [
        "GET 7\nBYE\n",
        "GET 987\nBYE\n",
        "GET 988\nBYE\n",
        "GET 999\nBYE\n",
        "GET 1000\nBYE\n",
        "BYE\n",
    ];
    let odd = random(5) == 0;
    let flags = match random(60) {
        0 if odd => "FA",
        1 if odd => "RA",
        2 if odd => "SA",
        3 if odd => "FPA",
        4..=8 if odd => "AE",
        9..=13 if odd => "PAW",
        14 if odd => "P",
        15..=17 => "FA",
        18 => "FPA",
        _ if peer.over => "A",
        n if n % 2 == 0 => "A",
        _ => "PA",
    };
    let text = match random(10) {
        0..=2 => "",
        _ if peer.over => "",
        3 if random(4) == 0 => LAST[random(6) as usize],
        // Connections that go on are what this is about.
        _ => TEXTS[random(if odd { 12 } else { 7 }) as usize],
    };
    let near = [0, 0, 1, 7, 400, 1000, 70_000][random(7) as usize] as u32;
    let (mut seq, mut ack) = (peer.nxt, peer.ours);
    if odd {
        match random(6) {
            0 => seq = seq.wrapping_sub(near),
            1 => seq = seq.wrapping_add(near),
            2 => ack = ack.wrapping_add(near),
            3 | 4 => ack = ack.wrapping_sub(near),
            _ => {}
        }
    }
    let mut segment = seg(flags, seq, ack).data(text);
    if odd || random(8) == 0 {
        segment.win = [65_535, 0, 1, 900, 5000, 30_000][random(6) as usize];
    }
    if peer.timestamps != (odd && random(8) == 0) {
        let val = now_ms.wrapping_sub(if odd { near } else { 0 });
        segment = segment.ts(val, now_ms.wrapping_sub(random(300) as u32));
    }
    if odd && peer.sack && random(4) == 0 {
        segment = segment.sack(&[(ack.wrapping_add(near), peer.ours.wrapping_add(near))]);
    }
    if peer.ecn {
        segment = segment.ecn([Ecn::Ect0, Ecn::Ect0, Ecn::Ce][random(3) as usize]);
    }
    if seq == peer.nxt && segment.flags.has(crate::wire::Flags::ACK) && random(12) > 0 {
        // Else it was lost, and its bytes will be sent again, or others in their place.
        let fin = segment.flags.has(crate::wire::Flags::FIN);
        peer.over |= fin;
        peer.nxt = seq.wrapping_add(text.len() as u32 + u32::from(fin));
    }
    segment
}

#[test]
fn with_and_without_prediction_all_is_the_same() {
    let (mut predicted, mut handed) = (0, 0);
    for seed in 0..200u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % below
        };
        let jar = || {
            Jar::new(|config| {
                config.pieces = if seed % 5 == 0 { 6 } else { 64 };
                config.receive_budget = 70_000;
                config.keep_alive = (seed % 3 == 0).then_some(Duration::from_secs(20));
            })
        };
        let mut pair = Pair {
            with: jar(),
            without: jar(),
        };
        pair.without.stack.never_predict();
        pair.each(|jar| jar.app.stay = seed % 4 == 1);
        let mut peers: Vec<Peer> = Vec::new();
        for n in 0..3 {
            let mut flow = pair.with.flow;
            flow.remote = Endpoint {
                port: 5000 + n,
                ..flow.remote
            };
            peers.push(Peer {
                flow,
                iss: 0,
                nxt: 1,
                ours: 1,
                timestamps: random(2) == 0,
                sack: random(2) == 0,
                ecn: random(4) == 0,
                over: false,
            });
        }
        for step in 0..120 {
            let peer = &mut peers[random(3) as usize];
            let now_ms = (pair.with.now.0 / 1000) as u32;
            let again = if peer.over { 5 } else { 500 };
            let segment = if peer.iss == 0 || random(again) == 0 {
                (peer.nxt, peer.ours, peer.over) = (1, 1, false);
                let mut syn = seg(if peer.ecn { "SEW" } else { "S" }, 0, 0).mss(1000);
                syn.options.sack_permitted = peer.sack;
                if peer.timestamps {
                    syn = syn.ts(now_ms, 0);
                }
                syn
            } else {
                next_segment(peer, now_ms, &mut random)
            };
            let (flow, iss) = (peer.flow, peer.iss);
            let link = random(9) as u8;
            let mut dispositions = Vec::new();
            pair.each(|jar| {
                (jar.flow, jar.iss, jar.link) = (flow, iss, link);
                dispositions.push(jar.hand(segment.clone()));
            });
            handed += 1;
            assert_eq!(dispositions[0], dispositions[1], "seed {seed} step {step}");
            let (flush, pass) = (random(3) > 0, random(6) == 0);
            let room = if random(12) == 0 {
                random(3) as usize
            } else {
                usize::MAX
            };
            let wait = [1, 5, 60, 300, 3_000, 25_000][random(6) as usize];
            pair.each(|jar| {
                jar.out.room = room;
                if flush {
                    jar.flush();
                }
                jar.out.room = usize::MAX;
                if pass {
                    jar.pass_ms(wait);
                }
            });
            let lost = random(10) == 0;
            pair.compare(seed, |flow, bytes| {
                let view = SegmentView::parse(bytes).expect("it is ours");
                let from = peers.iter_mut().find(|peer| peer.flow == *flow);
                let Some(peer) = from else { return };
                if view.flags().has(crate::wire::Flags::SYN) {
                    peer.iss = view.seq().0;
                }
                let seq = view.seq().0.wrapping_sub(peer.iss);
                if seq == peer.ours && !lost {
                    let fin = view.flags().has(crate::wire::Flags::FIN);
                    peer.ours = seq.wrapping_add(view.payload().len() as u32 + u32::from(fin));
                }
            });
        }
        predicted += pair.with.stack.predicted();
        assert_eq!(pair.without.stack.predicted(), 0);
        pair.each(|jar| {
            jar.stack.drain();
            jar.pass(Duration::from_secs(300));
            jar.assert_gone();
        });
        pair.compare(seed, |_, _| {});
    }
    // The generator is of no use if it makes nothing that can be predicted, or nothing else.
    assert!(
        predicted > handed / 10 && predicted < handed * 9 / 10,
        "{predicted} of {handed}"
    );
}

/// Whoever closes, a short connection as nearly all are needs the general path for its SYN alone.
#[test]
fn short_connections_are_predicted_from_one_end_to_the_other() {
    let mut jar = Jar::established(|_| {});
    jar.send(seg("PA", 1, 1).data("GET 5\n"));
    jar.expect(&[seg("PA", 1, 7).data(answer(5, 0, 5))]);
    jar.send(seg("FA", 7, 6));
    jar.expect(&[seg("FA", 6, 8)]);
    jar.send(seg("A", 8, 7));
    jar.assert_gone();
    // The ACK of our SYN, the request, and what ended it.
    assert_eq!(jar.stack.predicted(), 4);

    let mut jar = Jar::new(|_| {});
    jar.send(seg("S", 0, 0).mss(1000));
    jar.expect(&[seg("SA", 0, 1).mss(1460)]);
    // The request is the ACK of our SYN, and the FIN that of ours.
    jar.send(seg("PA", 1, 1).data("GET 5\nBYE\n"));
    jar.expect(&[seg("FPA", 1, 11).data(answer(5, 0, 5))]);
    jar.send(seg("FA", 11, 7));
    jar.expect(&[seg("A", 7, 12)]);
    assert_eq!((jar.stack.len(), jar.stack.time_wait()), (0, 1));
    // Once when it opened, and once as the next segment of a connection that is open.
    assert_eq!(jar.stack.predicted(), 3);
}
