//! Frames that are like one that came before: the next request on a connection, byte for byte that of the last time.
//!
//! Of such a frame only a few fields are new: sequence and acknowledgment number, window, timestamps, IPv4's
//! identification, checksums. All other bytes are compared with those of the frame before, and the answer is a copy of
//! the frame that answered it with the same few fields made new. A checksum is looked at and made by what changed.
//!
//! | what an answer depends on | and so |
//! |---|---|
//! | all that parsers would see in the frame | it is compared; a frame of another length is another one |
//! | TCP's state of the connection | [`Stack::turn`] leaves alone what it has to look at |
//! | what the head gets | [`Service::admit`] asks [`super::repeat::Repeats`], as for every head |
//!
//! `tests/tests/pipeline/turns.rs` runs the same frames with and without this.

use super::generations::Piece;
use super::repeat::Again;
use super::service::Service;
use crate::net::{self, Emitter, Link};
use crate::xsk::{Memory, Transmit};
use tcp_lite::wire::{Sum, Timestamps, Total};
use tcp_lite::{Handle, Instant, Reply, Request, SeqNum, Stack};

/// Bytes of a frame that are compared by words, and that an answer is made from: the longest headers (Ethernet, IPv6, TCP
/// with timestamps: 86 bytes) in whole words. Frames and answers shorter than that are no turns.
const HEAD: usize = 88;
const WORDS: usize = HEAD / 8;

/// Places in the table; a power of two. Each connection that makes requests has one, and others may have the same: then
/// one of them goes the long way. More take memory (some 300 bytes each) only where they are used.
const PLACES: usize = 2048;

/// Frames that a turn stands in its place which are like another: of connections that share it, and of one that asks for
/// something else each time. With fewer, all of these begin turns all the time, which costs what one turn does; with more,
/// a connection that goes over to another request goes the long way for longer.
const CREDIT: u8 = 32;

/// What frames look like, as far as the places of their fields go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    v6: bool,
    timestamps: bool,
}

impl Shape {
    /// Where the TCP header begins.
    const fn tcp(self) -> usize {
        if self.v6 { 14 + 40 } else { 14 + 20 }
    }

    /// Bytes of it.
    const fn tcp_header(self) -> usize {
        if self.timestamps { 32 } else { 20 }
    }

    const fn index(self) -> usize {
        self.v6 as usize * 2 + self.timestamps as usize
    }

    /// Ones where a frame has to be like the one before.
    const fn mask(self) -> [u64; WORDS] {
        let mut same = [0xff; HEAD];
        let tcp = self.tcp();
        let mut at = 0;
        while at < HEAD {
            let identification = !self.v6 && (at == 18 || at == 19);
            let ip_checksum = !self.v6 && (at == 24 || at == 25);
            let numbers = at >= tcp + 4 && at < tcp + 12;
            let window_and_checksum = at >= tcp + 14 && at < tcp + 18;
            let clocks = self.timestamps && at >= tcp + 24 && at < tcp + 32;
            if identification || ip_checksum || numbers || window_and_checksum || clocks {
                same[at] = 0;
            }
            at += 1;
        }
        words(&same)
    }
}

const MASKS: [[u64; WORDS]; 4] = {
    let mut masks = [[0; WORDS]; 4];
    let mut index = 0;
    while index < 4 {
        let shape = Shape {
            v6: index / 2 == 1,
            timestamps: index % 2 == 1,
        };
        masks[index] = shape.mask();
        index += 1;
    }
    masks
};

#[inline(always)]
const fn words(bytes: &[u8; HEAD]) -> [u64; WORDS] {
    let (chunks, _) = bytes.as_chunks::<8>();
    let mut words = [0; WORDS];
    let mut at = 0;
    while at < WORDS {
        words[at] = u64::from_ne_bytes(chunks[at]);
        at += 1;
    }
    words
}

/// A request and its answer, but for what is new each time.
#[derive(Clone, Debug)]
struct Turn {
    /// The frame's first bytes, under the mask of its shape.
    head: [u64; WORDS],
    shape: Shape,
    credit: u8,
    /// Bytes of the frame.
    len: u16,
    /// Bytes of the answer's frame.
    reply_len: u16,
    /// What is missing from the sums of what is new in the frame.
    ip: Sum,
    tcp: Sum,
    handle: Handle,
    link: Link,
    again: Again,
    /// The answer's first bytes; what is new each time is 0.
    reply: [u8; HEAD],
    /// The sum of the answer without what is new, and without its payload.
    reply_sum: Sum,
}

/// See the module's documentation.
pub(super) struct Turns {
    places: Box<[Turn; PLACES]>,
}

impl Turns {
    /// One that knows nothing.
    pub fn new() -> Self {
        let places = vec![Turn::NONE; PLACES].into_boxed_slice();
        Self {
            places: places.try_into().expect("it has as many"),
        }
    }

    /// Answers the request in `frame` if it is like the one before on its connection. False: nothing was done.
    #[inline(always)]
    pub fn take<M, R>(
        &mut self,
        now: Instant,
        frame: &[u8],
        stack: &mut Stack<Service>,
        service: &mut Service,
        out: &mut Emitter<'_, M, R>,
    ) -> bool
    where
        M: Memory,
        R: Transmit<Frame = M::Frame>,
    {
        let Some(head) = frame.first_chunk::<HEAD>() else {
            return false;
        };
        let turn = &mut self.places[place(head)];
        if !turn.is_like(head, frame.len()) {
            turn.credit = turn.credit.saturating_sub(1);
            return false;
        }
        let (fields, payload) = frame[turn.shape.tcp()..].split_at(turn.shape.tcp_header());
        let Some(request) = turn.request(head, fields, payload.len()) else {
            return false;
        };
        let Some(known) = service.again(&turn.again, payload) else {
            return false;
        };
        if !out.ring.has_room() {
            return false;
        }
        let Some(mut made) = out.ring.alloc() else {
            return false;
        };
        let Some(buf) = out.memory.buffer(&mut made, turn.reply_len.into()) else {
            out.ring.release(made);
            return false;
        };
        let (handle, link) = (&turn.handle, &turn.link);
        let admit = |conn: &mut _| service.admits(conn);
        let Some(reply) = stack.turn(now, handle, link, &request, &known.answer, admit) else {
            out.ring.release(made);
            return false;
        };
        turn.credit = CREDIT;
        turn.write(&reply, buf, |body| {
            service.write_again(&turn.again, &known.answer.piece, body)
        });
        service.answered_again(&known, reply.released);
        match out.ring.send(made) {
            Ok(()) => out.sent += 1,
            // There was room. TCP takes it for lost.
            Err(frame) => out.ring.release(frame),
        }
        true
    }

    /// `frame`, which was not taken, was predicted and is answered: the next one like it may be taken.
    #[cold]
    pub fn learn(&mut self, frame: &[u8], stack: &mut Stack<Service>, again: Again) {
        let Some(head) = frame.first_chunk::<HEAD>() else {
            return;
        };
        let place = &mut self.places[place(head)];
        if place.credit > 0 {
            return;
        }
        if let Some(handle) = stack.last_predicted()
            && let Some(turn) = Turn::of(frame, head, handle, again)
        {
            *place = turn;
        }
    }
}

/// Where the turns of a frame's connection are, by what is of the connection in it: of IPv4 the client's address and the
/// ports, of IPv6 parts of the address and the ports. Who makes theirs meet only loses what could be gained here.
#[inline]
fn place(head: &[u8; HEAD]) -> usize {
    // Any odd number with bits everywhere: this one is the golden ratio's.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let word = |at: usize| {
        let word = [head[at], head[at + 1], head[at + 2], head[at + 3]];
        u64::from(u32::from_le_bytes(word))
    };
    let hash = (word(26) << 32 | word(34)).wrapping_mul(SPREAD) ^ word(54);
    (hash.wrapping_mul(SPREAD) >> 32) as usize % PLACES
}

impl Turn {
    /// Like no frame.
    const NONE: Self = Self {
        head: [0; WORDS],
        shape: Shape {
            v6: false,
            timestamps: false,
        },
        credit: 0,
        len: 0,
        reply_len: 0,
        ip: Sum::ZERO,
        tcp: Sum::ZERO,
        handle: Handle::NONE,
        link: Link::NONE,
        again: Again::NONE,
        reply: [0; HEAD],
        reply_sum: Sum::ZERO,
    };

    /// The turn that begins with `frame`, a right one. `None`: what is like it goes the long way.
    fn of(frame: &[u8], head: &[u8; HEAD], handle: Handle, again: Again) -> Option<Self> {
        let (link, timestamps, len) = net::plain(frame, |segment| {
            let offset = segment.bytes.get(12)? >> 4;
            let timestamps = match offset {
                5 => false,
                8 => true,
                _ => return None,
            };
            Some((segment.link, timestamps, segment.bytes.len()))
        })??;
        let shape = Shape {
            v6: link.is_v6(),
            timestamps,
        };
        // Nothing may be behind the packet, as the padding of short frames is.
        if frame.len() != shape.tcp() + len {
            return None;
        }
        let mut whole = [0; 2048];
        let tcp_len = shape.tcp_header() + again.answer_len() as usize;
        let reply = net::answer_header(
            &mut whole,
            handle.flow(),
            &link,
            handle.ecn(),
            timestamps,
            tcp_len,
        )?;
        let (reply_head, _) = reply.split_first_chunk::<HEAD>()?;
        let mut turn = Self {
            head: words(head),
            shape,
            len: u16::try_from(frame.len()).ok()?,
            reply_len: u16::try_from(reply.len()).ok()?,
            handle,
            link,
            again,
            credit: CREDIT,
            reply: *reply_head,
            ..Self::NONE
        };
        for (word, mask) in turn.head.iter_mut().zip(MASKS[shape.index()]) {
            *word &= mask;
        }
        // Right frames have sums whose complement is 0.
        let fields = &frame[shape.tcp()..];
        turn.ip = complement(ip_sum(Sum::ZERO, head));
        turn.tcp = complement(tcp_sum(Sum::ZERO, fields, timestamps));
        let checksum = turn.reply[shape.tcp() + 16..].first_chunk_mut::<2>()?;
        turn.reply_sum = complement(Sum::word(u16::from_be_bytes(*checksum)));
        *checksum = [0; 2];
        Some(turn)
    }

    /// Is the frame that begins so, but for what is new each time, the one before?
    #[inline(always)]
    fn is_like(&self, head: &[u8; HEAD], len: usize) -> bool {
        let mask = &MASKS[self.shape.index()];
        let mut other = 0;
        for ((word, mask), before) in words(head).iter().zip(mask).zip(&self.head) {
            other |= word & mask ^ before;
        }
        other == 0 && len == usize::from(self.len)
    }

    /// What is new in it, if its checksums are right.
    #[inline(always)]
    fn request(&self, head: &[u8; HEAD], fields: &[u8], payload: usize) -> Option<Request> {
        let timestamps = self.shape.timestamps;
        let right = (self.shape.v6 || ip_sum(self.ip, head).finish() == 0)
            && tcp_sum(self.tcp, fields, timestamps).finish() == 0;
        if !right {
            return None;
        }
        let number = |at: usize| {
            u32::from_be_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]])
        };
        Some(Request {
            seq: SeqNum(number(4)),
            ack: SeqNum(number(8)),
            window: number(12) as u16,
            timestamps: timestamps.then(|| Timestamps {
                val: number(24),
                ecr: number(28),
            }),
            len: payload as u16,
        })
    }

    /// Writes the frame that answers it.
    #[inline(always)]
    fn write(&self, reply: &Reply<Piece>, buf: &mut [u8], body: impl FnOnce(&mut [u8]) -> Sum) {
        let Some(head) = buf.first_chunk_mut::<HEAD>() else {
            return;
        };
        *head = self.reply;
        let mut total = Total::of(self.reply_sum);
        let (fields, payload) = buf[self.shape.tcp()..].split_at_mut(self.shape.tcp_header());
        total.add_sum(body(payload));
        let (words, _) = fields.as_chunks_mut::<4>();
        let mut put = |at: usize, number: u32| {
            words[at] = number.to_be_bytes();
            total.add(words[at]);
        };
        if let Some(ts) = reply.timestamps {
            put(7, ts.ecr);
            put(6, ts.val);
        }
        put(2, reply.ack.0);
        put(1, reply.seq.0);
        let [hi, lo] = reply.window.to_be_bytes();
        total.add([0, 0, hi, lo]);
        (words[3][2], words[3][3]) = (hi, lo);
        let [hi, lo] = total.sum().finish().to_be_bytes();
        (words[4][0], words[4][1]) = (hi, lo);
    }
}

fn complement(sum: Sum) -> Sum {
    Sum::word(sum.finish())
}

/// With what is new in an IPv4 header.
#[inline]
fn ip_sum(rest: Sum, head: &[u8; HEAD]) -> Sum {
    let mut total = Total::of(rest);
    total.add([head[18], head[19], 0, 0]);
    total.add([head[24], head[25], 0, 0]);
    total.sum()
}

/// With what is new in a TCP header.
#[inline]
fn tcp_sum(rest: Sum, fields: &[u8], timestamps: bool) -> Sum {
    let mut total = Total::of(rest);
    let (words, _) = fields.as_chunks::<4>();
    for at in [1, 2, 3, 4] {
        total.add(words[at]);
    }
    if timestamps {
        total.add(words[6]);
        total.add(words[7]);
    }
    total.sum()
}
