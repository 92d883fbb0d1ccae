//! One thread per queue, pinned to a core, sharing nothing but the snapshot.

mod clock;
mod counters;
mod generations;
mod leaving;
mod process;
mod publish;
mod ring;
mod routes;
mod service;
mod tap;

pub use clock::{Clock, Now};
pub use leaving::CAPACITY as LEAVING;
pub use process::{Pipeline, Stranger};
pub use publish::Published;
pub use ring::Neighbours;
pub use routes::RouteBoard;
pub use service::{FlowIndex, Limits, Service};
pub use tap::{Copied, Open, Switch, Taps};

use crate::sys;
use crate::xsk::{Frame, Port, Queue, Statistics, Transmit};
use crossbeam::channel::{Receiver, Sender, unbounded};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::eventfd::EventFd;
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::unistd::Pid;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;
use tap::Tap;
use tcp_lite::Instant;

/// Frames taken from the receive ring at a time. Larger batches coalesce more answers but make the first wait for
/// the last; 64 frames of small requests are about 50 µs of work.
pub const BATCH: usize = 64;

/// How long to sleep at most while the device takes no more frames to transmit: a veth's or
/// NIC's ring drains in well under this, and poll(2) itself pushes in copy mode.
const TX_RETRY: Duration = Duration::from_millis(1);

/// How often a worker asks whether its NIC is still there: an idle one would never notice. The question is a system
/// call that may start the NIC's transmit work, too dear for each batch; more rarely, `sidestep` would seem to serve.
const CHECK: Duration = Duration::from_secs(1);

/// Time that a worker asks the scheduler for at a time (`sched_runtime`, sched_setattr(2); Linux 6.12 and later look at it),
/// the least there is. Its work is short and others wait for it: with the default, some milliseconds, the server that
/// it has just woken on the same core would run first, and the client would wait for what the worker has left to do.
const SLICE: Duration = Duration::from_micros(100);

/// What a worker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Order {
    Run,
    Drain,
    Close,
    Stop,
}

/// The other threads' side of a worker.
#[derive(Clone, Debug)]
pub struct Control {
    order: Arc<AtomicU8>,
    limits: Sender<Limits>,
    wake: Arc<EventFd>,
}

impl Control {
    /// No new connections; those that the kernel can take go there. The worker ends once the last one is gone.
    pub fn drain(&self) {
        self.tell(Order::Drain);
    }

    /// Closes the connections that a drain has left. The worker ends once the last one is gone.
    pub fn close(&self) {
        self.tell(Order::Close);
    }

    /// Resets what is left and ends.
    pub fn stop(&self) {
        self.tell(Order::Stop);
    }

    /// Other limits, for what begins from now on.
    pub fn limit(&self, limits: Limits) {
        // A worker that has ended needs none.
        let _ = self.limits.send(limits);
        let _ = self.wake.write(1);
    }

    fn tell(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::Relaxed);
        // A full counter means that the worker is being woken already.
        let _ = self.wake.write(1);
    }
}

/// A worker before its thread runs.
pub struct Worker {
    queue: Queue,
    pipeline: Pipeline,
    published: Arc<Published>,
    control: Control,
    limits: Receiver<Limits>,
    tap: Tap,
    busy_poll: bool,
    /// The kernel's counts of the queue's socket, as of the last [`CHECK`].
    statistics: Statistics,
}

impl Worker {
    /// A worker for `queue`. `waker` is that of the pipeline's place in the ring.
    pub fn new(queue: Queue, pipeline: Pipeline, waker: Arc<EventFd>, busy_poll: bool) -> Self {
        let (sender, limits) = unbounded();
        let mut worker = Self {
            queue,
            pipeline,
            published: Arc::default(),
            control: Control {
                order: Arc::new(AtomicU8::new(Order::Run as u8)),
                limits: sender,
                wake: waker,
            },
            limits,
            tap: Tap::default(),
            busy_poll,
            statistics: Statistics::default(),
        };
        // So that a status has every counter from the first moment.
        worker.publish();
        worker
    }

    /// The queue it serves.
    pub fn queue(&self) -> u32 {
        self.queue.id()
    }

    /// Its AF_XDP socket.
    pub fn socket(&mut self) -> BorrowedFd<'_> {
        self.queue.rings().socket()
    }

    /// To be set while it does not come round, so that the others pass nothing to it.
    pub fn hangs(&self) -> Arc<AtomicBool> {
        self.pipeline.hangs()
    }

    /// For giving it orders.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Where it publishes its counters.
    pub fn published(&self) -> Arc<Published> {
        self.published.clone()
    }

    /// For copies of its frames.
    pub fn tap(&self) -> Arc<Switch> {
        self.tap.switch()
    }

    /// Where it publishes its counters by route.
    pub fn routes(&self) -> Arc<RouteBoard> {
        self.pipeline.routes()
    }

    /// Runs until told to stop, or until drained.
    ///
    /// # Errors
    /// The queue is gone (the NIC was removed).
    pub fn run(mut self) -> io::Result<()> {
        if let Err(e) = sys::set_slice(SLICE) {
            log::debug!("a short slice of the core: {e}");
        }
        let clock = Clock::start();
        let mut frames: Vec<Frame> = Vec::with_capacity(BATCH);
        let mut received = 0;
        let mut obeyed = Order::Run as u8;
        let mut check = clock.now().mono + CHECK;
        loop {
            let order = self.control.order.load(Ordering::Relaxed);
            if order == Order::Stop as u8 {
                let (_, ring) = self.queue.split();
                frames.drain(..).for_each(|frame| ring.release(frame));
                break;
            }
            for limits in self.limits.try_iter() {
                self.pipeline.limit(limits);
            }
            let now = clock.now();
            if now.mono >= check {
                self.check()?;
                check = now.mono + CHECK;
            }
            if received == 0 {
                received = self.queue.rings().receive(&mut frames);
            }
            let full = received == BATCH;
            self.queue.rings().refill();
            let tapped = self.tap.is_on().then(|| clock.wall());
            if let Some(at) = tapped {
                for frame in &frames {
                    self.tap.copy(at, self.queue.bytes(frame));
                }
            }
            self.pipeline.batch(now, &mut self.queue, &mut frames);
            // After the batch: requests that are here already still get their answers.
            if order > obeyed {
                if obeyed == Order::Run as u8 {
                    self.pipeline.drain(now);
                }
                if order == Order::Close as u8 {
                    self.pipeline.close();
                }
                obeyed = order;
                self.pipeline.batch(now, &mut self.queue, &mut frames);
            }
            if let Some(at) = tapped {
                self.queue.each_pending(|frame| self.tap.copy(at, frame));
            }
            let waiting = self.queue.rings().kick()?;
            self.queue.rings().reap();
            self.publish();
            if obeyed > Order::Run as u8 && self.pipeline.connections() == 0 {
                break;
            }
            // A fill ring that ran dry needs poll(2) even if more is waiting.
            if self.queue.rings().fill_needs_wakeup() && (self.busy_poll || full) {
                self.poll(Duration::ZERO)?;
            }
            // What has come meanwhile has not to be waited for.
            received = self.queue.rings().receive(&mut frames);
            if received == 0 && !self.busy_poll {
                self.wait(&clock, check, waiting)?;
            }
        }
        self.pipeline.abort_all(clock.now(), &mut self.queue);
        self.check()?;
        if self.tap.is_on() {
            let at = clock.wall();
            self.queue.each_pending(|frame| self.tap.copy(at, frame));
        }
        self.queue.rings().kick()?;
        self.queue.rings().reap();
        self.publish();
        Ok(())
    }

    /// Is the queue still there, and what has the kernel counted on it?
    fn check(&mut self) -> io::Result<()> {
        self.queue.rings().check()?;
        self.statistics = self.queue.rings().statistics()?;
        Ok(())
    }

    /// Sleeps until a frame, a wake-up, the next deadline or `check`.
    fn wait(&mut self, clock: &Clock, check: Instant, tx_waiting: bool) -> io::Result<()> {
        let until = match self.pipeline.next_deadline() {
            Some(deadline) => deadline.min(check),
            None => check,
        };
        let mut timeout = until.since(clock.now().mono);
        if tx_waiting {
            timeout = timeout.min(TX_RETRY);
        }
        if timeout == Duration::ZERO {
            return Ok(());
        }
        self.poll(timeout)
    }

    fn poll(&mut self, timeout: Duration) -> io::Result<()> {
        let socket = self.queue.rings().socket();
        let mut fds = [
            PollFd::new(socket, PollFlags::POLLIN),
            PollFd::new(self.pipeline.wake_fd(), PollFlags::POLLIN),
        ];
        let timeout = TimeSpec::microseconds(timeout.as_micros() as i64);
        match ppoll(&mut fds, Some(timeout), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        let gone = fds[0]
            .revents()
            .is_some_and(|r| r.intersects(PollFlags::POLLHUP | PollFlags::POLLNVAL));
        let woken = fds[1].any().unwrap_or(false);
        if woken {
            self.pipeline.clear_wake();
        }
        if gone {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        Ok(())
    }

    fn publish(&mut self) {
        let audit = self.queue.audit();
        debug_assert!(audit.balances(), "frames lost: {audit:?}");
        debug_assert_eq!(audit.held, 0, "a batch kept frames");
        let (pipeline, statistics) = (&self.pipeline, &self.statistics);
        self.published.publish(|see| {
            see("queue_frames", "free", audit.free);
            see("queue_frames", "in_rx", audit.in_rx);
            see("queue_frames", "in_tx", audit.in_tx);
            see("queue_frames", "held", audit.held);
            see("queue_frames", "total", audit.total);
            statistics.visit(&mut |label, value| see("xsk", label, value));
            pipeline.visit(&mut |name, label, value| see(name, label, value));
        });
    }
}

/// The cores that the calling thread may run on and that none of so many workers is [pinned](pin) to; `None`: there are
/// none, or that cannot be told.
pub fn spare_cores(workers: usize) -> Option<CpuSet> {
    let allowed = nix::sched::sched_getaffinity(Pid::from_raw(0)).ok()?;
    let cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
    let mut spare = CpuSet::new();
    let mut any = false;
    for core in cores.skip(workers) {
        any |= spare.set(core).is_ok();
    }
    any.then_some(spare)
}

/// Pins the calling thread to the `n`th (round robin) of the cores that it may run on.
///
/// # Errors
/// Those of `sched_setaffinity(2)`.
pub fn pin(n: usize) -> nix::Result<usize> {
    let this = Pid::from_raw(0);
    let allowed = nix::sched::sched_getaffinity(this)?;
    let cores: Vec<usize> = (0..CpuSet::count())
        .filter(|&core| allowed.is_set(core).unwrap_or(false))
        .collect();
    let core = cores[n % cores.len()];
    let mut only = CpuSet::new();
    only.set(core)?;
    sched_setaffinity(this, &only)?;
    Ok(core)
}
