//! The only policy file: what is served, handed over, refused.

use crate::http::{Body, Flags, Head, Method, Status, Target};
use crate::reason::{HeadError, NotOurs};
use crate::store::{Form, Found, ResponseId, RouteId, Snapshot};
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
pub fn decide(snapshot: &Snapshot, head: &Head<'_>, fallback: Fallback) -> (RouteId, Decision) {
    let (route, found) = match head.target {
        Target::Resource { path, .. } => snapshot.find(head.host, path),
        Target::Authority(_) | Target::Asterisk => (RouteId::NONE, Found::Missing),
    };
    let decision = match judge(snapshot, head, found, fallback) {
        Ok(response) => Decision::Serve {
            response,
            form: Form::whole(head.method != Method::Head),
        },
        Err(reason) => match fallback {
            Fallback::Kernel => Decision::HandOff(reason),
            Fallback::None => Decision::Refuse(refuse(reason, Some(head))),
        },
    };
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
        NotOurs::IfMatch => Status::PreconditionFailed,
        NotOurs::IfNoneMatchAny => Status::NotModified,
        NotOurs::UnknownMethod | NotOurs::Upgrade | NotOurs::ObjectTooLarge => {
            Status::NotImplemented
        }
        NotOurs::Cached => Status::ServiceUnavailable,
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

fn judge(
    snapshot: &Snapshot,
    head: &Head<'_>,
    found: Found,
    fallback: Fallback,
) -> Result<ResponseId, NotOurs> {
    match head.method {
        Method::Get | Method::Head => {}
        Method::Other => return Err(NotOurs::UnknownMethod),
        Method::Post
        | Method::Put
        | Method::Delete
        | Method::Connect
        | Method::Options
        | Method::Trace
        | Method::Patch => return Err(NotOurs::Method),
    }
    let Target::Resource { query, .. } = head.target else {
        return Err(NotOurs::Malformed(HeadError::Target));
    };
    if head.flags.has(Flags::EXPECT) {
        return Err(NotOurs::Expect);
    }
    if head.body != Body::None {
        return Err(NotOurs::Body);
    }
    // Nobody is obliged to take up an offer to upgrade (RFC 9110, 7.8), but the server behind may want to.
    if fallback == Fallback::Kernel && head.flags.has(Flags::UPGRADE) {
        return Err(NotOurs::Upgrade);
    }
    match found {
        Found::Response(id) => precondition(snapshot.status(id), head.flags).map_or(Ok(id), Err),
        // The server behind may keep the query.
        Found::Redirect(_) if fallback == Fallback::Kernel && query.is_some() => {
            Err(NotOurs::RedirectQuery)
        }
        Found::Redirect(id) => Ok(id),
        Found::TooLarge => Err(NotOurs::ObjectTooLarge),
        Found::Cached => Err(NotOurs::Cached),
        Found::Missing => Err(NotOurs::Path),
        Found::BadPath => Err(NotOurs::BadPath),
    }
}

/// The precondition that keeps a response with `status` from being sent, if any (RFC 9110, 13.2).
///
/// Responses here have no validators, so no entity tag of the client's is the current one, and dates and ranges of
/// `If-Range` do not apply.
fn precondition(status: u16, flags: Flags) -> Option<NotOurs> {
    if !(200..300).contains(&status) {
        return None;
    }
    if flags.has(Flags::IF_MATCH) {
        return Some(NotOurs::IfMatch);
    }
    flags
        .has(Flags::IF_NONE_MATCH_ANY)
        .then_some(NotOurs::IfNoneMatchAny)
}

#[cfg(test)]
mod tests;
