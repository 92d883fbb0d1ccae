//! What is in a directory tree: the names of its files, directory by directory.
//!
//! The kernel tells with each name of what kind it is, so nothing is looked at but directories and links.

use super::load::of_sibling;
use super::tree::{LeftOut, Tree};
use nix::dir::{Dir, Type};
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, fstat};
use rayon::prelude::*;
use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Is told of what is found, from several threads at a time.
pub(super) trait Observer: Sync {
    /// A directory, before its names are read. `name` is its path from the root: empty, or with a slash at its end.
    fn directory(&self, path: &Path, name: &[u8]);
    /// A link that stays within the root, or may leave it.
    fn link(&self, path: &Path);
}

impl Observer for () {
    fn directory(&self, _: &Path, _: &[u8]) {}
    fn link(&self, _: &Path) {}
}

/// A directory, and the names in it that may be of files.
pub(super) struct Directory {
    /// Its path from the root: empty, or with a slash at its end.
    pub(super) path: Box<[u8]>,
    /// In order, one behind the other.
    names: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
    /// The content of some could be that of others in a coding.
    pub(super) siblings: bool,
}

impl Directory {
    /// Of the names that are `places` of `bytes`.
    fn new(path: Box<[u8]>, bytes: &[u8], mut places: Vec<Range<usize>>) -> Self {
        let name = |place: &Range<usize>| &bytes[place.clone()];
        places.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        let mut directory = Self {
            path,
            names: Vec::with_capacity(bytes.len()),
            ends: Vec::with_capacity(places.len()),
            siblings: places.iter().any(|p| of_sibling(name(p)).is_some()),
        };
        for place in &places {
            directory.names.extend_from_slice(name(place));
            // A directory with 4 GiB of names has more than 16 million, which no file system lists in useful time.
            directory.ends.push(directory.names.len() as u32);
        }
        directory
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all names.
    pub(super) fn bytes(&self) -> usize {
        self.names.len()
    }

    /// The `n`th name.
    pub(super) fn name(&self, n: usize) -> &[u8] {
        let start = n.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.names[start as usize..self.ends[n] as usize]
    }

    /// All names, as paths from the root.
    pub(super) fn names(&self) -> impl Iterator<Item = Vec<u8>> {
        (0..self.len()).map(|n| [&self.path, self.name(n)].concat())
    }

    /// Whether one of the names is `name`.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return true,
            }
        }
        false
    }
}

/// A directory to be listed.
struct Found {
    path: Box<[u8]>,
    /// Those that it lies in, as far as the walk has come through them.
    within: Option<Arc<Within>>,
}

struct Within {
    is: (u64, u64),
    parent: Option<Arc<Within>>,
}

impl Within {
    fn has(this: Option<&Arc<Self>>, is: (u64, u64)) -> bool {
        let mut next = this;
        while let Some(within) = next {
            if within.is == is {
                return true;
            }
            next = within.parent.as_ref();
        }
        false
    }
}

/// Lists the directory `from`, a path from the root of `tree` (empty, or with a slash at its end), and all below it that
/// may be served, on `threads`. What cannot be listed is logged.
pub(super) fn walk(
    tree: &Tree<'_>,
    from: &[u8],
    threads: Option<&rayon::ThreadPool>,
    observer: &impl Observer,
) -> Vec<Directory> {
    let mut parts = from.split(|&b| b == b'/').filter(|part| !part.is_empty());
    if !parts.all(|part| tree.shows(part)) {
        return Vec::new();
    }
    let mut next = vec![Found {
        path: from.into(),
        within: None,
    }];
    let mut all = Vec::new();
    while !next.is_empty() {
        let listed: Vec<_> = match threads {
            Some(threads) if next.len() > 1 => {
                threads.install(|| next.par_iter().map(|d| list(tree, d, observer)).collect())
            }
            _ => next.iter().map(|d| list(tree, d, observer)).collect(),
        };
        next.clear();
        for (found, directories) in listed.into_iter().flatten() {
            all.push(found);
            next.extend(directories);
        }
    }
    // Whatever the order they were found in, a tree is always loaded in the same.
    all.sort_unstable_by(|a: &Directory, b| a.path.cmp(&b.path));
    all
}

fn list(
    tree: &Tree<'_>,
    found: &Found,
    observer: &impl Observer,
) -> Option<(Directory, Vec<Found>)> {
    let path = tree.root().join(OsStr::from_bytes(&found.path));
    match read(tree, &path, found, observer) {
        Ok(listed) => listed,
        Err(error) => {
            log::warn!("left out of the static tree: {}: {error}", path.display());
            None
        }
    }
}

/// `None`: it is left out, and that is said.
fn read(
    tree: &Tree<'_>,
    path: &Path,
    found: &Found,
    observer: &impl Observer,
) -> Result<Option<(Directory, Vec<Found>)>, LeftOut> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut dir = Dir::open(path, flags, Mode::empty()).map_err(io::Error::from)?;
    // Of what was opened, so that no link can be put in between.
    if !tree.has(dir.as_fd())? {
        return Err(LeftOut::Outside);
    }
    let is = identity(&fstat(dir.as_fd()).map_err(io::Error::from)?);
    if Within::has(found.within.as_ref(), is) {
        log::warn!(
            "left out of the static tree: {} leads back to a directory that it is in",
            path.display()
        );
        return Ok(None);
    }
    observer.directory(path, &found.path);
    let within = Arc::new(Within {
        is,
        parent: found.within.clone(),
    });
    let (mut names, mut places, mut directories) = (Vec::new(), Vec::new(), Vec::new());
    for entry in dir.iter() {
        let entry = entry.map_err(io::Error::from)?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") || !tree.shows(name) {
            continue;
        }
        match kind(tree, path, name, entry.file_type(), observer) {
            Some(Type::File) => {
                let start = names.len();
                names.extend_from_slice(name);
                places.push(start..names.len());
            }
            Some(Type::Directory) => directories.push(Found {
                path: [&found.path, name, b"/"].concat().into(),
                within: Some(within.clone()),
            }),
            _ => {}
        }
    }
    let directory = Directory::new(found.path.clone(), &names, places);
    Ok(Some((directory, directories)))
}

/// What `name` in the directory `path` is, or leads to; `None`: nothing that is served.
fn kind(
    tree: &Tree<'_>,
    path: &Path,
    name: &[u8],
    told: Option<Type>,
    observer: &impl Observer,
) -> Option<Type> {
    let full = || path.join(OsStr::from_bytes(name));
    let log = |path: &PathBuf, error: &io::Error| {
        log::warn!("left out of the static tree: {}: {error}", path.display());
    };
    let told = match told {
        Some(told) => told,
        // Some file systems do not tell.
        None => {
            let path = full();
            let found = path.symlink_metadata().inspect_err(|e| log(&path, e));
            type_of(found.ok()?.file_type())?
        }
    };
    if told != Type::Symlink {
        return Some(told);
    }
    let path = full();
    if !tree.stays_within(&path) {
        return None;
    }
    observer.link(&path);
    let found = path.metadata().inspect_err(|e| log(&path, e));
    type_of(found.ok()?.file_type())
}

fn type_of(found: std::fs::FileType) -> Option<Type> {
    match () {
        () if found.is_file() => Some(Type::File),
        () if found.is_dir() => Some(Type::Directory),
        () if found.is_symlink() => Some(Type::Symlink),
        () => None,
    }
}

fn identity(of: &FileStat) -> (u64, u64) {
    (of.st_dev, of.st_ino)
}
