//! One response, laid out in advance.
//!
//! The fields stand in an order that lets every [`Form`](super::Form) take its own from one run of bytes:
//!
//! ```text
//! HTTP/1.1 200 OK            status_line
//! Server, Date               common: what a 416 has as well
//! ETag, Vary, …              kept: what a 304 has as well (RFC 9110, 15.4.5)
//! Content-Type, …            content: what a 206 has as well
//! Content-Length
//!                            fields of the moment (Age, Connection), then an empty line
//! body
//! ```

use super::date;
use std::num::NonZeroU32;
use std::time::UNIX_EPOCH;
use tcp_lite::wire::Sum;
use triomphe::ThinArc;

/// Head and body of a response in one allocation. A clone is another reference to it, so that a new snapshot shares
/// what did not change.
#[derive(Clone)]
pub struct Response(ThinArc<Layout, u8>);

/// Where things are in the bytes.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Length of the head with the empty line that ends it.
    pub(super) head: u32,
    last_modified: Option<NonZeroU32>,
    pub(super) clock: Clock,
    pub(super) status: u16,
    /// End of `Server` and `Date`.
    pub(super) common: u16,
    /// End of the fields of a 304.
    pub(super) kept: u16,
    /// Where `Content-Length` begins.
    pub(super) content: u16,
    etag: (u16, u16),
    /// Of what is in front of the fields of the moment, with zeros for a `Date` of ours.
    pub(super) front: Sum,
    /// Of what is behind them: the empty line and the body.
    pub(super) behind: Sum,
    /// Of both.
    pub(super) whole: Sum,
    pub(super) status_line: u8,
}

impl Layout {
    /// Where the fields of the moment go: in front of the empty line.
    #[inline]
    pub(super) fn moment(&self) -> usize {
        self.head as usize - 2
    }
}

/// What in a response changes with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// `Date`, which stands here.
    Date(u16),
    /// `Age`, counted from this second since 1970; `Date` is the origin's.
    Age(u32),
}

/// Whose response it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Ours: `Server` and `Date` are added.
    Own,
    /// An origin's, `Date` included. It goes out with an `Age` counted from `born`, in seconds since 1970-01-01
    /// 00:00:00 UTC: when it came, less the corrected_initial_age of RFC 9111, 4.2.3.
    Learned {
        /// See above.
        born: u32,
    },
}

/// What a response is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Its status code.
    pub status: u16,
    /// Whose it is.
    pub source: Source,
    /// Its fields. Those that are rendered for each request or belong to one connection only are left out: `Age`,
    /// `Content-Length`, and the hop-by-hop fields of RFC 9110, 7.6.1.
    pub fields: &'a [(&'a str, &'a [u8])],
    /// Its content; not looked at for a status that has none.
    pub body: &'a [u8],
}

/// Why a response cannot be laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The whole does not fit 32-bit offsets.
    #[error("it is over 4 GiB")]
    TooLong,
    /// The head does not fit 16-bit offsets.
    #[error("its head is over 64 KiB")]
    HeadTooLong,
    /// A field that would end its own line.
    #[error("a name or value of its fields is none")]
    BadField,
}

/// What a request can name the state of a resource by (RFC 9110, 8.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validators<'a> {
    /// The entity tag with its quotes, and `W/` if it is weak.
    pub etag: Option<&'a [u8]>,
    /// `Last-Modified`, in seconds since 1970-01-01 00:00:00 UTC.
    pub last_modified: Option<u32>,
}

/// Bounds what a rendering adds to the bytes here: status line, `Age`, `Connection`, `Content-Range` and
/// `Content-Length` at their longest are under 200 bytes. Too little would let an offset wrap.
const RENDERED: usize = 256;

/// What becomes of a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Dropped,
    Common,
    Kept,
    Content,
}

impl Class {
    fn of(name: &str) -> Self {
        const DROPPED: [&str; 11] = [
            "age",
            "connection",
            "content-length",
            "content-range",
            "keep-alive",
            "proxy-authenticate",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ];
        // RFC 9110, 15.4.5: of the fields that describe the content, a 304 has only those that guide a cache.
        const CONTENT: [&str; 9] = [
            "accept-ranges",
            "content-digest",
            "content-disposition",
            "content-encoding",
            "content-language",
            "content-md5",
            "content-type",
            "digest",
            "repr-digest",
        ];
        let is = |names: &[&str]| names.iter().any(|n| n.eq_ignore_ascii_case(name));
        match () {
            () if is(&DROPPED) => Self::Dropped,
            () if is(&["server", "date"]) => Self::Common,
            () if is(&CONTENT) => Self::Content,
            () => Self::Kept,
        }
    }
}

impl PartialEq for Response {
    /// Whether they are the same at all times.
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = (self.layout(), other.layout());
        (own.clock, own.head) == (others.clock, others.head) && self.bytes() == other.bytes()
    }
}

impl Response {
    /// Lays a response out.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn new(parts: &Parts<'_>) -> Result<Self, LayoutError> {
        let &Parts {
            status,
            source,
            fields,
            body,
        } = parts;
        let phrase = http::StatusCode::from_u16(status)
            .ok()
            .and_then(|s| s.canonical_reason())
            .unwrap_or_default();
        let mut bytes = format!("HTTP/1.1 {status} {phrase}\r\n").into_bytes();
        let status_line = u8::try_from(bytes.len()).map_err(|_| LayoutError::HeadTooLong)?;
        let clock = match source {
            Source::Learned { born } => Clock::Age(born),
            Source::Own => {
                bytes.extend_from_slice(b"Server: sidestep\r\nDate: ");
                let at = bytes.len() as u16;
                bytes.extend_from_slice(&[b' '; date::LEN]);
                bytes.extend_from_slice(b"\r\n");
                Clock::Date(at)
            }
        };
        let mut etag = (0, 0);
        let mut last_modified = None;
        let mut write = |bytes: &mut Vec<u8>, class| {
            for &(name, value) in fields.iter().filter(|(name, _)| Class::of(name) == class) {
                check(name, value)?;
                bytes.extend_from_slice(name.as_bytes());
                bytes.extend_from_slice(b": ");
                let start = place(bytes)?;
                bytes.extend_from_slice(value);
                if name.eq_ignore_ascii_case("etag") {
                    etag = (start, place(bytes)?);
                }
                if name.eq_ignore_ascii_case("last-modified") {
                    last_modified = seconds(value);
                }
                bytes.extend_from_slice(b"\r\n");
            }
            place(bytes)
        };
        let common = write(&mut bytes, Class::Common)?;
        let kept = write(&mut bytes, Class::Kept)?;
        let content = write(&mut bytes, Class::Content)?;
        // RFC 9110, 15.3.5, 15.4.5 and 8.6: neither has content, and 204 must not state a length. The length that a 304
        // may state is that of the 200 it stands for, which is not known here.
        let has_content = !matches!(status, 204 | 304);
        let body = if has_content { body } else { b"" };
        if has_content {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        let head = u32::from(place(&bytes)?);
        u32::try_from(bytes.len() + body.len() + RENDERED).map_err(|_| LayoutError::TooLong)?;
        bytes.reserve_exact(body.len());
        bytes.extend_from_slice(body);
        if let Clock::Date(at) = clock {
            bytes[usize::from(at)..][..date::LEN].fill(0);
        }
        let (front, behind) = bytes.split_at(head as usize - 2);
        let layout = Layout {
            head,
            last_modified,
            clock,
            status,
            common,
            kept,
            content,
            etag,
            front: Sum::of(front),
            behind: Sum::of(behind),
            whole: Sum::of(&bytes),
            status_line,
        };
        Ok(Self(ThinArc::from_header_and_slice(layout, &bytes)))
    }

    #[inline]
    pub(super) fn layout(&self) -> &Layout {
        &self.0.header.header
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0.slice
    }

    /// Its status code.
    pub fn status(&self) -> u16 {
        self.layout().status
    }

    /// Its size in bytes, head and content.
    pub fn size(&self) -> usize {
        self.bytes().len()
    }

    /// Its fields as they were given, but for those that are rendered for each request.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let layout = self.layout();
        let lines = &self.bytes()[usize::from(layout.status_line)..usize::from(layout.content)];
        lines.split(|&b| b == b'\n').filter_map(|line| {
            let colon = line.iter().position(|&b| b == b':')?;
            let name = std::str::from_utf8(&line[..colon]).ok()?;
            Some((name, line[colon + 1..].trim_ascii()))
        })
    }

    /// Its content.
    pub fn body(&self) -> &[u8] {
        &self.bytes()[self.layout().head as usize..]
    }

    /// What it can be named by.
    pub fn validators(&self) -> Validators<'_> {
        let layout = self.layout();
        let (start, end) = layout.etag;
        Validators {
            etag: (start < end).then(|| &self.bytes()[usize::from(start)..usize::from(end)]),
            last_modified: layout.last_modified.map(NonZeroU32::get),
        }
    }
}

/// The place behind `bytes` of a head.
fn place(bytes: &[u8]) -> Result<u16, LayoutError> {
    u16::try_from(bytes.len()).map_err(|_| LayoutError::HeadTooLong)
}

/// RFC 9110, 5.1 and 5.5.
fn check(name: &str, value: &[u8]) -> Result<(), LayoutError> {
    let fits = http::HeaderName::from_bytes(name.as_bytes()).is_ok()
        && http::HeaderValue::from_bytes(value).is_ok();
    fits.then_some(()).ok_or(LayoutError::BadField)
}

/// The time of a `Last-Modified`. That of the very first second is none: trees that are built reproducibly stamp all
/// their files so, whatever is in them.
fn seconds(value: &[u8]) -> Option<NonZeroU32> {
    let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    NonZeroU32::new(u32::try_from(since.as_secs()).ok()?)
}
