//! HTTP/1.1 request heads: borrowed bytes in, `Complete | Partial | Invalid` out.
//!
//! Strict: what RFC 9112 calls invalid or ambiguous is [`Parsed::Invalid`], never mended. The same bytes give the same
//! result however they arrive in pieces.

mod accept;
mod authority;
mod conditional;
mod date;
mod fields;
mod range;
mod request_line;
mod scan;
mod status;
#[cfg(test)]
mod tests;

pub use accept::choose;
pub use conditional::{Verdict, evaluate, range_applies};
pub use fields::FieldLines;
pub use range::{Selection, select};
pub use status::{ALLOW, Status};

use crate::reason::HeadError;
use fields::list;

/// Bounds a method's length in bytes. The longest registered one has 17; with less, a known method would be refused as
/// unknown; with more, garbage is recognised later.
pub const MAX_METHOD: usize = 32;

/// Bounds a request target's length in bytes. RFC 9112, 3 asks for 8000 at least; more would only let longer paths
/// miss.
pub const MAX_TARGET: usize = 8000;

/// What a buffer begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'b> {
    /// A whole head.
    Complete {
        /// The head.
        head: Head<'b>,
        /// Its length in bytes, with empty lines in front of it and the one that ends it.
        len: usize,
    },
    /// Not yet a whole head.
    Partial {
        /// How many bytes hold no end of the head: give this back with the next call on the same, longer buffer.
        scanned: usize,
    },
    /// Not a request that can be answered; nothing behind it can be trusted to be one.
    Invalid(HeadError),
}

/// A request head, borrowed from the bytes received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'b> {
    /// The method.
    pub method: Method,
    /// The target.
    pub target: Target<'b>,
    /// The version.
    pub version: Version,
    /// The host asked for, as sent, without port: of the target if it has one, else of the field `Host` (RFC 9112,
    /// 3.2.2). Empty when none was given.
    pub host: &'b [u8],
    /// The connection goes on after the answer as far as the client is concerned (RFC 9112, 9.3).
    pub persistent: bool,
    /// What follows the head.
    pub body: Body,
    /// Fields seen.
    pub flags: Flags,
    /// All fields.
    pub fields: FieldLines<'b>,
}

/// A method; names are case-sensitive (RFC 9110, 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of RFC 9110, 9.3 and RFC 5789")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other token.
    Other,
}

impl Method {
    /// It asks for no change (RFC 9110, 9.2.1). What is not known may well.
    pub fn is_safe(self) -> bool {
        match self {
            Self::Get | Self::Head | Self::Options | Self::Trace => true,
            Self::Post | Self::Put | Self::Delete | Self::Connect | Self::Patch | Self::Other => {
                false
            }
        }
    }

    fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }
}

/// What a request is for (RFC 9112, 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'b> {
    /// Origin-form or absolute-form.
    Resource {
        /// As sent: neither decoded nor freed of dot segments; begins with `/`.
        path: &'b [u8],
        /// What follows the first `?`.
        query: Option<&'b [u8]>,
    },
    /// Authority-form, of CONNECT.
    Authority(&'b [u8]),
    /// Asterisk-form, of OPTIONS.
    Asterisk,
}

/// The version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1, or a later minor version
    Http11,
}

/// What follows a head (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing, or a `Content-Length` of 0.
    None,
    /// This many bytes, not 0.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// A set of fields that a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(u16);

impl Flags {
    /// `Expect`; not in HTTP/1.0.
    pub const EXPECT: Self = Self(1);
    /// `Upgrade`; not in HTTP/1.0.
    pub const UPGRADE: Self = Self(1 << 1);
    /// `Range`.
    pub const RANGE: Self = Self(1 << 2);
    /// Any of `If-Match`, `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since`, `If-Range`.
    pub const CONDITIONAL: Self = Self(1 << 3);
    /// `Authorization`.
    pub const AUTHORIZATION: Self = Self(1 << 4);
    /// `Cookie`.
    pub const COOKIE: Self = Self(1 << 5);
    /// `Accept-Encoding`.
    pub const ACCEPT_ENCODING: Self = Self(1 << 6);

    /// What tells one user from another.
    pub const CREDENTIALS: Self = Self(Self::AUTHORIZATION.0 | Self::COOKIE.0);

    /// Any field that may make something else of a 200 than the whole.
    pub const SELECTING: Self = Self(Self::RANGE.0 | Self::CONDITIONAL.0);

    /// Whether any of `fields` is there.
    pub fn has(self, fields: Self) -> bool {
        self.0 & fields.0 != 0
    }

    fn set(&mut self, fields: Self) {
        self.0 |= fields.0;
    }

    fn clear(&mut self, fields: Self) {
        self.0 &= !fields.0;
    }
}

/// Parses the request head that `buf` begins with.
///
/// `scanned` is 0 for a buffer not seen before, else what the last [`Parsed::Partial`] said about the same bytes.
/// `max_head` bounds the head in bytes, empty lines in front of it included.
///
/// Allocates nothing. Each byte is searched for the end of the head once, and looked at once more when it is there.
pub fn parse(buf: &[u8], scanned: usize, max_head: usize) -> Parsed<'_> {
    let seen = &buf[..buf.len().min(max_head)];
    let start = empty_lines(seen);
    let line = &seen[start..];
    // Recognised at once: no line end may ever come behind what is not HTTP.
    match line {
        [] | [b'\r'] => {}
        _ => {
            if let Err(error) = request_line::check_method(line) {
                return Parsed::Invalid(error);
            }
        }
    }
    match scan::head_end(seen, start, scanned.min(seen.len())) {
        scan::HeadEnd::At(len) => match read(&seen[start..len - 2]) {
            Ok(head) => Parsed::Complete { head, len },
            Err(error) => Parsed::Invalid(error),
        },
        scan::HeadEnd::BareLf => Parsed::Invalid(HeadError::BareLf),
        scan::HeadEnd::Missing if buf.len() < max_head => Parsed::Partial { scanned: buf.len() },
        scan::HeadEnd::Missing if line.contains(&b'\n') || line.is_empty() => {
            Parsed::Invalid(HeadError::TooLarge)
        }
        scan::HeadEnd::Missing => Parsed::Invalid(HeadError::TargetTooLong),
    }
}

/// Length of the empty lines that `buf` begins with; RFC 9112, 2.2 wants them ignored.
fn empty_lines(buf: &[u8]) -> usize {
    let (lines, _) = buf.as_chunks::<2>();
    2 * lines.iter().take_while(|line| *line == b"\r\n").count()
}

/// Reads `head`: whole lines, without the empty one.
fn read(head: &[u8]) -> Result<Head<'_>, HeadError> {
    let (line, lines) = request_line::parse(head)?;
    let mut fields = fields::Fields::default();
    let all = fields.read(lines)?;
    let framing = fields.finish(line.version)?;
    if framing.host.is_none() && line.version == Version::Http11 {
        return Err(HeadError::HostMissing);
    }
    Ok(Head {
        method: line.method,
        target: line.target,
        version: line.version,
        host: line.host.or(framing.host).unwrap_or_default(),
        persistent: framing.persistent,
        body: framing.body,
        flags: framing.flags,
        fields: all,
    })
}
