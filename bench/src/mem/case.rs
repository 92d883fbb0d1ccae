//! What is asked for, and of which site.

use sidestep_tests::mem::{MemConn, MemHost};
use std::fmt::Write as _;

/// Requests of one kind.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Case {
    /// What wrk sends; the answer has a dozen bytes
    Hello,
    /// The same with a body of 1 KiB
    Kib1,
    /// The same with a body of 10 KiB
    Kib10,
    /// Twenty paths in turn
    Mixed,
    /// A request with a condition, answered with 304
    NotModified,
    /// A browser's head, with all its fields
    Browser,
    /// Heads of which none is like one of the 4,095 before it
    Unlike,
    /// A connection for each request, which says so; the server ends it
    ServerCloses,
    /// A connection for each request, ended by the client behind the answer
    ClientCloses,
}

/// Which side sends the first FIN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Closes {
    Server,
    Client,
}

impl Case {
    /// The site.
    pub(super) fn config(self) -> String {
        let connections = match self.closes() {
            // So few that TIME-WAIT is full before anything counts: one ends then for each that begins, as in service.
            Some(_) => 4_096,
            None => 100_000,
        };
        let mut config = format!(
            r#"
[[listen]]
address = "192.0.2.1"
port = 80
fallback = "none"
[limits]
connections = {connections}
[[site]]
hosts = ["*"]
"#
        );
        let mut response = |path: &str, body: &str| {
            let text = "[[site.response]]\ncontent_type = \"text/plain\"";
            writeln!(config, "{text}\npath = {path:?}\nbody = {body:?}").expect("it is a string");
        };
        match self {
            Self::Hello
            | Self::NotModified
            | Self::Browser
            | Self::Unlike
            | Self::ServerCloses
            | Self::ClientCloses => {
                response("/", "Hello, world");
            }
            Self::Kib1 => response("/", &"k".repeat(1 << 10)),
            Self::Kib10 => response("/", &"k".repeat(10 << 10)),
            Self::Mixed => {
                for n in 0..20 {
                    let body = format!("page {n:02} ").repeat(1 + n % 4);
                    response(&format!("/pages/{n}.html"), &body);
                }
            }
        }
        config
    }

    /// Who ends a connection behind its first answer, where that is so.
    pub(super) fn closes(self) -> Option<Closes> {
        match self {
            Self::ServerCloses => Some(Closes::Server),
            Self::ClientCloses => Some(Closes::Client),
            Self::Hello
            | Self::Kib1
            | Self::Kib10
            | Self::Mixed
            | Self::NotModified
            | Self::Browser
            | Self::Unlike => None,
        }
    }

    /// What is sent, in turn.
    pub(super) fn requests(self, host: &mut MemHost, conn: &mut MemConn) -> Vec<String> {
        let get = |target: &str, fields: &str| {
            format!("GET {target} HTTP/1.1\r\nHost: 192.0.2.1\r\n{fields}\r\n")
        };
        match self {
            Self::Hello | Self::Kib1 | Self::Kib10 | Self::ClientCloses => vec![get("/", "")],
            Self::ServerCloses => vec![get("/", "Connection: close\r\n")],
            Self::Mixed => (0..20)
                .map(|n| get(&format!("/pages/{n}.html"), ""))
                .collect(),
            Self::NotModified => {
                let answer = conn.request(host, get("/", "").as_bytes());
                let answer = String::from_utf8(answer).expect("a text");
                let tag = answer.lines().find_map(|line| line.strip_prefix("ETag: "));
                let tag = tag.expect("an entity tag");
                vec![get("/", &format!("If-None-Match: {tag}\r\n"))]
            }
            Self::Browser => vec![get(
                "/",
                "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
                 Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
                 Accept-Language: en-US,en;q=0.5\r\n\
                 Accept-Encoding: gzip, deflate, br, zstd\r\n\
                 Connection: keep-alive\r\n\
                 Cookie: session=0123456789abcdef0123456789abcdef\r\n\
                 Upgrade-Insecure-Requests: 1\r\n\
                 Sec-Fetch-Dest: document\r\n\
                 Sec-Fetch-Mode: navigate\r\n\
                 Sec-Fetch-Site: none\r\n\
                 Priority: u=0, i\r\n",
            )],
            Self::Unlike => (0..4096).map(|n| get(&format!("/?{n:04}"), "")).collect(),
        }
    }
}
