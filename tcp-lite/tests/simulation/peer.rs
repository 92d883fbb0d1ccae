//! The other end of the link.

use tcp_lite::CloseReason;

/// A client with its own TCP. Times in µs.
pub trait Peer {
    /// A packet came out of the link.
    fn arrive(&mut self, now: u64, packet: Vec<u8>);
    /// Does what is due.
    fn step(&mut self, now: u64);
    /// Takes what it sent.
    fn said(&mut self) -> Vec<Vec<u8>>;
    /// When it next has something to do by itself.
    fn next(&mut self, now: u64) -> Option<u64>;
    /// It came to the end it had planned: all answers read, and the connection closed in order, if it was to be.
    fn finished(&self) -> bool;
    /// What to print of one that did not.
    fn progress(&self) -> String;

    /// It is through but for a FIN that it should repeat, and does not.
    fn forgot_its_fin(&self) -> bool {
        false
    }

    /// May the server end the connection for this reason, beside "finished"?
    fn excuses(&self, why: CloseReason) -> bool;
}
