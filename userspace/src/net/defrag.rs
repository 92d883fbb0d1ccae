//! Reassembly of fragmented TCP, within a small budget.
//!
//! TCP sets "don't fragment" nearly always, so that fragments are rare. The XDP program cannot tell whose
//! a later fragment is (it has no ports), so that all of a service's address come here: what turns out
//! not to be ours goes to the kernel as the frames it came in, and the kernel reassembles it.

use super::Link;
use super::parse::{Fragment, FragmentKey, flow};
use etherparse::IpNumber;
use etherparse::defrag::IpDefragBuf;
use std::collections::HashMap;
use std::time::Duration;
use tcp_lite::{Ecn, Flow, Instant};

/// Bytes of frames kept at most per worker: some hundred datagrams. More would let an attacker
/// use our memory; less would fail bursts of honest fragments.
const BUDGET: usize = 256 * 1024;

/// How long a datagram may stay incomplete. The kernel waits 30 s (`ipfrag_time`) and gets the
/// frames after this, so that a slow sender is not lost; TCP would have retransmitted by then.
const PATIENCE: Duration = Duration::from_secs(1);

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

#[derive(Debug)]
struct Pending {
    buf: IpDefragBuf,
    bytes: usize,
    ecn: Ecn,
    frames: Vec<Vec<u8>>,
    since: Instant,
}

/// Datagrams that are not complete yet.
#[derive(Debug, Default)]
pub struct Defrag {
    pending: HashMap<FragmentKey, Pending>,
    bytes: usize,
}

/// What became of a fragment.
#[derive(Debug)]
pub enum Outcome {
    /// More are needed.
    Kept,
    /// It was the last one missing.
    Complete(Box<Reassembled>),
    /// Over budget, overlapping or malformed: these frames are the kernel's to judge.
    GiveUp(Vec<Vec<u8>>),
}

impl Defrag {
    /// Takes the fragment in `frame`.
    pub fn add(&mut self, now: Instant, fragment: &Fragment<'_>, frame: &[u8]) -> Outcome {
        if self.bytes + frame.len() > BUDGET {
            let mut frames = self.remove(&fragment.key);
            frames.push(frame.to_vec());
            return Outcome::GiveUp(frames);
        }
        self.bytes += frame.len();
        let pending = self.pending.entry(fragment.key).or_insert_with(|| Pending {
            buf: IpDefragBuf::new(IpNumber::TCP, Vec::new(), Vec::new()),
            bytes: 0,
            ecn: fragment.ecn,
            frames: Vec::new(),
            since: now,
        });
        pending.frames.push(frame.to_vec());
        pending.bytes += fragment.payload.len();
        if fragment.ecn == Ecn::Ce {
            pending.ecn = Ecn::Ce;
        }
        if pending
            .buf
            .add(fragment.offset, fragment.more, fragment.payload)
            .is_err()
        {
            return Outcome::GiveUp(self.remove(&fragment.key));
        }
        if !pending.buf.is_complete() {
            return Outcome::Kept;
        }
        self.complete(fragment)
    }

    fn complete(&mut self, last: &Fragment<'_>) -> Outcome {
        let Some(pending) = self.pending.remove(&last.key) else {
            return Outcome::Kept;
        };
        self.bytes -= size(&pending.frames);
        let (segment, _) = pending.buf.take_bufs();
        // More bytes than the datagram has means that fragments overlapped (RFC 5722: drop).
        let whole = pending.bytes == segment.len();
        match flow(last.key.destination, last.key.source, &segment) {
            Some(flow) if whole => Outcome::Complete(Box::new(Reassembled {
                flow,
                link: last.link,
                ecn: pending.ecn,
                segment,
                frames: pending.frames,
            })),
            _ => Outcome::GiveUp(pending.frames),
        }
    }

    /// The frames of datagrams that have waited for too long.
    pub fn expired(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let late: Vec<FragmentKey> = self
            .pending
            .iter()
            .filter(|(_, pending)| now >= pending.since + PATIENCE)
            .map(|(key, _)| *key)
            .collect();
        late.iter().flat_map(|key| self.remove(key)).collect()
    }

    /// When `expired` has something to give, at the earliest.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.pending.values().map(|p| p.since + PATIENCE).min()
    }

    fn remove(&mut self, key: &FragmentKey) -> Vec<Vec<u8>> {
        let frames = self
            .pending
            .remove(key)
            .map(|pending| pending.frames)
            .unwrap_or_default();
        self.bytes -= size(&frames);
        frames
    }
}

fn size(frames: &[Vec<u8>]) -> usize {
    frames.iter().map(Vec::len).sum()
}
