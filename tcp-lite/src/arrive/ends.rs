//! The segments that nearly every connection sees once: the ACK of our SYN, the peer's FIN, and the ACK of our FIN. As with
//! [`super::predicted`], nothing is decided here that the general path would decide otherwise, and `tests/predicted.rs` runs
//! the same segments through both.

use super::predicted::{Predicted, Spoke};
use crate::app::{App, Arrival, Out};
use crate::connection::{Connection, Cx};
use crate::counters::CloseReason;
use crate::send::AckInfo;
use crate::state::State;
use crate::wire::{Flags, SackBlocks, SegmentView, Timestamps};

const PUSHED: Flags = Flags(Flags::ACK.0 | Flags::PSH.0);

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
        let plain = flags == PUSHED.0;
        match &self.state {
            State::SynRcvd(half) if plain && view.ack() == half.iss + 1 => {
                self.on_syn_acked(view, timestamps, seg, cx)
            }
            State::Established { snd, inbox }
                if flags == PUSHED.with(Flags::FIN).0
                    && view.payload().is_empty()
                    && inbox.is_idle()
                    && snd.predicts(view.ack()) =>
            {
                self.on_expected_fin(view, timestamps, seg, cx)
            }
            State::LastAck { snd }
                if plain && view.payload().is_empty() && snd.ends_with(view.ack()) =>
            {
                #[cfg(test)]
                {
                    cx.shared.predicted += 1;
                }
                self.end(CloseReason::Finished, cx);
                Predicted::Changed(Spoke::No)
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
        if let Some(ts) = timestamps {
            self.rcv.note_timestamp(cx.now, view.seq(), ts);
        }
        self.rcv.hear(cx.now);
        self.probes = 0;
        self.establish(view.seq(), view.window(), timestamps, cx);
        if !self.predicts(view, timestamps, seg.ecn, cx) {
            // The general path finds all this done, and goes on behind it.
            return Predicted::No;
        }
        match self.take_next(view, timestamps, seg, cx) {
            Predicted::Stays(spoke) | Predicted::Changed(spoke) => Predicted::Changed(spoke),
            Predicted::No => Predicted::No,
        }
    }

    /// ESTABLISHED: a FIN without data, whose ACK leaves nothing outstanding.
    fn on_expected_fin<O: Out<A::Link>>(
        &mut self,
        view: &SegmentView<'_>,
        timestamps: Option<Timestamps>,
        seg: &Arrival<'_, A::Link>,
        cx: &mut Cx<'_, A, O>,
    ) -> Predicted {
        #[cfg(test)]
        {
            cx.shared.predicted += 1;
        }
        let State::Established { snd, inbox } = &mut self.state else {
            return Predicted::No;
        };
        if let Some(ts) = timestamps {
            self.rcv.note_timestamp(cx.now, view.seq(), ts);
        }
        self.rcv.hear(cx.now);
        self.probes = 0;
        self.link = seg.link;
        let info = AckInfo {
            seq: view.seq(),
            ack: view.ack(),
            wnd: self.terms.scale(view.window()),
            pure: false,
            sack: &SackBlocks::NONE,
            echo: false,
            echoed_rtt: None,
        };
        let shared = &mut *cx.shared;
        snd.on_predicted_ack(cx.now, &info, &shared.config, &mut shared.pieces, cx.app);
        inbox.note_fin(Some(view.seq()));
        self.on_fin(cx);
        Predicted::Changed(self.speak_if(true, cx))
    }
}
