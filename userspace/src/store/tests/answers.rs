//! The bytes of an answer.

use super::*;

fn ping() -> (Snapshot, ResponseId) {
    let snapshot = snapshot(
        "[[site]]\n[[site.response]]\npath = \"/ping\"\ncontent_type = \"application/json\"\n\
         body = '{\"status\":\"ok\"}'",
    );
    let (_, Found::Response(id)) = snapshot.find(b"h", b"/ping") else {
        panic!("/ping is missing")
    };
    (snapshot, id)
}

#[test]
fn an_answer_is_byte_exact() {
    let (snapshot, id) = ping();
    let head = |connection: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nServer: sidestep\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             ETag: \"yqhgDZlASEX2-9pIHGdfNw\"\r\nContent-Type: application/json\r\nContent-Length: 15\r\n{connection}\r\n"
        )
    };
    let table = [
        (ConnectionField::None, ""),
        (ConnectionField::Close, "Connection: close\r\n"),
        (ConnectionField::KeepAlive, "Connection: keep-alive\r\n"),
    ];
    for (connection, line) in table {
        let whole = Rendering {
            connection,
            ..rendering(id)
        };
        assert_eq!(text(&snapshot, &whole), head(line) + "{\"status\":\"ok\"}");
        assert_eq!(
            text(
                &snapshot,
                &Rendering {
                    form: Form::Head,
                    ..whole
                }
            ),
            head(line)
        );
    }
}

#[test]
fn refusals() {
    let (snapshot, _) = ping();
    for status in Status::ALL {
        let id = snapshot.refusal(RouteId::NONE, status);
        assert_eq!(snapshot.status(id), status.code());
        let text = text(&snapshot, &rendering(id));
        assert!(
            text.starts_with(&format!("HTTP/1.1 {} ", status.code())),
            "{text}"
        );
        assert!(!text.lines().next().unwrap().ends_with(' '), "{text}");
        assert_eq!(
            text.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"),
            matches!(status, Status::MethodNotAllowed | Status::NoContent)
        );
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let length = format!("\r\nContent-Length: {}\r\n", body.len());
        let has_content = status != Status::NoContent;
        assert_eq!(!body.is_empty(), has_content, "{text}");
        assert_eq!(text.contains(&length), has_content, "{text}");
    }
}

#[test]
fn answers_without_content_state_none() {
    let snapshot = snapshot(
        "[[site]]\n[[site.response]]\npath = \"/204\"\nstatus = 204\n\
         [[site.response]]\npath = \"/205\"\nstatus = 205\n[[site.response]]\npath = \"/299\"\nstatus = 299",
    );
    let table = [
        ("/204", "HTTP/1.1 204 No Content\r\n", ""),
        (
            "/205",
            "HTTP/1.1 205 Reset Content\r\n",
            "Content-Length: 0\r\n",
        ),
        // RFC 9112, 4: the space stays where no phrase is known.
        (
            "/299",
            "HTTP/1.1 299 \r\n",
            "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 0\r\n",
        ),
    ];
    for (path, first, last) in table {
        let (_, Found::Response(id)) = snapshot.find(b"", path.as_bytes()) else {
            panic!("{path}")
        };
        let expected =
            format!("{first}Server: sidestep\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n{last}\r\n");
        assert_eq!(text(&snapshot, &rendering(id)), expected);
    }
}
