//! Answers to ARP requests and IPv6 neighbour solicitations for one address.

use super::segment::{checksum, ethernet, untag};
use crate::net::RAW_MAC;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ETHER_ARP: u16 = 0x0806;
const ETHER_IPV6: u16 = 0x86dd;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// The frame that answers `frame`, when it asks for `addr`.
pub(super) fn answer(frame: &[u8], addr: IpAddr) -> Option<Vec<u8>> {
    let asker: [u8; 6] = frame.get(6..12)?.try_into().ok()?;
    let (_, kind, body) = untag(frame)?;
    match (addr, kind) {
        (IpAddr::V4(addr), ETHER_ARP) => arp_reply(asker, body, addr),
        (IpAddr::V6(addr), ETHER_IPV6) => advertisement(asker, body, addr),
        _ => None,
    }
}

/// RFC 826: sender and target swapped, operation 2.
fn arp_reply(asker: [u8; 6], request: &[u8], addr: Ipv4Addr) -> Option<Vec<u8>> {
    if request.get(..8)? != [0, 1, 8, 0, 6, 4, 0, 1] || request.get(24..28)? != addr.octets() {
        return None;
    }
    let mut frame = [asker, RAW_MAC].concat();
    frame.extend(ETHER_ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend(RAW_MAC);
    frame.extend(addr.octets());
    frame.extend(&request[8..18]);
    Some(frame)
}

/// RFC 4861, 4.4, with the target's link-layer address.
fn advertisement(asker: [u8; 6], packet: &[u8], addr: Ipv6Addr) -> Option<Vec<u8>> {
    if *packet.get(6)? != ICMPV6
        || *packet.get(40)? != SOLICITATION
        || packet.get(48..64)? != addr.octets()
    {
        return None;
    }
    let solicitor = &packet[8..24];
    let mut icmp = vec![ADVERTISEMENT, 0, 0, 0];
    // Solicited, override.
    icmp.extend([0x60, 0, 0, 0]);
    icmp.extend(addr.octets());
    icmp.extend([2, 1]);
    icmp.extend(RAW_MAC);
    let mut pseudo = addr.octets().to_vec();
    pseudo.extend(solicitor);
    pseudo.extend([0, 0, 0, icmp.len() as u8, 0, 0, 0, ICMPV6]);
    let sum = checksum(&[&pseudo, &icmp]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    // Hop limit 255 proves that it did not cross a router.
    let mut reply = vec![0x60, 0, 0, 0, 0, icmp.len() as u8, ICMPV6, 255];
    reply.extend(addr.octets());
    reply.extend(solicitor);
    reply.extend(&icmp);
    Some(ethernet(asker, RAW_MAC, &[], &reply))
}
