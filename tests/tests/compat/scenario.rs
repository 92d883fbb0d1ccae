//! What a client does with a server, and what has to come of it.

use super::websocket;
use sidestep_tests::clock::poll_for;
use sidestep_tests::http::{Answer, Client};
use sidestep_tests::net::Net;
use sidestep_tests::process;
use sidestep_tests::server::user::{HIT, Kind, Running, client_seen, records};
use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::NamedTempFile;

/// sidestep's answer to `GET /hit`; the servers have another.
pub const FAST_HIT: &[u8] = b"from the fast path\n";

/// Longest wait for bytes: Python needs seconds for a large body on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hits on one connection before the miss.
const MANY: u32 = 1_000;

/// What went wrong.
pub type Fault = Box<dyn Error + Send + Sync>;

/// Who answers `/hit` on a new connection, and how a connection gets to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// The server: sidestep is not there.
    Alone,
    /// sidestep, until the first miss of the connection, with which that is the server's.
    Handoff,
    /// sidestep, until the first miss of the connection; what follows goes through its proxy.
    Proxy,
}

/// Bodies, made once.
pub struct Sizes {
    /// Sent to `/upload`.
    pub upload: NamedTempFile,
    /// Its SHA-256, in hexadecimal digits.
    sum: String,
    /// Expected from `/download`.
    pub download: Vec<u8>,
}

impl Sizes {
    /// 10 MiB up, 100 MiB down.
    pub fn whole() -> Self {
        Self::new(10 << 20, 100 << 20)
    }

    /// What takes no time, but many segments and more than any first window.
    pub fn short() -> Self {
        Self::new(256 << 10, 4 << 20)
    }

    fn new(up: usize, down: usize) -> Self {
        let upload = NamedTempFile::new().expect("a temporary file");
        let mut rng = fastrand::Rng::with_seed(4);
        let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(up).collect();
        fs::write(upload.path(), bytes).expect("written");
        Self {
            sum: sha256(upload.path()),
            upload,
            download: records(down),
        }
    }
}

/// One server, as one client meets it.
pub struct Case<'a> {
    pub net: &'a Net,
    pub server: &'a Running,
    pub to: SocketAddr,
    pub front: Front,
    pub sizes: &'a Sizes,
    /// Counts what sidestep has to answer.
    pub hits: &'a AtomicU64,
}

pub struct Scenario {
    /// Its column in the matrix.
    pub name: &'static str,
    pub run: fn(&Case) -> Result<(), Fault>,
}

pub const SCENARIOS: [Scenario; 9] = [
    Scenario {
        name: "miss first",
        run: miss_first,
    },
    Scenario {
        name: "1,000 hits, miss",
        run: hits_then_miss,
    },
    Scenario {
        name: "hit, hit, miss, hit in one segment",
        run: pipelined,
    },
    Scenario {
        name: "POST",
        run: upload,
    },
    Scenario {
        name: "POST, 100-continue",
        run: upload_when_told,
    },
    Scenario {
        name: "download",
        run: download,
    },
    Scenario {
        name: WEBSOCKET,
        run: websocket,
    },
    Scenario {
        name: EVENTS,
        run: events,
    },
    Scenario {
        name: "address in its log",
        run: logged,
    },
];

const WEBSOCKET: &str = "WebSocket";
const EVENTS: &str = "server-sent events";

/// Why a scenario does not apply to a server.
pub fn not_applicable(kind: Kind, scenario: &str) -> Option<&'static str> {
    match (kind, scenario) {
        (Kind::Nginx, WEBSOCKET | EVENTS) => Some("nginx has none of its own"),
        (Kind::Gunicorn, WEBSOCKET) => Some("a sync worker serves one request at a time"),
        _ => None,
    }
}

/// Whether the server keeps a connection for a second request.
pub fn keeps_alive(kind: Kind) -> bool {
    kind != Kind::Gunicorn
}

impl Case<'_> {
    fn connect(&self) -> Result<(Client, SocketAddr), Fault> {
        let stream = self.net.client.connect(self.to, PATIENCE)?;
        let local = stream.local_addr()?;
        Ok((Client::new(stream), local))
    }

    /// Whether `/hit` can come before something else on a connection.
    fn hit_and_more(&self) -> bool {
        self.front != Front::Alone || keeps_alive(self.server.kind)
    }

    /// A connection with `count` hits behind it, where the server would not close it after the first.
    fn connect_with_hits(&self, count: u32) -> Result<(Client, SocketAddr), Fault> {
        let (mut client, local) = self.connect()?;
        if self.hit_and_more() {
            for number in 0..count {
                let answer = client.get("/hit");
                let answer = answer.map_err(|error| format!("hit {number}: {error}"))?;
                self.is_hit(&answer, self.front)?;
            }
        }
        Ok((client, local))
    }

    /// Checks an answer to `/hit` that comes from whom `front` says.
    fn is_hit(&self, answer: &Answer, front: Front) -> Result<(), Fault> {
        let body = match front {
            Front::Alone => HIT,
            Front::Handoff | Front::Proxy => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                FAST_HIT
            }
        };
        is(answer, "/hit", body)
    }

    /// Checks an answer to `/miss`, and returns the address and port that the server has seen: the client's own, or
    /// through the proxy one of the server's own host.
    fn is_miss(&self, answer: &Answer, local: SocketAddr) -> Result<SocketAddr, Fault> {
        let seen = client_seen(&answer.body).filter(|seen| match self.front {
            Front::Alone | Front::Handoff => *seen == local,
            Front::Proxy => seen.ip() == self.to.ip() && seen.port() != self.to.port(),
        });
        match seen {
            Some(seen) if answer.status == 200 => Ok(seen),
            _ => {
                let (body, head) = (answer.body.escape_ascii(), &answer.head);
                Err(format!("/miss from {local}: seen as {body}:\n{head}").into())
            }
        }
    }
}

fn is(answer: &Answer, path: &str, body: &[u8]) -> Result<(), Fault> {
    if answer.status == 200 && answer.body == body {
        return Ok(());
    }
    let at = answer.body.iter().zip(body).position(|(a, b)| a != b);
    let (got, head) = (answer.body.len(), &answer.head);
    Err(format!(
        "{path}: {got} bytes, first difference at {at:?}, expected {}:\n{head}",
        body.len()
    )
    .into())
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// The first request of a connection is the server's, and so is all behind it.
fn miss_first(case: &Case) -> Result<(), Fault> {
    let (mut client, local) = case.connect()?;
    let seen = case.is_miss(&client.get("/miss")?, local)?;
    if keeps_alive(case.server.kind) {
        case.is_hit(&client.get("/hit")?, Front::Alone)?;
        let again = case.is_miss(&client.get("/miss")?, local)?;
        if again != seen {
            return Err(format!("{local} is {seen}, then {again}").into());
        }
    }
    Ok(())
}

fn hits_then_miss(case: &Case) -> Result<(), Fault> {
    let (mut client, local) = case.connect_with_hits(MANY)?;
    case.is_miss(&client.get("/miss")?, local).map(drop)
}

/// Four requests in one segment; a server that closes after its first answer leaves the rest to the client.
fn pipelined(case: &Case) -> Result<(), Fault> {
    let (mut client, local) = case.connect()?;
    client.send([get("/hit"), get("/hit"), get("/miss"), get("/hit")].concat())?;
    case.is_hit(&client.answer()?, case.front)?;
    if case.hit_and_more() {
        case.is_hit(&client.answer()?, case.front)?;
        case.is_miss(&client.answer()?, local)?;
    }
    if keeps_alive(case.server.kind) {
        return case.is_hit(&client.answer()?, Front::Alone);
    }
    match client.rest() {
        Ok(rest) if !rest.is_empty() => Err("more answers than requests".into()),
        _ => Ok(()),
    }
}

fn upload(case: &Case) -> Result<(), Fault> {
    let (mut client, _) = case.connect_with_hits(1)?;
    let body = fs::read(case.sizes.upload.path())?;
    client.send(post(body.len(), ""))?;
    client.send(body)?;
    is_uploaded(case, &client.answer()?)
}

/// The body is sent when the server has said so; then curl does the same on a connection of its own.
fn upload_when_told(case: &Case) -> Result<(), Fault> {
    let (mut client, _) = case.connect_with_hits(1)?;
    let body = fs::read(case.sizes.upload.path())?;
    client.send(post(body.len(), "Expect: 100-continue\r\n"))?;
    let told = client.answer_to_head()?;
    if told.status != 100 {
        return Err(format!("not told to go on: {}", told.head).into());
    }
    client.send(body)?;
    is_uploaded(case, &client.answer()?)?;
    curl(case)
}

fn curl(case: &Case) -> Result<(), Fault> {
    let file = format!("@{}", case.sizes.upload.path().display());
    let url = format!("http://{}/upload", case.to);
    let limit = PATIENCE.as_secs().to_string();
    let mut argv = vec![
        "curl",
        "-sSv",
        "--noproxy",
        "*",
        "--data-binary",
        &file,
        &url,
    ];
    argv.extend([
        "--header",
        "Expect: 100-continue",
        "--header",
        "Content-Type: application/octet-stream",
    ]);
    // Without the server's word it would send the body after a second of its own.
    argv.extend(["--expect100-timeout", &limit, "--max-time", &limit]);
    let done = case.net.client.run(&argv, PATIENCE * 2);
    if !done.stderr.contains("< HTTP/1.1 100") {
        return Err(format!("curl was not told to go on: {}", done.stderr).into());
    }
    let answer = Answer {
        status: 200,
        head: done.stderr,
        body: done.stdout.into_bytes(),
    };
    is_uploaded(case, &answer)
}

fn post(length: usize, fields: &str) -> String {
    format!(
        "POST /upload HTTP/1.1\r\nHost: test\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n{fields}\r\n"
    )
}

/// The server has told length and sum of what it got, or for nginx the name of the file that holds it.
fn is_uploaded(case: &Case, answer: &Answer) -> Result<(), Fault> {
    let length = fs::metadata(case.sizes.upload.path())?.len();
    let expected = format!("{length} {}", case.sizes.sum);
    let said = String::from_utf8_lossy(&answer.body).trim_end().to_owned();
    let got = if case.server.kind == Kind::Nginx && Path::new(&said).is_file() {
        format!(
            "{} {}",
            fs::metadata(&said)?.len(),
            sha256(Path::new(&said))
        )
    } else {
        said
    };
    if answer.status == 200 && got == expected {
        return Ok(());
    }
    Err(format!("got {got:?} instead of {expected:?}:\n{}", answer.head).into())
}

fn download(case: &Case) -> Result<(), Fault> {
    let (mut client, _) = case.connect_with_hits(1)?;
    let path = format!("/download?bytes={}", case.sizes.download.len());
    is(&client.get(&path)?, &path, &case.sizes.download)
}

fn websocket(case: &Case) -> Result<(), Fault> {
    let (client, _) = case.connect_with_hits(1)?;
    websocket::talk(client)
}

fn events(case: &Case) -> Result<(), Fault> {
    let (mut client, _) = case.connect_with_hits(1)?;
    let answer = client.get("/events")?;
    let kind = answer.field("content-type").unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        return Err(format!("events are {kind:?}").into());
    }
    let five: String = (1..=5)
        .map(|number| format!("data: {number}\n\n"))
        .collect();
    is(&answer, "/events", five.as_bytes())
}

fn logged(case: &Case) -> Result<(), Fault> {
    let (mut client, local) = case.connect_with_hits(1)?;
    let seen = case.is_miss(&client.get("/miss")?, local)?;
    // It may log after it has answered.
    let found = poll_for(PATIENCE, || case.server.logged(seen, "/miss").then_some(()));
    found.ok_or_else(|| format!("its log does not have {seen}").into())
}

fn sha256(path: &Path) -> String {
    let mut command = Command::new("sha256sum");
    command.arg(path);
    let said = process::must(command, PATIENCE);
    said.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}
