//! A link emulator in user space: takes frames from one device and gives them to another, shaped by a [`Shape`].
//!
//! Works on any two devices of one network namespace, from a test ([`crate::net::Plan::link`]) or from the command
//! line (`sidestep-link`). Decisions are drawn from a seed per direction; which frame meets which draw depends
//! on the arrival order, so a run repeats as far as the hosts do.

mod pipe;
mod shape;
#[cfg(test)]
mod tests;

pub use pipe::{Pipe, Tally};
pub use shape::{Burst, Shape};

use crate::clock::now;
use crate::packet::{PacketSocket, wait_any};
use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest pause of the forwarding thread. Every event wakes it, so this only has to be long enough to cost nothing.
const IDLE: Duration = Duration::from_secs(30);

/// A running link; it stops when dropped.
pub struct Link {
    stop: Arc<EventFd>,
    tallies: Arc<Mutex<[Tally; 2]>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Link {
    /// Forwards between the devices `a` and `b` of the calling thread's namespace; `a_to_b` and `b_to_a` shape the
    /// directions, each with its own draws from `seed`.
    ///
    /// # Errors
    /// A shape out of range, a missing device, or no CAP_NET_RAW.
    pub fn start(a: &str, b: &str, a_to_b: Shape, b_to_a: Shape, seed: u64) -> io::Result<Self> {
        for shape in [&a_to_b, &b_to_a] {
            shape
                .check()
                .map_err(|what| io::Error::new(io::ErrorKind::InvalidInput, what))?;
        }
        let stop = Arc::new(EventFd::from_flags(
            EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK,
        )?);
        let tallies = Arc::new(Mutex::new([Tally::default(); 2]));
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )?;
        let mut forwarder = Forwarder {
            devices: [PacketSocket::open(a)?, PacketSocket::open(b)?],
            // The second direction's seed is the bitwise opposite: any fixed map that never gives the same one.
            pipes: [Pipe::new(a_to_b, seed), Pipe::new(b_to_a, !seed)],
            full: [false; 2],
            timer,
            stop: Arc::clone(&stop),
            tallies: Arc::clone(&tallies),
        };
        let thread = std::thread::Builder::new()
            .name("link".into())
            .spawn(move || forwarder.run())?;
        Ok(Self {
            stop,
            tallies,
            thread: Some(thread),
        })
    }

    /// What was done so far: from `a` to `b`, from `b` to `a`. For a [`crate::net::Net`] `a` is the server's side.
    pub fn tallies(&self) -> [Tally; 2] {
        *self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops it and says what it did.
    ///
    /// # Errors
    /// The forwarding had ended by itself, for example because a device was removed.
    pub fn stop(mut self) -> io::Result<[Tally; 2]> {
        self.end()?;
        Ok(self.tallies())
    }

    fn end(&mut self) -> io::Result<()> {
        // A full counter also wakes the thread.
        let _ = self.stop.write(1);
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(io::Error::other("the link's thread panicked")),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The error was offered by `stop`; a device that went first is the usual end of a test.
        let _ = self.end();
    }
}

struct Forwarder {
    devices: [PacketSocket; 2],
    /// `pipes[i]` leads from `devices[i]` to the other device.
    pipes: [Pipe; 2],
    /// `full[i]`: the device at the far end of `pipes[i]` takes no frame until poll says so.
    full: [bool; 2],
    timer: TimerFd,
    stop: Arc<EventFd>,
    tallies: Arc<Mutex<[Tally; 2]>>,
}

impl Forwarder {
    fn run(&mut self) -> io::Result<()> {
        loop {
            for (device, pipe) in self.devices.iter_mut().zip(&mut self.pipes) {
                let arrived = now();
                device.receive(|frame| pipe.offer(arrived, frame))?;
            }
            for direction in 0..2 {
                self.deliver(direction)?;
            }
            *self.tallies.lock().unwrap_or_else(PoisonError::into_inner) =
                [self.pipes[0].tally(), self.pipes[1].tally()];
            if self.pause()? {
                return Ok(());
            }
        }
    }

    fn deliver(&mut self, direction: usize) -> io::Result<()> {
        let (pipe, out) = (&mut self.pipes[direction], &self.devices[1 - direction]);
        let at = now();
        self.full[direction] = false;
        while let Some(frame) = pipe.ready(at) {
            match out.send(frame) {
                Ok(()) => pipe.sent(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.full[direction] = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for the next thing to do; `true` when told to stop.
    fn pause(&self) -> io::Result<bool> {
        let next = (0..2)
            .filter(|&direction| !self.full[direction])
            .filter_map(|direction| self.pipes[direction].next_due())
            .min();
        let wait = next.map_or(IDLE, |due| due.saturating_duration_since(now()));
        // poll(2) counts in milliseconds, frames are due in microseconds: the timer wakes it. Zero would disarm it.
        self.timer.set(
            Expiration::OneShot(TimeSpec::from(wait.max(Duration::from_nanos(1)))),
            TimerSetTimeFlags::empty(),
        )?;
        let events = |far: usize| {
            if self.full[far] {
                PollFlags::POLLIN | PollFlags::POLLOUT
            } else {
                PollFlags::POLLIN
            }
        };
        // Device 0 is the far end of pipe 1, and the other way round.
        let mut fds = [
            PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.devices[0].as_fd(), events(1)),
            PollFd::new(self.devices[1].as_fd(), events(0)),
        ];
        wait_any(&mut fds, IDLE)?;
        Ok(fds[0].any().unwrap_or(false))
    }
}
