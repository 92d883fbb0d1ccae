//! Allocations of each thread by itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Needs no allocation and has no destructor: may be used in an allocator, and until the thread is gone.
    static MADE: Cell<usize> = const { Cell::new(0) };
}

/// Allocations and reallocations of this thread so far.
pub(super) fn made() -> usize {
    MADE.get()
}

fn count() {
    MADE.set(MADE.get() + 1);
}

/// The system's allocator, counted.
///
/// Counters that threads share (those of `stats_alloc`) are one cache line. Two threads that write it all the time mostly
/// wait for it, and the processor slows their cores down for that: by a sixth, also where they do not touch it.
pub(crate) struct Counted;

// SAFETY: each call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of the same call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of the same call.
        unsafe { System.dealloc(at, layout) }
    }

    // The two below have a default by way of `alloc`: it would touch all of a large table, and copy what need not be.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of the same call.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of the same call.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_counts_its_own() {
        let before = made();
        let mut list: Vec<u8> = Vec::with_capacity(1);
        list.reserve(1 << 20);
        let zeroed = vec![0u8; 1 << 20];
        std::hint::black_box((&list, &zeroed));
        assert_eq!(made() - before, 3);
        let own = std::thread::spawn(|| {
            let before = made();
            drop(std::hint::black_box(vec![1u8; 100]));
            made() - before
        });
        let of_spawning = made();
        assert_eq!(own.join().expect("it does not panic"), 1);
        assert_eq!(made(), of_spawning);
    }
}
