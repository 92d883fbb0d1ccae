//! A segment arrives.

use super::{Engine, Phase, Sink};
use crate::load::answers::Unread;
use crate::load::conn::{State, mark};
use crate::load::tally::Failure;
use crate::load::wire::{Arrived, flag};
use tcp_lite::SeqNum;

impl Engine {
    #[inline]
    pub(super) fn arrive(&mut self, now: u64, segment: Arrived<'_>, sink: &mut impl Sink) {
        let Some(index) = self.set.sources.index(segment.low, segment.port) else {
            return;
        };
        let conn = &self.conns[index as usize];
        let state = if conn.port == segment.port {
            conn.state
        } else {
            State::Closed
        };
        match state {
            State::Closed => self.stray(index, segment, sink),
            State::Opening => self.arrive_opening(index, now, segment, sink),
            State::Open | State::Closing => self.arrive_open(index, now, segment, sink),
        }
    }

    /// Of no connection that there is (RFC 9293 3.5.2): the peer shall forget it.
    fn stray(&self, index: u32, segment: Arrived<'_>, sink: &mut impl Sink) {
        if segment.has(flag::RST) {
            return;
        }
        let behind = segment.data.len() as u32
            + u32::from(segment.has(flag::SYN))
            + u32::from(segment.has(flag::FIN));
        let ack = segment.seq.wrapping_add(behind);
        let (seq, flags) = if segment.has(flag::ACK) {
            (segment.ack, flag::RST)
        } else {
            (0, flag::RST | flag::ACK)
        };
        self.send_bare(index, segment.port, seq, ack, flags, sink);
    }

    /// RFC 9293 3.10.7.3.
    fn arrive_opening(&mut self, index: u32, now: u64, segment: Arrived<'_>, sink: &mut impl Sink) {
        let conn = &mut self.conns[index as usize];
        if !segment.has(flag::ACK) {
            return;
        }
        if SeqNum(segment.ack) != conn.end {
            // Of an old connection.
            self.stray(index, segment, sink);
        } else if segment.has(flag::RST) {
            self.fail(index, Failure::Refused, now);
        } else if segment.has(flag::SYN) {
            conn.rcv_nxt = SeqNum(segment.seq) + 1;
            self.opened(index, segment.window);
        }
    }

    /// RFC 9293 3.10.7.4.
    #[inline]
    fn arrive_open(&mut self, index: u32, now: u64, segment: Arrived<'_>, sink: &mut impl Sink) {
        let conn = &mut self.conns[index as usize];
        let seq = SeqNum(segment.seq);
        if segment.flags & (flag::RST | flag::SYN) != 0 {
            if !segment.has(flag::RST) {
                // Our part of the handshake was lost, or somebody makes things up (RFC 5961 4).
                self.ack(index, sink);
            } else if seq == conn.rcv_nxt {
                self.was_reset(index, now, sink);
            } else if seq.within(conn.rcv_nxt, u32::from(u16::MAX)) {
                self.ack(index, sink);
            }
            return;
        }
        if !segment.has(flag::ACK) {
            return;
        }
        let ack = SeqNum(segment.ack);
        if conn.una.lt(ack) && ack.le(conn.end) {
            self.acknowledged(index, ack, segment.window, now, sink);
        } else if ack == conn.una {
            let opened = conn.window < segment.window && conn.nxt.lt(conn.end);
            conn.window = segment.window;
            if opened {
                self.pump(index, now, sink);
            }
        }
        if !segment.data.is_empty() || segment.has(flag::FIN) {
            self.take_data(index, now, segment, sink);
        } else if seq.lt(self.conns[index as usize].rcv_nxt) {
            // The peer asks whether we are still there (RFC 9293 3.8.4).
            self.ack(index, sink);
        }
        let conn = &self.conns[index as usize];
        if conn.state == State::Closing && conn.has(mark::ENDED) && !conn.unsure() {
            if conn.unacked > 0 {
                self.ack(index, sink);
            }
            self.closed(index, now, sink);
        }
    }

    /// More of what was sent has arrived.
    #[inline]
    fn acknowledged(
        &mut self,
        index: u32,
        ack: SeqNum,
        window: u16,
        now: u64,
        sink: &mut impl Sink,
    ) {
        let conn = &mut self.conns[index as usize];
        let mut bytes = ack.since(conn.una);
        if conn.state == State::Closing && ack == conn.end {
            bytes -= 1;
        }
        conn.place = self.set.requests.advance(conn.place, bytes);
        conn.una = ack;
        conn.nxt = conn.nxt.max(ack);
        conn.window = window;
        if conn.unsure() {
            self.pump(index, now, sink);
            self.arm(index, now);
        }
    }

    fn was_reset(&mut self, index: u32, now: u64, sink: &mut impl Sink) {
        let conn = &self.conns[index as usize];
        // A peer that has no more to say may end by a reset, too.
        if conn.has(mark::LAST | mark::ENDED) || conn.state == State::Closing {
            self.closed(index, now, sink);
        } else {
            self.fail(index, Failure::Reset, now);
        }
    }

    #[inline]
    fn take_data(&mut self, index: u32, now: u64, segment: Arrived<'_>, sink: &mut impl Sink) {
        let conn = &mut self.conns[index as usize];
        let seq = SeqNum(segment.seq);
        let mut data = segment.data;
        if seq != conn.rcv_nxt {
            let old = conn.rcv_nxt.since(seq) as usize;
            let len = data.len() + usize::from(segment.has(flag::FIN));
            // What is in front of a gap, or nothing new: the peer has to know at once (RFC 5681 3.2).
            if conn.rcv_nxt.lt(seq) || old >= len {
                self.ack(index, sink);
                return;
            }
            data = &data[old.min(data.len())..];
            conn.unacked = u8::MAX;
        }
        if conn.has(mark::ENDED) {
            self.ack(index, sink);
            return;
        }
        conn.rcv_nxt += data.len() as u32;
        conn.unacked = conn.unacked.saturating_add(1);
        self.touched.push(index);
        if !data.is_empty()
            && let Err(how) = self.read(index, data, now, sink)
        {
            self.reset(index, sink);
            self.fail(index, how, now);
            return;
        }
        if segment.has(flag::FIN) {
            self.ended(index, now, sink);
        }
    }

    /// The peer's FIN has come in its turn.
    fn ended(&mut self, index: u32, now: u64, sink: &mut impl Sink) {
        let conn = &mut self.conns[index as usize];
        conn.rcv_nxt += 1;
        conn.set(mark::ENDED, true);
        conn.unacked = u8::MAX;
        self.touched.push(index);
        let conn = &self.conns[index as usize];
        if conn.state != State::Open {
            return;
        }
        if conn.waiting() > 0 && !conn.has(mark::LAST) {
            self.reset(index, sink);
            self.fail(index, Failure::Closed, now);
            return;
        }
        self.end(index, now, sink);
    }

    /// No more answers come on `index`. What was asked behind the last one is asked again on the next connection
    /// (RFC 9112 9.3.2).
    fn end(&mut self, index: u32, now: u64, sink: &mut impl Sink) {
        let conn = &mut self.conns[index as usize];
        conn.asked = conn.answered;
        if conn.nxt == conn.end {
            self.close(index, now, sink);
        } else {
            self.reset(index, sink);
            self.closed(index, now, sink);
        }
    }

    /// Reads answers where they lie.
    #[inline]
    fn read(
        &mut self,
        index: u32,
        data: &[u8],
        now: u64,
        sink: &mut impl Sink,
    ) -> Result<(), Failure> {
        let begun = match self.partial.is_empty() {
            true => None,
            false => self.partial.remove(&index),
        };
        let joined = begun.map(|begun| [&begun, data].concat());
        let mut data = joined.as_deref().unwrap_or(data);
        while !data.is_empty() {
            let path = self.path_of(index);
            let conn = &mut self.conns[index as usize];
            if conn.body > 0 {
                let now_read = data.len().min(conn.body as usize);
                let (body, rest) = data.split_at(now_read);
                conn.body -= now_read as u32;
                data = rest;
                let left = conn.body;
                let expected = &mut self.set.expected[path];
                if conn.has(mark::LEARNED) {
                    expected.learned(body, left);
                }
                if conn.has(mark::COMPARED)
                    && !conn.has(mark::WRONG)
                    && !expected.matches(body, left)
                {
                    self.wrong(index, "another body");
                }
                if left == 0 {
                    self.answered(index, now, sink);
                }
            } else if conn.waiting() == 0 || conn.has(mark::LAST) {
                return Err(Failure::Unasked);
            } else {
                let head = match self.set.expected[path].read(data) {
                    Ok(head) => head,
                    Err(Unread::Partial) => {
                        self.partial.insert(index, data.to_vec());
                        return Ok(());
                    }
                    Err(Unread::Malformed) => return Err(Failure::Malformed),
                    Err(Unread::NoLength) => return Err(Failure::NoLength),
                };
                data = &data[head.len as usize..];
                if head.status < 200 {
                    continue;
                }
                conn.body = head.body;
                conn.set(mark::LAST, head.last);
                let expected = &mut self.set.expected[path];
                if !expected.is_right(head) {
                    let text = format!("status {} and {} bytes", head.status, head.body);
                    self.wrong(index, &text);
                } else if expected.is_known() {
                    self.uncompared += 1;
                    if self.uncompared == self.set.compare_each {
                        self.uncompared = 0;
                        conn.set(mark::COMPARED, true);
                    }
                } else if self.set.compare_each > 0 && expected.learn() {
                    conn.set(mark::LEARNED, true);
                    if head.body == 0 {
                        expected.learned(&[], 0);
                    }
                }
                if head.body == 0 {
                    self.answered(index, now, sink);
                }
            }
        }
        Ok(())
    }

    /// The answer that is being read is not what it should be. It is counted once, here, and not as a right one.
    fn wrong(&mut self, index: u32, what: &str) {
        self.tally.wrong += 1;
        let path = self.path_of(index);
        let conn = &mut self.conns[index as usize];
        conn.set(mark::WRONG, true);
        if self.first_wrong.is_none() {
            let text = format!(
                "answer {} of connection {index}, to path {path}: {what}",
                conn.answered + 1
            );
            self.first_wrong = Some(text);
        }
    }

    /// An answer is whole.
    #[inline]
    fn answered(&mut self, index: u32, now: u64, sink: &mut impl Sink) {
        let first = (index as usize) << self.ring;
        let conn = &mut self.conns[index as usize];
        let place = first + (conn.answered & ((1 << self.ring) - 1)) as usize;
        let again = conn.tries > 0;
        conn.tries = 0;
        conn.answered += 1;
        conn.which = self.set.requests.after(conn.which);
        let latency = self.age(self.stamps[place], now);
        let conn = &mut self.conns[index as usize];
        if conn.has(mark::COMPARED) {
            self.tally.compared += 1;
        }
        if self.phase == Phase::Measuring && !conn.has(mark::WRONG) {
            self.tally.answered(latency);
        }
        conn.set(mark::COMPARED | mark::LEARNED | mark::WRONG, false);
        // What was sent twice says nothing (Karn's algorithm, RFC 6298 3).
        if !again {
            self.rtt.sample(latency);
        }
        let all = self.set.per_connection;
        let conn = &self.conns[index as usize];
        if conn.state == State::Open && (conn.has(mark::LAST) || all > 0 && conn.answered == all) {
            self.end(index, now, sink);
            return;
        }
        self.settle(index);
        self.may_ask(index);
    }
}
