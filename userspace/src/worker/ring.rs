//! Segments that reached the wrong worker.
//!
//! A flow normally stays on one queue, but fragments and ICMP are spread by address only, a NIC's indirection
//! table may be rewritten, and a sender on a veth changes queue when it rehashes. So what a worker
//! does not know goes to the next one; what came all the way round belongs to nobody.

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Frames that may wait for a worker. A full batch of strangers fits several times; a larger mailbox
/// would only hold what TCP retransmits by then.
const MAILBOX: usize = 1024;

/// A frame on its way round the workers.
#[derive(Debug)]
pub struct Stray {
    /// The whole frame as it was received.
    pub frame: Vec<u8>,
    /// Workers that have seen it.
    pub hops: usize,
}

/// A worker's place in the ring: its mailbox and its neighbour's.
#[derive(Debug)]
pub struct Neighbours {
    inbox: Receiver<Stray>,
    next: Sender<Stray>,
    wake_next: Arc<EventFd>,
    wake: Arc<EventFd>,
    workers: usize,
}

impl Neighbours {
    /// A ring of `workers`, in queue order.
    ///
    /// # Errors
    /// Those of `eventfd(2)`.
    pub fn ring(workers: usize) -> nix::Result<Vec<Self>> {
        let (senders, inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| bounded(MAILBOX)).unzip();
        let wakes = (0..workers)
            .map(|_| {
                EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).map(Arc::new)
            })
            .collect::<nix::Result<Vec<_>>>()?;
        Ok(inboxes
            .into_iter()
            .enumerate()
            .map(|(i, inbox)| {
                let next = (i + 1) % workers;
                Self {
                    inbox,
                    next: senders[next].clone(),
                    wake_next: wakes[next].clone(),
                    wake: wakes[i].clone(),
                    workers,
                }
            })
            .collect())
    }

    /// Hands `stray` to the next worker. Gives it back when it has been everywhere.
    ///
    /// # Errors
    /// `Undelivered` says which of the two ways it ended.
    pub fn pass_on(&self, mut stray: Stray) -> Result<(), Undelivered> {
        stray.hops += 1;
        if stray.hops >= self.workers {
            return Err(Undelivered::Nobodys(stray.frame));
        }
        match self.next.try_send(stray) {
            Ok(()) => {
                // A failed write means that the counter is at its limit: the worker wakes anyway.
                let _ = self.wake_next.write(1);
                Ok(())
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Undelivered::Full),
        }
    }

    /// The next frame that the previous worker did not know.
    pub fn take(&self) -> Option<Stray> {
        self.inbox.try_recv().ok()
    }

    /// Readable when there is something to take.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Wakes this worker from another thread.
    pub fn waker(&self) -> Arc<EventFd> {
        self.wake.clone()
    }

    /// Makes `wake_fd` unreadable until the next wake-up.
    pub fn clear_wake(&self) {
        // Nothing to read (EAGAIN) is what we want to see afterwards.
        let _ = self.wake.read();
    }
}

/// Why a stray was not passed on.
#[derive(Debug)]
pub enum Undelivered {
    /// Every worker has seen it.
    Nobodys(Vec<u8>),
    /// The next mailbox is full.
    Full,
}
