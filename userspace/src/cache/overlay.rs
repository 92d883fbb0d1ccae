//! The learned answers of one moment, as workers look them up.
//!
//! A persistent map: a change makes a new overlay that shares all but a few nodes with the one before, so that the
//! snapshots in use cost no more than what differs between them.

use super::key::{Asked, Key, Selector};
use super::writes::{Slot, Writes};
use crate::http::FieldLines;
use crate::store::Response;
use foldhash::fast::{FixedState, RandomState};
use http::HeaderName;
use rpds::{HashTrieMapSync, VectorSync};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tcp_lite::Instant;

/// How long a worker that has asked for an answer to be fetched anew waits before it asks again: in case its word was
/// lost, or the fetch failed. Shorter floods the fetcher while an origin is slow; longer lets answers go stale.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Names a learned answer of one overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LearnedId(pub u32);

/// Until when an answer may be used, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When its fetch was begun: what was written after that is not in it.
    pub asked: Instant,
    /// From then on a use of it has it fetched anew.
    pub refresh: Instant,
    /// Until then it is fresh.
    pub fresh: Instant,
    /// Until then it may be served while it is fetched anew.
    pub stale: Instant,
    /// Until then it may be served when the origin fails.
    pub failed: Instant,
}

/// A learned answer.
pub struct Learned {
    /// What is sent.
    pub response: Response,
    /// What it answers.
    pub key: Arc<Key>,
    /// The request fields that it depends on.
    pub selectors: Box<[Selector]>,
    /// Its tags.
    pub tags: Box<[Box<str>]>,
    /// Where writes to its path are noted.
    pub slot: Slot,
    /// See there.
    pub times: Times,
    /// It was used since the last look. Workers set it, so that eviction knows what is in use.
    pub used: AtomicBool,
    /// The last fetch failed.
    pub failing: AtomicBool,
    /// When it was last asked to be fetched anew.
    pub told: AtomicU64,
}

impl Learned {
    /// Marks it as used.
    fn touch(&self) {
        // Only the first use since the last look writes: the line stays shared between the cores.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// True for one caller in [`ASK_AGAIN`].
    fn may_tell(&self, now: Instant) -> bool {
        let told = self.told.load(Ordering::Relaxed);
        let due = told == 0 || now >= Instant(told) + ASK_AGAIN;
        due && self
            .told
            .compare_exchange(told, now.0.max(1), Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// All that is known of one URL.
#[derive(Clone)]
pub struct Resource {
    /// Its key.
    pub key: Arc<Key>,
    /// The request fields that its last answer depended on.
    pub vary: Arc<[HeaderName]>,
    /// Its variants.
    pub variants: Vec<(LearnedId, Arc<Learned>)>,
}

impl Resource {
    /// The variant for a request with `fields`.
    pub fn variant(&self, fields: FieldLines<'_>) -> Option<(LearnedId, &Arc<Learned>)> {
        self.variants
            .iter()
            .find(|(_, learned)| learned.selectors.iter().all(|s| s.matches(fields)))
            .map(|(id, learned)| (*id, learned))
    }
}

/// What is known about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// This answers it.
    Fresh {
        /// The answer.
        id: LearnedId,
        /// It is to be fetched anew all the same, for it will soon be stale.
        tell: bool,
    },
    /// This may answer it, though it is stale.
    Stale {
        /// The answer.
        id: LearnedId,
        /// It is to be fetched anew.
        tell: bool,
    },
    /// Nothing.
    Miss,
}

/// See the module's documentation.
#[derive(Clone)]
pub struct Overlay {
    state: RandomState,
    resources: HashTrieMapSync<u64, Arc<Resource>, FixedState>,
    /// By [`LearnedId`]. An id means the same as long as anything refers to the overlay that it is of.
    learned: VectorSync<Option<Arc<Learned>>>,
}

impl Default for Overlay {
    fn default() -> Self {
        Self {
            state: RandomState::default(),
            resources: HashTrieMapSync::new_with_hasher_and_ptr_kind(FixedState::default()),
            learned: VectorSync::new_sync(),
        }
    }
}

impl Overlay {
    /// Looks a request up. Tells whether its answer should be fetched anew, which of all workers one is told at a time.
    pub fn find(
        &self,
        asked: &Asked<'_>,
        fields: FieldLines<'_>,
        writes: &Writes,
        now: Instant,
    ) -> Lookup {
        let Some((id, learned)) = self.variant(asked, fields) else {
            return Lookup::Miss;
        };
        let times = &learned.times;
        if writes.may_have_changed(learned.slot, times.asked) {
            return Lookup::Miss;
        }
        if now < times.refresh {
            learned.touch();
            return Lookup::Fresh { id, tell: false };
        }
        if now < times.fresh {
            learned.touch();
            let tell = learned.may_tell(now);
            return Lookup::Fresh { id, tell };
        }
        let failing = now < times.failed && learned.failing.load(Ordering::Relaxed);
        if now < times.stale || failing {
            learned.touch();
            let tell = learned.may_tell(now);
            return Lookup::Stale { id, tell };
        }
        Lookup::Miss
    }

    /// Whether [`find`](Self::find), which gave `id` as fresh for a request, would do so now without anybody to be told.
    /// Counts as a use of it then.
    pub fn is_still_fresh(&self, id: LearnedId, writes: &Writes, now: Instant) -> bool {
        let fresh = self.learned(id).filter(|learned| {
            let times = &learned.times;
            now < times.refresh && !writes.may_have_changed(learned.slot, times.asked)
        });
        fresh.inspect(|learned| learned.touch()).is_some()
    }

    /// What may still answer a request that nobody else answers (RFC 5861, 4).
    pub fn rescue(
        &self,
        asked: &Asked<'_>,
        fields: FieldLines<'_>,
        writes: &Writes,
        now: Instant,
    ) -> Option<LearnedId> {
        let (id, learned) = self.variant(asked, fields)?;
        let times = &learned.times;
        let fits = now < times.fresh.max(times.stale).max(times.failed)
            && !writes.may_have_changed(learned.slot, times.asked);
        if fits {
            learned.touch();
        }
        fits.then_some(id)
    }

    fn variant(
        &self,
        asked: &Asked<'_>,
        fields: FieldLines<'_>,
    ) -> Option<(LearnedId, &Arc<Learned>)> {
        self.resource(asked)?.variant(fields)
    }

    /// What is known of a URL.
    pub fn resource(&self, asked: &Asked<'_>) -> Option<&Arc<Resource>> {
        // Two keys with one hash take each other's place: as rare as it is harmless.
        self.resources
            .get(&asked.hash(&self.state))
            .filter(|resource| resource.key.is(asked))
    }

    /// The learned answer `id`.
    pub fn learned(&self, id: LearnedId) -> Option<&Arc<Learned>> {
        self.learned.get(id.0 as usize)?.as_ref()
    }

    /// The response of `id`.
    ///
    /// # Panics
    /// When the id is of another overlay.
    pub fn response(&self, id: LearnedId) -> &Response {
        match self.learned(id) {
            Some(learned) => &learned.response,
            None => panic!("{id:?} is of another overlay"),
        }
    }

    /// Puts `resource` in the place of what was known of the URL. Returns what had its place by accident.
    pub fn put(&mut self, resource: Arc<Resource>) -> Option<Arc<Resource>> {
        let hash = resource.key.asked().hash(&self.state);
        let before = self.resources.get(&hash).cloned();
        self.resources.insert_mut(hash, resource.clone());
        before.filter(|before| before.key != resource.key)
    }

    /// Forgets a URL.
    pub fn remove(&mut self, key: &Key) {
        self.resources.remove_mut(&key.asked().hash(&self.state));
    }

    /// Puts an answer in its place, the next free one at most one behind the last.
    pub fn set(&mut self, id: LearnedId, learned: Option<Arc<Learned>>) {
        let at = id.0 as usize;
        if at == self.learned.len() {
            self.learned.push_back_mut(learned);
        } else {
            self.learned.set_mut(at, learned);
        }
    }
}
