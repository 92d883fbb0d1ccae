//! Requests that were made before: the answers to the heads that a worker has seen last.
//!
//! Most requests repeat one: byte for byte the head that another connection, or the same one, has just sent. What it
//! gets depends on nothing but
//!
//! | on | and so |
//! |---|---|
//! | the bytes of the head | all of them are compared |
//! | the snapshot, the limits, and the second, which is in `Date` and dates in conditions are judged by | everything is forgotten when one of them changes: [`Repeats::forget`] |
//! | what is behind the listener | it is compared |
//! | whether the answer is the last of its connection | the head says it ([`Answer::closes`]); when something else does, the caller does not ask, and nothing is kept |
//! | for what was learned, the time and writes that were seen | the caller asks the snapshot again: [`Answer::learned`] |
//!
//! so that a head which is found here is answered as it would be if it were parsed and decided about again. Only what is
//! served is kept: what is left to the kernel, or refused, takes the long way each time.

use super::generations::Piece;
use crate::store::RouteId;
use sidestep_config::Fallback;
use tcp_lite::wire::Sum;

/// Bounds the heads that are kept, in bytes. A browser's has some 500, with cookies up to this; longer ones are parsed
/// each time. More takes memory from the processor's cache, but only for heads that are that long.
const LONGEST: usize = 1024;

/// Heads kept with request lines of the same hash: enough for a few kinds of clients that ask for the same.
const WAYS: usize = 4;

/// Request lines told apart; a power of two. Fewer, and the pages of one site push each other out; more, and what is
/// here (320 KiB, if all of it is ever used) leaves the processor's cache.
const SETS: usize = 64;

/// What the answer to a head is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// What is sent.
    pub piece: Piece,
    /// Its length in bytes.
    pub len: u32,
    /// Its status code.
    pub status: u16,
    /// Where it counts.
    pub route: RouteId,
    /// It was learned from an origin: it has to be asked whether it is still good.
    pub learned: bool,
    /// The connection is closed behind it.
    pub closes: bool,
}

/// A head that was answered, as one request alone in its segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    place: u16,
    len: u16,
    fallback: Fallback,
    answer_len: u32,
}

impl Again {
    /// None.
    pub const NONE: Self = Self {
        place: 0,
        len: 0,
        fallback: Fallback::None,
        answer_len: 0,
    };

    /// Bytes of its answer.
    pub fn answer_len(&self) -> u32 {
        self.answer_len
    }
}

/// Bounds the answers that are kept as they are sent, in bytes: for more, what a copy costs is most of it anyway.
const LONGEST_RENDERED: usize = 256;

/// An answer as it is sent, of the length that it has.
#[derive(Clone, Copy)]
struct Rendered {
    /// That of [`Repeats`] when it was written.
    epoch: u64,
    sum: Sum,
    bytes: [u8; LONGEST_RENDERED],
}

impl Rendered {
    const NONE: Self = Self {
        epoch: 0,
        sum: Sum::ZERO,
        bytes: [0; LONGEST_RENDERED],
    };
}

/// A head, and what is known of it.
#[derive(Clone)]
struct Kept {
    /// That of [`Repeats`] when it was kept.
    epoch: u64,
    /// [`hash`] of it.
    hash: u64,
    fallback: Fallback,
    /// Of the head, at most [`LONGEST`].
    len: u16,
    answer: Option<Answer>,
    /// The answer, if it was asked for again.
    rendered: Rendered,
    head: [u8; LONGEST],
}

impl Kept {
    /// Whether `unread` begins with it, on a listener with `fallback`.
    #[inline]
    fn is(&self, epoch: u64, unread: &[u8], fallback: Fallback) -> bool {
        self.epoch == epoch
            && self.fallback == fallback
            && unread.starts_with(&self.head[..usize::from(self.len)])
    }
}

/// See the module's documentation.
pub(super) struct Repeats {
    /// Counts up whenever all is forgotten.
    epoch: u64,
    /// Sets of [`WAYS`], one behind the other.
    kept: Box<[Kept]>,
    /// The one found or kept last: in a pipeline it is the next one as well.
    last: usize,
    /// The way that gives its place next, of any set.
    oldest: usize,
    /// The hash of the head that was looked for last, if it was not found.
    missed: Option<u64>,
}

impl Repeats {
    /// One that knows nothing.
    pub fn new() -> Self {
        let nothing = Kept {
            epoch: 0,
            hash: 0,
            fallback: Fallback::None,
            len: 0,
            answer: None,
            rendered: Rendered::NONE,
            head: [0; LONGEST],
        };
        Self {
            epoch: 1,
            kept: vec![nothing; SETS * WAYS].into(),
            last: 0,
            oldest: 0,
            missed: None,
        }
    }

    /// What was kept does not hold any more.
    #[inline]
    pub fn forget(&mut self) {
        self.epoch += 1;
    }

    /// The answer to the head that `unread` begins with, and the length of that, on a listener with `fallback`, where
    /// nothing but the head can make it the last of its connection.
    #[inline]
    pub fn find(&mut self, unread: &[u8], fallback: Fallback) -> Option<(&Answer, usize)> {
        self.missed = None;
        if !self.kept[self.last].is(self.epoch, unread, fallback) {
            self.last = self.look(unread, fallback)?;
        }
        let kept = &self.kept[self.last];
        Some((kept.answer.as_ref()?, usize::from(kept.len)))
    }

    /// The place of that head, wherever it is.
    #[inline(never)]
    fn look(&mut self, unread: &[u8], fallback: Fallback) -> Option<usize> {
        let hash = hash(unread)?;
        let set = set(hash);
        let is = |kept: &Kept| kept.hash == hash && kept.is(self.epoch, unread, fallback);
        let known = self.kept[set..set + WAYS].iter().position(is);
        if known.is_none() {
            self.missed = Some(hash);
        }
        Some(set + known?)
    }

    /// The head that was found last.
    pub fn found(&self) -> Again {
        let kept = &self.kept[self.last];
        Again {
            place: self.last as u16,
            len: kept.len,
            fallback: kept.fallback,
            answer_len: kept.answer.map_or(0, |answer| answer.len),
        }
    }

    /// The answer to `head`, if that is still known, and what it was, and as long.
    #[inline]
    pub fn find_again(&self, again: &Again, head: &[u8]) -> Option<&Answer> {
        let kept = &self.kept[usize::from(again.place)];
        let answer = kept.answer.as_ref()?;
        let same = kept.len == again.len
            && head.len() == usize::from(again.len)
            && answer.len == again.answer_len
            && !answer.closes
            && kept.is(self.epoch, head, again.fallback);
        same.then_some(answer)
    }

    /// Writes the answer to a head that was just found again; `fill` does it the first time, and where it is long.
    #[inline]
    pub fn write_again(
        &mut self,
        again: &Again,
        buf: &mut [u8],
        fill: impl FnOnce(&mut [u8]) -> Sum,
    ) -> Sum {
        let rendered = &mut self.kept[usize::from(again.place)].rendered;
        match rendered.bytes.get_mut(..buf.len()) {
            Some(bytes) if rendered.epoch == self.epoch => {
                buf.copy_from_slice(bytes);
                rendered.sum
            }
            Some(bytes) => {
                rendered.sum = fill(buf);
                rendered.epoch = self.epoch;
                bytes.copy_from_slice(buf);
                rendered.sum
            }
            None => fill(buf),
        }
    }

    /// From now on `head`, a whole one and nothing behind it, is known to get `answer`. To be called when it was looked for
    /// and not found, before another is.
    pub fn keep(&mut self, head: &[u8], fallback: Fallback, answer: Answer) {
        let Some(hash) = self.missed.take().filter(|_| head.len() <= LONGEST) else {
            return;
        };
        let place = set(hash) + self.oldest;
        self.oldest = (self.oldest + 1) % WAYS;
        let kept = &mut self.kept[place];
        kept.epoch = self.epoch;
        kept.hash = hash;
        kept.fallback = fallback;
        kept.len = head.len() as u16;
        kept.answer = Some(answer);
        kept.rendered.epoch = 0;
        kept.head[..head.len()].copy_from_slice(head);
        self.last = place;
    }
}

/// Where the heads begin whose request line has this hash.
#[inline]
fn set(hash: u64) -> usize {
    hash as usize % SETS * WAYS
}

/// A hash of the request line that `unread` begins with; `None`: there is none that could be kept. Clients who make
/// theirs meet only lose what could be gained here: equal is what has the same bytes.
#[inline]
fn hash(unread: &[u8]) -> Option<u64> {
    // Any odd number with bits everywhere: this one is the golden ratio's.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let line = memchr::memchr(b'\r', &unread[..unread.len().min(LONGEST)])?;
    let (words, _) = unread[..line].as_chunks::<8>();
    // The last eight bytes again, for those that are in no whole word.
    let last = unread[..line].last_chunk::<8>()?;
    let mix = |hash: u64, word: &[u8; 8]| {
        (hash ^ u64::from_le_bytes(*word))
            .wrapping_mul(SPREAD)
            .rotate_left(29)
    };
    Some(mix(words.iter().fold(0, mix), last))
}

/// How often `unread` begins with its first `len` bytes, one behind the other; `most` counts.
#[inline]
pub(super) fn times(unread: &[u8], len: usize, most: u16) -> u16 {
    if unread.len() < 2 * len {
        return 1;
    }
    let (head, behind) = unread.split_at(len);
    let whole = (behind.len() / len).min(usize::from(most) - 1);
    // All at once: what repeats itself is equal to itself one time further on.
    let more = if behind[..whole * len] == unread[..whole * len] {
        whole
    } else {
        let heads = behind.chunks_exact(len).take(whole);
        heads.take_while(|next| *next == head).count()
    };
    // `most` bounds it.
    1 + more as u16
}

#[cfg(test)]
mod tests {
    use super::times;

    #[test]
    fn repetitions_are_counted_up_to_the_first_difference() {
        for count in 1..30 {
            let mut all = b"GET /a\r\n".repeat(count);
            assert_eq!(times(&all, 8, u16::MAX), count as u16);
            assert_eq!(times(&all, 8, 1), 1);
            assert_eq!(times(&all, 8, 7), 7.min(count as u16));
            all.extend_from_slice(b"GET /a\r");
            assert_eq!(times(&all, 8, u16::MAX), count as u16, "and a part");
            for at in 8..8 * count {
                let mut other = all.clone();
                other[at] ^= 0x20;
                assert_eq!(times(&other, 8, u16::MAX), (at / 8) as u16, "{at}");
            }
        }
    }
}
