//! The response store: an immutable snapshot of every answer, rendered in advance.
//!
//! A [`Snapshot`] is built off the data path and then only read: a lookup is two hash lookups at most, an answer is
//! copied from one piece of memory, and neither allocates.

mod build;
mod current;
mod date;
mod path;
mod render;
#[cfg(test)]
mod tests;
mod tree;

pub use build::StoreError;
pub use current::{Current, Reader};
pub use render::{ConnectionField, Rendering, ResponseId};

use crate::http::{MAX_TARGET, Status};
use foldhash::fast::FixedState;
use render::Response;
use std::collections::HashMap;

/// A map from bytes of the operator's choice. Clients only look things up and cannot make keys collide, so the hash
/// needs no secret.
type ByteMap<V> = HashMap<Box<[u8]>, V, FixedState>;

/// Longest host name that a pattern can match, with a final dot (RFC 1035, 2.3.4); longer ones only match `*`.
const MAX_HOST: usize = 254;

/// Everything that can be answered, as it was when the snapshot was built.
pub struct Snapshot {
    /// First one for each [`Status`], in its order, then those of the sites.
    responses: Vec<Response>,
    sites: Vec<SiteTable>,
    /// Sites by exact host name, in lower case.
    exact: ByteMap<SiteIndex>,
    /// Sites by what follows the `*` of a pattern, in lower case, with its leading dot.
    suffixes: ByteMap<SiteIndex>,
    /// The site of `*`.
    any: Option<SiteIndex>,
}

type SiteIndex = u32;

/// The routes of a site, laid out for lookup.
#[derive(Default)]
struct SiteTable {
    /// Inline responses, cached paths, and each file under the path that leads to it.
    paths: ByteMap<Found>,
    /// Prefixes of static trees and cached paths, the longest first. A path belongs to the first one it begins with,
    /// and to no other even if it is missing there.
    prefixes: Vec<(Box<[u8]>, Prefix)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Static,
    Cached,
}

impl SiteTable {
    fn find(&self, key: &[u8]) -> Found {
        if let Some(&found) = self.paths.get(key) {
            return found;
        }
        match self.owner(key) {
            Some((_, Prefix::Cached)) => Found::Cached,
            Some((_, Prefix::Static)) | None => Found::Missing,
        }
    }

    /// The prefix that `path` belongs to.
    fn owner(&self, path: &[u8]) -> Option<&(Box<[u8]>, Prefix)> {
        self.prefixes
            .iter()
            .find(|(prefix, _)| path.starts_with(prefix))
    }
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This response.
    Response(ResponseId),
    /// This redirect to a directory's path with its final slash; a query is not kept.
    Redirect(ResponseId),
    /// A file larger than its route's `max_object`.
    TooLarge,
    /// A route whose answers are learned from a server.
    Cached,
    /// Nothing.
    Missing,
    /// The path has an escape that is none, or one of NUL.
    BadPath,
}

impl Snapshot {
    /// Looks up `path`, as it is in the request, for `host`, without port.
    pub fn find(&self, host: &[u8], path: &[u8]) -> Found {
        let Some(site) = self.site(host) else {
            return Found::Missing;
        };
        if path::is_plain(path) {
            return site.find(path);
        }
        let mut scratch = [0; MAX_TARGET];
        match path::key(path, &mut scratch) {
            path::Key::Is(key) => site.find(key),
            path::Key::None => Found::Missing,
            path::Key::Bad => Found::BadPath,
        }
    }

    /// The site of the most specific pattern: the exact name, else the longest suffix, else `*`.
    fn site(&self, host: &[u8]) -> Option<&SiteTable> {
        let mut scratch = [0; MAX_HOST];
        let named = match scratch.get_mut(..host.len()) {
            Some(lower) if !(self.exact.is_empty() && self.suffixes.is_empty()) => {
                lower.copy_from_slice(host);
                lower.make_ascii_lowercase();
                let name = lower.strip_suffix(b".").unwrap_or(lower);
                self.exact.get(name).or_else(|| {
                    let dots = memchr::memchr_iter(b'.', name).filter(|&dot| dot > 0);
                    dots.filter_map(|dot| self.suffixes.get(&name[dot..]))
                        .next()
                })
            }
            _ => None,
        };
        named
            .copied()
            .or(self.any)
            .and_then(|index| self.sites.get(index as usize))
    }

    /// The answer of the fast path itself with `status`.
    pub fn refusal(&self, status: Status) -> ResponseId {
        // `build` puts them first.
        ResponseId(status.index() as u32)
    }

    /// The status code of a response.
    pub fn status(&self, id: ResponseId) -> u16 {
        self.response(id).status
    }

    /// Length of a rendering in bytes.
    pub fn len(&self, rendering: &Rendering) -> u32 {
        self.response(rendering.id).len(rendering)
    }

    /// Writes the bytes of a rendering that begin at `offset` into `buf`. What is behind the rendering's end is left
    /// as it is.
    pub fn fill(&self, rendering: &Rendering, offset: u32, buf: &mut [u8]) {
        self.response(rendering.id).fill(rendering, offset, buf);
    }

    /// How many responses there are, refusals included.
    pub fn responses(&self) -> usize {
        self.responses.len()
    }

    /// An id is only made by the snapshot that has it, so this is out of bounds only for the id of another snapshot.
    fn response(&self, id: ResponseId) -> &Response {
        &self.responses[id.0 as usize]
    }
}
