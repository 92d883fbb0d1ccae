//! The connection table: a slab fixed at start and an open-addressing index over it, keyed by a secret.

use core::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;

use crate::flow::Flow;

const NIL: u32 = u32::MAX;

/// What the table keeps: something that knows its flow.
pub(crate) trait Keyed {
    fn flow(&self) -> &Flow;
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
    secret: [u8; 16],
}

impl<T: Keyed> Table<T> {
    pub fn new(capacity: usize, secret: [u8; 16]) -> Table<T> {
        let capacity = capacity.clamp(1, NIL as usize - 1);
        // At most three quarters full: linear probing stays short, and the index ends in an empty place.
        let places = (capacity + capacity / 3 + 1).next_power_of_two();
        Table {
            slots: Vec::with_capacity(capacity),
            free: NIL,
            len: 0,
            capacity,
            index: vec![0; places],
            secret,
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

    pub fn get(&self, id: u32) -> Option<&T> {
        match self.slots.get(id as usize) {
            Some(Slot::Used(value)) => Some(value),
            Some(Slot::Free { .. }) | None => None,
        }
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        match self.slots.get_mut(id as usize) {
            Some(Slot::Used(value)) => Some(value),
            Some(Slot::Free { .. }) | None => None,
        }
    }

    pub fn find(&self, flow: &Flow) -> Option<u32> {
        self.places(flow)
            .find_map(|(_, id)| (self.get(id)?.flow() == flow).then_some(id))
    }

    /// Keeps `value`, whose flow is not in the table; gives it back when the table is full.
    pub fn insert(&mut self, value: T) -> Result<u32, T> {
        if self.len == self.capacity {
            return Err(value);
        }
        let hash = self.hash(value.flow());
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
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        while self.index[at] != 0 {
            at = (at + 1) & mask;
        }
        self.index[at] = u64::from(hash) << 32 | u64::from(id + 1);
        self.len += 1;
        Ok(id)
    }

    pub fn remove(&mut self, id: u32) -> Option<T> {
        let flow = *self.get(id)?.flow();
        let (at, _) = self.places(&flow).find(|&(_, found)| found == id)?;
        self.vacate(at);
        self.len -= 1;
        let slot = core::mem::replace(&mut self.slots[id as usize], Slot::Free { next: self.free });
        self.free = id;
        match slot {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// Empties an index place and moves up what was displaced past it, so that no tombstones are needed.
    fn vacate(&mut self, mut hole: usize) {
        let mask = self.index.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let place = self.index[at];
            if place == 0 {
                break;
            }
            let home = (place >> 32) as usize & mask;
            // It may move if the hole lies on its way: between its home and where it is now.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.index[hole] = place;
                hole = at;
            }
        }
        self.index[hole] = 0;
    }

    /// Index places whose hash is that of `flow`, with the slot each names.
    fn places(&self, flow: &Flow) -> impl Iterator<Item = (usize, u32)> + '_ {
        let hash = self.hash(flow);
        let mask = self.index.len() - 1;
        (0..)
            .map(move |step: usize| (hash as usize).wrapping_add(step) & mask)
            .map(|at| (at, self.index[at]))
            .take_while(|&(_, place)| place != 0)
            .filter(move |&(_, place)| (place >> 32) as u32 == hash)
            .map(|(at, place)| (at, place as u32 - 1))
    }

    fn hash(&self, flow: &Flow) -> u32 {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        flow.hash(&mut hasher);
        hasher.finish() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::{Flow, Keyed, Table};
    use crate::flow::{Addr, Endpoint};
    use std::collections::HashMap;

    impl Keyed for Flow {
        fn flow(&self) -> &Flow {
            self
        }
    }

    fn flow(n: u32) -> Flow {
        Flow {
            local: Endpoint {
                addr: Addr::v4([10, 0, 0, 1]),
                port: 80,
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
                assert_eq!(table.remove(id), Some(flow(n)));
                assert_eq!(table.remove(id), None);
            } else {
                match table.insert(flow(n)) {
                    Ok(id) => assert_eq!(model.insert(n, id), None),
                    Err(_) => assert_eq!(model.len(), table.capacity()),
                }
            }
            assert_eq!(table.len(), model.len());
        }
        assert!(table.slots() <= 300);
    }
}
