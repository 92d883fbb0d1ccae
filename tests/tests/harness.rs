//! The harness itself, proved against kernel servers.

use nix::sys::signal::Signal;
use sidestep_tests::clock::{PATIENCE, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::Client;
use sidestep_tests::link::Shape;
use sidestep_tests::load::Load;
use sidestep_tests::net::{Net, Plan, RAW_MAC, SERVER_MAC};
use sidestep_tests::packet::PacketSocket;
use sidestep_tests::raw::{RawClient, ethernet, flag};
use sidestep_tests::server::{Nginx, Server};
use sidestep_tests::site::{HELLO, Site};
use sidestep_tests::wrk::Wrk;
use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

fn namespaces() -> String {
    let listed = Command::new("ip")
        .args(["netns", "list"])
        .output()
        .expect("ip runs");
    String::from_utf8(listed.stdout).expect("names are text")
}

#[test]
fn a_panic_leaves_no_namespace_and_no_process() {
    let (name, id) = std::thread::spawn(|| {
        let net = Net::new();
        let process = net.client.spawn(&["cat", "/dev/zero"]);
        let found = (net.server.name().to_owned(), process.id());
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = (net, process);
            std::panic::resume_unwind(Box::new("on purpose"));
        }));
        assert!(caught.is_err());
        found
    })
    .join()
    .expect("only the inner panic");
    assert!(!namespaces().contains(&name), "{name} is left");
    wait_for(PATIENCE, "the process is gone", || {
        (!std::path::Path::new(&format!("/proc/{id}")).exists()).then_some(())
    });
}

#[test]
fn a_process_dies_with_the_thread_that_started_it() {
    let net = Net::new();
    let mut process = std::thread::scope(|scope| {
        scope
            .spawn(|| net.client.spawn(&["cat", "/dev/zero"]))
            .join()
            .expect("spawned")
    });
    assert!(process.wait(PATIENCE).is_some());
}

#[test]
fn both_ip_versions_and_all_queues_work_between_kernels() {
    let net = Plan::new().queues(2).build();
    let _server = Server::echo(&net.server, 7);
    let streams = net
        .server
        .addresses(7)
        .map(|to| net.client.connect(to, PATIENCE).expect("connects"));
    for mut stream in &streams {
        stream.write_all(b"hello").expect("sends");
        let mut back = [0; 5];
        stream.read_exact(&mut back).expect("reads");
        assert_eq!(&back, b"hello");
    }
    let seen = net.server.kernel_connections(7);
    assert_eq!(seen.lines().count(), 2, "{seen}");
    assert_eq!(net.server.xdp_program(), None);
}

#[test]
fn wrk_and_the_load_clients_tell_right_from_wrong() {
    let net = Net::new();
    let _nginx = Nginx::start(
        &net.server,
        80,
        &[("/a.txt", b"twelve bytes"), ("/b", b"\0\xff\"\n")],
    );
    let mut wrk = Wrk {
        to: net.server.at(80),
        path: "/b",
        body: b"\0\xff\"\n",
        connections: 10,
        pipeline: 24,
        duration: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
    };
    wrk.run(&net.client).assert_clean(1000);
    wrk.body = b"another";
    let counts = wrk.run(&net.client);
    assert!(counts.wrong > 1000, "{counts:?}");

    let mut load = Load {
        to: net.server.addresses(80)[1],
        expect: &[("/a.txt", b"twelve bytes"), ("/b", b"\0\xff\"\n")],
        connections: 8,
        pipeline: 3,
        duration: Duration::from_millis(300),
        patience: PATIENCE,
    };
    load.run(&net.client).assert_clean(100);
    load.expect = &[("/a.txt", b"Twelve bytes")];
    assert_eq!(load.run(&net.client).failures.len(), 8);
}

#[test]
fn a_bad_link_only_costs_time() {
    let shape = Shape {
        loss: 0.03,
        duplicate: 0.02,
        reorder: 0.05,
        bit_errors: 1e-6,
        delay: Duration::from_millis(1),
        ..Shape::default()
    };
    let net = Plan::new().queues(2).link(shape, 42).build();
    let body: Vec<u8> = (0..20_000u32).map(|n| (n * n / 8) as u8).collect();
    let _nginx = Nginx::start(&net.server, 80, &[("/f", &body)]);
    let load = Load {
        to: net.server.at(80),
        expect: &[("/f", &body)],
        connections: 8,
        pipeline: 2,
        duration: Duration::from_secs(2),
        patience: Duration::from_secs(30),
    };
    load.run(&net.client).assert_clean(50);
    let tallies = net.link().expect("planned").tallies();
    for tally in tallies {
        assert!(
            tally.lost > 0 && tally.duplicated > 0 && tally.reordered > 0,
            "{tallies:?}"
        );
    }
}

#[test]
fn a_wire_carries_what_kernels_send() {
    let net = Plan::new().wire().build();
    let _server = Server::echo(&net.server, 7);
    let body: Vec<u8> = (0..100_000u32)
        .map(|n| (n.wrapping_mul(n) / 8) as u8)
        .collect();
    for to in net.server.addresses(7) {
        let stream = net.client.connect(to, PATIENCE).expect("connects");
        let mut back = vec![0; body.len()];
        std::thread::scope(|scope| {
            scope.spawn(|| (&stream).write_all(&body).expect("sends"));
            (&stream).read_exact(&mut back).expect("reads");
        });
        assert!(back == body, "{to}: changed on its way");
    }
    let ends = net.wire().expect("planned");
    for end in ends {
        let counters = end.must(&["ethtool", "-S", end.device]);
        let of = |name: &str| {
            let lines = counters.lines().filter_map(|line| line.split_once(": "));
            let found = lines.filter(|(found, _)| found.trim() == name);
            let values: Vec<u64> = found.filter_map(|(_, value)| value.parse().ok()).collect();
            assert_eq!(values.len(), 1, "{name} of {}: {counters}", end.device);
            values[0]
        };
        assert!(of("rx_queue_0_xdp_redirect") > 2 * 60, "{counters}");
        assert_eq!(of("rx_queue_0_xdp_drops"), 0, "{counters}");
    }
}

#[test]
fn sidestep_serves_over_a_wire() {
    let (net, site) = (Plan::new().wire().build(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    for to in net.server.addresses(80) {
        let stream = net.client.connect(to, PATIENCE).expect("connects");
        let answer = Client::new(stream).get("/hello").expect("answered");
        assert_eq!((answer.status, &answer.body[..]), (200, HELLO));
    }
    assert_eq!(net.server.kernel_connections(80), "");
    assert_eq!(daemon.requests().iter().sum::<u64>(), 2);
}

#[test]
fn the_raw_client_speaks_tcp_with_a_kernel() {
    let net = Net::new();
    let _server = Server::http(&net.server, 80, "kernel says");
    for mut raw in [RawClient::v4(&net), RawClient::v6(&net)] {
        let mut conn = raw.connect(80);
        assert_eq!(conn.syn_ack.option(2).map(<[u8]>::len), Some(2));
        assert!(raw.sync(80).is_empty());
        raw.push(&mut conn, flag::ACK | flag::PSH, b"GET / HTTP/1.1\r\nHo");
        raw.push(&mut conn, flag::ACK | flag::PSH, b"st: x\r\n\r\n");
        let answer = b"HTTP/1.1 200 OK\r\nServer: kernel\r\nContent-Length: 11\r\n\r\nkernel says";
        assert_eq!(raw.read(&mut conn, answer.len()), answer);
        raw.push(&mut conn, flag::FIN | flag::ACK, b"");
        let fin = loop {
            let segment = raw.expect(conn.port, "FIN");
            if segment.has(flag::FIN) {
                break segment;
            }
        };
        assert_eq!(fin.ack, conn.seq);

        // What a kernel says to a segment that nobody knows, and its silence to a spoilt one.
        let port = raw.port();
        let mut stray = raw.segment(port, 80);
        stray.flags = flag::ACK;
        stray.ack = 7;
        raw.send(&stray);
        let reset = raw.expect(port, "reset");
        assert!(reset.has(flag::RST) && reset.seq == 7);
        stray.sum_error = 1;
        raw.send(&stray);
        assert_eq!(raw.sync(80), []);
    }
}

#[test]
fn fragments_and_tags_reach_the_kernel_as_meant() {
    let net = Net::new();
    let _server = Server::http(&net.server, 80, "x");
    for mut raw in [RawClient::v4(&net), RawClient::v6(&net)] {
        let mut conn = raw.connect(80);
        let request = b"GET /a/path/long/enough/for/several/fragments HTTP/1.1\r\n\r\n";
        let segment = raw.next(&conn, flag::ACK | flag::PSH, request);
        conn.seq = conn.seq.wrapping_add(segment.len());
        for part in segment.fragments(32, 9) {
            raw.send_packet(&part, &[]);
        }
        assert!(raw.read(&mut conn, 15).starts_with(b"HTTP/1.1 200 OK"));
    }
    let mut raw = RawClient::v4(&net);
    let mut wire = net
        .server
        .enter(|| PacketSocket::open(net.server.device))
        .expect("opens");
    raw.vlans = vec![5, 6];
    let sent = raw.syn(80, &[]);
    let sent = ethernet(SERVER_MAC, RAW_MAC, &sent.vlans, &sent.packet());
    wait_for(PATIENCE, "the tagged frame arrives whole", || {
        let mut found = None;
        wire.receive(|frame| {
            if *frame == sent {
                found = Some(());
            }
        })
        .expect("receives");
        found
    });
}

#[test]
fn answers_are_kept_byte_by_byte() {
    let net = Net::new();
    let _server = Server::http(&net.server, 8080, "body");
    let stream = net
        .client
        .connect(net.server.at(8080), PATIENCE)
        .expect("connects");
    let mut client = Client::new(stream);
    let answer = client.get("/").expect("answered");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"body"[..]));
    assert_eq!(answer.field("SERVER"), Some("kernel"));
    assert_eq!(answer.field("date"), None);
}

#[test]
fn the_link_runs_from_the_command_line() {
    let net = Net::new();
    let program = env!("CARGO_BIN_EXE_sidestep-link");
    let run = |args: &[&str]| net.client.run(&[&[program], args].concat(), PATIENCE);
    assert_eq!(run(&["ss-cli", "--help"]).code(), 0);
    for (args, code, word) in [
        (&["ss-cli", "ss-none"][..], 1, "ss-none"),
        (&["ss-cli", "lo", "--loss", "2"], 1, "loss"),
        (&["ss-cli", "lo", "--delay", "5"], 2, "20ms"),
        (&["ss-cli", "lo", "--rate", "fast"], 2, "10Mbit"),
    ] {
        let done = run(args);
        assert_eq!(done.code(), code, "{}", done.stderr);
        assert!(done.stderr.contains(word), "{}", done.stderr);
    }
    let args = [
        "ss-cli", "lo", "--loss", "1%", "--delay", "1ms", "--rate", "10Mbit", "--seed", "5",
    ];
    let link = net.client.spawn(&[&[program], &args[..]].concat());
    let ready = link.line("ready: ", PATIENCE).expect("it gets ready");
    assert!(ready.ends_with("seed 5"), "{ready}");
    link.signal(Signal::SIGINT);
    let done = link.finish(PATIENCE);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert_eq!(
        done.stdout.matches(" corrupted").count(),
        2,
        "{}",
        done.stdout
    );
}
