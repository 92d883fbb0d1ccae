//! Requests that may have changed something at the origin.
//!
//! RFC 9111, 4.4: what an unsafe request names must not be answered from the store any more. The worker that hands such
//! a request over notes the time here, before the origin can see it; from then on no worker uses what was learned of
//! that path before, and nothing is learned of it for the hold of its route, for only the origin knows when it has made
//! the change. An answer counts as learned when its fetch was begun.
//!
//! Paths share slots by hash. Two that do so only cost each other some learning.

use super::key::Key;
use crate::store::canonical_path;
use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tcp_lite::Instant;

/// How many slots there are; a power of two. With fewer, paths that are written to often keep others from being
/// learned; more of them fill the processor's cache: these take 128 KiB.
const SLOTS: usize = 1 << 14;

/// Where writes to a path are noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(u32);

/// See the module's documentation. Shared by all workers and the fetcher.
#[derive(Debug)]
pub struct Writes {
    /// Until when nothing is learned, in microseconds; 0: there was no write.
    until: Box<[AtomicU64]>,
}

impl Default for Writes {
    fn default() -> Self {
        Self {
            until: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Writes {
    /// The slot of `path`, in the form that routes are found by, on any site.
    pub fn slot(path: &[u8]) -> Slot {
        let mut hasher = FixedState::default().build_hasher();
        hasher.write(path);
        Slot((hasher.finish() as usize % SLOTS) as u32)
    }

    /// The slot of the path of `key`.
    pub fn slot_of(key: &Key) -> Slot {
        Self::slot(&canonical_path(key.path()).unwrap_or_default())
    }

    /// A request that may change what is at the slot is about to be handed over. Visible to all workers before anything
    /// that the request brings about.
    pub fn note(&self, slot: Slot, now: Instant, hold: Duration) {
        // Never 0, which is none.
        let until = (now + hold).0.max(1);
        self.until[slot.0 as usize].fetch_max(until, Ordering::SeqCst);
    }

    /// Whether what a fetch brought that was begun at `asked` may be from before a write.
    pub fn may_have_changed(&self, slot: Slot, asked: Instant) -> bool {
        asked.0 < self.until[slot.0 as usize].load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_before_the_end_of_the_hold_does_not_count() {
        let writes = Writes::default();
        let slot = Writes::slot(b"/a");
        let other = Writes::slot(b"/b");
        assert_ne!(slot, other);
        assert!(!writes.may_have_changed(slot, Instant(0)));
        writes.note(slot, Instant(1000), Duration::from_micros(500));
        assert!(writes.may_have_changed(slot, Instant(0)));
        assert!(writes.may_have_changed(slot, Instant(1499)));
        assert!(!writes.may_have_changed(slot, Instant(1500)));
        assert!(!writes.may_have_changed(other, Instant(0)));
        // An older one that comes late takes nothing back.
        writes.note(slot, Instant(900), Duration::from_micros(500));
        assert!(writes.may_have_changed(slot, Instant(1499)));
        // At the very first moment, too.
        writes.note(other, Instant(0), Duration::ZERO);
        assert!(writes.may_have_changed(other, Instant(0)));
    }
}
