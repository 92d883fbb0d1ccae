//! How a worker's connections end when it goes: those that can leave for the kernel leave, step by step as it has room.

use super::super::clock::Now;
use super::Pipeline;
use crate::net::Emitter;
use crate::xsk::{Memory, Port, Transmit};
use std::time::Duration;
use tcp_lite::Instant;

/// How often a drain asks the connections that are left whether they can go now: a server may have begun to listen.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How often a drain asks whether there is room on the way to the kernel again.
const ROOM_AGAIN: Duration = Duration::from_millis(1);

/// A drain under way: the slot to go on at, and not before when.
pub(super) struct Drain {
    from: u32,
    pub(super) at: Instant,
}

impl Pipeline {
    /// No new connections. Those whose kernel has a server go there, idle ones at once, busy ones once they are
    /// answered; the others are told with their next answer that it is the last.
    pub fn drain(&mut self, now: Now) {
        self.stack.refuse();
        self.service.drain();
        self.drain = Some(Drain {
            from: 0,
            at: now.mono,
        });
    }

    pub(super) fn go_on_draining<M, R>(&mut self, now: Instant, out: &mut Emitter<'_, M, R>)
    where
        M: Memory,
        R: Transmit<Frame = M::Frame>,
    {
        let Some(drain) = &mut self.drain else { return };
        if now < drain.at {
            return;
        }
        let room = self.service.room();
        if room == 0 {
            drain.at = now + ROOM_AGAIN;
            return;
        }
        let next = self
            .stack
            .drain_some(now, drain.from, room, &mut self.service, out);
        drain.from = next.unwrap_or(0);
        if next.is_none() {
            drain.at = now + ASK_AGAIN;
        }
        self.see_off(now);
    }

    /// Closes what a drain has left, idle connections at once, busy ones once they are answered.
    pub fn close(&mut self) {
        self.stack.drain();
    }

    /// Resets every connection that is left.
    pub fn abort_all<P: Port>(&mut self, now: Now, port: &mut P) {
        let mut out = Emitter::new(port);
        self.stack.abort_all(now.mono, &mut self.service, &mut out);
        self.counters.emitted(&out);
    }
}
