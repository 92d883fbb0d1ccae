//! TCP segments in IP in Ethernet, built and read by hand: no code shared with the stack under test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// TCP control bits.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment field counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// Congestion was experienced (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// The congestion window was reduced (RFC 3168).
    pub const CWR: u8 = 0x80;
}

const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86dd;
const ETHER_VLAN: u16 = 0x8100;
const PROTOCOL_TCP: u8 = 6;
const IPV6_FRAGMENT: u8 = 44;

/// A segment to send. All fields are free, so that wrong ones can be made; lengths and checksums are right unless
/// said otherwise.
#[derive(Clone, Debug)]
pub struct Segment {
    /// IP source.
    pub src: IpAddr,
    /// IP destination, of the same version.
    pub dst: IpAddr,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Control bits ([`flag`]).
    pub flags: u8,
    /// Receive window, unscaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// TCP options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// Data.
    pub payload: Vec<u8>,
    /// IPv4 options, a multiple of 4 bytes.
    pub ip_options: Vec<u8>,
    /// IPv6 extension headers: (type, whole header; its first byte is overwritten with the next type).
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// VLAN ids, the outermost first.
    pub vlans: Vec<u16>,
    /// ECN field of the IP header (RFC 3168).
    pub ecn: u8,
    /// Written in place of the true TCP data offset (in 32-bit words).
    pub data_offset: Option<u8>,
    /// Added to the TCP checksum to spoil it.
    pub sum_error: u16,
    /// Added to the IPv4 header checksum to spoil it.
    pub ip_sum_error: u16,
}

impl Segment {
    /// An empty segment without flags.
    pub fn new(src: (IpAddr, u16), dst: (IpAddr, u16)) -> Self {
        Self {
            src: src.0,
            dst: dst.0,
            sport: src.1,
            dport: dst.1,
            seq: 0,
            ack: 0,
            flags: 0,
            window: 64_000,
            urgent: 0,
            options: Vec::new(),
            payload: Vec::new(),
            ip_options: Vec::new(),
            extensions: Vec::new(),
            vlans: Vec::new(),
            ecn: 0,
            data_offset: None,
            sum_error: 0,
            ip_sum_error: 0,
        }
    }

    /// The TCP header with options, then the data.
    pub fn tcp(&self) -> Vec<u8> {
        let words = 5 + self.options.len().div_ceil(4) as u8;
        let mut bytes = Vec::new();
        bytes.extend(self.sport.to_be_bytes());
        bytes.extend(self.dport.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.push(self.data_offset.unwrap_or(words) << 4);
        bytes.push(self.flags);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 2]);
        bytes.extend(self.urgent.to_be_bytes());
        bytes.extend(&self.options);
        bytes.resize(usize::from(words) * 4, 0);
        bytes.extend(&self.payload);
        let sum = checksum(&[&pseudo_header(self.src, self.dst, bytes.len()), &bytes]);
        bytes[16..18].copy_from_slice(&sum.wrapping_add(self.sum_error).to_be_bytes());
        bytes
    }

    /// The IP packet.
    pub fn packet(&self) -> Vec<u8> {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = self.ipv4_header(src, dst, self.tcp().len(), 0x4000);
                [header, self.tcp()].concat()
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut next = PROTOCOL_TCP;
                let mut behind = self.tcp();
                for (kind, header) in self.extensions.iter().rev() {
                    let mut header = header.clone();
                    header[0] = next;
                    behind.splice(0..0, header);
                    next = *kind;
                }
                let mut header = ipv6_header(src, dst, behind.len(), next);
                header[1] |= self.ecn << 4;
                [header, behind].concat()
            }
            _ => panic!("{} and {} are of different IP versions", self.src, self.dst),
        }
    }

    /// The IP packets of the segment cut into fragments of `size` bytes of data, a multiple of 8.
    pub fn fragments(&self, size: usize, id: u16) -> Vec<Vec<u8>> {
        let tcp = self.tcp();
        let count = tcp.len().div_ceil(size);
        tcp.chunks(size)
            .enumerate()
            .map(|(index, part)| {
                let more = index + 1 < count;
                let eighths = (index * size / 8) as u16;
                match (self.src, self.dst) {
                    (IpAddr::V4(src), IpAddr::V4(dst)) => {
                        let flags = eighths | if more { 0x2000 } else { 0 };
                        let mut header = self.ipv4_header(src, dst, part.len(), flags);
                        header[4..6].copy_from_slice(&id.to_be_bytes());
                        seal_ipv4(&mut header, 0);
                        [&header[..], part].concat()
                    }
                    (IpAddr::V6(src), IpAddr::V6(dst)) => {
                        let mut fragment = vec![PROTOCOL_TCP, 0];
                        fragment.extend((eighths << 3 | u16::from(more)).to_be_bytes());
                        fragment.extend(u32::from(id).to_be_bytes());
                        let header =
                            ipv6_header(src, dst, fragment.len() + part.len(), IPV6_FRAGMENT);
                        [&header[..], &fragment, part].concat()
                    }
                    _ => panic!("{} and {} are of different IP versions", self.src, self.dst),
                }
            })
            .collect()
    }

    /// Sequence space it takes: data plus one each for SYN and FIN.
    pub fn len(&self) -> u32 {
        let control = (self.flags & flag::SYN != 0) as u32 + (self.flags & flag::FIN != 0) as u32;
        self.payload.len() as u32 + control
    }

    /// Whether it takes no sequence space.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn ipv4_header(&self, src: Ipv4Addr, dst: Ipv4Addr, data: usize, flags: u16) -> Vec<u8> {
        let len = 20 + self.ip_options.len();
        let mut header = vec![0x40 | (len / 4) as u8, self.ecn];
        header.extend(((len + data) as u16).to_be_bytes());
        header.extend([0, 0]);
        header.extend(flags.to_be_bytes());
        header.extend([64, PROTOCOL_TCP, 0, 0]);
        header.extend(src.octets());
        header.extend(dst.octets());
        header.extend(&self.ip_options);
        seal_ipv4(&mut header, self.ip_sum_error);
        header
    }
}

/// An Ethernet frame around an IP packet; the version nibble gives the type.
pub fn ethernet(dst: [u8; 6], src: [u8; 6], vlans: &[u16], packet: &[u8]) -> Vec<u8> {
    let mut frame = [dst, src].concat();
    for vlan in vlans {
        frame.extend(ETHER_VLAN.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    let kind = match packet.first().map(|byte| byte >> 4) {
        Some(6) => ETHER_IPV6,
        _ => ETHER_IPV4,
    };
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame
}

/// A received segment with right checksums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// VLAN ids, the outermost first.
    pub vlans: Vec<u16>,
    /// IP source.
    pub src: IpAddr,
    /// IP destination.
    pub dst: IpAddr,
    /// ECN field of the IP header (RFC 3168).
    pub ecn: u8,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Control bits ([`flag`]).
    pub flags: u8,
    /// Receive window, unscaled.
    pub window: u16,
    /// TCP options.
    pub options: Vec<u8>,
    /// Data.
    pub payload: Vec<u8>,
}

impl Received {
    /// Reads a frame; `None` when it is not TCP.
    ///
    /// # Panics
    /// On a wrong length or checksum: whoever sent it is broken.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (vlans, kind, packet) = untag(frame)?;
        let (src, dst, ecn, protocol, tcp) = match kind {
            ETHER_IPV4 => {
                let header = usize::from(packet.first()? & 15) * 4;
                let total = usize::from(be16(packet, 2)?);
                assert_eq!(
                    checksum(&[packet.get(..header)?]),
                    0,
                    "IPv4 header checksum of {packet:02x?}"
                );
                let src = <[u8; 4]>::try_from(packet.get(12..16)?).ok()?;
                let dst = <[u8; 4]>::try_from(packet.get(16..20)?).ok()?;
                let data = packet
                    .get(header..total)
                    .unwrap_or_else(|| panic!("IPv4 length of {packet:02x?}"));
                (src.into(), dst.into(), packet[1] & 3, packet[9], data)
            }
            ETHER_IPV6 => {
                let src = <[u8; 16]>::try_from(packet.get(8..24)?).ok()?;
                let dst = <[u8; 16]>::try_from(packet.get(24..40)?).ok()?;
                let total = 40 + usize::from(be16(packet, 4)?);
                let data = packet
                    .get(40..total)
                    .unwrap_or_else(|| panic!("IPv6 length of {packet:02x?}"));
                (src.into(), dst.into(), packet[1] >> 4 & 3, packet[6], data)
            }
            _ => return None,
        };
        if protocol != PROTOCOL_TCP {
            return None;
        }
        let sum = checksum(&[&pseudo_header(src, dst, tcp.len()), tcp]);
        assert_eq!(sum, 0, "TCP checksum of {tcp:02x?}");
        let header = usize::from(*tcp.get(12)? >> 4) * 4;
        Some(Self {
            vlans,
            src,
            dst,
            ecn,
            sport: be16(tcp, 0)?,
            dport: be16(tcp, 2)?,
            seq: be32(tcp, 4)?,
            ack: be32(tcp, 8)?,
            flags: tcp[13],
            window: be16(tcp, 14)?,
            options: tcp.get(20..header)?.to_vec(),
            payload: tcp.get(header..)?.to_vec(),
        })
    }

    /// The data of the option `kind`, without its two header bytes.
    pub fn option(&self, kind: u8) -> Option<&[u8]> {
        let mut rest = &self.options[..];
        loop {
            match *rest {
                [] | [0, ..] => return None,
                [1, ..] => rest = &rest[1..],
                [_] => panic!("cut option in {:02x?}", self.options),
                [this, len, ..] => {
                    let data = rest
                        .get(2..usize::from(len))
                        .unwrap_or_else(|| panic!("bad option length in {:02x?}", self.options));
                    if this == kind {
                        return Some(data);
                    }
                    rest = &rest[usize::from(len)..];
                }
            }
        }
    }

    /// Whether all of these control bits are set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// The sequence number behind it.
    pub fn end(&self) -> u32 {
        let control = self.has(flag::SYN) as u32 + self.has(flag::FIN) as u32;
        self.seq.wrapping_add(self.payload.len() as u32 + control)
    }
}

/// Splits a frame into VLAN ids, type and the rest.
pub(super) fn untag(frame: &[u8]) -> Option<(Vec<u16>, u16, &[u8])> {
    let mut vlans = Vec::new();
    let mut at = 12;
    loop {
        let kind = be16(frame, at)?;
        if kind != ETHER_VLAN {
            return Some((vlans, kind, frame.get(at + 2..)?));
        }
        vlans.push(be16(frame, at + 2)? & 0xfff);
        at += 4;
    }
}

/// The Internet checksum (RFC 1071) of all parts; every part but the last has an even length.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn seal_ipv4(header: &mut [u8], error: u16) {
    header[10..12].fill(0);
    let sum = checksum(&[header]).wrapping_add(error);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

fn ipv6_header(src: Ipv6Addr, dst: Ipv6Addr, data: usize, next: u8) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend((data as u16).to_be_bytes());
    header.extend([next, 64]);
    header.extend(src.octets());
    header.extend(dst.octets());
    header
}

fn pseudo_header(src: IpAddr, dst: IpAddr, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [src, dst] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    // IPv6 has a 32-bit length and three zero bytes (RFC 8200, 8.1); as a sum that is the same as IPv4's layout.
    bytes.extend([0, PROTOCOL_TCP]);
    bytes.extend((len as u16).to_be_bytes());
    bytes
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
