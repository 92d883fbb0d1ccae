//! Names for the routes of a configuration, so that what becomes of requests can be counted by route.

use super::path;
use std::fmt;

/// A route of a snapshot, by its place among [`Snapshot::routes`](super::Snapshot::routes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RouteId(u16);

impl RouteId {
    /// What no route has: an unknown host, a path outside of all routes, a request that names no path.
    pub const NONE: Self = Self(0);

    /// Position among the routes of its snapshot; that of [`RouteId::NONE`] is 0.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// What a route is called. Only the configuration makes names, so that clients cannot make more of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName {
    /// The first host of its site; empty for [`RouteId::NONE`].
    pub site: String,
    /// Its path, percent-encoded, with a final `*` when all paths that begin so are its own; `none` for
    /// [`RouteId::NONE`].
    pub route: String,
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.site.is_empty() {
            write!(f, "{} ", self.site)?;
        }
        f.write_str(&self.route)
    }
}

/// Gives routes their ids while a snapshot is built.
pub(super) struct Register {
    names: Vec<RouteName>,
}

impl Default for Register {
    fn default() -> Self {
        let none = RouteName {
            site: String::new(),
            route: "none".into(),
        };
        Self { names: vec![none] }
    }
}

impl Register {
    /// Enters a route. Those past the 65,535th are counted as [`RouteId::NONE`].
    pub fn add(&mut self, site: &str, path: &[u8], prefix: bool) -> RouteId {
        let Ok(id) = u16::try_from(self.names.len()) else {
            return RouteId::NONE;
        };
        let star = if prefix { "*" } else { "" };
        self.names.push(RouteName {
            site: site.into(),
            route: path::encode(path) + star,
        });
        RouteId(id)
    }

    pub fn names(self) -> Vec<RouteName> {
        self.names
    }
}
