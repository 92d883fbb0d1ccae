//! Files that have changed: what the paths that they stand for lead to now.

use super::load::{Loaded, Loader, of_sibling};
use super::overlay::Overlay;
use super::resource::{self, Resource};
use super::tree::{LeftOut, Tree};
use super::{Found, Prefix, PrefixKind, ResponseId, RouteId, SiteIndex, Snapshot, path};
use sidestep_config::{Site, StaticRoute};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;

/// What a path leads to.
enum Fresh {
    Missing,
    TooLarge,
    Resource(Resource),
    Redirect(super::Response),
}

/// What a path leads to from now on.
pub(super) struct Change {
    site: SiteIndex,
    key: Vec<u8>,
    route: RouteId,
    fresh: Fresh,
}

/// Something cannot be told yet: a file was written to while it was read.
pub(super) struct Unsettled;

/// The paths whose answers may have changed with the file called `name`, a path from the root of `route`.
pub(super) fn keys(route: &StaticRoute, name: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut keys = BTreeSet::new();
    for name in [Some(name), of_sibling(name)].into_iter().flatten() {
        let key = [route.path.as_slice(), name].concat();
        let split = key.len() - name.rsplit(|&b| b == b'/').next().unwrap_or(name).len();
        if key[split..] == *route.index.as_bytes() {
            keys.insert(key[..split].to_vec());
            // Outside of the route there are other rules, see `touches_others`.
            if split > route.path.len() {
                keys.insert(key[..split - 1].to_vec());
            }
        }
        keys.insert(key);
    }
    keys
}

/// Whether the file called `name` of `route`, one of `site`, decides about a path that two routes may have, or about
/// every path of its own.
pub(super) fn touches_others(site: &Site, route: &StaticRoute, name: &[u8]) -> bool {
    let page = route.not_found.as_ref();
    let is_page = page.is_some_and(|page| page.as_os_str().as_bytes() == name);
    let is_own_index = name == route.index.as_bytes() && route.path != b"/";
    let key = [route.path.as_slice(), name].concat();
    let is_root = site
        .statics
        .iter()
        .any(|other| other.path.strip_suffix(b"/") == Some(&key));
    is_page || is_own_index || is_root
}

impl Snapshot {
    /// The prefix of `route` in its site.
    fn prefix(&self, site: SiteIndex, route: &StaticRoute) -> Option<&Prefix> {
        let mut prefixes = self.base.sites.get(site as usize)?.prefixes.iter();
        prefixes.find(|p| p.kind == PrefixKind::Static && *p.path == *route.path)
    }

    /// The names of all files of `route` that anything is known of, which begin with `dir`.
    pub(super) fn names_under(
        &self,
        site: SiteIndex,
        route: &StaticRoute,
        dir: &[u8],
    ) -> BTreeSet<Vec<u8>> {
        let Some(id) = self.prefix(site, route).map(|prefix| prefix.route) else {
            return BTreeSet::new();
        };
        let begin = [route.path.as_slice(), dir].concat();
        let table = &self.base.sites[site as usize];
        let changed = self.files.keys(site).map(|(key, route)| (&**key, route));
        let keys = table.paths.iter().chain(changed);
        keys.filter(|(key, route)| *route == id && key.starts_with(&begin))
            .map(|(key, _)| {
                let mut name = key[route.path.len()..].to_vec();
                if name.is_empty() || name.ends_with(b"/") {
                    name.extend_from_slice(route.index.as_bytes());
                }
                name
            })
            .collect()
    }

    /// What `key` of `route` leads to now; `None`: nothing that has changed.
    pub(super) fn resolve(
        &self,
        site: SiteIndex,
        tree: &Tree<'_>,
        loader: &Loader<'_>,
        key: Vec<u8>,
    ) -> Result<Option<Change>, Unsettled> {
        let route = tree.route;
        let Some(prefix) = self.prefix(site, route) else {
            return Ok(None);
        };
        let id = prefix.route;
        let table = &self.base.sites[site as usize];
        // Another route has it: inline, learned, or a longer prefix.
        let others = table.paths.get(&key).is_some_and(|(own, _)| own != id)
            || table.owner(&key).is_none_or(|owner| owner.route != id);
        if others {
            return Ok(None);
        }
        let fresh = fresh(tree, loader, &key)?;
        let now = (self.files.find(site, &key)).unwrap_or_else(|| table.find(&key));
        let same = match (&fresh, now.1) {
            (Fresh::Missing, Found::Missing) | (Fresh::TooLarge, Found::TooLarge) => true,
            (Fresh::Resource(new), Found::Response(id)) => self.is(id, new),
            (Fresh::Redirect(new), Found::Redirect(id)) => *new == *self.response(id),
            _ => false,
        };
        let change = Change {
            site,
            key,
            route: id,
            fresh,
        };
        Ok((!same).then_some(change))
    }

    fn is(&self, id: ResponseId, new: &Resource) -> bool {
        let variants = self.variants(id);
        let same = |((coding, new), (known, id)): (&(_, _), &(_, ResponseId))| {
            coding == known && *new == *self.response(*id)
        };
        *self.response(id) == new.identity
            && variants.len() == new.variants.len()
            && new.variants.iter().zip(variants).all(same)
    }

    /// Makes a change. What there is no room for stays as it is until there is a new base.
    pub(super) fn enter(&mut self, change: Change) {
        let files: &mut Overlay = &mut self.files;
        let found = match change.fresh {
            Fresh::Missing => Some(Found::Missing),
            Fresh::TooLarge => Some(Found::TooLarge),
            Fresh::Redirect(response) => files.add(response, &[]).map(Found::Redirect),
            Fresh::Resource(Resource { identity, variants }) => variants
                .into_iter()
                .map(|(coding, response)| Some((coding, files.add(response, &[])?)))
                .collect::<Option<Vec<_>>>()
                .and_then(|variants| files.add(identity, &variants))
                .map(Found::Response),
        };
        if let Some(found) = found {
            files.set(change.site, &change.key, (change.route, found));
        }
    }
}

fn fresh(tree: &Tree<'_>, loader: &Loader<'_>, key: &[u8]) -> Result<Fresh, Unsettled> {
    let name = &key[tree.route.path.len()..];
    let index = |dir: &[u8]| [dir, tree.route.index.as_bytes()].concat();
    if name.is_empty() || name.ends_with(b"/") {
        let loaded = load(tree, loader, &index(name))?;
        return Ok(loaded.map_or(Fresh::Missing, of));
    }
    if let Some(loaded) = load(tree, loader, name)? {
        return Ok(of(loaded));
    }
    let directory = [name, b"/"].concat();
    if load(tree, loader, &index(&directory))?.is_none() {
        return Ok(Fresh::Missing);
    }
    let location = path::encode(&[key, b"/"].concat());
    match resource::redirect(&location) {
        Ok(response) => Ok(Fresh::Redirect(response)),
        Err(why) => {
            log::warn!("no redirect to {location}: {why}");
            Ok(Fresh::Missing)
        }
    }
}

fn of(loaded: Loaded) -> Fresh {
    match loaded {
        Loaded::Resource(resource) => Fresh::Resource(resource),
        Loaded::TooLarge => Fresh::TooLarge,
    }
}

/// What the file called `name` is served as; `None`: not at all.
fn load(tree: &Tree<'_>, loader: &Loader<'_>, name: &[u8]) -> Result<Option<Loaded>, Unsettled> {
    let left_out = match loader.one(tree, name) {
        Ok(Ok(loaded)) => return Ok(Some(loaded)),
        Ok(Err(left_out)) => left_out,
        Err(error) => {
            log::warn!("{error}");
            return Ok(None);
        }
    };
    match &left_out {
        LeftOut::Changing => return Err(Unsettled),
        LeftOut::Hidden | LeftOut::NotAFile => {}
        LeftOut::Io(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
        LeftOut::Io(_) | LeftOut::Outside => {
            let name = String::from_utf8_lossy(name);
            log::warn!("left out of the static tree: {name}: {left_out}");
        }
    }
    Ok(None)
}
