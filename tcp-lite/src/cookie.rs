//! SYN cookies (RFC 4987 section 3.6): past the half-open budget a handshake is remembered by the peer, not by us.
//!
//! ```text
//!   our ISN    | MSS, masked : 4 | known : 10 | bound : 18 |
//!   our TSval  | clock : 26 | ECN : 1 | SACK : 1 | window scale : 4 |        only if the peer offers timestamps
//! ```
//! `known` is a MAC of the flow and a slow counter; `bound` one of those, the peer's ISN and all that the cookie keeps. A
//! guess without knowledge is right once in 2^27. With `known` alone a segment is told that came ahead of the first
//! one: its sequence number says nothing of the peer's ISN, so that it cannot open the connection. It must not do so by
//! luck either, since the bytes before it would be missing: `bound` is linear in the peer's ISN, and the same for no two
//! that are less than 2^18 apart.

use core::hash::{Hash, Hasher};
use core::time::Duration;

use siphasher::sip::SipHasher24;

use crate::arrive::Segment;
use crate::flow::Flow;
use crate::handshake::Offer;
use crate::seq::SeqNum;
use crate::time::{Instant, micros};
use crate::wire::{Options, Timestamps};

/// How long one value of the slow counter counts; cookies of it and of the one before are good. A client that sees
/// our SYN-ACK answers within a round trip, and repeats a lost request for some seconds. Longer lets old segments open
/// connections anew.
const PERIOD: Duration = Duration::from_secs(32);
/// How long after the last cookie one may still come back: no cookie lives longer.
const RECENT: Duration = Duration::from_secs(64);
/// What a cookie can keep of the peer's MSS, ascending: the next lower one counts. IPv4's and IPv6's least and default,
/// tunnels, DSL, Ethernet, jumbo frames.
const MSS: [u16; 16] = [
    88, 216, 536, 966, 1220, 1240, 1300, 1360, 1380, 1400, 1420, 1432, 1440, 1452, 1460, 8940,
];
const KNOWN_MASK: u32 = 0x3ff << 18;
const BOUND_MASK: u32 = 0x3_ffff;
/// The low bits of TSval that carry options.
const TS_BITS: u32 = 0x3f;
const NO_SCALE: u32 = 0xf;
const SACK: u32 = 0x10;
const ECN: u32 = 0x20;
/// Cookies remembered as used, at most: 256 KiB.
const MAX_USED: usize = 1 << 16;

/// By what a used cookie is remembered; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tag(u32);

/// What an ACK says that may complete a handshake by cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Check {
    /// It does; so much of the peer's SYN is known, and by the tag the cookie will be.
    Good(Offer, Tag),
    /// Our ISN is right, the peer's sequence number is not that of its first segment.
    Early,
    /// It does not: forged, too old, used before, or nothing of ours.
    Wrong,
}

/// The cookies of one stack.
pub(crate) struct Cookies {
    key: [u8; 16],
    /// When the last one was sent.
    last: Option<Instant>,
    /// Tags of cookies that opened a connection, each in the one place it can have: the first segment of a connection
    /// that ended must not open it again. A tag may be overwritten by another's, which costs only this protection.
    used: Box<[Tag]>,
}

impl Cookies {
    pub fn new(secret: [u8; 16], connections: usize) -> Cookies {
        let places = connections.next_power_of_two().clamp(16, MAX_USED);
        Cookies {
            key: secret,
            last: None,
            used: vec![Tag(0); places].into_boxed_slice(),
        }
    }

    /// What a cookie keeps of a SYN's offer: the MSS, and the rest only beside timestamps that are agreed to.
    pub fn keep(offer: &Offer, timestamps: bool) -> Offer {
        let syn = &offer.options;
        let timestamps = syn.timestamps.filter(|_| timestamps);
        Offer {
            options: Options {
                mss: syn.mss,
                window_scale: syn.window_scale.filter(|_| timestamps.is_some()),
                sack_permitted: syn.sack_permitted && timestamps.is_some(),
                timestamps,
                ..Options::default()
            },
            ecn: offer.ecn && timestamps.is_some(),
        }
    }

    /// Our ISN for a SYN with `irs`, of which `mss` and the offer `kept` count.
    pub fn issue(
        &mut self,
        now: Instant,
        flow: &Flow,
        irs: SeqNum,
        mss: u16,
        kept: &Offer,
    ) -> SeqNum {
        self.last = Some(now);
        let index = MSS.partition_point(|size| *size <= mss).saturating_sub(1) as u32;
        let (mask, known) = self.known(flow, counter(now));
        let bits = kept.options.timestamps.map(|_| pack(kept));
        let (bound, _) = self.bound(flow, counter(now), irs, index, bits);
        SeqNum((index ^ mask) << 28 | known | bound)
    }

    /// TSval of a SYN-ACK with a cookie: our clock with its low bits replaced, never ahead of it.
    pub fn tsval(clock: u32, kept: &Offer) -> u32 {
        let val = clock & !TS_BITS | pack(kept);
        if SeqNum(clock).lt(SeqNum(val)) {
            val.wrapping_sub(TS_BITS + 1)
        } else {
            val
        }
    }

    /// Does `ack` answer a cookie? Never, unless one was sent lately: a listener that always believed cookies would let
    /// late segments open connections that were reset just now.
    pub fn check(&self, now: Instant, flow: &Flow, ack: &Segment<'_>, timestamps: bool) -> Check {
        if self.last.is_none_or(|last| now.since(last) >= RECENT) {
            return Check::Wrong;
        }
        let iss = (ack.ack - 1).0;
        let echo = ack.options.timestamps.filter(|_| timestamps);
        let bits = echo.map(|ts| ts.ecr & TS_BITS);
        let mut answer = Check::Wrong;
        for age in 0..2 {
            let count = counter(now).wrapping_sub(age);
            let (mask, known) = self.known(flow, count);
            if iss & KNOWN_MASK != known {
                continue;
            }
            let index = iss >> 28 ^ mask;
            let (bound, tag) = self.bound(flow, count, ack.seq - 1, index, bits);
            if iss & BOUND_MASK != bound {
                answer = Check::Early;
            } else if self.used[self.place(tag)] == tag {
                return Check::Wrong;
            } else {
                return Check::Good(unpack(index, bits, echo), tag);
            }
        }
        answer
    }

    /// A cookie that was found good opened its connection.
    pub fn spend(&mut self, tag: Tag) {
        let place = self.place(tag);
        self.used[place] = tag;
    }

    fn place(&self, tag: Tag) -> usize {
        (tag.0 >> 1) as usize % self.used.len()
    }

    /// The mask of the MSS, and `known` in its place.
    fn known(&self, flow: &Flow, count: u64) -> (u32, u32) {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(b"known");
        hasher.write_u64(count);
        flow.hash(&mut hasher);
        let mac = hasher.finish();
        ((mac >> 60) as u32, mac as u32 & KNOWN_MASK)
    }

    /// `bound` in its place, and the cookie's tag.
    fn bound(
        &self,
        flow: &Flow,
        count: u64,
        irs: SeqNum,
        index: u32,
        bits: Option<u32>,
    ) -> (u32, Tag) {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(b"bound");
        hasher.write_u64(count);
        flow.hash(&mut hasher);
        hasher.write_u32(index);
        // Another value than any six bits where there are no timestamps.
        hasher.write_u32(bits.unwrap_or(u32::MAX));
        let mac = hasher.finish();
        // An odd factor can be inverted; a secret one, so that a later segment, whose two numbers both have moved on, is
        // no better than a guess.
        let factor = (mac >> 18) as u32 | 1;
        let bound = (mac as u32).wrapping_add(irs.0.wrapping_mul(factor)) & BOUND_MASK;
        (bound, Tag(((mac >> 32) as u32 ^ irs.0) | 1))
    }
}

fn counter(now: Instant) -> u64 {
    now.0 / micros(PERIOD)
}

fn pack(kept: &Offer) -> u32 {
    let flag = |set: bool, bit: u32| if set { bit } else { 0 };
    let scale = kept
        .options
        .window_scale
        .map_or(NO_SCALE, |shift| u32::from(shift.min(14)));
    scale | flag(kept.options.sack_permitted, SACK) | flag(kept.ecn, ECN)
}

fn unpack(index: u32, bits: Option<u32>, timestamps: Option<Timestamps>) -> Offer {
    let scale = bits.map_or(NO_SCALE, |bits| bits & NO_SCALE);
    let flag = |bit: u32| bits.is_some_and(|bits| bits & bit != 0);
    Offer {
        options: Options {
            mss: MSS.get(index as usize).copied(),
            window_scale: (scale != NO_SCALE).then_some(scale as u8),
            sack_permitted: flag(SACK),
            timestamps,
            ..Options::default()
        },
        ecn: flag(ECN),
    }
}
