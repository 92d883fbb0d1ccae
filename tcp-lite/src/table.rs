//! The connection table: a slab fixed at start and an open-addressing index over it, keyed by a secret.

use crate::flow::Flow;
use crate::key::{Key, Locals};
use crate::scatter::Scatter;

const NIL: u32 = u32::MAX;

/// What the table keeps: something that knows its key.
pub(crate) trait Keyed {
    fn key(&self) -> &Key;
}

enum Slot<T> {
    Free { next: u32 },
    Used(T),
}

/// One index place: hash in the upper half, slot + 1 in the lower; 0 is empty. The hash spares most visits to slots.
type Place = u64;

pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    len: usize,
    capacity: usize,
    index: Vec<Place>,
    locals: Locals,
    scatter: Scatter,
}

impl<T: Keyed> Table<T> {
    pub fn new(capacity: usize, secret: [u8; 16]) -> Table<T> {
        let capacity = capacity.clamp(1, NIL as usize - 1);
        // At most half full: linear probing stays short (2.5 places in a row for a flow that is not there), also in a table
        // that TIME-WAIT fills, as short connections do within a minute; and the index ends in an empty place. Less room
        // saves 8 bytes a place: with four fifths full it is 13 places, and two cache lines.
        let places = 2 * capacity + 1;
        Table {
            slots: Vec::with_capacity(capacity),
            free: NIL,
            len: 0,
            capacity,
            index: vec![0; places],
            locals: Locals::new(),
            scatter: Scatter::new(&secret),
        }
    }

    pub fn len(&self) -> usize {
        self.len
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

    #[inline]
    pub fn find(&self, flow: &Flow) -> Option<u32> {
        self.search(flow).map(|(_, id)| id)
    }

    /// Keeps what `make` makes from `parts` with the key of `flow`, which is not in the table. If the table is full, it
    /// gives `parts` back.
    pub fn insert<P>(
        &mut self,
        flow: &Flow,
        parts: P,
        make: impl FnOnce(P, Key) -> T,
    ) -> Result<u32, P> {
        if self.len == self.capacity {
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
        let hash = self.scatter.hash(flow);
        let mut at = self.home(hash);
        while self.index[at] != 0 {
            at = self.behind(at);
        }
        self.index[at] = u64::from(hash) << 32 | u64::from(id + 1);
        self.len += 1;
        Ok(id)
    }

    pub fn remove(&mut self, id: u32) -> Option<T> {
        let (flow, _) = self.entry(id)?;
        let (at, _) = self.search(&flow)?;
        self.vacate(at);
        self.len -= 1;
        let slot = core::mem::replace(&mut self.slots[id as usize], Slot::Free { next: self.free });
        self.free = id;
        match slot {
            Slot::Used(value) => {
                self.locals.leave(value.key());
                Some(value)
            }
            Slot::Free { .. } => None,
        }
    }

    /// Empties an index place and moves up what was displaced past it, so that no tombstones are needed.
    fn vacate(&mut self, mut hole: usize) {
        let mut at = hole;
        loop {
            at = self.behind(at);
            let place = self.index[at];
            if place == 0 {
                break;
            }
            let home = self.home((place >> 32) as u32);
            // It may move if the hole lies on its way: between its home and where it is now.
            if self.steps(home, at) >= self.steps(hole, at) {
                self.index[hole] = place;
                hole = at;
            }
        }
        self.index[hole] = 0;
    }

    /// The index place of `flow` and the slot it names.
    #[inline(always)]
    fn search(&self, flow: &Flow) -> Option<(usize, u32)> {
        let hash = self.scatter.hash(flow);
        let mut at = self.home(hash);
        loop {
            let place = self.index[at];
            if place == 0 {
                return None;
            }
            let id = (place as u32).wrapping_sub(1);
            if (place >> 32) as u32 == hash
                && let Some(Slot::Used(value)) = self.slots.get(id as usize)
                && self.locals.is_of(value.key(), flow)
            {
                return Some((at, id));
            }
            at = self.behind(at);
        }
    }

    /// Where the search for a hash begins: as far along the index as the hash is along its range.
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.index.len() as u64) >> 32) as usize
    }

    /// The next place.
    fn behind(&self, at: usize) -> usize {
        if at + 1 == self.index.len() {
            0
        } else {
            at + 1
        }
    }

    /// From one place on to another.
    fn steps(&self, from: usize, to: usize) -> usize {
        if from <= to {
            to - from
        } else {
            to + self.index.len() - from
        }
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
                assert!(table.remove(id).is_some() && table.remove(id).is_none());
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
