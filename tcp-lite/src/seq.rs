//! Sequence numbers: arithmetic modulo 2^32 (RFC 9293 section 3.4).

use core::ops::{Add, AddAssign, Sub};

/// A TCP sequence number.
///
/// Deliberately not `Ord`: "before" is only a total order inside half of the number space, so the comparisons have names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// `self < other`, for numbers less than 2^31 apart.
    #[must_use]
    pub const fn lt(self, other: SeqNum) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// `self <= other`, for numbers less than 2^31 apart.
    #[must_use]
    pub const fn le(self, other: SeqNum) -> bool {
        (self.0.wrapping_sub(other.0) as i32) <= 0
    }

    /// The later of two numbers.
    #[must_use]
    pub const fn max(self, other: SeqNum) -> SeqNum {
        if self.lt(other) { other } else { self }
    }

    /// The earlier of two numbers.
    #[must_use]
    pub const fn min(self, other: SeqNum) -> SeqNum {
        if self.lt(other) { self } else { other }
    }

    /// How many numbers `self` lies behind `start`; the caller knows that `start <= self`.
    #[must_use]
    pub const fn since(self, start: SeqNum) -> u32 {
        self.0.wrapping_sub(start.0)
    }

    /// `start <= self < start + len`.
    #[must_use]
    pub const fn within(self, start: SeqNum, len: u32) -> bool {
        self.since(start) < len
    }
}

impl Add<u32> for SeqNum {
    type Output = SeqNum;
    fn add(self, n: u32) -> SeqNum {
        SeqNum(self.0.wrapping_add(n))
    }
}

impl Sub<u32> for SeqNum {
    type Output = SeqNum;
    fn sub(self, n: u32) -> SeqNum {
        SeqNum(self.0.wrapping_sub(n))
    }
}

impl AddAssign<u32> for SeqNum {
    fn add_assign(&mut self, n: u32) {
        *self = *self + n;
    }
}

#[cfg(test)]
mod tests {
    use super::SeqNum;

    #[test]
    fn order_survives_the_wrap() {
        for (a, b) in [
            (0, 1),
            (u32::MAX, 0),
            (u32::MAX - 5, 10),
            (0x7fff_ffff, 0x8000_0000),
            (0, 0x7fff_ffff),
        ] {
            let (a, b) = (SeqNum(a), SeqNum(b));
            assert!(
                a.lt(b) && a.le(b) && !b.lt(a) && !b.le(a) && a.le(a) && !a.lt(a),
                "{a:?} {b:?}"
            );
            assert_eq!((a.max(b), b.max(a), a.min(b), b.min(a)), (b, b, a, a));
        }
    }

    #[test]
    fn within_counts_from_the_start() {
        let start = SeqNum(u32::MAX - 1);
        assert!(start.within(start, 1) && (start + 3).within(start, 4));
        assert!(
            !start.within(start, 0)
                && !(start + 4).within(start, 4)
                && !(start - 1).within(start, 4)
        );
        assert_eq!((start + 7).since(start), 7);
    }
}
