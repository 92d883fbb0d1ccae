//! From an origin's answer to one that is stored.

use super::overlay::{Learned, Times};
use super::rules::{self, Answered, Asked, Keep, Policy};
use crate::reason::NotStored;
use crate::store::{Parts, Response, Source};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use sidestep_config::CacheRoute;
use std::time::{Duration, UNIX_EPOCH};
use tcp_lite::Instant;

/// How long before an answer is stale it is fetched anew, if it is asked for then: a tenth of its lifetime, and at most
/// this. Shorter, and a slow origin does not make it in time; longer, and it is asked more often than needed.
const AHEAD: Duration = Duration::from_secs(5);

/// Bounds an answer's tags, and the length of each: with hundreds each on a million answers they would take more memory
/// than the answers. Those that are over are not kept: a purge by them does not find the answer, so it is not stored.
const TAGS: usize = 128;
const TAG: usize = 256;

/// What carries tags: the first for Cloudflare's and others' caches, the second for Fastly's. They are for the cache and
/// go no further.
const TAG_FIELDS: [HeaderName; 2] = [
    HeaderName::from_static("cache-tag"),
    HeaderName::from_static("surrogate-key"),
];

/// An origin's whole answer to a GET.
#[derive(Clone, Debug)]
pub struct Got {
    /// When it was asked, since 1970-01-01 00:00:00 UTC.
    pub asked: Duration,
    /// When the head of the answer came.
    pub answered: Duration,
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub fields: HeaderMap,
    /// Its body; whole.
    pub body: Vec<u8>,
}

impl From<&CacheRoute> for Policy {
    fn from(route: &CacheRoute) -> Self {
        Self {
            ttl: route.ttl,
            stale_while_revalidate: route.stale_while_revalidate,
            stale_if_error: route.stale_if_error,
            negative_ttl: route.negative_ttl,
            public: route.public,
        }
    }
}

/// What the rules say about it. Fetches have no `Authorization`.
pub fn judge(got: &Got, policy: &Policy) -> Result<Keep, NotStored> {
    let asked = Asked {
        at: got.asked,
        authorization: false,
    };
    let answered = Answered {
        at: got.answered,
        status: got.status,
        fields: &got.fields,
    };
    rules::judge(asked, answered, policy)
}

/// When an answer may be used whose fetch was begun at `begun` and has ended `now`.
pub fn times(begun: Instant, now: Instant, keep: &Keep) -> Times {
    let fresh = now + keep.fresh;
    let ahead = (keep.fresh / 10).min(AHEAD);
    Times {
        asked: begun,
        refresh: now + (keep.fresh - ahead),
        fresh,
        stale: fresh + keep.revalidate,
        failed: fresh + keep.if_error,
    }
}

/// The stored answer with what a 304 says about it (RFC 9111, 3.2 and 4.3.4).
///
/// # Errors
/// The 304 is about something else.
pub fn freshened(got: Got, stored: &Learned) -> Result<Got, NotStored> {
    let tag = got.fields.get(header::ETAG);
    let own = stored.response.validators().etag;
    if tag.is_some_and(|tag| Some(weak(tag.as_bytes())) != own.map(weak)) {
        return Err(NotStored::Status);
    }
    let mut fields = HeaderMap::new();
    for (name, value) in stored.response.fields() {
        let name = HeaderName::from_bytes(name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) else {
            return Err(NotStored::BadHead);
        };
        fields.append(name, value);
    }
    for tag in &stored.tags {
        if let Ok(tag) = HeaderValue::from_str(tag) {
            fields.append(&TAG_FIELDS[0], tag);
        }
    }
    // What was so far said of how long to keep it does not count any more, whether it is said anew or not: its age least
    // of all.
    fields.remove(header::AGE);
    fields.remove(header::DATE);
    for name in got.fields.keys() {
        if *name == header::CONTENT_LENGTH || *name == header::CONTENT_ENCODING {
            continue;
        }
        fields.remove(name);
        for value in got.fields.get_all(name) {
            fields.append(name, value.clone());
        }
    }
    if TAG_FIELDS.iter().any(|name| got.fields.contains_key(name)) {
        for name in TAG_FIELDS {
            if !got.fields.contains_key(&name) {
                fields.remove(&name);
            }
        }
    }
    Ok(Got {
        status: stored.response.status(),
        fields,
        body: stored.response.body().to_vec(),
        ..got
    })
}

/// An entity tag without its mark of weakness (RFC 9110, 8.8.3.2).
fn weak(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The tags of an answer: in `Cache-Tag` separated by commas, in `Surrogate-Key` by spaces.
pub fn tags(fields: &HeaderMap) -> Vec<Box<str>> {
    let mut tags: Vec<Box<str>> = TAG_FIELDS
        .iter()
        .flat_map(|name| fields.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ' ', '\t']))
        .filter(|tag| !tag.is_empty())
        .map(Into::into)
        .collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// The answer as it is sent from the store.
///
/// # Errors
/// Its head is not one, or too large; or it has too many tags to be found by them.
pub fn response(got: &Got, age: Duration) -> Result<Response, NotStored> {
    let tags = tags(&got.fields);
    if tags.len() > TAGS || tags.iter().any(|tag| tag.len() > TAG) {
        return Err(NotStored::BadHead);
    }
    let connection: Vec<&str> = got
        .fields
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    // RFC 9111, 3.1: what is for one connection or for proxies is not stored. The store leaves out more of it.
    let stays = |name: &HeaderName| {
        !connection
            .iter()
            .any(|own| name.as_str().eq_ignore_ascii_case(own))
            && !TAG_FIELDS.contains(name)
            && !matches!(
                name.as_str(),
                "surrogate-control"
                    | "proxy-authorization"
                    | "proxy-authentication-info"
                    | "trailer"
            )
    };
    let mut fields: Vec<(&str, &[u8])> = got
        .fields
        .iter()
        .filter(|(name, _)| stays(name))
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    // RFC 9110, 6.6.1: who keeps an answer without `Date` has to add it.
    let date = httpdate::fmt_http_date(UNIX_EPOCH + got.answered);
    if !got.fields.contains_key(header::DATE) {
        fields.push(("date", date.as_bytes()));
    }
    let born = got.answered.saturating_sub(age).as_secs();
    Response::new(&Parts {
        status: got.status,
        source: Source::Learned {
            born: u32::try_from(born).unwrap_or(u32::MAX),
        },
        fields: &fields,
        body: &got.body,
    })
    .map_err(|_| NotStored::BadHead)
}
