//! A queue without a kernel: for fuzzing, tests and benchmarks of the data path.

use super::{Audit, Memory, Port, Transmit};

/// A frame of a [`MemPort`].
#[derive(Debug)]
pub struct MemFrame {
    buf: Box<[u8]>,
    len: usize,
}

/// The bytes of a [`MemPort`]: each frame owns its own.
#[derive(Debug, Default)]
pub struct MemMemory;

/// Free list and transmit ring of a [`MemPort`].
#[derive(Debug)]
pub struct MemRing {
    free: Vec<MemFrame>,
    sent: Vec<MemFrame>,
    tx_room: usize,
    total: u64,
    held: u64,
}

/// A queue in memory. What is sent stays in it until [`MemPort::take_sent`].
#[derive(Debug)]
pub struct MemPort {
    memory: MemMemory,
    ring: MemRing,
}

impl MemPort {
    /// A queue of `frames` frames of `size` bytes each, whose transmit ring has room for
    /// `tx_room` frames.
    pub fn new(frames: usize, size: usize, tx_room: usize) -> Self {
        let free = (0..frames)
            .map(|_| MemFrame {
                buf: vec![0; size].into_boxed_slice(),
                len: 0,
            })
            .collect();
        Self {
            memory: MemMemory,
            ring: MemRing {
                free,
                sent: Vec::with_capacity(tx_room),
                tx_room,
                total: frames as u64,
                held: 0,
            },
        }
    }

    /// A frame that has just been received with `packet` in it; `None` when no frame is free
    /// or `packet` does not fit.
    pub fn receive(&mut self, packet: &[u8]) -> Option<MemFrame> {
        let mut frame = self.ring.alloc()?;
        match self.memory.buffer(&mut frame, packet.len()) {
            Some(buf) => {
                buf.copy_from_slice(packet);
                Some(frame)
            }
            None => {
                self.ring.release(frame);
                None
            }
        }
    }

    /// Shows every sent packet to `look`, in order, and frees its frame.
    pub fn take_sent(&mut self, mut look: impl FnMut(&[u8])) {
        for frame in self.ring.sent.drain(..) {
            look(&frame.buf[..frame.len]);
            self.ring.free.push(frame);
        }
    }
}

impl Port for MemPort {
    type Frame = MemFrame;
    type Memory = MemMemory;
    type Ring = MemRing;

    fn split(&mut self) -> (&MemMemory, &mut MemRing) {
        (&self.memory, &mut self.ring)
    }

    fn audit(&self) -> Audit {
        Audit {
            free: self.ring.free.len() as u64,
            in_rx: 0,
            in_tx: self.ring.sent.len() as u64,
            held: self.ring.held,
            total: self.ring.total,
        }
    }
}

impl Memory for MemMemory {
    type Frame = MemFrame;

    #[inline]
    fn bytes<'a>(&'a self, frame: &'a MemFrame) -> &'a [u8] {
        &frame.buf[..frame.len]
    }

    #[inline]
    fn buffer<'a>(&'a self, frame: &'a mut MemFrame, len: usize) -> Option<&'a mut [u8]> {
        let buf = frame.buf.get_mut(..len)?;
        frame.len = len;
        Some(buf)
    }
}

impl Transmit for MemRing {
    type Frame = MemFrame;

    #[inline]
    fn alloc(&mut self) -> Option<MemFrame> {
        let mut frame = self.free.pop()?;
        frame.len = 0;
        self.held += 1;
        Some(frame)
    }

    #[inline]
    fn has_room(&mut self) -> bool {
        self.sent.len() < self.tx_room
    }

    #[inline]
    fn send(&mut self, frame: MemFrame) -> Result<(), MemFrame> {
        if !self.has_room() {
            return Err(frame);
        }
        self.held -= 1;
        self.sent.push(frame);
        Ok(())
    }

    #[inline]
    fn release(&mut self, frame: MemFrame) {
        self.held -= 1;
        self.free.push(frame);
    }
}
