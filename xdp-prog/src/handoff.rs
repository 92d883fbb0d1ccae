//! The rules by which a connection that userspace served becomes one of the kernel's.
//!
//! To the kernel the segment that userspace injects for it, the *carrier*, is the last ACK of a handshake with a SYN
//! cookie, carrying data; the kernel function `bpf_sk_assign_tcp_reqsk` (net/core/filter.c, Linux 6.9) says what that
//! handshake negotiated. The kernel then makes the socket and queues it for accept(2), or drops the segment silently
//! if that queue is full.

use crate::headers::{By, Found as Walked, find, is_injected};
use crate::{Cursor, FlowKey};

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// `struct bpf_tcp_req_attrs` (include/net/tcp.h) in words of memory: what the handshake negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Attributes(pub [u32; 5]);

/// Value of [`HANDOFF`](crate::HANDOFF): where the client and we stand, and what has become of the handoff.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Entry {
    /// Sequence number of the first byte that the server is to read.
    pub seq: u32,
    /// Our next sequence number: all before it was sent and acknowledged.
    pub ack: u32,
    /// What was negotiated.
    pub attributes: Attributes,
    /// As [`State::encode`] makes it. Userspace writes the first one, the program all others.
    pub state: u32,
}

impl Entry {
    /// The bytes as words, in the order of memory.
    pub const fn words(&self) -> [u32; 8] {
        let [a, b, c, d, e] = self.attributes.0;
        [self.seq, self.ack, a, b, c, d, e, self.state]
    }

    /// From its words.
    pub const fn from_words([seq, ack, a, b, c, d, e, state]: [u32; 8]) -> Self {
        Self {
            seq,
            ack,
            attributes: Attributes([a, b, c, d, e]),
            state,
        }
    }
}

/// What has become of a handoff.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The carrier has not come by, or the kernel had no room for the connection: it is to be injected again.
    Pending,
    /// The kernel was told to take the carrier as a new connection. Whether it did, the next segment finds out.
    Assigned,
    /// The kernel has, or had, a socket of its own. It is never made a second one: a request would be carried out twice.
    Taken,
    /// Nobody listened.
    NoListener,
    /// The kernel function refused, with this `errno`.
    Refused(u16),
}

impl State {
    const REFUSED: u32 = 1 << 16;

    /// As it lies in the map.
    #[inline(always)]
    pub const fn encode(self) -> u32 {
        match self {
            Self::Pending => 0,
            Self::Assigned => 1,
            Self::Taken => 2,
            Self::NoListener => 3,
            Self::Refused(errno) => Self::REFUSED | errno as u32,
        }
    }

    /// From the map; what nobody writes is [`State::Pending`].
    #[inline(always)]
    pub const fn decode(word: u32) -> Self {
        match word {
            1 => Self::Assigned,
            2 => Self::Taken,
            3 => Self::NoListener,
            refused if refused & Self::REFUSED != 0 => Self::Refused(refused as u16),
            _ => Self::Pending,
        }
    }
}

/// What the kernel's socket table has for a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing.
    Nobody,
    /// A listener that would take a new connection.
    Listener,
    /// A socket of this very flow.
    Flow,
}

/// The machine, as the rules see it.
pub trait Kernel {
    /// Where an entry lies.
    type Place: Copy;
    /// The flow's entry in [`HANDOFF`](crate::HANDOFF).
    fn entry(&self, flow: &FlowKey) -> Option<(Self::Place, Entry)>;
    /// Changes the state of an entry.
    fn set(&self, place: Self::Place, state: State);
    /// Looks for the flow in the kernel's socket table. With `attributes` the listener, if that is what is found, is
    /// told to take the segment for a new connection; the number is then 0 or a negative `errno`.
    fn find(&self, flow: &FlowKey, attributes: Option<&Attributes>) -> (Found, i32);
    /// Makes a copy of the segment arrive behind it.
    fn repeat(&self);
}

/// Decides about a frame on the NIC's ingress, in front of the kernel's IP: `true` lets it pass.
///
/// 1. Not injected, not TCP, or of a flow without an entry → passes.
/// 2. The kernel has taken the flow → passes. A SYN or RST → passes, as it starts or ends another story.
/// 3. The segment is the carrier, by sequence *and* acknowledgment number: a later segment that came first would start
///    the connection in the middle of a request. Told to take it, the kernel does so after this program has
///    returned, so that the carrier is sent round once more to see what came of it ([`State::Assigned`]).
/// 4. Any other segment passes if the kernel has a socket for it, and else is dropped: the kernel would reset the
///    connection.
#[inline(always)]
pub fn hand_over<C: Cursor>(frame: C, kernel: &impl Kernel) -> bool {
    if !is_injected(frame) {
        return true;
    }
    let Ok(Walked::Flow {
        flow,
        by: By::Segment { seq, ack, flags },
    }) = find(frame)
    else {
        return true;
    };
    let Some((place, entry)) = kernel.entry(&flow) else {
        return true;
    };
    let state = State::decode(entry.state);
    if state == State::Taken || flags & (SYN | RST | ACK) != ACK {
        return true;
    }
    if seq != entry.seq || ack != entry.ack {
        return kernel.find(&flow, None).0 == Found::Flow;
    }
    if state == State::Assigned {
        // The carrier again. Its data is where it belongs, or has to be injected once more.
        let came_of_it = match kernel.find(&flow, None).0 {
            Found::Flow => State::Taken,
            Found::Listener | Found::Nobody => State::Pending,
        };
        kernel.set(place, came_of_it);
        return false;
    }
    match kernel.find(&flow, Some(&entry.attributes)) {
        (Found::Flow, _) => {
            kernel.set(place, State::Taken);
            true
        }
        (Found::Nobody, _) => {
            kernel.set(place, State::NoListener);
            false
        }
        (Found::Listener, 0) => {
            kernel.set(place, State::Assigned);
            kernel.repeat();
            true
        }
        (Found::Listener, error) => {
            kernel.set(place, State::Refused(error.wrapping_neg() as u16));
            false
        }
    }
}

/// In place of the kernel function's number in the committed object: that number is this kernel's own, so userspace
/// writes it before loading. No helper has a number like this.
pub const KFUNC_MAGIC: u32 = 0x5d00_0001;

#[cfg(test)]
mod tests;
