//! A connection that leaves the stack waits a while; then another TCP takes it, or it comes back.

use tcp_lite::{Detached, Instant, Stack};

use crate::kernel::Kernel;
use crate::rng::Rng;
use crate::server::{Server, Transmit, arrival};

/// What has left the stack, and what came for it since.
struct Waiting {
    detached: Detached<Server>,
    packets: Vec<Vec<u8>>,
    until: u64,
}

pub struct Handover {
    /// How long it waits, µs.
    patience: u64,
    /// Nobody takes it.
    refused: bool,
    waiting: Option<Waiting>,
    pub kernel: Option<Kernel>,
    pub returned: bool,
}

impl Handover {
    pub fn new(rng: &mut Rng) -> Handover {
        Handover {
            patience: rng.pick(&[0, 0, 10_000, 2_000_000]),
            refused: rng.chance(300),
            waiting: None,
            kernel: None,
            returned: false,
        }
    }

    /// Looks whether a connection has left.
    pub fn look(&mut self, now: u64, stack: &mut Stack<Server>) {
        if let Some(detached) = stack.take_detached() {
            self.waiting = Some(Waiting {
                detached,
                packets: Vec::new(),
                until: now + self.patience,
            });
        }
    }

    /// A packet for the server: is it for the stack?
    pub fn passes(&mut self, packet: &[u8]) -> bool {
        let arrival = arrival(packet);
        if let Some(waiting) = &mut self.waiting {
            waiting.packets.push(packet.to_vec());
        } else if let Some(kernel) = self.kernel.as_mut().filter(|k| *k.flow() == arrival.flow) {
            kernel.on_segment(arrival.bytes);
        } else {
            return true;
        }
        false
    }

    /// If the wait is over: what came meanwhile, to go the same way as the connection.
    pub fn settle(
        &mut self,
        now: u64,
        at: Instant,
        stack: &mut Stack<Server>,
        server: &mut Server,
        out: &mut Transmit,
    ) -> Vec<Vec<u8>> {
        let Some(over) = self.waiting.take_if(|waiting| waiting.until <= now) else {
            return Vec::new();
        };
        server.leave_at = None;
        server.leaving = false;
        if self.refused {
            self.returned = true;
            stack.adopt(at, over.detached, server, out);
        } else {
            self.kernel = Some(Kernel::take_over(now, at, over.detached));
            server.established -= 1;
        }
        over.packets
    }

    pub fn next(&self, now: u64) -> Option<u64> {
        let over = self.waiting.as_ref().map(|waiting| waiting.until.max(now));
        let kernel = self.kernel.as_ref().and_then(Kernel::next);
        let kernel = kernel.map(|at| at.max(now + 1));
        [over, kernel].into_iter().flatten().min()
    }
}
