//! The cache routes of a configuration, and what workers and the fetcher share about them.

use super::asking::Told;
use super::key::{Asked, CacheId, host, without_default_port};
use super::overlay::{Lookup, Overlay};
use super::rules::Policy;
use super::stats::{Event, RouteStats};
use super::writes::Writes;
use crate::http::{Flags, Head, Target};
use crate::reason::NotOurs;
use crate::store::{RouteName, canonical_path};
use crate::worker::Now;
use sidestep_config::CacheRoute;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc::Sender;

/// One cache route.
#[derive(Clone, Debug)]
pub struct Route {
    /// What it is called.
    pub name: RouteName,
    /// As it is configured.
    pub config: CacheRoute,
    /// What it counts.
    pub stats: Arc<RouteStats>,
}

impl Route {
    /// What the operator has said about its answers.
    pub fn policy(&self) -> Policy {
        Policy::from(&self.config)
    }
}

/// What stays when a configuration takes the place of another.
#[derive(Debug, Default)]
struct Shared {
    writes: Writes,
    /// The fetcher's ear; none in a worker without one.
    words: OnceLock<Sender<Told>>,
    /// Memory for all that is learned, in bytes.
    memory: AtomicU64,
}

/// See the module's documentation. A snapshot has one; so has what was learned under it.
pub struct Caches {
    /// Counts up with each configuration, so that nothing that was learned for an older one is taken for this one.
    version: u64,
    /// By the id of the route; `None`: it is of another kind.
    routes: Vec<Option<Route>>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caches")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Caches {
    /// Those of the first configuration: all routes in the order of their ids.
    pub fn new(memory: u64, routes: Vec<Option<(RouteName, CacheRoute)>>) -> Self {
        let route = |(name, config)| Route {
            name,
            config,
            stats: Arc::default(),
        };
        Self {
            version: 0,
            routes: routes.into_iter().map(|of| of.map(route)).collect(),
            shared: Arc::new(Shared {
                memory: AtomicU64::new(memory),
                ..Shared::default()
            }),
        }
    }

    /// These, when those of `before` were in use until now. If nothing about them has changed it is still those, with the
    /// memory of these, which who keeps the answers has to be [told](super::Purger::resize).
    pub fn after(&self, before: &Arc<Self>) -> Arc<Self> {
        let names = |caches: &Self| -> Vec<Option<(RouteName, CacheRoute)>> {
            let routes = caches.routes.iter();
            routes
                .map(|route| route.as_ref().map(|r| (r.name.clone(), r.config.clone())))
                .collect()
        };
        before.shared.memory.store(self.memory(), Ordering::Relaxed);
        if names(self) == names(before) {
            return before.clone();
        }
        let mut routes = self.routes.clone();
        for route in routes.iter_mut().flatten() {
            if let Some(old) = before.all().find(|old| old.name == route.name) {
                // The answers of before are gone, and with them what was counted of them.
                route.stats = Arc::new(old.stats.carried_over());
            }
        }
        Arc::new(Self {
            version: before.version + 1,
            routes,
            shared: before.shared.clone(),
        })
    }

    /// The one it is among all that there have been.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Memory for all that is learned, in bytes.
    pub fn memory(&self) -> u64 {
        self.shared.memory.load(Ordering::Relaxed)
    }

    /// The route `id`.
    pub fn route(&self, id: CacheId) -> Option<&Route> {
        self.routes.get(id.index())?.as_ref()
    }

    /// Every cache route.
    pub fn all(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().flatten()
    }

    /// Writes that were seen.
    pub fn writes(&self) -> &Writes {
        &self.shared.writes
    }

    /// From now on requests that cannot be answered are told there.
    pub fn tell_to(&self, words: Sender<Told>) {
        // There is one fetcher for as long as a daemon runs.
        let _ = self.shared.words.set(words);
    }

    /// What answers `head`, a GET or HEAD of route `id`, and whether it is stale. Has it fetched if it is not there or
    /// will not be for much longer.
    ///
    /// # Errors
    /// [`NotOurs::CacheBypass`]: the request may not be answered from a cache; [`NotOurs::Cached`]: nothing is there.
    pub fn answer(
        self: &Arc<Self>,
        overlay: &Overlay,
        id: CacheId,
        head: &Head<'_>,
        now: Now,
    ) -> Result<(super::LearnedId, bool), NotOurs> {
        let asked = self.asked(id, head).ok_or(NotOurs::CacheBypass)?;
        let (learned, stale, tell) =
            match overlay.find(&asked, head.fields, self.writes(), now.mono) {
                Lookup::Fresh { id, tell } => (Some(id), false, tell),
                Lookup::Stale { id, tell } => (Some(id), true, tell),
                Lookup::Miss => (None, false, true),
            };
        if tell {
            self.tell(&asked, head);
        }
        learned.map(|id| (id, stale)).ok_or(NotOurs::Cached)
    }

    /// What may answer `head` although it is stale, when nobody else does (RFC 5861, 4).
    pub fn rescue(
        &self,
        overlay: &Overlay,
        id: CacheId,
        head: &Head<'_>,
        now: Now,
    ) -> Option<super::LearnedId> {
        let asked = self.asked(id, head)?;
        overlay.rescue(&asked, head.fields, self.writes(), now.mono)
    }

    /// A request that may change what is at `path` of route `id` is about to go to the server.
    pub fn note_write(&self, id: CacheId, path: &[u8], now: Now) {
        let (Some(route), Some(path)) = (self.route(id), canonical_path(path)) else {
            return;
        };
        let slot = Writes::slot(&path);
        self.writes().note(slot, now.mono, route.config.write_hold);
    }

    /// What a request asks a cache for; `None`: it has to go to the server.
    fn asked<'h>(&self, id: CacheId, head: &'h Head<'_>) -> Option<Asked<'h>> {
        let public = self.route(id)?.config.public;
        if !public && head.flags.has(Flags::CREDENTIALS) {
            return None;
        }
        // RFC 9111, 4.3.2: these are for the origin to judge.
        let conditional = head.flags.has(Flags::CONDITIONAL);
        let for_origin = |name| conditional && head.fields.all(name).next().is_some();
        if for_origin("if-match") || for_origin("if-unmodified-since") {
            return None;
        }
        let Target::Resource { path, query } = head.target else {
            return None;
        };
        // An absolute-form target may name another host or port than `Host`, and HTTP/1.0 none: those are rare, and what
        // they would be kept under is not worth a thought. Of any other, this is where the host was read.
        let authority = head.fields.all("host").next()?;
        let read_there = authority.as_ptr_range().start == head.host.as_ptr_range().start;
        let authority = without_default_port(authority);
        (read_there && !host(authority).is_empty()).then_some(Asked {
            route: id,
            authority,
            path,
            query,
        })
    }

    fn tell(self: &Arc<Self>, asked: &Asked<'_>, head: &Head<'_>) {
        let Some(words) = self.shared.words.get() else {
            return;
        };
        let told = Told {
            caches: self.clone(),
            key: asked.to_key(),
            fields: head.fields.bytes().into(),
        };
        if words.try_send(told).is_err()
            && let Some(route) = self.route(asked.route)
        {
            route.stats.count(Event::Unheard);
        }
    }
}

#[cfg(test)]
mod tests;
