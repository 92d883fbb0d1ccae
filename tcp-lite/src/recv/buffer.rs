//! Memory for unread and out-of-order bytes, within one budget of the whole stack.

use super::store::Store;

/// Smallest buffer: one segment and what is left of a pipelined request usually fit.
const MIN_SIZE: usize = 2048;
/// Buffers up to this size are kept for reuse; larger ones are rare and go back to the allocator.
const MAX_SPARE_SIZE: usize = 16 * 1024;
/// Spare buffers kept: more only holds memory, fewer makes every half request of a busy stack an allocation.
const MAX_SPARES: usize = 256;

/// Lends stores and counts their bytes against the budget.
#[derive(Debug)]
pub(crate) struct Buffers {
    total: usize,
    left: usize,
    #[expect(
        clippy::vec_box,
        reason = "a connection keeps the box, 8 bytes, not the store"
    )]
    spares: Vec<Box<Store>>,
}

impl Buffers {
    pub fn new(budget: usize) -> Buffers {
        Buffers {
            total: budget,
            left: budget,
            spares: Vec::with_capacity(MAX_SPARES),
        }
    }

    /// An empty store, with memory if there is a spare one that the budget allows.
    pub fn take(&mut self) -> Box<Store> {
        let left = self.left;
        match self.spares.pop_if(|spare| spare.bytes.capacity() <= left) {
            Some(spare) => {
                self.left -= spare.bytes.capacity();
                spare
            }
            None => Box::default(),
        }
    }

    /// Is more than half of the budget left? Data ahead of a gap is only kept then: one byte far ahead takes a whole
    /// window of memory, and a peer that loses it must only send it again, while half a request that finds no memory
    /// costs its connection.
    pub fn is_plentiful(&self) -> bool {
        self.left > self.total / 2
    }

    /// Makes the store's bytes at least `size` long (new ones are 0). False, and nothing changed, if the budget forbids it.
    #[must_use]
    pub fn grow(&mut self, bytes: &mut Vec<u8>, size: usize) -> bool {
        let before = bytes.capacity();
        if size > before {
            let want = size.next_power_of_two().max(MIN_SIZE);
            if want - before > self.left {
                return false;
            }
            bytes.reserve_exact(want - bytes.len());
            // The allocator may give a little more than asked for.
            self.left = (self.left + before).saturating_sub(bytes.capacity());
        }
        if bytes.len() < size {
            bytes.resize(size, 0);
        }
        true
    }

    /// Takes a store back.
    pub fn release(&mut self, mut store: Box<Store>) {
        self.left += store.bytes.capacity();
        let size = store.bytes.capacity();
        if (MIN_SIZE..=MAX_SPARE_SIZE).contains(&size) && self.spares.len() < MAX_SPARES {
            store.clear();
            self.spares.push(store);
        }
    }

    #[cfg(test)]
    pub fn left(&self) -> usize {
        self.left
    }
}
