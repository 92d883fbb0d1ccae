//! How a model client goes about things.

use crate::plan::Plan;
use crate::rng::Rng;

/// When data is acknowledged that came in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Acks {
    Each,
    Second,
    /// Only when the delay is over.
    Late,
}

/// How the connection is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    InOrder,
    /// With a RST once so much was read.
    Reset(u32),
    /// Without a word once so much was read.
    Silence(u32),
}

/// How this TCP goes about things, drawn from the seed.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    pub(super) mss: Option<u16>,
    pub(super) sack: bool,
    pub(super) timestamps: bool,
    pub(super) shift: Option<u8>,
    pub(super) ecn: bool,
    /// Receive buffer.
    pub(super) buffer: u32,
    /// Opens its window byte by byte.
    pub(super) silly: bool,
    pub(super) acks: Acks,
    pub(super) ack_delay: u64,
    /// Longest segment of each transmission.
    pub(super) cuts: [u32; 4],
    /// Retransmissions begin up to so much below what is missing.
    pub(super) overlap: u32,
    pub(super) rto: u64,
    /// Takes back what it reported, per thousand packets.
    pub(super) reneges: u64,
    /// Asks an idle server whether it is there, per thousand wake-ups.
    pub(super) keep_alive: u64,
    /// Acknowledges what was never sent, per thousand wake-ups.
    pub(super) lies: u64,
    /// Before the connection it wants, it tries with another initial sequence number.
    pub(super) restarts: bool,
    pub(super) end: End,
}

impl Habits {
    pub(super) fn new(rng: &mut Rng, plan: &Plan, answers: u32, asked: u32) -> Habits {
        let buffer: u32 = rng.pick(&[600, 3_000, 20_000, 65_535, 200_000, 1_000_000]);
        let shift = rng.chance(700).then(|| rng.below(15) as u8);
        let end = match rng.below(20) {
            0 => End::Reset(rng.below(u64::from(answers) + 1) as u32),
            1 => End::Silence(rng.below(u64::from(answers) + 1) as u32),
            _ => End::InOrder,
        };
        // Byte by byte is for short streams.
        let least = if asked > 2_000 { 100 } else { 1 };
        let cuts = rng.pick(&[[1460, 1460, 1460, 1460], [1, 7, 536, 1460], [3, 100, 3, 9]]);
        Habits {
            mss: rng.pick(&[
                None,
                Some(1460),
                Some(1460),
                Some(536),
                Some(88),
                Some(8960),
            ]),
            sack: rng.chance(700),
            timestamps: rng.chance(700),
            // No window at all could be said with a larger one.
            shift: shift.map(|shift| shift.min((buffer / 300).ilog2() as u8)),
            ecn: rng.chance(500),
            buffer,
            silly: rng.chance(100) && plan.pause == 0,
            acks: rng.pick(&[Acks::Each, Acks::Second, Acks::Second, Acks::Late]),
            ack_delay: rng.pick(&[1_000, 40_000, 200_000, 450_000]),
            cuts: cuts.map(|cut| cut.max(least)),
            overlap: rng.pick(&[0, 0, 1, 50, 2_000]),
            rto: rng.pick(&[250_000, 1_000_000]),
            reneges: rng.pick(&[0, 0, 0, 0, 0, 0, 0, 100]),
            keep_alive: rng.pick(&[0, 0, 30]),
            lies: rng.pick(&[0, 0, 0, 20]),
            restarts: rng.chance(60),
            end,
        }
    }
}
