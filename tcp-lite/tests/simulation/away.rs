//! A connection that leaves the stack: it waits a while, then another TCP takes it, or nobody does and it comes back.

use tcp_lite::{Detached, Instant, Stack};

use crate::kernel::Kernel;
use crate::link::Link;
use crate::rng::Rng;
use crate::server::{Server, Transmit, arrival};

pub struct Away {
    patience: u64,
    refused: bool,
    waiting: Option<Waiting>,
    kernel: Option<Kernel>,
    pub returned: bool,
}

/// What has left the stack, and what came for it since.
struct Waiting {
    detached: Detached<Server>,
    packets: Vec<Vec<u8>>,
    until: u64,
}

impl Away {
    pub fn draw(rng: &mut Rng) -> Away {
        Away {
            patience: rng.pick(&[0, 0, 10_000, 2_000_000]),
            refused: rng.chance(300),
            waiting: None,
            kernel: None,
            returned: false,
        }
    }

    /// Another TCP has the connection.
    pub fn taken(&self) -> bool {
        self.kernel.is_some()
    }

    /// That TCP is not done with it.
    pub fn is_left_over(&self) -> bool {
        self.waiting.is_some() || self.kernel.as_ref().is_some_and(|k| !k.is_done())
    }

    pub fn departs(&mut self, now: u64, detached: Detached<Server>) {
        self.waiting = Some(Waiting {
            detached,
            packets: Vec::new(),
            until: now + self.patience,
        });
    }

    /// Keeps a packet from the stack that is not the stack's.
    pub fn takes(&mut self, packet: &[u8]) -> bool {
        if let Some(waiting) = &mut self.waiting {
            waiting.packets.push(packet.to_vec());
            return true;
        }
        let arrival = arrival(packet);
        let kernel = self.kernel.as_mut().filter(|k| *k.flow() == arrival.flow);
        kernel.is_some_and(|kernel| {
            kernel.on_segment(arrival.bytes);
            true
        })
    }

    pub fn step(
        &mut self,
        (now, at): (u64, Instant),
        stack: &mut Stack<Server>,
        server: &mut Server,
        link: &mut Link,
        out: &mut Transmit,
    ) {
        if let Some(over) = self.waiting.take_if(|w| w.until <= now) {
            server.leave_at = None;
            if self.refused {
                self.returned = true;
                stack.adopt(at, over.detached, server, out);
            } else {
                self.kernel = Some(Kernel::take_over(now, at, over.detached));
                server.established -= 1;
            }
            // What came meanwhile goes the same way, once more through the link's end.
            for packet in over.packets {
                link.again(now, packet);
            }
        }
        if let Some(kernel) = &mut self.kernel {
            kernel.output(now, out);
        }
    }

    pub fn next(&self, now: u64) -> Option<u64> {
        let kernel = self.kernel.as_ref().and_then(Kernel::next);
        let waiting = self.waiting.as_ref().map(|w| w.until);
        let next = kernel.into_iter().chain(waiting).min();
        next.map(|at| at.max(now + 1))
    }
}
