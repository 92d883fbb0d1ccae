//! The first line of a request (RFC 9112, 3).

use super::{MAX_METHOD, MAX_TARGET, Method, Target, Version, authority, scan};
use crate::reason::HeadError;

/// A request line.
pub(super) struct RequestLine<'b> {
    pub(super) method: Method,
    pub(super) target: Target<'b>,
    pub(super) version: Version,
    /// Host of an absolute target.
    pub(super) host: Option<&'b [u8]>,
}

/// Judges what is there of a method, however little; what is wrong once stays wrong with more bytes.
pub(super) fn check_method(line: &[u8]) -> Result<(), HeadError> {
    let method = scan::token(&line[..line.len().min(MAX_METHOD + 1)]);
    match line.get(method) {
        _ if method > MAX_METHOD => Err(HeadError::MethodTooLong),
        Some(b' ') if method > 0 => Ok(()),
        Some(_) => Err(HeadError::RequestLine),
        None => Ok(()),
    }
}

/// Parses the line that `bytes`, which hold a whole line, begin with; returns it and what is behind it.
#[inline]
pub(super) fn parse(bytes: &[u8]) -> Result<(RequestLine<'_>, &[u8]), HeadError> {
    let (name, rest) = bytes.split_at(scan::token(bytes));
    let [b' ', rest @ ..] = rest else {
        return Err(HeadError::RequestLine);
    };
    let (target, rest) = rest.split_at(scan::target(rest));
    let [b' ', rest @ ..] = rest else {
        return Err(HeadError::RequestLine);
    };
    let [
        b'H',
        b'T',
        b'T',
        b'P',
        b'/',
        major @ b'0'..=b'9',
        b'.',
        minor @ b'0'..=b'9',
        b'\r',
        b'\n',
        rest @ ..,
    ] = rest
    else {
        return Err(HeadError::RequestLine);
    };
    let version = match (major, minor) {
        (b'1', b'0') => Version::Http10,
        // RFC 9110, 2.5: a higher minor version is read as the highest known.
        (b'1', _) => Version::Http11,
        _ => return Err(HeadError::Version),
    };
    if target.len() > MAX_TARGET {
        return Err(HeadError::TargetTooLong);
    }
    let method = Method::of(name);
    let (target, host) = split_target(method, target).ok_or(HeadError::Target)?;
    Ok((
        RequestLine {
            method,
            target,
            version,
            host,
        },
        rest,
    ))
}

/// RFC 9112, 3.2: the form must be one that the method can have.
#[inline]
fn split_target(method: Method, target: &[u8]) -> Option<(Target<'_>, Option<&[u8]>)> {
    if method == Method::Connect {
        let host =
            authority::host(target).filter(|host| !host.is_empty() && host.len() < target.len())?;
        return Some((Target::Authority(target), Some(host)));
    }
    match target {
        b"*" if method == Method::Options => Some((Target::Asterisk, None)),
        [b'/', ..] => Some((resource(target), None)),
        _ => {
            // RFC 9110, 4.2.1: the scheme's case does not matter and the host must not be empty. A target of another
            // scheme, https included, is not for a server that speaks cleartext HTTP.
            let rest = target
                .split_at_checked(7)
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"http://"))?
                .1;
            let end = rest
                .iter()
                .position(|&b| matches!(b, b'/' | b'?'))
                .unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = authority::host(authority).filter(|host| !host.is_empty())?;
            Some((resource(path), Some(host)))
        }
    }
}

/// Splits path and query; an empty path is `/` (RFC 9110, 4.2.3).
fn resource(target: &[u8]) -> Target<'_> {
    let (path, query) = match target.iter().position(|&b| b == b'?') {
        None => (target, None),
        Some(mark) => (&target[..mark], Some(&target[mark + 1..])),
    };
    let path = if path.is_empty() { b"/" } else { path };
    Target::Resource { path, query }
}
