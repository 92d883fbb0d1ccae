//! Reassembly of fragmented TCP, within a small budget.
//!
//! TCP sets "don't fragment" nearly always, so that fragments are rare. The XDP program cannot tell whose
//! a later fragment is (it has no ports), so that all of a service's address come here: what turns out
//! not to be ours goes to the kernel as the frames it came in, and the kernel reassembles it.

use super::Link;
use super::parse::{Fragment, FragmentKey, flow};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::time::Duration;
use tcp_lite::{Ecn, Flow, Instant};

/// Bytes of frames and their bookkeeping kept at most per worker: some hundred datagrams. More would let an attacker
/// use our memory; less would fail bursts of honest fragments.
const BUDGET: usize = 256 * 1024;

/// What a kept fragment is charged besides its frame: its part of the tables, generously. Without it, a flood of the
/// smallest fragments would keep several times the budget.
const BOOKKEEPING: usize = 256;

/// How long a datagram may stay incomplete. The kernel waits 30 s (`ipfrag_time`) and gets the
/// frames after this, so that a slow sender is not lost; TCP would have retransmitted by then.
const PATIENCE: Duration = Duration::from_secs(1);

/// Entries of datagrams gone that the list of beginnings may hold besides as many as are pending. Fewer would sweep it
/// often, more only cost memory.
const SLACK: usize = 1024;

/// Longest payload of an IP packet, in bytes.
const LONGEST: usize = 65_535;

/// A datagram put together again.
#[derive(Debug)]
pub struct Reassembled {
    /// Whose segment it is.
    pub flow: Flow,
    /// How to answer.
    pub link: Link,
    /// Congestion mark: that of the marked fragment, if one was (RFC 3168 5.3).
    pub ecn: Ecn,
    /// The TCP header and payload.
    pub segment: Vec<u8>,
    /// The frames it came in.
    pub frames: Vec<Vec<u8>>,
}

/// Fragments that did not become a datagram.
#[derive(Debug)]
pub struct GivenUp {
    /// Whose they are; only the first fragment tells.
    pub flow: Option<Flow>,
    /// The frames.
    pub frames: Vec<Vec<u8>>,
    /// Workers that have seen them before.
    pub hops: usize,
}

/// One fragment: where its payload belongs in the datagram, and where it lies in its frame.
#[derive(Debug)]
struct Part {
    at: usize,
    payload: Range<usize>,
    frame: Vec<u8>,
}

impl Part {
    fn bytes(&self) -> &[u8] {
        &self.frame[self.payload.clone()]
    }

    fn cost(&self) -> usize {
        self.frame.len() + BOOKKEEPING
    }
}

#[derive(Debug)]
struct Pending {
    parts: Vec<Part>,
    /// Payload bytes of all parts.
    bytes: usize,
    /// Length of the whole, once the last fragment is here.
    end: Option<usize>,
    ecn: Ecn,
    hops: usize,
    since: Instant,
}

impl Pending {
    fn given_up(self, key: &FragmentKey) -> GivenUp {
        let first = self.parts.iter().find(|part| part.at == 0);
        GivenUp {
            flow: first.and_then(|part| flow(key.destination, key.source, part.bytes())),
            frames: self.parts.into_iter().map(|part| part.frame).collect(),
            hops: self.hops,
        }
    }
}

/// Datagrams that are not complete yet.
#[derive(Debug, Default)]
pub struct Defrag {
    pending: HashMap<FragmentKey, Pending>,
    /// When each datagram began, oldest first; those that are no longer pending are skipped.
    order: VecDeque<(Instant, FragmentKey)>,
    bytes: usize,
}

/// What became of a fragment.
#[derive(Debug)]
pub enum Outcome {
    /// More are needed.
    Kept,
    /// It was the last one missing.
    Complete(Box<Reassembled>),
    /// Overlapping or malformed: the kernel's to judge unless they are ours.
    GiveUp(GivenUp),
}

impl Defrag {
    /// Takes the fragment in `frame`, which `hops` workers have seen before. To be followed by
    /// [`Defrag::surplus`].
    pub fn add(
        &mut self,
        now: Instant,
        fragment: &Fragment<'_>,
        frame: &[u8],
        hops: usize,
    ) -> Outcome {
        let start = fragment.payload.as_ptr().addr() - frame.as_ptr().addr();
        let part = Part {
            at: usize::from(fragment.offset.byte_offset()),
            payload: start..start + fragment.payload.len(),
            frame: frame.to_vec(),
        };
        let pending = self.pending.entry(fragment.key).or_insert_with(|| {
            self.order.push_back((now, fragment.key));
            Pending {
                parts: Vec::new(),
                bytes: 0,
                end: None,
                ecn: fragment.ecn,
                hops,
                since: now,
            }
        });
        if pending
            .parts
            .iter()
            .any(|other| other.at == part.at && other.bytes() == part.bytes())
        {
            // The network delivered it twice.
            return Outcome::Kept;
        }
        let end = part.at + part.payload.len();
        let wrong = end > LONGEST
            || (fragment.more && !part.payload.len().is_multiple_of(8))
            || (!fragment.more && pending.end.is_some_and(|other| other != end));
        if !fragment.more {
            pending.end = Some(end);
        }
        if fragment.ecn == Ecn::Ce {
            pending.ecn = Ecn::Ce;
        }
        pending.bytes += part.payload.len();
        self.bytes += part.cost();
        pending.parts.push(part);
        match pending.end {
            _ if wrong => self.give_up(&fragment.key),
            Some(end) if pending.bytes >= end => self.complete(end, fragment),
            Some(_) | None => Outcome::Kept,
        }
    }

    fn complete(&mut self, end: usize, last: &Fragment<'_>) -> Outcome {
        let Some(mut pending) = self.remove(&last.key) else {
            return Outcome::Kept;
        };
        pending.parts.sort_by_key(|part| part.at);
        let mut segment = Vec::with_capacity(end);
        for part in &pending.parts {
            if part.at != segment.len() {
                // They overlap (RFC 5722: drop).
                return Outcome::GiveUp(pending.given_up(&last.key));
            }
            segment.extend_from_slice(part.bytes());
        }
        match flow(last.key.destination, last.key.source, &segment) {
            Some(flow) if segment.len() == end => Outcome::Complete(Box::new(Reassembled {
                flow,
                link: last.link,
                ecn: pending.ecn,
                segment,
                frames: pending.parts.into_iter().map(|part| part.frame).collect(),
            })),
            _ => Outcome::GiveUp(pending.given_up(&last.key)),
        }
    }

    /// A datagram that has waited for too long; to be called until there is none.
    pub fn expired(&mut self, now: Instant) -> Option<GivenUp> {
        let (since, key) = self.oldest()?;
        if now < since + PATIENCE {
            return None;
        }
        Some(self.remove(&key)?.given_up(&key))
    }

    /// The datagram that has to go for the newest to stay within the budget; to be called until there is none.
    /// What is whole soon survives a flood of what never will be.
    pub fn surplus(&mut self) -> Option<GivenUp> {
        if self.bytes <= BUDGET {
            return None;
        }
        let (_, key) = self.oldest()?;
        Some(self.remove(&key)?.given_up(&key))
    }

    /// When to call `expired`, at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.order.front().map(|(since, _)| *since + PATIENCE)
    }

    fn oldest(&mut self) -> Option<(Instant, FragmentKey)> {
        let pending = &self.pending;
        let live = |(since, key): &(Instant, FragmentKey)| {
            pending.get(key).is_some_and(|p| p.since == *since)
        };
        // Not to keep a second's worth of complete datagrams behind one that is not.
        if self.order.len() > 2 * pending.len() + SLACK {
            self.order.retain(live);
        }
        while self.order.front().is_some_and(|oldest| !live(oldest)) {
            self.order.pop_front();
        }
        self.order.front().copied()
    }

    fn give_up(&mut self, key: &FragmentKey) -> Outcome {
        match self.remove(key) {
            Some(pending) => Outcome::GiveUp(pending.given_up(key)),
            None => Outcome::Kept,
        }
    }

    fn remove(&mut self, key: &FragmentKey) -> Option<Pending> {
        let pending = self.pending.remove(key)?;
        self.bytes -= pending.parts.iter().map(Part::cost).sum::<usize>();
        Some(pending)
    }
}
