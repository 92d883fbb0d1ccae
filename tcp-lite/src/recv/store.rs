//! Reassembly: bytes in order, and islands behind gaps (RFC 9293 section 3.10.7.4, seventh check).

use super::buffer::Buffers;
use crate::seq::SeqNum;

/// Islands kept per connection: each takes a gap that some segment must fill. A hostile peer makes as many as it likes;
/// an honest one rarely has more than a few, and what is dropped it sends again.
const MAX_ISLANDS: usize = 8;

/// `bytes[..ready]` is in order; islands are ranges of `bytes` behind it. `bytes[0]` is the oldest unread byte.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub bytes: Vec<u8>,
    ready: usize,
    /// Disjoint, not touching, all behind `ready`; the one that a segment came for last is first, as the SACK option
    /// wants them (RFC 2018 section 4).
    islands: Vec<(usize, usize)>,
}

/// What became of a segment's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Placed {
    /// This many bytes are in order now that were not: RCV.NXT moves by as much.
    InOrder(usize),
    /// Kept behind a gap.
    Island,
    /// Not kept.
    NoRoom,
}

impl Store {
    /// The bytes in order.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[..self.ready]
    }

    pub fn is_empty(&self) -> bool {
        self.ready == 0 && self.islands.is_empty()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ready = 0;
        self.islands.clear();
    }

    /// Keeps bytes that begin `ahead` bytes behind those in order.
    pub fn place(&mut self, ahead: usize, bytes: &[u8], buffers: &mut Buffers) -> Placed {
        let (start, end) = (self.ready + ahead, self.ready + ahead + bytes.len());
        let touching = |i: &(usize, usize)| start <= i.1 && i.0 <= end;
        if ahead > 0 && self.islands.len() >= MAX_ISLANDS && !self.islands.iter().any(touching) {
            return Placed::NoRoom;
        }
        if ahead > 0 && !buffers.is_plentiful() || !buffers.grow(&mut self.bytes, end) {
            return Placed::NoRoom;
        }
        self.bytes[start..end].copy_from_slice(bytes);
        let (mut left, mut right) = (start, end);
        self.islands.retain(|i| {
            let apart = !touching(i);
            if !apart {
                left = left.min(i.0);
                right = right.max(i.1);
            }
            apart
        });
        if ahead > 0 {
            self.islands.insert(0, (left, right));
            return Placed::Island;
        }
        let new = right - self.ready;
        self.ready = right;
        Placed::InOrder(new)
    }

    /// Drops the first `n` bytes in order.
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.ready);
        if n == 0 {
            return;
        }
        self.bytes.drain(..n);
        self.ready -= n;
        for island in &mut self.islands {
            island.0 -= n;
            island.1 -= n;
        }
    }

    /// Which of the `len` bytes that begin `ahead` bytes behind those in order are here already, in their first island,
    /// counted from the first byte in order. RFC 2883 section 4.2: a segment reports one such range.
    pub fn overlap(&self, ahead: usize, len: usize) -> Option<(usize, usize)> {
        let (start, end) = (self.ready + ahead, self.ready + ahead + len);
        let common = |i: &(usize, usize)| (i.0.max(start), i.1.min(end));
        let found = self.islands.iter().map(common).filter(|i| i.0 < i.1).min();
        found.map(|i| (i.0 - self.ready, i.1 - self.ready))
    }

    /// Is there anything behind a gap?
    pub fn has_islands(&self) -> bool {
        !self.islands.is_empty()
    }

    /// The islands, the newest first, as numbers; `rcv_nxt` is the one behind the bytes in order.
    pub fn islands(&self, rcv_nxt: SeqNum) -> impl Iterator<Item = (SeqNum, SeqNum)> {
        let seq = move |at: usize| rcv_nxt + (at - self.ready) as u32;
        self.islands.iter().map(move |i| (seq(i.0), seq(i.1)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffers, Placed};

    /// Against a plain map of bytes: whatever comes in whatever order, the bytes in order are those, what comes twice is
    /// found, and memory is accounted for.
    #[test]
    fn agrees_with_a_map() {
        let mut rng = 77u64;
        let mut random = |below: u64| {
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (rng >> 33) % below
        };
        let byte = |at: usize| (at * 7 + at / 256) as u8;
        let mut buffers = Buffers::new(1 << 20);
        for _ in 0..300 {
            let mut store = buffers.take();
            let (mut have, mut consumed) = (vec![false; 4000], 0usize);
            for _ in 0..60 {
                let nxt = consumed + store.unread().len();
                let ahead = if random(3) == 0 {
                    0
                } else {
                    random(900) as usize
                };
                let len = 1 + random(100) as usize;
                if nxt + ahead + len > have.len() {
                    break;
                }
                let range = nxt + ahead..nxt + ahead + len;
                let mut twice = range.clone().skip_while(|at| !have[*at]);
                let first = twice.next();
                let last = first.map(|at| twice.take_while(|at| have[*at]).last().unwrap_or(at));
                let want = first.zip(last).map(|(from, to)| (from - nxt, to + 1 - nxt));
                assert_eq!(store.overlap(ahead, len), want);
                let bytes: Vec<u8> = range.map(byte).collect();
                match store.place(ahead, &bytes, &mut buffers) {
                    Placed::InOrder(_) | Placed::Island => {
                        have[nxt + ahead..nxt + ahead + len].fill(true)
                    }
                    Placed::NoRoom => assert!(ahead > 0),
                }
                let ready = have.iter().position(|h| !h).unwrap_or(have.len());
                assert_eq!(consumed + store.unread().len(), ready);
                assert!(
                    store
                        .unread()
                        .iter()
                        .enumerate()
                        .all(|(i, b)| *b == byte(consumed + i))
                );
                let runs = have[ready..].chunk_by(|a, b| a == b).filter(|run| run[0]);
                assert_eq!(store.islands.len(), runs.count());
                let take = random(store.unread().len() as u64 + 1) as usize;
                store.consume(take);
                consumed += take;
            }
            buffers.release(store);
            assert_eq!(buffers.left(), 1 << 20);
        }
    }
}
