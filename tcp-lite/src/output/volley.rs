//! An answer goes out as nearly all do: whole, and before anything else happens.

use super::timestamps;
use crate::app::{App, Ecn, Full, Out};
#[cfg(test)]
use crate::connection::Prediction;
use crate::connection::{Connection, Cx};
use crate::state::State;
use crate::wire::{DataHeader, Flags};

impl<A: App> Connection<A> {
    /// Sends the volley that waits, if that is all there is and it may go out at once; nothing more where one is out. False: the general path has to look.
    #[inline]
    pub fn output_volley<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) -> Result<bool, Full> {
        let shared = &mut *cx.shared;
        #[cfg(test)]
        if shared.prediction == Prediction::Off {
            return Ok(false);
        }
        let State::Established { snd, inbox } = &mut self.state else {
            return Ok(false);
        };
        if !inbox.is_bare() {
            return Ok(false);
        }
        if snd.is_volley_out() {
            if self.rcv.ack_now {
                self.send_ack(None, cx)?;
            }
            return Ok(true);
        }
        let Some(bytes) = snd.volley_to_send(cx.now, &shared.config) else {
            return Ok(false);
        };
        let ect = self.terms.ecn;
        let ecn = if ect { Ecn::Ect0 } else { Ecn::NotEct };
        let (mss, shift) = (self.terms.payload(), self.terms.rcv_shift);
        let flags = Flags::ACK.with_if(self.rcv.ece, Flags::ECE);
        let mut header = DataHeader {
            seq: snd.nxt,
            ack: self.rcv.ack(),
            flags,
            window: self.rcv.offer(mss, shift, &shared.config),
            timestamps: timestamps(cx.now, &self.terms, &self.rcv),
        };
        let mut at = 0;
        loop {
            let len = (bytes - at).min(snd.mss());
            header.seq = snd.nxt;
            header.flags = flags
                .with_if(ect && snd.cwr, Flags::CWR)
                .with_if(at + len == bytes, Flags::PSH);
            let sent = cx.out.emit(
                cx.flow,
                &self.link,
                ecn,
                header.len() + len as usize,
                |buf| {
                    header.emit(cx.flow, buf, |payload| {
                        snd.fill(&shared.pieces, at, payload, cx.app)
                    });
                },
            );
            if let Err(full) = sent {
                // What is left waits in a box.
                snd.keep_timer(cx.now, false, &shared.config, &mut shared.pieces);
                return Err(full);
            }
            shared.counters.segments_out += 1;
            shared.counters.bytes_out += u64::from(len);
            snd.sent_of_volley(len);
            snd.cwr &= !ect;
            self.rcv.acked();
            self.rcv.slacken();
            at += len;
            if at == bytes {
                return Ok(true);
            }
        }
    }
}
