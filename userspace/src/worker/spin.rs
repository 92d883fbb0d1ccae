//! Looking for the next frame for a moment before going to sleep.
//!
//! A thread that sleeps has to be woken, which takes some microseconds on a core that is awake and tens on one that
//! idles, most of all under a hypervisor. Where frames mostly come within such a time, to look for them is cheaper than
//! to sleep: never more than twice the cost of the better choice, if both are bounded alike. Where they do not, or
//! where somebody else has work for the core, nothing is to be gained, and a worker learns that from its own tries:
//!
//! ```text
//!   pause = waits that go by without a try
//!            ┌── a frame came: pause / 2, the next wait is a try ──┐
//!            ▼                                                     │
//!          try ──── none came in time: 2 × pause + 1 ──► pause ──► try
//!            └────── the core was taken away: the longest ──► pause ──► try
//! ```

use std::time::Duration;
use tcp_lite::Instant;

/// Most waits between two tries. A host whose frames are never soon enough then spends a twentieth of a microsecond a
/// wait on them; more would only put off seeing that a load has come, now some thousand frames late at worst.
const MOST: u32 = 1023;

/// What a look at the clock and the ring may take. Longer, and something else has run on this core meanwhile: it has
/// work to do, and a thread that looks about for some would be in its way.
const TAKEN_AWAY: Duration = Duration::from_micros(5);

/// Looks at the ring between two looks at the clock, which cost ten times as much.
const LOOKS: u32 = 8;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Spin {
    /// How long a try may take; zero: there are none.
    bound: Duration,
    pause: u32,
    /// Waits to go until the next try.
    left: u32,
}

impl Spin {
    /// Tries of at most `bound` each.
    pub fn new(bound: Duration) -> Self {
        Self {
            bound,
            pause: 0,
            left: 0,
        }
    }

    /// Calls `look` until it finds something or it is time to sleep; returns what it found, or 0. To be called where a
    /// frame was taken since the last sleep.
    pub fn wait(&mut self, now: impl Fn() -> Instant, mut look: impl FnMut() -> usize) -> usize {
        if self.bound.is_zero() {
            return 0;
        }
        if self.left > 0 {
            self.left -= 1;
            return 0;
        }
        let start = now();
        let mut last = start;
        loop {
            for _ in 0..LOOKS {
                let found = look();
                if found > 0 {
                    self.pause /= 2;
                    return found;
                }
                std::hint::spin_loop();
            }
            let at = now();
            let taken_away = at.since(last) > TAKEN_AWAY;
            if taken_away || at.since(start) >= self.bound {
                // It may have come while somebody else ran.
                let found = look();
                if found == 0 {
                    let longer = (2 * self.pause + 1).min(MOST);
                    self.pause = if taken_away { MOST } else { longer };
                    self.left = self.pause;
                }
                return found;
            }
            last = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const BOUND: Duration = Duration::from_micros(50);

    /// A wait in which a frame comes with the `nth` look, and each look at the clock is `step` microseconds after the
    /// last; returns what was found and the looks that it took.
    fn wait(spin: &mut Spin, nth: u32, step: u64) -> (usize, u32) {
        let clock = Cell::new(1000);
        let looks = Cell::new(0);
        let now = || {
            clock.set(clock.get() + step);
            Instant(clock.get())
        };
        let look = || {
            looks.set(looks.get() + 1);
            usize::from(looks.get() >= nth)
        };
        (spin.wait(now, look), looks.get())
    }

    const NEVER: u32 = u32::MAX;

    #[test]
    fn a_frame_that_comes_soon_is_waited_for_each_time() {
        let mut spin = Spin::new(BOUND);
        for _ in 0..100 {
            assert_eq!(wait(&mut spin, 20, 1), (1, 20));
        }
    }

    #[test]
    fn a_vain_try_takes_no_longer_than_the_bound() {
        let mut spin = Spin::new(BOUND);
        assert_eq!(wait(&mut spin, NEVER, 1), (0, 50 * LOOKS + 1));
    }

    #[test]
    fn vain_tries_become_rare_and_one_that_pays_makes_them_frequent_again() {
        let mut spin = Spin::new(BOUND);
        let waits = 100_000;
        let tries = (0..waits).filter(|_| wait(&mut spin, NEVER, 1).1 > 0);
        let tries = tries.count();
        // The tenth, at 1022, makes the pause the longest; then there is one of 1024.
        assert_eq!(tries, 10 + (waits - 1 - 1022) / 1024);
        while wait(&mut spin, 1, 1).1 == 0 {}
        for _ in 0..10 {
            assert_eq!(wait(&mut spin, 3, 1), (1, 3));
        }
        // All is forgotten: the first vain one costs one pause.
        assert!(wait(&mut spin, NEVER, 1).1 > 0);
        assert_eq!(wait(&mut spin, NEVER, 1).1, 0);
        assert!(wait(&mut spin, NEVER, 1).1 > 0);
    }

    #[test]
    fn a_core_that_others_want_is_left_to_them_at_once() {
        let mut spin = Spin::new(BOUND);
        assert_eq!(wait(&mut spin, NEVER, 6), (0, LOOKS + 1));
        for _ in 0..MOST {
            assert_eq!(wait(&mut spin, 1, 1), (0, 0));
        }
        assert_eq!(wait(&mut spin, 1, 1), (1, 1));
        // What came while they ran is taken all the same, and is no reason to stop.
        assert_eq!(wait(&mut spin, LOOKS + 1, 6), (1, LOOKS + 1));
        assert_eq!(wait(&mut spin, 1, 1), (1, 1));
    }

    #[test]
    fn without_a_bound_there_are_no_tries() {
        let mut spin = Spin::new(Duration::ZERO);
        for _ in 0..10 {
            assert_eq!(wait(&mut spin, 1, 1), (0, 0));
        }
    }
}
