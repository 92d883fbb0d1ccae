//! A client without a kernel: crafts every segment and sees every answer.
//!
//! Its addresses belong to no kernel (it answers ARP and neighbour solicitations itself), so nothing else
//! reacts to what the server sends to it.

mod neighbour;
mod segment;

pub use segment::{Received, Segment, checksum, ethernet, flag};

use crate::clock::{Deadline, PATIENCE};
use crate::net::{Net, RAW_MAC, RAW_V4, RAW_V6, SERVER_MAC, SERVER_V4, SERVER_V6};
use crate::packet::PacketSocket;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

/// First port used; each connection takes the next one.
const FIRST_PORT: u16 = 20_000;

/// A client that sends and receives frames on the client's NIC.
pub struct RawClient {
    socket: PacketSocket,
    inbox: VecDeque<Vec<u8>>,
    /// Its address.
    pub addr: IpAddr,
    /// The server's address.
    pub peer: IpAddr,
    /// VLAN tags on every frame sent with [`RawClient::send`].
    pub vlans: Vec<u16>,
    next_port: u16,
}

/// The client's side of one connection; all numbers may be set at will.
#[derive(Clone, Debug)]
pub struct RawConn {
    /// Our port.
    pub port: u16,
    /// The server's port.
    pub to: u16,
    /// Next sequence number to send (snd_nxt).
    pub seq: u32,
    /// Next sequence number expected (rcv_nxt).
    pub ack: u32,
    /// The server's SYN-ACK.
    pub syn_ack: Received,
}

impl RawClient {
    /// A client that speaks IPv4.
    ///
    /// # Panics
    /// When the packet socket cannot be had.
    pub fn v4(net: &Net) -> Self {
        Self::new(net, IpAddr::V4(RAW_V4), IpAddr::V4(SERVER_V4))
    }

    /// A client that speaks IPv6.
    ///
    /// # Panics
    /// When the packet socket cannot be had.
    pub fn v6(net: &Net) -> Self {
        Self::new(net, IpAddr::V6(RAW_V6), IpAddr::V6(SERVER_V6))
    }

    fn new(net: &Net, addr: IpAddr, peer: IpAddr) -> Self {
        let socket = net
            .client
            .enter(|| PacketSocket::open(net.client.device))
            .unwrap_or_else(|error| panic!("no packet socket: {error}"));
        Self {
            socket,
            inbox: VecDeque::new(),
            addr,
            peer,
            vlans: Vec::new(),
            next_port: FIRST_PORT,
        }
    }

    /// Takes its ports from `first` on, so that several clients can share the address.
    pub fn from_port(mut self, first: u16) -> Self {
        self.next_port = first;
        self
    }

    /// A port not used before by this client.
    pub fn port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port += 1;
        port
    }

    /// An empty segment from a port of ours to a port of the server.
    pub fn segment(&self, port: u16, to: u16) -> Segment {
        let mut segment = Segment::new((self.addr, port), (self.peer, to));
        segment.vlans.clone_from(&self.vlans);
        segment
    }

    /// Sends a segment to the server.
    pub fn send(&mut self, segment: &Segment) {
        self.send_packet(&segment.packet(), &segment.vlans);
    }

    /// Sends an IP packet to the server.
    pub fn send_packet(&mut self, packet: &[u8], vlans: &[u16]) {
        self.send_frame(&ethernet(SERVER_MAC, RAW_MAC, vlans, packet));
    }

    /// Sends a frame as it is.
    ///
    /// # Panics
    /// When the device takes no frame.
    pub fn send_frame(&mut self, frame: &[u8]) {
        self.socket.send(frame).unwrap_or_else(|error| {
            panic!("cannot send a frame of {} bytes: {error}", frame.len())
        });
    }

    /// The next TCP segment to our address, at most `limit` later.
    pub fn receive(&mut self, limit: Duration) -> Option<Received> {
        let deadline = Deadline::after(limit);
        loop {
            while let Some(frame) = self.inbox.pop_front() {
                if let Some(answer) = neighbour::answer(&frame, self.addr) {
                    self.send_frame(&answer);
                } else if let Some(segment) = Received::parse_for(&frame, self.addr) {
                    return Some(segment);
                }
            }
            let inbox = &mut self.inbox;
            self.socket
                .receive(|frame| inbox.push_back(frame.clone()))
                .unwrap_or_else(|error| panic!("cannot receive: {error}"));
            if self.inbox.is_empty() {
                if deadline.passed() {
                    return None;
                }
                self.socket
                    .wait(deadline.left())
                    .unwrap_or_else(|error| panic!("cannot wait: {error}"));
            }
        }
    }

    /// The next segment of this connection; others in between are dropped.
    ///
    /// # Panics
    /// When none comes.
    pub fn expect(&mut self, port: u16, what: &str) -> Received {
        let deadline = Deadline::after(PATIENCE);
        loop {
            let segment = self
                .receive(deadline.left())
                .unwrap_or_else(|| panic!("no segment to port {port} within {PATIENCE:?}: {what}"));
            if segment.dport == port {
                return segment;
            }
        }
    }

    /// A SYN from a fresh port with `options`; the answer is not waited for.
    pub fn syn(&mut self, to: u16, options: &[u8]) -> Segment {
        let port = self.port();
        let mut syn = self.segment(port, to);
        syn.flags = flag::SYN;
        // Near the end of the number space, so that every longer exchange wraps.
        syn.seq = u32::MAX - 50 - u32::from(port);
        syn.options = options.to_vec();
        self.send(&syn);
        syn
    }

    /// Opens a connection, offering an MSS of 1460 and nothing else.
    ///
    /// # Panics
    /// When the server does not take it.
    pub fn connect(&mut self, to: u16) -> RawConn {
        self.connect_with(to, &[2, 4, 0x05, 0xb4])
    }

    /// Opens a connection with these SYN options.
    ///
    /// # Panics
    /// When the server does not take it.
    pub fn connect_with(&mut self, to: u16, options: &[u8]) -> RawConn {
        let syn = self.syn(to, options);
        let syn_ack = self.expect(syn.sport, "SYN-ACK");
        assert_eq!(
            syn_ack.flags & !0xc0,
            flag::SYN | flag::ACK,
            "answer to a SYN: {syn_ack:?}"
        );
        assert_eq!(
            syn_ack.ack,
            syn.seq.wrapping_add(1),
            "it acknowledges the SYN"
        );
        let mut conn = RawConn {
            port: syn.sport,
            to,
            seq: syn_ack.ack,
            ack: syn_ack.seq.wrapping_add(1),
            syn_ack,
        };
        self.push(&mut conn, flag::ACK, b"");
        conn
    }

    /// Sends data or control bits on a connection and moves its sequence number on.
    pub fn push(&mut self, conn: &mut RawConn, flags: u8, data: &[u8]) {
        let segment = self.next(conn, flags, data);
        self.send(&segment);
        conn.seq = conn.seq.wrapping_add(segment.len());
    }

    /// The segment that [`RawClient::push`] would send, for changing it first.
    pub fn next(&self, conn: &RawConn, flags: u8, data: &[u8]) -> Segment {
        let mut segment = self.segment(conn.port, conn.to);
        segment.flags = flags;
        segment.seq = conn.seq;
        segment.ack = if flags & flag::ACK == 0 { 0 } else { conn.ack };
        segment.payload = data.to_vec();
        segment
    }

    /// Reads segments in order until there are at least `count` bytes, acknowledging each.
    ///
    /// # Panics
    /// When they do not come, or the server resets or ends the connection before.
    pub fn read(&mut self, conn: &mut RawConn, count: usize) -> Vec<u8> {
        let mut data = Vec::new();
        while data.len() < count {
            let segment = self.expect(conn.port, &format!("{} of {count} bytes read", data.len()));
            assert!(
                !segment.has(flag::RST),
                "reset after {} bytes: {segment:?}",
                data.len()
            );
            if segment.seq == conn.ack && !segment.payload.is_empty() {
                data.extend(&segment.payload);
                conn.ack = segment.end();
                self.push(conn, flag::ACK, b"");
                assert!(
                    !segment.has(flag::FIN) || data.len() >= count,
                    "closed after {} of {count} bytes",
                    data.len()
                );
            }
        }
        data
    }

    /// Reads until the data ends with `end`, acknowledging each segment.
    ///
    /// # Panics
    /// As [`RawClient::read`].
    pub fn read_until(&mut self, conn: &mut RawConn, end: &[u8]) -> Vec<u8> {
        let mut data = Vec::new();
        while !data.ends_with(end) {
            data.extend(self.read(conn, 1));
        }
        data
    }

    /// Opens and resets a connection to `to` and returns what else came before its SYN-ACK.
    ///
    /// A server queue is served in order, so what an earlier frame had caused at once is among it, and an empty list
    /// proves silence without waiting.
    ///
    /// # Panics
    /// When the server does not take the connection.
    pub fn sync(&mut self, to: u16) -> Vec<Received> {
        let syn = self.syn(to, &[2, 4, 0x05, 0xb4]);
        let deadline = Deadline::after(PATIENCE);
        let mut before = Vec::new();
        loop {
            let segment = self.receive(deadline.left()).unwrap_or_else(|| {
                panic!("the server takes no connection on port {to} any more; before: {before:?}")
            });
            if segment.dport != syn.sport {
                before.push(segment);
                continue;
            }
            assert!(
                segment.has(flag::SYN | flag::ACK),
                "answer to a SYN: {segment:?}"
            );
            let mut reset = self.segment(syn.sport, to);
            reset.flags = flag::RST;
            reset.seq = segment.ack;
            self.send(&reset);
            return before;
        }
    }
}

impl Received {
    fn parse_for(frame: &[u8], addr: IpAddr) -> Option<Self> {
        // By destination first: other traffic on the wire may have sums that offloads left open.
        let (_, _, packet) = segment::untag(frame)?;
        let to_us = match addr {
            IpAddr::V4(addr) => packet.get(16..20)? == addr.octets(),
            IpAddr::V6(addr) => packet.get(24..40)? == addr.octets(),
        };
        to_us.then(|| Self::parse(frame)).flatten()
    }
}
