//! Reads a directory tree.

use super::StoreError;
use sidestep_config::StaticRoute;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;
use walkdir::{DirEntry, WalkDir};

/// The tree of a static route.
pub struct Tree<'r> {
    /// The route.
    pub route: &'r StaticRoute,
    /// Its root with its own symbolic links resolved.
    root: PathBuf,
}

/// A file as it was read.
pub struct File {
    /// Its bytes.
    pub body: Vec<u8>,
    /// When it was changed last, in seconds since 1970-01-01 00:00:00 UTC.
    pub modified: Option<u32>,
}

/// What is in a file.
pub enum Content {
    /// Bytes.
    File(File),
    /// More of them than the route's `max_object`.
    TooLarge,
}

/// Why a file is not served.
#[derive(Debug, thiserror::Error)]
pub enum LeftOut {
    /// It cannot be read, or is not there.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is a directory, a socket or the like.
    #[error("not a regular file")]
    NotAFile,
    /// It has a name that the route does not serve.
    #[error("its name is hidden")]
    Hidden,
    /// It lies outside of the root.
    #[error("a link out of the static root")]
    Outside,
    /// It was written to each time it was read.
    #[error("it changes while it is read")]
    Changing,
}

/// How often a file is read that changes meanwhile. Once would leave out what is just being replaced; a log file that
/// grows for ever would hold up a load that did not give up.
const READS: usize = 3;

impl<'r> Tree<'r> {
    /// Opens the root of `route`.
    ///
    /// # Errors
    /// It is not a directory that can be listed.
    pub fn open(route: &'r StaticRoute) -> Result<Self, StoreError> {
        let root = route.root.canonicalize().and_then(|root| {
            fs::read_dir(&root)?;
            Ok(root)
        });
        let root = root.map_err(|source| StoreError::Root {
            root: route.root.clone(),
            source,
        })?;
        Ok(Self { route, root })
    }

    /// The root, with its own symbolic links resolved.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The path from the root, without leading slash, of everything that may be served, in order. What cannot be listed
    /// is logged.
    pub fn names(&self) -> impl Iterator<Item = Vec<u8>> {
        self.names_in(b"")
    }

    /// The same of what is in the directory `dir`, a path from the root, and below it.
    pub(super) fn names_in(&self, dir: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        self.entries(dir).filter_map(|entry| {
            let name = entry.path().strip_prefix(&self.root).ok()?;
            let is_file = entry.file_type().is_file();
            is_file.then(|| name.as_os_str().as_bytes().to_vec())
        })
    }

    /// The directory `dir`, a path from the root, and everything in it and below it that is not hidden.
    pub(super) fn entries(&self, dir: &[u8]) -> impl Iterator<Item = DirEntry> {
        WalkDir::new(self.root.join(OsStr::from_bytes(dir)))
            .follow_links(true)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| {
                let shown = self.route.hidden || !is_hidden(entry.file_name());
                entry.path() == self.root || (shown && self.stays_within(entry))
            })
            .filter_map(|entry| {
                let log = |e: &_| log::warn!("left out of the static tree: {e}");
                entry.inspect_err(log).ok()
            })
    }

    /// So that what lies outside is not even listed. What counts is what [`Tree::read`] opens.
    fn stays_within(&self, entry: &DirEntry) -> bool {
        if self.route.follow_symlinks || !entry.path_is_symlink() {
            return true;
        }
        let target = entry.path().canonicalize();
        let stays = target.is_ok_and(|target| target.starts_with(&self.root));
        if !stays {
            log::warn!(
                "{} is a link out of the static root: left out",
                entry.path().display()
            );
        }
        stays
    }

    /// Reads the file called `name`, a path from the root.
    ///
    /// # Errors
    /// It is not to be served.
    pub fn read(&self, name: &[u8]) -> Result<Content, LeftOut> {
        let name = Path::new(OsStr::from_bytes(name));
        for part in name.components() {
            match part {
                Component::Normal(part) if self.route.hidden || !is_hidden(part) => {}
                Component::Normal(_) => return Err(LeftOut::Hidden),
                _ => return Err(LeftOut::Outside),
            }
        }
        for _ in 0..READS {
            if let Some(content) = self.read_once(&self.root.join(name))? {
                return Ok(content);
            }
        }
        Err(LeftOut::Changing)
    }

    /// `None` if the file was written to meanwhile: half of it may be old.
    fn read_once(&self, path: &Path) -> Result<Option<Content>, LeftOut> {
        // Without O_NONBLOCK a pipe would wait for somebody to write.
        let mut file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        let before = file.metadata()?;
        if !before.is_file() {
            return Err(LeftOut::NotAFile);
        }
        // Of the file that was opened, so that no link can be put in between.
        let opened = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        if !self.route.follow_symlinks && !opened.starts_with(&self.root) {
            return Err(LeftOut::Outside);
        }
        let max = self.route.max_object;
        if before.len() > max {
            return Ok(Some(Content::TooLarge));
        }
        let mut body = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0) + 1);
        (&mut file).take(max + 1).read_to_end(&mut body)?;
        let after = file.metadata()?;
        let stamp = |m: &fs::Metadata| (m.len(), m.mtime(), m.mtime_nsec(), m.ctime_nsec());
        if stamp(&before) != stamp(&after) || body.len() as u64 != after.len() {
            return Ok(None);
        }
        let modified = after.modified()?.duration_since(UNIX_EPOCH);
        Ok(Some(Content::File(File {
            body,
            modified: modified
                .ok()
                .and_then(|since| u32::try_from(since.as_secs()).ok()),
        })))
    }
}

/// Whether a name is hidden by the custom of a leading dot: what version control, editors and passwords are kept
/// under. `.well-known` is meant to be served (RFC 8615).
fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") && name != ".well-known"
}
