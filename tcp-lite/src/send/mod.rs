//! The send half of a connection: what is outstanding, what may go out now, what must go out again.

mod congestion;
mod ecn;
mod queue;
mod scoreboard;
mod window;

use core::time::Duration;

use crate::config::Config;
use crate::counters::Counters;
use crate::rtt::Rtt;
use crate::seq::SeqNum;
use crate::time::{Instant, Timer};
use crate::wire::SackBlocks;

use congestion::Congestion;
pub(crate) use queue::{Pieces, SendQueue};
use scoreboard::Scoreboard;
pub(crate) use window::Chunk;

/// Send sequence space (RFC 9293 section 3.3.1):
///
/// ```text
///      snd_una              snd_ptr           snd_nxt          snd_una + bytes (+ 1 for FIN)
///         |  sent            |  to send again   |  not sent yet    |
/// ```
/// `snd_ptr == snd_nxt` except after a timeout, when everything outstanding is sent again from `snd_una`.
#[derive(Debug)]
pub(crate) struct Snd {
    pub una: SeqNum,
    pub nxt: SeqNum,
    ptr: SeqNum,
    /// SND.WND, scaled.
    wnd: u32,
    /// SND.WL1, SND.WL2
    wl1: SeqNum,
    wl2: SeqNum,
    max_wnd: u32,
    pub queue: SendQueue,
    /// Payload of a full segment, options already taken off.
    mss: u16,
    congestion: Congestion,
    rtt: Rtt,
    /// The segment being timed: its end, and when it was sent (µs, low half). Karn: never one sent twice.
    timed: Option<(SeqNum, u32)>,
    /// Retransmission and persist timer in one: set whenever something is queued or outstanding.
    pub timer: Timer,
    /// When `una` last moved, or something began to wait for it.
    progress: Instant,
    /// One segment that goes out before all else, whatever the windows say: start and length (0: none).
    again: (SeqNum, u16),
    /// In recovery: gaps below this were sent again.
    repaired: SeqNum,
    /// Up to here the peer's echoes tell of congestion that was answered; kept near `una`.
    ecn_end: SeqNum,
    /// The congestion window was reduced: the next new data says so (RFC 3168 section 6.1.2).
    pub cwr: bool,
    /// On the heap only while the peer reports gaps.
    scoreboard: Option<Box<Scoreboard>>,
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
    /// Round trip by its echoed timestamp.
    pub echoed_rtt: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimerVerdict {
    Continue,
    GiveUp,
}

/// What the handshake hands to the send half.
pub(crate) struct SndStart {
    pub iss: SeqNum,
    pub wnd: u32,
    pub seq: SeqNum,
    pub mss: u16,
    pub rtt: Option<Duration>,
    pub handshake_lost: bool,
}

impl Snd {
    /// The handshake is complete: SYN was `start.iss`, everything from the next number on is ours to send.
    pub fn new(now: Instant, start: SndStart) -> Snd {
        let una = start.iss + 1;
        let mut rtt = Rtt::default();
        if let Some(sample) = start.rtt {
            rtt.sample(sample.as_micros() as u32);
        }
        Snd {
            una,
            nxt: una,
            ptr: una,
            wnd: start.wnd,
            wl1: start.seq,
            wl2: una,
            max_wnd: start.wnd,
            queue: SendQueue::EMPTY,
            mss: start.mss,
            congestion: Congestion::new(u32::from(start.mss), una, start.handshake_lost),
            rtt,
            timed: None,
            timer: Timer::OFF,
            progress: now,
            again: (una, 0),
            repaired: una,
            ecn_end: start.iss,
            cwr: false,
            scoreboard: None,
        }
    }

    /// Is `ack` one that RFC 5961 section 5 lets us look at?
    pub fn is_plausible(&self, ack: SeqNum) -> bool {
        ack.le(self.nxt) && (self.una - self.max_wnd).le(ack)
    }

    /// Takes a plausible acknowledgment. `fin`: FIN stands behind the queue.
    pub fn on_ack(
        &mut self,
        now: Instant,
        info: &AckInfo<'_>,
        fin: bool,
        config: &Config,
        counters: &mut Counters,
    ) -> Acked {
        let told = self.note_sack(info.sack);
        let mut acked = Acked::default();
        if self.una.lt(info.ack) {
            acked = self.advance(now, info, fin, config);
        } else if info.ack == self.una
            && info.pure
            && self.una != self.nxt
            && self.wnd > 0
            && (info.wnd == self.wnd || told)
            && self
                .congestion
                .on_duplicate(self.una, self.nxt, self.flight(), self.mss())
        {
            counters.fast_retransmits += 1;
            self.window_reduced();
            self.repaired = self.una;
            self.repair();
        } else if self.congestion.recovering
            && self.scoreboard.is_some()
            && info.ack == self.una
            && info.pure
        {
            self.repair();
        }
        self.update_window(info);
        acked
    }

    fn advance(&mut self, now: Instant, info: &AckInfo<'_>, fin: bool, config: &Config) -> Acked {
        let gone = info.ack.since(self.una);
        let flight = self.flight();
        let bytes = gone.min(self.queue.bytes());
        self.una = info.ack;
        self.ecn_end = self.ecn_end.max(self.una - 1);
        self.ptr = self.ptr.max(self.una);
        self.repaired = self.repaired.max(self.una);
        if self.again.0.lt(self.una) {
            self.again.1 = 0;
        }
        if let Some(board) = &mut self.scoreboard {
            board.advance(self.una);
        }
        self.sample_rtt(now, info);
        self.rtt.restore();
        self.progress = now;
        if self.congestion.on_ack(self.una, gone, flight, self.mss()) {
            self.repair();
        } else if !self.congestion.recovering && self.una == self.nxt {
            self.scoreboard = None;
        }
        // RFC 6298 sections 5.2 and 5.3
        self.timer = Timer::OFF;
        if self.una != self.nxt {
            self.start_timer(now, config);
        }
        Acked {
            bytes,
            fin: fin && gone > bytes,
        }
    }

    fn sample_rtt(&mut self, now: Instant, info: &AckInfo<'_>) {
        match self.timed {
            Some((end, sent)) if end.le(info.ack) => {
                self.rtt.sample((now.0 as u32).wrapping_sub(sent));
                self.timed = None;
            }
            Some(_) => {}
            // Nothing timed, so something was sent twice; the echo still tells which one arrived (RFC 7323 section 4).
            None => {
                if let Some(sample) = info.echoed_rtt {
                    self.rtt.sample(sample.as_micros() as u32);
                }
            }
        }
    }

    fn note_sack(&mut self, sack: &SackBlocks) -> bool {
        let mut told = false;
        for &(left, right) in sack.as_slice() {
            if self.una.lt(left) && left.lt(right) && right.le(self.nxt) {
                told |= self.scoreboard.get_or_insert_default().add(left, right);
            }
        }
        told
    }

    /// RFC 9293 section 3.10.7.4, fifth check: SND.WND from the newest segment only.
    fn update_window(&mut self, info: &AckInfo<'_>) {
        if self.wl1.lt(info.seq) || self.wl1 == info.seq && self.wl2.le(info.ack) {
            if self.wnd == 0 && info.wnd > 0 {
                // Probes sent into the closed window were most likely dropped there.
                self.ptr = self.una;
                self.rtt.restore();
            }
            self.wnd = info.wnd;
            self.max_wnd = self.max_wnd.max(info.wnd);
            self.wl1 = info.seq;
            self.wl2 = info.ack;
        }
    }

    /// In recovery: the next gap goes out again, by the peer's SACK blocks or else the first segment.
    fn repair(&mut self) {
        let gap = match &self.scoreboard {
            Some(board) => board.gap(self.repaired),
            None => None,
        };
        let (start, len) = match gap {
            Some(gap) => gap,
            // No gap known: the first segment, if it was not sent again in this recovery.
            None if self.repaired == self.una => (self.una, self.nxt.since(self.una)),
            None => return,
        };
        let len = len.min(self.mss());
        self.again = (start, len as u16);
        self.repaired = start + len;
        self.timed = None;
    }

    /// The timer rang. `GiveUp`: nothing moved for the user timeout.
    pub fn on_timer(
        &mut self,
        now: Instant,
        config: &Config,
        counters: &mut Counters,
    ) -> TimerVerdict {
        if now.since(self.progress) >= config.user_timeout {
            return TimerVerdict::GiveUp;
        }
        let flight = self.nxt.since(self.una);
        self.timed = None;
        if self.wnd == 0 || flight == 0 {
            // Persist (RFC 9293 section 3.8.6.1): what the window takes, at least one byte or the FIN.
            counters.probes += 1;
            self.again = (self.una, self.wnd.clamp(1, self.mss()) as u16);
        } else {
            counters.timeouts += 1;
            self.window_reduced();
            let again = self.rtt.is_backed_off();
            self.congestion
                .on_timeout(self.nxt, self.flight(), self.mss(), again);
            // RFC 2018 section 8: after a timeout what was SACKed does not count.
            self.scoreboard = None;
            self.ptr = self.una;
            self.again.1 = 0;
        }
        self.rtt.back_off();
        self.start_timer(now, config);
        TimerVerdict::Continue
    }

    fn start_timer(&mut self, now: Instant, config: &Config) {
        let give_up = self.progress + config.user_timeout;
        self.timer = Timer::at((now + self.rtt.rto(config)).min(give_up));
    }

    /// The path takes only segments of `mss` payload bytes: sends what is outstanding again, without a congestion
    /// response (RFC 1191 section 6.5).
    pub fn lower_mss(&mut self, mss: u16) {
        self.mss = self.mss.min(mss);
        self.ptr = self.una;
        self.again.1 = 0;
        self.timed = None;
    }

    /// RFC 5927 section 6.2: may an ICMP message quote this sequence number?
    pub fn is_outstanding(&self, seq: SeqNum) -> bool {
        seq.within(self.una, self.nxt.since(self.una))
    }

    /// Did the timer ring since the peer last acknowledged anything new?
    pub fn is_backed_off(&self) -> bool {
        self.rtt.is_backed_off()
    }

    /// Timeouts in a row while more than `payload` bytes are outstanding that the peer has room for.
    pub fn timeouts_above(&self, payload: u16) -> u8 {
        let large = self.nxt.since(self.una).min(self.wnd) > u32::from(payload);
        if large { self.rtt.timeouts() } else { 0 }
    }

    /// Something is queued or outstanding.
    pub fn is_busy(&self, fin: bool) -> bool {
        fin || !self.queue.is_empty() || self.una != self.nxt
    }

    fn mss(&self) -> u32 {
        u32::from(self.mss)
    }

    /// Bytes outstanding, as far as they count for congestion.
    fn flight(&self) -> u32 {
        self.ptr.since(self.una)
    }
}
