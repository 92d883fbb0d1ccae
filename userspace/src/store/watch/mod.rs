//! Keeps the store in step with the files on disk.
//!
//! inotify(7) tells of changes. A file is read again when whoever wrote it has closed it, or has not written for a
//! while: never in the middle, as far as that can be told. What changes more than names of files (a queue that ran over,
//! symbolic links, a page of a 404, a root that was gone) has all trees read again.

mod at;
mod notes;

use super::load::{Loader, stand_back};
use super::refresh::{self, Unsettled};
use super::tree::Tree;
use super::walk::Directory;
use super::{Live, Snapshot, StoreError};
use at::At;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CpuSet;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags as Mask, InotifyEvent};
use notes::{Notes, Place};
use serde::Serialize;
use sidestep_config::Config;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// From the end of a change to when it is read: a rename comes as two events, an editor's save as several files. Longer
/// is only later.
const SETTLE: Duration = Duration::from_millis(30);

/// A file that was written to and not closed is read when nobody has written for so long. Shorter reads halves of what
/// is written slowly; with longer, a program that never closes its file is seen too late.
const QUIET: Duration = Duration::from_millis(400);

/// All trees are read again at the latest so long after a change, even if others come all the time.
const LATEST: Duration = Duration::from_secs(2);

/// How soon to look again for a root that cannot be read, or a file that changes while it is read.
const AGAIN: Duration = Duration::from_millis(500);

/// How often trees are read again that cannot be watched, at least; large ones take a twentieth of the time.
const RESCAN: Duration = Duration::from_secs(10);

/// Files read before what they changed is published. More at a time is a little cheaper, but later.
const AT_ONCE: usize = 512;

/// Responses in front of a base before there is a new one, at least; for large bases a quarter of theirs. Fewer, and all
/// trees are read again all the time; more, and answers that were replaced take memory.
const OVERLAY: usize = 4096;

/// How often what has expired is let go of.
const TIDY: Duration = Duration::from_secs(1);

/// What a test has less of.
#[derive(Clone, Copy)]
struct Bounds {
    /// Directories that are watched: as many as the system lets us.
    watches: usize,
    /// See [`RESCAN`].
    rescan: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            watches: usize::MAX,
            rescan: RESCAN,
        }
    }
}

/// How the trees are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Watching {
    /// Why they are only read again from time to time; `None`: changes are told.
    pub limit: Option<String>,
    /// Why what was read last is kept; `None`: all is well.
    pub error: Option<String>,
}

/// The files of a store, and who keeps it in step with them.
pub struct Keeper {
    live: Arc<Live>,
    kept: Mutex<Kept>,
    wake: EventFd,
    stop: AtomicBool,
}

struct Kept {
    config: Config,
    notes: Notes,
    /// Files to be read, by when.
    pending: BTreeMap<(At, Vec<u8>), Instant>,
    rescan: Option<Rescan>,
    watching: Watching,
    /// Cores without workers, where files are read while there are workers.
    spare: Option<CpuSet>,
    bounds: Bounds,
}

/// All trees are to be read again.
#[derive(Clone, Copy)]
struct Rescan {
    first: Instant,
    due: Instant,
}

impl Keeper {
    /// Reads all trees of `config`, and watches them from before on.
    ///
    /// # Errors
    /// Those of [`Snapshot::build`].
    pub fn open(config: &Config) -> Result<Self, StoreError> {
        Self::open_within(config, Bounds::default())
    }

    fn open_within(config: &Config, bounds: Bounds) -> Result<Self, StoreError> {
        let loader = Loader::new(None, None);
        let (notes, listed) = loader.run(|| Notes::open(config, &loader, bounds.watches));
        let snapshot = Snapshot::build_with(config, &loader, &listed)?;
        let live = Arc::new(Live::new(snapshot));
        let mut kept = Kept {
            config: config.clone(),
            pending: BTreeMap::new(),
            rescan: None,
            watching: Watching::default(),
            spare: None,
            bounds,
            notes,
        };
        kept.look_at_limit(&live, Duration::ZERO);
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self {
            live,
            kept: Mutex::new(kept),
            wake: EventFd::from_flags(flags).map_err(|e| StoreError::System(e.into()))?,
            stop: AtomicBool::new(false),
        })
    }

    /// What is served.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Takes the configuration that `change` makes of the present one, and reads all its trees. When this returns, no
    /// request that is sent later is answered from what was before.
    ///
    /// # Errors
    /// That of `change`, or a tree cannot be read: nothing has changed.
    pub fn change<E: From<StoreError>>(
        &self,
        change: impl FnOnce(&Config) -> Result<Config, E>,
    ) -> Result<(), E> {
        let mut kept = self.lock();
        let config = change(&kept.config)?;
        kept.read(&self.live, config)?;
        // The thread polls what is watched no more.
        let _ = self.wake.write(1);
        Ok(())
    }

    /// Keeps the store in step, on a thread of its own, until the result is dropped. From now on files are read on the
    /// cores of `spare`, if there are any.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(self: &Arc<Self>, spare: Option<CpuSet>) -> io::Result<Running> {
        self.lock().spare = spare;
        let keeper = self.clone();
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || {
                stand_back(spare);
                keeper.run();
            })?;
        Ok(Running {
            keeper: self.clone(),
            thread: Some(thread),
        })
    }

    #[expect(clippy::disallowed_methods, reason = "waits for files, not packets")]
    fn run(&self) {
        let mut tidy = Instant::now() + TIDY;
        while !self.stop.load(Ordering::Relaxed) {
            let (inotify, due) = {
                let kept = self.lock();
                (kept.notes.inotify(), kept.due())
            };
            let until = due.map_or(tidy, |due| due.min(tidy));
            let wait = until.saturating_duration_since(Instant::now());
            let mut fds = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
            fds.extend(
                inotify
                    .iter()
                    .map(|i| PollFd::new(i.as_fd(), PollFlags::POLLIN)),
            );
            // Up to the next millisecond, so as not to come too early. An interruption is a look too many.
            let wait = PollTimeout::try_from(wait + Duration::from_millis(1));
            let _ = poll(&mut fds, wait.unwrap_or(PollTimeout::MAX));
            let _ = self.wake.read();
            self.lock().step(&self.live, Instant::now());
            if Instant::now() >= tidy {
                self.live.tidy();
                tidy = Instant::now() + TIDY;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // What a panic left undone is read with the next change.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Keeper").field(&self.live).finish()
    }
}

/// A thread that keeps a store in step; see [`Keeper::start`].
#[derive(Debug)]
pub struct Running {
    keeper: Arc<Keeper>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.keeper.stop.store(true, Ordering::Relaxed);
        let _ = self.keeper.wake.write(1);
        // A panic of that thread has been reported by its hook.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Kept {
    /// When there is something to do.
    fn due(&self) -> Option<Instant> {
        let rescan = self.rescan.map(|rescan| rescan.due);
        self.pending.values().copied().chain(rescan).min()
    }

    fn step(&mut self, live: &Live, now: Instant) {
        for event in self.notes.take() {
            self.note(live, now, &event);
        }
        if self.rescan.is_some_and(|rescan| rescan.due <= now) {
            self.rescan = None;
            if self.read(live, self.config.clone()).is_err() {
                self.read_all_again(now, AGAIN);
            }
            return;
        }
        self.read_pending(live, now);
    }

    fn note(&mut self, live: &Live, now: Instant, event: &InotifyEvent) {
        let mask = event.mask;
        if mask.contains(Mask::IN_Q_OVERFLOW) {
            log::warn!("more changes than fs.inotify.max_queued_events: all trees are read again");
            self.read_all_again(now, SETTLE);
        }
        let places = self.notes.places(event.wd);
        if mask.contains(Mask::IN_IGNORED) {
            self.notes.ended(event.wd);
        }
        for place in places {
            // Written to, and not closed yet.
            let open = mask.contains(Mask::IN_MODIFY);
            let wait = if open { QUIET } else { SETTLE };
            let (at, dir) = match place {
                Place::Within(at, dir) if !self.notes.is_linked(at) => (at, dir),
                Place::Within(..) | Place::Target => {
                    self.read_all_again(now, wait);
                    continue;
                }
            };
            let Some(name) = &event.name else {
                if dir.is_empty() && mask.intersects(Mask::IN_DELETE_SELF | Mask::IN_MOVE_SELF) {
                    self.read_all_again(now, SETTLE);
                }
                continue;
            };
            let mut name = [&dir, name.as_bytes()].concat();
            if mask.contains(Mask::IN_ISDIR) {
                name.push(b'/');
                self.note_directory(live, now, at, &name, mask);
            } else if mask.intersects(Mask::IN_CREATE | Mask::IN_MOVED_TO)
                && self.is_link(at, &name)
            {
                self.notes.link(at);
                self.read_all_again(now, SETTLE);
            } else {
                // A new file is written to next, or is another name of one.
                let wait = if mask.contains(Mask::IN_CREATE) {
                    QUIET
                } else {
                    wait
                };
                self.note_file(now + wait, at, name);
            }
        }
    }

    fn is_link(&self, at: At, name: &[u8]) -> bool {
        let path = at
            .of(&self.config)
            .map(|route| route.root.join(OsStr::from_bytes(name)));
        path.is_some_and(|path| path.is_symlink())
    }

    fn note_file(&mut self, due: Instant, at: At, name: Vec<u8>) {
        let Some(route) = at.of(&self.config) else {
            return;
        };
        if refresh::touches_others(&self.config.sites[at.site as usize], route, &name) {
            self.read_all_again(due - SETTLE, SETTLE);
        } else {
            self.pending.insert((at, name), due);
        }
    }

    fn note_directory(&mut self, live: &Live, now: Instant, at: At, dir: &[u8], mask: Mask) {
        let Some(route) = at.of(&self.config).cloned() else {
            return;
        };
        let mut names = live.current().get().names_under(at.site, &route, dir);
        if mask.intersects(Mask::IN_MOVED_FROM | Mask::IN_DELETE | Mask::IN_MOVED_TO) {
            self.notes.forget(at, dir);
        }
        if mask.intersects(Mask::IN_CREATE | Mask::IN_MOVED_TO | Mask::IN_ATTRIB)
            && let Ok(tree) = Tree::open(&route)
        {
            // Watched first: what is made meanwhile is either found or told.
            let directories = self.notes.add(at, &tree, dir);
            names.extend(directories.iter().flat_map(Directory::names));
            if self.notes.is_linked(at) {
                self.read_all_again(now, SETTLE);
            }
        }
        for name in names {
            self.note_file(now + SETTLE, at, name);
        }
    }

    /// `wait` from now on, or later if more comes, but not for ever.
    fn read_all_again(&mut self, now: Instant, wait: Duration) {
        let rescan = self.rescan.get_or_insert(Rescan {
            first: now,
            due: now,
        });
        rescan.due = rescan.due.max(now + wait).min(rescan.first + LATEST);
    }

    /// Reads files that are due, and publishes what they changed.
    #[expect(clippy::disallowed_methods, reason = "loads files, not packets")]
    fn read_pending(&mut self, live: &Live, now: Instant) {
        loop {
            let due = self.pending.iter().filter(|(_, due)| **due <= now);
            let due: Vec<_> = due.take(AT_ONCE).map(|(key, _)| key.clone()).collect();
            if due.is_empty() {
                return;
            }
            for key in &due {
                self.pending.remove(key);
            }
            let snapshot = live.current().get();
            let loader = Loader::single();
            let mut changes = Vec::new();
            for names in due.chunk_by(|a, b| a.0 == b.0) {
                let at = names[0].0;
                let Some(route) = at.of(&self.config) else {
                    continue;
                };
                let Ok(tree) = Tree::open(route) else {
                    // Its root is gone: what was read last is kept until it is back.
                    self.read_all_again(now, AGAIN);
                    return;
                };
                for (_, name) in names {
                    for key in refresh::keys(route, name) {
                        match snapshot.resolve(at.site, &tree, &loader, key) {
                            Ok(change) => changes.extend(change),
                            Err(Unsettled) => {
                                self.pending.insert((at, name.clone()), now + AGAIN);
                            }
                        }
                    }
                }
            }
            if !changes.is_empty() {
                let full = live.publish(|next| {
                    changes.into_iter().for_each(|change| next.enter(change));
                    next.files.responses() > OVERLAY.max(next.base.responses.len() / 4)
                });
                if full {
                    self.read_all_again(Instant::now(), SETTLE);
                }
            }
        }
    }

    /// Reads all trees of `config`, which are watched from before on.
    #[expect(clippy::disallowed_methods, reason = "loads files, not packets")]
    fn read(&mut self, live: &Live, config: Config) -> Result<(), StoreError> {
        let begun = Instant::now();
        let last = live.current().get();
        let loader = Loader::new(Some(&last), self.spare);
        let (notes, listed) = loader.run(|| Notes::open(&config, &loader, self.bounds.watches));
        let snapshot = Snapshot::build_with(&config, &loader, &listed).inspect_err(|e| {
            let error = Some(e.to_string());
            if self.watching.error != error {
                log::error!("{e}; what was read before is kept");
                self.watching.error = error;
                live.watched(self.watching.clone());
            }
        })?;
        live.replace(snapshot);
        (self.config, self.notes) = (config, notes);
        self.pending.clear();
        self.rescan = None;
        self.watching.error = None;
        self.look_at_limit(live, begun.elapsed());
        Ok(())
    }

    /// What cannot be watched is read again from time to time; the last time took `took`.
    #[expect(clippy::disallowed_methods, reason = "loads files, not packets")]
    fn look_at_limit(&mut self, live: &Live, took: Duration) {
        let limit = self.notes.limit().map(ToOwned::to_owned);
        if let Some(why) = &limit {
            if self.watching.limit.is_none() {
                log::warn!(
                    "{why}: trees are read again every {} seconds or more",
                    self.bounds.rescan.as_secs()
                );
            }
            let wait = self.bounds.rescan.max(20 * took);
            let first = Instant::now() + wait;
            self.rescan = Some(Rescan { first, due: first });
        }
        self.watching.limit = limit;
        live.watched(self.watching.clone());
    }
}

#[cfg(test)]
mod tests;
