//! Watches over the workers: the frames of a queue whose worker hangs are the kernel's until it goes on.

use super::degraded::{Degraded, Troubles};
use crate::steer::{SteerError, Steering};
use crate::worker::{Published, Worker};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A worker that has not come round for so long hangs: one that has nothing to do does so once a second. Shorter takes
/// a machine that is badly overloaded for a fault; all that time the frames of its queue are lost.
pub(super) const STALL: Duration = Duration::from_secs(5);

/// When a worker was last seen to come round.
#[derive(Debug)]
pub(super) struct Watch {
    queue: u32,
    published: Arc<Published>,
    /// Another descriptor of the worker's socket, to enter it again.
    socket: OwnedFd,
    rounds: u64,
    seen: Instant,
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
    #[expect(clippy::disallowed_methods, reason = "watches threads, not packets")]
    pub fn new(worker: &mut Worker) -> io::Result<Self> {
        Ok(Self {
            queue: worker.queue(),
            published: worker.published(),
            socket: worker.socket().try_clone_to_owned()?,
            rounds: 0,
            seen: Instant::now(),
            hangs: false,
            tell: worker.hangs(),
        })
    }

    /// Takes the queue from a worker that hangs, and gives it back to one that goes on.
    ///
    /// # Errors
    /// The XDP program's map could not be changed.
    pub fn look(
        &mut self,
        now: Instant,
        steering: &mut Steering,
        troubles: &Troubles,
    ) -> Result<(), SteerError> {
        let queue = self.queue;
        match self.change(now) {
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

    fn change(&mut self, now: Instant) -> Option<Change> {
        let rounds = self.published.rounds();
        if rounds != self.rounds {
            (self.rounds, self.seen) = (rounds, now);
            return std::mem::take(&mut self.hangs).then_some(Change::GoesOn);
        }
        if self.hangs || now.duration_since(self.seen) < STALL {
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
    #[expect(clippy::disallowed_methods, reason = "watches threads, not packets")]
    fn a_worker_hangs_that_does_not_come_round_until_it_does() {
        let published = Arc::new(Published::default());
        let start = Instant::now();
        let mut watch = Watch {
            queue: 3,
            published: published.clone(),
            socket: File::open("/dev/null").unwrap().into(),
            rounds: 0,
            seen: start,
            hangs: false,
            tell: Arc::default(),
        };
        let moment = Duration::from_millis(1);
        assert_eq!(watch.change(start + STALL - moment), None);
        published.publish(&Nothing);
        assert_eq!(watch.change(start + STALL), None);
        assert_eq!(watch.change(start + 2 * STALL - moment), None);
        assert_eq!(watch.change(start + 2 * STALL), Some(Change::Hangs));
        assert_eq!(watch.change(start + 3 * STALL), None);
        published.publish(&Nothing);
        assert_eq!(watch.change(start + 4 * STALL), Some(Change::GoesOn));
        assert_eq!(watch.change(start + 5 * STALL - moment), None);
        assert_eq!(watch.change(start + 5 * STALL), Some(Change::Hangs));
    }
}
