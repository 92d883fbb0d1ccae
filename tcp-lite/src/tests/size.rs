//! What a connection costs while it only waits: its slot.

use crate::connection::Connection;
use crate::{App, CloseReason, Flow, Instant, Io, wire};

/// With as many bytes of link and of state as the daemon's application has.
struct Daemon;

impl App for Daemon {
    type Link = [u8; 17];
    type Conn = [u32; 2];
    type Piece = u32;

    fn on_data(&mut self, _: Instant, _: &mut Io<'_, Self>, unread: &[u8]) -> usize {
        unread.len()
    }

    fn on_eof(&mut self, _: Instant, _: &mut Io<'_, Self>, _: &[u8]) {}

    fn on_deadline(&mut self, _: Instant, _: &mut Io<'_, Self>, _: &[u8]) {}

    fn fill(&mut self, _: &u32, _: u32, _: &mut [u8]) -> wire::Sum {
        wire::Sum::ZERO
    }

    fn on_release(&mut self, _: u32) {}

    fn on_closed(&mut self, _: &Flow, _: [u32; 2], _: CloseReason) {}
}

/// May only shrink: a million idle connections pay for every byte.
#[test]
fn slot_size() {
    assert!(
        size_of::<Connection<Daemon>>() <= 224,
        "{}",
        size_of::<Connection<Daemon>>()
    );
}
