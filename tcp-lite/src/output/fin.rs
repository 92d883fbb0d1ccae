//! The FIN goes out, with a short answer or behind all that was acknowledged: what `output.rs` comes down to then.

use crate::app::{App, Full, Out};
#[cfg(test)]
use crate::connection::Prediction;
use crate::connection::{Connection, Cx};
use crate::send::Chunk;
use crate::wire::Flags;

impl<A: App> Connection<A> {
    /// Sends the FIN where that is the last there is to say; nothing more where it is out. False: the general path has to
    /// look.
    pub(super) fn output_fin<O: Out<A::Link>>(
        &mut self,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<bool, Full> {
        #[cfg(test)]
        if cx.shared.prediction == Prediction::Off {
            return Ok(false);
        }
        let Some((snd, true)) = self.state.snd() else {
            return Ok(false);
        };
        if snd.is_last_out() {
            if self.rcv.ack_now {
                self.send_ack(None, cx)?;
            }
            return Ok(true);
        }
        let Some(chunk) = snd.last_to_send(cx.now, &cx.shared.config) else {
            return Ok(false);
        };
        let sent = match chunk.len {
            0 => self.send_bare_fin(&chunk, cx),
            _ => self.send_chunk(chunk, cx),
        };
        let Some((snd, _)) = self.state.snd() else {
            return Ok(false);
        };
        let shared = &mut *cx.shared;
        match sent {
            Ok(()) => snd.sent_last(cx.now, &chunk),
            // It waits in a box.
            Err(Full) => snd.keep_timer(cx.now, true, &shared.config, &mut shared.pieces),
        }
        sent.map(|()| true)
    }

    fn send_bare_fin<O: Out<A::Link>>(
        &mut self,
        chunk: &Chunk,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<(), Full> {
        let header = self.header(chunk.seq, Flags::ACK.with(Flags::FIN), cx);
        self.emit(&header, cx)?;
        self.rcv.acked();
        self.rcv.slacken();
        Ok(())
    }
}
