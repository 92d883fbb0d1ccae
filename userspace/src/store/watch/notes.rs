//! What inotify(7) is told to watch: every directory of every static tree, and where links lead.

use super::at::At;
use crate::store::build::Listed;
use crate::store::load::Loader;
use crate::store::tree::Tree;
use crate::store::walk::{Directory, Observer, walk};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use sidestep_config::Config;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const EVENTS: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// What a watched directory is to a route.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// A directory of its tree, by its path from the root: empty, or with a slash at its end.
    Within(At, Vec<u8>),
    /// Where a link leads.
    Target,
}

/// See the module's documentation.
pub(super) struct Notes {
    inotify: Option<Arc<Inotify>>,
    places: HashMap<WatchDescriptor, Vec<Place>>,
    /// Trees with symbolic links: a change in them may be one of several names.
    linked: HashSet<At>,
    /// Why not everything is watched.
    limit: Option<String>,
    /// How many are watched at most.
    most: usize,
}

impl Notes {
    /// Watches the trees of `config`, as far as they can be, and lists them on the way. At `most` so many
    /// directories, beside what the system allows.
    pub(super) fn open(config: &Config, loader: &Loader<'_>, most: usize) -> (Self, Listed) {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC);
        let mut notes = Self {
            limit: inotify
                .as_ref()
                .err()
                .map(|e| format!("inotify: {e} (fs.inotify.max_user_instances)")),
            inotify: inotify.ok().map(Arc::new),
            places: HashMap::new(),
            linked: HashSet::new(),
            most,
        };
        let mut listed = Listed::new();
        for (at, route) in At::all(config) {
            // One that cannot be opened is an error to who reads it.
            if let Ok(tree) = Tree::open(route) {
                let adding = notes.adding(at);
                listed.insert((at.site, at.route), loader.list(&tree, &adding));
            }
        }
        (notes, listed)
    }

    /// To be polled.
    pub(super) fn inotify(&self) -> Option<Arc<Inotify>> {
        self.inotify.clone()
    }

    /// Why not everything is watched; `None`: it is.
    pub(super) fn limit(&self) -> Option<&str> {
        self.limit.as_deref()
    }

    /// Whether the tree of `at` has symbolic links.
    pub(super) fn is_linked(&self, at: At) -> bool {
        self.linked.contains(&at)
    }

    /// From now on the tree of `at` has symbolic links.
    pub(super) fn link(&mut self, at: At) {
        self.linked.insert(at);
    }

    /// What the directory of an event is.
    pub(super) fn places(&self, of: WatchDescriptor) -> Vec<Place> {
        self.places.get(&of).cloned().unwrap_or_default()
    }

    /// A watch has ended by itself.
    pub(super) fn ended(&mut self, of: WatchDescriptor) {
        self.places.remove(&of);
    }

    /// What has happened since the last call.
    pub(super) fn take(&self) -> Vec<InotifyEvent> {
        let mut all = Vec::new();
        let Some(inotify) = &self.inotify else {
            return all;
        };
        loop {
            match inotify.read_events() {
                Ok(events) if events.is_empty() => break,
                Ok(events) => all.extend(events),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(e) => {
                    log::warn!("inotify: {e}");
                    break;
                }
            }
        }
        all
    }

    /// Watches the directory `dir` of `tree` and all below it, and lists them.
    pub(super) fn add(&mut self, at: At, tree: &Tree<'_>, dir: &[u8]) -> Vec<Directory> {
        let adding = self.adding(at);
        walk(tree, dir, None, &adding)
    }

    fn adding(&mut self, at: At) -> Adding<'_> {
        Adding {
            notes: Mutex::new(self),
            at,
        }
    }

    fn watch(&mut self, path: &Path, place: Place) {
        let Some(inotify) = &self.inotify else { return };
        let watched = match self.places.len() < self.most {
            true => inotify.add_watch(path, EVENTS),
            false => Err(Errno::ENOSPC),
        };
        match watched {
            Ok(of) => {
                let places = self.places.entry(of).or_default();
                if !matches!(place, Place::Target) || places.is_empty() {
                    places.push(place);
                }
            }
            // It is gone, which its parent's watch tells.
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(e) => {
                let hint = match e {
                    Errno::ENOSPC => " (fs.inotify.max_user_watches)",
                    _ => "",
                };
                let why = format!("cannot watch {}: {e}{hint}", path.display());
                self.limit.get_or_insert(why);
            }
        }
    }

    /// Forgets the directory `dir` of `at` and all below it, which have gone elsewhere.
    pub(super) fn forget(&mut self, at: At, dir: &[u8]) {
        let Some(inotify) = &self.inotify else { return };
        self.places.retain(|of, places| {
            places.retain(|place| {
                !matches!(place, Place::Within(own, name) if *own == at && name.starts_with(dir))
            });
            if places.is_empty() {
                // It has ended already if the directory was deleted.
                let _ = inotify.rm_watch(*of);
            }
            !places.is_empty()
        });
    }
}

/// Watches what a walk finds.
struct Adding<'n> {
    notes: Mutex<&'n mut Notes>,
    at: At,
}

impl<'n> Adding<'n> {
    fn notes(&self) -> MutexGuard<'_, &'n mut Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Adding<'_> {
    fn directory(&self, path: &Path, name: &[u8]) {
        self.notes()
            .watch(path, Place::Within(self.at, name.to_vec()));
    }

    fn link(&self, path: &Path) {
        let mut notes = self.notes();
        notes.linked.insert(self.at);
        if let Ok(target) = path.canonicalize()
            && let Some(parent) = target.parent()
        {
            notes.watch(parent, Place::Target);
        }
    }
}
