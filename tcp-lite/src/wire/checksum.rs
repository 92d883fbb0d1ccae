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
        let mut total = Total::default();
        total.add_bytes(bytes);
        total.sum()
    }

    /// The sum of the same bytes `times` times, each at an even distance from the first.
    #[must_use]
    #[inline]
    pub const fn times(self, times: u32) -> Sum {
        Sum(fold(self.0 as u64 * times as u64))
    }

    /// The sum of words of 32 bits.
    #[must_use]
    #[inline]
    pub fn of_words(words: &[[u8; 4]]) -> Sum {
        let mut total = Total::default();
        for word in words {
            total.add(*word);
        }
        total.sum()
    }

    /// The sum of `N` bytes, which is known where this is compiled.
    #[must_use]
    #[inline]
    pub fn of_array<const N: usize>(bytes: &[u8; N]) -> Sum {
        const { assert!(N.is_multiple_of(4)) }
        let mut total = Total::default();
        let (words, rest) = bytes.as_chunks::<8>();
        total.add_words(words);
        if let Some(word) = rest.first_chunk::<4>() {
            total.add(*word);
        }
        total.sum()
    }

    /// The sum of one big-endian word.
    #[must_use]
    #[inline]
    pub const fn word(w: u16) -> Sum {
        Sum(w)
    }

    /// The sum with another one of bytes at an even distance.
    #[must_use]
    #[inline]
    pub const fn plus(self, other: Sum) -> Sum {
        let s = self.0 as u32 + other.0 as u32;
        Sum((s as u16).wrapping_add((s >> 16) as u16))
    }

    /// The sum with that of bytes which begin `offset` bytes behind where this one's begin: an odd distance swaps
    /// the halves of every word.
    #[must_use]
    #[inline]
    pub const fn then(self, offset: usize, other: Sum) -> Sum {
        self.plus(if offset % 2 == 1 {
            Sum(other.0.swap_bytes())
        } else {
            other
        })
    }

    /// The checksum field: the complement of the sum. Over bytes whose checksum field is right, this is 0.
    #[must_use]
    #[inline]
    pub const fn finish(self) -> u16 {
        !self.0
    }
}

/// Is the checksum of the TCP segment `bytes` between the flow's ends right?
#[must_use]
pub(crate) fn is_right(flow: &Flow, bytes: &[u8]) -> bool {
    let mut total = Total::pseudo_header(flow, bytes.len());
    total.add_bytes(bytes);
    total.sum().finish() == 0
}

/// A sum in the making, of words as they lie in memory: in little-endian order, swapped once at the end (RFC 1071 section
/// 2(B)).
#[derive(Clone, Copy, Debug, Default)]
pub struct Total {
    /// Words of 64 bits: a processor adds one and the carry of the one before in one instruction.
    wide: u64,
    /// Their carries, and shorter words: there are never 2^32 of them.
    narrow: u64,
}

impl Total {
    /// Begins with what was summed already.
    #[must_use]
    #[inline]
    pub fn of(sum: Sum) -> Total {
        let mut total = Total::default();
        total.add_sum(sum);
        total
    }

    /// Begins with the pseudo-header: see [`pseudo_header`].
    #[inline]
    pub(crate) fn pseudo_header(flow: &Flow, tcp_len: usize) -> Total {
        const TCP: u32 = 6;
        // The v4-mapped prefix ffff adds nothing in one's-complement arithmetic, so one form serves both versions; the
        // length is a u32 in v6 and a u16 in v4 whose upper half would be 0.
        let mut total = Total {
            wide: 0,
            narrow: u64::from((tcp_len as u32).swap_bytes()) + u64::from(TCP.swap_bytes()),
        };
        let (ours, theirs) = (flow.local.addr.octets(), flow.remote.addr.octets());
        let ([a, b], [c, d]) = (halves(ours), halves(theirs));
        total.add_words(&[a, b, c, d]);
        total
    }

    /// Bytes at an even distance from what was added before.
    #[inline]
    pub fn add(&mut self, word: [u8; 4]) {
        self.narrow += u64::from(u32::from_le_bytes(word));
    }

    /// The same, already summed.
    #[inline]
    pub fn add_sum(&mut self, sum: Sum) {
        self.narrow += u64::from(sum.0.swap_bytes());
    }

    /// The same, many at once.
    #[inline(always)]
    fn add_words(&mut self, words: &[[u8; 8]]) {
        let mut carry = false;
        for word in words {
            (self.wide, carry) = self.wide.carrying_add(u64::from_le_bytes(*word), carry);
        }
        self.narrow += u64::from(carry);
    }

    /// The same for `N` bytes if `rest` has as many; they are taken off it.
    #[inline(always)]
    fn take<const N: usize>(&mut self, rest: &mut &[u8]) {
        if let Some((block, behind)) = rest.split_first_chunk::<N>() {
            self.add_words(block.as_chunks().0);
            *rest = behind;
        }
    }

    /// The same for any bytes.
    #[inline(always)]
    fn add_bytes(&mut self, bytes: &[u8]) {
        let (blocks, mut rest) = bytes.as_chunks::<64>();
        for block in blocks {
            self.add_words(block.as_chunks().0);
        }
        // What is left is under 64 bytes: one step for each bit of its length.
        self.take::<32>(&mut rest);
        self.take::<16>(&mut rest);
        self.take::<8>(&mut rest);
        // The last eight bytes again, without those that were added already: the upper ones stay.
        let last = match bytes.last_chunk::<8>() {
            Some(last) => u64::from_le_bytes(*last) >> 1 >> (63 - 8 * (rest.len() & 7)),
            None => last_word(rest),
        };
        let (wide, carry) = self.wide.overflowing_add(last);
        self.wide = wide;
        self.narrow += u64::from(carry);
    }

    /// The sum.
    #[must_use]
    #[inline]
    pub fn sum(self) -> Sum {
        // What is narrow is far from 2^64: where this carries, little is left, and adding the carry does not carry again.
        let (total, carry) = self.wide.overflowing_add(self.narrow);
        Sum(fold(total + u64::from(carry)).swap_bytes())
    }
}

/// Both halves of an address.
#[inline]
fn halves(octets: &[u8; 16]) -> [[u8; 8]; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *octets;
    [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]]
}

/// Up to seven bytes as a little-endian word.
fn last_word(bytes: &[u8]) -> u64 {
    let mut word = 0;
    let mut at = 0;
    let mut rest = bytes;
    if let Some((four, behind)) = rest.split_first_chunk::<4>() {
        (word, at, rest) = (u64::from(u32::from_le_bytes(*four)), 32, behind);
    }
    if let Some((two, behind)) = rest.split_first_chunk::<2>() {
        word |= u64::from(u16::from_le_bytes(*two)) << at;
        (at, rest) = (at + 16, behind);
    }
    if let [last, ..] = rest {
        word |= u64::from(*last) << at;
    }
    word
}

/// All 16-bit words of `total` added, with their carries added in at the other end: each half of a rotation has the sum
/// of both halves, and the upper one also the carry that came out of the lower.
#[inline]
const fn fold(total: u64) -> u16 {
    let total = (total.wrapping_add(total.rotate_left(32)) >> 32) as u32;
    (total.wrapping_add(total.rotate_left(16)) >> 16) as u16
}

/// The sum of the pseudo-header of a TCP segment of `tcp_len` bytes between the flow's ends, in either direction
/// (RFC 9293 section 3.1, RFC 8200 section 8.1).
#[must_use]
#[inline]
pub fn pseudo_header(flow: &Flow, tcp_len: usize) -> Sum {
    Total::pseudo_header(flow, tcp_len).sum()
}

#[cfg(test)]
mod tests {
    use super::{Sum, pseudo_header};
    use crate::flow::{Addr, Endpoint, Flow};

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
    fn of_all_lengths_and_of_the_largest_words() {
        // 0xff throughout carries out of every addition.
        for byte in [0xff, 0xfe, 0x80, 1] {
            let bytes = [byte; 1500];
            for len in 0..=bytes.len() {
                let bytes = &bytes[..len];
                assert_eq!(Sum::of(bytes), Sum::word(slow(bytes)), "{len} times {byte}");
            }
        }
        let mut seed = 1u32;
        let bytes: Vec<u8> = (0..1500)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .collect();
        for len in 0..=bytes.len() {
            let bytes = &bytes[..len];
            assert_eq!(Sum::of(bytes), Sum::word(slow(bytes)), "{len}");
        }
    }

    /// RFC 9293 section 3.1 and RFC 8200 section 8.1, byte by byte.
    #[test]
    fn pseudo_headers_of_both_versions() {
        let end = |addr| Endpoint { addr, port: 1 };
        let table = [
            (Addr::v4([192, 0, 2, 1]), Addr::v4([255, 255, 255, 254])),
            (
                Addr::v6([0xff; 16]),
                Addr::v6(core::array::from_fn(|at| at as u8)),
            ),
        ];
        for (local, remote) in table {
            let flow = Flow {
                local: end(local),
                remote: end(remote),
            };
            for len in [20, 255, 256, 1480, 0xffff] {
                let mut bytes = [*local.octets(), *remote.octets()].concat();
                bytes.extend((len as u32).to_be_bytes());
                bytes.extend([0, 0, 0, 6]);
                assert_eq!(pseudo_header(&flow, len), Sum::word(slow(&bytes)), "{len}");
            }
        }
    }

    #[test]
    fn of_repetitions() {
        let bytes: [u8; 16] = core::array::from_fn(|at| (at * 37 + 200) as u8);
        let one = Sum::of(&bytes);
        for times in [0, 1, 2, 7, 4000] {
            let all = bytes.repeat(times);
            assert_eq!(one.times(times as u32), Sum::of(&all), "{times}");
        }
        assert_eq!(Sum::word(0xffff).times(u32::MAX), Sum::word(0xffff));
    }

    #[test]
    fn a_right_checksum_finishes_as_zero() {
        let mut bytes = *b"0123456789\0\0";
        let sum = Sum::of(&bytes).finish();
        bytes[10..].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(Sum::of(&bytes).finish(), 0);
    }
}
