//! RACK: a segment is lost when one sent sufficiently later was delivered (RFC 8985 section 6).

use super::sent::{Fate, Sent, Sheet, is_after};
use crate::seq::SeqNum;

/// RFC 8985 section 6.2 step 4: as long as the path never reordered, this many reported segments need no more patience.
const DUP_THRESH: u32 = 3;
/// Recoveries for which a widened window is kept (RFC 8985 section 6.2 step 4).
const REO_WND_PERSIST: u8 = 16;

/// What is known of the path's reordering; outlives what is in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reordering {
    /// `RACK.reordering_seen`
    seen: bool,
    /// `RACK.reo_wnd_mult`: in quarters of the least round trip.
    mult: u8,
    /// `RACK.reo_wnd_persist`
    persist: u8,
}

impl Reordering {
    pub const NONE: Reordering = Reordering {
        seen: false,
        mult: 1,
        persist: REO_WND_PERSIST,
    };

    /// Widened once per round trip by a D-SACK: something was sent again for nothing.
    fn widen(&mut self) {
        self.mult = self.mult.saturating_add(1);
        self.persist = REO_WND_PERSIST;
    }

    /// A recovery ended.
    pub fn recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            *self = Reordering {
                seen: self.seen,
                ..Reordering::NONE
            };
        }
    }
}

/// RACK's variables (RFC 8985 section 5.3), µs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rack {
    /// `RACK.xmit_ts` and `RACK.end_seq` of the last sent segment that was delivered.
    newest: Option<(u32, SeqNum)>,
    /// `RACK.rtt`
    rtt: u32,
    /// `RACK.fack`: the highest number delivered.
    fack: Option<SeqNum>,
    /// `RACK.dsack_round`: SND.NXT when a D-SACK last widened the window.
    dsack_round: Option<SeqNum>,
}

/// What the detection works with besides its own state.
pub(super) struct Situation {
    /// Now: µs, low half.
    pub now: u32,
    pub srtt: u32,
    pub min_rtt: u32,
    /// In fast recovery or repairing after a timeout.
    pub recovering: bool,
}

impl Rack {
    /// Steps 2 and 3, for each segment delivered. `echoed`: when the segment was sent that the peer's timestamp echoes,
    /// where it has one.
    pub fn delivered(
        &mut self,
        sent: &Sent,
        now: u32,
        min_rtt: u32,
        echoed: Option<u32>,
        reordering: &mut Reordering,
    ) {
        let rtt = sent.age(now);
        // Is it an earlier transmission that was delivered? (Clocks of 1 ms: the echo may seem that much too early.)
        let original = echoed.is_some_and(|at| is_after(sent.at, at.wrapping_add(1000)));
        if !sent.again || !original && rtt >= min_rtt {
            self.rtt = rtt;
            if self.newest.is_none_or(|(at, end)| sent.is_behind(at, end)) {
                self.newest = Some((sent.at, sent.end));
            }
        }
        match self.fack {
            Some(fack) if sent.end.lt(fack) => reordering.seen |= !sent.again,
            Some(_) | None => self.fack = Some(sent.end),
        }
    }

    /// The part of step 4 that a D-SACK drives.
    pub fn on_ack(&mut self, una: SeqNum, nxt: SeqNum, dsack: bool, reordering: &mut Reordering) {
        if self.dsack_round.is_some_and(|round| round.le(una)) {
            self.dsack_round = None;
        }
        if dsack && self.dsack_round.is_none() {
            self.dsack_round = Some(nxt);
            reordering.widen();
        }
    }

    /// Step 4: how long a segment may be overtaken.
    fn window(&self, sheet: &Sheet, reordering: Reordering, at: &Situation) -> u32 {
        if !reordering.seen && (at.recovering || sheet.sacked().1 >= DUP_THRESH) {
            return 0;
        }
        (at.min_rtt / 4)
            .saturating_mul(u32::from(reordering.mult))
            .min(at.srtt)
    }

    /// Step 5: marks what is lost. Returns after how many µs to look again, for what is not lost yet, and calls `tell`
    /// with each segment that is.
    pub fn detect(
        &self,
        sheet: &mut Sheet,
        reordering: Reordering,
        at: &Situation,
        mut tell: impl FnMut(&Sent),
    ) -> Option<u32> {
        let (newest, end) = self.newest?;
        let patience = self.rtt.saturating_add(self.window(sheet, reordering, at));
        let mut wait = None;
        sheet.judge(|sent| {
            let behind = sent.at == newest && sent.end == end || sent.is_behind(newest, end);
            if behind {
                // What follows was first sent later still, and what was sent again since even more so.
                return if sent.again { Some(false) } else { None };
            }
            if sent.fate != Fate::Flying {
                return Some(false);
            }
            let left = patience.saturating_sub(sent.age(at.now));
            if left == 0 {
                tell(sent);
                return Some(true);
            }
            wait = wait.max(Some(left));
            Some(false)
        });
        wait
    }

    /// RFC 8985 section 6.3, the retransmission timer rang: the first segment is lost, and of the others those that
    /// were sent long enough ago.
    pub fn on_timeout(&self, sheet: &mut Sheet, reordering: Reordering, at: &Situation) {
        let patience = self.rtt.saturating_add(self.window(sheet, reordering, at));
        let mut first = true;
        sheet.judge(|sent| {
            let old = sent.age(at.now) >= patience;
            let lost = sent.fate == Fate::Flying && (first || old);
            first = false;
            Some(lost)
        });
    }
}
