//! One thread per queue, pinned to a core, sharing nothing but the snapshot.

mod clock;
mod counters;
mod generations;
mod leaving;
mod process;
mod publish;
mod repeat;
mod ring;
mod routes;
mod service;
mod sleep;
mod spin;
mod tap;
mod turns;

pub use clock::{Clock, Now};
pub use leaving::CAPACITY as LEAVING;
pub use process::{Pipeline, Stranger};
pub(crate) use publish::Counted;
pub use publish::Published;
pub use ring::Neighbours;
pub use routes::RouteBoard;
pub use service::{FlowIndex, Limits, Service};
pub use tap::{Copied, Open, Switch, Taps};

use crate::sys;
use crate::xsk::{Audit, Frame, Port, Queue, Statistics, Transmit};
use crossbeam::channel::{Receiver, Sender, unbounded};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::eventfd::EventFd;
use nix::unistd::Pid;
use sidestep_config::Interrupts;
use sleep::{Sleep, Woken};
use spin::Spin;
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

/// What a worker does when no frame is there.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Never sleeps.
    pub busy_poll: bool,
    /// How long it looks for the next frame at most before it sleeps; zero: not at all.
    pub spin: Duration,
    /// What becomes of the queue's interrupts meanwhile.
    pub interrupts: Interrupts,
}

/// A worker before its thread runs.
pub struct Worker {
    queue: Queue,
    pipeline: Pipeline,
    published: Arc<Published>,
    control: Control,
    limits: Receiver<Limits>,
    tap: Tap,
    waiting: Waiting,
    spin: Spin,
    /// The kernel's counts of the queue's socket, as of the last [`CHECK`].
    statistics: Statistics,
}

impl Worker {
    /// A worker for `queue`. `waker` is that of the pipeline's place in the ring.
    pub fn new(queue: Queue, pipeline: Pipeline, waker: Arc<EventFd>, waiting: Waiting) -> Self {
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
            waiting,
            spin: Spin::new(match waiting.interrupts {
                Interrupts::On => waiting.spin,
                // The kernel looks at the NIC before the worker sleeps, instead of waiting for it to interrupt.
                Interrupts::Deferred | Interrupts::Suspended => Duration::ZERO,
            }),
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
        let sleep = self.sleep();
        let busy_poll = self.waiting.busy_poll;
        let polls_queue = self.waiting.interrupts == Interrupts::Deferred;
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
            let injected = self.pipeline.injected();
            self.queue.rings().refill(self.pipeline.connections());
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
            if self.queue.rings().fill_needs_wakeup() && (busy_poll || full) {
                self.poll(&sleep, Duration::ZERO)?;
            }
            // Who got something from us by the kernel is likely to have been woken on this core.
            let alone = received > 0 && !waiting && self.pipeline.injected() == injected;
            // What has come meanwhile has not to be waited for.
            received = self.queue.rings().receive(&mut frames);
            if received == 0 && polls_queue {
                sys::poll_queue(self.queue.rings().socket());
            }
            if received == 0 && !busy_poll {
                if alone {
                    let rings = self.queue.rings();
                    let look = || rings.receive(&mut frames);
                    received = self.spin.wait(|| clock.mono(), look);
                }
                if received == 0 {
                    self.wait(&sleep, &clock, check, waiting)?;
                }
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

    /// The way of sleeping that the configuration asks for, if the kernel has it.
    fn sleep(&mut self) -> Sleep {
        let (socket, waker) = (self.queue.rings().socket(), self.pipeline.wake_fd());
        let budget = BATCH as u16;
        let asked = match self.waiting.interrupts {
            Interrupts::On => Ok(Sleep::Poll),
            Interrupts::Deferred => sys::prefer_busy_poll(socket, budget).map(|()| Sleep::Poll),
            Interrupts::Suspended => {
                // Without any polling there is nothing that could suspend them.
                let time = self.waiting.spin.max(Duration::from_micros(1));
                Sleep::with_interrupts_suspended(socket, waker, time, budget)
            }
        };
        asked.unwrap_or_else(|e| {
            log::warn!("interrupts come as ever: {e}");
            Sleep::Poll
        })
    }

    /// Sleeps until a frame, a wake-up, the next deadline or `check`.
    fn wait(
        &mut self,
        sleep: &Sleep,
        clock: &Clock,
        check: Instant,
        tx_waiting: bool,
    ) -> io::Result<()> {
        let until = match self.pipeline.next_deadline() {
            Some(deadline) => deadline.min(check),
            None => check,
        };
        let mut timeout = until.since(clock.mono());
        if tx_waiting {
            timeout = timeout.min(TX_RETRY);
        }
        if timeout == Duration::ZERO {
            return Ok(());
        }
        self.poll(sleep, timeout)
    }

    fn poll(&mut self, sleep: &Sleep, timeout: Duration) -> io::Result<()> {
        let (socket, waker) = (self.queue.rings().socket(), self.pipeline.wake_fd());
        let Woken { by_waker, gone } = sleep.wait(socket, waker, timeout)?;
        if by_waker {
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
        self.published.publish(&Counts {
            audit,
            statistics: &self.statistics,
            pipeline: &self.pipeline,
        });
    }
}

/// All that a worker counts.
struct Counts<'a> {
    audit: Audit,
    statistics: &'a Statistics,
    pipeline: &'a Pipeline,
}

impl Counted for Counts<'_> {
    #[inline]
    fn visit(&self, see: &mut impl FnMut(&'static str, &'static str, u64)) {
        see("queue_frames", "free", self.audit.free);
        see("queue_frames", "in_rx", self.audit.in_rx);
        see("queue_frames", "in_tx", self.audit.in_tx);
        see("queue_frames", "held", self.audit.held);
        see("queue_frames", "total", self.audit.total);
        self.statistics
            .visit(&mut |label, value| see("xsk", label, value));
        self.pipeline.visit(see);
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
