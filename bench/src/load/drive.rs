//! The loop between a NIC and what works on its frames.

use super::device::{BATCH, Device, RingSink};
use super::engine::Sink;
use anyhow::Result;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use sidestep::xsk::{Memory, Transmit};
use std::time::{Duration, Instant};

/// What is done with frames.
pub(crate) trait Job {
    /// A frame has come.
    fn frame(&mut self, now: u64, frame: &[u8], sink: &mut impl Sink);
    /// Behind each batch, and when [`Self::next`] has come. False once it is over.
    fn turn(&mut self, now: u64, sink: &mut impl Sink) -> bool;
    /// When [`Self::turn`] has to be called at the latest, in nanoseconds.
    fn next(&self, now: u64) -> u64;
    /// Connections that may bring frames.
    fn connections(&self) -> usize;
    /// Whether this time counts.
    fn measures(&self) -> bool;
}

/// Nanoseconds since the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the clock of a benchmark")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// Seconds of CLOCK_MONOTONIC, which is the same for all processes.
pub(crate) fn monotonic() -> f64 {
    // It exists on every Linux.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0.0, |time| Duration::from(time).as_secs_f64())
}

/// What the counted time has cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) measured: Duration,
    /// User and system time of this thread.
    pub(crate) cpu: Duration,
    /// Share of the time in which there was something to do.
    pub(crate) busy: f64,
    /// When it began and ended, by [`monotonic`].
    pub(crate) between: [f64; 2],
}

/// Collects a [`Cost`].
#[derive(Debug, Default)]
struct Meter {
    /// When counting began, with the thread's time then.
    began: Option<(u64, Duration)>,
    idle: u64,
    cost: Cost,
}

impl Meter {
    fn see(&mut self, measures: bool, now: u64) {
        match self.began {
            None if measures => {
                self.began = Some((now, thread_time()));
                self.cost.between[0] = monotonic();
                self.idle = 0;
            }
            Some((at, cpu)) if !measures => {
                let measured = now - at;
                self.cost = Cost {
                    measured: Duration::from_nanos(measured),
                    cpu: thread_time().saturating_sub(cpu),
                    busy: 1.0 - self.idle.min(measured) as f64 / measured.max(1) as f64,
                    between: [self.cost.between[0], monotonic()],
                };
                self.began = None;
            }
            None | Some(_) => {}
        }
    }
}

fn thread_time() -> Duration {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(Duration::ZERO, |usage| {
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        Duration::from_micros(micros.max(0) as u64)
    })
}

/// Runs `job` to its end. `spin`: without ever sleeping.
///
/// # Errors
/// The NIC is gone.
pub(crate) fn run(
    device: &mut Device,
    clock: Clock,
    job: &mut impl Job,
    spin: bool,
) -> Result<Cost> {
    let mut frames = Vec::with_capacity(BATCH);
    let mut meter = Meter::default();
    let queues = device.queues().len();
    let mut turn = 0;
    loop {
        let began = clock.now();
        let mut did = 0;
        let mut waiting = false;
        let mut over = false;
        for number in 0..queues {
            let queue = &mut device.queues()[number];
            did += queue.rings().receive(&mut frames) as u64;
            let now = clock.now();
            let mut sink = RingSink::new(queue);
            for frame in frames.drain(..) {
                job.frame(now, sink.memory.bytes(&frame), &mut sink);
                sink.ring.release(frame);
            }
            // What nobody's frame brings about goes out of each queue in its turn.
            if number == turn {
                over = !job.turn(now, &mut sink);
            }
            did += sink.sent;
            let rings = queue.rings();
            waiting |= rings.kick()?;
            rings.reap();
            rings.refill(job.connections());
        }
        turn = if turn + 1 == queues { 0 } else { turn + 1 };
        let now = clock.now();
        if did == 0 {
            meter.idle += now - began;
        }
        meter.see(job.measures(), now);
        if over {
            return Ok(meter.cost);
        }
        if did > 0 || spin {
            let asleep = |queue: &mut sidestep::xsk::Queue| queue.rings().fill_needs_wakeup();
            if device.queues().iter_mut().any(asleep) {
                device.wait(Duration::ZERO)?;
            }
            continue;
        }
        let mut limit = job.next(now).saturating_sub(now);
        if waiting {
            // A ring that is full drains in well under a millisecond.
            limit = limit.min(1_000_000);
        }
        if limit > 0 {
            device.wait(Duration::from_nanos(limit))?;
            meter.idle += clock.now() - now;
        }
    }
}
