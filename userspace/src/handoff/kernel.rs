//! The kernel's own way: `bpf_sk_assign_tcp_reqsk`, called by a tc program on the NIC's ingress. See
//! `xdp-prog/src/handoff.rs` for what that program does.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use aya::maps::Map;
use aya::programs::SchedClassifier;
use aya::{Btf, Ebpf, EbpfLoader};
use aya_obj::btf::BtfKind;
use tcp_lite::{Endpoint, Flow};
use xdp_prog::{
    Attributes, FlowKey, HANDOFF_PROGRAM, KFUNC_MAGIC, OBJECT, OUTCOMES, SERVICES, State, Waybill,
};

use super::diag::{Diag, Match};
use super::outcomes::{Offer, Outcomes, Places};
use super::{Handoff, Standing, Ticket};
use crate::bpf_link::Link;

/// The kernel function that makes a request socket for a segment, since Linux 6.9.
const KFUNC: &str = "bpf_sk_assign_tcp_reqsk";

const SYNCOOKIES: &str = "/proc/sys/net/ipv4/tcp_syncookies";

/// What the program answers where SYN cookies are off (`sidestep_handoff` in xdp-prog).
const WITHOUT_COOKIES: u16 = libc::ENOENT as u16;

/// The tc program on a NIC's ingress and the table of what became of connections. Dropping it detaches.
#[derive(Debug)]
pub struct Gateway {
    // In front of `ebpf`: the program is detached before its map goes.
    _link: Link,
    _ebpf: Ebpf,
    outcomes: Arc<Outcomes>,
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
    /// The table of outcomes cannot be mapped.
    #[error("cannot map the table of handoffs: {0}; it needs 8 KiB of memory for each worker")]
    Outcomes(io::Error),
    /// All handles are in use.
    #[error("the gateway was opened for fewer workers than ask for it; this is a bug of sidestep")]
    NoHandle,
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

const BPF_TCX_INGRESS: u32 = 46;
/// In front of all others, so that no policy written for the wire drops what comes from within.
const BPF_F_BEFORE: u32 = 1 << 3;

impl Gateway {
    /// Attaches to the NIC with index `nic_ifindex` of the calling thread's network namespace, as a bpf_link, for at most
    /// so many `handles` at a time.
    ///
    /// # Errors
    /// See [`GatewayError`]. The NIC is then as it was.
    pub fn attach(nic_ifindex: u32, handles: u32) -> Result<Self, GatewayError> {
        let id = kfunc().ok_or(GatewayError::NoFunction)?;
        let object = calling(OBJECT, id).ok_or(GatewayError::NoSuchPart(HANDOFF_PROGRAM))?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(OUTCOMES, Outcomes::words(handles))
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
        let Some(Map::Array(map)) = ebpf.map(OUTCOMES) else {
            return Err(GatewayError::NoSuchPart(OUTCOMES));
        };
        let number = map.info().map_err(GatewayError::load)?.id();
        let outcomes =
            Outcomes::open(map.fd().as_fd(), handles, number).map_err(GatewayError::Outcomes)?;
        let gateway = Self {
            _link: link,
            _ebpf: ebpf,
            outcomes,
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
    /// [`GatewayError::Diag`], [`GatewayError::NoHandle`], or [`GatewayError::Load`] if the process is out of file
    /// descriptors.
    pub fn handle(&self) -> Result<KernelHandoff, GatewayError> {
        Ok(KernelHandoff {
            places: self.outcomes.range().ok_or(GatewayError::NoHandle)?,
            under_way: HashMap::new(),
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
    places: Places,
    under_way: HashMap<Flow, Offer>,
    diag: Diag,
    syncookies: File,
    /// Whether SYN cookies are on, as last seen.
    allowed: bool,
}

impl Handoff for KernelHandoff {
    fn offer(&mut self, ticket: &Ticket) -> io::Result<Standing> {
        if !self.allowed {
            return Err(io::Error::other(GatewayError::NoSyncookies));
        }
        // Whatever has become of an earlier offer: to start again could make a second connection of it.
        if !self.under_way.contains_key(&ticket.flow) {
            let full = || io::Error::from(io::ErrorKind::QuotaExceeded);
            let offer = self.places.take().ok_or_else(full)?;
            self.under_way.insert(ticket.flow, offer);
        }
        Ok(self.standing(&ticket.flow))
    }

    fn label(&self, ticket: &Ticket, carrier: &mut Vec<u8>) {
        let Some(offer) = self.under_way.get(&ticket.flow) else {
            return;
        };
        let waybill = Waybill {
            flow: key(&ticket.flow),
            attributes: attributes(ticket),
            table: self.places.table(),
            place: offer.place,
            offer: offer.number,
        };
        carrier.extend_from_slice(waybill.words().map(u32::to_ne_bytes).as_flattened());
    }

    fn standing(&mut self, flow: &Flow) -> Standing {
        let Some(&offer) = self.under_way.get(flow) else {
            return Standing::Pending;
        };
        match self.places.state(offer) {
            State::Pending | State::Assigned => Standing::Pending,
            State::Taken => Standing::Taken,
            State::NoListener => Standing::NoListener,
            State::Refused(errno) => {
                self.allowed &= errno != WITHOUT_COOKIES;
                Standing::Refused(errno.into())
            }
        }
    }

    fn forget(&mut self, flow: &Flow) {
        if let Some(offer) = self.under_way.remove(flow) {
            self.places.give_back(offer);
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
        if !self.allowed {
            self.ask_syncookies();
        }
        self.diag.listener(local).unwrap_or_else(|error| {
            log::debug!("listeners: {error}");
            Match::Listener { mptcp: false }
        })
    }

    /// Whether SYN cookies are on. If it cannot be read, it is at its default.
    fn ask_syncookies(&mut self) {
        let mut value = [0];
        self.allowed = !matches!(self.syncookies.read_at(&mut value, 0), Ok(1) if value == *b"0");
    }
}

fn key(flow: &Flow) -> FlowKey {
    let addr = |addr: tcp_lite::Addr| std::net::IpAddr::from(addr).into();
    let (local, remote) = (flow.local, flow.remote);
    FlowKey::new(addr(local.addr), local.port, addr(remote.addr), remote.port)
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
