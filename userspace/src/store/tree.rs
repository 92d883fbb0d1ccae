//! Reads a directory tree.

use super::StoreError;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use sidestep_config::StaticRoute;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

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

    /// Whether a name is one that is served.
    pub(super) fn shows(&self, name: &[u8]) -> bool {
        self.route.hidden || !is_hidden(OsStr::from_bytes(name))
    }

    /// Whether what was opened lies where it may.
    pub(super) fn has(&self, opened: BorrowedFd<'_>) -> io::Result<bool> {
        if self.route.follow_symlinks {
            return Ok(true);
        }
        let path = fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
        Ok(path.starts_with(&self.root))
    }

    /// Whether the link `path` may be followed; else that is said. So that what lies outside is not even listed. What
    /// counts is what [`Tree::read`] opens.
    pub(super) fn stays_within(&self, path: &Path) -> bool {
        let target = |path: &Path| path.canonicalize();
        let stays = self.route.follow_symlinks
            || target(path).is_ok_and(|target| target.starts_with(&self.root));
        if !stays {
            log::warn!(
                "{} is a link out of the static root: left out",
                path.display()
            );
        }
        stays
    }

    /// Reads the file called `name`, a path from the root, into `buffer`, which is emptied first.
    ///
    /// # Errors
    /// It is not to be served.
    pub fn read(&self, name: &[u8], buffer: Vec<u8>) -> Result<Content, LeftOut> {
        let name = Path::new(OsStr::from_bytes(name));
        for part in name.components() {
            match part {
                Component::Normal(part) if self.shows(part.as_bytes()) => {}
                Component::Normal(_) => return Err(LeftOut::Hidden),
                _ => return Err(LeftOut::Outside),
            }
        }
        let path = self.root.join(name);
        self.settled(buffer, || {
            // Without O_NONBLOCK a pipe would wait for somebody to write.
            let file = fs::OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(&path)?;
            // Of the file that was opened, so that no link can be put in between.
            match self.has(file.as_fd())? {
                true => Ok(file),
                false => Err(LeftOut::Outside),
            }
        })
    }

    /// Reads what `open` opens until nobody writes to it meanwhile.
    fn settled(
        &self,
        mut buffer: Vec<u8>,
        open: impl Fn() -> Result<fs::File, LeftOut>,
    ) -> Result<Content, LeftOut> {
        for _ in 0..READS {
            if let Some(content) = self.read_once(open()?, &mut buffer)? {
                return Ok(content);
            }
        }
        Err(LeftOut::Changing)
    }

    /// `None` if the file was written to meanwhile: half of it may be old.
    fn read_once(
        &self,
        mut file: fs::File,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Content>, LeftOut> {
        let before = file.metadata()?;
        if !before.is_file() {
            return Err(LeftOut::NotAFile);
        }
        if before.len() > self.route.max_object {
            return Ok(Some(Content::TooLarge));
        }
        // `max_object` is bounded by what a response can be.
        buffer.resize(usize::try_from(before.len()).unwrap_or(0), 0);
        let mut len = 0;
        while len < buffer.len() {
            match file.read(&mut buffer[len..]) {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        // What has grown or shrunk since has another length now.
        let after = file.metadata()?;
        let stamp = |m: &fs::Metadata| {
            let nanoseconds = (m.mtime_nsec(), m.ctime_nsec());
            (m.len(), m.mtime(), m.ctime(), nanoseconds)
        };
        if stamp(&before) != stamp(&after) || len != buffer.len() {
            return Ok(None);
        }
        Ok(Some(Content::File(File {
            body: std::mem::take(buffer),
            modified: u32::try_from(after.mtime()).ok(),
        })))
    }
}

/// A directory of a tree, to read many of its files.
pub(super) struct Folder<'t> {
    tree: &'t Tree<'t>,
    path: &'t [u8],
    /// `None`: it cannot be opened any more, which each of its files will say.
    dir: Option<OwnedFd>,
}

impl<'t> Folder<'t> {
    /// The directory `path`, a path from the root: empty, or with a slash at its end. One that [`walk`](super::walk)
    /// has found: its name is not looked at again.
    pub(super) fn open(tree: &'t Tree<'t>, path: &'t [u8]) -> Self {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let full = tree.root.join(OsStr::from_bytes(path));
        let dir = nix::fcntl::open(&full, flags, Mode::empty()).ok();
        let dir = dir.filter(|dir| tree.has(dir.as_fd()).unwrap_or(false));
        Self { tree, path, dir }
    }

    /// As [`Tree::read`], of a name in the directory.
    ///
    /// # Errors
    /// It is not to be served.
    pub(super) fn read(&self, name: &[u8], buffer: Vec<u8>) -> Result<Content, LeftOut> {
        let slowly = |buffer| self.tree.read(&[self.path, name].concat(), buffer);
        let Some(dir) = &self.dir else {
            return slowly(buffer);
        };
        // What is no link lies where its directory does, and that was looked at.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = || match openat(dir, name, flags, Mode::empty()) {
            Ok(file) => Ok(Some(fs::File::from(file))),
            Err(Errno::ELOOP) => Ok(None),
            Err(e) => Err(LeftOut::from(io::Error::from(e))),
        };
        match open()? {
            None => slowly(buffer),
            Some(first) => {
                let first = std::cell::Cell::new(Some(first));
                self.tree.settled(buffer, || match first.take() {
                    Some(file) => Ok(file),
                    None => open()?.ok_or(LeftOut::Changing),
                })
            }
        }
    }
}

/// Whether a name is hidden by the custom of a leading dot: what version control, editors and passwords are kept
/// under. `.well-known` is meant to be served (RFC 8615).
fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") && name != ".well-known"
}
