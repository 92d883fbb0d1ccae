//! What a connection has to send: a chain of response pieces in a slab of the whole stack.
//!
//! A link of the chain is a *run*: one piece, once or several times in a row, as a pipeline of equal requests makes it.

use super::busy::Spares;
use crate::app::{App, Full};
use crate::wire::Sum;

const NIL: u32 = u32::MAX;

/// A run of a piece.
struct Node<P> {
    piece: P,
    /// Bytes of the piece.
    len: u32,
    /// How often it is still to be acknowledged.
    times: u16,
    next: u32,
}

impl<P> Node<P> {
    fn bytes(&self) -> u32 {
        self.len * u32::from(self.times)
    }
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

    #[inline]
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

    /// Keeps a run of `times` pieces of `len > 0` bytes, or of fewer: behind `before` bytes all can be counted.
    #[inline]
    pub(super) fn enlist(
        &mut self,
        piece: P,
        len: u32,
        times: u16,
        before: u32,
    ) -> Result<Run, Full> {
        if times == 0 {
            return Err(Full);
        }
        let after = |times| before.checked_add(len.checked_mul(u32::from(times))?);
        // One may fit where many do not.
        let times = match after(times) {
            Some(_) => times,
            None => 1,
        };
        after(times).ok_or(Full)?;
        let place = self.take(Node {
            piece,
            len,
            times,
            next: NIL,
        })?;
        Ok(Run {
            place,
            bytes: len * u32::from(times),
            times,
        })
    }

    /// Gives a run back that stands alone; its piece.
    #[inline]
    pub fn strike(&mut self, run: u32) -> P {
        self.give_back(run);
        self.nodes[run as usize].piece
    }

    /// Puts one piece of `len` bytes in the place of a run that stands alone, whose piece it gives back.
    #[inline]
    pub(super) fn exchange(&mut self, run: u32, piece: P, len: u32) -> P {
        let node = &mut self.nodes[run as usize];
        (node.len, node.times) = (len, 1);
        core::mem::replace(&mut node.piece, piece)
    }

    /// How often the run's piece is to be acknowledged.
    pub fn times(&self, run: u32) -> u16 {
        self.nodes[run as usize].times
    }

    /// Writes bytes `[at, at + buf.len())` of a run of which nothing is acknowledged; their sum.
    #[inline]
    pub fn fill<A: App<Piece = P>>(&self, run: u32, at: u32, buf: &mut [u8], app: &mut A) -> Sum {
        fill_run(&self.nodes[run as usize], at, buf, app)
    }

    #[inline]
    fn give_back(&mut self, id: u32) {
        self.nodes[id as usize].next = self.free;
        self.free = id;
        self.used -= 1;
    }
}

/// What was kept of a run.
pub(super) struct Run {
    /// Its place in the slab.
    pub place: u32,
    pub bytes: u32,
    pub times: u16,
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
    /// Bytes of the head's first piece that are acknowledged; less than it has.
    head_acked: u32,
    /// Bytes behind `snd_una`.
    bytes: u32,
    /// Pieces, each as often as it is to be sent.
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

    /// The chain of one run, the first `filled` bytes of which were asked for.
    pub fn of<P>(pieces: &Pieces<P>, run: u32, filled: u32) -> SendQueue {
        let node = &pieces.nodes[run as usize];
        SendQueue {
            head: run,
            tail: run,
            head_acked: 0,
            bytes: node.bytes(),
            count: node.times,
            cursor: if filled > 0 { run } else { NIL },
            cursor_offset: filled,
            cursor_at: filled,
        }
    }

    /// Bytes from `snd_una` on.
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Pieces not acknowledged whole.
    pub fn len(&self) -> u16 {
        self.count
    }

    /// Appends a piece of `len > 0` bytes, `times` times in a row or as often as there is room for; how often.
    pub fn push<P: Copy>(
        &mut self,
        pieces: &mut Pieces<P>,
        piece: P,
        len: u32,
        times: u16,
        limit: u16,
    ) -> Result<u16, Full> {
        let most = limit.saturating_sub(self.count);
        let run = pieces.enlist(piece, len, times.min(most), self.bytes)?;
        if self.tail == NIL {
            self.head = run.place;
        } else {
            pieces.nodes[self.tail as usize].next = run.place;
        }
        self.tail = run.place;
        self.bytes += run.bytes;
        self.count += run.times;
        Ok(run.times)
    }

    /// The first `n` bytes were acknowledged: releases each run that is now whole.
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
        while let Some(node) = pieces.nodes.get_mut(self.head as usize) {
            let unacked = node.bytes() - self.head_acked;
            if left < unacked {
                self.head_acked += left;
                if self.head_acked >= node.len {
                    // The run is shorter from here on.
                    let whole = self.head_acked / node.len;
                    self.head_acked -= whole * node.len;
                    node.times -= whole as u16;
                    self.count -= whole as u16;
                    if self.cursor == self.head {
                        self.cursor_offset -= whole * node.len;
                    }
                }
                return;
            }
            left -= unacked;
            self.count -= node.times;
            let (id, piece) = (self.head, node.piece);
            self.head = node.next;
            self.head_acked = 0;
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
        // Nearly always: it goes on where the last fill ended, and no further than to the end of the run.
        if self.cursor_at == at
            && let Some(node) = pieces.nodes.get(self.cursor as usize)
            && buf.len() <= (node.bytes() - self.cursor_offset) as usize
        {
            let sum = fill_run(node, self.cursor_offset, buf, app);
            self.step(buf.len() as u32);
            return sum;
        }
        let mut sum = Sum::ZERO;
        let mut done = 0;
        while let Some(node) = pieces.nodes.get(self.cursor as usize) {
            let here = node.bytes() - self.cursor_offset;
            let skip = here.min(at - self.cursor_at.min(at));
            self.step(skip);
            let take = ((here - skip) as usize).min(buf.len() - done);
            if take > 0 {
                let part = fill_run(node, self.cursor_offset, &mut buf[done..done + take], app);
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

/// Writes bytes `[offset, offset + buf.len())` of a run; their sum. A piece that is there several times is asked for
/// once.
#[inline]
fn fill_run<A: App>(node: &Node<A::Piece>, offset: u32, buf: &mut [u8], app: &mut A) -> Sum {
    if node.times == 1 {
        return app.fill(&node.piece, offset, buf);
    }
    fill_several(node, offset, buf, app)
}

fn fill_several<A: App>(node: &Node<A::Piece>, offset: u32, buf: &mut [u8], app: &mut A) -> Sum {
    let len = node.len as usize;
    let offset = offset % node.len;
    let mut sum = Sum::ZERO;
    // The rest of the piece that `offset` lies in, unless it is all of it.
    let mut first = 0;
    if offset > 0 {
        first = (len - offset as usize).min(buf.len());
        sum = app.fill(&node.piece, offset, &mut buf[..first]);
    }
    let at = first;
    let buf = &mut buf[first..];
    let whole = buf.len() / len;
    if whole == 0 {
        if !buf.is_empty() {
            sum = sum.then(at, app.fill(&node.piece, 0, buf));
        }
        return sum;
    }
    let one = app.fill(&node.piece, 0, &mut buf[..len]);
    let mut made = len;
    while made < buf.len() {
        let more = made.min(buf.len() - made);
        buf.copy_within(..more, made);
        made += more;
    }
    // Every second one begins at the other parity if the length is odd.
    let whole = whole as u32;
    let second = whole / 2;
    let twice = one.times(whole - second).then(len, one.times(second));
    let cut = whole as usize * len;
    sum.then(at, twice.then(cut, Sum::of(&buf[cut..])))
}

#[cfg(test)]
mod tests;
