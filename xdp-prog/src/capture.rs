//! Which frames a tool that brings a TCP of its own takes from the kernel: `sidestep-bench load` and `reflect`.
//!
//! Not part of sidestep: an object of its own holds the program (`src/capture_main.rs`), so that the daemon's stays as
//! it is.

use crate::Cursor;

/// Name of the XDP program.
pub const CAPTURE_PROGRAM: &str = "bench_xdp";
/// AF_XDP sockets by receive queue.
pub const CAPTURE_XSKS: &str = "BENCH_XSKS";
/// Array of one [`Capture`].
pub const CAPTURE_RULE: &str = "BENCH_RULE";

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERNET: u32 = 14;
const IPV4: u32 = 20;
const IPV6: u32 = 40;
const PROTOCOL_TCP: u16 = 6;
const PROTOCOL_ICMPV6: u16 = 58;
/// Version 4, five words of header.
const V4_PLAIN: u16 = 0x45;
/// "More fragments" and the offset of the fragment (RFC 791 3.1).
const V4_FRAGMENT: u16 = 0x3fff;
/// RFC 826: a request.
const ARP_REQUEST: u16 = 1;
/// RFC 4861 4.3: a neighbour solicitation, code 0.
const NEIGHBOUR_SOLICITATION: u16 = 135 << 8;

/// The rule: addresses and ports under their masks. Words are as they lie in a packet, IPv4 addresses v4-mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Capture {
    /// The tool's own addresses: destinations of what it takes.
    pub local: [u32; 4],
    /// Bits of [`Self::local`] that count.
    pub local_mask: [u32; 4],
    /// The peer's address.
    pub remote: [u32; 4],
    /// Bits of [`Self::remote`] that count.
    pub remote_mask: [u32; 4],
    /// The first word of a TCP header: the peer's port, then the tool's.
    pub ports: u32,
    /// Bits of [`Self::ports`] that count.
    pub ports_mask: u32,
    /// Not 0: questions of neighbours for an address of [`Self::local`] are the tool's, too.
    pub neighbours: u32,
}

impl Capture {
    /// How many words it has.
    pub const WORDS: usize = size_of::<Self>() / size_of::<u32>();

    /// Its words in the order of memory.
    pub fn words(&self) -> [u32; Self::WORDS] {
        let mut words = [0; Self::WORDS];
        let parts = [self.local, self.local_mask, self.remote, self.remote_mask];
        for (to, from) in words.iter_mut().zip(parts.iter().flatten()) {
            *to = *from;
        }
        words[16] = self.ports;
        words[17] = self.ports_mask;
        words[18] = self.neighbours;
        words
    }

    /// Whether the tool takes the Ethernet frame. What has VLAN tags, IP options, extension headers or is a fragment
    /// is the kernel's.
    #[inline(always)]
    pub fn takes<C: Cursor>(&self, frame: C) -> bool {
        let Some([.., ethertype]) = frame.halves::<7>() else {
            return false;
        };
        let packet = frame.skip(ETHERNET);
        match ethertype {
            ETHERTYPE_IPV4 => self.takes_v4(packet),
            ETHERTYPE_IPV6 => self.takes_v6(packet),
            ETHERTYPE_ARP => self.takes_arp(packet),
            _ => false,
        }
    }

    #[inline(always)]
    fn takes_v4<C: Cursor>(&self, packet: C) -> bool {
        let Some([version, _, _, fragment, protocol]) = packet.halves::<5>() else {
            return false;
        };
        let Some([source, destination]) = packet.skip(12).words::<2>() else {
            return false;
        };
        version >> 8 == V4_PLAIN
            && fragment & V4_FRAGMENT == 0
            && protocol & 0xff == PROTOCOL_TCP
            && under(mapped(source), self.remote, self.remote_mask)
            && under(mapped(destination), self.local, self.local_mask)
            && self.takes_ports(packet.skip(IPV4))
    }

    #[inline(always)]
    fn takes_v6<C: Cursor>(&self, packet: C) -> bool {
        let Some([_, _, _, protocol]) = packet.halves::<4>() else {
            return false;
        };
        if protocol >> 8 == PROTOCOL_ICMPV6 {
            let message = packet.skip(IPV6);
            let Some([kind]) = message.halves::<1>() else {
                return false;
            };
            let Some(wanted) = message.skip(8).words::<4>() else {
                return false;
            };
            return kind == NEIGHBOUR_SOLICITATION && self.takes_neighbour(wanted);
        }
        let Some([a, b, c, d, e, f, g, h]) = packet.skip(8).words::<8>() else {
            return false;
        };
        protocol >> 8 == PROTOCOL_TCP
            && under([a, b, c, d], self.remote, self.remote_mask)
            && under([e, f, g, h], self.local, self.local_mask)
            && self.takes_ports(packet.skip(IPV6))
    }

    #[inline(always)]
    fn takes_arp<C: Cursor>(&self, packet: C) -> bool {
        let Some([_, protocol, _, operation]) = packet.halves::<4>() else {
            return false;
        };
        let Some([wanted]) = packet.skip(24).words::<1>() else {
            return false;
        };
        protocol == ETHERTYPE_IPV4
            && operation == ARP_REQUEST
            && self.takes_neighbour(mapped(wanted))
    }

    #[inline(always)]
    fn takes_neighbour(&self, wanted: [u32; 4]) -> bool {
        self.neighbours != 0 && under(wanted, self.local, self.local_mask)
    }

    #[inline(always)]
    fn takes_ports<C: Cursor>(&self, segment: C) -> bool {
        segment
            .words::<1>()
            .is_some_and(|[ports]| ports & self.ports_mask == self.ports)
    }
}

#[inline(always)]
fn mapped(word: u32) -> [u32; 4] {
    crate::Addr::v4_word(word).0
}

#[inline(always)]
fn under(address: [u32; 4], wanted: [u32; 4], mask: [u32; 4]) -> bool {
    let [a, b, c, d] = address;
    let [e, f, g, h] = wanted;
    let [i, j, k, l] = mask;
    ((a & i) ^ e) | ((b & j) ^ f) | ((c & k) ^ g) | ((d & l) ^ h) == 0
}

#[cfg(test)]
mod tests;
