//! A head that was answered before gets what it would get if it were the first.

use super::heads::{Clients, config, corpus};
use super::{PING, at, open, ping_answer};
use fastrand::Rng;
use sidestep_tests::clock::soak;
use sidestep_tests::mem::MemHost;
use sidestep_tests::raw::{Received, Segment, flag};
use std::net::SocketAddr;
use std::time::Duration;

/// What `bytes` get from a host that has forgotten every head: it has a new snapshot, made of the same sites.
fn anew(clients: &mut Clients, bytes: &[u8]) -> (Vec<u8>, bool) {
    clients.host.replace(&config("none"));
    let before = repeated(&clients.host);
    let answer = clients.ask([bytes]);
    // A request may hold two.
    assert!(repeated(&clients.host) - before <= 1);
    answer
}

fn repeated(host: &MemHost) -> u64 {
    host.counter("http", "repeated")
}

#[test]
fn every_request_of_the_corpus_gets_the_same_bytes_again() {
    let mut fresh = Clients::new("none");
    let mut clients = Clients::new("none");
    let mut found = 0;
    for entry in corpus() {
        let first = anew(&mut fresh, &entry.bytes);
        for _ in 0..3 {
            let before = repeated(&clients.host);
            assert_eq!(clients.ask([&entry.bytes[..]]), first, "{}", entry.name);
            found += usize::from(repeated(&clients.host) > before);
        }
    }
    // Those that are served, but for the first time and for the last answer of a connection.
    assert!(found >= 40, "{found} were found");
}

/// A head that ends its connection does so again, whatever is behind it.
#[test]
fn a_head_that_ends_its_connection_is_known_again() {
    let mut clients = Clients::new("none");
    let close = b"GET /ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let first = clients.ask([&close[..]]);
    assert!(first.1, "it is closed");
    for behind in [
        &b""[..],
        close,
        b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GE",
    ] {
        let before = repeated(&clients.host);
        assert_eq!(clients.ask([&[close, behind].concat()[..]]), first);
        assert_eq!(repeated(&clients.host), before + 1);
    }
}

/// Each head with a byte changed, left out, or there twice, right behind the head itself.
#[test]
fn heads_that_are_nearly_one_are_told_from_it() {
    let mut random = Rng::with_seed(1);
    let mut fresh = Clients::new("none");
    let mut clients = Clients::new("none");
    let each = if soak() { 12 } else { 1 };
    for entry in corpus().iter().filter(|entry| entry.bytes.len() < 300) {
        for place in 0..entry.bytes.len() {
            for _ in 0..each {
                let mut other = entry.bytes.clone();
                match random.u8(..7) {
                    0 => drop(other.remove(place)),
                    1 => other.insert(place, other[place]),
                    2 => other[place] ^= 0x20,
                    3 => other[place] ^= 1,
                    4 => other[place] = random.u8(..),
                    5 => other.truncate(place),
                    _ => other.insert(place, *random.choice(b"\r\n \t:/?0a").expect("some")),
                }
                let expected = anew(&mut fresh, &other);
                clients.ask([&entry.bytes[..]]);
                let seen = clients.ask([&other[..]]);
                assert_eq!(seen, expected, "{}: {}", entry.name, other.escape_ascii());
            }
        }
    }
    assert!(repeated(&clients.host) > 0);
}

/// More heads than are kept, in any order, with what one of them begins with behind it.
#[test]
fn many_heads_in_pipelines_get_their_own_answers() {
    let pages: String = (0..500)
        .map(|n| format!("[[site.response]]\npath = \"/{n}\"\nbody = \"page {n}.\"\n"))
        .collect();
    let config = format!(
        "[[listen]]\naddress = \"192.0.2.1\"\nport = 80\nfallback = \"none\"\n[[site]]\n{pages}"
    );
    let mut host = MemHost::new(&config, 256, 256);
    let mut conn = open(&mut host, 4000);
    let mut random = Rng::with_seed(2);
    for round in 0..300 {
        let pages = [3, 30, 500][round % 3];
        let depth = random.usize(1..30);
        let asked: Vec<usize> = (0..depth)
            .flat_map(|_| {
                let page = random.usize(..pages);
                std::iter::repeat_n(page, random.usize(1..3))
            })
            .collect();
        let heads = asked
            .iter()
            .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = conn.request(&mut host, heads.collect::<String>().as_bytes());
        let answer = String::from_utf8(answer).expect("text");
        let seen: Vec<usize> = answer
            .split("\r\n\r\npage ")
            .skip(1)
            .map(|text| text.split_once('.').and_then(|(n, _)| n.parse().ok()))
            .map(|n| n.expect("a number"))
            .collect();
        assert_eq!(seen, asked);
    }
    assert!(repeated(&host) > 0);
}

#[test]
fn the_next_second_has_another_date() {
    let mut clients = Clients::new("none");
    let request = PING.as_bytes();
    for _ in 0..2 {
        assert_eq!(clients.ask([request]).0, ping_answer());
    }
    clients.host.advance(Duration::from_secs(1));
    for _ in 0..2 {
        let (answer, _) = clients.ask([request]);
        let text = String::from_utf8(answer).expect("text");
        assert!(
            text.contains("Date: Thu, 01 Jan 2026 00:00:01 GMT"),
            "{text}"
        );
    }
    assert_eq!(repeated(&clients.host), 2);
}

#[test]
fn another_snapshot_has_another_answer() {
    let mut clients = Clients::new("none");
    let request = PING.as_bytes();
    let first = clients.ask([request]);
    assert_eq!(clients.ask([request]), first);
    clients.host.replace(&config("none").replace("ok", "no"));
    for _ in 0..2 {
        let (answer, _) = clients.ask([request]);
        assert!(answer.ends_with(b"{\"status\":\"no\"}"));
    }
    assert_eq!(repeated(&clients.host), 2);
}

#[test]
fn a_drain_ends_connections_with_their_next_answer() {
    let mut clients = Clients::new("none");
    let request = PING.as_bytes();
    let mut conn = clients.open();
    for _ in 0..2 {
        assert_eq!(conn.request(&mut clients.host, request), ping_answer());
    }
    clients.host.drain();
    let answer = conn.request(&mut clients.host, request);
    let text = String::from_utf8(answer).expect("text");
    assert!(text.contains("Connection: close\r\n"), "{text}");
}

#[test]
fn a_pipeline_has_as_many_answers_as_a_connection_may() {
    let config = config("none") + "requests_per_connection = 5\n";
    let mut host = MemHost::new(&config, 64, 64);
    for port in [4000, 4001, 4002] {
        let mut conn = open(&mut host, port);
        let mut answers = conn.request(&mut host, PING.as_bytes());
        answers.extend(conn.request(&mut host, PING.repeat(9).as_bytes()));
        let text = String::from_utf8(answers).expect("text");
        assert_eq!(text.matches("HTTP/1.1 200").count(), 5, "{text}");
        assert_eq!(text.matches("Connection: close").count(), 1, "{text}");
        let last = text.rfind("HTTP/1.1 200").expect("is there");
        assert!(text[last..].contains("Connection: close"), "{text}");
    }
    assert!(repeated(&host) >= 8);
}

/// What a server behind may want to answer is served only where there is none.
#[test]
fn each_listener_decides_for_itself() {
    let config = "[[listen]]\naddress = \"192.0.2.1\"\nport = 81\nfallback = \"kernel\"\n"
        .to_owned()
        + &config("none");
    let mut host = MemHost::new(&config, 64, 64);
    let request = b"GET /ping HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n";
    let from = |port| SocketAddr::from(([192, 0, 2, 2], port));
    for port in [4000, 4001] {
        let mut ours = open(&mut host, port);
        assert_eq!(ours.request(&mut host, request), ping_answer());
        let to = at("192.0.2.1:81");
        let mut theirs = sidestep_tests::mem::MemConn::open(&mut host, from(port + 1000), to);
        let answer = theirs.request(&mut host, request);
        assert!(
            answer.starts_with(b"HTTP/1.1 503"),
            "{}",
            answer.escape_ascii()
        );
    }
    assert_eq!(repeated(&host), 1);
}

/// Nobody acknowledges; the second that is in them and the snapshot that they are of are over when they are sent again.
#[test]
fn a_run_of_answers_is_sent_again_as_it_was() {
    let mut host = MemHost::new(&config("none"), 64, 64);
    let mut conn = open(&mut host, 4000);
    let mut stream = vec![None; 40 * ping_answer().len()];
    let mut begin = None;
    let mut record = |frames: &[Vec<u8>]| {
        for segment in frames.iter().filter_map(|frame| Received::parse(frame)) {
            let at = segment.seq.wrapping_sub(*begin.get_or_insert(segment.seq)) as usize;
            for (known, sent) in stream[at..].iter_mut().zip(segment.payload) {
                assert_eq!(*known.get_or_insert(sent), sent, "sent again differently");
            }
        }
    };
    record(&host.exchange(&[conn.data(PING.repeat(40).as_bytes())]));
    assert_eq!(repeated(&host), 39);
    for _ in 0..4 {
        host.replace(&config("none").replace("ok", "no"));
        host.advance(Duration::from_secs(3));
        let again = host.exchange(&[]);
        assert!(!again.is_empty(), "the timer has rung");
        record(&again);
    }
    let sent: Vec<u8> = stream.into_iter().map_while(|byte| byte).collect();
    assert_eq!(sent, ping_answer().repeat(40)[..sent.len()]);
    assert!(sent.len() > 30 * ping_answer().len());
}

/// An acknowledgment that ends anywhere within a run releases what is before it and nothing else.
#[test]
fn a_run_is_acknowledged_byte_by_byte() {
    let mut host = MemHost::new(&config("none"), 64, 64);
    let mut conn = open(&mut host, 4000);
    let mut segment = Segment::new(
        ("192.0.2.2".parse().expect("an address"), 4000),
        ("192.0.2.1".parse().expect("an address"), 80),
    );
    segment.flags = flag::ACK;
    let (_, first) = conn.numbers();
    let sent = host.exchange(&[conn.data(PING.repeat(5).as_bytes())]);
    let answer: Vec<u8> = sent.iter().flat_map(|frame| conn.take(frame)).collect();
    assert_eq!(answer, ping_answer().repeat(5));
    segment.seq = conn.numbers().0;
    let whole = answer.len() as u32;
    for at in 0..=whole {
        segment.ack = first.wrapping_add(at);
        assert!(host.offer(&sidestep_tests::mem::frame(&segment)));
        host.run();
        // The first, which was parsed, and a run of four.
        let left = u64::from(at < whole / 5) + u64::from(at < whole);
        assert_eq!(host.counter("snapshots", "pieces"), left, "{at} of {whole}");
    }
}
