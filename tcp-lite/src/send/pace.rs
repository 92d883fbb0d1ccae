//! Pacing: what a large window lets out is spread over the round trip instead of leaving as one burst, which a queue
//! on the way might not hold. The rate is that of Linux's `tcp_update_pacing_rate`.

use super::congestion::Congestion;
use crate::time::{Instant, Timer};

/// Windows of fewer segments are not paced. Linux hands a NIC 64 KiB (45 segments) as one burst too; with less, answers
/// that most buffers hold would come later, with more, bursts would grow to what they do not.
pub(super) const MIN_WINDOW: u32 = 64;
/// Segments that may leave at once: fewer make a wake-up for each few segments, more make long bursts.
const BURST: u32 = 16;
/// What this many µs let out may leave at once as well: less than a tick and the time that a wake-up comes late, and a
/// high rate is not reached.
const LATE: u64 = 2_000;
/// Shorter round trips (µs) are not paced: of the timers' 1 ms there would be too few in one.
const MIN_RTT: u32 = 5_000;

/// A virtual scheduler (GCRA): when the last byte would have left had all left at the rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    drained: Instant,
    /// When to go on.
    pub timer: Timer,
}

/// What the rate comes from.
pub(super) struct Rate {
    cwnd: u32,
    slow_start: bool,
    /// µs
    srtt: u32,
    mss: u32,
}

impl Rate {
    /// `None`: not paced.
    #[inline]
    pub fn new(window: &Congestion, srtt: u32, mss: u32) -> Option<Rate> {
        let large = srtt >= MIN_RTT && window.cwnd >= MIN_WINDOW * mss;
        large.then_some(Rate {
            cwnd: window.cwnd,
            slow_start: window.in_slow_start(),
            srtt,
            mss,
        })
    }

    /// µs that `len` bytes take: twice the window per round trip in slow start, since it doubles; else 1.2 times, so that
    /// ACKs set the pace and this only bursts.
    fn time(&self, len: u32) -> u64 {
        let plain = u64::from(len) * u64::from(self.srtt) / u64::from(self.cwnd);
        if self.slow_start {
            plain / 2
        } else {
            plain * 5 / 6
        }
    }
}

impl Pace {
    pub const NONE: Pace = Pace {
        drained: Instant(0),
        timer: Timer::OFF,
    };

    /// May new data go out now? Else the timer is set.
    pub fn may_send(&mut self, now: Instant, rate: &Rate) -> bool {
        let burst = rate.time(BURST * rate.mss).max(LATE);
        let ahead = self.drained.0.saturating_sub(burst);
        if ahead <= now.0 {
            self.timer = Timer::OFF;
            return true;
        }
        self.timer = Timer::at(Instant(ahead));
        false
    }

    /// `len` bytes went out.
    pub fn sent(&mut self, now: Instant, len: u32, rate: &Rate) {
        self.drained = Instant(self.drained.0.max(now.0).saturating_add(rate.time(len)));
    }
}

#[cfg(test)]
mod tests {
    use super::{Congestion, Instant, MIN_RTT, Pace, Rate};

    const MSS: u32 = 1000;

    fn window(segments: u32, slow_start: bool) -> Congestion {
        Congestion {
            cwnd: segments * MSS,
            ssthresh: if slow_start { u32::MAX } else { 0 },
            w_max: 0,
        }
    }

    /// Segments that go out in each ms of a round trip of 100 ms.
    fn spread(window: &Congestion) -> Vec<u32> {
        let rate = Rate::new(window, 100_000, MSS).unwrap();
        let mut pace = Pace::NONE;
        let mut left = window.cwnd / MSS;
        (0..100)
            .map(|ms| {
                let now = Instant(1_000_000 + ms * 1000);
                let before = left;
                while left > 0 && pace.may_send(now, &rate) {
                    pace.sent(now, MSS, &rate);
                    left -= 1;
                }
                before - left
            })
            .collect()
    }

    #[test]
    fn a_window_takes_half_a_round_trip_or_five_sixths() {
        for (slow_start, end) in [(true, 50), (false, 83)] {
            let spread = spread(&window(1000, slow_start));
            assert!((17..=41).contains(&spread[0]), "{spread:?}");
            assert_eq!(spread.iter().sum::<u32>(), 1000);
            let busy = spread.iter().rposition(|n| *n > 0).unwrap_or(0);
            assert!((end - 3..=end).contains(&busy), "{spread:?}");
            assert!(spread[1..].iter().all(|n| *n <= 21), "{spread:?}");
        }
    }

    #[test]
    fn small_windows_and_short_paths_are_not_paced() {
        assert!(Rate::new(&window(63, true), 100_000, MSS).is_none());
        assert!(Rate::new(&window(1000, true), MIN_RTT - 1, MSS).is_none());
        assert!(Rate::new(&window(64, true), MIN_RTT, MSS).is_some());
    }
}
