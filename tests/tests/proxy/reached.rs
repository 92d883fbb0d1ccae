//! Listeners of all kinds, and what it costs when there is none or it has no room.

use super::{MISS, PORT, by_proxy, config, hit};
use sidestep_tests::clock::{PATIENCE, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::Client;
use sidestep_tests::listener::{How, PLAINLY, listen_as};
use sidestep_tests::net::Net;
use sidestep_tests::server::Server;
use sidestep_tests::site::PING;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream};

/// No room but for one.
const CRAMPED: How = How {
    backlog: 0,
    ..PLAINLY
};

#[track_caller]
fn refused_and_goes_on(client: &mut Client) {
    assert_eq!(client.answer().expect("answered").status, 503);
    assert_eq!(client.get("/ping").expect("answered").body, PING);
}

#[test]
fn a_server_is_found_wherever_it_listens() {
    let net = Net::new();
    let daemon = Daemon::start(&net.server, &by_proxy());
    let any = [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::from(Ipv6Addr::UNSPECIFIED),
    ];
    let [v4, v6] = net.server.addresses(PORT);
    let v6_only = How {
        v6_only: true,
        ..PLAINLY
    };
    let cases: [(IpAddr, How, &[SocketAddr]); 5] = [
        (any[0], PLAINLY, &[v4]),
        (any[1], PLAINLY, &[v4, v6]),
        (any[1], v6_only, &[v6]),
        (v4.ip(), PLAINLY, &[v4]),
        (v6.ip(), PLAINLY, &[v6]),
    ];
    for (at, how, reached) in cases {
        let server = Server::who(listen_as(&net.server, (at, PORT).into(), how));
        for to in [v4, v6] {
            let mut client = hit(&net, to);
            client.send(MISS).expect("sent");
            if !reached.contains(&to) {
                refused_and_goes_on(&mut client);
                continue;
            }
            let answer = client.answer().expect("answered");
            let seen: SocketAddr = String::from_utf8_lossy(&answer.body)
                .parse()
                .expect("an address");
            // From the host itself, on which the port is free for the next listener.
            assert_eq!(seen.ip(), to.ip(), "{at} {how:?}");
        }
        drop(server);
    }
    assert_eq!(daemon.counter("handoff", "taken"), 6);
    assert_eq!(daemon.counter("handoff", "no_listener"), 4);
}

#[test]
fn a_link_local_address_is_reached_as_well() {
    let net = Net::new();
    let _server = Server::who(listen_as(
        &net.server,
        (Ipv6Addr::UNSPECIFIED, PORT).into(),
        PLAINLY,
    ));
    // Derived from the NIC's Ethernet address (RFC 4291, appendix A).
    let ip = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x77, 0xff, 0xfe00, 1);
    let device = || nix::net::if_::if_nametoindex(net.client.device);
    let scope = net.client.enter(device).expect("the NIC");
    let to = SocketAddrV6::new(ip, PORT, 0, scope).into();
    for (keys, from) in [
        ("fallback_mode = \"handoff\"", "fe80::77:ff:fe00:2"),
        ("fallback_mode = \"proxy\"", "fe80::77:ff:fe00:1"),
    ] {
        let _daemon = Daemon::start(&net.server, &config(keys));
        let mut client = hit(&net, to);
        let answer = client.get("/elsewhere").expect("answered");
        let seen = String::from_utf8_lossy(&answer.body);
        assert!(seen.contains(from), "{keys}: {seen}");
    }
}

#[test]
fn a_listener_that_has_just_gone_costs_one_request() {
    let net = Net::new();
    let daemon = Daemon::start(&net.server, &by_proxy());
    for to in net.server.addresses(PORT) {
        // That somebody listens is believed for some time: so much that several of these find nobody.
        for _ in 0..5 {
            let mut clients = [hit(&net, to), hit(&net, to)];
            let server = Server::who(listen_as(&net.server, to, PLAINLY));
            let [first, second] = &mut clients;
            assert_eq!(first.get("/elsewhere").expect("answered").status, 200);
            drop(server);
            second.send(MISS).expect("sent");
            refused_and_goes_on(second);
        }
    }
    assert_eq!(daemon.counter("handoff", "no_listener"), 10);
    assert_eq!(daemon.counter("handoff", "taken"), 10);
}

#[test]
fn a_full_accept_queue_is_waited_for_and_costs_one_request_in_the_end() {
    let net = Net::new();
    let daemon = Daemon::start(&net.server, &by_proxy());
    let addresses = net.server.addresses(PORT);
    let listeners = addresses.map(|to| listen_as(&net.server, to, CRAMPED));
    // Each takes the one place.
    let fillers = addresses.map(|to| net.server.enter(|| TcpStream::connect(to)));
    let mut clients = addresses.map(|to| hit(&net, to));
    for client in &mut clients {
        client.send(MISS).expect("sent");
    }
    wait_for(PATIENCE, "both wait for a place", || {
        (daemon.counter("connections", "leaving") == 2).then_some(())
    });
    // The first gets it; the second's time runs out.
    let [one, other] = listeners;
    one.accept().expect("the filler");
    let server = Server::who(one);
    let [first, second] = &mut clients;
    assert_eq!(first.answer().expect("answered").status, 200);
    refused_and_goes_on(second);
    assert_eq!(daemon.counter("handoff", "taken"), 1);
    assert_eq!(daemon.counter("handoff", "too_late"), 1);
    drop((server, other, fillers));
}
