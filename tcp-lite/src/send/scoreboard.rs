//! Which sent bytes the peer already holds, by its SACK blocks (RFC 2018 section 4).

use crate::seq::SeqNum;

/// Islands remembered per connection. Each loss in one window makes one; past this many the lowest are kept, since
/// they are the ones that get repaired first.
const MAX_RANGES: usize = 16;

/// Disjoint ranges `[left, right)` above `snd_una`, ascending.
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    ranges: Vec<(SeqNum, SeqNum)>,
}

impl Scoreboard {
    /// Notes one block; the caller has checked `snd_una < left < right <= snd_nxt`. True if it told something new.
    pub fn add(&mut self, mut left: SeqNum, mut right: SeqNum) -> bool {
        if self.ranges.iter().any(|&(l, r)| l.le(left) && right.le(r)) {
            return false;
        }
        // All that touch the block melt into it.
        self.ranges.retain(|&(l, r)| {
            let apart = r.lt(left) || right.lt(l);
            if !apart {
                left = left.min(l);
                right = right.max(r);
            }
            apart
        });
        let at = self.ranges.partition_point(|&(l, _)| l.lt(left));
        self.ranges.insert(at, (left, right));
        self.ranges.truncate(MAX_RANGES);
        true
    }

    /// Everything below `una` is acknowledged. A block that begins at `una` was taken back by the peer (RFC 2018
    /// section 8): then nothing it said counts.
    pub fn advance(&mut self, una: SeqNum) {
        self.ranges.retain(|&(_, r)| una.lt(r));
        if self.ranges.first().is_some_and(|&(l, _)| l.le(una)) {
            self.ranges.clear();
        }
    }

    /// The first gap at or behind `from` that lies below something the peer holds: its start and length.
    pub fn gap(&self, mut from: SeqNum) -> Option<(SeqNum, u32)> {
        for &(l, r) in &self.ranges {
            if from.lt(l) {
                return Some((from, l.since(from)));
            }
            from = from.max(r);
        }
        None
    }

    /// The range that holds `at`: where it ends.
    pub fn skip(&self, at: SeqNum) -> Option<SeqNum> {
        self.ranges
            .iter()
            .find(|&&(l, r)| l.le(at) && at.lt(r))
            .map(|&(_, r)| r)
    }
}

#[cfg(test)]
mod tests {
    use super::{Scoreboard, SeqNum};

    #[test]
    fn ranges_melt_and_gaps_are_found() {
        let base = SeqNum(u32::MAX - 150);
        let at = |n: u32| base + n;
        let mut board = Scoreboard::default();
        assert_eq!(board.gap(at(0)), None);
        assert!(board.add(at(100), at(200)));
        assert!(board.add(at(400), at(500)));
        assert!(!board.add(at(120), at(200)));
        assert_eq!(board.gap(at(0)), Some((at(0), 100)));
        assert_eq!(board.gap(at(100)), Some((at(200), 200)));
        assert_eq!(board.gap(at(450)), None);
        assert_eq!(
            (board.skip(at(199)), board.skip(at(200))),
            (Some(at(200)), None)
        );
        assert!(board.add(at(150), at(400)));
        assert_eq!(board.ranges, [(at(100), at(500))]);
        board.advance(at(90));
        assert_eq!(board.gap(at(90)), Some((at(90), 10)));
        // What is acknowledged goes, what lies ahead stays.
        assert!(board.add(at(700), at(800)));
        board.advance(at(600));
        assert_eq!(board.ranges, [(at(700), at(800))]);
        // Taken back by the peer.
        board.advance(at(700));
        assert_eq!(board.gap(at(700)), None);
        assert!(board.ranges.is_empty());
    }
}
