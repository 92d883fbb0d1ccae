//! The four rings of a queue and its free list, and the UMEM they index.

use super::level::Level;
use super::{Audit, Memory, Transmit};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue, RxQueue, TxQueue};

/// Rounds of `sendto` for one batch. In copy mode one call sends at most the kernel's budget
/// (32 frames, 256 where `XDP_MAX_TX_SKB_BUDGET` exists), so a full transmit ring of 4,096
/// needs up to 128. More would only spin on a device that takes nothing; fewer would
/// leave frames waiting for the next batch.
const MAX_KICKS: u32 = 128;

/// Of the processors that are prefetched for, in bytes.
#[cfg(target_arch = "x86_64")]
const CACHE_LINE: usize = 64;

/// One frame of a queue's UMEM, move-only: whoever has it is the only one to read or write its bytes.
/// It ends in [`Transmit::send`] or [`Transmit::release`] of its own queue.
#[derive(Debug)]
#[must_use = "a frame that is dropped is lost to its queue"]
pub struct Frame {
    desc: FrameDesc,
    owner: u64,
}

/// The memory that a queue's frames lie in.
#[derive(Debug)]
pub struct Umem {
    umem: xsk_rs::Umem,
    /// Bytes from the start of a fresh frame's packet to the end of its chunk.
    capacity: usize,
    chunk: usize,
    owner: u64,
}

impl Umem {
    pub(super) fn new(umem: xsk_rs::Umem, capacity: usize, chunk: usize, owner: u64) -> Self {
        Self {
            umem,
            capacity,
            chunk,
            owner,
        }
    }

    #[inline]
    fn owns(&self, frame: &Frame) {
        // Frames of another UMEM would alias its memory: that is a bug, never an input.
        assert_eq!(frame.owner, self.owner, "a frame of another queue");
    }
}

impl Memory for Umem {
    type Frame = Frame;

    #[inline]
    fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        self.owns(frame);
        // SAFETY: the descriptor belongs to this UMEM (checked), and a `Frame` exists only
        // while neither the kernel nor another `Frame` has its chunk; `&Frame` lends it read-only.
        unsafe { self.umem.data(&frame.desc) }.contents()
    }

    #[inline]
    fn fetch_headers(&self, frame: &Frame) {
        #[cfg(target_arch = "x86_64")]
        {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let at = self.bytes(frame).as_ptr().cast::<i8>();
            // SAFETY: a prefetch reads nothing, and never faults.
            unsafe {
                _mm_prefetch(at, _MM_HINT_T0);
                _mm_prefetch(at.wrapping_add(CACHE_LINE), _MM_HINT_T0);
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = frame;
    }

    #[inline]
    fn buffer<'a>(&'a self, frame: &'a mut Frame, len: usize) -> Option<&'a mut [u8]> {
        self.owns(frame);
        // A received packet need not start where a fresh frame's does, so what is left of
        // its own chunk counts.
        let room = self.chunk - (frame.desc.addr() & (self.chunk - 1));
        if len > room.min(self.capacity) {
            return None;
        }
        // SAFETY: as in `bytes`; `&mut Frame` makes the access exclusive, and `len` was
        // checked to stay within the chunk.
        let data = unsafe {
            self.umem.data_mut(&mut frame.desc).cursor().set_pos(len);
            self.umem.data_mut(&mut frame.desc)
        };
        Some(into_slice(data))
    }
}

/// xsk-rs lends the bytes only for as long as its `DataMut` lives; they are good for as long as the
/// borrow of the frame that it was made from.
#[inline]
fn into_slice<'a>(mut data: xsk_rs::umem::frame::DataMut<'a>) -> &'a mut [u8] {
    let bytes = data.contents_mut();
    // SAFETY: the bytes lie in the UMEM, which outlives `'a`, and `data`, the only other way
    // to them, ends here.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr(), bytes.len()) }
}

/// What the kernel counts on an AF_XDP socket (`XDP_STATISTICS`, `Documentation/networking/af_xdp.rst`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics(xsk_rs::socket::XdpStatistics);

impl Statistics {
    /// Shows every count with its label.
    pub fn visit(&self, see: &mut impl FnMut(&'static str, u64)) {
        see("rx_dropped", self.0.rx_dropped());
        see("rx_invalid_descs", self.0.rx_invalid_descs());
        see("rx_ring_full", self.0.rx_ring_full());
        see("fill_ring_empty", self.0.rx_fill_ring_empty_descs());
        see("tx_invalid_descs", self.0.tx_invalid_descs());
        see("tx_ring_empty", self.0.tx_ring_empty_descs());
    }
}

/// How a queue's frames are shared out.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingSizes {
    /// Frames that one call of [`Rings::receive`] takes at most.
    pub batch: usize,
    /// Entries of the fill ring.
    pub fill: u32,
    /// Whether the kernel copies into the frames that it gets.
    pub copies: bool,
    /// Entries of the transmit ring.
    pub tx: u32,
}

/// The rings and the free list of one queue.
#[derive(Debug)]
pub struct Rings {
    rx: RxQueue,
    tx: TxQueue,
    fill: FillQueue,
    comp: CompQueue,
    free: Vec<FrameDesc>,
    /// Frames given to `send` since the last `kick`.
    pending: Vec<FrameDesc>,
    scratch: Vec<FrameDesc>,
    /// Frames kept in the fill and receive rings together.
    level: Level,
    tx_size: u32,
    in_rx: usize,
    in_tx: usize,
    held: usize,
    total: usize,
    owner: u64,
}

impl Rings {
    pub(super) fn new(
        (tx, rx): (TxQueue, RxQueue),
        (fill, comp): (FillQueue, CompQueue),
        frames: Vec<FrameDesc>,
        sizes: RingSizes,
        owner: u64,
    ) -> Self {
        let total = frames.len();
        let mut rings = Self {
            rx,
            tx,
            fill,
            comp,
            free: frames,
            pending: Vec::with_capacity(total),
            scratch: vec![FrameDesc::default(); sizes.batch],
            level: match sizes.copies {
                true => Level::up_to(sizes.fill as usize),
                false => Level::fixed(sizes.fill as usize),
            },
            tx_size: sizes.tx,
            in_rx: 0,
            in_tx: 0,
            held: 0,
            total,
            owner,
        };
        rings.refill(0);
        rings
    }

    /// Takes up to one batch of received frames.
    pub fn receive(&mut self, into: &mut Vec<Frame>) -> usize {
        self.level.see(self.rx.nb_avail_exact() as usize);
        // SAFETY: the ring's descriptors belong to this queue's UMEM, and each is taken from
        // the ring once, so that the `Frame` made of it is its only owner.
        let n = unsafe { self.rx.consume(&mut self.scratch) };
        self.in_rx -= n;
        self.held += n;
        let owner = self.owner;
        into.extend(self.scratch[..n].iter().map(|&desc| Frame { desc, owner }));
        n
    }

    /// Gives free frames to the kernel until the receive side has its share, with so many connections open.
    pub fn refill(&mut self, connections: usize) {
        self.level.expect(connections);
        let want = self.level.frames().saturating_sub(self.in_rx);
        let n = want.min(self.free.len());
        if n == 0 {
            return;
        }
        let start = self.free.len() - n;
        // SAFETY: frames on the free list are owned by nobody else; they leave the list
        // below exactly when the ring has taken them.
        let taken = unsafe { self.fill.produce(&self.free[start..]) };
        debug_assert!(taken == 0 || taken == n, "the ring takes all or none");
        self.free.truncate(self.free.len() - taken);
        self.in_rx += taken;
    }

    /// Takes back the frames that the kernel has sent.
    pub fn reap(&mut self) {
        loop {
            // SAFETY: completions name frames of this queue's UMEM that the kernel is done with.
            let n = unsafe { self.comp.consume(&mut self.scratch) };
            if n == 0 {
                return;
            }
            self.in_tx -= n;
            self.free.extend_from_slice(&self.scratch[..n]);
        }
    }

    /// Hands what was queued by `send` to the kernel and wakes it if it asks for that.
    ///
    /// True when frames still wait in the transmit ring (the device takes no more now):
    /// call again soon.
    ///
    /// # Errors
    /// Those of `sendto(2)` that do not mean "again" (ENXIO: the NIC is gone).
    pub fn kick(&mut self) -> io::Result<bool> {
        if !self.pending.is_empty() {
            // SAFETY: the pending frames came from `send`, which took them by value.
            let taken = unsafe { self.tx.produce(&self.pending) };
            debug_assert_eq!(taken, self.pending.len(), "send checks the room");
            self.pending.drain(..taken);
        }
        if self.in_tx == 0 {
            return Ok(false);
        }
        let mut waiting = self.unsent();
        let mut kicks = 0;
        while waiting > 0 && self.tx.needs_wakeup() && kicks < MAX_KICKS {
            match self.tx.wakeup() {
                // Short of memory for a copy of the frame, or the NIC is down: it stays in the ring.
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENOMEM | libc::ENETDOWN)) => break,
                other => other?,
            }
            kicks += 1;
            let left = self.unsent();
            if left == waiting {
                break;
            }
            waiting = left;
        }
        Ok(waiting > 0)
    }

    /// Asks the kernel whether the socket still has its queue. poll(2) does not tell.
    ///
    /// # Errors
    /// ENODEV: the NIC is gone.
    pub fn check(&self) -> io::Result<()> {
        let Err(e) = self.tx.wakeup() else {
            return Ok(());
        };
        match e.raw_os_error() {
            // A NIC that is down may come up again, with its queues as they were.
            Some(libc::ENETDOWN) => Ok(()),
            Some(libc::ENXIO) => Err(io::Error::from_raw_os_error(libc::ENODEV)),
            _ => Err(e),
        }
    }

    /// What the kernel has counted on the socket.
    ///
    /// # Errors
    /// Those of `getsockopt(2)`.
    pub fn statistics(&self) -> io::Result<Statistics> {
        self.rx.fd().xdp_statistics().map(Statistics)
    }

    /// Descriptors in the transmit ring that the kernel has not consumed.
    fn unsent(&mut self) -> u32 {
        self.tx_size - self.tx.nb_free_exact()
    }

    /// The AF_XDP socket, to wait on and to put into the XSKS map.
    pub fn socket(&self) -> BorrowedFd<'_> {
        // SAFETY: the receive ring, which `self` owns, keeps the socket open.
        unsafe { BorrowedFd::borrow_raw(self.rx.fd().as_raw_fd()) }
    }

    /// True when the kernel wants a wake-up before it fills receive frames again.
    pub fn fill_needs_wakeup(&self) -> bool {
        self.fill.needs_wakeup()
    }

    /// Shows the frames given to `send` since the last `kick`, in order.
    pub(super) fn each_pending(&self, memory: &Umem, mut see: impl FnMut(&[u8])) {
        for &desc in &self.pending {
            let owner = self.owner;
            see(memory.bytes(&Frame { desc, owner }));
        }
    }

    /// Where every frame is now.
    pub fn audit(&self) -> Audit {
        Audit {
            free: self.free.len() as u64,
            in_rx: self.in_rx as u64,
            in_tx: self.in_tx as u64,
            held: self.held as u64,
            total: self.total as u64,
        }
    }
}

impl Transmit for Rings {
    type Frame = Frame;

    #[inline]
    fn alloc(&mut self) -> Option<Frame> {
        let desc = self.free.pop()?;
        self.held += 1;
        Some(Frame {
            desc,
            owner: self.owner,
        })
    }

    #[inline]
    fn has_room(&mut self) -> bool {
        let wanted = self.pending.len() as u32 + 1;
        self.tx.nb_free(wanted) >= wanted
    }

    #[inline]
    fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        assert_eq!(frame.owner, self.owner, "a frame of another queue");
        if !self.has_room() {
            return Err(frame);
        }
        self.held -= 1;
        self.in_tx += 1;
        self.pending.push(frame.desc);
        Ok(())
    }

    #[inline]
    fn release(&mut self, frame: Frame) {
        assert_eq!(frame.owner, self.owner, "a frame of another queue");
        self.held -= 1;
        self.free.push(frame.desc);
    }
}
