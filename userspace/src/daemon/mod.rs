//! A running fast path: one NIC, its XDP program, its workers.

mod error;
mod kernel_side;
mod ladder;
mod status;

pub use error::StartError;
pub use status::{CacheStatus, QueueStatus, Reader, RouteStatus, Status};

use crate::cache::Learner;
use crate::nic::Nic;
use crate::steer::Steering;
use crate::store::{Live, Snapshot};
use crate::worker::{self, Control, Published, Worker};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use kernel_side::KernelSide;
use ladder::Rung;
use sidestep_config::Config;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long connections may take on a stop to go to the kernel, or to finish where it has no server. Longer keeps a
/// person waiting at the prompt for peers that read slowly; shorter closes more connections under a request.
const DRAIN: Duration = Duration::from_secs(5);

/// How long those that are left may take to close. Shorter resets downloads that were nearly done.
const CLOSE: Duration = Duration::from_secs(2);

/// A worker that has not come round for so long hangs: one that has nothing to do does so once a second. Shorter takes
/// a machine that is badly overloaded for a fault; all that time the frames of its queue are lost.
const STALL: Duration = Duration::from_secs(5);

/// A NIC that is being served. Dropping it detaches at once; [`Daemon::stop`] lets connections finish.
#[derive(Debug)]
pub struct Daemon {
    live: Arc<Live>,
    // Ends with the daemon.
    _learner: Learner,
    steering: Arc<Mutex<Steering>>,
    // Holds the tc program on the NIC and the proxy's thread; the workers have handles of their own.
    _kernel_side: KernelSide,
    workers: Vec<(Control, JoinHandle<()>)>,
    ended: Receiver<Ended>,
    reader: Reader,
    watch: Vec<Watch>,
}

/// When a worker was last seen to come round.
#[derive(Debug)]
struct Watch {
    queue: u32,
    published: Arc<Published>,
    rounds: u64,
    seen: Instant,
    given_up: bool,
}

/// A worker's thread has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its queue.
    pub queue: u32,
    /// Why; `None`: it panicked.
    pub result: Option<io::Result<()>>,
}

impl Daemon {
    /// Attaches to `interface` as `config` says. When this returns, traffic is steered.
    ///
    /// # Errors
    /// See [`StartError`]; the NIC is then as it was.
    pub fn start(config: &Config, interface: &str) -> Result<Self, StartError> {
        let nic = Nic::read(interface)?;
        // First what is quickly found wrong.
        ladder::check(config, &nic)?;
        let live = Arc::new(Live::new(Snapshot::build(config)?));
        let Rung {
            steering,
            kernel_side,
            workers,
            mode,
            listening,
            hugepages,
        } = ladder::climb(config, &nic, live.current())?;

        let learner = learner(&live).map_err(StartError::Thread)?;
        let queues: Vec<_> = workers.iter().map(|w| (w.queue(), w.published())).collect();
        let watch = queues.iter().map(Watch::new).collect();
        let steering = Arc::new(Mutex::new(steering));
        let (tell_end, ended) = bounded(workers.len());
        let reader = Reader {
            interface: nic.name,
            mode,
            hugepages,
            listening,
            queues,
            routes: workers.iter().map(Worker::routes).collect(),
            steering: steering.clone(),
            live: live.clone(),
        };
        let mut daemon = Self {
            live,
            _learner: learner,
            steering,
            _kernel_side: kernel_side,
            workers: Vec::with_capacity(workers.len()),
            ended,
            reader,
            watch,
        };
        for (n, worker) in workers.into_iter().enumerate() {
            // If one cannot be started, dropping the daemon ends those that run.
            let started = spawn(n, worker, tell_end.clone()).map_err(StartError::Thread)?;
            daemon.workers.push(started);
        }
        // Last, so that a frame never waits for a worker that could not start.
        daemon.gate(true)?;
        Ok(daemon)
    }

    /// For reading counters from any thread.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// What it answers from.
    pub fn live(&self) -> Arc<Live> {
        self.live.clone()
    }

    /// Yields when a worker ends, which none does unless it is told to or its NIC is gone.
    pub fn ended(&self) -> &Receiver<Ended> {
        &self.ended
    }

    /// Would [`Daemon::start`] understand this?
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn check(config: &Config, interface: &str) -> Result<(), StartError> {
        ladder::check(config, &Nic::read(interface)?)
    }

    /// To be called every second or so: leaves the frames of a queue whose worker hangs to the kernel, and returns
    /// such queues once.
    ///
    /// # Errors
    /// The XDP program's map could not be changed.
    #[expect(clippy::disallowed_methods, reason = "watches threads, not packets")]
    pub fn look_after_workers(&mut self) -> Result<Vec<u32>, StartError> {
        let now = Instant::now();
        let hung: Vec<u32> = self.watch.iter_mut().filter_map(|w| w.hangs(now)).collect();
        for &queue in &hung {
            self.steering().clear_socket(queue)?;
        }
        Ok(hung)
    }

    /// Leaves new connections to the kernel and hands it those that are open, if it has a server for them; the others
    /// may finish for a few seconds. Closes, then resets what is left, and detaches. Returns the last state of the
    /// counters.
    ///
    /// # Errors
    /// The gate could not be closed; everything else was done all the same.
    #[expect(
        clippy::disallowed_methods,
        reason = "waits for threads, not for packets"
    )]
    pub fn stop(mut self) -> Result<Status, StartError> {
        let closed = self.gate(false);
        for (control, _) in &self.workers {
            control.drain();
        }
        let mut running = self.workers.len();
        self.await_ends(&mut running, Instant::now() + DRAIN);
        for (control, _) in &self.workers {
            control.close();
        }
        self.await_ends(&mut running, Instant::now() + CLOSE);
        self.join();
        let status = self.reader.read();
        // Dropping `self` detaches.
        closed.map(|()| status)
    }

    fn await_ends(&self, running: &mut usize, deadline: Instant) {
        while *running > 0 {
            match self.ended.recv_deadline(deadline) {
                Ok(_) => *running -= 1,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    fn gate(&self, open: bool) -> Result<(), StartError> {
        self.steering().open_gate(open).map_err(StartError::Steer)
    }

    fn steering(&self) -> MutexGuard<'_, Steering> {
        // A thread that panicked while it read counters has not harmed them.
        self.steering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&mut self) {
        for (control, _) in &self.workers {
            control.stop();
        }
        for (_, thread) in self.workers.drain(..) {
            // A panic was reported when it happened, see `spawn`.
            let _ = thread.join();
        }
    }
}

/// What learns for `[[site.cache]]` routes. There is always one: a reload may bring such a route.
fn learner(live: &Arc<Live>) -> io::Result<Learner> {
    let learner = Learner::start(live)?;
    let purger = learner.purger();
    live.on_purge(move |purge| purger.purge(purge));
    Ok(learner)
}

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "watches threads, not packets")]
    fn new((queue, published): &(u32, Arc<Published>)) -> Self {
        Self {
            queue: *queue,
            published: published.clone(),
            rounds: 0,
            seen: Instant::now(),
            given_up: false,
        }
    }

    /// The queue, if its worker hangs, once.
    fn hangs(&mut self, now: Instant) -> Option<u32> {
        let rounds = self.published.rounds();
        if rounds != self.rounds {
            (self.rounds, self.seen) = (rounds, now);
        }
        let hangs = now.duration_since(self.seen) >= STALL && !self.given_up;
        self.given_up |= hangs;
        hangs.then_some(self.queue)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // First: the kernel has the traffic from here on. Readers may keep the maps alive, not the link.
        self.steering().detach();
        self.join();
    }
}

/// Tells that a worker has ended, also when it ends by a panic.
struct TellEnd {
    queue: u32,
    result: Option<io::Result<()>>,
    to: Sender<Ended>,
}

impl Drop for TellEnd {
    fn drop(&mut self) {
        let ended = Ended {
            queue: self.queue,
            result: self.result.take(),
        };
        // The channel holds one message for each worker, so that it is never full.
        let _ = self.to.try_send(ended);
    }
}

fn spawn(n: usize, worker: Worker, to: Sender<Ended>) -> io::Result<(Control, JoinHandle<()>)> {
    let control = worker.control();
    let queue = worker.queue();
    let thread = std::thread::Builder::new()
        .name(format!("queue-{queue}"))
        .spawn(move || {
            let mut tell = TellEnd {
                queue,
                result: None,
                to,
            };
            match worker::pin(n) {
                Ok(core) => log::debug!("queue {queue} on core {core}"),
                Err(e) => log::warn!("queue {queue} is not pinned to a core: {e}"),
            }
            tell.result = Some(worker.run());
        })?;
    Ok((control, thread))
}

#[cfg(test)]
mod tests {
    use super::{STALL, Watch};
    use crate::worker::Published;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_worker_hangs_that_does_not_come_round_and_is_told_of_once() {
        let published = Arc::new(Published::default());
        let mut watch = Watch::new(&(3, published.clone()));
        let start = watch.seen;
        let moment = Duration::from_millis(1);
        assert_eq!(watch.hangs(start + STALL - moment), None);
        published.publish(|_| {});
        assert_eq!(watch.hangs(start + STALL), None);
        assert_eq!(watch.hangs(start + 2 * STALL - moment), None);
        assert_eq!(watch.hangs(start + 2 * STALL), Some(3));
        assert_eq!(watch.hangs(start + 3 * STALL), None);
    }
}
