//! The client: many connections, frames in, frames out, no I/O and no clock.
//!
//! ```text
//!  Opening ──► Warming ──► Measuring ──► Draining ──► Leaving ──► Done
//!  handshakes  requests, not counted     answers are   all are
//!  only                                  waited for    closed
//! ```
//! It is a whole TCP client but for what a generator can do without: it keeps nothing that comes out of order (the
//! peer sends it again), has no congestion control (what is outstanding is bounded instead), and one estimate of the
//! round trip time for all connections, which are to one peer.

mod arrive;
mod pace;
mod send;
mod state;
#[cfg(test)]
mod tests;
mod timers;

use super::answers::Expected;
use super::conn::{Conn, State, mark};
use super::neighbours::Neighbours;
use super::requests::Requests;
use super::sources::Sources;
use super::tally::{Failure, Tally};
use super::wheel::Wheel;
use super::wire::{self, Template};
use pace::Pace;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use timers::Rtt;

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// Where frames go.
pub(crate) trait Sink {
    /// Sends a frame of `len` bytes that `fill` writes; false when there is no room for it now.
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool;
}

/// What to do.
pub(crate) struct Settings {
    pub(crate) sources: Sources,
    pub(crate) template: Template,
    pub(crate) neighbours: Neighbours,
    pub(crate) requests: Requests,
    /// The answers, and which of them belongs to each request of the circle.
    pub(crate) expected: Vec<Expected>,
    pub(crate) path_of: Vec<u16>,
    /// Largest segment in bytes.
    pub(crate) mss: u16,
    pub(crate) connections: u32,
    /// How many of them ask.
    pub(crate) active: u32,
    /// Requests under way on a connection at most.
    pub(crate) depth: u32,
    /// Requests of a connection before it is closed; 0: no limit.
    pub(crate) per_connection: u32,
    /// Requests per second over all; `None`: as soon as there is an answer.
    pub(crate) rate: Option<f64>,
    /// Connections that wait for the peer at once.
    pub(crate) in_flight: u32,
    /// Compare each so manieth body; 0: none.
    pub(crate) compare_each: u32,
    /// Look at checksums.
    pub(crate) check_sums: bool,
    /// Longest that an answer is waited for.
    pub(crate) patience: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) seconds: Duration,
    /// Connections are left as they are at the end.
    pub(crate) abandon: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Opening,
    Warming,
    Measuring,
    Draining,
    Leaving,
    Done,
}

/// See the module.
pub(crate) struct Engine {
    set: Settings,
    conns: Vec<Conn>,
    /// When each request under way was sent or should have been, [`STAMP`] nanoseconds each, a ring for each connection.
    stamps: Vec<u32>,
    /// Entries of a ring, a power of two, as its logarithm.
    ring: u32,
    wheel: Wheel,
    due: Vec<u32>,
    /// Connections that may ask.
    ready: VecDeque<u32>,
    /// Acknowledgments that may wait for a request to carry them, with the time, in milliseconds.
    later: VecDeque<(u32, u32)>,
    /// Connections that got data in this batch.
    touched: Vec<u32>,
    /// Connections that could not send for want of room.
    blocked: Vec<u32>,
    /// Heads that have not come whole.
    partial: HashMap<u32, Vec<u8>>,
    phase: Phase,
    /// When the phase began, in nanoseconds.
    since: u64,
    /// Connections that were begun to be opened, or while leaving, to be closed.
    begun: u32,
    open: u32,
    /// Connections that will not be opened any more.
    dead: u32,
    busy: u32,
    rtt: Rtt,
    pace: Pace,
    /// Bodies since the last one that was compared.
    uncompared: u32,
    tally: Tally,
    /// The first thing that was wrong, for people.
    first_wrong: Option<String>,
    /// Connections open when the measuring ended.
    counted: u32,
}

/// Nanoseconds that a stamp counts: 32 bits then last for four minutes, longer than any answer is waited for.
const STAMP: u64 = 64;

/// How soon to try again what had no room, in nanoseconds: a ring drains in well under this.
const BLOCKED: u64 = MS / 4;

impl Engine {
    /// A client that begins at `now`, in nanoseconds.
    pub(crate) fn new(set: Settings, now: u64) -> Self {
        let ring = set.depth.next_power_of_two().ilog2();
        let mut conns = vec![Conn::default(); set.connections as usize];
        for (index, conn) in (0..).zip(&mut conns) {
            conn.port = set.sources.port(index);
            conn.which = (index % u32::from(set.requests.len())) as u16;
            conn.end = state::initial(index);
        }
        Self {
            stamps: vec![0; (set.connections as usize) << ring],
            ring,
            conns,
            wheel: Wheel::new((now / MS) as u32),
            due: Vec::new(),
            ready: VecDeque::new(),
            later: VecDeque::new(),
            touched: Vec::new(),
            blocked: Vec::new(),
            partial: HashMap::new(),
            phase: Phase::Opening,
            since: now,
            begun: 0,
            open: 0,
            dead: 0,
            busy: 0,
            rtt: Rtt::default(),
            pace: Pace::new(set.rate, now),
            uncompared: 0,
            tally: Tally::new(),
            first_wrong: None,
            counted: 0,
            set,
        }
    }

    /// Connections that there are to be.
    pub(crate) fn connections(&self) -> usize {
        self.set.connections as usize
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Connections that were open when the measuring ended.
    pub(crate) fn counted(&self) -> u32 {
        self.counted
    }

    /// The first thing that was wrong with an answer.
    pub(crate) fn first_wrong(&self) -> Option<&str> {
        self.first_wrong.as_deref()
    }

    /// What has come since the last [`Self::turn`].
    pub(crate) fn on_frame(&mut self, now: u64, frame: &[u8], sink: &mut impl Sink) {
        match wire::parse(frame, self.set.check_sums) {
            Some(segment) => self.arrive(now, segment, sink),
            None => self.set.neighbours.answer(frame, sink),
        }
    }

    /// All that is to be done besides: timers, acknowledgments, new requests, new connections. To be called behind each
    /// batch of frames, and when [`Self::next`] has come. False once all is done.
    pub(crate) fn turn(&mut self, now: u64, sink: &mut impl Sink) -> bool {
        self.retry_blocked(now, sink);
        self.run_timers(now, sink);
        self.step(now);
        match self.phase {
            Phase::Opening => self.open_more(now, sink),
            Phase::Warming | Phase::Measuring => self.ask_more(now, sink),
            Phase::Draining => {}
            Phase::Leaving => self.close_more(now, sink),
            Phase::Done => return false,
        }
        self.acknowledge(now, sink);
        true
    }

    /// When [`Self::turn`] has to be called again at the latest, in nanoseconds.
    pub(crate) fn next(&self, now: u64) -> u64 {
        if !self.blocked.is_empty() {
            return now + BLOCKED;
        }
        let walks = matches!(self.phase, Phase::Opening | Phase::Leaving);
        if walks && self.begun < self.set.connections && self.busy < self.set.in_flight {
            return now;
        }
        let wheel = self.wheel.next().map_or(u64::MAX, |at| u64::from(at) * MS);
        let later = self
            .later
            .front()
            .map_or(u64::MAX, |(at, _)| u64::from(*at) * MS);
        let pace = if self.asks() && !self.ready.is_empty() && self.busy < self.set.in_flight {
            self.pace.next()
        } else {
            u64::MAX
        };
        let until = self
            .phase_length()
            .map_or(u64::MAX, |length| self.since + length);
        wheel.min(later).min(pace).min(until)
    }

    /// Whether new requests are sent.
    fn asks(&self) -> bool {
        matches!(self.phase, Phase::Warming | Phase::Measuring)
    }

    /// How long the phase lasts at the most, in nanoseconds.
    fn phase_length(&self) -> Option<u64> {
        /// Every connection takes its part of the time it needs, and as long as this altogether.
        const LEAVING: Duration = Duration::from_secs(5);
        let length = match self.phase {
            Phase::Opening | Phase::Done => return None,
            Phase::Warming => self.set.warm_up,
            Phase::Measuring => self.set.seconds,
            Phase::Draining => self.set.patience,
            Phase::Leaving => LEAVING + Duration::from_micros(20) * self.set.connections,
        };
        Some(length.as_nanos() as u64)
    }

    /// Goes on to the next phase when this one is over.
    fn step(&mut self, now: u64) {
        loop {
            let over = self
                .phase_length()
                .is_some_and(|length| now >= self.since + length);
            let next = match self.phase {
                Phase::Opening if self.open + self.dead == self.set.connections => Phase::Warming,
                Phase::Warming if over => Phase::Measuring,
                Phase::Measuring if over => Phase::Draining,
                Phase::Draining if over || self.busy == 0 => Phase::Leaving,
                Phase::Leaving if over || self.set.abandon => Phase::Done,
                Phase::Leaving if self.begun == self.set.connections && self.busy == 0 => {
                    Phase::Done
                }
                _ => return,
            };
            // Phases follow upon one another without a gap, so that each lasts as long as it should.
            self.since = match self.phase {
                Phase::Warming | Phase::Measuring => self.since + self.phase_length().unwrap_or(0),
                _ => now,
            };
            self.phase = next;
            match next {
                Phase::Warming => {
                    self.pace.begin(now);
                    self.ready_all();
                }
                Phase::Measuring => self.tally.begin(),
                Phase::Draining => self.counted = self.open,
                Phase::Leaving => self.leave(),
                Phase::Opening | Phase::Done => {}
            }
        }
    }

    /// All active connections may ask.
    fn ready_all(&mut self) {
        for index in 0..self.set.connections {
            self.may_ask(index);
        }
    }

    /// What is unanswered stays so; all connections that are open are to be closed.
    fn leave(&mut self) {
        self.begun = 0;
        self.ready.clear();
        let open = |conn: &&Conn| conn.state == State::Open;
        let unanswered = self
            .conns
            .iter()
            .filter(open)
            .map(|conn| u64::from(conn.waiting()))
            .sum();
        self.tally.failed(Failure::Unanswered, unanswered);
    }

    /// Whether connection `index` is one of those that ask.
    #[inline]
    fn is_active(&self, index: u32) -> bool {
        let (all, active) = (self.set.connections, self.set.active);
        if active == all {
            return true;
        }
        let stride = all / active;
        index.is_multiple_of(stride) && index / stride < active
    }

    /// Queues connection `index` to ask, if it may.
    #[inline]
    fn may_ask(&mut self, index: u32) {
        if !self.asks() || !self.is_active(index) {
            return;
        }
        let room = if self.pace.is_closed() {
            1
        } else {
            self.set.depth
        };
        let per_connection = self.set.per_connection;
        let conn = &mut self.conns[index as usize];
        let left = per_connection == 0 || conn.asked < per_connection;
        if conn.state == State::Open
            && conn.waiting() < room
            && left
            && !conn.has(mark::QUEUED | mark::LAST)
        {
            conn.set(mark::QUEUED, true);
            self.ready.push_back(index);
        }
    }

    /// Counts connection `index` as one that waits, or no more.
    #[inline]
    fn settle(&mut self, index: u32) {
        let conn = &mut self.conns[index as usize];
        let busy = conn.is_busy();
        if busy != conn.has(mark::BUSY) {
            conn.set(mark::BUSY, busy);
            if busy {
                self.busy += 1;
            } else {
                self.busy -= 1;
            }
        }
    }
}
