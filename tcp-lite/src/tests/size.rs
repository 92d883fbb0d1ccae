//! What a connection that only waits costs.

use crate::connection::Connection;
use crate::state::State;
use crate::testing::Lines;

#[test]
fn print_sizes() {
    println!(
        "state {} snd {} connection {}",
        size_of::<State>(),
        size_of::<crate::send::Snd>(),
        size_of::<Connection<Lines>>()
    );
    println!(
        "rcv {} terms {} inbox {}",
        size_of::<crate::recv::Rcv>(),
        size_of::<crate::handshake::Negotiated>(),
        size_of::<crate::recv::Inbox>()
    );
}
