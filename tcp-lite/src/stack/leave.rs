//! Connections that leave the stack alive, and come back.

use super::Stack;
use crate::app::{App, Out};
use crate::connection::{Connection, Cx};
use crate::counters::CloseReason;
use crate::detach::Detached;
use crate::recv::{Inbox, Placed};
use crate::state::{Class, State};
use crate::time::{Instant, Timer};

impl<A: App> Stack<A> {
    /// Is there something for [`Stack::take_detached`] to take?
    #[must_use]
    #[inline]
    pub fn has_detached(&self) -> bool {
        !self.left.is_empty()
    }

    /// The next connection that has left by [`crate::Io::hand_off`], oldest first. Ask after each call that a connection
    /// may leave by: until it is taken, its segments are nobody's.
    pub fn take_detached(&mut self) -> Option<Detached<A>> {
        self.left.pop_front()
    }

    /// Takes a connection back that no other TCP wanted. The application is shown its unread bytes again, then the FIN,
    /// and may do with it what it likes. Without room for it the connection is reset.
    pub fn adopt(
        &mut self,
        now: Instant,
        detached: Detached<A>,
        app: &mut A,
        out: &mut impl Out<A::Link>,
    ) {
        let Detached {
            flow,
            mut connection,
            unread,
        } = detached;
        self.make_room();
        connection.rcv.come_back();
        let buffers = &mut self.shared.buffers;
        let kept = unread.is_empty()
            || connection
                .state
                .inbox()
                .is_some_and(|inbox| inbox.place(0, &unread, buffers) != Placed::NoRoom);
        let mut cx = Cx {
            now,
            flow: &flow,
            shared: &mut self.shared,
            app: &mut *app,
            out: &mut *out,
        };
        if !kept {
            connection.abort(CloseReason::ReceiveBudget, &mut cx);
            return;
        }
        let again = |connection, key| Connection {
            key,
            wake: Timer::OFF,
            ..connection
        };
        let id = if self.table.find(&flow).is_some() {
            // The peer began anew meanwhile.
            Err(connection)
        } else {
            self.table.insert(&flow, connection, again)
        };
        let id = match id {
            Ok(id) => id,
            Err(mut connection) => {
                connection.abort(CloseReason::Aborted, &mut cx);
                return;
            }
        };
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        connection.deliver(&[], &mut cx);
        if !connection.rcv.leaving {
            let nxt = connection.rcv.nxt;
            if let State::Established { inbox, .. } = &connection.state
                && inbox.fin_at(nxt)
            {
                connection.on_fin(&mut cx);
            }
            connection.tell_eof(&mut cx);
        }
        self.settle(id, Class::Live);
    }

    /// Shows live connections that do not wait for room to [`App::on_drain`], at most `most`, from slot `from` on (0 at
    /// first). Returns where to go on, `None` at the end.
    pub fn drain_some(
        &mut self,
        now: Instant,
        from: u32,
        most: usize,
        app: &mut A,
        out: &mut impl Out<A::Link>,
    ) -> Option<u32> {
        let mut shown = 0;
        for id in from..self.table.slots() {
            let Some((flow, connection)) = self.table.entry(id) else {
                continue;
            };
            // What waits for room has come to be answered here.
            let waits = |inbox: &mut Inbox| inbox.blocked;
            if connection.rcv.leaving || connection.state.inbox().is_none_or(waits) {
                continue;
            }
            if shown == most {
                return Some(id);
            }
            shown += 1;
            let mut cx = Cx {
                now,
                flow: &flow,
                shared: &mut self.shared,
                app: &mut *app,
                out: &mut *out,
            };
            let lifted = connection.call(&mut cx, |app, now, io, _| app.on_drain(now, io));
            connection.put_back(lifted, &mut cx);
            self.settle(id, Class::Live);
        }
        None
    }

    /// The connection is ready to leave.
    pub(super) fn let_leave(&mut self, id: u32) {
        self.wheel.cancel(id);
        let Some((flow, _)) = self.table.entry(id) else {
            return;
        };
        let Some(mut connection) = self.table.take(id) else {
            return;
        };
        connection.touched = false;
        let unread = connection.state.inbox().map_or(Vec::new(), |inbox| {
            let unread = inbox.lift();
            let bytes = unread.bytes().to_vec();
            inbox.consumed(unread, bytes.len(), &mut self.shared.buffers);
            inbox.release(&mut self.shared.buffers);
            bytes
        });
        self.shared.counters.detached += 1;
        self.left.push_back(Detached {
            flow,
            connection,
            unread,
        });
    }
}
