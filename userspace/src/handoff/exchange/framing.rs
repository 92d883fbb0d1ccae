//! What follows a head (RFC 9112, 6.3).

use httparse::{EMPTY_HEADER, Header, Status};

/// Fields in one head. Servers take about a hundred; a head with more is not understood.
const FIELDS: usize = 128;

/// How a message goes on behind its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the connection ends.
    ToTheEnd,
}

/// A request, as far as its answer's framing depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// The answer has no body.
    Head,
    /// The connection may become a tunnel.
    Connect,
    /// Anything else.
    Other,
}

/// An answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// Another follows (RFC 9110, 15.2).
    Interim,
    /// The one that was asked for.
    Final(Body),
}

/// Reads a whole request head; `None`: it is not plainly one of HTTP/1.
pub(super) fn request(head: &[u8]) -> Option<(Asked, Body)> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(Status::Complete(_)) = request.parse(head) else {
        return None;
    };
    let asked = match request.method? {
        "HEAD" => Asked::Head,
        "CONNECT" => Asked::Connect,
        _ => Asked::Other,
    };
    match length(request.headers)? {
        None => Some((asked, Body::Length(0))),
        Some(Body::ToTheEnd) => None,
        Some(body) => Some((asked, body)),
    }
}

/// Reads a whole response head; `None`: it is not plainly one of HTTP/1, or what follows is something else.
pub(super) fn response(head: &[u8], asked: Option<Asked>) -> Option<Answer> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let Ok(Status::Complete(_)) = response.parse(head) else {
        return None;
    };
    let none = Answer::Final(Body::Length(0));
    match (response.code?, asked) {
        (101, _) => None,
        (100..=199, _) => Some(Answer::Interim),
        (200..=299, Some(Asked::Connect)) => None,
        (204 | 304, _) | (_, Some(Asked::Head)) => Some(none),
        (_, Some(Asked::Connect | Asked::Other) | None) => {
            let body = length(response.headers)?.unwrap_or(Body::ToTheEnd);
            Some(Answer::Final(body))
        }
    }
}

/// Whether a status line is not that of an interim answer.
pub(super) fn is_final(line: &[u8]) -> bool {
    line.strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(2))
        .is_some_and(|first| (b'2'..=b'5').contains(first))
}

/// What the fields say of the body: `Some(None)` if nothing, `None` if they contradict each other.
fn length(fields: &[Header<'_>]) -> Option<Option<Body>> {
    let mut found = None;
    for field in fields {
        let name = field.name;
        let body = if name.eq_ignore_ascii_case("content-length") {
            let digits = field.value;
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            Body::Length(std::str::from_utf8(digits).ok()?.parse().ok()?)
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            match field.value.eq_ignore_ascii_case(b"chunked") {
                true => Body::Chunked,
                false => Body::ToTheEnd,
            }
        } else {
            continue;
        };
        if found.replace(body).is_some() {
            return None;
        }
    }
    Some(found)
}
