//! A frame that is like the one before gets what it would get on the long way. That is where frames with a VLAN tag go:
//! two hosts get the same segments at the same times, one of them with tags, and say and count the same.

use super::config;
use fastrand::Rng;
use sidestep_tests::clock::soak;
use sidestep_tests::mem::{MemHost, frame};
use sidestep_tests::raw::{Received, Segment, flag};
use std::net::SocketAddr;
use std::time::Duration;

const TAG: u16 = 7;

/// Heads that come more than once, the usual one first.
const HEADS: [&str; 5] = [
    "GET /ping HTTP/1.1\r\nHost: test\r\nAccept: */*\r\n\r\n",
    "GET /ping HTTP/1.1\r\nHost: test\r\nAccept: a/*\r\n\r\n",
    "GET /pong HTTP/1.1\r\nHost: test\r\nAccept: */*\r\n\r\n",
    "HEAD /ping HTTP/1.1\r\nHost: test\r\n\r\n",
    "GET /ping HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n",
];

/// A client, as far as the generator knows it.
struct Peer {
    next: Segment,
    timestamps: bool,
    open: bool,
}

impl Peer {
    fn new(nth: u16, v6: bool, random: &mut Rng) -> Self {
        let (from, to): (SocketAddr, SocketAddr) = if v6 {
            (
                ([0x20, 0, 0, 0, 0, 0, 0, nth], 4000 + nth).into(),
                "[2001:db8::1]:80".parse().expect("an address"),
            )
        } else {
            (
                ([192, 0, 2, 9], 4000 + nth).into(),
                ([192, 0, 2, 1], 80).into(),
            )
        };
        Self {
            next: Segment::new((from.ip(), from.port()), (to.ip(), to.port())),
            timestamps: random.bool(),
            open: false,
        }
    }

    fn stamp(&self, segment: &mut Segment, now: Duration, random: &mut Rng) {
        if self.timestamps != (random.u8(..200) == 0) {
            let old = if random.u8(..60) == 0 { 3000 } else { 0 };
            let val = 1_000_000 + now.as_millis() as u32 - old;
            segment.options.extend([1, 1, 8, 10]);
            segment.options.extend(val.to_be_bytes());
            segment
                .options
                .extend((now.as_millis() as u32).to_be_bytes());
        }
    }

    fn syn(&mut self, now: Duration, random: &mut Rng) -> Segment {
        let mut syn = self.next.clone();
        (syn.flags, syn.seq, syn.ack) = (flag::SYN, random.u32(..), 0);
        syn.options = vec![2, 4, 5, 0xb4];
        if random.bool() {
            syn.options.extend([1, 1, 4, 2]);
        }
        if random.u8(..4) == 0 {
            syn.flags |= flag::ECE | flag::CWR;
        }
        self.stamp(&mut syn, now, random);
        self.next.seq = syn.seq.wrapping_add(1);
        self.open = false;
        syn
    }

    /// What it says next: mostly the usual head, with all acknowledged that came.
    fn segment(&mut self, now: Duration, random: &mut Rng) -> Segment {
        if !self.open || random.u16(..400) == 0 {
            return self.syn(now, random);
        }
        let mut segment = self.next.clone();
        segment.flags = flag::ACK;
        let text = match random.u16(..400) {
            0..330 => HEADS[0].to_owned(),
            330..360 => HEADS[random.usize(..HEADS.len())].to_owned(),
            360..366 => HEADS[0].repeat(random.usize(2..4)),
            366 => HEADS[0][..random.usize(1..30)].to_owned(),
            367 => "GET  /\r\n\r\n".to_owned(),
            _ => String::new(),
        };
        if !text.is_empty() && random.u8(..100) > 0 {
            segment.flags |= flag::PSH;
        }
        segment.payload = text.into_bytes();
        let near = [1, 7, 200, 3000][random.usize(..4)];
        match random.u16(..1000) {
            0 => segment.seq = segment.seq.wrapping_sub(near),
            1 => segment.seq = segment.seq.wrapping_add(near),
            2 => segment.ack = segment.ack.wrapping_add(near),
            3 | 4 => segment.ack = segment.ack.wrapping_sub(near),
            5 => segment.sum_error = random.u16(..),
            6 if segment.src.is_ipv4() => segment.ip_sum_error = random.u16(..),
            7 => segment.flags |= [flag::URG, flag::ECE, flag::CWR, flag::FIN][random.usize(..4)],
            8 => segment.flags = flag::RST | flag::ACK,
            9 => segment.ecn = random.u8(..4),
            10..20 => segment.window = [0, 50, 100, 5000][random.usize(..4)],
            20..40 => segment.window = random.u16(1000..),
            _ => {}
        }
        self.stamp(&mut segment, now, random);
        let right = segment.sum_error == 0 && segment.ip_sum_error == 0;
        if right && segment.seq == self.next.seq && random.u16(..500) > 0 {
            // Else it is sent again.
            self.next.seq = segment.seq.wrapping_add(segment.len());
        }
        segment
    }

    fn hear(&mut self, said: &Received, lost: bool) {
        if said.has(flag::RST) || said.has(flag::FIN) {
            self.open = false;
        } else if said.has(flag::SYN) {
            (self.open, self.next.ack) = (true, said.end());
        } else if said.seq == self.next.ack && !lost {
            self.next.ack = said.end();
        }
    }
}

/// With another identification, of which the checksum tells as well.
fn identified(mut frame: Vec<u8>, at: usize, by: u16) -> Vec<u8> {
    if frame[at] >> 4 == 4 {
        let add = |bytes: &mut [u8], by: u16| {
            let sum = u32::from(u16::from_be_bytes([bytes[0], bytes[1]])) + u32::from(by);
            let sum = (sum as u16).wrapping_add((sum >> 16) as u16);
            bytes.copy_from_slice(&sum.to_be_bytes());
        };
        add(&mut frame[at + 4..at + 6], by);
        add(&mut frame[at + 10..at + 12], !by);
    }
    frame
}

#[test]
fn with_and_without_turns_all_is_the_same() {
    let (mut turns, mut requests) = (0, 0);
    for seed in 0..if soak() { 2000 } else { 60 } {
        let random = &mut Rng::with_seed(seed);
        let room = if seed % 4 == 0 { 3 } else { 64 };
        let limit = if seed % 3 == 0 { 200 } else { 0 };
        let limits = format!("[limits]\nrequests_per_connection = {limit}");
        let first = config("none").replace("[limits]", &limits);
        let mut plain = MemHost::new(&first, 128, room);
        let mut tagged = MemHost::new(&first, 128, room);
        let mut peers: Vec<Peer> = (0..4).map(|n| Peer::new(n, n == 3, random)).collect();
        let mut now = Duration::ZERO;
        for step in 0..400 {
            if step == 390 {
                plain.drain();
                tagged.drain();
            }
            let many = random.usize(1..5);
            for _ in 0..many {
                let peer = &mut peers[random.usize(..4)];
                let mut segment = peer.segment(now, random);
                let by = random.u16(..);
                let pad = if random.u8(..40) == 0 { 5 } else { 0 };
                let mut made = identified(frame(&segment), 14, by);
                made.resize(made.len() + pad, 0);
                assert!(plain.offer(&made));
                segment.vlans = vec![TAG];
                let mut made = identified(frame(&segment), 18, by);
                made.resize(made.len() + pad, 0);
                assert!(tagged.offer(&made));
            }
            plain.run();
            tagged.run();
            let (mut said, mut other) = (Vec::new(), Vec::new());
            plain.take_sent(|frame| said.push(frame.to_vec()));
            tagged.take_sent(|frame| {
                let mut frame = frame.to_vec();
                assert_eq!(frame[12..16], [0x81, 0, 0, TAG as u8]);
                frame.drain(12..16);
                other.push(frame);
            });
            assert_eq!(said, other, "seed {seed} step {step}");
            for frame in &said {
                let said = Received::parse(frame).expect("it is TCP");
                let lost = random.u16(..300) == 0;
                for peer in &mut peers {
                    if (peer.next.src, peer.next.sport) == (said.dst, said.dport) {
                        peer.hear(&said, lost);
                    }
                }
            }
            let counters = |host: &MemHost| {
                let mut all = host.counters();
                all.retain(|(name, label, _)| (*name, *label) != ("http", "turns"));
                all
            };
            assert_eq!(
                counters(&plain),
                counters(&tagged),
                "seed {seed} step {step}"
            );
            let pass = match random.u8(..60) {
                0 => Duration::from_millis(random.u64(..3000)),
                1..20 => Duration::from_millis(random.u64(..4)),
                _ => Duration::from_micros(random.u64(..300)),
            };
            now += pass;
            plain.advance(pass);
            tagged.advance(pass);
            if random.u8(..100) == 0 {
                let body = "p".repeat(random.usize(1..9));
                let next = first.replace("\"ok\"", &format!("\"{body}\""));
                plain.replace(&next);
                tagged.replace(&next);
            }
        }
        assert!(plain.audit().balances());
        turns += plain.counter("http", "turns");
        requests += plain.counter("http", "requests");
        assert_eq!(tagged.counter("http", "turns"), 0);
    }
    // The generator is of no use if it makes no turns, or nothing else.
    assert!(
        turns > requests / 10 && turns < requests * 9 / 10,
        "{turns} of {requests}"
    );
}
