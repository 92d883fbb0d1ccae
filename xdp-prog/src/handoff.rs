//! The rules by which a connection that userspace served becomes one of the kernel's.
//!
//! To the kernel the segment that userspace injects for it, the *carrier*, is the last ACK of a handshake with a SYN
//! cookie, carrying data; the kernel function `bpf_sk_assign_tcp_reqsk` (net/core/filter.c, Linux 6.9) says what that
//! handshake negotiated. The kernel then makes the socket and queues it for accept(2), or drops the segment silently
//! if that queue is full.
//!
//! What the function must be told stands behind the carrier's IP packet, in a [`Waybill`], where IP does not look. What
//! came of it is written where userspace reads it without a system call, in [`OUTCOMES`](crate::OUTCOMES).

use crate::FlowKey;

/// `struct bpf_tcp_req_attrs` (include/net/tcp.h) in words of memory: what the handshake negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Attributes(pub [u32; 5]);

/// The last bytes of a carrier's frame. Only what comes from the injector's device with [`CARRIER_MAC`](crate::CARRIER_MAC) as its
/// source is read: frames of clients that are injected unchanged could end in anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Waybill {
    /// The connection.
    pub flow: FlowKey,
    /// What was negotiated.
    pub attributes: Attributes,
    /// Whose table of outcomes is meant, as its word at [`Waybill::TABLE`] says: programs of several daemons may be on
    /// a NIC.
    pub table: u32,
    /// Place of the outcome in it.
    pub place: u32,
    /// Number of the offer, one more than the last one at this place.
    pub offer: u32,
}

impl Waybill {
    /// Bytes.
    pub const LEN: usize = size_of::<Self>();

    /// Place of the word that holds a table's own number.
    pub const TABLE: u32 = 0;

    /// The bytes as words, in the order of memory.
    pub fn words(&self) -> [u32; Self::LEN / 4] {
        let mut words = [0; Self::LEN / 4];
        let (flow, rest) = words.split_at_mut(9);
        flow.copy_from_slice(&self.flow.words());
        let (attributes, rest) = rest.split_at_mut(5);
        attributes.copy_from_slice(&self.attributes.0);
        rest.copy_from_slice(&[self.table, self.place, self.offer]);
        words
    }
}

/// A word of [`OUTCOMES`](crate::OUTCOMES): which offer it is about, and what has become of that one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// As [`Waybill::offer`].
    pub offer: u32,
    /// Userspace writes [`State::Pending`], the program all others.
    pub state: State,
}

impl Outcome {
    /// As it lies in the map.
    #[inline(always)]
    pub const fn encode(self) -> u64 {
        (self.offer as u64) << 32 | self.state.encode() as u64
    }

    /// From the map.
    #[inline(always)]
    pub const fn decode(word: u64) -> Self {
        Self {
            offer: (word >> 32) as u32,
            state: State::decode(word as u32),
        }
    }
}

/// What has become of a handoff.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The carrier has not come by, or the kernel had no room for the connection: it is to be injected again.
    Pending,
    /// The kernel was told to take the carrier as a new connection. Whether it did, the carrier's second round finds out.
    Assigned,
    /// The kernel has, or had, a socket of its own. It is never made a second one: a request would be carried out twice.
    Taken,
    /// Nobody listened.
    NoListener,
    /// The kernel refused, with this `errno`.
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

/// What becomes of a frame on the NIC's ingress, in front of the kernel's IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling {
    /// None of this program's business.
    NotOurs,
    /// A carrier that the kernel gets now.
    Deliver,
    /// A carrier that has done its part, or has none any more.
    Drop,
}

/// The machine, as the rules see it.
pub trait Kernel {
    /// Where an outcome lies.
    type Place: Copy;
    /// What the frame brings, if it is a carrier.
    fn waybill(&self) -> Option<Waybill>;
    /// The word at this place of [`OUTCOMES`](crate::OUTCOMES).
    fn word(&self, place: u32) -> Option<(Self::Place, u64)>;
    /// Writes one.
    fn set(&self, place: Self::Place, word: u64);
    /// Looks for the flow in the kernel's socket table. With `attributes` the listener, if that is what is found, is
    /// told to take the segment for a new connection; the number is then 0 or a negative `errno`.
    fn find(&self, flow: &FlowKey, attributes: Option<&Attributes>) -> (Found, i32);
    /// Makes a copy of the segment arrive behind it.
    fn repeat(&self);
}

/// Decides about a frame:
///
/// 1. No carrier, or that of another daemon → it passes.
/// 2. Of an offer that is no more → dropped. So is one whose outcome is known: its data is where it belongs, or userspace
///    has it still.
/// 3. Told to take it, the kernel does so after this program has returned. So the carrier is sent round once more, to see
///    what came of it ([`State::Assigned`]).
#[inline(always)]
pub fn hand_over(kernel: &impl Kernel) -> Ruling {
    let Some(waybill) = kernel.waybill() else {
        return Ruling::NotOurs;
    };
    let Some((_, table)) = kernel.word(Waybill::TABLE) else {
        return Ruling::NotOurs;
    };
    if table != u64::from(waybill.table) || waybill.place == Waybill::TABLE {
        return Ruling::NotOurs;
    }
    let Some((place, word)) = kernel.word(waybill.place) else {
        return Ruling::Drop;
    };
    let Outcome { offer, state } = Outcome::decode(word);
    if offer != waybill.offer {
        return Ruling::Drop;
    }
    let attributes = match state {
        State::Pending => Some(&waybill.attributes),
        State::Assigned => None,
        State::Taken | State::NoListener | State::Refused(_) => return Ruling::Drop,
    };
    let (state, ruling) = match (kernel.find(&waybill.flow, attributes), attributes) {
        ((Found::Flow, _), Some(_)) => (State::Taken, Ruling::Deliver),
        ((Found::Flow, _), None) => (State::Taken, Ruling::Drop),
        ((Found::Listener | Found::Nobody, _), None) => (State::Pending, Ruling::Drop),
        ((Found::Nobody, _), Some(_)) => (State::NoListener, Ruling::Drop),
        ((Found::Listener, 0), Some(_)) => (State::Assigned, Ruling::Deliver),
        ((Found::Listener, error), Some(_)) => {
            let errno = error.wrapping_neg() as u16;
            (State::Refused(errno), Ruling::Drop)
        }
    };
    kernel.set(place, Outcome { offer, state }.encode());
    if state == State::Assigned {
        kernel.repeat();
    }
    ruling
}

/// In place of the kernel function's number in the committed object: that number is this kernel's own, so userspace
/// writes it before loading. No helper has a number like this.
pub const KFUNC_MAGIC: u32 = 0x5d00_0001;

#[cfg(test)]
mod tests;
