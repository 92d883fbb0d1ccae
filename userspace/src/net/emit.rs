//! From a TCP segment to a frame: Ethernet and IP headers in front of it.

use super::Link;
use crate::xsk::{Memory, Port, Transmit};
use tcp_lite::wire::{Flags, Header, Options, Sum, Timestamps};
use tcp_lite::{Ecn, Flow, Full, Out, SeqNum};

/// Hop limit of what we send (RFC 1700's recommendation, Linux's default).
const TTL: u8 = 64;

/// The transmit side as TCP sees it, for one batch: each segment becomes one frame.
#[derive(Debug)]
pub struct Emitter<'a, M, R> {
    /// The bytes of frames.
    pub memory: &'a M,
    /// Where frames come from and go to.
    pub ring: &'a mut R,
    /// Frames sent.
    pub sent: u64,
    /// Segments that found no free frame or no room in the ring; TCP keeps them.
    pub full: u64,
}

impl<'a, M, R> Emitter<'a, M, R> {
    /// One that has sent nothing.
    pub fn new<P: Port<Memory = M, Ring = R>>(port: &'a mut P) -> Self {
        let (memory, ring) = port.split();
        Self {
            memory,
            ring,
            sent: 0,
            full: 0,
        }
    }
}

impl<M, R> Out<Link> for Emitter<'_, M, R>
where
    M: Memory,
    R: Transmit<Frame = M::Frame>,
{
    #[inline]
    fn emit(
        &mut self,
        flow: &Flow,
        link: &Link,
        ecn: Ecn,
        tcp_len: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full> {
        let Some(mut frame) = self.ring.alloc() else {
            self.full += 1;
            return Err(Full);
        };
        let plain = link.is_plain();
        let front = if plain { PLAIN } else { front_len(link) };
        let Some(buf) = self.memory.buffer(&mut frame, front + tcp_len) else {
            // The MSS is bounded by the MTU, and the MTU by the frame size when the queue is opened.
            debug_assert!(false, "a segment of {tcp_len} bytes does not fit a frame");
            self.ring.release(frame);
            self.full += 1;
            return Err(Full);
        };
        write(match buf.split_first_chunk_mut::<PLAIN>() {
            Some((front, tcp)) if plain => {
                plain_headers(front, flow, link, ecn, tcp_len);
                tcp
            }
            _ => headers(buf, flow, link, ecn, tcp_len),
        });
        match self.ring.send(frame) {
            Ok(()) => {
                self.sent += 1;
                Ok(())
            }
            Err(frame) => {
                self.ring.release(frame);
                self.full += 1;
                Err(Full)
            }
        }
    }
}

/// The frame in which the peer of `flow`, which is answered by `link`, would have sent this segment.
pub fn from_peer(flow: &Flow, link: &Link, header: &Header, payload: &[u8]) -> Vec<u8> {
    let theirs = Flow {
        local: flow.remote,
        remote: flow.local,
    };
    let link = link.reversed();
    let tcp_len = header.len() + payload.len();
    let mut frame = vec![0; front_len(&link) + tcp_len];
    let tcp = headers(&mut frame, &theirs, &link, Ecn::NotEct, tcp_len);
    header.emit(&theirs, tcp, |to| {
        to.copy_from_slice(payload);
        Sum::of(to)
    });
    frame
}

/// The frame of an answer with a segment of `tcp_len` bytes, built at the front of `room`: all numbers, the window and the
/// payload are 0, and its checksum is right for that. `None`: it does not fit.
pub fn answer_header<'a>(
    room: &'a mut [u8],
    flow: &Flow,
    link: &Link,
    ecn: Ecn,
    timestamps: bool,
    tcp_len: usize,
) -> Option<&'a [u8]> {
    let frame = room.get_mut(..front_len(link) + tcp_len)?;
    let header = Header {
        seq: SeqNum(0),
        ack: SeqNum(0),
        flags: Flags::ACK.with(Flags::PSH),
        window: 0,
        options: Options {
            timestamps: timestamps.then_some(Timestamps { val: 0, ecr: 0 }),
            ..Options::default()
        },
    };
    header.emit(flow, headers(frame, flow, link, ecn, tcp_len), |payload| {
        payload.fill(0);
        Sum::ZERO
    });
    Some(frame)
}

/// Bytes of what stands in front of a segment where [`Link::is_plain`].
const PLAIN: usize = 14 + 20;

/// The same for any link. A flow's segments come and go by links of its own IP version.
fn front_len(link: &Link) -> usize {
    link.header_len() + if link.is_v6() { 40 } else { 20 }
}

/// Writes it.
#[inline]
fn plain_headers(front: &mut [u8; PLAIN], flow: &Flow, link: &Link, ecn: Ecn, tcp_len: usize) {
    if let Some((ethernet, ip)) = front.split_first_chunk_mut::<14>()
        && let Some(ip) = ip.first_chunk_mut()
    {
        link.write_plain(ethernet);
        ipv4(ip, flow, ecn, tcp_len);
    }
}

/// Writes what stands in front of a segment of `tcp_len` bytes; gives the room for that.
#[inline(never)]
fn headers<'a>(
    buf: &'a mut [u8],
    flow: &Flow,
    link: &Link,
    ecn: Ecn,
    tcp_len: usize,
) -> &'a mut [u8] {
    let (head, tcp) = buf.split_at_mut(front_len(link));
    let (eth, ip) = head.split_at_mut(link.header_len());
    link.write(eth);
    if link.is_v6() {
        ipv6(ip, flow, ecn, tcp_len);
    } else if let Some(ip) = ip.first_chunk_mut() {
        ipv4(ip, flow, ecn, tcp_len);
    }
    tcp
}

/// RFC 791. Never fragmented (DF), so that the identification may be 0 (RFC 6864 4.1).
#[inline]
fn ipv4(ip: &mut [u8; 20], flow: &Flow, ecn: Ecn, tcp_len: usize) {
    let [.., a, b, c, d] = *flow.local.addr.octets();
    let [.., e, f, g, h] = *flow.remote.addr.octets();
    let [hi, lo] = ((20 + tcp_len) as u16).to_be_bytes();
    let mut words = [
        [0x45, ecn.bits(), hi, lo],
        [0, 0, 0x40, 0],
        [TTL, etherparse::IpNumber::TCP.0, 0, 0],
        [a, b, c, d],
        [e, f, g, h],
    ];
    let [hi, lo] = Sum::of_words(&words).finish().to_be_bytes();
    [words[2][2], words[2][3]] = [hi, lo];
    ip.copy_from_slice(words.as_flattened());
}

/// RFC 8200, flow label 0.
fn ipv6(ip: &mut [u8], flow: &Flow, ecn: Ecn, tcp_len: usize) {
    ip[..4].copy_from_slice(&(0x6000_0000 | u32::from(ecn.bits()) << 20).to_be_bytes());
    ip[4..6].copy_from_slice(&(tcp_len as u16).to_be_bytes());
    ip[6] = etherparse::IpNumber::TCP.0;
    ip[7] = TTL;
    ip[8..24].copy_from_slice(flow.local.addr.octets());
    ip[24..40].copy_from_slice(flow.remote.addr.octets());
}
