//! What a connection costs while it only waits: its slot, here with 5 bytes of link and application state.

use crate::connection::Connection;
use crate::testing::Lines;

/// May only shrink: a million idle connections pay for every byte.
#[test]
fn slot_size() {
    assert!(
        size_of::<Connection<Lines>>() <= 192,
        "{}",
        size_of::<Connection<Lines>>()
    );
}
