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

/// A deadline that is set or not, in 8 bytes (an `Option<Instant>` takes 16, and a connection holds several).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Timer(u64);

impl Timer {
    pub const OFF: Timer = Timer(u64::MAX);

    pub fn at(when: Instant) -> Timer {
        Timer(when.0.min(u64::MAX - 1))
    }

    pub fn is_set(self) -> bool {
        self != Timer::OFF
    }

    pub fn is_due(self, now: Instant) -> bool {
        self.is_set() && self.0 <= now.0
    }

    pub fn get(self) -> Option<Instant> {
        self.is_set().then_some(Instant(self.0))
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
