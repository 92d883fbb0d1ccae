//! By what the table knows a connection: its flow, with our end as a number.

use crate::flow::{Endpoint, Flow};

/// A flow in 20 bytes instead of 36; see [`Locals::flow`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    remote: Endpoint,
    local: u16,
}

/// Most endpoints of ours at a time, of all connections together. The XDP program can be told of no more to listen on
/// (`MAX_SERVICES`); fewer would refuse connections to some, more would lengthen the search that a new one begins with.
const MAX: usize = 4096;

/// Our ends of all connections.
#[derive(Debug)]
pub(crate) struct Locals {
    ends: Vec<Local>,
}

#[derive(Debug)]
struct Local {
    end: Endpoint,
    connections: u32,
}

impl Locals {
    pub fn new() -> Locals {
        Locals {
            ends: Vec::with_capacity(MAX),
        }
    }

    /// The key of a new connection's flow, to be given to [`Locals::leave`] with its end. `None`: no more endpoints.
    pub fn enter(&mut self, flow: &Flow) -> Option<Key> {
        let ends = &mut self.ends;
        let known = ends.iter().position(|local| local.end == flow.local);
        let unused = || ends.iter().position(|local| local.connections == 0);
        let at = known.or_else(unused).unwrap_or(ends.len());
        if at == MAX {
            return None;
        }
        if at == ends.len() {
            ends.push(Local {
                end: flow.local,
                connections: 0,
            });
        }
        ends[at].end = flow.local;
        ends[at].connections += 1;
        Some(Key {
            remote: flow.remote,
            local: at as u16,
        })
    }

    pub fn leave(&mut self, key: &Key) {
        self.ends[usize::from(key.local)].connections -= 1;
    }

    /// Is it the key of this flow?
    #[inline(always)]
    pub fn is_of(&self, key: &Key, flow: &Flow) -> bool {
        key.remote == flow.remote && self.ends[usize::from(key.local)].end == flow.local
    }

    /// The flow that has this key.
    pub fn flow(&self, key: &Key) -> Flow {
        Flow {
            local: self.ends[usize::from(key.local)].end,
            remote: key.remote,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Locals, MAX};
    use crate::flow::{Addr, Flow};
    use crate::testing::flow_v4;

    /// The `n`th endpoint of ours, with the same peer.
    fn flow(n: usize) -> Flow {
        let mut flow = flow_v4();
        flow.local.addr = Addr::v4([10, 0, (n >> 8) as u8, n as u8]);
        flow
    }

    #[test]
    fn endpoints_are_shared_refused_and_used_again() {
        let mut locals = Locals::new();
        let keys: Vec<_> = (0..MAX).map(|n| locals.enter(&flow(n)).unwrap()).collect();
        assert!(locals.enter(&flow(MAX)).is_none());
        let again = locals.enter(&flow(7)).unwrap();
        locals.leave(&keys[7]);
        assert!(locals.enter(&flow(MAX)).is_none(), "one is left");
        locals.leave(&again);
        let new = locals.enter(&flow(MAX)).unwrap();
        assert_eq!(locals.flow(&new), flow(MAX));
        assert_eq!(locals.flow(&keys[8]), flow(8));
    }
}
