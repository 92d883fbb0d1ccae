//! HTTP/1.1 over TCP: what a connection's bytes ask for, and which pieces answer them.

mod answer;
mod aside;

use super::clock::Now;
use super::counters::HttpCounters;
use super::generations::{Generations, Piece};
use super::repeat::Repeats;
use super::routes::{RouteBoard, RouteCounters};
use crate::handoff::Handoff;
use crate::http::{self, Parsed, Status};
use crate::net::Link;
use crate::route::{self, Decision};
use crate::store::{ConnectionField, Current, Form, RouteId};
use sidestep_config::Fallback;
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tcp_lite::wire::Sum;
use tcp_lite::{App, CloseReason, Endpoint, Flow, Full, Instant, Io};

use answer::Answered;

/// How long the kernel's word that somebody listens is good for. To ask takes two system calls, some 5 µs that a client
/// waits for. Much shorter, and they are paid for each connection; longer, and more connections are on their way to a
/// server that has gone: they come back and get 503, as they would have without the way. That nobody listens is asked
/// each time: a server that has just begun gets its first connection.
const LISTENS: Duration = Duration::from_millis(100);

/// What the configuration bounds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request head, its final empty line included.
    pub header_bytes: usize,
    /// Requests a connection may make.
    pub requests_per_connection: u32,
    /// From a head's first byte to its last.
    pub header_timeout: Duration,
    /// Without a request.
    pub idle_timeout: Duration,
}

impl From<&sidestep_config::Limits> for Limits {
    fn from(limits: &sidestep_config::Limits) -> Self {
        Self {
            header_bytes: limits.header_bytes as usize,
            requests_per_connection: match limits.requests_per_connection {
                0 => u32::MAX,
                n => n,
            },
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
        }
    }
}

/// The XDP program's table of flows that a worker owns. Only a speed-up: what is lost there is of no consequence.
pub trait FlowIndex {
    /// Segments of `flow` need no socket lookup from now on.
    fn insert(&mut self, flow: &Flow);
    /// `flow` is no longer ours.
    fn remove(&mut self, flow: &Flow);
}

/// What HTTP keeps for each connection.
#[derive(Debug, Default)]
pub struct HttpConn {
    /// Requests answered.
    requests: u32,
    /// Bytes of the unread head that are known not to end it.
    scanned: u16,
    phase: Phase,
}

/// Where a connection is between two requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Waiting for a request.
    #[default]
    Idle,
    /// Part of a head is here; its deadline runs.
    Head,
    /// On its way to the kernel.
    Leaving,
    /// The kernel did not take it: what is at its start is refused.
    Back,
}

/// The application on top of TCP.
pub struct Service {
    generations: Generations,
    /// The answers to the last heads; what they depend on changes only where they are forgotten.
    repeats: Repeats,
    listeners: BTreeMap<SocketAddr, Fallback>,
    limits: Limits,
    flows: Option<Box<dyn FlowIndex + Send>>,
    /// The listener of the last request.
    usual: Option<(Endpoint, Fallback)>,
    /// The way of whole connections into the kernel; `None`: there is none.
    kernel: Option<Box<dyn Handoff>>,
    /// Where somebody listened when last asked, and when to ask again.
    listening: HashMap<Endpoint, Instant>,
    /// Connections in [`Phase::Leaving`].
    leaving: usize,
    draining: bool,
    now: Now,
    counters: HttpCounters,
    routes: RouteCounters,
}

impl Service {
    /// Answers from the current snapshot on `listeners`.
    pub fn new(
        current: &Current,
        listeners: BTreeMap<SocketAddr, Fallback>,
        limits: Limits,
        flows: Option<Box<dyn FlowIndex + Send>>,
        kernel: Option<Box<dyn Handoff>>,
    ) -> Self {
        let generations = Generations::new(current);
        Self {
            routes: RouteCounters::new(generations.snapshot().routes()),
            generations,
            repeats: Repeats::new(),
            listeners,
            limits,
            flows,
            usual: None,
            kernel,
            listening: HashMap::new(),
            leaving: 0,
            draining: false,
            now: Now::default(),
            counters: HttpCounters::default(),
        }
    }

    /// Names the listener of all addresses that have none of their own with `port`.
    pub fn any(port: u16) -> SocketAddr {
        (Ipv4Addr::UNSPECIFIED, port).into()
    }

    /// To be called with the time before each batch, once its frames were taken.
    pub fn begin_batch(&mut self, now: Now) {
        if now.unix != self.now.unix {
            self.repeats.forget();
        }
        self.now = now;
        self.refresh();
    }

    /// To be called before a frame that was taken later.
    pub(super) fn refresh(&mut self) {
        if self.generations.refresh() {
            self.repeats.forget();
            self.routes.follow(self.generations.snapshot().routes());
        }
    }

    /// To be called after each batch.
    pub fn end_batch(&mut self) {
        self.routes.publish();
    }

    /// True when a server in the kernel may be behind `local`.
    pub fn steps_aside(&self, local: &Endpoint) -> bool {
        self.fallback(local) == Fallback::Kernel
    }

    /// From now on the answers of each connection tell that they are the last, and connections leave for the kernel
    /// where it has a server.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    /// Other limits, for what begins from now on.
    pub(super) fn limit(&mut self, limits: Limits) {
        self.limits = limits;
        self.repeats.forget();
    }

    /// Shows what it counts as (name, label, value).
    pub fn visit(&self, see: &mut impl FnMut(&'static str, &'static str, u64)) {
        self.counters.visit(see);
        self.generations.visit(see);
    }

    /// Where it counts by route.
    pub fn routes(&self) -> Arc<RouteBoard> {
        self.routes.board()
    }

    /// The XDP program lets only listeners' segments through; for anything else the kernel is the right place.
    fn fallback(&self, local: &Endpoint) -> Fallback {
        let at = SocketAddr::new(local.addr.into(), local.port);
        let listener = self.listeners.get(&at);
        listener
            .or_else(|| self.listeners.get(&Self::any(local.port)))
            .copied()
            .unwrap_or(Fallback::Kernel)
    }

    /// The same for each request: nearly all come for the same listener.
    #[inline]
    fn usual_fallback(&mut self, local: &Endpoint) -> Fallback {
        match self.usual {
            Some((usual, fallback)) if usual == *local => fallback,
            Some(_) | None => {
                let fallback = self.fallback(local);
                self.usual = Some((*local, fallback));
                fallback
            }
        }
    }

    /// No head is under way.
    fn idle(&self, now: Instant, io: &mut Io<'_, Self>) {
        io.conn().phase = Phase::Idle;
        io.set_deadline(Some(now + self.limits.idle_timeout));
    }
}

impl App for Service {
    type Link = Link;
    type Conn = HttpConn;
    type Piece = Piece;

    fn on_established(&mut self, now: Instant, io: &mut Io<'_, Self>) {
        if let Some(flows) = &mut self.flows {
            flows.insert(io.flow());
        }
        io.set_deadline(Some(now + self.limits.idle_timeout));
        if self.draining {
            self.on_drain(now, io);
        }
    }

    fn on_drain(&mut self, _now: Instant, io: &mut Io<'_, Self>) {
        let local = io.flow().local;
        let stays =
            |kernel: &mut Box<dyn Handoff>| kernel.listens(&local) && kernel.outlives_us(&local);
        if self.steps_aside(&local) && self.kernel.as_mut().is_some_and(stays) {
            // What cannot leave is served on.
            let _ = self.leave(io);
        }
    }

    fn on_data(&mut self, now: Instant, io: &mut Io<'_, Self>, unread: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let rest = &unread[used..];
            if rest.is_empty() {
                self.idle(now, io);
                return used;
            }
            match self.repeat(io, rest) {
                Some(Ok((_, Answered::Close))) => {
                    io.close();
                    return unread.len();
                }
                Some(Ok((len, Answered::KeepAlive | Answered::Left))) => {
                    used += len;
                    continue;
                }
                Some(Err(Full)) => {
                    self.idle(now, io);
                    return used;
                }
                None => {}
            }
            let scanned = usize::from(io.conn().scanned);
            match http::parse(rest, scanned, self.limits.header_bytes) {
                Parsed::Complete { head, len } => {
                    let answered = self.answer(io, &head, &rest[..len]);
                    io.conn().scanned = 0;
                    match answered {
                        Ok(Answered::KeepAlive) => {
                            used += len;
                            io.conn().phase = Phase::Idle;
                        }
                        Ok(Answered::Left) => return used,
                        Ok(Answered::Close) => {
                            io.close();
                            return unread.len();
                        }
                        // TCP shows the bytes again once there is room. The head is here: what it waits for is the
                        // client's reading, not its writing.
                        Err(Full) => {
                            self.idle(now, io);
                            return used;
                        }
                    }
                }
                Parsed::Partial { scanned } => {
                    // More is never unread: the window is of 16 bits.
                    io.conn().scanned = u16::try_from(scanned).unwrap_or(u16::MAX);
                    if io.conn().phase != Phase::Head || used > 0 {
                        io.conn().phase = Phase::Head;
                        io.set_deadline(Some(now + self.limits.header_timeout));
                    }
                    return used;
                }
                Parsed::Invalid(error) => {
                    let fallback = self.fallback(&io.flow().local);
                    let no_route = RouteId::NONE;
                    let answered = match route::decide_invalid(error, fallback) {
                        Decision::HandOff(reason) => {
                            self.step_aside(io, no_route, reason, None, true)
                        }
                        Decision::Refuse(refusal) => self
                            .refuse(io, no_route, None, true, &refusal)
                            .map(Answered::of),
                        Decision::Serve { .. } => Ok(Answered::Close),
                    };
                    return match answered {
                        Ok(Answered::Left) | Err(Full) => used,
                        Ok(Answered::KeepAlive | Answered::Close) => {
                            io.close();
                            unread.len()
                        }
                    };
                }
            }
        }
    }

    fn on_eof(&mut self, _now: Instant, io: &mut Io<'_, Self>, unread: &[u8]) {
        if !unread.is_empty() {
            self.counters.cut_off += 1;
        }
        // The client sends no more; it gets what it asked for, then our FIN.
        io.close();
    }

    fn on_deadline(&mut self, now: Instant, io: &mut Io<'_, Self>, _unread: &[u8]) {
        let phase = io.conn().phase;
        match phase {
            // Only waiting connections have a deadline.
            Phase::Leaving => {}
            // A long answer is still on its way: TCP's user timeout bounds that.
            Phase::Idle | Phase::Back if io.sending() => {
                io.set_deadline(Some(now + self.limits.idle_timeout));
            }
            Phase::Idle | Phase::Back => {
                self.counters.idle_timeouts += 1;
                io.close();
            }
            Phase::Head => {
                self.counters.header_timeouts += 1;
                let id = self
                    .generations
                    .snapshot()
                    .refusal(RouteId::NONE, Status::RequestTimeout);
                match self.queue(io, id, ConnectionField::Close, Form::Full) {
                    Ok(_) => io.close(),
                    Err(Full) => io.abort(),
                }
            }
        }
    }

    fn fill(&mut self, piece: &Piece, offset: u32, buf: &mut [u8]) -> Sum {
        self.generations.fill(piece, offset, buf)
    }

    fn on_release(&mut self, piece: Piece) {
        self.generations.release(piece);
    }

    fn on_closed(&mut self, flow: &Flow, conn: HttpConn, _why: CloseReason) {
        if conn.phase == Phase::Leaving {
            self.leaving -= 1;
        }
        if let Some(flows) = &mut self.flows {
            flows.remove(flow);
        }
    }
}
