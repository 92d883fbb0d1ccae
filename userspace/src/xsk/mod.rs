//! AF_XDP behind one wrapper: the only place that knows xsk-rs.
//!
//! A [`Queue`] is one NIC queue's private UMEM with its four rings and its free
//! list. A frame is always in exactly one place:
//!
//! ```text
//!            refill             kernel fills          receive
//!   free ───────────► fill ring ───────────► rx ring ─────────► held (a Frame)
//!    ▲  └────────────────────── alloc ────────────────────────►  │    │
//!    │                                                    release│    │send
//!    ├───────────────────────────────────────────────────────────┘    ▼
//!    └─────────── completion ring ◄── kernel transmits ◄── tx ring ◄──┘
//! ```
//!
//! `in_rx` counts the fill and receive rings, `in_tx` the transmit and completion
//! rings (`Documentation/networking/af_xdp.rst`), so that
//! `free + in_rx + in_tx + held == total` at any time ([`Audit`]).

mod frame;
mod level;
mod memory_port;
mod queue;
mod rings;

pub use frame::{Audit, Memory, Port, Transmit};
pub use memory_port::{MemFrame, MemMemory, MemPort, MemRing};
pub use queue::{BindMode, MAX_MTU, OpenError, Queue, QueueOptions, chunk};
pub use rings::{Frame, Rings, Statistics, Umem};
