//! The paths of a site, and what each leads to.
//!
//! There may be a million: their bytes lie in one piece of memory one behind the other, and the table has no more than
//! a number for each. A map of boxes took 100 bytes for a path of 16; this takes 43.

use super::{Found, RouteId, StoreError};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use std::hash::{BuildHasher as _, Hasher as _};

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Paths {
    /// Positions in `entries`, by the hash of the path. Clients only look things up and cannot make paths collide, so
    /// the hash needs no secret.
    table: HashTable<u32>,
    /// In the order of their paths in `bytes`.
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

struct Entry {
    /// Where its path ends; it begins where that of the one before does.
    end: u32,
    route: RouteId,
    found: Found,
}

fn hash(path: &[u8]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(path);
    hasher.finish()
}

fn path<'a>(entries: &[Entry], bytes: &'a [u8], at: u32) -> &'a [u8] {
    let at = at as usize;
    let start = at.checked_sub(1).map_or(0, |before| entries[before].end);
    &bytes[start as usize..entries[at].end as usize]
}

impl Paths {
    /// Makes room for so many more, of so many bytes together.
    pub(super) fn reserve(&mut self, paths: usize, bytes: usize) {
        let Self { entries, .. } = self;
        self.bytes.reserve(bytes);
        let (all, kept) = (&*entries, &self.bytes);
        self.table.reserve(paths, |&at| hash(path(all, kept, at)));
        entries.reserve(paths);
    }

    /// What `key` leads to.
    pub(super) fn get(&self, key: &[u8]) -> Option<(RouteId, Found)> {
        let is = |&at: &u32| path(&self.entries, &self.bytes, at) == key;
        let at = *self.table.find(hash(key), is)?;
        let entry = &self.entries[at as usize];
        Some((entry.route, entry.found))
    }

    /// Whether `key` leads anywhere.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Enters `key`, unless it is there already.
    ///
    /// # Errors
    /// [`StoreError::TooMany`]: the paths are over 4 GiB together.
    pub(super) fn insert(
        &mut self,
        key: &[u8],
        route: RouteId,
        found: Found,
    ) -> Result<(), StoreError> {
        let Self {
            table,
            entries,
            bytes,
        } = self;
        let is = |&at: &u32| path(entries, bytes, at) == key;
        let again = |&at: &u32| hash(path(entries, bytes, at));
        let Slot::Vacant(slot) = table.entry(hash(key), is, again) else {
            return Ok(());
        };
        let end = u32::try_from(bytes.len() + key.len()).map_err(|_| StoreError::TooMany)?;
        // No more than bytes, but for the empty one.
        let at = u32::try_from(entries.len()).map_err(|_| StoreError::TooMany)?;
        slot.insert(at);
        bytes.extend_from_slice(key);
        entries.push(Entry { end, route, found });
        Ok(())
    }

    /// Every path with its route.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], RouteId)> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let path = &self.bytes[start..entry.end as usize];
            start = entry.end as usize;
            (path, entry.route)
        })
    }

    /// Gives back what was reserved for nothing.
    pub(super) fn shrink(&mut self) {
        self.entries.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ResponseId;

    #[test]
    fn the_first_to_enter_a_path_has_it() {
        let mut paths = Paths::default();
        let id = |n| Found::Response(ResponseId(n));
        for n in 0..5000_u32 {
            if n == 100 {
                paths.reserve(4900, 4900 * 5);
            }
            let key = format!("/{n}");
            paths
                .insert(key.as_bytes(), RouteId::NONE, id(n))
                .expect("fits");
            paths
                .insert(key.as_bytes(), RouteId::NONE, Found::Missing)
                .expect("fits");
        }
        paths
            .insert(b"", RouteId::NONE, Found::TooLarge)
            .expect("fits");
        paths.shrink();
        for n in 0..5000_u32 {
            let found = paths.get(format!("/{n}").as_bytes());
            assert_eq!(found, Some((RouteId::NONE, id(n))), "{n}");
        }
        assert_eq!(paths.get(b""), Some((RouteId::NONE, Found::TooLarge)));
        for missing in ["/", "/5000", "/00", "0"] {
            assert!(!paths.contains(missing.as_bytes()), "{missing}");
        }
        let all: Vec<_> = paths.iter().map(|(path, _)| path.to_vec()).collect();
        assert_eq!(
            (all.len(), &*all[4999], &*all[5000]),
            (5001, &b"/4999"[..], &b""[..])
        );
    }
}
