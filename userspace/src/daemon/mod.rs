//! A running fast path: one NIC, its XDP program, its workers.

mod error;
mod kernel_side;
mod ladder;
mod status;

pub use error::StartError;
pub use status::{QueueStatus, Reader, Status};

use crate::nic::Nic;
use crate::steer::Steering;
use crate::worker::{self, Control};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use ladder::Rung;
use sidestep_config::Config;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long connections may take to finish on a stop. Longer keeps a person waiting at the prompt for peers
/// that read slowly; shorter resets downloads that were nearly done.
const DRAIN: Duration = Duration::from_secs(5);

/// A NIC that is being served. Dropping it detaches at once; [`Daemon::stop`] lets connections finish.
#[derive(Debug)]
pub struct Daemon {
    steering: Arc<Mutex<Steering>>,
    workers: Vec<(Control, JoinHandle<()>)>,
    ended: Receiver<Ended>,
    reader: Reader,
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
        let Rung {
            steering,
            workers,
            mode,
            listening,
            hugepages,
        } = ladder::climb(config, &nic)?;

        let queues = workers.iter().map(|w| (w.queue(), w.published())).collect();
        let steering = Arc::new(Mutex::new(steering));
        let (tell_end, ended) = bounded(workers.len());
        let reader = Reader {
            interface: nic.name,
            mode,
            hugepages,
            listening,
            queues,
            steering: steering.clone(),
        };
        let mut daemon = Self {
            steering,
            workers: Vec::with_capacity(workers.len()),
            ended,
            reader,
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

    /// Yields when a worker ends, which none does unless it is told to or its NIC is gone.
    pub fn ended(&self) -> &Receiver<Ended> {
        &self.ended
    }

    /// Leaves new connections to the kernel, lets those that are open finish for a few seconds, resets
    /// what is left and detaches. Returns the last state of the counters.
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
        let deadline = Instant::now() + DRAIN;
        let mut running = self.workers.len();
        while running > 0 {
            match self.ended.recv_deadline(deadline) {
                Ok(_) => running -= 1,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        self.join();
        let status = self.reader.read();
        // Dropping `self` detaches.
        closed.map(|()| status)
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

fn spawn(
    n: usize,
    worker: worker::Worker,
    to: Sender<Ended>,
) -> io::Result<(Control, JoinHandle<()>)> {
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
