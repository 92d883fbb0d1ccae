//! What nearly every frame is: a whole TCP segment, right behind an Ethernet and an IP header without tags and options.

use super::Link;
use super::parse::flow;
use tcp_lite::wire::Sum;
use tcp_lite::{Addr, Arrival, Ecn, Flow};

/// TCP's protocol number.
const TCP: u8 = 6;

/// Gives `take` the segment in such a frame, where it is built: to hand it on would be to copy it. `None`: it is another
/// frame, or a wrong one, and [`super::parse`] has to say what it is.
#[inline(always)]
pub fn plain<R>(frame: &[u8], take: impl FnOnce(&Arrival<'_, Link>) -> R) -> Option<R> {
    // Each in a branch of its own: where they meet, an address would be put together byte by byte.
    match ipv4(frame) {
        Some(segment) => Some(take(&segment)),
        None => ipv6(frame).map(|segment| take(&segment)),
    }
}

/// The flow that such a frame is of, if it is right: nothing is checked.
#[inline]
pub fn glimpse(frame: &[u8]) -> Option<Flow> {
    let (ethernet, packet) = frame.split_first_chunk::<14>()?;
    match ethernet[12..] {
        [0x08, 0x00] => {
            let (header, segment) = packet.split_first_chunk::<20>()?;
            let [.., a, b, c, d, e, f, g, h] = *header;
            flow(Addr::v4([e, f, g, h]), Addr::v4([a, b, c, d]), segment)
        }
        [0x86, 0xdd] => {
            let (header, segment) = packet.split_first_chunk::<40>()?;
            let (source, destination) = header[8..].split_first_chunk::<16>()?;
            let destination = destination.first_chunk::<16>()?;
            flow(Addr::v6(*destination), Addr::v6(*source), segment)
        }
        _ => None,
    }
}

/// RFC 791 without options; neither a fragment nor with more of them behind it.
#[inline(always)]
fn ipv4(frame: &[u8]) -> Option<Arrival<'_, Link>> {
    let (headers, rest) = frame.split_first_chunk::<34>()?;
    let (ethernet, header) = headers.split_first_chunk::<14>()?;
    let header = header.first_chunk::<20>()?;
    let link = Link::answering_untagged(ethernet, false)?;
    let [
        version,
        tos,
        hi,
        lo,
        _,
        _,
        part,
        part_lo,
        _,
        protocol,
        _,
        _,
        addresses @ ..,
    ] = *header;
    let is_part = u16::from_be_bytes([part, part_lo]) & 0x3fff != 0;
    if version != 0x45 || protocol != TCP || is_part || Sum::of_array(header).finish() != 0 {
        return None;
    }
    let len = usize::from(u16::from_be_bytes([hi, lo])).checked_sub(20)?;
    let bytes = rest.get(..len)?;
    let [a, b, c, d, e, f, g, h] = addresses;
    Some(Arrival {
        flow: flow(Addr::v4([e, f, g, h]), Addr::v4([a, b, c, d]), bytes)?,
        link,
        ecn: Ecn::from_bits(tos),
        bytes,
    })
}

/// RFC 8200 without extension headers.
#[inline(never)]
fn ipv6(frame: &[u8]) -> Option<Arrival<'_, Link>> {
    let (ethernet, packet) = frame.split_first_chunk::<14>()?;
    let link = Link::answering_untagged(ethernet, true)?;
    let (header, rest) = packet.split_first_chunk::<40>()?;
    let [version, class, _, _, hi, lo, next, _, addresses @ ..] = header;
    if version >> 4 != 6 || *next != TCP {
        return None;
    }
    let bytes = rest.get(..usize::from(u16::from_be_bytes([*hi, *lo])))?;
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    let source = Addr::v6(*source);
    let destination = Addr::v6(*destination.first_chunk::<16>()?);
    if source.is_v4() || destination.is_v4() {
        return None;
    }
    Some(Arrival {
        flow: flow(destination, source, bytes)?,
        link,
        ecn: Ecn::from_bits(class >> 4),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::{glimpse, plain};
    use crate::net::{Link, Packet, from_peer, parse};
    use tcp_lite::wire::{Flags, Header, Options};
    use tcp_lite::{Addr, Endpoint, Flow, SeqNum};

    fn frame(local: Addr, remote: Addr) -> Vec<u8> {
        let kind = if local.is_v4() {
            [0x08, 0x00]
        } else {
            [0x86, 0xdd]
        };
        let mut ethernet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        ethernet.extend_from_slice(&kind);
        let (link, _) = Link::answering(&ethernet).expect("well-formed");
        let header = Header {
            seq: SeqNum(7),
            ack: SeqNum(9),
            flags: Flags::ACK,
            window: 100,
            options: Options::default(),
        };
        let flow = Flow {
            local: Endpoint {
                addr: local,
                port: 80,
            },
            remote: Endpoint {
                addr: remote,
                port: 4242,
            },
        };
        from_peer(&flow, &link, &header, b"GET / HTTP/1.1")
    }

    /// Whatever stands in a frame: what this says of it, `parse` says as well.
    #[test]
    fn agrees_with_the_general_parser() {
        let mut v6 = [0x20; 16];
        v6[15] = 1;
        let mut other = v6;
        other[15] = 2;
        let frames = [
            frame(Addr::v4([192, 0, 2, 1]), Addr::v4([198, 51, 100, 7])),
            frame(Addr::v6(v6), Addr::v6(other)),
        ];
        let mut seen = 0;
        let mut compare = |frame: &[u8]| {
            let Some(found) = plain(frame, |segment| format!("{segment:?}")) else {
                return;
            };
            seen += 1;
            match parse(frame) {
                Ok(Packet::Segment(segment)) => assert_eq!(found, format!("{segment:?}")),
                other => panic!("{frame:x?}: {other:?}"),
            }
        };
        for frame in &frames {
            assert_eq!(glimpse(frame), plain(frame, |segment| segment.flow));
            assert!(plain(frame, |_| ()).is_some());
            for len in 0..=frame.len() {
                compare(&frame[..len]);
            }
            // Padding, as short frames have it.
            let mut padded = frame.clone();
            padded.extend_from_slice(&[0; 9]);
            compare(&padded);
            for at in 0..frame.len() {
                for byte in 0..=255 {
                    let mut changed = frame.clone();
                    changed[at] = byte;
                    if (14..34).contains(&at) && frame[14] == 0x45 {
                        // With the checksum that it would have, so that more than the checksum is looked at.
                        changed[24..26].fill(0);
                        let sum = tcp_lite::wire::Sum::of(&changed[14..34]).finish();
                        changed[24..26].copy_from_slice(&sum.to_be_bytes());
                    }
                    compare(&changed);
                }
            }
        }
        assert!(seen > 1000, "{seen}");
    }
}
