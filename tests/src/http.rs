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
    /// The body by Content-Length.
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

    /// Reads one answer; its body is as long as Content-Length says.
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
            let length = match answer.field("content-length") {
                None => 0,
                Some(length) => length
                    .parse()
                    .map_err(|_| invalid(&format!("Content-Length: {length}")))?,
            };
            answer.body.resize(length, 0);
            self.reader.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
