//! Loads and attaches the XDP program; owns its link and maps.
//!
//! The link is a file descriptor of this process, so whatever ends the process also detaches the program: the kernel
//! then has every frame again. Nothing is pinned.

mod attach;
mod error;
mod occupant;

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{Array, HashMap, Map, PerCpuArray, XskMap};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};

use crate::bpf_link::Link;
use crate::sys::{self, SharedWords};
pub use xdp_prog::{Addr, FlowKey, Verdict};
use xdp_prog::{
    COUNTERS, FLOWS, GATE, OBJECT, PLACES, SERVICES, STATION, ServiceKey, Station, XDP_PROGRAM,
    XSKS, flow_places,
};

pub use attach::AttachMode;
pub use error::SteerError;
pub use occupant::Occupant;

/// The XDP program, its maps, and its link to a NIC once attached. Dropping it detaches.
#[derive(Debug)]
pub struct Steering {
    // In front of `ebpf`: the program is detached before its maps go.
    link: Option<Link>,
    ebpf: Ebpf,
    queues: u32,
    /// Of each queue in the table of flows.
    places: u32,
}

impl Steering {
    /// Loads the program with room for `queues` receive queues and `connections` of all of them, and with the gate closed.
    ///
    /// # Errors
    /// [`SteerError::NoPermission`], or [`SteerError::Load`] if the kernel cannot run the program.
    pub fn load(queues: u32, connections: u32) -> Result<Self, SteerError> {
        let queues = queues.max(1);
        let places = flow_places(connections.div_ceil(queues));
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(XSKS, queues)
            .map_max_entries(FLOWS, queues.saturating_mul(places))
            .override_global(PLACES, &places, true)
            .load(OBJECT)
            .map_err(SteerError::load)?;
        xdp(&mut ebpf)?.load().map_err(SteerError::load)?;
        Ok(Self {
            link: None,
            ebpf,
            queues,
            places,
        })
    }

    /// Gives the frames of receive queue `queue` to the AF_XDP socket `socket`, which must be bound to that queue of
    /// the NIC. The kernel takes the entry back when the socket is closed.
    ///
    /// # Errors
    /// [`SteerError::Map`] if there is no such queue in the map or `socket` is no bound AF_XDP socket.
    pub fn set_socket(&mut self, queue: u32, socket: impl AsFd) -> Result<(), SteerError> {
        let mut map = XskMap::try_from(self.map_mut(XSKS)?).map_err(SteerError::map(XSKS))?;
        map.set(queue, socket.as_fd().as_raw_fd(), 0)
            .map_err(SteerError::map(XSKS))
    }

    /// Leaves the frames of `queue` to the kernel from now on.
    ///
    /// # Errors
    /// [`SteerError::Map`].
    pub fn clear_socket(&mut self, queue: u32) -> Result<(), SteerError> {
        let mut map = XskMap::try_from(self.map_mut(XSKS)?).map_err(SteerError::map(XSKS))?;
        map.unset(queue).map_err(SteerError::map(XSKS))
    }

    /// Steers TCP to `addr` and `port` from now on. Adding one again changes nothing.
    ///
    /// # Errors
    /// [`SteerError::Map`], for one if the map is full ([`xdp_prog::MAX_SERVICES`]).
    pub fn add_service(&mut self, addr: IpAddr, port: u16) -> Result<(), SteerError> {
        let addr = Addr::from(addr);
        let mut map: HashMap<_, [u32; 5], u32> =
            HashMap::try_from(self.map_mut(SERVICES)?).map_err(SteerError::map(SERVICES))?;
        // The service before the marker: a fragment that comes in between is the kernel's, as before.
        for key in [ServiceKey::new(addr, port), ServiceKey::marker(addr)] {
            map.insert(key.words(), 1, 0)
                .map_err(SteerError::map(SERVICES))?;
        }
        Ok(())
    }

    /// Leaves TCP to `addr` and `port` to the kernel again; `last`: no other port of `addr` is a service. No error if it
    /// was none.
    ///
    /// # Errors
    /// [`SteerError::Map`].
    pub fn remove_service(
        &mut self,
        addr: IpAddr,
        port: u16,
        last: bool,
    ) -> Result<(), SteerError> {
        let addr = Addr::from(addr);
        let mut map: HashMap<_, [u32; 5], u32> =
            HashMap::try_from(self.map_mut(SERVICES)?).map_err(SteerError::map(SERVICES))?;
        let marker = last.then(|| ServiceKey::marker(addr));
        for key in marker.into_iter().chain([ServiceKey::new(addr, port)]) {
            match map.remove(&key.words()) {
                Err(error) if error::errno(&error) == Some(libc::ENOENT) => {}
                other => other.map_err(SteerError::map(SERVICES))?,
            }
        }
        Ok(())
    }

    /// Steers only what is addressed to the Ethernet address `station` from now on. [`Steering::attach`] does this with
    /// the NIC's own.
    ///
    /// # Errors
    /// [`SteerError::Map`].
    pub fn set_station(&mut self, station: [u8; 6]) -> Result<(), SteerError> {
        let mut map: Array<_, u64> =
            Array::try_from(self.map_mut(STATION)?).map_err(SteerError::map(STATION))?;
        map.set(0, Station::new(station).0, 0)
            .map_err(SteerError::map(STATION))
    }

    /// Opens the gate (the workers take new connections) or closes it (the kernel does).
    ///
    /// # Errors
    /// [`SteerError::Map`].
    pub fn open_gate(&mut self, open: bool) -> Result<(), SteerError> {
        let mut map: Array<_, u32> =
            Array::try_from(self.map_mut(GATE)?).map_err(SteerError::map(GATE))?;
        map.set(0, u32::from(open), 0)
            .map_err(SteerError::map(GATE))
    }

    /// Attaches the program to the NIC `ifname` of the calling thread's network namespace, as a bpf_link and nothing
    /// else. On an error the NIC is as it was. A second attach moves the program.
    ///
    /// # Errors
    /// See [`SteerError`]; [`SteerError::other_mode_may_work`] says whether another mode is worth trying.
    pub fn attach(&mut self, ifname: &str, mode: AttachMode) -> Result<(), SteerError> {
        self.detach();
        let station = sys::ethernet_address(ifname).map_err(|_| SteerError::NoInterface {
            ifname: ifname.to_owned(),
        })?;
        self.set_station(station)?;
        let program = xdp(&mut self.ebpf)?;
        let fd = program.fd().map_err(SteerError::load)?;
        self.link = Some(attach::attach(fd.as_fd(), ifname, mode)?);
        Ok(())
    }

    /// Detaches the program: from now on the kernel gets every frame. The maps keep what they hold.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// How many frames met each verdict, in the order of [`Verdict::ALL`], summed over the CPUs.
    ///
    /// # Errors
    /// [`SteerError::Map`].
    pub fn counters(&self) -> Result<[u64; Verdict::COUNT], SteerError> {
        let map: PerCpuArray<_, u64> =
            PerCpuArray::try_from(self.map(COUNTERS)?).map_err(SteerError::map(COUNTERS))?;
        let mut sums = [0; Verdict::COUNT];
        for (sum, index) in sums.iter_mut().zip(0..) {
            *sum = map
                .get(&index, 0)
                .map_err(SteerError::map(COUNTERS))?
                .iter()
                .sum();
        }
        Ok(sums)
    }

    /// The registered flows of `queue`, for its worker. They stay as long as the handle, attached or not.
    ///
    /// # Errors
    /// [`SteerError::Flows`]. [`SteerError::NoSuchPart`] if there are not so many queues.
    pub fn flows(&self, queue: u32) -> Result<FlowTable, SteerError> {
        let Map::Array(data) = self.map(FLOWS)? else {
            return Err(SteerError::NoSuchPart(FLOWS));
        };
        if queue >= self.queues {
            return Err(SteerError::NoSuchPart(FLOWS));
        }
        let all = self.queues as usize * self.places as usize;
        let words = SharedWords::open(data.fd().as_fd(), all).map_err(SteerError::Flows)?;
        Ok(FlowTable {
            words,
            first: queue as usize * self.places as usize,
            places: self.places,
        })
    }

    /// The loaded program, for tests that run it on frames of their own (`BPF_PROG_TEST_RUN`).
    ///
    /// # Errors
    /// [`SteerError::NoSuchPart`] if the object does not hold it.
    pub fn program(&self) -> Result<&Xdp, SteerError> {
        let program = self
            .ebpf
            .program(XDP_PROGRAM)
            .ok_or(SteerError::NoSuchPart(XDP_PROGRAM))?;
        program.try_into().map_err(SteerError::load)
    }

    fn map(&self, name: &'static str) -> Result<&Map, SteerError> {
        self.ebpf.map(name).ok_or(SteerError::NoSuchPart(name))
    }

    fn map_mut(&mut self, name: &'static str) -> Result<&mut Map, SteerError> {
        self.ebpf.map_mut(name).ok_or(SteerError::NoSuchPart(name))
    }
}

fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp, SteerError> {
    let program = ebpf
        .program_mut(XDP_PROGRAM)
        .ok_or(SteerError::NoSuchPart(XDP_PROGRAM))?;
    program.try_into().map_err(SteerError::load)
}

/// The flows that the worker of one queue owns, in front of the kernel's socket table. Nobody else writes there, and it is
/// memory that the program reads, so that neither to enter a flow nor to remove it takes a system call.
#[derive(Debug)]
pub struct FlowTable {
    words: SharedWords,
    /// The queue's first place.
    first: usize,
    /// How many it has.
    places: u32,
}

impl FlowTable {
    /// Registers `flow`. One that has the same place is forgotten for it: the kernel's socket table steers it as well.
    pub fn insert(&mut self, flow: &FlowKey) {
        if let Some((mark, word)) = self.at(flow) {
            word.store(mark, Ordering::Release);
        }
    }

    /// Forgets `flow`, if it is there.
    pub fn remove(&mut self, flow: &FlowKey) {
        if let Some((mark, word)) = self.at(flow)
            && word.load(Ordering::Relaxed) == mark
        {
            word.store(0, Ordering::Release);
        }
    }

    /// Is `flow` registered?
    pub fn has(&self, flow: &FlowKey) -> bool {
        self.at(flow)
            .is_some_and(|(mark, word)| word.load(Ordering::Relaxed) == mark)
    }

    fn at(&self, flow: &FlowKey) -> Option<(u64, &AtomicU64)> {
        let mark = flow.mark();
        let place = self.first + FlowKey::place(mark, self.places) as usize;
        Some((mark, self.words.at(place).ok()?))
    }
}
