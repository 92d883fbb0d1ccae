use super::Capture;
use crate::Addr;
use std::vec::Vec;

const ONES: [u32; 4] = [u32::MAX; 4];

/// Takes what 192.0.2.1:80 sends to 10.0.0.0/8, and questions for addresses there.
fn rule() -> Capture {
    Capture {
        local: Addr::v4([10, 0, 0, 0]).0,
        local_mask: [
            u32::MAX,
            u32::MAX,
            u32::MAX,
            u32::from_ne_bytes([255, 0, 0, 0]),
        ],
        remote: Addr::v4([192, 0, 2, 1]).0,
        remote_mask: ONES,
        ports: u32::from_ne_bytes([0, 80, 0, 0]),
        ports_mask: u32::from_ne_bytes([255, 255, 0, 0]),
        neighbours: 1,
    }
}

fn ethernet(ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = std::vec![2; 12];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

fn v4(source: [u8; 4], destination: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
    let mut packet = std::vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    packet.extend(source);
    packet.extend(destination);
    packet.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    packet.extend([0; 16]);
    packet
}

fn v6(source: [u8; 16], destination: [u8; 16], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = std::vec![0x60, 0, 0, 0, 0, payload.len() as u8, protocol, 64];
    packet.extend(source);
    packet.extend(destination);
    packet.extend(payload);
    packet
}

fn arp(operation: u8, wanted: [u8; 4]) -> Vec<u8> {
    let mut packet = std::vec![0, 1, 8, 0, 6, 4, 0, operation];
    packet.extend([1; 16]);
    packet.extend(wanted);
    packet
}

#[test]
fn only_the_peers_segments_and_questions_for_own_addresses_are_taken() {
    let rule = rule();
    let from = [192, 0, 2, 1];
    let mut fragment = v4(from, [10, 1, 2, 3], [80, 5000]);
    fragment[6] = 0x20;
    let mut udp = v4(from, [10, 1, 2, 3], [80, 5000]);
    udp[9] = 17;
    let mut options = v4(from, [10, 1, 2, 3], [80, 5000]);
    options[0] = 0x46;
    let cut = v4(from, [10, 1, 2, 3], [80, 5000])[..22].to_vec();
    for (what, ethertype, packet, taken) in [
        (
            "the peer's",
            0x0800,
            v4(from, [10, 1, 2, 3], [80, 5000]),
            true,
        ),
        (
            "another peer's",
            0x0800,
            v4([192, 0, 2, 2], [10, 1, 2, 3], [80, 5000]),
            false,
        ),
        (
            "another port's",
            0x0800,
            v4(from, [10, 1, 2, 3], [81, 5000]),
            false,
        ),
        (
            "to elsewhere",
            0x0800,
            v4(from, [11, 1, 2, 3], [80, 5000]),
            false,
        ),
        ("a fragment", 0x0800, fragment, false),
        ("UDP", 0x0800, udp, false),
        ("with options", 0x0800, options, false),
        ("cut off", 0x0800, cut, false),
        ("a question", 0x0806, arp(1, [10, 9, 9, 9]), true),
        ("an answer", 0x0806, arp(2, [10, 9, 9, 9]), false),
        (
            "a question for another",
            0x0806,
            arp(1, [11, 9, 9, 9]),
            false,
        ),
        (
            "another protocol",
            0x88cc,
            v4(from, [10, 1, 2, 3], [80, 5000]),
            false,
        ),
    ] {
        assert_eq!(rule.takes(&*ethernet(ethertype, &packet)), taken, "{what}");
    }
    let silent = Capture {
        neighbours: 0,
        ..rule
    };
    assert!(!silent.takes(&*ethernet(0x0806, &arp(1, [10, 9, 9, 9]))));
}

#[test]
fn ipv6_is_taken_by_the_same_rule() {
    let [ours, theirs] = [[0xfd; 16], [0xfc; 16]];
    let rule = Capture {
        local: Addr::v6(ours).0,
        local_mask: ONES,
        remote: Addr::v6(theirs).0,
        remote_mask: ONES,
        ..rule()
    };
    let mut segment = [0; 20];
    segment[1] = 80;
    let mut question = std::vec![135, 0, 0, 0, 0, 0, 0, 0];
    question.extend(ours);
    let mut other = question.clone();
    other[23] = 0;
    for (what, packet, taken) in [
        ("the peer's", v6(theirs, ours, 6, &segment), true),
        ("another peer's", v6(ours, ours, 6, &segment), false),
        ("to elsewhere", v6(theirs, theirs, 6, &segment), false),
        ("a question", v6(theirs, ours, 58, &question), true),
        (
            "a question for another",
            v6(theirs, ours, 58, &other),
            false,
        ),
        ("an answer", v6(theirs, ours, 58, &[136; 24]), false),
    ] {
        assert_eq!(rule.takes(&*ethernet(0x86dd, &packet)), taken, "{what}");
    }
}

#[test]
fn a_rule_without_masks_takes_every_tcp_segment() {
    let any = Capture::default();
    assert!(any.takes(&*ethernet(0x0800, &v4([1; 4], [2; 4], [3, 4]))));
    assert!(!any.takes(&*ethernet(0x0806, &arp(1, [2; 4]))));
}

#[test]
fn words_lie_as_the_fields_do() {
    let words = rule().words();
    assert_eq!(words[..4], rule().local);
    assert_eq!(words[12..16], rule().remote_mask);
    assert_eq!(words[16..], [rule().ports, rule().ports_mask, 1]);
}
