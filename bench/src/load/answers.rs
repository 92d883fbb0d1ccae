//! What the answers have to be.
//!
//! A head that is the same as the last one to the same request costs one comparison; any other is parsed. The first
//! answer to a path says what the others have to be, unless the caller did.

/// Longest head that is waited for, in bytes.
pub(crate) const MAX_HEAD: usize = 64 << 10;

/// What the head of an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its own length in bytes.
    pub(crate) len: u32,
    pub(crate) status: u16,
    /// Bytes of the body.
    pub(crate) body: u32,
    /// The connection ends behind it.
    pub(crate) last: bool,
}

/// Why an answer was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Its head has not come whole.
    Partial,
    /// It is no answer.
    Malformed,
    /// Nothing says how long the body is, or it is chunked.
    NoLength,
}

/// The answers to one path.
#[derive(Debug)]
pub(crate) struct Expected {
    /// HEAD: no answer has a body.
    bodiless: bool,
    status: u16,
    /// The last head and what it says.
    last: Vec<u8>,
    head: Option<Head>,
    /// The length of every body, and then the body itself, once known.
    len: Option<u32>,
    body: Option<Vec<u8>>,
    /// The body that is being learned.
    learning: Option<Vec<u8>>,
}

impl Expected {
    /// Answers with `status`, and with `body` if that is given.
    pub(crate) fn new(status: u16, bodiless: bool, body: Option<Vec<u8>>) -> Self {
        Self {
            bodiless,
            status,
            last: Vec::new(),
            head: None,
            len: body.as_ref().map(|body| body.len() as u32),
            body,
            learning: None,
        }
    }

    /// Reads the head at the start of `data`.
    #[inline]
    pub(crate) fn read(&mut self, data: &[u8]) -> Result<Head, Unread> {
        if let Some(head) = self.head
            && data.starts_with(&self.last)
        {
            return Ok(head);
        }
        let head = parse(data, self.bodiless)?;
        self.last.clear();
        self.last.extend_from_slice(&data[..head.len as usize]);
        self.head = Some(head);
        Ok(head)
    }

    /// Whether an answer with this head is right so far. The first that can be sets the length of all.
    #[inline]
    pub(crate) fn is_right(&mut self, head: Head) -> bool {
        head.status == self.status && head.body == *self.len.get_or_insert(head.body)
    }

    /// Whether bodies can be compared.
    #[inline]
    pub(crate) fn is_known(&self) -> bool {
        self.body.is_some()
    }

    /// Begins to learn the body; false if it is known or learned already.
    pub(crate) fn learn(&mut self) -> bool {
        let begins = self.body.is_none() && self.learning.is_none();
        if begins {
            self.learning = Some(Vec::new());
        }
        begins
    }

    /// The next bytes of the body that is learned; `left`: how many are missing behind them.
    pub(crate) fn learned(&mut self, data: &[u8], left: u32) {
        if let Some(body) = &mut self.learning {
            body.extend_from_slice(data);
            if left == 0 {
                self.body = self.learning.take();
            }
        }
    }

    /// The one that was learned from has ended too early.
    pub(crate) fn forget(&mut self) {
        self.learning = None;
    }

    /// Whether `data` is what the body has where `left` bytes are left behind it.
    #[inline]
    pub(crate) fn matches(&self, data: &[u8], left: u32) -> bool {
        self.body.as_ref().is_none_or(|body| {
            let end = body.len().saturating_sub(left as usize);
            body.get(end.saturating_sub(data.len())..end) == Some(data)
        })
    }
}

/// Parses a head (RFC 9112 4 and 6.3), as far as it matters where the body ends.
fn parse(data: &[u8], bodiless: bool) -> Result<Head, Unread> {
    const START: &[u8] = b"HTTP/1.";
    let seen = START.len().min(data.len());
    if data[..seen] != START[..seen] {
        return Err(Unread::Malformed);
    }
    let end = memchr::memmem::find(data, b"\r\n\r\n").ok_or(if data.len() > MAX_HEAD {
        Unread::Malformed
    } else {
        Unread::Partial
    })?;
    let text = std::str::from_utf8(&data[..end]).map_err(|_| Unread::Malformed)?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status: u16 = first
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .ok_or(Unread::Malformed)?;
    let mut length = None;
    let mut chunked = false;
    // What HTTP/1.0 does unless told otherwise.
    let mut last = first.starts_with("HTTP/1.0");
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Unread::Malformed)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse().map_err(|_| Unread::Malformed)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            last = if value.eq_ignore_ascii_case("close") {
                true
            } else {
                last && !value.eq_ignore_ascii_case("keep-alive")
            };
        }
    }
    let none = bodiless || status < 200 || status == 204 || status == 304;
    let body = match length {
        _ if none => 0,
        Some(length) if !chunked => length,
        _ => return Err(Unread::NoLength),
    };
    Ok(Head {
        len: end as u32 + 4,
        status,
        body,
        last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str, bodiless: bool) -> Result<(u16, u32, bool), Unread> {
        parse(text.as_bytes(), bodiless).map(|head| (head.status, head.body, head.last))
    }

    #[test]
    fn heads_say_where_the_body_ends() {
        let ok = "HTTP/1.1 200 OK\r\n";
        for (text, bodiless, want) in [
            (
                format!("{ok}Content-Length: 12\r\n\r\nbody"),
                false,
                Ok((200, 12, false)),
            ),
            (
                format!("{ok}CONTENT-LENGTH:12 \r\nConnection: Close\r\n\r\n"),
                false,
                Ok((200, 12, true)),
            ),
            (
                format!("{ok}Content-Length: 12\r\n\r\n"),
                true,
                Ok((200, 0, false)),
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n".into(),
                false,
                Ok((200, 1, true)),
            ),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n".into(),
                false,
                Ok((200, 1, false)),
            ),
            (
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n".into(),
                false,
                Ok((304, 0, false)),
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\n".into(),
                false,
                Ok((100, 0, false)),
            ),
            (
                format!("{ok}Server: x\r\n\r\n"),
                false,
                Err(Unread::NoLength),
            ),
            (
                format!("{ok}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
                false,
                Err(Unread::NoLength),
            ),
            (
                format!("{ok}Content-Length: 12\r\n"),
                false,
                Err(Unread::Partial),
            ),
            ("HTT".into(), false, Err(Unread::Partial)),
            ("hello".into(), false, Err(Unread::Malformed)),
            (
                "HTTP/1.1 2x0 OK\r\n\r\n".into(),
                false,
                Err(Unread::Malformed),
            ),
            (
                format!("{ok}Content-Length: -1\r\n\r\n"),
                false,
                Err(Unread::Malformed),
            ),
            (
                format!("{ok}no colon\r\n\r\n"),
                false,
                Err(Unread::Malformed),
            ),
        ] {
            assert_eq!(head(&text, bodiless), want, "{text:?}");
        }
    }

    #[test]
    fn a_body_is_learned_in_pieces_and_compared_in_others() {
        let mut expected = Expected::new(200, false, None);
        let first = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n";
        let head = expected.read(first).unwrap();
        assert_eq!(expected.read(&[first, &b"abc"[..]].concat()), Ok(head));
        assert!(expected.is_right(head) && !expected.is_known());
        assert!(expected.learn() && !expected.learn());
        expected.learned(b"ab", 4);
        expected.forget();
        assert!(expected.learn());
        expected.learned(b"abcd", 2);
        assert!(!expected.is_known());
        expected.learned(b"ef", 0);
        assert!(expected.is_known() && !expected.learn());
        assert!(
            expected.matches(b"abc", 3) && expected.matches(b"def", 0) && expected.matches(b"", 6)
        );
        assert!(!expected.matches(b"abd", 3) && !expected.matches(b"xabcdef", 0));
        let other = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
        let longer = expected.read(other).unwrap();
        assert!(!expected.is_right(longer), "another length");
        assert!(!expected.is_right(Head {
            status: 500,
            ..head
        }));
    }
}
