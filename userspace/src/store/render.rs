//! The bytes of a response for one request.

use super::date;
use super::overlay::Layer;
use super::response::{Clock, Response};
use crate::http::{Head, Version};
use tcp_lite::wire::Sum;

/// Names a response of one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResponseId(pub(super) u32);

impl ResponseId {
    /// Whether it was learned from an origin.
    #[inline]
    pub fn is_learned(self) -> bool {
        Layer::of(self) == Some(Layer::Learned)
    }
}

/// A response as one request gets it. The same value always gives the same bytes, so that a retransmission can be
/// made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rendering {
    /// Which response.
    pub id: ResponseId,
    /// The time of the request, in seconds since 1970-01-01 00:00:00 UTC: the `Date`, or what the `Age` is counted to.
    pub date: u32,
    /// The field `Connection`.
    pub connection: ConnectionField,
    /// What of it.
    pub form: Form,
}

const _: () = assert!(size_of::<Rendering>() <= 24);

/// What of a response goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All.
    Full,
    /// The head alone, for HEAD. Also what HEAD with a range gets: ranges are defined for GET only (RFC 9110, 14.2).
    Head,
    /// 304, for GET and HEAD alike (RFC 9110, 15.4.5): the fields that guide a cache, no content.
    NotModified,
    /// 206 with a part of the content (RFC 9110, 15.3.7).
    Part {
        /// First byte.
        start: u32,
        /// Behind the last byte; `start < end <= content_len`.
        end: u32,
    },
    /// 416 with the length of the content (RFC 9110, 15.5.17).
    Unsatisfiable,
}

impl Form {
    /// The response itself, its head alone unless `body`.
    pub fn whole(body: bool) -> Self {
        if body { Self::Full } else { Self::Head }
    }

    /// The status code of this form of a response that has `status` itself.
    pub fn status(self, status: u16) -> u16 {
        match self {
            Self::Full | Self::Head => status,
            Self::NotModified => 304,
            Self::Part { .. } => 206,
            Self::Unsatisfiable => 416,
        }
    }
}

const NOT_MODIFIED: &[u8] = b"HTTP/1.1 304 Not Modified\r\n";
const PARTIAL: &[u8] = b"HTTP/1.1 206 Partial Content\r\n";
const UNSATISFIABLE: &[u8] = b"HTTP/1.1 416 Range Not Satisfiable\r\n";
/// The rest of a 416; its length is stated in it.
const UNSATISFIABLE_FIELDS: &[u8] =
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 26\r\n";
const UNSATISFIABLE_BODY: &[u8; 26] = b"416 Range Not Satisfiable\n";

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

impl Response {
    /// Length in bytes.
    pub(super) fn len(&self, rendering: &Rendering) -> u32 {
        let layout = self.layout();
        let line = usize::from(layout.status_line);
        let own = match rendering.form {
            Form::Full => self.bytes().len(),
            Form::Head => layout.head as usize,
            Form::NotModified => NOT_MODIFIED.len() + usize::from(layout.kept) - line + 2,
            Form::Part { start, end } => {
                let part = self.part(start, end).len();
                let own = PARTIAL.len() + usize::from(layout.content) - line + 2;
                own + self.part_fields(start, end).bytes().len() + part
            }
            Form::Unsatisfiable => {
                let own = UNSATISFIABLE.len() + usize::from(layout.common) - line + 2;
                let rest = UNSATISFIABLE_FIELDS.len() + UNSATISFIABLE_BODY.len();
                own + self.unsatisfied_range().bytes().len() + rest
            }
        };
        let age = match layout.clock {
            Clock::Date(_) => 0,
            Clock::Age(born) => age(rendering.date, born).bytes().len(),
        };
        // `Response::new` made sure that the sum fits.
        (own + age + rendering.connection.line().len()) as u32
    }

    /// Writes the bytes from `offset` to `buf` and gives the sum of `buf`; what is behind the end of the rendering stays
    /// as it is.
    #[inline]
    pub(super) fn fill(&self, rendering: &Rendering, offset: u32, buf: &mut [u8]) -> Sum {
        let layout = self.layout();
        if let Clock::Date(at) = layout.clock
            && offset == 0
            && buf.len() == self.bytes().len()
            && rendering.form == Form::Full
            && rendering.connection == ConnectionField::None
        {
            // What nearly every answer is: the whole of a response in one segment, copied with the sum that it was laid
            // out with.
            buf.copy_from_slice(self.bytes());
            let at = usize::from(at);
            let (_, behind) = buf.split_at_mut(at);
            let (place, _) = behind
                .split_first_chunk_mut()
                .expect("`Response::new` made room for it");
            return layout
                .whole
                .then(at, date::of_the_moment(rendering.date, place));
        }
        self.fill_other(rendering, offset, buf)
    }

    /// The same for any other rendering, and any part of it.
    #[inline(never)]
    fn fill_other(&self, rendering: &Rendering, offset: u32, buf: &mut [u8]) -> Sum {
        if offset == 0
            && let Clock::Age(born) = self.layout().clock
            && (rendering.form, rendering.connection) == (Form::Full, ConnectionField::None)
            && let Some(sum) = self.fill_aged(rendering.date, born, buf)
        {
            return sum;
        }
        self.fill_part(rendering, offset, buf);
        Sum::of(buf)
    }

    /// The whole of a learned response in one segment, copied with the sums that it was laid out with. `None`: it is of
    /// another length than `buf`.
    fn fill_aged(&self, date: u32, born: u32, buf: &mut [u8]) -> Option<Sum> {
        let layout = self.layout();
        let bytes = self.bytes();
        let cut = layout.moment();
        let age = age(date, born);
        let age = age.bytes();
        if buf.len() != bytes.len() + age.len() {
            return None;
        }
        let (front, rest) = buf.split_at_mut(cut);
        let (moment, behind) = rest.split_at_mut(age.len());
        front.copy_from_slice(&bytes[..cut]);
        moment.copy_from_slice(age);
        behind.copy_from_slice(&bytes[cut..]);
        let sum = layout.front.then(cut, Sum::of(age));
        Some(sum.then(cut + age.len(), layout.behind))
    }

    /// Writes any part of any form.
    fn fill_part(&self, rendering: &Rendering, offset: u32, buf: &mut [u8]) {
        let layout = self.layout();
        let bytes = self.bytes();
        let line = usize::from(layout.status_line);
        let mut out = Window {
            buf,
            offset: offset as usize,
            at: 0,
        };
        let status_line = match rendering.form {
            Form::Full | Form::Head => {
                let (fields, rest) = bytes.split_at(layout.moment());
                out.put(fields);
                self.moment(rendering, &mut out);
                out.put(if rendering.form == Form::Full {
                    rest
                } else {
                    &rest[..2]
                });
                &bytes[..line]
            }
            Form::NotModified => {
                out.put(NOT_MODIFIED);
                out.put(&bytes[line..usize::from(layout.kept)]);
                self.moment(rendering, &mut out);
                out.put(b"\r\n");
                NOT_MODIFIED
            }
            Form::Part { start, end } => {
                out.put(PARTIAL);
                out.put(&bytes[line..usize::from(layout.content)]);
                out.put(self.part_fields(start, end).bytes());
                self.moment(rendering, &mut out);
                out.put(b"\r\n");
                out.put(self.part(start, end));
                PARTIAL
            }
            Form::Unsatisfiable => {
                out.put(UNSATISFIABLE);
                out.put(&bytes[line..usize::from(layout.common)]);
                out.put(self.unsatisfied_range().bytes());
                out.put(UNSATISFIABLE_FIELDS);
                self.moment(rendering, &mut out);
                out.put(b"\r\n");
                out.put(UNSATISFIABLE_BODY);
                UNSATISFIABLE
            }
        };
        if let Clock::Date(at) = layout.clock {
            let at = usize::from(at) - line + status_line.len();
            if out.shows(at, date::LEN) {
                let mut text = [0; date::LEN];
                date::of_the_moment(rendering.date, &mut text);
                out.at = at;
                out.put(&text);
            }
        }
    }

    #[inline]
    fn moment(&self, rendering: &Rendering, out: &mut Window<'_>) {
        if let Clock::Age(born) = self.layout().clock {
            put_age(rendering.date, born, out);
        }
        out.put(rendering.connection.line());
    }

    /// A part of the content. Nothing can be asked for beyond it: see [`Form::Part`].
    fn part(&self, start: u32, end: u32) -> &[u8] {
        let part = self.body().get(start as usize..end as usize);
        debug_assert!(part.is_some_and(|part| !part.is_empty()));
        part.unwrap_or_default()
    }

    fn part_fields(&self, start: u32, end: u32) -> Text {
        let mut text = Text::default();
        text.push(b"Content-Range: bytes ");
        text.push_number(start);
        text.push(b"-");
        text.push_number(end.saturating_sub(1));
        text.push(b"/");
        text.push_number(self.body().len() as u32);
        text.push(b"\r\nContent-Length: ");
        text.push_number(self.part(start, end).len() as u32);
        text.push(b"\r\n");
        text
    }

    fn unsatisfied_range(&self) -> Text {
        let mut text = Text::default();
        text.push(b"Content-Range: bytes */");
        text.push_number(self.body().len() as u32);
        text.push(b"\r\n");
        text
    }
}

/// Apart, so that the answers that have none do not make room for it.
#[inline(never)]
fn put_age(now: u32, born: u32, out: &mut Window<'_>) {
    out.put(age(now, born).bytes());
}

/// RFC 9111, 5.1.
fn age(now: u32, born: u32) -> Text {
    let mut text = Text::default();
    text.push(b"Age: ");
    text.push_number(now.saturating_sub(born));
    text.push(b"\r\n");
    text
}

/// A few fields of the moment.
struct Text {
    /// Room for the longest: `Content-Range` and `Content-Length` with four numbers of ten digits take 83.
    bytes: [u8; 96],
    len: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            bytes: [0; 96],
            len: 0,
        }
    }
}

impl Text {
    fn push(&mut self, part: &[u8]) {
        self.bytes[self.len..][..part.len()].copy_from_slice(part);
        self.len += part.len();
    }

    fn push_number(&mut self, number: u32) {
        self.push(itoa::Buffer::new().format(number).as_bytes());
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A view of a whole that is put together part by part: `buf` stands at `offset` of it.
struct Window<'b> {
    buf: &'b mut [u8],
    offset: usize,
    /// Where the next part stands.
    at: usize,
}

impl Window<'_> {
    /// Copies what the next part has in common with the view.
    #[inline]
    fn put(&mut self, part: &[u8]) {
        let start = self.at.max(self.offset);
        let end = (self.at + part.len()).min(self.offset + self.buf.len());
        if start < end {
            self.buf[start - self.offset..end - self.offset]
                .copy_from_slice(&part[start - self.at..end - self.at]);
        }
        self.at += part.len();
    }

    /// Whether any of `len` bytes at `at` is in the view.
    fn shows(&self, at: usize, len: usize) -> bool {
        self.offset < at + len && self.offset + self.buf.len() > at
    }
}
