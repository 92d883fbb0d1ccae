//! What the programs and userspace have to agree on: names, keys, values.

/// Name of the XDP program that steers.
pub const XDP_PROGRAM: &str = "sidestep_xdp";
/// Name of the tc classifier that turns what arrives on the injector device into arrivals on the NIC.
pub const INJECT_PROGRAM: &str = "sidestep_inject";

/// Name of the tc classifier that makes the kernel take a connection over.
pub const HANDOFF_PROGRAM: &str = "sidestep_handoff";

/// Hash [`ServiceKey`] → `u32` (any value): the addresses and ports that sidestep answers for. An entry
/// [`ServiceKey::marker`] says that its address has at least one: fragments, which carry no port, are judged by it.
pub const SERVICES: &str = "SERVICES";
/// Array of `u64`, mapped into userspace: for each receive queue [`PLACES`] words with the [`FlowKey::mark`] of a flow that
/// the queue's worker owns, each at its [`FlowKey::place`]; 0 is none. Only a speed-up in front of the kernel's socket
/// table, so losing an entry to another flow is harmless; a wrong one is not: remove what is no longer owned.
pub const FLOWS: &str = "FLOWS";
/// Global of [`XDP_PROGRAM`], `u32`: the places of a queue in [`FLOWS`], of [`flow_places`].
pub const PLACES: &str = "PLACES";

/// Places in [`FLOWS`] for a queue that may have so many connections: one for each, and a power of two. Fewer, and flows
/// of a busy queue push each other out, at the price of a search for a socket with each segment, which waits for memory
/// twice where a million are open; more would not be in the processor's cache. 8 bytes of kernel memory each.
pub fn flow_places(connections: u32) -> u32 {
    // All ports of one peer have places of their own; and 128 MiB are enough for any queue.
    connections
        .clamp(1 << u16::BITS, 1 << 24)
        .next_power_of_two()
}

/// AF_XDP sockets by receive queue. A frame of a queue without one goes to the kernel.
pub const XSKS: &str = "XSKS";
/// Per-CPU array of `u64`, indexed by [`Verdict`](crate::Verdict): frames that met this verdict.
pub const COUNTERS: &str = "COUNTERS";
/// Array of one `u32`: 1 = the workers take new connections; 0, the initial value, leaves them to the kernel.
pub const GATE: &str = "GATE";
/// Array of one `u64`: the NIC's own Ethernet address as a [`Station`]. Initially 0, which no frame is addressed to.
pub const STATION: &str = "STATION";
/// Array of `u64`, mapped into userspace: what has become of the connections on their way to the kernel, each an
/// [`Outcome`](crate::Outcome). Its first word is the table's own number.
pub const OUTCOMES: &str = "OUTCOMES";
/// Global of [`INJECT_PROGRAM`], `u32`: index of the NIC in the network namespace of the injector device.
pub const NIC_IFINDEX: &str = "NIC_IFINDEX";

/// Most entries of [`SERVICES`], markers of addresses included. Bounds what `address = "interface"` may expand to on a
/// host with many addresses: fewer would refuse sane configurations, more buys nothing and costs kernel memory.
pub const MAX_SERVICES: u32 = 4096;

/// Source address of every frame that the daemon injects, "locally administered" so that no vendor's device has it.
///
/// In generic mode an injected frame meets the XDP program again. It is recognised by this address and passed, or it
/// would go round for ever. The kernel's TCP does not look at it.
pub const INJECT_MAC: [u8; 6] = [0x02, b's', b's', b't', b'e', b'p'];

/// The same for a frame that ends in a [`Waybill`](crate::Waybill).
pub const CARRIER_MAC: [u8; 6] = [0x02, b's', b's', b't', b'e', b'P'];

/// What [`INJECT_PROGRAM`] marks (`skb->mark`) a carrier with, and [`HANDOFF_PROGRAM`] knows it by: unlike a source
/// address, it cannot come from the wire. The kernel gets the carrier without it.
pub const CARRIER_MARK: u32 = 0x5d00_0002;

/// An Ethernet address as a number below 2^48, its first byte the most significant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Station(pub u64);

impl Station {
    /// The address with these bytes.
    pub const fn new(o: [u8; 6]) -> Self {
        Self::from_halves([
            u16::from_be_bytes([o[0], o[1]]),
            u16::from_be_bytes([o[2], o[3]]),
            u16::from_be_bytes([o[4], o[5]]),
        ])
    }

    /// From three big-endian numbers of 16 bits.
    #[inline(always)]
    pub(crate) const fn from_halves(halves: [u16; 3]) -> Self {
        Self((halves[0] as u64) << 32 | (halves[1] as u64) << 16 | halves[2] as u64)
    }
}

/// An IP address in the 128 bits of IPv6, IPv4 as v4-mapped (RFC 4291 2.5.5.2). The words are as they lie in a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(transparent)]
pub struct Addr(pub [u32; 4]);

/// The third word of a v4-mapped address.
const MAPPED: u32 = 0xffff_u32.to_be();

impl Addr {
    /// An IPv4 address, its four bytes as one word as they lie in a packet.
    #[inline(always)]
    pub const fn v4_word(word: u32) -> Self {
        Self([0, 0, MAPPED, word])
    }

    /// An IPv4 address.
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self::v4_word(u32::from_ne_bytes(octets))
    }

    /// An IPv6 address. A v4-mapped one is the IPv4 address.
    pub const fn v6(o: [u8; 16]) -> Self {
        Self([
            u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
            u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
            u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
            u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
        ])
    }

    /// Whether this stands for an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == MAPPED
    }
}

impl From<core::net::IpAddr> for Addr {
    fn from(addr: core::net::IpAddr) -> Self {
        match addr {
            core::net::IpAddr::V4(v4) => Self::v4(v4.octets()),
            core::net::IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }
}

/// Two ports as the first word of a TCP header that the peer sent: source (the peer's), destination (ours).
#[inline(always)]
const fn ports(remote: u16, local: u16) -> u32 {
    let [a, b] = remote.to_be_bytes();
    let [c, d] = local.to_be_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// Any odd number with bits everywhere, to spread others by: this one is the golden ratio's.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
const fn pair(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// A connection's four-tuple. Laid out like the kernel's `bpf_sock_tuple` for IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(C)]
pub struct FlowKey {
    /// The peer's address.
    pub remote: Addr,
    /// Our address.
    pub local: Addr,
    /// The peer's port, then ours, each big-endian.
    pub ports: u32,
}

impl FlowKey {
    /// The flow between `remote` and `local`, ports as numbers.
    pub const fn new(local: Addr, local_port: u16, remote: Addr, remote_port: u16) -> Self {
        Self {
            remote,
            local,
            ports: ports(remote_port, local_port),
        }
    }

    /// The service that this flow is to.
    #[inline(always)]
    pub const fn service(&self) -> ServiceKey {
        let [_, _, c, d] = self.ports.to_ne_bytes();
        ServiceKey::new(self.local, u16::from_be_bytes([c, d]))
    }

    /// What stands for the flow in [`FLOWS`]: one word, so that it is written and read whole. Never 0.
    ///
    /// Of IPv4 flows to the same address of ours no two have the same. With IPv6, or another address, two may by a chance of
    /// one in 2^64: the kernel's one of them then takes the way over the worker, which gives back what it does not know.
    #[inline(always)]
    pub const fn mark(&self) -> u64 {
        let (r, l) = (self.remote.0, self.local.0);
        // IPv4: the peer's address in the upper half, and a constant.
        let remote = pair(r[3], r[2]) ^ pair(r[0], r[1]).wrapping_mul(ODD);
        let local = pair(l[3], l[2]) ^ pair(l[0], l[1]).wrapping_mul(ODD);
        let mark = remote ^ self.ports as u64 ^ local.wrapping_mul(ODD);
        if mark == 0 { 1 } else { mark }
    }

    /// The place of `mark` among the `places` of a queue, a power of two.
    ///
    /// A peer's ports have a run of places, in the order of their numbers and from anywhere on. So connections of one peer
    /// that open one after the other, as those of a proxy do, share cache lines, and no two of one peer a place.
    #[inline(always)]
    pub const fn place(mark: u64, places: u32) -> u32 {
        // The peer's port is the low half of a word read from a packet, in network order.
        let port = (mark as u16).swap_bytes();
        let first = ((mark >> u16::BITS).wrapping_mul(ODD) >> u32::BITS) as u32;
        first.wrapping_add(port as u32) & (places - 1)
    }

    /// The key's bytes as words, in the order of memory.
    pub const fn words(&self) -> [u32; 9] {
        let (r, l) = (self.remote.0, self.local.0);
        [r[0], r[1], r[2], r[3], l[0], l[1], l[2], l[3], self.ports]
    }
}

/// Key of [`SERVICES`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct ServiceKey {
    /// Our address.
    pub addr: Addr,
    /// Our port as a number, or that of a [`marker`](Self::marker). As wide as it is, the key has no padding.
    pub port: u32,
}

impl ServiceKey {
    /// The service at `addr` and `port`.
    #[inline(always)]
    pub const fn new(addr: Addr, port: u16) -> Self {
        Self {
            addr,
            port: port as u32,
        }
    }

    /// In place of a port: what no segment can carry, unlike 0.
    const ANY_PORT: u32 = 1 << 16;

    /// The entry that says that `addr` has a service.
    #[inline(always)]
    pub const fn marker(addr: Addr) -> Self {
        Self {
            addr,
            port: Self::ANY_PORT,
        }
    }

    /// The key's bytes as words, in the order of memory.
    pub const fn words(&self) -> [u32; 5] {
        let a = self.addr.0;
        [a[0], a[1], a[2], a[3], self.port]
    }
}
