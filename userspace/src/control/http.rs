//! The same over HTTP/1.1, for programs that would rather not run a command: `docs/control.md`.

use super::server::{MAX_BODY, MAX_REQUEST};
use super::{Request, Response};
use crate::store::{Purge, Put, Scope};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{self, BufRead, Read, Write};

/// Fields of a head: an HTTP client sends about ten.
const MAX_FIELDS: usize = 64;

/// A status code, and what is wrong.
type Refusal = (u16, String);

/// What a head says.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    request: Request,
    /// The client waits for leave to send what it puts (RFC 9110, 10.1.1).
    expects: bool,
}

/// Serves one request; the connection ends behind it.
pub(super) fn serve(
    input: &mut impl BufRead,
    mut output: impl Write,
    answer: impl Fn(Request, &[u8]) -> Response,
) -> io::Result<()> {
    let (status, body) = match read(&head(input)?) {
        Err((status, why)) => (status, json!({ "error": why })),
        Ok(Asked { request, expects }) => {
            let mut body = Vec::new();
            if let Request::Put { length, .. } = request {
                if expects {
                    output.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                }
                body = vec![0; length as usize];
                input.read_exact(&mut body)?;
            }
            shown(answer(request, &body))
        }
    };
    let phrase = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|s| s.canonical_reason())
        .unwrap_or_default();
    let body = format!("{body}\n");
    write!(
        output,
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Reads to the empty line; what does not end there is cut off.
fn head(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut input = input.take(MAX_REQUEST);
    while input.read_until(b'\n', &mut head)? > 0 {
        if head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n") {
            break;
        }
    }
    Ok(head)
}

fn shown(response: Response) -> (u16, serde_json::Value) {
    match response {
        Response::Status(status) => (200, status),
        Response::Reloaded(reload) => (200, json!(reload)),
        Response::Done => (200, json!({})),
        Response::Purged(count) => (200, json!({ "purged": count })),
        Response::Detaching => (202, json!({})),
        Response::Invalid(why) => (422, json!({ "error": why })),
        Response::Error(why) => (409, json!({ "error": why })),
    }
}

fn read(head: &[u8]) -> Result<Asked, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err((400, "not a request".into())),
        Err(e) => return Err((400, format!("not a request: {e}"))),
    }
    let field = |name: &str| {
        let mut fields = parsed.headers.iter();
        let field = fields.find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok()
    };
    let target = parsed.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = Query(
        form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
    );
    let request = match (parsed.method.unwrap_or_default(), path) {
        ("GET", "/status") => {
            query.only(&[])?;
            Request::Status
        }
        ("POST", "/reload") => {
            query.only(&[])?;
            Request::Reload
        }
        ("POST", "/purge") => Request::Purge(query.purge()?),
        ("PUT", "/put") => {
            let length = field("content-length").ok_or((411, "how long is it?".into()))?;
            let length = length.parse().map_err(|_| bad("Content-Length"))?;
            if length > MAX_BODY {
                return Err((413, format!("over {} MiB", MAX_BODY >> 20)));
            }
            let content_type = field("content-type");
            let put = query.put(content_type.unwrap_or("application/octet-stream"))?;
            Request::Put { put, length }
        }
        (_, "/status" | "/reload" | "/purge" | "/put") => {
            return Err((405, "see docs/control.md".into()));
        }
        _ => return Err((404, "see docs/control.md".into())),
    };
    let expects = field("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue"));
    Ok(Asked { request, expects })
}

fn bad(what: &str) -> Refusal {
    (400, format!("`{what}` is missing, wrong, or there twice"))
}

struct Query(Vec<(String, String)>);

impl Query {
    fn only(&self, names: &[&str]) -> Result<(), Refusal> {
        match self
            .0
            .iter()
            .find(|(name, _)| !names.contains(&name.as_str()))
        {
            Some((name, _)) => Err((400, format!("`{name}` means nothing here"))),
            None => Ok(()),
        }
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |pair| pair.0 == name);
        named.map(|pair| pair.1.as_str())
    }

    /// The value of what is given once at most.
    fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Refusal> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            Some(_) => Err(bad(name)),
            None => Ok(first),
        }
    }

    fn put(&self, content_type: &str) -> Result<Put, Refusal> {
        self.only(&["host", "path", "ttl", "tag"])?;
        let ttl = self.one("ttl")?.map(humantime::parse_duration);
        Ok(Put {
            host: self.one("host")?.map(Into::into),
            path: self.one("path")?.ok_or_else(|| bad("path"))?.into(),
            content_type: content_type.into(),
            ttl: ttl.transpose().map_err(|_| bad("ttl"))?,
            tags: self.all("tag").map(Into::into).collect::<BTreeSet<_>>(),
        })
    }

    fn purge(&self) -> Result<Purge, Refusal> {
        self.only(&["host", "path", "prefix", "tag", "all"])?;
        let scopes = [
            self.one("path")?.map(|path| Scope::Path(path.into())),
            self.one("prefix")?
                .map(|prefix| Scope::Prefix(prefix.into())),
            self.one("tag")?.map(|tag| Scope::Tag(tag.into())),
            self.one("all")?.map(|_| Scope::All),
        ];
        let mut scopes = scopes.into_iter().flatten();
        match (scopes.next(), scopes.next()) {
            (Some(scope), None) => Ok(Purge {
                host: self.one("host")?.map(Into::into),
                scope,
            }),
            _ => Err((
                400,
                "one of `path`, `prefix`, `tag` and `all` is needed".into(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ask(text: &str) -> Result<Request, u16> {
        let head = format!("{text}\r\n\r\n");
        read(head.as_bytes())
            .map(|asked| asked.request)
            .map_err(|e| e.0)
    }

    #[test]
    fn requests_are_understood() {
        assert_eq!(ask("GET /status HTTP/1.1"), Ok(Request::Status));
        assert_eq!(ask("POST /reload HTTP/1.1"), Ok(Request::Reload));
        let purge = |host: Option<&str>, scope| {
            let host = host.map(Into::into);
            Ok(Request::Purge(Purge { host, scope }))
        };
        let table = [
            ("path=/a%2520b", None, Scope::Path("/a%20b".into())),
            ("host=h&prefix=/a/", Some("h"), Scope::Prefix("/a/".into())),
            ("tag=x+y", None, Scope::Tag("x y".into())),
            ("all", None, Scope::All),
        ];
        for (query, host, scope) in table {
            let text = format!("POST /purge?{query} HTTP/1.1");
            assert_eq!(ask(&text), purge(host, scope), "{query}");
        }
        let put = ask(
            "PUT /put?path=/a&host=h&ttl=90s&tag=x&tag=y HTTP/1.1\r\nContent-Length: 7\r\ncontent-type: text/css",
        );
        let expected = Put {
            host: Some("h".into()),
            path: "/a".into(),
            content_type: "text/css".into(),
            ttl: Some(Duration::from_secs(90)),
            tags: ["x".into(), "y".into()].into(),
        };
        assert_eq!(
            put,
            Ok(Request::Put {
                put: expected,
                length: 7
            })
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        for (text, status) in [
            ("hello", 400),
            ("GET / HTTP/1.1", 404),
            ("GET /reload HTTP/1.1", 405),
            ("GET /status?x=1 HTTP/1.1", 400),
            ("POST /purge HTTP/1.1", 400),
            ("POST /purge?path=/a&tag=b HTTP/1.1", 400),
            ("POST /purge?path=/a&path=/b HTTP/1.1", 400),
            ("POST /purge?pth=/a HTTP/1.1", 400),
            ("PUT /put?path=/a HTTP/1.1", 411),
            ("PUT /put HTTP/1.1\r\nContent-Length: 1", 400),
            ("PUT /put?path=/a HTTP/1.1\r\nContent-Length: x", 400),
            (
                "PUT /put?path=/a HTTP/1.1\r\nContent-Length: 999999999999",
                413,
            ),
            (
                "PUT /put?path=/a&ttl=soon HTTP/1.1\r\nContent-Length: 1",
                400,
            ),
        ] {
            assert_eq!(ask(text), Err(status), "{text}");
        }
    }

    #[test]
    fn what_is_put_is_read_when_the_client_was_told_to_go_on() {
        let sent =
            b"PUT /put?path=/a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody";
        let mut output = Vec::new();
        serve(&mut &sent[..], &mut output, |request, body| {
            assert!(matches!(request, Request::Put { length: 4, .. }));
            assert_eq!(body, b"body");
            Response::Done
        })
        .unwrap();
        let output = String::from_utf8(output).unwrap();
        assert!(
            output.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"),
            "{output}"
        );
        assert!(output.ends_with("\r\n\r\n{}\n"), "{output}");
    }
}
