//! Round-trip time and retransmission timeout (RFC 6298).

use crate::config::Settings;

/// The estimator, in microseconds; 0 means not measured yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rtt {
    srtt: u32,
    rttvar: u32,
    /// The least round trip seen (`RACK.min_RTT`), and in the upper bits timeouts in a row: a byte of its own for them
    /// would cost each connection eight.
    least_and_backoff: u32,
}

/// Longest sample taken; keeps the arithmetic in 32 bits, and a sample in 27.
const MAX_SAMPLE_MICROS: u32 = 120_000_000;
const LEAST_BITS: u32 = 27;
const LEAST: u32 = (1 << LEAST_BITS) - 1;
/// Timeouts in a row are counted up to here: the RTO reaches its bound before, whatever it is.
const MAX_BACKOFF: u8 = 31;

impl Rtt {
    #[inline(always)]
    pub fn sample(&mut self, rtt_micros: u32) {
        let r = rtt_micros.clamp(1, MAX_SAMPLE_MICROS);
        if self.srtt == 0 {
            // Section 2.2
            self.srtt = r;
            self.rttvar = r / 2;
        } else {
            // Section 2.3 with alpha = 1/8, beta = 1/4
            self.rttvar = self.rttvar - self.rttvar / 4 + self.srtt.abs_diff(r) / 4;
            self.srtt = (self.srtt - self.srtt / 8 + r / 8).max(1);
        }
    }

    /// `SRTT` in µs; 0: not measured yet.
    #[inline]
    pub fn smoothed(&self) -> u32 {
        self.srtt
    }

    /// A round trip that is sure to be one.
    #[inline]
    pub fn least(&mut self, rtt_micros: u32) {
        let rtt = rtt_micros.clamp(1, MAX_SAMPLE_MICROS);
        let least = match self.least_seen() {
            0 => rtt,
            least => least.min(rtt),
        };
        self.least_and_backoff = self.least_and_backoff & !LEAST | least;
    }

    /// µs; 0: not measured yet.
    pub fn least_seen(&self) -> u32 {
        self.least_and_backoff & LEAST
    }

    /// What was measured may be of another path.
    pub fn forget_least(&mut self) {
        self.least_and_backoff &= !LEAST;
    }

    /// A timeout was spurious because a round trip took this long: the next one waits for such (RFC 4015 section 3.2
    /// step 5).
    pub fn adapt_to(&mut self, rtt_micros: u32) {
        let r = rtt_micros.clamp(1, MAX_SAMPLE_MICROS);
        self.srtt = self.srtt.max(r);
        self.rttvar = self.rttvar.max(r / 2);
    }

    pub fn back_off(&mut self) {
        if self.timeouts() < MAX_BACKOFF {
            self.least_and_backoff += 1 << LEAST_BITS;
        }
    }

    /// Did the timer ring since new data was last acknowledged?
    #[inline]
    pub fn is_backed_off(&self) -> bool {
        self.timeouts() > 0
    }

    /// How often it rang since: each time doubles the RTO (section 5.5).
    pub fn timeouts(&self) -> u8 {
        (self.least_and_backoff >> LEAST_BITS) as u8
    }

    /// New data was acknowledged.
    #[inline]
    pub fn restore(&mut self) {
        self.least_and_backoff &= LEAST;
    }

    /// The retransmission timeout, µs.
    #[inline]
    pub fn rto(&self, config: &Settings) -> u64 {
        let base = if self.srtt == 0 {
            config.micros.initial_rto
        } else {
            // Section 2.3 with the lower bound in the place of the clock's granularity G, as Linux has it: on a long
            // path without variance, an estimate of just SRTT would ring before every delayed ACK.
            let variance = 4 * u64::from(self.rttvar);
            u64::from(self.srtt) + variance.max(config.micros.min_rto)
        };
        let backed_off = match self.timeouts() {
            0 => base,
            times => base.saturating_mul(1 << times.min(16)),
        };
        backed_off.min(config.micros.max_rto)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BACKOFF, Rtt, Settings};
    use crate::config::Config;
    use core::time::Duration;

    fn rto(rtt: &Rtt, config: &Settings) -> Duration {
        Duration::from_micros(rtt.rto(config))
    }

    #[test]
    fn rto_by_the_rfc() {
        let config = Settings::new(Config::default());
        let mut rtt = Rtt::default();
        assert_eq!(rto(&rtt, &config), Duration::from_secs(1));
        rtt.sample(400_000);
        assert_eq!(rto(&rtt, &config), Duration::from_millis(400 + 4 * 200));
        rtt.sample(400_000);
        assert_eq!(rto(&rtt, &config), Duration::from_millis(400 + 4 * 150));
        for _ in 0..100 {
            rtt.sample(50);
        }
        let floor = rto(&rtt, &config);
        assert!(
            floor.as_micros() as u64 - config.micros.min_rto < 100
                && floor.as_micros() as u64 > config.micros.min_rto,
            "{floor:?}"
        );
        for factor in [2, 4, 8] {
            rtt.back_off();
            assert_eq!(rto(&rtt, &config), floor * factor);
        }
        rtt.least(7);
        for _ in 0..300 {
            rtt.back_off();
        }
        assert_eq!(rtt.rto(&config), config.micros.max_rto);
        rtt.least(9);
        assert_eq!((rtt.least_seen(), rtt.timeouts()), (7, MAX_BACKOFF));
        rtt.restore();
        assert_eq!(rto(&rtt, &config), floor);
        rtt.back_off();
        rtt.forget_least();
        assert_eq!((rtt.least_seen(), rtt.timeouts()), (0, 1));
    }
}
