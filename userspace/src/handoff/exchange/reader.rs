//! One direction of HTTP/1.1, message by message. Heads are kept until they are whole, bodies are counted.

use memchr::memchr;

use super::framing::Body;

/// Bytes of a head, or of a line of a body in chunks. Servers take some tens of kilobytes; what is longer is not
/// understood, so that nobody can make us keep more.
const LINE_MOST: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Reader {
    part: Part,
    /// What has come of a head or a line.
    line: Vec<u8>,
    /// A head's first line is in it, whole.
    first: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Part {
    #[default]
    Head,
    /// Bytes that are left of a body.
    Body(u64),
    ChunkSize,
    /// Bytes that are left of a chunk.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    /// The fields behind the last chunk.
    Trailer,
    ToTheEnd,
}

/// What the bytes taken have led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// Nothing yet.
    More,
    /// The first line of a head is whole.
    FirstLine,
    /// A head is whole; [`Reader::begin`] or [`Reader::skip`] comes next.
    Head,
    /// A message with a body is whole.
    End,
    /// It cannot be understood.
    Lost,
}

impl Reader {
    /// No message is under way.
    pub(super) fn between(&self) -> bool {
        matches!(self.part, Part::Head) && self.line.is_empty()
    }

    /// Part of a head has come.
    pub(super) fn in_head(&self) -> bool {
        matches!(self.part, Part::Head) && !self.line.is_empty()
    }

    /// The head, or what has come of it.
    pub(super) fn head(&self) -> &[u8] {
        &self.line
    }

    /// The head was read, and this follows.
    pub(super) fn begin(&mut self, body: Body) {
        self.line = Vec::new();
        self.first = false;
        self.part = match body {
            Body::Length(0) => Part::Head,
            Body::Length(left) => Part::Body(left),
            Body::Chunked => Part::ChunkSize,
            Body::ToTheEnd => Part::ToTheEnd,
        };
    }

    /// The head was read, and stands for nothing.
    pub(super) fn skip(&mut self) {
        self.line.clear();
        self.first = false;
    }

    /// Takes some of `bytes`, which are not empty, up to the next event.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, Event) {
        match self.part {
            Part::Body(left) => self.count(bytes, left, Part::Body, Part::Head, Event::End),
            Part::Chunk(left) => self.count(bytes, left, Part::Chunk, Part::ChunkEnd, Event::More),
            Part::ToTheEnd => (bytes.len(), Event::More),
            Part::Head | Part::ChunkSize | Part::ChunkEnd | Part::Trailer => {
                let end = memchr(b'\n', bytes).map(|at| at + 1);
                let used = end.unwrap_or(bytes.len());
                if self.line.len() + used > LINE_MOST {
                    return (used, Event::Lost);
                }
                self.line.extend_from_slice(&bytes[..used]);
                match end {
                    Some(_) => (used, self.line_end()),
                    None => (used, Event::More),
                }
            }
        }
    }

    fn count(
        &mut self,
        bytes: &[u8],
        left: u64,
        part: fn(u64) -> Part,
        then: Part,
        event: Event,
    ) -> (usize, Event) {
        let used = left.min(bytes.len() as u64);
        if used < left {
            self.part = part(left - used);
            return (used as usize, Event::More);
        }
        self.part = then;
        (used as usize, event)
    }

    /// A line is whole.
    fn line_end(&mut self) -> Event {
        let line = self.line.as_slice();
        match self.part {
            // Empty lines in front of a request are nothing (RFC 9112, 2.2).
            Part::Head if is_empty(line) => {
                self.line.clear();
                Event::More
            }
            Part::Head if line.ends_with(b"\n\r\n") || line.ends_with(b"\n\n") => Event::Head,
            Part::Head => match std::mem::replace(&mut self.first, true) {
                false => Event::FirstLine,
                true => Event::More,
            },
            Part::ChunkSize => {
                let Ok(httparse::Status::Complete((_, size))) = httparse::parse_chunk_size(line)
                else {
                    return Event::Lost;
                };
                self.line.clear();
                self.part = match size {
                    0 => Part::Trailer,
                    size => Part::Chunk(size),
                };
                Event::More
            }
            Part::ChunkEnd => {
                if !is_empty(line) {
                    return Event::Lost;
                }
                self.line.clear();
                self.part = Part::ChunkSize;
                Event::More
            }
            Part::Trailer => {
                let last = is_empty(line);
                self.line.clear();
                if !last {
                    return Event::More;
                }
                self.line = Vec::new();
                self.part = Part::Head;
                Event::End
            }
            Part::Body(_) | Part::Chunk(_) | Part::ToTheEnd => Event::More,
        }
    }
}

fn is_empty(line: &[u8]) -> bool {
    matches!(line, b"\r\n" | b"\n")
}
