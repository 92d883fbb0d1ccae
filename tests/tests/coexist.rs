//! "Never worse than absent": what the kernel owns goes on, through attach, traffic, detach and crash.

use sidestep_tests::clock::{Deadline, PATIENCE, lasting, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::Client;
use sidestep_tests::load::Load;
use sidestep_tests::net::{CLIENT_V4, Net};
use sidestep_tests::server::{Nginx, Server};
use sidestep_tests::site::{INDEX, PING, Site};
use sidestep_tests::wrk::Wrk;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

fn echoes(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).expect("sends");
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).expect("echo comes back");
    assert_eq!(back, text.as_bytes());
}

fn load(net: &Net, duration: Duration) -> Load<'static> {
    Load {
        to: net.server.at(80),
        expect: &[("/ping", PING), ("/", INDEX)],
        connections: 8,
        pipeline: 2,
        duration,
        patience: PATIENCE,
    }
}

#[test]
fn a_kernel_connection_lives_through_attach_traffic_and_detach() {
    let (net, site) = (Net::new(), Site::new("kernel"));
    let echo = Server::echo(&net.server, 80);
    let mut streams = net
        .server
        .addresses(80)
        .map(|to| net.client.connect(to, PATIENCE).expect("connects"));
    let mut echo_all = |text: &str| streams.iter_mut().for_each(|stream| echoes(stream, text));
    echo_all("before");
    for round in ["first", "second"] {
        let daemon = Daemon::start(&net.server, &site.config());
        echo_all(round);
        std::thread::scope(|scope| {
            let load = load(&net, Duration::from_secs(1));
            let net = &net;
            let loading = scope.spawn(move || load.run(&net.client));
            while !loading.is_finished() {
                echo_all("during traffic on the same port");
            }
            loading.join().expect("load ran").assert_clean(100);
        });
        assert_eq!(echo.accepted(), 2, "the load went to the kernel's server");
        let detached = daemon.control(&["detach", net.server.device]);
        assert_eq!(detached.code(), 0, "{}", detached.stderr);
        assert_eq!(daemon.ended().code(), Some(0));
        assert_eq!(net.server.xdp_program(), None);
        echo_all("after");
    }
}

#[test]
fn a_killed_daemon_leaves_the_port_to_the_kernel_at_once() {
    let (net, site) = (Net::new(), Site::new("kernel"));
    let kernel = Server::http(&net.server, 80, "kernel");
    let mut kept = net
        .client
        .connect(net.server.at(80), PATIENCE)
        .expect("connects");
    wait_for(PATIENCE, "accepted", || {
        (kernel.accepted() == 1).then_some(())
    });
    let daemon = Daemon::start(&net.server, &site.config());
    let wrk = Wrk {
        to: net.server.at(80),
        path: "/ping",
        body: PING,
        connections: 100,
        pipeline: 1,
        duration: Duration::from_secs(3),
        timeout: Duration::from_secs(2),
    };
    std::thread::scope(|scope| {
        let running = scope.spawn(|| wrk.run(&net.client));
        wait_for(PATIENCE, "wrk is under way", || {
            (daemon.requests()[0] > 1000).then_some(())
        });
        assert_eq!(kernel.accepted(), 1);
        daemon.kill9();
        let deadline = Deadline::after(Duration::from_secs(1));
        let stream = net
            .client
            .connect(net.server.at(80), deadline.left())
            .expect("the next connection is accepted");
        let answer = Client::new(stream).get("/ping").expect("answered");
        assert!(!deadline.passed(), "not within a second");
        assert_eq!(answer.field("server"), Some("kernel"));
        running.join().expect("wrk ran");
    });
    assert_eq!(net.server.xdp_program(), None);
    kept.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sends");
    let answer = Client::new(kept)
        .answer()
        .expect("a connection of the kernel's lives on");
    assert_eq!(answer.body, b"kernel");
}

#[test]
fn an_unmodified_server_gets_what_is_not_steered() {
    let (net, site) = (Net::new(), Site::new("kernel"));
    let tree: [(&str, &[u8]); 1] = [("/ping", b"nginx")];
    let _same_port = Nginx::start(&net.server, 80, &tree);
    let _other_port = Nginx::start(&net.server, 8080, &tree);
    // A host's second address, which the daemon is not told about.
    net.server
        .must(&["ip", "addr", "add", "10.77.0.9/32", "dev", "lo"]);
    net.client
        .must(&["ip", "route", "add", "10.77.0.9/32", "via", "10.77.0.1"]);
    let second: SocketAddr = ([10, 77, 0, 9], 80).into();
    let get = |to: SocketAddr| {
        let stream = net.client.connect(to, PATIENCE).expect("connects");
        Client::new(stream).get("/ping").expect("answered").body
    };
    let daemon = Daemon::start(&net.server, &site.config());
    for address in net.server.addresses(80) {
        assert_eq!(get(address), PING);
    }
    for address in net.server.addresses(8080) {
        assert_eq!(get(address), b"nginx");
    }
    assert_eq!(get(second), b"nginx");
    let port: SocketAddr = net.server.at(80);
    let server = net.server.enter(|| UdpSocket::bind(port)).expect("binds");
    let client = net
        .client
        .enter(|| UdpSocket::bind((CLIENT_V4, 80)))
        .expect("binds");
    server.set_read_timeout(Some(PATIENCE)).expect("set");
    client
        .send_to(b"UDP on the same port", port)
        .expect("sends");
    let mut datagram = [0; 64];
    let (len, _) = server.recv_from(&mut datagram).expect("receives");
    assert_eq!(&datagram[..len], b"UDP on the same port");
    // The other way round: connections that the server's host opens.
    let _client_side = Server::echo(&net.client, 80);
    let mut out = net
        .server
        .connect((CLIENT_V4, 80).into(), PATIENCE)
        .expect("connects");
    echoes(&mut out, "from the server's host");
    daemon.stop();
    for address in net.server.addresses(80) {
        assert_eq!(get(address), b"nginx");
    }
}

#[test]
fn stopping_under_load_ends_connections_between_answers() {
    let (net, site) = (Net::new(), Site::new("none"));
    let _kernel = Server::http(&net.server, 80, "kernel");
    let daemon = Daemon::start(&net.server, &site.config());
    std::thread::scope(|scope| {
        let load = load(
            &net,
            lasting(Duration::from_secs(2), Duration::from_secs(10)),
        );
        let net = &net;
        let loading = scope.spawn(move || load.run(&net.client));
        wait_for(PATIENCE, "the load is under way", || {
            (daemon.requests()[0] > 100).then_some(())
        });
        daemon.stop();
        let outcome = loading.join().expect("load ran");
        // Without a server to go to, a drained connection ends with a FIN between two answers, which the client sees as an end or, when its next
        // request was under way, as a reset; a wrong or cut answer is neither.
        for failure in &outcome.failures {
            assert!(
                failure.contains("closed after \"\"")
                    || failure.contains("reset")
                    || failure.contains("Broken pipe"),
                "{failure}"
            );
        }
    });
    let stream = net
        .client
        .connect(net.server.at(80), PATIENCE)
        .expect("connects");
    let answer = Client::new(stream).get("/ping").expect("answered");
    assert_eq!(answer.field("server"), Some("kernel"));
}
