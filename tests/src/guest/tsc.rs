//! How fast this machine's time-stamp counter counts, which QEMU shows its guests as theirs.
//!
//! A guest's kernel finds that out at boot by reading two emulated clocks one after the other. On a starved host time passes between
//! the two, and its clock has been seen to run at two and four times its speed from then on: every time-out in the guest was too short.

use crate::clock::now;
use std::time::{Duration, Instant};

/// Time over which is counted. The moments at its ends are known to [`CLOSE`], so that the error stays below a thousandth.
const SPAN: Duration = Duration::from_millis(100);
/// Most that may pass between two reads of the clock with one of the counter between them.
const CLOSE: Duration = Duration::from_micros(50);
/// Tries to get that close. One is mostly enough; a thread that is taken off its core needs another.
const TRIES: usize = 1000;

/// Its frequency in kHz; `None` on a machine that has none.
pub fn khz() -> Option<u64> {
    let (start, first) = moment()?;
    while now() < start + SPAN {
        std::thread::yield_now();
    }
    let (end, last) = moment()?;
    let counted = last.checked_sub(first)?;
    Some((counted as f64 / (end - start).as_secs_f64() / 1000.0).round() as u64)
}

/// A moment on both clocks: of many, the first whose reads were close enough together.
fn moment() -> Option<(Instant, u64)> {
    (0..TRIES).find_map(|_| {
        let before = now();
        let count = counter()?;
        (now() - before < CLOSE).then_some((before, count))
    })
}

#[cfg(target_arch = "x86_64")]
fn counter() -> Option<u64> {
    // SAFETY: RDTSC is part of every x86-64 processor and touches no memory.
    Some(unsafe { std::arch::x86_64::_rdtsc() })
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> Option<u64> {
    None
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::khz;

    #[test]
    fn two_measurements_agree() {
        let (one, other) = (khz().unwrap(), khz().unwrap());
        // The guest's kernel takes a better one for its own if it is within a hundredth.
        assert!(one.abs_diff(other) * 100 < one, "{one} and {other} kHz");
        assert!(one > 100_000, "{one} kHz");
    }
}
