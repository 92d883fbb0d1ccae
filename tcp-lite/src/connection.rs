//! One connection: its parts, its end, and its talk with the application.

use crate::app::{App, Io, Out, Wish};
use crate::config::Settings;
use crate::counters::{CloseReason, Counters};
use crate::flow::Flow;
use crate::handshake::Negotiated;
use crate::key::Key;
use crate::limiter::Limiter;
use crate::recv::{Buffers, Placed, Rcv, Unread};
use crate::send::Pieces;
use crate::state::{Eof, Linger, State, TimeWait};
use crate::table::Keyed;
use crate::time::{Instant, Timer};
use core::time::Duration;

/// How soon a connection asks again for room in the stack's piece slab when no ACK of its own will make any.
const RETRY: Duration = Duration::from_millis(10);

/// Are segments predicted?
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prediction {
    On,
    Off,
}

/// What all connections of a stack share.
pub(crate) struct Shared<A: App> {
    pub config: Settings,
    pub pieces: Pieces<A::Piece>,
    pub buffers: Buffers,
    pub counters: Counters,
    /// Off only where tests compare with it.
    #[cfg(test)]
    pub prediction: Prediction,
    #[cfg(test)]
    pub predicted: u64,
    pub challenges: Limiter,
    pub resets: Limiter,
    /// New connections are the kernel's.
    pub refusing: bool,
    /// Connections that begin all the same are closed at once.
    pub draining: bool,
}

/// What a connection works with during one call.
pub(crate) struct Cx<'a, A: App, O> {
    pub now: Instant,
    pub flow: &'a Flow,
    pub shared: &'a mut Shared<A>,
    pub app: &'a mut A,
    pub out: &'a mut O,
}

pub(crate) struct Connection<A: App> {
    pub key: Key,
    pub link: A::Link,
    pub conn: A::Conn,
    pub deadline: Timer,
    /// The stack's wheel rings for it by then.
    pub wake: Timer,
    pub terms: Negotiated,
    pub rcv: Rcv,
    pub state: State,
    /// In the stack's list of connections to flush.
    pub touched: bool,
    /// Keep-alive probes sent since the peer was last heard.
    pub probes: u8,
}

impl<A: App> Keyed for Connection<A> {
    fn key(&self) -> &Key {
        &self.key
    }

    fn fetch(&self) {
        let (parts, wake) = (&self.key, self.wake);
        let numbers = (self.rcv.nxt, self.terms.mss());
        core::hint::black_box((parts, wake, numbers, self.state.class()));
    }
}

impl<A: App> Connection<A> {
    /// The earliest of all its deadlines.
    #[inline]
    pub fn timer(&self, now: Instant, config: &Settings) -> Timer {
        self.state
            .timer(now, config)
            .min(self.rcv.delayed)
            .min(self.deadline)
            .min(self.keep_alive(now, config))
    }

    /// To be called before anything happens to the connection but what is predicted.
    #[inline]
    pub fn unfold<O>(&mut self, cx: &mut Cx<'_, A, O>) {
        if let Some((snd, _)) = self.state.snd() {
            snd.unfold(cx.now, &cx.shared.config, &mut cx.shared.pieces);
        }
    }

    /// Shows the application what it has not consumed: what the inbox holds, else `lent` straight from the frame.
    pub fn deliver<O: Out<A::Link>>(&mut self, lent: &[u8], cx: &mut Cx<'_, A, O>) {
        let mut used = 0;
        let mut held = 0;
        let lifted = self.call(cx, |app, now, io, unread| {
            let shown = if lent.is_empty() { unread } else { lent };
            held = shown.len();
            used = app.on_data(now, io, shown).min(held);
        });
        let Some((unread, wish)) = lifted else { return };
        let Some(inbox) = self.state.inbox() else {
            return;
        };
        inbox.consumed(unread, used, &mut cx.shared.buffers);
        let held = (held - used) as u32;
        self.conclude(lent.get(used..).unwrap_or(&[]), held, wish, cx);
    }

    /// After `on_data`: keeps `rest`, what was lent and not consumed, with which `unread` bytes are held, and does what the
    /// application wished.
    pub fn conclude<O: Out<A::Link>>(
        &mut self,
        rest: &[u8],
        unread: u32,
        wish: Wish,
        cx: &mut Cx<'_, A, O>,
    ) {
        let Some(inbox) = self.state.inbox() else {
            return;
        };
        let kept =
            rest.is_empty() || inbox.place(0, rest, &mut cx.shared.buffers) != Placed::NoRoom;
        self.rcv.unread = unread;
        self.rcv.starved = self.rcv.unread > 0 && !wish.blocked;
        self.grant(wish, cx);
        if !kept && self.state.inbox().is_some() {
            self.abort(CloseReason::ReceiveBudget, cx);
        }
        if !self.rcv.leaving && self.rcv.has_news(self.terms.payload(), &cx.shared.config) {
            self.rcv.ack_now = true;
        }
    }

    /// Tells the application of the peer's FIN, once it has seen all it wants of the data.
    pub fn tell_eof<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) {
        let State::CloseWait {
            inbox,
            eof: eof @ Eof::Pending,
            ..
        } = &mut self.state
        else {
            return;
        };
        if inbox.blocked || self.rcv.leaving {
            return;
        }
        *eof = Eof::Told(Timer::after(cx.now, cx.shared.config.linger));
        let lifted = self.call(cx, |app, now, io, unread| app.on_eof(now, io, unread));
        self.put_back(lifted, cx);
    }

    /// The application's deadline passed.
    pub fn tell_deadline<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) {
        self.deadline = Timer::OFF;
        let lifted = self.call(cx, |app, now, io, unread| app.on_deadline(now, io, unread));
        self.put_back(lifted, cx);
    }

    pub fn put_back<O: Out<A::Link>>(
        &mut self,
        lifted: Option<(Unread, Wish)>,
        cx: &mut Cx<'_, A, O>,
    ) {
        let Some((unread, mut wish)) = lifted else {
            return;
        };
        if let Some(inbox) = self.state.inbox() {
            inbox.consumed(unread, 0, &mut cx.shared.buffers);
            // Only `on_data` itself ends its waiting for room.
            wish.blocked |= inbox.blocked;
        }
        self.grant(wish, cx);
    }

    /// Runs a callback with the unread bytes lifted out; `None` in states whose input the application does not see.
    pub fn call<O>(
        &mut self,
        cx: &mut Cx<'_, A, O>,
        callback: impl FnOnce(&mut A, Instant, &mut Io<'_, A>, &[u8]),
    ) -> Option<(Unread, Wish)> {
        let unread = self.state.inbox()?.lift();
        let (snd, _) = self.state.snd()?;
        let mut io = Io {
            now: cx.now,
            conn: &mut self.conn,
            flow: cx.flow,
            snd,
            pieces: &mut cx.shared.pieces,
            limit: cx.shared.config.pieces_per_connection,
            deadline: &mut self.deadline,
            wish: Wish::default(),
        };
        callback(cx.app, cx.now, &mut io, unread.bytes());
        let wish = io.wish;
        Some((unread, wish))
    }

    /// Does what the callback asked for.
    fn grant<O: Out<A::Link>>(&mut self, wish: Wish, cx: &mut Cx<'_, A, O>) {
        if wish.abort {
            self.abort(CloseReason::Aborted, cx);
            return;
        }
        if wish.close {
            self.close(cx.shared);
            return;
        }
        if wish.hand_off {
            self.leave();
            return;
        }
        let waits = self.state.snd().is_none_or(|(snd, _)| snd.has_queued());
        if let Some(inbox) = self.state.inbox() {
            inbox.blocked = wish.blocked;
            inbox.retry = if wish.blocked && !waits {
                Timer::after(cx.now, RETRY)
            } else {
                Timer::OFF
            };
        }
    }

    /// CLOSE (RFC 9293 section 3.10.4): FIN goes behind what is queued, input is no longer wanted.
    pub fn close(&mut self, shared: &mut Shared<A>) {
        self.state = match self.state.take() {
            State::Established { snd, mut inbox } => {
                inbox.release(&mut shared.buffers);
                State::FinWait1 {
                    snd,
                    linger: Linger::NEW,
                }
            }
            State::CloseWait {
                snd,
                mut inbox,
                eof: _,
            } => {
                inbox.release(&mut shared.buffers);
                State::LastAck { snd }
            }
            unchanged @ (State::SynRcvd(_)
            | State::FinWait1 { .. }
            | State::FinWait2 { .. }
            | State::Closing { .. }
            | State::LastAck { .. }
            | State::TimeWait(_)
            | State::Closed) => unchanged,
        };
        self.rcv.unread = 0;
        self.rcv.starved = false;
        self.deadline = Timer::OFF;
    }

    /// Resets the connection. The RST is lost when the transmit side is full: the peer's next segment gets another.
    pub fn abort<O: Out<A::Link>>(&mut self, why: CloseReason, cx: &mut Cx<'_, A, O>) {
        self.send_reset(cx);
        self.end(why, cx);
    }

    /// Ends the connection without a word to the peer.
    pub fn end<O>(&mut self, why: CloseReason, cx: &mut Cx<'_, A, O>) {
        let state = self.state.take();
        let told = match state {
            State::SynRcvd(_) => {
                cx.shared.counters.count_close(why);
                false
            }
            State::TimeWait(_) | State::Closed => false,
            State::Established { mut snd, mut inbox }
            | State::CloseWait {
                mut snd,
                mut inbox,
                eof: _,
            } => {
                inbox.release(&mut cx.shared.buffers);
                snd.clear(&mut cx.shared.pieces, cx.app);
                true
            }
            State::FinWait1 { mut snd, linger: _ }
            | State::Closing { mut snd }
            | State::LastAck { mut snd } => {
                snd.clear(&mut cx.shared.pieces, cx.app);
                true
            }
            State::FinWait2 { .. } => true,
        };
        self.deadline = Timer::OFF;
        if told {
            cx.shared.counters.count_close(why);
            cx.app
                .on_closed(cx.flow, core::mem::take(&mut self.conn), why);
        }
    }

    /// Enters TIME-WAIT, or starts its 2 MSL again; to the application the connection ended when it entered.
    pub fn wait_out<O>(&mut self, cx: &mut Cx<'_, A, O>) {
        let until = Timer::after(cx.now, cx.shared.config.time_wait);
        let snd_nxt = self.state.snd_nxt();
        if let State::TimeWait(wait) = &mut self.state {
            wait.until = until;
            return;
        }
        self.end(CloseReason::Finished, cx);
        self.state = State::TimeWait(TimeWait {
            snd_nxt,
            until,
            prev: u32::MAX,
            next: u32::MAX,
        });
    }
}
