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
    /// Services whose listener speaks MPTCP, as last seen.
    mptcp: HashSet<Endpoint>,
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
            mptcp: HashSet::new(),
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
            && !self.mptcp.contains(&flow.local)
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
                // Nothing has been made of it, and nothing will be.
                Standing::Refused(_) => {
                    self.kernel.forget(flow);
                    self.offered.insert(*flow, Way::Proxy);
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
        !self.mptcp.contains(local)
    }

    fn listens(&mut self, local: &Endpoint) -> bool {
        match self.kernel.listener(local) {
            Match::Listener { mptcp: true } => {
                self.mptcp.insert(*local);
                true
            }
            found => {
                self.mptcp.remove(local);
                found != Match::Nobody
            }
        }
    }
}
