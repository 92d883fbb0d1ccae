//! What kind of content a file is: media type and charset.

use sidestep_config::Charset;

/// The media type that the name of a file stands for.
pub(super) fn essence(name: &[u8]) -> &'static str {
    let name = String::from_utf8_lossy(name);
    mime_guess::from_path(name.as_ref())
        .first_raw()
        .unwrap_or("application/octet-stream")
}

/// The `Content-Type` of a file with these bytes.
pub(super) fn content_type(name: &[u8], charset: &Charset, body: &[u8]) -> String {
    let essence = essence(name);
    // Others have no such parameter, or know their encoding from their first bytes (RFC 6838, 4.2.1; RFC 8259, 8.1).
    let charset = match charset {
        _ if !essence.starts_with("text/") => None,
        Charset::Off => None,
        Charset::Is(name) => Some(name.as_str()),
        Charset::Auto => is_utf8(essence, body).then_some("utf-8"),
    };
    match charset {
        Some(charset) => format!("{essence}; charset={charset}"),
        None => essence.to_owned(),
    }
}

/// Whether a text is in UTF-8 for certain.
///
/// A charset in the field overrides what a document says of itself, so a document that says something is left alone. An
/// escape character is valid in UTF-8, but in a text it means ISO 2022, which switches between character sets so.
fn is_utf8(essence: &str, body: &[u8]) -> bool {
    const ESCAPE: u8 = 0x1b;
    !says_its_charset(essence, body) && !body.contains(&ESCAPE) && std::str::from_utf8(body).is_ok()
}

/// How much of a document can say what it is encoded in. HTML looks at the first 1024 bytes (HTML, 13.2.3.2), CSS too
/// (CSS Syntax 3, 3.2); an XML declaration is shorter.
const PRESCAN: usize = 1024;

fn says_its_charset(essence: &str, body: &[u8]) -> bool {
    let start = body[..body.len().min(PRESCAN)].to_ascii_lowercase();
    let says = |word: &[u8]| memchr::memmem::find(&start, word).is_some();
    match essence {
        "text/html" | "text/css" => says(b"charset"),
        "text/xml" => says(b"encoding"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charset_is_stated_only_where_it_is_certain() {
        let table: &[(&str, &[u8], &str)] = &[
            ("a.txt", "ä".as_bytes(), "text/plain; charset=utf-8"),
            ("a.txt", b"plain", "text/plain; charset=utf-8"),
            ("a.txt", b"", "text/plain; charset=utf-8"),
            // ISO 8859-1, UTF-16, and ISO-2022-JP, which is all ASCII.
            ("a.txt", b"\xe4", "text/plain"),
            ("a.txt", b"\xff\xfea\0", "text/plain"),
            ("a.txt", b"\x1b$B$\"\x1b(B", "text/plain"),
            ("a.html", b"<p>x", "text/html; charset=utf-8"),
            ("a.html", b"<META CharSet=shift_jis>", "text/html"),
            ("a.css", b"@charset \"x\";", "text/css"),
            ("a.css", b"a {}", "text/css; charset=utf-8"),
            ("a.xml", b"<?xml version='1.0' encoding='x'?>", "text/xml"),
            ("a.js", b"1", "text/javascript; charset=utf-8"),
            ("a.JS", b"1", "text/javascript; charset=utf-8"),
            ("a.json", b"1", "application/json"),
            ("a.svg", b"<svg/>", "image/svg+xml"),
            ("a.wasm", b"", "application/wasm"),
            ("a.js.gz", b"", "application/gzip"),
            ("a.webmanifest", b"", "application/manifest+json"),
            ("a", b"text", "application/octet-stream"),
        ];
        for &(name, body, expected) in table {
            let seen = content_type(name.as_bytes(), &Charset::Auto, body);
            assert_eq!(seen, expected, "{name} {body:?}");
        }
        // What lies too far in is not looked at by anybody.
        let far = [&[b' '; 1024], &b"charset"[..]].concat();
        let seen = content_type(b"a.html", &Charset::Auto, &far);
        assert_eq!(seen, "text/html; charset=utf-8");
    }

    #[test]
    fn the_operator_knows_better() {
        let is = Charset::Is("iso-8859-1".into());
        let seen = content_type(b"a.html", &is, b"<meta charset=utf-8>");
        assert_eq!(seen, "text/html; charset=iso-8859-1");
        assert_eq!(content_type(b"a.png", &is, b""), "image/png");
        assert_eq!(content_type(b"a.txt", &Charset::Off, b"x"), "text/plain");
    }
}
