//! Time passes, and what connections have to say goes out.

use core::time::Duration;

use super::Stack;
use crate::app::{App, Out};
use crate::connection::Cx;
use crate::state::State;
use crate::time::{Instant, Timer};

/// How soon to flush again after the transmit side was full, when nothing else comes up. Shorter spins, longer delays
/// answers that wait for nothing but a free frame.
const FLUSH_RETRY: Duration = Duration::from_millis(1);

impl<A: App> Stack<A> {
    /// Does what is due by `now`, and flushes.
    pub fn on_timers(&mut self, now: Instant, app: &mut A, out: &mut impl Out<A::Link>) {
        while let Some(id) = self.wheel.pop(now) {
            let Some((flow, connection)) = self.table.entry(id) else {
                continue;
            };
            connection.wake = Timer::OFF;
            let before = connection.state.class();
            if let State::TimeWait(wait) = &connection.state
                && wait.until.is_due(now)
            {
                self.end_time_wait(id);
                continue;
            }
            if !connection.timer(now, &self.shared.config).is_due(now) {
                // What it was for has passed, or moved back.
                self.arm(now, id);
                continue;
            }
            connection.on_timer(&mut Cx {
                now,
                flow: &flow,
                shared: &mut self.shared,
                app: &mut *app,
                out: &mut *out,
            });
            self.settle(id, before);
        }
        self.flush(now, app, out);
    }

    /// Sends everything that touched connections have to say, and arms their timers: once per batch. What meets
    /// [`crate::Full`] stays queued for the next flush.
    pub fn flush(&mut self, now: Instant, app: &mut A, out: &mut impl Out<A::Link>) {
        let mut waits = false;
        let mut kept = 0;
        for at in 0..self.touched.len() {
            let id = self.touched[at];
            let Some((flow, connection)) = self.table.entry(id) else {
                continue;
            };
            if !connection.touched {
                continue;
            }
            let mut cx = Cx {
                now,
                flow: &flow,
                shared: &mut self.shared,
                app: &mut *app,
                out: &mut *out,
            };
            waits = waits || connection.output(&mut cx).is_err();
            connection.touched = waits;
            self.arm(now, id);
            if waits {
                self.touched[kept] = id;
                kept += 1;
            }
        }
        self.touched.truncate(kept);
        self.retry = waits.then_some(now + FLUSH_RETRY);
    }

    /// Has the connection looked at by its next deadline.
    #[inline]
    pub(crate) fn arm(&mut self, now: Instant, id: u32) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        let timer = connection.timer(now, &self.shared.config);
        // The wheel is left alone while it rings early enough: nearly always, since most deadlines move back.
        if timer.is_before(connection.wake)
            && let Some(tick) = timer.tick(now)
        {
            self.wheel.arm(id, tick);
            connection.wake = timer;
        }
    }

    /// When [`Stack::on_timers`] has something to do, at the latest; it may turn out to be nothing. At once (time 0) if
    /// connections were touched and not flushed.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let unflushed = (!self.touched.is_empty()).then_some(Instant(0));
        match (self.wheel.next(), self.retry.or(unflushed)) {
            (Some(timer), Some(flush)) => Some(timer.min(flush)),
            (timer, flush) => timer.or(flush),
        }
    }
}
