//! The snapshot that new requests are answered from, and how others come to take its place.

use super::Snapshot;
use arc_swap::{ArcSwap, Cache};
use std::sync::Arc;

/// The current snapshot: one writer, any number of readers, none of which ever waits.
#[derive(Clone)]
pub struct Current(Arc<ArcSwap<Snapshot>>);

impl Current {
    /// With `snapshot` as the first.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self(Arc::new(ArcSwap::new(snapshot)))
    }

    /// Puts `snapshot` in its place. A reader that looks after this returned never sees the one before, which is given
    /// back.
    pub fn replace(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        self.0.swap(snapshot)
    }

    /// The current one.
    pub fn get(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// For looking often: as long as nothing changes, a look costs one load and one comparison.
    pub fn reader(&self) -> Reader {
        Reader(Cache::new(self.0.clone()))
    }
}

/// See [`Current::reader`].
pub struct Reader(Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>);

impl Reader {
    /// The current snapshot.
    #[inline]
    pub fn look(&mut self) -> &Arc<Snapshot> {
        self.0.load()
    }
}
