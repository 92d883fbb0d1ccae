//! Timers of connections: coarse, cheap to set, never taken back.
//!
//! A connection has one entry at most. Where it is found too early, because the connection has got a later deadline
//! since, it is put back: an entry is touched once a timeout, not once a request.

/// Milliseconds of a slot. Timeouts are a quarter of a second and more.
const SLOT: u32 = 8;
/// Slots; what is due later than they reach is looked at when they end.
const SLOTS: u32 = 512;

/// See the module.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<u32>>,
    /// Up to when all has been taken, in milliseconds.
    done: u32,
    entries: usize,
}

impl Wheel {
    /// A wheel that begins at `now`, in milliseconds.
    pub(crate) fn new(now: u32) -> Self {
        Self {
            slots: vec![Vec::new(); SLOTS as usize],
            done: now / SLOT * SLOT,
            entries: 0,
        }
    }

    /// Brings `index` up at `at` milliseconds or up to a slot later, or before if that is far.
    pub(crate) fn put(&mut self, index: u32, at: u32) {
        let ahead = (at.saturating_sub(self.done) / SLOT + 1).min(SLOTS - 1);
        let slot = (self.done / SLOT + ahead) % SLOTS;
        self.slots[slot as usize].push(index);
        self.entries += 1;
    }

    /// Takes the next slot that is due at `now`: its entries are put into `due`. False when none is.
    pub(crate) fn take(&mut self, now: u32, due: &mut Vec<u32>) -> bool {
        if self.entries == 0 {
            self.done = self.done.max(now / SLOT * SLOT);
            return false;
        }
        if self.done + SLOT > now {
            return false;
        }
        self.done += SLOT;
        let slot = &mut self.slots[(self.done / SLOT % SLOTS) as usize];
        self.entries -= slot.len();
        due.append(slot);
        true
    }

    /// When to look again at the latest, in milliseconds; `None` without entries.
    pub(crate) fn next(&self) -> Option<u32> {
        if self.entries == 0 {
            return None;
        }
        let first = self.done / SLOT;
        (1..=SLOTS)
            .find(|ahead| !self.slots[((first + ahead) % SLOTS) as usize].is_empty())
            .map(|ahead| (first + ahead) * SLOT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_up_when_they_are_due_and_not_before() {
        let mut wheel = Wheel::new(1000);
        for (index, at) in [(1, 1000), (2, 1250), (3, 2000), (4, 60_000)] {
            wheel.put(index, at);
        }
        let mut seen = Vec::new();
        let mut now = 1000;
        while let Some(next) = wheel.next() {
            assert!(next > now);
            let mut due = Vec::new();
            assert!(!wheel.take(next - 1, &mut due) || due.is_empty());
            now = next;
            while wheel.take(now, &mut due) {}
            seen.extend(due.iter().map(|index| (*index, now)));
        }
        assert_eq!(
            seen.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
            [1, 2, 3, 4]
        );
        for ((_, at), range) in
            seen.iter()
                .zip([1000..=1016, 1250..=1264, 2000..=2016, 5000..=5100])
        {
            assert!(range.contains(at), "{at} of {range:?}");
        }
    }

    #[test]
    fn an_empty_wheel_keeps_up_with_the_time() {
        let mut wheel = Wheel::new(0);
        let mut due = Vec::new();
        assert!(!wheel.take(1_000_000, &mut due));
        wheel.put(7, 1_000_100);
        assert!(
            wheel
                .next()
                .is_some_and(|next| (1_000_100..1_000_120).contains(&next))
        );
    }
}
