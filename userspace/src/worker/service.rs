//! HTTP/1.1 over TCP: what a connection's bytes ask for, and which pieces answer them.

mod again;
mod answer;
mod aside;

use super::clock::Now;
use super::counters::HttpCounters;
use super::generations::{Generations, Piece};
use super::repeat::Repeats;
use super::routes::{RouteBoard, RouteCounters};
use crate::handoff::Handoff;
use crate::http::Status;
use crate::net::Link;
use crate::store::{ConnectionField, Current, Form, RouteId};
use sidestep_config::Fallback;
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tcp_lite::wire::Sum;
use tcp_lite::{App, CloseReason, Deadline, Endpoint, Flow, Full, Instant, Io};

use answer::Answered;

/// Requests after which a connection's headers are kept for turns. To keep them costs what one saves: most connections end
/// behind their first or second request, or go on.
const REQUESTS_BEFORE_TURNS: u32 = 2;

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
    /// That of its listener.
    fallback: Fallback,
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
    /// The way of whole connections into the kernel; `None`: there is none.
    kernel: Option<Box<dyn Handoff>>,
    /// Where somebody listened when last asked, and when to ask again.
    listening: HashMap<Endpoint, Instant>,
    /// Connections in [`Phase::Leaving`].
    leaving: usize,
    draining: bool,
    /// The last request was alone in its segment, was found in `repeats`, and is not one of its connection's first: what is
    /// behind its listener.
    lone: Option<Fallback>,
    /// Requests a connection may make; none once it drains.
    most_requests: u32,
    now: Now,
    /// Until when a connection may be idle whose request came now.
    idle_until: Deadline,
    counters: HttpCounters,
    routes: RouteCounters,
    /// Answers that are not in the counters yet.
    repeated: Repeated,
}

/// Repetitions of one kind, added up: most are of the kind of the one before.
#[derive(Default)]
struct Repeated {
    kind: (u16, RouteId),
    times: u64,
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
            idle_until: Deadline::new(Instant(0), Instant(0) + limits.idle_timeout),
            most_requests: limits.requests_per_connection,
            limits,
            flows,
            kernel,
            listening: HashMap::new(),
            leaving: 0,
            draining: false,
            lone: None,
            now: Now::default(),
            counters: HttpCounters::default(),
            repeated: Repeated::default(),
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
        self.note_idle();
        self.refresh();
    }

    /// To be called before a frame that was taken later.
    pub(super) fn refresh(&mut self) {
        if self.generations.refresh() {
            self.count_repeated();
            self.repeats.forget();
            self.routes.follow(self.generations.snapshot().routes());
        }
    }

    /// To be called after each batch.
    pub fn end_batch(&mut self) {
        self.count_repeated();
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
        self.most_requests = 0;
    }

    /// Other limits, for what begins from now on.
    pub(super) fn limit(&mut self, limits: Limits) {
        self.limits = limits;
        if !self.draining {
            self.most_requests = self.limits.requests_per_connection;
        }
        self.note_idle();
        self.repeats.forget();
    }

    fn note_idle(&mut self) {
        let now = self.now.mono;
        self.idle_until = Deadline::new(now, now + self.limits.idle_timeout);
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

    /// No head is under way.
    #[inline]
    fn idle(&self, io: &mut Io<'_, Self>) {
        io.conn().phase = Phase::Idle;
        io.put_deadline(self.idle_until);
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
        io.conn().fallback = self.fallback(&io.flow().local);
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
            match self.repeat(io, &unread[used..], used == 0) {
                Some(Ok((_, Answered::Close))) => {
                    io.close();
                    return unread.len();
                }
                Some(Ok((len, Answered::KeepAlive | Answered::Left))) => {
                    used += len;
                    if used == unread.len() {
                        self.idle(io);
                        return used;
                    }
                }
                Some(Err(Full)) => {
                    self.idle(io);
                    return used;
                }
                None => match self.next(now, io, unread, used) {
                    ControlFlow::Continue(behind) => used = behind,
                    ControlFlow::Break(used) => return used,
                },
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
