//! Explicit congestion notification, the data sender's part (RFC 3168 section 6.1.2).

use super::{Chunk, Snd};
use crate::config::Settings;
use crate::seq::SeqNum;

impl Snd {
    /// A plausible `ack` came with ECN-Echo. True if the congestion window was reduced for it: once per window of data. The
    /// peer echoes until it has seen our CWR, which goes with new data: before that is acknowledged an echo is no news.
    ///
    /// A mark is answered like a loss (RFC 3168 section 6.1.2, RFC 9438 section 4.6).
    pub fn on_ecn(&mut self, ack: SeqNum, config: &Settings) -> bool {
        let news = self.una.le(ack) && self.ecn_end.lt(ack) && self.una != self.nxt;
        if news {
            self.lower_threshold(config);
            self.congestion.cwnd = self.congestion.cwnd.min(self.congestion.ssthresh);
            self.window_reduced();
        }
        news
    }

    /// For whatever reason: CWR is owed, and echoes of marks on what is outstanding were answered with it.
    pub fn window_reduced(&mut self) {
        self.cwr = true;
        self.ecn_end = self.nxt;
    }

    /// May a router mark this segment? Not one that is sent again, nor a probe of the window (section 6.1.5, 6.1.6).
    pub fn is_ect(&self, chunk: &Chunk) -> bool {
        chunk.len > 0 && !chunk.again && self.wnd > 0
    }
}
