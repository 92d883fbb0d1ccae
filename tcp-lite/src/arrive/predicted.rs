//! Header prediction: nearly every segment of a server's connection is the next request, and acknowledges the last answer
//! whole (Van Jacobson; RFC 7323 appendix names the checks that it must not leave out).
//!
//! Nothing is decided here that the general path would decide otherwise: a segment that passes [`Connection::predicts`]
//! takes no branch there but those that are written out below, in the same order. `tests/predicted.rs` runs the same
//! segments through both.

use crate::app::{App, Arrival, Ecn, Io, Out, Wish};
#[cfg(test)]
use crate::connection::Prediction;
use crate::connection::{Connection, Cx};
use crate::send::AckInfo;
use crate::state::State;
use crate::wire::{Flags, SackBlocks, SegmentView, Timestamps};

/// What became of a segment that may have been predicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Predicted {
    /// Nothing: the general path has to look at it.
    No,
    /// It was taken; the connection stays in ESTABLISHED.
    Stays,
    /// It was taken, and the application did something else than to answer.
    Changed,
}

impl<A: App> Connection<A> {
    /// Takes the segment if it was to be expected.
    #[inline]
    pub fn on_predicted<O: Out<A::Link>>(
        &mut self,
        view: &SegmentView<'_>,
        seg: &Arrival<'_, A::Link>,
        cx: &mut Cx<'_, A, O>,
    ) -> Predicted {
        #[cfg(test)]
        if cx.shared.prediction == Prediction::Off {
            return Predicted::No;
        }
        let Ok(timestamps) = view.plain_timestamps() else {
            return Predicted::No;
        };
        if !self.predicts(view, timestamps, seg.ecn, cx) {
            return Predicted::No;
        }
        #[cfg(test)]
        {
            cx.shared.predicted += 1;
        }
        let State::Established { snd, .. } = &mut self.state else {
            return Predicted::No;
        };
        if let Some(ts) = timestamps {
            self.rcv.note_timestamp(cx.now, view.seq(), ts);
        }
        self.rcv.hear(cx.now);
        self.probes = 0;
        let info = AckInfo {
            seq: view.seq(),
            ack: view.ack(),
            wnd: self.terms.scale(view.window()),
            pure: view.payload().is_empty(),
            sack: &SackBlocks::NONE,
            echo: false,
            echoed_rtt: None,
        };
        let shared = &mut *cx.shared;
        snd.on_predicted_ack(cx.now, &info, &shared.config);
        snd.release_all(&mut shared.pieces, cx.app);
        if view.payload().is_empty() {
            snd.rest_if_done(&mut shared.pieces);
            if snd.is_backed_off() {
                self.link = seg.link;
            }
            return Predicted::Stays;
        }
        self.link = seg.link;
        self.take_predicted(view.payload(), cx)
    }

    /// Is it ESTABLISHED's next segment in order, without anything that asks for more than to be taken, and does its ACK
    /// leave nothing outstanding?
    #[inline]
    fn predicts<O>(
        &self,
        view: &SegmentView<'_>,
        timestamps: Option<Timestamps>,
        ecn: Ecn,
        cx: &Cx<'_, A, O>,
    ) -> bool {
        let State::Established { snd, inbox } = &self.state else {
            return false;
        };
        view.flags().0 | Flags::PSH.0 == Flags::ACK.with(Flags::PSH).0
            && view.seq() == self.rcv.nxt
            && view.payload().len() as u32 <= self.rcv.wnd()
            && timestamps.is_some() == self.terms.timestamps
            && timestamps.is_none_or(|ts| !self.rcv.is_old(cx.now, ts))
            && !(self.terms.ecn && ecn == Ecn::Ce)
            && !self.rcv.leaving
            && inbox.is_idle()
            && snd.predicts(view.ack())
    }

    /// Shows the application data in order, as [`Connection::deliver`] does. Nearly always it takes all, and does nothing
    /// but answer.
    #[inline]
    fn take_predicted<O: Out<A::Link>>(&mut self, data: &[u8], cx: &mut Cx<'_, A, O>) -> Predicted {
        let State::Established { snd, .. } = &mut self.state else {
            return Predicted::No;
        };
        let shared = &mut *cx.shared;
        self.rcv.nxt += data.len() as u32;
        shared.counters.bytes_in += data.len() as u64;
        self.rcv.owe_ack(cx.now, data.len(), &shared.config);
        let mut io = Io {
            now: cx.now,
            conn: &mut self.conn,
            flow: cx.flow,
            snd,
            pieces: &mut shared.pieces,
            limit: shared.config.pieces_per_connection,
            deadline: &mut self.deadline,
            wish: Wish::default(),
        };
        let used = cx.app.on_data(cx.now, &mut io, data).min(data.len());
        let wish = io.wish;
        // The box was kept for an answer, which may not have come.
        snd.rest_if_done(&mut shared.pieces);
        if used < data.len() || wish != Wish::default() {
            let rest = &data[used..];
            self.conclude(rest, rest.len() as u32, wish, cx);
            return Predicted::Changed;
        }
        (self.rcv.unread, self.rcv.starved) = (0, false);
        if self.rcv.has_news(self.terms.payload(), &shared.config) {
            self.rcv.ack_now = true;
        }
        Predicted::Stays
    }
}
