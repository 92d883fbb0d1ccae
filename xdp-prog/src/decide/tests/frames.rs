//! Hand-made frames with the verdicts that they must meet, and the world in which they do.
//!
//! Also read by the tests that run the program in the kernel, where this world is made of real sockets.

use std::vec;
use std::vec::Vec;

use xdp_prog::{Addr, CARRIER_MAC, FlowKey, INJECT_MAC, Lookup, ServiceKey, Station, Verdict};

pub const OURS: [u8; 4] = [10, 77, 9, 1];
pub const PEER: [u8; 4] = [10, 77, 9, 2];
pub const OURS6: [u8; 16] = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub const PEER6: [u8; 16] = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
/// The port of the service.
/// The NIC's own Ethernet address.
pub const HOST: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
pub const WEB: u16 = 80;
/// Peers by what is known of their connection.
pub const NEW: u16 = 40000;
pub const REGISTERED: u16 = 40001;
pub const KERNELS: u16 = 40002;

pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;
pub const SYN_ECN: u8 = 0xc2;
pub const RST: u8 = 0x04;

pub struct World {
    /// Whether the gate is open.
    pub open: bool,
}

impl World {
    fn flow(key: &FlowKey, port: u16) -> bool {
        let v4 = FlowKey::new(Addr::v4(OURS), WEB, Addr::v4(PEER), port);
        let v6 = FlowKey::new(Addr::v6(OURS6), WEB, Addr::v6(PEER6), port);
        *key == v4 || *key == v6
    }
}

impl Lookup for World {
    fn is_station(&self, station: Station) -> bool {
        station == Station::new(HOST)
    }
    fn is_service(&self, key: &ServiceKey) -> bool {
        [Addr::v4(OURS), Addr::v6(OURS6)]
            .map(|addr| [ServiceKey::new(addr, WEB), ServiceKey::marker(addr)])
            .as_flattened()
            .contains(key)
    }
    fn is_own_flow(&self, key: &FlowKey) -> bool {
        Self::flow(key, REGISTERED)
    }
    fn is_kernel_flow(&self, key: &FlowKey) -> bool {
        Self::flow(key, KERNELS)
    }
    fn gate_is_open(&self) -> bool {
        self.open
    }
}

/// An Ethernet frame with `tags` in front of `ethertype`.
fn ether(tags: &[u16], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [HOST, [0x02, 0, 0, 0, 0, 2]].concat();
    for tag in tags {
        frame.extend([tag.to_be_bytes(), 7_u16.to_be_bytes()].concat());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet; `fragment` is the word with the flags and the offset.
fn ip4(
    protocol: u8,
    source: [u8; 4],
    destination: [u8; 4],
    fragment: u16,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let header = 20 + options.len();
    let [t0, t1] = u16::try_from(header + payload.len())
        .expect("fits")
        .to_be_bytes();
    let [f0, f1] = fragment.to_be_bytes();
    let first = 0x40 | u8::try_from(header / 4).expect("fits");
    let fixed = [first, 0, t0, t1, 0, 0, f0, f1, 64, protocol, 0, 0];
    [&fixed, &source[..], &destination, options, payload].concat()
}

fn ip6(next: u8, source: [u8; 16], destination: [u8; 16], payload: &[u8]) -> Vec<u8> {
    let [l0, l1] = u16::try_from(payload.len()).expect("fits").to_be_bytes();
    [
        &[0x60, 0, 0, 0, l0, l1, next, 64],
        &source[..],
        &destination,
        payload,
    ]
    .concat()
}

/// An IPv6 extension header of `8 * (units + 1)` bytes.
fn extension(next: u8, units: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 * (usize::from(units) + 1)];
    bytes[0] = next;
    bytes[1] = units;
    bytes.extend(payload);
    bytes
}

fn fragment6(next: u8, offset_and_more: u16, payload: &[u8]) -> Vec<u8> {
    let [a, b] = offset_and_more.to_be_bytes();
    [&[next, 0, a, b, 0, 0, 0, 1], payload].concat()
}

fn tcp(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let ([a, b], [c, d]) = (from.to_be_bytes(), to.to_be_bytes());
    vec![
        a, b, c, d, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0,
    ]
}

pub fn v4(peer: u16, flags: u8) -> Vec<u8> {
    ether(
        &[],
        0x0800,
        &ip4(6, PEER, OURS, 0, &[], &tcp(peer, WEB, flags)),
    )
}

pub fn v6(peer: u16, flags: u8) -> Vec<u8> {
    ether(&[], 0x86dd, &ip6(6, PEER6, OURS6, &tcp(peer, WEB, flags)))
}

/// Extension headers: hop-by-hop, destination, routing (no segments left), atomic fragment, destination, as RFC 8200
/// 4.1 orders them.
fn v6_all_extensions() -> Vec<u8> {
    let inner = extension(6, 3, &tcp(NEW, WEB, SYN));
    let inner = fragment6(60, 0, &inner);
    let inner = extension(44, 2, &inner);
    let inner = extension(43, 0, &inner);
    ether(
        &[],
        0x86dd,
        &ip6(0, PEER6, OURS6, &extension(60, 255, &inner)),
    )
}

/// ICMP "fragmentation needed" from a router about a segment of ours to `peer`.
pub fn need_fragmentation(peer: u16, quoted_fragment: u16, code: u8) -> Vec<u8> {
    let quoted = ip4(
        6,
        OURS,
        PEER,
        quoted_fragment,
        &[],
        &tcp(WEB, peer, ACK)[..8],
    );
    let message = [&[3, code, 0, 0, 0, 0, 0x05, 0x78], &quoted[..]].concat();
    ether(&[], 0x0800, &ip4(1, [10, 77, 9, 9], OURS, 0, &[], &message))
}

fn too_big(peer: u16, kind: u8) -> Vec<u8> {
    let quoted = ip6(6, OURS6, PEER6, &tcp(WEB, peer, ACK));
    let message = [&[kind, 0, 0, 0, 0, 0, 0x05, 0], &quoted[..]].concat();
    ether(&[], 0x86dd, &ip6(58, PEER6, OURS6, &message))
}

/// A frame from the peer to us that carries an IPv4 packet.
fn in4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    ether(
        &[],
        0x0800,
        &ip4(protocol, PEER, OURS, fragment, &[], payload),
    )
}

/// A frame from the peer to us that carries an IPv6 packet.
fn in6(next: u8, payload: &[u8]) -> Vec<u8> {
    ether(&[], 0x86dd, &ip6(next, PEER6, OURS6, payload))
}

/// A TCP frame between other IPv4 addresses.
fn between(from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    ether(&[], 0x0800, &ip4(6, from, to, 0, &[], payload))
}

/// A TCP frame between other IPv6 addresses.
fn between6(from: [u8; 16], to: [u8; 16]) -> Vec<u8> {
    ether(&[], 0x86dd, &ip6(6, from, to, &tcp(NEW, WEB, SYN)))
}

/// `frame` with other bytes at an offset.
pub fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

fn mapped(v4: [u8; 4]) -> [u8; 16] {
    let mut v6 = [0; 16];
    v6[10..12].fill(0xff);
    v6[12..].copy_from_slice(&v4);
    v6
}

/// "Fragmentation needed" that quotes `packet`.
fn quoting(packet: &[u8]) -> Vec<u8> {
    in4(1, 0, &[&[3, 4, 0, 0, 0, 0, 0, 0], packet].concat())
}

/// Frames with what becomes of them while the gate is open.
pub fn table() -> Vec<(&'static str, Vec<u8>, Verdict)> {
    use Verdict::*;
    let syn = tcp(NEW, WEB, SYN);
    let syn4 = ip4(6, PEER, OURS, 0, &[], &syn);
    let options = ip4(6, PEER, OURS, 0, &[1; 40], &tcp(REGISTERED, WEB, ACK));
    let six = (0..5).fold(extension(6, 0, &syn), |inner, _| extension(60, 0, &inner));
    let late_hop = extension(0, 0, &extension(6, 0, &syn));
    let segments_left = with(extension(6, 2, &syn), 3, &[1]);
    let quoted_udp = ip4(17, OURS, PEER, 0, &[], &[0; 8]);
    vec![
        ("v4 new", v4(NEW, SYN), XskOther),
        ("v4 new with ECN", v4(NEW, SYN_ECN), XskOther),
        ("v4 unknown segment", v4(NEW, ACK), XskOther),
        ("v4 registered", v4(REGISTERED, ACK), XskFlow),
        ("v4 kernel's", v4(KERNELS, ACK), PassKernelFlow),
        (
            "v4 kernel's, SYN on TIME-WAIT",
            v4(KERNELS, SYN),
            PassKernelFlow,
        ),
        ("v6 new", v6(NEW, SYN), XskOther),
        ("v6 registered", v6(REGISTERED, ACK), XskFlow),
        ("v6 kernel's", v6(KERNELS, RST), PassKernelFlow),
        ("injected", with(v4(NEW, SYN), 6, &INJECT_MAC), PassInjected),
        ("carrier", with(v4(NEW, ACK), 6, &CARRIER_MAC), PassInjected),
        (
            "nearly injected",
            with(v4(NEW, SYN), 6, &INJECT_MAC[..5]),
            XskOther,
        ),
        (
            "another station's",
            with(v4(REGISTERED, ACK), 5, &[9]),
            PassOtherStation,
        ),
        (
            "broadcast",
            with(v6(NEW, SYN), 0, &[0xff; 6]),
            PassOtherStation,
        ),
        ("other port", in4(6, 0, &tcp(NEW, 81, SYN)), PassNotService),
        ("port 0", in4(6, 0, &tcp(NEW, 0, SYN)), PassNotService),
        ("other address", between(PEER, PEER, &syn), PassNotService),
        (
            "what we sent",
            between(OURS, PEER, &tcp(WEB, NEW, ACK)),
            PassNotService,
        ),
        ("one tag", ether(&[0x8100], 0x0800, &syn4), XskOther),
        (
            "two tags",
            ether(&[0x88a8, 0x8100], 0x0800, &syn4),
            XskOther,
        ),
        (
            "three tags",
            ether(&[0x88a8, 0x8100, 0x8100], 0x0800, &syn4),
            PassUnwalked,
        ),
        (
            "tagged v6",
            ether(&[0x8100], 0x86dd, &v6(REGISTERED, ACK)[14..]),
            XskFlow,
        ),
        ("ARP", ether(&[], 0x0806, &[0; 28]), PassOther),
        ("LLC frame", ether(&[], 0x0026, &[0; 38]), PassOther),
        ("UDP", in4(17, 0, &[0; 20]), PassOther),
        ("v6 UDP", in6(17, &[0; 20]), PassOther),
        ("v6 ESP", in6(50, &[0; 20]), PassOther),
        (
            "v6 authentication",
            in6(51, &extension(6, 2, &syn)),
            PassOther,
        ),
        ("v4 options", ether(&[], 0x0800, &options), XskFlow),
        (
            "v4 version 5",
            with(v4(NEW, SYN), 14, &[0x55]),
            PassMalformed,
        ),
        (
            "v4 header of 16 bytes",
            with(v4(NEW, SYN), 14, &[0x44]),
            PassMalformed,
        ),
        (
            "v4 header behind the end",
            with(v4(NEW, SYN), 14, &[0x46]),
            PassMalformed,
        ),
        (
            "v6 version 4",
            with(v6(NEW, SYN), 14, &[0x40]),
            PassMalformed,
        ),
        (
            "v6 from v4-mapped",
            between6(mapped(PEER), OURS6),
            PassMalformed,
        ),
        (
            "v6 to v4-mapped",
            between6(PEER6, mapped(OURS)),
            PassMalformed,
        ),
        ("v4 first fragment", in4(6, 0x2000, &syn), XskFragment),
        ("v4 last fragment", in4(6, 1, &[0; 8]), XskFragment),
        ("v4 do not fragment", in4(6, 0x4000, &syn), XskOther),
        (
            "v4 fragment to others",
            with(in4(6, 1, &[0; 8]), 30, &PEER),
            PassNotService,
        ),
        ("v4 fragment of UDP", in4(17, 1, &[0; 8]), PassOther),
        (
            "v4 fragment of ICMP",
            in4(1, 1, &[3, 4, 0, 0, 0, 0, 0, 0]),
            PassOther,
        ),
        (
            "v6 first fragment",
            in6(44, &fragment6(6, 1, &[0; 8])),
            XskFragment,
        ),
        (
            "v6 last fragment",
            in6(44, &fragment6(6, 8, &[])),
            XskFragment,
        ),
        (
            "v6 reserved fragment bits",
            in6(44, &fragment6(6, 6, &syn)),
            XskOther,
        ),
        (
            "v6 fragment of UDP",
            in6(44, &fragment6(17, 8, &[])),
            PassOther,
        ),
        (
            "v6 fragment to others",
            with(in6(44, &fragment6(6, 8, &[])), 38, &PEER6),
            PassNotService,
        ),
        ("v6 all extensions", v6_all_extensions(), XskOther),
        ("v6 six extensions", in6(60, &six), PassUnwalked),
        (
            "v6 hop-by-hop in second place",
            in6(60, &late_hop),
            PassMalformed,
        ),
        ("v6 segments left", in6(43, &segments_left), PassUnwalked),
        ("ICMP about new", need_fragmentation(NEW, 0, 4), XskIcmp),
        (
            "ICMP about registered",
            need_fragmentation(REGISTERED, 0x4000, 4),
            XskIcmp,
        ),
        (
            "ICMP about kernel's",
            need_fragmentation(KERNELS, 0, 4),
            PassKernelFlow,
        ),
        (
            "ICMP about a later fragment",
            need_fragmentation(REGISTERED, 1, 4),
            PassOther,
        ),
        (
            "ICMP port unreachable",
            need_fragmentation(REGISTERED, 0, 3),
            PassOther,
        ),
        ("ICMP about others", quoting(&syn4), PassNotService),
        ("ICMP about UDP", quoting(&quoted_udp), PassOther),
        ("ICMP echo", in4(1, 0, &[8, 0, 0, 0, 0, 0, 0, 0]), PassOther),
        ("ICMPv6 about new", too_big(NEW, 2), XskIcmp),
        ("ICMPv6 about registered", too_big(REGISTERED, 2), XskIcmp),
        ("ICMPv6 about kernel's", too_big(KERNELS, 2), PassKernelFlow),
        (
            "ICMPv6 neighbour solicitation",
            too_big(REGISTERED, 135),
            PassOther,
        ),
    ]
}

/// `count` frames of the table, damaged and cut at random, the same in every run.
pub fn damaged(count: usize) -> impl Iterator<Item = Vec<u8>> {
    let corpus: Vec<_> = table().into_iter().map(|(_, frame, _)| frame).collect();
    // xorshift64*.
    let mut state = 0x5eed_u64;
    let mut random = move |below: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    };
    (0..count).map(move |_| {
        let mut frame = corpus[random(corpus.len())].clone();
        for _ in 0..random(4) {
            let at = random(frame.len());
            frame[at] = random(256) as u8;
        }
        frame.truncate(1 + random(2 * frame.len()));
        frame
    })
}
