//! However the requests of `tests/heads/corpus.txt` arrive, they get the same answers, and a server behind gets the same
//! bytes.

use super::leaving::Kernel;
use super::{PING, at, ping_answer};
use sidestep::handoff::Standing;
use sidestep_tests::clock::soak;
use sidestep_tests::mem::{MemConn, MemHost};
use sidestep_tests::raw::{Received, flag};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// A line of the corpus.
pub(super) struct Entry {
    pub(super) name: &'static str,
    statuses: Vec<u16>,
    closes: bool,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn corpus() -> Vec<Entry> {
    let text = include_str!("../../heads/corpus.txt");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let parts: Vec<&str> = line.splitn(3, " | ").collect();
            let [name, gets, bytes] = parts[..] else {
                panic!("{line}");
            };
            let mut words: Vec<&str> = gets.split_whitespace().collect();
            let closes = words.last() == Some(&"close");
            words.truncate(words.len() - usize::from(closes));
            let statuses = words.iter().map(|word| word.parse().expect("a status"));
            Entry {
                name: name.trim(),
                statuses: statuses.collect(),
                closes,
                bytes: unescape(bytes),
            }
        })
        .collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        match first {
            '\\' => {
                let (escape, behind) = rest.split_at(1);
                rest = behind;
                bytes.push(match escape {
                    "r" => b'\r',
                    "n" => b'\n',
                    "t" => b'\t',
                    "0" => 0,
                    "\\" => b'\\',
                    "x" => {
                        let (digits, behind) = rest.split_at(2);
                        rest = behind;
                        u8::from_str_radix(digits, 16).expect("two digits")
                    }
                    other => panic!("\\{other} in {text}"),
                });
            }
            '<' => {
                let (what, behind) = rest.split_once('>').expect("a > behind <");
                rest = behind;
                let (byte, count) = what.split_once('*').expect("a * between < and >");
                bytes.extend(byte.repeat(count.parse().expect("a count")).bytes());
            }
            _ => bytes.push(u8::try_from(first).expect("ASCII")),
        }
    }
    bytes
}

pub(super) fn config(fallback: &str) -> String {
    format!(
        r#"
[[listen]]
address = "192.0.2.1"
port = 80
fallback = "{fallback}"
[[site]]
hosts = ["*"]
[[site.response]]
path = "/ping"
content_type = "application/json"
body = '{{"status":"ok"}}'
[[site.response]]
path = "/long"
content_type = "text/plain"
body = "{}"
[[site.response]]
path = "/gone"
status = 410
body = "gone"
[limits]
connections = 2000
header_bytes = "1KiB"
"#,
        "0123456789".repeat(300)
    )
}

/// Connections to one host, each from a port of its own.
pub(super) struct Clients {
    pub(super) host: MemHost,
    port: u16,
}

impl Clients {
    pub(super) fn new(fallback: &str) -> Self {
        let config = config(fallback);
        let host = match fallback {
            "none" => MemHost::new(&config, 256, 256),
            _ => {
                let kernel = Box::new(Kernel::new(Standing::Taken));
                MemHost::beside_kernel(&config, 256, 256, kernel)
            }
        };
        Self { host, port: 1024 }
    }

    pub(super) fn open(&mut self) -> MemConn {
        // Ports come round: by then their last connections are out of TIME-WAIT.
        self.port = if self.port == u16::MAX {
            1024
        } else {
            self.port + 1
        };
        let from = SocketAddr::new(IpAddr::from([192, 0, 2, 2]), self.port);
        MemConn::open(&mut self.host, from, at("192.0.2.1:80"))
    }

    /// Sends `parts` one after the other; what comes back, and whether the host ends the connection.
    pub(super) fn ask<'b>(&mut self, parts: impl IntoIterator<Item = &'b [u8]>) -> (Vec<u8>, bool) {
        let mut conn = self.open();
        let mut answer = Vec::new();
        let mut ended = false;
        for part in parts {
            // A frame holds no more.
            for part in part.chunks(1400) {
                self.send(&mut conn, part, &mut answer, &mut ended);
            }
        }
        self.host.exchange(&[conn.reset()]);
        (answer, ended)
    }

    fn send(&mut self, conn: &mut MemConn, part: &[u8], answer: &mut Vec<u8>, ended: &mut bool) {
        let mut offered = conn.data(part);
        loop {
            let sent = self.host.exchange(&[offered]);
            for frame in &sent {
                answer.extend(conn.take(frame));
                *ended |= Received::parse(frame).is_some_and(|s| s.has(flag::FIN));
            }
            if sent.is_empty() {
                return;
            }
            offered = conn.ack();
        }
    }
}

/// The statuses of `answers`, by their own lengths; of answers to HEAD if `head`.
fn statuses(mut answers: &[u8], head: bool) -> Vec<u16> {
    let mut found = Vec::new();
    while !answers.is_empty() {
        let end = answers.windows(4).position(|w| w == b"\r\n\r\n");
        let (text, rest) = answers.split_at(end.expect("the end of a head") + 4);
        let text = std::str::from_utf8(text).expect("a head is text");
        let status = text.strip_prefix("HTTP/1.1 ").map(|rest| &rest[..3]);
        found.push(status.and_then(|s| s.parse().ok()).expect("a status"));
        let length = text
            .split("\r\n")
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().expect("a length"));
        let length: usize = if head { 0 } else { length };
        answers = &rest[length..];
    }
    found
}

#[test]
fn every_request_of_the_corpus_gets_what_it_should() {
    let mut clients = Clients::new("none");
    let corpus = corpus();
    assert!(corpus.len() > 80, "{} lines", corpus.len());
    for entry in &corpus {
        let (answer, ended) = clients.ask([&entry.bytes[..]]);
        let head = entry.bytes.starts_with(b"HEAD");
        let seen = (statuses(&answer, head), ended);
        assert_eq!(
            seen,
            (entry.statuses.clone(), entry.closes),
            "{}",
            entry.name
        );
    }
}

#[test]
fn split_at_every_byte_they_get_the_same_answers() {
    let mut clients = Clients::new("none");
    for Entry { name, bytes, .. } in corpus() {
        let whole = clients.ask([&bytes[..]]);
        for cut in 1..bytes.len() {
            // Inside of a run of one byte, each place is like the next.
            if bytes.len() > 1000 && cut % 50 != 0 && bytes[cut - 1] == bytes[cut] {
                continue;
            }
            let (first, rest) = bytes.split_at(cut);
            assert_eq!(clients.ask([first, rest]), whole, "{name} at {cut}");
        }
        let bytewise = clients.ask(bytes.chunks(1));
        assert_eq!(bytewise, whole, "{name} byte by byte");
    }
}

/// Depths from 1 to 1,000, each beginning at another request, and ended by one that closes the connection.
#[test]
fn in_pipelines_of_1_to_1000_they_get_the_same_answers() {
    let mut clients = Clients::new("none");
    let (last, lasting): (Vec<Entry>, Vec<Entry>) =
        corpus().into_iter().partition(|entry| entry.closes);
    let answers: BTreeMap<&str, Vec<u8>> = lasting
        .iter()
        .chain(&last)
        .map(|entry| (entry.name, clients.ask([&entry.bytes[..]]).0))
        .collect();
    let step = if soak() { 1 } else { 37 };
    for depth in (1..30).chain((30..1000).step_by(step)).chain([1000]) {
        let mut pipeline = Vec::new();
        let mut expected = Vec::new();
        let requests = lasting.iter().cycle().skip(depth).take(depth - 1);
        let end = &last[depth % last.len()];
        for entry in requests.chain([end]) {
            pipeline.extend_from_slice(&entry.bytes);
            expected.extend_from_slice(&answers[entry.name]);
        }
        let (answer, ended) = clients.ask([&pipeline[..]]);
        assert!(ended, "a pipeline of {depth} that ends with {}", end.name);
        assert!(
            answer == expected,
            "a pipeline of {depth} that ends with {}: {} bytes, not {}",
            end.name,
            answer.len(),
            expected.len()
        );
    }
}

/// With a server behind: each request is answered here, as without one, or given to the server with all its bytes.
#[test]
fn a_server_behind_gets_every_byte_of_what_is_not_served() {
    let mut alone = Clients::new("none");
    let mut clients = Clients::new("kernel");
    for Entry { name, bytes, .. } in corpus() {
        let here = alone.ask([PING.as_bytes(), &bytes]).0;
        let mut left = None;
        for cut in 1..=bytes.len() {
            if bytes.len() > 1000
                && cut % 50 != 0
                && bytes[cut - 1] == bytes[cut.min(bytes.len() - 1)]
            {
                continue;
            }
            let (first, rest) = bytes.split_at(cut);
            let first = [PING.as_bytes(), first].concat();
            let parts = [&first[..], rest];
            let (answer, _) = clients.ask(parts.into_iter().filter(|part| !part.is_empty()));
            let server = in_order(&clients.host.take_injected());
            // The first of two may be served here.
            let mine = answer.len();
            assert_eq!(answer, here[..mine], "{name} at {cut}");
            if server.is_empty() {
                assert_eq!(mine, here.len(), "{name} at {cut}");
            } else {
                assert!(mine >= ping_answer().len(), "{name} at {cut}");
                assert!(
                    bytes.ends_with(&server),
                    "{name} at {cut}: {}",
                    server.escape_ascii()
                );
            }
            let split = (answer, server);
            assert_eq!(
                *left.get_or_insert_with(|| split.clone()),
                split,
                "{name} at {cut}"
            );
        }
        let (answer, server) = left.expect("at least one byte");
        if answer == ping_answer() {
            assert_eq!(server, bytes, "{name}");
        }
    }
}

/// The client's bytes in the frames that the kernel was given, each once. A reset of the client's is no byte of it.
fn in_order(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut next: Option<u32> = None;
    for frame in frames {
        let segment = Received::parse(frame).expect("a segment");
        if segment.payload.is_empty() {
            continue;
        }
        let expected = *next.get_or_insert(segment.seq);
        let known = expected.wrapping_sub(segment.seq) as usize;
        assert!(
            known <= segment.payload.len(),
            "a gap before {}",
            segment.seq
        );
        bytes.extend_from_slice(&segment.payload[known..]);
        next = Some(segment.end());
    }
    bytes
}
