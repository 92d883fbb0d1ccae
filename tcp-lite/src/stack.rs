//! The stack: finds the connection, lets it work, keeps the books.

mod leave;
mod listen;

use crate::app::{App, Arrival, Disposition, Out};
use crate::arrive::{Segment, check};
use crate::config::Config;
use crate::connection::{Connection, Cx, Shared};
use crate::cookie::{Check, Cookies};
use crate::counters::{CloseReason, Counters};
use crate::detach::Detached;
use crate::flow::Flow;
use crate::limiter::Limiter;
use crate::output::reply;
use crate::recv::Buffers;
use crate::send::Pieces;
use crate::seq::SeqNum;
use crate::state::{Class, State};
use crate::table::Table;
use crate::time::{Instant, Timer};
use crate::time_wait::TimeWaits;
use crate::wheel::{TICK, Wheel};
use crate::wire::{Flags, Header, Options};
use core::time::Duration;
use std::collections::VecDeque;

/// How soon to flush again after the transmit side was full, when nothing else comes up. Shorter spins, longer delays
/// answers that wait for nothing but a free frame.
const FLUSH_RETRY: Duration = Duration::from_millis(1);

/// A server-side TCP for all connections of one queue. It has no clock, no sockets and no threads: see the crate's
/// documentation for which call does what.
pub struct Stack<A: App> {
    table: Table<Connection<A>>,
    wheel: Wheel,
    shared: Shared<A>,
    time_waits: TimeWaits,
    half_open: usize,
    cookies: Cookies,
    /// Connections that may have something to say, in the order they were touched.
    touched: Vec<u32>,
    /// The other half of a double buffer for `touched`.
    flushing: Vec<u32>,
    /// When to try again after the transmit side was full.
    retry: Timer,
    /// Connections that left, until the caller takes them.
    left: VecDeque<Detached<A>>,
}

impl<A: App> Stack<A> {
    /// All tables are allocated here, and never grow.
    #[must_use]
    pub fn new(mut config: Config) -> Stack<A> {
        config.receive_window = config.receive_window.clamp(1, u32::from(u16::MAX));
        let mut reset_secret = config.secret;
        reset_secret[0] ^= 1;
        Stack {
            table: Table::new(config.capacity, config.secret),
            wheel: Wheel::new(config.capacity),
            time_waits: TimeWaits::default(),
            half_open: 0,
            cookies: Cookies::new(config.secret, config.capacity),
            touched: Vec::with_capacity(config.capacity),
            flushing: Vec::with_capacity(config.capacity),
            retry: Timer::OFF,
            left: VecDeque::new(),
            shared: Shared {
                pieces: Pieces::new(config.pieces),
                buffers: Buffers::new(config.receive_budget),
                counters: Counters::default(),
                challenges: Limiter::new(config.challenge_acks_per_second, config.secret),
                resets: Limiter::new(config.resets_per_second, reset_secret),
                refusing: false,
                draining: false,
                config,
            },
        }
    }

    /// Takes one segment. Its checksum is verified; answers wait for [`Stack::flush`], but for ACKs that a peer counts
    /// one by one and resets.
    pub fn on_segment(
        &mut self,
        now: Instant,
        seg: &Arrival<'_, A::Link>,
        app: &mut A,
        out: &mut impl Out<A::Link>,
    ) -> Disposition {
        self.shared.counters.segments_in += 1;
        let disposition = match check(seg) {
            Ok(segment) => self.dispatch(now, seg, &segment, app, out),
            Err(why) => Disposition::Dropped(why),
        };
        match disposition {
            Disposition::Dropped(why) => self.shared.counters.count_drop(why),
            Disposition::Refused(why) => self.shared.counters.count_refusal(why),
            Disposition::Handled | Disposition::Unknown => {}
        }
        disposition
    }

    fn dispatch(
        &mut self,
        now: Instant,
        seg: &Arrival<'_, A::Link>,
        segment: &Segment<'_>,
        app: &mut A,
        out: &mut impl Out<A::Link>,
    ) -> Disposition {
        let opens = segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK);
        let Some(id) = self.table.find(&seg.flow) else {
            return if opens {
                self.accept(now, seg, segment, None, out)
            } else {
                self.by_cookie(now, seg, segment, app, out)
            };
        };
        let Some(connection) = self.table.get_mut(id) else {
            return Disposition::Unknown;
        };
        if connection.is_of_another(segment) {
            // Or of a cookie, sent before there was room for this half-open one.
            return self.by_cookie(now, seg, segment, app, out);
        }
        let before = connection.state.class();
        let timestamps = self.shared.config.timestamps;
        if before == Class::TimeWait && opens && connection.may_be_replaced(segment, timestamps) {
            let last = connection.state.snd_nxt();
            self.end_time_wait(id);
            self.shared.counters.time_wait_recycled += 1;
            return self.accept(now, seg, segment, Some(last), out);
        }
        let mut cx = Cx {
            now,
            shared: &mut self.shared,
            app,
            out,
        };
        let result = connection.on_segment(segment, &mut cx);
        if connection.may_move(segment, result) {
            connection.link = seg.link;
        }
        self.settle(now, id, before);
        match result {
            Ok(()) => Disposition::Handled,
            Err(why) => Disposition::Dropped(why),
        }
    }

    /// After every call into a connection that was of class `before`: books, timer, list of the touched.
    fn settle(&mut self, now: Instant, id: u32, before: Class) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        let after = connection.state.class();
        if before == Class::HalfOpen && after != Class::HalfOpen {
            self.half_open -= 1;
        }
        if after == Class::Gone {
            self.wheel.cancel(id);
            self.table.remove(id);
            return;
        }
        if connection.may_leave() {
            self.let_leave(id);
            return;
        }
        if !connection.touched {
            connection.touched = true;
            self.touched.push(id);
        }
        if let Some(when) = connection.timer(now, &self.shared.config).get() {
            self.wheel.arm(id, when.max(now + TICK));
        }
        if after == Class::TimeWait && before != Class::TimeWait {
            self.time_waits.push(id, &mut self.table);
        }
    }

    fn end_time_wait(&mut self, id: u32) {
        self.time_waits.unlink(id, &mut self.table);
        self.wheel.cancel(id);
        self.table.remove(id);
    }

    /// Did a segment that [`Stack::on_segment`] called [`Disposition::Unknown`] overtake the one that its SYN cookie
    /// needs? Then nobody may reset it: both will be sent again.
    pub fn is_early(&mut self, now: Instant, seg: &Arrival<'_, A::Link>) -> bool {
        let timestamps = self.shared.config.timestamps;
        let early = check(seg).is_ok_and(|segment| {
            let found = self.cookies.check(now, &seg.flow, &segment, timestamps);
            !segment.flags.has(Flags::RST) && found == Check::Early
        });
        self.shared.counters.cookies_early += u64::from(early);
        early
    }

    /// Answers a segment that [`Stack::on_segment`] called [`Disposition::Unknown`] with RST (RFC 9293 section
    /// 3.10.7.1), never a RST; at most `Config::resets_per_second`. Not for what [`Stack::is_early`].
    pub fn reset(&mut self, now: Instant, seg: &Arrival<'_, A::Link>, out: &mut impl Out<A::Link>) {
        let Ok(segment) = check(seg) else { return };
        if segment.flags.has(Flags::RST) {
            return;
        }
        if !self.shared.resets.allow(now) {
            self.shared.counters.resets_limited += 1;
            return;
        }
        let mut header = Header {
            seq: SeqNum(0),
            ack: SeqNum(0),
            flags: Flags::RST,
            window: 0,
            options: Options::default(),
        };
        if segment.flags.has(Flags::ACK) {
            header.seq = segment.ack;
        } else {
            header.ack = segment.seq + segment.seq_len;
            header.flags = Flags::RST.with(Flags::ACK);
        }
        let counters = &mut self.shared.counters;
        if reply(out, counters, &seg.flow, &seg.link, &header).is_ok() {
            counters.resets_sent += 1;
        }
    }

    /// ICMP "fragmentation needed" or "packet too big" quoted a segment of ours: `seq` is the quoted sequence number,
    /// `mtu` the next hop's IP MTU. Believed only for data outstanding (RFC 5927 section 6.2). True if the flow is known.
    pub fn on_packet_too_big(&mut self, now: Instant, flow: &Flow, seq: SeqNum, mtu: u16) -> bool {
        let Some(id) = self.table.find(flow) else {
            return false;
        };
        let Some(connection) = self.table.get_mut(id) else {
            return false;
        };
        let before = connection.state.class();
        if let Some((snd, _)) = connection.state.snd()
            && snd.is_outstanding(seq)
            && connection.terms.lower_mtu(flow, mtu)
        {
            snd.lower_mss(connection.terms.payload());
            self.shared.counters.path_mtu += 1;
            self.settle(now, id, before);
        }
        true
    }

    /// Does what is due by `now`, and flushes.
    pub fn on_timers(&mut self, now: Instant, app: &mut A, out: &mut impl Out<A::Link>) {
        while let Some(id) = self.wheel.pop(now) {
            let Some(connection) = self.table.get_mut(id) else {
                continue;
            };
            let before = connection.state.class();
            if let State::TimeWait(wait) = &connection.state
                && wait.until.is_due(now)
            {
                self.end_time_wait(id);
                continue;
            }
            if connection.timer(now, &self.shared.config).is_due(now) {
                connection.on_timer(&mut Cx {
                    now,
                    shared: &mut self.shared,
                    app: &mut *app,
                    out: &mut *out,
                });
            }
            self.settle(now, id, before);
        }
        self.flush(now, app, out);
    }

    /// Sends everything that touched connections have to say: once per batch. What meets [`crate::Full`] stays queued
    /// for the next flush.
    pub fn flush(&mut self, now: Instant, app: &mut A, out: &mut impl Out<A::Link>) {
        self.retry = Timer::OFF;
        let mut list = core::mem::replace(&mut self.touched, core::mem::take(&mut self.flushing));
        for id in list.drain(..) {
            let Some(connection) = self.table.get_mut(id) else {
                continue;
            };
            if !connection.touched {
                continue;
            }
            let full = self.retry.is_set();
            let mut cx = Cx {
                now,
                shared: &mut self.shared,
                app: &mut *app,
                out: &mut *out,
            };
            if full || connection.output(&mut cx).is_err() {
                self.touched.push(id);
                self.retry = Timer::at(now + FLUSH_RETRY);
            } else {
                connection.touched = false;
            }
            if let Some(when) = connection.timer(now, &self.shared.config).get() {
                self.wheel.arm(id, when.max(now + TICK));
            }
        }
        self.flushing = list;
    }

    /// When [`Stack::on_timers`] has something to do, at the latest; it may turn out to be nothing. At once (time 0) if
    /// connections were touched and not flushed.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let flush = match self.retry.get() {
            Some(retry) => Timer::at(retry),
            None if self.touched.is_empty() => Timer::OFF,
            None => Timer::at(Instant(0)),
        };
        Timer::from(self.wheel.next()).min(flush).get()
    }

    /// Is there a connection of this flow, half-open and TIME-WAIT included?
    #[must_use]
    pub fn has(&self, flow: &Flow) -> bool {
        self.table.find(flow).is_some()
    }

    /// Takes no new connections from now on.
    pub fn refuse(&mut self) {
        self.shared.refusing = true;
    }

    /// Takes no new connections from now on; each that exists is closed behind what it has queued, with the next flush,
    /// but for those that are leaving.
    pub fn drain(&mut self, now: Instant) {
        self.shared.refusing = true;
        self.shared.draining = true;
        for id in 0..self.table.slots() {
            let Some(connection) = self.table.get_mut(id) else {
                continue;
            };
            if connection.rcv.leaving {
                continue;
            }
            let before = connection.state.class();
            connection.close(&mut self.shared);
            self.settle(now, id, before);
        }
    }

    /// Sends RST on every connection and forgets them all.
    pub fn abort_all(&mut self, now: Instant, app: &mut A, out: &mut impl Out<A::Link>) {
        for id in 0..self.table.slots() {
            let Some(connection) = self.table.get_mut(id) else {
                continue;
            };
            let before = connection.state.class();
            if before == Class::TimeWait {
                self.end_time_wait(id);
                continue;
            }
            let mut cx = Cx {
                now,
                shared: &mut self.shared,
                app: &mut *app,
                out: &mut *out,
            };
            connection.abort(CloseReason::Shutdown, &mut cx);
            self.settle(now, id, before);
        }
    }

    /// Connections, half-open included, TIME-WAIT not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len() - self.time_waits.len()
    }

    /// No connection but TIME-WAIT ones?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Connections in TIME-WAIT.
    #[must_use]
    pub fn time_wait(&self) -> usize {
        self.time_waits.len()
    }

    /// Connections that the table can hold, in all states.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }
}

#[cfg(test)]
impl<A: App> Stack<A> {
    pub(crate) fn receive_budget_left(&self) -> usize {
        self.shared.buffers.left()
    }
}
