//! A TCP connection all of whose client segments reach the kernel through the injector.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use sidestep::inject::Injector;
use sidestep::steer::{Addr, AttachMode, FlowKey, Steering, Verdict};

use crate::net::{NIC, Pair, enter, run, sniffer, xsk_nowhere};

const REQUEST: [u8; 3000] = [b'q'; 3000];
const ANSWER: &[u8] = b"from the kernel";

#[test]
fn v4_native() {
    connection("10.77.9.1", "10.77.9.2", AttachMode::Native);
}

#[test]
fn v4_generic() {
    connection("10.77.9.1", "10.77.9.2", AttachMode::Generic);
}

#[test]
fn v6_native() {
    connection("fd77::1", "fd77::2", AttachMode::Native);
}

#[test]
fn v6_generic() {
    connection("fd77::1", "fd77::2", AttachMode::Generic);
}

/// The client's frames are taken from its side of the wire and injected; where they would arrive by themselves they are
/// steered to a socket that drops them.
fn connection(server: &str, client: &str, mode: AttachMode) {
    let pair = Pair::new("");
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let (server, client, port) = (address(server), address(client), 8080);

    enter(&pair.server);
    let listener = TcpListener::bind((server, port)).expect("a listener");
    let mut steering = Steering::load(1, 1).unwrap_or_else(|error| panic!("{error}"));
    let nowhere = xsk_nowhere();
    steering.set_socket(0, &nowhere).expect("a socket");
    steering.add_service(server, port).expect("a service");
    steering.open_gate(true).expect("the gate");
    steering
        .attach(NIC, mode)
        .unwrap_or_else(|error| panic!("{error}"));
    let mut flows = steering.flows(0).expect("the flows");
    let mut injector = Injector::open(index()).unwrap_or_else(|error| panic!("{error}"));

    let mut injected = 0;
    thread::scope(|scope| {
        let served = scope.spawn(move || {
            let (mut stream, peer) = listener.accept().expect("accepted");
            let mut request = [0; REQUEST.len()];
            stream.read_exact(&mut request).expect("the request");
            assert_eq!(request, REQUEST);
            stream.write_all(ANSWER).expect("the answer");
            peer
        });
        let (ready, sniffing) = mpsc::channel();
        let namespace = &pair.client;
        let asked = scope.spawn(move || {
            enter(namespace);
            ready.send(sniffer()).expect("wanted");
            let mut stream = TcpStream::connect((server, port)).expect("connected");
            stream.write_all(&REQUEST).expect("sent");
            let mut answer = Vec::new();
            stream
                .read_to_end(&mut answer)
                .expect("the answer and the end");
            (answer, stream.local_addr().expect("an address"))
        });
        let mut wire = sniffing.recv().expect("a sniffer");
        let mut frame = [0; 2048];
        while !asked.is_finished() {
            let Ok(len) = wire.read(&mut frame) else {
                continue;
            };
            let Some(client_port) = tcp_port_from(&frame[..len], client) else {
                continue;
            };
            // Registered, so that no segment passes even when the kernel knows the connection.
            let (local, remote) = (Addr::from(server), Addr::from(client));
            flows.insert(&FlowKey::new(local, port, remote, client_port));
            injector.inject(&mut frame[..len]).expect("injected");
            injected += 1;
        }
        let (answer, from) = asked.join().expect("the client");
        assert_eq!(answer, ANSWER);
        assert_eq!(served.join().expect("the server"), from);
    });

    assert!(injected >= 5, "SYN, ACK, three of data: {injected}");
    let expected = match mode {
        AttachMode::Native => 0,
        AttachMode::Generic => injected,
    };
    // What was injected last may still be on its way.
    let count = |verdict: Verdict| steering.counters().expect("counters")[verdict as usize];
    let arrived = (0..100_000).any(|_| {
        thread::yield_now();
        count(Verdict::PassInjected) == expected
    });
    assert!(
        arrived,
        "{expected} frames met the program again, not {}",
        count(Verdict::PassInjected)
    );
    assert_eq!(
        count(Verdict::PassKernelFlow),
        0,
        "no segment took the short way"
    );
    assert!(count(Verdict::XskFlow) > 0);

    let device = injector.device().to_owned();
    let exists = || run("ip -br link").contains(&device);
    assert!(exists());
    drop(injector);
    // A child that another test has just forked may hold a copy of its descriptor until it calls exec.
    assert!((0..100).any(|_| !exists()), "{device} is left");
}

/// The index of the NIC in this namespace.
fn index() -> u32 {
    let line = run(&format!("ip -o link show dev {NIC}"));
    line.split(':')
        .next()
        .and_then(|index| index.parse().ok())
        .expect("a line that starts with the index")
}

/// The source port of a TCP segment whose sender is `address`.
fn tcp_port_from(frame: &[u8], address: IpAddr) -> Option<u16> {
    let (protocol, source, tcp) = match address {
        IpAddr::V4(v4) => (23, (26, v4.octets().to_vec()), 34),
        IpAddr::V6(v6) => (20, (22, v6.octets().to_vec()), 54),
    };
    let ours = *frame.get(protocol)? == 6 && frame.get(source.0..)?.starts_with(&source.1);
    ours.then(|| {
        frame
            .get(tcp..)?
            .first_chunk()
            .map(|port| u16::from_be_bytes(*port))
    })?
}
