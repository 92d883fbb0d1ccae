//! Copies of a worker's frames for `sidestep dump`. While nobody asks for them, a batch pays one relaxed load for this.

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Copies that may wait for who writes them: at 1.5 KB each, 6 MB. With fewer, a burst of one batch per queue is not whole;
/// with more, a reader that hangs would hold more memory for nothing, since what it misses is counted.
const WAITING: usize = 4096;

/// A frame as it was received or sent.
#[derive(Debug)]
pub struct Copied {
    /// When its batch began, since 1970-01-01 00:00:00 UTC.
    pub at: Duration,
    /// All of it, from the Ethernet header on.
    pub frame: Vec<u8>,
}

/// The other threads' side of a worker's tap.
#[derive(Debug, Default)]
pub struct Switch {
    /// Changes with `to`, so that the worker need not lock to learn that nothing has changed.
    changes: AtomicU64,
    to: Mutex<Option<Sender<Copied>>>,
    lost: AtomicU64,
}

impl Switch {
    fn set(&self, to: Option<Sender<Copied>>) {
        let mut current = self.current();
        *current = to;
        self.changes.fetch_add(1, Ordering::Release);
    }

    fn current(&self) -> MutexGuard<'_, Option<Sender<Copied>>> {
        // It is only ever replaced whole.
        self.to.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker's own side.
#[derive(Debug, Default)]
pub struct Tap {
    switch: Arc<Switch>,
    seen: u64,
    to: Option<Sender<Copied>>,
}

impl Tap {
    /// For turning it on and off.
    pub fn switch(&self) -> Arc<Switch> {
        self.switch.clone()
    }

    /// Does anybody want copies? To be asked once per batch.
    pub fn is_on(&mut self) -> bool {
        let changes = self.switch.changes.load(Ordering::Relaxed);
        if changes != self.seen {
            self.seen = changes;
            self.to = self.switch.current().clone();
        }
        self.to.is_some()
    }

    /// Copies a frame, if there is room for it.
    pub fn copy(&self, at: Duration, frame: &[u8]) {
        let Some(to) = &self.to else { return };
        let frame = frame.to_vec();
        match to.try_send(Copied { at, frame }) {
            // Gone: the switch is about to be turned off.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                self.switch.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The switches of all workers. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Taps {
    switches: Arc<[Arc<Switch>]>,
    /// One at a time may have them on.
    taken: Arc<Mutex<bool>>,
}

impl Taps {
    /// All of these.
    pub fn new(switches: impl IntoIterator<Item = Arc<Switch>>) -> Self {
        Self {
            switches: switches.into_iter().collect(),
            taken: Arc::default(),
        }
    }

    /// Turns them on, for as long as the value lives; `None` while another has them on.
    pub fn open(&self) -> Option<Open> {
        let mut taken = self.taken();
        if std::mem::replace(&mut *taken, true) {
            return None;
        }
        let (to, copies) = bounded(WAITING);
        for switch in self.switches.iter() {
            switch.lost.store(0, Ordering::Relaxed);
            switch.set(Some(to.clone()));
        }
        Some(Open {
            taps: self.clone(),
            copies,
        })
    }

    fn taken(&self) -> MutexGuard<'_, bool> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Taps that are on; dropping it turns them off.
#[derive(Debug)]
pub struct Open {
    taps: Taps,
    copies: Receiver<Copied>,
}

impl Open {
    /// Where the copies come.
    pub fn copies(&self) -> &Receiver<Copied> {
        &self.copies
    }

    /// Frames that found no room since it was opened.
    pub fn lost(&self) -> u64 {
        let lost = |switch: &Arc<Switch>| switch.lost.load(Ordering::Relaxed);
        self.taps.switches.iter().map(lost).sum()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        for switch in self.taps.switches.iter() {
            switch.set(None);
        }
        *self.taps.taken() = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_copies_while_it_is_open_and_counts_what_finds_no_room() {
        let mut tap = Tap::default();
        let taps = Taps::new([tap.switch()]);
        assert!(!tap.is_on());
        tap.copy(Duration::ZERO, b"nobody sees this");

        let open = taps.open().expect("nobody else has it");
        assert!(taps.open().is_none());
        assert!(tap.is_on());
        for _ in 0..WAITING + 3 {
            tap.copy(Duration::from_secs(5), b"frame");
        }
        let first = open.copies().try_recv().expect("a copy");
        assert_eq!((first.at.as_secs(), &first.frame[..]), (5, &b"frame"[..]));
        assert_eq!(open.copies().try_iter().count(), WAITING - 1);
        assert_eq!(open.lost(), 3);

        drop(open);
        tap.copy(Duration::ZERO, b"nobody sees this");
        assert!(!tap.is_on());
        let again = taps.open().expect("free again");
        assert!(tap.is_on());
        assert_eq!(again.lost(), 0);
        assert!(again.copies().is_empty());
    }
}
