//! A link in both directions: loss, duplication, delay with jitter (which reorders), damage, congestion marks.

use std::collections::BTreeMap;

use crate::packet::{CE, write_ip_sum};
use crate::rng::Rng;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    Server,
    Client,
}

pub struct Link {
    in_flight: BTreeMap<(u64, u64), (To, Vec<u8>)>,
    count: u64,
    loss: u64,
    duplication: u64,
    corruption: u64,
    /// Of packets that can be marked as having met congestion.
    marks: u64,
    delay: u64,
    jitter: u64,
    /// Larger packets to the client vanish without a word.
    pub hole: usize,
    pub lost: u64,
    pub damaged: u64,
}

impl Link {
    pub fn new(rng: &mut Rng) -> Link {
        Link {
            in_flight: BTreeMap::new(),
            count: 0,
            loss: rng.pick(&[0, 0, 10, 10, 30, 100]),
            duplication: rng.pick(&[0, 0, 20, 100]),
            corruption: rng.pick(&[0, 0, 0, 10]),
            marks: rng.pick(&[0, 10, 100]),
            delay: rng.pick(&[10, 50, 1_000, 20_000, 80_000]),
            jitter: rng.pick(&[0, 0, 100, 5_000, 40_000]),
            hole: usize::MAX,
            lost: 0,
            damaged: 0,
        }
    }

    pub fn put(&mut self, now: u64, to: To, mut packet: Vec<u8>, rng: &mut Rng) {
        let vanishes = to == To::Client && packet.len() > self.hole;
        if vanishes || rng.chance(self.loss) {
            self.lost += 1;
            return;
        }
        if packet[1] & 3 != 0 && rng.chance(self.marks) {
            packet[1] |= CE;
            write_ip_sum(&mut packet);
        }
        let copies = 1 + u64::from(rng.chance(self.duplication));
        if rng.chance(self.corruption) {
            // Past the IP header, which the harness does not check. One bit, or up to all but one of a word: all that the
            // Internet checksum is sure to see.
            let at = 20 + 2 * rng.below((packet.len() as u64 - 20) / 2) as usize;
            let bits = if rng.chance(500) {
                1 << rng.below(16)
            } else {
                1 + rng.below(0xfffe) as u16
            };
            packet[at] ^= (bits >> 8) as u8;
            packet[at + 1] ^= bits as u8;
            self.damaged += 1;
        }
        for _ in 0..copies {
            let jitter = if self.jitter > 0 {
                rng.below(self.jitter)
            } else {
                0
            };
            self.count += 1;
            self.in_flight.insert(
                (now + self.delay + jitter, self.count),
                (to, packet.clone()),
            );
        }
    }

    /// A packet for the server that has come through the link already.
    pub fn again(&mut self, now: u64, packet: Vec<u8>) {
        self.count += 1;
        self.in_flight
            .insert((now, self.count), (To::Server, packet));
    }

    pub fn next(&self) -> Option<u64> {
        self.in_flight.keys().next().map(|(at, _)| *at)
    }

    pub fn take(&mut self, now: u64) -> Option<(To, Vec<u8>)> {
        self.next().filter(|at| *at <= now)?;
        self.in_flight.pop_first().map(|(_, packet)| packet)
    }
}
