//! The rules of steering.

use crate::headers::{By, Found, destination, find, is_injected};
use crate::{Cursor, FlowKey, ServiceKey, Station, Verdict};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The questions about the machine that the rules ask.
pub trait Lookup {
    /// Whether this is the NIC's own Ethernet address.
    fn is_station(&self, station: Station) -> bool;
    /// Whether [`SERVICES`](crate::SERVICES) has this key.
    fn is_service(&self, key: &ServiceKey) -> bool;
    /// Whether [`FLOWS`](crate::FLOWS) has this flow, among those of the queue that the frame came from.
    fn is_own_flow(&self, key: &FlowKey) -> bool;
    /// Whether the kernel has a socket other than a listener for this four-tuple: it owns the connection.
    fn is_kernel_flow(&self, key: &FlowKey) -> bool;
    /// Whether new connections are taken.
    fn gate_is_open(&self) -> bool;
}

/// Decides what becomes of an Ethernet frame. The first rule that holds decides:
///
/// 0. The daemon injected it → the kernel.
/// 1. Neither TCP over IP, behind at most two VLAN tags, nor an ICMP message about the path MTU that quotes TCP → the
///    kernel. Fragments of TCP are the worker's, which reassembles, if their address has a service.
/// 2. Not addressed to the NIC (a group's, or another station's that a promiscuous NIC or a mirror port lets us see) → the
///    kernel.
/// 3. Of a flow that a worker has registered → the worker.
/// 4. To no service → the kernel.
/// 5. Of a flow that the kernel has a socket for, listeners apart → the kernel.
/// 6. A SYN while the gate is closed → the kernel.
/// 7. Else → the worker.
///
/// For an ICMP message, 3 to 5 are about the flow of the segment it quotes.
///
/// The kernel's own socket table is the only truth about what the kernel owns: it is asked for every segment that no
/// worker has registered, so connections older than the attach live on. A worker gives what it does not know back.
#[inline(always)]
pub fn decide<C: Cursor>(frame: C, lookup: &impl Lookup) -> Verdict {
    if is_injected(frame) {
        return Verdict::PassInjected;
    }
    let found = find(frame);
    if found.is_ok() && !destination(frame).is_some_and(|station| lookup.is_station(station)) {
        return Verdict::PassOtherStation;
    }
    let (flow, by) = match found {
        Err(verdict) => return verdict,
        Ok(Found::Fragment { local }) => {
            return if lookup.is_service(&ServiceKey::marker(local)) {
                Verdict::XskFragment
            } else {
                Verdict::PassNotService
            };
        }
        Ok(Found::Flow { flow, by }) => (flow, by),
    };
    match (owner(&flow, lookup), by) {
        (Verdict::XskFlow | Verdict::XskOther, By::PathMtu) => Verdict::XskIcmp,
        (Verdict::XskOther, By::Segment { flags })
            if flags & (FIN | SYN | RST | ACK) == SYN && !lookup.gate_is_open() =>
        {
            Verdict::PassGateClosed
        }
        (verdict, _) => verdict,
    }
}

/// Rules 3 to 5, and 7 for what they leave.
#[inline(always)]
fn owner(flow: &FlowKey, lookup: &impl Lookup) -> Verdict {
    if lookup.is_own_flow(flow) {
        Verdict::XskFlow
    } else if !lookup.is_service(&flow.service()) {
        Verdict::PassNotService
    } else if lookup.is_kernel_flow(flow) {
        Verdict::PassKernelFlow
    } else {
        Verdict::XskOther
    }
}

#[cfg(test)]
pub(crate) mod tests;
