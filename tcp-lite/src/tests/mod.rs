//! Scripts per state: segments in, segments out, silence asserted.

mod basic;
mod close;
mod cookies;
mod detach;
mod ecn;
mod handshake;
mod hostile;
mod keep_alive;
mod pace;
mod path;
mod predicted;
mod receive;
mod recovery;
mod repeat;
mod rfc;
mod send;
mod size;

use crate::testing::{Jar, seg};

/// Asks for `n` bytes with MSS 1000; the request ends at 1 + its length, which is returned.
fn ask(jar: &mut Jar, n: u32) -> u32 {
    let text = format!("GET {n}\n");
    jar.send(seg("PA", 1, 1).data(&text));
    1 + text.len() as u32
}

/// Where each segment sent begins, and how many bytes it carries.
fn lengths(jar: &mut Jar) -> Vec<(u32, usize)> {
    jar.sent().iter().map(|s| (s.seq, s.data.len())).collect()
}

/// `count` segments of 1000 bytes.
fn full(from: u32, count: u32) -> Vec<(u32, usize)> {
    (0..count).map(|n| (from + 1000 * n, 1000)).collect()
}
