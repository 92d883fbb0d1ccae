//! One hierarchical timing wheel, one entry per connection.
//!
//! An entry may ring early (its slot on an outer level begins), never late; the connection then looks at its own
//! deadlines and arms again. Moving a deadline back therefore costs nothing, which is the common case.

use crate::time::Instant;

/// A tick, the same as a `Timer`'s millisecond: finer makes more wake-ups, coarser makes every deadline later by up to
/// this much.
const TICK_MICROS: u64 = 1000;
const LEVELS: usize = 7;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// 2^42 ticks of 1 ms: 139 years.
const HORIZON: u64 = 1 << (SLOT_BITS * LEVELS as u32);
const NIL: u32 = u32::MAX;
/// The place of what has come due and was not popped yet.
const DUE: u16 = (LEVELS * SLOTS) as u16;
const UNARMED: u16 = u16::MAX;

/// An entry's neighbours in the list of its place.
#[derive(Clone, Copy)]
struct Entry {
    prev: u32,
    next: u32,
}

const ALONE: Entry = Entry {
    prev: NIL,
    next: NIL,
};

pub(crate) struct Wheel {
    entries: Vec<Entry>,
    /// Of each entry: `level * SLOTS + slot`, [`DUE`] or [`UNARMED`]. Mostly all that `arm` looks at.
    places: Vec<u16>,
    heads: [u32; LEVELS * SLOTS + 1],
    occupied: [u64; LEVELS],
    /// Every entry outside [`DUE`] lies in a slot that begins after this tick.
    current: u64,
}

impl Wheel {
    pub fn new(capacity: usize) -> Wheel {
        Wheel {
            entries: Vec::with_capacity(capacity),
            places: Vec::with_capacity(capacity),
            heads: [NIL; LEVELS * SLOTS + 1],
            occupied: [0; LEVELS],
            current: 0,
        }
    }

    /// Makes entry `id` ring at a tick or before; an entry that rings before already stays. While [`Wheel::pop`] is asked
    /// again and again, a tick that is no later than now would ring in the same round.
    pub fn arm(&mut self, id: u32, tick: u64) {
        let at = id as usize;
        if at >= self.entries.len() {
            self.entries.resize(at + 1, ALONE);
            self.places.resize(at + 1, UNARMED);
        }
        let tick = tick.min(HORIZON - 1).max(self.current + 1);
        let place = self.place_for(tick);
        let armed = self.places[at];
        if armed != UNARMED && self.starts(armed) <= self.starts(place) {
            return;
        }
        self.cancel(id);
        let head = self.heads[usize::from(place)];
        self.places[at] = place;
        self.entries[at].next = head;
        if head != NIL {
            self.entries[head as usize].prev = id;
        }
        self.heads[usize::from(place)] = id;
        let (level, slot) = split(place);
        self.occupied[level] |= 1 << slot;
    }

    pub fn cancel(&mut self, id: u32) {
        let Some(place) = self.places.get_mut(id as usize) else {
            return;
        };
        let place = core::mem::replace(place, UNARMED);
        if place == UNARMED {
            return;
        }
        let Entry { prev, next } = core::mem::replace(&mut self.entries[id as usize], ALONE);
        if next != NIL {
            self.entries[next as usize].prev = prev;
        }
        if prev != NIL {
            self.entries[prev as usize].next = next;
            return;
        }
        self.heads[usize::from(place)] = next;
        if next == NIL && place != DUE {
            let (level, slot) = split(place);
            self.occupied[level] &= !(1 << slot);
        }
    }

    /// Takes one entry that rings by `now`. Arm it again for a later time than `now`, or not at all.
    pub fn pop(&mut self, now: Instant) -> Option<u32> {
        let now = now.0 / TICK_MICROS;
        if self.heads[usize::from(DUE)] == NIL {
            match self.first() {
                Some(place) if self.starts(place) <= now => self.ring(place),
                // Stepping over no slot's beginning, every entry keeps its place.
                _ => self.current = self.current.max(now),
            }
        }
        let id = self.heads[usize::from(DUE)];
        self.cancel(id);
        (id != NIL).then_some(id)
    }

    /// Moves a slot's entries to [`DUE`] and steps to its beginning: an entry that is armed again for a time inside
    /// this slot then lands on a lower level.
    fn ring(&mut self, place: u16) {
        self.current = self.starts(place);
        let head = core::mem::replace(&mut self.heads[usize::from(place)], NIL);
        let (level, slot) = split(place);
        self.occupied[level] &= !(1 << slot);
        let mut id = head;
        while id != NIL {
            self.places[id as usize] = DUE;
            id = self.entries[id as usize].next;
        }
        self.heads[usize::from(DUE)] = head;
    }

    /// When to call `pop` next, at the latest.
    pub fn next(&self) -> Option<Instant> {
        if self.heads[usize::from(DUE)] != NIL {
            return Some(Instant(self.current * TICK_MICROS));
        }
        self.first()
            .map(|place| Instant(self.starts(place) * TICK_MICROS))
    }

    /// The slot that begins first. A lower level's slots all begin before any of a higher level's, since they share
    /// the higher digits of `current`.
    fn first(&self) -> Option<u16> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        Some(join(level, self.occupied[level].trailing_zeros() as usize))
    }

    /// The level is the highest base-64 digit in which the tick differs from the current one, the slot that digit.
    fn place_for(&self, tick: u64) -> u16 {
        let level = (63 - (tick ^ self.current).leading_zeros()) / SLOT_BITS;
        join(
            level as usize,
            (tick >> (level * SLOT_BITS)) as usize % SLOTS,
        )
    }

    /// The first tick of a slot.
    fn starts(&self, place: u16) -> u64 {
        if place == DUE {
            return 0;
        }
        let (level, slot) = split(place);
        let low = level as u32 * SLOT_BITS;
        (self.current >> (low + SLOT_BITS) << (low + SLOT_BITS)) | (slot as u64) << low
    }
}

fn split(place: u16) -> (usize, usize) {
    (usize::from(place) / SLOTS, usize::from(place) % SLOTS)
}

fn join(level: usize, slot: usize) -> u16 {
    (level * SLOTS + slot) as u16
}

#[cfg(test)]
mod tests {
    use super::{HORIZON, Instant, TICK_MICROS, Wheel};
    use std::collections::BTreeMap;

    /// Against a sorted map: everything rings, by its deadline's tick at the latest, `next` never later than that.
    #[test]
    fn never_late_never_lost() {
        let mut rng = 0x1234_5678_9abc_def1u64;
        let mut random = |below: u64| {
            rng ^= rng << 13;
            rng ^= rng >> 7;
            rng ^= rng << 17;
            rng % below
        };
        let mut wheel = Wheel::new(8);
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let mut now = 0u64;
        for _ in 0..200_000 {
            match random(10) {
                0..=4 => {
                    let reach = [3_000, 70_000, 5_000_000, 400_000_000, 100_000_000_000]
                        [random(5) as usize];
                    let (id, when) = (random(200) as u32, now + random(reach));
                    wheel.arm(id, when.div_ceil(TICK_MICROS));
                    // Arming later than before leaves the early entry.
                    let e = model.entry(id).or_insert(when);
                    *e = (*e).min(when);
                }
                5 => {
                    let id = random(200) as u32;
                    wheel.cancel(id);
                    model.remove(&id);
                }
                _ => {
                    let reach =
                        [500, 3_000, 100_000, 10_000_000, 2_000_000_000][random(5) as usize];
                    now += random(reach);
                    let mut rounds = 0;
                    while let Some(id) = wheel.pop(Instant(now)) {
                        rounds += 1;
                        assert!(rounds < 2_000, "no progress");
                        let due = model.remove(&id).expect("rang without being armed");
                        if due > now {
                            wheel.arm(id, due.div_ceil(TICK_MICROS));
                            model.insert(id, due);
                        }
                    }
                    let limit = now / TICK_MICROS * TICK_MICROS;
                    assert!(model.values().all(|&due| due > limit), "late at {now}");
                    assert_eq!(wheel.next().is_some(), !model.is_empty());
                    if let (Some(next), Some(&due)) = (wheel.next(), model.values().min()) {
                        assert!(
                            next.0 <= due.div_ceil(TICK_MICROS) * TICK_MICROS
                                && next.0 + TICK_MICROS > limit
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn far_deadlines_are_clamped() {
        let mut wheel = Wheel::new(1);
        wheel.arm(0, u64::MAX);
        assert_eq!(
            wheel.next().map(|t| t.0 <= HORIZON * TICK_MICROS),
            Some(true)
        );
        assert_eq!(wheel.pop(Instant(1_000_000)), None);
    }
}
