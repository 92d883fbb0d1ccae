//! Connections that userspace served become the kernel's: an unmodified listener accepts them from the client's own
//! address, and both directions go on at the byte and the option where they were.

#[path = "handoff_kernel/proxied.rs"]
mod proxied;
#[path = "handoff_kernel/stage.rs"]
mod stage;

use nix::sys::socket::{getsockopt, sockopt};
use sidestep::handoff::{Diag, KernelHandoff, Match, ProxyHandoff, Standing, Ticket, Ways};
use sidestep::steer::{AttachMode, Verdict};
use sidestep::worker::LEAVING;
use sidestep_tests::clock::PATIENCE;
use sidestep_tests::listener::{How, PLAINLY};
use sidestep_tests::raw::{RawClient, Segment, flag};
use stage::{CLOCKS, PORT, Stage, carrier, ticket};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

const REQUEST: &[u8] = b"POST /elsewhere HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// The connection that waits in the accept queue.
fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    listener.set_nonblocking(true).expect("non-blocking");
    match listener.accept() {
        Ok((stream, from)) => {
            stream.set_nonblocking(false).expect("blocking");
            stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
            Some((stream, from))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("accept: {error}"),
    }
}

/// Accepts the ticket's connection, reads the request, answers, and lets the client see and acknowledge the answer and
/// end the connection.
fn serve(listener: &TcpListener, client: &mut RawClient, ticket: &Ticket, fin: bool) {
    let (stream, from) = accept(listener).expect("a connection");
    assert_eq!(from, (client.addr, ticket.flow.remote.port).into());
    serve_on(stream, client, ticket, fin);
}

/// The same once it is accepted.
fn serve_on(mut stream: TcpStream, client: &mut RawClient, ticket: &Ticket, fin: bool) {
    let remote = ticket.flow.remote;
    let mut request = vec![0; REQUEST.len()];
    stream.read_exact(&mut request).expect("the request");
    assert_eq!(request, REQUEST);
    if fin {
        assert_eq!(stream.read(&mut request).expect("the end"), 0);
    }
    stream.write_all(ANSWER).expect("the answer");

    let end = REQUEST.len() + usize::from(fin);
    let answer = loop {
        let segment = client.expect(remote.port, "the answer");
        assert!(!segment.has(flag::RST), "{segment:?}");
        assert_eq!(segment.seq, ticket.ack, "{segment:?}");
        if let Some(option) = segment.option(8) {
            let clock = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("a clock"));
            assert_eq!(clock(&option[4..]), CLOCKS.0, "TSecr");
            let ahead = clock(&option[..4]).wrapping_sub(CLOCKS.1);
            assert!(ahead < 60_000, "TSval goes on from ours: {ahead} ms");
        }
        assert_eq!(segment.option(8).is_some(), ticket.timestamps.is_some());
        if !segment.payload.is_empty() {
            break segment;
        }
    };
    assert_eq!(answer.payload, ANSWER);
    assert_eq!(answer.ack, ticket.seq.wrapping_add(end as u32));

    // What the client itself sends now is the kernel's by its own socket table.
    let mut reply = carrier(client, ticket, end, if fin { b"" } else { b"more" }, 0);
    reply.ack = answer.end();
    client.send(&reply);
    if !fin {
        let mut more = [0; 4];
        stream.read_exact(&mut more).expect("what comes later");
        assert_eq!(&more, b"more");
    }
}

/// The request as the client sent it, in segments.
fn segments(client: &RawClient, ticket: &Ticket, cuts: &[usize], last: u8) -> Vec<Segment> {
    let mut from = 0;
    let ends = cuts.iter().copied().chain([REQUEST.len()]);
    ends.map(|end| {
        let flags = if end == REQUEST.len() {
            last | flag::PSH
        } else {
            0
        };
        let segment = carrier(client, ticket, from, &REQUEST[from..end], flags);
        from = end;
        segment
    })
    .collect()
}

fn goes_on(mode: AttachMode) {
    let mut stage = Stage::new(mode);
    for mut client in stage.clients() {
        let listener = stage.listen(client.peer, PLAINLY);
        for options in 0..8 {
            for cuts in [&[][..], &[10, 30]] {
                for fin in [false, true] {
                    let ticket = ticket(&mut client, options);
                    let last = if fin { flag::FIN } else { 0 };
                    let segments = segments(&client, &ticket, cuts, last);
                    assert_eq!(stage.hand_over(&ticket, &segments), Standing::Taken);
                    stage.handoff.forget(&ticket.flow);
                    serve(&listener, &mut client, &ticket, fin);
                    assert!(accept(&listener).is_none(), "one connection only");
                }
            }
        }
    }
    assert_eq!(stage.count(Verdict::PassKernelFlow), 2 * 8 * 2 * 2);
}

#[test]
fn the_server_goes_on_where_userspace_stopped_native() {
    goes_on(AttachMode::Native);
}

#[test]
fn the_server_goes_on_where_userspace_stopped_generic() {
    goes_on(AttachMode::Generic);
}

#[test]
fn whoever_would_get_a_segment_of_the_clients_gets_the_connection() {
    let mut stage = Stage::new(AttachMode::Native);
    let [v4, v6] = [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::from(Ipv6Addr::UNSPECIFIED),
    ];
    for mut client in stage.clients() {
        let local = ticket(&mut client, 0).flow.local;
        assert!(!stage.handoff.listens(&local));
        // The IPv6 wildcard takes IPv4 as well.
        let wildcards: &[IpAddr] = if client.addr.is_ipv4() {
            &[v4, v6]
        } else {
            &[v6]
        };
        for &wildcard in wildcards {
            let listener = stage.listen(wildcard, PLAINLY);
            assert!(stage.handoff.listens(&local), "{wildcard}");
            let ticket = ticket(&mut client, 7);
            let segments = segments(&client, &ticket, &[], 0);
            assert_eq!(stage.hand_over(&ticket, &segments), Standing::Taken);
            let (mut stream, from) = accept(&listener).expect("a connection");
            assert_eq!(from.ip().to_canonical(), client.addr);
            let mut request = vec![0; REQUEST.len()];
            stream.read_exact(&mut request).expect("the request");
            assert_eq!(request, REQUEST);
        }
        assert!(!stage.handoff.listens(&local), "gone");
    }
}

#[test]
fn listeners_that_share_a_port_share_the_connections() {
    let mut stage = Stage::new(AttachMode::Native);
    let [mut client, _] = stage.clients();
    let shared = How {
        reuse_port: true,
        ..PLAINLY
    };
    let listeners = [(); 2].map(|()| stage.listen(client.peer, shared));
    let count = 32;
    for _ in 0..count {
        let ticket = ticket(&mut client, 7);
        let segments = segments(&client, &ticket, &[], 0);
        assert_eq!(stage.hand_over(&ticket, &segments), Standing::Taken);
    }
    let got = listeners.map(|listener| std::iter::from_fn(|| accept(&listener)).count());
    assert_eq!(got.iter().sum::<usize>(), count);
    assert!(got.iter().all(|&n| n > 0), "{got:?}");
}

#[test]
fn without_a_listener_the_client_is_not_reset_and_a_later_one_gets_it() {
    let mut stage = Stage::new(AttachMode::Native);
    for mut client in stage.clients() {
        let ticket = ticket(&mut client, 7);
        let segments = segments(&client, &ticket, &[10], 0);
        assert_eq!(stage.hand_over(&ticket, &segments), Standing::NoListener);
        let elsewhere = stage.net.server.listen(PORT + 2).expect("a listener");
        assert_eq!(client.sync(PORT + 2), [], "silence");
        drop(elsewhere);
        let listener = stage.listen(client.peer, PLAINLY);
        stage.handoff.forget(&ticket.flow);
        assert_eq!(stage.hand_over(&ticket, &segments), Standing::Taken);
        serve(&listener, &mut client, &ticket, false);
    }
}

#[test]
fn a_full_accept_queue_keeps_the_connection_pending_until_there_is_room() {
    let mut stage = Stage::new(AttachMode::Native);
    for mut client in stage.clients() {
        // Room for one more than the backlog.
        let listener = stage.listen(
            client.peer,
            How {
                backlog: 0,
                ..PLAINLY
            },
        );
        let first = ticket(&mut client, 7);
        let request = segments(&client, &first, &[], 0);
        assert_eq!(stage.hand_over(&first, &request), Standing::Taken);

        let second = ticket(&mut client, 7);
        let request = segments(&client, &second, &[10], 0);
        stage.offer(&second);
        for _ in 0..3 {
            stage.carry(&second, &request[0]);
            stage.settle(&mut client);
            assert_eq!(stage.handoff.standing(&second.flow), Standing::Pending);
        }
        serve(&listener, &mut client, &first, false);
        assert_eq!(stage.hand_over(&second, &request), Standing::Taken);
        serve(&listener, &mut client, &second, false);
        assert!(accept(&listener).is_none());
    }
}

#[test]
fn only_a_carrier_of_a_pending_offer_starts_a_connection() {
    let mut stage = Stage::new(AttachMode::Native);
    for mut client in stage.clients() {
        let listener = stage.listen(client.peer, PLAINLY);
        // A client's frame may end in anything.
        let false_one = ticket(&mut client, 7);
        let request = segments(&client, &false_one, &[], 0);
        stage.offer(&false_one);
        stage.disguise(&false_one, &request[0]);
        stage.settle(&mut client);
        assert_eq!(stage.handoff.standing(&false_one.flow), Standing::Pending);

        // What is late speaks of an offer that is over, and the next one has the same place.
        let ticket = ticket(&mut client, 7);
        let request = segments(&client, &ticket, &[10], 0);
        let mut late = Vec::new();
        for _ in 0..LEAVING {
            stage.offer(&ticket);
            late.push(stage.carrier(&ticket, &request[0]));
            stage.handoff.forget(&ticket.flow);
        }
        stage.offer(&ticket);
        stage.late(late);
        stage.settle(&mut client);
        assert_eq!(stage.handoff.standing(&ticket.flow), Standing::Pending);
        assert!(accept(&listener).is_none());
        assert_eq!(stage.hand_over(&ticket, &request), Standing::Taken);
        serve(&listener, &mut client, &ticket, false);
        assert!(accept(&listener).is_none());
    }
}

#[test]
fn the_kernel_sees_no_mark() {
    let mut stage = Stage::new(AttachMode::Native);
    stage.sysctl("tcp_fwmark_accept", "1");
    for mut client in stage.clients() {
        let listener = stage.listen(client.peer, PLAINLY);
        let ticket = ticket(&mut client, 7);
        let request = segments(&client, &ticket, &[], 0);
        assert_eq!(stage.hand_over(&ticket, &request), Standing::Taken);
        let (stream, _) = accept(&listener).expect("a connection");
        assert_eq!(getsockopt(&stream, sockopt::Mark).expect("a mark"), 0);
    }
}

#[test]
fn a_connection_that_has_ended_is_not_made_a_second_time() {
    let mut stage = Stage::new(AttachMode::Native);
    let [mut client, _] = stage.clients();
    let listener = stage.listen(client.peer, PLAINLY);
    let ticket = ticket(&mut client, 0);
    let request = segments(&client, &ticket, &[], 0);
    assert_eq!(stage.hand_over(&ticket, &request), Standing::Taken);
    // Unread data makes the kernel reset the connection and forget it at once.
    drop(accept(&listener).expect("a connection"));
    let flow = ticket.flow;
    let index = stage
        .net
        .server
        .enter(|| nix::net::if_::if_nametoindex(stage.net.server.device))
        .expect("the NIC");
    let mut diag = stage.net.server.enter(|| Diag::open(index)).expect("asked");
    assert_eq!(
        diag.find(&flow).expect("told"),
        Match::Listener { mptcp: false }
    );

    assert_eq!(stage.offer(&ticket), Standing::Taken, "offered again");
    stage.carry(&ticket, &request[0]);
    stage.settle(&mut client);
    assert_eq!(stage.handoff.standing(&flow), Standing::Taken);
    assert!(
        accept(&listener).is_none(),
        "the request is not carried out twice"
    );
}

#[test]
fn a_listener_that_speaks_mptcp_is_told_apart_and_refuses() {
    let mut stage = Stage::new(AttachMode::Native);
    for mut client in stage.clients() {
        let how = How {
            mptcp: true,
            ..PLAINLY
        };
        let _listener = stage.listen(client.peer, how);
        let ticket = ticket(&mut client, 7);
        assert!(!stage.handoff.listens(&ticket.flow.local));
        let request = segments(&client, &ticket, &[], 0);
        let standing = stage.hand_over(&ticket, &request);
        assert_eq!(standing, Standing::Refused(nix::libc::EINVAL));
    }
}

#[test]
fn a_window_full_of_unread_bytes_comes_through() {
    let mut stage = Stage::new(AttachMode::Native);
    for mut client in stage.clients() {
        let listener = stage.listen(client.peer, PLAINLY);
        let unread: Vec<u8> = (0..60_000_u32).map(|n| (n / 7) as u8).collect();
        // As segments of the client's, and as the longest that an IP packet holds.
        for size in [1400, 32 << 10] {
            let ticket = ticket(&mut client, 7);
            let mut from = 0;
            let mut next = |part: &[u8]| {
                let segment = carrier(&client, &ticket, from, part, 0);
                from += part.len();
                segment
            };
            let segments: Vec<_> = unread.chunks(size).map(&mut next).collect();
            assert_eq!(stage.hand_over(&ticket, &segments[..1]), Standing::Taken);
            stage.inject(&segments[1..]);
            let (mut stream, _) = accept(&listener).expect("a connection");
            let mut got = vec![0; unread.len()];
            stream.read_exact(&mut got).expect("all of it");
            assert!(got == unread);
        }
    }
}

#[test]
fn the_gateways_of_two_daemons_do_not_disturb_each_other() {
    let mut old = Stage::new(AttachMode::Native);
    let [mut client, _] = old.clients();
    let listener = old.listen(client.peer, PLAINLY);
    let mut new = old.another_gateway();
    for _ in 0..2 {
        for turn in 0..2 {
            if turn == 1 {
                // Its offers go the way of the other's.
                std::mem::swap(&mut old.handoff, &mut new.1);
            }
            let ticket = ticket(&mut client, 7);
            let request = segments(&client, &ticket, &[10], 0);
            assert_eq!(old.hand_over(&ticket, &request), Standing::Taken);
            serve(&listener, &mut client, &ticket, false);
            assert!(accept(&listener).is_none());
        }
    }
    // The handle that is in use now is the old one's again; the new gateway goes, and its handle finds nobody.
    drop(new.0);
    let last = ticket(&mut client, 7);
    let request = segments(&client, &last, &[], 0);
    std::mem::swap(&mut old.handoff, &mut new.1);
    old.offer(&last);
    old.carry(&last, &request[0]);
    std::mem::swap(&mut old.handoff, &mut new.1);
    old.settle(&mut client);
    assert_eq!(new.1.standing(&last.flow), Standing::Pending);
    assert!(accept(&listener).is_none());
}

#[test]
fn a_gateway_has_as_many_handles_as_it_was_opened_for() {
    let stage = Stage::new(AttachMode::Native);
    let another = stage.another_handle().expect("one more");
    assert!(stage.another_handle().is_err());
    drop(another);
    assert!(stage.another_handle().is_ok());
}

#[test]
fn tags_and_ip_options_are_seen_through() {
    let mut stage = Stage::new(AttachMode::Native);
    let [mut client, _] = stage.clients();
    // A priority tag: the kernel takes it without a device for the VLAN.
    client.vlans = vec![0];
    let listener = stage.listen(client.peer, PLAINLY);
    let ticket = ticket(&mut client, 7);
    let mut request = segments(&client, &ticket, &[10], 0);
    // Three words of no operation.
    request[0].ip_options = vec![1; 12];
    assert_eq!(stage.hand_over(&ticket, &request), Standing::Taken);
    serve(&listener, &mut client, &ticket, false);
}

#[test]
fn with_syn_cookies_off_the_client_is_not_reset() {
    let mut stage = Stage::new(AttachMode::Native);
    for mut client in stage.clients() {
        let listener = stage.listen(client.peer, PLAINLY);
        let ticket = ticket(&mut client, 0);
        let local = ticket.flow.local;
        let request = segments(&client, &ticket, &[10], 0);
        assert!(stage.handoff.listens(&local));
        stage.sysctl("tcp_syncookies", "0");
        // Not asked again: the program finds out.
        let standing = stage.hand_over(&ticket, &request);
        assert_eq!(standing, Standing::Refused(nix::libc::ENOENT));
        assert!(accept(&listener).is_none());
        assert_eq!(client.sync(PORT), [], "silence");
        stage.handoff.forget(&ticket.flow);
        // From now on known, until the listener is asked for again.
        assert!(stage.handoff.offer(&ticket).is_err());
        stage.sysctl("tcp_syncookies", "1");
        assert!(stage.handoff.offer(&ticket).is_err());
        assert!(stage.handoff.listens(&local));
        assert_eq!(stage.hand_over(&ticket, &request), Standing::Taken);
        serve(&listener, &mut client, &ticket, false);
    }
}

#[test]
fn a_handle_can_move_to_its_workers_thread() {
    fn is_send<T: Send>() {}
    is_send::<KernelHandoff>();
    is_send::<ProxyHandoff>();
    is_send::<Ways>();
    assert_ne!(PORT, 0);
}
