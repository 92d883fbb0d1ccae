//! What is outstanding, segment by segment: when each was last sent, and what became of it.

use std::collections::VecDeque;

use crate::seq::SeqNum;

/// Most segments outstanding on one connection: bounds its memory (16 bytes each) and the work of one ACK. Lower stalls
/// a long fat path (this is 11 MB of full segments, 1 Gbit/s at 90 ms); higher lets a peer that acknowledges every
/// other byte make each of its ACKs expensive.
pub(super) const MAX_SEGMENTS: usize = 8192;

/// What is known of a segment's last transmission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// Nothing: it counts as in the network.
    Flying,
    /// It must be sent again.
    Lost,
    /// The peer holds it (RFC 2018).
    Sacked,
}

/// One segment `[seq, end)`, FIN's number included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    pub seq: SeqNum,
    pub end: SeqNum,
    /// When it was last sent: µs, low half. Of two segments the one that was sent later has the later time or, at the
    /// same time, the higher end ([`Sheet::send`]).
    pub at: u32,
    pub fate: Fate,
    /// It was sent more than once.
    pub again: bool,
}

impl Sent {
    pub fn len(&self) -> u32 {
        self.end.since(self.seq)
    }

    /// How long ago it was sent, µs.
    #[inline]
    pub fn age(&self, now: u32) -> u32 {
        age(self.at, now)
    }

    /// RFC 8985 section 6.2, `RACK_sent_after`: was this sent behind one sent at `at` that ends at `end`? What one
    /// flush sent has one time and is told apart by its place.
    pub fn is_behind(&self, at: u32, end: SeqNum) -> bool {
        is_after(self.at, at) || self.at == at && end.lt(self.end)
    }
}

/// How long ago `at` was; 0 where the clock is behind what was given out.
#[inline]
pub(super) fn age(at: u32, now: u32) -> u32 {
    (now.wrapping_sub(at) as i32).max(0) as u32
}

/// `a > b` for times less than 35 minutes apart.
pub(super) fn is_after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

/// The segments outstanding: ascending, contiguous from `snd_una` to `snd_nxt`.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    list: VecDeque<Sent>,
    /// Sequence numbers flying: `pipe` of RFC 6675.
    flying: u32,
    lost: u32,
    sacked: u32,
    sacked_segments: u32,
    /// Nothing below is lost.
    lost_from: SeqNum,
    /// Time and end of what was sent last.
    newest: (u32, SeqNum),
    /// Of what was sent since nothing was outstanding: the longest segment of new data, and was anything sent twice, or
    /// acknowledged in part?
    longest: u32,
    odd: bool,
}

impl Sheet {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn capacity(&self) -> usize {
        self.list.capacity()
    }

    #[inline]
    pub fn flying(&self) -> u32 {
        self.flying
    }

    #[inline]
    pub fn has_lost(&self) -> bool {
        self.lost > 0
    }

    /// Sequence numbers, and segments, that the peer reported.
    pub fn sacked(&self) -> (u32, u32) {
        (self.sacked, self.sacked_segments)
    }

    #[inline]
    pub fn first(&self) -> Option<&Sent> {
        self.list.front()
    }

    #[inline]
    pub fn last(&self) -> Option<&Sent> {
        self.list.back()
    }

    /// Are these `len` numbers all flying, in segments that are as they were first sent?
    #[inline]
    pub fn is_untroubled(&self, len: u32) -> bool {
        self.flying == len && !self.odd
    }

    /// How long ago the last segment was sent, µs.
    #[inline]
    pub fn newest_age(&self, now: u32) -> u32 {
        age(self.newest.0, now)
    }

    /// The longest segment that was sent since nothing was outstanding.
    #[inline]
    pub fn longest(&self) -> u32 {
        self.longest
    }

    #[inline]
    pub fn clear(&mut self) {
        self.list.clear();
        (self.flying, self.lost, self.sacked, self.sacked_segments) = (0, 0, 0, 0);
        (self.lost_from, self.newest) = (SeqNum(0), (0, SeqNum(0)));
        (self.longest, self.odd) = (0, false);
    }

    fn count(&mut self, fate: Fate, len: u32) {
        match fate {
            Fate::Flying => self.flying += len,
            Fate::Lost => self.lost += len,
            Fate::Sacked => {
                self.sacked += len;
                self.sacked_segments += 1;
            }
        }
    }

    fn discount(&mut self, fate: Fate, len: u32) {
        match fate {
            Fate::Flying => self.flying -= len,
            Fate::Lost => self.lost -= len,
            Fate::Sacked => {
                self.sacked -= len;
                self.sacked_segments -= 1;
            }
        }
    }

    fn set(&mut self, at: usize, fate: Fate) {
        let Sent {
            seq,
            end,
            fate: before,
            ..
        } = self.list[at];
        self.discount(before, end.since(seq));
        self.count(fate, end.since(seq));
        self.list[at].fate = fate;
        if fate == Fate::Lost {
            self.lost_from = self.lost_from.min(seq);
        }
    }

    /// `[seq, end)` goes out: new data, or a repetition that may cover several segments, parts of them, and new data
    /// behind. `now`: µs, low half.
    #[inline]
    pub fn send(&mut self, seq: SeqNum, end: SeqNum, now: u32) {
        if self.list.is_empty() {
            self.lost_from = seq;
            self.newest = (now, seq);
            (self.longest, self.odd) = (0, false);
        }
        let (last, reached) = self.newest;
        // A repetition behind new data of the same batch is a microsecond younger: else it would look overtaken by it.
        let at = match now {
            _ if is_after(now, last) => now,
            _ if end.le(reached) => last.wrapping_add(1),
            _ => last,
        };
        self.newest = (at, end);
        let sent = Sent {
            seq,
            end,
            at,
            fate: Fate::Flying,
            again: false,
        };
        if self.list.back().is_none_or(|last| last.end == seq) {
            // New data.
            self.flying += sent.len();
            self.longest = self.longest.max(sent.len());
            self.list.push_back(sent);
            return;
        }
        self.odd = true;
        self.send_again(sent);
    }

    /// Not only new data.
    fn send_again(&mut self, mut sent: Sent) {
        let (seq, end) = (sent.seq, sent.end);
        let mut place = self.list.partition_point(|s| s.end.le(seq));
        if let Some(old) = self.list.get(place).copied() {
            sent.again = true;
            if old.seq != seq {
                // Its beginning stays as it was.
                let head = Sent { end: seq, ..old };
                self.list[place].seq = seq;
                self.list.insert(place, head);
                if old.fate == Fate::Sacked {
                    self.sacked_segments += 1;
                }
                place += 1;
            }
        }
        while let Some(old) = self.list.get(place).copied()
            && old.seq.lt(end)
        {
            if end.lt(old.end) {
                self.discount(old.fate, end.since(old.seq));
                if old.fate == Fate::Sacked {
                    self.sacked_segments += 1;
                }
                self.list[place].seq = end;
                break;
            }
            self.discount(old.fate, old.len());
            if old.end == end {
                // Nearly always the first and only one.
                self.count(Fate::Flying, sent.len());
                self.list[place] = sent;
                return;
            }
            self.list.remove(place);
        }
        self.count(Fate::Flying, sent.len());
        self.list.insert(place, sent);
    }

    /// The peer holds `[left, right)`: `tell` gets each segment in it that was not reported before.
    pub fn sack(&mut self, left: SeqNum, right: SeqNum, mut tell: impl FnMut(&Sent)) {
        let mut place = self.list.partition_point(|s| s.seq.lt(left));
        while let Some(sent) = self.list.get(place)
            && sent.end.le(right)
        {
            if sent.fate != Fate::Sacked {
                tell(sent);
                self.set(place, Fate::Sacked);
            }
            place += 1;
        }
    }

    /// Everything below `una` is acknowledged: `tell` gets each segment that was not reported before. Returns how many
    /// sequence numbers that were.
    pub fn ack(&mut self, una: SeqNum, mut tell: impl FnMut(&Sent)) -> u32 {
        let mut news = 0;
        while let Some(sent) = self.list.front().copied()
            && sent.seq.lt(una)
        {
            let part = sent.end.min(una).since(sent.seq);
            if sent.fate != Fate::Sacked {
                news += part;
            }
            self.discount(sent.fate, part);
            if una.lt(sent.end) {
                if sent.fate == Fate::Sacked {
                    self.sacked_segments += 1;
                }
                self.list[0].seq = una;
                self.odd = true;
                break;
            }
            if sent.fate != Fate::Sacked {
                tell(&sent);
            }
            self.list.pop_front();
        }
        self.lost_from = self.lost_from.max(una);
        news
    }

    /// Marks as lost each segment that `is_lost` says so of, oldest first, until it says to stop with `None`.
    pub fn judge(&mut self, mut is_lost: impl FnMut(&Sent) -> Option<bool>) {
        for place in 0..self.list.len() {
            match is_lost(&self.list[place]) {
                Some(true) => self.set(place, Fate::Lost),
                Some(false) => {}
                None => return,
            }
        }
    }

    fn replace(&mut self, from: Fate, to: Fate) {
        for place in 0..self.list.len() {
            if self.list[place].fate == from {
                self.set(place, to);
            }
        }
    }

    /// Everything flying must be sent again.
    pub fn lose_all(&mut self) {
        self.replace(Fate::Flying, Fate::Lost);
    }

    /// The first segment must be sent again.
    pub fn lose_first(&mut self) {
        if self.list.front().is_some_and(|s| s.fate == Fate::Flying) {
            self.set(0, Fate::Lost);
        }
    }

    /// Nothing was lost after all.
    pub fn find_all(&mut self) {
        self.replace(Fate::Lost, Fate::Flying);
    }

    /// Did the peer take back what it reported? It cannot wait for what it holds.
    pub fn has_reneged(&self) -> bool {
        self.list.front().is_some_and(|s| s.fate == Fate::Sacked)
    }

    /// What the peer reported must be sent again.
    pub fn forget_reports(&mut self) {
        self.replace(Fate::Sacked, Fate::Lost);
    }

    /// The oldest segment that must be sent again.
    pub fn next_lost(&mut self) -> Option<Sent> {
        if self.lost == 0 {
            return None;
        }
        let from = self.list.partition_point(|s| s.seq.lt(self.lost_from));
        let found = self
            .list
            .iter()
            .skip(from)
            .find(|s| s.fate == Fate::Lost)
            .copied()?;
        self.lost_from = found.seq;
        Some(found)
    }

    /// Where the run of lost segments that begins at `seq` ends: what one repetition may cover.
    pub fn lost_until(&self, seq: SeqNum, most: u32) -> SeqNum {
        let from = self.list.partition_point(|s| s.end.le(seq));
        let mut end = seq;
        for sent in self.list.iter().skip(from) {
            if sent.fate != Fate::Lost || end.since(seq) >= most {
                break;
            }
            end = sent.end;
        }
        end
    }
}

#[cfg(test)]
mod tests;
