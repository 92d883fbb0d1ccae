//! What a connection has only while something is queued or outstanding, and the boxes it is lent.

use super::cubic::Curve;
use super::pace::Pace;
use super::queue::SendQueue;
use super::rack::Rack;
use super::recovery::Recovery;
use super::sent::Sheet;
use crate::seq::SeqNum;
use crate::time::{Instant, Timer};

/// The part of the send half that a waiting connection does without: most of it.
#[derive(Debug)]
pub(super) struct Busy {
    pub queue: SendQueue,
    pub sheet: Sheet,
    pub recovery: Recovery,
    pub rack: Rack,
    pub curve: Curve,
    pub pace: Pace,
    /// Retransmission and persist timer in one: set whenever something is queued or outstanding.
    pub rto: Timer,
    /// The timer that rings before it, where there is one.
    pub early: Timer,
    pub early_for: Early,
    /// When `snd_una` last moved, or something began to wait for it.
    pub progress: Instant,
    /// One segment that goes out before all else, whatever the windows say: start and most payload.
    pub forced: Option<(SeqNum, u32)>,
    /// The tail loss probe that is out.
    pub probe: Option<Probe>,
    /// SND.NXT when the congestion window last held data back: ACKs up to there are of a flight that used it.
    pub full: SeqNum,
    /// Duplicate ACKs in a row from a peer without SACK: segments that left the network, it is not known which.
    pub duplicates: u16,
}

/// What [`Busy::early`] rings for (RFC 8985 section 8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Early {
    /// Segments that were overtaken are lost if they do not show up by then.
    Reordering,
    /// The tail was not acknowledged.
    Probe,
}

/// RFC 8985 section 7.1
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    /// `TLP.end_seq`
    pub end: SeqNum,
    /// `TLP.is_retrans`
    pub again: bool,
    /// When it was sent, in the timestamps' clock (ms).
    pub at: u32,
}

impl Busy {
    pub(super) fn new(una: SeqNum) -> Busy {
        Busy {
            queue: SendQueue::EMPTY,
            sheet: Sheet::default(),
            recovery: Recovery::NONE,
            rack: Rack::default(),
            curve: Curve::default(),
            pace: Pace::NONE,
            rto: Timer::OFF,
            early: Timer::OFF,
            early_for: Early::Probe,
            progress: Instant(0),
            forced: None,
            probe: None,
            full: una,
            duplicates: 0,
        }
    }

    /// As good as new, but for the memory of its list.
    #[inline]
    pub fn renew(&mut self, una: SeqNum) {
        // One by one: a new box copied over this one takes twice as long, and this is done for each answer.
        let Busy {
            queue,
            sheet,
            recovery,
            rack,
            curve,
            pace,
            rto,
            early,
            early_for,
            progress,
            forced,
            probe,
            full,
            duplicates,
        } = self;
        sheet.clear();
        *queue = SendQueue::EMPTY;
        *recovery = Recovery::NONE;
        *rack = Rack::default();
        *curve = Curve::default();
        *pace = Pace::NONE;
        (*rto, *early, *early_for) = (Timer::OFF, Timer::OFF, Early::Probe);
        *progress = Instant(0);
        *forced = None;
        *probe = None;
        *full = una;
        *duplicates = 0;
    }

    /// Bytes in the network: what flies, less what duplicate ACKs said has left it.
    #[inline]
    pub fn pipe(&self, mss: u32) -> u32 {
        let left = u32::from(self.duplicates).saturating_mul(mss);
        self.sheet.flying().saturating_sub(left)
    }
}

/// Spare boxes kept: more only holds memory, fewer makes every request of a busy stack an allocation.
const MAX_SPARES: usize = 4096;
/// Largest list of outstanding segments that a spare box may keep: enough for most answers.
const MAX_SPARE_SEGMENTS: usize = 128;

/// Boxes of connections that wait again, for the next that do not.
#[derive(Debug, Default)]
pub(super) struct Spares {
    #[expect(clippy::vec_box, reason = "a connection keeps the box, 8 bytes")]
    boxes: Vec<Box<Busy>>,
}

impl Spares {
    pub fn take(&mut self, una: SeqNum) -> Box<Busy> {
        let Some(mut spare) = self.boxes.pop() else {
            return Box::new(Busy::new(una));
        };
        spare.renew(una);
        spare
    }

    pub fn give_back(&mut self, spare: Box<Busy>) {
        if self.boxes.len() < MAX_SPARES && spare.sheet.capacity() <= MAX_SPARE_SEGMENTS {
            self.boxes.push(spare);
        }
    }
}
