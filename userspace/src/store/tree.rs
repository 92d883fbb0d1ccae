//! Reads a directory tree.

use super::StoreError;
use sidestep_config::StaticRoute;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// A regular file of a tree.
pub(super) struct File {
    /// Its path from the root, without leading slash.
    pub(super) name: Vec<u8>,
    pub(super) content: Content,
}

/// What is in a file.
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// Over the route's `max_object`.
    TooLarge,
}

/// Every regular file of the tree of `route`. A symbolic link is followed if it stays within the root. What cannot be
/// read is logged and left out.
pub(super) fn walk(route: &StaticRoute) -> impl Iterator<Item = Result<File, StoreError>> {
    let (root, error) = match open_root(&route.root) {
        Ok(root) => (Some(root), None),
        Err(source) => (
            None,
            Some(StoreError::Root {
                root: route.root.clone(),
                source,
            }),
        ),
    };
    let files = root.into_iter().flat_map(move |root| {
        let within = root.clone();
        WalkDir::new(&root)
            .follow_links(true)
            .min_depth(1)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(move |entry| stays_within(entry, &within))
            .filter_map(move |entry| file(entry, &root, route.max_object))
    });
    error.into_iter().map(Err).chain(files.map(Ok))
}

/// The root with its own symbolic links resolved; a directory that can be listed.
pub(super) fn open_root(root: &Path) -> io::Result<PathBuf> {
    let root = root.canonicalize()?;
    fs::read_dir(&root)?;
    Ok(root)
}

fn stays_within(entry: &DirEntry, root: &Path) -> bool {
    if !entry.path_is_symlink() {
        return true;
    }
    let stays = entry
        .path()
        .canonicalize()
        .is_ok_and(|target| target.starts_with(root));
    if !stays {
        log::warn!(
            "{} is a link out of the static root: left out",
            entry.path().display()
        );
    }
    stays
}

fn file(entry: walkdir::Result<DirEntry>, root: &Path, max: u64) -> Option<File> {
    let result = entry.map_err(|error| error.to_string()).and_then(|entry| {
        if !entry.file_type().is_file() {
            return Ok(None);
        }
        let content = read(entry.path(), max)
            .map_err(|error| format!("{}: {error}", entry.path().display()))?;
        let name = entry
            .path()
            .strip_prefix(root)
            .map_err(|error| error.to_string())?;
        Ok(Some(File {
            name: name.as_os_str().as_bytes().to_vec(),
            content,
        }))
    });
    result.unwrap_or_else(|error| {
        log::warn!("left out of the static tree: {error}");
        None
    })
}

fn read(path: &Path, max: u64) -> io::Result<Content> {
    let file = fs::File::open(path)?;
    let size = file.metadata()?.len();
    if size > max {
        return Ok(Content::TooLarge);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // One byte more than allowed, in case it grows meanwhile.
    file.take(max + 1).read_to_end(&mut bytes)?;
    Ok(match bytes.len() as u64 > max {
        true => Content::TooLarge,
        false => Content::Bytes(bytes),
    })
}
