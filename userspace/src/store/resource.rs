//! What is served for one file, or one answer of the configuration: its representations.

use super::tree::File;
use super::{Coding, LayoutError, Parts, Response, Source, date, media};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sidestep_config::{Header, StaticRoute};
use xxhash_rust::xxh3::Xxh3;

/// A resource in all its representations.
pub struct Resource {
    /// In no coding.
    pub identity: Response,
    /// In other codings, the shortest first; none for most.
    pub variants: Vec<(Coding, Response)>,
}

const PLAIN_TEXT: (&str, &[u8]) = ("Content-Type", b"text/plain; charset=utf-8");

/// The representations of `file` in a tree of `route`, and of the same in the codings of `coded`. `now` is in seconds
/// since 1970-01-01 00:00:00 UTC.
///
/// # Errors
/// It is too long, or a field is not what the configuration checked.
pub(super) fn file(
    route: &StaticRoute,
    content_type: &str,
    file: &File,
    coded: &[(Coding, Vec<u8>)],
    now: u32,
) -> Result<Resource, LayoutError> {
    // RFC 9110, 8.8.2.1: never later than the answer. One of the first second is none, see `Validators`.
    let modified = file.modified.map(|at| date::imf_fixdate(at.min(now)));
    let render = |coding: Option<Coding>, body: &[u8]| {
        let etag = etag(content_type, coding, body);
        let mut fields: Vec<(&str, &[u8])> = vec![("ETag", etag.as_bytes())];
        if file.modified.is_some_and(|at| at > 0)
            && let Some(date) = &modified
        {
            fields.push(("Last-Modified", date));
        }
        // RFC 9110, 12.5.5: on all that could have been chosen, for a cache to know that there was a choice.
        if !coded.is_empty() {
            fields.push(("Vary", b"Accept-Encoding"));
        }
        fields.extend(custom(&route.headers));
        fields.push(("Content-Type", content_type.as_bytes()));
        if let Some(coding) = coding {
            fields.push(("Content-Encoding", coding.token().as_bytes()));
        }
        fields.push(("Accept-Ranges", b"bytes"));
        own(200, &fields, body)
    };
    let mut variants = Vec::with_capacity(coded.len());
    for (coding, body) in coded {
        variants.push((*coding, render(Some(*coding), body)?));
    }
    Ok(Resource {
        identity: render(None, &file.body)?,
        variants,
    })
}

/// The page of a 404: the file called `name` of a static route. It has no validators: no request can name the state of
/// what is not there.
pub(super) fn not_found(
    route: &StaticRoute,
    name: &[u8],
    body: &[u8],
) -> Result<Response, LayoutError> {
    let content_type = media::content_type(name, &route.charset, body);
    own(404, &[("Content-Type", content_type.as_bytes())], body)
}

/// An answer that is not a file. Its state can be named if it is a 200: others are not what a condition is about.
pub(super) fn answer(
    status: u16,
    content_type: &str,
    headers: &[Header],
    body: &[u8],
) -> Result<Response, LayoutError> {
    let etag = etag(content_type, None, body);
    let mut fields: Vec<(&str, &[u8])> = Vec::new();
    if status == 200 {
        fields.push(("ETag", etag.as_bytes()));
    }
    fields.extend(custom(headers));
    // RFC 9110, 15.3.5 and 15.3.6: neither has content that could have a type.
    if !matches!(status, 204 | 205) {
        fields.push(("Content-Type", content_type.as_bytes()));
    }
    own(status, &fields, body)
}

/// A redirect to `location`.
pub(super) fn redirect(location: &str) -> Result<Response, LayoutError> {
    let fields = [("Location", location.as_bytes()), PLAIN_TEXT];
    own(301, &fields, b"301 Moved Permanently\n")
}

/// A short answer of the fast path's own, with one more field.
pub(super) fn plain(
    status: u16,
    field: Option<(&str, &[u8])>,
    body: &str,
) -> Result<Response, LayoutError> {
    let mut fields = vec![PLAIN_TEXT];
    fields.extend(field);
    own(status, &fields, body.as_bytes())
}

fn own(status: u16, fields: &[(&str, &[u8])], body: &[u8]) -> Result<Response, LayoutError> {
    Response::new(&Parts {
        status,
        source: Source::Own,
        fields,
        body,
    })
}

fn custom(headers: &[Header]) -> impl Iterator<Item = (&str, &[u8])> {
    headers
        .iter()
        .map(|header| (header.name.as_str(), header.value.as_bytes()))
}

/// A strong entity tag (RFC 9110, 8.8.3): the same for the same content of the same type in the same coding, on every
/// host that serves it and after every start; for any other content it differs but for a chance of 2^-128. Who can write
/// the files could make two with one tag, and so keep clients from seeing a change of his own.
pub(super) fn etag(content_type: &str, coding: Option<Coding>, body: &[u8]) -> String {
    let mut hash = Xxh3::new();
    hash.update(content_type.as_bytes());
    hash.update(b"\n");
    hash.update(coding.map_or("", Coding::token).as_bytes());
    hash.update(b"\n");
    hash.update(body);
    let digest = hash.digest128().to_be_bytes();
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest))
}
