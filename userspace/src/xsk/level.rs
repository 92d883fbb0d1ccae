//! How many frames the kernel gets to receive into.
//!
//! It fills them in turn, so that each lies untouched until all others have been used: with thousands of them every
//! frame, and what the kernel keeps for it, has left the processor's caches by then. So there are few: enough for what the open
//! connections may send at once, and more when frames come faster than they are taken.

/// Frames at least: as many packets as the kernel lets wait for a core of its own (`net.core.netdev_max_backlog`, 1,000). What
/// comes faster than it is taken grows the level, but the first burst after a calm finds no more than these, and what finds
/// none is lost: with 256, some of 500 frames that came at once were. With 512 a small request was seen to take 3 % more time
/// than with 256, with 4,096 a quarter more.
const LEAST: usize = 1024;

/// Frames for each open connection: the next request, and the acknowledgment of the last answer. With one, a worker that
/// has to wait for its core loses frames when all clients ask meanwhile (600 to 2,900 of a million over 10,000 connections,
/// when the level did not look at them at all, and each costs its client a quarter of a second); with more, 100
/// connections have more frames than they need.
const EACH: usize = 2;

/// Calls after which there are half as many, when a quarter of them would have been enough all that time: some tenths
/// of a second under load, so that a burst that comes every now and then finds what the last one needed.
const CALM: u32 = 4096;

/// Follows what waits to be received; see the module.
#[derive(Debug)]
pub(super) struct Level {
    fixed: bool,
    now: usize,
    /// What it may shrink to.
    least: usize,
    most: usize,
    /// The most that has waited since `calls` was 0.
    peak: usize,
    calls: u32,
}

impl Level {
    /// Never more than `most`.
    pub(super) fn up_to(most: usize) -> Self {
        Self {
            fixed: false,
            now: most.min(LEAST),
            least: most.min(LEAST),
            most,
            peak: 0,
            calls: 0,
        }
    }

    /// Always `most`: a driver whose NIC writes into them itself keeps its own ring full, and asks for a system call
    /// whenever it cannot.
    pub(super) fn fixed(most: usize) -> Self {
        Self {
            fixed: true,
            now: most,
            ..Self::up_to(most)
        }
    }

    /// Frames that the fill and receive rings are to have together.
    pub(super) fn frames(&self) -> usize {
        self.now
    }

    /// So many connections are open.
    #[inline]
    pub(super) fn expect(&mut self, connections: usize) {
        let least = connections.saturating_mul(EACH).max(LEAST);
        self.least = least.min(self.most);
        self.now = self.now.max(self.least);
    }

    /// So many frames wait to be received.
    #[inline]
    pub(super) fn see(&mut self, waiting: usize) {
        self.peak = self.peak.max(waiting);
        self.calls += 1;
        if waiting > self.now / 2 {
            // The kernel may have found none left: all at once.
            self.now = (self.now * 4).min(self.most);
            self.calm();
        } else if self.calls >= CALM {
            if self.peak < self.now / 4 {
                let less = (self.now / 2).max(self.least);
                self.now = if self.fixed { self.most } else { less };
            }
            self.calm();
        }
    }

    fn calm(&mut self) {
        (self.peak, self.calls) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{CALM, EACH, LEAST, Level};

    const MOST: usize = 4096;

    fn calm(level: &mut Level, waiting: usize) {
        (0..CALM).for_each(|_| level.see(waiting));
    }

    #[test]
    fn it_grows_at_once_and_shrinks_slowly() {
        let mut level = Level::up_to(MOST);
        assert_eq!(level.frames(), LEAST);
        level.see(LEAST / 2);
        assert_eq!(level.frames(), LEAST);
        level.see(LEAST / 2 + 1);
        assert_eq!(level.frames(), 4 * LEAST);
        level.see(4 * LEAST);
        assert_eq!(level.frames(), MOST);
        level.see(MOST);
        assert_eq!(level.frames(), MOST);
        calm(&mut level, MOST / 4);
        assert_eq!(level.frames(), MOST, "a quarter of it was needed");
        for halves in 1..=(MOST / LEAST).ilog2() {
            calm(&mut level, 0);
            assert_eq!(level.frames(), MOST >> halves);
        }
        calm(&mut level, 0);
        assert_eq!(level.frames(), LEAST);
    }

    #[test]
    fn one_burst_within_a_calm_keeps_it() {
        let mut level = Level::up_to(MOST);
        level.see(LEAST);
        let grown = level.frames();
        for at in 0..CALM {
            level.see(if at == CALM / 2 { grown / 4 } else { 0 });
        }
        assert_eq!(level.frames(), grown);
    }

    #[test]
    fn every_open_connection_has_its_frames() {
        let mut level = Level::up_to(MOST);
        level.expect(LEAST);
        assert_eq!(level.frames(), EACH * LEAST);
        calm(&mut level, 0);
        assert_eq!(level.frames(), EACH * LEAST);
        level.expect(usize::MAX);
        assert_eq!(level.frames(), MOST);
        level.expect(0);
        (0..10).for_each(|_| calm(&mut level, 0));
        assert_eq!(level.frames(), LEAST);
    }

    #[test]
    fn there_are_never_more_than_there_is_room_for() {
        let mut small = Level::up_to(LEAST / 2);
        small.see(LEAST);
        small.expect(LEAST);
        assert_eq!(small.frames(), LEAST / 2);
        calm(&mut small, 0);
        assert_eq!(small.frames(), LEAST / 2);
        let mut fixed = Level::fixed(MOST);
        fixed.expect(0);
        calm(&mut fixed, 0);
        assert_eq!(fixed.frames(), MOST);
    }
}
