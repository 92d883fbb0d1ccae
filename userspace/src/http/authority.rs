//! Host and port (RFC 3986, 3.2).

use super::scan;

/// The host of `authority`, without port; `None` if it is not `host [":" port]`. An empty host is allowed, as it is
/// in the field `Host` (RFC 9110, 7.2).
pub(super) fn host(authority: &[u8]) -> Option<&[u8]> {
    let end = match authority {
        [b'[', rest @ ..] => {
            let close = rest.iter().position(|&b| b == b']')?;
            let inside = &rest[..close];
            let is_address = inside.contains(&b':')
                && inside
                    .iter()
                    .all(|b| b.is_ascii_hexdigit() || b":.".contains(b));
            if !is_address {
                return None;
            }
            close + 2
        }
        _ => scan::reg_name(authority),
    };
    let (host, port) = authority.split_at(end);
    let port_is_fine = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    port_is_fine.then_some(host)
}
