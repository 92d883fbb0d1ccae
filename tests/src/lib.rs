//! Test hosts, links and raw clients for tests that cross a network.
//!
//! A test makes a [`net::Net`], starts servers and a [`daemon::Daemon`] in it, and asks it with kernel clients
//! (curl, wrk, [`http::Client`]) or segment by segment with a [`raw::RawClient`]. All of it needs root and fails
//! without; everything made is removed when the values are dropped, after a panic too.

pub mod clock;
pub mod crowd;
pub mod daemon;
pub mod example;
pub mod freeze;
pub mod guest;
pub mod http;
pub mod link;
pub mod listener;
pub mod load;
pub mod mem;
pub mod net;
pub mod packet;
pub mod process;
pub mod raw;
pub mod server;
pub mod site;
pub mod wire;
pub mod wrk;
