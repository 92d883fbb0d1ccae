//! Names that a configuration is made of: hosts, paths, origins.

use std::fmt;
use std::net::Ipv6Addr;

/// What is wrong with a name, and how to mend it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadName {
    pub(crate) what: String,
    pub(crate) help: &'static str,
}

fn bad<T>(what: impl Into<String>, help: &'static str) -> Result<T, BadName> {
    Err(BadName {
        what: what.into(),
        help,
    })
}

/// A pattern for the host of a request. Lower case, without port and final dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`: every host, also a missing one.
    Any,
    /// `*.example.org`, kept as `.example.org`: every name below it, at any depth, not itself.
    Suffix(String),
    /// This name, IPv4 address, or IPv6 address in brackets.
    Exact(String),
}

impl HostPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, BadName> {
        const HELP: &str =
            r#"write a host name without port or scheme: "example.org", "*.example.org", "*""#;
        let lower = text.to_ascii_lowercase();
        if lower == "*" {
            return Ok(Self::Any);
        }
        if let Some(address) = lower
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            return match address.parse::<Ipv6Addr>() {
                Ok(_) => Ok(Self::Exact(lower)),
                Err(_) => bad(format!("`{text}` is not an IPv6 address in brackets"), HELP),
            };
        }
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        let (suffix, labels) = match name.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        // RFC 1123, 2.1 with the underscore that is met in practice; RFC 1035, 2.3.4 for the lengths.
        let label_is_fine = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if labels.len() > 253 || !labels.split('.').all(label_is_fine) {
            return bad(format!("`{text}` is not a host name"), HELP);
        }
        Ok(match suffix {
            true => Self::Suffix(format!(".{labels}")),
            false => Self::Exact(labels.to_owned()),
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

/// The paths of a `[[site.cache]]`, percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CachePath {
    /// This path.
    Exact(Vec<u8>),
    /// Every path that begins so; ends with `/`.
    Prefix(Vec<u8>),
}

impl CachePath {
    pub(crate) fn parse(text: &str) -> Result<Self, BadName> {
        match text.strip_suffix('*') {
            Some(prefix) if prefix.ends_with('/') => Ok(Self::Prefix(url_path(prefix)?)),
            Some(_) => bad(
                format!("the prefix in `{text}` ends within a path segment"),
                r#"put "*" behind a slash: "/author/*""#,
            ),
            None => Ok(Self::Exact(url_path(text)?)),
        }
    }
}

/// Percent-decodes the path `text` of a URL and checks that requests can name it.
///
/// Requests are looked up with their dot segments removed (RFC 3986, 5.2.4) and an encoded slash never matches, so a
/// route with either would be dead.
pub(crate) fn url_path(text: &str) -> Result<Vec<u8>, BadName> {
    if !text.starts_with('/') {
        return bad(
            format!("the path `{text}` does not begin with a slash"),
            r#"write it as in a URL: "/ping""#,
        );
    }
    if text.contains(['?', '#', '*']) {
        return bad(
            format!("the path `{text}` contains `?`, `#` or `*`"),
            "leave query and fragment out; write the characters themselves as %3F, %23, %2A",
        );
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let digit = |b: &u8| char::from(*b).to_digit(16);
        let byte = match tail {
            [high, low, tail @ ..] => {
                rest = tail;
                digit(high)
                    .zip(digit(low))
                    .and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
            }
            _ => None,
        };
        match byte {
            Some(b'/') | None => {
                return bad(
                    format!("the path `{text}` has an escape that cannot be matched"),
                    "write % and two hexadecimal digits, not %2F; a percent sign itself is %25",
                );
            }
            Some(byte) => decoded.push(byte),
        }
    }
    if decoded.iter().any(|b| b.is_ascii_control()) {
        return bad(
            format!("the path `{}` has a control character", text.escape_debug()),
            "take it out",
        );
    }
    let segments = &decoded[1..];
    let last = segments.iter().filter(|b| **b == b'/').count();
    for (i, segment) in segments.split(|b| *b == b'/').enumerate() {
        if matches!(segment, b"." | b"..") || (segment.is_empty() && i < last) {
            return bad(
                format!("the path `{text}` has an empty or dot segment"),
                "write the path as it is after `.`, `..` and `//` are gone",
            );
        }
    }
    Ok(decoded)
}

/// The server that a `[[site.cache]]` asks; plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Host name, IPv4 address, or IPv6 address in brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Origin {
    pub(crate) fn parse(text: &str) -> Result<Self, BadName> {
        const HELP: &str = r#"write scheme, host and port only: "http://127.0.0.1:8000""#;
        let Ok(uri) = text.parse::<http::Uri>() else {
            return bad(format!("`{text}` is not a URL"), HELP);
        };
        if uri.scheme_str() != Some("http") {
            return bad(format!("the origin `{text}` is not an http:// URL"), HELP);
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return bad(format!("the origin `{text}` has a path"), HELP);
        }
        match uri.authority() {
            Some(authority)
                if !authority.as_str().contains('@') && !authority.host().is_empty() =>
            {
                Ok(Self {
                    host: authority.host().to_ascii_lowercase(),
                    port: authority.port_u16().unwrap_or(80),
                })
            }
            _ => bad(format!("the origin `{text}` has no plain host"), HELP),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}
