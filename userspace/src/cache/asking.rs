//! What the cache asks origins: from a worker's word to a fetch, and what a fetch can fail by.

use super::key::{Key, Selector};
use super::overlay::Learned;
use super::routes::Caches;
use crate::http::FieldLines;
use http::{HeaderName, header};
use sidestep_config::Origin;
use std::sync::Arc;

/// What a worker tells: there was a request that could not be answered, or whose answer is due.
#[derive(Clone, Debug)]
pub struct Told {
    /// The configuration that it was made under.
    pub caches: Arc<Caches>,
    /// What it asked for.
    pub key: Key,
    /// Its field lines.
    pub fields: Box<[u8]>,
}

impl Told {
    /// The same, to be looked at.
    pub fn fields(&self) -> FieldLines<'_> {
        FieldLines::of_checked(&self.fields)
    }
}

/// Names a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FetchId(pub u64);

/// What the origin is to be asked.
#[derive(Clone)]
pub struct Fetch {
    /// Its name.
    pub id: FetchId,
    /// The server.
    pub origin: Origin,
    /// The URL.
    pub key: Arc<Key>,
    /// The request fields that its answer is known to depend on, and `Accept-Encoding`. No others are sent: what is not
    /// part of what an answer is kept under must not be able to change it.
    pub selectors: Box<[Selector]>,
    /// What is stored, to be asked whether it is still right.
    pub stored: Option<Arc<Learned>>,
    /// Largest body, in bytes.
    pub max_object: u64,
}

/// Why a fetch brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// No connection, no answer in time, or not all of it.
    Unreachable,
    /// The body is over the limit.
    TooLarge,
    /// The URL is none that can be asked for.
    NotAsked,
    /// It has panicked.
    Panicked,
}

/// What is sent of a request's fields, for an answer that depends on `names`.
pub fn selectors(names: &[HeaderName], fields: FieldLines<'_>) -> Box<[Selector]> {
    let coding = (!names.contains(&header::ACCEPT_ENCODING)).then_some(header::ACCEPT_ENCODING);
    let mut all: Vec<HeaderName> = names.iter().cloned().chain(coding).collect();
    all.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    all.iter().map(|name| Selector::of(name, fields)).collect()
}

/// What the request of `fetch` had of the fields that its answer depends on.
pub fn answered_selectors(vary: &[HeaderName], fetch: &Fetch) -> Box<[Selector]> {
    let sent = |name: &HeaderName| fetch.selectors.iter().find(|s| s.name == *name).cloned();
    vary.iter()
        .map(|name| {
            sent(name).unwrap_or_else(|| Selector {
                name: name.clone(),
                value: None,
            })
        })
        .collect()
}
