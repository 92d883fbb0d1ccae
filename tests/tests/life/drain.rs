//! What a drain does to connections in all stages.

use super::{By, CONFIG, PONG, ask, client};
use sidestep_tests::clock::{PATIENCE, lasting, soak, wait_for};
use sidestep_tests::crowd::Crowd;
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::Client;
use sidestep_tests::net::{Net, RAW_MAC};
use sidestep_tests::server::{Nginx, Server};
use std::io::Read;
use std::time::Duration;

/// More than can be on their way to the kernel at once, which are 1,024.
const MANY: usize = 5_000;

/// The address of the crowd's connections; one has ports for all of them.
const CROWD: &str = "10.100.0.1";

/// For a crowd on a loaded machine.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn more_idle_connections_than_can_be_under_way_all_go_on_with_the_server() {
    let net = Net::new();
    // The kernel's way back to the crowd.
    let mac = RAW_MAC.map(|byte| format!("{byte:02x}")).join(":");
    let device = net.server.device;
    let argv = ["ip", "route", "add", CROWD, "dev", device];
    net.server.must(&argv);
    let argv = ["ip", "neigh", "add", CROWD, "lladdr", &mac, "dev", device];
    net.server.must(&argv);
    let _nginx = Nginx::start(&net.server, 80, &[("/ping", b"nginx")]);
    let daemon = Daemon::start(&net.server, CONFIG);
    let mut crowd = Crowd::open(&net, 80, MANY, LONG);
    let request = b"GET /ping HTTP/1.1\r\nHost: test\r\n\r\n";
    crowd.ask(request, &|answer| answer.ends_with(PONG.as_bytes()), LONG);
    let open: u64 = daemon.connections().iter().sum();
    assert_eq!(open, MANY as u64);
    daemon.stop();
    // Each of them, with its own sequence numbers: a reset fails the test.
    crowd.ask(request, &|answer| answer.ends_with(b"nginx"), LONG);
}

#[test]
fn a_download_that_is_under_way_comes_to_its_end() {
    let net = Net::new();
    let large: Vec<u8> = (0..8 << 20).map(|n: u32| (n / 7) as u8).collect();
    let root = tempfile::tempdir().expect("a directory");
    std::fs::write(root.path().join("large"), &large).expect("written");
    let config = format!(
        "{CONFIG}\n[[site.static]]\npath = \"/\"\nroot = {:?}\nmax_object = \"16MiB\"\n",
        root.path()
    );
    let _server = Server::http(&net.server, 80, PONG);
    let daemon = Daemon::start(&net.server, &config);
    for to in net.server.addresses(80).into_iter().take(1) {
        let mut slow = client(&net, to).expect("connects");
        slow.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n")
            .expect("sent");
        let mut head = [0; 1 << 10];
        slow.stream().read_exact(&mut head).expect("its beginning");
        daemon.terminate();
        // The gate is closed: what is new is the kernel's, while the old download still runs.
        wait_for(PATIENCE, "new connections are the kernel's", || {
            let mut new = client(&net, to).ok()?;
            (ask(&mut new, "/ping").ok()? == By::Kernel).then_some(())
        });
        let mut rest = Vec::new();
        let pause = lasting(Duration::from_millis(2), Duration::from_millis(5));
        let mut piece = [0; 64 << 10];
        while rest.len() + head.len() < large.len() {
            let got = slow.stream().read(&mut piece).expect("more of it");
            assert!(got > 0, "cut off after {} bytes", rest.len());
            rest.extend_from_slice(&piece[..got]);
            std::thread::sleep(pause);
        }
        let all = [&head[..], &rest].concat();
        let start = all
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("a head")
            + 4;
        let mut body = all[start..].to_vec();
        let mut tail = vec![0; large.len() - body.len()];
        slow.stream().read_exact(&mut tail).expect("its end");
        body.extend(tail);
        assert!(body == large, "{} bytes differ", body.len());
        // It goes on with the server.
        assert_eq!(ask(&mut slow, "/ping").expect("answered"), By::Kernel);
    }
    assert_eq!(daemon.gone().code(), 0);
}

#[test]
fn an_upload_that_was_handed_over_is_not_cut_by_a_detach() {
    let net = Net::new();
    let server = Server::start(&net.server, 80, |mut stream| {
        // Takes a body of known length, in whatever pieces, and says how long it was.
        let mut bytes = Vec::new();
        let mut piece = [0; 16 << 10];
        let end = loop {
            let got = stream.read(&mut piece)?;
            bytes.extend_from_slice(&piece[..got]);
            if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
        };
        while bytes.len() - end < BODY {
            let got = stream.read(&mut piece)?;
            bytes.extend_from_slice(&piece[..got]);
        }
        let right = bytes[end..].iter().all(|b| *b == b'x');
        let body = format!("{} {right}", bytes.len() - end);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        std::io::Write::write_all(&mut stream, (head + &body).as_bytes())
    });
    const BODY: usize = 200_000;
    let rounds = if soak() { 20 } else { 2 };
    for _ in 0..rounds {
        let daemon = Daemon::start(&net.server, CONFIG);
        let accepted = server.accepted();
        let mut uploads: Vec<Client> = net
            .server
            .addresses(80)
            .iter()
            .map(|to| client(&net, *to).expect("connects"))
            .collect();
        for upload in &mut uploads {
            assert_eq!(ask(upload, "/ping").expect("answered"), By::Sidestep);
            let head = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {BODY}\r\n\r\n");
            upload.send(head + &"x".repeat(BODY / 2)).expect("sent");
        }
        daemon.terminate();
        for upload in &mut uploads {
            upload.send("x".repeat(BODY / 2)).expect("sent");
            let answer = upload.answer().expect("answered");
            assert_eq!(answer.body, format!("{BODY} true").into_bytes());
        }
        assert_eq!(daemon.gone().code(), 0);
        assert_eq!(server.accepted(), accepted + 2);
    }
}
