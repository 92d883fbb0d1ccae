//! The requests, laid out once.
//!
//! Each connection sends the same circle of requests, one path after the other, from a place of its own on. So its
//! stream is a piece of one long string at any offset, and the sum of any piece, for the checksum of the segment that
//! carries it, is the difference of two sums made in advance.

/// Requests of a circle and the bytes that send them.
#[derive(Debug)]
pub(crate) struct Requests {
    /// The circle, again and again, until a whole segment can begin anywhere in the first round.
    bytes: Vec<u8>,
    /// Sum of the 16-bit words in front of each byte, as RFC 1071 has them, unfolded.
    sums: Vec<u64>,
    /// Where each request begins, and where the circle ends.
    starts: Vec<u32>,
}

impl Requests {
    /// A circle of `requests`, for segments of up to `segment` bytes.
    pub(crate) fn new(requests: &[Vec<u8>], segment: usize) -> Self {
        let mut starts = vec![0];
        let mut end = 0;
        for request in requests {
            end += request.len() as u32;
            starts.push(end);
        }
        let circle = requests.concat();
        let len = circle.len() + segment;
        let bytes: Vec<u8> = circle.iter().copied().cycle().take(len).collect();
        let mut sums = Vec::with_capacity(len + 1);
        let mut sum = 0;
        sums.push(sum);
        for (at, byte) in bytes.iter().enumerate() {
            sum += u64::from(*byte) << if at % 2 == 0 { 8 } else { 0 };
            sums.push(sum);
        }
        Self {
            bytes,
            sums,
            starts,
        }
    }

    /// Requests of the circle.
    pub(crate) fn len(&self) -> u16 {
        (self.starts.len() - 1) as u16
    }

    /// Where request `which` begins, in bytes from the start of the circle.
    pub(crate) fn start(&self, which: u16) -> u32 {
        self.starts[usize::from(which)]
    }

    /// Bytes of request `which`.
    pub(crate) fn bytes_of(&self, which: u16) -> u32 {
        let which = usize::from(which);
        self.starts[which + 1] - self.starts[which]
    }

    /// The request behind `which`.
    #[inline]
    pub(crate) fn after(&self, which: u16) -> u16 {
        if which + 1 == self.len() {
            0
        } else {
            which + 1
        }
    }

    /// The place `bytes` behind `at`.
    #[inline]
    pub(crate) fn advance(&self, at: u32, bytes: u32) -> u32 {
        let circle = *self.starts.last().unwrap_or(&0);
        let at = at + bytes;
        if at < circle {
            at
        } else if at - circle < circle {
            at - circle
        } else {
            at % circle
        }
    }

    /// `len` bytes from place `at` of the circle, and their sum as if they began at an even place.
    #[inline]
    pub(crate) fn piece(&self, at: u32, len: usize) -> (&[u8], u64) {
        let at = at as usize;
        let sum = fold(self.sums[at + len] - self.sums[at]);
        let sum = if at.is_multiple_of(2) {
            sum
        } else {
            sum.swap_bytes()
        };
        (&self.bytes[at..at + len], u64::from(sum))
    }
}

/// A sum of 16-bit words in 16 bits (RFC 1071).
#[inline]
pub(crate) fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// The sum of the 16-bit words of `bytes`, an odd last byte as if a zero followed.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let pairs: u64 = pairs
        .iter()
        .map(|pair| u64::from(u16::from_be_bytes(*pair)))
        .sum();
    pairs + rest.first().map_or(0, |last| u64::from(*last) << 8)
}

/// A request without a body. `host` as the field has it.
pub(crate) fn render(method: &str, path: &str, host: &str, fields: &[String]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    for field in fields {
        text += field;
        text += "\r\n";
    }
    text += "\r\n";
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_piece_is_right_and_so_is_its_sum() {
        let requests = [b"abcde".to_vec(), b"xy".to_vec(), vec![0xff; 4]];
        let circle = requests.concat();
        let all = Requests::new(&requests, 40);
        for at in 0..circle.len() {
            for len in 0..=40 {
                let (bytes, folded) = all.piece(at as u32, len);
                let want: Vec<u8> = circle.iter().copied().cycle().skip(at).take(len).collect();
                assert_eq!(bytes, want, "{len} from {at}");
                let (got, want) = (fold(folded), fold(sum(&want)));
                // The two zeros of ones' complement are one.
                assert!(
                    got == want || got ^ want == 0xffff,
                    "{len} from {at}: {got:x} {want:x}"
                );
            }
        }
    }

    #[test]
    fn places_go_round() {
        let all = Requests::new(&[vec![1; 5], vec![2; 3]], 10);
        assert_eq!([all.start(0), all.start(1)], [0, 5]);
        assert_eq!([all.bytes_of(0), all.bytes_of(1)], [5, 3]);
        assert_eq!([all.after(0), all.after(1)], [1, 0]);
        for bytes in 0..50 {
            assert_eq!(all.advance(6, bytes), (6 + bytes) % 8);
        }
    }
}
