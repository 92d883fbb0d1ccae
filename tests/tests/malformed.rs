//! Frames and segments that no decent host sends: counted drops, never an answer that harms, never a lost frame.
//!
//! Silence is proved without waiting: [`RawClient::sync`] opens a connection behind the bad frame and returns what
//! came before its SYN-ACK. `fallback = "none"`, so that nothing is left to the kernel's judgement.

use sidestep_tests::clock::{PATIENCE, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::{Net, RAW_MAC, SERVER_MAC, SERVER_V4, SERVER_V6};
use sidestep_tests::packet::PacketSocket;
use sidestep_tests::raw::{RawClient, RawConn, Received, Segment, ethernet, flag};
use sidestep_tests::server::Server;
use sidestep_tests::site::{PING, Site};
use std::net::IpAddr;

const GET: &[u8] = b"GET /ping HTTP/1.1\r\nHost: test\r\n\r\n";
/// MSS 1460.
const MSS: [u8; 4] = [2, 4, 0x05, 0xb4];

fn both(net: &Net) -> [RawClient; 2] {
    [RawClient::v4(net), RawClient::v6(net)]
}

fn get(raw: &mut RawClient, conn: &mut RawConn) {
    raw.push(conn, flag::ACK | flag::PSH, GET);
    let answer = raw.read_until(conn, PING);
    assert!(
        answer.starts_with(b"HTTP/1.1 200 OK"),
        "{}",
        answer.escape_ascii()
    );
}

/// A bare SYN from a fresh port, not sent.
fn syn(raw: &mut RawClient) -> Segment {
    let port = raw.port();
    let mut segment = raw.segment(port, 80);
    segment.flags = flag::SYN;
    segment.seq = 1000;
    segment.options = MSS.to_vec();
    segment
}

#[test]
fn frames_cut_at_every_byte_cause_nothing() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    for mut raw in both(&net) {
        let whole = syn(&mut raw);
        let whole = ethernet(SERVER_MAC, RAW_MAC, &[], &whole.packet());
        // A frame shorter than its Ethernet header cannot be sent.
        for len in 14..whole.len() {
            raw.send_frame(&whole[..len]);
        }
        assert_eq!(raw.sync(80), []);
        // The same with a length field that agrees with the cut.
        for len in 1..whole.len() - 14 {
            let mut packet = whole[14..14 + len].to_vec();
            match raw.peer {
                IpAddr::V4(_) if len >= 20 => {
                    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                    packet[10..12].fill(0);
                    let sum = sidestep_tests::raw::checksum(&[&packet[..20]]);
                    packet[10..12].copy_from_slice(&sum.to_be_bytes());
                }
                IpAddr::V6(_) if len >= 40 => {
                    packet[4..6].copy_from_slice(&(len as u16 - 40).to_be_bytes());
                }
                _ => {}
            }
            raw.send_packet(&packet, &[]);
        }
        assert_eq!(raw.sync(80), []);
    }
    daemon.stop();
}

#[test]
fn spoilt_headers_are_dropped() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    type Spoil = fn(&mut Segment);
    let spoils: [(&str, Spoil); 8] = [
        ("TCP checksum", |s| s.sum_error = 1),
        ("data offset below 5", |s| s.data_offset = Some(4)),
        ("data offset 0", |s| s.data_offset = Some(0)),
        ("data offset behind the end", |s| s.data_offset = Some(15)),
        ("SYN and FIN", |s| s.flags |= flag::FIN),
        ("SYN and RST", |s| s.flags |= flag::RST),
        ("no flags", |s| s.flags = 0),
        ("only FIN", |s| s.flags = flag::FIN),
    ];
    for mut raw in both(&net) {
        for (what, spoil) in spoils {
            let before = daemon.drops();
            let mut segment = syn(&mut raw);
            spoil(&mut segment);
            raw.send(&segment);
            let answers = raw.sync(80);
            // RFC 9293, 3.10.7.1 lets a host reset what belongs to no connection; it must not open one.
            let harmless = |answer: &Received| answer.has(flag::RST) && !answer.has(flag::SYN);
            assert!(answers.iter().all(harmless), "{what}: {answers:?}");
            wait_for(PATIENCE, &format!("{what} is counted"), || {
                (daemon.drops() > before).then_some(())
            });
            let sums_hold = segment.sum_error == 0 && segment.data_offset.is_none();
            assert!(sums_hold || answers.is_empty(), "{what}: {answers:?}");
        }
        if raw.peer.is_ipv4() {
            let mut segment = syn(&mut raw);
            segment.ip_sum_error = 1;
            raw.send(&segment);
            assert_eq!(raw.sync(80), [], "IPv4 header checksum");
        }
        // A reset is never answered, and a stray ACK only by a reset (RFC 9293, 3.10.7.1).
        let mut segment = syn(&mut raw);
        for flags in [flag::RST, flag::RST | flag::ACK] {
            segment.flags = flags;
            raw.send(&segment);
        }
        assert_eq!(raw.sync(80), []);
        segment.flags = flag::ACK;
        segment.ack = 77;
        raw.send(&segment);
        let answers = raw.sync(80);
        assert!(
            answers
                .iter()
                .all(|answer| answer.flags == flag::RST && answer.seq == 77),
            "{answers:?}"
        );
    }
    daemon.stop();
}

#[test]
fn impossible_tcp_options_are_survived() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    let options: [&[u8]; 11] = [
        &[2, 0, 0, 0],
        &[2, 1, 0, 0],
        &[2, 40, 0, 0],
        &[2, 3, 5, 0],
        &[2, 4, 0, 0],
        &[2, 4, 0, 1],
        &[3, 3, 255, 0],
        &[8, 2, 8, 255],
        &[5, 3, 1, 1],
        &[255, 0, 255, 1],
        &[1, 1, 1, 2],
    ];
    for mut raw in both(&net) {
        for option in options {
            let syn = raw.syn(80, option);
            let answers = raw.sync(80);
            // Dropped or taken without the option; a retransmitted SYN-ACK is the most that may come besides.
            let fine =
                |answer: &Received| answer.dport == syn.sport && answer.has(flag::SYN | flag::ACK);
            assert!(answers.iter().all(fine), "{option:?}: {answers:?}");
        }
        // A tiny MSS must not make the answer fall apart into nothing.
        let mut conn = raw.connect_with(80, &[2, 4, 0, 1]);
        get(&mut raw, &mut conn);
    }
    daemon.stop();
}

#[test]
fn odd_addresses_get_no_answer() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    let mut wire = net
        .client
        .enter(|| PacketSocket::open(net.client.device))
        .expect("opens");
    let sources = [
        ["0.0.0.0", "::"],
        ["127.0.0.1", "::1"],
        ["224.0.0.1", "ff02::1"],
        ["255.255.255.255", "ff0e::1"],
        ["10.77.0.1", "fd00:77::1"],
        ["239.1.2.3", "::ffff:10.77.0.2"],
    ];
    for (mut raw, version) in both(&net).into_iter().zip(0..) {
        for source in sources {
            let before = daemon.drops();
            let mut segment = syn(&mut raw);
            segment.src = source[version].parse().expect("an address");
            raw.send(&segment);
            // Own address and own port: a connection with itself.
            segment.sport = 80;
            raw.send(&segment);
            assert_eq!(raw.sync(80), [], "{source:?}");
            wait_for(PATIENCE, &format!("{source:?} is counted twice"), || {
                (daemon.drops() >= before + 2).then_some(())
            });
        }
        let server = [IpAddr::V4(SERVER_V4), IpAddr::V6(SERVER_V6)][version];
        let mut sent = Vec::new();
        while wire
            .receive(|frame| sent.extend(Received::parse(frame)))
            .expect("receives")
            > 0
        {}
        sent.retain(|segment| segment.src == server && segment.dst != raw.addr);
        assert_eq!(sent, [], "the server answered an odd source");
    }
    daemon.stop();
}

#[test]
fn ip_options_extension_headers_and_vlan_tags_are_walked() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    let answered = |raw: &mut RawClient, change: &dyn Fn(&mut Segment)| {
        let mut first = syn(raw);
        change(&mut first);
        raw.send(&first);
        let syn_ack = raw.expect(first.sport, "SYN-ACK");
        assert!(syn_ack.has(flag::SYN | flag::ACK), "{syn_ack:?}");
        assert_eq!(syn_ack.vlans, first.vlans);
        let mut request = first.clone();
        request.options.clear();
        request.flags = flag::ACK | flag::PSH;
        request.seq = first.seq + 1;
        request.ack = syn_ack.seq.wrapping_add(1);
        request.payload = GET.to_vec();
        raw.send(&request);
        let mut text = Vec::new();
        while !text.ends_with(PING) {
            text.extend(raw.expect(first.sport, "the answer").payload);
        }
    };
    let [mut v4, mut v6] = both(&net);
    for options in [
        vec![1; 4],
        vec![1; 40],
        vec![0x94, 4, 0, 0],
        vec![7, 7, 4, 0, 0, 0, 0, 0],
    ] {
        answered(&mut v4, &|segment| segment.ip_options.clone_from(&options));
    }
    // Padding options (type 1, length 4) fill the eight bytes.
    let header = vec![0, 0, 1, 4, 0, 0, 0, 0];
    for kinds in [&[0][..], &[60], &[0, 60], &[0, 60, 60]] {
        let extensions: Vec<_> = kinds.iter().map(|kind| (*kind, header.clone())).collect();
        answered(&mut v6, &|segment| {
            segment.extensions.clone_from(&extensions)
        });
    }
    for vlans in [vec![5], vec![5, 6]] {
        answered(&mut v4, &|segment| segment.vlans.clone_from(&vlans));
        answered(&mut v6, &|segment| segment.vlans.clone_from(&vlans));
    }
    daemon.stop();
}

#[test]
fn fragments_are_put_together_or_given_to_the_kernel() {
    let (net, site) = (Net::new(), Site::new("none"));
    let kernel = Server::http(&net.server, 8080, "kernel");
    let daemon = Daemon::start(&net.server, &site.config());
    for mut raw in both(&net) {
        for (port, ends, reversed) in [
            (80, PING, false),
            (80, PING, true),
            (8080, b"kernel", false),
            (8080, b"kernel", true),
        ] {
            let mut conn = raw.connect(port);
            let segment = raw.next(&conn, flag::ACK | flag::PSH, GET);
            conn.seq = conn.seq.wrapping_add(segment.len());
            let mut parts = segment.fragments(24, port + u16::from(reversed));
            if reversed {
                parts.reverse();
            }
            for part in parts {
                raw.send_packet(&part, &[]);
            }
            raw.read_until(&mut conn, ends);
        }
        // First fragments without the rest: bounded memory, no answer.
        for id in 0..2000 {
            let segment = syn(&mut raw);
            raw.send_packet(&segment.fragments(8, id)[0], &[]);
        }
        assert_eq!(raw.sync(80), []);
    }
    assert_eq!(kernel.accepted(), 4);
    daemon.stop();
}

#[test]
fn a_client_that_vanishes_or_never_reads_costs_no_frame() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    for mut raw in both(&net) {
        // Half-open.
        for _ in 0..50 {
            raw.syn(80, &MSS);
        }
        for _ in 0..20 {
            // Asks for more than its window and then says nothing.
            let mut conn = raw.connect(80);
            let many = GET.repeat(20);
            raw.push(&mut conn, flag::ACK | flag::PSH, &many);
            // A zero window, and garbage sequence numbers on the same connection.
            let mut segment = raw.next(&conn, flag::ACK, b"");
            segment.window = 0;
            raw.send(&segment);
            segment.seq = conn.seq.wrapping_add(1 << 30);
            raw.send(&segment);
            segment.flags = flag::RST;
            raw.send(&segment);
        }
        let mut conn = raw.connect(80);
        get(&mut raw, &mut conn);
    }
    daemon.audit();
    daemon.stop();
}

#[test]
fn mutated_segments_never_stop_the_service() {
    const SEED: u64 = 4;
    const ROUNDS: usize = 3_000;
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    let mut rng = fastrand::Rng::with_seed(SEED);
    for mut raw in both(&net) {
        let conn = raw.connect(80);
        for round in 0..ROUNDS {
            let mut segment = match rng.u8(..4) {
                0 => syn(&mut raw),
                1 => raw.next(&conn, flag::ACK | flag::PSH, GET),
                2 => raw.next(&conn, flag::FIN | flag::ACK, b""),
                _ => raw.next(&conn, rng.u8(..), &GET[..rng.usize(..GET.len())]),
            };
            segment.seq = segment.seq.wrapping_add(rng.u32(..100_000));
            segment.options = (0..rng.usize(..10) * 4).map(|_| rng.u8(..)).collect();
            let mut packet = segment.packet();
            if rng.bool() {
                for _ in 0..rng.usize(1..4) {
                    let at = rng.usize(..packet.len());
                    packet[at] = rng.u8(..);
                }
            }
            if rng.u8(..8) == 0 {
                packet.truncate(rng.usize(1..=packet.len()));
            }
            raw.send_packet(&packet, &[]);
            if round % 500 == 499 {
                // Panics with what is wrong; the rounds up to it are repeated by the seed.
                raw.sync(80);
            }
        }
        let mut conn = raw.connect(80);
        get(&mut raw, &mut conn);
    }
    daemon.audit();
    daemon.stop();
}
