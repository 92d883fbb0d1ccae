//! Chooses between the kernel's own way and the proxy, connection by connection.

use std::collections::{HashMap, HashSet};
use std::io;

use tcp_lite::{Endpoint, Flow};

use super::diag::Match;
use super::{Handoff, KernelHandoff, ProxyHandoff, Standing, Ticket};

/// The least MSS that the kernel's own way takes (`bpf_sk_assign_tcp_reqsk`): RFC 1122's default for IPv4, and what
/// the least MTU of IPv6 leaves.
const LEAST_MSS: [u16; 2] = [536, 1220];

/// The kernel's own way, and the proxy for what cannot go that way.
#[derive(Debug)]
pub struct Ways {
    kernel: KernelHandoff,
    proxy: ProxyHandoff,
    /// Services whose listener does not take connections the kernel's way, as last seen: it speaks MPTCP.
    by_proxy: HashSet<Endpoint>,
    /// Flows under way, and how: what was offered once goes no other way, or there could be two connections.
    offered: HashMap<Flow, Way>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Kernel,
    Proxy,
}

impl Ways {
    /// Both ways of one worker.
    pub fn new(kernel: KernelHandoff, proxy: ProxyHandoff) -> Self {
        Self {
            kernel,
            proxy,
            by_proxy: HashSet::new(),
            offered: HashMap::new(),
        }
    }
}

impl Handoff for Ways {
    fn offer(&mut self, ticket: &Ticket) -> io::Result<Standing> {
        let flow = &ticket.flow;
        let [v4, v6] = LEAST_MSS;
        let fits = ticket.mss >= if flow.is_v4() { v4 } else { v6 };
        match self.offered.get(flow) {
            Some(Way::Kernel) => return self.kernel.offer(ticket),
            Some(Way::Proxy) => return self.proxy.offer(ticket),
            None => {}
        }
        if fits
            && !self.by_proxy.contains(&flow.local)
            && let Ok(standing) = self.kernel.offer(ticket)
        {
            self.offered.insert(*flow, Way::Kernel);
            return Ok(standing);
        }
        let standing = self.proxy.offer(ticket)?;
        self.offered.insert(*flow, Way::Proxy);
        Ok(standing)
    }

    fn label(&self, ticket: &Ticket, carrier: &mut Vec<u8>) {
        match self.offered.get(&ticket.flow) {
            Some(Way::Kernel) => self.kernel.label(ticket, carrier),
            Some(Way::Proxy) => self.proxy.label(ticket, carrier),
            None => {}
        }
    }

    fn standing(&mut self, flow: &Flow) -> Standing {
        match self.offered.get(flow) {
            Some(Way::Kernel) => match self.kernel.standing(flow) {
                // No socket was made of it, and none will be: the listener was another one when it was asked for last,
                // or what was agreed on with the client was turned off since.
                Standing::Refused(_) => {
                    self.kernel.forget(flow);
                    self.offered.remove(flow);
                    self.by_proxy.insert(flow.local);
                    Standing::Waits
                }
                standing => standing,
            },
            Some(Way::Proxy) => self.proxy.standing(flow),
            None => Standing::Pending,
        }
    }

    fn forget(&mut self, flow: &Flow) {
        match self.offered.remove(flow) {
            Some(Way::Kernel) => self.kernel.forget(flow),
            Some(Way::Proxy) => self.proxy.forget(flow),
            None => {}
        }
    }

    fn outlives_us(&self, local: &Endpoint) -> bool {
        !self.by_proxy.contains(local)
    }

    fn listens(&mut self, local: &Endpoint) -> bool {
        match self.kernel.listener(local) {
            Match::Listener { mptcp: true } => {
                self.by_proxy.insert(*local);
                true
            }
            found => {
                self.by_proxy.remove(local);
                found != Match::Nobody
            }
        }
    }
}
