//! The ACK that leaves nothing outstanding, where nothing was ever amiss: what the general path (`ack.rs`) comes down to
//! then. What it would write into [`super::Busy`] is left out, since that goes back with the last piece.

use super::volley::Load;
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
        let flight = self.nxt.since(self.una);
        ack == self.nxt
            && match &self.load {
                Load::Rest => flight == 0,
                Load::Volley(volley) => volley.bytes == flight && self.wnd > 0,
                Load::Fin(_) => false,
                Load::Busy(busy) => {
                    flight > 0
                        && self.wnd > 0
                        && busy.queue.bytes() == flight
                        && busy.recovery.is_open()
                        && busy.probe.is_none()
                        && busy.sheet.is_untroubled(flight)
                }
            }
    }

    /// Takes such an ACK, and releases all pieces.
    #[inline]
    pub fn on_predicted_ack<A: App>(
        &mut self,
        now: Instant,
        info: &AckInfo<'_>,
        config: &Settings,
        pieces: &mut Pieces<A::Piece>,
        app: &mut A,
    ) {
        match self.load {
            Load::Rest | Load::Fin(_) => {}
            Load::Volley(volley) => {
                self.on_volley_acked(now, info.ack, volley, config);
                self.release_volley(volley, pieces, app);
            }
            Load::Busy(_) => self.on_all_acked(now, info, config, pieces, app),
        }
        self.update_window(now, info, config);
    }

    /// The same where there is a box.
    fn on_all_acked<A: App>(
        &mut self,
        now: Instant,
        info: &AckInfo<'_>,
        config: &Settings,
        pieces: &mut Pieces<A::Piece>,
        app: &mut A,
    ) {
        let Load::Busy(busy) = &mut self.load else {
            return;
        };
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
        self.clear(pieces, app);
    }
}
