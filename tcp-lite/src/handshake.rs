//! Passive open: from a SYN to SYN-RCVD, and the SYN-ACK.

use core::time::Duration;

use siphasher::sip::SipHasher24;

use crate::app::Ecn;
use crate::arrive::Segment;
use crate::config::Config;
use crate::flow::Flow;
use crate::seq::SeqNum;
use crate::time::Instant;
use crate::wire::{Flags, Options};

/// Highest window scale (RFC 7323 section 2.3).
const MAX_WINDOW_SCALE: u8 = 14;
/// Smallest segment we agree to: a peer that announces an MSS of 1 would make us send a header per byte.
const MIN_MSS: u16 = 88;
/// What a SYN without MSS means (RFC 9293 section 3.7.1).
const DEFAULT_MSS_V4: u16 = 536;
const DEFAULT_MSS_V6: u16 = 1220;
/// The smallest MTU an IPv6 link may have (RFC 8200 section 5), and what Linux believes of an IPv4 path.
const MIN_MTU_V6: u16 = 1280;
const MIN_MTU_V4: u16 = 552;

/// What a SYN offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Offer {
    pub options: Options,
    /// The peer can do ECN.
    pub ecn: bool,
}

impl Offer {
    /// An ECN-setup SYN (RFC 3168 section 6.1.1) is never marked itself: if it is, something on the path writes these bits.
    pub fn of(syn: &Segment<'_>) -> Offer {
        let setup = syn.flags.has(Flags::ECE.with(Flags::CWR));
        Offer {
            options: syn.options,
            ecn: setup && syn.ecn == Ecn::NotEct,
        }
    }
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Negotiated {
    /// Bytes of TCP payload and options in a segment we send.
    mss: u16,
    /// Snd.Wind.Shift; `None`: no window scaling, and we must not offer it.
    snd_shift: Option<u8>,
    /// Rcv.Wind.Shift; 0 without window scaling.
    pub rcv_shift: u8,
    pub sack: bool,
    pub timestamps: bool,
    pub ecn: bool,
    /// Added to the clock for TSval: two flows' timestamps tell nothing of each other (RFC 7323 section 7.1).
    ts_offset: u32,
}

impl Negotiated {
    pub fn new(flow: &Flow, origin: Origin, offer: &Offer, config: &Config) -> Negotiated {
        let syn = &offer.options;
        let default = if flow.is_v4() {
            DEFAULT_MSS_V4
        } else {
            DEFAULT_MSS_V6
        };
        // Zero is what Linux takes for "not given" as well.
        let peer = syn.mss.filter(|mss| *mss > 0).unwrap_or(default);
        let scales = config.window_scale && syn.window_scale.is_some();
        Negotiated {
            rcv_shift: if scales {
                config.window_shift.min(MAX_WINDOW_SCALE)
            } else {
                0
            },
            mss: peer.max(MIN_MSS).min(own_mss(flow, config)),
            snd_shift: syn
                .window_scale
                .filter(|_| config.window_scale)
                .map(|shift| shift.min(MAX_WINDOW_SCALE)),
            sack: config.sack && syn.sack_permitted,
            timestamps: config.timestamps && syn.timestamps.is_some(),
            ecn: config.ecn && offer.ecn,
            ts_offset: origin.ts,
        }
    }

    /// What the peer's MSS and our link allow.
    pub fn mss(&self) -> u16 {
        self.mss
    }

    /// Payload of a full segment (RFC 6691: the options of every segment come out of the MSS).
    #[inline]
    pub fn payload(&self) -> u16 {
        if self.timestamps {
            self.mss - Options::TIMESTAMPS_LEN as u16
        } else {
            self.mss
        }
    }

    /// Payload of a full segment on a path of this MTU, whatever was agreed on.
    pub fn payload_within(&self, flow: &Flow, mtu: u16) -> u16 {
        mss_within(flow, mtu) - (self.mss - self.payload())
    }

    /// The options of our SYN-ACK; its timestamps are added like those of every segment.
    pub fn answer(&self, flow: &Flow, config: &Config) -> Options {
        Options {
            mss: Some(own_mss(flow, config)),
            // Also if it is 0: that lets the peer scale its own.
            window_scale: self.snd_shift.map(|_| self.rcv_shift),
            sack_permitted: self.sack,
            ..Options::default()
        }
    }

    /// SND.WND from the window field of any segment but a SYN.
    #[inline]
    pub fn scale(&self, window: u16) -> u32 {
        u32::from(window) << self.snd_shift.unwrap_or(0)
    }

    /// Snd.Wind.Shift
    pub fn snd_shift(&self) -> Option<u8> {
        self.snd_shift
    }

    /// The window field for SND.WND.
    pub fn unscale(&self, wnd: u32) -> u16 {
        u16::try_from(wnd >> self.snd_shift.unwrap_or(0)).unwrap_or(u16::MAX)
    }

    /// TSval: a clock of 1 ms.
    #[inline]
    pub fn ts_clock(&self, now: Instant) -> u32 {
        ((now.0 / 1000) as u32).wrapping_add(self.ts_offset)
    }

    /// Round trip by the echo of our clock, one tick at least; `None` when the echo cannot be one.
    pub fn echoed(&self, now: Instant, ecr: u32) -> Option<Duration> {
        let ms = self.ts_clock(now).wrapping_sub(ecr);
        (ms < 1 << 20).then(|| Duration::from_millis(u64::from(ms.max(1))))
    }

    /// A router says that packets of at most `mtu` bytes pass. False if that is no news, or none to be believed.
    pub fn lower_mtu(&mut self, flow: &Flow, mtu: u16) -> bool {
        let mss = mss_within(flow, mtu);
        let lower = mss < self.mss;
        if lower {
            self.mss = mss;
        }
        lower
    }
}

/// The MSS for a path of this MTU, as far as it is to be believed.
fn mss_within(flow: &Flow, mtu: u16) -> u16 {
    let least = if flow.is_v4() { MIN_MTU_V4 } else { MIN_MTU_V6 };
    mtu.max(least) - flow.header_len()
}

/// The MSS option we send: what our link takes (RFC 9293 section 3.7.1; MUST-16, MUST-67).
fn own_mss(flow: &Flow, config: &Config) -> u16 {
    config.mtu.saturating_sub(flow.header_len()).max(MIN_MSS)
}

/// Where the numbers of a flow begin: a secret function of it, so that those of one tell nothing of another's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    isn: u32,
    /// Of TSval (RFC 7323 section 7.1).
    ts: u32,
}

impl Origin {
    pub fn of(flow: &Flow, config: &Config) -> Origin {
        // One hash for both: a half of it says nothing of the other.
        let hash = keyed_hash(flow, &config.secret);
        Origin {
            isn: hash as u32,
            ts: (hash >> 32) as u32,
        }
    }

    /// Initial sequence number (RFC 6528): a clock of 4 µs plus this.
    pub fn initial_seq(self, now: Instant) -> SeqNum {
        SeqNum((now.0 / 4) as u32) + self.isn
    }
}

/// Of bytes in one piece: in several, SipHash takes half as many instructions again.
fn keyed_hash(flow: &Flow, secret: &[u8; 16]) -> u64 {
    const PURPOSE: &[u8; 4] = b"seq\n";
    let Flow { local, remote } = flow;
    let (to, from) = (local.port.to_be_bytes(), remote.port.to_be_bytes());
    let hasher = SipHasher24::new_with_key(secret);
    let mut buf = [0; 40];
    buf[..4].copy_from_slice(PURPOSE);
    buf[4..6].copy_from_slice(&to);
    buf[6..8].copy_from_slice(&from);
    match (local.addr.to_v4(), remote.addr.to_v4()) {
        (Some(ours), Some(theirs)) => {
            buf[8..12].copy_from_slice(&ours);
            buf[12..16].copy_from_slice(&theirs);
            hasher.hash(&buf[..16])
        }
        _ => {
            buf[8..24].copy_from_slice(local.addr.octets());
            buf[24..].copy_from_slice(remote.addr.octets());
            hasher.hash(&buf)
        }
    }
}
