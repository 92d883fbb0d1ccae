//! LISTEN: what a SYN begins, and what the ACK of a SYN cookie completes.

use super::Stack;
use crate::app::{App, Arrival, Disposition, Full, Out};
use crate::arrive::{Segment, Spoke};
use crate::connection::{Connection, Cx};
use crate::cookie::{Check, Cookies};
use crate::counters::RefuseReason;
use crate::flow::Flow;
use crate::handshake::{Negotiated, Offer, Origin};
use crate::output::{reply, syn_ack};
use crate::recv::Rcv;
use crate::seq::SeqNum;
use crate::state::{Class, State, SynRcvd};
use crate::time::{Instant, Timer};
use crate::wire::Flags;

/// How far behind its predecessor a connection begins that takes over a TIME-WAIT (RFC 6191 section 2).
const REUSE_GAP: u32 = 64 * 1024;

impl<A: App> Stack<A> {
    /// A SYN for a flow that is not in the table (RFC 9293 section 3.10.7.2). `after`: SND.NXT of the connection in
    /// TIME-WAIT whose slot it takes; it costs nothing new then, and a cookie could not begin behind that number.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        seg: &Arrival<'_, A::Link>,
        segment: &Segment<'_>,
        after: Option<SeqNum>,
        app: &mut A,
        out: &mut impl Out<A::Link>,
    ) -> Disposition {
        if self.shared.refusing {
            return Disposition::Refused(RefuseReason::Draining);
        }
        let config = &self.shared.config;
        if self.half_open >= config.half_open && after.is_none() {
            return self.send_cookie(now, seg, segment, out);
        }
        let origin = Origin::of(&seg.flow, config);
        let mut iss = origin.initial_seq(now);
        if let Some(last) = after
            && iss.le(last + REUSE_GAP)
        {
            iss = last + REUSE_GAP;
        }
        let half = SynRcvd {
            iss,
            sent: now,
            tries: 1,
            due: true,
            timer: Timer::after(now, config.initial_rto),
        };
        match self.insert(now, seg, segment.seq, origin, &Offer::of(segment), half) {
            Ok(id) => {
                self.shared.counters.syns += 1;
                self.answer_syn(now, id, &seg.flow, app, out);
                Disposition::Handled
            }
            Err(why) => Disposition::Refused(why),
        }
    }

    /// The SYN-ACK goes out at once; with the flush if there is no room.
    fn answer_syn(
        &mut self,
        now: Instant,
        id: u32,
        flow: &Flow,
        app: &mut A,
        out: &mut impl Out<A::Link>,
    ) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        let mut cx = Cx {
            now,
            flow,
            shared: &mut self.shared,
            app,
            out,
        };
        let spoke = match connection.send_syn_ack(&mut cx) {
            Ok(()) => Spoke::Yes,
            Err(Full) => Spoke::No,
        };
        self.look_again(now, id, spoke);
    }

    /// A half-open connection for a SYN of `irs` with this offer; the oldest TIME-WAIT makes room for it.
    fn insert(
        &mut self,
        now: Instant,
        seg: &Arrival<'_, A::Link>,
        irs: SeqNum,
        origin: Origin,
        offer: &Offer,
        half: SynRcvd,
    ) -> Result<u32, RefuseReason> {
        self.make_room();
        let config = &self.shared.config;
        let make = |(), key| Connection {
            key,
            link: seg.link,
            conn: A::Conn::default(),
            deadline: Timer::OFF,
            wake: Timer::OFF,
            terms: Negotiated::new(&seg.flow, origin, offer, config),
            rcv: Rcv::new(now, irs, offer.options.timestamps, config),
            state: State::SynRcvd(half),
            touched: false,
            probes: 0,
        };
        let id = self
            .table
            .insert(&seg.flow, (), make)
            .map_err(|()| RefuseReason::TableFull)?;
        self.half_open += 1;
        Ok(id)
    }

    /// In a full table the oldest TIME-WAIT ends now, if there is one.
    pub(super) fn make_room(&mut self) {
        if self.table.len() == self.table.capacity()
            && let Some(oldest) = self.time_waits.oldest()
        {
            self.end_time_wait(oldest);
            self.shared.counters.time_wait_recycled += 1;
        }
    }

    /// The half-open budget is spent: the peer keeps the handshake for us.
    fn send_cookie(
        &mut self,
        now: Instant,
        seg: &Arrival<'_, A::Link>,
        segment: &Segment<'_>,
        out: &mut impl Out<A::Link>,
    ) -> Disposition {
        let config = &self.shared.config;
        if !config.syn_cookies {
            return Disposition::Refused(RefuseReason::HalfOpenFull);
        }
        if self.table.len() == self.table.capacity() && self.time_waits.oldest().is_none() {
            return Disposition::Refused(RefuseReason::TableFull);
        }
        let kept = Cookies::keep(&Offer::of(segment), config.timestamps);
        let terms = Negotiated::new(&seg.flow, Origin::of(&seg.flow, config), &kept, config);
        let iss = self
            .cookies
            .issue(now, &seg.flow, segment.seq, terms.mss(), &kept);
        let mut rcv = Rcv::new(now, segment.seq, kept.options.timestamps, config);
        let mut header = syn_ack(now, &seg.flow, iss, &terms, &mut rcv, config);
        if let Some(ts) = &mut header.options.timestamps {
            ts.val = Cookies::tsval(ts.val, &kept);
        }
        let counters = &mut self.shared.counters;
        // Without room it is lost, and the peer repeats its SYN.
        if reply(out, counters, &seg.flow, &seg.link, &header).is_ok() {
            counters.cookies_sent += 1;
        }
        Disposition::Handled
    }

    /// A segment of no connection: if it brings a cookie back, the connection begins with it.
    pub(super) fn by_cookie(
        &mut self,
        now: Instant,
        seg: &Arrival<'_, A::Link>,
        segment: &Segment<'_>,
        app: &mut A,
        out: &mut impl Out<A::Link>,
    ) -> Disposition {
        let flags = segment.flags;
        let bare = flags.has(Flags::ACK) && !flags.has(Flags::SYN) && !flags.has(Flags::RST);
        let timestamps = self.shared.config.timestamps;
        if !bare || self.shared.draining {
            return Disposition::Unknown;
        }
        let (kept, tag) = match self.cookies.check(now, &seg.flow, segment, timestamps) {
            Check::Good(kept, tag) => (kept, tag),
            Check::Early | Check::Wrong => return Disposition::Unknown,
        };
        if let Some(half) = self.table.find(&seg.flow) {
            self.wheel.cancel(half);
            self.table.remove(half);
            self.half_open -= 1;
        }
        let half = SynRcvd {
            iss: segment.ack - 1,
            sent: now,
            tries: 0,
            due: false,
            timer: Timer::OFF,
        };
        let origin = Origin::of(&seg.flow, &self.shared.config);
        let id = match self.insert(now, seg, segment.seq - 1, origin, &kept, half) {
            Ok(id) => id,
            Err(why) => return Disposition::Refused(why),
        };
        let Some(connection) = self.table.get_mut(id) else {
            return Disposition::Unknown;
        };
        self.cookies.spend(tag);
        self.shared.counters.cookies_taken += 1;
        let mut cx = Cx {
            now,
            flow: &seg.flow,
            shared: &mut self.shared,
            app,
            out,
        };
        let result = connection.on_segment(segment, &mut cx);
        self.settle(id, Class::HalfOpen);
        match result {
            Ok(()) => Disposition::Handled,
            Err(why) => Disposition::Dropped(why),
        }
    }
}
