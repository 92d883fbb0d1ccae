//! The way of a frame: frame → segment → request → decision → response → frame.
//!
//! No socket is used here, so that a test or a fuzzer can feed raw frames through all of it.

mod drain;

use super::clock::Now;
use super::counters::Counters;
use super::leaving::Leaving;
use super::ring::{MAILBOX, Neighbours, Stray, Undelivered};
use super::routes::RouteBoard;
use super::service::{Limits, Service};
use super::turns::Turns;
use crate::net::{self, Defrag, Emitter, FrameDrop, GivenUp, Link, Outcome, Packet, Reassembled};
use crate::xsk::{Memory, Port, Transmit};
use drain::Drain;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tcp_lite::{Arrival, Disposition, Flow, Instant, Stack};

/// Takes frames that are not ours, for the kernel.
pub trait Stranger {
    /// Puts one Ethernet frame on the kernel's receive path. Its source address may be replaced.
    ///
    /// # Errors
    /// The frame is lost; the caller counts it.
    fn inject(&mut self, frame: &mut [u8]) -> io::Result<()>;

    /// The same for a carrier, which [`Handoff::label`](crate::handoff::Handoff::label) has labelled.
    ///
    /// # Errors
    /// As [`Stranger::inject`].
    fn carry(&mut self, frame: &mut [u8]) -> io::Result<()>;
}

/// The way to the kernel, with its books.
pub(super) struct Injecting<'a> {
    stranger: Option<&'a mut (dyn Stranger + Send)>,
    counters: &'a mut Counters,
}

impl Injecting<'_> {
    pub fn inject(&mut self, frame: &mut [u8]) {
        self.count(|stranger| stranger.inject(frame));
    }

    pub fn carry(&mut self, frame: &mut [u8]) {
        self.count(|stranger| stranger.carry(frame));
    }

    fn count(&mut self, inject: impl FnOnce(&mut (dyn Stranger + Send)) -> io::Result<()>) {
        let injected = match &mut self.stranger {
            Some(stranger) => inject(*stranger).is_ok(),
            None => false,
        };
        if injected {
            self.counters.injected += 1;
        } else {
            self.counters.dropped(FrameDrop::Inject);
        }
    }
}

/// Everything of a worker but its queue.
pub struct Pipeline {
    stack: Stack<Service>,
    service: Service,
    turns: Turns,
    /// What the frames of this batch are most likely of, where that is asked for.
    ahead: Vec<Flow>,
    leaving: Leaving,
    drain: Option<Drain>,
    defrag: Defrag,
    neighbours: Neighbours,
    /// Where strangers go; `None` when the host has no TUN device.
    stranger: Option<Box<dyn Stranger + Send>>,
    counters: Counters,
}

impl Pipeline {
    /// A pipeline with nothing in it.
    pub fn new(
        stack: tcp_lite::Config,
        service: Service,
        neighbours: Neighbours,
        stranger: Option<Box<dyn Stranger + Send>>,
    ) -> Self {
        Self {
            stack: Stack::new(stack),
            service,
            turns: Turns::new(),
            ahead: Vec::new(),
            leaving: Leaving::default(),
            drain: None,
            defrag: Defrag::default(),
            neighbours,
            stranger,
            counters: Counters::default(),
        }
    }

    /// One batch: every frame in `frames` is released, every timer that is due runs, and what touched connections
    /// have to say is sent. Also to be called without frames when a deadline or a wake-up comes.
    pub fn batch<P: Port>(&mut self, now: Now, port: &mut P, frames: &mut Vec<P::Frame>) {
        self.service.begin_batch(now);
        self.counters.frames_received += frames.len() as u64;
        let mut out = Emitter::new(port);
        for frame in frames.iter() {
            out.memory.fetch_headers(frame);
        }
        if self.stack.is_spread() {
            self.foresee(frames.iter().map(|frame| out.memory.bytes(frame)));
        }
        for frame in frames.drain(..) {
            self.frame(now.mono, out.memory.bytes(&frame), &mut out);
            out.ring.release(frame);
        }
        // A mailbox at a time: who keeps it full must not keep us from our timers.
        for _ in 0..MAILBOX {
            let Some(stray) = self.neighbours.take() else {
                break;
            };
            self.counters.strays_taken += 1;
            self.service.refresh();
            self.any_frame(now.mono, &stray.frame, stray.hops, &mut out);
        }
        while let Some(late) = self.defrag.expired(now.mono) {
            self.given_up(late);
        }
        self.go_on_draining(now.mono, &mut out);
        if !self.leaving.is_empty() {
            self.depart(now.mono, &mut out);
        }
        self.stack.on_timers(now.mono, &mut self.service, &mut out);
        self.see_off(now.mono);
        self.counters.emitted(&out);
        self.neighbours.wake_next();
        self.service.end_batch();
    }

    /// Fetches what will be needed of the connections of these frames.
    fn foresee<'f>(&mut self, frames: impl Iterator<Item = &'f [u8]>) {
        self.ahead.clear();
        self.ahead.extend(frames.filter_map(net::glimpse));
        self.stack.foresee(&self.ahead);
    }

    /// A frame from the queue.
    #[inline(always)]
    fn frame<M, R>(&mut self, now: Instant, frame: &[u8], out: &mut Emitter<'_, M, R>)
    where
        M: Memory,
        R: Transmit<Frame = M::Frame>,
    {
        if self
            .turns
            .take(now, frame, &mut self.stack, &mut self.service, out)
        {
            return;
        }
        let taken = net::plain(frame, |segment| {
            if self.leaving.has(&segment.flow) {
                return false;
            }
            match self.stack.on_segment(now, segment, &mut self.service, out) {
                Disposition::Handled => self.see_off(now),
                other => self.finish(now, segment, frame, 0, other, out),
            }
            true
        });
        if taken != Some(true) {
            self.any_frame(now, frame, 0, out);
        } else if let Some(fallback) = self.service.take_lone() {
            self.turns.learn(frame, &mut self.stack, fallback);
        }
    }

    /// The same for a frame of any kind, from anywhere. `hops`: how many workers have seen it before.
    #[inline(never)]
    fn any_frame<M, R>(
        &mut self,
        now: Instant,
        frame: &[u8],
        hops: usize,
        out: &mut Emitter<'_, M, R>,
    ) where
        M: Memory,
        R: Transmit<Frame = M::Frame>,
    {
        match net::parse(frame) {
            Ok(Packet::Segment(segment)) => {
                if self.leaving.has(&segment.flow) {
                    self.keep(&segment.flow, frame.to_vec());
                    return;
                }
                let disposition = self.stack.on_segment(now, &segment, &mut self.service, out);
                self.finish(now, &segment, frame, hops, disposition, out);
            }
            Ok(Packet::Fragment(fragment)) => {
                match self.defrag.add(now, &fragment, frame, hops) {
                    Outcome::Kept => {}
                    Outcome::Complete(whole) => self.reassembled(now, *whole, hops, out),
                    Outcome::GiveUp(parts) => self.given_up(parts),
                }
                while let Some(oldest) = self.defrag.surplus() {
                    self.given_up(oldest);
                }
            }
            Ok(Packet::TooBig(news)) => {
                if !self
                    .stack
                    .on_packet_too_big(now, &news.flow, news.seq, news.mtu)
                {
                    let frame = frame.to_vec();
                    if let Some(frame) = self.pass_on(Stray { frame, hops }) {
                        self.inject(frame);
                    }
                }
            }
            Err(why) => self.counters.dropped(why),
        }
    }

    /// What becomes of a segment, in `frame`, that the stack may not have taken.
    #[inline(never)]
    fn finish<M, R>(
        &mut self,
        now: Instant,
        segment: &Arrival<'_, Link>,
        frame: &[u8],
        hops: usize,
        disposition: Disposition,
        out: &mut Emitter<'_, M, R>,
    ) where
        M: Memory,
        R: Transmit<Frame = M::Frame>,
    {
        match disposition {
            // Dropped segments are counted by the stack.
            Disposition::Handled | Disposition::Dropped(_) => self.see_off(now),
            Disposition::Unknown => {
                let frame = frame.to_vec();
                let Some(frame) = self.pass_on(Stray { frame, hops }) else {
                    return;
                };
                if self.stack.is_early(now, segment) {
                    return;
                }
                // It may be the ACK of a SYN cookie of the kernel's, or a flow that another network
                // namespace owns: only where there is no kernel server is it ours to reset.
                if self.service.steps_aside(&segment.flow.local) {
                    self.inject(frame);
                } else {
                    self.stack.reset(now, segment, out);
                }
            }
            // A full table or a drain: the kernel accepts the connection, if a server is there.
            Disposition::Refused(_) => {
                if self.service.steps_aside(&segment.flow.local) {
                    self.inject(frame.to_vec());
                }
            }
        }
    }

    /// A datagram that is whole again: ours, a neighbour's, or the kernel's, who gets it as the frames it came in.
    fn reassembled<M, R>(
        &mut self,
        now: Instant,
        whole: Reassembled,
        hops: usize,
        out: &mut Emitter<'_, M, R>,
    ) where
        M: Memory,
        R: Transmit<Frame = M::Frame>,
    {
        if self.leaving.has(&whole.flow) {
            for frame in whole.frames {
                self.keep(&whole.flow, frame);
            }
            return;
        }
        let segment = Arrival {
            flow: whole.flow,
            link: whole.link,
            ecn: whole.ecn,
            bytes: &whole.segment,
        };
        let disposition = if self.stack.has(&whole.flow) {
            self.counters.reassembled += 1;
            self.stack.on_segment(now, &segment, &mut self.service, out)
        } else {
            Disposition::Unknown
        };
        match disposition {
            Disposition::Handled | Disposition::Dropped(_) => self.see_off(now),
            Disposition::Unknown => self.pass_on_or_inject(whole.frames, hops),
            // A SYN that takes the place of a connection in TIME-WAIT may be refused.
            Disposition::Refused(_) => {
                if self.service.steps_aside(&whole.flow.local) {
                    whole.frames.into_iter().for_each(|f| self.inject(f));
                }
            }
        }
    }

    /// Fragments that never became whole. The kernel would answer those of a connection of ours with a reset.
    fn given_up(&mut self, parts: GivenUp) {
        match parts.flow {
            Some(flow) if self.stack.has(&flow) || self.leaving.has(&flow) => {
                for _ in &parts.frames {
                    self.counters.dropped(FrameDrop::Fragment);
                }
            }
            Some(_) => self.pass_on_or_inject(parts.frames, parts.hops),
            None => parts.frames.into_iter().for_each(|f| self.inject(f)),
        }
    }

    fn pass_on_or_inject(&mut self, frames: Vec<Vec<u8>>, hops: usize) {
        for frame in frames {
            if let Some(frame) = self.pass_on(Stray { frame, hops }) {
                self.inject(frame);
            }
        }
    }

    /// Gives `stray` to the next worker, or back when every worker has seen it.
    fn pass_on(&mut self, stray: Stray) -> Option<Vec<u8>> {
        match self.neighbours.pass_on(stray) {
            Ok(()) => {
                self.counters.strays_passed += 1;
                None
            }
            Err(Undelivered::Nobodys(frame)) => Some(frame),
            Err(Undelivered::Full) => {
                self.counters.dropped(FrameDrop::Neighbour);
                None
            }
        }
    }

    fn inject(&mut self, mut frame: Vec<u8>) {
        self.injecting().inject(&mut frame);
    }

    fn injecting(&mut self) -> Injecting<'_> {
        Injecting {
            stranger: self.stranger.as_deref_mut().map(|s| s as _),
            counters: &mut self.counters,
        }
    }

    /// Connections that have left TCP are on their way to the kernel from now on.
    #[inline]
    fn see_off(&mut self, now: Instant) {
        if self.stack.has_detached() {
            self.take_leave(now);
        }
    }

    #[cold]
    fn take_leave(&mut self, now: Instant) {
        while let Some(mut detached) = self.stack.take_detached() {
            self.service.left(&mut detached);
            self.leaving.add(now, detached);
        }
    }

    /// A frame for a connection under way to the kernel.
    fn keep(&mut self, flow: &Flow, frame: Vec<u8>) {
        if !self.leaving.keep(flow, frame) {
            self.counters.dropped(FrameDrop::Inject);
        }
    }

    /// Gives the kernel what is under way to it, and takes back what it does not want.
    fn depart<M, R>(&mut self, now: Instant, out: &mut Emitter<'_, M, R>)
    where
        M: Memory,
        R: Transmit<Frame = M::Frame>,
    {
        let Some(kernel) = self.service.kernel() else {
            return;
        };
        let before = self.leaving.len();
        let mut injecting = Injecting {
            stranger: self.stranger.as_deref_mut().map(|s| s as _),
            counters: &mut self.counters,
        };
        let returned = self.leaving.step(now, kernel, &mut injecting);
        let taken = before - self.leaving.len() - returned.len();
        self.service.taken(taken);
        for mut back in returned {
            self.service.came_back(back.detached.conn(), back.why);
            self.stack.adopt(now, back.detached, &mut self.service, out);
            for frame in back.frames {
                self.any_frame(now, &frame, 0, out);
            }
        }
    }

    /// When `batch` has to be called again, at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        [
            self.stack.next_deadline(),
            self.defrag.next_deadline(),
            self.leaving.next_deadline(),
            self.drain.as_ref().map(|drain| drain.at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Other limits, for what begins from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.service.limit(limits);
    }

    /// Connections, those in TIME-WAIT left out, those under way to the kernel not.
    pub fn connections(&self) -> usize {
        self.stack.len() + self.leaving.len()
    }

    /// Frames that the kernel got from us so far.
    pub fn injected(&self) -> u64 {
        self.counters.injected
    }

    /// Readable when a neighbour has passed something on.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.neighbours.wake_fd()
    }

    /// To be set from another thread while the worker does not come round.
    pub fn hangs(&self) -> Arc<AtomicBool> {
        self.neighbours.hangs()
    }

    /// Makes `wake_fd` unreadable until the next wake-up.
    pub fn clear_wake(&self) {
        self.neighbours.clear_wake();
    }

    /// Where counters by route are published.
    pub fn routes(&self) -> Arc<RouteBoard> {
        self.service.routes()
    }

    /// Shows every counter and gauge as (name, label, value).
    pub fn visit(&self, see: &mut impl FnMut(&'static str, &'static str, u64)) {
        self.counters.visit(see);
        self.service.visit(see);
        for (label, value) in self.stack.counters().iter() {
            see("tcp", label, value);
        }
        see("connections", "open", self.stack.len() as u64);
        see("connections", "leaving", self.leaving.len() as u64);
        see("connections", "time_wait", self.stack.time_wait() as u64);
    }
}
