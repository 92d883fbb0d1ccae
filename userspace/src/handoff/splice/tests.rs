//! Pairs over the loopback device.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::{BUFFER, Splicer, now};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

/// Longest wait of a test for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Two connected sockets.
fn connected() -> [TcpStream; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    [near, listener.accept().expect("accepted").0]
}

/// The outer ends of a pair that is spliced in the middle: the client and the server.
fn spliced(splicer: &Splicer) -> [TcpStream; 2] {
    let ([client, a], [b, server]) = (connected(), connected());
    join(splicer, [a, b]);
    for end in [&client, &server] {
        end.set_read_timeout(Some(PATIENCE)).expect("set");
    }
    [client, server]
}

fn join(splicer: &Splicer, inner: [TcpStream; 2]) {
    for socket in &inner {
        socket.set_nonblocking(true).expect("non-blocking");
    }
    splicer.entrance().join(inner);
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// Closing it is a reset from now on.
fn will_reset(socket: &TcpStream) {
    let now = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(socket, sockopt::Linger, &now).expect("set");
}

#[track_caller]
fn says(mut from: &TcpStream, mut to: &TcpStream, bytes: &[u8]) {
    from.write_all(bytes).expect("sent");
    let mut got = vec![0; bytes.len()];
    to.read_exact(&mut got).expect("carried");
    assert_eq!(got, bytes);
}

#[track_caller]
fn hears(mut socket: &TcpStream, expected: &[u8]) {
    let mut got = Vec::new();
    socket.read_to_end(&mut got).expect("an end in order");
    assert_eq!(
        got.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
}

#[track_caller]
fn is_reset(mut socket: &TcpStream) {
    let error = socket.read(&mut [0]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

fn count(splicer: &Splicer, label: &str) -> u64 {
    let books = &splicer.entrance.books;
    let found = books.ends().find(|end| end.0 == label);
    found.expect("a label").1
}

#[test]
fn both_ways_are_carried_to_their_ends_at_once() {
    let splicer = Splicer::start(Arc::default()).expect("a thread");
    // More than all buffers on the way hold, so that each end has to wait for the other's reader.
    let len = 1024 * BUFFER;
    let [client, server] = spliced(&splicer);
    thread::scope(|scope| {
        for (n, mut stream) in [(1, &client), (2, &server)] {
            scope.spawn(move || {
                stream.write_all(&bytes(n, len)).expect("sent");
                stream.shutdown(Shutdown::Write).expect("half closed");
            });
            scope.spawn(move || {
                let mut got = Vec::new();
                stream.read_to_end(&mut got).expect("read");
                assert!(got == bytes(3 - n, len), "{} bytes", got.len());
            });
        }
    });
}

#[test]
fn one_way_may_end_long_before_the_other() {
    let splicer = Splicer::start(Arc::default()).expect("a thread");
    let [mut client, mut server] = spliced(&splicer);
    client.write_all(b"request").expect("sent");
    client.shutdown(Shutdown::Write).expect("half closed");
    hears(&server, b"request");
    server.write_all(b"answer").expect("sent");
    drop(server);
    hears(&client, b"answer");
}

#[test]
fn a_reset_is_passed_on_and_does_not_look_like_an_end() {
    let splicer = Splicer::start(Arc::default()).expect("a thread");
    for turned in [false, true] {
        let mut ends = spliced(&splicer);
        if turned {
            ends.swap(0, 1);
        }
        let [stays, leaves] = ends;
        says(&stays, &leaves, b"x");
        will_reset(&leaves);
        drop(leaves);
        is_reset(&stays);
    }
}

#[test]
fn a_whole_answer_arrives_though_the_server_did_not_read_the_request_to_its_end() {
    let splicer = Splicer::start(Arc::default()).expect("a thread");
    for _ in 0..20 {
        let [mut client, mut server] = spliced(&splicer);
        let post = b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n";
        says(&client, &server, post);
        client.write_all(&bytes(1, BUFFER)).expect("sent");
        server.peek(&mut [0]).expect("something unread");
        server.write_all(OK).expect("sent");
        drop(server);
        hears(&client, OK);
    }
}

#[test]
fn without_the_thread_pairs_are_reset_or_closed() {
    let splicer = Splicer::start(Arc::default()).expect("a thread");
    let entrance = splicer.entrance();
    let [within, between, unknown] = [(); 3].map(|()| spliced(&splicer));
    says(&within[0], &within[1], GET);
    says(&between[0], &between[1], GET);
    says(&between[1], &between[0], OK);
    says(&unknown[0], &unknown[1], b"HELO\r\n");
    let books = splicer.entrance.books.clone();
    drop(splicer);
    for [client, server] in [&within, &unknown] {
        is_reset(client);
        is_reset(server);
    }
    hears(&between[0], b"");
    hears(&between[1], b"");
    let ends: Vec<_> = books.ends().filter(|end| end.1 > 0).collect();
    assert_eq!(ends, [("drained", 1), ("cut", 2)]);
    assert_eq!(books.open(), 0);
    let [mut late, inner] = connected();
    entrance.join([inner.try_clone().expect("a copy"), inner]);
    assert_eq!(late.read(&mut [0]).expect("an end"), 0);
}

#[test]
fn a_drain_ends_each_connection_behind_an_answer() {
    let splicer = Splicer::start(Arc::default()).expect("a thread");
    let [idle, busy, asks, slow] = [(); 4].map(|()| spliced(&splicer));
    for [client, server] in [&idle, &asks] {
        says(client, server, GET);
        says(server, client, OK);
    }
    says(&busy[0], &busy[1], GET);
    says(&slow[0], &slow[1], GET);
    says(
        &slow[1],
        &slow[0],
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab",
    );
    splicer.drain();
    // What is asked now is answered still, and the client is told.
    says(&asks[0], &asks[1], GET);
    for [client, server] in [&asks, &busy] {
        (&mut &*server).write_all(OK).expect("sent");
        hears(client, LAST);
        hears(server, b"");
    }
    // An answer that had begun before ends as it is.
    (&mut &slow[1]).write_all(b"cd").expect("sent");
    let mut rest = [0; 2];
    (&mut &slow[0]).read_exact(&mut rest).expect("the rest");
    for [client, server] in [&idle, &slow] {
        hears(client, b"");
        hears(server, b"");
    }
    for [client, _] in [idle, busy, asks, slow] {
        drop(client);
    }
    splicer.entrance.books.await_end(now() + PATIENCE);
    assert_eq!(
        (splicer.entrance.books.open(), count(&splicer, "drained")),
        (0, 4)
    );
}

#[test]
fn who_pipelines_on_and_on_is_told_all_the_same() {
    let splicer = Splicer::start(Arc::default()).expect("a thread");
    let [client, server] = spliced(&splicer);
    says(&client, &server, &GET.repeat(3));
    splicer.drain();
    let mut answers = 0;
    // Before each answer it asks again. Some may go through before the thread knows of the drain.
    loop {
        (&mut &client).write_all(GET).expect("sent");
        (&mut &server).write_all(OK).expect("sent");
        answers += 1;
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\nok") {
            let mut byte = [0];
            (&mut &client).read_exact(&mut byte).expect("an answer");
            got.extend(byte);
        }
        if got == LAST {
            break;
        }
        assert_eq!((got.as_slice(), answers < 20), (OK, true));
    }
    hears(&client, b"");
    // Each that went through was answered.
    hears(&server, &GET.repeat(answers - 3));
    drop(client);
    splicer.entrance.books.await_end(now() + PATIENCE);
    assert_eq!(count(&splicer, "drained"), 1);
}

#[test]
fn a_request_behind_an_answer_that_had_begun_before_the_drain_gets_the_last() {
    let splicer = Splicer::start(Arc::default()).expect("a thread");
    let [client, server] = spliced(&splicer);
    says(&client, &server, GET);
    // Its head is through: it cannot say any more that it is the last.
    says(&server, &client, &OK[..OK.len() - 1]);
    splicer.drain();
    (&mut &client).write_all(GET).expect("sent");
    says(&server, &client, &OK[OK.len() - 1..]);
    let mut request = vec![0; GET.len()];
    (&mut &server)
        .read_exact(&mut request)
        .expect("the request");
    (&mut &server).write_all(OK).expect("sent");
    hears(&client, LAST);
    hears(&server, b"");
}

#[test]
fn a_request_that_crosses_the_end_is_not_met_by_a_reset() {
    let splicer = Splicer::start(Arc::default()).expect("a thread");
    let [client, server] = spliced(&splicer);
    says(&client, &server, GET);
    says(&server, &client, OK);
    splicer.drain();
    splicer.close();
    hears(&server, b"");
    // It has not read the end yet.
    (&mut &client).write_all(GET).expect("sent");
    hears(&client, b"");
    drop(client);
    splicer.entrance.books.await_end(now() + PATIENCE);
    assert_eq!(count(&splicer, "drained"), 1);
}
