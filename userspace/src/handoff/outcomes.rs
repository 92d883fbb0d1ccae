//! The table in which the kernel's side says what has become of offers, mapped into the process.
//!
//! Each handle has places of its own in it, so that workers need not agree on them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use xdp_prog::{Outcome, State, Waybill};

use crate::sys::SharedWords;
use crate::worker::LEAVING;

/// Places of a handle: for all connections that its worker lets be under way at once. A word each.
const RANGE: u32 = LEAVING as u32;

/// The table.
#[derive(Debug)]
pub(super) struct Outcomes {
    words: SharedWords,
    number: u32,
    /// First places of the ranges that no handle has.
    free: Mutex<Vec<u32>>,
}

impl Outcomes {
    /// Words of a table for so many handles.
    pub fn words(handles: u32) -> u32 {
        Waybill::TABLE + 1 + handles * RANGE
    }

    /// Maps the table behind `map`, made for so many handles, and writes its number into it: that of the map, which no
    /// other has.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn open(map: BorrowedFd<'_>, handles: u32, number: u32) -> io::Result<Arc<Self>> {
        let words = SharedWords::open(map, Self::words(handles) as usize)?;
        words
            .at(Waybill::TABLE as usize)?
            .store(number.into(), Ordering::Relaxed);
        let first = |range| Waybill::TABLE + 1 + range * RANGE;
        let free = Mutex::new((0..handles).map(first).collect());
        Ok(Arc::new(Self {
            words,
            number,
            free,
        }))
    }

    /// What tells it from the tables of other daemons.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The places of one handle; `None` if all are given away.
    pub fn range(self: &Arc<Self>) -> Option<Places> {
        let first = self.ranges().pop()?;
        Some(Places {
            table: self.clone(),
            first,
            free: (first..first + RANGE).collect(),
        })
    }

    fn ranges(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        // Numbers are pushed and popped, nothing else: a panic leaves them whole.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, place: u32) -> Outcome {
        let word = self.words.at(place as usize);
        Outcome::decode(word.map_or(0, |word| word.load(Ordering::Acquire)))
    }
}

/// Where one offer's outcome lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Offer {
    pub place: u32,
    /// One more than the last one's there.
    pub number: u32,
}

/// The places of one handle.
#[derive(Debug)]
pub(super) struct Places {
    table: Arc<Outcomes>,
    first: u32,
    /// The one that was given back first is taken first: a carrier that is still about finds its number for as long
    /// as may be.
    free: VecDeque<u32>,
}

impl Places {
    /// A place whose state is [`State::Pending`]; `None` if all are in use.
    pub fn take(&mut self) -> Option<Offer> {
        let place = self.free.pop_front()?;
        let number = self.table.read(place).offer.wrapping_add(1);
        let outcome = Outcome {
            offer: number,
            state: State::Pending,
        };
        let word = self.table.words.at(place as usize).ok()?;
        word.store(outcome.encode(), Ordering::Release);
        Some(Offer { place, number })
    }

    /// What has become of an offer.
    pub fn state(&self, offer: Offer) -> State {
        match self.table.read(offer.place) {
            outcome if outcome.offer == offer.number => outcome.state,
            // The last word about the offer before, from a processor that was very late: this one is not known.
            _ => State::Pending,
        }
    }

    /// Nothing is to become of the offer any more: its carriers are dropped.
    pub fn give_back(&mut self, offer: Offer) {
        if let Ok(word) = self.table.words.at(offer.place as usize) {
            let over = Outcome {
                offer: offer.number.wrapping_add(1),
                state: State::Taken,
            };
            word.store(over.encode(), Ordering::Release);
        }
        self.free.push_back(offer.place);
    }

    /// See [`Outcomes::number`].
    pub fn table(&self) -> u32 {
        self.table.number()
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.table.ranges().push(self.first);
    }
}

#[cfg(test)]
mod tests;
