//! What the cache counts for each route. The fetcher writes, anyone reads.

use crate::reason::NotStored;
use std::sync::atomic::{AtomicU64, Ordering};

/// What can happen to a route's answers, besides not being stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The origin was asked.
    Fetched,
    /// A request came while its answer was being fetched, or had just been.
    Coalesced,
    /// It was known that the origin's answer cannot be kept, or that it does not answer: it was not asked.
    Passed,
    /// An answer was stored.
    Stored,
    /// The origin said that what is stored is still right (RFC 9111, 4.3.4).
    Revalidated,
    /// An answer made room for others.
    Evicted,
    /// An answer was purged.
    Purged,
}

impl Event {
    /// Every variant.
    pub const ALL: [Self; 7] = [
        Self::Fetched,
        Self::Coalesced,
        Self::Passed,
        Self::Stored,
        Self::Revalidated,
        Self::Evicted,
        Self::Purged,
    ];

    /// Metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Coalesced => "coalesced",
            Self::Passed => "passed",
            Self::Stored => "stored",
            Self::Revalidated => "revalidated",
            Self::Evicted => "evicted",
            Self::Purged => "purged",
        }
    }
}

/// The counters of one route.
#[derive(Debug, Default)]
pub struct RouteStats {
    events: [AtomicU64; Event::ALL.len()],
    not_stored: [AtomicU64; NotStored::ALL.len()],
    /// Learned answers.
    entries: AtomicU64,
    /// What they take, in bytes.
    bytes: AtomicU64,
}

impl RouteStats {
    /// Counts an event.
    pub fn count(&self, event: Event) {
        self.events[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer that is not kept.
    pub fn not_stored(&self, why: NotStored) {
        self.not_stored[why.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// An answer of `bytes` has come.
    pub fn gained(&self, bytes: u64) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// An answer of `bytes` has gone.
    pub fn lost(&self, bytes: u64) {
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Shows every counter and gauge as (name, label, value).
    pub fn visit(&self, see: &mut impl FnMut(&'static str, &'static str, u64)) {
        for event in Event::ALL {
            let count = self.events[event as usize].load(Ordering::Relaxed);
            see("cache", event.label(), count);
        }
        for why in NotStored::ALL {
            let count = self.not_stored[why.index()].load(Ordering::Relaxed);
            see("cache_not_stored", why.label(), count);
        }
        see(
            "cache_held",
            "entries",
            self.entries.load(Ordering::Relaxed),
        );
        see("cache_held", "bytes", self.bytes.load(Ordering::Relaxed));
    }
}
