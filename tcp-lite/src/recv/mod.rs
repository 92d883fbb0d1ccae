//! The receive half: window, acceptability, timestamps, when to acknowledge.

mod buffer;
mod inbox;
mod store;

pub(crate) use buffer::Buffers;
pub(crate) use inbox::{Inbox, Unread};
pub(crate) use store::Placed;

use core::time::Duration;

use crate::config::{Config, Settings};
use crate::seq::SeqNum;
use crate::time::{Instant, Timer, millis};
use crate::turn::Request;
use crate::wire::Timestamps;

/// TS.Recent is not trusted after so much silence: the peer's clock may have wrapped (RFC 7323 section 5.5, 24 days).
const TS_RECENT_MAX_AGE: Duration = Duration::from_secs(24 * 24 * 3600);

/// Less is not taken for a full segment, as with Linux: two short requests need no ACK of their own.
const MIN_FULL_SEGMENT: u16 = 536;

/// ACKs that are not delayed behind what the peer sent twice, until it gets an answer, as with Linux: after a timeout it
/// sends one segment per round trip, and each delayed ACK is a pause. More cost packets for nothing, fewer leave pauses in
/// a long request.
const QUICK_ACKS: u8 = 16;

/// Receive sequence space (RFC 9293 section 3.3.1), in every state:
///
/// ```text
///     rcv_nxt                 rcv_edge = RCV.NXT + RCV.WND, as the peer was last told; never moves left
///        |   acceptable          |
/// ```
#[derive(Debug)]
pub(crate) struct Rcv {
    pub nxt: SeqNum,
    edge: SeqNum,
    /// In-order bytes that the application has not consumed.
    pub unread: u32,
    /// The application has seen them all and cannot go on without more: every free byte is offered then, or a request that
    /// leaves less than a segment free would never be completed.
    pub starved: bool,
    /// TS.Recent
    ts_recent: u32,
    /// When the last acceptable segment came (ms, low half).
    heard: u32,
    /// Last.ACK.sent
    last_ack: SeqNum,
    /// The largest payload that came: what the peer's full segment is, as far as it showed.
    largest: u16,
    /// How many more ACKs are not delayed.
    quick: u8,
    /// An ACK is owed now.
    pub ack_now: bool,
    /// ECN-Echo goes with every ACK: the peer was not yet heard to slow down after a mark.
    pub ece: bool,
    /// The application handed the connection off: what is unread is not acknowledged, another TCP will do that.
    pub leaving: bool,
    /// An ACK is owed by then.
    pub delayed: Timer,
}

/// Where a segment lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    InWindow,
    /// The window is closed, the segment begins or ends just there: its data is refused, its ACK counts (RFC 9293 section
    /// 3.10.7.4).
    AtClosedWindow,
    Outside,
}

impl Rcv {
    /// After a SYN with `irs`.
    pub fn new(now: Instant, irs: SeqNum, ts: Option<Timestamps>, config: &Config) -> Rcv {
        let nxt = irs + 1;
        Rcv {
            nxt,
            edge: nxt + config.receive_window,
            unread: 0,
            starved: false,
            ts_recent: ts.map_or(0, |ts| ts.val),
            heard: millis(now),
            last_ack: nxt,
            largest: MIN_FULL_SEGMENT,
            quick: 0,
            ack_now: false,
            ece: false,
            leaving: false,
            delayed: Timer::OFF,
        }
    }

    /// The number to acknowledge: RCV.NXT, unless the connection is leaving.
    #[inline]
    pub fn ack(&self) -> SeqNum {
        let first = self.nxt - self.unread;
        match self.leaving {
            true if self.last_ack.lt(first) => first,
            true => self.last_ack,
            false => self.nxt,
        }
    }

    /// Another TCP will acknowledge what is unread.
    pub fn leave(&mut self) {
        self.leaving = true;
        self.starved = false;
        self.ack_now = false;
        self.delayed = Timer::OFF;
    }

    /// It did not; the peer has waited long enough.
    pub fn come_back(&mut self) {
        self.leaving = false;
        self.ack_now = true;
    }

    /// RCV.WND
    #[inline]
    pub fn wnd(&self) -> u32 {
        self.edge.since(self.nxt)
    }

    /// RFC 9293 section 3.10.7.4, first check.
    pub fn place(&self, seq: SeqNum, seq_len: u32) -> Place {
        // A peer goes back to what we do not acknowledge while it leaves: such segments bring ACKs as well.
        let left = self.ack();
        let wnd = self.edge.since(left);
        // An empty segment at the right edge counts, as with Linux: it is what a peer sends that has used the whole window
        // while some of it was lost, and its ACK must not be.
        let starts = seq.within(left, wnd + u32::from(seq_len == 0));
        let ends = seq_len > 0 && (seq + (seq_len - 1)).within(left, wnd);
        // Also what begins below a closed window: a peer may join its probe with what it repeats. Were its ACK not heard,
        // we could wait for it with the answer that would open the window.
        let probes = self.wnd() == 0 && seq.le(self.nxt) && self.nxt.lt(seq + seq_len);
        if starts || ends {
            Place::InWindow
        } else if probes {
            Place::AtClosedWindow
        } else {
            Place::Outside
        }
    }

    /// An acceptable segment came.
    #[inline]
    pub fn hear(&mut self, now: Instant) {
        self.heard = millis(now);
    }

    /// For how long none came; of 49 days at most.
    pub fn silence(&self, now: Instant) -> Duration {
        Duration::from_millis(u64::from(millis(now).wrapping_sub(self.heard)))
    }

    /// PAWS (RFC 7323 section 5.3 R1): older than what was last seen.
    #[inline]
    pub fn is_old(&self, now: Instant, ts: Timestamps) -> bool {
        SeqNum(ts.val).lt(SeqNum(self.ts_recent)) && self.silence(now) < TS_RECENT_MAX_AGE
    }

    /// RFC 7323 section 4.3 (2): TS.Recent comes from the segment that reaches back to Last.ACK.sent.
    #[inline]
    pub fn note_timestamp(&mut self, now: Instant, seq: SeqNum, ts: Timestamps) {
        if !self.is_old(now, ts) && seq.le(self.last_ack) {
            self.ts_recent = ts.val;
        }
    }

    #[inline]
    pub fn ts_recent(&self) -> u32 {
        self.ts_recent
    }

    /// The window to offer, for a segment that is about to go. Opens it by at least a segment or half the buffer
    /// (RFC 9293 section 3.8.6.2.2), never takes back what was offered (section 3.8.6) but for what `shift`, the scale,
    /// cannot tell (RFC 7323 section 2.4).
    #[inline]
    pub fn offer(&mut self, mss: u16, shift: u8, config: &Config) -> u16 {
        if self.would_open(mss, config) {
            self.edge = self.reachable(config);
        }
        u16::try_from(self.edge.since(self.ack()) >> shift).unwrap_or(u16::MAX)
    }

    /// Is a window update worth a segment of its own? When the peer may be waiting for it; else it rides on other ACKs.
    #[inline]
    pub fn has_news(&self, mss: u16, config: &Config) -> bool {
        self.wnd() < 2 * step(mss, config) && self.would_open(mss, config)
    }

    #[inline]
    fn would_open(&self, mss: u16, config: &Config) -> bool {
        let least = if self.starved { 1 } else { step(mss, config) };
        // Neither is far from RCV.NXT, and `least` is not 0: what is behind the edge is less.
        self.reachable(config).since(self.edge) as i32 >= least as i32
    }

    #[inline]
    fn reachable(&self, config: &Config) -> SeqNum {
        self.nxt + config.receive_window.saturating_sub(self.unread)
    }

    /// The peer sent something twice: it lost an ACK, or its segments, and waits.
    pub fn quicken(&mut self) {
        self.quick = QUICK_ACKS;
    }

    /// It gets an answer, so what it asked for is here.
    #[inline]
    pub fn slacken(&mut self) {
        self.quick = 0;
    }

    /// A payload of this many bytes came.
    #[inline]
    pub fn note_payload(&mut self, bytes: usize) {
        self.largest = self.largest.max(u16::try_from(bytes).unwrap_or(u16::MAX));
    }

    /// Is there something that was not acknowledged?
    #[inline]
    pub fn owes_ack(&self) -> bool {
        self.ack() != self.last_ack
    }

    /// `RCV.NXT` moved over data: acknowledge the second full segment at once, else within the delay (RFC 9293
    /// section 3.8.6.3).
    #[inline]
    pub fn owe_ack(&mut self, now: Instant, config: &Settings) {
        let second = self.nxt.since(self.last_ack) >= 2 * u32::from(self.largest);
        if second || self.quick > 0 {
            self.quick = self.quick.saturating_sub(1);
            self.ack_now = true;
        } else if !self.delayed.is_set() {
            self.delayed = Timer::at(now.later(config.micros.delayed_ack));
        }
    }

    /// The request of a turn came, and its answer goes out, with all that was owed. The window to offer, not scaled.
    #[inline(always)]
    pub fn turn(&mut self, now: Instant, request: &Request, mss: u16, config: &Config) -> u16 {
        if let Some(ts) = request.timestamps
            && request.seq.le(self.last_ack)
        {
            self.ts_recent = ts.val;
        }
        self.hear(now);
        self.note_payload(request.len.into());
        self.nxt += u32::from(request.len);
        (self.unread, self.starved, self.quick) = (0, false, 0);
        if self.would_open(mss, config) {
            self.edge = self.reachable(config);
        }
        self.last_ack = self.nxt;
        self.ack_now = false;
        self.delayed = Timer::OFF;
        // It is no larger than the buffer.
        self.wnd() as u16
    }

    /// A segment with ACK went out.
    #[inline]
    pub fn acked(&mut self) {
        self.last_ack = self.ack();
        self.ack_now = false;
        self.delayed = Timer::OFF;
    }
}

/// The least by which the window opens: Eff.snd.MSS, or half of a small buffer.
#[inline]
fn step(mss: u16, config: &Config) -> u32 {
    u32::from(mss).min(config.receive_window / 2).max(1)
}
