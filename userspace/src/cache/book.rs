//! What the fetcher knows: which answers are learned, which are on their way, which need not be asked for. No I/O and no
//! clock: questions and answers come in with their time, fetches to make come out.

use super::answer::{self, Got};
use super::asking::{Fetch, FetchError, FetchId, Told, answered_selectors, selectors};
use super::key::{Key, Selector};
use super::overlay::{Learned, Overlay};
use super::routes::{Caches, Route};
use super::shelf::{Shelf, means};
use super::stats::Event;
use super::writes::Writes;
use crate::reason::NotStored;
use crate::store::Purge;
use http::HeaderName;
use sidestep_config::Origin;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tcp_lite::Instant;

/// How long an origin's word that an answer cannot be kept is good for. While it is not, each request for such a URL
/// makes the origin answer twice; while it is, an answer that could be kept by now is not.
const PASS: Duration = Duration::from_secs(30);

/// How long an origin that fails is left alone, for each URL. Shorter, and it is asked while it is down as often as
/// clients ask; longer, and it takes so long until stale answers are replaced once it is back.
const FAILURE: Duration = Duration::from_secs(1);

/// How many URLs are remembered as not worth asking for. Whoever makes up URLs can fill it, at 16 bytes each; then it
/// is emptied, and the origin asked once more for some of them.
const PASSES: usize = 1 << 16;

/// Fetches at a time for each origin. An application of a few processes answers users beside them; with fewer, a cold
/// cache fills slowly.
const AT_ONCE: usize = 16;

/// Fetches that may wait for their turn, for each origin: a second's worth of a slow one. What is beyond is asked for
/// by the next request.
const WAITING: usize = 1024;

/// A fetch under way.
struct Flight {
    fetch: Fetch,
    begun: Instant,
    told: Told,
    /// It was made because an answer to the same request depends on more than was known.
    second: bool,
    /// What was purged since it began.
    purged: Vec<Purge>,
}

/// The fetches of one origin.
#[derive(Default)]
struct Line {
    running: usize,
    waiting: std::collections::VecDeque<FetchId>,
}

/// What a fetch is for: another one for the same waits for it.
type Purpose = (Arc<Key>, Box<[Selector]>);

/// See the module's documentation.
pub struct Book {
    caches: Arc<Caches>,
    lines: HashMap<Origin, Line>,
    shelf: Shelf,
    flights: HashMap<FetchId, Flight>,
    purposes: HashMap<Purpose, FetchId>,
    passes: HashMap<u64, Instant>,
    hasher: foldhash::fast::RandomState,
    next: u64,
}

impl Book {
    /// An empty one.
    pub fn new(caches: Arc<Caches>) -> Self {
        Self {
            lines: HashMap::new(),
            shelf: Shelf::new(&caches),
            caches,
            flights: HashMap::new(),
            purposes: HashMap::new(),
            passes: HashMap::new(),
            hasher: foldhash::fast::RandomState::default(),
            next: 0,
        }
    }

    /// What it is learned for.
    pub fn caches(&self) -> &Arc<Caches> {
        &self.caches
    }

    /// What workers should see.
    pub fn overlay(&self) -> &Overlay {
        self.shelf.overlay()
    }

    /// Whether that has changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        self.shelf.take_changed()
    }

    /// A request was not answered from what is learned, or soon will not be.
    pub fn told(&mut self, now: Instant, told: Told) -> Option<Fetch> {
        let asked = told.key.asked();
        let resource = self.shelf.overlay().resource(&asked);
        let stored = resource.and_then(|resource| resource.variant(told.fields()));
        let stored = stored.map(|(_, learned)| learned.clone());
        let names: Vec<HeaderName> = match resource {
            Some(resource) => resource.vary.to_vec(),
            None => Vec::new(),
        };
        let writes = self.caches.writes();
        // What was written to since has to come whole: a validator may be too coarse to tell (RFC 9110, 8.8.2.2).
        let stored =
            stored.filter(|learned| !writes.may_have_changed(learned.slot, learned.times.asked));
        let current = stored
            .as_ref()
            .is_some_and(|learned| now < learned.times.refresh);
        if current {
            self.count(&told.key, Event::Coalesced);
            return None;
        }
        self.begin(now, told, &names, stored, false)
    }

    /// Begins a fetch with what `told` has of `names`, unless there is a reason not to.
    fn begin(
        &mut self,
        now: Instant,
        told: Told,
        names: &[HeaderName],
        stored: Option<Arc<Learned>>,
        second: bool,
    ) -> Option<Fetch> {
        let route = self.caches.route(told.key.route())?;
        let selectors = selectors(names, told.fields());
        let purpose = (Arc::new(told.key.clone()), selectors);
        if self.purposes.contains_key(&purpose) {
            route.stats.count(Event::Coalesced);
            return None;
        }
        let pass = self.hasher.hash_one(&purpose);
        if self.passes.get(&pass).is_some_and(|until| now < *until) {
            route.stats.count(Event::Passed);
            return None;
        }
        let slot = Writes::slot_of(&told.key);
        if self.caches.writes().may_have_changed(slot, now) {
            route.stats.not_stored(NotStored::Written);
            return None;
        }
        let line = self.lines.entry(route.config.origin.clone()).or_default();
        if line.waiting.len() >= WAITING {
            route.stats.not_stored(NotStored::Busy);
            return None;
        }
        let id = FetchId(self.next);
        self.next += 1;
        let fetch = Fetch {
            id,
            origin: route.config.origin.clone(),
            key: purpose.0.clone(),
            selectors: purpose.1.clone(),
            stored: stored.filter(|learned| {
                let validators = learned.response.validators();
                validators.etag.is_some() || validators.last_modified.is_some()
            }),
            max_object: route.config.max_object,
        };
        self.purposes.insert(purpose, id);
        self.flights.insert(
            id,
            Flight {
                fetch: fetch.clone(),
                begun: now,
                told,
                second,
                purged: Vec::new(),
            },
        );
        if line.running < AT_ONCE {
            line.running += 1;
            route.stats.count(Event::Fetched);
            return Some(fetch);
        }
        line.waiting.push_back(id);
        None
    }

    /// A fetch has ended. Returns the ones to make now.
    pub fn done(
        &mut self,
        now: Instant,
        id: FetchId,
        result: Result<Got, FetchError>,
    ) -> Vec<Fetch> {
        let Some(flight) = self.flights.remove(&id) else {
            return Vec::new();
        };
        let purpose = (flight.fetch.key.clone(), flight.fetch.selectors.clone());
        self.purposes.remove(&purpose);
        let origin = flight.fetch.origin.clone();
        if let Some(line) = self.lines.get_mut(&origin) {
            line.running -= 1;
        }
        let mut next = Vec::new();
        match self.learn(now, &flight, result) {
            Ok(vary) => next.extend(self.second(now, flight, &vary)),
            Err(why) => {
                if let Some(route) = self.caches.route(flight.fetch.key.route()) {
                    route.stats.not_stored(why);
                }
                self.give_up(now, &flight, &purpose, why);
            }
        }
        next.extend(self.next_in_line(now, &origin));
        next
    }

    /// What may run now of an origin's fetches.
    fn next_in_line(&mut self, now: Instant, origin: &Origin) -> Vec<Fetch> {
        let mut next = Vec::new();
        let Some(line) = self.lines.get_mut(origin) else {
            return next;
        };
        while line.running < AT_ONCE
            && let Some(id) = line.waiting.pop_front()
        {
            let Some(flight) = self.flights.get_mut(&id) else {
                continue;
            };
            line.running += 1;
            // What was written or purged while it waited is in its answer.
            flight.begun = now;
            flight.purged.clear();
            if let Some(route) = self.caches.route(flight.fetch.key.route()) {
                route.stats.count(Event::Fetched);
            }
            next.push(flight.fetch.clone());
        }
        next
    }

    /// Stores what a fetch brought. Returns the fields that it depends on.
    fn learn(
        &mut self,
        now: Instant,
        flight: &Flight,
        result: Result<Got, FetchError>,
    ) -> Result<Vec<HeaderName>, NotStored> {
        let got = result.map_err(|error| match error {
            FetchError::Unreachable => NotStored::Unreachable,
            FetchError::TooLarge => NotStored::TooLarge,
            FetchError::NotAsked => NotStored::Target,
            FetchError::Panicked => NotStored::Panicked,
        })?;
        // RFC 5861, 4.
        if matches!(got.status, 500 | 502 | 503 | 504) {
            return Err(NotStored::OriginError);
        }
        let slot = Writes::slot_of(&flight.fetch.key);
        if self.caches.writes().may_have_changed(slot, flight.begun) {
            return Err(NotStored::Written);
        }
        let stored = flight.fetch.stored.as_deref();
        let revalidated = got.status == 304 && stored.is_some();
        let got = match (got.status, stored) {
            (304, Some(stored)) => answer::freshened(got, stored)?,
            _ => got,
        };
        let tags = answer::tags(&got.fields);
        let spoilt = |purge: &Purge| means(purge, &flight.fetch.key, &tags);
        if flight.purged.iter().any(spoilt) {
            return Err(NotStored::Purged);
        }
        let route = self.caches.route(flight.fetch.key.route());
        let policy = route.map(Route::policy).ok_or(NotStored::Purged)?;
        let keep = answer::judge(&got, &policy)?;
        let response = answer::response(&got, keep.age)?;
        let vary = keep.vary.clone();
        let learned = Learned {
            response,
            key: flight.fetch.key.clone(),
            selectors: answered_selectors(&vary, &flight.fetch),
            tags: tags.into(),
            slot,
            times: answer::times(flight.begun, now, &keep),
            used: Default::default(),
            failing: Default::default(),
            told: Default::default(),
        };
        // One that was in use is so still, for all that is known.
        if let Some(stored) = stored {
            let used = stored.used.load(Ordering::Relaxed);
            learned.used.store(used, Ordering::Relaxed);
        }
        let event = match revalidated {
            true => Event::Revalidated,
            false => Event::Stored,
        };
        let evicted = self.shelf.put(learned).map_err(|_| NotStored::Variants)?;
        self.count(&flight.fetch.key, event);
        for learned in evicted {
            self.count(&learned.key, Event::Evicted);
        }
        Ok(vary)
    }

    /// A fetch for the request that the last one did not answer, because what it depends on was not known.
    fn second(&mut self, now: Instant, flight: Flight, vary: &[HeaderName]) -> Option<Fetch> {
        let wanted = selectors(vary, flight.told.fields());
        if flight.second || wanted == flight.fetch.selectors {
            return None;
        }
        let resource = self.shelf.overlay().resource(&flight.told.key.asked())?;
        if resource.variant(flight.told.fields()).is_some() {
            return None;
        }
        self.begin(now, flight.told, vary, None, true)
    }

    /// Nothing was stored: what is becomes of what was, and when to ask again.
    fn give_up(&mut self, now: Instant, flight: &Flight, purpose: &Purpose, why: NotStored) {
        let asked = flight.fetch.key.asked();
        let resource = self.shelf.overlay().resource(&asked);
        let before = resource
            .and_then(|resource| resource.variant(flight.told.fields()))
            .map(|(_, learned)| learned.clone());
        let pause = match why {
            NotStored::Unreachable | NotStored::OriginError | NotStored::Panicked => {
                if let Some(before) = before {
                    before.failing.store(true, Ordering::Relaxed);
                }
                FAILURE
            }
            // The next request may try again at once.
            NotStored::Purged | NotStored::Written | NotStored::Busy => return,
            NotStored::Status
            | NotStored::Partial
            | NotStored::NoStore
            | NotStored::Private
            | NotStored::NoCache
            | NotStored::SetCookie
            | NotStored::VaryAny
            | NotStored::Authorization
            | NotStored::NoLifetime
            | NotStored::Stale
            | NotStored::TooLarge
            | NotStored::Variants
            | NotStored::BadHead
            | NotStored::Target => {
                // What the origin says now is another thing.
                if let Some(before) = before {
                    self.shelf.remove(&before);
                }
                PASS
            }
        };
        if self.passes.len() >= PASSES {
            self.passes.retain(|_, until| now < *until);
        }
        if self.passes.len() >= PASSES {
            self.passes.clear();
        }
        self.passes
            .insert(self.hasher.hash_one(purpose), now + pause);
    }

    /// Forgets what is meant, and what fetches that have begun will bring of it. Returns how many answers that were.
    pub fn purge(&mut self, purge: &Purge) -> usize {
        for flight in self.flights.values_mut() {
            flight.purged.push(purge.clone());
        }
        // Which of them are meant cannot be told from a hash; to ask once more does no harm.
        self.passes.clear();
        let gone = self.shelf.purge(purge);
        for learned in &gone {
            self.count(&learned.key, Event::Purged);
        }
        gone.len()
    }

    /// Keeps to the memory that there is now.
    pub fn resize(&mut self) {
        for learned in self.shelf.resize() {
            self.count(&learned.key, Event::Evicted);
        }
    }

    fn count(&self, key: &Key, event: Event) {
        if let Some(route) = self.caches.route(key.route()) {
            route.stats.count(event);
        }
    }
}

#[cfg(test)]
mod tests;
