//! A load generator with a TCP of its own over AF_XDP.
//!
//! It costs less per request than any server, so that the server's core is what a measurement meets first; and it opens
//! as many connections as there are addresses and ports. [`engine`] has the drawing of a run.

mod answers;
mod conn;
mod device;
mod drive;
mod engine;
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
pub(crate) use options::Options;
use sidestep::nic::Nic;
use sidestep::sys;
use sources::{Prefix, Sources};
use std::net::SocketAddr;
use std::process::ExitCode;
use tally::Run;
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
    let settings = options.settings(&nic, prefix, sources, own, template)?;
    let mut job = Client {
        engine: Engine::new(settings, clock.now()),
        said: Phase::Opening,
        quiet: options.json,
    };
    let cost = drive::run(&mut device, clock, &mut job, options.spin)?;
    Ok(job.report(options, cost, device.mode.name()))
}

/// Runs the calling thread on `core` only.
fn pin(core: Option<usize>) -> Result<()> {
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

/// The engine as the loop sees it, and what is said of it meanwhile.
struct Client {
    engine: Engine,
    said: Phase,
    quiet: bool,
}

impl Job for Client {
    #[inline]
    fn frame(&mut self, now: u64, frame: &[u8], sink: &mut impl Sink) {
        self.engine.on_frame(now, frame, sink);
    }

    fn turn(&mut self, now: u64, sink: &mut impl Sink) -> bool {
        let goes_on = self.engine.turn(now, sink);
        if self.engine.phase() != self.said {
            self.say(now);
        }
        goes_on
    }

    fn next(&self, now: u64) -> u64 {
        self.engine.next(now)
    }

    fn measures(&self) -> bool {
        self.engine.phase() == Phase::Measuring
    }
}

impl Client {
    fn say(&mut self, now: u64) {
        if self.said == Phase::Opening && !self.quiet {
            let seconds = now as f64 / 1e9;
            eprintln!(
                "{} connections are open after {seconds:.1} s",
                self.engine.open()
            );
        }
        self.said = self.engine.phase();
    }

    fn report(&self, options: &Options, cost: Cost, mode: &'static str) -> ExitCode {
        let tally = self.engine.tally();
        let json = tally.json(&Run {
            measured: cost.measured,
            connections: self.engine.counted(),
            cpu: cost.cpu,
            busy: cost.busy,
            mode,
        });
        if options.json {
            println!("{json}");
        } else {
            println!("{json:#}");
        }
        if let Some(wrong) = self.engine.first_wrong() {
            eprintln!("error: {} wrong answers; the first: {wrong}", tally.wrong);
            return ExitCode::FAILURE;
        }
        if tally.requests == 0 {
            eprintln!("error: {} gave no answer", options.target);
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}
