//! The kernel's own way: `bpf_sk_assign_tcp_reqsk`, called by a tc program on the NIC's ingress. See
//! `xdp-prog/src/handoff.rs` for what that program does.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use aya::maps::{HashMap, Map, MapData, MapError};
use aya::programs::SchedClassifier;
use aya::{Btf, Ebpf, EbpfLoader};
use aya_obj::btf::BtfKind;
use tcp_lite::{Endpoint, Flow};
use xdp_prog::{
    Attributes, Entry, FlowKey, HANDOFF, HANDOFF_PROGRAM, KFUNC_MAGIC, OBJECT, SERVICES, State,
};

use super::diag::{Diag, Match};
use super::{Handoff, Standing, Ticket};
use crate::bpf_link::Link;

/// The kernel function that makes a request socket for a segment, since Linux 6.9.
const KFUNC: &str = "bpf_sk_assign_tcp_reqsk";

/// Connections on their way to the kernel at one moment, over all workers. Each takes microseconds unless its server's
/// accept queue is full; then it waits, and a server that is so far behind is not helped by more. Fewer, and a drain
/// takes more rounds; an entry costs about 120 bytes of kernel memory.
const CAPACITY: u32 = 8192;

const SYNCOOKIES: &str = "/proc/sys/net/ipv4/tcp_syncookies";

/// The tc program on a NIC's ingress and the table of connections under way. Dropping it detaches.
#[derive(Debug)]
pub struct Gateway {
    // In front of `ebpf`: the program is detached before its map goes.
    _link: Link,
    ebpf: Ebpf,
    nic_ifindex: u32,
}

/// Why connections cannot be given to this kernel. Each message ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The kernel lacks the function.
    #[error(
        "this kernel has no {KFUNC}: connections cannot be handed to its sockets; that needs Linux 6.9 or newer with \
         CONFIG_DEBUG_INFO_BTF and CONFIG_SYN_COOKIES"
    )]
    NoFunction,
    /// SYN cookies are off, and with them what the function builds on.
    #[error(
        "net.ipv4.tcp_syncookies is 0: the kernel takes no connection over; \
         `sysctl -w net.ipv4.tcp_syncookies=1` (the default) allows it"
    )]
    NoSyncookies,
    /// The tc program could not be loaded.
    #[error(
        "the kernel refused the handoff's tc program: {0}; it needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    Load(Box<dyn std::error::Error + Send + Sync>),
    /// The NIC does not take the tc program.
    #[error(
        "cannot attach the handoff's tc program: {0}; it needs Linux 6.6 or newer with CONFIG_NET_XGRESS"
    )]
    Attach(io::Error),
    /// The kernel does not tell about its sockets.
    #[error(
        "cannot ask the kernel about its sockets: {0}; it needs CONFIG_INET_DIAG (`modprobe tcp_diag`)"
    )]
    Diag(io::Error),
    /// The embedded object lacks the tc program or its map.
    #[error(
        "the embedded BPF object has no `{0}`; it was not built from this source: run `cargo xtask bpf`"
    )]
    NoSuchPart(&'static str),
}

impl GatewayError {
    fn load(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Load(error.into())
    }
}

/// Whether this kernel has what it takes to be given a connection, whatever its settings.
pub fn kernel_takes_connections() -> bool {
    kfunc().is_some()
}

/// The id of [`KFUNC`] in the kernel's BTF.
fn kfunc() -> Option<u32> {
    let btf = Btf::from_sys_fs().ok()?;
    btf.id_by_type_name_kind(KFUNC, BtfKind::Func).ok()
}

const BPF_NOEXIST: u64 = 1;
const BPF_TCX_INGRESS: u32 = 46;
/// In front of all others, so that no policy written for the wire drops what comes from within.
const BPF_F_BEFORE: u32 = 1 << 3;

impl Gateway {
    /// Attaches to the NIC with index `nic_ifindex` of the calling thread's network namespace, as a bpf_link.
    ///
    /// # Errors
    /// See [`GatewayError`]. The NIC is then as it was.
    pub fn attach(nic_ifindex: u32) -> Result<Self, GatewayError> {
        let id = kfunc().ok_or(GatewayError::NoFunction)?;
        let object = calling(OBJECT, id).ok_or(GatewayError::NoSuchPart(HANDOFF_PROGRAM))?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(HANDOFF, CAPACITY)
            // This program's copy, which it does not use.
            .map_max_entries(SERVICES, 1)
            .load(&object)
            .map_err(GatewayError::load)?;
        let program = ebpf
            .program_mut(HANDOFF_PROGRAM)
            .ok_or(GatewayError::NoSuchPart(HANDOFF_PROGRAM))?;
        let program: &mut SchedClassifier = program.try_into().map_err(GatewayError::load)?;
        program.load().map_err(GatewayError::load)?;
        let fd = program.fd().map_err(GatewayError::load)?;
        let link = Link::create(fd.as_fd(), nic_ifindex, BPF_TCX_INGRESS, BPF_F_BEFORE)
            .map_err(GatewayError::Attach)?;
        let gateway = Self {
            _link: link,
            ebpf,
            nic_ifindex,
        };
        let mut handle = gateway.handle()?;
        handle.ask_syncookies();
        if !handle.allowed {
            return Err(GatewayError::NoSyncookies);
        }
        Ok(gateway)
    }

    /// A handle for a worker.
    ///
    /// # Errors
    /// [`GatewayError::Diag`], or [`GatewayError::Load`] if the process is out of file descriptors.
    pub fn handle(&self) -> Result<KernelHandoff, GatewayError> {
        let Some(Map::HashMap(data)) = self.ebpf.map(HANDOFF) else {
            return Err(GatewayError::NoSuchPart(HANDOFF));
        };
        let fd = data.fd().as_fd().try_clone_to_owned();
        let data = MapData::from_fd(fd.map_err(GatewayError::load)?).map_err(GatewayError::load)?;
        Ok(KernelHandoff {
            map: HashMap::try_from(Map::HashMap(data)).map_err(GatewayError::load)?,
            diag: Diag::open(self.nic_ifindex).map_err(GatewayError::Diag)?,
            syncookies: File::open(SYNCOOKIES).map_err(GatewayError::load)?,
            allowed: true,
        })
    }
}

/// `object` with every call of [`KFUNC_MAGIC`] turned into a call of the kernel function with this BTF id; `None` if
/// there is none.
fn calling(object: &[u8], id: u32) -> Option<Vec<u8>> {
    /// `BPF_JMP | BPF_CALL`, and what its source register says about the number behind it.
    const CALL: u8 = 0x85;
    const PSEUDO_KFUNC_CALL: u8 = 2;
    let [a, b, c, d] = KFUNC_MAGIC.to_le_bytes();
    let mut object = object.to_vec();
    let mut calls = 0;
    for instruction in object.as_chunks_mut::<8>().0 {
        if *instruction == [CALL, 0, 0, 0, a, b, c, d] {
            instruction[1] = PSEUDO_KFUNC_CALL << 4;
            instruction[4..].copy_from_slice(&id.to_le_bytes());
            calls += 1;
        }
    }
    (calls > 0).then_some(object)
}

/// One worker's access to a [`Gateway`]. It outlives that one without harm: offers then stay pending.
#[derive(Debug)]
pub struct KernelHandoff {
    map: HashMap<MapData, [u32; 9], [u32; 8]>,
    diag: Diag,
    syncookies: File,
    /// What [`SYNCOOKIES`] said when the listener was last asked for.
    allowed: bool,
}

impl Handoff for KernelHandoff {
    fn offer(&mut self, ticket: &Ticket) -> io::Result<Standing> {
        // Without SYN cookies the kernel answers the carrier with a reset. That they are off is asked about again.
        if !self.allowed {
            self.ask_syncookies();
        }
        if !self.allowed {
            return Err(io::Error::other(GatewayError::NoSyncookies));
        }
        let entry = Entry {
            seq: ticket.seq,
            ack: ticket.ack,
            attributes: attributes(ticket),
            state: State::Pending.encode(),
        };
        let key = key(&ticket.flow);
        match self
            .map
            .insert(key, entry.words(), BPF_NOEXIST)
            .map_err(into_io)
        {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            done => return done.map(|()| Standing::Pending),
        }
        // It has waited, and a sysctl may change at any time.
        self.ask_syncookies();
        match self.entry(&key)? {
            _ if !self.allowed => Err(io::Error::other(GatewayError::NoSyncookies)),
            // Whatever has become of it: to start again could make a second connection of it.
            Some(old) if (old.seq, old.ack) == (entry.seq, entry.ack) => Ok(Standing::Pending),
            Some(_) | None => {
                let inserted = self.map.insert(key, entry.words(), 0);
                inserted.map(|()| Standing::Pending).map_err(into_io)
            }
        }
    }

    fn standing(&mut self, flow: &Flow) -> Standing {
        let state = match self.entry(&key(flow)) {
            Ok(Some(entry)) => State::decode(entry.state),
            Ok(None) => State::Pending,
            Err(error) => {
                log::debug!("table of handoffs: {error}");
                State::Pending
            }
        };
        match state {
            State::Pending | State::Assigned => Standing::Pending,
            State::Taken => Standing::Taken,
            State::NoListener => Standing::NoListener,
            State::Refused(errno) => Standing::Refused(errno.into()),
        }
    }

    fn forget(&mut self, flow: &Flow) {
        match self.map.remove(&key(flow)) {
            Ok(()) | Err(MapError::KeyNotFound) => {}
            Err(error) => log::debug!("table of handoffs: {error}"),
        }
    }

    fn listens(&mut self, local: &Endpoint) -> bool {
        self.listener(local) == Match::Listener { mptcp: false }
    }
}

impl KernelHandoff {
    /// Who would get a connection to `local`. If the kernel does not tell, it is taken for a listener: the kernel says
    /// so again when it gets the connection.
    pub(super) fn listener(&mut self, local: &Endpoint) -> Match {
        self.ask_syncookies();
        self.diag.listener(local).unwrap_or_else(|error| {
            log::debug!("listeners: {error}");
            Match::Listener { mptcp: false }
        })
    }

    fn entry(&self, key: &[u32; 9]) -> io::Result<Option<Entry>> {
        match self.map.get(key, 0) {
            Ok(words) => Ok(Some(Entry::from_words(words))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(into_io(error)),
        }
    }

    /// Whether SYN cookies are on. If it cannot be read, it is at its default. Some 6 µs, which no client should wait
    /// for with each handoff.
    fn ask_syncookies(&mut self) {
        let mut value = [0];
        self.allowed = !matches!(self.syncookies.read_at(&mut value, 0), Ok(1) if value == *b"0");
    }
}

fn into_io(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(error) => error.io_error,
        MapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

fn key(flow: &Flow) -> [u32; 9] {
    let addr = |addr: tcp_lite::Addr| std::net::IpAddr::from(addr).into();
    let (local, remote) = (flow.local, flow.remote);
    FlowKey::new(addr(local.addr), local.port, addr(remote.addr), remote.port).words()
}

/// `struct bpf_tcp_req_attrs` (include/net/tcp.h): the peer's clock and ours, the MSS, our scale and the peer's, what
/// was agreed on, and reserved bytes.
fn attributes(ticket: &Ticket) -> Attributes {
    let (theirs, ours) = ticket.timestamps.unwrap_or_default();
    let [mss_a, mss_b] = ticket.mss.to_ne_bytes();
    let scaled = ticket.snd_wscale.is_some();
    let rcv_wscale = if scaled { ticket.rcv_wscale } else { 0 };
    let flag = u8::from;
    let words = [
        [mss_a, mss_b, rcv_wscale, ticket.snd_wscale.unwrap_or(0)],
        [
            flag(ticket.ecn),
            flag(scaled),
            flag(ticket.sack),
            flag(ticket.timestamps.is_some()),
        ],
        // usec_ts_ok: our clock ticks in milliseconds.
        [0; 4],
    ]
    .map(u32::from_ne_bytes);
    Attributes([theirs, ours, words[0], words[1], words[2]])
}

#[cfg(test)]
mod tests;
