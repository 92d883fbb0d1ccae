//! What is done when nothing comes.

use super::state::GIVEN_UP;
use super::{Engine, MS, Phase, STAMP, Sink};
use crate::load::conn::{State, mark};
use crate::load::tally::Failure;

/// Milliseconds before anything is known of the path (RFC 6298 2.1).
const FIRST: u32 = 1000;
/// The least, in milliseconds: above the 40 ms by which a peer may delay an acknowledgment, and the stalls of a busy
/// machine. RFC 6298 says a second, and all systems are below it.
const LEAST: u32 = 250;
/// The most without backing off: one answer that was late should not make all connections wait.
const FIRST_MOST: u32 = 1000;
/// The most.
const MOST: u32 = 4000;
/// Timeouts in a row before a connection is given up: with the doubling, well over the patience for an answer.
const TRIES: u8 = 12;
/// How often to look whether an answer has been waited for too long, in milliseconds.
const LOOK: u32 = 1000;

/// One estimate for all connections (RFC 6298 2), from what requests take: a peer that has the answer at hand
/// acknowledges with it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rtt {
    /// Microseconds; 0 before the first.
    smooth: u32,
    variation: u32,
}

impl Rtt {
    /// A request has taken so many nanoseconds, and nothing of it was sent twice.
    #[inline]
    pub(super) fn sample(&mut self, nanoseconds: u64) {
        let sample = (nanoseconds / 1000).clamp(1, 60_000_000) as u32;
        if self.smooth == 0 {
            self.smooth = sample;
            self.variation = sample / 2;
        } else {
            self.variation = self.variation - self.variation / 4 + sample.abs_diff(self.smooth) / 4;
            self.smooth = (self.smooth - self.smooth / 8 + sample / 8).max(1);
        }
    }

    /// How long to wait, in milliseconds, after `tries` timeouts in a row.
    pub(super) fn timeout(&self, tries: u8) -> u32 {
        let first = match self.smooth {
            0 => FIRST,
            smooth => (smooth + 4 * self.variation) / 1000,
        };
        first
            .clamp(LEAST, FIRST_MOST)
            .saturating_mul(1 << tries.min(8))
            .min(MOST)
    }
}

impl Engine {
    /// Starts the timer of `index` again.
    pub(super) fn arm(&mut self, index: u32, now: u64) {
        let conn = &mut self.conns[index as usize];
        let wait = match conn.state {
            State::Opening => FIRST << conn.tries.min(3),
            _ => self.rtt.timeout(conn.tries),
        };
        conn.deadline = (now / MS) as u32 + wait;
        self.time(index);
    }

    /// Puts `index` into the wheel, unless it is there.
    pub(super) fn time(&mut self, index: u32) {
        let conn = &mut self.conns[index as usize];
        if !conn.has(mark::TIMED) {
            conn.set(mark::TIMED, true);
            self.wheel.put(index, conn.deadline);
        }
    }

    /// Does what is due at `now`.
    pub(super) fn run_timers(&mut self, now: u64, sink: &mut impl Sink) {
        let ms = (now / MS) as u32;
        let mut due = std::mem::take(&mut self.due);
        while self.wheel.take(ms, &mut due) {
            for index in due.drain(..) {
                let conn = &mut self.conns[index as usize];
                conn.set(mark::TIMED, false);
                if conn.deadline > ms && (conn.is_busy() || conn.state == State::Closed) {
                    self.time(index);
                } else {
                    self.timed_out(index, now, sink);
                }
            }
        }
        self.due = due;
    }

    fn timed_out(&mut self, index: u32, now: u64, sink: &mut impl Sink) {
        let conn = &mut self.conns[index as usize];
        match conn.state {
            State::Closed => {
                let wanted = conn.tries != GIVEN_UP;
                if wanted && (self.asks() || self.phase == Phase::Opening) {
                    self.open_one(index, now, sink);
                }
            }
            State::Opening => {
                if conn.tries >= TRIES / 2 {
                    self.fail(index, Failure::NoHandshake, now);
                    return;
                }
                conn.tries += 1;
                self.tally.retransmits += 1;
                self.send_syn(index, sink);
                self.arm(index, now);
            }
            State::Open | State::Closing if conn.unsure() => {
                if conn.tries >= TRIES {
                    self.reset(index, sink);
                    self.fail(index, Failure::Timeout, now);
                    return;
                }
                conn.tries += 1;
                // From the oldest on: what arrived behind a gap is acknowledged at once.
                conn.nxt = conn.una;
                self.tally.retransmits += 1;
                self.pump(index, now, sink);
            }
            State::Open if conn.waiting() > 0 => self.lacks_answer(index, now, sink),
            // Our FIN has arrived and the peer's does not come.
            State::Closing => self.lacks_end(index, now, sink),
            // Nothing is under way.
            State::Open => {}
        }
    }

    /// All was acknowledged, and an answer is missing.
    fn lacks_answer(&mut self, index: u32, now: u64, sink: &mut impl Sink) {
        let conn = &self.conns[index as usize];
        let first = (index as usize) << self.ring;
        let place = first + (conn.answered & ((1 << self.ring) - 1)) as usize;
        if self.age(self.stamps[place], now) > self.set.patience.as_nanos() as u64 {
            self.reset(index, sink);
            self.fail(index, Failure::Timeout, now);
            return;
        }
        self.conns[index as usize].deadline = (now / MS) as u32 + LOOK;
        self.time(index);
    }

    fn lacks_end(&mut self, index: u32, now: u64, sink: &mut impl Sink) {
        let conn = &mut self.conns[index as usize];
        conn.tries += 1;
        if conn.tries >= TRIES {
            self.reset(index, sink);
            self.closed(index, now, sink);
        } else {
            self.arm(index, now);
        }
    }

    /// Nanoseconds since `stamp`.
    #[inline]
    pub(super) fn age(&self, stamp: u32, now: u64) -> u64 {
        u64::from(((now / STAMP) as u32).wrapping_sub(stamp)) * STAMP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_the_samples_and_doubles() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(0), FIRST);
        for _ in 0..100 {
            rtt.sample(50_000);
        }
        assert_eq!(
            [rtt.timeout(0), rtt.timeout(1), rtt.timeout(2)],
            [250, 500, 1000]
        );
        for _ in 0..100 {
            rtt.sample(2_000_000_000);
        }
        assert_eq!([rtt.timeout(0), rtt.timeout(1)], [FIRST_MOST, 2000]);
        assert_eq!(rtt.timeout(12), MOST);
    }
}
