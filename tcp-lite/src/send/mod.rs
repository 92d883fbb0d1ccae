//! The send half of a connection: what is outstanding, what may go out now, what must go out again.

mod ack;
mod busy;
mod congestion;
mod cubic;
mod ecn;
mod growth;
mod pace;
mod predicted;
mod queue;
mod rack;
mod recovery;
mod sent;
mod timer;
mod volley;
mod window;

use core::time::Duration;

use crate::app::{App, Full};
use crate::config::Settings;
use crate::rtt::Rtt;
use crate::seq::SeqNum;
use crate::time::{Instant, Timer, millis};
use crate::wire::{SackBlocks, Sum};

use busy::Busy;
use congestion::Congestion;
pub(crate) use queue::Pieces;
use queue::SendQueue;
use rack::Reordering;
pub(crate) use timer::TimerVerdict;
use volley::{Load, Volley};
pub(crate) use window::{Chunk, Plain};

/// Send sequence space (RFC 9293 section 3.3.1):
///
/// ```text
///      snd_una                    snd_nxt          snd_una + bytes (+ 1 for FIN)
///         |  outstanding: flying,    |  not sent yet    |
///         |  lost or reported        |
/// ```
/// Everything else that only exists while there is such a space is in [`Busy`].
#[derive(Debug)]
pub(crate) struct Snd {
    pub una: SeqNum,
    pub nxt: SeqNum,
    /// SND.WND, scaled.
    wnd: u32,
    /// SND.WL1, SND.WL2
    wl1: SeqNum,
    wl2: SeqNum,
    max_wnd: u32,
    congestion: Congestion,
    rtt: Rtt,
    /// Since when nothing is outstanding: ms, low half.
    resting: u32,
    /// Up to here the peer's echoes tell of congestion that was answered; kept near `una`.
    ecn_end: SeqNum,
    /// Payload of a full segment, options already taken off.
    mss: u16,
    /// Payload of the largest segment that arrived.
    carried: u16,
    /// The peer sends SACK blocks: losses are found by RACK, else by duplicate ACKs.
    sack: bool,
    /// The congestion window was reduced: the next new data says so (RFC 3168 section 6.1.2).
    pub cwr: bool,
    reordering: Reordering,
    load: Load,
}

/// What an acceptable ACK did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Acked {
    /// New payload bytes acknowledged; the caller takes them off the queue.
    pub bytes: u32,
    /// Our FIN is acknowledged.
    pub fin: bool,
}

/// What the ACK of a segment says about our sending.
pub(crate) struct AckInfo<'a> {
    pub seq: SeqNum,
    pub ack: SeqNum,
    /// Scaled.
    pub wnd: u32,
    /// No payload, no SYN, no FIN: only then may it be a duplicate (RFC 5681 section 2).
    pub pure: bool,
    pub sack: &'a SackBlocks,
    /// It comes with ECN-Echo, which was agreed on.
    pub echo: bool,
    /// Round trip by its echoed timestamp.
    pub echoed_rtt: Option<Duration>,
}

/// What the handshake hands to the send half.
pub(crate) struct SndStart {
    pub iss: SeqNum,
    pub wnd: u32,
    pub seq: SeqNum,
    pub mss: u16,
    /// SACK was agreed on.
    pub sack: bool,
    pub rtt: Option<Duration>,
    pub handshake_lost: bool,
}

/// A time as it is kept with each segment: µs, low half.
fn stamp(now: Instant) -> u32 {
    now.0 as u32
}

impl Snd {
    /// The handshake is complete: SYN was `start.iss`, everything from the next number on is ours to send.
    pub fn new(now: Instant, start: SndStart) -> Snd {
        let una = start.iss + 1;
        let mut rtt = Rtt::default();
        if let Some(sample) = start.rtt {
            rtt.sample(sample.as_micros() as u32);
            rtt.least(sample.as_micros() as u32);
        }
        Snd {
            una,
            nxt: una,
            wnd: start.wnd,
            wl1: start.seq,
            wl2: una,
            max_wnd: start.wnd,
            congestion: Congestion::new(u32::from(start.mss), start.handshake_lost),
            rtt,
            resting: millis(now),
            ecn_end: start.iss,
            mss: start.mss,
            carried: 0,
            sack: start.sack,
            cwr: false,
            reordering: Reordering::NONE,
            load: Load::Rest,
        }
    }

    /// Appends a piece of `len > 0` bytes to the queue, which holds at most `limit`, up to `times` times; how often.
    #[inline]
    pub fn push<P: Copy>(
        &mut self,
        pieces: &mut Pieces<P>,
        piece: P,
        len: u32,
        times: u16,
        limit: u16,
    ) -> Result<u16, Full> {
        if let Load::Rest = self.load {
            let run = pieces.enlist(piece, len, times.min(limit), 0)?;
            self.load = Load::Volley(Volley {
                run: run.place,
                bytes: run.bytes,
                at: 0,
            });
            return Ok(run.times);
        }
        self.push_behind(pieces, piece, len, times, limit)
    }

    /// There is something already. It was not sent if it is a volley: nothing is pushed while one is under way.
    fn push_behind<P: Copy>(
        &mut self,
        pieces: &mut Pieces<P>,
        piece: P,
        len: u32,
        times: u16,
        limit: u16,
    ) -> Result<u16, Full> {
        if let Load::Volley(volley) = self.load {
            let mut busy = pieces.spares.take(self.una);
            busy.queue = SendQueue::of(pieces, volley.run, 0);
            self.load = Load::Busy(busy);
        }
        match &mut self.load {
            Load::Busy(busy) => busy.queue.push(pieces, piece, len, times, limit),
            Load::Rest | Load::Volley(_) | Load::Fin(_) => Err(Full),
        }
    }

    /// The box, of a connection that has something to send.
    fn busy<P: Copy>(
        &mut self,
        now: Instant,
        config: &Settings,
        pieces: &mut Pieces<P>,
    ) -> &mut Busy {
        self.unfold(now, config, pieces);
        if let Load::Rest = self.load {
            self.load = Load::Busy(pieces.spares.take(self.una));
        }
        match &mut self.load {
            Load::Busy(busy) => busy,
            Load::Rest | Load::Volley(_) | Load::Fin(_) => unreachable!("it was made one"),
        }
    }

    /// The first `n` bytes of the queue were acknowledged: releases each piece that is now whole.
    pub fn release<A: App>(&mut self, pieces: &mut Pieces<A::Piece>, n: u32, app: &mut A) {
        if let Load::Busy(busy) = &mut self.load {
            busy.queue.acked(pieces, n, app);
            self.rest_if_done(pieces);
        }
    }

    /// The connection is gone: releases every piece.
    pub fn clear<A: App>(&mut self, pieces: &mut Pieces<A::Piece>, app: &mut A) {
        match core::mem::replace(&mut self.load, Load::Rest) {
            Load::Rest | Load::Fin(_) => {}
            Load::Volley(volley) => self.release_volley(volley, pieces, app),
            Load::Busy(mut busy) => {
                busy.queue.clear(pieces, app);
                pieces.spares.give_back(busy);
            }
        }
    }

    /// Gives the box back when nothing is queued or outstanding.
    #[inline]
    pub fn rest_if_done<P>(&mut self, pieces: &mut Pieces<P>) {
        if !self.is_busy(false)
            && let Load::Busy(busy) = core::mem::replace(&mut self.load, Load::Rest)
        {
            pieces.spares.give_back(busy);
        }
    }

    /// Writes bytes `[at, at + buf.len())`, counted from `una`, all of them queued. Returns their sum.
    #[inline]
    pub fn fill<A: App>(
        &mut self,
        pieces: &Pieces<A::Piece>,
        at: u32,
        buf: &mut [u8],
        app: &mut A,
    ) -> Sum {
        match &mut self.load {
            Load::Busy(busy) => busy.queue.fill(pieces, at, buf, app),
            Load::Volley(volley) => pieces.fill(volley.run, at, buf, app),
            Load::Rest | Load::Fin(_) => Sum::ZERO,
        }
    }

    /// Bytes from `una` on, sent or not.
    #[inline]
    fn queued(&self) -> u32 {
        match &self.load {
            Load::Rest | Load::Fin(_) => 0,
            Load::Volley(volley) => volley.bytes,
            Load::Busy(busy) => busy.queue.bytes(),
        }
    }

    /// Is anything queued that the peer has not acknowledged?
    #[inline]
    pub fn has_queued(&self) -> bool {
        self.queued() > 0
    }

    /// Is anything queued that was not sent yet, or lost?
    pub fn has_unsent(&self) -> bool {
        let lost = |busy: &Busy| busy.sheet.has_lost();
        self.load.busy().is_some_and(lost) || self.queued() > self.nxt.since(self.una)
    }

    /// Pieces not acknowledged whole.
    pub fn pieces<P: Copy>(&self, pieces: &Pieces<P>) -> u16 {
        match &self.load {
            Load::Rest | Load::Fin(_) => 0,
            Load::Volley(volley) => pieces.times(volley.run),
            Load::Busy(busy) => busy.queue.len(),
        }
    }

    /// SND.WND
    pub fn wnd(&self) -> u32 {
        self.wnd
    }

    /// The earliest of its timers.
    #[inline]
    pub fn timer(&self, now: Instant, config: &Settings) -> Timer {
        match &self.load {
            Load::Rest => Timer::OFF,
            Load::Volley(volley) => self.light_timer(volley.at, now, config),
            Load::Fin(at) => self.light_timer(*at, now, config),
            Load::Busy(busy) => busy.rto.min(busy.early).min(busy.pace.timer),
        }
    }

    /// The path takes only segments of `mss` payload bytes: sends what is outstanding again, without a congestion
    /// response (RFC 1191 section 6.5).
    pub fn lower_mss(&mut self, mss: u16) {
        self.mss = self.mss.min(mss);
        if let Load::Busy(busy) = &mut self.load {
            busy.sheet.lose_all();
            busy.forced = None;
        }
    }

    /// Is `ack` one that RFC 5961 section 5 lets us look at?
    pub fn is_plausible(&self, ack: SeqNum) -> bool {
        ack.le(self.nxt) && (self.una - self.max_wnd).le(ack)
    }

    /// RFC 5927 section 6.2: may an ICMP message quote this sequence number?
    pub fn is_outstanding(&self, seq: SeqNum) -> bool {
        seq.within(self.una, self.nxt.since(self.una))
    }

    /// Did the timer ring since the peer last acknowledged anything new?
    #[inline]
    pub fn is_backed_off(&self) -> bool {
        self.rtt.is_backed_off()
    }

    /// Timeouts in a row while more than `payload` bytes are outstanding that the peer has room for.
    pub fn timeouts_above(&self, payload: u16) -> u8 {
        let large = self.nxt.since(self.una).min(self.wnd) > u32::from(payload);
        if large { self.rtt.timeouts() } else { 0 }
    }

    /// Did a segment with more than `payload` bytes ever arrive?
    pub fn has_carried(&self, payload: u16) -> bool {
        self.carried > payload
    }

    /// Something is queued or outstanding.
    #[inline]
    pub fn is_busy(&self, fin: bool) -> bool {
        fin || self.has_queued() || self.una != self.nxt
    }

    #[inline]
    pub fn mss(&self) -> u32 {
        u32::from(self.mss)
    }
}
