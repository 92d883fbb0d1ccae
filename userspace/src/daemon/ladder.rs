//! From a configuration to open queues and an attached program, in the best mode that works.

use super::StartError;
use super::degraded::{Degraded, Troubles};
use super::kernel_side::{KernelSide, OpenWayBack, QueueFlows};
use crate::napi::PutOff;
use crate::nic::Nic;
use crate::steer::{AttachMode, SteerError, Steering};
use crate::store::{self, Current};
use crate::worker::{BATCH, Limits, Neighbours, Pipeline, Service, Waiting, Worker};
use crate::xsk::{BindMode, OpenError, Queue, QueueOptions};
use sidestep_config::{Config, Fallback, ListenAddress, Mode, Queues};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

/// A program attached and queues open, with nothing running yet.
pub(super) struct Rung {
    pub steering: Steering,
    pub kernel_side: KernelSide,
    pub workers: Vec<Worker>,
    pub mode: Mode,
    pub listening: Vec<SocketAddr>,
    pub hugepages: bool,
    pub put_off: Option<PutOff>,
    pub troubles: Troubles,
}

/// The kernel lets a queue go some time after the socket on it was closed, by a work item, and tells nobody when: a
/// daemon that takes over or starts again looks this often, this long apart. Two seconds in all: less may not do on a
/// loaded host, more only puts off saying that another program has the queue.
const RELEASE_TRIES: u32 = 100;
const RELEASE_PAUSE: Duration = Duration::from_millis(20);

/// Tries the modes that `config` allows, best first, for workers that answer from `current`.
pub(super) fn climb(
    config: &Config,
    nic: &Nic,
    current: &Current,
    way_back: OpenWayBack,
) -> Result<Rung, StartError> {
    let queues = queues(config, nic)?;
    let listeners = listeners(config, nic)?;
    let rungs: &[Mode] = match config.interface.mode {
        Mode::Auto => &[Mode::ZeroCopy, Mode::Copy, Mode::Generic],
        Mode::ZeroCopy => &[Mode::ZeroCopy],
        Mode::Copy => &[Mode::Copy],
        Mode::Generic => &[Mode::Generic],
    };
    let mut tried = String::new();
    // A driver lacks what it lacks, and most lack zero-copy; but what another set-up would allow should be known.
    let mut better = false;
    for &mode in rungs {
        match attempt(config, nic, mode, &queues, &listeners, current, way_back) {
            Ok(rung) => {
                if better || (config.interface.mode == Mode::Auto && mode == Mode::Generic) {
                    let mode = name(mode);
                    rung.troubles.add(Degraded::LowerMode { mode, tried });
                }
                return Ok(rung);
            }
            Err(e) if cannot(&e) => {
                better |= may_be_mended(&e);
                log::debug!("{}: {} mode: {e}", nic.name, name(mode));
                tried.push_str(&format!("\n  {}: {e}", name(mode)));
            }
            Err(e) => return Err(e),
        }
    }
    Err(StartError::NoMode {
        interface: nic.name.clone(),
        tried,
    })
}

/// Is `config` right for this NIC, as far as can be told without touching it?
pub(super) fn check(config: &Config, nic: &Nic) -> Result<(), StartError> {
    queues(config, nic)?;
    listeners(config, nic)?;
    store::check(config)?;
    Ok(())
}

/// The name of a mode in the configuration and in messages.
pub(super) fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Auto => "auto",
        Mode::ZeroCopy => "zero-copy",
        Mode::Copy => "copy",
        Mode::Generic => "generic",
    }
}

/// True when the driver lacks the mode, so that the next one is worth trying.
fn cannot(e: &StartError) -> bool {
    match e {
        StartError::Queue(OpenError::Unsupported { .. }) => true,
        StartError::Steer(e) => e.other_mode_may_work(),
        _ => false,
    }
}

/// True when the mode would work if the NIC were set up in another way.
fn may_be_mended(e: &StartError) -> bool {
    matches!(
        e,
        StartError::Steer(SteerError::Mtu { .. } | SteerError::Refused { .. })
    )
}

fn attempt(
    config: &Config,
    nic: &Nic,
    mode: Mode,
    queues: &[u32],
    listeners: &BTreeMap<SocketAddr, Fallback>,
    current: &Current,
    way_back: OpenWayBack,
) -> Result<Rung, StartError> {
    let bind = match mode {
        Mode::ZeroCopy => BindMode::ZeroCopy,
        Mode::Auto | Mode::Copy | Mode::Generic => BindMode::Copy,
    };
    let attach = match mode {
        Mode::Generic => AttachMode::Generic,
        Mode::Auto | Mode::ZeroCopy | Mode::Copy => AttachMode::Native,
    };
    let troubles = Troubles::default();
    // Before any queue is opened: it tells a missing privilege most clearly.
    let mut steering = Steering::load(nic.queues, config.limits.connections)?;
    let options = QueueOptions {
        bind,
        frames: config.interface.umem_frames,
        mtu: nic.mtu,
        batch: BATCH,
    };
    let mut open = Vec::with_capacity(queues.len());
    for &queue in queues {
        let mut opened = open_queue(nic, queue, options)?;
        steering.set_socket(queue, opened.rings().socket())?;
        open.push(opened);
    }
    let hugepages = open.iter().all(Queue::hugepages);
    for at in listeners.keys() {
        steering.add_service(at.ip(), at.port())?;
    }
    steering.attach(&nic.name, attach)?;
    let kernel_side = KernelSide::open(config, nic, &troubles, way_back);
    let interrupts = config.interface.interrupts;
    // Now that the program is attached: some drivers have other instances from then on.
    let put_off = PutOff::set(nic.index, queues, interrupts)
        .inspect_err(|e| troubles.add(Degraded::Interrupts(e.to_string())))
        .ok();
    let workers = workers(
        config,
        nic,
        open,
        listeners,
        current,
        &steering,
        &kernel_side,
    )?;
    Ok(Rung {
        steering,
        kernel_side,
        workers,
        mode,
        listening: listeners.keys().copied().collect(),
        hugepages,
        put_off,
        troubles,
    })
}

/// Opens a queue; one that is busy is tried again for a while.
fn open_queue(nic: &Nic, queue: u32, options: QueueOptions) -> Result<Queue, OpenError> {
    for _ in 0..RELEASE_TRIES {
        match Queue::open(&nic.name, queue, options) {
            Err(OpenError::Busy { .. }) => thread::sleep(RELEASE_PAUSE),
            opened => return opened,
        }
    }
    Queue::open(&nic.name, queue, options)
}

fn queues(config: &Config, nic: &Nic) -> Result<Vec<u32>, StartError> {
    match &config.interface.queues {
        Queues::All => Ok((0..nic.queues).collect()),
        Queues::List(list) => match list.iter().find(|&&queue| queue >= nic.queues) {
            Some(&queue) => Err(StartError::NoSuchQueue {
                interface: nic.name.clone(),
                queue,
                count: nic.queues,
            }),
            None => Ok(list.clone()),
        },
    }
}

/// Every address and port that is served, with who answers the rest there.
fn listeners(config: &Config, nic: &Nic) -> Result<BTreeMap<SocketAddr, Fallback>, StartError> {
    let mut all = BTreeMap::new();
    for listen in &config.listen {
        let addresses: Vec<IpAddr> = match listen.address {
            ListenAddress::Ip(ip) => vec![ip],
            ListenAddress::Interface => nic.addresses.iter().copied().collect(),
        };
        if addresses.is_empty() {
            return Err(StartError::NoAddress {
                interface: nic.name.clone(),
            });
        }
        for address in addresses {
            let at = SocketAddr::new(address, listen.port);
            if all.insert(at, listen.fallback).is_some() {
                return Err(StartError::Overlap {
                    address,
                    port: listen.port,
                });
            }
        }
    }
    Ok(all)
}

fn workers(
    config: &Config,
    nic: &Nic,
    queues: Vec<Queue>,
    listeners: &BTreeMap<SocketAddr, Fallback>,
    current: &Current,
    steering: &Steering,
    kernel_side: &KernelSide,
) -> Result<Vec<Worker>, StartError> {
    let share = config.limits.connections.div_ceil(queues.len() as u32) as usize;
    let secret = secret().map_err(StartError::Thread)?;
    let ring = Neighbours::ring(queues.len()).map_err(|e| StartError::Thread(e.into()))?;
    let limits = Limits::from(&config.limits);
    // Addresses that the NIC will get, too.
    let interface = config
        .listen
        .iter()
        .filter(|l| l.address == ListenAddress::Interface);
    let mut for_workers = listeners.clone();
    for_workers.extend(interface.map(|l| (Service::any(l.port), l.fallback)));
    let worker = |(queue, neighbours): (Queue, Neighbours)| {
        let flows = QueueFlows(steering.flows(queue.id())?);
        let service = Service::new(
            current,
            for_workers.clone(),
            limits.clone(),
            Some(Box::new(flows)),
            kernel_side.way_in(config),
        );
        let waker = neighbours.waker();
        let stack = stack_config(nic, share, secret);
        let pipeline = Pipeline::new(stack, service, neighbours, kernel_side.way_back(nic));
        let waiting = Waiting {
            busy_poll: config.interface.busy_poll,
            spin: config.interface.spin,
            interrupts: config.interface.interrupts,
        };
        Ok(Worker::new(queue, pipeline, waker, waiting))
    };
    queues.into_iter().zip(ring).map(worker).collect()
}

fn stack_config(nic: &Nic, capacity: usize, secret: [u8; 16]) -> tcp_lite::Config {
    tcp_lite::Config {
        capacity,
        secret,
        mtu: nic.mtu.try_into().unwrap_or(u16::MAX),
        // The kernel must be able to take a connection over as it was negotiated.
        timestamps: sysctl("tcp_timestamps"),
        sack: sysctl("tcp_sack"),
        window_scale: sysctl("tcp_window_scaling"),
        window_shift: window_shift(),
        // 1 and 2 differ for connections that this host opens.
        ecn: sysctl("tcp_ecn"),
        ..tcp_lite::Config::default()
    }
}

/// A boolean of `net.ipv4`; those that cannot be read are at their default, on.
fn sysctl(name: &str) -> bool {
    fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).map_or(true, |v| v.trim() != "0")
}

/// The window scale that the kernel would offer (`tcp_select_initial_window`), since it may take the connection over.
fn window_shift() -> u8 {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let largest = |text: &str| text.split_whitespace().last().and_then(|v| v.parse().ok());
    let buffer = largest(&read("/proc/sys/net/ipv4/tcp_rmem")).unwrap_or(6 << 20);
    let space: u32 = buffer.max(largest(&read("/proc/sys/net/core/rmem_max")).unwrap_or(0));
    space
        .checked_ilog2()
        .unwrap_or(0)
        .saturating_sub(15)
        .min(14) as u8
}

/// For hashes and initial sequence numbers (RFC 6528).
fn secret() -> std::io::Result<[u8; 16]> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
    Ok(secret)
}
