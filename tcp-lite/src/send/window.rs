//! What may go out now: peer's window, congestion window, silly window avoidance.

use super::Snd;
use crate::config::Config;
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

impl Snd {
    /// The next segment that may go out, or nothing. `fin`: FIN stands behind the queue.
    pub fn next_chunk(&mut self, fin: bool) -> Option<Chunk> {
        if self.again.1 > 0 {
            if self.una.le(self.again.0)
                && let Some(chunk) = self.chunk(self.again.0, u32::from(self.again.1), fin)
            {
                return Some(chunk);
            }
            self.again.1 = 0;
        }
        if self.ptr != self.nxt
            && let Some(board) = &self.scoreboard
        {
            // What the peer holds is not sent again.
            while let Some(end) = board.skip(self.ptr) {
                self.ptr = end;
            }
        }
        let sent = self.ptr.since(self.una);
        let unsent = self.queue.bytes().saturating_sub(sent);
        let window = self.wnd.saturating_sub(sent);
        if unsent == 0 {
            // FIN alone: it takes one number of the window and no congestion window.
            let open = fin && sent == self.queue.bytes() && window > 0;
            return if open {
                self.chunk(self.ptr, 0, fin)
            } else {
                None
            };
        }
        let room = window.min(self.congestion.allowed(self.mss()).saturating_sub(sent));
        let want = unsent.min(self.mss());
        let mut len = want.min(room);
        // A congestion window that splits a segment waits for the next ACK; what is outstanding brings it.
        if len == 0 || len < want && room < window {
            return None;
        }
        if len < want {
            let resend = self.nxt.since(self.ptr);
            // RFC 9293 section 3.8.6.2.1: a full segment, or all there is, or half of the largest window ever offered.
            // What is sent again was through this before.
            if resend == 0 && len < self.max_wnd / 2 {
                return None;
            }
            len = if resend > 0 { len.min(resend) } else { len };
        }
        let len = if self.ptr == self.nxt {
            len
        } else {
            self.until_sacked(len)
        };
        self.chunk(self.ptr, len, fin && window > len)
    }

    /// Cuts a retransmission off where the peer already holds the bytes.
    fn until_sacked(&self, len: u32) -> u32 {
        match self
            .scoreboard
            .as_ref()
            .and_then(|board| board.gap(self.ptr))
        {
            Some((start, gap)) if start == self.ptr => len.min(gap),
            Some(_) | None => len,
        }
    }

    /// The segment at `seq` of at most `len` bytes, as far as there is something.
    fn chunk(&self, seq: SeqNum, len: u32, fin: bool) -> Option<Chunk> {
        let at = seq.since(self.una);
        let queued = self.queue.bytes();
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
    pub fn sent(&mut self, now: Instant, chunk: Chunk, config: &Config) {
        let end = chunk.seq + chunk.len + u32::from(chunk.fin);
        if self.again.1 > 0 && self.again.0 == chunk.seq {
            self.again.1 = 0;
            self.ptr = self.ptr.max(end);
        } else {
            self.ptr = end;
        }
        if chunk.again {
            self.timed = None;
        } else if self.timed.is_none() {
            self.timed = Some((end, now.0 as u32));
        }
        self.nxt = self.nxt.max(end);
        if !self.timer.is_set() {
            self.start_timer(now, config);
        }
    }

    /// Before output: whatever is queued or outstanding has the timer running, also when no window lets it out
    /// (then it is the persist timer).
    pub fn keep_timer(&mut self, now: Instant, fin: bool, config: &Config) {
        if self.timer.is_set() || !self.is_busy(fin) {
            return;
        }
        if now.since(self.progress) > self.rtt.rto(config) {
            self.congestion.restart(self.mss());
        }
        self.progress = now;
        self.start_timer(now, config);
    }
}
