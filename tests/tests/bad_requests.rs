//! Bytes on the port that are no request, or only half of one.

use sidestep_tests::clock::{PATIENCE, now, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::Client;
use sidestep_tests::net::Net;
use sidestep_tests::raw::{RawClient, flag};
use sidestep_tests::site::{PING, Site};
use std::time::Duration;

fn client(net: &Net) -> Client {
    Client::new(
        net.client
            .connect(net.server.at(80), PATIENCE)
            .expect("connects"),
    )
}

#[test]
fn what_is_no_request_gets_one_refusal_and_the_connection_ends() {
    let (net, site) = (Net::new(), Site::new("none"));
    let _daemon = Daemon::start(&net.server, &site.config());
    let long_target =
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(60_000)).into_bytes();
    let long_head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "a".repeat(60_000)
    )
    .into_bytes();
    let endless = [
        b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec(),
        b"A: b\r\n".repeat(10_000),
    ]
    .concat();
    let requests: [(&[u8], &[u16]); 20] = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n", &[400]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400, 505]),
        (b"garbage\r\n\r\n", &[400]),
        (b"GET /\r\n\r\n", &[400]),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", &[400]),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", &[400]),
        (b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", &[400]),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", &[400]),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", &[400]),
        (b"GET / HTTP/1.1\r\n: a\r\nHost: a\r\n\r\n", &[400]),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400]),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", &[400]),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", &[400]),
        (b"GET / HTTP/3.7\r\nHost: a\r\n\r\n", &[505]),
        (&long_target, &[414, 431]),
        (&long_head, &[431]),
        (&endless, &[431]),
    ];
    for (request, statuses) in requests {
        let shown = request[..request.len().min(60)].escape_ascii();
        let mut client = client(&net);
        // The refusal may come, and the connection end, before all is sent.
        let _ = client.send(request);
        let answer = client
            .answer()
            .unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert!(
            statuses.contains(&answer.status),
            "{shown}: {}",
            answer.head
        );
        assert_eq!(
            answer.field("connection").map(str::to_lowercase).as_deref(),
            Some("close"),
            "{shown}"
        );
        let mut after = Vec::new();
        match client.rest() {
            Ok(rest) => after = rest,
            // What was sent behind the refused head may be reset (RFC 9112, 9.6).
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{shown}"),
        }
        assert!(
            after.is_empty(),
            "{shown}: more came: {}",
            after.escape_ascii()
        );
    }
}

#[test]
fn nothing_behind_a_refused_request_is_run() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    let mut client = client(&net);
    let smuggled = b"GET /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 37\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /ping HTTP/1.1\r\nHost: test\r\n\r\n";
    client.send(smuggled).expect("sent");
    assert_eq!(client.answer().expect("answered").status, 400);
    assert!(client.rest().is_ok_and(|rest| rest.is_empty()));
    assert_eq!(daemon.requests(), [1]);
}

#[test]
fn a_request_split_at_every_byte_is_one_request() {
    let (net, site) = (Net::new(), Site::new("none"));
    let _daemon = Daemon::start(&net.server, &site.config());
    let request = b"GET /ping HTTP/1.1\r\nHost: test\r\n\r\n";
    let mut raw = RawClient::v4(&net);
    let mut conn = raw.connect(80);
    let read = |raw: &mut RawClient, conn: &mut _| {
        String::from_utf8(raw.read_until(conn, PING)).expect("an answer is text")
    };
    for at in 1..request.len() {
        let (a, b) = request.split_at(at);
        raw.push(&mut conn, flag::ACK | flag::PSH, a);
        raw.push(&mut conn, flag::ACK | flag::PSH, b);
        let text = read(&mut raw, &mut conn);
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\n"),
            "split at {at}: {text}"
        );
    }
    for byte in request {
        raw.push(&mut conn, flag::ACK | flag::PSH, &[*byte]);
    }
    assert!(read(&mut raw, &mut conn).starts_with("HTTP/1.1 200 OK\r\n"));
    // Out of order: the second half first, then the first.
    let mut first = raw.next(&conn, flag::ACK | flag::PSH, &request[..10]);
    conn.seq = conn.seq.wrapping_add(first.len());
    raw.push(&mut conn, flag::ACK | flag::PSH, &request[10..]);
    first.ack = conn.ack;
    raw.send(&first);
    assert!(read(&mut raw, &mut conn).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn half_a_request_ends_with_its_time_or_its_client() {
    let (net, site) = (
        Net::new(),
        Site::new("none").with("[limits]\nheader_timeout = \"1s\"\nidle_timeout = \"2s\""),
    );
    let daemon = Daemon::start(&net.server, &site.config());
    // The client gives up: nothing is answered.
    for shutdown in [std::net::Shutdown::Write, std::net::Shutdown::Both] {
        let mut client = client(&net);
        client.send(b"GET /ping HT").expect("sent");
        client.stream().shutdown(shutdown).expect("shut down");
        if shutdown == std::net::Shutdown::Write {
            let rest = client.rest().unwrap_or_default();
            assert!(
                rest.is_empty() || rest.starts_with(b"HTTP/1.1 400"),
                "{}",
                rest.escape_ascii()
            );
        }
    }
    // The client stalls: 408 or nothing, and the end, not before the time and not long after it.
    let start = now();
    let mut stalled = client(&net);
    stalled.send(b"GET /ping HTTP/1.1\r\nHo").expect("sent");
    let rest = stalled.rest().expect("closed cleanly");
    let took = now() - start;
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "),
        "{}",
        rest.escape_ascii()
    );
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(4)).contains(&took),
        "header_timeout = 1s took {took:?}"
    );
    // An idle connection ends without a word.
    let mut idle = client(&net);
    assert_eq!(idle.get("/ping").expect("answered").body, PING);
    let start = now();
    assert_eq!(idle.rest().expect("closed cleanly"), b"");
    let took = now() - start;
    assert!(
        (Duration::from_millis(1900)..Duration::from_secs(6)).contains(&took),
        "idle_timeout = 2s took {took:?}"
    );
    drop((stalled, idle));
    wait_for(PATIENCE, "no connection is left", || {
        (daemon.connections() == [0]).then_some(())
    });
}
