//! Unread bytes in order, and islands behind gaps (RFC 9293 section 3.10.7.4, seventh check).

use super::buffer::Buffers;
use crate::seq::SeqNum;
use crate::time::Timer;
use crate::wire::SackBlocks;

/// Islands kept per connection: each takes a gap that some segment must fill. A hostile peer makes as many as it likes;
/// an honest one rarely has more than a few, and what is dropped it sends again.
const MAX_ISLANDS: usize = 8;

/// The bytes a connection holds for its application; nothing on the heap while it holds none.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    store: Option<Box<Store>>,
    /// Where the peer's FIN lies, when it came ahead of a gap.
    pub fin: Option<SeqNum>,
    /// `on_data` met a full queue and waits for room.
    pub blocked: bool,
    /// Ask again by then: set while blocked with nothing of our own queued, so that no ACK will come to ask for us.
    pub retry: Timer,
}

/// `bytes[..ready]` is in order; islands are ranges of `bytes` behind it. `bytes[0]` is the oldest unread byte.
#[derive(Debug, Default)]
struct Store {
    bytes: Vec<u8>,
    ready: usize,
    /// Ascending, disjoint, not touching, all behind `ready`.
    islands: Vec<(usize, usize)>,
    /// Where the island begins that a segment came for last: it leads the SACK option (RFC 2018 section 4).
    newest: usize,
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

impl Inbox {
    pub fn is_empty(&self) -> bool {
        self.store.is_none()
    }

    /// The in-order bytes; taken out so that they can be shown while the connection is borrowed. Put them back with
    /// [`Inbox::consumed`].
    pub fn lift(&mut self) -> Unread {
        Unread(self.store.take())
    }

    /// Puts back what was lifted, less the first `n` bytes.
    pub fn consumed(&mut self, unread: Unread, n: usize, buffers: &mut Buffers) {
        let Some(mut store) = unread.0 else { return };
        store.consume(n);
        if store.ready == 0 && store.islands.is_empty() {
            buffers.release(store.bytes);
        } else {
            self.store = Some(store);
        }
    }

    /// Keeps bytes that begin `ahead` bytes behind RCV.NXT; `ahead` is bounded by the receive window.
    pub fn place(&mut self, ahead: usize, bytes: &[u8], buffers: &mut Buffers) -> Placed {
        let mut store = self.store.take().unwrap_or_default();
        let placed = store.place(ahead, bytes, buffers);
        if store.bytes.is_empty() {
            debug_assert_eq!(placed, Placed::NoRoom);
        } else {
            self.store = Some(store);
        }
        placed
    }

    /// The islands as SACK blocks, at most `limit`, the newest first; `rcv_nxt` is the sequence number behind the
    /// in-order bytes.
    pub fn sack(&self, rcv_nxt: SeqNum, limit: usize) -> SackBlocks {
        let mut blocks = SackBlocks::NONE;
        let Some(store) = &self.store else {
            return blocks;
        };
        let seq = |at: usize| rcv_nxt + (at - store.ready) as u32;
        let newest = store.islands.iter().filter(|i| i.0 == store.newest);
        let others = store.islands.iter().filter(|i| i.0 != store.newest);
        for &(start, end) in newest.chain(others).take(limit) {
            blocks.push(seq(start), seq(end));
        }
        blocks
    }

    pub fn release(&mut self, buffers: &mut Buffers) {
        if let Some(store) = self.store.take() {
            buffers.release(store.bytes);
        }
    }
}

/// In-order bytes lifted out of an [`Inbox`].
pub(crate) struct Unread(Option<Box<Store>>);

impl Unread {
    pub fn bytes(&self) -> &[u8] {
        self.0
            .as_ref()
            .map_or(&[], |store| &store.bytes[..store.ready])
    }
}

impl Store {
    fn place(&mut self, ahead: usize, bytes: &[u8], buffers: &mut Buffers) -> Placed {
        let (start, end) = (self.ready + ahead, self.ready + ahead + bytes.len());
        let touching = |i: &(usize, usize)| start <= i.1 && i.0 <= end;
        if ahead > 0 && self.islands.len() >= MAX_ISLANDS && !self.islands.iter().any(touching) {
            return Placed::NoRoom;
        }
        if !buffers.grow(&mut self.bytes, end) {
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
            let at = self.islands.partition_point(|i| i.0 < left);
            self.islands.insert(at, (left, right));
            self.newest = left;
            return Placed::Island;
        }
        let new = right - self.ready;
        self.ready = right;
        Placed::InOrder(new)
    }

    fn consume(&mut self, n: usize) {
        let n = n.min(self.ready);
        if n == 0 {
            return;
        }
        self.bytes.drain(..n);
        self.ready -= n;
        self.newest = self.newest.saturating_sub(n);
        for island in &mut self.islands {
            island.0 -= n;
            island.1 -= n;
        }
    }
}
