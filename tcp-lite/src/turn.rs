//! A turn: a request that is like the one before it comes, and its answer goes out, in one step.
//!
//! Who takes frames apart may know a whole frame but for a few fields: it is like the last one of its connection. What is
//! left for TCP to do is here, without a segment to look at or one to write. It is what [`Stack::on_segment`] does with the
//! same request and an application that answers it with one piece: `turns.rs` of the pipeline's tests runs the same
//! connections through both. Whatever is not so plain is left to that, untouched.

use crate::app::{App, Deadline, Ecn};
use crate::connection::{Connection, Shared};
use crate::flow::{Addr, Endpoint, Flow};
use crate::seq::SeqNum;
use crate::stack::Stack;
use crate::state::State;
use crate::time::{Instant, Timer};
use crate::wire::Timestamps;

/// Where a connection was last found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handle {
    id: u32,
    flow: Flow,
    ecn: bool,
}

/// A segment as nearly every request comes in: of a connection that is known, with the right checksum, ACK and PSH alone
/// set, no congestion experienced, and with timestamps as its only option or without any.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// SEG.SEQ
    pub seq: SeqNum,
    /// SEG.ACK
    pub ack: SeqNum,
    /// The window field, not scaled.
    pub window: u16,
    /// The timestamps option.
    pub timestamps: Option<Timestamps>,
    /// Bytes of payload, not 0.
    pub len: u16,
}

/// What the application has to say to it, all of whose payload it takes.
#[derive(Clone, Copy, Debug)]
pub struct Answer<P> {
    /// Names the bytes.
    pub piece: P,
    /// How many they are, not 0.
    pub len: u32,
    /// The connection's deadline from now on, as of [`crate::Io::put_deadline`].
    pub deadline: Deadline,
}

/// A segment to be sent: ACK and PSH alone set, with the answer as its payload.
#[derive(Clone, Copy, Debug)]
pub struct Reply<P> {
    /// SEG.SEQ
    pub seq: SeqNum,
    /// SEG.ACK
    pub ack: SeqNum,
    /// The window field.
    pub window: u16,
    /// The timestamps option.
    pub timestamps: Option<Timestamps>,
    /// The answer before, which was acknowledged: to be released.
    pub released: Option<P>,
}

impl Handle {
    /// Of no connection.
    pub const NONE: Handle = {
        let nowhere = Endpoint {
            addr: Addr::v6([0; 16]),
            port: 0,
        };
        Handle {
            id: u32::MAX,
            flow: Flow {
                local: nowhere,
                remote: nowhere,
            },
            ecn: false,
        }
    };

    /// Who talks to whom.
    #[must_use]
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// The ECN bits of its answers.
    #[must_use]
    pub fn ecn(&self) -> Ecn {
        if self.ecn { Ecn::Ect0 } else { Ecn::NotEct }
    }
}

impl<A: App> Stack<A> {
    /// The connection of the last segment, where that was predicted and is answered: the next ones may be turns.
    #[must_use]
    pub fn last_predicted(&mut self) -> Option<Handle> {
        let id = self.predicted?;
        let (flow, connection) = self.table.entry(id)?;
        let ecn = connection.terms.ecn;
        Some(Handle { id, flow, ecn })
    }

    /// Takes the request, and says how its answer is to be sent; it counts as sent. `admit` has the last word, and changes
    /// the application's state of the connection if it says yes. `None`: nothing was done, and the segment is for
    /// [`Stack::on_segment`].
    #[inline(always)]
    pub fn turn(
        &mut self,
        now: Instant,
        handle: &Handle,
        link: &A::Link,
        request: &Request,
        answer: &Answer<A::Piece>,
        admit: impl FnOnce(&mut A::Conn) -> bool,
    ) -> Option<Reply<A::Piece>> {
        let connection = self.table.get_if(handle.id, &handle.flow)?;
        // Another one of the same flow may have agreed on something else.
        if connection.terms.ecn != handle.ecn {
            return None;
        }
        let reply = connection.turn(now, link, request, answer, &mut self.shared, admit)?;
        // Nothing else can be due sooner than these.
        let least = &self.shared.config.least;
        let least = if connection.terms.sack {
            least.probe
        } else {
            least.rto
        };
        let soonest = Timer::in_millis(now, least);
        let soonest = soonest.min(connection.deadline);
        if !connection.wake.is_set() || soonest.is_before(connection.wake) {
            self.arm(now, handle.id);
        }
        Some(reply)
    }
}

impl<A: App> Connection<A> {
    #[inline(always)]
    fn turn(
        &mut self,
        now: Instant,
        link: &A::Link,
        request: &Request,
        answer: &Answer<A::Piece>,
        shared: &mut Shared<A>,
        admit: impl FnOnce(&mut A::Conn) -> bool,
    ) -> Option<Reply<A::Piece>> {
        let State::Established { snd, inbox } = &mut self.state else {
            return None;
        };
        let rcv = &mut self.rcv;
        let len = u32::from(request.len);
        let wnd = self.terms.scale(request.window);
        let takes = request.seq == rcv.nxt
            && len <= rcv.wnd()
            && request.timestamps.is_some() == self.terms.timestamps
            && request.timestamps.is_none_or(|ts| !rcv.is_old(now, ts))
            && !rcv.leaving
            && !rcv.ece
            && inbox.is_idle();
        if !takes || !snd.may_turn(request.ack, wnd, answer.len) || shared.pieces.room() == 0 {
            return None;
        }
        if !admit(&mut self.conn) {
            return None;
        }
        self.probes = 0;
        self.link = *link;
        self.deadline = answer.deadline.0;
        let config = &shared.config;
        let (seq, released) = snd.turn(now, request, wnd, answer, config, &mut shared.pieces);
        let window = rcv.turn(now, request, self.terms.payload(), config) >> self.terms.rcv_shift;
        let reply = Reply {
            seq,
            ack: rcv.nxt,
            window,
            timestamps: request.timestamps.map(|_| Timestamps {
                val: self.terms.ts_clock(now),
                ecr: rcv.ts_recent(),
            }),
            released,
        };
        let counters = &mut shared.counters;
        counters.segments_in += 1;
        counters.bytes_in += u64::from(len);
        counters.segments_out += 1;
        counters.bytes_out += u64::from(answer.len);
        Some(reply)
    }
}
