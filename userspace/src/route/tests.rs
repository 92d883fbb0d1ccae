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
        ("OPTIONS *", Err(N::Method), 405, false),
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
        ("GET /ok|Expect: 100-continue", Err(N::Expect), 417, false),
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
                        assert_eq!(refusal.reason, expected, "{text}");
                    }
                    (_, other, _) => panic!("{text} gave {other:?}"),
                }
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
