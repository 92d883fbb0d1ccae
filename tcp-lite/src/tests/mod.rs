//! Scripts per state: segments in, segments out, silence asserted.

mod basic;
mod close;
mod cookies;
mod ecn;
mod handshake;
mod hostile;
mod keep_alive;
mod path;
mod receive;
mod recovery;
mod rfc;
mod send;
mod size;
