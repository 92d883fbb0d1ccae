//! From a name in a tree to what is served for it.

use super::resource::{self, Resource};
use super::tree::{Content, File, LeftOut, Tree};
use super::{Coding, Snapshot, StoreError, compress, media};
use rayon::prelude::*;
use sidestep_config::Compress;
use std::collections::{HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a name of a tree leads to.
pub enum Loaded {
    /// Representations.
    Resource(Resource),
    /// A file over the route's `max_object`.
    TooLarge,
}

/// Reads and renders files.
pub struct Loader<'s> {
    /// In seconds since 1970-01-01 00:00:00 UTC.
    now: u32,
    /// Contents that are known in a coding, by the entity tag of the content without.
    known: HashMap<&'s [u8], Vec<(Coding, &'s [u8])>>,
    /// `None`: the system refuses threads, all is done here.
    threads: Option<rayon::ThreadPool>,
}

/// Files that are loaded before they are entered, which is the work of one thread. Fewer, and the threads wait for one
/// another more often; more, and their results take memory twice.
const AT_ONCE: usize = 4096;

impl<'s> Loader<'s> {
    /// One that compresses nothing that `last`, the snapshot before, has compressed already.
    pub fn new(last: Option<&'s Snapshot>) -> Self {
        let known = last.into_iter().flat_map(Snapshot::coded).collect();
        let workers_answer = last.is_some();
        let threads = rayon::ThreadPoolBuilder::new()
            .thread_name(|n| format!("load-{n}"))
            .start_handler(move |_| {
                if workers_answer {
                    crate::sys::yield_to_others();
                }
            })
            .build();
        Self {
            now: now(),
            known,
            threads: threads
                .map_err(|error| log::warn!("files are loaded one by one: {error}"))
                .ok(),
        }
    }

    /// Loads the files called `names`, paths from the root of `tree`, and hands each to `enter` in their order. A file
    /// that is not to be served is logged, unless it is hidden, and left out.
    ///
    /// # Errors
    /// An answer cannot be laid out, or `enter` fails.
    pub fn all(
        &self,
        tree: &Tree<'_>,
        names: &[Vec<u8>],
        mut enter: impl FnMut(&[u8], Loaded) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let beside: HashSet<&[u8]> = names
            .iter()
            .map(Vec::as_slice)
            .filter(|name| of_sibling(name).is_some())
            .collect();
        let load = |name: &Vec<u8>| -> Result<Option<Loaded>, StoreError> {
            match self.load(tree, name, |sibling| beside.contains(sibling))? {
                Ok(loaded) => Ok(Some(loaded)),
                Err(LeftOut::Hidden) => Ok(None),
                Err(error) => {
                    let name = String::from_utf8_lossy(name);
                    log::warn!("left out of the static tree: {name}: {error}");
                    Ok(None)
                }
            }
        };
        for names in names.chunks(AT_ONCE) {
            let loaded: Vec<_> = match &self.threads {
                Some(threads) => threads.install(|| names.par_iter().map(load).collect()),
                None => names.iter().map(load).collect(),
            };
            for (name, loaded) in names.iter().zip(loaded) {
                if let Some(loaded) = loaded? {
                    enter(name, loaded)?;
                }
            }
        }
        Ok(())
    }

    /// One for single files, with no threads and nothing known.
    pub fn single() -> Self {
        Self {
            now: now(),
            known: HashMap::new(),
            threads: None,
        }
    }

    /// The same for one file, or why it is not to be served. When a file changes that [is beside](of_sibling) another,
    /// that other is to be loaded anew as well.
    ///
    /// # Errors
    /// Its answer cannot be laid out.
    pub fn one(&self, tree: &Tree<'_>, name: &[u8]) -> Result<Result<Loaded, LeftOut>, StoreError> {
        self.load(tree, name, |_| true)
    }

    fn load(
        &self,
        tree: &Tree<'_>,
        name: &[u8],
        is_there: impl Fn(&[u8]) -> bool,
    ) -> Result<Result<Loaded, LeftOut>, StoreError> {
        let file = match tree.read(name) {
            Ok(Content::TooLarge) => return Ok(Ok(Loaded::TooLarge)),
            Ok(Content::File(file)) => file,
            Err(left_out) => return Ok(Err(left_out)),
        };
        let content_type = media::content_type(name, &tree.route.charset, &file.body);
        let coded = self.coded(tree, name, &file, &content_type, is_there);
        resource::file(tree.route, &content_type, &file, &coded, self.now)
            .map(|resource| Ok(Loaded::Resource(resource)))
            .map_err(|why| StoreError::layout(name, why))
    }

    /// The content of `file` in the codings that its route asks for, the shortest first.
    fn coded(
        &self,
        tree: &Tree<'_>,
        name: &[u8],
        file: &File,
        content_type: &str,
        is_there: impl Fn(&[u8]) -> bool,
    ) -> Vec<(Coding, Vec<u8>)> {
        let makes = match tree.route.compress {
            Compress::Off => return Vec::new(),
            Compress::Siblings => false,
            Compress::Auto => compress::pays(media::essence(name)),
        };
        let tag = (!self.known.is_empty()).then(|| resource::etag(content_type, None, &file.body));
        let known = tag.and_then(|tag| self.known.get(tag.as_bytes()));
        let known = |coding| known?.iter().find(|(other, _)| *other == coding);
        let mut list = Vec::new();
        for coding in Coding::ALL {
            let sibling = [name, coding.extension().as_bytes()].concat();
            let found = is_there(&sibling)
                .then(|| beside(tree, &sibling, coding, file))
                .flatten();
            let coded = found.or_else(|| match known(coding) {
                _ if !makes => None,
                Some((_, bytes)) => Some(bytes.to_vec()),
                None => compress::encode(coding, &file.body),
            });
            list.extend(coded.map(|bytes| (coding, bytes)));
        }
        list.sort_by_key(|(_, bytes)| bytes.len());
        list
    }
}

/// The content of `file` in `coding`, from the file called `sibling`. It is used if it decodes to that content and is
/// shorter: which of the two was written later says nothing of that.
fn beside(tree: &Tree<'_>, sibling: &[u8], coding: Coding, file: &File) -> Option<Vec<u8>> {
    let why = match tree.read(sibling) {
        Ok(Content::File(coded)) if coded.body.len() >= file.body.len() => return None,
        Ok(Content::File(coded)) if compress::decodes_to(coding, &coded.body, &file.body) => {
            return Some(coded.body);
        }
        Ok(Content::File(_)) => "it holds something else than the file beside it".to_owned(),
        Ok(Content::TooLarge) | Err(LeftOut::Hidden) => return None,
        Err(LeftOut::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => error.to_string(),
    };
    let sibling = String::from_utf8_lossy(sibling);
    log::warn!("{sibling} is not used as a coding: {why}");
    None
}

/// The name of the file that the one called `name` could be a coding of.
pub fn of_sibling(name: &[u8]) -> Option<&[u8]> {
    Coding::ALL
        .iter()
        .find_map(|coding| name.strip_suffix(coding.extension().as_bytes()))
}

#[expect(clippy::disallowed_methods, reason = "loads files, not packets")]
fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as u32)
}
