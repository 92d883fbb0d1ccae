//! Loads and attaches the XDP program; owns its link and maps.
//!
//! The link is a file descriptor of this process, so whatever ends the process also detaches the program: the kernel
//! then has every frame again. Nothing is pinned.

mod attach;
mod error;
mod occupant;

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, XskMap};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};

use crate::bpf_link::Link;
use crate::sys;
pub use xdp_prog::{Addr, FlowKey, Verdict};
use xdp_prog::{
    COUNTERS, FLOWS, GATE, OBJECT, SERVICES, STATION, ServiceKey, Station, XDP_PROGRAM, XSKS,
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
}

impl Steering {
    /// Loads the program with room for `queues` receive queues and `flows` registered flows, and with the gate closed.
    ///
    /// A flow costs about 120 bytes of kernel memory, allocated now. More flows than `flows` are served all the same,
    /// the least recently used ones at the price of a socket lookup per segment.
    ///
    /// # Errors
    /// [`SteerError::NoPermission`], or [`SteerError::Load`] if the kernel cannot run the program.
    pub fn load(queues: u32, flows: u32) -> Result<Self, SteerError> {
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(XSKS, queues.max(1))
            .map_max_entries(FLOWS, flows.max(1))
            .load(OBJECT)
            .map_err(SteerError::load)?;
        xdp(&mut ebpf)?.load().map_err(SteerError::load)?;
        Ok(Self { link: None, ebpf })
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

    /// A handle on the table of registered flows, for a worker. It keeps the table alive, not the attachment.
    ///
    /// # Errors
    /// [`SteerError::Handle`] if the process is out of file descriptors.
    pub fn flows(&self) -> Result<FlowTable, SteerError> {
        let (Map::LruHashMap(data) | Map::HashMap(data)) = self.map(FLOWS)? else {
            return Err(SteerError::NoSuchPart(FLOWS));
        };
        let fd = data
            .fd()
            .as_fd()
            .try_clone_to_owned()
            .map_err(SteerError::Handle)?;
        let data = MapData::from_fd(fd).map_err(SteerError::map(FLOWS))?;
        let map = HashMap::try_from(Map::LruHashMap(data)).map_err(SteerError::map(FLOWS))?;
        Ok(FlowTable { map })
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

/// The flows that workers own, in front of the kernel's socket table. One handle per worker.
#[derive(Debug)]
pub struct FlowTable {
    map: HashMap<MapData, [u32; 9], u32>,
}

impl FlowTable {
    /// Registers `flow` as owned by the worker of `queue`. The table drops the least recently used flow for it if full.
    ///
    /// # Errors
    /// [`SteerError::Map`]; harmless, the flow is then steered by the kernel's socket table.
    pub fn insert(&mut self, flow: &FlowKey, queue: u32) -> Result<(), SteerError> {
        self.map
            .insert(flow.words(), queue, 0)
            .map_err(SteerError::map(FLOWS))
    }

    /// Forgets `flow`; no error if it was not there.
    ///
    /// # Errors
    /// [`SteerError::Map`].
    pub fn remove(&mut self, flow: &FlowKey) -> Result<(), SteerError> {
        match self.map.remove(&flow.words()) {
            Err(error) if error::errno(&error) == Some(libc::ENOENT) => Ok(()),
            other => other.map_err(SteerError::map(FLOWS)),
        }
    }

    /// The queue whose worker owns `flow`, if it is registered.
    ///
    /// # Errors
    /// [`SteerError::Map`].
    pub fn get(&self, flow: &FlowKey) -> Result<Option<u32>, SteerError> {
        match self.map.get(&flow.words(), 0) {
            Err(aya::maps::MapError::KeyNotFound) => Ok(None),
            other => other.map(Some).map_err(SteerError::map(FLOWS)),
        }
    }
}
