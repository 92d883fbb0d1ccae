//! Watches over the workers: the frames of a queue whose worker hangs are the kernel's until it goes on.

use super::degraded::{Degraded, Troubles};
use crate::steer::{SteerError, Steering};
use crate::worker::{Published, Worker};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A worker that has not come round at so many looks in a row, a second or more apart, hangs: one that has nothing to do comes
/// round once a second. With fewer, a machine that is badly overloaded is taken for a fault, and connections are reset that would
/// only have waited: workers have been away for 15 seconds in virtual machines on a starved host, and came back. With more, clients
/// of a worker that is stuck wait longer for the reset that sends them to the kernel; many give up after 30 seconds.
///
/// It is looks that count, not time: when all threads stood still (a virtual machine that was paused, a process that was
/// stopped), a worker has to have the time to come round, too.
const LOOKS: u32 = 20;

/// When a worker was last seen to come round.
#[derive(Debug)]
pub(super) struct Watch {
    queue: u32,
    published: Arc<Published>,
    /// Another descriptor of the worker's socket, to enter it again.
    socket: OwnedFd,
    rounds: u64,
    /// Looks since it was last seen to come round.
    looks: u32,
    hangs: bool,
    /// Tells the other workers.
    tell: Arc<AtomicBool>,
}

/// What has become of a worker since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Hangs,
    GoesOn,
}

impl Watch {
    /// # Errors
    /// The process is out of file descriptors.
    pub fn new(worker: &mut Worker) -> io::Result<Self> {
        Ok(Self {
            queue: worker.queue(),
            published: worker.published(),
            socket: worker.socket().try_clone_to_owned()?,
            rounds: 0,
            looks: 0,
            hangs: false,
            tell: worker.hangs(),
        })
    }

    /// Takes the queue from a worker that hangs, and gives it back to one that goes on. To be called every second or so.
    ///
    /// # Errors
    /// The XDP program's map could not be changed.
    pub fn look(&mut self, steering: &mut Steering, troubles: &Troubles) -> Result<(), SteerError> {
        let queue = self.queue;
        match self.change() {
            Some(Change::Hangs) => {
                self.tell.store(true, Ordering::Relaxed);
                steering.clear_socket(queue)?;
                troubles.add(Degraded::WorkerHangs { queue });
            }
            Some(Change::GoesOn) => {
                self.tell.store(false, Ordering::Relaxed);
                steering.set_socket(queue, self.socket.as_fd())?;
                troubles.remove(&Degraded::WorkerHangs { queue });
                log::warn!("the worker of queue {queue} goes on: it has its frames again");
            }
            None => {}
        }
        Ok(())
    }

    fn change(&mut self) -> Option<Change> {
        let rounds = self.published.rounds();
        if rounds != self.rounds {
            (self.rounds, self.looks) = (rounds, 0);
            return std::mem::take(&mut self.hangs).then_some(Change::GoesOn);
        }
        self.looks = self.looks.saturating_add(1);
        if self.hangs || self.looks < LOOKS {
            return None;
        }
        self.hangs = true;
        Some(Change::Hangs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Counted;
    use std::fs::File;

    /// Comes round, with nothing to tell.
    struct Nothing;

    impl Counted for Nothing {
        fn visit(&self, _: &mut impl FnMut(&'static str, &'static str, u64)) {}
    }

    #[test]
    fn a_worker_hangs_that_does_not_come_round_until_it_does() {
        let published = Arc::new(Published::default());
        let mut watch = Watch {
            queue: 3,
            published: published.clone(),
            socket: File::open("/dev/null").unwrap().into(),
            rounds: 0,
            looks: 0,
            hangs: false,
            tell: Arc::default(),
        };
        let mut looks = |many| -> Vec<_> { (0..many).map(|_| watch.change()).collect() };
        let nothing = vec![None; LOOKS as usize - 1];
        let hangs = [nothing.clone(), vec![Some(Change::Hangs), None, None]].concat();
        assert_eq!(looks(LOOKS - 1), nothing);
        published.publish(&Nothing);
        assert_eq!(looks(1), [None]);
        assert_eq!(looks(LOOKS + 2), hangs);
        published.publish(&Nothing);
        assert_eq!(looks(1), [Some(Change::GoesOn)]);
        assert_eq!(looks(LOOKS + 2), hangs);
    }
}
