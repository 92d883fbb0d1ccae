//! Who talks to whom: addresses, endpoints, flows.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 or IPv6 address; IPv4 is kept v4-mapped (`::ffff:a.b.c.d`), so both compare and hash alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Addr([u8; 16]);

const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl Addr {
    /// An IPv4 address.
    #[must_use]
    pub const fn v4(a: [u8; 4]) -> Addr {
        Addr([
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3],
        ])
    }

    /// An IPv6 address. A v4-mapped one becomes the IPv4 address; no packet may carry one on the wire
    /// (RFC 4291 section 2.5.5.2), so drop such packets before they get here.
    #[must_use]
    pub const fn v6(a: [u8; 16]) -> Addr {
        Addr(a)
    }

    /// Is this an IPv4 address?
    #[must_use]
    pub fn is_v4(&self) -> bool {
        self.0[..12] == V4_MAPPED
    }

    /// The four bytes of an IPv4 address.
    #[must_use]
    pub fn to_v4(&self) -> Option<[u8; 4]> {
        self.is_v4()
            .then(|| [self.0[12], self.0[13], self.0[14], self.0[15]])
    }

    /// All sixteen bytes, IPv4 as v4-mapped.
    #[must_use]
    pub const fn octets(&self) -> &[u8; 16] {
        &self.0
    }

    /// Both halves as numbers; the first is 0 for IPv4.
    #[inline]
    pub(crate) fn halves(&self) -> (u64, u64) {
        let whole = u128::from_be_bytes(self.0);
        ((whole >> 64) as u64, whole as u64)
    }

    /// Can a TCP peer have this address? Not unspecified, loopback, multicast or broadcast (RFC 1122 section 3.2.1.3,
    /// RFC 9293 MUST-63, RFC 4291 section 2.7).
    #[must_use]
    pub fn is_unicast(&self) -> bool {
        match IpAddr::from(*self) {
            IpAddr::V4(a) => {
                let [first, ..] = a.octets();
                !(first == 0
                    || first == 127
                    || first >= 224 && !(240..255).contains(&first)
                    || a.is_broadcast())
            }
            IpAddr::V6(a) => !(a.is_unspecified() || a.is_loopback() || a.is_multicast()),
        }
    }
}

impl From<IpAddr> for Addr {
    fn from(a: IpAddr) -> Addr {
        match a {
            IpAddr::V4(a) => Addr::v4(a.octets()),
            IpAddr::V6(a) => Addr::v6(a.octets()),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(a: Addr) -> IpAddr {
        match a.to_v4() {
            Some(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
            None => IpAddr::V6(Ipv6Addr::from(a.0)),
        }
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

/// An address and a port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    /// The IP address.
    pub addr: Addr,
    /// The TCP port.
    pub port: u16,
}

/// A connection's two ends, seen from this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// Our end: a received segment's destination.
    pub local: Endpoint,
    /// The peer's end: a received segment's source.
    pub remote: Endpoint,
}

impl Flow {
    /// Is this flow IPv4?
    #[must_use]
    pub fn is_v4(&self) -> bool {
        self.remote.addr.is_v4()
    }

    /// Bytes of an IP header without options plus a TCP header without options.
    pub(crate) fn header_len(&self) -> u16 {
        if self.is_v4() { 20 + 20 } else { 40 + 20 }
    }

    /// Could a real peer have sent this? Both addresses are unicast and differ, and the peer's port is not 0.
    pub(crate) fn is_plausible(&self) -> bool {
        self.remote.addr.is_unicast()
            && self.local.addr.is_unicast()
            && self.remote.addr != self.local.addr
            && self.remote.port != 0
    }
}

/// In one piece, IPv4 without what is the same in all its addresses: every segment is looked up by this.
impl Hash for Flow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Flow { local, remote } = self;
        let (to, from) = (local.port.to_be_bytes(), remote.port.to_be_bytes());
        if let (Some(ours), Some(theirs)) = (local.addr.to_v4(), remote.addr.to_v4()) {
            let mut buf = [0; 12];
            buf[..4].copy_from_slice(&ours);
            buf[4..8].copy_from_slice(&theirs);
            buf[8..10].copy_from_slice(&to);
            buf[10..].copy_from_slice(&from);
            state.write(&buf);
        } else {
            let mut buf = [0; 36];
            buf[..16].copy_from_slice(&local.addr.0);
            buf[16..32].copy_from_slice(&remote.addr.0);
            buf[32..34].copy_from_slice(&to);
            buf[34..].copy_from_slice(&from);
            state.write(&buf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Addr, IpAddr};

    #[test]
    fn only_unicast_addresses_can_be_peers() {
        for (text, ok) in [
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("127.0.0.1", false),
            ("224.0.0.1", false),
            ("239.255.255.255", false),
            ("255.255.255.255", false),
            ("10.0.0.1", true),
            ("192.0.2.255", true),
            ("240.0.0.1", true),
            ("::", false),
            ("::1", false),
            ("ff02::1", false),
            ("fe80::1", true),
            ("fd00::1", true),
        ] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(Addr::from(ip).is_unicast(), ok, "{text}");
            assert_eq!(IpAddr::from(Addr::from(ip)), ip);
            assert_eq!(Addr::from(ip).is_v4(), ip.is_ipv4());
        }
    }
}
