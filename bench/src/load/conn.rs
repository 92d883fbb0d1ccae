//! What is kept of a connection.

use tcp_lite::SeqNum;

/// Where a connection is (RFC 9293 3.3.2, the states of a client).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// There is none; it may be opened.
    #[default]
    Closed,
    /// SYN sent.
    Opening,
    /// Established, and nobody has ended it.
    Open,
    /// Our FIN is queued or sent, and not acknowledged or not answered by the peer's.
    Closing,
}

/// Facts of one bit.
pub(crate) mod mark {
    /// It has an entry in the timer wheel.
    pub(crate) const TIMED: u16 = 1 << 0;
    /// It waits in the queue of those that may ask.
    pub(crate) const QUEUED: u16 = 1 << 1;
    /// It counts among those that wait for the peer.
    pub(crate) const BUSY: u16 = 1 << 2;
    /// The body that is being read is compared.
    pub(crate) const COMPARED: u16 = 1 << 3;
    /// The body that is being read is learned.
    pub(crate) const LEARNED: u16 = 1 << 4;
    /// The peer's FIN has come.
    pub(crate) const ENDED: u16 = 1 << 5;
    /// The peer has said that it closes behind this answer.
    pub(crate) const LAST: u16 = 1 << 6;
    /// It waits in the queue of acknowledgments that may wait.
    pub(crate) const OWES: u16 = 1 << 7;
    /// The answer that is being read is wrong.
    pub(crate) const WRONG: u16 = 1 << 8;
}

/// One connection: 48 bytes, of which there may be ten million.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conn {
    /// SND.UNA: the oldest byte that is not acknowledged.
    pub(crate) una: SeqNum,
    /// SND.NXT: the next byte to send; behind `una` again after a timeout.
    pub(crate) nxt: SeqNum,
    /// The end of what shall be sent.
    pub(crate) end: SeqNum,
    /// RCV.NXT.
    pub(crate) rcv_nxt: SeqNum,
    /// Place of `una` in the circle of requests.
    pub(crate) place: u32,
    /// Bytes of the current answer's body that have not come.
    pub(crate) body: u32,
    /// Requests queued on this connection since it was opened.
    pub(crate) asked: u32,
    /// Answers that were whole.
    pub(crate) answered: u32,
    /// When something is to be done if nothing comes, in milliseconds.
    pub(crate) deadline: u32,
    /// SND.WND.
    pub(crate) window: u16,
    /// Our port.
    pub(crate) port: u16,
    /// Which request of the circle the next answer is to.
    pub(crate) which: u16,
    /// See [`mark`].
    pub(crate) marks: u16,
    pub(crate) state: State,
    /// Timeouts or failed handshakes in a row.
    pub(crate) tries: u8,
    /// Segments with data that were not acknowledged.
    pub(crate) unacked: u8,
}

const _: () = assert!(size_of::<Conn>() <= 48);

impl Conn {
    #[inline]
    pub(crate) fn has(&self, mark: u16) -> bool {
        self.marks & mark != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, mark: u16, on: bool) {
        if on {
            self.marks |= mark;
        } else {
            self.marks &= !mark;
        }
    }

    /// Requests whose answers are not whole.
    #[inline]
    pub(crate) fn waiting(&self) -> u32 {
        self.asked - self.answered
    }

    /// Whether it waits for anything of the peer's.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        match self.state {
            State::Closed => false,
            State::Opening | State::Closing => true,
            State::Open => self.asked != self.answered,
        }
    }

    /// Whether something sent, or to be sent, is not acknowledged.
    #[inline]
    pub(crate) fn unsure(&self) -> bool {
        self.una != self.end
    }
}
