//! The segments that nearly every connection sees once: the ACK of our SYN, the peer's FIN, and the ACK of our FIN. As with
//! [`super::predicted`], nothing is decided here that the general path would decide otherwise, and `tests/predicted.rs` runs
//! the same segments through both.

use super::predicted::{Predicted, Spoke, ack_info};
use crate::app::{App, Arrival, Out};
use crate::connection::{Connection, Cx};
use crate::counters::CloseReason;
use crate::state::State;
use crate::wire::{Flags, SegmentView, Timestamps};

/// Flags of such segments, where it does not matter whether PSH is there.
const ACK: u8 = Flags::ACK.0 | Flags::PSH.0;
const FIN: u8 = ACK | Flags::FIN.0;

impl<A: App> Connection<A> {
    /// Takes a segment that begins or ends the connection, if it was to be expected.
    pub(super) fn on_end<O: Out<A::Link>>(
        &mut self,
        view: &SegmentView<'_>,
        timestamps: Option<Timestamps>,
        seg: &Arrival<'_, A::Link>,
        cx: &mut Cx<'_, A, O>,
    ) -> Predicted {
        if !self.is_next(view, timestamps, seg.ecn, cx.now) {
            return Predicted::No;
        }
        let flags = view.flags().0 | Flags::PSH.0;
        let bare = view.payload().is_empty();
        match &self.state {
            State::SynRcvd(half) if flags == ACK && view.ack() == half.iss + 1 => {
                self.on_syn_acked(view, timestamps, seg, cx)
            }
            State::Established { snd, inbox }
                if flags == FIN && bare && inbox.is_idle() && snd.predicts(view.ack()) =>
            {
                self.on_next_fin(view, timestamps, seg, cx)
            }
            State::FinWait1 { snd, .. }
                if (flags == FIN || flags == ACK)
                    && bare
                    && view.ack() == snd.nxt
                    && snd.is_last_out() =>
            {
                self.note_next(view, timestamps, cx);
                self.on_last_acked(flags == FIN, seg, cx)
            }
            State::LastAck { snd }
                if flags == ACK && bare && view.ack() == snd.nxt && snd.is_last_out() =>
            {
                self.note_next(view, timestamps, cx);
                self.end(CloseReason::Finished, cx);
                Predicted::Changed(Spoke::Yes)
            }
            _ => Predicted::No,
        }
    }

    /// SYN-RCVD: what comes with the ACK is taken as by any connection that is open, unless the application had another idea.
    fn on_syn_acked<O: Out<A::Link>>(
        &mut self,
        view: &SegmentView<'_>,
        timestamps: Option<Timestamps>,
        seg: &Arrival<'_, A::Link>,
        cx: &mut Cx<'_, A, O>,
    ) -> Predicted {
        self.note_next(view, timestamps, cx);
        self.establish(view.seq(), view.window(), timestamps, cx);
        if !self.predicts(view, timestamps, seg.ecn, cx) {
            // The general path finds all this done, and goes on behind it.
            return Predicted::No;
        }
        if view.payload().is_empty() {
            // It says nothing else, and there is nothing to say to it.
            return Predicted::Changed(Spoke::Yes);
        }
        match self.take_next(view, timestamps, seg, cx) {
            Predicted::Stays(spoke) | Predicted::Changed(spoke) => Predicted::Changed(spoke),
            Predicted::No => Predicted::No,
        }
    }

    /// ESTABLISHED: a FIN without data, whose ACK leaves nothing outstanding.
    fn on_next_fin<O: Out<A::Link>>(
        &mut self,
        view: &SegmentView<'_>,
        timestamps: Option<Timestamps>,
        seg: &Arrival<'_, A::Link>,
        cx: &mut Cx<'_, A, O>,
    ) -> Predicted {
        self.note_next(view, timestamps, cx);
        let State::Established { snd, inbox } = &mut self.state else {
            return Predicted::No;
        };
        let info = ack_info(view, self.terms.scale(view.window()));
        let shared = &mut *cx.shared;
        snd.on_predicted_ack(cx.now, &info, &shared.config, &mut shared.pieces, cx.app);
        inbox.note_fin(Some(view.seq()));
        self.link = seg.link;
        self.on_fin(cx);
        Predicted::Changed(self.speak_if(true, cx))
    }

    /// FIN-WAIT-1: the last of ours is acknowledged, perhaps by the peer's FIN. How long it took is of no use any more.
    fn on_last_acked<O: Out<A::Link>>(
        &mut self,
        fin: bool,
        seg: &Arrival<'_, A::Link>,
        cx: &mut Cx<'_, A, O>,
    ) -> Predicted {
        if let Some((snd, _)) = self.state.snd() {
            snd.clear(&mut cx.shared.pieces, cx.app);
        }
        self.on_fin_acked(cx);
        if !fin {
            return Predicted::Changed(Spoke::Yes);
        }
        self.rcv.owe_ack(cx.now, &cx.shared.config);
        self.link = seg.link;
        self.on_fin(cx);
        Predicted::Changed(self.speak_if(true, cx))
    }
}
