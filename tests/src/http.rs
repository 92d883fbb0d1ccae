//! A small HTTP/1.1 client that keeps every byte it got, for tests that compare answers byte by byte.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// One answer, as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Status line and fields, without the empty line; CRLF kept.
    pub head: String,
    /// The body, by Content-Length or out of its chunks.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of the only field `name`, compared without case.
    ///
    /// # Panics
    /// When the field is there twice.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().skip(1).filter_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        let first = values.next();
        assert_eq!(values.next(), None, "field {name} twice in:\n{}", self.head);
        first
    }
}

/// A client connection.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Uses `stream`, with the time-outs set on it.
    pub fn new(stream: TcpStream) -> Self {
        Self {
            reader: BufReader::new(stream),
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// Sends a GET with `Host: test` and reads the answer.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))?;
        self.answer()
    }

    /// Reads one answer; its body is as long as Content-Length says, or comes in chunks.
    ///
    /// # Errors
    /// The connection's, `UnexpectedEof` when it ends early, `InvalidData` when it is not an HTTP/1 answer.
    pub fn answer(&mut self) -> io::Result<Answer> {
        self.read_answer(true)
    }

    /// Reads the answer to a HEAD request: no body, whatever Content-Length says.
    ///
    /// # Errors
    /// As [`Client::answer`].
    pub fn answer_to_head(&mut self) -> io::Result<Answer> {
        self.read_answer(false)
    }

    /// Reads `length` bytes, as they are.
    pub fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads until the server closes.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    fn read_answer(&mut self, with_body: bool) -> io::Result<Answer> {
        let mut head = String::new();
        loop {
            let start = head.len();
            if self.reader.read_line(&mut head)? == 0 {
                let what = format!("closed after {head:?}");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
            }
            match &head[start..] {
                "\r\n" => break,
                line if line.ends_with("\r\n") => {}
                line => return Err(invalid(&format!("line without CRLF: {line:?}"))),
            }
        }
        head.truncate(head.len() - 2);
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| invalid(&format!("not a status line: {head:?}")))?;
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        if with_body {
            let chunked = answer
                .field("transfer-encoding")
                .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
            answer.body = match answer.field("content-length") {
                None if chunked => self.chunks()?,
                None => Vec::new(),
                Some(length) => {
                    let parsed = length.parse();
                    let length = parsed.map_err(|_| invalid(&format!("length {length:?}")))?;
                    self.bytes(length)?
                }
            };
        }
        Ok(answer)
    }

    /// A body in chunks (RFC 9112 section 7.1), without extensions and trailers.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut size = String::new();
            self.reader.read_line(&mut size)?;
            let parsed = size
                .strip_suffix("\r\n")
                .and_then(|digits| usize::from_str_radix(digits, 16).ok());
            let length = parsed.ok_or_else(|| invalid(&format!("chunk size {size:?}")))?;
            body.extend(self.bytes(length)?);
            if self.bytes(2)? != b"\r\n" {
                return Err(invalid("a chunk without CRLF behind it"));
            }
            if length == 0 {
                return Ok(body);
            }
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
