//! Real requests by a real client on kernel sockets, and what came back.

use super::KERNEL_BODY;
use super::hosts::{CLIENT_V4, CLIENT_V6, HOST_V4, HOST_V6};
use super::site::{FILES, HELLO, PING};
use crate::daemon::Reader;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use ureq::Agent;

/// How long an answer, or its count, may take: a demo on an idle machine takes well under a
/// millisecond; more than this is a hang.
const PATIENCE: Duration = Duration::from_secs(5);

/// A line of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub request: String,
    /// `None`: no answer.
    pub status: Option<u16>,
    pub answered_by: &'static str,
    /// From sending the request to the last byte of the answer, on an open connection.
    pub micros: u128,
    /// What there is to see.
    pub note: String,
    /// What is wrong with the answer.
    pub wrong: Option<String>,
}

impl Row {
    pub fn right(&self) -> bool {
        self.wrong.is_none()
    }
}

/// Two requests on one connection; the second is the one in the table.
struct Expected {
    host: String,
    first: &'static str,
    path: &'static str,
    answer: Answer,
}

enum Answer {
    /// The fast path's.
    Fast(&'static [u8]),
    /// That of the kernel's server, which sees this client.
    Kernel(IpAddr),
}

const FAST: &str = "fast path";
const KERNEL: &str = "kernel";

/// Not of the site: the server's.
const ORDER: &str = "/orders/7";

fn expected() -> Vec<Expected> {
    let ask = |host: &str, first, path, answer| Expected {
        host: host.to_owned(),
        first,
        path,
        answer,
    };
    let (v4, v6) = (HOST_V4.to_string(), format!("[{HOST_V6}]"));
    let ping = || Answer::Fast(PING.as_bytes());
    let mut all: Vec<Expected> = FILES
        .into_iter()
        .zip(["/", "/style.css", "/logo.svg"])
        .map(|((_, bytes), path)| ask(&v4, path, path, Answer::Fast(bytes)))
        .collect();
    all.extend([
        ask(&v4, "/ping", "/ping", ping()),
        ask(&v4, "/hello", "/hello", Answer::Fast(HELLO.as_bytes())),
        ask(&v6, "/ping", "/ping", ping()),
        ask(&v4, ORDER, ORDER, Answer::Kernel(CLIENT_V4.into())),
        ask(&v4, "/ping", ORDER, Answer::Kernel(CLIENT_V4.into())),
        ask(&v6, "/ping", ORDER, Answer::Kernel(CLIENT_V6.into())),
    ]);
    all
}

impl Expected {
    /// Of the two requests, how many are the fast path's?
    fn hits(&self) -> u64 {
        let second = u64::from(matches!(self.answer, Answer::Fast(_)));
        second + u64::from(self.first != ORDER)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }

    /// Who gave this answer, what there is to see, and what is wrong with it.
    fn judge(&self, status: u16, body: &[u8]) -> (&'static str, String, Option<String>) {
        let text = String::from_utf8_lossy(body);
        let seen = text.strip_prefix(KERNEL_BODY).map(str::trim_end);
        let by = if seen.is_some() { KERNEL } else { FAST };
        let right = match (&self.answer, seen) {
            (Answer::Fast(bytes), None) => body == *bytes,
            (Answer::Kernel(client), Some(seen)) => seen
                .parse()
                .is_ok_and(|seen: SocketAddr| seen.ip() == *client),
            (Answer::Fast(_), Some(_)) | (Answer::Kernel(_), None) => false,
        };
        let note = match seen {
            Some(client) if self.first == ORDER => format!("sees {client}"),
            Some(client) => format!("sees {client}, after a hit on the connection"),
            None => String::new(),
        };
        let wrong = (status != 200 || !right).then(|| "not the answer expected".to_owned());
        (by, note, wrong)
    }
}

/// Sends two requests on one connection each, the first to open it, and times the second.
pub(super) fn send(reader: &Reader) -> Vec<Row> {
    expected()
        .into_iter()
        .map(|expected| {
            // A new connection: one that was handed over stays with the kernel.
            let agent: Agent = Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(PATIENCE))
                .build()
                .into();
            let before = requests(reader);
            // Its failure shows again in the second.
            let _ = get(&agent, &expected.url(expected.first));
            let mut row = check(&agent, &expected);
            let wanted = before + expected.hits();
            let counted = wait_for_count(reader, wanted);
            if counted != wanted && row.wrong.is_none() {
                row.wrong = Some(format!(
                    "the fast path counted {} requests, not {}",
                    counted - before,
                    wanted - before
                ));
            }
            row
        })
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "times a whole request for the table"
)]
fn check(agent: &Agent, expected: &Expected) -> Row {
    let request = expected.url(expected.path);
    let start = Instant::now();
    let answer = get(agent, &request);
    let micros = start.elapsed().as_micros();
    let (status, (answered_by, note, wrong)) = match answer {
        Err(e) => (None, ("nobody", String::new(), Some(e.to_string()))),
        Ok((status, body)) => (Some(status), expected.judge(status, &body)),
    };
    Row {
        request,
        status,
        answered_by,
        micros,
        note,
        wrong,
    }
}

fn get(agent: &Agent, url: &str) -> Result<(u16, Vec<u8>), ureq::Error> {
    let mut response = agent.get(url).call()?;
    let status = response.status().as_u16();
    Ok((status, response.body_mut().read_to_vec()?))
}

fn requests(reader: &Reader) -> u64 {
    reader.read().total("http", "requests")
}

/// Counters are published at the end of a batch, which may be after the client has its answer.
#[expect(
    clippy::disallowed_methods,
    reason = "bounds the wait for another thread"
)]
fn wait_for_count(reader: &Reader, wanted: u64) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counted = requests(reader);
        if counted >= wanted || Instant::now() > deadline {
            return counted;
        }
        std::thread::yield_now();
    }
}
