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
use crate::time::Instant;
use crate::wire::{Flags, SackBlocks, SegmentView, Timestamps};

/// Has a connection said all that it may for now, or has the flush to see?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spoke {
    Yes,
    No,
}

/// What became of a segment that may have been predicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Predicted {
    /// Nothing: the general path has to look at it.
    No,
    /// It was taken; the connection stays in ESTABLISHED.
    Stays(Spoke),
    /// It was taken, and the application did something else than to answer.
    Changed(Spoke),
}

/// What the ACK of a segment that is predicted says; `wnd` is scaled.
#[inline]
pub(super) fn ack_info(view: &SegmentView<'_>, wnd: u32) -> AckInfo<'static> {
    AckInfo {
        seq: view.seq(),
        ack: view.ack(),
        wnd,
        pure: view.seq_len() == 0,
        sack: &SackBlocks::NONE,
        echo: false,
        echoed_rtt: None,
    }
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
            return self.on_end(view, timestamps, seg, cx);
        }
        self.take_next(view, timestamps, seg, cx)
    }

    /// Takes a segment that [`Connection::predicts`].
    #[inline]
    pub(super) fn take_next<O: Out<A::Link>>(
        &mut self,
        view: &SegmentView<'_>,
        timestamps: Option<Timestamps>,
        seg: &Arrival<'_, A::Link>,
        cx: &mut Cx<'_, A, O>,
    ) -> Predicted {
        self.note_next(view, timestamps, cx);
        let State::Established { snd, .. } = &mut self.state else {
            return Predicted::No;
        };
        let info = ack_info(view, self.terms.scale(view.window()));
        let shared = &mut *cx.shared;
        snd.on_predicted_ack(cx.now, &info, &shared.config, &mut shared.pieces, cx.app);
        if view.payload().is_empty() {
            if snd.is_backed_off() {
                self.link = seg.link;
            }
            return Predicted::Stays(Spoke::No);
        }
        self.link = seg.link;
        let pushed = view.flags().has(Flags::PSH);
        self.take_predicted(view.payload(), pushed, cx)
    }

    /// Is it ESTABLISHED's next segment in order, without anything that asks for more than to be taken, and does its ACK
    /// leave nothing outstanding?
    #[inline]
    pub(super) fn predicts<O>(
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
            && self.is_next(view, timestamps, ecn, cx.now)
            && inbox.is_idle()
            && snd.predicts(view.ack())
    }

    /// Is it in order and within the window, its timestamp as it should be, and does nothing about it ask for more than to
    /// be taken, as far as neither the state nor its flags and ACK have to be known?
    #[inline]
    pub(super) fn is_next(
        &self,
        view: &SegmentView<'_>,
        timestamps: Option<Timestamps>,
        ecn: Ecn,
        now: Instant,
    ) -> bool {
        view.seq() == self.rcv.nxt
            && view.seq_len() <= self.rcv.wnd()
            && timestamps.is_some() == self.terms.timestamps
            && timestamps.is_none_or(|ts| !self.rcv.is_old(now, ts))
            && !(self.terms.ecn && ecn == Ecn::Ce)
            && !self.rcv.leaving
    }

    /// What is noted of each segment that is predicted.
    #[inline]
    pub(super) fn note_next<O>(
        &mut self,
        view: &SegmentView<'_>,
        timestamps: Option<Timestamps>,
        cx: &mut Cx<'_, A, O>,
    ) {
        #[cfg(test)]
        {
            cx.shared.predicted += 1;
        }
        if let Some(ts) = timestamps {
            self.rcv.note_timestamp(cx.now, view.seq(), ts);
        }
        self.rcv.hear(cx.now);
        self.probes = 0;
    }

    /// Shows the application data in order, as [`Connection::deliver`] does. Nearly always it takes all, and does nothing
    /// but answer.
    #[inline]
    fn take_predicted<O: Out<A::Link>>(
        &mut self,
        data: &[u8],
        pushed: bool,
        cx: &mut Cx<'_, A, O>,
    ) -> Predicted {
        let State::Established { snd, .. } = &mut self.state else {
            return Predicted::No;
        };
        let shared = &mut *cx.shared;
        self.rcv.nxt += data.len() as u32;
        shared.counters.bytes_in += data.len() as u64;
        self.rcv.note_payload(data.len());
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
        if used < data.len() || wish != Wish::default() {
            self.rcv.owe_ack(cx.now, &shared.config);
            let rest = &data[used..];
            self.conclude(rest, rest.len() as u32, wish, cx);
            return Predicted::Changed(self.speak_if(pushed, cx));
        }
        (self.rcv.unread, self.rcv.starved) = (0, false);
        // An ACK that would be owed goes with the answer.
        if pushed && self.output_volley(cx) == Ok(true) {
            return Predicted::Stays(Spoke::Yes);
        }
        if self.rcv.owes_ack() {
            self.rcv.owe_ack(cx.now, &cx.shared.config);
        }
        if self.rcv.has_news(self.terms.payload(), &cx.shared.config) {
            self.rcv.ack_now = true;
        }
        Predicted::Stays(self.speak_if(pushed, cx))
    }

    /// What the peer waits for goes out at once; what meets a full ring is sent by the flush.
    #[inline]
    pub fn speak_if<O: Out<A::Link>>(&mut self, now: bool, cx: &mut Cx<'_, A, O>) -> Spoke {
        if now && self.output(cx).is_ok() {
            Spoke::Yes
        } else {
            Spoke::No
        }
    }
}
