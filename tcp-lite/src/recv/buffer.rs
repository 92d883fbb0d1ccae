//! Memory for unread and out-of-order bytes, within one budget of the whole stack.

/// Smallest buffer: one segment and what is left of a pipelined request usually fit.
const MIN_SIZE: usize = 2048;
/// Buffers up to this size are kept for reuse; larger ones are rare and go back to the allocator.
const MAX_SPARE_SIZE: usize = 16 * 1024;
/// Spare buffers kept: more only holds memory, fewer makes every half request of a busy stack an allocation.
const MAX_SPARES: usize = 256;

/// Lends buffers and counts their bytes against the budget.
#[derive(Debug)]
pub(crate) struct Buffers {
    left: usize,
    spares: Vec<Vec<u8>>,
}

impl Buffers {
    pub fn new(budget: usize) -> Buffers {
        Buffers {
            left: budget,
            spares: Vec::with_capacity(MAX_SPARES),
        }
    }

    /// Makes `buf` at least `size` bytes long (new bytes are 0). False, and nothing changed, if the budget forbids it.
    #[must_use]
    pub fn grow(&mut self, buf: &mut Vec<u8>, size: usize) -> bool {
        if size > buf.capacity() {
            let want = size.next_power_of_two().max(MIN_SIZE);
            let mut larger = match self.spares.pop_if(|spare| spare.capacity() >= want) {
                Some(spare) => spare,
                None => Vec::with_capacity(want),
            };
            // The budget sees what the old one gives back, also where both exist for a moment.
            let Some(left) = (self.left + buf.capacity()).checked_sub(larger.capacity()) else {
                self.keep(larger);
                return false;
            };
            self.left = left;
            larger.extend_from_slice(buf);
            let old = core::mem::replace(buf, larger);
            self.keep(old);
        }
        if buf.len() < size {
            buf.resize(size, 0);
        }
        true
    }

    /// Takes a buffer back.
    pub fn release(&mut self, buf: Vec<u8>) {
        self.left += buf.capacity();
        self.keep(buf);
    }

    fn keep(&mut self, mut buf: Vec<u8>) {
        if (MIN_SIZE..=MAX_SPARE_SIZE).contains(&buf.capacity()) && self.spares.len() < MAX_SPARES {
            buf.clear();
            self.spares.push(buf);
        }
    }

    #[cfg(test)]
    pub fn left(&self) -> usize {
        self.left
    }
}
