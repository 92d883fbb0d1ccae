mod pieces;
mod rfc;

use super::*;
use crate::reason::HeadError as E;

const MAX: usize = 16 * 1024;

#[track_caller]
fn head(text: &str) -> Head<'_> {
    match parse(text.as_bytes(), 0, MAX) {
        Parsed::Complete { head, len } if len == text.len() => head,
        other => panic!("{text:?} gave {other:?}"),
    }
}

#[track_caller]
fn refused(text: &[u8], error: HeadError) {
    assert_eq!(
        parse(text, 0, MAX),
        Parsed::Invalid(error),
        "{:?}",
        String::from_utf8_lossy(text)
    );
}

/// A request with these field lines and a `Host`.
fn with(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

fn path(path: &[u8]) -> Target<'_> {
    Target::Resource { path, query: None }
}

const GOOD: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\n\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    "HEAD /a/b?c=d&e HTTP/1.1\r\nHost: example.org:8080\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n",
    "POST /x HTTP/1.1\r\nhost:a\r\ncontent-length: 5\r\n\r\n",
    "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n",
    "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: [::1]:80\r\nX:\t spaced \t\r\nY: \x09\u{e9}\r\nEmpty:\r\n\r\n",
];

fn bad() -> Vec<(Vec<u8>, HeadError)> {
    let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n").into_bytes();
    let fields = |fields: &str| with(fields).into_bytes();
    let mut table = vec![
        // Request line.
        (line(" / HTTP/1.1"), E::RequestLine),
        (line("GET  / HTTP/1.1"), E::RequestLine),
        (line("GET /  HTTP/1.1"), E::RequestLine),
        (line("GET / HTTP/1.1 "), E::RequestLine),
        (line("GET\t/ HTTP/1.1"), E::RequestLine),
        (line("GET / http/1.1"), E::RequestLine),
        (line("GET / HTTP/1.10"), E::RequestLine),
        (line("GET / HTTP/11"), E::RequestLine),
        (line("GET / HTTP/1.x"), E::RequestLine),
        (line("GET /"), E::RequestLine),
        (line("GET"), E::RequestLine),
        (line("G\"T / HTTP/1.1"), E::RequestLine),
        (line("GET /a b HTTP/1.1"), E::RequestLine),
        (line("GET /\0 HTTP/1.1"), E::RequestLine),
        (line("GET /\x7f HTTP/1.1"), E::RequestLine),
        (line("GET /é HTTP/1.1"), E::RequestLine),
        (line("GET /a#b HTTP/1.1"), E::RequestLine),
        (line("GET /\r HTTP/1.1"), E::RequestLine),
        (line("\rGET / HTTP/1.1"), E::RequestLine),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            E::RequestLine,
        ),
        (b"\0".to_vec(), E::RequestLine),
        (b"\nGET / HTTP/1.1\r\n\r\n".to_vec(), E::RequestLine),
        (
            line(&format!("{} / HTTP/1.1", "A".repeat(MAX_METHOD + 1))),
            E::MethodTooLong,
        ),
        // Version.
        (line("GET / HTTP/2.0"), E::Version),
        (line("GET / HTTP/0.9"), E::Version),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), E::Version),
        // Target.
        (line("GET a HTTP/1.1"), E::Target),
        (line("GET * HTTP/1.1"), E::Target),
        (line("GET a:80 HTTP/1.1"), E::Target),
        (line("GET https://a/ HTTP/1.1"), E::Target),
        (line("GET ftp://a/ HTTP/1.1"), E::Target),
        (line("GET http:///x HTTP/1.1"), E::Target),
        (line("GET http://:80/x HTTP/1.1"), E::Target),
        (line("GET http://u@a/ HTTP/1.1"), E::Target),
        (line("GET http:/a HTTP/1.1"), E::Target),
        (line("CONNECT / HTTP/1.1"), E::Target),
        (line("CONNECT a HTTP/1.1"), E::Target),
        (line("OPTIONS ** HTTP/1.1"), E::Target),
        (
            line(&format!("GET /{} HTTP/1.1", "a".repeat(MAX_TARGET))),
            E::TargetTooLong,
        ),
        // Line ends.
        (b"GET / HTTP/1.1\nHost: a\n\n".to_vec(), E::BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n".to_vec(), E::BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n".to_vec(), E::BareLf),
        (fields("X: a\rb\r\n"), E::FieldValue),
        (fields("X: a\r\r\n"), E::FieldValue),
        (fields("X: a\0\r\n"), E::FieldValue),
        (fields("X: a\x0b\r\n"), E::FieldValue),
        (fields("X: a\x7f\r\n"), E::FieldValue),
        // Field names.
        (fields("X : a\r\n"), E::FieldName),
        (fields("X\t: a\r\n"), E::FieldName),
        (fields(": a\r\n"), E::FieldName),
        (fields("X\r\n"), E::FieldName),
        (fields("X\0: a\r\n"), E::FieldName),
        (fields("X(a): a\r\n"), E::FieldName),
        (fields("\u{e9}: a\r\n"), E::FieldName),
        (fields("X: a\r\n b\r\n"), E::Folding),
        (fields("X: a\r\n\tb\r\n"), E::Folding),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n".to_vec(), E::Folding),
        // Host.
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), E::HostMissing),
        (b"GET http://a/ HTTP/1.1\r\n\r\n".to_vec(), E::HostMissing),
        (fields("Host: a\r\n"), E::HostInvalid),
        (
            b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n".to_vec(),
            E::HostInvalid,
        ),
        // Framing.
        (
            fields("Content-Length: 1\r\ncontent-length: 1\r\n"),
            E::ContentLength,
        ),
        (
            fields("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"),
            E::LengthAndEncoding,
        ),
        (
            fields("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
            E::LengthAndEncoding,
        ),
        (
            fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            E::TransferEncoding,
        ),
        (
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
            E::TransferEncoding,
        ),
    ];
    for host in [
        "a b", "a/b", "u@a", "a:b", "a:80:80", "a:123456", "[::1", "[]", "[a]", "::1", "a\"", "é",
        "a?",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        table.push((text.into_bytes(), E::HostInvalid));
    }
    for length in [
        "",
        "-1",
        "+1",
        "1 1",
        "1,1",
        "0x1",
        "1.0",
        "a",
        "18446744073709551616",
        "١",
    ] {
        table.push((
            fields(&format!("Content-Length: {length}\r\n")),
            E::ContentLength,
        ));
    }
    for coding in [
        "",
        ",",
        "gzip",
        "identity",
        "chunked, gzip",
        "chunked, chunked",
        "chunked;a=b",
        "chunked x",
        "\"chunked\"",
        "xchunked",
        "chunke\u{e9}d",
    ] {
        table.push((
            fields(&format!("Transfer-Encoding: {coding}\r\n")),
            E::TransferEncoding,
        ));
    }
    table
}

#[test]
fn bad_heads_are_refused() {
    for (text, error) in bad() {
        refused(&text, error);
    }
}

#[test]
fn targets() {
    let table: &[(&str, Target<'_>, &str)] = &[
        ("GET / HTTP/1.1\r\nHost: A.b:80", path(b"/"), "A.b"),
        (
            "GET /a?b?c HTTP/1.1\r\nHost: a",
            Target::Resource {
                path: b"/a",
                query: Some(b"b?c"),
            },
            "a",
        ),
        (
            "GET /? HTTP/1.1\r\nHost: a:",
            Target::Resource {
                path: b"/",
                query: Some(b""),
            },
            "a",
        ),
        (
            "GET //a|{b}%zz HTTP/1.1\r\nHost: [2001:DB8::1]:8080",
            path(b"//a|{b}%zz"),
            "[2001:DB8::1]",
        ),
        (
            "GET HTTP://b:1/c?d HTTP/1.1\r\nHost: a",
            Target::Resource {
                path: b"/c",
                query: Some(b"d"),
            },
            "b",
        ),
        ("GET http://b HTTP/1.1\r\nHost:", path(b"/"), "b"),
        (
            "GET http://b?d HTTP/1.1\r\nHost:",
            Target::Resource {
                path: b"/",
                query: Some(b"d"),
            },
            "b",
        ),
        (
            "CONNECT [::1]:443 HTTP/1.1\r\nHost: a",
            Target::Authority(b"[::1]:443"),
            "[::1]",
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: a", Target::Asterisk, "a"),
        ("OPTIONS /a HTTP/1.1\r\nHost: a", path(b"/a"), "a"),
        ("GET / HTTP/1.0\r\nX: y", path(b"/"), ""),
    ];
    for (text, target, host) in table {
        let text = format!("{text}\r\n\r\n");
        let head = head(&text);
        assert_eq!(
            (head.target, head.host),
            (*target, host.as_bytes()),
            "{text}"
        );
    }
}

#[test]
fn methods_are_case_sensitive() {
    let table = [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("DELETE", Method::Delete),
        ("OPTIONS", Method::Options),
        ("TRACE", Method::Trace),
        ("PATCH", Method::Patch),
        ("get", Method::Other),
        ("BREW", Method::Other),
    ];
    for (name, method) in table {
        assert_eq!(
            head(&format!("{name} / HTTP/1.1\r\nHost: a\r\n\r\n")).method,
            method
        );
    }
    let longest = "A".repeat(MAX_METHOD);
    assert_eq!(
        head(&format!("{longest} / HTTP/1.1\r\nHost: a\r\n\r\n")).method,
        Method::Other
    );
}

#[test]
fn persistence() {
    let table = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: keep-alive, Upgrade , close\r\n", false),
        ("1.1", "Connection: upgrade\r\nconnection: Close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection: ,,\r\n", true),
        ("1.2", "", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ];
    for (version, fields, persistent) in table {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(head(&text).persistent, persistent, "{text}");
    }
}

#[test]
fn bodies() {
    let table = [
        ("", Body::None),
        ("Content-Length: 0\r\n", Body::None),
        ("Content-Length: 000\r\n", Body::None),
        ("Content-Length: 10\r\n", Body::Length(10)),
        (
            "CONTENT-LENGTH:18446744073709551615\r\n",
            Body::Length(u64::MAX),
        ),
        ("Transfer-Encoding: chunked\r\n", Body::Chunked),
        ("Transfer-Encoding: Gzip;q=1 , CHUNKED\r\n", Body::Chunked),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            Body::Chunked,
        ),
    ];
    for (fields, body) in table {
        assert_eq!(head(&with(fields)).body, body, "{fields}");
    }
}

#[test]
fn flags() {
    let conditional = Flags::CONDITIONAL;
    let table = [
        ("Accept: x\r\nHosts: b\r\n", Flags::default()),
        ("expect: 100-continue\r\n", Flags::EXPECT),
        ("Upgrade: h2c\r\n", Flags::UPGRADE),
        ("Range: bytes=0-1\r\n", Flags::RANGE),
        ("Authorization: x\r\n", Flags::AUTHORIZATION),
        ("Cookie: x\r\n", Flags::COOKIE),
        ("If-Modified-Since: x\r\n", conditional),
        ("If-Unmodified-Since: x\r\n", conditional),
        ("If-Range: x\r\n", conditional),
        ("If-None-Match: \"x\"\r\n", conditional),
        ("If-Match: \"x\"\r\n", conditional),
        ("Accept-Encoding:\r\n", Flags::ACCEPT_ENCODING),
        (
            "Range: x\r\nCookie: y\r\n",
            Flags(Flags::RANGE.0 | Flags::COOKIE.0),
        ),
    ];
    for (fields, flags) in table {
        assert_eq!(head(&with(fields)).flags, flags, "{fields}");
    }
    assert_eq!(
        head("GET / HTTP/1.0\r\nExpect: x\r\nUpgrade: y\r\n\r\n").flags,
        Flags::default()
    );
}

#[test]
fn what_follows_the_head_is_left() {
    let text = GOOD[0];
    for behind in ["\n\0", "\r\n", "GET"] {
        let both = format!("{text}{behind}");
        assert!(
            matches!(parse(both.as_bytes(), 0, MAX), Parsed::Complete { len, .. } if len == text.len())
        );
    }
}

#[test]
fn heads_up_to_the_limit_are_taken() {
    let text = with("X: abc\r\n");
    assert!(matches!(
        parse(text.as_bytes(), 0, text.len()),
        Parsed::Complete { .. }
    ));
    let less = text.len() - 1;
    assert_eq!(
        parse(text.as_bytes(), 0, less),
        Parsed::Invalid(E::TooLarge)
    );
    assert_eq!(
        parse(&text.as_bytes()[..less], 0, less),
        Parsed::Invalid(E::TooLarge)
    );
    assert!(matches!(
        parse(&text.as_bytes()[..less - 1], 0, less),
        Parsed::Partial { .. }
    ));
    // A line that alone is over the limit has too long a target.
    assert_eq!(
        parse(b"GET /aaaaaaaaaaaaaaaaaaaaaa", 0, 20),
        Parsed::Invalid(E::TargetTooLong)
    );
    assert_eq!(
        parse(&b"\r\n".repeat(10), 0, 20),
        Parsed::Invalid(E::TooLarge)
    );
    let longest = format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
        "a".repeat(MAX_TARGET - 1)
    );
    head(&longest);
}
