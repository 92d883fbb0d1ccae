//! Frames whose headers are like those of one that came before: the next request on a connection.
//!
//! Of such headers only a few fields are new: sequence and acknowledgment number, window, timestamps, lengths, IPv4's
//! identification, checksums. All other bytes are compared with those of the frame before, and the answer's headers are a
//! copy of those before with the same few fields made new. A checksum is looked at and made by what is new, and by the
//! sums of the head and its answer, which are known.
//!
//! | what an answer depends on | and so |
//! |---|---|
//! | all that parsers would see in the headers | it is compared |
//! | TCP's state of the connection | [`Stack::turn`] leaves alone what it has to look at |
//! | the head, and what it gets | [`Service::again`] looks for it in [`super::repeat::Repeats`], as for every head |
//!
//! `tests/tests/pipeline/turns.rs` runs the same frames with and without this.

use super::generations::Piece;
use super::service::Service;
use crate::net::{self, Emitter, Link};
use crate::xsk::{Memory, Transmit};
use sidestep_config::Fallback;
use tcp_lite::wire::{Sum, Timestamps, Total};
use tcp_lite::{Handle, Instant, Reply, Request, SeqNum, Stack};

/// Bytes of a frame that are compared by words, and that an answer is begun with: the longest headers (Ethernet, IPv6, TCP
/// with timestamps: 86 bytes) in whole words. Frames shorter than that are no turns.
const HEAD: usize = 88;
const WORDS: usize = HEAD / 8;

/// Places in the table; a power of two. Each connection that makes requests has one, and others may have the same: then
/// one of them goes the long way. More take memory (some 300 bytes each) only where they are used, and 2 more for the sign.
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
            let ip = if self.v6 {
                at == 18 || at == 19
            } else {
                at >= 16 && at < 20 || at == 24 || at == 25
            };
            let numbers = at >= tcp + 4 && at < tcp + 12;
            let window_and_checksum = at >= tcp + 14 && at < tcp + 18;
            let clocks = self.timestamps && at >= tcp + 24 && at < tcp + 32;
            let behind = at >= tcp + self.tcp_header();
            if ip || numbers || window_and_checksum || clocks || behind {
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
    /// What is missing from the sums of what is new in the frame.
    ip: Sum,
    tcp: Sum,
    handle: Handle,
    link: Link,
    /// That of its listener.
    fallback: Fallback,
    /// The answer's headers; what is new each time is 0.
    reply: [u8; HEAD],
    /// The sums of its headers without what is new.
    reply_ip: Sum,
    reply_tcp: Sum,
}

/// What is looked at before a turn, whose cache lines a connection of one request would fetch for nothing.
#[derive(Clone, Copy, Debug)]
struct Sign {
    /// That of the turn's connection; see [`Spot`].
    tag: u8,
    credit: u8,
}

/// See the module's documentation.
pub(super) struct Turns {
    signs: Box<[Sign; PLACES]>,
    turns: Box<[Turn; PLACES]>,
}

impl Turns {
    /// One that knows nothing.
    pub fn new() -> Self {
        let signs = vec![Sign { tag: 0, credit: 0 }; PLACES].into_boxed_slice();
        let turns = vec![Turn::NONE; PLACES].into_boxed_slice();
        Self {
            signs: signs.try_into().expect("it has as many"),
            turns: turns.try_into().expect("it has as many"),
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
        let Spot { place, tag } = Spot::of(head);
        let (sign, turn) = (&mut self.signs[place], &self.turns[place]);
        if sign.tag != tag || !turn.is_like(head) {
            sign.credit = sign.credit.saturating_sub(1);
            return false;
        }
        let (fields, payload) = frame[turn.shape.tcp()..].split_at(turn.shape.tcp_header());
        let Some(known) = service.again(turn.fallback, payload) else {
            return false;
        };
        let Some(request) = turn.request(head, fields, payload.len(), known.head_sum) else {
            return false;
        };
        let reply_len = turn.shape.tcp() + turn.shape.tcp_header() + known.answer.len as usize;
        if reply_len < HEAD || !out.ring.has_room() {
            return false;
        }
        let Some(mut made) = out.ring.alloc() else {
            return false;
        };
        let Some(buf) = out.memory.buffer(&mut made, reply_len) else {
            out.ring.release(made);
            return false;
        };
        let (handle, link) = (&turn.handle, &turn.link);
        let admit = |conn: &mut _| service.admits(conn);
        let Some(reply) = stack.turn(now, handle, link, &request, &known.answer, admit) else {
            out.ring.release(made);
            return false;
        };
        sign.credit = CREDIT;
        turn.write(&reply, buf, |body| service.write_again(&known, body));
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
    pub fn learn(&mut self, frame: &[u8], stack: &mut Stack<Service>, fallback: Fallback) {
        let Some(head) = frame.first_chunk::<HEAD>() else {
            return;
        };
        let Spot { place, tag } = Spot::of(head);
        if self.signs[place].credit > 0 {
            return;
        }
        if let Some(handle) = stack.last_predicted()
            && let Some(turn) = Turn::of(frame, head, handle, fallback)
        {
            let credit = CREDIT;
            self.signs[place] = Sign { tag, credit };
            self.turns[place] = turn;
        }
    }
}

/// Where the turns of a frame's connection are, and part of what tells it from others there, by what is of the connection in
/// the frame: of IPv4 the client's address and the ports, of IPv6 parts of the address and the ports. Who makes theirs meet
/// only loses what could be gained here.
struct Spot {
    place: usize,
    tag: u8,
}

impl Spot {
    #[inline]
    fn of(head: &[u8; HEAD]) -> Self {
        // Any odd number with bits everywhere: this one is the golden ratio's.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let word = |at: usize| {
            let word = [head[at], head[at + 1], head[at + 2], head[at + 3]];
            u64::from(u32::from_le_bytes(word))
        };
        let hash = (word(26) << 32 | word(34)).wrapping_mul(SPREAD) ^ word(54);
        let hash = hash.wrapping_mul(SPREAD);
        Self {
            place: (hash >> 32) as usize % PLACES,
            tag: (hash >> 56) as u8,
        }
    }
}

impl Turn {
    /// Like no frame.
    const NONE: Self = Self {
        head: [0; WORDS],
        shape: Shape {
            v6: false,
            timestamps: false,
        },
        ip: Sum::ZERO,
        tcp: Sum::ZERO,
        handle: Handle::NONE,
        link: Link::NONE,
        fallback: Fallback::None,
        reply: [0; HEAD],
        reply_ip: Sum::ZERO,
        reply_tcp: Sum::ZERO,
    };

    /// The turn that begins with `frame`, a right one. `None`: what is like it goes the long way.
    fn of(frame: &[u8], head: &[u8; HEAD], handle: Handle, fallback: Fallback) -> Option<Self> {
        let (link, offset) = net::plain(frame, |segment| {
            let offset = segment.bytes.get(12)? >> 4;
            Some((segment.link, offset))
        })??;
        let timestamps = match offset {
            5 => false,
            8 => true,
            _ => return None,
        };
        let shape = Shape {
            v6: link.is_v6(),
            timestamps,
        };
        let mut turn = Self {
            head: words(head),
            shape,
            handle,
            link,
            fallback,
            ..Self::NONE
        };
        for (word, mask) in turn.head.iter_mut().zip(MASKS[shape.index()]) {
            *word &= mask;
        }
        // Right frames have sums whose complement is 0.
        let (fields, payload) = frame
            .get(shape.tcp()..)?
            .split_at_checked(shape.tcp_header())?;
        turn.ip = complement(ip_sum(Sum::ZERO, head));
        let sum = tcp_sum(Sum::of(payload), fields, timestamps, payload.len());
        turn.tcp = complement(sum);
        // Without a payload, of whose length both checksums tell as well.
        let reply = net::answer_header(
            &mut turn.reply,
            handle.flow(),
            &link,
            handle.ecn(),
            timestamps,
        )?;
        let (ip, tcp) = reply.split_at_mut_checked(shape.tcp())?;
        let header = shape.tcp_header() as u16;
        if !shape.v6 {
            turn.reply_ip = without(take(&mut ip[24..]), 20 + header);
            take(&mut ip[16..]);
        }
        turn.reply_tcp = without(take(&mut tcp[16..]), header);
        Some(turn)
    }

    /// Are the headers that begin so, but for what is new each time, those before?
    #[inline(always)]
    fn is_like(&self, head: &[u8; HEAD]) -> bool {
        let mask = &MASKS[self.shape.index()];
        let mut other = 0;
        for ((word, mask), before) in words(head).iter().zip(mask).zip(&self.head) {
            other |= word & mask ^ before;
        }
        other == 0
    }

    /// What is new in the frame, if its length and checksums are right. `sum`: that of its payload.
    #[inline(always)]
    fn request(
        &self,
        head: &[u8; HEAD],
        fields: &[u8],
        payload: usize,
        sum: Sum,
    ) -> Option<Request> {
        let Shape { v6, timestamps } = self.shape;
        let tcp_len = self.shape.tcp_header() + payload;
        let (told, len) = match v6 {
            true => ([head[18], head[19]], tcp_len),
            false => ([head[16], head[17]], 20 + tcp_len),
        };
        let right = usize::from(u16::from_be_bytes(told)) == len
            && (v6 || ip_sum(self.ip, head).finish() == 0)
            && tcp_sum(self.tcp.plus(sum), fields, timestamps, payload).finish() == 0;
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
        let Shape { v6, timestamps } = self.shape;
        let tcp_len = (buf.len() - self.shape.tcp()) as u16;
        let Some(head) = buf.first_chunk_mut::<HEAD>() else {
            return;
        };
        *head = self.reply;
        if v6 {
            [head[18], head[19]] = tcp_len.to_be_bytes();
        } else {
            [head[16], head[17]] = (20 + tcp_len).to_be_bytes();
            let sum = self.reply_ip.plus(Sum::word(20 + tcp_len));
            [head[24], head[25]] = sum.finish().to_be_bytes();
        }
        let (fields, payload) = buf[self.shape.tcp()..].split_at_mut(self.shape.tcp_header());
        let mut total = Total::of(self.reply_tcp);
        total.add_sum(Sum::word(tcp_len));
        total.add_sum(body(payload));
        let (words, _) = fields.as_chunks_mut::<4>();
        let mut put = |at: usize, number: u32| {
            words[at] = number.to_be_bytes();
            total.add(words[at]);
        };
        if let (Some(ts), true) = (reply.timestamps, timestamps) {
            put(7, ts.ecr);
            put(6, ts.val);
        }
        put(2, reply.ack.0);
        put(1, reply.seq.0);
        let [hi, lo] = reply.window.to_be_bytes();
        total.add([0, 0, hi, lo]);
        [words[3][2], words[3][3]] = [hi, lo];
        let [hi, lo] = total.sum().finish().to_be_bytes();
        [words[4][0], words[4][1]] = [hi, lo];
    }
}

fn complement(sum: Sum) -> Sum {
    Sum::word(sum.finish())
}

/// A field of two bytes, which is 0 from now on.
fn take(field: &mut [u8]) -> u16 {
    let taken = u16::from_be_bytes([field[0], field[1]]);
    field[..2].fill(0);
    taken
}

/// What was summed for this checksum, without a word of it.
fn without(checksum: u16, word: u16) -> Sum {
    Sum::word(!checksum).plus(Sum::word(!word))
}

/// With what is new in an IPv4 header.
#[inline]
fn ip_sum(rest: Sum, head: &[u8; HEAD]) -> Sum {
    let mut total = Total::of(rest);
    total.add([head[16], head[17], head[18], head[19]]);
    total.add([head[24], head[25], 0, 0]);
    total.sum()
}

/// With what is new in a TCP header, and the length that the pseudo-header tells.
#[inline]
fn tcp_sum(rest: Sum, fields: &[u8], timestamps: bool, payload: usize) -> Sum {
    let mut total = Total::of(rest);
    total.add_sum(Sum::word(payload as u16));
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
