//! From the path of a request to the key that resources are stored under.

/// What a request's path comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// Look this up.
    Is(&'a [u8]),
    /// No key can be equal: longer than any, or with an escaped slash, which is data of a segment and never separates
    /// two.
    None,
    /// An escape that is none, or one of NUL.
    Bad,
}

/// The key of a path that is not [plain](is_plain): decodes escapes, then removes dot segments (RFC 3986, 6.2.2 and 5.2.4), in that order, so that `%2e%2e` is `..`.
///
/// `scratch` bounds the key: one that does not fit is [`Key::None`].
pub(super) fn key<'a>(path: &'a [u8], scratch: &'a mut [u8]) -> Key<'a> {
    let mut len = 0;
    let mut rest = path;
    // Segment by segment; each begins with its slash.
    while let [b'/', tail @ ..] = rest {
        let segment_len = tail.iter().position(|&b| b == b'/').unwrap_or(tail.len());
        let (segment, next) = tail.split_at(segment_len);
        rest = next;
        let start = len;
        if !push(scratch, &mut len, b'/') {
            return Key::None;
        }
        match decode(segment, scratch, &mut len) {
            Decoded::Fits => {}
            Decoded::NoMatch => return Key::None,
            Decoded::Bad => return Key::Bad,
        }
        let parent = match &scratch[start..len] {
            b"/." => start,
            b"/.." => scratch[..start]
                .iter()
                .rposition(|&b| b == b'/')
                .unwrap_or(0),
            _ => continue,
        };
        // A dot segment at the end names a directory and leaves its slash.
        len = parent;
        if rest.is_empty() {
            push(scratch, &mut len, b'/');
        }
    }
    Key::Is(&scratch[..len])
}

/// The [`key`] of any path, to be kept; `None`: it has none.
pub(super) fn canonical(path: &[u8]) -> Option<Vec<u8>> {
    if is_plain(path) {
        return Some(path.to_vec());
    }
    let mut scratch = vec![0; path.len() + 1];
    match key(path, &mut scratch) {
        Key::Is(key) => Some(key.to_vec()),
        Key::None | Key::Bad => None,
    }
}

/// Whether `path` is its own key: it has neither an escape nor a segment that begins with a dot.
pub(super) fn is_plain(path: &[u8]) -> bool {
    !memchr::memchr2_iter(b'%', b'.', path)
        .any(|at| path[at] == b'%' || at == 0 || path[at - 1] == b'/')
}

enum Decoded {
    Fits,
    NoMatch,
    Bad,
}

fn decode(mut segment: &[u8], scratch: &mut [u8], len: &mut usize) -> Decoded {
    while let [first, rest @ ..] = segment {
        segment = rest;
        let mut byte = *first;
        if byte == b'%' {
            let hex = |digit: &u8| char::from(*digit).to_digit(16);
            let [high, low, rest @ ..] = rest else {
                return Decoded::Bad;
            };
            let (Some(high), Some(low)) = (hex(high), hex(low)) else {
                return Decoded::Bad;
            };
            segment = rest;
            byte = (16 * high + low) as u8;
            match byte {
                0 => return Decoded::Bad,
                b'/' => return Decoded::NoMatch,
                _ => {}
            }
        }
        if !push(scratch, len, byte) {
            return Decoded::NoMatch;
        }
    }
    Decoded::Fits
}

fn push(scratch: &mut [u8], len: &mut usize, byte: u8) -> bool {
    match scratch.get_mut(*len) {
        Some(place) => {
            *place = byte;
            *len += 1;
            true
        }
        None => false,
    }
}

/// Encodes `path` for a `Location`: unreserved characters and slashes stay (RFC 3986, 2.3).
pub(super) fn encode(path: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let table: &[(&str, Option<&str>)] = &[
            ("/", Some("/")),
            ("/a/b.txt", Some("/a/b.txt")),
            ("/a//b", Some("/a//b")),
            ("/a%20b", Some("/a b")),
            ("/%61%2Eb", Some("/a.b")),
            ("/a/./b", Some("/a/b")),
            ("/a/../b", Some("/b")),
            ("/a/b/..", Some("/a/")),
            ("/a/b/.", Some("/a/b/")),
            ("/a/b/../", Some("/a/")),
            ("/..", Some("/")),
            ("/.", Some("/")),
            ("/../../etc/passwd", Some("/etc/passwd")),
            ("/a/%2e%2e/%2E%2e/etc/passwd", Some("/etc/passwd")),
            ("/a/.%2e/b", Some("/b")),
            ("/.hidden", Some("/.hidden")),
            ("/..a/...", Some("/..a/...")),
            // Decoded once only.
            ("/%252e%252e/a", Some("/%2e%2e/a")),
            ("/a//../b", Some("/a/b")),
            ("/a%2fb", None),
            ("/..%2f..%2fetc/passwd", None),
            ("/%5c..%5ca", Some("/\\..\\a")),
        ];
        for &(path, expected) in table {
            let mut scratch = [0; 64];
            let expected = expected.map_or(Key::None, |key| Key::Is(key.as_bytes()));
            assert_eq!(key(path.as_bytes(), &mut scratch), expected, "{path}");
        }
        for path in ["/%", "/%1", "/%zz", "/a%00", "/%00/..", "/%+1"] {
            assert_eq!(key(path.as_bytes(), &mut [0; 64]), Key::Bad, "{path}");
        }
    }

    #[test]
    fn a_key_longer_than_the_scratch_is_none() {
        assert_eq!(key(b"/%61bc", &mut [0; 4]), Key::Is(b"/abc"));
        assert_eq!(key(b"/%61bcd", &mut [0; 4]), Key::None);
        assert_eq!(key(b"/abc/..", &mut [0; 4]), Key::None);
        assert_eq!(key(b"/.", &mut []), Key::None);
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        let all: Vec<u8> = (1..=255).filter(|b| *b != b'/' && *b != b'.').collect();
        let path = [b"/", all.as_slice(), b"/"].concat();
        assert_eq!(key(encode(&path).as_bytes(), &mut [0; 512]), Key::Is(&path));
    }
}
