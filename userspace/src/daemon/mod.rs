//! A running fast path: one NIC, its XDP program, its workers.

mod addresses;
mod degraded;
mod error;
mod kernel_side;
mod ladder;
mod reload;
mod status;
mod watch;

pub use degraded::Degraded;
pub use error::StartError;
pub use kernel_side::{OpenWayBack, open_way_back};
pub use reload::{ReloadError, Reloader};
pub use status::{CacheStatus, QueueStatus, Reader, RouteStatus, Status};

use crate::cache::Learner;
use crate::napi::PutOff;
use crate::nic::Nic;
use crate::steer::Steering;
use crate::store::{Keeper, Live, Running};
use crate::worker::{self, Control, Taps, Worker};
use addresses::Addresses;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use kernel_side::KernelSide;
use ladder::Rung;
use sidestep_config::Config;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use watch::Watch;

/// How long connections may take on a stop to go to the kernel, or to finish where it has no server. Longer keeps a
/// person waiting at the prompt for peers that read slowly; shorter closes more connections under a request.
const DRAIN: Duration = Duration::from_secs(5);

/// How long those that are left may take to close. Shorter resets downloads that were nearly done.
const CLOSE: Duration = Duration::from_secs(2);

/// How long a worker may take to reset what is left and end. One that is not through by then hangs, and ends with the
/// process. Shorter takes one that waits for a core on an overloaded machine for one that hangs.
const END: Duration = Duration::from_secs(5);

/// How often to look for threads that have ended without a word. Others tell just before they are through.
const LOOK: Duration = Duration::from_millis(20);

/// A NIC that is being served. Dropping it detaches at once; [`Daemon::stop`] lets connections finish.
#[derive(Debug)]
pub struct Daemon {
    keeper: Arc<Keeper>,
    _in_step: Running,
    // Ends with the daemon.
    learner: Learner,
    // Puts the NIC's interrupts back.
    _put_off: Option<PutOff>,
    steering: Arc<Mutex<Steering>>,
    // Holds the tc program on the NIC and the proxy's thread; the workers have handles of their own.
    kernel_side: KernelSide,
    workers: Vec<(Control, JoinHandle<()>)>,
    ended: Receiver<Ended>,
    reader: Reader,
    taps: Taps,
    watch: Vec<Watch>,
}

/// A worker's thread has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its queue.
    pub queue: u32,
    /// Why; `None`: it panicked.
    pub result: Option<io::Result<()>>,
}

/// All of a start that does not touch the NIC. A store of many files takes its time to load: who takes over from
/// another daemon lets that one serve meanwhile.
pub struct Prepared<'a> {
    config: &'a Config,
    nic: Nic,
    keeper: Arc<Keeper>,
}

impl<'a> Prepared<'a> {
    /// Checks `config` against `interface` and loads the store.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(config: &'a Config, interface: &str) -> Result<Self, StartError> {
        let nic = Nic::read(interface)?;
        // First what is quickly found wrong.
        ladder::check(config, &nic)?;
        Ok(Self {
            config,
            nic,
            keeper: Arc::new(Keeper::open(config)?),
        })
    }

    /// Attaches. When this returns, traffic is steered. Usually the way back into the kernel is [`open_way_back`].
    ///
    /// # Errors
    /// See [`StartError`]; the NIC is then as it was.
    pub fn start(self, way_back: OpenWayBack) -> Result<Daemon, StartError> {
        Daemon::attach(self, way_back)
    }
}

impl Daemon {
    /// Attaches to `interface` as `config` says. When this returns, traffic is steered.
    ///
    /// # Errors
    /// See [`StartError`]; the NIC is then as it was.
    pub fn start(config: &Config, interface: &str) -> Result<Self, StartError> {
        Prepared::new(config, interface)?.start(open_way_back)
    }

    fn attach(prepared: Prepared<'_>, way_back: OpenWayBack) -> Result<Self, StartError> {
        let Prepared {
            config,
            nic,
            keeper,
        } = prepared;
        let Rung {
            steering,
            kernel_side,
            mut workers,
            mode,
            listening,
            hugepages,
            put_off,
            troubles,
        } = ladder::climb(config, &nic, keeper.live().current(), way_back)?;

        let learner = learner(keeper.live()).map_err(StartError::Thread)?;
        let queues: Vec<_> = workers.iter().map(|w| (w.queue(), w.published())).collect();
        let watch = workers.iter_mut().map(Watch::new).collect::<Result<_, _>>();
        let watch = watch.map_err(StartError::Thread)?;
        let steering = Arc::new(Mutex::new(steering));
        let (tell_end, ended) = bounded(workers.len());
        let reader = Reader {
            nic,
            troubles,
            mode,
            hugepages,
            addresses: Addresses::new(config, listening),
            queues,
            routes: workers.iter().map(Worker::routes).collect(),
            steering: steering.clone(),
            books: kernel_side.books(),
            live: keeper.live().clone(),
        };
        let taps = Taps::new(workers.iter().map(Worker::tap));
        let in_step = keeper
            .start(worker::spare_cores(workers.len()))
            .map_err(StartError::Thread)?;
        let mut daemon = Self {
            keeper,
            _in_step: in_step,
            learner,
            _put_off: put_off,
            steering,
            kernel_side,
            workers: Vec::with_capacity(workers.len()),
            ended,
            reader,
            taps,
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
        self.keeper.live().clone()
    }

    /// For reloading its configuration from the file at `path`. `socket`: its control socket, if that is not what the
    /// file says.
    pub fn reloader(&self, path: &Path, socket: Option<PathBuf>) -> Reloader {
        let workers = self.workers.iter().map(|(control, _)| control.clone());
        Reloader {
            path: path.to_owned(),
            socket,
            interface: self.reader.nic.name.clone(),
            keeper: self.keeper.clone(),
            workers: workers.collect(),
            learned: self.learner.purger(),
            reader: self.reader.clone(),
            metrics: Mutex::default(),
        }
    }

    /// For copies of the workers' frames.
    pub fn taps(&self) -> Taps {
        self.taps.clone()
    }

    /// Yields when a worker ends, which none does unless it is told to or its NIC is gone.
    pub fn ended(&self) -> &Receiver<Ended> {
        &self.ended
    }

    /// To be called every second or so: leaves the frames of a queue whose worker hangs to the kernel until it goes on, and
    /// serves the addresses that the NIC has.
    ///
    /// # Errors
    /// The XDP program's map could not be changed.
    pub fn look_after(&mut self) -> Result<(), StartError> {
        let mut steering = lock(&self.steering);
        for watch in &mut self.watch {
            watch.look(&mut steering, &self.reader.troubles)?;
        }
        let Reader { addresses, nic, .. } = &self.reader;
        addresses.follow(&nic.name, &mut steering)?;
        Ok(())
    }

    /// Leaves new connections to the kernel and hands it those that are open, if it has a server for them; the others
    /// may finish for a few seconds. Closes, then resets what is left, and detaches. Returns the last state of the
    /// counters.
    ///
    /// # Errors
    /// The gate could not be closed, or a worker does not end: its connections are lost. Everything else was done all the
    /// same.
    #[expect(
        clippy::disallowed_methods,
        reason = "waits for threads, not for packets"
    )]
    pub fn stop(mut self) -> Result<Status, StartError> {
        let closed = self.gate(false);
        for (control, _) in &self.workers {
            control.drain();
        }
        self.kernel_side.drain();
        let deadline = Instant::now() + DRAIN;
        self.await_ends(deadline);
        self.kernel_side.await_end(deadline);
        for (control, _) in &self.workers {
            control.close();
        }
        self.kernel_side.close();
        let deadline = Instant::now() + CLOSE;
        self.await_ends(deadline);
        self.kernel_side.await_end(deadline);
        let hang = self.end_workers();
        let status = self.reader.read();
        // Dropping `self` detaches.
        closed?;
        match hang {
            0 => Ok(status),
            _ => Err(StartError::Hangs(hang)),
        }
    }

    /// Waits until no worker runs, at most until `deadline`; returns how many do.
    #[expect(
        clippy::disallowed_methods,
        reason = "waits for threads, not for packets"
    )]
    fn await_ends(&self, deadline: Instant) -> usize {
        loop {
            let running = self.workers.iter().filter(|(_, t)| !t.is_finished());
            let running = running.count();
            let left = deadline.saturating_duration_since(Instant::now());
            if running == 0 || left.is_zero() {
                return running;
            }
            // All have told, and are microseconds from their end.
            if let Err(RecvTimeoutError::Disconnected) = self.ended.recv_timeout(left.min(LOOK)) {
                std::thread::yield_now();
            }
        }
    }

    fn gate(&self, open: bool) -> Result<(), StartError> {
        self.steering().open_gate(open).map_err(StartError::Steer)
    }

    fn steering(&self) -> MutexGuard<'_, Steering> {
        lock(&self.steering)
    }

    /// Stops the workers that are left, and returns how many do not end.
    #[expect(
        clippy::disallowed_methods,
        reason = "waits for threads, not for packets"
    )]
    fn end_workers(&mut self) -> usize {
        for (control, _) in &self.workers {
            control.stop();
        }
        let hang = self.await_ends(Instant::now() + END);
        for (_, thread) in self.workers.drain(..).filter(|(_, t)| t.is_finished()) {
            // A panic was reported when it happened, see `spawn`.
            let _ = thread.join();
        }
        hang
    }
}

/// What learns for `[[site.cache]]` routes. There is always one: a reload may bring such a route.
fn learner(live: &Arc<Live>) -> io::Result<Learner> {
    let learner = Learner::start(live)?;
    let purger = learner.purger();
    live.on_purge(move |purge| purger.purge(purge));
    Ok(learner)
}

fn lock(steering: &Mutex<Steering>) -> MutexGuard<'_, Steering> {
    // A thread that panicked while it read counters has not harmed them.
    steering.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // First: the kernel has the traffic from here on. Readers may keep the maps alive, not the link.
        self.steering().detach();
        self.end_workers();
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
