//! Everything below TCP: Ethernet, VLAN tags, IPv4, IPv6, ICMP, fragments.

mod defrag;
mod drop;
mod emit;
mod link;
mod parse;
mod plain;

pub use defrag::{Defrag, GivenUp, Outcome, Reassembled};
pub use drop::FrameDrop;
pub use emit::{Emitter, answer_header, from_peer};
pub use link::Link;
pub use parse::{Fragment, FragmentKey, Packet, TooBig, parse};
pub use plain::{glimpse, plain};
