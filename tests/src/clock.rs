//! The only place where tests read a clock, and waiting for conditions instead of sleeping.

use std::time::{Duration, Instant, SystemTime};

/// How long a condition that is already on its way may take before the test fails.
///
/// Ten seconds: a loaded two-core machine has been seen to take one second to start a daemon; a smaller
/// value fails there, a larger one only delays the report of a real fault.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two looks at a condition that nothing announces (a namespace's socket list, a process state).
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The current time of the monotonic clock.
#[expect(
    clippy::disallowed_methods,
    reason = "tests run in real time; the data path does not use this crate"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// The current wall-clock time.
#[expect(
    clippy::disallowed_methods,
    reason = "tests run in real time; the data path does not use this crate"
)]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Whether the tests run in their long form: `cargo xtask soak` sets SIDESTEP_SOAK.
pub fn soak() -> bool {
    std::env::var_os("SIDESTEP_SOAK").is_some()
}

/// How long a load runs: `short` in `cargo xtask test`, `long` in `cargo xtask soak`.
pub fn lasting(short: Duration, long: Duration) -> Duration {
    if soak() { long } else { short }
}

/// A point in time after which waiting is a failure.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline `limit` from now.
    pub fn after(limit: Duration) -> Self {
        Self(now() + limit)
    }

    /// The time left; zero once it has passed.
    pub fn left(&self) -> Duration {
        self.0.saturating_duration_since(now())
    }

    /// Whether it has passed.
    pub fn passed(&self) -> bool {
        self.left().is_zero()
    }
}

/// Calls `look` until it gives a value, at most for `limit`; the last look is after the limit.
pub fn poll_for<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Deadline::after(limit);
    loop {
        let last = deadline.passed();
        if let Some(value) = look() {
            return Some(value);
        }
        if last {
            return None;
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// [`poll_for`] that fails the test.
///
/// # Panics
/// With `what` when the limit passes first.
pub fn wait_for<T>(limit: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
    poll_for(limit, look).unwrap_or_else(|| panic!("not within {limit:?}: {what}"))
}
