//! What becomes of proxied connections when the daemon ends: each ends in order behind an answer, none within one.

use super::{MISS, PORT, by_proxy, head, hit};
use sidestep_tests::clock::{PATIENCE, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::Client;
use sidestep_tests::listener::{PLAINLY, listen_as};
use sidestep_tests::net::{Host, Net};
use sidestep_tests::server::Server;
use std::convert::Infallible;
use std::io::{ErrorKind, Write};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

const PING_REQUEST: &str = "GET /ping HTTP/1.1\r\nHost: test\r\n\r\n";

/// A connection whose second request was the server's.
fn proxied(net: &Net, to: SocketAddr) -> Client {
    let mut client = hit(net, to);
    let answer = client.get("/elsewhere").expect("answered");
    assert_eq!(answer.field("server"), Some("kernel"), "{}", answer.head);
    client
}

fn server(host: &Host) -> Server {
    Server::who(listen_as(
        host,
        (Ipv6Addr::UNSPECIFIED, PORT).into(),
        PLAINLY,
    ))
}

/// A server that sends the first half of each answer of 20 bytes, the rest when the sender is dropped.
fn halting(host: &Host) -> (Server, Sender<Infallible>) {
    let (go, gone) = channel();
    let gone = Arc::new(Mutex::new(gone));
    let server = Server::start(host, PORT, move |stream| {
        let _rest = head(stream)?;
        let mut out = stream;
        out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789")?;
        // An error, when it is dropped.
        let _ = gone.lock().expect("no panic").recv();
        out.write_all(b"0123456789")?;
        // Keeps the connection until the other side ends it.
        head(stream).map(drop)
    });
    (server, go)
}

#[test]
fn idle_connections_end_in_order() {
    let net = Net::new();
    let _server = server(&net.server);
    let daemon = Daemon::start(&net.server, &by_proxy());
    let mut clients: Vec<_> = (0..10)
        .flat_map(|_| net.server.addresses(PORT))
        .map(|to| proxied(&net, to))
        .collect();
    assert_eq!(daemon.status()["proxied"]["open"], 20);
    daemon.stop();
    for client in &mut clients {
        assert_eq!(client.rest().expect("an end in order"), b"");
    }
    // What comes now is the kernel's.
    for to in net.server.addresses(PORT) {
        let mut client = Client::new(net.client.connect(to, PATIENCE).expect("connects"));
        let answer = client.get("/ping").expect("answered");
        assert_eq!(answer.field("server"), Some("kernel"));
    }
}

/// Returns when new connections are the kernel's: it drains.
fn drains(net: &Net, daemon: &Daemon, to: SocketAddr) {
    daemon.terminate();
    wait_for(PATIENCE, "new connections are the kernel's", || {
        let mut client = Client::new(net.client.connect(to, PATIENCE).ok()?);
        client.send(PING_REQUEST).ok()?;
        let answer = client.answer_to_head().ok()?;
        (answer.field("server") != Some("sidestep")).then_some(())
    });
}

#[test]
fn an_answer_under_way_is_given_to_its_end_and_a_new_request_gets_the_last() {
    let net = Net::new();
    let (_server, go) = halting(&net.server);
    let daemon = Daemon::start(&net.server, &by_proxy());
    let addresses = net.server.addresses(PORT);
    let mut within = addresses.map(|to| hit(&net, to));
    for client in &mut within {
        client.send(MISS).expect("sent");
        assert_eq!(client.answer_to_head().expect("answered").status, 200);
        assert_eq!(client.bytes(10).expect("the first half"), b"0123456789");
    }
    let mut new = addresses.map(|to| hit(&net, to));
    drains(&net, &daemon, addresses[0]);
    for client in &mut new {
        client.send(MISS).expect("sent");
        let answer = client.answer_to_head().expect("answered");
        assert_eq!(
            (answer.status, answer.field("connection")),
            (200, Some("close"))
        );
        assert_eq!(client.bytes(10).expect("the first half"), b"0123456789");
    }
    drop(go);
    for client in within.iter_mut().chain(&mut new) {
        let rest = client.rest().expect("an end in order");
        assert_eq!(rest, b"0123456789");
    }
    assert!(daemon.ended().success());
}

#[test]
fn what_does_not_end_in_time_is_cut_off_and_does_not_look_whole() {
    let net = Net::new();
    let _server = Server::start(&net.server, PORT, |stream| {
        let _rest = head(stream)?;
        let mut out = stream;
        // Its end is that of the connection, and never comes by itself.
        out.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf")?;
        head(stream).map(drop)
    });
    let daemon = Daemon::start(&net.server, &by_proxy());
    let mut clients = net.server.addresses(PORT).map(|to| hit(&net, to));
    for client in &mut clients {
        client.send(MISS).expect("sent");
        client.answer_to_head().expect("answered");
        assert_eq!(client.bytes(4).expect("half"), b"half");
    }
    daemon.stop();
    for client in &mut clients {
        let error = client.rest().expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_crash_does_not_make_half_an_answer_look_whole_either() {
    let net = Net::new();
    let (_server, _go) = halting(&net.server);
    let daemon = Daemon::start(&net.server, &by_proxy());
    let mut clients = net.server.addresses(PORT).map(|to| hit(&net, to));
    for client in &mut clients {
        client.send(MISS).expect("sent");
        client.answer_to_head().expect("answered");
        client.bytes(10).expect("the first half");
    }
    daemon.kill9();
    for client in &mut clients {
        let error = client.rest().expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
