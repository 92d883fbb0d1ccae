//! Where the connections of a table are, by the hashes of their flows: open addressing that keeps to the size that is needed.
//!
//! A few connections are found in a few cache lines. Allocated for as many as there may be, their places would lie as far
//! apart as memory allows, each a line that nothing else is in, and each new connection would begin by waiting for memory.
//!
//! To grow or to shrink, new places are made, and each change from then on moves a few of the old ones there: no call
//! takes long because the table is large. While that lasts an entry is in one of the two.

/// One place: hash in the upper half, id + 1 in the lower; 0 is empty. The hash spares most visits to connections.
type Place = u64;

/// Never fewer places: 32 KiB. Fewer do not make the cache any better, and would have to grow again at once.
const LEAST: usize = 1 << 12;

/// Old places that are emptied with each change. All have to be by the next time that the size changes: when it has grown,
/// half as many changes may pass as there are old places, when it has shrunk a sixteenth. Twice what the latter needs.
const MOVES: usize = 32;

/// See the module's documentation.
pub(crate) struct Index {
    now: Places,
    /// What has not been moved yet.
    old: Places,
    /// Old places below this are empty.
    moved: usize,
    len: usize,
    most: usize,
}

impl Index {
    /// For at most `capacity` entries.
    pub fn new(capacity: usize) -> Index {
        // At most half full: linear probing stays short (2.5 places in a row for a flow that is not there), also in a table
        // that TIME-WAIT fills, as short connections do within a minute; and it ends in an empty place. Less room saves
        // 8 bytes a place: with four fifths full it is 13 places, and two cache lines.
        let most = 2 * capacity + 1;
        Index {
            now: Places::new(most.min(LEAST)),
            old: Places::NONE,
            moved: 0,
            len: 0,
            most,
        }
    }

    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The id with this hash for which `is_it`.
    #[inline(always)]
    pub fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        match self.now.search(hash, &mut is_it) {
            None if !self.old.is_none() => self.old.search(hash, is_it),
            found => found,
        }
        .map(|at| at.id)
    }

    /// What [`Index::find`] would most likely find.
    #[inline]
    pub fn guess(&self, hash: u32) -> Option<u32> {
        self.now.search(hash, |_| true).map(|at| at.id)
    }

    /// Enters `id`, which is not there.
    pub fn insert(&mut self, hash: u32, id: u32) {
        self.len += 1;
        let places = self.now.len();
        if self.len * 2 > places && places < self.most {
            self.resize((places * 2).min(self.most));
        }
        self.move_some();
        self.now.insert(u64::from(hash) << 32 | u64::from(id + 1));
    }

    /// Takes `id` out, which was entered with this hash.
    pub fn remove(&mut self, hash: u32, id: u32) {
        if let Some(at) = self.now.search(hash, |other| other == id) {
            self.now.vacate(at.place);
        } else if !self.old.is_none()
            && let Some(at) = self.old.search(hash, |other| other == id)
        {
            self.old.vacate(at.place);
        } else {
            return;
        }
        self.len -= 1;
        let places = self.now.len();
        if self.len * 16 < places && places > LEAST {
            self.resize((places / 4).max(LEAST));
        }
        self.move_some();
    }

    fn resize(&mut self, places: usize) {
        while !self.old.is_none() {
            self.move_some();
        }
        self.old = core::mem::replace(&mut self.now, Places::new(places));
        self.moved = 0;
    }

    #[inline]
    fn move_some(&mut self) {
        if !self.old.is_none() {
            self.move_few();
        }
    }

    #[cold]
    fn move_few(&mut self) {
        for _ in 0..MOVES {
            match self.old.places.get(self.moved) {
                None => {
                    self.old = Places::NONE;
                    return;
                }
                Some(0) => self.moved += 1,
                Some(&place) => {
                    // What is displaced past it moves up, at most to here.
                    self.old.vacate(self.moved);
                    self.now.insert(place);
                }
            }
        }
    }
}

struct Found {
    place: usize,
    id: u32,
}

struct Places {
    places: Vec<Place>,
}

impl Places {
    const NONE: Places = Places { places: Vec::new() };

    fn new(len: usize) -> Places {
        Places {
            places: vec![0; len],
        }
    }

    #[inline]
    fn is_none(&self) -> bool {
        self.places.is_empty()
    }

    #[inline]
    fn len(&self) -> usize {
        self.places.len()
    }

    #[inline(always)]
    fn search(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<Found> {
        let mut at = self.home(hash);
        loop {
            let place = self.places[at];
            if place == 0 {
                return None;
            }
            let id = (place as u32).wrapping_sub(1);
            if (place >> 32) as u32 == hash && is_it(id) {
                return Some(Found { place: at, id });
            }
            at = self.behind(at);
        }
    }

    #[inline]
    fn insert(&mut self, place: Place) {
        let mut at = self.home((place >> 32) as u32);
        while self.places[at] != 0 {
            at = self.behind(at);
        }
        self.places[at] = place;
    }

    /// Empties a place and moves up what was displaced past it, so that no tombstones are needed.
    fn vacate(&mut self, mut hole: usize) {
        let mut at = hole;
        loop {
            at = self.behind(at);
            let place = self.places[at];
            if place == 0 {
                break;
            }
            let home = self.home((place >> 32) as u32);
            // It may move if the hole lies on its way: between its home and where it is now.
            if self.steps(home, at) >= self.steps(hole, at) {
                self.places[hole] = place;
                hole = at;
            }
        }
        self.places[hole] = 0;
    }

    /// Where the search for a hash begins: as far along as the hash is along its range.
    #[inline]
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.len() as u64) >> 32) as usize
    }

    /// The next place.
    #[inline]
    fn behind(&self, at: usize) -> usize {
        if at + 1 == self.len() { 0 } else { at + 1 }
    }

    /// From one place on to another.
    fn steps(&self, from: usize, to: usize) -> usize {
        if from <= to {
            to - from
        } else {
            to + self.len() - from
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Index, LEAST};
    use std::collections::HashSet;

    /// A population that grows to many times the least size and shrinks again, several times: it agrees with a map all the
    /// way, is never more than half full, and gives its places back.
    #[test]
    fn keeps_to_the_size_that_is_needed() {
        const IDS: u32 = 40_000;
        const MOST: u32 = 25_000;
        let mut index = Index::new(MOST as usize);
        let mut model = HashSet::new();
        let mut rng = 0x9e37_79b9u32;
        let mut random = move || {
            rng ^= rng << 13;
            rng ^= rng >> 17;
            rng ^= rng << 5;
            rng
        };
        // Few hashes, so that many places are displaced and many entries have the same.
        let hash = |id: u32| (id / 3).wrapping_mul(0x0101_0107) & 0xfff8_0000;
        let mut largest = 0;
        for round in 0..6 {
            let target = if round % 2 == 0 { MOST } else { 10 };
            while model.len() as u32 != target {
                let id = random() % IDS;
                let shrinks = model.len() as u32 > target;
                if model.contains(&id) {
                    if shrinks || random() % 4 == 0 {
                        index.remove(hash(id), id);
                        model.remove(&id);
                    }
                } else if !shrinks {
                    index.insert(hash(id), id);
                    model.insert(id);
                }
                let id = random() % IDS;
                let found = index.find(hash(id), |other| other == id);
                assert_eq!(found.is_some(), model.contains(&id));
                assert_eq!(index.len, model.len());
                assert!(index.len * 2 <= index.now.len());
                largest = largest.max(index.now.len());
            }
            for id in 0..IDS {
                let found = index.find(hash(id), |other| other == id);
                assert_eq!(found.is_some(), model.contains(&id), "round {round}");
            }
        }
        assert_eq!(largest, 2 * MOST as usize + 1);
        assert_eq!(index.now.len(), LEAST);
    }

    /// However sizes change, all of the old places are moved before they change again.
    #[test]
    fn is_moved_in_time() {
        let mut index = Index::new(1 << 20);
        let spread = |id: u32| id.wrapping_mul(0x9e37_79b1);
        let mut before = (index.now.len(), true);
        let mut check = |index: &Index| {
            let (len, moved) = before;
            assert!(index.now.len() == len || moved);
            before = (index.now.len(), index.old.is_none());
        };
        for top in [1 << 20, 5000, 1 << 18] {
            for id in 0..top {
                index.insert(spread(id), id);
                check(&index);
            }
            // Down to where it has just shrunk, and up again at once, and then all the way.
            for part in [17, 33, 65, 1 << 21] {
                for id in top / part..index.len as u32 {
                    index.remove(spread(id), id);
                    check(&index);
                }
                for id in top / part..top / part * 5 / 2 {
                    index.insert(spread(id), id);
                    check(&index);
                }
            }
            for id in 0..index.len as u32 {
                index.remove(spread(id), id);
                check(&index);
            }
            assert_eq!(index.len, 0);
        }
    }
}
