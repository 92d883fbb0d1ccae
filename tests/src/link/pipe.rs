//! One direction of a link as a pure function of frames, time and a seed.

use super::shape::Shape;
use fastrand::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Preamble and start delimiter (8), FCS (4) and inter-frame gap (12) that each frame costs on Ethernet.
const WIRE_OVERHEAD: usize = 24;

/// Destination, source, type.
const ETHERNET_HEADER: usize = 14;

/// What a direction did so far, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames that came in.
    pub offered: u64,
    /// Frames that went out, copies included.
    pub delivered: u64,
    /// Frames lost at random, singly or in a burst.
    pub lost: u64,
    /// Frames lost because the queue in front of the wire was full.
    pub overflowed: u64,
    /// Extra copies made.
    pub duplicated: u64,
    /// Frames held back.
    pub reordered: u64,
    /// Frames with a bit flipped.
    pub corrupted: u64,
}

struct Waiting {
    due: Instant,
    order: u64,
    frame: Vec<u8>,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

/// Frames under way in one direction. The same frames, times and seed give the same result.
pub struct Pipe {
    shape: Shape,
    rng: Rng,
    in_burst: bool,
    waiting: BinaryHeap<Reverse<Waiting>>,
    order: u64,
    /// When the wire has sent all that was accepted for it.
    wire_free: Option<Instant>,
    /// When the last frame that keeps its place comes out.
    last_due: Option<Instant>,
    tally: Tally,
}

impl Pipe {
    /// An empty direction.
    pub fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shape,
            rng: Rng::with_seed(seed),
            in_burst: false,
            waiting: BinaryHeap::new(),
            order: 0,
            wire_free: None,
            last_due: None,
            tally: Tally::default(),
        }
    }

    /// Takes a frame in at `now`.
    pub fn offer(&mut self, now: Instant, frame: &[u8]) {
        self.tally.offered += 1;
        if self.loses() {
            self.tally.lost += 1;
            return;
        }
        let copies = if self.chance(self.shape.duplicate) {
            2
        } else {
            1
        };
        self.tally.duplicated += copies - 1;
        for _ in 0..copies {
            self.put(now, frame);
        }
    }

    /// The next frame that is due at `now`; it stays until [`Pipe::sent`].
    pub fn ready(&self, now: Instant) -> Option<&[u8]> {
        let Reverse(waiting) = self.waiting.peek()?;
        (waiting.due <= now).then_some(&waiting.frame)
    }

    /// The frame from [`Pipe::ready`] went out.
    pub fn sent(&mut self) {
        if self.waiting.pop().is_some() {
            self.tally.delivered += 1;
        }
    }

    /// When the next frame comes out.
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(waiting)| waiting.due)
    }

    /// What was done so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    fn put(&mut self, now: Instant, frame: &[u8]) {
        let Some(sent) = self.serialise(now, frame.len()) else {
            self.tally.overflowed += 1;
            return;
        };
        let mut due = sent + self.shape.delay + self.shape.jitter.mul_f64(self.rng.f64());
        if self.chance(self.shape.reorder) {
            self.tally.reordered += 1;
            due += self.shape.reorder_by;
        } else {
            due = self.last_due.map_or(due, |last| due.max(last));
            self.last_due = Some(due);
        }
        let mut frame = frame.to_vec();
        if self.flip(&mut frame) {
            self.tally.corrupted += 1;
        }
        self.order += 1;
        self.waiting.push(Reverse(Waiting {
            due,
            order: self.order,
            frame,
        }));
    }

    /// When the wire has sent the frame; `None` when the queue in front of it is full.
    fn serialise(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Some(rate) = self.shape.rate else {
            return Some(now);
        };
        let start = self.wire_free.map_or(now, |free| free.max(now));
        let per_byte = 8.0 / rate as f64;
        let queued = (start - now).as_secs_f64() / per_byte;
        if queued > self.shape.queue as f64 {
            return None;
        }
        let end = start + Duration::from_secs_f64((len + WIRE_OVERHEAD) as f64 * per_byte);
        self.wire_free = Some(end);
        Some(end)
    }

    fn loses(&mut self) -> bool {
        if let Some(burst) = self.shape.burst {
            let leave = if self.in_burst {
                burst.leave
            } else {
                burst.enter
            };
            if self.chance(leave) {
                self.in_burst = !self.in_burst;
            }
        }
        self.in_burst || self.chance(self.shape.loss)
    }

    /// Flips at most one bit, behind the Ethernet header.
    ///
    /// A real link's own check sum catches what it damages, so what arrives damaged was damaged inside a router, which
    /// writes new Ethernet headers. Two flips could cancel out in the Internet checksum (one in 32 pairs), and then
    /// no TCP could tell.
    fn flip(&mut self, frame: &mut [u8]) -> bool {
        let bits = frame.len().saturating_sub(ETHERNET_HEADER) * 8;
        // The chance that not every bit survives.
        if !self.chance(1.0 - (1.0 - self.shape.bit_errors).powf(bits as f64)) {
            return false;
        }
        let at = ETHERNET_HEADER * 8 + self.rng.usize(..bits);
        frame[at / 8] ^= 1 << (at % 8);
        true
    }

    fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.rng.f64() < p
    }
}
