//! What may go out now: peer's window, congestion window, silly window avoidance.

use super::pace::Rate;
use super::sent::MAX_SEGMENTS;
use super::volley::Load;
use super::{Pieces, Snd, millis, stamp};
use crate::config::Settings;
use crate::seq::SeqNum;
use crate::time::Instant;

/// One segment to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chunk {
    pub seq: SeqNum,
    pub len: u32,
    pub fin: bool,
    /// Nothing follows it in the queue.
    pub push: bool,
    /// It, or its beginning, was sent before.
    pub again: bool,
}

/// What goes out next, as far as that is plain to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plain {
    /// New data.
    Chunk(Chunk),
    /// Nothing is left.
    Done,
    /// Something is, and [`Snd::next_chunk`] has to say what.
    Unclear,
}

impl Snd {
    /// Where nothing is amiss: new data that all windows have room for, what is left or a full segment; or nothing.
    #[inline]
    pub fn next_plain(&self) -> Plain {
        let (sent, mss) = (self.nxt.since(self.una), self.mss());
        let busy = match &self.load {
            Load::Rest => return Plain::Done,
            Load::Volley(_) | Load::Fin(_) => return Plain::Unclear,
            Load::Busy(busy) => busy,
        };
        let troubled = busy.forced.is_some() || busy.sheet.has_lost() || !busy.recovery.is_open();
        if troubled || self.rate().is_some() {
            return Plain::Unclear;
        }
        let left = busy.queue.bytes().saturating_sub(sent);
        if left == 0 {
            return Plain::Done;
        }
        let len = left.min(mss);
        let room = self.congestion.cwnd.saturating_sub(busy.pipe(mss));
        if len > self.wnd.saturating_sub(sent) || len > room || busy.sheet.len() >= MAX_SEGMENTS {
            return Plain::Unclear;
        }
        Plain::Chunk(Chunk {
            seq: self.nxt,
            len,
            fin: false,
            push: len == left,
            again: false,
        })
    }

    /// The chunk, which [`Snd::next_plain`] gave, was emitted. Behind the last one comes [`Snd::schedule_probe`].
    #[inline]
    pub fn sent_plain(&mut self, now: Instant, chunk: Chunk) {
        if let Load::Busy(busy) = &mut self.load {
            self.nxt = chunk.seq + chunk.len;
            busy.sheet.send(chunk.seq, self.nxt, stamp(now));
        }
    }

    /// The next segment that may go out, or nothing. `fin`: FIN stands behind the queue.
    pub fn next_chunk(&mut self, now: Instant, fin: bool) -> Option<Chunk> {
        let (una, mss) = (self.una, self.mss());
        let busy = self.load.busy_mut()?;
        if let Some((seq, len)) = busy.forced {
            // Into a closed window goes a FIN alone, not behind data that uses up what is open.
            let at = seq.since(una);
            let data = len.min(busy.queue.bytes().saturating_sub(at));
            let fin = fin && (data == 0 || self.wnd > at + data);
            if una.le(seq)
                && let Some(chunk) = self.chunk(seq, len, fin)
            {
                return Some(chunk);
            }
            self.load.busy_mut()?.forced = None;
        }
        let nxt = self.nxt;
        if let Some(room) = self.load.busy_mut()?.recovery.question(nxt, mss) {
            let chunk = self.new_data(now, room, fin);
            if chunk.is_none() {
                self.load.busy_mut()?.recovery.stop_asking(nxt);
            }
            if chunk.is_some() || self.load.busy()?.recovery.question(nxt, mss).is_some() {
                return chunk;
            }
        }
        let busy = self.load.busy_mut()?;
        let room = self.congestion.cwnd.saturating_sub(busy.pipe(mss));
        if busy.sheet.has_lost() {
            self.repetition(room, fin)
        } else {
            self.new_data(now, room, fin)
        }
    }

    /// The first segment that is lost, joined with the lost ones behind it, and with new data behind those.
    fn repetition(&mut self, room: u32, fin: bool) -> Option<Chunk> {
        let mss = self.mss();
        let busy = self.load.busy_mut()?;
        let seq = busy.sheet.next_lost()?.seq;
        let sent = seq.since(self.una);
        let window = self.wnd.saturating_sub(sent);
        let full = busy.queue.bytes().saturating_sub(sent).min(mss);
        if full == 0 {
            return if window > 0 {
                self.chunk(seq, 0, fin)
            } else {
                None
            };
        }
        let until = busy.sheet.lost_until(seq, full);
        let lost = until.since(seq).min(full);
        let want = if until == self.nxt { full } else { lost };
        let mut len = want.min(window);
        if len < want || len > room {
            // No silly segment of new data, none that the congestion window would split.
            len = len.min(lost);
        }
        if len == 0 || len > room {
            return None;
        }
        self.chunk(seq, len, fin && window > len)
    }

    fn new_data(&mut self, now: Instant, room: u32, fin: bool) -> Option<Chunk> {
        let mss = self.mss();
        let rate = self.rate();
        let busy = self.load.busy_mut()?;
        let sent = self.nxt.since(self.una);
        let queued = busy.queue.bytes();
        let window = self.wnd.saturating_sub(sent);
        let want = queued.saturating_sub(sent).min(mss);
        if want == 0 {
            // FIN alone: it takes one number of the window and no congestion window.
            return if fin && sent == queued && window > 0 {
                self.chunk(self.nxt, 0, fin)
            } else {
                None
            };
        }
        let len = want.min(window);
        if busy.sheet.len() >= MAX_SEGMENTS || len == 0 {
            return None;
        }
        // A congestion window that splits a segment waits for the next ACK; what is outstanding brings it.
        if len > room {
            busy.full = self.nxt;
            return None;
        }
        // RFC 9293 section 3.8.6.2.1: a full segment, or all there is, or half of the largest window ever offered.
        if len < want && len < self.max_wnd / 2 {
            return None;
        }
        // Recovery has a pace of its own.
        if let Some(rate) = rate
            && busy.recovery.is_open()
            && sent > 0
            && !busy.pace.may_send(now, &rate)
        {
            return None;
        }
        self.chunk(self.nxt, len, fin && window > len)
    }

    /// The rate of new data; `None`: at once.
    #[inline]
    pub(super) fn rate(&self) -> Option<Rate> {
        Rate::new(&self.congestion, self.rtt.smoothed(), self.mss())
    }

    /// The segment at `seq` of at most `len` bytes, as far as there is something.
    fn chunk(&self, seq: SeqNum, len: u32, fin: bool) -> Option<Chunk> {
        let at = seq.since(self.una);
        let queued = self.queued();
        let len = len.min(queued.saturating_sub(at)).min(self.mss());
        let last = at + len == queued;
        let chunk = Chunk {
            seq,
            len,
            fin: fin && last,
            push: last && len > 0,
            again: seq.lt(self.nxt),
        };
        (len > 0 || chunk.fin).then_some(chunk)
    }

    /// The chunk was emitted.
    pub fn sent(&mut self, now: Instant, chunk: Chunk, config: &Settings) {
        let rate = self.rate();
        let Load::Busy(busy) = &mut self.load else {
            return;
        };
        let end = chunk.seq + chunk.len + u32::from(chunk.fin);
        busy.sheet.send(chunk.seq, end, stamp(now));
        if busy.forced.is_some_and(|(seq, _)| seq == chunk.seq) {
            busy.forced = None;
        }
        busy.recovery
            .sent(end.since(chunk.seq), chunk.again, millis(now));
        self.nxt = self.nxt.max(end);
        if let Some(rate) = rate {
            busy.pace.sent(now, chunk.len, &rate);
        }
        // The first segment, sent again, gets its whole time: else the timer that ran for its predecessor would ring
        // while the ACK is on its way.
        if !busy.rto.is_set() || chunk.again && chunk.seq == self.una {
            self.start_rto(now, config);
        }
        if !chunk.again {
            self.schedule_probe(now, config);
        }
    }

    /// Before output: whatever is queued or outstanding has the timer running, also when no window lets it out
    /// (then it is the persist timer).
    #[inline]
    pub fn keep_timer<P: Copy>(
        &mut self,
        now: Instant,
        fin: bool,
        config: &Settings,
        pieces: &mut Pieces<P>,
    ) {
        if !self.is_busy(fin) {
            return;
        }
        let busy = self.busy(now, config, pieces);
        if busy.rto.is_set() {
            return;
        }
        busy.progress = now;
        self.restart_after_pause(now, config);
        self.start_rto(now, config);
    }

    /// RFC 5681 section 4.1: after a pause of an RTO the window is the one that a connection begins with.
    #[inline]
    pub(super) fn restart_after_pause(&mut self, now: Instant, config: &Settings) {
        let pause = u64::from(millis(now).wrapping_sub(self.resting)) * 1000;
        // No RTO is shorter.
        if pause > config.micros.least_rto && self.una == self.nxt && pause > self.rtt.rto(config) {
            self.congestion.restart(self.mss());
        }
    }
}
