//! A sans-IO, server-side TCP.
//!
//! [`Stack`] holds all connections of one queue. The caller gives it segments ([`Stack::on_segment`]) and time
//! ([`Stack::on_timers`], due at [`Stack::next_deadline`]), and calls [`Stack::flush`] once per batch for what did not go
//! out within these; the stack calls
//! the application ([`App`]) and the transmit side ([`Out`]). Nothing else happens: no clock is read, no thread runs,
//! nothing is sent from elsewhere.
//!
//! ```text
//!   on_segment ──► App::on_established, on_data, on_eof ──► Io::send(piece)
//!   on_timers  ──► App::on_deadline                          │
//!   any        ──► Out::emit ──► App::fill(piece, offset) ◄──┘  as often as the piece must be sent
//!                  App::on_release(piece)                       once, when it is acknowledged
//! ```
//!
//! A connection may leave for another TCP ([`Io::hand_off`], [`Stack::take_detached`]) and come back ([`Stack::adopt`]).

mod app;
mod arrive;
mod config;
mod connection;
mod cookie;
mod counters;
mod detach;
mod flow;
mod handshake;
mod index;
mod keep_alive;
mod key;
mod limiter;
mod output;
mod path;
mod recv;
mod rtt;
mod scatter;
mod send;
mod seq;
mod stack;
mod state;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time;
mod time_wait;
mod turn;
mod wheel;
pub mod wire;

pub use app::{App, Arrival, Deadline, Disposition, Ecn, Full, Io, Out};
pub use config::{Config, CongestionControl};
pub use counters::{CloseReason, Counters, DropReason, RefuseReason};
pub use detach::{Detached, Terms};
pub use flow::{Addr, Endpoint, Flow};
pub use seq::SeqNum;
pub use stack::Stack;
pub use time::Instant;
pub use turn::{Answer, Handle, Reply, Request};
