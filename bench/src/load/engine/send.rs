//! What is sent.

use super::{Engine, MS, STAMP, Sink};
use crate::load::conn::{State, mark};
use crate::load::requests::sum;
use crate::load::wire::{Segment, flag};

/// The receive window. Without window scaling it is the largest there is; nothing is ever kept, so that all of it is
/// always free.
const WINDOW: u16 = u16::MAX;

/// Segments with data that are acknowledged at once: every second one (RFC 9293 3.8.6.3).
const ACK_EACH: u8 = 2;

/// How long an acknowledgment may wait for a request to go with it, in milliseconds: as Linux does, and far below the
/// time after which a peer sends again.
const ACK_DELAY: u32 = 40;

impl Engine {
    /// Sends requests as long as some connection may ask, they are due, and not too many wait for answers.
    pub(super) fn ask_more(&mut self, now: u64, sink: &mut impl Sink) {
        while self.busy < self.set.in_flight
            && let Some(&index) = self.ready.front()
        {
            let conn = &mut self.conns[index as usize];
            if conn.state != State::Open || conn.has(mark::LAST) {
                conn.set(mark::QUEUED, false);
                self.ready.pop_front();
                continue;
            }
            let Some(due) = self.pace.take(now) else {
                return;
            };
            conn.set(mark::QUEUED, false);
            self.ready.pop_front();
            self.ask(index, due, now, sink);
        }
    }

    /// Sends what `index` may ask at once: one request, or in a closed loop as many as may be under way.
    fn ask(&mut self, index: u32, due: u64, now: u64, sink: &mut impl Sink) {
        let closed = self.pace.is_closed();
        let requests = &self.set.requests;
        let conn = &mut self.conns[index as usize];
        let mut count = if closed {
            self.set.depth - conn.waiting()
        } else {
            1
        };
        if self.set.per_connection > 0 {
            count = count.min(self.set.per_connection - conn.asked);
        }
        let all = u32::from(requests.len());
        let mut which = ((u32::from(conn.which) + conn.waiting()) % all) as u16;
        let ring = 1 << self.ring;
        let first = (index as usize) << self.ring;
        for _ in 0..count {
            conn.end += requests.bytes_of(which);
            which = requests.after(which);
            let place = first + (conn.asked & (ring - 1)) as usize;
            self.stamps[place] = (due / STAMP) as u32;
            conn.asked += 1;
        }
        self.settle(index);
        self.pump(index, now, sink);
        if !closed {
            self.may_ask(index);
        }
    }

    /// Sends what the peer's window allows.
    pub(super) fn pump(&mut self, index: u32, now: u64, sink: &mut impl Sink) {
        let fresh = {
            let conn = &self.conns[index as usize];
            conn.una == conn.nxt
        };
        let mut window = u32::from(self.conns[index as usize].window);
        if fresh && self.conns[index as usize].tries > 0 {
            // A window that stays closed is tried (RFC 9293 3.8.6.1).
            window = window.max(1);
        }
        while self.send_next(index, window, sink) {}
        self.arm_if(index, now, fresh);
    }

    fn arm_if(&mut self, index: u32, now: u64, fresh: bool) {
        let conn = &self.conns[index as usize];
        if fresh || !conn.has(mark::TIMED) {
            self.arm(index, now);
        }
    }

    /// Sends the next segment of `index`, if there is one.
    #[inline]
    fn send_next(&mut self, index: u32, window: u32, sink: &mut impl Sink) -> bool {
        let set = &self.set;
        let conn = &mut self.conns[index as usize];
        let ends = conn.state == State::Closing;
        let data_end = if ends { conn.end - 1 } else { conn.end };
        let stop = conn.end.min(conn.una + window);
        if !conn.nxt.lt(stop) {
            return false;
        }
        let until = data_end.min(stop);
        let left = if conn.nxt.lt(until) {
            until.since(conn.nxt)
        } else {
            0
        };
        let len = left.min(u32::from(set.mss));
        let behind = conn.nxt + len;
        let fin = ends && behind == data_end && behind.lt(stop);
        let place = set.requests.advance(conn.place, conn.nxt.since(conn.una));
        let (data, data_sum) = match len {
            0 => (&[][..], 0),
            _ => set.requests.piece(place, len as usize),
        };
        let mut flags = flag::ACK;
        if len > 0 {
            flags |= flag::PSH;
        }
        if fin {
            flags |= flag::FIN;
        }
        let segment = Segment {
            low: set.sources.low(index),
            port: conn.port,
            seq: conn.nxt.0,
            ack: conn.rcv_nxt.0,
            flags,
            options: 0,
            window: WINDOW,
        };
        let write = |frame: &mut [u8]| set.template.write(frame, segment, data, data_sum);
        if !sink.send(set.template.len(data.len()), write) {
            self.blocked.push(index);
            return false;
        }
        conn.nxt = behind + u32::from(fin);
        conn.unacked = 0;
        true
    }

    /// Sends a SYN with our largest segment.
    pub(super) fn send_syn(&mut self, index: u32, sink: &mut impl Sink) {
        let set = &self.set;
        let conn = &mut self.conns[index as usize];
        let [high, low] = set.mss.to_be_bytes();
        let options = [2, 4, high, low];
        let segment = Segment {
            low: set.sources.low(index),
            port: conn.port,
            seq: conn.una.0,
            ack: 0,
            flags: flag::SYN,
            options: options.len() as u8,
            window: WINDOW,
        };
        let write = |frame: &mut [u8]| set.template.write(frame, segment, &options, sum(&options));
        if sink.send(set.template.len(options.len()), write) {
            conn.nxt = conn.end;
        } else {
            self.blocked.push(index);
        }
    }

    /// Sends a segment without data from the address of `index`. False when there is no room.
    pub(super) fn send_bare(
        &self,
        index: u32,
        port: u16,
        seq: u32,
        ack: u32,
        flags: u8,
        sink: &mut impl Sink,
    ) -> bool {
        let segment = Segment {
            low: self.set.sources.low(index),
            port,
            seq,
            ack,
            flags,
            options: 0,
            window: WINDOW,
        };
        let write = |frame: &mut [u8]| self.set.template.write(frame, segment, &[], 0);
        sink.send(self.set.template.len(0), write)
    }

    /// Acknowledges what has come of `index`. What does not go out now goes with the next segment.
    pub(super) fn ack(&mut self, index: u32, sink: &mut impl Sink) {
        let conn = self.conns[index as usize];
        if self.send_bare(
            index,
            conn.port,
            conn.nxt.0,
            conn.rcv_nxt.0,
            flag::ACK,
            sink,
        ) {
            self.conns[index as usize].unacked = 0;
        }
    }

    /// Acknowledges what no request has acknowledged.
    pub(super) fn acknowledge(&mut self, now: u64, sink: &mut impl Sink) {
        let now = (now / MS) as u32;
        let mut touched = std::mem::take(&mut self.touched);
        for index in touched.drain(..) {
            let conn = &mut self.conns[index as usize];
            if conn.unacked == 0 || conn.state == State::Closed {
                continue;
            }
            if conn.unacked >= ACK_EACH {
                self.ack(index, sink);
            } else if !conn.has(mark::OWES) {
                conn.set(mark::OWES, true);
                self.later.push_back((now + ACK_DELAY, index));
            }
        }
        self.touched = touched;
        while let Some(&(at, index)) = self.later.front()
            && at <= now
        {
            self.later.pop_front();
            let conn = &mut self.conns[index as usize];
            conn.set(mark::OWES, false);
            if conn.unacked > 0 && conn.state != State::Closed {
                self.ack(index, sink);
            }
        }
    }

    /// Tries again what had no room.
    pub(super) fn retry_blocked(&mut self, now: u64, sink: &mut impl Sink) {
        if self.blocked.is_empty() {
            return;
        }
        for index in std::mem::take(&mut self.blocked) {
            let conn = &self.conns[index as usize];
            match conn.state {
                State::Opening if conn.nxt == conn.una => self.send_syn(index, sink),
                State::Open | State::Closing => self.pump(index, now, sink),
                State::Opening | State::Closed => {}
            }
        }
    }
}
