//! The store while it is served: the one writer of snapshots.

use super::overlay::{Layer, Overlay};
use super::{Current, Found, LayoutError, Response, Snapshot, Watching, path, resource};
use crate::cache;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Responses of an overlay that nothing leads to any more, before it is made anew. Fewer, and it is made anew all the
/// time; more, and they take memory.
const WASTE: usize = 64;

/// Something to be answered that no configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// A host of its site; `None`: the site of `*`, or the only one there is.
    pub host: Option<String>,
    /// Its path, percent-encoded.
    pub path: String,
    /// Value of its `Content-Type`.
    pub content_type: String,
    /// How long it is to be answered; `None`: until it is purged.
    pub ttl: Option<Duration>,
    /// Names by which it can be purged.
    #[serde(default)]
    pub tags: BTreeSet<String>,
}

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purge {
    /// Only of this host; `None`: of all.
    pub host: Option<String>,
    /// What of it.
    pub scope: Scope,
}

/// See [`Purge`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// A path, with all queries; with one of its own, that alone. Percent-encoded.
    Path(String),
    /// All paths that begin so. Percent-encoded.
    Prefix(String),
    /// What was given this tag.
    Tag(String),
    /// All.
    All,
}

/// Why something cannot be put.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// No site would answer it.
    #[error("no site has the host {0}; name one of the configuration's hosts")]
    NoSite(String),
    /// Which site is meant?
    #[error("there is no site for `*`, and more than one other; name a host")]
    WhichSite,
    /// The path names nothing.
    #[error("`{0}` is not the path of a request; it begins with a slash and has valid escapes")]
    BadPath(String),
    /// It cannot be laid out.
    #[error("it cannot be rendered: {0}")]
    Layout(#[from] LayoutError),
    /// As many as ids can name.
    #[error("there are more than a billion")]
    TooMany,
}

/// What the store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many snapshots there have been.
    pub generation: u64,
    /// Responses of the base, those of the fast path itself included.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Paths that have changed since the base was built.
    pub overlay: usize,
    /// Answers that were put.
    pub puts: usize,
    /// Snapshots that were replaced, and are still in use.
    pub retired: usize,
    /// How the trees are watched.
    pub watching: Watching,
    /// The last reload; `None`: there was none.
    pub reload: Option<Reload>,
}

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// When it ended, in seconds since 1970-01-01 00:00:00 UTC.
    pub at: u64,
    /// How long it took, in milliseconds.
    pub took: u64,
    /// Why everything stayed as it was; `None`: it went well.
    pub error: Option<String>,
}

/// A site by the host it was named by; empty: not at all.
type Place = (String, Vec<u8>);

struct Kept {
    response: Response,
    expires: Option<Instant>,
    tags: BTreeSet<String>,
}

type Purger = Box<dyn Fn(&Purge) -> usize + Send + Sync>;

struct State {
    desk: Desk,
    watching: Watching,
    reload: Option<Reload>,
    puts: BTreeMap<Place, Kept>,
}

/// Where snapshots are published.
struct Desk {
    current: Current,
    generation: u64,
    /// Replaced, and perhaps still in use. Kept here so that no worker is ever the last to let go of one: to give back
    /// the memory of a million responses takes longer than any frame should wait.
    retired: Vec<Arc<Snapshot>>,
}

/// See the module's documentation.
pub struct Live {
    current: Current,
    state: Mutex<State>,
    purgers: Mutex<Vec<Purger>>,
}

impl Live {
    /// Begins with `snapshot`.
    pub fn new(snapshot: Snapshot) -> Self {
        let current = Current::new(Arc::new(snapshot));
        Self {
            current: current.clone(),
            state: Mutex::new(State {
                desk: Desk {
                    current,
                    generation: 1,
                    retired: Vec::new(),
                },
                puts: BTreeMap::new(),
                reload: None,
                watching: Watching::default(),
            }),
            purgers: Mutex::default(),
        }
    }

    /// Where workers look.
    pub fn current(&self) -> &Current {
        &self.current
    }

    /// Makes the next snapshot of the current one. When this returns, no request that is sent later is answered from
    /// the one before. Cheap, but not free: who changes much gathers it.
    pub fn publish<T>(&self, change: impl FnOnce(&mut Snapshot) -> T) -> T {
        self.lock().desk.publish(change)
    }

    /// Replaces all that comes from the configuration and its trees; what was put stays where its site still is, and what
    /// was learned if nothing about its routes is different.
    pub fn replace(&self, snapshot: Snapshot) {
        let State { desk, puts, .. } = &mut *self.lock();
        let Snapshot {
            base,
            files,
            caches,
            ..
        } = snapshot;
        desk.publish(|next| {
            let caches = caches.after(&next.caches);
            if !Arc::ptr_eq(&caches, &next.caches) {
                next.learned = cache::Overlay::default();
            }
            next.caches = caches;
            next.base = base;
            next.files = files;
            next.puts = layer(next, puts);
        });
    }

    /// Answers `put.path` with `body` from now on, whatever else is there.
    ///
    /// # Errors
    /// See [`PutError`].
    #[expect(clippy::disallowed_methods, reason = "a ttl, not a packet")]
    pub fn put(&self, put: Put, body: &[u8]) -> Result<(), PutError> {
        let key = put
            .path
            .starts_with('/')
            .then(|| path::canonical(put.path.as_bytes()));
        let key = key.flatten().ok_or(PutError::BadPath(put.path))?;
        let response = resource::answer(200, &put.content_type, &[], body)?;
        let State { desk, puts, .. } = &mut *self.lock();
        let host = put.host.unwrap_or_default();
        let site = site(&desk.current.get(), &host).ok_or(match host.is_empty() {
            true => PutError::WhichSite,
            false => PutError::NoSite(host.clone()),
        })?;
        let kept = Kept {
            response: response.clone(),
            expires: put.ttl.map(|ttl| Instant::now() + ttl),
            tags: put.tags,
        };
        desk.publish(|next| {
            if next.puts.responses() > 2 * next.puts.len() + WASTE {
                next.puts = layer(next, puts);
            }
            let id = next.puts.add(response, &[]).ok_or(PutError::TooMany)?;
            let route = next.base.sites[site as usize].find(&key).0;
            next.puts.set(site, &key, (route, Found::Response(id)));
            puts.insert((host, key), kept);
            Ok(())
        })
    }

    /// Forgets what was put or learned; returns how many answers that were. When this returns, no request that is sent
    /// later gets one of them.
    pub fn purge(&self, purge: &Purge) -> usize {
        let gone = {
            let mut state = self.lock();
            let snapshot = state.desk.current.get();
            state.forget(|place, kept| purge.means(place, kept, &snapshot))
        };
        let purgers = self.purgers.lock().unwrap_or_else(PoisonError::into_inner);
        gone + purgers.iter().map(|purger| purger(purge)).sum::<usize>()
    }

    /// Has `purger` called for each purge; it returns how much it has forgotten, and has published that by then.
    pub fn on_purge(&self, purger: impl Fn(&Purge) -> usize + Send + Sync + 'static) {
        let mut purgers = self.purgers.lock().unwrap_or_else(PoisonError::into_inner);
        purgers.push(Box::new(purger));
    }

    /// To be called every second or so, by a thread that has time: lets go of what has expired or is no longer in use.
    #[expect(clippy::disallowed_methods, reason = "ttls, not packets")]
    pub fn tidy(&self) {
        let now = Instant::now();
        let gone = {
            let mut state = self.lock();
            state.forget(|_, kept| kept.expires.is_some_and(|expires| expires <= now));
            state.desk.unused(|_| true)
        };
        // Not under the lock: that of a million responses takes a tenth of a second.
        drop(gone);
    }

    /// Keeps what came of a reload for the [`Summary`].
    pub fn note(&self, reload: Reload) {
        self.lock().reload = Some(reload);
    }

    /// Keeps how the trees are watched for the [`Summary`].
    pub(super) fn watched(&self, watching: Watching) {
        self.lock().watching = watching;
    }

    /// What it holds.
    pub fn summary(&self) -> Summary {
        let state = self.lock();
        let snapshot = self.current.get();
        Summary {
            generation: state.desk.generation,
            objects: snapshot.base.responses.len(),
            bytes: snapshot.base.bytes,
            overlay: snapshot.files.len(),
            puts: state.puts.len(),
            retired: state.desk.retired.len(),
            reload: state.reload.clone(),
            watching: state.watching.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A change that panicked was never published.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&self.summary()).finish()
    }
}

impl State {
    fn forget(&mut self, is: impl Fn(&Place, &Kept) -> bool) -> usize {
        let Self { desk, puts, .. } = self;
        let gone = puts.extract_if(.., |place, kept| is(place, kept)).count();
        if gone > 0 {
            desk.publish(|next| next.puts = layer(next, puts));
        }
        gone
    }
}

impl Desk {
    fn publish<T>(&mut self, change: impl FnOnce(&mut Snapshot) -> T) -> T {
        let mut next = Snapshot::clone(&self.current.get());
        let result = change(&mut next);
        self.generation += 1;
        self.retired.push(self.current.replace(Arc::new(next)));
        // What takes long to give back is left to `tidy`.
        let base = self.current.get().base.clone();
        self.unused(|snapshot| Arc::ptr_eq(&snapshot.base, &base));
        result
    }

    /// Those that nobody uses any more, of the ones that `may` go.
    fn unused(&mut self, may: impl Fn(&Snapshot) -> bool) -> Vec<Arc<Snapshot>> {
        let unused = |snapshot: &mut Arc<Snapshot>| Arc::strong_count(snapshot) == 1;
        self.retired
            .extract_if(.., |snapshot| unused(snapshot) && may(snapshot))
            .collect()
    }
}

/// What was put, for the sites of `snapshot`.
fn layer(snapshot: &Snapshot, puts: &BTreeMap<Place, Kept>) -> Overlay {
    let mut overlay = Overlay::new(Layer::Puts);
    for ((host, key), kept) in puts {
        let Some(site) = site(snapshot, host) else {
            continue;
        };
        let route = snapshot.base.sites[site as usize].find(key).0;
        if let Some(id) = overlay.add(kept.response.clone(), &[]) {
            overlay.set(site, key, (route, Found::Response(id)));
        }
    }
    overlay
}

/// The site that is meant by `host`, with or without a port; empty: that of `*`, or the only one.
fn site(snapshot: &Snapshot, host: &str) -> Option<super::SiteIndex> {
    match (host, snapshot.base.sites.len()) {
        ("", 1) => Some(0),
        ("", _) => snapshot.base.any,
        (host, _) => snapshot.base.site(cache::host(host.as_bytes())),
    }
}

impl Purge {
    fn means(&self, (host, key): &Place, kept: &Kept, snapshot: &Snapshot) -> bool {
        let canonical = |path: &str| path::canonical(path.as_bytes());
        let named = self.host.as_ref();
        named.is_none_or(|named| site(snapshot, named) == site(snapshot, host))
            && match &self.scope {
                Scope::Path(path) => {
                    let path = path.split('?').next().unwrap_or_default();
                    canonical(path).is_some_and(|path| path == *key)
                }
                Scope::Prefix(prefix) => {
                    canonical(prefix).is_some_and(|prefix| key.starts_with(&prefix))
                }
                Scope::Tag(tag) => kept.tags.contains(tag),
                Scope::All => true,
            }
    }
}

#[cfg(test)]
mod tests;
