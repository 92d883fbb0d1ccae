//! Frames: those that are sent, from a template, and what is looked at in those that come.

use super::requests::{fold, sum};
use std::net::{IpAddr, SocketAddr};

pub(crate) const ETHERNET: usize = 14;
const TCP: usize = 20;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const PROTOCOL_TCP: u8 = 6;

/// Flags of a segment (RFC 9293 3.1).
pub(crate) mod flag {
    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const RST: u8 = 0x04;
    pub(crate) const PSH: u8 = 0x08;
    pub(crate) const ACK: u8 = 0x10;
}

/// What differs between the segments that are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// The last four bytes of the source address.
    pub(crate) low: u32,
    pub(crate) port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    /// Bytes of `payload` that are options.
    pub(crate) options: u8,
    pub(crate) window: u16,
}

/// All that does not differ, with its sums.
#[derive(Debug)]
pub(crate) struct Template {
    head: [u8; ETHERNET + 40 + TCP],
    /// Bytes of an IP header.
    ip: usize,
    /// Sum of the IPv4 header without length and the low word of the source.
    header: u64,
    /// Sum of the pseudo-header without the length and the low word of the source, with the ports of the peer.
    pseudo: u64,
}

impl Template {
    /// From addresses like `source` to `target`, by way of the Ethernet addresses `own` and `next`.
    pub(crate) fn new(own: [u8; 6], next: [u8; 6], source: IpAddr, target: SocketAddr) -> Self {
        let mut head = [0; ETHERNET + 40 + TCP];
        head[..6].copy_from_slice(&next);
        head[6..12].copy_from_slice(&own);
        let ip = if target.is_ipv4() { 20 } else { 40 };
        let packet = &mut head[ETHERNET..];
        let addresses = match (source, target.ip()) {
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                packet[0] = 0x60;
                packet[6] = PROTOCOL_TCP;
                packet[7] = 64;
                packet[8..24].copy_from_slice(&from.octets());
                packet[24..40].copy_from_slice(&to.octets());
                packet[20..24].fill(0);
                8..40
            }
            (_, to) => {
                packet[0] = 0x45;
                // Don't fragment, so that the identification may be 0 (RFC 6864 4.1).
                packet[6] = 0x40;
                packet[8] = 64;
                packet[9] = PROTOCOL_TCP;
                if let IpAddr::V4(to) = to {
                    packet[16..20].copy_from_slice(&to.octets());
                }
                12..20
            }
        };
        let header = sum(&packet[..20]);
        let pseudo = sum(&packet[addresses]) + u64::from(PROTOCOL_TCP) + u64::from(target.port());
        packet[ip + 2..ip + 4].copy_from_slice(&target.port().to_be_bytes());
        let ethertype = if ip == 20 {
            ETHERTYPE_IPV4
        } else {
            ETHERTYPE_IPV6
        };
        head[12..14].copy_from_slice(&ethertype.to_be_bytes());
        Self {
            head,
            ip,
            header,
            pseudo,
        }
    }

    /// Bytes of a frame with `payload` bytes of options and data.
    #[inline]
    pub(crate) fn len(&self, payload: usize) -> usize {
        ETHERNET + self.ip + TCP + payload
    }

    /// Writes a segment into `frame`, which is [`Self::len`] bytes long. `payload_sum` is the sum of `payload`: options,
    /// then data.
    #[inline]
    pub(crate) fn write(
        &self,
        frame: &mut [u8],
        segment: Segment,
        payload: &[u8],
        payload_sum: u64,
    ) {
        let at = ETHERNET + self.ip;
        frame[..at + TCP].copy_from_slice(&self.head[..at + TCP]);
        frame[at + TCP..].copy_from_slice(payload);
        let length = (TCP + payload.len()) as u16;
        let low = sum32(segment.low);
        let packet = &mut frame[ETHERNET..];
        if self.ip == 20 {
            let total = length + 20;
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            packet[12..16].copy_from_slice(&segment.low.to_be_bytes());
            let check = !fold(self.header + u64::from(total) + low);
            packet[10..12].copy_from_slice(&check.to_be_bytes());
        } else {
            packet[4..6].copy_from_slice(&length.to_be_bytes());
            packet[20..24].copy_from_slice(&segment.low.to_be_bytes());
        }
        let tcp = &mut packet[self.ip..];
        let words = (TCP as u16 + u16::from(segment.options)) / 4;
        let offset_flags = words << 12 | u16::from(segment.flags);
        tcp[0..2].copy_from_slice(&segment.port.to_be_bytes());
        tcp[4..8].copy_from_slice(&segment.seq.to_be_bytes());
        tcp[8..12].copy_from_slice(&segment.ack.to_be_bytes());
        tcp[12..14].copy_from_slice(&offset_flags.to_be_bytes());
        tcp[14..16].copy_from_slice(&segment.window.to_be_bytes());
        let all = self.pseudo
            + low
            + u64::from(length)
            + u64::from(segment.port)
            + sum32(segment.seq)
            + sum32(segment.ack)
            + u64::from(offset_flags)
            + u64::from(segment.window)
            + payload_sum;
        tcp[16..18].copy_from_slice(&(!fold(all)).to_be_bytes());
    }
}

#[inline]
fn sum32(word: u32) -> u64 {
    u64::from(word >> 16) + u64::from(word & 0xffff)
}

/// A segment that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived<'a> {
    /// The last four bytes of the destination address.
    pub(crate) low: u32,
    /// The destination port.
    pub(crate) port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) data: &'a [u8],
}

impl Arrived<'_> {
    pub(crate) fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

/// Reads a frame that the XDP program let through: IPv4 without options or IPv6 without extension headers, TCP.
/// `check`: also its checksum.
#[inline]
pub(crate) fn parse(frame: &[u8], check: bool) -> Option<Arrived<'_>> {
    let packet = frame.get(ETHERNET..)?;
    let (ip, total, low, pseudo) = match frame[12..14] {
        [0x08, 0x00] if packet.len() >= 20 && packet[0] == 0x45 && packet[9] == PROTOCOL_TCP => {
            let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            (20, total, 16, 12..20)
        }
        [0x86, 0xdd] if packet.len() >= 40 && packet[6] == PROTOCOL_TCP => {
            let length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
            (40, 40 + length, 36, 8..40)
        }
        _ => return None,
    };
    let low = u32::from_be_bytes(*packet[low..].first_chunk()?);
    // Behind it, short frames are filled up.
    let tcp = packet.get(ip..total)?;
    let head: &[u8; TCP] = tcp.first_chunk()?;
    if check {
        let sum = sum(&packet[pseudo]) + u64::from(PROTOCOL_TCP) + tcp.len() as u64 + sum(tcp);
        if fold(sum) != 0xffff {
            return None;
        }
    }
    let offset = usize::from(head[12] >> 4) * 4;
    Some(Arrived {
        low,
        port: u16::from_be_bytes([head[2], head[3]]),
        seq: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
        ack: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
        flags: head[13],
        window: u16::from_be_bytes([head[14], head[15]]),
        data: tcp.get(offset.max(TCP)..)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses and ports swapped: what the peer would send, with sums that stay right.
    fn swapped(frame: &[u8], v6: bool) -> Vec<u8> {
        let mut back = frame.to_vec();
        let (at, len, ports) = if v6 { (22, 16, 54) } else { (26, 4, 34) };
        back[at..at + len].copy_from_slice(&frame[at + len..at + 2 * len]);
        back[at + len..at + 2 * len].copy_from_slice(&frame[at..at + len]);
        back[ports..ports + 2].copy_from_slice(&frame[ports + 2..ports + 4]);
        back[ports + 2..ports + 4].copy_from_slice(&frame[ports..ports + 2]);
        back
    }

    #[test]
    fn what_is_written_is_read_again_with_right_sums() {
        for (source, target) in [
            ("10.1.0.0", "192.0.2.1:80"),
            ("fd00::1:0:0", "[fd00::2]:8080"),
        ] {
            let target: SocketAddr = target.parse().unwrap();
            let template = Template::new([1; 6], [2; 6], source.parse().unwrap(), target);
            for (low, data) in [
                (0x0a01_0005, &b"odd"[..]),
                (0xffff_ffff, b""),
                (7, &[0xff; 1000]),
            ] {
                let segment = Segment {
                    low,
                    port: 54_321,
                    seq: 0xfedc_ba98,
                    ack: 0x8765_4321,
                    flags: flag::ACK | flag::PSH,
                    options: 0,
                    window: 65_535,
                };
                let mut frame = vec![0; template.len(data.len())];
                template.write(&mut frame, segment, data, sum(data));
                if target.is_ipv4() {
                    assert_eq!(fold(sum(&frame[14..34])), 0xffff, "IPv4 header");
                }
                // As short frames arrive.
                frame.extend([0; 6]);
                let back = swapped(&frame, target.is_ipv6());
                let read = parse(&back, true).expect("a right checksum");
                assert_eq!((read.low, read.port), (low, 54_321));
                assert_eq!((read.seq, read.ack), (segment.seq, segment.ack));
                assert_eq!((read.window, read.data), (65_535, data));
                assert!(read.has(flag::ACK | flag::PSH) && !read.has(flag::SYN));
                let mut damaged = back.clone();
                damaged[40] ^= 4;
                assert!(parse(&damaged, false).is_some());
                assert!(parse(&damaged, true).is_none());
            }
        }
    }

    #[test]
    fn what_is_not_tcp_is_not_read() {
        for (target, protocol) in [("192.0.2.1:80", 23), ("[fd00::2]:80", 20)] {
            let target: SocketAddr = target.parse().unwrap();
            let source = if target.is_ipv4() {
                "10.1.0.0"
            } else {
                "fd00::"
            };
            let template = Template::new([1; 6], [2; 6], source.parse().unwrap(), target);
            let segment = Segment {
                low: 1,
                port: 2,
                seq: 3,
                ack: 4,
                flags: flag::ACK,
                options: 0,
                window: 5,
            };
            let mut frame = vec![0; template.len(0)];
            template.write(&mut frame, segment, &[], 0);
            assert!(parse(&frame, true).is_some());
            frame[protocol] = 58;
            assert!(parse(&frame, false).is_none());
        }
    }

    #[test]
    fn frames_cut_anywhere_are_refused() {
        let template = Template::new(
            [1; 6],
            [2; 6],
            [10, 1, 0, 0].into(),
            "192.0.2.1:80".parse().unwrap(),
        );
        let segment = Segment {
            low: 1,
            port: 2,
            seq: 3,
            ack: 4,
            flags: flag::SYN,
            options: 4,
            window: 5,
        };
        let mut frame = vec![0; template.len(4)];
        let options = [2, 4, 5, 180];
        template.write(&mut frame, segment, &options, sum(&options));
        assert!(parse(&frame, true).is_some_and(|read| read.data.is_empty()));
        for len in 0..frame.len() {
            assert!(parse(&frame[..len], false).is_none(), "{len} bytes");
        }
    }
}
