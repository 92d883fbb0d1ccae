//! The application under test, and IPv4 around its segments.

use std::sync::OnceLock;

use tcp_lite::wire::Sum;
use tcp_lite::{Addr, App, Arrival, CloseReason, Ecn, Endpoint, Flow, Full, Instant, Io, Out};

use crate::packet::write_ip_sum;
use crate::rng::Rng;

/// The pattern repeats after this many bytes: more than any window that is used, so that no shift goes unnoticed.
const PERIOD: usize = 1 << 18;
/// Most bytes that [`pattern`] gives at once.
pub const STRETCH: usize = 1 << 14;

/// Bytes `[at, at + len)` of answer number `id`, `len` at most [`STRETCH`]. A table, since tests are not optimised.
pub fn pattern(id: u32, at: usize, len: usize) -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let mut rng = Rng::new(1);
        let once: Vec<u8> = (0..PERIOD).map(|_| rng.next() as u8).collect();
        [&once[..], &once[..STRETCH]].concat()
    });
    let from = (id as usize * 7_919 + at) % PERIOD;
    &table[from..from + len]
}

/// One answer: its number on the connection and its length.
#[derive(Clone, Copy)]
pub struct Piece {
    id: u32,
    len: u32,
}

/// Padding is numbered apart from answers.
pub const PADDING: u32 = 1 << 20;

/// A request: the length of its answer (4 bytes, all bits set for "close"), the length of its padding (2 bytes), padding.
pub fn request(id: u32, len: u32, padding: u16) -> Vec<u8> {
    let mut bytes = len.to_be_bytes().to_vec();
    bytes.extend(padding.to_be_bytes());
    bytes.extend(pattern(id + PADDING, 0, usize::from(padding)));
    bytes
}

/// Takes the first request off: answer's length, padding, bytes in all.
pub fn first(unread: &[u8]) -> Option<(u32, &[u8], usize)> {
    let (head, rest) = unread.split_first_chunk::<6>()?;
    let padding = usize::from(u16::from_be_bytes([head[4], head[5]]));
    Some((
        u32::from_be_bytes([head[0], head[1], head[2], head[3]]),
        rest.get(..padding)?,
        6 + padding,
    ))
}

/// Answers requests and checks their padding.
#[derive(Default)]
pub struct Server {
    pub held: i64,
    pub closed: Vec<CloseReason>,
    pub established: usize,
    /// Bytes consumed.
    pub used: u32,
    /// It reads no more.
    pub closing: bool,
    /// The request with which connections leave.
    pub leave_at: Option<u32>,
}

impl App for Server {
    type Link = ();
    type Conn = u32;
    type Piece = Piece;

    fn on_established(&mut self, _: Instant, _: &mut Io<'_, Self>) {
        self.established += 1;
    }

    fn on_data(&mut self, _: Instant, io: &mut Io<'_, Self>, unread: &[u8]) -> usize {
        let used = self.answer(io, unread);
        self.used += used as u32;
        used
    }

    fn on_eof(&mut self, _: Instant, io: &mut Io<'_, Self>, unread: &[u8]) {
        assert!(unread.is_empty(), "requests left at EOF");
        self.closing = true;
        io.close();
    }

    fn on_deadline(&mut self, _: Instant, _: &mut Io<'_, Self>, _: &[u8]) {}

    fn fill(&mut self, piece: &Piece, offset: u32, buf: &mut [u8]) -> Sum {
        assert!(offset + buf.len() as u32 <= piece.len);
        buf.copy_from_slice(pattern(piece.id, offset as usize, buf.len()));
        Sum::of(buf)
    }

    fn on_release(&mut self, _: Piece) {
        self.held -= 1;
        assert!(self.held >= 0);
    }

    fn on_closed(&mut self, _: &Flow, _: u32, why: CloseReason) {
        self.closed.push(why);
    }
}

impl Server {
    /// What it consumed while it was still reading.
    pub fn consumed(&self) -> Option<u32> {
        (self.established == 1 && !self.closing).then_some(self.used)
    }

    fn answer(&mut self, io: &mut Io<'_, Self>, unread: &[u8]) -> usize {
        let mut used = 0;
        while let Some((len, padding, size)) = first(&unread[used..]) {
            if len == u32::MAX {
                self.closing = true;
                io.close();
                return used + size;
            }
            let id = *io.conn();
            if self.leave_at == Some(id) {
                io.hand_off();
                return used;
            }
            if io.send(Piece { id, len }, len).is_err() {
                return used;
            }
            let wanted = pattern(id + PADDING, 0, padding.len());
            assert!(padding == wanted, "wrong bytes in request {id}");
            self.held += i64::from(len > 0);
            *io.conn() += 1;
            used += size;
        }
        used
    }
}

/// What the server sends, as IPv4 packets; sometimes full.
pub struct Transmit {
    pub packets: Vec<Vec<u8>>,
    pub room: usize,
}

impl Out<()> for Transmit {
    fn emit(
        &mut self,
        flow: &Flow,
        _: &(),
        ecn: Ecn,
        len: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full> {
        self.room = self.room.checked_sub(1).ok_or(Full)?;
        let mut packet = vec![0; 20 + len];
        packet[0] = 0x45;
        packet[1] = ecn.bits();
        packet[2..4].copy_from_slice(&(20 + len as u16).to_be_bytes());
        packet[8] = 64;
        packet[9] = 6;
        packet[12..16].copy_from_slice(&flow.local.addr.to_v4().unwrap());
        packet[16..20].copy_from_slice(&flow.remote.addr.to_v4().unwrap());
        write_ip_sum(&mut packet);
        write(&mut packet[20..]);
        self.packets.push(packet);
        Ok(())
    }
}

/// A packet from the client as it reaches the stack.
pub fn arrival(packet: &[u8]) -> Arrival<'_, ()> {
    let addr = |at: usize| Addr::v4([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let remote = Endpoint {
        addr: addr(12),
        port: port(20),
    };
    let local = Endpoint {
        addr: addr(16),
        port: port(22),
    };
    let len = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    Arrival {
        flow: Flow { local, remote },
        link: (),
        ecn: Ecn::from_bits(packet[1]),
        bytes: &packet[20..len],
    }
}
