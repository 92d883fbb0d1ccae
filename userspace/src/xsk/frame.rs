//! What the data path may do with frames, whatever holds them.

/// Where every frame of a queue is. See the drawing in [`crate::xsk`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Frames on the free list.
    pub free: u64,
    /// Frames in the fill and receive rings, or being filled by the kernel.
    pub in_rx: u64,
    /// Frames in the transmit and completion rings, or being sent by the kernel.
    pub in_tx: u64,
    /// Frames that the worker holds.
    pub held: u64,
    /// Frames that the queue was opened with.
    pub total: u64,
}

impl Audit {
    /// True when no frame is missing or counted twice.
    pub fn balances(&self) -> bool {
        self.free + self.in_rx + self.in_tx + self.held == self.total
    }
}

/// The bytes of frames.
///
/// Apart from [`Transmit`], so that a received frame can be read while answers are
/// written to other frames.
pub trait Memory {
    /// A move-only frame; it ends in exactly one of [`Transmit::send`] and
    /// [`Transmit::release`].
    type Frame;

    /// The packet in `frame`.
    fn bytes<'a>(&'a self, frame: &'a Self::Frame) -> &'a [u8];

    /// Begins to fetch the headers of `frame` from memory, for [`Memory::bytes`] soon. Nothing else depends on it.
    #[inline]
    fn fetch_headers(&self, frame: &Self::Frame) {
        let _ = frame;
    }

    /// Sets the packet length of `frame` to `len` bytes and lends them for writing; what
    /// they hold before is unspecified. `None` when the frame cannot hold that many.
    fn buffer<'a>(&'a self, frame: &'a mut Self::Frame, len: usize) -> Option<&'a mut [u8]>;
}

/// The transmit side of a queue and its free list.
pub trait Transmit {
    /// See [`Memory::Frame`].
    type Frame;

    /// An empty frame to write an answer to; `None` when all are in use.
    fn alloc(&mut self) -> Option<Self::Frame>;

    /// Is there room for a frame in the ring?
    fn has_room(&mut self) -> bool;

    /// Queues `frame` for transmission; a full ring gives it back.
    fn send(&mut self, frame: Self::Frame) -> Result<(), Self::Frame>;

    /// Puts `frame` back on the free list.
    fn release(&mut self, frame: Self::Frame);
}

/// A queue as the data path sees it.
pub trait Port {
    /// See [`Memory::Frame`].
    type Frame;
    /// The bytes.
    type Memory: Memory<Frame = Self::Frame>;
    /// The transmit side.
    type Ring: Transmit<Frame = Self::Frame>;

    /// Both halves, so that one can be read while the other is written.
    fn split(&mut self) -> (&Self::Memory, &mut Self::Ring);

    /// Where every frame is now.
    fn audit(&self) -> Audit;
}
