//! TCP options: MSS, window scale, SACK-permitted, SACK, timestamps (RFC 9293 3.2, 7323, 2018).

use super::segment::Malformed;
use crate::seq::SeqNum;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// What a timestamps option carries (RFC 7323 section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timestamps {
    /// TSval: the sender's clock.
    pub val: u32,
    /// TSecr: the echo of the receiver's clock.
    pub ecr: u32,
}

impl Timestamps {
    /// What stands before the values where the option is alone: two bytes of padding, its kind and length.
    pub(super) const KIND_PADDED: u32 = u32::from_be_bytes([NOP, NOP, TIMESTAMPS, 10]);

    /// Out of an option field that has them so (RFC 7323 appendix A), and nothing else.
    #[inline]
    pub(super) fn alone(field: &[u8]) -> Option<Timestamps> {
        let field = <&[u8; Options::TIMESTAMPS_LEN]>::try_from(field).ok()?;
        let (words, _) = field.as_chunks::<4>();
        let [kind, val, ecr] = [words[0], words[1], words[2]].map(u32::from_be_bytes);
        (kind == Self::KIND_PADDED).then_some(Timestamps { val, ecr })
    }
}

/// Up to four SACK blocks `[left, right)`: all that fit an option field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SackBlocks {
    count: u8,
    blocks: [(SeqNum, SeqNum); 4],
}

impl SackBlocks {
    /// No block.
    pub const NONE: SackBlocks = SackBlocks {
        count: 0,
        blocks: [(SeqNum(0), SeqNum(0)); 4],
    };

    /// Adds a block; a fifth is ignored.
    pub fn push(&mut self, left: SeqNum, right: SeqNum) {
        if let Some(place) = self.blocks.get_mut(usize::from(self.count)) {
            *place = (left, right);
            self.count += 1;
        }
    }

    /// The blocks in the order of the option.
    #[must_use]
    pub fn as_slice(&self) -> &[(SeqNum, SeqNum)] {
        &self.blocks[..usize::from(self.count)]
    }
}

/// The options of one segment that this stack knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Maximum segment size, bytes.
    pub mss: Option<u16>,
    /// Window scale, a shift; not clamped to 14 here.
    pub window_scale: Option<u8>,
    /// SACK permitted.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// SACK blocks.
    pub sack: SackBlocks,
}

fn be32(b: &[u8]) -> u32 {
    u32::from_be_bytes([b[0], b[1], b[2], b[3]])
}

impl Options {
    /// Bytes of a timestamps option with its padding: what every segment pays once timestamps are negotiated.
    pub const TIMESTAMPS_LEN: usize = 12;

    /// Reads an option field. Unknown options are skipped (RFC 9293 MUST-6), known ones of a wrong length ignored.
    ///
    /// # Errors
    /// [`Malformed::Options`] for a length below 2 or past the field's end (MUST-7).
    pub fn parse(mut field: &[u8]) -> Result<Options, Malformed> {
        let mut options = Options::default();
        // Nearly every segment of a connection with timestamps looks like this.
        if let Some(ts) = Timestamps::alone(field) {
            options.timestamps = Some(ts);
            return Ok(options);
        }
        while let [kind, rest @ ..] = field {
            match *kind {
                END => break,
                NOP => field = rest,
                kind => {
                    let len = usize::from(*rest.first().ok_or(Malformed::Options)?);
                    if len < 2 || len > field.len() {
                        return Err(Malformed::Options);
                    }
                    options.take(kind, &field[2..len]);
                    field = &field[len..];
                }
            }
        }
        Ok(options)
    }

    fn take(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (MSS, [hi, lo]) => self.mss = Some(u16::from_be_bytes([*hi, *lo])),
            (WINDOW_SCALE, [shift]) => self.window_scale = Some(*shift),
            (SACK_PERMITTED, []) => self.sack_permitted = true,
            (TIMESTAMPS, v) if v.len() == 8 => {
                self.timestamps = Some(Timestamps {
                    val: be32(v),
                    ecr: be32(&v[4..]),
                })
            }
            (SACK, v) if v.len() % 8 == 0 => {
                for block in v.chunks_exact(8) {
                    self.sack
                        .push(SeqNum(be32(block)), SeqNum(be32(&block[4..])));
                }
            }
            _ => {}
        }
    }

    /// Bytes that [`Options::emit`] writes: a multiple of 4, at most 40 for every combination this stack sends.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        let sacks = self.sack.as_slice().len();
        self.mss.map_or(0, |_| 4)
            + self.window_scale.map_or(0, |_| 4)
            + if self.sack_permitted { 4 } else { 0 }
            + self.timestamps.map_or(0, |_| Self::TIMESTAMPS_LEN)
            + if sacks > 0 { 4 + 8 * sacks } else { 0 }
    }

    /// Is there no option?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the options, each padded in front to a multiple of 4. `buf` must be exactly [`Options::len`] bytes.
    pub fn emit(&self, buf: &mut [u8]) {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            buf[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        if let Some(mss) = self.mss {
            let [hi, lo] = mss.to_be_bytes();
            put(&[MSS, 4, hi, lo]);
        }
        if let Some(shift) = self.window_scale {
            put(&[NOP, WINDOW_SCALE, 3, shift]);
        }
        if self.sack_permitted {
            put(&[NOP, NOP, SACK_PERMITTED, 2]);
        }
        if let Some(ts) = self.timestamps {
            put(&[NOP, NOP, TIMESTAMPS, 10]);
            put(&ts.val.to_be_bytes());
            put(&ts.ecr.to_be_bytes());
        }
        let blocks = self.sack.as_slice();
        if !blocks.is_empty() {
            put(&[NOP, NOP, SACK, 2 + 8 * blocks.len() as u8]);
            for (left, right) in blocks {
                put(&left.0.to_be_bytes());
                put(&right.0.to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Malformed, Options, SackBlocks, SeqNum, Timestamps};

    #[test]
    fn emitted_options_parse_back() {
        let mut sack = SackBlocks::NONE;
        let mut all = Vec::new();
        for blocks in 0..=3u32 {
            for bits in 0..16u32 {
                all.push(Options {
                    mss: (bits & 1 != 0 && blocks == 0).then_some(1460),
                    window_scale: (bits & 2 != 0 && blocks == 0).then_some(7),
                    sack_permitted: bits & 4 != 0 && blocks == 0,
                    timestamps: (bits & 8 != 0).then_some(Timestamps {
                        val: 0xdead_beef,
                        ecr: 7,
                    }),
                    sack,
                });
            }
            sack.push(SeqNum(blocks * 100), SeqNum(blocks * 100 + 50));
        }
        for options in all {
            let mut buf = vec![0xaa; options.len()];
            options.emit(&mut buf);
            assert!(buf.len() % 4 == 0 && buf.len() <= 40);
            assert_eq!(Options::parse(&buf), Ok(options));
        }
    }

    #[test]
    fn hostile_fields() {
        let empty = Ok(Options::default());
        for (field, want) in [
            (&[][..], empty),
            (&[0, 2, 0, 0], empty),
            (&[1, 1, 1, 1], empty),
            (&[254, 4, 9, 9], empty),
            // A known option of a wrong length says nothing.
            (&[2, 3, 5, 1], empty),
            (&[8, 2, 1, 1], empty),
            (&[5, 6, 1, 2, 3, 4, 1, 1], empty),
            (&[2], Err(Malformed::Options)),
            (&[2, 0, 0, 0], Err(Malformed::Options)),
            (&[2, 1, 0, 0], Err(Malformed::Options)),
            (&[2, 5, 0, 0], Err(Malformed::Options)),
            (&[1, 1, 1, 8], Err(Malformed::Options)),
        ] {
            assert_eq!(Options::parse(field), want, "{field:?}");
        }
    }
}
