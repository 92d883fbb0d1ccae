//! An answer that went out at once: nearly always all that a connection has to send, and then it is acknowledged whole.
//!
//! Nothing about it but [`Volley`] has to be kept: all that [`Busy`] would hold follows from that, since the ACK of all of
//! it is the first thing to happen. If it is something else, [`Snd::unfold`] makes the box that would stand there had it
//! been used from the beginning.

use core::time::Duration;

use super::busy::{Busy, Early};
use super::congestion::Growth;
use super::cubic::Curve;
use super::pace::MIN_WINDOW;
use super::queue::SendQueue;
use super::sent::{MAX_SEGMENTS, age};
use super::window::Chunk;
use super::{Pieces, Snd, millis, stamp};
use crate::app::App;
use crate::config::Settings;
use crate::seq::SeqNum;
use crate::time::{Instant, Timer};
use crate::turn::{Answer, Request};

/// What is queued or outstanding, from SND.UNA on.
#[derive(Debug)]
pub(super) enum Load {
    /// Nothing.
    Rest,
    /// One run, of which nothing was sent, or everything at once, in one segment with FIN where that stands behind it.
    Volley(Volley),
    /// The FIN alone, which was sent once: when, µs, low half.
    Fin(u32),
    /// Anything.
    Busy(Box<Busy>),
}

impl Load {
    #[inline]
    pub fn busy(&self) -> Option<&Busy> {
        match self {
            Load::Busy(busy) => Some(busy),
            Load::Rest | Load::Volley(_) | Load::Fin(_) => None,
        }
    }

    #[inline]
    pub fn busy_mut(&mut self) -> Option<&mut Busy> {
        match self {
            Load::Busy(busy) => Some(busy),
            Load::Rest | Load::Volley(_) | Load::Fin(_) => None,
        }
    }
}

/// One run of a piece. It is sent in full segments, but for the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Volley {
    /// Its place in the slab.
    pub(super) run: u32,
    pub(super) bytes: u32,
    /// When it was sent, µs, low half; of no meaning before.
    pub(super) at: u32,
}

impl Snd {
    /// A volley that waits, and may go out as it is: how many bytes.
    #[inline]
    pub fn volley_to_send(&mut self, now: Instant, config: &Settings) -> Option<u32> {
        let mss = self.mss();
        let Load::Volley(volley) = &mut self.load else {
            return None;
        };
        let bytes = volley.bytes;
        if self.una != self.nxt || bytes > self.wnd || bytes > MAX_SEGMENTS as u32 * mss {
            return None;
        }
        volley.at = stamp(now);
        self.restart_after_pause(now, config);
        (bytes <= self.congestion.cwnd && self.rate().is_none()).then_some(bytes)
    }

    /// Was a volley sent that is not acknowledged?
    #[inline]
    pub fn is_volley_out(&self) -> bool {
        matches!(self.load, Load::Volley(_)) && self.una != self.nxt
    }

    /// The next `len` bytes of the volley were emitted.
    #[inline]
    pub fn sent_of_volley(&mut self, len: u32) {
        self.nxt += len;
    }

    /// Takes the ACK of all that was sent; the run is still to be released.
    #[inline(always)]
    pub(super) fn on_volley_acked(
        &mut self,
        now: Instant,
        ack: SeqNum,
        volley: Volley,
        config: &Settings,
    ) {
        let mss = self.mss();
        let longest = volley.bytes.min(mss) as u16;
        self.carried = self.carried.max(longest);
        let age = age(volley.at, stamp(now));
        self.rtt.least(age);
        self.rtt.sample(age);
        self.rtt.restore();
        self.una = ack;
        self.ecn_end = self.ecn_end.max(ack - 1);
        if self.congestion.is_used(false, volley.bytes) {
            let growth = Growth {
                now,
                acked: volley.bytes,
                mss,
                srtt: self.rtt.smoothed(),
            };
            // A curve ends with what is outstanding.
            self.congestion
                .grow(config.congestion, &mut Curve::default(), &growth);
        }
        self.resting = millis(now);
    }

    /// The FIN with all that is queued in front of it, where that fits a segment, nothing was sent of it, and nothing else is
    /// outstanding.
    #[inline]
    pub fn last_to_send(&mut self, now: Instant, config: &Settings) -> Option<Chunk> {
        let bytes = match &self.load {
            Load::Rest => 0,
            Load::Volley(volley) => volley.bytes,
            Load::Fin(_) | Load::Busy(_) => return None,
        };
        if self.una != self.nxt || bytes >= self.wnd.min(self.mss()) {
            return None;
        }
        self.restart_after_pause(now, config);
        let chunk = Chunk {
            seq: self.nxt,
            len: bytes,
            fin: true,
            push: bytes > 0,
            again: false,
        };
        (bytes <= self.congestion.cwnd && self.rate().is_none()).then_some(chunk)
    }

    /// That was emitted.
    #[inline]
    pub fn sent_last(&mut self, now: Instant, chunk: &Chunk) {
        match &mut self.load {
            Load::Volley(volley) => volley.at = stamp(now),
            load => *load = Load::Fin(stamp(now)),
        }
        self.nxt += chunk.len + 1;
    }

    /// Was that sent, and nothing of it acknowledged?
    #[inline]
    pub fn is_last_out(&self) -> bool {
        let bytes = match &self.load {
            Load::Volley(volley) => volley.bytes,
            Load::Fin(_) => 0,
            Load::Rest | Load::Busy(_) => return false,
        };
        self.nxt.since(self.una) == bytes + 1
    }

    /// Does `ack`, with a window of `wnd`, leave nothing outstanding, and may an answer of `len` bytes go out then, in one
    /// segment and as a volley?
    #[inline(always)]
    pub fn may_turn(&self, ack: SeqNum, wnd: u32, len: u32) -> bool {
        let (flight, mss) = (self.nxt.since(self.una), self.mss());
        let waited = match &self.load {
            Load::Rest => 0,
            Load::Volley(volley) => volley.bytes,
            Load::Fin(_) | Load::Busy(_) => return false,
        };
        ack == self.nxt
            && flight == waited
            // Growth comes of more than a segment; up to here nothing is paced, and a pause leaves room for a segment.
            && waited <= mss
            && self.congestion.cwnd < MIN_WINDOW * mss
            && len <= mss.min(self.congestion.cwnd).min(wnd)
            && (self.wnd > 0 || flight == 0)
            && !self.cwr
    }

    /// All of that: the number of the answer's segment, and the piece that the ACK releases. There is room for another.
    #[inline(always)]
    pub fn turn<P: Copy>(
        &mut self,
        now: Instant,
        request: &Request,
        wnd: u32,
        answer: &Answer<P>,
        config: &Settings,
        pieces: &mut Pieces<P>,
    ) -> (SeqNum, Option<P>) {
        let released = if let Load::Volley(volley) = self.load {
            self.on_volley_acked(now, request.ack, volley, config);
            if let Load::Volley(volley) = &mut self.load {
                (volley.bytes, volley.at) = (answer.len, stamp(now));
            }
            Some(pieces.exchange(volley.run, answer.piece, answer.len))
        } else {
            self.restart_after_pause(now, config);
            if let Ok(run) = pieces.enlist(answer.piece, answer.len, 1, 0) {
                self.load = Load::Volley(Volley {
                    run: run.place,
                    bytes: run.bytes,
                    at: stamp(now),
                });
            }
            None
        };
        // As `update_window` does: this segment is the newest, and what waits for a window is no volley.
        self.wnd = wnd;
        self.max_wnd = self.max_wnd.max(wnd);
        (self.wl1, self.wl2) = (request.seq, request.ack);
        let seq = self.nxt;
        self.nxt += answer.len;
        (seq, released)
    }

    /// Releases the run of a volley that was acknowledged whole, or that is not to be sent any more.
    #[inline]
    pub(super) fn release_volley<A: App>(
        &mut self,
        volley: Volley,
        pieces: &mut Pieces<A::Piece>,
        app: &mut A,
    ) {
        self.load = Load::Rest;
        app.on_release(pieces.strike(volley.run));
    }

    /// The earliest timer of what was sent at `at` without a box, if anything was.
    #[inline]
    pub(super) fn light_timer(&self, at: u32, now: Instant, config: &Settings) -> Timer {
        if self.una == self.nxt {
            return Timer::OFF;
        }
        let (rto, early) = self.light_timers(sent_at(at, now), config);
        rto.min(early)
    }

    /// The retransmission timer and the probe's, where all that is outstanding was sent at `at`.
    fn light_timers(&self, at: Instant, config: &Settings) -> (Timer, Timer) {
        let wait = self.rtt.rto(config).min(config.micros.user_timeout);
        let rto = Timer::at(at.later(wait));
        let single = self.nxt.since(self.una) <= self.mss();
        let early = match self.probe_wait(single, config) {
            Some(wait) => Timer::at(at.later(wait)).min(rto),
            None => Timer::OFF,
        };
        (rto, early)
    }

    /// From here on the connection has a box. To be called before anything happens that is not the way of a volley, or of
    /// a FIN that is acknowledged.
    #[inline]
    pub fn unfold<P: Copy>(&mut self, now: Instant, config: &Settings, pieces: &mut Pieces<P>) {
        if let Load::Volley(_) | Load::Fin(_) = self.load {
            let mut busy = pieces.spares.take(self.una);
            self.furnish(&mut busy, now, config, pieces);
            self.load = Load::Busy(busy);
        }
    }

    /// Makes a new box what it would be.
    fn furnish<P: Copy>(
        &self,
        busy: &mut Busy,
        now: Instant,
        config: &Settings,
        pieces: &Pieces<P>,
    ) {
        let flight = self.nxt.since(self.una);
        let sent = match &self.load {
            Load::Volley(volley) => {
                let filled = flight.min(volley.bytes);
                busy.queue = SendQueue::of(pieces, volley.run, filled);
                volley.at
            }
            Load::Fin(at) => *at,
            Load::Rest | Load::Busy(_) => return,
        };
        if flight == 0 {
            return;
        }
        let at = sent_at(sent, now);
        let mut seq = self.una;
        while seq != self.nxt {
            let end = seq + self.nxt.since(seq).min(self.mss());
            busy.sheet.send(seq, end, sent);
            seq = end;
        }
        busy.progress = at;
        (busy.rto, busy.early) = self.light_timers(at, config);
        busy.early_for = Early::Probe;
    }

    /// RFC 8985 section 7.2: how long to wait for the ACK of what was just sent, one segment or several, before the tail
    /// is probed, µs. `None`: never.
    #[inline]
    pub(super) fn probe_wait(&self, single: bool, config: &Settings) -> Option<u64> {
        let trip = u64::from(self.rtt.smoothed());
        if !self.sack || trip == 0 || self.wnd == 0 {
            return None;
        }
        let wait = (2 * trip).max(MIN_PTO.as_micros() as u64);
        // The delayed ACK is there one trip and the delay later; half a trip for its variance. A whole one as well, as
        // the RFC has it, would only hold up what is lost on a long path.
        let delayed = trip + trip / 2 + config.micros.peer_ack_delay;
        Some(if single { wait.max(delayed) } else { wait })
    }
}

/// Least time before a tail loss probe. Less takes a peer for silent that only waits for its processor (its round trip
/// being that of an idle machine); more leaves a short path waiting for nothing.
const MIN_PTO: Duration = Duration::from_millis(5);

/// When what has no box was sent, at `at`, µs, low half. It was not long ago: the timer of whatever is outstanding rings
/// before.
#[inline]
fn sent_at(at: u32, now: Instant) -> Instant {
    Instant(now.0.saturating_sub(u64::from(age(at, stamp(now)))))
}

/// What [`Snd`] would look like with a box: for tests that compare.
#[cfg(test)]
impl Snd {
    pub fn lay_open<P: Copy>(
        &mut self,
        now: Instant,
        config: &Settings,
        pieces: &Pieces<P>,
    ) -> Folded {
        if let Load::Rest | Load::Busy(_) = self.load {
            return Folded(None);
        }
        let mut busy = Box::new(Busy::new(self.una));
        self.furnish(&mut busy, now, config, pieces);
        Folded(Some(core::mem::replace(&mut self.load, Load::Busy(busy))))
    }

    pub fn fold_again(&mut self, folded: Folded) {
        if let Some(load) = folded.0 {
            self.load = load;
        }
    }
}

/// What was laid open.
#[cfg(test)]
pub(crate) struct Folded(Option<Load>);
