//! Both directions, to their ends.

use super::{MISS, PORT, by_proxy, head, hit, noise};
use nix::sys::socket::{setsockopt, sockopt};
use sidestep_tests::clock::{PATIENCE, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::{Net, Plan};
use sidestep_tests::server::Server;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

const LONG: usize = 4 << 20;

/// From now on nothing that this socket says is to be believed: it ends with a reset.
fn reset(stream: &TcpStream) {
    let now = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(stream, sockopt::Linger, &now).expect("SO_LINGER");
}

#[test]
fn a_client_that_half_closes_gets_its_whole_answer() {
    let net = Net::new();
    let _server = Server::start(&net.server, PORT, |stream| {
        let mut rest = Vec::new();
        head(stream)?.read_to_end(&mut rest)?;
        assert_eq!(rest, b"more");
        let mut out = stream;
        out.write_all(&noise(1, LONG))
    });
    let _daemon = Daemon::start(&net.server, &by_proxy());
    for to in net.server.addresses(PORT) {
        let mut client = hit(&net, to);
        client.send(MISS).expect("sent");
        client.send("more").expect("sent");
        client.stream().shutdown(Shutdown::Write).expect("shut");
        assert!(client.rest().expect("to the end") == noise(1, LONG));
    }
}

#[test]
fn a_server_that_half_closes_reads_on() {
    let net = Net::new();
    let (tell, told) = channel();
    let _server = Server::start(&net.server, PORT, move |stream| {
        let mut rest = head(stream)?;
        let mut out = stream;
        out.write_all(b"HTTP/1.1 200 OK\r\n\r\nall")?;
        stream.shutdown(Shutdown::Write)?;
        let mut got = Vec::new();
        let read = rest.read_to_end(&mut got).map(|_| got);
        // The test may have failed already.
        let _ = tell.send(read);
        Ok(())
    });
    let _daemon = Daemon::start(&net.server, &by_proxy());
    for to in net.server.addresses(PORT) {
        let mut client = hit(&net, to);
        client.send(MISS).expect("sent");
        let answer = client.rest().expect("to the end");
        assert!(answer.ends_with(b"\r\n\r\nall"));
        client.send(noise(2, LONG)).expect("sent");
        client.stream().shutdown(Shutdown::Write).expect("shut");
        let got = told.recv_timeout(PATIENCE).expect("told").expect("read");
        assert!(got == noise(2, LONG), "{} bytes", got.len());
    }
}

#[test]
fn a_reset_by_either_side_is_one_for_the_other() {
    let net = Net::new();
    let (tell, told) = channel();
    let _server = Server::start(&net.server, PORT, move |stream| {
        let mut rest = head(stream)?;
        let mut out = stream;
        out.write_all(b"HTTP/1.1 200 OK\r\n\r\npart")?;
        let mut byte = [0];
        rest.read_exact(&mut byte)?;
        if byte == *b"s" {
            reset(stream);
            return Ok(());
        }
        let end = rest.read(&mut byte).map_err(|error| error.kind());
        // The test may have failed already.
        let _ = tell.send(end);
        Ok(())
    });
    let daemon = Daemon::start(&net.server, &by_proxy());
    for to in net.server.addresses(PORT) {
        for by_server in [false, true] {
            let mut client = hit(&net, to);
            client.send(MISS).expect("sent");
            let head_and_part = "HTTP/1.1 200 OK\r\n\r\npart".len();
            client.bytes(head_and_part).expect("answered");
            if by_server {
                client.send("s").expect("sent");
                let error = client.rest().expect_err("a reset");
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            } else {
                client.send("c").expect("sent");
                reset(client.stream());
                drop(client);
                let end = told.recv_timeout(PATIENCE).expect("told");
                assert_eq!(end, Err(ErrorKind::ConnectionReset));
            }
        }
    }
    wait_for(PATIENCE, "all have ended", || {
        (daemon.status()["proxied"]["open"] == 0).then_some(())
    });
    let ended = &daemon.status()["proxied"]["ended"];
    assert_eq!(
        (&ended["client_reset"], &ended["server_reset"]),
        (&2.into(), &2.into())
    );
}

#[test]
fn both_ways_at_once() {
    let net = Net::new();
    let _server = Server::start(&net.server, PORT, |stream| {
        let mut rest = head(stream)?;
        let mut out = stream;
        out.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: noise\r\n\r\n")?;
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                out.write_all(&noise(3, LONG))?;
                out.shutdown(Shutdown::Write)
            });
            let mut got = Vec::new();
            rest.read_to_end(&mut got)?;
            assert!(got == noise(4, LONG), "{} bytes", got.len());
            writer.join().expect("no panic")
        })
    });
    let _daemon = Daemon::start(&net.server, &by_proxy());
    for to in net.server.addresses(PORT) {
        let mut client = hit(&net, to);
        let request = MISS.replace(
            "\r\n\r\n",
            "\r\nConnection: upgrade\r\nUpgrade: noise\r\n\r\n",
        );
        client.send(request).expect("sent");
        assert_eq!(client.answer_to_head().expect("answered").status, 101);
        let mut out = client.stream().try_clone().expect("a copy");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                out.write_all(&noise(4, LONG)).expect("sent");
                out.shutdown(Shutdown::Write).expect("shut");
            });
            let got = client.rest().expect("to the end");
            assert!(got == noise(3, LONG), "{} bytes", got.len());
        });
    }
}

#[test]
fn connections_of_several_queues_do_not_mix() {
    let net = Plan::new().queues(2).build();
    let _server = Server::start(&net.server, PORT, |stream| {
        let mut rest = head(stream)?;
        let mut out = stream;
        out.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        std::io::copy(&mut rest, &mut out).map(drop)
    });
    let daemon = Daemon::start(&net.server, &by_proxy());
    let addresses = net.server.addresses(PORT);
    std::thread::scope(|scope| {
        for seed in 0..16 {
            let (net, to) = (&net, addresses[seed as usize % 2]);
            scope.spawn(move || {
                let mut client = hit(net, to);
                client.send(MISS).expect("sent");
                client.answer_to_head().expect("answered");
                // So little that it fits all buffers: nobody reads meanwhile.
                let sent = noise(seed, 60_000);
                client.send(&sent).expect("sent");
                client.stream().shutdown(Shutdown::Write).expect("shut");
                assert!(client.rest().expect("to the end") == sent);
            });
        }
    });
    let taken = daemon.counter("handoff", "taken");
    assert_eq!((taken, daemon.requests().len()), (16, 2));
}

/// How much has been said when it goes no further.
fn stalled(said: &AtomicU64) -> u64 {
    let mut before = (0, 0);
    wait_for(PATIENCE, "the writer waits for the reader", || {
        let now = said.load(Ordering::Relaxed);
        before = if now > 0 && now == before.0 {
            (now, before.1 + 1)
        } else {
            (now, 0)
        };
        // Unchanged for a quarter of a second.
        (before.1 == 50).then_some(now)
    })
}

/// Writes `bytes` and counts them as they are taken.
fn say(mut out: &TcpStream, bytes: &[u8], said: &AtomicU64) -> std::io::Result<()> {
    for part in bytes.chunks(16 << 10) {
        out.write_all(part)?;
        said.fetch_add(part.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// More than all buffers of both kernels between client and server: six megabytes at most to receive, four to send.
const ENDLESS: usize = 48 << 20;

/// What the kernels' buffers and the proxy may hold of one direction: two sockets to send and two to receive.
const MOST_HELD: u64 = 24 << 20;

/// What the daemon may grow by for one connection that waits.
const MOST_RESIDENT: u64 = 2 << 20;

#[test]
fn a_client_that_does_not_read_holds_the_server_back() {
    let net = Net::new();
    let said = Arc::new(AtomicU64::new(0));
    let count = said.clone();
    let _server = Server::start(&net.server, PORT, move |stream| {
        head(stream)?;
        say(stream, &noise(5, ENDLESS), &count)
    });
    let daemon = Daemon::start(&net.server, &by_proxy());
    for to in net.server.addresses(PORT) {
        said.store(0, Ordering::Relaxed);
        let mut client = hit(&net, to);
        let before = daemon.resident();
        client.send(MISS).expect("sent");
        let held = stalled(&said);
        assert!(held < MOST_HELD, "{held} bytes on their way");
        let grown = daemon.resident().saturating_sub(before);
        assert!(grown < MOST_RESIDENT, "{grown} bytes more");
        assert!(client.rest().expect("to the end") == noise(5, ENDLESS));
    }
}

#[test]
fn a_server_that_does_not_read_holds_the_client_back() {
    let net = Net::new();
    let (tell, told) = channel();
    let (go, gone) = channel();
    let gone = Arc::new(std::sync::Mutex::new(gone));
    let _server = Server::start(&net.server, PORT, move |stream| {
        let mut rest = head(stream)?;
        // Until the test lets it, or is over.
        let _ = gone.lock().expect("no panic").recv();
        let mut got = Vec::new();
        rest.read_to_end(&mut got)?;
        // The test may have failed already.
        let _ = tell.send(got == noise(6, ENDLESS));
        Ok(())
    });
    let daemon = Daemon::start(&net.server, &by_proxy());
    for to in net.server.addresses(PORT) {
        let said = AtomicU64::new(0);
        let mut client = hit(&net, to);
        let before = daemon.resident();
        client.send(MISS).expect("sent");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let stream = client.stream();
                stream.set_write_timeout(Some(PATIENCE * 3)).expect("set");
                say(stream, &noise(6, ENDLESS), &said).expect("sent");
                stream.shutdown(Shutdown::Write).expect("shut");
            });
            let held = stalled(&said);
            assert!(held < MOST_HELD, "{held} bytes on their way");
            let grown = daemon.resident().saturating_sub(before);
            assert!(grown < MOST_RESIDENT, "{grown} bytes more");
            go.send(()).expect("it waits");
            writer.join().expect("no panic");
        });
        assert!(told.recv_timeout(PATIENCE).expect("told"), "other bytes");
    }
}
