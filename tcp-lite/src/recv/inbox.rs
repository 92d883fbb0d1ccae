//! What a connection holds for its application.

use super::buffer::Buffers;
use super::store::{Placed, Store};
use crate::seq::SeqNum;
use crate::time::Timer;
use crate::wire::SackBlocks;

/// Unread bytes and what goes with them; nothing on the heap while there are none.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    store: Option<Box<Store>>,
    /// Where the peer's FIN lies, and whether one came, ahead of a gap.
    fin: SeqNum,
    has_fin: bool,
    /// `on_data` met a full queue and waits for room.
    pub blocked: bool,
    /// Ask again by then: set while blocked with nothing of our own queued, so that no ACK will come to ask for us.
    pub retry: Timer,
}

impl Inbox {
    /// A FIN came that ends the data at `fin`; where the first one came that did.
    pub fn note_fin(&mut self, fin: Option<SeqNum>) -> Option<SeqNum> {
        if let (Some(fin), false) = (fin, self.has_fin) {
            (self.fin, self.has_fin) = (fin, true);
        }
        self.has_fin.then_some(self.fin)
    }

    /// Is the peer's FIN the next thing in order, at `nxt`?
    pub fn fin_at(&self, nxt: SeqNum) -> bool {
        self.has_fin && self.fin == nxt
    }

    /// Is nothing here, nothing known to be missing, and nobody waiting?
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.is_bare() && !self.blocked && !self.retry.is_set()
    }

    /// Is nothing here, and no FIN?
    #[inline]
    pub fn is_bare(&self) -> bool {
        self.store.is_none() && !self.has_fin
    }

    pub fn is_empty(&self) -> bool {
        self.store.is_none()
    }

    /// Takes the bytes out, so that they can be shown while the connection is borrowed. Put them back with
    /// [`Inbox::consumed`].
    pub fn lift(&mut self) -> Unread {
        Unread(self.store.take())
    }

    /// Puts back what was lifted, less the first `n` bytes.
    pub fn consumed(&mut self, unread: Unread, n: usize, buffers: &mut Buffers) {
        if let Some(mut store) = unread.0 {
            store.consume(n);
            self.keep(store, buffers);
        }
    }

    /// Keeps bytes that begin `ahead` bytes behind RCV.NXT; `ahead` is bounded by the receive window.
    pub fn place(&mut self, ahead: usize, bytes: &[u8], buffers: &mut Buffers) -> Placed {
        let mut store = self.store.take().unwrap_or_else(|| buffers.take());
        let placed = store.place(ahead, bytes, buffers);
        self.keep(store, buffers);
        placed
    }

    fn keep(&mut self, store: Box<Store>, buffers: &mut Buffers) {
        if store.is_empty() {
            buffers.release(store);
        } else {
            self.store = Some(store);
        }
    }

    /// Is something missing before what is here?
    pub fn has_gap(&self, rcv_nxt: SeqNum) -> bool {
        let islands = self.store.as_ref().is_some_and(|store| store.has_islands());
        islands || self.fin_behind_gap(rcv_nxt).is_some()
    }

    fn fin_behind_gap(&self, rcv_nxt: SeqNum) -> Option<SeqNum> {
        (self.has_fin && rcv_nxt.lt(self.fin)).then_some(self.fin)
    }

    /// What of the `len` bytes from `seq` on, and of the FIN behind them, is here behind a gap (see [`Store::overlap`]).
    pub fn overlap(
        &self,
        rcv_nxt: SeqNum,
        seq: SeqNum,
        len: usize,
        fin: bool,
    ) -> Option<(SeqNum, SeqNum)> {
        let end = seq + len as u32;
        let fin = fin && self.has_fin && self.fin == end;
        let ahead = seq.since(rcv_nxt) as usize;
        match self.store.as_ref().and_then(|s| s.overlap(ahead, len)) {
            Some((left, right)) => {
                let (left, right) = (rcv_nxt + left as u32, rcv_nxt + right as u32);
                Some((left, right + u32::from(fin && right == end)))
            }
            None => fin.then_some((end, end + 1)),
        }
    }

    /// Adds what is here behind a gap, the newest first, until there are `limit` blocks. A FIN takes a number there.
    pub fn report(&self, rcv_nxt: SeqNum, limit: usize, blocks: &mut SackBlocks) {
        let mut fin = self.fin_behind_gap(rcv_nxt);
        let mut push = |left, right| {
            if blocks.as_slice().len() < limit {
                blocks.push(left, right);
            }
        };
        for (left, right) in self.store.iter().flat_map(|store| store.islands(rcv_nxt)) {
            let last = fin.take_if(|fin| *fin == right).is_some();
            push(left, right + u32::from(last));
        }
        if let Some(fin) = fin {
            push(fin, fin + 1);
        }
    }

    /// The connection has no use for input any more.
    pub fn release(&mut self, buffers: &mut Buffers) {
        if let Some(store) = self.store.take() {
            buffers.release(store);
        }
    }
}

/// In-order bytes lifted out of an [`Inbox`].
pub(crate) struct Unread(Option<Box<Store>>);

impl Unread {
    pub fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |store| store.unread())
    }
}
