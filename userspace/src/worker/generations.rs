//! The snapshots that a worker still needs: the current one, and those that unacknowledged answers were made from.

use crate::store::{Current, Reader, Rendering, ResponseId, Snapshot};
use std::collections::VecDeque;
use std::sync::Arc;
use tcp_lite::wire::Sum;

/// A rendering, and the snapshot that it is of.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    generation: u32,
    rendering: Rendering,
}

impl Piece {
    /// The response that it is of.
    pub fn id(&self) -> ResponseId {
        self.rendering.id
    }
}

// There is one for each answer that is not acknowledged, a million and more of them: they fill the cache.
const _: () = assert!(size_of::<Piece>() <= 32);

/// A snapshot that another one has replaced, with pieces that may have to be sent again.
struct Older {
    generation: u32,
    snapshot: Arc<Snapshot>,
    /// Pieces of it; never 0.
    pieces: u64,
}

/// See the module's documentation.
pub struct Generations {
    reader: Reader,
    current: Arc<Snapshot>,
    /// The number of `current`. It wraps, but not while a piece is unacknowledged: at a new snapshot every 5 ms that
    /// takes 248 days.
    generation: u32,
    /// Unacknowledged pieces of `current`.
    pieces: u64,
    /// Oldest first. A piece that nobody acknowledges is gone with its connection, which bounds their number.
    older: VecDeque<Older>,
}

impl Generations {
    /// Begins with the current snapshot.
    pub fn new(current: &Current) -> Self {
        let mut reader = current.reader();
        Self {
            current: reader.look().clone(),
            reader,
            generation: 0,
            pieces: 0,
            older: VecDeque::new(),
        }
    }

    /// Looks whether there is another snapshot, and tells so. To be called after requests were taken from where they arrive (which is
    /// an acquiring load, so that this one comes after it) and before they are answered: a request that was sent after
    /// the snapshot was replaced is then never answered from the one before.
    #[inline]
    pub fn refresh(&mut self) -> bool {
        let changed = !Arc::ptr_eq(self.reader.look(), &self.current);
        if changed {
            self.change();
        }
        changed
    }

    #[cold]
    fn change(&mut self) {
        let snapshot = std::mem::replace(&mut self.current, self.reader.look().clone());
        let pieces = std::mem::take(&mut self.pieces);
        if pieces > 0 {
            self.older.push_back(Older {
                generation: self.generation,
                snapshot,
                pieces,
            });
        }
        self.generation = self.generation.wrapping_add(1);
    }

    /// The snapshot that requests are answered from.
    #[inline]
    pub fn snapshot(&self) -> &Snapshot {
        &self.current
    }

    /// A piece of the current snapshot. It counts from [`Generations::sent`] on.
    #[inline]
    pub fn piece(&self, rendering: Rendering) -> Piece {
        Piece {
            generation: self.generation,
            rendering,
        }
    }

    /// A piece of the current snapshot was queued.
    #[inline]
    pub fn sent(&mut self) {
        self.pieces += 1;
    }

    /// Writes the bytes of a piece that was sent and not released; their sum.
    #[inline]
    pub fn fill(&self, piece: &Piece, offset: u32, buf: &mut [u8]) -> Sum {
        let snapshot = if piece.generation == self.generation {
            &self.current
        } else {
            self.older(piece.generation)
        };
        snapshot.fill(&piece.rendering, offset, buf)
    }

    /// A piece will not be sent again.
    #[inline]
    pub fn release(&mut self, piece: Piece) {
        if piece.generation == self.generation {
            self.pieces -= 1;
        } else {
            self.release_older(piece.generation);
        }
    }

    #[cold]
    fn older(&self, generation: u32) -> &Snapshot {
        &self.older[self.place(generation)].snapshot
    }

    #[cold]
    fn release_older(&mut self, generation: u32) {
        let place = self.place(generation);
        let older = &mut self.older[place];
        older.pieces -= 1;
        if older.pieces == 0 {
            // Whoever replaced it holds it for longer, so that its memory is never given back here.
            self.older.remove(place);
        }
    }

    /// Where an older generation is. It is there: as long as it has pieces it stays.
    fn place(&self, generation: u32) -> usize {
        let age = |of: u32| self.generation.wrapping_sub(of);
        self.older
            .partition_point(|older| age(older.generation) > age(generation))
    }

    /// Shows what it holds as (name, label, value).
    pub fn visit(&self, see: &mut impl FnMut(&'static str, &'static str, u64)) {
        see("snapshots", "held", 1 + self.older.len() as u64);
        let older: u64 = self.older.iter().map(|older| older.pieces).sum();
        see("snapshots", "pieces", self.pieces + older);
    }
}
