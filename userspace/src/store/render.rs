//! One response, rendered in advance, and its bytes for one request.

use super::date;
use crate::http::{Head, Version};

/// Names a response of one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResponseId(pub(super) u32);

/// A response as one request gets it. The same value always gives the same bytes, so that a retransmission can be
/// made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rendering {
    /// Which response.
    pub id: ResponseId,
    /// The `Date`, in seconds since 1970-01-01 00:00:00 UTC.
    pub date: u32,
    /// The field `Connection`.
    pub connection: ConnectionField,
    /// False for HEAD: the head alone, as it would be with the body.
    pub body: bool,
}

const _: () = assert!(size_of::<Rendering>() <= 16);

/// The field `Connection` of a response (RFC 9112, 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionField {
    /// None: HTTP/1.1 goes on by default.
    None,
    /// `close`: this response is the last one.
    Close,
    /// `keep-alive`: what an HTTP/1.0 client that asked for it waits for.
    KeepAlive,
}

impl ConnectionField {
    /// The field of the answer to `head`; `close` when the connection ends behind it for a reason of the server's.
    pub fn of(head: &Head<'_>, close: bool) -> Self {
        match (head.persistent && !close, head.version) {
            (false, _) => Self::Close,
            (true, Version::Http10) => Self::KeepAlive,
            (true, Version::Http11) => Self::None,
        }
    }

    fn line(self) -> &'static [u8] {
        match self {
            Self::None => b"",
            Self::Close => b"Connection: close\r\n",
            Self::KeepAlive => b"Connection: keep-alive\r\n",
        }
    }
}

/// The parts of a response that its head is made of.
pub(super) struct Parts<'a> {
    pub(super) status: u16,
    pub(super) content_type: &'a str,
    /// Name and value of one more field.
    pub(super) extra: Option<(&'static str, &'a str)>,
    pub(super) body: &'a [u8],
}

/// Head and body in one piece; the place of `Date` is filled in for each request.
pub(super) struct Response {
    bytes: Box<[u8]>,
    /// Length of the head with the empty line that ends it.
    head: u32,
    /// Where the date stands.
    date: u16,
    pub(super) status: u16,
}

impl Response {
    /// Renders `parts`; `None` if the whole is too long for 32-bit offsets.
    pub(super) fn render(parts: &Parts<'_>) -> Option<Self> {
        let &Parts {
            status,
            content_type,
            extra,
            body,
        } = parts;
        let phrase = http::StatusCode::from_u16(status)
            .ok()
            .and_then(|s| s.canonical_reason())
            .unwrap_or_default();
        let mut head = format!("HTTP/1.1 {status} {phrase}\r\nServer: sidestep\r\nDate: ");
        let date = u16::try_from(head.len()).ok()?;
        head.push_str("Thu, 01 Jan 1970 00:00:00 GMT\r\n");
        // RFC 9110, 15.3.5, 15.4.5 and 8.6: neither has content, and 204 must not state a length. The length that a 304
        // may state is that of the 200 it stands for, which is not known here.
        let has_content = !matches!(status, 204 | 304);
        if has_content {
            if status != 205 {
                head.push_str(&format!("Content-Type: {content_type}\r\n"));
            }
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        if let Some((name, value)) = extra {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let head_len = u32::try_from(head.len()).ok()?;
        let mut bytes = head.into_bytes();
        if has_content {
            bytes.extend_from_slice(body);
        }
        // With room for the longest field `Connection`.
        u32::try_from(bytes.len() + ConnectionField::KeepAlive.line().len()).ok()?;
        Some(Self {
            bytes: bytes.into_boxed_slice(),
            head: head_len,
            date,
            status,
        })
    }

    /// Length in bytes.
    pub(super) fn len(&self, rendering: &Rendering) -> u32 {
        let own = if rendering.body {
            self.bytes.len()
        } else {
            self.head as usize
        };
        // `render` made sure that the sum fits.
        (own + rendering.connection.line().len()) as u32
    }

    /// Writes the bytes from `offset` to `buf`; what is behind the end of the response stays as it is.
    pub(super) fn fill(&self, rendering: &Rendering, offset: u32, buf: &mut [u8]) {
        let offset = offset as usize;
        // The field `Connection` goes in front of the empty line.
        let (fields, rest) = self.bytes.split_at(self.head as usize - 2);
        let rest = if rendering.body { rest } else { &rest[..2] };
        let line = rendering.connection.line();
        copy_part(fields, 0, offset, buf);
        copy_part(line, fields.len(), offset, buf);
        copy_part(rest, fields.len() + line.len(), offset, buf);
        let date_at = usize::from(self.date);
        if offset < date_at + date::LEN && offset + buf.len() > date_at {
            copy_part(&date::imf_fixdate(rendering.date), date_at, offset, buf);
        }
    }
}

/// Copies what `part`, which stands at `at` in the whole, has in common with `buf`, which stands at `offset`.
fn copy_part(part: &[u8], at: usize, offset: usize, buf: &mut [u8]) {
    let start = at.max(offset);
    let end = (at + part.len()).min(offset + buf.len());
    if start < end {
        buf[start - offset..end - offset].copy_from_slice(&part[start - at..end - at]);
    }
}
