//! The data path on a queue in memory: what goes in as frames comes out as frames, and every frame is accounted for.

#[path = "pipeline/files.rs"]
mod files;
#[path = "pipeline/fragments.rs"]
mod fragments;
#[path = "pipeline/generations.rs"]
mod generations;
#[path = "pipeline/heads.rs"]
mod heads;
#[path = "pipeline/leaving.rs"]
mod leaving;
#[path = "pipeline/repeat.rs"]
mod repeat;
#[path = "pipeline/ring.rs"]
mod ring;
#[path = "pipeline/turns.rs"]
mod turns;

use fastrand::Rng;
use sidestep_tests::mem::{MemConn, MemHost, frame};
use sidestep_tests::raw::{Received, Segment, ethernet, flag};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const PING: &str = "GET /ping HTTP/1.1\r\nHost: test\r\n\r\n";

fn config(fallback: &str) -> String {
    format!(
        r#"
[[listen]]
address = "192.0.2.1"
port = 80
fallback = "{fallback}"
[[listen]]
address = "2001:db8::1"
port = 80
fallback = "{fallback}"
[[site]]
hosts = ["*"]
[[site.response]]
path = "/ping"
content_type = "application/json"
body = '{{"status":"ok"}}'
[[site.response]]
path = "/long"
content_type = "text/plain"
body = "{}"
[limits]
connections = 1000
header_bytes = "1KiB"
"#,
        "0123456789".repeat(6000)
    )
}

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

fn open(host: &mut MemHost, port: u16) -> MemConn {
    let from = SocketAddr::new(IpAddr::from([192, 0, 2, 2]), port);
    MemConn::open(host, from, at("192.0.2.1:80"))
}

fn ping_answer() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nServer: sidestep\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
      ETag: \"yqhgDZlASEX2-9pIHGdfNw\"\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}"
        .to_vec()
}

#[track_caller]
fn assert_all_frames_home(host: &mut MemHost) {
    host.take_sent(|_| {});
    let audit = host.audit();
    assert!(audit.balances(), "{audit:?}");
    assert_eq!(audit.free, audit.total, "{audit:?}");
}

#[test]
fn answers_are_the_configured_bytes_in_both_ip_versions() {
    for (from, to) in [
        ("192.0.2.2:4000", "192.0.2.1:80"),
        ("[2001:db8::2]:4000", "[2001:db8::1]:80"),
    ] {
        let mut host = MemHost::new(&config("none"), 64, 64);
        let mut conn = MemConn::open(&mut host, at(from), at(to));
        let answer = conn.request(&mut host, PING.as_bytes());
        assert_eq!(
            answer.escape_ascii().to_string(),
            ping_answer().escape_ascii().to_string()
        );
        assert_all_frames_home(&mut host);
    }
}

#[test]
fn pipelines_of_any_depth_are_answered_in_order_in_full_segments() {
    let mut host = MemHost::new(&config("none"), 512, 512);
    for depth in [1, 2, 24, 100, 1000] {
        let mut conn = open(&mut host, 5000 + depth as u16);
        let requests = PING.repeat(depth);
        let mut answer = Vec::new();
        let mut segments = 0;
        let mut chunks = requests.as_bytes().chunks(1400);
        let mut offered: Vec<Vec<u8>> = chunks.next().map(|c| conn.data(c)).into_iter().collect();
        while !offered.is_empty() {
            let sent = host.exchange(&offered);
            segments += sent.len();
            let before = answer.len();
            for frame in &sent {
                answer.extend(conn.take(frame));
            }
            offered = match chunks.next() {
                Some(chunk) => vec![conn.data(chunk)],
                None if answer.len() > before => vec![conn.data(b"")],
                None => Vec::new(),
            };
        }
        assert_eq!(answer, ping_answer().repeat(depth), "depth {depth}");
        // Two requests' heads fill no segment, but the answers of one received segment share theirs.
        let least = answer.len().div_ceil(1460);
        let most = least + requests.len().div_ceil(1400) + 1;
        assert!(
            segments <= most,
            "{segments} segments for {} bytes",
            answer.len()
        );
    }
    assert_all_frames_home(&mut host);
}

/// The kernel takes no TCP from such frames either, and an answer would come from everybody.
#[test]
fn frames_to_or_from_a_group_are_dropped() {
    let mut host = MemHost::new(&config("none"), 64, 64);
    let mut syn = Segment::new(
        (IpAddr::from([192, 0, 2, 2]), 4000),
        (IpAddr::from([192, 0, 2, 1]), 80),
    );
    syn.flags = flag::SYN;
    for (to, from) in [([0xff; 6], [4; 6]), ([2; 6], [1, 0, 0x5e, 0, 0, 1])] {
        let sent = host.exchange(&[ethernet(to, from, &[], &syn.packet())]);
        assert_eq!(sent, Vec::<Vec<u8>>::new());
    }
    assert_eq!(host.counter("frame_drops", "link"), 2);
    assert_eq!(host.connections(), 0);
}

#[test]
fn requests_may_be_split_anywhere() {
    let mut host = MemHost::new(&config("none"), 64, 64);
    let text = format!("{PING}{PING}");
    for cut in 1..text.len() {
        let mut conn = open(&mut host, 6000 + cut as u16);
        let mut answer = conn.request(&mut host, &text.as_bytes()[..cut]);
        answer.extend(conn.request(&mut host, &text.as_bytes()[cut..]));
        assert_eq!(answer, ping_answer().repeat(2), "cut at {cut}");
    }
    let mut conn = open(&mut host, 7000);
    let mut answer = Vec::new();
    for byte in text.as_bytes() {
        answer.extend(conn.request(&mut host, &[*byte]));
    }
    assert_eq!(answer, ping_answer().repeat(2), "byte by byte");
    assert_all_frames_home(&mut host);
}

#[test]
fn a_full_transmit_ring_delays_answers_and_loses_none() {
    // Room for one frame at a time, and barely more frames than that.
    let mut host = MemHost::new(&config("none"), 4, 1);
    let mut conn = open(&mut host, 4000);
    let answer = conn.request(&mut host, b"GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
    let body = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a head")
        + 4;
    assert_eq!(answer[body..], *"0123456789".repeat(6000).as_bytes());
    assert!(host.counter("frames", "tx_full") > 0);
    assert_all_frames_home(&mut host);
}

#[test]
fn what_nobody_owns_is_reset_or_the_kernels() {
    let stray = |flags| {
        let mut segment = Segment::new(
            (IpAddr::from([192, 0, 2, 9]), 1234),
            (IpAddr::from([192, 0, 2, 1]), 80),
        );
        segment.flags = flags;
        segment.seq = 77;
        segment.ack = 99;
        frame(&segment)
    };
    let mut host = MemHost::new(&config("none"), 16, 16);
    let sent = host.exchange(&[stray(flag::ACK)]);
    let reset = Received::parse(&sent[0]).expect("a segment");
    assert!(reset.has(flag::RST) && reset.seq == 99, "{reset:?}");
    assert_eq!(host.exchange(&[stray(flag::RST)]), Vec::<Vec<u8>>::new());
    assert_eq!(host.take_injected(), Vec::<Vec<u8>>::new());

    let mut host = MemHost::new(&config("kernel"), 16, 16);
    for flags in [flag::ACK, flag::RST, flag::FIN | flag::ACK] {
        assert_eq!(host.exchange(&[stray(flags)]), Vec::<Vec<u8>>::new());
        assert_eq!(host.take_injected(), [stray(flags)]);
    }
    assert_all_frames_home(&mut host);
}

#[test]
fn a_client_that_reads_slowly_is_not_timed_out_for_a_head_that_is_here() {
    let mut host = MemHost::new(&config("none"), 512, 512);
    let mut conn = open(&mut host, 4000);
    // The first half of a head, then the rest and more requests than one connection may have queued.
    assert_eq!(conn.request(&mut host, &PING.as_bytes()[..10]), b"");
    let rest = [&PING.as_bytes()[10..], PING.repeat(1000).as_bytes()].concat();
    let mut answer = Vec::new();
    for part in rest.chunks(1400) {
        let mut sent = host.exchange(&[conn.data(part)]);
        sent.truncate(1);
        answer.extend(sent.iter().flat_map(|f| conn.take(f)));
    }
    host.advance(Duration::from_secs(11));
    host.exchange(&[]);
    assert_eq!(host.counter("http", "header_timeouts"), 0);
    assert_eq!(host.connections(), 1);
}

#[test]
fn silent_and_slow_clients_are_let_go() {
    let mut host = MemHost::new(&config("none"), 64, 64);
    let mut never = open(&mut host, 4000);
    let mut slow = open(&mut host, 4001);
    assert_eq!(slow.request(&mut host, b"GET /ping HT"), b"");
    host.advance(Duration::from_secs(11));
    let sent = host.exchange(&[]);
    let timeout: Vec<u8> = sent.iter().flat_map(|f| slow.take(f)).collect();
    assert!(
        timeout.starts_with(b"HTTP/1.1 408 "),
        "{}",
        timeout.escape_ascii()
    );
    host.advance(Duration::from_secs(50));
    let sent = host.exchange(&[]);
    let closed = sent.iter().filter_map(|f| Received::parse(f));
    assert!(
        closed
            .into_iter()
            .any(|s| s.dport == 4000 && s.has(flag::FIN))
    );
    assert_eq!(never.request(&mut host, PING.as_bytes()), b"");
}

#[test]
fn a_packet_too_big_message_shortens_the_segments() {
    let mut host = MemHost::new(&config("none"), 128, 128);
    let mut conn = open(&mut host, 4000);
    let sent = host.exchange(&[conn.data(b"GET /long HTTP/1.1\r\nHost: test\r\n\r\n")]);
    assert_eq!(sent[0].len(), 1514);
    let quoted = &sent[0][14..14 + 28];
    let mut icmp = vec![3, 4, 0, 0, 0, 0, 0x02, 0x58];
    icmp.extend(quoted);
    let sum = sidestep_tests::raw::checksum(&[&icmp]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut ip = vec![0x45, 0, 0, (20 + icmp.len()) as u8, 0, 0, 0, 0, 64, 1, 0, 0];
    ip.extend([198, 51, 100, 1, 192, 0, 2, 1]);
    let sum = sidestep_tests::raw::checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip.extend(icmp);
    let sent = host.exchange(&[ethernet([2; 6], [4; 6], &[], &ip)]);
    assert!(!sent.is_empty(), "what was too long is sent again");
    assert!(
        sent.iter().all(|f| f.len() <= 614),
        "no longer than the path's MTU of 600"
    );
}

/// Whatever arrives, no frame is lost and nothing panics. A failure names its seed.
#[test]
fn no_input_leaks_a_frame() {
    for seed in 0..300 {
        let result = std::panic::catch_unwind(|| storm(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}

fn storm(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let fallback = if rng.bool() { "kernel" } else { "none" };
    let mut host = MemHost::new(&config(fallback), 64, rng.usize(1..64));
    let mut conn = open(&mut host, 4000);
    for _ in 0..200 {
        let count = rng.usize(0..8);
        for _ in 0..count {
            let frame = odd_frame(&mut rng, &mut conn);
            // A full queue refuses the frame: the kernel would have dropped it.
            host.offer(&frame);
        }
        host.run();
        let audit = host.audit();
        assert!(audit.balances() && audit.held == 0, "{audit:?}");
        if rng.bool() {
            host.take_sent(|frame| {
                Received::parse(frame).expect("only valid segments are sent");
            });
        }
        host.advance(Duration::from_millis(rng.u64(0..3000)));
    }
    assert_all_frames_home(&mut host);
}

fn odd_frame(rng: &mut Rng, conn: &mut MemConn) -> Vec<u8> {
    let text = [
        "GET /ping HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /long HTTP/1.0\r\n\r\n",
        "\0\r\r\n",
    ];
    let mut segment = Segment::new(
        (IpAddr::from([192, 0, 2, rng.u8(0..4)]), rng.u16(3998..4003)),
        (IpAddr::from([192, 0, 2, 1]), 80),
    );
    let mut bytes = match rng.u8(0..10) {
        0 => {
            let len = rng.usize(0..200);
            noise(rng, len)
        }
        1..4 => conn.data(text[rng.usize(0..text.len())].as_bytes()),
        4 => {
            segment.payload = vec![b'G'; rng.usize(0..300)];
            segment.flags = rng.u8(..);
            let packets = segment.fragments(8 * rng.usize(1..20), rng.u16(0..3));
            match packets.get(rng.usize(0..packets.len())) {
                Some(packet) => ethernet([2; 6], [4; 6], &[], packet),
                None => Vec::new(),
            }
        }
        _ => {
            segment.flags = rng.u8(..);
            segment.seq = rng.u32(..);
            segment.ack = rng.u32(..);
            segment.options = {
                let len = 4 * rng.usize(0..11);
                noise(rng, len)
            };
            segment.vlans = vec![7; rng.usize(0..4)];
            frame(&segment)
        }
    };
    if rng.u8(0..4) == 0 && !bytes.is_empty() {
        let place = rng.usize(0..bytes.len());
        bytes[place] ^= 1 << rng.u8(0..8);
        bytes.truncate(rng.usize(0..=bytes.len()));
    }
    bytes.truncate(2048);
    bytes
}

fn noise(rng: &mut Rng, len: usize) -> Vec<u8> {
    std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
}
