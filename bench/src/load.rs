//! A load generator with a TCP of its own over AF_XDP.
//!
//! It costs less per request than any server, so that the server's core is what a measurement meets first; and it opens
//! as many connections as there are addresses and ports. [`engine`] has the drawing of a run.

mod answers;
mod conn;
pub(crate) mod device;
pub(crate) mod drive;
pub(crate) mod engine;
mod frames;
mod neighbours;
mod options;
mod peer;
mod requests;
mod sources;
mod tally;
mod wheel;
mod wire;

use anyhow::{Context, Result};
use device::Device;
use drive::{Clock, Cost, Job};
use engine::{Engine, Phase, Sink};
use frames::Frames;
pub(crate) use options::Options;
use sidestep::nic::Nic;
use sidestep::sys;
use sources::{Prefix, Sources};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use tally::{Run, Tally};
use wire::Template;
use xdp_prog::{Addr, Capture};

pub(crate) fn run(options: &Options) -> ExitCode {
    match load(options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn load(options: &Options) -> Result<ExitCode> {
    pin(options.core)?;
    let nic = Nic::read(&options.interface)?;
    let own = sys::ethernet_address(&nic.name).context("the NIC's Ethernet address")?;
    let prefix = options.sources(&nic)?;
    let sources = Sources::new(prefix, options.connections)?;
    let next = match options.target_mac {
        Some(mac) => mac,
        None => peer::resolve(&nic.name, options.target)?,
    };
    let template = Template::new(own, next, sources.first(), options.target);
    let rule = rule(options.target, prefix);
    let mut device = Device::open(&nic, options.mode, &rule)?;
    let clock = Clock::start();
    let mode = device.mode.name();
    if let Some(count) = options.frames {
        let sources = Sources::new(prefix, count)?;
        let settings = options.frame_settings(&nic, sources, template, count);
        let mut job = Frames::new(settings, clock.now());
        let cost = drive::run(&mut device, clock, &mut job, options.spin)?;
        let run = counted(cost, job.count(), Duration::ZERO, mode);
        return Ok(report(options, job.tally(), run));
    }
    let settings = options.settings(&nic, prefix, sources, own, template)?;
    let mut job = Client {
        engine: Engine::new(settings, clock.now()),
        opened: None,
    };
    let cost = drive::run(&mut device, clock, &mut job, options.spin)?;
    let opening = Duration::from_nanos(job.opened.unwrap_or_default());
    let run = counted(cost, job.engine.counted(), opening, mode);
    let code = report(options, job.engine.tally(), run);
    if let Some(wrong) = job.engine.first_wrong() {
        eprintln!("the first: {wrong}");
    }
    Ok(code)
}

/// Runs the calling thread on `core` only.
pub(crate) fn pin(core: Option<usize>) -> Result<()> {
    let Some(core) = core else {
        return Ok(());
    };
    let mut cores = nix::sched::CpuSet::new();
    cores
        .set(core)
        .and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &cores))
        .with_context(|| format!("cannot run on core {core}"))
}

/// What `target` sends to `local`, and who asks for addresses of `local`.
fn rule(target: SocketAddr, local: Prefix) -> Capture {
    let [a, b] = target.port().to_be_bytes();
    // IPv4 addresses are v4-mapped, so that 96 bits more are the same.
    let shared = u32::from(local.length()) + if target.is_ipv4() { 96 } else { 0 };
    let mask = u128::MAX
        .checked_shl(128 - shared)
        .unwrap_or(0)
        .to_be_bytes();
    let (words, _) = mask.as_chunks::<4>();
    Capture {
        local: Addr::from(local.address()).0,
        local_mask: std::array::from_fn(|i| u32::from_ne_bytes(words[i])),
        remote: Addr::from(target.ip()).0,
        remote_mask: [u32::MAX; 4],
        ports: u32::from_ne_bytes([a, b, 0, 0]),
        ports_mask: u32::from_ne_bytes([255, 255, 0, 0]),
        neighbours: 1,
    }
}

/// The engine as the loop sees it.
struct Client {
    engine: Engine,
    /// When all connections were open, in nanoseconds.
    opened: Option<u64>,
}

impl Job for Client {
    #[inline]
    fn frame(&mut self, now: u64, frame: &[u8], sink: &mut impl Sink) {
        self.engine.on_frame(now, frame, sink);
    }

    fn turn(&mut self, now: u64, sink: &mut impl Sink) -> bool {
        let goes_on = self.engine.turn(now, sink);
        if self.opened.is_none() && self.engine.phase() > Phase::Opening {
            self.opened = Some(now);
        }
        goes_on
    }

    fn next(&self, now: u64) -> u64 {
        self.engine.next(now)
    }

    fn connections(&self) -> usize {
        self.engine.connections()
    }

    fn measures(&self) -> bool {
        self.engine.phase() == Phase::Measuring
    }
}

/// What the loop and the engine know of a run.
fn counted(cost: Cost, connections: u32, opening: Duration, mode: &'static str) -> Run {
    Run {
        opening,
        measured: cost.measured,
        connections,
        cpu: cost.cpu,
        busy: cost.busy,
        between: cost.between,
        mode,
    }
}

/// Says what came of it, and whether it was right.
fn report(options: &Options, tally: &Tally, run: Run) -> ExitCode {
    let json = tally.json(&run);
    if options.json {
        println!("{json}");
    } else {
        println!("{json:#}");
    }
    if tally.wrong > 0 {
        eprintln!("error: {} wrong answers", tally.wrong);
        return ExitCode::FAILURE;
    }
    if tally.requests == 0 {
        eprintln!("error: {} gave no answer", options.target);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
