//! The only policy file: what is served, handed over, refused.

use crate::http::{self, Body, Flags, Head, Method, Selection, Status, Target, Verdict};
use crate::reason::{HeadError, NotOurs};
use crate::store::{Form, Found, ResponseId, RouteId, Snapshot};
use crate::worker::Now;
use sidestep_config::Fallback;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Answer with this response.
    Serve {
        /// The response.
        response: ResponseId,
        /// What of it.
        form: Form,
        /// It was learned from an origin, and is no longer fresh.
        stale: bool,
    },
    /// Leave it, and everything behind it on the connection, to the kernel.
    HandOff(NotOurs),
    /// Answer with a status of our own.
    Refuse(Refusal),
}

/// An answer of our own to what nobody serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its status.
    pub status: Status,
    /// The connection must be closed behind it, because it is not known where the next request begins.
    pub close: bool,
    /// False for HEAD: the head alone.
    pub body: bool,
    /// Why.
    pub reason: NotOurs,
}

/// Decides about a request, and tells the route that its path belongs to, whatever the decision. With
/// [`Fallback::None`] the decision is never [`Decision::HandOff`].
pub fn decide(
    snapshot: &Snapshot,
    head: &Head<'_>,
    fallback: Fallback,
    now: Now,
) -> (RouteId, Decision) {
    let (route, found) = match head.target {
        Target::Resource { path, .. } => snapshot.find(head.host, path),
        Target::Authority(_) | Target::Asterisk => (RouteId::NONE, Found::Missing),
    };
    let decision = match judge(snapshot, head, route, found, fallback, now) {
        Ok((response, form, stale)) => Decision::Serve {
            response,
            form,
            stale,
        },
        Err(reason) => match (fallback, reason) {
            (Fallback::None, _) | (_, NotOurs::Precondition) => {
                Decision::Refuse(refuse(reason, Some(head)))
            }
            (Fallback::Kernel, _) => Decision::HandOff(reason),
        },
    };
    // RFC 9111, 4.4, before the server can see it.
    if found == Found::Cached
        && !head.method.is_safe()
        && let (Decision::HandOff(_), Target::Resource { path, .. }) = (&decision, head.target)
    {
        snapshot.caches().note_write(route.into(), path, now);
    }
    (route, decision)
}

/// Decides about what is no request. With [`Fallback::Kernel`] the server behind judges it as it would without us.
pub fn decide_invalid(error: HeadError, fallback: Fallback) -> Decision {
    let reason = NotOurs::Malformed(error);
    match fallback {
        Fallback::Kernel => Decision::HandOff(reason),
        Fallback::None => Decision::Refuse(refuse(reason, None)),
    }
}

/// The refusal of what would be handed over if there were anybody to hand it to. `head` is the request's, unless it
/// has none.
pub fn refuse(reason: NotOurs, head: Option<&Head<'_>>) -> Refusal {
    let status = match reason {
        NotOurs::Malformed(error) => error.status(),
        NotOurs::Method => Status::MethodNotAllowed,
        NotOurs::Path | NotOurs::RedirectQuery => Status::NotFound,
        NotOurs::BadPath => Status::BadRequest,
        NotOurs::Body => Status::ContentTooLarge,
        NotOurs::Expect => Status::ExpectationFailed,
        NotOurs::Precondition => Status::PreconditionFailed,
        NotOurs::UnknownMethod | NotOurs::Upgrade | NotOurs::ObjectTooLarge => {
            Status::NotImplemented
        }
        NotOurs::Cached | NotOurs::CacheBypass => Status::ServiceUnavailable,
    };
    Refusal {
        status,
        // A body is not read here, so what follows the head is not the next request.
        close: head.is_none_or(|head| head.body != Body::None),
        body: head.is_none_or(|head| head.method != Method::Head),
        reason,
    }
}

/// The refusal of what the kernel should have got, and did not: the fault is not the client's.
pub fn unserved(reason: NotOurs, head: Option<&Head<'_>>) -> Refusal {
    let refusal = refuse(reason, head);
    match reason {
        // Nobody could have answered it.
        NotOurs::Malformed(_) => refusal,
        _ => Refusal {
            status: Status::ServiceUnavailable,
            ..refusal
        },
    }
}

/// What may answer a request of `route` that should have got an answer from the kernel's server, and did not.
pub fn rescue(
    snapshot: &Snapshot,
    route: RouteId,
    head: &Head<'_>,
    now: Now,
) -> Option<(ResponseId, Form)> {
    let id = snapshot.rescue(route, head, now)?;
    select(snapshot, head, id, now.unix).ok()
}

fn judge(
    snapshot: &Snapshot,
    head: &Head<'_>,
    route: RouteId,
    found: Found,
    fallback: Fallback,
    now: Now,
) -> Result<(ResponseId, Form, bool), NotOurs> {
    match head.method {
        Method::Get | Method::Head => {}
        // The server behind knows what it can do.
        Method::Options if fallback == Fallback::None => {}
        Method::Other => return Err(NotOurs::UnknownMethod),
        Method::Post
        | Method::Put
        | Method::Delete
        | Method::Connect
        | Method::Options
        | Method::Trace
        | Method::Patch => return Err(NotOurs::Method),
    }
    if head.flags.has(Flags::EXPECT) && (fallback == Fallback::Kernel || !expects_only_100(head)) {
        return Err(NotOurs::Expect);
    }
    if head.body != Body::None {
        return Err(NotOurs::Body);
    }
    // Nobody is obliged to take up an offer to upgrade (RFC 9110, 7.8), but the server behind may want to.
    if fallback == Fallback::Kernel && head.flags.has(Flags::UPGRADE) {
        return Err(NotOurs::Upgrade);
    }
    if head.method == Method::Options {
        return options(snapshot, head.target, found).map(|(id, form)| (id, form, false));
    }
    let Target::Resource { query, .. } = head.target else {
        return Err(NotOurs::Malformed(HeadError::Target));
    };
    match found {
        Found::Response(id) => {
            select(snapshot, head, id, now.unix).map(|(id, form)| (id, form, false))
        }
        // The server behind may keep the query.
        Found::Redirect(_) if fallback == Fallback::Kernel && query.is_some() => {
            Err(NotOurs::RedirectQuery)
        }
        Found::Redirect(id) => Ok((id, Form::whole(head.method != Method::Head), false)),
        Found::TooLarge => Err(NotOurs::ObjectTooLarge),
        Found::Cached => {
            let (id, stale) = snapshot.learned(route, head, now)?;
            select(snapshot, head, id, now.unix).map(|(id, form)| (id, form, stale))
        }
        Found::Missing => Err(NotOurs::Path),
        Found::BadPath => Err(NotOurs::BadPath),
    }
}

/// Whether nothing is expected but a word before content is sent. Where there is no content, none is owed (RFC 9110,
/// 10.1.1).
fn expects_only_100(head: &Head<'_>) -> bool {
    head.fields
        .all("expect")
        .all(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// What can be done with the server as a whole, or with what is at a path (RFC 9110, 9.3.7): the same with all there is.
fn options(
    snapshot: &Snapshot,
    target: Target<'_>,
    found: Found,
) -> Result<(ResponseId, Form), NotOurs> {
    match (target, found) {
        (Target::Resource { .. }, Found::Missing) => Err(NotOurs::Path),
        (Target::Resource { .. }, Found::BadPath) => Err(NotOurs::BadPath),
        (Target::Resource { .. } | Target::Authority(_) | Target::Asterisk, _) => {
            let id = snapshot.refusal(RouteId::NONE, Status::NoContent);
            Ok((id, Form::Full))
        }
    }
}

/// Which representation of the resource `id` goes out, and what of it: first the coding, as conditions are about the
/// representation that it names, then conditions, then the range, in the order of RFC 9110, 13.2.2.
fn select(
    snapshot: &Snapshot,
    head: &Head<'_>,
    id: ResponseId,
    now: u32,
) -> Result<(ResponseId, Form), NotOurs> {
    let id = if head.flags.has(Flags::ACCEPT_ENCODING) {
        negotiate(snapshot, head, id)
    } else {
        id
    };
    let whole = Form::whole(head.method != Method::Head);
    let status = snapshot.status(id);
    // RFC 9110, 13.2.1 and 14.2: other answers are as they are without.
    if !head.flags.has(Flags::SELECTING) || !(200..300).contains(&status) {
        return Ok((id, whole));
    }
    let validators = snapshot.validators(id);
    match http::evaluate(head, &validators, now) {
        Verdict::Holds => {}
        Verdict::NotModified => return Ok((id, Form::NotModified)),
        Verdict::Failed => return Err(NotOurs::Precondition),
    }
    if !head.flags.has(Flags::RANGE)
        || head.method != Method::Get
        || status != 200
        || !http::range_applies(head, &validators, now)
    {
        return Ok((id, whole));
    }
    let form = match http::select(head.fields.all("range"), snapshot.content_len(id)) {
        Selection::Whole => whole,
        Selection::Part { start, end } => Form::Part { start, end },
        Selection::Unsatisfiable => Form::Unsatisfiable,
    };
    Ok((id, form))
}

/// The variant of `id` that `Accept-Encoding` asks for (RFC 9110, 12.5.3); `id` itself if that is none.
fn negotiate(snapshot: &Snapshot, head: &Head<'_>, id: ResponseId) -> ResponseId {
    let variants = snapshot.variants(id);
    if variants.is_empty() {
        return id;
    }
    let offered = variants.iter().map(|&(coding, _)| coding);
    let chosen = http::choose(head.fields.all("accept-encoding"), offered);
    chosen.map_or(id, |at| variants[at].1)
}

#[cfg(test)]
mod tests;
