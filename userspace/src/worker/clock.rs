//! The worker's clock: the only place on the data path that asks the time.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a batch knows of time. Read once per batch, passed down as a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, in microseconds since the first clock of the process started.
    pub mono: tcp_lite::Instant,
    /// Seconds since 1970-01-01 00:00:00 UTC, for `Date`.
    pub unix: u32,
}

/// See [`Now`].
#[derive(Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock. All of a process count from the same moment, so that one thread can say until when something holds and
    /// others go by it.
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    pub fn start() -> Self {
        static START: OnceLock<Instant> = OnceLock::new();
        Self {
            start: *START.get_or_init(Instant::now),
        }
    }

    /// Since 1970-01-01 00:00:00 UTC, for copies of frames.
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    pub fn wall(&self) -> Duration {
        // Before that year: a clock that was never set.
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.unwrap_or_default()
    }

    /// The monotonic part of [`Clock::now`] alone.
    pub fn mono(&self) -> tcp_lite::Instant {
        tcp_lite::Instant(self.start.elapsed().as_micros() as u64)
    }

    /// The time for one batch.
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    pub fn now(&self) -> Now {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        Now {
            mono: self.mono(),
            unix: u32::try_from(unix).unwrap_or(u32::MAX),
        }
    }
}
