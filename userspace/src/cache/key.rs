//! What a learned answer is kept under: route, authority and target, then the request fields that its origin says it
//! depends on.
//!
//! The authority is in lower case and without the port that the scheme implies, which makes no difference (RFC 9110,
//! 4.2.3): the same site is found for both, so the same answer has to be. The target is taken as it is: two spellings of one path are two entries, and the origin is asked with exactly the
//! bytes of the client. RFC 3986, 6.2.2 would let some spellings be taken as one, for no more than memory saved. What
//! purges and writes name is the path in the form that routes are found by, so that they reach every spelling.

use crate::http::{FieldLines, choose};
use crate::store::{Coding, RouteId};
use foldhash::fast::RandomState;
use http::{HeaderName, header};
use std::hash::{BuildHasher, Hash, Hasher};

/// A `[[site.cache]]` route: its position among all routes of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheId(pub u16);

impl From<RouteId> for CacheId {
    fn from(id: RouteId) -> Self {
        // Ids of routes are of 16 bits.
        Self(id.index() as u16)
    }
}

impl CacheId {
    /// Position among all routes.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// The port of an authority, with its colon; empty: it has none.
pub fn port(authority: &[u8]) -> &[u8] {
    let colon = authority.iter().rposition(|&b| b == b':');
    colon
        .map(|at| &authority[at..])
        .filter(|port| port[1..].iter().all(u8::is_ascii_digit))
        .unwrap_or_default()
}

/// An authority without its port.
pub fn host(authority: &[u8]) -> &[u8] {
    &authority[..authority.len() - port(authority).len()]
}

/// An authority without the port that `http` implies (RFC 9110, 4.2.1 and 4.2.3). An empty port is that one, too.
pub fn without_default_port(authority: &[u8]) -> &[u8] {
    match port(authority) {
        b":" | b":80" => host(authority),
        _ => authority,
    }
}

/// What a request asks for, borrowed from it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The route of its path.
    pub route: CacheId,
    /// Value of `Host`, [without the default port](without_default_port). Its case does not matter.
    pub authority: &'a [u8],
    /// The path, as sent.
    pub path: &'a [u8],
    /// What follows the first `?`.
    pub query: Option<&'a [u8]>,
}

impl Asked<'_> {
    /// The hash that resources are found by. Clients choose what is hashed, so the state has to be a secret.
    pub fn hash(&self, state: &RandomState) -> u64 {
        let mut hasher = state.build_hasher();
        self.route.hash(&mut hasher);
        for chunk in self.authority.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            word.make_ascii_lowercase();
            hasher.write_u64(u64::from_le_bytes(word));
        }
        hasher.write(self.path);
        if let Some(query) = self.query {
            hasher.write_u8(b'?');
            hasher.write(query);
        }
        hasher.finish()
    }

    /// The same, to be kept.
    pub fn to_key(self) -> Key {
        let mut target = self.path.to_vec();
        if let Some(query) = self.query {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        Key {
            route: self.route,
            authority: self.authority.to_ascii_lowercase().into(),
            target: target.into(),
            path: self.path.len(),
        }
    }
}

/// What resources are kept under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    route: CacheId,
    authority: Box<[u8]>,
    target: Box<[u8]>,
    /// Length of the path in `target`.
    path: usize,
}

impl Key {
    /// Whether this is the key of `asked`.
    pub fn is(&self, asked: &Asked<'_>) -> bool {
        let (path, query) = self.target.split_at(self.path);
        self.route == asked.route
            && path == asked.path
            && query.strip_prefix(b"?") == asked.query
            && self.authority.eq_ignore_ascii_case(asked.authority)
    }

    /// The same, borrowed.
    pub fn asked(&self) -> Asked<'_> {
        let (path, query) = self.target.split_at(self.path);
        Asked {
            route: self.route,
            authority: &self.authority,
            path,
            query: query.strip_prefix(b"?"),
        }
    }

    /// The route.
    pub fn route(&self) -> CacheId {
        self.route
    }

    /// Value of `Host`, in lower case and without the default port.
    pub fn authority(&self) -> &[u8] {
        &self.authority
    }

    /// Path and query, as sent.
    pub fn target(&self) -> &[u8] {
        &self.target
    }

    /// The path, as sent.
    pub fn path(&self) -> &[u8] {
        &self.target[..self.path]
    }

    /// Bytes on the heap.
    pub fn size(&self) -> usize {
        self.authority.len() + self.target.len()
    }
}

/// The value of one request field that an answer depends on (RFC 9111, 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Its name.
    pub name: HeaderName,
    /// Its lines, joined; of `Accept-Encoding` only whether gzip is wanted, which is all that the origin is ever asked.
    /// `None`: the request does not have it.
    pub value: Option<Box<[u8]>>,
}

impl Selector {
    /// What a request with `fields` has of `name`.
    pub fn of(name: &HeaderName, fields: FieldLines<'_>) -> Self {
        let value = match name == header::ACCEPT_ENCODING {
            true => Some(coding(fields).into()),
            false => {
                let lines: Vec<&[u8]> = fields.all(name.as_str()).collect();
                (!lines.is_empty()).then(|| lines.join(&b", "[..]).into())
            }
        };
        Self {
            name: name.clone(),
            value,
        }
    }

    /// Whether a request with `fields` has the same.
    pub fn matches(&self, fields: FieldLines<'_>) -> bool {
        if self.name == header::ACCEPT_ENCODING {
            return self.value.as_deref() == Some(coding(fields));
        }
        let mut lines = fields.all(self.name.as_str());
        let (first, mut rest) = match (lines.next(), self.value.as_deref()) {
            (Some(first), Some(value)) => (first, value),
            (first, value) => return first.is_none() && value.is_none(),
        };
        match rest.strip_prefix(first) {
            Some(behind) => rest = behind,
            None => return false,
        }
        for line in lines {
            match rest
                .strip_prefix(b", ")
                .and_then(|rest| rest.strip_prefix(line))
            {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
        rest.is_empty()
    }
}

/// The one coding that a client's `Accept-Encoding` comes to. An origin that would send brotli sends gzip, which nearly
/// every client that takes the one takes too: two variants at most for all clients.
pub fn coding(fields: FieldLines<'_>) -> &'static [u8] {
    let gzip = choose(fields.all("accept-encoding"), std::iter::once(Coding::Gzip)).is_some();
    if gzip { b"gzip" } else { b"identity" }
}

#[cfg(test)]
mod tests;
