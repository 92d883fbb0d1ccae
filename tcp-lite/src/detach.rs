//! A connection that leaves for another TCP: what that one must know to go on where this one stopped.

use crate::app::App;
use crate::connection::Connection;
use crate::flow::Flow;
use crate::send::Snd;
use crate::seq::SeqNum;
use crate::state::{Eof, State};
use crate::time::{Instant, Timer};
use crate::wire::Timestamps;

/// What was agreed on, and how far both directions have come. All we sent is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The number of the first unread byte, or of the next one that the peer will send.
    pub seq: SeqNum,
    /// SND.NXT, which is SND.UNA as well.
    pub ack: SeqNum,
    /// Bytes of payload and options in a segment to the peer: its own MSS or less, if our link or the path takes less.
    pub mss: u16,
    /// Snd.Wind.Shift; `None`: no window scaling.
    pub snd_shift: Option<u8>,
    /// Rcv.Wind.Shift.
    pub rcv_shift: u8,
    /// The window field of the peer's next segment, as it would be now.
    pub window: u16,
    /// SACK was agreed on.
    pub sack: bool,
    /// ECN was agreed on.
    pub ecn: bool,
    /// As the peer's next segment would carry them: its TSval as last seen (TS.Recent), and our clock (1 ms) as it is.
    pub timestamps: Option<Timestamps>,
}

/// A connection outside of any stack. Dropping it forgets it without a word to the peer.
pub struct Detached<A: App> {
    pub(crate) flow: Flow,
    /// Its key is of no table any more.
    pub(crate) connection: Connection<A>,
    pub(crate) unread: Vec<u8>,
}

impl<A: App> Detached<A> {
    /// Who talks to whom.
    #[must_use]
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// How the peer was last reached.
    #[must_use]
    pub fn link(&self) -> &A::Link {
        &self.connection.link
    }

    /// The application's state of the connection.
    pub fn conn(&mut self) -> &mut A::Conn {
        &mut self.connection.conn
    }

    /// All bytes in order that the application did not consume; as far as possible the peer was not told that they came.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// The peer's FIN follows the unread bytes.
    #[must_use]
    pub fn fin(&self) -> bool {
        match &self.connection.state {
            State::Established { inbox, .. } => inbox.fin_at(self.connection.rcv.nxt),
            State::CloseWait { .. } => true,
            State::SynRcvd(_)
            | State::FinWait1 { .. }
            | State::FinWait2 { .. }
            | State::Closing { .. }
            | State::LastAck { .. }
            | State::TimeWait(_)
            | State::Closed => false,
        }
    }

    /// What the other TCP must know, if it begins at `now`.
    #[must_use]
    pub fn terms(&self, now: Instant) -> Terms {
        let Connection {
            terms, rcv, state, ..
        } = &self.connection;
        // A FIN that we took has a number behind the unread bytes.
        let taken = u32::from(matches!(state, State::CloseWait { .. }));
        let wnd = open_snd(state).map_or(0, Snd::wnd);
        Terms {
            seq: rcv.nxt - taken - self.unread.len() as u32,
            ack: state.snd_nxt(),
            mss: terms.mss(),
            snd_shift: terms.snd_shift(),
            rcv_shift: terms.rcv_shift,
            window: terms.unscale(wnd),
            sack: terms.sack,
            ecn: terms.ecn,
            timestamps: terms.timestamps.then(|| Timestamps {
                val: rcv.ts_recent(),
                ecr: terms.ts_clock(now),
            }),
        }
    }
}

/// The send half where FIN is not behind its queue: only such connections leave.
fn open_snd(state: &State) -> Option<&Snd> {
    match state {
        State::Established { snd, .. } | State::CloseWait { snd, .. } => Some(snd),
        State::SynRcvd(_)
        | State::FinWait1 { .. }
        | State::FinWait2 { .. }
        | State::Closing { .. }
        | State::LastAck { .. }
        | State::TimeWait(_)
        | State::Closed => None,
    }
}

impl<A: App> Connection<A> {
    /// The application wants no more of the connection: what is unread waits for another TCP.
    pub fn leave(&mut self) {
        self.rcv.leave();
        self.deadline = Timer::OFF;
        if let Some(inbox) = self.state.inbox() {
            inbox.blocked = false;
            inbox.retry = Timer::OFF;
        }
        if let State::CloseWait { eof, .. } = &mut self.state {
            *eof = Eof::Pending;
        }
    }

    /// Is it on its way out, and has the peer acknowledged all that we sent?
    pub fn may_leave(&self) -> bool {
        self.rcv.leaving && open_snd(&self.state).is_some_and(|snd| !snd.is_busy(false))
    }
}
