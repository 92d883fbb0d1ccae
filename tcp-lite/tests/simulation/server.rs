//! The application under test, and IPv4 around its segments.

use tcp_lite::wire::Sum;
use tcp_lite::{Addr, App, CloseReason, Ecn, Endpoint, Flow, Full, Instant, Io, Out};

/// Byte `at` of answer number `id`.
pub fn byte_at(id: u32, at: u32) -> u8 {
    (id.wrapping_mul(0x9e37_79b9) ^ at.wrapping_mul(0x85eb_ca6b)).to_be_bytes()[1]
}

/// One answer: its number on the connection and its length.
#[derive(Clone, Copy)]
pub struct Piece {
    id: u32,
    len: u32,
}

/// A request is a 4-byte length, all bits set for "close"; the answer is that many bytes.
#[derive(Default)]
pub struct Server {
    pub held: i64,
    pub closed: Vec<CloseReason>,
    pub established: usize,
}

impl App for Server {
    type Link = ();
    type Conn = u32;
    type Piece = Piece;

    fn on_established(&mut self, _: &Flow) {
        self.established += 1;
    }

    fn on_data(&mut self, _: Instant, io: &mut Io<'_, Self>, unread: &[u8]) -> usize {
        let mut used = 0;
        for request in unread.chunks_exact(4) {
            let len = u32::from_be_bytes([request[0], request[1], request[2], request[3]]);
            if len == u32::MAX {
                io.close();
                return used + 4;
            }
            let id = *io.conn();
            if io.send(Piece { id, len }, len).is_err() {
                return used;
            }
            self.held += i64::from(len > 0);
            *io.conn() += 1;
            used += 4;
        }
        used
    }

    fn on_eof(&mut self, _: Instant, io: &mut Io<'_, Self>, unread: &[u8]) {
        assert!(unread.is_empty(), "requests left at EOF");
        io.close();
    }

    fn on_deadline(&mut self, _: Instant, _: &mut Io<'_, Self>, _: &[u8]) {}

    fn fill(&mut self, piece: &Piece, offset: u32, buf: &mut [u8]) -> Sum {
        assert!(offset + buf.len() as u32 <= piece.len);
        for (at, byte) in buf.iter_mut().enumerate() {
            *byte = byte_at(piece.id, offset + at as u32);
        }
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
        _: Ecn,
        len: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full> {
        self.room = self.room.checked_sub(1).ok_or(Full)?;
        let mut packet = vec![0; 20 + len];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&(20 + len as u16).to_be_bytes());
        packet[8] = 64;
        packet[9] = 6;
        packet[12..16].copy_from_slice(&flow.local.addr.to_v4().unwrap());
        packet[16..20].copy_from_slice(&flow.remote.addr.to_v4().unwrap());
        let sum = Sum::of(&packet[..20]).finish();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        write(&mut packet[20..]);
        self.packets.push(packet);
        Ok(())
    }
}

/// Flow and segment of a packet from the client.
pub fn split(packet: &[u8]) -> (Flow, &[u8]) {
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
    (Flow { local, remote }, &packet[20..len])
}
