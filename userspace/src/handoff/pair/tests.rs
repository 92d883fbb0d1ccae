//! Turns of one pair, one by one.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Pair, Turn, linger};
use crate::reason::ProxyEnd;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// Two connected sockets.
fn connected() -> [TcpStream; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    [near, listener.accept().expect("accepted").0]
}

/// A pair between a client and a server.
fn pair() -> (TcpStream, Pair, TcpStream) {
    let ([client, a], [b, server]) = (connected(), connected());
    for socket in [&a, &b] {
        socket.set_nonblocking(true).expect("non-blocking");
    }
    (client, Pair::new(a, b), server)
}

/// Returns when `socket` has `what` to tell.
fn wait(socket: &TcpStream, what: PollFlags) {
    let mut fds = [PollFd::new(socket.as_fd(), what)];
    poll(&mut fds, PollTimeout::from(10_000_u16)).expect("polled");
    let told = fds[0].revents().expect("known flags");
    assert!(told.contains(what), "{told:?}");
}

fn turn(pair: &mut Pair) -> Turn {
    pair.turn(&mut [0; 4096], false)
}

#[test]
fn half_an_answer_does_not_look_whole_where_a_write_meets_the_reset_first() {
    let (mut client, mut pair, mut server) = pair();
    client.write_all(GET).expect("sent");
    wait(&pair.client, PollFlags::POLLIN);
    assert_eq!(turn(&mut pair), Turn::Waits);
    // Without a length only the end tells that it is whole.
    server
        .write_all(b"HTTP/1.1 200 OK\r\n\r\nha")
        .expect("sent");
    wait(&pair.server, PollFlags::POLLIN);
    assert_eq!(turn(&mut pair), Turn::Waits);
    wait(&server, PollFlags::POLLIN);
    // The request was not read: this is a reset.
    drop(server);
    wait(&pair.server, PollFlags::POLLHUP);
    client.write_all(b"more").expect("sent");
    wait(&pair.client, PollFlags::POLLIN);
    assert_eq!(turn(&mut pair), Turn::Ended(ProxyEnd::ServerReset));
    drop(pair);
    let mut got = Vec::new();
    let end = client.read_to_end(&mut got).expect_err("a reset");
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_server_that_is_gone_before_it_is_given_anything_costs_one_request() {
    let (mut client, mut pair, server) = pair();
    linger(&server, true);
    drop(server);
    wait(&pair.server, PollFlags::POLLHUP);
    client.write_all(GET).expect("sent");
    wait(&pair.client, PollFlags::POLLIN);
    assert_eq!(turn(&mut pair), Turn::Lingers);
    // What comes now is dropped, and does not turn the end into a reset.
    client.write_all(GET).expect("sent");
    wait(&pair.client, PollFlags::POLLIN);
    assert_eq!(turn(&mut pair), Turn::Waits);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("an end in order");
    assert!(
        answer.starts_with(b"HTTP/1.1 503 "),
        "{}",
        answer.escape_ascii()
    );
    drop(client);
    wait(&pair.client, PollFlags::POLLIN);
    assert_eq!(turn(&mut pair), Turn::Ended(ProxyEnd::Unavailable));
}
