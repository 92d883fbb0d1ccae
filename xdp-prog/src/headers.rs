//! Walks Ethernet, VLAN and IP down to what the rules look at.

use crate::{Addr, CARRIER_MAC, Cursor, FlowKey, INJECT_MAC, Station, Verdict};

/// 802.1Q and 802.1ad tags walked: one by the operator's switch, one by the host's own VLAN. A third is somebody
/// else's transit traffic.
const MAX_TAGS: usize = 2;

/// IPv6 extension headers walked. RFC 8200 4.1 recommends an order with at most five in front of TCP that are ours to
/// skip (hop-by-hop, destination, routing, fragment, destination). Each costs the verifier a copy of the loop's body.
const MAX_EXTENSIONS: usize = 5;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_ICMPV6: u8 = 58;
const EXTENSION_HOP_BY_HOP: u8 = 0;
const EXTENSION_ROUTING: u8 = 43;
const EXTENSION_FRAGMENT: u8 = 44;
const EXTENSION_DESTINATION: u8 = 60;

/// "More fragments" and the offset of the fragment (RFC 791 3.1).
const V4_FRAGMENT: u32 = 0x3fff;
/// The offset alone.
const V4_OFFSET: u32 = 0x1fff;
/// The offset and "more fragments" in an IPv6 fragment header (RFC 8200 4.5). Both zero: an atomic fragment, which is
/// handled as if the header were not there (RFC 6946).
const V6_FRAGMENT: u32 = 0xfff9;

/// Destination unreachable, fragmentation needed (RFC 1191 4), as the first two bytes of the message.
const ICMP_FRAGMENTATION_NEEDED: u32 = 0x0304;
/// Packet too big (RFC 4443 3.2); the code is to be ignored, so only the first byte counts.
const ICMPV6_PACKET_TOO_BIG: u32 = 2;

/// What the rules look at.
pub(crate) enum Found {
    /// Something about a flow.
    Flow { flow: FlowKey, by: By },
    /// A part of an IP packet that carries TCP.
    Fragment { local: Addr },
}

/// What speaks of a flow.
#[derive(Clone, Copy)]
pub(crate) enum By {
    /// A segment of its, with the flag byte of the TCP header.
    Segment { flags: u8 },
    /// An ICMP message about the path MTU that quotes a segment that we may have sent.
    PathMtu,
}

/// An IP header, walked.
struct Ip<C> {
    source: Addr,
    destination: Addr,
    protocol: u8,
    fragment: bool,
    payload: C,
}

/// Which station an Ethernet frame is addressed to.
#[inline(always)]
pub(crate) fn destination<C: Cursor>(frame: C) -> Option<Station> {
    let [d0, d1, d2] = frame.halves::<3>()?;
    Some(Station::from_halves([d0, d1, d2]))
}

/// Whether the daemon injected an Ethernet frame.
#[inline(always)]
pub(crate) fn is_injected<C: Cursor>(frame: C) -> bool {
    comes_from(frame, INJECT_MAC) || comes_from(frame, CARRIER_MAC)
}

/// Whether this is an Ethernet frame's source.
#[inline(always)]
pub fn comes_from<C: Cursor>(frame: C, source: [u8; 6]) -> bool {
    let [a, b, c, d, e, f] = source;
    let source = [[a, b], [c, d], [e, f]].map(u16::from_be_bytes);
    frame
        .halves::<6>()
        .is_some_and(|[_, _, _, s0, s1, s2]| [s0, s1, s2] == source)
}

/// Finds what the rules look at in an Ethernet frame, or says why there is nothing.
#[inline(always)]
pub(crate) fn find<C: Cursor>(frame: C) -> Result<Found, Verdict> {
    let [_, _, _, _, _, _, mut ethertype] = frame.halves::<7>().ok_or(Verdict::PassMalformed)?;
    let mut at = frame.skip(14);
    for _ in 0..MAX_TAGS {
        if !is_tag(ethertype) {
            break;
        }
        let [_, inner] = at.halves::<2>().ok_or(Verdict::PassMalformed)?;
        ethertype = inner;
        at = at.skip(4);
    }
    match ethertype {
        ETHERTYPE_IPV4 => found_v4(at),
        ETHERTYPE_IPV6 => found_v6(at),
        other if is_tag(other) => Err(Verdict::PassUnwalked),
        _ => Err(Verdict::PassOther),
    }
}

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_SERVICE_VLAN
}

#[inline(always)]
fn found_v4<C: Cursor>(at: C) -> Result<Found, Verdict> {
    let (ip, _) = v4(at)?;
    match ip.protocol {
        PROTOCOL_TCP => segment(ip),
        PROTOCOL_ICMP if !ip.fragment => {
            let [first, _] = ip.payload.words::<2>().ok_or(Verdict::PassMalformed)?;
            if u32::from_be(first) >> 16 != ICMP_FRAGMENTATION_NEEDED {
                return Err(Verdict::PassOther);
            }
            let (quoted, offset) = v4(ip.payload.skip(8))?;
            if offset != 0 {
                return Err(Verdict::PassOther);
            }
            quote(quoted)
        }
        _ => Err(Verdict::PassOther),
    }
}

#[inline(always)]
fn found_v6<C: Cursor>(at: C) -> Result<Found, Verdict> {
    let ip = v6_extended(at)?;
    match ip.protocol {
        PROTOCOL_TCP => segment(ip),
        PROTOCOL_ICMPV6 if !ip.fragment => {
            let [first, _] = ip.payload.words::<2>().ok_or(Verdict::PassMalformed)?;
            if u32::from_be(first) >> 24 != ICMPV6_PACKET_TOO_BIG {
                return Err(Verdict::PassOther);
            }
            // We send no extension headers, so a quote with any is not of ours.
            quote(v6(ip.payload.skip(8))?)
        }
        _ => Err(Verdict::PassOther),
    }
}

/// The segment, or the part of one, in an IP packet of protocol TCP.
#[inline(always)]
fn segment<C: Cursor>(ip: Ip<C>) -> Result<Found, Verdict> {
    if ip.fragment {
        return Ok(Found::Fragment {
            local: ip.destination,
        });
    }
    let [ports, _, _, offset_flags_window, _] =
        ip.payload.words::<5>().ok_or(Verdict::PassMalformed)?;
    let flow = FlowKey {
        remote: ip.source,
        local: ip.destination,
        ports,
    };
    let flags = (u32::from_be(offset_flags_window) >> 16) as u8;
    Ok(Found::Flow {
        flow,
        by: By::Segment { flags },
    })
}

/// The flow of a quoted packet: we would be its sender, so the tuple is turned round.
#[inline(always)]
fn quote<C: Cursor>(ip: Ip<C>) -> Result<Found, Verdict> {
    if ip.protocol != PROTOCOL_TCP {
        return Err(Verdict::PassOther);
    }
    // Eight bytes of TCP are all that RFC 792 promises: the ports and the sequence number.
    let [ports, _] = ip.payload.words::<2>().ok_or(Verdict::PassMalformed)?;
    let flow = FlowKey {
        remote: ip.destination,
        local: ip.source,
        ports: ports.rotate_left(16),
    };
    Ok(Found::Flow {
        flow,
        by: By::PathMtu,
    })
}

/// An IPv4 header with its options, and the offset of the fragment.
#[inline(always)]
fn v4<C: Cursor>(at: C) -> Result<(Ip<C>, u32), Verdict> {
    let [w0, w1, w2, source, destination] = at.words::<5>().ok_or(Verdict::PassMalformed)?;
    let w0 = u32::from_be(w0);
    let header = ((w0 >> 24) & 0xf) * 4;
    if w0 >> 28 != 4 || header < 20 {
        return Err(Verdict::PassMalformed);
    }
    let fragment = u32::from_be(w1) & V4_FRAGMENT;
    let ip = Ip {
        source: Addr::v4_word(source),
        destination: Addr::v4_word(destination),
        protocol: (u32::from_be(w2) >> 16) as u8,
        fragment: fragment != 0,
        payload: at.skip(header),
    };
    Ok((ip, fragment & V4_OFFSET))
}

/// An IPv6 header alone.
#[inline(always)]
fn v6<C: Cursor>(at: C) -> Result<Ip<C>, Verdict> {
    let [w0, w1, s0, s1, s2, s3, d0, d1, d2, d3] =
        at.words::<10>().ok_or(Verdict::PassMalformed)?;
    let source = Addr([s0, s1, s2, s3]);
    let destination = Addr([d0, d1, d2, d3]);
    // A v4-mapped address has no business on the wire (RFC 4291 2.5.5.2), and here it would be taken for IPv4.
    if u32::from_be(w0) >> 28 != 6 || source.is_v4() || destination.is_v4() {
        return Err(Verdict::PassMalformed);
    }
    let protocol = (u32::from_be(w1) >> 8) as u8;
    Ok(Ip {
        source,
        destination,
        protocol,
        fragment: false,
        payload: at.skip(40),
    })
}

/// An IPv6 header with the extension headers behind it. An authentication header is not walked: what it protects is
/// the kernel's to verify.
#[inline(always)]
fn v6_extended<C: Cursor>(at: C) -> Result<Ip<C>, Verdict> {
    let mut ip = v6(at)?;
    for nth in 0..=MAX_EXTENSIONS {
        match ip.protocol {
            // Only allowed in the first place (RFC 8200 4.1).
            EXTENSION_HOP_BY_HOP if nth != 0 => return Err(Verdict::PassMalformed),
            EXTENSION_HOP_BY_HOP | EXTENSION_ROUTING | EXTENSION_DESTINATION => {
                let [word] = ip.payload.words::<1>().ok_or(Verdict::PassMalformed)?;
                let word = u32::from_be(word);
                // Segments left: the packet's way does not end here (RFC 8200 4.4).
                if ip.protocol == EXTENSION_ROUTING && word & 0xff != 0 {
                    return Err(Verdict::PassUnwalked);
                }
                ip.protocol = (word >> 24) as u8;
                ip.payload = ip.payload.skip((((word >> 16) & 0xff) + 1) * 8);
            }
            EXTENSION_FRAGMENT => {
                let [word, _] = ip.payload.words::<2>().ok_or(Verdict::PassMalformed)?;
                let word = u32::from_be(word);
                ip.protocol = (word >> 24) as u8;
                ip.payload = ip.payload.skip(8);
                if word & V6_FRAGMENT != 0 {
                    ip.fragment = true;
                    return Ok(ip);
                }
            }
            _ => return Ok(ip),
        }
    }
    Err(Verdict::PassUnwalked)
}
