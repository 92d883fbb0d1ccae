//! What is learned, within its budget of memory, and how it is found again: by URL, by path, by tag.

use super::key::{Key, host, without_default_port};
use super::overlay::{Learned, LearnedId, Overlay, Resource};
use super::routes::Caches;
use crate::store::{Purge, Scope, canonical_path};
use foldhash::fast::FixedState;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter, unsync};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How many variants are kept of one URL. A worker goes through them one by one; and an origin whose answer depends on,
/// say, `User-Agent` would be asked once for each there is. With fewer, a site of many languages would not fit.
pub const VARIANTS: usize = 32;

/// What an answer takes besides its bytes, roughly: its place in the maps, its times, its names. Too little, and the
/// budget is overrun by many small answers; too much, and memory is left unused.
const OVERHEAD: u64 = 1024;

/// How many answers in use may be passed over for one that has to go. Each is put in as if it were new; without an end
/// nothing could go while all are in use.
const SECOND_CHANCES: usize = 16;

/// Whether `purge` means what is kept under `key` with `tags`.
pub fn means(purge: &Purge, key: &Key, tags: &[Box<str>]) -> bool {
    let host_is = |named: &str| {
        // With a port it means that one alone, else all of them.
        let (named, own) = (named.as_bytes(), key.authority());
        own.eq_ignore_ascii_case(without_default_port(named))
            || host(own).eq_ignore_ascii_case(named)
    };
    if !purge.host.as_deref().is_none_or(host_is) {
        return false;
    }
    let own = || canonical_path(key.path()).unwrap_or_default();
    match &purge.scope {
        Scope::Path(text) => {
            let (path, query) = match text.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (text.as_str(), None),
            };
            canonical_path(path.as_bytes()).is_some_and(|path| path == own())
                && query.is_none_or(|query| key.asked().query == Some(query.as_bytes()))
        }
        Scope::Prefix(text) => {
            canonical_path(text.as_bytes()).is_some_and(|prefix| own().starts_with(&prefix))
        }
        Scope::Tag(tag) => tags.iter().any(|own| **own == **tag),
        Scope::All => true,
    }
}

/// One answer as the eviction policy sees it.
#[derive(Clone)]
struct Held {
    learned: Arc<Learned>,
    weight: u64,
}

struct ByWeight;

impl Weighter<u32, Held> for ByWeight {
    fn weight(&self, _: &u32, held: &Held) -> u64 {
        held.weight
    }
}

struct Evicted;

impl Lifecycle<u32, Held> for Evicted {
    type RequestState = Vec<(u32, Held)>;

    fn on_evict(&self, evicted: &mut Self::RequestState, id: u32, held: Held) {
        evicted.push((id, held));
    }
}

/// Chooses what goes.
type Policy = unsync::Cache<u32, Held, ByWeight, FixedState, Evicted>;

/// One with so many bytes.
fn within(memory: u64) -> Policy {
    // How much room to make for the first ones; it grows.
    let options = OptionsBuilder::new()
        .estimated_items_capacity(1024)
        .weight_capacity(memory)
        .build()
        .unwrap_or_else(|e| unreachable!("all options are given: {e}"));
    unsync::Cache::with_options(options, ByWeight, FixedState::default(), Evicted)
}

/// See the module's documentation.
pub struct Shelf {
    overlay: Overlay,
    changed: bool,
    held: Policy,
    /// Ids below `next` that are free.
    free: Vec<u32>,
    next: u32,
    by_path: BTreeMap<Vec<u8>, HashSet<u32>>,
    by_tag: HashMap<Box<str>, HashSet<u32>>,
    /// Told what their routes hold.
    caches: Arc<Caches>,
}

/// The URL has as many variants as are kept.
#[derive(Debug)]
pub struct TooManyVariants;

impl Shelf {
    /// An empty one for what is learned for `caches`.
    pub fn new(caches: &Arc<Caches>) -> Self {
        Self {
            overlay: Overlay::default(),
            changed: false,
            held: within(caches.memory()),
            free: Vec::new(),
            next: 0,
            by_path: BTreeMap::new(),
            by_tag: HashMap::new(),
            caches: caches.clone(),
        }
    }

    /// As workers should see it.
    pub fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// Whether it has changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What an answer takes, in bytes.
    pub fn weight(learned: &Learned) -> u64 {
        let selectors = learned.selectors.iter();
        let values: usize = selectors
            .filter_map(|s| Some(s.value.as_ref()?.len()))
            .sum();
        let tags: usize = learned.tags.iter().map(|tag| tag.len()).sum();
        let own = learned.response.size() + learned.key.size() + values + tags;
        OVERHEAD + own as u64
    }

    /// Puts an answer in the place of what answered the same requests. Returns what had to go for it, which may be the
    /// answer itself.
    ///
    /// # Errors
    /// It is one variant too many.
    pub fn put(&mut self, learned: Learned) -> Result<Vec<Arc<Learned>>, TooManyVariants> {
        let learned = Arc::new(learned);
        let asked = learned.key.asked();
        let names = || learned.selectors.iter().map(|s| &s.name);
        let mut variants = Vec::new();
        let mut replaced = Vec::new();
        if let Some(resource) = self.overlay.resource(&asked).cloned() {
            let same_vary = names().eq(resource.vary.iter());
            for (id, old) in &resource.variants {
                if same_vary && old.selectors != learned.selectors {
                    variants.push((*id, old.clone()));
                } else {
                    // The origin decides anew what its answers depend on, or has made this one anew.
                    replaced.push(*id);
                }
            }
        }
        if variants.len() >= VARIANTS {
            return Err(TooManyVariants);
        }
        for id in replaced {
            self.unlist(id);
        }
        let id = self.list(learned.clone());
        variants.push((LearnedId(id), learned.clone()));
        let accident = self.overlay.put(Arc::new(Resource {
            key: learned.key.clone(),
            vary: names().cloned().collect(),
            variants,
        }));
        for (id, _) in accident.iter().flat_map(|resource| &resource.variants) {
            self.unlist(*id);
        }
        Ok(self.make_room(id, learned))
    }

    /// Keeps to the memory that there is now. Returns what had to go.
    pub fn resize(&mut self) -> Vec<Arc<Learned>> {
        let mut before = std::mem::replace(&mut self.held, within(self.caches.memory()));
        let mut gone = Vec::new();
        for (id, held) in before.drain() {
            gone.extend(self.make_room(id, held.learned));
        }
        gone
    }

    /// Lets the policy choose what goes. What workers have used since it was looked at last gets another chance.
    fn make_room(&mut self, id: u32, learned: Arc<Learned>) -> Vec<Arc<Learned>> {
        let weight = Self::weight(&learned);
        let mut waiting = vec![(id, Held { learned, weight })];
        let mut gone = Vec::new();
        let mut chances = SECOND_CHANCES;
        while let Some((id, held)) = waiting.pop() {
            let mut evicted = Vec::new();
            self.held.insert_with_lifecycle(id, held, &mut evicted);
            for (id, held) in evicted {
                if chances > 0 && held.learned.used.swap(false, Ordering::Relaxed) {
                    chances -= 1;
                    waiting.push((id, held));
                } else {
                    self.remove(&held.learned);
                    gone.push(held.learned);
                }
            }
        }
        gone
    }

    /// Enters an answer everywhere but in its resource.
    fn list(&mut self, learned: Arc<Learned>) -> u32 {
        self.changed = true;
        let id = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        let path = canonical_path(learned.key.path()).unwrap_or_default();
        self.by_path.entry(path).or_default().insert(id);
        for tag in &learned.tags {
            self.by_tag.entry(tag.clone()).or_default().insert(id);
        }
        if let Some(route) = self.caches.route(learned.key.route()) {
            route.stats.gained(Self::weight(&learned));
        }
        self.overlay.set(LearnedId(id), Some(learned));
        id
    }

    /// Takes an answer out everywhere but of its resource.
    fn unlist(&mut self, id: LearnedId) {
        let Some(learned) = self.overlay.learned(id).cloned() else {
            return;
        };
        self.changed = true;
        self.overlay.set(id, None);
        self.free.push(id.0);
        if let Some(route) = self.caches.route(learned.key.route()) {
            route.stats.lost(Self::weight(&learned));
        }
        self.held.remove(&id.0);
        let path = canonical_path(learned.key.path()).unwrap_or_default();
        if let Some(ids) = self.by_path.get_mut(&path) {
            ids.remove(&id.0);
            if ids.is_empty() {
                self.by_path.remove(&path);
            }
        }
        for tag in &learned.tags {
            if let Some(ids) = self.by_tag.get_mut(tag) {
                ids.remove(&id.0);
                if ids.is_empty() {
                    self.by_tag.remove(tag);
                }
            }
        }
    }

    /// Takes an answer out; `false`: it was not there any more.
    pub fn remove(&mut self, learned: &Arc<Learned>) -> bool {
        let Some(resource) = self.overlay.resource(&learned.key.asked()).cloned() else {
            return false;
        };
        let (gone, kept): (Vec<_>, Vec<_>) = resource
            .variants
            .iter()
            .cloned()
            .partition(|(_, own)| Arc::ptr_eq(own, learned));
        for (id, _) in &gone {
            self.unlist(*id);
        }
        if kept.is_empty() {
            self.overlay.remove(&resource.key);
        } else if !gone.is_empty() {
            self.overlay.put(Arc::new(Resource {
                variants: kept,
                ..Resource::clone(&resource)
            }));
        }
        !gone.is_empty()
    }

    /// Takes out what is meant, and returns it.
    pub fn purge(&mut self, purge: &Purge) -> Vec<Arc<Learned>> {
        let meant: Vec<Arc<Learned>> = self
            .candidates(purge)
            .into_iter()
            .filter_map(|id| self.overlay.learned(LearnedId(id)))
            .filter(|learned| means(purge, &learned.key, &learned.tags))
            .cloned()
            .collect();
        for learned in &meant {
            self.remove(learned);
        }
        meant
    }

    /// Ids of all that may be meant, from the narrowest index.
    fn candidates(&self, purge: &Purge) -> Vec<u32> {
        match &purge.scope {
            Scope::Path(text) => {
                let path = text.split('?').next().unwrap_or_default();
                let ids = canonical_path(path.as_bytes()).and_then(|path| self.by_path.get(&path));
                ids.into_iter().flatten().copied().collect()
            }
            Scope::Prefix(text) => {
                let Some(prefix) = canonical_path(text.as_bytes()) else {
                    return Vec::new();
                };
                let from = self.by_path.range(prefix.clone()..);
                from.take_while(|(path, _)| path.starts_with(&prefix))
                    .flat_map(|(_, ids)| ids)
                    .copied()
                    .collect()
            }
            Scope::Tag(tag) => self
                .by_tag
                .get(tag.as_str())
                .into_iter()
                .flatten()
                .copied()
                .collect(),
            Scope::All => self.by_path.values().flatten().copied().collect(),
        }
    }
}
