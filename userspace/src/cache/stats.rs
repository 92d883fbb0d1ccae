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
    /// The fetcher has no time to hear of more requests.
    Unheard,
}

impl Event {
    /// Every variant.
    pub const ALL: [Self; 8] = [
        Self::Fetched,
        Self::Coalesced,
        Self::Passed,
        Self::Stored,
        Self::Revalidated,
        Self::Evicted,
        Self::Purged,
        Self::Unheard,
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
            Self::Unheard => "unheard",
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
    /// The same counts, of no answers.
    pub fn carried_over(&self) -> Self {
        let copy = |count: &AtomicU64| AtomicU64::new(count.load(Ordering::Relaxed));
        Self {
            events: self.events.each_ref().map(copy),
            not_stored: self.not_stored.each_ref().map(copy),
            ..Self::default()
        }
    }

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

    /// Shows every counter.
    pub fn visit(&self, see: &mut impl FnMut(String, u64)) {
        for (event, count) in Event::ALL.iter().zip(&self.events) {
            let count = count.load(Ordering::Relaxed);
            see(event.label().into(), count);
        }
        for (why, count) in NotStored::ALL.iter().zip(&self.not_stored) {
            let count = count.load(Ordering::Relaxed);
            see(format!("not_stored_{}", why.label()), count);
        }
    }

    /// Learned answers, and what they take in bytes.
    pub fn held(&self) -> (u64, u64) {
        let load = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        (load(&self.entries), load(&self.bytes))
    }
}
