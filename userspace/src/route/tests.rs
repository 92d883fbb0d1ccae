use super::*;
use crate::http::{Parsed, parse};
use crate::reason::NotOurs as N;
use Fallback::{Kernel, None as Nobody};
use sidestep_config::Config;

/// 2026-01-01 00:00:00 UTC.
const NOW: Now = Now {
    mono: tcp_lite::Instant(0),
    unix: 1_767_225_600,
};

fn snapshot(root: &std::path::Path) -> Snapshot {
    std::fs::create_dir_all(root.join("d")).unwrap();
    std::fs::write(root.join("d/index.html"), "x").unwrap();
    std::fs::write(root.join("large"), "12345").unwrap();
    let text = format!(
        "[[site]]\n[[site.static]]\npath = \"/\"\nroot = {root:?}\nmax_object = 4\n\
         [[site.response]]\npath = \"/ok\"\n[[site.response]]\npath = \"/gone\"\nstatus = 410\n\
         [[site.cache]]\npath = \"/c/*\"\norigin = \"http://a\""
    );
    Snapshot::build(&Config::parse(&text, "t").unwrap()).unwrap()
}

fn with_head<T>(text: &str, then: impl FnOnce(&Head<'_>) -> T) -> T {
    let (line, fields) = text.split_once('|').unwrap_or((text, ""));
    let text = format!(
        "{line} HTTP/1.1\r\nHost: a\r\n{fields}{}\r\n",
        if fields.is_empty() { "" } else { "\r\n" }
    );
    match parse(text.as_bytes(), 0, 4096) {
        Parsed::Complete { head, .. } => then(&head),
        other => panic!("{text:?} gave {other:?}"),
    }
}

/// Request line and a field, status served by `Kernel`, or reason; status by `None`, and whether it closes.
type Row = (&'static str, Result<u16, NotOurs>, u16, bool);

#[test]
fn decisions() {
    let rows: &[Row] = &[
        ("GET /ok", Ok(200), 200, false),
        ("HEAD /ok", Ok(200), 200, false),
        ("GET /ok?q", Ok(200), 200, false),
        ("GET http://b/ok", Ok(200), 200, false),
        ("GET /ok|Content-Length: 0", Ok(200), 200, false),
        ("GET /d/|Range: bytes=0-0", Ok(206), 206, false),
        ("GET /d/|Range: bytes=1-", Ok(416), 416, false),
        ("HEAD /d/|Range: bytes=0-0", Ok(200), 200, false),
        ("GET /gone|Range: bytes=0-0", Ok(410), 410, false),
        ("GET /d|Range: bytes=0-0", Ok(301), 301, false),
        ("GET /ok|Cookie: a", Ok(200), 200, false),
        ("GET /ok|Authorization: a", Ok(200), 200, false),
        ("GET /gone", Ok(410), 410, false),
        ("GET /d", Ok(301), 301, false),
        ("GET /d?q", Err(N::RedirectQuery), 301, false),
        ("GET /nothing", Err(N::Path), 404, false),
        ("HEAD /nothing", Err(N::Path), 404, false),
        ("GET /%00", Err(N::BadPath), 400, false),
        ("GET /large", Err(N::ObjectTooLarge), 501, false),
        ("GET /c/x", Err(N::Cached), 503, false),
        ("POST /ok", Err(N::Method), 405, false),
        ("POST /nothing|Content-Length: 3", Err(N::Method), 405, true),
        ("DELETE /ok", Err(N::Method), 405, false),
        ("TRACE /ok", Err(N::Method), 405, false),
        ("OPTIONS *", Err(N::Method), 204, false),
        ("OPTIONS /ok", Err(N::Method), 204, false),
        ("OPTIONS /nothing", Err(N::Method), 404, false),
        ("OPTIONS /%00", Err(N::Method), 400, false),
        ("OPTIONS *|Content-Length: 1", Err(N::Method), 413, true),
        ("OPTIONS *|Expect: x", Err(N::Method), 417, false),
        ("CONNECT a:1", Err(N::Method), 405, false),
        ("BREW /ok", Err(N::UnknownMethod), 501, false),
        (
            "BREW /ok|Transfer-Encoding: chunked",
            Err(N::UnknownMethod),
            501,
            true,
        ),
        ("GET /ok|Content-Length: 1", Err(N::Body), 413, true),
        (
            "HEAD /ok|Transfer-Encoding: chunked",
            Err(N::Body),
            413,
            true,
        ),
        ("GET /ok|Expect: 100-continue", Err(N::Expect), 200, false),
        ("GET /ok|Expect: x", Err(N::Expect), 417, false),
        (
            "GET /ok|Expect: 100-continue, x",
            Err(N::Expect),
            417,
            false,
        ),
        (
            "GET /ok|Expect: 100-continue\r\nContent-Length: 1",
            Err(N::Expect),
            413,
            true,
        ),
        ("GET /ok|Upgrade: websocket", Err(N::Upgrade), 200, false),
        ("GET /ok|If-None-Match: \"x\"", Ok(200), 200, false),
        (
            "GET /ok|If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
            Ok(200),
            200,
            false,
        ),
        (
            "GET /ok|If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
            Ok(200),
            200,
            false,
        ),
        ("GET /ok|If-Match: *", Ok(200), 200, false),
        ("GET /ok|If-Match: \"x\"", Err(N::Precondition), 412, false),
        ("GET /ok|If-None-Match: *", Ok(304), 304, false),
        ("HEAD /ok|If-None-Match: *", Ok(304), 304, false),
        ("GET /gone|If-Match: \"x\"", Ok(410), 410, false),
        ("GET /nothing|If-None-Match: *", Err(N::Path), 404, false),
    ];
    let root = tempfile::tempdir().unwrap();
    let snapshot = snapshot(root.path());
    for &(text, kernel, status, close) in rows {
        let wants_body = !text.starts_with("HEAD");
        with_head(text, |head| {
            for fallback in [Kernel, Nobody] {
                let decided = decide(&snapshot, head, fallback, NOW).1;
                match (fallback, decided, kernel) {
                    (_, Decision::Serve { response, form, .. }, _) => {
                        let served = form.status(snapshot.status(response));
                        if fallback == Kernel {
                            assert_eq!(Ok(served), kernel, "{text}");
                        }
                        assert_eq!((served, false), (status, close), "{text}");
                        if let Form::Full | Form::Head = form {
                            assert_eq!(form, Form::whole(wants_body), "{text}");
                        }
                    }
                    (Kernel, Decision::HandOff(reason), Err(expected)) => {
                        assert_eq!(reason, expected, "{text}");
                    }
                    (Nobody, Decision::Refuse(refusal), Err(expected))
                    | (Kernel, Decision::Refuse(refusal), Err(expected @ N::Precondition)) => {
                        let seen = (refusal.status.code(), refusal.close, refusal.body);
                        assert_eq!(seen, (status, close, wants_body), "{text}");
                        // With a server behind, neither is looked into.
                        if head.method != Method::Options && !head.flags.has(Flags::EXPECT) {
                            assert_eq!(refusal.reason, expected, "{text}");
                        }
                    }
                    (_, other, _) => panic!("{text} gave {other:?}"),
                }
            }
        });
    }
}

/// RFC 9110, 12.5.3, 13.2.2 and 14.2 together: path and fields; the coding served, and what of it.
#[test]
fn coding_then_conditions_then_range() {
    let root = tempfile::tempdir().unwrap();
    let text = "0123456789".repeat(100);
    std::fs::write(root.path().join("a.txt"), &text).unwrap();
    let coded = std::fs::File::create(root.path().join("a.txt.gz")).unwrap();
    let mut coded = flate2::write::GzEncoder::new(coded, flate2::Compression::best());
    std::io::Write::write_all(&mut coded, text.as_bytes()).unwrap();
    coded.finish().unwrap();
    let text = format!(
        "[[site]]\n[[site.static]]\npath = \"/\"\nroot = {:?}",
        root.path()
    );
    let snapshot = Snapshot::build(&Config::parse(&text, "t").unwrap()).unwrap();
    let (_, Found::Response(plain)) = snapshot.find(b"a", b"/a.txt") else {
        panic!("no /a.txt");
    };
    let coded = snapshot.variants(plain)[0].1;
    let tag = |id| String::from_utf8(snapshot.validators(id).etag.unwrap().to_vec()).unwrap();
    assert_ne!(tag(plain), tag(coded));
    let part = |start, end| Some(Form::Part { start, end });
    let (full, none) = (Some(Form::Full), Some(Form::NotModified));
    let gone = Some(Form::Unsatisfiable);
    let table = [
        ("", plain, full),
        ("Accept-Encoding: br", plain, full),
        ("Accept-Encoding: gzip", coded, full),
        ("Accept-Encoding: gzip|If-None-Match: {coded}", coded, none),
        (
            "Accept-Encoding: gzip|If-None-Match: W/{coded}",
            coded,
            none,
        ),
        ("Accept-Encoding: gzip|If-None-Match: {plain}", coded, full),
        ("If-None-Match: {coded}", plain, full),
        ("If-None-Match: {coded}, {plain}", plain, none),
        ("Accept-Encoding: gzip|If-Match: {coded}", coded, full),
        ("Accept-Encoding: gzip|If-Match: {plain}", coded, None),
        ("If-Match: {coded}", plain, None),
        ("Range: bytes=2-3", plain, part(2, 4)),
        ("Accept-Encoding: gzip|Range: bytes=2-3", coded, part(2, 4)),
        ("Accept-Encoding: gzip|Range: bytes=500-", coded, gone),
        ("Range: bytes=500-", plain, part(500, 1000)),
        ("Range: bytes=0-1,3-4", plain, full),
        ("Range: bytes=2-3|If-Range: {plain}", plain, part(2, 4)),
        ("Range: bytes=2-3|If-Range: {coded}", plain, full),
        ("Range: bytes=9999-|If-Range: {coded}", plain, full),
        ("Range: bytes=2-3|If-None-Match: {plain}", plain, none),
        ("Range: bytes=2-3|If-Match: {coded}", plain, None),
        ("Range: bytes=2-3|If-Match: {plain}", plain, part(2, 4)),
        ("Range: bytes=9999-|If-None-Match: {plain}", plain, none),
    ];
    for (fields, id, form) in table {
        let fields = fields
            .replace("{plain}", &tag(plain))
            .replace("{coded}", &tag(coded))
            .replace('|', "\r\n");
        with_head(&format!("GET /a.txt|{fields}"), |head| {
            for fallback in [Kernel, Nobody] {
                let expected = match form {
                    Some(form) => Decision::Serve {
                        response: id,
                        form,
                        stale: false,
                    },
                    None => Decision::Refuse(refuse(N::Precondition, Some(head))),
                };
                let decided = decide(&snapshot, head, fallback, NOW).1;
                assert_eq!(decided, expected, "{fields}");
            }
        });
    }
}

#[test]
fn what_is_no_request_closes_the_connection() {
    for error in HeadError::ALL {
        let reason = N::Malformed(error);
        assert_eq!(decide_invalid(error, Kernel), Decision::HandOff(reason));
        let Decision::Refuse(refusal) = decide_invalid(error, Nobody) else {
            panic!("{error:?} is not refused")
        };
        assert!(refusal.close && refusal.body && refusal.reason == reason);
        assert!(matches!(refusal.status.code(), 400 | 414 | 431 | 501 | 505));
    }
}
