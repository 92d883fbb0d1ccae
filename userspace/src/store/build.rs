//! Builds a snapshot from a configuration.

use super::load::{Before, Loaded, Loader};
use super::paths::Paths;
use super::resource::{self, Resource};
use super::routes::{Register, RouteId, RouteName};
use super::tree::{Content, Tree};
use super::walk::Directory;
use super::{
    Base, ByteMap, Found, LayoutError, Prefix, PrefixKind, Response, ResponseId, SiteIndex,
    SiteTable, Snapshot, Variants,
    overlay::{Layer, Overlay},
    path,
};
use crate::cache::{self, Caches};
use crate::http::{ALLOW, Status};
use foldhash::fast::FixedState;
use sidestep_config::{CachePath, CacheRoute, Config, HostPattern, Site, StaticRoute};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Why no snapshot could be built.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The root of a static tree cannot be read.
    #[error("cannot read the static root {root}: {source}; make it readable for the daemon, or correct `root`", root = root.display())]
    Root {
        /// The root.
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An answer cannot be laid out.
    #[error(
        "the answer for {path} cannot be rendered: {why}; lower `max_object`, or shorten its body or its fields"
    )]
    Layout {
        /// Its path.
        path: String,
        /// What is wrong with it.
        why: LayoutError,
    },
    /// The system lacks what keeping files in step needs.
    #[error("cannot wait for changes of files: {0}")]
    System(io::Error),
    /// More responses than an id can name.
    #[error("there are more than a billion responses; split the trees over several hosts")]
    TooMany,
}

impl StoreError {
    pub(super) fn layout(path: &[u8], why: LayoutError) -> Self {
        Self::Layout {
            path: String::from_utf8_lossy(path).into_owned(),
            why,
        }
    }
}

/// Could a snapshot be built from `config`, as far as can be told at once?
///
/// # Errors
/// A root that cannot be read.
pub fn check(config: &Config) -> Result<(), StoreError> {
    for route in config.sites.iter().flat_map(|site| &site.statics) {
        Tree::open(route)?;
    }
    Ok(())
}

impl Snapshot {
    /// Renders every answer of `config`, reading its static trees. A file in a tree that cannot be read is logged and
    /// left out.
    ///
    /// # Errors
    /// A root that cannot be read; an answer or a number of answers beyond what ids and offsets can name.
    pub fn build(config: &Config) -> Result<Self, StoreError> {
        Self::build_with(config, &Loader::new(None, None), &Listed::default())
    }

    /// The same, sharing each response that is in `self` already.
    ///
    /// # Errors
    /// Those of [`Snapshot::build`].
    pub fn rebuild(&self, config: &Config) -> Result<Self, StoreError> {
        Self::build_with(config, &Loader::new(Some(self), None), &Listed::default())
    }

    /// The same with `loader`. What of the trees is in `listed` is not listed again.
    pub(super) fn build_with(
        config: &Config,
        loader: &Loader<'_>,
        listed: &Listed,
    ) -> Result<Self, StoreError> {
        loader.run(|| Self::build_here(config, loader, listed))
    }

    fn build_here(
        config: &Config,
        loader: &Loader<'_>,
        listed: &Listed,
    ) -> Result<Self, StoreError> {
        let mut builder = Builder::default();
        for status in Status::ALL {
            builder.refusal(status)?;
        }
        let mut base = Base {
            responses: Vec::new(),
            variants: HashMap::default(),
            not_found: HashMap::default(),
            sites: Vec::new(),
            exact: ByteMap::default(),
            suffixes: ByteMap::default(),
            any: None,
            routes: Vec::new().into(),
            bytes: 0,
        };
        for site in &config.sites {
            let index = SiteIndex::try_from(base.sites.len()).map_err(|_| StoreError::TooMany)?;
            for host in &site.hosts {
                match host {
                    HostPattern::Any => base.any = Some(index),
                    HostPattern::Exact(name) => {
                        base.exact.insert(name.as_bytes().into(), index);
                    }
                    HostPattern::Suffix(suffix) => {
                        base.suffixes.insert(suffix.as_bytes().into(), index);
                    }
                }
            }
            base.sites.push(builder.site(loader, listed, index, site)?);
        }
        base.bytes = builder
            .responses
            .iter()
            .map(|r| r.bytes().len() as u64)
            .sum();
        base.responses = builder.responses;
        base.responses.shrink_to_fit();
        base.variants = builder.variants;
        base.not_found = builder.not_found;
        base.routes = builder.routes.names().into();
        let caches = caches(config, &base.routes, &builder.caches);
        Ok(Self {
            base: Arc::new(base),
            files: Overlay::new(Layer::Files),
            puts: Overlay::new(Layer::Puts),
            caches: Arc::new(caches),
            learned: cache::Overlay::default(),
        })
    }
}

/// What is to be learned, by the ids of routes.
fn caches(config: &Config, names: &[RouteName], caches: &HashMap<RouteId, CacheRoute>) -> Caches {
    let mut routes: Vec<_> = names.iter().map(|_| None).collect();
    for (id, route) in caches {
        // What has no id of its own, because there are too many, cannot be told apart and is not learned.
        if *id != RouteId::NONE {
            routes[id.index()] = Some((names[id.index()].clone(), route.clone()));
        }
    }
    Caches::new(config.limits.cache_memory, routes)
}

/// The directories of static trees, by the positions of their sites, and of their routes in those.
pub(super) type Listed = BTreeMap<(SiteIndex, usize), Vec<Directory>>;

#[derive(Default)]
struct Builder {
    responses: Vec<Response>,
    variants: Variants,
    not_found: HashMap<RouteId, ResponseId, FixedState>,
    routes: Register,
    /// Which routes are learned, and how.
    caches: HashMap<RouteId, CacheRoute>,
}

impl Builder {
    fn add(&mut self, response: Response) -> Result<ResponseId, StoreError> {
        let id = u32::try_from(self.responses.len()).map_err(|_| StoreError::TooMany)?;
        if Layer::of(ResponseId(id)).is_some() {
            return Err(StoreError::TooMany);
        }
        self.responses.push(response);
        Ok(ResponseId(id))
    }

    fn add_resource(&mut self, resource: Resource) -> Result<ResponseId, StoreError> {
        let id = self.add(resource.identity)?;
        let mut variants = Vec::with_capacity(resource.variants.len());
        for (coding, response) in resource.variants {
            variants.push((coding, self.add(response)?));
        }
        if !variants.is_empty() {
            self.variants.insert(id, variants.into());
        }
        Ok(id)
    }

    fn refusal(&mut self, status: Status) -> Result<ResponseId, StoreError> {
        let code = status.code();
        let phrase = http::StatusCode::from_u16(code)
            .ok()
            .and_then(|s| s.canonical_reason())
            .unwrap_or_default();
        // RFC 9110, 15.5.6 and 9.3.7: a 405 must say what is allowed, an answer to OPTIONS should.
        let allow: Option<(&str, &[u8])> =
            matches!(status, Status::MethodNotAllowed | Status::NoContent)
                .then_some(("Allow", ALLOW.as_bytes()));
        let answer = resource::plain(code, allow, &format!("{code} {phrase}\n"));
        self.add(answer.map_err(|why| StoreError::layout(b"", why))?)
    }

    fn site(
        &mut self,
        loader: &Loader<'_>,
        listed: &Listed,
        index: SiteIndex,
        site: &Site,
    ) -> Result<SiteTable, StoreError> {
        let mut table = SiteTable::default();
        let host = site.hosts.first().map(ToString::to_string);
        let host = host.as_deref().unwrap_or_default();
        for route in &site.responses {
            let at = self.routes.add(host, &route.path, false);
            let body = route.body.as_bytes();
            let answer = resource::answer(route.status, &route.content_type, &route.headers, body);
            let id = self.add(answer.map_err(|why| StoreError::layout(&route.path, why))?)?;
            table.paths.insert(&route.path, at, Found::Response(id))?;
        }
        for route in &site.caches {
            match &route.path {
                CachePath::Exact(path) => {
                    let at = self.routes.add(host, path, false);
                    self.caches.insert(at, route.clone());
                    table.paths.insert(path, at, Found::Cached)?;
                }
                CachePath::Prefix(prefix) => {
                    let at = self.routes.add(host, prefix, true);
                    self.caches.insert(at, route.clone());
                    table.prefixes.push(Prefix {
                        path: prefix.as_slice().into(),
                        kind: PrefixKind::Cached,
                        route: at,
                    });
                }
            }
        }
        let first = table.prefixes.len();
        for route in &site.statics {
            table.prefixes.push(Prefix {
                path: route.path.as_slice().into(),
                kind: PrefixKind::Static,
                route: self.routes.add(host, &route.path, true),
            });
        }
        let statics: Vec<_> = table.prefixes[first..].iter().map(|p| p.route).collect();
        let statics = || site.statics.iter().zip(&statics);
        table
            .prefixes
            .sort_by_key(|prefix| std::cmp::Reverse(prefix.path.len()));
        let before = loader.before(&site.hosts);
        for (n, (route, &at)) in statics().enumerate() {
            let listed = listed.get(&(index, n));
            self.tree(loader, listed, before, &mut table, route, at)?;
            self.page_of_404(route, at)?;
        }
        // Last, because the path of a root without its slash lies outside of it: what another route has there goes
        // first.
        for (route, &at) in statics() {
            let outside = route.path.strip_suffix(b"/").unwrap_or_default();
            let learned = table
                .owner(outside)
                .is_some_and(|prefix| prefix.kind == PrefixKind::Cached);
            if !learned && table.paths.contains(&route.path) {
                self.redirect(&mut table.paths, &route.path, at)?;
            }
        }
        table.paths.shrink();
        Ok(table)
    }

    fn tree(
        &mut self,
        loader: &Loader<'_>,
        listed: Option<&Vec<Directory>>,
        before: Option<Before<'_>>,
        table: &mut SiteTable,
        route: &StaticRoute,
        at: RouteId,
    ) -> Result<(), StoreError> {
        let tree = Tree::open(route)?;
        let own;
        let directories = match listed {
            Some(listed) => listed,
            None => {
                own = loader.list(&tree, &());
                &own
            }
        };
        let SiteTable { paths, prefixes } = table;
        let files = directories.iter().map(Directory::len).sum();
        let beginnings = directories
            .iter()
            .map(|d| d.len() * (route.path.len() + d.path.len()));
        let names = directories.iter().map(Directory::bytes);
        paths.reserve(files, beginnings.chain(names).sum());
        self.responses.reserve(files);
        // What lies under a longer prefix belongs to that one.
        let others = prefixes.iter().filter(|p| p.path.len() > route.path.len());
        let others: Vec<&[u8]> = others
            .map(|prefix| &*prefix.path)
            .filter(|path| path.starts_with(&route.path))
            .collect();
        let is_own = |path: &[u8]| !others.iter().any(|other| path.starts_with(other));
        let mut path = route.path.clone();
        let index_suffix = [b"/", route.index.as_bytes()].concat();
        loader.all(&tree, directories, before, is_own, |name, loaded| {
            path.truncate(route.path.len());
            path.extend_from_slice(name);
            let found = match loaded {
                Loaded::TooLarge => Found::TooLarge,
                Loaded::Resource(resource) => Found::Response(self.add_resource(resource)?),
            };
            // Inline responses and cached paths are there already, and go first.
            paths.insert(&path, at, found)?;
            if path.ends_with(&index_suffix) {
                let directory = &path[..path.len() - route.index.len()];
                paths.insert(directory, at, found)?;
                if directory != route.path {
                    self.redirect(paths, directory, at)?;
                }
            }
            Ok(())
        })
    }

    /// The route's own page of a 404, if it has one that can be read.
    fn page_of_404(&mut self, route: &StaticRoute, at: RouteId) -> Result<(), StoreError> {
        let Some(page) = &route.not_found else {
            return Ok(());
        };
        let name = page.as_os_str().as_bytes();
        match Tree::open(route)?.read(name, Vec::new()) {
            Ok(Content::File(file)) => {
                let answer = resource::not_found(route, name, &file.body);
                let id = self.add(answer.map_err(|why| StoreError::layout(name, why))?)?;
                self.not_found.insert(at, id);
            }
            Ok(Content::TooLarge) => {
                log::warn!("{} is over `max_object`: not used", page.display());
            }
            Err(error) => log::warn!("{} is not used: {error}", page.display()),
        }
        Ok(())
    }

    /// Redirects the path of `directory` without its final slash, unless something else is there.
    fn redirect(
        &mut self,
        paths: &mut Paths,
        directory: &[u8],
        at: RouteId,
    ) -> Result<(), StoreError> {
        let Some(path) = directory.strip_suffix(b"/").filter(|path| !path.is_empty()) else {
            return Ok(());
        };
        if paths.contains(path) {
            return Ok(());
        }
        let location = path::encode(directory);
        let answer = resource::redirect(&location);
        let id = self.add(answer.map_err(|why| StoreError::layout(path, why))?)?;
        paths.insert(path, at, Found::Redirect(id))
    }
}
