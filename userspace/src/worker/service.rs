//! HTTP/1.1 over TCP: what a connection's bytes ask for, and which pieces answer them.

use super::clock::Now;
use super::counters::HttpCounters;
use super::generations::{Generations, Piece};
use super::leaving;
use super::repeat::{self, Answer, Repeats};
use super::routes::{RouteBoard, RouteCounters};
use crate::handoff::Handoff;
use crate::http::{self, Head, Parsed, Status};
use crate::net::Link;
use crate::reason::{Fate, NotOurs, NotTaken};
use crate::route::{self, Decision, Refusal};
use crate::store::{ConnectionField, Current, Form, Rendering, ResponseId, RouteId};
use sidestep_config::Fallback;
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tcp_lite::wire::Sum;
use tcp_lite::{App, CloseReason, Detached, Endpoint, Flow, Full, Instant, Io};

/// Requests after which a connection is entered in the XDP program's flow table. The entry saves the program a
/// socket lookup of about 100 ns for each later segment and costs two system calls of some hundred each: it
/// pays from about eight on, and a connection that has made eight will likely make more.
const REQUESTS_BEFORE_FLOW_ENTRY: u32 = 8;

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

/// The XDP program's table of flows that a worker owns. Only a speed-up: a failure is of no consequence.
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

/// How an answer leaves its connection.
enum Answered {
    KeepAlive,
    Close,
    /// Not at all: the kernel's server will answer.
    Left,
}

impl Answered {
    fn of(connection: ConnectionField) -> Self {
        match connection {
            ConnectionField::Close => Self::Close,
            ConnectionField::None | ConnectionField::KeepAlive => Self::KeepAlive,
        }
    }
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

    /// The way of whole connections into the kernel.
    pub(super) fn kernel(&mut self) -> Option<&mut (dyn Handoff + 'static)> {
        self.kernel.as_deref_mut()
    }

    /// How many more connections may be under way to the kernel.
    pub(super) fn room(&self) -> usize {
        leaving::CAPACITY.saturating_sub(self.leaving)
    }

    /// A connection has left TCP for the kernel.
    pub(super) fn left(&mut self, detached: &mut Detached<Self>) {
        let known = detached.conn().requests >= REQUESTS_BEFORE_FLOW_ENTRY;
        // First of all: while the entry is there, the kernel gets nothing of what the client sends.
        if known && let Some(flows) = &mut self.flows {
            flows.remove(detached.flow());
        }
    }

    /// The kernel took `count` connections.
    pub(super) fn taken(&mut self, count: usize) {
        self.leaving -= count;
        self.counters.handed_over += count as u64;
    }

    /// The kernel did not take a connection.
    pub(super) fn came_back(&mut self, conn: &mut HttpConn, why: NotTaken) {
        self.leaving -= 1;
        self.counters.not_taken(why);
        // Something has changed there, or the listener is of a kind that wants another way.
        self.listening.clear();
        conn.phase = Phase::Back;
    }

    /// Lets the connection go to the kernel's server, if there is one and room on the way.
    fn leave(&mut self, io: &mut Io<'_, Self>) -> Result<(), NotTaken> {
        let room = self.room();
        let local = io.flow().local;
        let kernel = self.kernel.as_mut().ok_or(NotTaken::Refused)?;
        if room == 0 {
            return Err(NotTaken::NoRoom);
        }
        let now = self.now.mono;
        if self.listening.get(&local).is_none_or(|until| *until <= now) {
            if !kernel.listens(&local) {
                return Err(NotTaken::NoListener);
            }
            self.listening.insert(local, now + LISTENS);
        }
        self.leaving += 1;
        io.conn().phase = Phase::Leaving;
        io.hand_off();
        Ok(())
    }

    /// Leaves the request at the start of what is unread to the kernel, or refuses it.
    fn step_aside(
        &mut self,
        io: &mut Io<'_, Self>,
        route: RouteId,
        reason: NotOurs,
        head: Option<&Head<'_>>,
        last: bool,
    ) -> Result<Answered, Full> {
        // A connection that came back was counted then.
        if io.conn().phase != Phase::Back {
            match self.leave(io) {
                Ok(()) => {
                    self.counters.left(reason);
                    self.routes.count(route, Fate::Left(reason), 1);
                    return Ok(Answered::Left);
                }
                Err(why) => self.counters.not_taken(why),
            }
        }
        // RFC 5861, 4.
        if reason == NotOurs::Cached
            && let Some(head) = head
            && let Some((response, form)) =
                route::rescue(self.generations.snapshot(), route, head, self.now)
        {
            let connection = ConnectionField::of(head, last);
            self.queue(io, response, connection, form)?;
            self.routes.count(route, Fate::Stale, 1);
            return Ok(Answered::of(connection));
        }
        let refusal = route::unserved(reason, head);
        self.refuse(io, route, head, last, &refusal)
            .map(Answered::of)
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

    /// Queues the answers to the requests that `rest` begins with if they are, byte for byte, one that was answered
    /// before; how many bytes they take. `None`: it is another one, or its answer may be another one this time.
    #[inline]
    fn repeat(&mut self, io: &mut Io<'_, Self>, rest: &[u8]) -> Option<Result<usize, Full>> {
        let before = io.conn().requests;
        // One less than there may be: the last answer says that it is the last.
        let most =
            self.limits.requests_per_connection - before.min(self.limits.requests_per_connection);
        if self.draining || most <= 1 {
            return None;
        }
        let fallback = self.usual_fallback(&io.flow().local);
        let (answer, len) = self.repeats.find(rest, fallback)?;
        let answer = *answer;
        if answer.learned
            && !self
                .generations
                .snapshot()
                .is_still_fresh(answer.piece.id(), self.now)
        {
            return None;
        }
        let most = u16::try_from(most - 1).unwrap_or(u16::MAX);
        let times = repeat::times(rest, len, most);
        let times = match io.send_run(answer.piece, answer.len, times) {
            Ok(times) => times,
            Err(Full) => return Some(Err(Full)),
        };
        self.generations.sent();
        self.counters.answered(answer.status, times);
        self.counters.repeated += u64::from(times);
        self.routes.count(answer.route, Fate::Served, times);
        let conn = io.conn();
        conn.requests += u32::from(times);
        conn.scanned = 0;
        conn.phase = Phase::Idle;
        self.note_flow(io, before);
        Some(Ok(len * usize::from(times)))
    }

    /// Queues the answer to the request in `head`, which `bytes` are.
    fn answer(
        &mut self,
        io: &mut Io<'_, Self>,
        head: &Head<'_>,
        bytes: &[u8],
    ) -> Result<Answered, Full> {
        let before = io.conn().requests;
        let last = self.draining || before + 1 >= self.limits.requests_per_connection;
        let fallback = self.usual_fallback(&io.flow().local);
        let (route, decision) =
            route::decide(self.generations.snapshot(), head, fallback, self.now);
        let connection = match decision {
            Decision::Serve {
                response,
                form,
                stale,
            } => {
                let connection = ConnectionField::of(head, last);
                let answer = self.queue(io, response, connection, form)?;
                let fate = if stale { Fate::Stale } else { Fate::Served };
                self.routes.count(route, fate, 1);
                if !stale && connection != ConnectionField::Close {
                    let answer = Answer { route, ..answer };
                    self.repeats.keep(bytes, fallback, answer);
                }
                connection
            }
            Decision::HandOff(reason) => {
                return self.step_aside(io, route, reason, Some(head), last);
            }
            Decision::Refuse(refusal) => self.refuse(io, route, Some(head), last, &refusal)?,
        };
        self.note_flow(io, before);
        Ok(Answered::of(connection))
    }

    /// Enters the connection, which had `before` requests, in the XDP program's table if it has enough now.
    #[inline]
    fn note_flow(&mut self, io: &mut Io<'_, Self>, before: u32) {
        if before < REQUESTS_BEFORE_FLOW_ENTRY
            && io.conn().requests >= REQUESTS_BEFORE_FLOW_ENTRY
            && let Some(flows) = &mut self.flows
        {
            flows.insert(io.flow());
        }
    }

    /// No head is under way.
    fn idle(&self, now: Instant, io: &mut Io<'_, Self>) {
        io.conn().phase = Phase::Idle;
        io.set_deadline(Some(now + self.limits.idle_timeout));
    }

    /// Queues an answer of our own. Without a head nothing behind it can be understood, so that it is the last.
    fn refuse(
        &mut self,
        io: &mut Io<'_, Self>,
        route: RouteId,
        head: Option<&Head<'_>>,
        last: bool,
        refusal: &Refusal,
    ) -> Result<ConnectionField, Full> {
        let connection = head.map_or(ConnectionField::Close, |head| {
            ConnectionField::of(head, refusal.close || last)
        });
        let id = self.generations.snapshot().refusal(route, refusal.status);
        self.queue(io, id, connection, Form::whole(refusal.body))?;
        self.counters.not_ours(refusal.reason);
        self.routes.count(route, Fate::Refused(refusal.reason), 1);
        Ok(connection)
    }

    fn queue(
        &mut self,
        io: &mut Io<'_, Self>,
        id: ResponseId,
        connection: ConnectionField,
        form: Form,
    ) -> Result<Answer, Full> {
        let rendering = Rendering {
            id,
            date: self.now.unix,
            connection,
            form,
        };
        let snapshot = self.generations.snapshot();
        let answer = Answer {
            piece: self.generations.piece(rendering),
            len: snapshot.len(&rendering),
            status: form.status(snapshot.status(id)),
            route: RouteId::NONE,
            learned: id.is_learned(),
        };
        io.send(answer.piece, answer.len)?;
        self.generations.sent();
        io.conn().requests += 1;
        self.counters.answered(answer.status, 1);
        Ok(answer)
    }
}

impl App for Service {
    type Link = Link;
    type Conn = HttpConn;
    type Piece = Piece;

    fn on_established(&mut self, now: Instant, io: &mut Io<'_, Self>) {
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
                Some(Ok(len)) => {
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
        if conn.requests >= REQUESTS_BEFORE_FLOW_ENTRY
            && let Some(flows) = &mut self.flows
        {
            flows.remove(flow);
        }
    }
}
