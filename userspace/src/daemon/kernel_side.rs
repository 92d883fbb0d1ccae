//! The kernel as one worker sees it: the XDP program's flow table, and the way back to the receive path.

use crate::inject::Injector;
use crate::steer::{FlowKey, FlowTable};
use crate::worker::{FlowIndex, Stranger};
use std::io;
use tcp_lite::Flow;

/// Enters flows as this queue's. A failure only costs the program a socket lookup for each segment.
pub(super) struct QueueFlows {
    pub table: FlowTable,
    pub queue: u32,
}

fn key(flow: &Flow) -> FlowKey {
    let ip = |addr: tcp_lite::Addr| std::net::IpAddr::from(addr).into();
    FlowKey::new(
        ip(flow.local.addr),
        flow.local.port,
        ip(flow.remote.addr),
        flow.remote.port,
    )
}

impl FlowIndex for QueueFlows {
    fn insert(&mut self, flow: &Flow) {
        if let Err(e) = self.table.insert(&key(flow), self.queue) {
            log::debug!("flow table: {e}");
        }
    }

    fn remove(&mut self, flow: &Flow) {
        // The kernel may have evicted it long ago.
        if let Err(e) = self.table.remove(&key(flow)) {
            log::debug!("flow table: {e}");
        }
    }
}

impl Stranger for Injector {
    fn inject(&mut self, frame: &[u8]) -> io::Result<()> {
        Injector::inject(self, frame)
    }
}
