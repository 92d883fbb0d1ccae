//! Segments that reached the wrong worker.
//!
//! A flow normally stays on one queue, but fragments and ICMP are spread by address only, a NIC's indirection
//! table may be rewritten, and a sender on a veth changes queue when it rehashes. So what a worker
//! does not know goes to the next one; what came all the way round belongs to nobody.

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Frames that may wait for a worker. A full batch of strangers fits several times; a larger mailbox
/// would only hold what TCP retransmits by then.
pub(super) const MAILBOX: usize = 1024;

/// A frame on its way round the workers.
#[derive(Debug)]
pub struct Stray {
    /// The whole frame as it was received.
    pub frame: Vec<u8>,
    /// Workers that have seen it.
    pub hops: usize,
}

/// What the others know of a worker.
#[derive(Debug)]
struct Member {
    mailbox: Sender<Stray>,
    wake: Arc<EventFd>,
    hangs: Arc<AtomicBool>,
}

/// A worker's place in the ring: its mailbox and those of the others.
#[derive(Debug)]
pub struct Neighbours {
    inbox: Receiver<Stray>,
    members: Arc<[Member]>,
    /// This worker's place among the members.
    place: usize,
    /// Who was passed something since the last wake-up.
    passed: Option<usize>,
}

impl Neighbours {
    /// A ring of `workers`, in queue order.
    ///
    /// # Errors
    /// Those of `eventfd(2)`.
    pub fn ring(workers: usize) -> nix::Result<Vec<Self>> {
        let (senders, inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| bounded(MAILBOX)).unzip();
        let member = |mailbox| {
            let wake = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
            Ok(Member {
                mailbox,
                wake: Arc::new(wake),
                hangs: Arc::default(),
            })
        };
        let members: Arc<[Member]> = senders
            .into_iter()
            .map(member)
            .collect::<nix::Result<_>>()?;
        let neighbours = |(place, inbox)| Self {
            inbox,
            members: members.clone(),
            place,
            passed: None,
        };
        Ok(inboxes.into_iter().enumerate().map(neighbours).collect())
    }

    /// Hands `stray` to the next worker that does not hang, who hears of it with [`Neighbours::wake_next`]. Gives it back
    /// when it has been everywhere that it can get.
    ///
    /// # Errors
    /// `Undelivered` says which of the two ways it ended.
    pub fn pass_on(&mut self, mut stray: Stray) -> Result<(), Undelivered> {
        let mut place = self.place;
        loop {
            stray.hops += 1;
            if stray.hops >= self.members.len() {
                return Err(Undelivered::Nobodys(stray.frame));
            }
            place = (place + 1) % self.members.len();
            let next = &self.members[place];
            if next.hangs.load(Ordering::Relaxed) {
                continue;
            }
            match next.mailbox.try_send(stray) {
                Ok(()) => {
                    if self.passed != Some(place) {
                        self.wake_next();
                        self.passed = Some(place);
                    }
                    return Ok(());
                }
                Err(TrySendError::Full(_)) => return Err(Undelivered::Full),
                // That worker has nothing left to drain and is gone.
                Err(TrySendError::Disconnected(back)) => stray = back,
            }
        }
    }

    /// Wakes the worker that was passed something: once per batch, since it costs a system call.
    pub fn wake_next(&mut self) {
        if let Some(place) = self.passed.take() {
            // A failed write means that the counter is at its limit: the worker wakes anyway.
            let _ = self.members[place].wake.write(1);
        }
    }

    /// The next frame that the previous worker did not know.
    pub fn take(&self) -> Option<Stray> {
        self.inbox.try_recv().ok()
    }

    /// Readable when there is something to take.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.members[self.place].wake.as_fd()
    }

    /// Wakes this worker from another thread.
    pub fn waker(&self) -> Arc<EventFd> {
        self.members[self.place].wake.clone()
    }

    /// To be set from another thread while this worker does not come round: the others then pass nothing to it.
    pub fn hangs(&self) -> Arc<AtomicBool> {
        self.members[self.place].hangs.clone()
    }

    /// Makes `wake_fd` unreadable until the next wake-up.
    pub fn clear_wake(&self) {
        // Nothing to read (EAGAIN) is what we want to see afterwards.
        let _ = self.members[self.place].wake.read();
    }
}

/// Why a stray was not passed on.
#[derive(Debug)]
pub enum Undelivered {
    /// Every worker that is left has seen it.
    Nobodys(Vec<u8>),
    /// The next mailbox is full.
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stray() -> Stray {
        Stray {
            frame: vec![1],
            hops: 0,
        }
    }

    #[test]
    fn a_stray_sees_every_worker_once() {
        let mut ring = Neighbours::ring(3).expect("eventfds");
        assert!(ring[2].pass_on(stray()).is_ok());
        assert!(ring[0].members[0].wake.read().is_err(), "not woken yet");
        ring[2].wake_next();
        assert_eq!(ring[0].members[0].wake.read(), Ok(1));
        let second = ring[0].take().expect("passed on");
        assert!(ring[0].pass_on(second).is_ok());
        let third = ring[1].take().expect("passed on");
        assert!(matches!(
            ring[1].pass_on(third),
            Err(Undelivered::Nobodys(_))
        ));
    }

    #[test]
    fn what_a_drained_neighbour_cannot_take_is_the_kernels() {
        let mut ring = Neighbours::ring(2).expect("eventfds");
        drop(ring.pop());
        assert!(matches!(
            ring[0].pass_on(stray()),
            Err(Undelivered::Nobodys(_))
        ));
    }

    #[test]
    fn a_worker_that_hangs_is_left_out() {
        let mut ring = Neighbours::ring(3).expect("eventfds");
        let hangs = ring[1].hangs();
        hangs.store(true, Ordering::Relaxed);
        assert!(ring[0].pass_on(stray()).is_ok());
        assert!(ring[1].take().is_none());
        let second = ring[2].take().expect("passed on");
        assert!(matches!(
            ring[2].pass_on(second),
            Err(Undelivered::Nobodys(_))
        ));
        assert!(ring[2].pass_on(stray()).is_ok());
        let second = ring[0].take().expect("passed on");
        assert!(matches!(
            ring[0].pass_on(second),
            Err(Undelivered::Nobodys(_))
        ));
        hangs.store(false, Ordering::Relaxed);
        assert!(ring[0].pass_on(stray()).is_ok());
        assert!(ring[1].take().is_some());
    }
}
