//! The Internet checksum (RFC 1071) as a partial sum that pieces can be joined from.

use crate::flow::Flow;

/// A partial one's-complement sum of 16-bit big-endian words.
///
/// The first byte summed counts as the high half of a word ("position 0 is even"). [`Sum::then`] joins the sum of
/// bytes that follow, also behind an odd count. 0 and 0xffff are the same number in this arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum(u16);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Sum = Sum(0);

    /// The sum of `bytes`; an odd last byte counts as if a zero byte followed.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Sum {
        // Words are added in native order and swapped once at the end (RFC 1071 section 2(B)). The u64 cannot
        // overflow: each step adds less than 2^32 and a slice has far fewer than 2^32 words of 4 bytes.
        let mut words = bytes.chunks_exact(4);
        let mut total = 0u64;
        for w in &mut words {
            total += u64::from(u32::from_ne_bytes([w[0], w[1], w[2], w[3]]));
        }
        let mut tail = [0u8; 4];
        let rest = words.remainder();
        tail[..rest.len()].copy_from_slice(rest);
        total += u64::from(u32::from_ne_bytes(tail));
        Sum(u16::from_be(fold(total)))
    }

    /// The sum of one big-endian word.
    #[must_use]
    pub const fn word(w: u16) -> Sum {
        Sum(w)
    }

    /// The sum with another one of bytes at an even distance.
    #[must_use]
    pub const fn plus(self, other: Sum) -> Sum {
        let s = self.0 as u32 + other.0 as u32;
        Sum((s as u16).wrapping_add((s >> 16) as u16))
    }

    /// The sum with that of bytes which begin `offset` bytes behind where this one's begin: an odd distance swaps
    /// the halves of every word.
    #[must_use]
    pub const fn then(self, offset: usize, other: Sum) -> Sum {
        self.plus(if offset % 2 == 1 {
            Sum(other.0.swap_bytes())
        } else {
            other
        })
    }

    /// The checksum field: the complement of the sum. Over bytes whose checksum field is right, this is 0.
    #[must_use]
    pub const fn finish(self) -> u16 {
        !self.0
    }
}

fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// The sum of the pseudo-header of a TCP segment of `tcp_len` bytes between the flow's ends, in either direction
/// (RFC 9293 section 3.1, RFC 8200 section 8.1).
#[must_use]
pub fn pseudo_header(flow: &Flow, tcp_len: usize) -> Sum {
    const TCP: Sum = Sum::word(6);
    // The v4-mapped prefix ffff adds nothing in one's-complement arithmetic, so one form serves both versions; the
    // length is a u32 in v6 and a u16 in v4 whose upper half would be 0.
    Sum::of(flow.local.addr.octets())
        .plus(Sum::of(flow.remote.addr.octets()))
        .plus(Sum::of(&(tcp_len as u32).to_be_bytes()))
        .plus(TCP)
}

#[cfg(test)]
mod tests {
    use super::Sum;

    /// RFC 1071 section 3's own example.
    #[test]
    fn rfc_example() {
        assert_eq!(
            Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            Sum::word(0xddf2)
        );
    }

    fn slow(bytes: &[u8]) -> u16 {
        let mut total = 0u32;
        for (i, b) in bytes.iter().enumerate() {
            total += u32::from(*b) << if i % 2 == 0 { 8 } else { 0 };
        }
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    #[test]
    fn every_split_sums_like_the_whole() {
        let bytes: Vec<u8> = (0..61u32).map(|i| (i * 37 + 11) as u8).collect();
        for len in 0..=bytes.len() {
            let whole = Sum::of(&bytes[..len]);
            assert_eq!(whole, Sum::word(slow(&bytes[..len])), "{len}");
            for cut in 0..=len {
                let joined = Sum::of(&bytes[..cut]).then(cut, Sum::of(&bytes[cut..len]));
                assert_eq!(joined, whole, "{cut} of {len}");
            }
        }
    }

    #[test]
    fn a_right_checksum_finishes_as_zero() {
        let mut bytes = *b"0123456789\0\0";
        let sum = Sum::of(&bytes).finish();
        bytes[10..].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(Sum::of(&bytes).finish(), 0);
    }
}
