//! From a received frame to a TCP segment, a fragment, or news about a path.

use super::FrameDrop;
use super::Link;
use etherparse::{
    IpFragOffset, IpNumber, Ipv4HeaderSlice, Ipv4Slice, Ipv6ExtensionSlice, Ipv6HeaderSlice,
    Ipv6Slice, ip_number,
};
use tcp_lite::wire::Sum;
use tcp_lite::{Addr, Arrival, Ecn, Endpoint, Flow, SeqNum};

/// What a frame that the XDP program steered to us is.
#[derive(Debug)]
pub enum Packet<'a> {
    /// A whole TCP segment.
    Segment(Arrival<'a, Link>),
    /// A part of one.
    Fragment(Fragment<'a>),
    /// ICMP "fragmentation needed" (RFC 792, 1191) or "packet too big" (RFC 4443).
    TooBig(TooBig),
}

/// One fragment of a datagram (RFC 791, RFC 8200 4.5).
#[derive(Debug)]
pub struct Fragment<'a> {
    /// What all fragments of a datagram have in common.
    pub key: FragmentKey,
    /// How to answer.
    pub link: Link,
    /// Congestion mark of this fragment.
    pub ecn: Ecn,
    /// Where `payload` belongs, in units of 8 bytes.
    pub offset: IpFragOffset,
    /// False in the last one.
    pub more: bool,
    /// What the fragment carries.
    pub payload: &'a [u8],
}

/// Identifies a fragmented datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// The sender.
    pub source: Addr,
    /// Us.
    pub destination: Addr,
    /// The sender's number for the datagram.
    pub id: u32,
}

/// A router said that a segment of ours was too long for the next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig {
    /// The connection, seen from us.
    pub flow: Flow,
    /// First sequence number of the segment that was too long.
    pub seq: SeqNum,
    /// The largest IP packet that the next hop takes, in bytes.
    pub mtu: u16,
}

/// Takes a frame apart.
///
/// # Errors
/// Why it is of no use to us: every byte of it is from the network, so that anything may be in it.
pub fn parse(frame: &[u8]) -> Result<Packet<'_>, FrameDrop> {
    let (link, rest) = Link::answering(frame).ok_or(FrameDrop::Link)?;
    if link.is_v6() {
        ipv6(link, rest)
    } else {
        ipv4(link, rest)
    }
}

fn ipv4(link: Link, packet: &[u8]) -> Result<Packet<'_>, FrameDrop> {
    let ip = Ipv4Slice::from_slice(packet).map_err(|_| FrameDrop::Ip)?;
    let header = ip.header();
    if Sum::of(header.slice()).finish() != 0 {
        return Err(FrameDrop::IpChecksum);
    }
    let source = Addr::v4(header.source());
    let destination = Addr::v4(header.destination());
    let ecn = Ecn::from_bits(header.ecn().value());
    let payload = ip.payload();
    if payload.fragmented {
        return Ok(Packet::Fragment(Fragment {
            key: FragmentKey {
                source,
                destination,
                id: header.identification().into(),
            },
            link,
            ecn,
            offset: header.fragments_offset(),
            more: header.more_fragments(),
            payload: payload.payload,
        }));
    }
    match payload.ip_number {
        IpNumber::TCP => segment(link, ecn, source, destination, payload.payload),
        IpNumber::ICMP => too_big_v4(payload.payload),
        _ => Err(FrameDrop::NotTcp),
    }
}

fn ipv6(link: Link, packet: &[u8]) -> Result<Packet<'_>, FrameDrop> {
    let ip = Ipv6Slice::from_slice(packet).map_err(|_| FrameDrop::Ip)?;
    let header = ip.header();
    let source = Addr::v6(header.source());
    let destination = Addr::v6(header.destination());
    if source.is_v4() || destination.is_v4() {
        // A mapped address on the wire would be taken for IPv4 (RFC 6890: never to be forwarded).
        return Err(FrameDrop::Ip);
    }
    let ecn = Ecn::from_bits(header.ecn().value());
    let payload = ip.payload();
    if payload.fragmented {
        let fragment = ip
            .extensions()
            .clone()
            .into_iter()
            .find_map(|extension| match extension {
                Ipv6ExtensionSlice::Fragment(f) => Some(f),
                _ => None,
            })
            .ok_or(FrameDrop::Ip)?;
        return Ok(Packet::Fragment(Fragment {
            key: FragmentKey {
                source,
                destination,
                id: fragment.identification(),
            },
            link,
            ecn,
            offset: fragment.fragment_offset(),
            more: fragment.more_fragments(),
            payload: payload.payload,
        }));
    }
    match payload.ip_number {
        IpNumber::TCP => segment(link, ecn, source, destination, payload.payload),
        IpNumber::IPV6_ICMP => too_big_v6(header, payload.payload),
        _ => Err(FrameDrop::NotTcp),
    }
}

fn segment<'a>(
    link: Link,
    ecn: Ecn,
    source: Addr,
    destination: Addr,
    bytes: &'a [u8],
) -> Result<Packet<'a>, FrameDrop> {
    let flow = flow(destination, source, bytes).ok_or(FrameDrop::TcpHeader)?;
    Ok(Packet::Segment(Arrival {
        flow,
        link,
        ecn,
        bytes,
    }))
}

/// The flow of a TCP segment that was sent from `remote` to `local`.
#[inline]
pub(super) fn flow(local: Addr, remote: Addr, tcp: &[u8]) -> Option<Flow> {
    let ports = tcp.first_chunk::<4>()?;
    Some(Flow {
        local: Endpoint {
            addr: local,
            port: u16::from_be_bytes([ports[2], ports[3]]),
        },
        remote: Endpoint {
            addr: remote,
            port: u16::from_be_bytes([ports[0], ports[1]]),
        },
    })
}

/// Type 3 code 4: checksum, next-hop MTU in bytes 6 and 7, the start of our packet from byte 8 on.
fn too_big_v4(icmp: &[u8]) -> Result<Packet<'_>, FrameDrop> {
    let (head, quoted) = icmp.split_first_chunk::<8>().ok_or(FrameDrop::Icmp)?;
    if head[..2] != [3, 4] {
        return Err(FrameDrop::Icmp);
    }
    if Sum::of(icmp).finish() != 0 {
        return Err(FrameDrop::IpChecksum);
    }
    let ip = Ipv4HeaderSlice::from_slice(quoted).map_err(|_| FrameDrop::Icmp)?;
    if ip.protocol() != ip_number::TCP || ip.fragments_offset().value() != 0 {
        return Err(FrameDrop::Icmp);
    }
    let mtu = u16::from_be_bytes([head[6], head[7]]);
    quoted_segment(
        Addr::v4(ip.source()),
        Addr::v4(ip.destination()),
        &quoted[ip.slice().len()..],
        mtu,
    )
}

/// Type 2: checksum, MTU in bytes 4 to 7, the start of our packet from byte 8 on.
fn too_big_v6<'a>(ip: Ipv6HeaderSlice<'_>, icmp: &'a [u8]) -> Result<Packet<'a>, FrameDrop> {
    let (head, quoted) = icmp.split_first_chunk::<8>().ok_or(FrameDrop::Icmp)?;
    if head[0] != 2 {
        return Err(FrameDrop::Icmp);
    }
    // RFC 8200 8.1: the pseudo-header has both addresses, the length and the protocol.
    let sum = Sum::of(&ip.source())
        .plus(Sum::of(&ip.destination()))
        .plus(Sum::of(&(icmp.len() as u32).to_be_bytes()))
        .plus(Sum::word(ip_number::IPV6_ICMP.0.into()))
        .plus(Sum::of(icmp));
    if sum.finish() != 0 {
        return Err(FrameDrop::IpChecksum);
    }
    let inner = Ipv6HeaderSlice::from_slice(quoted).map_err(|_| FrameDrop::Icmp)?;
    // We send no extension headers, so that none can be quoted.
    if inner.next_header() != ip_number::TCP {
        return Err(FrameDrop::Icmp);
    }
    let mtu = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    quoted_segment(
        Addr::v6(inner.source()),
        Addr::v6(inner.destination()),
        &quoted[inner.slice().len()..],
        mtu.try_into().unwrap_or(u16::MAX),
    )
}

/// RFC 792 promises the first 8 bytes of what we sent: ports and sequence number.
fn quoted_segment(
    local: Addr,
    remote: Addr,
    tcp: &[u8],
    mtu: u16,
) -> Result<Packet<'_>, FrameDrop> {
    let head = tcp.first_chunk::<8>().ok_or(FrameDrop::Icmp)?;
    Ok(Packet::TooBig(TooBig {
        flow: Flow {
            local: Endpoint {
                addr: local,
                port: u16::from_be_bytes([head[0], head[1]]),
            },
            remote: Endpoint {
                addr: remote,
                port: u16::from_be_bytes([head[2], head[3]]),
            },
        },
        seq: SeqNum(u32::from_be_bytes([head[4], head[5], head[6], head[7]])),
        mtu,
    }))
}
