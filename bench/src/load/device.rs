//! A NIC by AF_XDP, with the XDP program that takes frames for a tool and leaves the rest to the kernel.

use super::engine::Sink;
use anyhow::{Context, Result, bail};
use aya::maps::{Array, XskMap};
use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use aya::{Ebpf, EbpfLoader};
use clap::ValueEnum;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::{TimeSpec, TimeValLike};
use sidestep::nic::Nic;
use sidestep::xsk::{
    BindMode, Frame, Memory, OpenError, Port, Queue, QueueOptions, Rings, Transmit, Umem,
};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;
use xdp_prog::{CAPTURE_OBJECT, CAPTURE_PROGRAM, CAPTURE_RULE, CAPTURE_XSKS, Capture};

/// Frames of a queue, half of them for receiving: what a peer may answer before we come round.
const FRAMES: u32 = 8192;

/// Frames taken from a ring at a time. Their connections are looked up one behind the other, so that more of them let
/// more cache misses overlap; too many would not fit the first cache.
pub(crate) const BATCH: usize = 128;

/// The kernel lets a queue go some time after the last socket on it was closed: so often, so long apart, it is tried.
const RELEASE_TRIES: u32 = 100;
const RELEASE_PAUSE: Duration = Duration::from_millis(20);

/// How a NIC is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The first of the others that works
    Auto,
    /// The NIC's DMA reads and writes our memory
    ZeroCopy,
    /// The driver runs the XDP program, and the kernel copies
    Copy,
    /// The kernel runs the XDP program, behind any driver
    Generic,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ZeroCopy => "zero-copy",
            Self::Copy => "copy",
            Self::Generic => "generic",
        }
    }
}

/// See the module. Dropping it detaches.
pub(crate) struct Device {
    // In front of the queues: nothing is redirected to a socket that is gone.
    _ebpf: Ebpf,
    queues: Vec<Queue>,
    /// How it was opened; never [`Mode::Auto`].
    pub(crate) mode: Mode,
}

impl Device {
    /// Opens all queues of `nic` for the frames that `rule` names.
    ///
    /// # Errors
    /// Says which mode failed for what.
    pub(crate) fn open(nic: &Nic, mode: Mode, rule: &Capture) -> Result<Self> {
        if mode != Mode::Auto {
            return Self::attempt(nic, mode, rule);
        }
        let mut tried = String::new();
        for mode in [Mode::ZeroCopy, Mode::Copy, Mode::Generic] {
            match Self::attempt(nic, mode, rule) {
                Ok(device) => return Ok(device),
                Err(error) => tried += &format!("\n  {}: {error:#}", mode.name()),
            }
        }
        bail!("{} cannot be opened:{tried}", nic.name)
    }

    fn attempt(nic: &Nic, mode: Mode, rule: &Capture) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(CAPTURE_XSKS, nic.queues)
            .load(CAPTURE_OBJECT)
            .context("the XDP program was refused; it needs root")?;
        let options = QueueOptions {
            bind: if mode == Mode::ZeroCopy {
                BindMode::ZeroCopy
            } else {
                BindMode::Copy
            },
            frames: FRAMES,
            mtu: nic.mtu,
            batch: BATCH,
        };
        let map = |name| format!("BPF map {name}");
        let mut queues = Vec::new();
        for number in 0..nic.queues {
            let mut queue = open_queue(nic, number, options)?;
            let any = ebpf
                .map_mut(CAPTURE_XSKS)
                .with_context(|| map(CAPTURE_XSKS))?;
            let mut sockets = XskMap::try_from(any)?;
            sockets.set(number, queue.rings().socket().as_raw_fd(), 0)?;
            queues.push(queue);
        }
        let any = ebpf
            .map_mut(CAPTURE_RULE)
            .with_context(|| map(CAPTURE_RULE))?;
        let mut rules: Array<_, [u32; Capture::WORDS]> = Array::try_from(any)?;
        rules.set(0, rule.words(), 0)?;
        let program = ebpf
            .program_mut(CAPTURE_PROGRAM)
            .context("no such program")?;
        let program: &mut Xdp = program.try_into()?;
        program
            .load()
            .context("the kernel refused the XDP program")?;
        let how = if mode == Mode::Generic {
            XdpMode::Skb
        } else {
            XdpMode::Driver
        };
        program.attach(&nic.name, how).with_context(|| {
            format!(
                "cannot attach to {} (is another XDP program there?)",
                nic.name
            )
        })?;
        Ok(Self {
            _ebpf: ebpf,
            queues,
            mode,
        })
    }

    pub(crate) fn queues(&mut self) -> &mut [Queue] {
        &mut self.queues
    }

    /// Sleeps until something comes, at most for `limit`.
    ///
    /// # Errors
    /// Those of poll(2); the NIC is gone.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<()> {
        let mut sockets: Vec<PollFd<'_>> = Vec::with_capacity(self.queues.len());
        for queue in &mut self.queues {
            sockets.push(PollFd::new(queue.rings().socket(), PollFlags::POLLIN));
        }
        let limit = TimeSpec::microseconds(limit.as_micros().min(1_000_000) as i64);
        match ppoll(&mut sockets, Some(limit), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let gone = |socket: &PollFd<'_>| {
            socket
                .revents()
                .is_some_and(|events| events.intersects(PollFlags::POLLHUP | PollFlags::POLLNVAL))
        };
        if sockets.iter().any(gone) {
            bail!("the NIC is gone");
        }
        Ok(())
    }
}

fn open_queue(nic: &Nic, number: u32, options: QueueOptions) -> Result<Queue, OpenError> {
    for _ in 0..RELEASE_TRIES {
        match Queue::open(&nic.name, number, options) {
            Err(OpenError::Busy { .. }) => thread::sleep(RELEASE_PAUSE),
            opened => return opened,
        }
    }
    Queue::open(&nic.name, number, options)
}

/// The transmit side of a queue.
pub(crate) struct RingSink<'a> {
    pub(crate) memory: &'a Umem,
    pub(crate) ring: &'a mut Rings,
    /// Frames sent.
    pub(crate) sent: u64,
}

impl<'a> RingSink<'a> {
    pub(crate) fn new(queue: &'a mut Queue) -> Self {
        let (memory, ring) = queue.split();
        Self {
            memory,
            ring,
            sent: 0,
        }
    }

    /// Sends `frame` itself.
    pub(crate) fn pass(&mut self, frame: Frame) -> bool {
        match self.ring.send(frame) {
            Ok(()) => {
                self.sent += 1;
                true
            }
            Err(frame) => {
                self.ring.release(frame);
                false
            }
        }
    }
}

impl Sink for RingSink<'_> {
    #[inline]
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        let Some(mut frame) = self.ring.alloc() else {
            return false;
        };
        match self.memory.buffer(&mut frame, len) {
            Some(bytes) => fill(bytes),
            None => {
                self.ring.release(frame);
                return false;
            }
        }
        self.pass(frame)
    }
}
