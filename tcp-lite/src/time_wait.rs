//! TIME-WAIT: who has waited longest, and who may be replaced.

use crate::app::{App, Out};
use crate::arrive::Segment;
use crate::connection::{Connection, Cx};
use crate::counters::DropReason;
use crate::seq::SeqNum;
use crate::state::{State, TimeWait};
use crate::table::Table;
use crate::wire::Flags;

const NIL: u32 = u32::MAX;

/// The TIME-WAIT connections as a list through their slots, in the order they entered. A full table gives up the
/// oldest for a new connection: refusing live clients to protect against old segments would be the wrong choice.
#[derive(Debug)]
pub(crate) struct TimeWaits {
    head: u32,
    tail: u32,
    len: usize,
}

impl Default for TimeWaits {
    fn default() -> TimeWaits {
        TimeWaits {
            head: NIL,
            tail: NIL,
            len: 0,
        }
    }
}

impl TimeWaits {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn oldest(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    pub fn push<A: App>(&mut self, id: u32, table: &mut Table<Connection<A>>) {
        let Some(wait) = get(id, table) else { return };
        (wait.prev, wait.next) = (self.tail, NIL);
        match get(self.tail, table) {
            Some(last) => last.next = id,
            None => self.head = id,
        }
        self.tail = id;
        self.len += 1;
    }

    pub fn unlink<A: App>(&mut self, id: u32, table: &mut Table<Connection<A>>) {
        let Some(&mut TimeWait { prev, next, .. }) = get(id, table) else {
            return;
        };
        match get(prev, table) {
            Some(before) => before.next = next,
            None => self.head = next,
        }
        match get(next, table) {
            Some(behind) => behind.prev = prev,
            None => self.tail = prev,
        }
        self.len -= 1;
    }
}

fn get<A: App>(id: u32, table: &mut Table<Connection<A>>) -> Option<&mut TimeWait> {
    match table.get_mut(id).map(|connection| &mut connection.state) {
        Some(State::TimeWait(wait)) => Some(wait),
        _ => None,
    }
}

impl<A: App> Connection<A> {
    /// May this SYN begin a new connection in the place of one in TIME-WAIT (RFC 6191 section 2, RFC 9293 section 3.6.1)?
    /// `timestamps`: we agree to them.
    pub fn may_be_replaced(&self, syn: &Segment<'_>, timestamps: bool) -> bool {
        let later_seq = self.rcv.nxt.lt(syn.seq);
        match syn.options.timestamps {
            Some(ts) if self.terms.timestamps => {
                let recent = SeqNum(self.rcv.ts_recent());
                recent.lt(SeqNum(ts.val)) || recent == SeqNum(ts.val) && later_seq
            }
            // What is left of the old connection has none, and does not get into the new one.
            Some(_) if timestamps => true,
            Some(_) | None => later_seq,
        }
    }

    /// Does this end TIME-WAIT: a RST at exactly RCV.NXT (RFC 9293 section 3.10.7.4, RFC 5961 section 3.2)?
    ///
    /// RFC 1337 would ignore it, and so keep old segments out a little better. But a client whose SYN was not later than
    /// this connection, because another host behind the same NAT had it, answers our ACK with such a RST and tries again;
    /// it would come to nothing until TIME-WAIT is over. Linux ends it too, unless told otherwise.
    pub fn may_be_reset(&self, seg: &Segment<'_>) -> bool {
        seg.flags.has(Flags::RST) && seg.seq == self.rcv.nxt
    }

    /// SEGMENT ARRIVES in TIME-WAIT (RFC 9293 section 3.10.7.4).
    pub fn in_time_wait<O: Out<A::Link>>(
        &mut self,
        seg: &Segment<'_>,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<(), DropReason> {
        if seg.flags.has(Flags::RST) {
            return Err(DropReason::TimeWaitReset);
        }
        if seg.flags.has(Flags::SYN) {
            self.challenge(cx);
            return Err(DropReason::UnexpectedSyn);
        }
        if seg.flags.has(Flags::FIN) && seg.seq + seg.seq_len == self.rcv.nxt {
            // Our last ACK was lost.
            self.wait_out(cx);
            self.acknowledge(cx);
            return Ok(());
        }
        if seg.seq_len > 0 || seg.seq != self.rcv.nxt {
            self.challenge(cx);
            return Err(DropReason::OutOfWindow);
        }
        Ok(())
    }
}
