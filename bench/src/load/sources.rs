//! Which address and ports each connection has, and back.
//!
//! Addresses and ports are counted through, so that a connection's number is found from a frame by arithmetic alone:
//! connection `i` is on the address `i / slots` of the prefix and on one of the ports that leave the remainder
//! `i % slots`. It moves on to the next of these ports each time it is opened again, so that what is still under way
//! for its predecessor does not meet it.

use anyhow::{Result, bail, ensure};
use std::net::IpAddr;

/// The first port: below, servers live and firewalls look twice.
const FIRST_PORT: u32 = 1024;
/// Ports of an address.
const PORTS: u32 = 65_536 - FIRST_PORT;
/// Connections that share an address as long as there are more addresses: a quarter of its ports, so that each can be
/// opened some times before a port comes again. Fewer would need more addresses, each a neighbour of the peer's kernel.
const USUAL: u32 = PORTS / 4;

/// Addresses of the generator: `address/length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// One address.
    pub(crate) fn only(address: IpAddr) -> Self {
        let length = if address.is_ipv4() { 32 } else { 128 };
        Self { address, length }
    }

    /// Bits that tell the addresses of the prefix apart.
    fn host_bits(self) -> u32 {
        let all = if self.address.is_ipv4() { 32 } else { 128 };
        all - u32::from(self.length)
    }

    /// Whether it has `address`.
    pub(crate) fn has(self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let differ = bits(address) ^ bits(self.address);
        address.is_ipv4() == self.address.is_ipv4()
            && differ.checked_shr(self.host_bits()).unwrap_or(0) == 0
    }

    /// Its first address.
    pub(crate) fn address(self) -> IpAddr {
        self.address
    }

    /// How many leading bits its addresses share.
    pub(crate) fn length(self) -> u8 {
        self.length
    }
}

impl std::str::FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address or a prefix like 10.64.0.0/10");
        let (address, length) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let mut prefix = Self::only(address);
        if !length.is_empty() {
            let length = length.parse().map_err(|_| wrong())?;
            if length > prefix.length {
                return Err(wrong());
            }
            prefix.length = length;
        }
        let bits = prefix.host_bits();
        let last = match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        if bits < 128 && last & ((1_u128 << bits) - 1) != 0 || bits == 128 {
            return Err(format!("`{text}` has bits behind its prefix length"));
        }
        Ok(prefix)
    }
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources {
    first: IpAddr,
    /// The last four bytes of the first address used.
    low: u32,
    slots: u32,
    count: u32,
}

impl Sources {
    /// `count` connections on `prefix`.
    ///
    /// # Errors
    /// There are not so many addresses and ports.
    pub(crate) fn new(prefix: Prefix, count: u32) -> Result<Self> {
        ensure!(count > 0, "no connections: --connections is at least 1");
        let bits = prefix.host_bits();
        // The first and the last address of an IPv4 network stand for itself and for all; no harm to do without
        // them in IPv6. Not more than 2^24 addresses are ever used.
        let usable = match bits {
            0 => 1,
            1 => 2,
            _ => (1_u32 << bits.min(24)) - 2,
        };
        if u64::from(count) > u64::from(usable) * u64::from(PORTS) {
            bail!(
                "{count} connections need {} addresses, and {}/{} has {usable}\n  \
                 help: give a larger prefix by --sources",
                count.div_ceil(PORTS),
                prefix.address,
                prefix.length
            );
        }
        let slots = count.div_ceil(usable).max(USUAL.min(count));
        let first = match prefix.address {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() + u32::from(bits > 1)).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() + u128::from(bits > 1)).into()),
        };
        let low = match first {
            IpAddr::V4(v4) => v4.to_bits(),
            IpAddr::V6(v6) => v6.to_bits() as u32,
        };
        Ok(Self {
            first,
            low,
            slots,
            count,
        })
    }

    /// The first address.
    pub(crate) fn first(&self) -> IpAddr {
        self.first
    }

    /// How many addresses are used.
    #[cfg(test)]
    fn addresses(&self) -> u32 {
        self.count.div_ceil(self.slots)
    }

    /// The last four bytes of the address of connection `index`.
    #[inline]
    pub(crate) fn low(&self, index: u32) -> u32 {
        self.low + index / self.slots
    }

    /// The port that connection `index` begins with.
    pub(crate) fn port(&self, index: u32) -> u16 {
        (FIRST_PORT + index % self.slots) as u16
    }

    /// The port of the same connection that comes after `port`.
    pub(crate) fn next_port(&self, port: u16) -> u16 {
        let place = u32::from(port) - FIRST_PORT;
        let next = place + self.slots;
        let next = if next < PORTS {
            next
        } else {
            place % self.slots
        };
        (FIRST_PORT + next) as u16
    }

    /// The connection to whose address and port something was sent.
    #[inline]
    pub(crate) fn index(&self, low: u32, port: u16) -> Option<u32> {
        let address = low.wrapping_sub(self.low);
        let place = u32::from(port).checked_sub(FIRST_PORT)?;
        let index = address.checked_mul(self.slots)? + place % self.slots;
        (index < self.count).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn every_connection_is_found_by_each_of_its_ports() {
        for (text, count) in [
            ("10.0.0.7", 1),
            ("10.0.0.7", 64_512),
            ("10.64.0.0/30", 100_000),
            ("10.64.0.0/10", 100_000),
            ("fd00::/64", 40_000),
        ] {
            let sources = Sources::new(prefix(text), count).unwrap();
            let mut seen = HashSet::new();
            for index in 0..count {
                let mut port = sources.port(index);
                for _ in 0..5 {
                    let low = sources.low(index);
                    assert_eq!(sources.index(low, port), Some(index), "{text} {count}");
                    seen.insert((low, port));
                    port = sources.next_port(port);
                }
            }
            assert!(seen.len() >= count as usize, "{text} {count}");
        }
    }

    #[test]
    fn a_port_comes_again_only_after_all_others_of_its_connection() {
        let sources = Sources::new(prefix("10.0.0.0/8"), 100).unwrap();
        let mut ports = HashSet::new();
        let mut port = sources.port(42);
        while ports.insert(port) {
            port = sources.next_port(port);
        }
        assert_eq!(port, sources.port(42));
        assert!(ports.len() >= 645, "{}", ports.len());
    }

    #[test]
    fn what_is_for_nobody_finds_nobody() {
        let sources = Sources::new(prefix("10.0.0.0/24"), 20_000).unwrap();
        assert_eq!(sources.addresses(), 2);
        let low = sources.low(0);
        for (low, port) in [
            (low - 1, 2000),
            (low + 2, 2000),
            (low + 1, 1024 + 16_000),
            (low, 80),
            (0, 2000),
            (u32::MAX, 2000),
        ] {
            assert_eq!(sources.index(low, port), None, "{low} {port}");
        }
    }

    #[test]
    fn a_prefix_that_is_none_or_too_small_is_refused() {
        for text in [
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0",
            "10.0.0.0/x",
            "::/0",
            "fd00::/129",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        let error = Sources::new(prefix("10.0.0.1"), 70_000).unwrap_err();
        assert!(error.to_string().contains("need 2 addresses"), "{error}");
        assert!(prefix("10.0.0.0/8").has("10.9.9.9".parse().unwrap()));
        assert!(!prefix("10.0.0.0/8").has("11.9.9.9".parse().unwrap()));
        assert!(!prefix("10.0.0.0/8").has("::1".parse().unwrap()));
    }
}
