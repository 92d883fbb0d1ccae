//! Loss recovery: when it begins and ends, how fast it sends (PRR, RFC 9937), and taking it back when nothing was lost.

use super::congestion::Congestion;
use super::sent::{Sent, is_after};
use crate::seq::SeqNum;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Open,
    /// Fast recovery: the loss was told by ACKs.
    Fast,
    /// The retransmission timer rang.
    Timeout,
}

/// From a loss until everything that was outstanding then is acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery {
    pub phase: Phase,
    /// `RecoveryPoint`: SND.NXT when it began.
    until: SeqNum,
    /// When it began: µs, low half.
    began: u32,
    /// `prr_delivered`, `prr_out`, `RecoverFS`
    delivered: u32,
    out: u32,
    flight: u32,
    undo: Option<Undo>,
    forward: Forward,
}

/// Where forward RTO-recovery is (RFC 5682): was a timeout for nothing? It asks the peer with new data where no timestamps
/// tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Forward {
    /// Nowhere.
    Off,
    /// The timer rang, the first segment goes out again (step 1).
    Resent,
    /// An ACK of that came. New data goes out, and nothing again, until the next one (step 2).
    Asked,
}

/// What to go back to, and the first retransmission's time in the timestamps' clock (ms).
#[derive(Clone, Copy, Debug)]
pub(super) struct Undo {
    pub before: Congestion,
    resent: Option<u32>,
}

impl Recovery {
    pub const NONE: Recovery = Recovery {
        phase: Phase::Open,
        until: SeqNum(0),
        began: 0,
        delivered: 0,
        out: 0,
        flight: 0,
        undo: None,
        forward: Forward::Off,
    };

    /// A loss. `flight`: bytes outstanding and not reported; `before`: to be restored should it turn out to be none.
    pub fn begin(&mut self, phase: Phase, now: u32, nxt: SeqNum, flight: u32, before: Congestion) {
        let undo = match (self.phase, phase) {
            (Phase::Open, _) => Some(Undo {
                before,
                resent: None,
            }),
            // The timer rang again.
            (Phase::Timeout, Phase::Timeout) => self.undo,
            // Only a first reduction can be taken back.
            _ => None,
        };
        let forward = match (self.phase, phase) {
            (Phase::Open, Phase::Timeout) => Forward::Resent,
            _ => Forward::Off,
        };
        *self = Recovery {
            phase,
            until: nxt,
            began: now,
            delivered: 0,
            out: 0,
            flight: flight.max(1),
            undo,
            forward,
        };
    }

    #[inline]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// It was none.
    pub fn cancel(&mut self) {
        *self = Recovery::NONE;
    }

    /// Is the loss of `sent` a congestion event of its own? RFC 5681 section 4.3: a loss in two successive windows, or of
    /// a retransmission, MUST lower the window twice.
    pub fn is_news(&self, sent: &Sent) -> bool {
        self.is_open() || self.is_later(sent)
    }

    /// Was it last sent since the recovery began?
    pub fn is_later(&self, sent: &Sent) -> bool {
        !is_after(self.began, sent.at) && (sent.again || self.until.le(sent.seq))
    }

    /// Ends it once `una` is at the recovery point; says which one ended.
    pub fn end(&mut self, una: SeqNum) -> Option<Phase> {
        if self.is_open() || una.lt(self.until) {
            return None;
        }
        let ended = self.phase;
        *self = Recovery::NONE;
        Some(ended)
    }

    /// `len` bytes went out; `ms`: now in the timestamps' clock.
    pub fn sent(&mut self, len: u32, again: bool, ms: u32) {
        if self.phase == Phase::Fast {
            self.out = self.out.saturating_add(len);
        }
        if again && let Some(undo) = &mut self.undo {
            undo.resent.get_or_insert(ms);
        }
    }

    /// Eifel detection (RFC 3522 section 3.2): the ACK that is the first to move `una` since the retransmission echoes
    /// a timestamp from before it, so the original had arrived. `echoed`: the echo in the timestamps' clock.
    pub fn spurious(&mut self, echoed: Option<u32>) -> Option<Congestion> {
        let (undo, echoed) = (self.undo?, echoed?);
        let resent = undo.resent?;
        self.undo = None;
        is_after(resent, echoed).then_some(undo.before)
    }

    /// Forward RTO-recovery, step 2: the first ACK since the timeout moved `una`.
    pub fn ask(&mut self, una: SeqNum) {
        if self.forward == Forward::Resent {
            self.forward = if una.lt(self.until) {
                Forward::Asked
            } else {
                Forward::Off
            };
        }
    }

    /// Step 3: an ACK came that delivered `original` data, sent once and before the timeout, or something `above` it.
    /// If that ends the asking: what to go back to, should the timeout have been for nothing.
    pub fn told(&mut self, original: bool, above: bool) -> Option<Option<Congestion>> {
        if self.forward != Forward::Asked {
            return None;
        }
        self.forward = Forward::Off;
        let undo = self.undo.filter(|_| original && !above);
        Some(undo.map(|undo| undo.before))
    }

    /// While asking: how much more new data may go out, of two segments, behind `nxt`.
    pub fn question(&self, nxt: SeqNum, mss: u32) -> Option<u32> {
        let asked = nxt.since(self.until);
        (self.forward == Forward::Asked).then(|| (2 * mss).saturating_sub(asked))
    }

    /// Nothing can be asked with.
    pub fn stop_asking(&mut self, nxt: SeqNum) {
        if self.until == nxt {
            self.forward = Forward::Off;
        }
    }

    /// Was `sent` out when the recovery began, and never again?
    pub fn is_original(&self, sent: &Sent) -> bool {
        !sent.again && sent.end.le(self.until)
    }

    /// Was it sent first since then?
    pub fn is_above(&self, sent: &Sent) -> bool {
        self.until.lt(sent.end)
    }

    /// PRR (RFC 9937 section 7.2; RFC 6937): the window after an ACK that delivered `delivered` bytes. `safe`: it moved
    /// `una` and told of no further loss.
    pub fn window(
        &mut self,
        delivered: u32,
        flying: u32,
        ssthresh: u32,
        mss: u32,
        safe: bool,
    ) -> u32 {
        self.delivered = self.delivered.saturating_add(delivered);
        let quota = if flying > ssthresh {
            let share = u64::from(self.delivered) * u64::from(ssthresh);
            let share = share.div_ceil(u64::from(self.flight)).min(1 << 30) as u32;
            share.saturating_sub(self.out)
        } else {
            let limit = self.delivered.saturating_sub(self.out).max(delivered);
            let limit = if safe {
                limit.saturating_add(mss)
            } else {
                limit
            };
            limit.min(ssthresh - flying)
        };
        // The first retransmission always goes out, and whatever comes when nothing else would bring an ACK.
        let quota = if self.out == 0 || flying == 0 {
            quota.max(mss)
        } else {
            quota
        };
        flying + quota
    }
}

#[cfg(test)]
mod tests {
    use super::super::sent::Fate;
    use super::{Congestion, Phase, Recovery, Sent, SeqNum};

    /// RFC 6937 section 4's example: 20 segments, one lost, halved: one segment out per two delivered.
    #[test]
    fn halves_at_an_even_pace() {
        let mut recovery = Recovery::NONE;
        let before = Congestion::new(1, false);
        recovery.begin(Phase::Fast, 0, SeqNum(20), 20, before);
        let mut flying = 19;
        let mut sent = Vec::new();
        for ack in 1..=19 {
            flying -= 1;
            let window = recovery.window(1, flying, 10, 1, false);
            let out = window - flying;
            recovery.sent(out, ack == 1, 0);
            flying += out;
            if out > 0 {
                sent.push((ack, out));
            }
        }
        assert_eq!(flying, 10);
        assert!(sent.iter().all(|(_, out)| *out == 1), "{sent:?}");
        assert_eq!(sent.len(), 10);
    }

    /// Below the target it grows back, no faster than data is delivered.
    #[test]
    fn banks_and_slow_starts_below_the_target() {
        let mut recovery = Recovery::NONE;
        let before = Congestion::new(1000, false);
        recovery.begin(Phase::Fast, 0, SeqNum(20_000), 20_000, before);
        recovery.sent(1000, true, 0);
        assert_eq!(recovery.window(0, 4000, 10_000, 1000, false), 4000);
        assert_eq!(recovery.window(2000, 2000, 10_000, 1000, false), 4000);
        assert_eq!(recovery.window(1000, 3000, 10_000, 1000, true), 6000);
        // Nothing flies and nothing was delivered: one segment, or nothing would ever come back.
        recovery.sent(9000, false, 0);
        assert_eq!(recovery.window(0, 0, 10_000, 1000, false), 1000);
    }

    #[test]
    fn second_reduction_for_what_was_sent_since() {
        let mut recovery = Recovery::NONE;
        let sent = |seq: u32, at: u32, again: bool| Sent {
            seq: SeqNum(seq),
            end: SeqNum(seq + 1),
            at,
            fate: Fate::Flying,
            again,
        };
        assert!(recovery.is_news(&sent(1, 5, false)));
        recovery.begin(Phase::Fast, 100, SeqNum(9), 9, Congestion::new(1000, false));
        assert!(!recovery.is_news(&sent(1, 99, true)) && !recovery.is_news(&sent(1, 100, false)));
        assert!(recovery.is_news(&sent(1, 100, true)) && recovery.is_news(&sent(9, 130, false)));
        assert_eq!(
            (recovery.end(SeqNum(8)), recovery.end(SeqNum(9))),
            (None, Some(Phase::Fast))
        );
        assert!(recovery.is_open());
    }
}
