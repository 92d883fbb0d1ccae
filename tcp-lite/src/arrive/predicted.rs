//! Header prediction: nearly every segment of a server's connection is the next request, and acknowledges the last answer
//! whole (Van Jacobson; RFC 7323 appendix names the checks that it must not leave out).
//!
//! Nothing is decided here that the general path would decide otherwise: a segment that passes [`Connection::predicts`]
//! takes no branch there but those that are written out below, in the same order. `tests/predicted.rs` runs the same
//! segments through both.

use super::Segment;
use crate::app::{App, Ecn, Out};
#[cfg(test)]
use crate::connection::Prediction;
use crate::connection::{Connection, Cx};
use crate::send::AckInfo;
use crate::state::State;
use crate::wire::Flags;

impl<A: App> Connection<A> {
    /// Takes `seg` if it was to be expected; false, and nothing has changed, if the general path has to look at it.
    #[inline]
    pub fn on_predicted<O: Out<A::Link>>(
        &mut self,
        seg: &Segment<'_>,
        cx: &mut Cx<'_, A, O>,
    ) -> bool {
        #[cfg(test)]
        if cx.shared.prediction == Prediction::Off {
            return false;
        }
        if !self.predicts(seg, cx) {
            return false;
        }
        #[cfg(test)]
        {
            cx.shared.predicted += 1;
        }
        let State::Established { snd, .. } = &mut self.state else {
            return false;
        };
        if let Some(ts) = seg.options.timestamps {
            self.rcv.note_timestamp(cx.now, seg.seq, ts);
        }
        self.rcv.hear(cx.now);
        self.probes = 0;
        let shared = &mut *cx.shared;
        let info = AckInfo {
            seq: seg.seq,
            ack: seg.ack,
            wnd: self.terms.scale(seg.window),
            pure: seg.seq_len == 0,
            sack: &seg.options.sack,
            echo: false,
            echoed_rtt: None,
        };
        snd.on_predicted_ack(cx.now, &info, &shared.config);
        snd.release_all(&mut shared.pieces, cx.app);
        if !seg.payload.is_empty() {
            self.rcv.nxt += seg.payload.len() as u32;
            cx.shared.counters.bytes_in += seg.payload.len() as u64;
            self.rcv
                .owe_ack(cx.now, seg.payload.len(), &cx.shared.config);
            self.deliver(seg.payload, cx);
        }
        // It was kept for an answer that may not have come.
        if let Some((snd, _)) = self.state.snd() {
            snd.rest_if_done(&mut cx.shared.pieces);
        }
        true
    }

    /// Is it ESTABLISHED's next segment in order, without anything that asks for more than to be taken, and does its ACK
    /// leave nothing outstanding?
    #[inline]
    fn predicts<O>(&self, seg: &Segment<'_>, cx: &Cx<'_, A, O>) -> bool {
        let State::Established { snd, inbox } = &self.state else {
            return false;
        };
        let options = &seg.options;
        seg.flags.0 | Flags::PSH.0 == Flags::ACK.with(Flags::PSH).0
            && seg.seq == self.rcv.nxt
            && seg.seq_len <= self.rcv.wnd()
            && options.timestamps.is_some() == self.terms.timestamps
            && options.sack.as_slice().is_empty()
            && options
                .timestamps
                .is_none_or(|ts| !self.rcv.is_old(cx.now, ts))
            && !(self.terms.ecn && seg.ecn == Ecn::Ce)
            && !self.rcv.leaving
            && inbox.is_idle()
            && snd.predicts(seg.ack)
    }
}
