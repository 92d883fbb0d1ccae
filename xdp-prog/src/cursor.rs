//! Reading a frame without leaving it.

/// A position in a frame. Every read is checked against the frame's end; a position may lie behind it, then nothing can
/// be read.
///
/// Headers are read whole, as words, because one check then covers all fields, and because byte-wise reads cost the
/// BPF program three times the instructions.
pub trait Cursor: Copy {
    /// The next `2 * N` bytes as big-endian numbers, or nothing if the frame ends before.
    fn halves<const N: usize>(self) -> Option<[u16; N]>;

    /// The next `4 * N` bytes as words in the order of memory, or nothing if the frame ends before.
    fn words<const N: usize>(self) -> Option<[u32; N]>;

    /// The position `bytes` further on. `bytes` is at most 2048, the longest IPv6 extension header, so that a verifier
    /// can follow the sum.
    fn skip(self, bytes: u32) -> Self;
}

impl Cursor for &[u8] {
    fn halves<const N: usize>(self) -> Option<[u16; N]> {
        let (halves, _) = self.get(..2 * N)?.as_chunks::<2>();
        Some(core::array::from_fn(|i| u16::from_be_bytes(halves[i])))
    }

    fn words<const N: usize>(self) -> Option<[u32; N]> {
        let (words, _) = self.get(..4 * N)?.as_chunks::<4>();
        Some(core::array::from_fn(|i| u32::from_ne_bytes(words[i])))
    }

    fn skip(self, bytes: u32) -> Self {
        self.get(bytes as usize..).unwrap_or(&[])
    }
}
