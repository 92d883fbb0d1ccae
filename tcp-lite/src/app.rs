//! What the caller provides: the application, the transmit side, the arriving segment.

use crate::counters::{CloseReason, DropReason, RefuseReason};
use crate::flow::Flow;
use crate::send::{Pieces, Snd};
use crate::time::{Instant, Timer};
use crate::wire;

/// No room: a piece queue, the stack's piece slab, or the caller's transmit side. Normal; try again later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// The two ECN bits of an IP header (RFC 3168 section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ecn {
    /// Not ECN-capable: what this stack sends.
    #[default]
    NotEct,
    /// ECN-capable, codepoint 01.
    Ect1,
    /// ECN-capable, codepoint 10.
    Ect0,
    /// Congestion experienced.
    Ce,
}

impl Ecn {
    /// From the two low bits of IPv4's type of service or IPv6's traffic class.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// As the two low bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0,
            Self::Ect1 => 1,
            Self::Ect0 => 2,
            Self::Ce => 3,
        }
    }
}

/// The application on top of a [`crate::Stack`]: it consumes bytes in order and queues pieces of an answer.
///
/// Callbacks come from `on_segment` and `on_timers`. What they queue leaves at once where the segment had PSH, so that the
/// peer waits for it, and else with the next `flush`.
pub trait App: Sized {
    /// How to reach the peer below IP (Ethernet addresses, VLAN tags); opaque here, refreshed from segments
    /// that the peer repeats when we do not answer, and after a timeout from any.
    type Link: Copy;
    /// State per connection, made by `default()` when it begins.
    type Conn: Default;
    /// Names response bytes; the bytes themselves stay in the application's store.
    type Piece: Copy;

    /// The handshake is complete.
    fn on_established(&mut self, now: Instant, io: &mut Io<'_, Self>) {
        let _ = (now, io);
    }

    /// All in-order bytes not consumed yet, oldest first, contiguous. Returns how many it consumed; the rest is kept
    /// (it counts against the receive window) and shown again with the next bytes, or once [`Io::send`] that had
    /// answered [`Full`] has room again (then possibly without new bytes, or with none at all).
    fn on_data(&mut self, now: Instant, io: &mut Io<'_, Self>, unread: &[u8]) -> usize;

    /// The peer's FIN was reached; `unread` is what was never consumed. Not called while `on_data` waits for room.
    /// The application must call [`Io::close`] now or later: after `Config::linger` with nothing queued and no
    /// deadline set the connection is reset.
    fn on_eof(&mut self, now: Instant, io: &mut Io<'_, Self>, unread: &[u8]);

    /// The deadline set with [`Io::set_deadline`] passed; it is no longer set.
    fn on_deadline(&mut self, now: Instant, io: &mut Io<'_, Self>, unread: &[u8]);

    /// Writes bytes `[offset, offset + buf.len())` of the piece; returns their sum (`buf[0]` at an even place). Called
    /// again for every retransmission and must give the same bytes then.
    fn fill(&mut self, piece: &Self::Piece, offset: u32, buf: &mut [u8]) -> wire::Sum;

    /// The piece was acknowledged whole, as often as it was queued, or its connection is gone. Exactly once per call of
    /// `send` or `send_run` that took it.
    fn on_release(&mut self, piece: Self::Piece);

    /// [`crate::Stack::drain_some`] came to this connection: a good moment for [`Io::hand_off`] or [`Io::close`].
    fn on_drain(&mut self, now: Instant, io: &mut Io<'_, Self>) {
        let _ = (now, io);
    }

    /// The connection ended; all its pieces were released. Exactly once per `on_established`, but for connections that
    /// left by [`Io::hand_off`] and never came back.
    fn on_closed(&mut self, flow: &Flow, conn: Self::Conn, why: CloseReason);
}

/// A connection in the hands of an [`App`] callback.
pub struct Io<'a, A: App> {
    pub(crate) now: Instant,
    pub(crate) conn: &'a mut A::Conn,
    pub(crate) flow: &'a Flow,
    pub(crate) snd: &'a mut Snd,
    pub(crate) pieces: &'a mut Pieces<A::Piece>,
    pub(crate) limit: u16,
    pub(crate) deadline: &'a mut Timer,
    pub(crate) wish: Wish,
}

/// What a callback asked for.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wish {
    pub close: bool,
    pub abort: bool,
    pub hand_off: bool,
    /// A `send` met [`Full`].
    pub blocked: bool,
}

impl<A: App> Io<'_, A> {
    /// The application's state of this connection.
    #[inline]
    pub fn conn(&mut self) -> &mut A::Conn {
        self.conn
    }

    /// Who talks to whom.
    #[must_use]
    #[inline]
    pub fn flow(&self) -> &Flow {
        self.flow
    }

    /// Queues `len` bytes named by `piece`. With `len` 0 nothing is queued and `piece` is not kept (no `on_release`).
    ///
    /// # Errors
    /// [`Full`] when this connection or the stack has no room for a piece, or after `close` or `abort`.
    pub fn send(&mut self, piece: A::Piece, len: u32) -> Result<(), Full> {
        self.send_run(piece, len, 1).map(|_| ())
    }

    /// Queues the bytes named by `piece` `times` times in a row, or as often as there is room for; returns how often.
    /// All of them together are one piece to [`App::on_release`]. With `len` or `times` 0 nothing is queued and `piece`
    /// is not kept.
    ///
    /// # Errors
    /// As [`Io::send`]: there is no room for a single one.
    pub fn send_run(&mut self, piece: A::Piece, len: u32, times: u16) -> Result<u16, Full> {
        if self.wish.close || self.wish.abort {
            return Err(Full);
        }
        if len == 0 || times == 0 {
            return Ok(times);
        }
        let pushed = self.snd.push(self.pieces, piece, len, times, self.limit);
        self.wish.blocked |= pushed.is_err();
        pushed
    }

    /// How many pieces `send` would take now.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.wish.close || self.wish.abort {
            return 0;
        }
        usize::from(self.limit.saturating_sub(self.snd.pieces(self.pieces))).min(self.pieces.room())
    }

    /// Is anything queued that the peer has not acknowledged?
    #[must_use]
    pub fn sending(&self) -> bool {
        self.snd.has_queued()
    }

    /// Sends FIN behind what is queued. Later input is acknowledged and discarded until the peer's FIN, bounded by
    /// `Config::linger` and `Config::linger_bytes`. Clears the deadline.
    pub fn close(&mut self) {
        self.wish.close = true;
    }

    /// Resets the connection; what is queued is lost.
    pub fn abort(&mut self) {
        self.wish.abort = true;
    }

    /// Another TCP takes the connection from here: what the callback does not consume, and all that comes later, is
    /// kept and, as far as it was not already, not acknowledged. Once the peer has acknowledged all that we sent, the
    /// connection leaves the stack ([`crate::Stack::take_detached`]). No callback but `on_closed` comes until then, and
    /// the deadline is cleared. `close` and `abort` in the same callback prevail.
    pub fn hand_off(&mut self) {
        self.wish.hand_off = true;
    }

    /// Sets or clears the one deadline of this connection, after which [`App::on_deadline`] is called: 12 days ahead at
    /// most.
    pub fn set_deadline(&mut self, when: Option<Instant>) {
        *self.deadline = when.map_or(Timer::OFF, |when| Timer::within(self.now, when));
    }

    /// Sets it to one that was made before.
    #[inline]
    pub fn put_deadline(&mut self, deadline: Deadline) {
        *self.deadline = deadline.0;
    }
}

/// A deadline as connections keep it, for one that many of them get in the same batch.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub(crate) Timer);

impl Deadline {
    /// At `when`, as [`Io::set_deadline`] called at `now`.
    #[must_use]
    pub fn new(now: Instant, when: Instant) -> Deadline {
        Deadline(Timer::within(now, when))
    }
}

/// The caller's transmit side.
pub trait Out<L> {
    /// Gives room for one segment of `tcp_len` bytes (header, options, payload) to `flow.remote`; `write` fills exactly
    /// that many bytes, the TCP checksum included.
    ///
    /// # Errors
    /// [`Full`]: nothing was sent and `write` was not called.
    fn emit(
        &mut self,
        flow: &Flow,
        link: &L,
        ecn: Ecn,
        tcp_len: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full>;
}

/// A segment as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a, L> {
    /// From the packet's addresses and the segment's ports: `local` is its destination.
    pub flow: Flow,
    /// How to answer.
    pub link: L,
    /// From its IP header.
    pub ecn: Ecn,
    /// Exactly the TCP header and payload, by the IP length.
    pub bytes: &'a [u8],
}

/// What became of a segment.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// It belonged to a connection or began one.
    Handled,
    /// It was wrong.
    Dropped(DropReason),
    /// Not a SYN, and no such connection, or one that it cannot be of: another stack's, the kernel's, or nobody's
    /// ([`crate::Stack::reset`]).
    Unknown,
    /// A SYN that was not taken; the kernel may have it.
    Refused(RefuseReason),
}
