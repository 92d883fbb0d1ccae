//! Time as a value: read by the caller once per batch, passed down.

use core::num::NonZeroU64;
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
pub(crate) fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

/// A deadline that is set or not, in 8 bytes (an `Option<Instant>` takes 16, and a connection holds several): the time
/// plus 1, so that an `Option<Timer>` takes no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Timer(NonZeroU64);

impl Timer {
    pub const OFF: Timer = Timer(NonZeroU64::MAX);

    pub fn at(when: Instant) -> Timer {
        Timer(NonZeroU64::MIN.saturating_add(when.0.min(u64::MAX - 2)))
    }

    pub fn is_set(self) -> bool {
        self != Timer::OFF
    }

    pub fn is_due(self, now: Instant) -> bool {
        self.get().is_some_and(|when| when <= now)
    }

    pub fn get(self) -> Option<Instant> {
        self.is_set().then_some(Instant(self.0.get() - 1))
    }

    /// The earlier of two; `OFF` is later than all.
    pub fn min(self, other: Timer) -> Timer {
        Timer(self.0.min(other.0))
    }
}

impl Default for Timer {
    fn default() -> Timer {
        Timer::OFF
    }
}

impl From<Option<Instant>> for Timer {
    fn from(when: Option<Instant>) -> Timer {
        when.map_or(Timer::OFF, Timer::at)
    }
}

#[cfg(test)]
mod tests {
    use super::{Instant, Timer};

    #[test]
    fn timers() {
        for (at, held) in [(0, 0), (7, 7), (u64::MAX, u64::MAX - 2)] {
            let timer = Timer::at(Instant(at));
            assert_eq!(timer.get(), Some(Instant(held)));
            assert!(timer.is_due(Instant(held)) && timer.is_set());
            assert_eq!(
                (timer.min(Timer::OFF), Timer::OFF.min(timer)),
                (timer, timer)
            );
        }
        assert!(!Timer::at(Instant(8)).is_due(Instant(7)));
        assert!(!Timer::OFF.is_set() && !Timer::OFF.is_due(Instant(u64::MAX)));
        assert_eq!(size_of::<Option<Timer>>(), 8);
    }
}
