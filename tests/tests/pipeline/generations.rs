//! Snapshots that are replaced while answers made from them are under way.

use super::leaving::Kernel;
use super::{PING, at, open};
use fastrand::Rng;
use sidestep::handoff::Standing;
use sidestep_tests::mem::{MemConn, MemHost};
use sidestep_tests::raw::{Received, flag};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Every body is `len` times the same letter, so that a mixture would show.
fn config(letter: u8, len: usize, fallback: &str) -> String {
    let body = String::from(char::from(letter)).repeat(len);
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
content_type = "text/plain"
body = "{body}"
[limits]
connections = 100
"#
    )
}

fn held(host: &MemHost) -> (u64, u64) {
    (
        host.counter("snapshots", "held"),
        host.counter("snapshots", "pieces"),
    )
}

#[test]
fn an_answer_is_sent_again_as_it_was_after_its_snapshot_was_replaced() {
    let mut host = MemHost::new(&config(b'a', 100, "none"), 64, 64);
    let mut conn = open(&mut host, 4000);
    let first = host.exchange(&[conn.data(PING.as_bytes())]);
    assert_eq!(held(&host), (1, 1));
    for letter in b'b'..=b'd' {
        host.replace(&config(letter, 300, "none"));
        let mut other = open(&mut host, 4000 + u16::from(letter));
        let answer = other.request(&mut host, PING.as_bytes());
        assert!(
            answer.ends_with(&[letter; 300]),
            "{}",
            answer.escape_ascii()
        );
    }
    assert_eq!(held(&host), (2, 1), "only what is not acknowledged stays");
    host.advance(Duration::from_secs(1));
    let again = host.exchange(&[]);
    let payload = |frames: &[Vec<u8>]| Received::parse(&frames[0]).map(|s| (s.seq, s.payload));
    assert_eq!(payload(&again), payload(&first));
    conn.take(&again[0]);
    assert_eq!(host.exchange(&[conn.ack()]), Vec::<Vec<u8>>::new());
    assert_eq!(held(&host), (1, 0));
}

/// A request that another worker received belongs to what is current when it is taken from the mailbox.
#[test]
fn a_stray_request_is_answered_from_the_current_snapshot() {
    let mut ring = MemHost::ring(&config(b'a', 10, "none"), 64, 64, 2);
    let mut conn = open(&mut ring[0], 4000);
    assert_eq!(
        ring[1].exchange(&[conn.data(PING.as_bytes())]),
        Vec::<Vec<u8>>::new()
    );
    ring[0].replace(&config(b'b', 10, "none"));
    let sent = ring[0].exchange(&[]);
    let answer: Vec<u8> = sent.iter().flat_map(|f| conn.take(f)).collect();
    assert!(answer.ends_with(b"bbbbbbbbbb"), "{}", answer.escape_ascii());
}

/// However connections end, nothing of an old snapshot stays, and what was sent never changes. A failure names its seed.
#[test]
fn every_piece_comes_back_however_its_connection_ends() {
    for seed in 0..60 {
        let result = std::panic::catch_unwind(|| storm(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}

struct Client {
    conn: MemConn,
    /// The host's first sequence number.
    first: u32,
    /// What the host has sent, by its place in the stream.
    stream: Vec<Option<u8>>,
}

impl Client {
    fn record(&mut self, segment: &Received) {
        let at = segment.seq.wrapping_sub(self.first) as usize;
        let end = at + segment.payload.len();
        if self.stream.len() < end {
            self.stream.resize(end, None);
        }
        for (known, &sent) in self.stream[at..end].iter_mut().zip(&segment.payload) {
            assert_eq!(*known.get_or_insert(sent), sent, "sent again differently");
        }
    }

    /// Each answer that is here whole has one letter.
    fn check(&self) {
        let bytes: Vec<u8> = self.stream.iter().map_while(|b| *b).collect();
        let mut rest = &bytes[..];
        while let Some(end) = rest.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&rest[..end]).into_owned();
            let (_, len) = head.split_once("Content-Length: ").expect("a length");
            let digits = len.split("\r\n").next().unwrap_or_default();
            let len: usize = digits.parse().expect("digits");
            let body = &rest[end + 4..];
            let body = &body[..len.min(body.len())];
            let stored = head.starts_with("HTTP/1.1 200");
            assert!(
                !stored || body.windows(2).all(|w| w[0] == w[1]),
                "{}",
                body.escape_ascii()
            );
            rest = &rest[end + 4 + body.len()..];
        }
    }
}

fn storm(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let fallback = if rng.bool() { "kernel" } else { "none" };
    let standing = [Standing::Taken, Standing::Pending, Standing::NoListener][rng.usize(0..3)];
    let kernel = Box::new(Kernel::new(standing));
    let letter = |rng: &mut Rng| config(rng.u8(b'a'..=b'z'), rng.usize(1..4000), fallback);
    let config = letter(&mut rng);
    let mut host = MemHost::beside_kernel(&config, 256, rng.usize(1..64), kernel);
    let mut clients: HashMap<u16, Client> = HashMap::new();
    for step in 0..200 {
        let port = rng.u16(3990..4000);
        match (rng.u8(0..12), clients.get_mut(&port)) {
            (0, _) => host.replace(&letter(&mut rng)),
            (_, None) => {
                let to = at("192.0.2.1:80");
                let from = SocketAddr::new(IpAddr::from([192, 0, 2, 2]), port);
                // A full transmit ring keeps its SYN-ACK, and the kernel has its flow.
                host.take_sent(|_| {});
                if let Some(conn) = MemConn::try_open(&mut host, from, to) {
                    let first = conn.numbers().1;
                    clients.insert(
                        port,
                        Client {
                            conn,
                            first,
                            stream: Vec::new(),
                        },
                    );
                }
            }
            (1..7, Some(client)) => {
                let requests = PING.repeat(rng.usize(1..6));
                host.offer(&client.conn.data(requests.as_bytes()));
            }
            (7, Some(client)) => {
                host.offer(
                    &client
                        .conn
                        .data(b"GET /elsewhere HTTP/1.1\r\nHost: test\r\n\r\n"),
                );
            }
            (8, Some(client)) => {
                host.offer(&client.conn.reset());
                client.check();
                clients.remove(&port);
            }
            (9, Some(client)) => {
                host.offer(&client.conn.fin());
            }
            (10, Some(client)) => {
                host.offer(
                    &client
                        .conn
                        .data(b"GET /ping HTTP/1.1\r\nConnection: close\r\nHost: a\r\n\r\n"),
                );
            }
            (_, Some(_)) if step == 150 && rng.bool() => host.drain(),
            (_, Some(client)) => {
                host.offer(&client.conn.ack());
            }
        }
        host.run();
        let lose = rng.u8(0..4);
        host.take_sent(|frame| {
            let segment = Received::parse(frame).expect("a segment");
            let Some(client) = clients.get_mut(&segment.dport) else {
                return;
            };
            if !segment.has(flag::SYN | flag::ACK) && !segment.has(flag::RST) {
                client.record(&segment);
                if lose != 0 {
                    client.conn.take(frame);
                }
            }
            if segment.has(flag::RST) {
                client.check();
                clients.remove(&segment.dport);
            }
        });
        host.advance(Duration::from_millis(rng.u64(0..500)));
    }
    clients.values().for_each(Client::check);
    // Everybody falls silent: timers end what is left.
    while let Some(wait) = host.next_deadline().filter(|_| host.connections() > 0) {
        host.advance(wait);
        host.exchange(&[]);
    }
    assert_eq!(held(&host), (1, 0));
}
