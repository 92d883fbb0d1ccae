//! The congestion window: slow start, congestion avoidance, the answer to a loss (RFC 5681, 6928, 9438).

use super::cubic::{self, Curve};
use crate::config::CongestionControl;
use crate::time::Instant;

/// Above every window that a peer can offer (RFC 7323: 2^30): the arithmetic then needs no overflow checks.
pub(super) const MAX_CWND: u32 = 1 << 30;
/// Most segments by which one ACK opens the window in slow start: RFC 9406 section 4.2 has L = 8 for a sender that does
/// not pace. A peer whose NIC joins segments acknowledges many at once; with less it would be served more slowly for it.
const SLOW_START_LIMIT: u32 = 8;

/// What is remembered between answers too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Congestion {
    pub cwnd: u32,
    pub ssthresh: u32,
    /// CUBIC's `W_max`, bytes; 0: none.
    pub w_max: u32,
}

/// What an ACK did, as far as growth asks.
pub(super) struct Growth {
    pub now: Instant,
    pub acked: u32,
    pub mss: u32,
    /// µs
    pub srtt: u32,
}

impl Congestion {
    pub fn new(mss: u32, handshake_lost: bool) -> Congestion {
        // RFC 6928 section 2; one segment if the SYN-ACK was lost (RFC 5681 section 3.1).
        let cwnd = if handshake_lost {
            mss
        } else {
            initial_window(mss)
        };
        Congestion {
            cwnd,
            ssthresh: MAX_CWND,
            w_max: 0,
        }
    }

    /// After a pause of an RTO the window says nothing about the path any more (RFC 5681 section 4.1).
    pub fn restart(&mut self, mss: u32) {
        self.cwnd = self.cwnd.min(initial_window(mss));
    }

    #[inline]
    pub fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// A window that was not used proves nothing; in slow start half of it is enough. `full`: it held data back.
    #[inline]
    pub fn is_used(&self, full: bool, flight: u32) -> bool {
        full || self.in_slow_start() && flight.saturating_mul(2) >= self.cwnd
    }

    /// New data was acknowledged, of a flight that the window had limited.
    pub fn grow(&mut self, which: CongestionControl, curve: &mut Curve, by: &Growth) {
        let Growth { acked, mss, .. } = *by;
        self.cwnd = if self.in_slow_start() {
            self.cwnd + acked.min(SLOW_START_LIMIT * mss)
        } else {
            match which {
                CongestionControl::NewReno => {
                    // RFC 5681 section 3.1, equation (3)
                    let acked = acked.min(SLOW_START_LIMIT * mss);
                    let more = u64::from(mss) * u64::from(acked) / u64::from(self.cwnd);
                    self.cwnd + more.max(1) as u32
                }
                CongestionControl::Cubic => curve.grow(self, by),
            }
        }
        .min(MAX_CWND);
    }

    /// A loss at a window of `window` bytes of which `flight` were used: lowers `ssthresh`. The caller lowers `cwnd` as
    /// fits the recovery.
    pub fn on_loss(
        &mut self,
        which: CongestionControl,
        curve: &mut Curve,
        flight: u32,
        window: u32,
        mss: u32,
    ) {
        let kept = match which {
            // RFC 5681 section 3.1, equation (4); what limited transmit added MUST NOT count.
            CongestionControl::NewReno => flight.min(window) / 2,
            // RFC 9438 section 4.6 lets the window stand for the flight size where it does not grow unused: else the
            // last segments of a short answer would take all that was learned of the path with them.
            CongestionControl::Cubic => {
                self.w_max = cubic::plateau(window, self.w_max);
                curve.reduced(window);
                cubic::reduced(window)
            }
        };
        // RFC 5681 section 3.1, RFC 9438 section 4.6: MUST NOT fall below two segments.
        self.ssthresh = kept.max(2 * mss);
    }

    /// The retransmission timer rang: the window MUST be no more than one segment (RFC 5681 section 3.1).
    pub fn on_timeout(&mut self, mss: u32) {
        self.cwnd = mss;
        // RFC 9438 section 4.8: the next curve begins where congestion avoidance does.
        self.w_max = 0;
    }

    /// The loss was none. RFC 4015 section 3.2 (steps 2 and 4): back to the old threshold, without a burst.
    pub fn undo(&mut self, before: Congestion, flying: u32, acked: u32, mss: u32) {
        let now = flying + acked.min(initial_window(mss));
        *self = Congestion {
            cwnd: before.cwnd.min(now.max(self.cwnd)),
            ssthresh: before.ssthresh.max(before.cwnd),
            w_max: before.w_max,
        };
    }
}

pub(super) fn initial_window(mss: u32) -> u32 {
    (10 * mss).min((2 * mss).max(14_600))
}

#[cfg(test)]
mod tests {
    use super::{Congestion, CongestionControl, Curve, Growth, Instant, MAX_CWND, initial_window};

    const MSS: u32 = 1000;

    fn grow(window: &mut Congestion, which: CongestionControl, acked: u32) {
        let by = Growth {
            now: Instant(0),
            acked,
            mss: MSS,
            srtt: 1000,
        };
        window.grow(which, &mut Curve::default(), &by);
    }

    #[test]
    fn initial_windows() {
        for (mss, window) in [(100, 1000), (1460, 14_600), (8960, 17_920), (2000, 14_600)] {
            assert_eq!(initial_window(mss), window);
        }
        assert_eq!(Congestion::new(1460, true).cwnd, 1460);
    }

    #[test]
    fn slow_start_is_bounded_per_ack() {
        for which in [CongestionControl::NewReno, CongestionControl::Cubic] {
            let mut window = Congestion::new(MSS, false);
            grow(&mut window, which, 2000);
            assert_eq!(window.cwnd, 12_000);
            grow(&mut window, which, 12_000);
            assert_eq!(window.cwnd, 20_000);
            window.cwnd = MAX_CWND - 1;
            grow(&mut window, which, 8000);
            assert_eq!(window.cwnd, MAX_CWND);
        }
    }

    #[test]
    fn newreno_opens_one_segment_per_round() {
        let mut window = Congestion {
            cwnd: 20_000,
            ssthresh: 20_000,
            w_max: 0,
        };
        for _ in 0..10 {
            grow(&mut window, CongestionControl::NewReno, 2000);
        }
        assert!((20_950..=21_000).contains(&window.cwnd), "{}", window.cwnd);
    }

    #[test]
    fn loss_keeps_half_or_seven_tenths() {
        for (which, flight, kept) in [
            (CongestionControl::NewReno, 20_000, 10_000),
            (CongestionControl::Cubic, 20_000, 14_000),
            (CongestionControl::NewReno, 3000, 2000),
            (CongestionControl::Cubic, 2000, 2000),
        ] {
            let mut window = Congestion::new(MSS, false);
            window.on_loss(which, &mut Curve::default(), flight, flight, MSS);
            assert_eq!(window.ssthresh, kept);
        }
    }
}
