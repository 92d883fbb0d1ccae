//! Why something did not take the fast path. Each enum is one kind; each variant is its metric label and log word.

use crate::http::Status;

/// Why the bytes at the start of a request are not a request head that can be answered.
///
/// What RFC 9112 calls invalid or ambiguous is never guessed at: two readers that guess differently are how requests
/// are smuggled (RFC 9112, 11.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeadError {
    /// The first line is not method, one space, target, one space, version (RFC 9112, 3).
    RequestLine,
    /// No method is that long (RFC 9112, 3).
    MethodTooLong,
    /// The target is in none of the four forms, or not in the one its method needs (RFC 9112, 3.2).
    Target,
    /// The target is over the limit (RFC 9112, 3).
    TargetTooLong,
    /// A major version other than 1 (RFC 9110, 15.6.6).
    Version,
    /// A line feed without carriage return.
    BareLf,
    /// An empty field name, one with a character that is no token, or space before the colon (RFC 9112, 5.1).
    FieldName,
    /// A field value with NUL, bare CR or another control character (RFC 9110, 5.5).
    FieldValue,
    /// A line that begins with space: a folded value (RFC 9112, 5.2).
    Folding,
    /// HTTP/1.1 without `Host` (RFC 9112, 3.2).
    HostMissing,
    /// Several `Host` fields, or one that is no host (RFC 9112, 3.2).
    HostInvalid,
    /// `Content-Length` is no number, too large, or repeated (RFC 9110, 8.6).
    ContentLength,
    /// `Transfer-Encoding` does not end in exactly one `chunked`, or comes with HTTP/1.0 (RFC 9112, 6.1 and 6.3).
    TransferEncoding,
    /// `Transfer-Encoding` together with `Content-Length` (RFC 9112, 6.3).
    LengthAndEncoding,
    /// The head is over the limit.
    TooLarge,
}

impl HeadError {
    /// Every variant; a variant's position is its [`index`](Self::index).
    pub const ALL: [Self; 15] = [
        Self::RequestLine,
        Self::MethodTooLong,
        Self::Target,
        Self::TargetTooLong,
        Self::Version,
        Self::BareLf,
        Self::FieldName,
        Self::FieldValue,
        Self::Folding,
        Self::HostMissing,
        Self::HostInvalid,
        Self::ContentLength,
        Self::TransferEncoding,
        Self::LengthAndEncoding,
        Self::TooLarge,
    ];

    /// Position in [`ALL`](Self::ALL), for arrays of counters.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Metric label and log word.
    pub fn label(self) -> &'static str {
        match self {
            Self::RequestLine => "bad_request_line",
            Self::MethodTooLong => "method_too_long",
            Self::Target => "bad_target",
            Self::TargetTooLong => "target_too_long",
            Self::Version => "bad_version",
            Self::BareLf => "bare_lf",
            Self::FieldName => "bad_field_name",
            Self::FieldValue => "bad_field_value",
            Self::Folding => "folded_field",
            Self::HostMissing => "host_missing",
            Self::HostInvalid => "bad_host",
            Self::ContentLength => "bad_content_length",
            Self::TransferEncoding => "bad_transfer_encoding",
            Self::LengthAndEncoding => "length_and_encoding",
            Self::TooLarge => "head_too_large",
        }
    }

    /// The answer when nobody else can judge the request.
    pub fn status(self) -> Status {
        match self {
            Self::MethodTooLong => Status::NotImplemented,
            Self::TargetTooLong => Status::UriTooLong,
            Self::Version => Status::VersionNotSupported,
            Self::TooLarge => Status::FieldsTooLarge,
            Self::RequestLine
            | Self::Target
            | Self::BareLf
            | Self::FieldName
            | Self::FieldValue
            | Self::Folding
            | Self::HostMissing
            | Self::HostInvalid
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::LengthAndEncoding => Status::BadRequest,
        }
    }
}

/// Why the fast path does not serve a request: the reason of a handoff, or of a refusal where nobody else answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotOurs {
    /// The head is invalid or ambiguous.
    Malformed(HeadError),
    /// A known method other than GET and HEAD.
    Method,
    /// A method that nobody registered.
    UnknownMethod,
    /// No route has the path.
    Path,
    /// The path has an escape that is none, or an escaped NUL.
    BadPath,
    /// The request has a body.
    Body,
    /// `Expect` (RFC 9110, 10.1.1).
    Expect,
    /// `Upgrade` (RFC 9110, 7.8).
    Upgrade,
    /// `If-Match` or `If-Unmodified-Since` does not hold (RFC 9110, 13.1). Never left to the server behind: it is about
    /// what is served here.
    Precondition,
    /// The object is over its route's `max_object`.
    ObjectTooLarge,
    /// A `[[site.cache]]` route that has not learned the answer.
    Cached,
    /// A `[[site.cache]]` route, and a request that no cache may answer: it has credentials, or a condition that is the
    /// origin's to judge (RFC 9111, 4.3.2).
    CacheBypass,
    /// A redirect to a directory would lose the request's query.
    RedirectQuery,
}

impl NotOurs {
    /// How many there are, with those of [`HeadError`].
    pub const COUNT: usize = HeadError::ALL.len() + Self::PLAIN.len();

    const PLAIN: [Self; 12] = [
        Self::Method,
        Self::UnknownMethod,
        Self::Path,
        Self::BadPath,
        Self::Body,
        Self::Expect,
        Self::Upgrade,
        Self::Precondition,
        Self::ObjectTooLarge,
        Self::Cached,
        Self::RedirectQuery,
        Self::CacheBypass,
    ];

    /// Every reason, in the order of [`index`](Self::index).
    pub fn all() -> impl Iterator<Item = Self> {
        HeadError::ALL
            .into_iter()
            .map(Self::Malformed)
            .chain(Self::PLAIN)
    }

    /// A number below [`COUNT`](Self::COUNT), for arrays of counters.
    pub fn index(self) -> usize {
        let plain = match self {
            Self::Malformed(error) => return error.index(),
            Self::Method => 0,
            Self::UnknownMethod => 1,
            Self::Path => 2,
            Self::BadPath => 3,
            Self::Body => 4,
            Self::Expect => 5,
            Self::Upgrade => 6,
            Self::Precondition => 7,
            Self::ObjectTooLarge => 8,
            Self::Cached => 9,
            Self::RedirectQuery => 10,
            Self::CacheBypass => 11,
        };
        HeadError::ALL.len() + plain
    }

    /// Metric label and log word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed(error) => error.label(),
            Self::Method => "method",
            Self::UnknownMethod => "unknown_method",
            Self::Path => "path",
            Self::BadPath => "bad_path",
            Self::Body => "body",
            Self::Expect => "expect",
            Self::Upgrade => "upgrade",
            Self::Precondition => "precondition",
            Self::ObjectTooLarge => "object_too_large",
            Self::Cached => "cache_miss",
            Self::CacheBypass => "cache_bypass",
            Self::RedirectQuery => "redirect_query",
        }
    }
}

/// Why the cache does not keep what its origin answered, or has not asked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotStored {
    /// A status that is not kept (RFC 9111, 3).
    Status,
    /// A part of a representation (RFC 9111, 3.3).
    Partial,
    /// `no-store` (RFC 9111, 5.2.2.5).
    NoStore,
    /// `private` (RFC 9111, 5.2.2.7).
    Private,
    /// `no-cache` (RFC 9111, 5.2.2.4): it would have to be validated before each use.
    NoCache,
    /// `Set-Cookie`: it is for one client (RFC 9111, 7.3).
    SetCookie,
    /// `Vary: *`, or one that cannot be read (RFC 9111, 4.1).
    VaryAny,
    /// The request had `Authorization`, and the answer does not say that it is for all (RFC 9111, 3.5).
    Authorization,
    /// Nobody says how long it is fresh (RFC 9111, 4.2).
    NoLifetime,
    /// It was stale when it came, and may not be served so (RFC 9111, 4.2.4).
    Stale,
    /// It is over its route's `max_object`.
    TooLarge,
    /// It has more variants than are kept of one resource.
    Variants,
    /// Its head cannot be sent on.
    BadHead,
    /// Its URL cannot be asked for: it has bytes that no client may send (RFC 9112, 3.2).
    Target,
    /// It was purged while it was fetched.
    Purged,
    /// An unsafe request for it came before, or while it was fetched: the answer may be of before (RFC 9111, 4.4).
    Written,
    /// The origin could not be reached, did not answer in time, or broke off.
    Unreachable,
    /// The origin failed: a status of 500, 502, 503 or 504 (RFC 5861, 4).
    OriginError,
    /// As many fetches as may be are waiting for this origin.
    Busy,
    /// The fetch has panicked, which is a fault of sidestep's own.
    Panicked,
}

impl NotStored {
    /// Every variant; a variant's position is its [`index`](Self::index).
    pub const ALL: [Self; 20] = [
        Self::Status,
        Self::Partial,
        Self::NoStore,
        Self::Private,
        Self::NoCache,
        Self::SetCookie,
        Self::VaryAny,
        Self::Authorization,
        Self::NoLifetime,
        Self::Stale,
        Self::TooLarge,
        Self::Variants,
        Self::BadHead,
        Self::Target,
        Self::Purged,
        Self::Written,
        Self::Unreachable,
        Self::OriginError,
        Self::Busy,
        Self::Panicked,
    ];

    /// Position in [`ALL`](Self::ALL), for arrays of counters.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Metric label and log word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Partial => "partial",
            Self::NoStore => "no_store",
            Self::Private => "private",
            Self::NoCache => "no_cache",
            Self::SetCookie => "set_cookie",
            Self::VaryAny => "vary_any",
            Self::Authorization => "authorization",
            Self::NoLifetime => "no_lifetime",
            Self::Stale => "stale",
            Self::TooLarge => "too_large",
            Self::Variants => "variants",
            Self::BadHead => "bad_head",
            Self::Target => "bad_target",
            Self::Purged => "purged",
            Self::Written => "written",
            Self::Unreachable => "unreachable",
            Self::OriginError => "origin_error",
            Self::Busy => "busy",
            Self::Panicked => "panicked",
        }
    }
}

/// Why the kernel did not get a connection that should have been its own: its request is answered with 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotTaken {
    /// Nobody listens at the address and port.
    NoListener,
    /// The kernel does not take connections, or not one like this.
    Refused,
    /// The server did not make room for it in time.
    TooLate,
    /// As many are under way to the kernel as may be at once.
    NoRoom,
}

impl NotTaken {
    /// Every variant.
    pub const ALL: [Self; 4] = [Self::NoListener, Self::Refused, Self::TooLate, Self::NoRoom];

    /// Metric label and log word.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoListener => "no_listener",
            Self::Refused => "refused",
            Self::TooLate => "too_late",
            Self::NoRoom => "no_room",
        }
    }
}

/// What became of a request, as it is counted for its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The fast path answered it.
    Served,
    /// The fast path answered it with what is no longer fresh: while that is fetched anew, or because its origin fails.
    Stale,
    /// It was left to the kernel's server.
    Left(NotOurs),
    /// It was refused: nobody else answers there, or nobody took it.
    Refused(NotOurs),
}

impl Fate {
    /// How many there are.
    pub const COUNT: usize = 2 + 2 * NotOurs::COUNT;

    /// Every fate, in the order of [`index`](Self::index).
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Served, Self::Stale]
            .into_iter()
            .chain(NotOurs::all().map(Self::Left))
            .chain(NotOurs::all().map(Self::Refused))
    }

    /// A number below [`COUNT`](Self::COUNT), for arrays of counters.
    pub fn index(self) -> usize {
        match self {
            Self::Served => 0,
            Self::Stale => 1,
            Self::Left(why) => 2 + why.index(),
            Self::Refused(why) => 2 + NotOurs::COUNT + why.index(),
        }
    }

    /// Metric label and log word.
    pub fn label(self) -> String {
        match self {
            Self::Served => "served".into(),
            Self::Stale => "stale".into(),
            Self::Left(why) => format!("left_{}", why.label()),
            Self::Refused(why) => format!("refused_{}", why.label()),
        }
    }
}

/// How a connection that went through the proxy has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyEnd {
    /// Client and server have ended it.
    Finished,
    /// The client reset it or has vanished.
    ClientReset,
    /// The server reset it.
    ServerReset,
    /// The server was gone before it was given anything: 503.
    Unavailable,
    /// The daemon ended, and closed it in order, between two exchanges.
    Drained,
    /// The daemon ended, and reset it within an exchange.
    Cut,
    /// It could not be watched: no memory, or too many are.
    Unwatched,
}

impl ProxyEnd {
    /// Every variant; a variant's position is its number.
    pub const ALL: [Self; 7] = [
        Self::Finished,
        Self::ClientReset,
        Self::ServerReset,
        Self::Unavailable,
        Self::Drained,
        Self::Cut,
        Self::Unwatched,
    ];

    /// Metric label and log word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::ClientReset => "client_reset",
            Self::ServerReset => "server_reset",
            Self::Unavailable => "unavailable",
            Self::Drained => "drained",
            Self::Cut => "cut",
            Self::Unwatched => "unwatched",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn indices_count_up_and_labels_differ() {
        let indices: Vec<usize> = NotOurs::all().map(NotOurs::index).collect();
        assert_eq!(indices, (0..NotOurs::COUNT).collect::<Vec<_>>());
        let labels: HashSet<&str> = NotOurs::all().map(NotOurs::label).collect();
        assert_eq!(labels.len(), NotOurs::COUNT);
        let indices: Vec<usize> = Fate::all().map(Fate::index).collect();
        assert_eq!(indices, (0..Fate::COUNT).collect::<Vec<_>>());
        let labels: HashSet<String> = Fate::all().map(Fate::label).collect();
        assert_eq!(labels.len(), Fate::COUNT);
    }
}
