//! CUBIC's congestion avoidance (RFC 9438).

use super::congestion::{Congestion, Growth};
use crate::time::Instant;

/// Section 4.6
const BETA: f64 = 0.7;
/// Section 5.1, segments per second³
const C: f64 = 0.4;
/// Section 4.3: what makes the Reno-friendly estimate as aggressive as Reno.
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// `ssthresh` after a loss at this window (section 4.6).
pub(super) fn reduced(window: u32) -> u32 {
    (f64::from(window) * BETA) as u32
}

/// `W_max` after a loss at `cwnd`, with fast convergence (section 4.7): a window that did not get back to where it was
/// makes room for newcomers.
pub(super) fn plateau(cwnd: u32, w_max: u32) -> u32 {
    if cwnd < w_max {
        (f64::from(cwnd) * (1.0 + BETA) / 2.0) as u32
    } else {
        cwnd
    }
}

/// One stage of congestion avoidance, in segments. It begins anew after every pause, from the window of then: on the
/// way up to `W_max` that is the same curve without the time of the pause, which section 4.2 and 5.8 want left out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Curve {
    /// `t_epoch`
    begun: Option<Instant>,
    /// `K`, seconds
    k: f64,
    w_max: f64,
    /// `W_est`
    estimate: f64,
    /// `cwnd_prior`; 0: not known.
    prior: f64,
}

impl Curve {
    /// A loss at `cwnd` bytes.
    pub fn reduced(&mut self, cwnd: u32) {
        *self = Curve {
            prior: f64::from(cwnd),
            ..Curve::default()
        };
    }

    /// The window does not limit what is sent now: time stands still (section 5.8).
    pub fn pause(&mut self) {
        self.begun = None;
    }

    /// Section 4.2, `W_cubic(t)`
    fn at(&self, t: f64) -> f64 {
        C * (t - self.k).powi(3) + self.w_max
    }

    /// The window in bytes after `by.acked` bytes were acknowledged.
    pub fn grow(&mut self, window: &Congestion, by: &Growth) -> u32 {
        let mss = f64::from(by.mss);
        let cwnd = f64::from(window.cwnd) / mss;
        let begun = *self.begun.get_or_insert_with(|| {
            let w_max = f64::from(window.w_max) / mss;
            self.w_max = w_max.max(cwnd);
            self.k = ((self.w_max - cwnd) / C).cbrt();
            self.estimate = cwnd;
            by.now
        });
        let t = by.now.since(begun).as_secs_f64();
        let acked = f64::from(by.acked) / mss;
        // Section 4.3: as soon as the estimate is where the window was, as fast as Reno.
        let prior = if self.prior > 0.0 {
            self.prior / mss
        } else {
            self.w_max
        };
        let alpha = if self.estimate >= prior { 1.0 } else { ALPHA };
        self.estimate += alpha * acked / cwnd;
        let next = if self.at(t) < self.estimate {
            self.estimate.max(cwnd)
        } else {
            // Sections 4.4 and 4.5
            let target = self
                .at(t + f64::from(by.srtt) / 1e6)
                .clamp(cwnd, 1.5 * cwnd);
            cwnd + (target - cwnd) * acked / cwnd
        };
        (next * mss) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::{Congestion, Curve, Growth, Instant, plateau, reduced};

    const MSS: u32 = 1000;

    /// Lets the window grow for `millis` in rounds of `rtt`, every second segment acknowledged.
    fn run(curve: &mut Curve, window: &mut Congestion, rtt: u32, millis: std::ops::Range<u32>) {
        for round in millis.step_by((rtt / 1000) as usize) {
            let start = u64::from(round) * 1000;
            let acks = window.cwnd / (2 * MSS);
            for ack in 0..acks {
                let by = Growth {
                    now: Instant(start + u64::from(rtt) * u64::from(ack) / u64::from(acks)),
                    acked: 2 * MSS,
                    mss: MSS,
                    srtt: rtt,
                };
                window.cwnd = curve.grow(window, &by);
            }
        }
    }

    fn after_loss(w_max: u32) -> (Curve, Congestion) {
        let mut curve = Curve::default();
        curve.reduced(w_max * MSS);
        let cwnd = reduced(w_max * MSS);
        let window = Congestion {
            cwnd,
            ssthresh: cwnd,
            w_max: w_max * MSS,
        };
        (curve, window)
    }

    /// `W_cubic(t)` = 0.4 (t - K)^3 + `W_max` (RFC 9438 section 4.2, figure 1) for `W_max` = 1000 segments, of which 700
    /// are left: K = cbrt(300 / 0.4) = 9.0856 s.
    #[test]
    fn follows_the_formula() {
        let (mut curve, mut window) = after_loss(1000);
        let mut from = 0;
        for (seconds, segments) in [
            (1, 788.5),
            (2, 857.6),
            (4, 947.3),
            (6, 988.2),
            (9, 1000.0),
            (12, 1009.9),
            (15, 1082.7),
        ] {
            run(&mut curve, &mut window, 50_000, from..seconds * 1000);
            from = seconds * 1000;
            let got = f64::from(window.cwnd) / f64::from(MSS);
            assert!(
                (got - segments).abs() < 0.02 * segments,
                "{seconds} s: {got} for {segments}"
            );
        }
    }

    /// Time that passes unused is not on the curve.
    #[test]
    fn pause_goes_on_where_it_was() {
        let (mut curve, mut window) = after_loss(1000);
        run(&mut curve, &mut window, 50_000, 0..4000);
        curve.pause();
        let before = window.cwnd;
        run(&mut curve, &mut window, 50_000, 600_000..600_050);
        assert!(window.cwnd - before < 40 * MSS, "{before} {}", window.cwnd);
        run(&mut curve, &mut window, 50_000, 600_050..602_000);
        let got = window.cwnd / MSS;
        assert!((965..1000).contains(&got), "{got}");
    }

    /// On a short path the Reno-friendly estimate leads (section 4.3): 0.53 segments per round up to where the window
    /// was, then one.
    #[test]
    fn as_fast_as_reno_on_a_short_path() {
        let (mut curve, mut window) = after_loss(20);
        run(&mut curve, &mut window, 1000, 0..11);
        let got = f64::from(window.cwnd) / f64::from(MSS);
        assert!((18.5..=20.5).contains(&got), "{got}");
        let before = window.cwnd;
        run(&mut curve, &mut window, 1000, 11..31);
        let more = (window.cwnd - before) / MSS;
        assert!((15..=21).contains(&more), "{more}");
    }

    /// A window that did not get back to where it was gives room (section 4.7).
    #[test]
    fn fast_convergence() {
        assert_eq!(
            (plateau(100_000, 0), plateau(100_000, 100_000)),
            (100_000, 100_000)
        );
        assert_eq!(plateau(100_000, 100_001), 85_000);
        assert_eq!(reduced(100_000), 70_000);
    }
}
