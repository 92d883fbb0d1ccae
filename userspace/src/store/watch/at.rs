//! Names a static route of a configuration.

use sidestep_config::{Config, StaticRoute};

/// A static route by the positions of its site and its own in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) site: u32,
    pub(super) route: usize,
}

impl At {
    /// Those of `config`.
    pub(super) fn all(config: &Config) -> impl Iterator<Item = (Self, &StaticRoute)> {
        let sites = config.sites.iter().zip(0..);
        sites.flat_map(|(config, site)| {
            let routes = config.statics.iter().enumerate();
            routes.map(move |(route, config)| (Self { site, route }, config))
        })
    }

    /// The route itself; `None`: `config` is not the one that it is of.
    pub(super) fn of(self, config: &Config) -> Option<&StaticRoute> {
        config
            .sites
            .get(self.site as usize)?
            .statics
            .get(self.route)
    }
}
