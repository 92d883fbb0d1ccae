//! What has changed since a base was built: a few entries in front of it.
//!
//! Persistent maps: a change copies the nodes on the way to an entry and shares the rest with the snapshot before, so
//! that a generation costs what differs in it.

use super::{Coding, Found, Response, ResponseId, RouteId, SiteIndex};
use foldhash::fast::FixedState;
use rpds::{HashTrieMapSync, VectorSync};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The two highest bits of a response's id tell which layer of a snapshot has it.
pub(super) const LAYER: u32 = 3 << 30;

type Paths = HashTrieMapSync<Box<[u8]>, (RouteId, Found), FixedState>;

/// A response, and the same in other codings.
#[derive(Clone)]
struct Changed {
    response: Response,
    variants: Arc<[(Coding, ResponseId)]>,
}

/// A layer in front of the base, whose ids have both bits clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Layer {
    /// Files that have changed.
    Files = 1 << 30,
    /// What was put over the control socket.
    Puts = 2 << 30,
    /// What was learned from origins.
    Learned = 3 << 30,
}

impl Layer {
    /// The layer of a response; `None`: the base.
    pub(super) fn of(id: ResponseId) -> Option<Self> {
        match id.0 & LAYER {
            0 => None,
            id if id == Self::Files as u32 => Some(Self::Files),
            id if id == Self::Puts as u32 => Some(Self::Puts),
            _ => Some(Self::Learned),
        }
    }
}

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct Overlay {
    layer: Layer,
    /// Only sites that something has changed in.
    sites: BTreeMap<SiteIndex, Paths>,
    /// By id without its layer. Nothing is taken out before there is a new base.
    responses: VectorSync<Changed>,
}

impl Overlay {
    /// One in which nothing has changed.
    pub(super) fn new(layer: Layer) -> Self {
        Self {
            layer,
            sites: BTreeMap::new(),
            responses: VectorSync::new_sync(),
        }
    }

    /// What `key` leads to, if that has changed.
    pub(super) fn find(&self, site: SiteIndex, key: &[u8]) -> Option<(RouteId, Found)> {
        if self.sites.is_empty() {
            return None;
        }
        self.sites.get(&site)?.get(key).copied()
    }

    /// The keys of a site that have changed, and the routes that they belong to.
    pub(super) fn keys(&self, site: SiteIndex) -> impl Iterator<Item = (&Box<[u8]>, RouteId)> {
        let paths = self.sites.get(&site).into_iter();
        paths.flat_map(|paths| paths.iter().map(|(key, found)| (key, found.0)))
    }

    /// From now on `key` leads there.
    pub(super) fn set(&mut self, site: SiteIndex, key: &[u8], found: (RouteId, Found)) {
        let paths = self.sites.entry(site).or_insert_with(|| {
            HashTrieMapSync::new_with_hasher_and_ptr_kind(FixedState::default())
        });
        paths.insert_mut(key.into(), found);
    }

    /// Adds a response, whose id it returns; `None`: there are too many.
    pub(super) fn add(
        &mut self,
        response: Response,
        variants: &[(Coding, ResponseId)],
    ) -> Option<ResponseId> {
        let at = u32::try_from(self.responses.len()).ok()?;
        if at & LAYER != 0 {
            return None;
        }
        self.responses.push_back_mut(Changed {
            response,
            variants: variants.into(),
        });
        Some(ResponseId(self.layer as u32 | at))
    }

    fn changed(&self, id: ResponseId) -> &Changed {
        // An id is only made by the overlay that has it, and nothing is taken out.
        &self.responses[(id.0 & !LAYER) as usize]
    }

    pub(super) fn response(&self, id: ResponseId) -> &Response {
        &self.changed(id).response
    }

    pub(super) fn variants(&self, id: ResponseId) -> &[(Coding, ResponseId)] {
        &self.changed(id).variants
    }

    /// How many paths have changed.
    pub(super) fn len(&self) -> usize {
        self.sites.values().map(|paths| paths.size()).sum()
    }

    /// How many responses it holds, those that nothing leads to any more included.
    pub(super) fn responses(&self) -> usize {
        self.responses.len()
    }
}
