//! A FIN goes out behind all that was acknowledged: what `output.rs` comes down to then.

use crate::app::{App, Full, Out};
#[cfg(test)]
use crate::connection::Prediction;
use crate::connection::{Connection, Cx};
use crate::state::State;
use crate::wire::Flags;

impl<A: App> Connection<A> {
    /// Sends the FIN where nothing else is left to say. False: the general path has to look.
    pub(super) fn output_fin<O: Out<A::Link>>(
        &mut self,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<bool, Full> {
        let shared = &mut *cx.shared;
        #[cfg(test)]
        if shared.prediction == Prediction::Off {
            return Ok(false);
        }
        let State::LastAck { snd } = &mut self.state else {
            return Ok(false);
        };
        if !snd.may_send_fin(cx.now, &shared.config) {
            return Ok(false);
        }
        let seq = snd.nxt;
        let header = self.header(seq, Flags::ACK.with(Flags::FIN), cx);
        let sent = self.emit(&header, cx);
        let State::LastAck { snd } = &mut self.state else {
            return Ok(false);
        };
        if let Err(full) = sent {
            // It waits in a box.
            let shared = &mut *cx.shared;
            snd.keep_timer(cx.now, true, &shared.config, &mut shared.pieces);
            return Err(full);
        }
        snd.sent_fin(cx.now);
        self.rcv.acked();
        self.rcv.slacken();
        Ok(true)
    }
}
