//! The ACK that leaves nothing outstanding, where nothing was ever amiss: what the general path (`ack.rs`) comes down to
//! then. What it would write into [`super::Busy`] is left out, since that goes back with the last piece.

use super::{AckInfo, Pieces, Snd, millis, stamp};
use crate::app::App;
use crate::config::Settings;
use crate::seq::SeqNum;
use crate::time::Instant;

impl Snd {
    /// Does `ack` acknowledge all that was sent, which is all there is, and was each segment sent once, none reported or
    /// taken for lost? Or is nothing outstanding, and this no news?
    #[inline]
    pub fn predicts(&self, ack: SeqNum) -> bool {
        let Some(busy) = &self.busy else {
            return ack == self.una && self.una == self.nxt;
        };
        let flight = self.nxt.since(self.una);
        ack == self.nxt
            && flight > 0
            && self.wnd > 0
            && busy.queue.bytes() == flight
            && busy.recovery.is_open()
            && busy.probe.is_none()
            && busy.sheet.is_untroubled(flight)
    }

    /// Takes such an ACK; the pieces are still to be released.
    #[inline]
    pub fn on_predicted_ack(&mut self, now: Instant, info: &AckInfo<'_>, config: &Settings) {
        if let Some(busy) = &mut self.busy {
            let at = stamp(now);
            let longest = busy.sheet.longest().min(u32::from(self.mss));
            self.carried = self.carried.max(longest as u16);
            // Of segments that were sent once each, the last has the shortest round trip.
            if let Some(first) = busy.sheet.first() {
                self.rtt.least(busy.sheet.newest_age(at));
                self.rtt.sample(first.age(at));
            }
            let before = (self.una, self.nxt.since(self.una));
            self.una = info.ack;
            self.ecn_end = self.ecn_end.max(info.ack - 1);
            self.rtt.restore();
            self.open_window(now, before, before.1, config);
            self.resting = millis(now);
        }
        self.update_window(now, info, config);
    }

    /// All pieces were acknowledged: releases them. The box is kept, as good as new, for the answer to the request that
    /// such an ACK mostly comes with; [`Snd::rest_if_done`] gives it back where there is none.
    #[inline]
    pub fn release_all<A: App>(&mut self, pieces: &mut Pieces<A::Piece>, app: &mut A) {
        if let Some(busy) = &mut self.busy {
            busy.queue.clear(pieces, app);
            busy.renew(self.una);
        }
    }
}
