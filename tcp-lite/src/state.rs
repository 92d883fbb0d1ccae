//! The states of a connection (RFC 9293 section 3.3.2); each holds only what exists in it.

use crate::config::Settings;
use crate::recv::Inbox;
use crate::send::Snd;
use crate::seq::SeqNum;
use crate::time::{Instant, Timer};

/// LISTEN is the stack itself; SYN-SENT does not exist in a server.
#[derive(Debug)]
pub(crate) enum State {
    /// Our SYN-ACK is out.
    SynRcvd(SynRcvd),
    /// Both directions are open.
    Established { snd: Snd, inbox: Inbox },
    /// The application closed: FIN stands behind the queue or is out. Input is discarded.
    FinWait1 { snd: Snd, linger: Linger },
    /// Our FIN is acknowledged.
    FinWait2 { snd_nxt: SeqNum, linger: Linger },
    /// The peer's FIN was reached; the application may still send.
    CloseWait { snd: Snd, inbox: Inbox, eof: Eof },
    /// Both closed, ours first; our FIN is not acknowledged.
    Closing { snd: Snd },
    /// Both closed, the peer first; our FIN is not acknowledged.
    LastAck { snd: Snd },
    /// All done; old segments may still arrive.
    TimeWait(TimeWait),
    /// Gone: the stack frees the slot at the end of the call.
    Closed,
}

#[derive(Debug)]
pub(crate) struct SynRcvd {
    pub iss: SeqNum,
    /// When the SYN-ACK last went out.
    pub sent: Instant,
    /// SYN-ACKs sent by the timer so far, the first one included; 0 where a cookie was sent, of which we know no more.
    pub tries: u8,
    /// A SYN-ACK is to go out with the next flush.
    pub due: bool,
    pub timer: Timer,
}

/// How long, and how much more, a closed connection listens to a peer that goes on.
#[derive(Debug)]
pub(crate) struct Linger {
    /// FIN-WAIT-2 ends then; off in FIN-WAIT-1, where the user timeout rules.
    pub until: Timer,
    pub discarded: u32,
}

impl Linger {
    pub const NEW: Linger = Linger {
        until: Timer::OFF,
        discarded: 0,
    };
}

/// Whether the application knows of the peer's FIN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Eof {
    /// Not yet: `on_data` still waits for room.
    Pending,
    /// It does, and must close before this timer rings with nothing queued.
    Told(Timer),
}

#[derive(Debug)]
pub(crate) struct TimeWait {
    pub snd_nxt: SeqNum,
    pub until: Timer,
    /// Neighbours in the stack's list of TIME-WAIT connections, oldest first.
    pub prev: u32,
    pub next: u32,
}

/// How the stack counts a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    HalfOpen,
    Live,
    TimeWait,
    Gone,
}

impl State {
    #[inline]
    pub fn class(&self) -> Class {
        match self {
            State::SynRcvd(_) => Class::HalfOpen,
            State::Established { .. }
            | State::FinWait1 { .. }
            | State::FinWait2 { .. }
            | State::CloseWait { .. }
            | State::Closing { .. }
            | State::LastAck { .. } => Class::Live,
            State::TimeWait(_) => Class::TimeWait,
            State::Closed => Class::Gone,
        }
    }

    /// The send half with whether FIN stands behind its queue, where there is one.
    #[inline]
    pub fn snd(&mut self) -> Option<(&mut Snd, bool)> {
        match self {
            State::Established { snd, .. } | State::CloseWait { snd, .. } => Some((snd, false)),
            State::FinWait1 { snd, .. } | State::Closing { snd } | State::LastAck { snd } => {
                Some((snd, true))
            }
            State::SynRcvd(_) | State::FinWait2 { .. } | State::TimeWait(_) | State::Closed => None,
        }
    }

    /// What the application may still be shown, where it may.
    #[inline]
    pub fn inbox(&mut self) -> Option<&mut Inbox> {
        match self {
            State::Established { inbox, .. } | State::CloseWait { inbox, .. } => Some(inbox),
            State::SynRcvd(_)
            | State::FinWait1 { .. }
            | State::FinWait2 { .. }
            | State::Closing { .. }
            | State::LastAck { .. }
            | State::TimeWait(_)
            | State::Closed => None,
        }
    }

    /// SND.NXT
    pub fn snd_nxt(&self) -> SeqNum {
        match self {
            State::SynRcvd(half) => half.iss + 1,
            State::Established { snd, .. }
            | State::FinWait1 { snd, .. }
            | State::CloseWait { snd, .. }
            | State::Closing { snd }
            | State::LastAck { snd } => snd.nxt,
            State::FinWait2 { snd_nxt, .. } => *snd_nxt,
            State::TimeWait(wait) => wait.snd_nxt,
            State::Closed => SeqNum(0),
        }
    }

    /// The earliest timer of the state itself.
    #[inline]
    pub fn timer(&self, now: Instant, config: &Settings) -> Timer {
        match self {
            State::SynRcvd(half) => half.timer,
            State::Established { snd, inbox } => snd.timer(now, config).min(inbox.retry),
            State::FinWait1 { snd, linger } => snd.timer(now, config).min(linger.until),
            State::FinWait2 { snd_nxt: _, linger } => linger.until,
            State::CloseWait { snd, inbox, eof } => {
                let close = match eof {
                    Eof::Pending => Timer::OFF,
                    Eof::Told(until) => *until,
                };
                snd.timer(now, config).min(inbox.retry).min(close)
            }
            State::Closing { snd } | State::LastAck { snd } => snd.timer(now, config),
            State::TimeWait(wait) => wait.until,
            State::Closed => Timer::OFF,
        }
    }

    /// Takes the state out to build the next one from its parts.
    pub fn take(&mut self) -> State {
        core::mem::replace(self, State::Closed)
    }
}
