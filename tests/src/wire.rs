//! A wire between two hosts that hands frames over as the driver of a NIC does.
//!
//! A driver receives a frame into a page that has room in front of it, and shows XDP that page. A veth is given an skb by
//! whoever sends, and has to copy it into such a page first when there is an XDP program: the sender's way of sending is paid
//! for by the one who receives. So between the hosts there are two veth pairs, and on their inner ends an XDP program that
//! redirects each frame to the other one. The copy is made there, and a host is given the page (`ndo_xdp_xmit`): its XDP program
//! sees that without a copy, and for its kernel's sockets an skb is built around it, as drivers do.
//!
//! It is no NIC: there is no DMA, no interrupt, and a sender's skb is freed by the wire.

use crate::net::Namespace;
use aya::Ebpf;
use aya::maps::DevMap;
use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use xdp_prog::{WIRE_DEVICE, WIRE_OBJECT, WIRE_PROGRAM};

/// See the module. Dropping it takes the programs from its devices; then nothing goes on.
pub struct Wire {
    _ways: [Ebpf; 2],
}

impl Wire {
    /// Joins two devices of the namespace `middle`, whose other ends are the NICs of `hosts`.
    pub(crate) fn start(
        middle: &Namespace,
        devices: [&str; 2],
        hosts: [(&Namespace, &str); 2],
    ) -> Self {
        // A veth takes redirected frames only with NAPI: where an XDP program is, or GRO is on. Without, it would drop all that
        // come to a host without a program.
        for (host, device) in hosts {
            host.must(&["ethtool", "-K", device, "gro", "on"]);
        }
        let [a, b] = devices;
        let ways = middle.enter(|| [way(a, b), way(b, a)]);
        Self { _ways: ways }
    }
}

/// One direction. Both devices have to be in the namespace of the caller.
fn way(from: &str, to: &str) -> Ebpf {
    attached(from, to).unwrap_or_else(|error| panic!("no wire from {from} to {to}: {error}"))
}

fn attached(from: &str, to: &str) -> Result<Ebpf, Box<dyn std::error::Error>> {
    let index = nix::net::if_::if_nametoindex(to)?;
    let mut ebpf = Ebpf::load(WIRE_OBJECT)?;
    let map = ebpf.map_mut(WIRE_DEVICE).ok_or("no such map")?;
    DevMap::try_from(map)?.set(0, index, None, 0)?;
    let program = ebpf.program_mut(WIRE_PROGRAM).ok_or("no such program")?;
    let program: &mut Xdp = program.try_into()?;
    program.load()?;
    // In the driver: the generic way has no page to give on, and would make skbs again.
    program.attach(from, XdpMode::Driver)?;
    Ok(ebpf)
}
