//! Header fields: each line checked, the few that matter for framing and routing taken in.

use super::{Body, Flags, Version, authority, scan};
use crate::reason::HeadError;

/// The field lines of a head: each checked, as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FieldLines<'b>(&'b [u8]);

impl<'b> FieldLines<'b> {
    /// Takes `lines`, which once were those of a head, for what they were.
    pub fn of_checked(lines: &'b [u8]) -> Self {
        Self(lines)
    }

    /// The lines, each with its end.
    pub fn bytes(self) -> &'b [u8] {
        self.0
    }

    /// The values of all fields `name`, in order, without the spaces around them. The name's case does not matter.
    ///
    /// Each call goes through all lines: for fields that few requests have, or few answers depend on.
    pub fn all(self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            while let Some(end) = memchr::memchr(b'\n', rest) {
                let (line, behind) = rest.split_at(end + 1);
                rest = behind;
                if let Some((own, [b':', value @ ..])) = line.split_at_checked(name.len())
                    && own.eq_ignore_ascii_case(name.as_bytes())
                {
                    return Some(value.trim_ascii());
                }
            }
            None
        })
    }
}

/// What the fields say, gathered line by line.
#[derive(Default)]
pub(super) struct Fields<'b> {
    /// Value of the only `Host`, without port.
    host: Option<&'b [u8]>,
    length: Option<u64>,
    coded: bool,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    flags: Flags,
}

/// What the fields of a whole head say.
pub(super) struct Framing<'b> {
    pub(super) host: Option<&'b [u8]>,
    pub(super) body: Body,
    pub(super) persistent: bool,
    pub(super) flags: Flags,
}

impl<'b> Fields<'b> {
    /// Takes in `lines`: whole field lines, and nothing behind the last one's line end.
    #[inline]
    pub(super) fn read(&mut self, all: &'b [u8]) -> Result<FieldLines<'b>, HeadError> {
        let mut lines = all;
        while !lines.is_empty() {
            if let [b' ' | b'\t', ..] = lines {
                return Err(HeadError::Folding);
            }
            let (name, rest) = lines.split_at(scan::token(lines));
            let [b':', rest @ ..] = rest else {
                return Err(HeadError::FieldName);
            };
            if name.is_empty() {
                return Err(HeadError::FieldName);
            }
            let (value, rest) = rest.split_at(scan::value(rest));
            let [b'\r', b'\n', rest @ ..] = rest else {
                return Err(HeadError::FieldValue);
            };
            self.take(name, value.trim_ascii())?;
            lines = rest;
        }
        Ok(FieldLines(all))
    }

    fn take(&mut self, name: &[u8], value: &'b [u8]) -> Result<(), HeadError> {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"host") => self.host(value)?,
            5 if is(b"range") => self.flags.set(Flags::RANGE),
            6 if is(b"expect") => self.flags.set(Flags::EXPECT),
            6 if is(b"cookie") => self.flags.set(Flags::COOKIE),
            7 if is(b"upgrade") => self.flags.set(Flags::UPGRADE),
            8 if is(b"if-match") => self.flags.set(Flags::CONDITIONAL),
            8 if is(b"if-range") => self.flags.set(Flags::CONDITIONAL),
            10 if is(b"connection") => self.connection(value),
            13 if is(b"authorization") => self.flags.set(Flags::AUTHORIZATION),
            13 if is(b"if-none-match") => self.flags.set(Flags::CONDITIONAL),
            14 if is(b"content-length") => self.content_length(value)?,
            15 if is(b"accept-encoding") => self.flags.set(Flags::ACCEPT_ENCODING),
            17 if is(b"transfer-encoding") => self.transfer_encoding(value)?,
            17 if is(b"if-modified-since") => self.flags.set(Flags::CONDITIONAL),
            19 if is(b"if-unmodified-since") => self.flags.set(Flags::CONDITIONAL),
            _ => {}
        }
        Ok(())
    }

    fn host(&mut self, value: &'b [u8]) -> Result<(), HeadError> {
        let host = authority::host(value).ok_or(HeadError::HostInvalid)?;
        match self.host.replace(host) {
            None => Ok(()),
            Some(_) => Err(HeadError::HostInvalid),
        }
    }

    /// RFC 9110, 7.6.1; options that mean nothing here are passed over.
    fn connection(&mut self, value: &[u8]) {
        for option in list(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// RFC 9110, 8.6. A repeated length could be taken if it is the same each time; that it is there twice at all means
    /// that something on the way is broken.
    fn content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value)
            .ok()
            .filter(|_| digits)
            .and_then(|text| text.parse().ok());
        match self.length.replace(length.ok_or(HeadError::ContentLength)?) {
            None => Ok(()),
            Some(_) => Err(HeadError::ContentLength),
        }
    }

    /// RFC 9112, 6.1: `chunked` once, and last over all fields; what is before it need not be known, as no body is read
    /// here.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        self.coded = true;
        for coding in list(value) {
            let name = &coding[..scan::token(coding)];
            let parameters = &coding[name.len()..];
            let is_chunked = name.eq_ignore_ascii_case(b"chunked");
            let parameters_are_fine = parameters.is_empty()
                || (!is_chunked && matches!(parameters.trim_ascii_start().first(), Some(b';')));
            if self.chunked || name.is_empty() || !parameters_are_fine {
                return Err(HeadError::TransferEncoding);
            }
            self.chunked = is_chunked;
        }
        Ok(())
    }

    /// The rules across fields.
    pub(super) fn finish(self, version: Version) -> Result<Framing<'b>, HeadError> {
        let body = match (self.coded, self.length) {
            (true, Some(_)) => return Err(HeadError::LengthAndEncoding),
            // RFC 9112, 6.1: HTTP/1.0 has no transfer codings, so the framing is faulty.
            (true, None) if !self.chunked || version == Version::Http10 => {
                return Err(HeadError::TransferEncoding);
            }
            (true, None) => Body::Chunked,
            (false, Some(0) | None) => Body::None,
            (false, Some(length)) => Body::Length(length),
        };
        let mut flags = self.flags;
        if version == Version::Http10 {
            // RFC 9110, 10.1.1 and 7.8: both are to be ignored.
            flags.clear(Flags::EXPECT);
            flags.clear(Flags::UPGRADE);
        }
        // RFC 9112, 9.3.
        let persistent = !self.close && (version == Version::Http11 || self.keep_alive);
        Ok(Framing {
            host: self.host,
            body,
            persistent,
            flags,
        })
    }
}

/// The elements of a comma-separated list (RFC 9110, 5.6.1), empty ones left out.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}
