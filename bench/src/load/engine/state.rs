//! How connections begin and end.

use super::{Engine, MS, Phase, Sink};
use crate::load::conn::{State, mark};
use crate::load::tally::Failure;
use crate::load::wire::flag;
use tcp_lite::SeqNum;

/// What a connection's sequence numbers are ahead of those of the one before it on the same slot: more than a window,
/// so that nothing of the old one is taken for the new one's (RFC 9293 3.4.1).
const APART: u32 = 0x1_0001;

/// After a connection that ended badly, the next one waits so long, in milliseconds, times the failures in a row; longer
/// when an entry of its timer is later.
const PENALTY: u32 = 100;

/// Handshakes that may fail one after the other before a connection is given up.
const TRIES: u8 = 8;
/// In the place of the tries of a connection that was given up.
pub(super) const GIVEN_UP: u8 = u8::MAX;

/// Where the sequence numbers of connection `index` begin. They differ between neighbours and between runs of one
/// length, so that a peer that still knows the last run's is not confused.
pub(super) fn initial(index: u32) -> SeqNum {
    SeqNum(index.wrapping_mul(0x9e37_79b9) ^ std::process::id().rotate_left(16))
}

impl Engine {
    /// Opens more connections, as long as not too many handshakes are under way.
    pub(super) fn open_more(&mut self, now: u64, sink: &mut impl Sink) {
        while self.begun < self.set.connections && self.busy < self.set.in_flight {
            let index = self.begun;
            self.begun += 1;
            self.open_one(index, now, sink);
        }
    }

    /// Closes more connections, as long as not too many are under way.
    pub(super) fn close_more(&mut self, now: u64, sink: &mut impl Sink) {
        while self.begun < self.set.connections && self.busy < self.set.in_flight {
            let index = self.begun;
            self.begun += 1;
            let conn = &self.conns[index as usize];
            match conn.state {
                State::Open if conn.waiting() == 0 => self.close(index, now, sink),
                State::Open | State::Opening => {
                    self.reset(index, sink);
                    self.forget(index);
                }
                State::Closing | State::Closed => {}
            }
        }
    }

    /// Sends the SYN of a new connection on the slot of `index`.
    pub(super) fn open_one(&mut self, index: u32, now: u64, sink: &mut impl Sink) {
        let requests = &self.set.requests;
        let conn = &mut self.conns[index as usize];
        debug_assert_eq!(conn.state, State::Closed);
        conn.state = State::Opening;
        conn.una = conn.end + APART;
        conn.nxt = conn.una;
        conn.end = conn.una + 1;
        conn.rcv_nxt = SeqNum(0);
        conn.place = requests.start(conn.which);
        conn.asked = 0;
        conn.answered = 0;
        conn.body = 0;
        conn.unacked = 0;
        self.settle(index);
        self.send_syn(index, sink);
        self.arm(index, now);
    }

    /// The handshake of `index` is done.
    pub(super) fn opened(&mut self, index: u32, window: u16) {
        let conn = &mut self.conns[index as usize];
        conn.state = State::Open;
        conn.una = conn.end;
        conn.nxt = conn.end;
        conn.window = window;
        conn.tries = 0;
        // Should no request take it along: the peer waits for it.
        conn.unacked = u8::MAX;
        self.open += 1;
        self.tally.opened += 1;
        self.settle(index);
        self.touched.push(index);
        self.may_ask(index);
    }

    /// Ends `index` from our side.
    pub(super) fn close(&mut self, index: u32, now: u64, sink: &mut impl Sink) {
        let conn = &mut self.conns[index as usize];
        debug_assert_eq!(conn.state, State::Open);
        conn.state = State::Closing;
        conn.end += 1;
        self.open -= 1;
        self.settle(index);
        self.pump(index, now, sink);
    }

    /// Both sides of `index` have ended it, as they should.
    pub(super) fn closed(&mut self, index: u32, now: u64, sink: &mut impl Sink) {
        self.forget(index);
        if self.phase == Phase::Opening || self.asks() {
            self.open_one(index, now, sink);
        }
    }

    /// `index` has failed. It is opened again after a while.
    pub(super) fn fail(&mut self, index: u32, how: Failure, now: u64) {
        let conn = &self.conns[index as usize];
        let (waiting, tries) = (conn.waiting(), conn.tries);
        let handshake = conn.state == State::Opening;
        let lost = if handshake { 1 } else { u64::from(waiting) };
        if conn.state != State::Closing {
            self.tally.failed(how, lost);
        }
        // Requests that are lost are not asked again.
        let ahead = waiting % u32::from(self.set.requests.len());
        let conn = &mut self.conns[index as usize];
        for _ in 0..ahead {
            conn.which = self.set.requests.after(conn.which);
        }
        self.forget(index);
        let conn = &mut self.conns[index as usize];
        conn.tries = if handshake {
            tries.saturating_add(1)
        } else {
            1
        };
        if conn.tries > TRIES || self.phase >= Phase::Draining {
            conn.tries = GIVEN_UP;
            self.dead += 1;
            return;
        }
        let tries = u32::from(conn.tries);
        conn.deadline = (now / MS) as u32 + PENALTY * tries;
        self.time(index);
    }

    /// `index` is no connection any more; its slot is free for the next.
    pub(super) fn forget(&mut self, index: u32) {
        let path = self.path_of(index);
        let conn = &mut self.conns[index as usize];
        if conn.state == State::Open {
            self.open -= 1;
        }
        if conn.has(mark::LEARNED) {
            self.set.expected[path].forget();
        }
        conn.state = State::Closed;
        conn.port = self.set.sources.next_port(conn.port);
        conn.set(
            mark::COMPARED | mark::LEARNED | mark::WRONG | mark::ENDED | mark::LAST,
            false,
        );
        conn.asked = conn.answered;
        conn.tries = 0;
        self.partial.remove(&index);
        self.settle(index);
    }

    /// Tells the peer that `index` is no more.
    pub(super) fn reset(&mut self, index: u32, sink: &mut impl Sink) {
        let conn = self.conns[index as usize];
        // As good as lost if there is no room: whatever the peer still sends is answered so, too.
        self.send_bare(
            index,
            conn.port,
            conn.nxt.0,
            conn.rcv_nxt.0,
            flag::RST | flag::ACK,
            sink,
        );
    }

    /// The answers that the next one of `index` belongs to.
    #[inline]
    pub(super) fn path_of(&self, index: u32) -> usize {
        usize::from(self.set.path_of[usize::from(self.conns[index as usize].which)])
    }
}
