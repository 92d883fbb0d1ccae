//! What a connection costs while it only waits: its slot, with 5 bytes of link and application state, and its timer entry.

use crate::connection::Connection;
use crate::testing::Lines;

/// May only shrink: a million idle connections pay for every byte.
#[test]
fn slot_size() {
    assert!(
        size_of::<Connection<Lines>>() <= 216,
        "{}",
        size_of::<Connection<Lines>>()
    );
}
