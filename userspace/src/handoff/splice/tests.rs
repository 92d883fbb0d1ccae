//! Pairs over the loopback device.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use super::{BUFFER, ROUNDS, Splicer, reset};

/// Two connected sockets.
fn connected() -> [TcpStream; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    [near, listener.accept().expect("accepted").0]
}

/// The outer ends of a pair that is spliced in the middle.
fn spliced(splicer: &Splicer) -> [TcpStream; 2] {
    let ([client, a], [b, server]) = (connected(), connected());
    for inner in [&a, &b] {
        inner.set_nonblocking(true).expect("non-blocking");
    }
    splicer.entrance().join([a, b]);
    [client, server]
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

#[test]
fn both_ways_are_carried_to_their_ends_at_once() {
    let splicer = Splicer::start().expect("a thread");
    // More than all buffers on the way hold, so that each end has to wait for the other's reader.
    let len = 64 * ROUNDS * BUFFER;
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
    let splicer = Splicer::start().expect("a thread");
    let [mut client, mut server] = spliced(&splicer);
    client.write_all(b"request").expect("sent");
    client.shutdown(Shutdown::Write).expect("half closed");
    let mut request = Vec::new();
    server.read_to_end(&mut request).expect("the request");
    assert_eq!(request, b"request");
    server.write_all(b"answer").expect("sent");
    drop(server);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("the answer");
    assert_eq!(answer, b"answer");
}

#[test]
fn a_reset_is_passed_on_and_does_not_look_like_an_end() {
    let splicer = Splicer::start().expect("a thread");
    for turned in [false, true] {
        let mut ends = spliced(&splicer);
        if turned {
            ends.swap(0, 1);
        }
        let [mut stays, mut leaves] = ends;
        stays.write_all(b"x").expect("sent");
        leaves.read_exact(&mut [0]).expect("read");
        reset(&[leaves.try_clone().expect("a copy"), leaves]);
        let error = stays.read(&mut [0]).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn without_the_thread_pairs_are_reset_or_closed() {
    let splicer = Splicer::start().expect("a thread");
    let entrance = splicer.entrance();
    let [mut client, mut server] = spliced(&splicer);
    client.write_all(b"x").expect("sent");
    server.read_exact(&mut [0]).expect("read");
    drop(splicer);
    let error = client.read(&mut [0]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let [mut late, inner] = connected();
    entrance.join([inner.try_clone().expect("a copy"), inner]);
    assert_eq!(late.read(&mut [0]).expect("an end"), 0);
}
