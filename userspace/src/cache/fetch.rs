//! Asks an origin for one URL.
//!
//! The request is the cache's own, not a client's passed on: it has the client's `Host` and target, the fields that the
//! answer is kept under, and nothing else of it; no `Via`, no `X-Forwarded-For`. Redirects are not followed: they are
//! answers.

use super::answer::Got;
use super::asking::{Fetch, FetchError};
use super::overlay::Learned;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sidestep_config::Origin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long an origin may take to accept a connection. It is on this host or beside it.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a whole fetch may take. An application that takes longer for one answer is better asked by who waits for
/// it; shorter, and the slow pages, which need it most, are never learned.
const FETCH: Duration = Duration::from_secs(30);

/// How long an idle connection to an origin is kept. Servers close theirs after five seconds and more; one that is
/// closed just then costs a fetch.
const IDLE: Duration = Duration::from_secs(4);

/// Bounds an answer's head in bytes. A stored one has to fit 64 KiB.
const HEAD: usize = 64 << 10;

/// Connections to origins.
#[derive(Clone)]
pub struct Fetcher {
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Default for Fetcher {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_buf_size(HEAD)
            .build(connector);
        Self { client }
    }
}

impl Fetcher {
    /// Asks.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self, fetch: &Fetch) -> Result<Got, FetchError> {
        match tokio::time::timeout(FETCH, self.ask(fetch)).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::Unreachable),
        }
    }

    async fn ask(&self, fetch: &Fetch) -> Result<Got, FetchError> {
        let request = request(fetch).ok_or(FetchError::NotAsked)?;
        let asked = wall();
        let answer = self.client.request(request).await.map_err(|e| {
            log::debug!("{}: {e}", Shown(&fetch.origin));
            FetchError::Unreachable
        })?;
        let answered = wall();
        let (head, body) = answer.into_parts();
        let limit = usize::try_from(fetch.max_object).unwrap_or(usize::MAX);
        let body = Limited::new(body, limit).collect().await.map_err(|e| {
            match e.is::<LengthLimitError>() {
                true => FetchError::TooLarge,
                // RFC 9111, 3.3: what is cut off is not stored.
                false => FetchError::Unreachable,
            }
        })?;
        Ok(Got {
            asked,
            answered,
            status: head.status.as_u16(),
            fields: head.headers,
            body: body.to_bytes().into(),
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "ages count from when an origin answers, off the data path"
)]
fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

struct Shown<'a>(&'a Origin);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}:{}", self.0.host, self.0.port)
    }
}

/// The request; `None`: its target is not one that can be asked for.
fn request(fetch: &Fetch) -> Option<Request<Empty<Bytes>>> {
    let Origin { host, port } = &fetch.origin;
    let uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(Authority::try_from(format!("{host}:{port}")).ok()?)
        .path_and_query(PathAndQuery::try_from(fetch.key.target()).ok()?)
        .build()
        .ok()?;
    // The origin has to see what is kept under: no reader of the target may have changed it.
    let same = uri.path_and_query()?.as_str().as_bytes() == fetch.key.target();
    let mut request = Request::get(uri);
    let fields = request.headers_mut().filter(|_| same)?;
    fields.insert(
        header::HOST,
        HeaderValue::from_bytes(fetch.key.authority()).ok()?,
    );
    for selector in &fetch.selectors {
        if let Some(value) = &selector.value {
            fields.insert(&selector.name, HeaderValue::from_bytes(value).ok()?);
        }
    }
    if let Some(stored) = &fetch.stored {
        validate(stored, fields);
    }
    request.body(Empty::new()).ok()
}

/// RFC 9111, 4.3.1.
fn validate(stored: &Learned, fields: &mut http::HeaderMap) {
    let validators = stored.response.validators();
    if let Some(tag) = validators
        .etag
        .and_then(|tag| HeaderValue::from_bytes(tag).ok())
    {
        fields.insert(header::IF_NONE_MATCH, tag);
    }
    if let Some(seconds) = validators.last_modified {
        let date = UNIX_EPOCH + Duration::from_secs(seconds.into());
        if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(date)) {
            fields.insert(header::IF_MODIFIED_SINCE, date);
        }
    }
}
