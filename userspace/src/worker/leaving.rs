//! Connections on their way to the kernel: from the moment TCP lets them go until the kernel's socket exists.
//!
//! The kernel builds a socket from a ticket and a *carrier*, the segment that the client would have sent next. Until it
//! has, everything that comes for the flow waits here, behind the unread bytes; then it goes the same way, in order.

use super::process::Injecting;
use super::service::Service;
use crate::handoff::{Handoff, Standing, Ticket};
use crate::net;
use crate::reason::NotTaken;
use std::collections::HashMap;
use std::time::Duration;
use tcp_lite::wire::{Flags, Header, Options};
use tcp_lite::{Detached, Flow, Instant};

/// Connections that may be under way at once. Nearly all take less than a batch; what is left waits for a place in the
/// server's accept queue, and a server that is so far behind is not helped by more of them. Too few, and a drain takes
/// more rounds.
pub const CAPACITY: usize = 1024;

/// Bytes of frames kept for all of them. What is lost past it was never acknowledged and comes again.
const FRAME_BYTES: usize = 16 << 20;

/// How soon to look whether the socket exists. The injected carrier is mostly through when `inject` returns; if not, a
/// softirq is late by tens of microseconds. Doubles each time.
const LOOK: Duration = Duration::from_micros(100);

/// From this much waiting on, the carrier is sent again with each look: it was lost, or the accept queue was full.
/// Sooner only adds to the load of a server that is behind.
const REPEAT: Duration = Duration::from_millis(10);

/// Longest time between two looks: how late a place in the accept queue is noticed.
const LOOK_MOST: Duration = Duration::from_millis(160);

/// When nobody took it, the client gets an answer of ours. A client behind a full accept queue waits as long for its
/// second SYN to be repeated; much longer and it has given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Unread bytes in one carrier, so that an IP packet holds them with any headers.
const CARRIER: usize = 32 << 10;

/// A connection that came back, and the frames that came for it since, in order.
pub struct Returned {
    /// The connection.
    pub detached: Detached<Service>,
    /// Whole frames.
    pub frames: Vec<Vec<u8>>,
    /// Why nobody took it.
    pub why: NotTaken,
}

struct Entry {
    detached: Detached<Service>,
    frames: Vec<Vec<u8>>,
    /// When it comes back.
    until: Instant,
    /// When to look again, and how long after the last time that is.
    look: Instant,
    wait: Duration,
    end: Option<Result<(), NotTaken>>,
}

/// See the module's documentation.
#[derive(Default)]
pub struct Leaving {
    flows: HashMap<Flow, Entry>,
    frame_bytes: usize,
}

impl Leaving {
    /// Is nothing under way?
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Is this flow under way?
    #[inline]
    pub fn has(&self, flow: &Flow) -> bool {
        !self.flows.is_empty() && self.flows.contains_key(flow)
    }

    /// A connection has left TCP; it is offered with the next `step`.
    pub fn add(&mut self, now: Instant, detached: Detached<Service>) {
        let entry = Entry {
            frames: Vec::new(),
            until: now + PATIENCE,
            look: now,
            wait: Duration::ZERO,
            end: None,
            detached,
        };
        self.flows.insert(*entry.detached.flow(), entry);
    }

    /// Keeps a frame of a flow that is under way; false if there is no room.
    pub fn keep(&mut self, flow: &Flow, frame: Vec<u8>) -> bool {
        let Some(entry) = self.flows.get_mut(flow) else {
            return false;
        };
        if self.frame_bytes + frame.len() > FRAME_BYTES {
            return false;
        }
        self.frame_bytes += frame.len();
        entry.frames.push(frame);
        true
    }

    /// Offers what is new, looks after what waits, and gives back what nobody takes.
    pub fn step(
        &mut self,
        now: Instant,
        kernel: &mut dyn Handoff,
        injector: &mut Injecting<'_>,
    ) -> Vec<Returned> {
        let ended: Vec<Entry> = self
            .flows
            .extract_if(|_, entry| {
                if entry.look <= now {
                    entry.end = entry.step(now, kernel, injector);
                }
                entry.end.is_some()
            })
            .map(|(_, entry)| entry)
            .collect();
        let mut returned = Vec::new();
        for entry in ended {
            kernel.forget(entry.detached.flow());
            self.frame_bytes -= entry.frames.iter().map(Vec::len).sum::<usize>();
            if let Some(Err(why)) = entry.end {
                returned.push(Returned {
                    detached: entry.detached,
                    frames: entry.frames,
                    why,
                });
            }
        }
        returned
    }

    /// When `step` has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.flows.values().map(|entry| entry.look).min()
    }
}

impl Entry {
    /// `Some` when its time here is over: the kernel has it, or nobody takes it.
    fn step(
        &mut self,
        now: Instant,
        kernel: &mut dyn Handoff,
        injector: &mut Injecting<'_>,
    ) -> Option<Result<(), NotTaken>> {
        let flow = *self.detached.flow();
        let mut standing = match self.wait {
            Duration::ZERO => Standing::Pending,
            _ => kernel.standing(&flow),
        };
        let again = match standing {
            Standing::Pending | Standing::Waits => {
                self.wait == Duration::ZERO || self.wait >= REPEAT
            }
            Standing::Taken | Standing::Ready | Standing::NoListener | Standing::Refused(_) => {
                false
            }
        };
        if again {
            let ticket = self.ticket(now);
            standing = match kernel.offer(&ticket) {
                Ok(standing) => standing,
                Err(_) => return Some(Err(NotTaken::Refused)),
            };
            if standing == Standing::Pending {
                let mut carrier = self.carrier(now, 0);
                kernel.label(&ticket, &mut carrier);
                injector.carry(&mut carrier);
                standing = kernel.standing(&flow);
            }
        }
        match standing {
            Standing::Ready => {
                injector.inject(&mut self.carrier(now, 0));
                self.follow(now, injector);
                Some(Ok(()))
            }
            Standing::Taken => {
                self.follow(now, injector);
                Some(Ok(()))
            }
            Standing::NoListener => Some(Err(NotTaken::NoListener)),
            Standing::Refused(_) => Some(Err(NotTaken::Refused)),
            Standing::Pending | Standing::Waits if self.until <= now => {
                Some(Err(NotTaken::TooLate))
            }
            Standing::Pending | Standing::Waits => {
                self.wait = (self.wait * 2).clamp(LOOK, LOOK_MOST);
                self.look = now + self.wait;
                None
            }
        }
    }

    /// Everything behind the first carrier.
    fn follow(&mut self, now: Instant, injector: &mut Injecting<'_>) {
        let rest = self.detached.unread().len();
        for from in (CARRIER..rest).step_by(CARRIER) {
            injector.inject(&mut self.carrier(now, from));
        }
        let frames = self.frames.iter_mut();
        frames.for_each(|frame| injector.inject(frame));
    }

    fn ticket(&self, now: Instant) -> Ticket {
        let terms = self.detached.terms(now);
        Ticket {
            flow: *self.detached.flow(),
            seq: terms.seq.0,
            ack: terms.ack.0,
            mss: terms.mss,
            snd_wscale: terms.snd_shift,
            rcv_wscale: terms.rcv_shift,
            sack: terms.sack,
            ecn: terms.ecn,
            timestamps: terms.timestamps.map(|ts| (ts.val, ts.ecr)),
        }
    }

    /// The client's segment with the unread bytes from `from` on, and its FIN behind the last.
    fn carrier(&self, now: Instant, from: usize) -> Vec<u8> {
        let terms = self.detached.terms(now);
        let unread = self.detached.unread();
        let end = unread.len().min(from + CARRIER);
        let last = end == unread.len();
        let header = Header {
            seq: terms.seq + from as u32,
            ack: terms.ack,
            flags: Flags::ACK
                .with_if(last && !unread.is_empty(), Flags::PSH)
                .with_if(last && self.detached.fin(), Flags::FIN),
            window: terms.window,
            options: Options {
                timestamps: terms.timestamps,
                ..Options::default()
            },
        };
        net::from_peer(
            self.detached.flow(),
            self.detached.link(),
            &header,
            &unread[from..end],
        )
    }
}
