//! HTTP/1.1 over TCP: what a connection's bytes ask for, and which pieces answer them.

use super::clock::Now;
use super::counters::HttpCounters;
use crate::http::{self, Head, Parsed, Status};
use crate::net::Link;
use crate::reason::NotOurs;
use crate::route::{self, Decision, Refusal};
use crate::store::{ConnectionField, Rendering, ResponseId, Snapshot};
use sidestep_config::Fallback;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tcp_lite::wire::Sum;
use tcp_lite::{App, CloseReason, Endpoint, Flow, Full, Instant, Io};

/// Requests after which a connection is entered in the XDP program's flow table. The entry saves the program a
/// socket lookup of about 100 ns for each later segment and costs two system calls of some hundred each: it
/// pays from about eight on, and a connection that has made eight will likely make more.
const REQUESTS_BEFORE_FLOW_ENTRY: u32 = 8;

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
}

/// The application on top of TCP.
pub struct Service {
    snapshot: Arc<Snapshot>,
    listeners: BTreeMap<SocketAddr, Fallback>,
    limits: Limits,
    flows: Option<Box<dyn FlowIndex + Send>>,
    unix: u32,
    counters: HttpCounters,
}

/// How an answer leaves its connection.
enum Answered {
    KeepAlive,
    Close,
}

impl Service {
    /// Answers from `snapshot` on `listeners`.
    pub fn new(
        snapshot: Arc<Snapshot>,
        listeners: BTreeMap<SocketAddr, Fallback>,
        limits: Limits,
        flows: Option<Box<dyn FlowIndex + Send>>,
    ) -> Self {
        Self {
            snapshot,
            listeners,
            limits,
            flows,
            unix: 0,
            counters: HttpCounters::default(),
        }
    }

    /// To be called with the time before each batch.
    pub fn begin_batch(&mut self, now: Now) {
        self.unix = now.unix;
    }

    /// True when a server in the kernel may be behind `local`.
    pub fn steps_aside(&self, local: &Endpoint) -> bool {
        self.fallback(local) == Fallback::Kernel
    }

    /// What it counts.
    pub fn counters(&self) -> &HttpCounters {
        &self.counters
    }

    /// The XDP program lets only listeners' segments through; for anything else the kernel is the right place.
    fn fallback(&self, local: &Endpoint) -> Fallback {
        let at = SocketAddr::new(local.addr.into(), local.port);
        self.listeners.get(&at).copied().unwrap_or(Fallback::Kernel)
    }

    /// Queues the answer to the request in `head`.
    fn answer(&mut self, io: &mut Io<'_, Self>, head: &Head<'_>) -> Result<Answered, Full> {
        let last = io.conn().requests + 1 >= self.limits.requests_per_connection;
        // A connection cannot be handed over yet, so that every request is judged here.
        let connection = match route::decide(&self.snapshot, head, Fallback::None) {
            Decision::Serve { response, body } => {
                let connection = ConnectionField::of(head, last);
                self.queue(io, response, connection, body)?;
                connection
            }
            Decision::HandOff(reason) => {
                self.refuse(io, Some(head), last, &route::refuse(reason, Some(head)))?
            }
            Decision::Refuse(refusal) => self.refuse(io, Some(head), last, &refusal)?,
        };
        if io.conn().requests == REQUESTS_BEFORE_FLOW_ENTRY
            && let Some(flows) = &mut self.flows
        {
            flows.insert(io.flow());
        }
        Ok(match connection {
            ConnectionField::Close => Answered::Close,
            ConnectionField::None | ConnectionField::KeepAlive => Answered::KeepAlive,
        })
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
        head: Option<&Head<'_>>,
        last: bool,
        refusal: &Refusal,
    ) -> Result<ConnectionField, Full> {
        let connection = head.map_or(ConnectionField::Close, |head| {
            ConnectionField::of(head, refusal.close || last)
        });
        let id = self.snapshot.refusal(refusal.status);
        self.queue(io, id, connection, refusal.body)?;
        self.counters.not_ours(refusal.reason);
        Ok(connection)
    }

    fn queue(
        &mut self,
        io: &mut Io<'_, Self>,
        id: ResponseId,
        connection: ConnectionField,
        body: bool,
    ) -> Result<(), Full> {
        let piece = Rendering {
            id,
            date: self.unix,
            connection,
            body,
        };
        io.send(piece, self.snapshot.len(&piece))?;
        io.conn().requests += 1;
        self.counters.answered(self.snapshot.status(id));
        Ok(())
    }
}

impl App for Service {
    type Link = Link;
    type Conn = HttpConn;
    type Piece = Rendering;

    fn on_established(&mut self, now: Instant, io: &mut Io<'_, Self>) {
        io.set_deadline(Some(now + self.limits.idle_timeout));
    }

    fn on_data(&mut self, now: Instant, io: &mut Io<'_, Self>, unread: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let rest = &unread[used..];
            if rest.is_empty() {
                self.idle(now, io);
                return used;
            }
            let scanned = usize::from(io.conn().scanned);
            match http::parse(rest, scanned, self.limits.header_bytes) {
                Parsed::Complete { head, len } => {
                    let answered = self.answer(io, &head);
                    io.conn().scanned = 0;
                    match answered {
                        Ok(Answered::KeepAlive) => used += len,
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
                    if io.conn().phase == Phase::Idle || used > 0 {
                        io.conn().phase = Phase::Head;
                        io.set_deadline(Some(now + self.limits.header_timeout));
                    }
                    return used;
                }
                Parsed::Invalid(error) => {
                    let refusal = route::refuse(NotOurs::Malformed(error), None);
                    return match self.refuse(io, None, true, &refusal) {
                        Ok(_) => {
                            io.close();
                            unread.len()
                        }
                        Err(Full) => used,
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
            // A long answer is still on its way: TCP's user timeout bounds that.
            Phase::Idle if io.sending() => {
                io.set_deadline(Some(now + self.limits.idle_timeout));
            }
            Phase::Idle => {
                self.counters.idle_timeouts += 1;
                io.close();
            }
            Phase::Head => {
                self.counters.header_timeouts += 1;
                let id = self.snapshot.refusal(Status::RequestTimeout);
                match self.queue(io, id, ConnectionField::Close, true) {
                    Ok(()) => io.close(),
                    Err(Full) => io.abort(),
                }
            }
        }
    }

    fn fill(&mut self, piece: &Rendering, offset: u32, buf: &mut [u8]) -> Sum {
        self.snapshot.fill(piece, offset, buf);
        Sum::of(buf)
    }

    fn on_release(&mut self, _piece: Rendering) {}

    fn on_closed(&mut self, flow: &Flow, conn: HttpConn, _why: CloseReason) {
        if conn.requests >= REQUESTS_BEFORE_FLOW_ENTRY
            && let Some(flows) = &mut self.flows
        {
            flows.remove(flow);
        }
    }
}
