//! An answer goes out where nothing is amiss: what `output.rs` comes down to then. It stops as soon as that is not so, and
//! leaves the rest to the general path.

use super::timestamps;
use crate::app::{App, Ecn, Full, Out};
#[cfg(test)]
use crate::connection::Prediction;
use crate::connection::{Connection, Cx};
use crate::send::{Chunk, Plain};
use crate::state::State;
use crate::wire::{DataHeader, Flags};

impl<A: App> Connection<A> {
    /// Sends what is plain to see. True if that was all; false if the general path has to go on.
    #[inline]
    pub fn output_plain<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) -> Result<bool, Full> {
        #[cfg(test)]
        if cx.shared.prediction == Prediction::Off {
            return Ok(false);
        }
        let State::Established { snd, inbox } = &mut self.state else {
            return Ok(false);
        };
        if !inbox.is_bare() {
            return Ok(false);
        }
        let shared = &mut *cx.shared;
        snd.keep_timer(cx.now, false, &shared.config, &mut shared.pieces);
        let mut sent = Ok(());
        let mut any = false;
        let done = loop {
            let next = match &self.state {
                State::Established { snd, .. } => snd.next_plain(),
                _ => Plain::Unclear,
            };
            let last = match next {
                Plain::Chunk(chunk) => {
                    sent = self.send_plain(chunk, cx);
                    chunk.push
                }
                Plain::Done => break true,
                Plain::Unclear => break false,
            };
            if sent.is_err() {
                break false;
            }
            any = true;
            if last {
                break true;
            }
        };
        if any {
            self.rcv.acked();
            self.rcv.slacken();
            if let State::Established { snd, .. } = &mut self.state {
                snd.schedule_probe(cx.now, &cx.shared.config);
            }
        }
        sent?;
        if done && self.rcv.ack_now {
            self.send_ack(None, cx)?;
        }
        Ok(done)
    }

    #[inline]
    fn send_plain<O: Out<A::Link>>(
        &mut self,
        chunk: Chunk,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<(), Full> {
        let ect = self.terms.ecn;
        let State::Established { snd, .. } = &mut self.state else {
            return Ok(());
        };
        let flags = Flags::ACK
            .with_if(chunk.push, Flags::PSH)
            .with_if(ect && snd.cwr, Flags::CWR)
            .with_if(self.rcv.ece, Flags::ECE);
        let (mss, shift) = (self.terms.payload(), self.terms.rcv_shift);
        let header = DataHeader {
            seq: chunk.seq,
            ack: self.rcv.ack(),
            flags,
            window: self.rcv.offer(mss, shift, &cx.shared.config),
            timestamps: timestamps(cx.now, &self.terms, &self.rcv),
        };
        let at = chunk.seq.since(snd.una);
        let shared = &mut *cx.shared;
        let ecn = if ect { Ecn::Ect0 } else { Ecn::NotEct };
        let len = header.len() + chunk.len as usize;
        cx.out.emit(cx.flow, &self.link, ecn, len, |buf| {
            header.emit(cx.flow, buf, |payload| {
                snd.fill(&shared.pieces, at, payload, cx.app)
            });
        })?;
        shared.counters.segments_out += 1;
        shared.counters.bytes_out += u64::from(chunk.len);
        snd.cwr &= !ect;
        snd.sent_plain(cx.now, chunk);
        Ok(())
    }
}
