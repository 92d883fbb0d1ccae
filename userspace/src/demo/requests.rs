//! Real requests by a real client on kernel sockets, and what came back.

use super::hosts::{HOST_V4, HOST_V6};
use super::site::{FILES, HELLO, PING};
use super::{KERNEL_BODY, KERNEL_PORT};
use crate::daemon::Reader;
use std::time::{Duration, Instant};
use ureq::Agent;

/// How long an answer, or its count, may take: a demo on an idle machine takes well under a
/// millisecond; more than this is a hang.
const PATIENCE: Duration = Duration::from_secs(5);

/// A line of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub url: String,
    /// `None`: no answer.
    pub status: Option<u16>,
    pub answered_by: &'static str,
    /// From sending the request to the last byte of the answer, on an open connection.
    pub micros: u128,
    /// What is wrong with the answer.
    pub wrong: Option<String>,
}

impl Row {
    pub fn right(&self) -> bool {
        self.wrong.is_none()
    }
}

struct Expected {
    url: String,
    status: u16,
    /// `None`: any.
    body: Option<&'static [u8]>,
    by: &'static str,
}

const FAST: &str = "fast path";
const KERNEL: &str = "kernel";

fn expected() -> Vec<Expected> {
    let file = |name| {
        FILES
            .into_iter()
            .find(|(n, _)| *n == name)
            .map(|(_, bytes)| bytes)
    };
    let fast = |path: &str, status, body| Expected {
        url: format!("http://{HOST_V4}{path}"),
        status,
        body,
        by: FAST,
    };
    vec![
        fast("/", 200, file("index.html")),
        fast("/style.css", 200, file("style.css")),
        fast("/logo.svg", 200, file("logo.svg")),
        fast("/ping", 200, Some(PING.as_bytes())),
        fast("/hello", 200, Some(HELLO.as_bytes())),
        fast("/nothing-here", 404, None),
        Expected {
            url: format!("http://[{HOST_V6}]/ping"),
            status: 200,
            body: Some(PING.as_bytes()),
            by: FAST,
        },
        Expected {
            url: format!("http://{HOST_V4}:{KERNEL_PORT}/"),
            status: 200,
            body: Some(KERNEL_BODY.as_bytes()),
            by: KERNEL,
        },
    ]
}

/// Sends each request twice on one connection, the first to open it, and times the second.
pub(super) fn send(reader: &Reader) -> Vec<Row> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    expected()
        .into_iter()
        .map(|expected| {
            let before = requests(reader);
            // Its failure shows again in the second.
            let _ = get(&agent, &expected.url);
            let mut row = check(&agent, &expected);
            let wanted = before + if expected.by == FAST { 2 } else { 0 };
            let counted = wait_for_count(reader, wanted);
            row.answered_by = if counted > before { FAST } else { KERNEL };
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
    let start = Instant::now();
    let answer = get(agent, &expected.url);
    let micros = start.elapsed().as_micros();
    let (status, wrong) = match answer {
        Err(e) => (None, Some(e.to_string())),
        Ok((status, body)) => {
            let wrong = if status != expected.status {
                Some(format!("expected status {}", expected.status))
            } else if expected.body.is_some_and(|b| b != body) {
                Some("other bytes than the site has".to_owned())
            } else {
                None
            };
            (Some(status), wrong)
        }
    };
    Row {
        url: expected.url.clone(),
        status,
        answered_by: expected.by,
        micros,
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
