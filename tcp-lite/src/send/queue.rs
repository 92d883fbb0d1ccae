//! What a connection has to send: a chain of response pieces in a slab of the whole stack.

use super::busy::Spares;
use crate::app::{App, Full};
use crate::wire::Sum;

const NIL: u32 = u32::MAX;

struct Node<P> {
    piece: P,
    len: u32,
    next: u32,
}

/// The slab of all queued pieces: fixed size, chained when free.
pub(crate) struct Pieces<P> {
    nodes: Vec<Node<P>>,
    free: u32,
    used: usize,
    capacity: usize,
    /// What else a connection needs while it has pieces here.
    pub(super) spares: Spares,
}

impl<P: Copy> Pieces<P> {
    pub fn new(capacity: usize) -> Pieces<P> {
        let capacity = capacity.clamp(1, NIL as usize - 1);
        Pieces {
            nodes: Vec::with_capacity(capacity),
            free: NIL,
            used: 0,
            capacity,
            spares: Spares::default(),
        }
    }

    pub fn room(&self) -> usize {
        self.capacity - self.used
    }

    fn take(&mut self, node: Node<P>) -> Result<u32, Full> {
        if self.used == self.capacity {
            return Err(Full);
        }
        self.used += 1;
        if self.free == NIL {
            self.nodes.push(node);
            return Ok(self.nodes.len() as u32 - 1);
        }
        let id = self.free;
        self.free = self.nodes[id as usize].next;
        self.nodes[id as usize] = node;
        Ok(id)
    }

    fn give_back(&mut self, id: u32) {
        self.nodes[id as usize].next = self.free;
        self.free = id;
        self.used -= 1;
    }
}

/// A connection's chain: everything from `snd_una` on, sent or not.
///
/// ```text
///   head                    cursor                  tail
///   [acked|.....]──►[...........|........]──►[.........]
///          ^ snd_una            ^ snd_una + cursor_at  ^ snd_una + bytes
/// ```
#[derive(Debug)]
pub(super) struct SendQueue {
    head: u32,
    tail: u32,
    /// Bytes of the head piece that are acknowledged.
    head_acked: u32,
    /// Bytes behind `snd_una`.
    bytes: u32,
    count: u16,
    /// Where the last fill ended, so that a long queue is not walked for every segment; `NIL`: at the head.
    cursor: u32,
    cursor_offset: u32,
    cursor_at: u32,
}

impl SendQueue {
    pub const EMPTY: SendQueue = SendQueue {
        head: NIL,
        tail: NIL,
        head_acked: 0,
        bytes: 0,
        count: 0,
        cursor: NIL,
        cursor_offset: 0,
        cursor_at: 0,
    };

    /// Bytes from `snd_una` on.
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Pieces not acknowledged whole.
    pub fn len(&self) -> u16 {
        self.count
    }

    /// Appends a piece of `len > 0` bytes.
    pub fn push<P: Copy>(
        &mut self,
        pieces: &mut Pieces<P>,
        piece: P,
        len: u32,
        limit: u16,
    ) -> Result<(), Full> {
        let bytes = self.bytes.checked_add(len).ok_or(Full)?;
        if self.count >= limit {
            return Err(Full);
        }
        let id = pieces.take(Node {
            piece,
            len,
            next: NIL,
        })?;
        if self.tail == NIL {
            self.head = id;
        } else {
            pieces.nodes[self.tail as usize].next = id;
        }
        self.tail = id;
        self.bytes = bytes;
        self.count += 1;
        Ok(())
    }

    /// The first `n` bytes were acknowledged: releases each piece that is now whole.
    pub fn acked<A: App>(&mut self, pieces: &mut Pieces<A::Piece>, n: u32, app: &mut A) {
        let n = n.min(self.bytes);
        self.bytes -= n;
        if self.cursor_at <= n {
            // The cursor's piece may be about to go.
            self.cursor = NIL;
        } else {
            self.cursor_at -= n;
        }
        let mut left = n;
        while let Some(node) = pieces.nodes.get(self.head as usize) {
            let unacked = node.len - self.head_acked;
            if left < unacked {
                self.head_acked += left;
                return;
            }
            left -= unacked;
            let (id, piece) = (self.head, node.piece);
            self.head = node.next;
            self.head_acked = 0;
            self.count -= 1;
            pieces.give_back(id);
            app.on_release(piece);
        }
        self.tail = NIL;
    }

    /// The connection is gone: releases every piece.
    pub fn clear<A: App>(&mut self, pieces: &mut Pieces<A::Piece>, app: &mut A) {
        self.acked(pieces, self.bytes, app);
    }

    /// Writes bytes `[at, at + buf.len())`, counted from `snd_una`, all of them queued. Returns their sum.
    pub fn fill<A: App>(
        &mut self,
        pieces: &Pieces<A::Piece>,
        at: u32,
        buf: &mut [u8],
        app: &mut A,
    ) -> Sum {
        if self.cursor == NIL || self.cursor_at > at {
            (self.cursor, self.cursor_offset, self.cursor_at) = (self.head, self.head_acked, 0);
        }
        let mut sum = Sum::ZERO;
        let mut done = 0;
        while let Some(node) = pieces.nodes.get(self.cursor as usize) {
            let here = node.len - self.cursor_offset;
            let skip = here.min(at - self.cursor_at.min(at));
            self.step(skip);
            let take = ((here - skip) as usize).min(buf.len() - done);
            if take > 0 {
                let part = app.fill(&node.piece, self.cursor_offset, &mut buf[done..done + take]);
                sum = sum.then(done, part);
                done += take;
                self.step(take as u32);
            }
            if done == buf.len() {
                break;
            }
            (self.cursor, self.cursor_offset) = (node.next, 0);
        }
        sum
    }

    fn step(&mut self, n: u32) {
        self.cursor_offset += n;
        self.cursor_at += n;
    }
}
