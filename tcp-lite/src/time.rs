//! Time as a value: read by the caller once per batch, passed down.

use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// Microseconds since an epoch of the caller's choice, the same for all calls on one stack; must not run backwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// Time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// `micros` µs from `self`.
    pub(crate) const fn later(self, micros: u64) -> Instant {
        Instant(self.0.saturating_add(micros))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, d: Duration) -> Instant {
        Instant(self.0.saturating_add(micros(d)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, d: Duration) -> Instant {
        Instant(self.0.saturating_sub(micros(d)))
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

/// A duration in whole microseconds, capped at what an [`Instant`] can hold.
pub(crate) const fn micros(d: Duration) -> u64 {
    // `as_micros` has 128 bits; this is done several times for each segment.
    let seconds = d.as_secs().saturating_mul(1_000_000);
    seconds.saturating_add(d.subsec_micros() as u64)
}

/// The farthest that a [`Timer`] may lie ahead: 2^30 ms, 12 days. Two of them then compare right although they wrap, also
/// when one has been due for as long. Less would shorten timeouts that somebody may want, more leaves no slack.
pub(crate) const LONGEST: Duration = Duration::from_millis(1 << 30);

/// A deadline that is set or not, in 4 bytes (an `Option<Instant>` takes 16, and a connection holds several): the low
/// half of its milliseconds, rounded up like the wheel's ticks, 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Timer(u32);

impl Timer {
    pub const OFF: Timer = Timer(0);

    /// `when` is at most [`LONGEST`] from now.
    #[inline]
    pub fn at(when: Instant) -> Timer {
        // One of 2^32 numbers means "none": then it rings 1 ms later.
        Timer(((when.0.saturating_add(999) / 1000) as u32).max(1))
    }

    /// At `when`, or [`LONGEST`] from now if that is earlier.
    #[inline]
    pub fn within(now: Instant, when: Instant) -> Timer {
        Timer::at(when.min(now + LONGEST))
    }

    /// In `wait`, or [`LONGEST`] if that is less.
    pub fn after(now: Instant, wait: Duration) -> Timer {
        Timer::within(now, now + wait)
    }

    /// `wait` ms after the last whole one.
    #[inline]
    pub fn in_millis(now: Instant, wait: u32) -> Timer {
        Timer(millis(now).wrapping_add(wait).max(1))
    }

    pub fn is_set(self) -> bool {
        self != Timer::OFF
    }

    #[inline]
    pub fn is_due(self, now: Instant) -> bool {
        self.is_set() && self.ahead(now) <= 0
    }

    /// The wheel's tick for it, behind that of `now`.
    #[inline]
    pub fn tick(self, now: Instant) -> Option<u64> {
        let tick = (now.0 / 1000) + u64::from(self.ahead(now).max(1).unsigned_abs());
        self.is_set().then_some(tick)
    }

    /// ms from now.
    fn ahead(self, now: Instant) -> i32 {
        self.0.wrapping_sub(millis(now)) as i32
    }

    /// The earlier of two; `OFF` is later than all.
    #[inline]
    pub fn min(self, other: Timer) -> Timer {
        if other.is_before(self) { other } else { self }
    }

    /// Does it ring before `other`? `OFF` is later than all.
    #[inline]
    pub fn is_before(self, other: Timer) -> bool {
        self.is_set() && (!other.is_set() || (self.0.wrapping_sub(other.0) as i32) < 0)
    }
}

/// Milliseconds, low half: the timestamps' clock, without its offset.
pub(crate) fn millis(now: Instant) -> u32 {
    (now.0 / 1000) as u32
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, LONGEST, Timer};

    /// Whatever the time: also where the low half of the milliseconds wraps, and where it is 0.
    #[test]
    fn timers() {
        for start in [0, 1, 999, 5_000_000_123, (1 << 32) * 1000 - 1, 77 << 45] {
            let now = Instant(start);
            for wait in [0, 1, 1000, 2_000_001, LONGEST.as_micros() as u64] {
                let wait = Duration::from_micros(wait);
                let (when, timer) = (now + wait, Timer::at(now + wait));
                let rings =
                    Instant((start / 1000 + u64::from(timer.ahead(now).unsigned_abs())) * 1000);
                assert!(rings >= when && rings.since(when) < Duration::from_millis(2));
                assert_eq!(Timer::after(now, wait), timer);
                for passed in [Duration::ZERO, wait / 2, wait, 2 * wait] {
                    let later = now + passed;
                    assert_eq!(timer.is_due(later), rings <= later, "{now:?} {passed:?}");
                    let tick = (rings.0 / 1000).max(later.0 / 1000 + 1);
                    assert_eq!(timer.tick(later), Some(tick));
                }
                assert!(timer.is_due(rings) && timer.is_set());
                for other in [Timer::OFF, Timer::at(when + Duration::from_millis(3))] {
                    assert_eq!((timer.min(other), other.min(timer)), (timer, timer));
                }
            }
            assert!(!Timer::OFF.is_set() && !Timer::OFF.is_due(now));
            assert_eq!(
                (Timer::OFF.tick(now), Timer::OFF.min(Timer::OFF)),
                (None, Timer::OFF)
            );
            assert_eq!(Timer::after(now, Duration::MAX), Timer::at(now + LONGEST));
        }
    }
}
