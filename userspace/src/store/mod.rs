//! The response store: an immutable snapshot of every answer, rendered in advance.
//!
//! A [`Snapshot`] is built off the data path and then only read: a lookup is two hash lookups at most, an answer is
//! copied from one piece of memory, and neither allocates.

mod build;
mod coding;
mod compress;
mod current;
mod date;
mod live;
mod load;
mod media;
mod overlay;
mod path;
mod paths;
mod refresh;
mod render;
mod resource;
mod response;
mod routes;
#[cfg(test)]
mod tests;
mod tree;
mod walk;
mod watch;

pub use build::{StoreError, check};
pub use coding::Coding;
pub use current::{Current, Reader};
pub use live::{Live, Purge, Put, PutError, Reload, Scope, Summary};
pub use render::{ConnectionField, Form, Rendering, ResponseId};
pub use response::{LayoutError, Parts, Response, Source, Validators};
pub use routes::{RouteId, RouteName};
pub use watch::{Keeper, Running, Watching};

use crate::cache::{self, CacheId, Caches, LearnedId};
use crate::http::{Head, MAX_TARGET, Status};
use crate::reason::NotOurs;
use crate::worker::Now;
use foldhash::fast::FixedState;
use overlay::{Layer, Overlay};
use paths::Paths;
use sidestep_config::HostPattern;
use std::collections::HashMap;
use std::sync::Arc;
use tcp_lite::wire::Sum;

/// A map from bytes of the operator's choice. Clients only look things up and cannot make keys collide, so the hash
/// needs no secret.
type ByteMap<V> = HashMap<Box<[u8]>, V, FixedState>;

/// Longest host name that a pattern can match, with a final dot (RFC 1035, 2.3.4); longer ones only match `*`.
const MAX_HOST: usize = 254;

/// Everything that can be answered at one moment. A clone shares what it is made of.
#[derive(Clone)]
pub struct Snapshot {
    base: Arc<Base>,
    /// Files that have changed since.
    files: Overlay,
    /// What was put in front of both.
    puts: Overlay,
    /// Which routes are learned, and how.
    caches: Arc<Caches>,
    /// What is learned for them.
    learned: cache::Overlay,
}

/// Everything that can be answered, as it was when it was built.
struct Base {
    /// First one for each [`Status`], in its order, then those of the sites.
    responses: Vec<Response>,
    /// Of the responses that have any, the same in other codings.
    variants: Variants,
    /// The page of a 404 of the routes that have one.
    not_found: HashMap<RouteId, ResponseId, FixedState>,
    sites: Vec<SiteTable>,
    /// Sites by exact host name, in lower case.
    exact: ByteMap<SiteIndex>,
    /// Sites by what follows the `*` of a pattern, in lower case, with its leading dot.
    suffixes: ByteMap<SiteIndex>,
    /// The site of `*`.
    any: Option<SiteIndex>,
    /// By [`RouteId`].
    routes: Arc<[RouteName]>,
    /// Of all responses, heads included.
    bytes: u64,
}

type SiteIndex = u32;

type Variants = HashMap<ResponseId, Box<[(Coding, ResponseId)]>, FixedState>;

/// The routes of a site, laid out for lookup.
#[derive(Default)]
struct SiteTable {
    /// Inline responses, cached paths, and each file under the path that leads to it.
    paths: Paths,
    /// Prefixes of static trees and cached paths, the longest first. A path belongs to the first one it begins with,
    /// and to no other even if it is missing there.
    prefixes: Vec<Prefix>,
}

struct Prefix {
    path: Box<[u8]>,
    kind: PrefixKind,
    route: RouteId,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PrefixKind {
    Static,
    Cached,
}

impl SiteTable {
    fn find(&self, key: &[u8]) -> (RouteId, Found) {
        if let Some(found) = self.paths.get(key) {
            return found;
        }
        match self.owner(key) {
            Some(prefix) => match prefix.kind {
                PrefixKind::Cached => (prefix.route, Found::Cached),
                PrefixKind::Static => (prefix.route, Found::Missing),
            },
            None => (RouteId::NONE, Found::Missing),
        }
    }

    /// The prefix that `path` belongs to.
    fn owner(&self, path: &[u8]) -> Option<&Prefix> {
        self.prefixes
            .iter()
            .find(|prefix| path.starts_with(&prefix.path))
    }
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This response.
    Response(ResponseId),
    /// This redirect to a directory's path with its final slash; a query is not kept.
    Redirect(ResponseId),
    /// A file larger than its route's `max_object`.
    TooLarge,
    /// A route whose answers are learned from a server.
    Cached,
    /// Nothing.
    Missing,
    /// The path has an escape that is none, or one of NUL.
    BadPath,
}

/// The path `path` of a request in the form that routes are found by: percent-decoded, without dot segments. `None`: no
/// route can have it.
pub fn canonical_path(path: &[u8]) -> Option<Vec<u8>> {
    path::canonical(path)
}

impl Snapshot {
    /// Looks up `path`, as it is in the request, for `host`, without port. Tells the route too that the path belongs
    /// to, also where there is nothing.
    pub fn find(&self, host: &[u8], path: &[u8]) -> (RouteId, Found) {
        let Some(site) = self.base.site(host) else {
            return (RouteId::NONE, Found::Missing);
        };
        if path::is_plain(path) {
            return self.find_key(site, path);
        }
        let mut scratch = [0; MAX_TARGET];
        match path::key(path, &mut scratch) {
            path::Key::Is(key) => self.find_key(site, key),
            path::Key::None => (RouteId::NONE, Found::Missing),
            path::Key::Bad => (RouteId::NONE, Found::BadPath),
        }
    }

    fn find_key(&self, site: SiteIndex, key: &[u8]) -> (RouteId, Found) {
        let put = self.puts.find(site, key);
        put.or_else(|| self.files.find(site, key))
            .unwrap_or_else(|| self.base.sites[site as usize].find(key))
    }

    /// What the routes are called; a [`RouteId`] is a position here.
    pub fn routes(&self) -> &Arc<[RouteName]> {
        &self.base.routes
    }

    /// Which routes are learned, and how.
    pub fn caches(&self) -> &Arc<Caches> {
        &self.caches
    }

    /// What answers `head`, a GET or HEAD, from what is learned for `route`, and whether it is stale. See
    /// [`Caches::answer`].
    ///
    /// # Errors
    /// See there.
    pub fn learned(
        &self,
        route: RouteId,
        head: &Head<'_>,
        now: Now,
    ) -> Result<(ResponseId, bool), NotOurs> {
        let route = CacheId::from(route);
        let (id, stale) = self.caches.answer(&self.learned, route, head, now)?;
        Ok((ResponseId(Layer::Learned as u32 | id.0), stale))
    }

    /// Whether what [`learned`](Self::learned) gave as fresh for a request would be the same now, and nobody would have to
    /// be told. `id` is that of this snapshot.
    pub fn is_still_fresh(&self, id: ResponseId, now: Now) -> bool {
        let id = LearnedId(id.0 & !overlay::LAYER);
        self.learned
            .is_still_fresh(id, self.caches.writes(), now.mono)
    }

    /// What may answer `head` when nobody else does. See [`Caches::rescue`].
    pub fn rescue(&self, route: RouteId, head: &Head<'_>, now: Now) -> Option<ResponseId> {
        let route = CacheId::from(route);
        let id = self.caches.rescue(&self.learned, route, head, now)?;
        Some(ResponseId(Layer::Learned as u32 | id.0))
    }

    /// From now on this is what is learned.
    pub fn set_learned(&mut self, learned: cache::Overlay) {
        self.learned = learned;
    }

    /// The answer of the fast path itself with `status` to a request that belongs to `route`.
    pub fn refusal(&self, route: RouteId, status: Status) -> ResponseId {
        if status == Status::NotFound
            && let Some(&page) = self.base.not_found.get(&route)
        {
            return page;
        }
        // `build` puts them first.
        ResponseId(status.index() as u32)
    }

    /// The status code of a response.
    pub fn status(&self, id: ResponseId) -> u16 {
        self.response(id).status()
    }

    /// What a request can name the state of a response by.
    pub fn validators(&self, id: ResponseId) -> Validators<'_> {
        self.response(id).validators()
    }

    /// The content of a response.
    pub fn content(&self, id: ResponseId) -> &[u8] {
        self.response(id).body()
    }

    /// Length of the content of a response, in bytes: what ranges count in.
    pub fn content_len(&self, id: ResponseId) -> u32 {
        // `Response::new` bounds the whole.
        self.response(id).body().len() as u32
    }

    /// The same as `id` in other codings; none for most. `id` is what [`find`](Self::find) gave, in no coding.
    pub fn variants(&self, id: ResponseId) -> &[(Coding, ResponseId)] {
        match Layer::of(id) {
            None => {
                let variants = self.base.variants.get(&id);
                variants.map_or(&[], |variants| variants)
            }
            Some(Layer::Files) => self.files.variants(id),
            Some(Layer::Puts) => self.puts.variants(id),
            // The origin has chosen the coding.
            Some(Layer::Learned) => &[],
        }
    }

    /// Length of a rendering in bytes.
    pub fn len(&self, rendering: &Rendering) -> u32 {
        self.response(rendering.id).len(rendering)
    }

    /// Writes the bytes of a rendering that begin at `offset` into `buf`, and gives the sum of `buf`. What is behind the
    /// rendering's end is left as it is.
    #[inline]
    pub fn fill(&self, rendering: &Rendering, offset: u32, buf: &mut [u8]) -> Sum {
        self.response(rendering.id).fill(rendering, offset, buf)
    }

    /// What `key` leads to but for what was put in front of it.
    fn loaded(&self, site: SiteIndex, key: &[u8]) -> Option<Found> {
        let changed = self.files.find(site, key);
        let found = changed.or_else(|| self.base.sites[site as usize].paths.get(key));
        found.map(|(_, found)| found)
    }

    /// How many responses there are, refusals included.
    pub fn responses(&self) -> usize {
        self.base.responses.len() + self.files.responses() + self.puts.responses()
    }

    /// An id is only made by the snapshot that has it, so this is out of bounds only for the id of another snapshot.
    #[inline]
    fn response(&self, id: ResponseId) -> &Response {
        // The id of another layer is out of bounds here.
        if let Some(response) = self.base.responses.get(id.0 as usize) {
            return response;
        }
        self.changed_response(id)
    }

    #[inline(never)]
    fn changed_response(&self, id: ResponseId) -> &Response {
        match Layer::of(id) {
            None => &self.base.responses[id.0 as usize],
            Some(Layer::Files) => self.files.response(id),
            Some(Layer::Puts) => self.puts.response(id),
            Some(Layer::Learned) => self.learned.response(LearnedId(id.0 & !overlay::LAYER)),
        }
    }
}

impl Base {
    /// The site of this very pattern.
    fn site_of(&self, pattern: &HostPattern) -> Option<SiteIndex> {
        match pattern {
            HostPattern::Any => self.any,
            HostPattern::Exact(name) => self.exact.get(name.as_bytes()).copied(),
            HostPattern::Suffix(suffix) => self.suffixes.get(suffix.as_bytes()).copied(),
        }
    }

    /// The site of the most specific pattern: the exact name, else the longest suffix, else `*`.
    fn site(&self, host: &[u8]) -> Option<SiteIndex> {
        let mut scratch = [0; MAX_HOST];
        let named = match scratch.get_mut(..host.len()) {
            Some(lower) if !(self.exact.is_empty() && self.suffixes.is_empty()) => {
                lower.copy_from_slice(host);
                lower.make_ascii_lowercase();
                let name = lower.strip_suffix(b".").unwrap_or(lower);
                self.exact.get(name).or_else(|| {
                    let dots = memchr::memchr_iter(b'.', name).filter(|&dot| dot > 0);
                    dots.filter_map(|dot| self.suffixes.get(&name[dot..]))
                        .next()
                })
            }
            _ => None,
        };
        named.copied().or(self.any)
    }
}
