//! What an ACK makes of the congestion window.

use super::Snd;
use super::ack::News;
use super::congestion::Growth;
use super::recovery::Phase;
use super::volley::Load;
use crate::config::Settings;
use crate::seq::SeqNum;
use crate::time::Instant;

impl Snd {
    /// The congestion window after the ACK. `before`: `una` and what was outstanding before it.
    pub(super) fn adapt_window(
        &mut self,
        now: Instant,
        before: (SeqNum, u32),
        news: &News,
        lost: bool,
        config: &Settings,
    ) {
        let mss = self.mss();
        let Load::Busy(busy) = &mut self.load else {
            return;
        };
        if busy.recovery.phase == Phase::Fast {
            let delivered = if self.sack {
                news.delivered
            } else if news.gone > 0 {
                mss.min(news.gone)
            } else {
                // RFC 9937 section 6.2: a duplicate stands for one segment.
                mss
            };
            if delivered > 0 || lost {
                let safe = news.gone > 0 && !lost;
                let pipe = busy.pipe(mss);
                let ssthresh = self.congestion.ssthresh;
                self.congestion.cwnd = busy.recovery.window(delivered, pipe, ssthresh, mss, safe);
            }
            return;
        }
        // RFC 3168 section 6.1.2: no growth by an ACK that echoes a mark.
        if news.gone == 0 || news.ended || news.echo {
            return;
        }
        // RFC 3465 section 2.3: after a timeout one ACK may cover what left the network long ago.
        let acked = match busy.recovery.phase {
            Phase::Timeout => news.gone.min(2 * mss),
            Phase::Open | Phase::Fast => news.gone,
        };
        self.open_window(now, before, acked, config);
    }

    /// Outside of fast recovery `acked` bytes were acknowledged. `before`: `una` and what was outstanding before that.
    #[inline]
    pub(super) fn open_window(
        &mut self,
        now: Instant,
        before: (SeqNum, u32),
        acked: u32,
        config: &Settings,
    ) {
        let (una, flight) = before;
        let Load::Busy(busy) = &mut self.load else {
            return;
        };
        if !self.congestion.is_used(una.lt(busy.full), flight) {
            busy.curve.pause();
            return;
        }
        let growth = Growth {
            now,
            acked,
            mss: u32::from(self.mss),
            srtt: self.rtt.smoothed(),
        };
        self.congestion
            .grow(config.congestion, &mut busy.curve, &growth);
    }
}
