//! What goes through, and where it stands then. Everything is fed whole and byte by byte.

use super::{CLOSE, Exchanges, Stand};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[derive(Clone, Copy)]
enum Said<'a> {
    Client(&'a str),
    Server(&'a str),
}
use Said::{Client, Server};

/// Where it stands behind each.
fn stands(said: &[Said<'_>], piece: usize) -> Vec<Stand> {
    let mut exchanges = Exchanges::default();
    let feed = |said: &Said<'_>| {
        match *said {
            Client(text) => text.as_bytes().chunks(piece).for_each(|part| {
                assert_eq!(exchanges.client_says(part), part.len());
            }),
            Server(text) => text.as_bytes().chunks(piece).for_each(|part| {
                assert_eq!(exchanges.server_says(part, false), None);
            }),
        }
        exchanges.stand()
    };
    said.iter().map(feed).collect()
}

#[track_caller]
fn check(cases: &[(Said<'_>, Stand)]) {
    let (said, expected): (Vec<_>, Vec<_>) = cases.iter().copied().unzip();
    for piece in [usize::MAX, 1, 7] {
        assert_eq!(stands(&said, piece), expected, "in pieces of {piece}");
    }
}

#[test]
fn an_exchange_ends_with_the_last_byte_of_its_answer() {
    use Stand::{Between, Within};
    check(&[
        (Client("GET / HT"), Within),
        (Client("TP/1.1\r\nHost: test\r\n\r\n"), Within),
        (
            Server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
            Within,
        ),
        (Server("o"), Within),
        (Server("k"), Between),
        // Empty lines in front of a request, and bare line feeds, as servers take them.
        (Client("\r\n"), Between),
        (Client("GET / HTTP/1.1\nHost: test\n\n"), Within),
        (
            Server("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            Between,
        ),
    ]);
}

#[test]
fn bodies_of_requests_count_as_well_and_answers_may_come_early() {
    use Stand::{Between, Within};
    check(&[
        (
            Client("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nab"),
            Within,
        ),
        (Server("HTTP/1.1 100 Continue\r\n\r\n"), Within),
        (Server(OK), Within),
        (Client("cd"), Between),
        (
            Client("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Within,
        ),
        (Client("3;x=y\r\nabc\r\n0"), Within),
        (Client("\r\nTrailer: 1\r\n"), Within),
        (Client("\r\n"), Within),
        (Server("HTTP/1.1 204 No Content\r\n\r\n"), Between),
    ]);
}

#[test]
fn answers_are_framed_by_what_was_asked() {
    use Stand::{Between, Within};
    check(&[
        (Client("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n"), Within),
        (Client(GET), Within),
        (
            Server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
            Within,
        ),
        (Server(OK), Between),
        (Client(GET), Within),
        (
            Server("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"),
            Between,
        ),
        (Client(GET), Within),
        (
            Server("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n"),
            Within,
        ),
        (Server("0\r\n\r\n"), Between),
        // Without a length it ends with the connection.
        (Client("GET / HTTP/1.0\r\n\r\n"), Within),
        (Server("HTTP/1.0 200 OK\r\n\r\nall there is"), Within),
    ]);
}

#[test]
fn what_is_not_plainly_http_is_not_understood_from_there_on() {
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(65 << 10));
    for text in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        &long,
    ] {
        check(&[
            (Client(text), Stand::Unknown),
            (Client(GET), Stand::Unknown),
            (Server(OK), Stand::Unknown),
        ]);
    }
    for text in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
    ] {
        check(&[(Client(GET), Stand::Within), (Server(text), Stand::Unknown)]);
    }
    check(&[
        (
            Client("CONNECT test:1 HTTP/1.1\r\nHost: test\r\n\r\n"),
            Stand::Within,
        ),
        (Server("HTTP/1.1 200 OK\r\n\r\n"), Stand::Unknown),
    ]);
    let many = GET.repeat(257);
    check(&[(Client(&many), Stand::Unknown)]);
}

/// What the client gets of `answers` when it shall be told, in pieces of this size.
fn told(exchanges: &mut Exchanges, answers: &str, piece: usize) -> String {
    let mut got = Vec::new();
    for part in answers.as_bytes().chunks(piece) {
        let at = exchanges.server_says(part, true);
        let (before, behind) = part.split_at(at.unwrap_or(0));
        got.extend_from_slice(before);
        if at.is_some() {
            got.extend_from_slice(CLOSE);
        }
        got.extend_from_slice(behind);
    }
    String::from_utf8(got).expect("text")
}

#[test]
fn the_last_answer_says_so_once_and_no_request_behind_it_goes_through() {
    let last = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n";
    for piece in [usize::MAX, 1, 5] {
        let mut exchanges = Exchanges::default();
        exchanges.client_says(GET.repeat(2).as_bytes());
        // Another is asked for already: that one is the last.
        assert_eq!(told(&mut exchanges, OK, piece), OK);
        let answers = [interim, OK].concat();
        assert_eq!(
            told(&mut exchanges, &answers, piece),
            [interim, last].concat()
        );
        assert_eq!(exchanges.stand(), Stand::Over);
        assert_eq!(exchanges.client_says(GET.as_bytes()), 0);
        assert_eq!(exchanges.stand(), Stand::Over);
    }
    // The rest of a body goes through still, what is behind it does not.
    let mut exchanges = Exchanges::default();
    let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\n";
    exchanges.client_says(post.as_bytes());
    assert_eq!(told(&mut exchanges, OK, 9), last);
    assert_eq!(exchanges.stand(), Stand::Within);
    assert_eq!(exchanges.client_says(format!("abc{GET}").as_bytes()), 3);
    assert_eq!(exchanges.stand(), Stand::Over);
}

/// Messages one after the other, some of them spoilt.
fn stream(rng: &mut fastrand::Rng, parts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(1..6) {
        bytes.extend_from_slice(parts[rng.usize(..parts.len())].as_bytes());
    }
    if rng.u8(..) < 64 {
        let at = rng.usize(..bytes.len());
        bytes[at] = rng.u8(..);
    }
    bytes.truncate(rng.usize(bytes.len() / 2..=bytes.len()));
    bytes
}

/// Both sides, the client first, in pieces of random size up to `most`: the stand, how much went to the server, and what
/// the client got.
fn outcome(client: &[u8], server: &[u8], rng: &mut fastrand::Rng, most: usize) -> (Stand, String) {
    let mut exchanges = Exchanges::default();
    let mut rest = client;
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(rng.usize(1..=most.min(rest.len())));
        exchanges.client_says(part);
        rest = behind;
    }
    let (mut got, mut rest) = (Vec::new(), server);
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(rng.usize(1..=most.min(rest.len())));
        let at = exchanges.server_says(part, true);
        got.extend_from_slice(&part[..at.unwrap_or(0)]);
        got.extend_from_slice(if at.is_some() { CLOSE } else { b"" });
        got.extend_from_slice(&part[at.unwrap_or(0)..]);
        rest = behind;
    }
    (exchanges.stand(), got.escape_ascii().to_string())
}

#[test]
fn it_does_not_matter_in_which_pieces_things_are_said() {
    let requests = [
        GET,
        "HEAD /x HTTP/1.1\r\nHost: test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
        "PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ];
    let answers = [
        OK,
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nA: b\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nto the end",
    ];
    for seed in 0..3_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (client, server) = (stream(&mut rng, &requests), stream(&mut rng, &answers));
        let whole = outcome(&client, &server, &mut rng, 1);
        for most in [2, 9, 400] {
            let pieces = outcome(&client, &server, &mut rng, most);
            let (asked, said) = (client.escape_ascii(), server.escape_ascii());
            assert_eq!(pieces, whole, "seed {seed}: {asked} / {said}");
        }
    }
}
