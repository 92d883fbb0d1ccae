//! Giving a connection that userspace has served to the kernel, and with it to the server that listens there.
//!
//! [`Handoff::offer`] begins it. Then the client's next segment is injected ([`crate::inject`]) as the client would have
//! sent it, [labelled](Handoff::label) with where the client and we stand; the kernel makes its own socket from the two,
//! and the server accepts a connection from the client's own address. [`Handoff::standing`] says when that has happened.

mod announce;
mod diag;
mod exchange;
mod kernel;
mod outcomes;
mod pair;
mod proxy;
mod repair;
mod splice;
mod ways;

use std::io;

use tcp_lite::{Endpoint, Flow};

pub use diag::{Diag, Match};
pub use kernel::{Gateway, GatewayError, KernelHandoff, kernel_takes_connections};
pub use proxy::{Proxy, ProxyHandoff};
pub use splice::Books;
pub use ways::Ways;

/// What the kernel must know to go on where we stopped. All that we sent is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// The connection.
    pub flow: Flow,
    /// Sequence number of the first unread byte, which is that of the segment to be injected.
    pub seq: u32,
    /// Our next sequence number, which that segment acknowledges.
    pub ack: u32,
    /// The client's maximum segment size, bytes of payload and options.
    pub mss: u16,
    /// The client's window scale, a shift; `None` if window scaling was not agreed on.
    pub snd_wscale: Option<u8>,
    /// Ours; 0 if window scaling was not agreed on.
    pub rcv_wscale: u8,
    /// Selective acknowledgments were agreed on.
    pub sack: bool,
    /// Explicit congestion notification was agreed on.
    pub ecn: bool,
    /// The client's last TSval and ours, in ticks of 1 ms; `None` if timestamps were not agreed on. The kernel's clock
    /// for the connection starts at ours.
    pub timestamps: Option<(u32, u32)>,
}

/// What has become of an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The kernel has no socket yet: the segment has not come through, or the server's accept queue is full. Inject it
    /// again.
    Pending,
    /// Nothing may be injected, since no socket of the kernel's would take it; offer again. The server has not let the
    /// proxy in yet, its accept queue is full, or another way is to be taken.
    Waits,
    /// The kernel has made a socket out of the segment, whether or not it lives still. What the client sends from now
    /// on is the kernel's.
    Taken,
    /// The kernel has made a socket, and has got nothing of what the client sent: inject it from the first unread byte
    /// on. It is the kernel's, as with [`Standing::Taken`].
    Ready,
    /// Nobody listens.
    NoListener,
    /// The kernel does not take it, with this `errno`: `EINVAL` when the listener is one of MPTCP, the MSS below
    /// the least one of the IP version, or an option is turned off by sysctl; `ENOENT` when SYN cookies are.
    Refused(i32),
}

/// A way of giving connections to the kernel. One for each worker.
pub trait Handoff: Send {
    /// Prepares the kernel for the segment that starts at the ticket's numbers, and says what has come of it so far.
    /// Offering a connection again that is [`Standing::Pending`] changes nothing.
    ///
    /// # Errors
    /// The connection cannot be handed over now: too many are under way, or the kernel's set-up does not allow it.
    fn offer(&mut self, ticket: &Ticket) -> io::Result<Standing>;

    /// Adds to the segment that is injected for an offer that is [`Standing::Pending`] what the kernel's side has to know,
    /// as the last bytes of its frame. It is to be injected by [`crate::inject::Injector::carry`].
    fn label(&self, ticket: &Ticket, carrier: &mut Vec<u8>) {
        let _ = (ticket, carrier);
    }

    /// What has become of an offer.
    fn standing(&mut self, flow: &Flow) -> Standing;

    /// Ends an offer, whatever became of it. It must not be called before [`Handoff::standing`] has said something
    /// other than [`Standing::Pending`] or [`Standing::Waits`], unless the connection stays in userspace.
    fn forget(&mut self, flow: &Flow);

    /// Whether somebody listens there who would be given a connection. To be asked shortly before [`Handoff::offer`], but
    /// not each time: it is also when a handoff looks whether the kernel's set-up still allows it.
    fn listens(&mut self, local: &Endpoint) -> bool;

    /// Whether a connection that is given away there outlives this process, by what [`Handoff::listens`] last saw.
    fn outlives_us(&self, local: &Endpoint) -> bool {
        let _ = local;
        true
    }
}
