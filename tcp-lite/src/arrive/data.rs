//! The data and the FIN of a segment (RFC 9293 section 3.10.7.4, seventh and eighth check).

use super::Segment;
use crate::app::{App, Ecn, Out};
use crate::connection::{Connection, Cx};
use crate::counters::{CloseReason, Counters, DropReason};
use crate::recv::Placed;
use crate::state::{Eof, State};
use crate::wire::Flags;

impl<A: App> Connection<A> {
    /// Data and FIN, cut to what the window takes.
    pub(super) fn take_data<O: Out<A::Link>>(
        &mut self,
        seg: &Segment<'_>,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<(), DropReason> {
        if seg.seq_len == 0 {
            return Ok(());
        }
        self.note_congestion(seg, &mut cx.shared.counters);
        let twice = self.twice(seg);
        let old = if seg.seq.lt(self.rcv.nxt) {
            self.rcv.quicken();
            self.rcv.nxt.since(seg.seq)
        } else {
            0
        };
        let seq = seg.seq + old;
        let ahead = seq.since(self.rcv.nxt);
        let window = self.rcv.wnd().saturating_sub(ahead) as usize;
        let whole = seg.payload.get(old as usize..).unwrap_or(&[]);
        let payload = &whole[..whole.len().min(window)];
        // FIN takes a number of the window too, and one that was seen before does not count again.
        let fin =
            seg.flags.has(Flags::FIN) && whole.len() < window && old as usize <= seg.payload.len();
        let fin = fin.then(|| seq + payload.len() as u32);
        match &mut self.state {
            State::Established { inbox, .. } => {
                let end = inbox.note_fin(fin);
                // Nothing is behind a FIN.
                let payload = match end {
                    Some(end) if end.lt(seq) => &[],
                    Some(end) => &payload[..payload.len().min(end.since(seq) as usize)],
                    None => payload,
                };
                let taken = self.take_wanted(ahead, payload, cx);
                if self.rcv.leaving {
                    // Another TCP will say what is missing.
                    return taken;
                }
                if end == Some(self.rcv.nxt) {
                    self.on_fin(cx);
                }
                if ahead > 0 || twice.is_some() {
                    self.report(twice, cx);
                }
                taken
            }
            State::FinWait1 { linger, .. } | State::FinWait2 { linger, .. } => {
                if ahead > 0 {
                    self.acknowledge(cx);
                    return Err(DropReason::NoRoom);
                }
                self.rcv.nxt += payload.len() as u32;
                linger.discarded = linger.discarded.saturating_add(payload.len() as u32);
                if linger.discarded > cx.shared.config.linger_bytes {
                    self.abort(CloseReason::LingerFlood, cx);
                    return Ok(());
                }
                self.rcv.note_payload(payload.len());
                self.rcv.owe_ack(cx.now, &cx.shared.config);
                if fin == Some(self.rcv.nxt) {
                    self.on_fin(cx);
                }
                Ok(())
            }
            // Behind the peer's FIN: not looked at.
            State::CloseWait { .. } | State::Closing { .. } | State::LastAck { .. } => {
                self.acknowledge(cx);
                Ok(())
            }
            State::SynRcvd(_) | State::TimeWait(_) | State::Closed => Ok(()),
        }
    }

    /// RFC 3168 section 6.1.3: a mark is echoed from now on, until the peer says that it has slowed down. A segment that
    /// says so may itself be marked.
    fn note_congestion(&mut self, seg: &Segment<'_>, counters: &mut Counters) {
        if !self.terms.ecn || seg.payload.is_empty() {
            return;
        }
        let marked = seg.ecn == Ecn::Ce;
        counters.congestion_marks += u64::from(marked);
        self.rcv.ece = marked || self.rcv.ece && !seg.flags.has(Flags::CWR);
    }

    /// ESTABLISHED: data for the application.
    fn take_wanted<O: Out<A::Link>>(
        &mut self,
        ahead: u32,
        payload: &[u8],
        cx: &mut Cx<'_, A, O>,
    ) -> Result<(), DropReason> {
        if payload.is_empty() {
            return Ok(());
        }
        let Some(inbox) = self.state.inbox() else {
            return Ok(());
        };
        let (new, lent) = if ahead == 0 && inbox.is_empty() && !self.rcv.leaving {
            (payload.len(), payload)
        } else {
            match inbox.place(ahead as usize, payload, &mut cx.shared.buffers) {
                Placed::InOrder(new) => (new, &[][..]),
                Placed::Island => {
                    cx.shared.counters.out_of_order += 1;
                    return Ok(());
                }
                Placed::NoRoom => {
                    self.rcv.ack_now = true;
                    return Err(DropReason::NoRoom);
                }
            }
        };
        self.rcv.nxt += new as u32;
        cx.shared.counters.bytes_in += new as u64;
        if self.rcv.leaving {
            self.rcv.unread += new as u32;
            return Ok(());
        }
        if new > payload.len() {
            // It filled a gap (RFC 5681 section 4.2).
            self.rcv.ack_now = true;
        }
        self.rcv.note_payload(payload.len());
        self.rcv.owe_ack(cx.now, &cx.shared.config);
        self.deliver(lent, cx);
        Ok(())
    }

    /// The peer's FIN is at RCV.NXT (RFC 9293 section 3.10.7.4, eighth check).
    pub fn on_fin<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) {
        self.rcv.nxt += 1;
        self.rcv.ack_now = true;
        match self.state.take() {
            State::Established { snd, inbox } => {
                self.state = State::CloseWait {
                    snd,
                    inbox,
                    eof: Eof::Pending,
                };
                self.tell_eof(cx);
            }
            State::FinWait1 { snd, linger: _ } => self.state = State::Closing { snd },
            state @ State::FinWait2 { .. } => {
                self.state = state;
                self.wait_out(cx);
            }
            // Reset meanwhile, or FIN was seen before.
            state @ (State::SynRcvd(_)
            | State::CloseWait { .. }
            | State::Closing { .. }
            | State::LastAck { .. }
            | State::TimeWait(_)
            | State::Closed) => self.state = state,
        }
    }
}
