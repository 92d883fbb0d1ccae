//! The stack: finds the connection, lets it work, keeps the books.

mod flush;
mod leave;
mod listen;

use crate::app::{App, Arrival, Disposition, Out};
use crate::arrive::{Predicted, Segment, Spoke, check, interpret, verify};
use crate::config::{Config, Settings};
#[cfg(test)]
use crate::connection::Prediction;
use crate::connection::{Connection, Cx, Shared};
use crate::cookie::{Check, Cookies};
use crate::counters::{CloseReason, Counters, DropReason};
use crate::detach::Detached;
use crate::flow::Flow;
use crate::limiter::Limiter;
use crate::output::reply;
use crate::recv::Buffers;
use crate::send::Pieces;
use crate::seq::SeqNum;
use crate::state::Class;
use crate::table::Table;
use crate::time::Instant;
#[cfg(test)]
use crate::time::Timer;
use crate::time_wait::TimeWaits;
use crate::wheel::Wheel;
use crate::wire::{Flags, Header, Options};
use std::collections::VecDeque;

/// A server-side TCP for all connections of one queue. It has no clock, no sockets and no threads: see the crate's
/// documentation for which call does what.
pub struct Stack<A: App> {
    pub(crate) table: Table<Connection<A>>,
    wheel: Wheel,
    pub(crate) shared: Shared<A>,
    time_waits: TimeWaits,
    half_open: usize,
    cookies: Cookies,
    /// Connections that may have something to say, in the order they were touched.
    touched: Vec<u32>,
    /// When to try again after the transmit side was full.
    retry: Option<Instant>,
    /// The connection of the last segment, if that was predicted and answered.
    pub(crate) predicted: Option<u32>,
    /// Connections that left, until the caller takes them.
    left: VecDeque<Detached<A>>,
}

impl<A: App> Stack<A> {
    /// Tables have room for all connections from here on, as memory that is only there once it is used. But the index of
    /// flows grows and shrinks with how many there are.
    #[must_use]
    pub fn new(config: Config) -> Stack<A> {
        let config = Settings::new(config);
        let mut reset_secret = config.secret;
        reset_secret[0] ^= 1;
        Stack {
            table: Table::new(config.capacity, config.secret),
            wheel: Wheel::new(config.capacity),
            time_waits: TimeWaits::default(),
            half_open: 0,
            cookies: Cookies::new(config.secret, config.capacity),
            touched: Vec::with_capacity(config.capacity),
            retry: None,
            predicted: None,
            left: VecDeque::new(),
            shared: Shared {
                pieces: Pieces::new(config.pieces),
                buffers: Buffers::new(config.receive_budget),
                counters: Counters::default(),
                #[cfg(test)]
                prediction: Prediction::On,
                #[cfg(test)]
                predicted: 0,
                challenges: Limiter::new(config.challenge_acks_per_second, config.secret),
                resets: Limiter::new(config.resets_per_second, reset_secret),
                refusing: false,
                draining: false,
                config,
            },
        }
    }

    /// Are there so many connections that it pays to [`Stack::foresee`]?
    #[must_use]
    pub fn is_spread(&self) -> bool {
        self.table.is_spread()
    }

    /// Segments of these flows come next: what is kept of their connections is fetched from memory for all of them at a
    /// time. Nothing depends on this but how long they take.
    pub fn foresee(&self, flows: &[Flow]) {
        self.table.foresee(flows);
    }

    /// Takes one segment. Its checksum is verified; what is to be said waits for [`Stack::flush`], but for the answer to
    /// SYN, FIN and what has PSH, resets, ACKs that a peer counts one by one, and the part of a long answer that an ACK
    /// lets out.
    pub fn on_segment(
        &mut self,
        now: Instant,
        seg: &Arrival<'_, A::Link>,
        app: &mut A,
        out: &mut impl Out<A::Link>,
    ) -> Disposition {
        self.shared.counters.segments_in += 1;
        let disposition = self.take(now, seg, app, out);
        match disposition {
            Disposition::Dropped(why) => self.shared.counters.count_drop(why),
            Disposition::Refused(why) => self.shared.counters.count_refusal(why),
            Disposition::Handled | Disposition::Unknown => {}
        }
        disposition
    }

    #[inline]
    fn take(
        &mut self,
        now: Instant,
        seg: &Arrival<'_, A::Link>,
        app: &mut A,
        out: &mut impl Out<A::Link>,
    ) -> Disposition {
        let view = match verify(seg) {
            Ok(view) => view,
            Err(why) => return Disposition::Dropped(why),
        };
        let found = self.table.find(&seg.flow);
        self.predicted = None;
        let mut before = Class::Gone;
        if let Some(id) = found
            && let Some(connection) = self.table.get_mut(id)
        {
            before = connection.state.class();
            let mut cx = Cx {
                now,
                flow: &seg.flow,
                shared: &mut self.shared,
                app,
                out,
            };
            match connection.on_predicted(&view, seg, &mut cx) {
                Predicted::No => {}
                Predicted::Stays(spoke) => {
                    self.predicted = (spoke == Spoke::Yes).then_some(id);
                    self.look_again(now, id, spoke);
                    return Disposition::Handled;
                }
                Predicted::Changed(spoke) => {
                    if self.keep_books(id, before) {
                        self.look_again(now, id, spoke);
                    }
                    return Disposition::Handled;
                }
            }
        }
        match interpret(&view, seg.ecn) {
            Ok(segment) => {
                let found = found.map(|id| (id, before));
                self.dispatch(now, seg, &segment, found, app, out)
            }
            Err(why) => Disposition::Dropped(why),
        }
    }

    /// What was not predicted. `found`: its connection, and of what class that was when the segment came.
    fn dispatch(
        &mut self,
        now: Instant,
        seg: &Arrival<'_, A::Link>,
        segment: &Segment<'_>,
        found: Option<(u32, Class)>,
        app: &mut A,
        out: &mut impl Out<A::Link>,
    ) -> Disposition {
        let flags = segment.flags;
        let Some((id, before)) = found else {
            return if !seg.flow.is_plausible() {
                Disposition::Dropped(DropReason::OddAddress)
            } else if segment.opens() {
                self.accept(now, seg, segment, None, app, out)
            } else if flags.has(Flags::SYN.with(Flags::FIN)) {
                // No TCP sends both; a connection that exists answers it like any SYN.
                Disposition::Dropped(DropReason::OddFlags)
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
        let timestamps = self.shared.config.timestamps;
        if before == Class::TimeWait
            && segment.opens()
            && connection.may_be_replaced(segment, timestamps)
        {
            let last = connection.state.snd_nxt();
            self.end_time_wait(id);
            self.shared.counters.time_wait_recycled += 1;
            return self.accept(now, seg, segment, Some(last), app, out);
        }
        if before == Class::TimeWait && connection.may_be_reset(segment) {
            self.end_time_wait(id);
            return Disposition::Handled;
        }
        let mut cx = Cx {
            now,
            flow: &seg.flow,
            shared: &mut self.shared,
            app,
            out,
        };
        let result = connection.on_segment(segment, &mut cx);
        if connection.may_move(segment, result) {
            connection.link = seg.link;
        }
        // What one ACK lets out goes before the next one is looked at: should that tell of a loss, recovery counts what
        // was in the network by then.
        let lets_out = segment.seq_len == 0 && connection.is_mid_answer();
        let spoke = connection.speak_if(lets_out || segment.is_pushed(), &mut cx);
        if self.keep_books(id, before) {
            self.look_again(now, id, spoke);
        }
        match result {
            Ok(()) => Disposition::Handled,
            Err(why) => Disposition::Dropped(why),
        }
    }

    /// After every call into a connection that was of class `before`.
    fn settle(&mut self, id: u32, before: Class) {
        if self.keep_books(id, before) {
            self.touch(id);
        }
    }

    /// What a connection may still have to say, and its timer, the flush sees to; if it spoke, that is only the timer.
    #[inline]
    fn look_again(&mut self, now: Instant, id: u32, spoke: Spoke) {
        match spoke {
            Spoke::Yes => self.arm(now, id),
            Spoke::No => self.touch(id),
        }
    }

    #[inline]
    fn touch(&mut self, id: u32) {
        if let Some(connection) = self.table.get_mut(id)
            && !connection.touched
        {
            connection.touched = true;
            self.touched.push(id);
        }
    }

    /// Counts a connection that was of class `before` as what it is now; false if it is gone.
    fn keep_books(&mut self, id: u32, before: Class) -> bool {
        let Some(connection) = self.table.get_mut(id) else {
            return false;
        };
        let after = connection.state.class();
        if before == Class::HalfOpen && after != Class::HalfOpen {
            self.half_open -= 1;
        }
        if after == Class::Gone {
            self.wheel.cancel(id);
            self.table.remove(id);
            return false;
        }
        if connection.may_leave() {
            self.let_leave(id);
            return false;
        }
        if after == Class::TimeWait && before != Class::TimeWait {
            self.time_waits.push(id, &mut self.table);
        }
        true
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
            let shared = &mut self.shared;
            snd.unfold(now, &shared.config, &mut shared.pieces);
            snd.lower_mss(connection.terms.payload());
            self.shared.counters.path_mtu += 1;
            self.settle(id, before);
        }
        true
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
    pub fn drain(&mut self) {
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
            self.settle(id, before);
        }
    }

    /// Sends RST on every connection and forgets them all.
    pub fn abort_all(&mut self, now: Instant, app: &mut A, out: &mut impl Out<A::Link>) {
        for id in 0..self.table.slots() {
            let Some((flow, connection)) = self.table.entry(id) else {
                continue;
            };
            let before = connection.state.class();
            if before == Class::TimeWait {
                self.end_time_wait(id);
                continue;
            }
            let mut cx = Cx {
                now,
                flow: &flow,
                shared: &mut self.shared,
                app: &mut *app,
                out: &mut *out,
            };
            connection.abort(CloseReason::Shutdown, &mut cx);
            self.settle(id, before);
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

    /// Leaves everything to the general path.
    pub(crate) fn never_predict(&mut self) {
        self.shared.prediction = Prediction::Off;
    }

    /// Segments that were predicted.
    pub(crate) fn predicted(&self) -> u64 {
        self.shared.predicted
    }

    /// What `see` makes of each connection.
    pub(crate) fn pictures(
        &mut self,
        now: Instant,
        see: impl Fn(&Connection<A>, Timer) -> String,
    ) -> Vec<Option<String>> {
        let slots = 0..self.table.slots();
        let shared = &mut self.shared;
        let mut picture = |connection: &mut Connection<A>| {
            let folded = (connection.state.snd())
                .map(|(snd, _)| snd.lay_open(now, &shared.config, &shared.pieces));
            let seen = see(connection, connection.timer(now, &shared.config));
            if let (Some(folded), Some((snd, _))) = (folded, connection.state.snd()) {
                snd.fold_again(folded);
            }
            seen
        };
        slots
            .map(|id| self.table.get_mut(id).map(&mut picture))
            .collect()
    }
}
