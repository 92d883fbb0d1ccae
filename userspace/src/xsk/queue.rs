//! Opening one NIC queue: UMEM, rings, socket options, bind.

use super::rings::{RingSizes, Rings, Umem};
use super::{Audit, Frame, Memory, Port};
use crate::sys;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;
use xsk_rs::Socket;
use xsk_rs::config::{
    BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig,
};

/// `XDP_PACKET_HEADROOM`: what the kernel keeps free in front of each packet, in bytes.
const HEADROOM: usize = 256;

/// Chunk sizes that an aligned UMEM may have, in bytes: half a page is enough for an Ethernet MTU of
/// 1,500 where frames are copied, and doubles those that fit a cache; a page is the largest the kernel takes.
const CHUNKS: [usize; 2] = [2048, 4096];

/// Some NICs take the length of a receive buffer in KiB, and their drivers round down what a chunk leaves: igb's and ixgbe's
/// (82599) see 1,024 bytes in a chunk of 2,048, and a longer frame comes in pieces, as none. A copy has no such limit.
const DMA_STEP: usize = 1024;

/// Ethernet header with two VLAN tags, in bytes.
const LINK_HEADER: usize = 22;

/// Largest MTU whose frames fit a chunk, in bytes.
pub const MAX_MTU: usize = CHUNKS[CHUNKS.len() - 1] - HEADROOM - LINK_HEADER;

/// Send buffer asked for, in bytes. In copy mode each frame in flight is charged to it with its skb
/// overhead (about 2.3 KiB a frame): the default 208 KiB stalls after 90 frames, and
/// more than a full ring of 4,096 can never be in flight.
const SEND_BUFFER: usize = 16 << 20;

/// Frames one `sendto` may send in copy mode (`XDP_MAX_TX_SKB_BUDGET`, Linux 6.17): the kernel's
/// default of 32 costs a system call for each 32 frames; larger values hold the
/// device's transmit lock longer than a batch is worth.
const TX_BUDGET: libc::c_int = 256;
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// Hugepages of 2 MiB are what `MAP_HUGETLB` gives by default on x86-64 and arm64.
const HUGE_PAGE: usize = 2 << 20;

/// Tells apart the frames of queues that have the same number: those of two NICs, or of one NIC one after the other.
/// 64 bits never come round.
static NEXT_OWNER: AtomicU64 = AtomicU64::new(0);

/// How the socket is bound to the queue (`bind(2)` flags of `af_xdp.rst`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindMode {
    /// `XDP_ZEROCOPY`: the NIC's DMA reads and writes the UMEM.
    ZeroCopy,
    /// `XDP_COPY`: the kernel copies between its buffers and the UMEM.
    Copy,
}

/// What to open a queue with.
#[derive(Clone, Copy, Debug)]
pub struct QueueOptions {
    /// See [`BindMode`].
    pub bind: BindMode,
    /// Frames in the UMEM; a power of two, at least 64.
    pub frames: u32,
    /// The NIC's MTU in bytes.
    pub mtu: usize,
    /// Frames one receive takes at most.
    pub batch: usize,
}

/// Why a queue could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The driver cannot do this bind mode.
    #[error("queue {queue} of {interface} cannot be bound in this mode: {source}")]
    Unsupported {
        /// The NIC.
        interface: String,
        /// Its queue.
        queue: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Somebody has an AF_XDP socket on the queue.
    #[error(
        "queue {queue} of {interface} already has an AF_XDP socket\n  \
         help: stop the program that uses it (`ss --xdp -p` names it), or name other queues in [interface] queues"
    )]
    Busy {
        /// The NIC.
        interface: String,
        /// Its queue.
        queue: u32,
    },
    /// The NIC does not have the queue.
    #[error(
        "{interface} has no queue {queue}\n  help: `ethtool -l {interface}` shows its queues; correct [interface] queues"
    )]
    NoSuchQueue {
        /// The NIC.
        interface: String,
        /// The queue asked for.
        queue: u32,
    },
    /// Not enough privilege.
    #[error(
        "no permission to open an AF_XDP socket: {0}\n  help: run as root, or with CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_IPC_LOCK"
    )]
    Permission(io::Error),
    /// The NIC's MTU does not fit a chunk.
    #[error(
        "an MTU of {mtu} does not fit an AF_XDP frame\n  help: `ip link set dev {interface} mtu {max}` or less"
    )]
    Mtu {
        /// The NIC.
        interface: String,
        /// Its MTU.
        mtu: usize,
        /// The largest that fits.
        max: usize,
    },
    /// Anything else the kernel said.
    #[error("queue {queue} of {interface}: {what}: {source}")]
    Other {
        /// The NIC.
        interface: String,
        /// Its queue.
        queue: u32,
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// One NIC queue, owned by one worker.
#[derive(Debug)]
pub struct Queue {
    // Dropped first: the rings use the memory.
    rings: Rings,
    memory: Umem,
    id: u32,
    hugepages: bool,
}

impl Queue {
    /// Opens queue `queue` of `interface`.
    ///
    /// Nothing is received until the socket is put into the XSKS map and a program is attached.
    ///
    /// # Errors
    /// [`OpenError::Unsupported`] when the driver lacks the bind mode (the caller tries the
    /// next one); the others are final.
    pub fn open(interface: &str, queue: u32, options: QueueOptions) -> Result<Self, OpenError> {
        let other = |what, source| OpenError::Other {
            interface: interface.to_owned(),
            queue,
            what,
            source,
        };
        let chunk = chunk(options.mtu, options.bind).ok_or_else(|| OpenError::Mtu {
            interface: interface.to_owned(),
            mtu: options.mtu,
            max: MAX_MTU,
        })?;
        let ring = size(options.frames / 2, interface, queue)?;
        let umem_config = UmemConfig::builder()
            .frame_size(FrameSize::new(chunk as u32).expect("CHUNKS are valid"))
            .fill_queue_size(ring)
            .comp_queue_size(ring)
            .build()
            .expect("CHUNKS leave room for the headroom");
        let frames = NonZeroU32::new(options.frames).expect("checked by `size`");
        let (umem, descs, hugepages) =
            map(umem_config, frames).map_err(|e| other("cannot create the UMEM", cause(&e)))?;

        let mut flags = BindFlags::XDP_USE_NEED_WAKEUP;
        flags |= match options.bind {
            BindMode::ZeroCopy => BindFlags::XDP_ZEROCOPY,
            BindMode::Copy => BindFlags::XDP_COPY,
        };
        let socket_config = SocketConfig::builder()
            .rx_queue_size(ring)
            .tx_queue_size(ring)
            .bind_flags(flags)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .build();
        let name: Interface = interface
            .parse()
            .map_err(|_| other("bad interface name", io::ErrorKind::InvalidInput.into()))?;
        // SAFETY: the UMEM is this queue's own and bound once, with the program load inhibited.
        let (tx, rx, fill_comp) = unsafe { Socket::new(socket_config, &umem, &name, queue) }
            .map_err(|e| bind_error(cause(&e), interface, queue, options.bind))?;
        let fill_comp = fill_comp.ok_or_else(|| {
            other(
                "no fill ring for a private UMEM",
                io::ErrorKind::Other.into(),
            )
        })?;
        let fd = rx.fd().as_raw_fd();
        // SAFETY: `rx` keeps the socket open for longer than this borrow.
        tune(unsafe { BorrowedFd::borrow_raw(fd) });

        let sizes = RingSizes {
            batch: options.batch,
            fill: options.frames / 2,
            copies: options.bind == BindMode::Copy,
            tx: options.frames / 2,
        };
        let owner = NEXT_OWNER.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            rings: Rings::new((tx, rx), fill_comp, descs, sizes, owner),
            memory: Umem::new(umem, chunk - HEADROOM, chunk, owner),
            id: queue,
            hugepages,
        })
    }

    /// The queue's number on its NIC.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// True when the UMEM lies on hugepages.
    pub fn hugepages(&self) -> bool {
        self.hugepages
    }

    /// The rings, for receiving and for waking the kernel.
    pub fn rings(&mut self) -> &mut Rings {
        &mut self.rings
    }

    /// The bytes of a frame of this queue.
    pub fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        self.memory.bytes(frame)
    }

    /// Shows the frames that the next [`Rings::kick`] will give to the kernel, in order.
    pub fn each_pending(&self, see: impl FnMut(&[u8])) {
        self.rings.each_pending(&self.memory, see);
    }
}

impl Port for Queue {
    type Frame = Frame;
    type Memory = Umem;
    type Ring = Rings;

    fn split(&mut self) -> (&Umem, &mut Rings) {
        (&self.memory, &mut self.rings)
    }

    fn audit(&self) -> Audit {
        self.rings.audit()
    }
}

/// The smallest chunk, in bytes, that holds the frames of an MTU. Above what a NIC with `DMA_STEP` can do, its driver refuses the XDP
/// program; others need not do without zero-copy. `None` above [`MAX_MTU`].
pub fn chunk(mtu: usize, bind: BindMode) -> Option<usize> {
    let steps: &[usize] = match bind {
        BindMode::ZeroCopy => &[DMA_STEP, 1],
        BindMode::Copy => &[1],
    };
    let smallest = |step: &usize| {
        let room = |chunk: usize| (chunk - HEADROOM) / step * step;
        CHUNKS
            .into_iter()
            .find(|&chunk| mtu + LINK_HEADER <= room(chunk))
    };
    steps.iter().find_map(smallest)
}

fn size(entries: u32, interface: &str, queue: u32) -> Result<QueueSize, OpenError> {
    QueueSize::new(entries)
        .ok()
        .filter(|_| entries >= 32)
        .ok_or_else(|| OpenError::Other {
            interface: interface.to_owned(),
            queue,
            what: "umem_frames must be a power of two of at least 64",
            source: io::ErrorKind::InvalidInput.into(),
        })
}

/// The UMEM on hugepages if there are enough, else on ordinary pages.
fn map(
    config: UmemConfig,
    frames: NonZeroU32,
) -> Result<(xsk_rs::Umem, Vec<xsk_rs::umem::frame::FrameDesc>, bool), xsk_rs::umem::UmemCreateError>
{
    let bytes = frames.get() as usize * config.frame_size().get() as usize;
    if bytes.is_multiple_of(HUGE_PAGE)
        && let Ok((umem, descs)) = xsk_rs::Umem::new(config, frames, true)
    {
        return Ok((umem, descs, true));
    }
    xsk_rs::Umem::new(config, frames, false).map(|(umem, descs)| (umem, descs, false))
}

/// Larger send buffer and transmit budget; both are speed only, so that a kernel without them is no error.
fn tune(socket: BorrowedFd<'_>) {
    if let Err(e) = sys::set_send_buffer(socket, SEND_BUFFER) {
        log::debug!("SO_SNDBUFFORCE: {e}");
    }
    if let Err(e) = sys::set_option(socket, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, TX_BUDGET) {
        log::debug!("XDP_MAX_TX_SKB_BUDGET: {e}");
    }
}

fn cause(e: &(dyn std::error::Error + 'static)) -> io::Error {
    let os = e
        .source()
        .and_then(|s| s.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error);
    match os {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(e.to_string()),
    }
}

fn bind_error(source: io::Error, interface: &str, queue: u32, bind: BindMode) -> OpenError {
    let interface = interface.to_owned();
    match (source.raw_os_error(), bind) {
        (Some(libc::EPERM | libc::EACCES), _) => OpenError::Permission(source),
        (Some(libc::EBUSY), _) => OpenError::Busy { interface, queue },
        // Drivers answer a zero-copy bind that they cannot do with either.
        (Some(libc::EOPNOTSUPP), _) | (Some(libc::EINVAL), BindMode::ZeroCopy) => {
            OpenError::Unsupported {
                interface,
                queue,
                source,
            }
        }
        (Some(libc::EINVAL), BindMode::Copy) => OpenError::NoSuchQueue { interface, queue },
        _ => OpenError::Other {
            interface,
            queue,
            what: "cannot bind the AF_XDP socket",
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{BindMode, MAX_MTU, chunk};

    #[test]
    fn a_chunk_holds_the_frames_of_the_mtu() {
        let cases = [
            (1500, BindMode::Copy, Some(2048)),
            (1770, BindMode::Copy, Some(2048)),
            (1771, BindMode::Copy, Some(4096)),
            (MAX_MTU, BindMode::Copy, Some(4096)),
            (MAX_MTU + 1, BindMode::Copy, None),
            // What is left of 2,048 bytes is 1,024 to a NIC that counts in KiB, of 4,096 it is 3,072.
            (1002, BindMode::ZeroCopy, Some(2048)),
            (1003, BindMode::ZeroCopy, Some(4096)),
            (1500, BindMode::ZeroCopy, Some(4096)),
            (3050, BindMode::ZeroCopy, Some(4096)),
            (MAX_MTU, BindMode::ZeroCopy, Some(4096)),
            (MAX_MTU + 1, BindMode::ZeroCopy, None),
        ];
        for (mtu, bind, expected) in cases {
            assert_eq!(chunk(mtu, bind), expected, "MTU {mtu}, {bind:?}");
        }
    }
}
