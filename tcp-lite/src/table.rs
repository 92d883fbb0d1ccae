//! The connection table: a slab fixed at start and an index over it, keyed by a secret.

use crate::flow::Flow;
use crate::index::Index;
use crate::key::{Key, Locals};
use crate::scatter::Scatter;

const NIL: u32 = u32::MAX;

/// What the table keeps: something that knows its key.
pub(crate) trait Keyed {
    fn key(&self) -> &Key;
    /// Reads something of all that a segment will need, so that it is in the cache.
    fn fetch(&self);
}

/// With so many entries they and the index do not fit the cache that a core has for itself, some MiB. Fewer, and
/// [`Table::foresee`] looks for what is there anyway; more, and each segment waits for memory.
const SPREAD: usize = 8192;

/// Flows that are looked for at the same time: more than a processor waits for at once, and what they need fits the
/// smallest cache.
const AHEAD: usize = 32;

enum Slot<T> {
    Free { next: u32 },
    Used(T),
}

pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    capacity: usize,
    index: Index,
    locals: Locals,
    scatter: Scatter,
}

impl<T: Keyed> Table<T> {
    pub fn new(capacity: usize, secret: [u8; 16]) -> Table<T> {
        let capacity = capacity.clamp(1, NIL as usize - 1);
        Table {
            slots: Vec::with_capacity(capacity),
            free: NIL,
            capacity,
            index: Index::new(capacity),
            locals: Locals::new(),
            scatter: Scatter::new(&secret),
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Slots ever used: every index below may hold something.
    pub fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    #[inline]
    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        match self.slots.get_mut(id as usize) {
            Some(Slot::Used(value)) => Some(value),
            Some(Slot::Free { .. }) | None => None,
        }
    }

    /// If that is its flow.
    #[inline(always)]
    pub fn get_if(&mut self, id: u32, flow: &Flow) -> Option<&mut T> {
        match self.slots.get_mut(id as usize) {
            Some(Slot::Used(value)) if self.locals.is_of(value.key(), flow) => Some(value),
            Some(Slot::Used(_) | Slot::Free { .. }) | None => None,
        }
    }

    /// With its flow.
    #[inline]
    pub fn entry(&mut self, id: u32) -> Option<(Flow, &mut T)> {
        match self.slots.get_mut(id as usize) {
            Some(Slot::Used(value)) => Some((self.locals.flow(value.key()), value)),
            Some(Slot::Free { .. }) | None => None,
        }
    }

    /// Is it worth to [`Table::foresee`]?
    #[inline]
    pub fn is_spread(&self) -> bool {
        self.len() > SPREAD
    }

    /// Fetches what is needed to find and to work on these flows. One after the other, each would wait for its place in the
    /// index, and then for its slot; in each of these short loops what one needs does not depend on what came of another,
    /// and a processor goes on to the next while it waits.
    pub fn foresee(&self, flows: &[Flow]) {
        for flows in flows.chunks(AHEAD) {
            let mut hashes = [0; AHEAD];
            for (hash, flow) in hashes.iter_mut().zip(flows) {
                *hash = self.scatter.hash(flow);
            }
            let mut ids = [None; AHEAD];
            for (id, hash) in ids.iter_mut().zip(&hashes[..flows.len()]) {
                *id = self.index.guess(*hash);
            }
            for id in ids.iter().flatten() {
                if let Some(Slot::Used(value)) = self.slots.get(*id as usize) {
                    value.fetch();
                }
            }
        }
    }

    #[inline]
    pub fn find(&self, flow: &Flow) -> Option<u32> {
        let is_it = |id: u32| match self.slots.get(id as usize) {
            Some(Slot::Used(value)) => self.locals.is_of(value.key(), flow),
            Some(Slot::Free { .. }) | None => false,
        };
        self.index.find(self.scatter.hash(flow), is_it)
    }

    /// Keeps what `make` makes from `parts` with the key of `flow`, which is not in the table. If the table is full, it
    /// gives `parts` back.
    pub fn insert<P>(
        &mut self,
        flow: &Flow,
        parts: P,
        make: impl FnOnce(P, Key) -> T,
    ) -> Result<u32, P> {
        if self.len() == self.capacity {
            return Err(parts);
        }
        let Some(key) = self.locals.enter(flow) else {
            return Err(parts);
        };
        let value = make(parts, key);
        let id = match self.free {
            NIL => {
                self.slots.push(Slot::Used(value));
                self.slots.len() as u32 - 1
            }
            id => {
                if let Slot::Free { next } = self.slots[id as usize] {
                    self.free = next;
                }
                self.slots[id as usize] = Slot::Used(value);
                id
            }
        };
        self.index.insert(self.scatter.hash(flow), id);
        Ok(id)
    }

    /// Drops what is in the slot, if there is something.
    pub fn remove(&mut self, id: u32) {
        if let Some(free) = self.forget(id) {
            self.slots[id as usize] = free;
        }
    }

    /// The same, but gives it away. It is some hundred bytes to copy, which [`Table::remove`] does without.
    pub fn take(&mut self, id: u32) -> Option<T> {
        let free = self.forget(id)?;
        match core::mem::replace(&mut self.slots[id as usize], free) {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// Forgets where the value in this slot is, and says what has to come in its place. `None`: there is none.
    fn forget(&mut self, id: u32) -> Option<Slot<T>> {
        let Some(Slot::Used(value)) = self.slots.get(id as usize) else {
            return None;
        };
        let flow = self.locals.flow(value.key());
        self.locals.leave(value.key());
        self.index.remove(self.scatter.hash(&flow), id);
        let next = core::mem::replace(&mut self.free, id);
        Some(Slot::Free { next })
    }
}

#[cfg(test)]
mod tests {
    use super::{Flow, Key, Keyed, Table};
    use crate::flow::{Addr, Endpoint};
    use std::collections::HashMap;

    impl Keyed for Key {
        fn key(&self) -> &Key {
            self
        }

        fn fetch(&self) {}
    }

    fn flow(n: u32) -> Flow {
        Flow {
            local: Endpoint {
                addr: Addr::v4([10, 0, 0, 1]),
                port: 80 + (n & 1) as u16,
            },
            remote: Endpoint {
                addr: Addr::v4([10, 1, (n >> 8) as u8, n as u8]),
                port: 1000,
            },
        }
    }

    #[test]
    fn agrees_with_a_map() {
        let mut table = Table::new(300, [7; 16]);
        let mut model: HashMap<u32, u32> = HashMap::new();
        let mut rng = 99u32;
        for _ in 0..100_000 {
            rng = rng.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = rng >> 16 & 0x1ff;
            assert_eq!(table.find(&flow(n)), model.get(&n).copied());
            if let Some(id) = model.remove(&n) {
                assert_eq!(table.entry(id).map(|(flow, _)| flow), Some(flow(n)));
                if n.is_multiple_of(2) {
                    assert!(table.take(id).is_some());
                }
                table.remove(id);
                assert!(table.take(id).is_none());
            } else {
                match table.insert(&flow(n), (), |(), key| key) {
                    Ok(id) => assert_eq!(model.insert(n, id), None),
                    Err(()) => assert_eq!(model.len(), table.capacity()),
                }
            }
            assert_eq!(table.len(), model.len());
        }
        assert!(table.slots() <= 300);
    }
}
