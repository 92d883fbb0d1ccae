//! What the kernel does not take goes on through the proxy: everything but the client's address is the same.

use std::net::{SocketAddr, TcpListener, TcpStream};

use sidestep::handoff::{Standing, Ticket};
use sidestep::steer::AttachMode;
use sidestep_tests::clock::{Deadline, PATIENCE};
use sidestep_tests::listener::{How, PLAINLY};
use sidestep_tests::raw::{RawClient, flag};

use super::stage::{By, PORT, Stage, ticket};
use super::{accept, segments, serve, serve_on};

/// The connection that comes from the proxy.
fn accept_proxied(listener: &TcpListener, client: &RawClient) -> (TcpStream, SocketAddr) {
    let deadline = Deadline::after(PATIENCE);
    loop {
        if let Some(accepted) = accept(listener) {
            assert_eq!(accepted.1.ip(), client.peer, "from this host");
            return accepted;
        }
        assert!(!deadline.passed(), "no connection");
        std::thread::yield_now();
    }
}

#[test]
fn the_proxy_goes_on_where_userspace_stopped() {
    for mode in [AttachMode::Native, AttachMode::Generic] {
        let mut stage = Stage::with(mode, By::Proxy);
        for mut client in stage.clients() {
            let listener = stage.listen(client.peer, PLAINLY);
            for options in 0..8 {
                for fin in [false, true] {
                    let ticket = ticket(&mut client, options);
                    let last = if fin { flag::FIN } else { 0 };
                    let segments = segments(&client, &ticket, &[10], last);
                    assert_eq!(stage.hand_over(&ticket, &segments), Standing::Ready);
                    stage.handoff.forget(&ticket.flow);
                    let (stream, _) = accept_proxied(&listener, &client);
                    serve_on(stream, &mut client, &ticket, fin);
                }
            }
        }
    }
}

#[test]
fn open_proxied_connections_leave_the_port_to_the_server() {
    let by_port = How {
        reuse_address: false,
        reuse_port: true,
        ..PLAINLY
    };
    // The two ways in which a server shares a port with connections of its former life.
    for how in [PLAINLY, by_port] {
        let mut stage = Stage::with(AttachMode::Native, By::Proxy);
        for mut client in stage.clients() {
            let listener = stage.listen(client.peer, how);
            let ticket = ticket(&mut client, 7);
            let request = segments(&client, &ticket, &[], 0);
            assert_eq!(stage.hand_over(&ticket, &request), Standing::Ready);
            let (stream, _) = accept_proxied(&listener, &client);
            drop(listener);
            let listener = stage.listen(client.peer, how);
            serve_on(stream, &mut client, &ticket, false);
            assert!(accept(&listener).is_none());
        }
    }
}

#[test]
fn what_the_kernel_does_not_take_goes_through_the_proxy() {
    let mut stage = Stage::with(AttachMode::Native, By::Both);
    for mut client in stage.clients() {
        let [plain, small, mptcp] = [1400, 500, 1400].map(|mss| Ticket {
            mss,
            ..ticket(&mut client, 7)
        });
        let request = |ticket| segments(&client, ticket, &[], 0);
        let requests = [&plain, &small, &mptcp].map(request);
        let local = plain.flow.local;
        assert!(!stage.handoff.listens(&local));

        let listener = stage.listen(client.peer, PLAINLY);
        assert!(stage.handoff.listens(&local));
        assert_eq!(stage.hand_over(&plain, &requests[0]), Standing::Taken);
        serve(&listener, &mut client, &plain, false);
        assert_eq!(stage.hand_over(&small, &requests[1]), Standing::Ready);
        let (stream, _) = accept_proxied(&listener, &client);
        serve_on(stream, &mut client, &small, false);

        stage.sysctl("tcp_syncookies", "0");
        // The first one finds out, the next one knows.
        for _ in 0..2 {
            let late = ticket(&mut client, 7);
            let request = segments(&client, &late, &[], 0);
            assert_eq!(stage.hand_over(&late, &request), Standing::Ready);
            let (stream, _) = accept_proxied(&listener, &client);
            serve_on(stream, &mut client, &late, false);
        }
        stage.sysctl("tcp_syncookies", "1");
        drop(listener);

        let how = How {
            mptcp: true,
            ..PLAINLY
        };
        let listener = stage.listen(client.peer, how);
        assert!(stage.handoff.listens(&local));
        assert_eq!(stage.hand_over(&mptcp, &requests[2]), Standing::Ready);
        let (stream, _) = accept_proxied(&listener, &client);
        serve_on(stream, &mut client, &mptcp, false);
    }
}

#[test]
fn what_the_server_does_not_let_in_stays_where_it_is() {
    let mut stage = Stage::with(AttachMode::Native, By::Proxy);
    for mut client in stage.clients() {
        let ticket = |client: &mut RawClient| ticket(client, 7);
        let (first, second, third) = (
            ticket(&mut client),
            ticket(&mut client),
            ticket(&mut client),
        );
        assert_eq!(stage.offer(&third), Standing::NoListener);
        stage.handoff.forget(&third.flow);
        // Room for one more than the backlog.
        let how = How {
            backlog: 0,
            ..PLAINLY
        };
        let listener = stage.listen(client.peer, how);
        let [request, waiting] = [&first, &second].map(|t| segments(&client, t, &[10], 0));
        assert_eq!(stage.hand_over(&first, &request), Standing::Ready);
        for _ in 0..3 {
            assert_eq!(stage.offer(&second), Standing::Waits);
            assert_eq!(stage.handoff.standing(&second.flow), Standing::Waits);
        }
        let connections = stage.net.server.kernel_connections(PORT);
        let of_clients = connections.matches(&client.addr.to_string()).count();
        assert_eq!(of_clients, 1, "{connections}");
        let (stream, _) = accept_proxied(&listener, &client);
        serve_on(stream, &mut client, &first, false);
        assert_eq!(stage.hand_over(&second, &waiting), Standing::Ready);
        let (stream, _) = accept_proxied(&listener, &client);
        serve_on(stream, &mut client, &second, false);
        assert!(accept(&listener).is_none());
        // It goes while the proxy waits for it.
        let filler = stage.fill(client.peer);
        assert_eq!(stage.offer(&third), Standing::Waits);
        drop(listener);
        assert_eq!(stage.offer(&third), Standing::NoListener);
        stage.handoff.forget(&third.flow);
        drop(filler);
    }
}
