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

    /// The islands as SACK blocks (see [`Store::sack`]).
    pub fn sack(&mut self, rcv_nxt: SeqNum, limit: usize) -> SackBlocks {
        self.store
            .as_mut()
            .map_or(SackBlocks::NONE, |store| store.sack(rcv_nxt, limit))
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
