//! What is not served leaves for the kernel's server, with its connection.

use super::answer::Answered;
use super::{HttpConn, LISTENS, Phase, Service};
use crate::handoff::Handoff;
use crate::http::Head;
use crate::reason::{Fate, NotOurs, NotTaken};
use crate::route;
use crate::store::{ConnectionField, RouteId};
use crate::worker::leaving;
use tcp_lite::{Detached, Full, Io};

impl Service {
    /// The way of whole connections into the kernel.
    pub(in crate::worker) fn kernel(&mut self) -> Option<&mut (dyn Handoff + 'static)> {
        self.kernel.as_deref_mut()
    }

    /// How many more connections may be under way to the kernel.
    pub(in crate::worker) fn room(&self) -> usize {
        leaving::CAPACITY.saturating_sub(self.leaving)
    }

    /// A connection has left TCP for the kernel.
    pub(in crate::worker) fn left(&mut self, detached: &mut Detached<Self>) {
        // First of all: while the entry is there, the kernel gets nothing of what the client sends.
        if let Some(flows) = &mut self.flows {
            flows.remove(detached.flow());
        }
    }

    /// The kernel took `count` connections.
    pub(in crate::worker) fn taken(&mut self, count: usize) {
        self.leaving -= count;
        self.counters.handed_over += count as u64;
    }

    /// The kernel did not take a connection.
    pub(in crate::worker) fn came_back(&mut self, conn: &mut HttpConn, why: NotTaken) {
        self.leaving -= 1;
        self.counters.not_taken(why);
        // Something has changed there, or the listener is of a kind that wants another way.
        self.listening.clear();
        conn.phase = Phase::Back;
    }

    /// Lets the connection go to the kernel's server, if there is one and room on the way.
    pub(super) fn leave(&mut self, io: &mut Io<'_, Self>) -> Result<(), NotTaken> {
        let room = self.room();
        let local = io.flow().local;
        let kernel = self.kernel.as_mut().ok_or(NotTaken::Refused)?;
        if room == 0 {
            return Err(NotTaken::NoRoom);
        }
        let now = self.now.mono;
        if self.listening.get(&local).is_none_or(|until| *until <= now) {
            if !kernel.listens(&local) {
                return Err(NotTaken::NoListener);
            }
            self.listening.insert(local, now + LISTENS);
        }
        self.leaving += 1;
        io.conn().phase = Phase::Leaving;
        io.hand_off();
        Ok(())
    }

    /// Leaves the request at the start of what is unread to the kernel, or refuses it.
    pub(super) fn step_aside(
        &mut self,
        io: &mut Io<'_, Self>,
        route: RouteId,
        reason: NotOurs,
        head: Option<&Head<'_>>,
        last: bool,
    ) -> Result<Answered, Full> {
        // A connection that came back was counted then.
        if io.conn().phase != Phase::Back {
            match self.leave(io) {
                Ok(()) => {
                    self.counters.left(reason);
                    self.routes.count(route, Fate::Left(reason), 1);
                    return Ok(Answered::Left);
                }
                Err(why) => self.counters.not_taken(why),
            }
        }
        // RFC 5861, 4.
        if reason == NotOurs::Cached
            && let Some(head) = head
            && let Some((response, form)) =
                route::rescue(self.generations.snapshot(), route, head, self.now)
        {
            let connection = ConnectionField::of(head, last);
            self.queue(io, response, connection, form)?;
            self.routes.count(route, Fate::Stale, 1);
            return Ok(Answered::of(connection));
        }
        let refusal = route::unserved(reason, head);
        self.refuse(io, route, head, last, &refusal)
            .map(Answered::of)
    }
}
