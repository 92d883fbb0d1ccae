//! A crowd: more connections than a kernel client could open, each some bytes here, from many addresses.
//!
//! The peer answers to where a frame came from, so that the addresses need no neighbour entries and no kernel.

use crate::clock::Deadline;
use crate::net::{Net, RAW_MAC, SERVER_MAC, SERVER_V4};
use crate::packet::PacketSocket;
use crate::raw::{Received, Segment, ethernet, flag};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Connections of one client address: fewer than there are ports above the privileged ones.
const PER_ADDRESS: usize = 50_000;
const FIRST_PORT: u16 = 10_000;
/// The first client address, in a block of its own.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([10, 100, 0, 1]);

/// Exchanges under way at once. More overflow the NIC's ring of some hundred frames, which costs repeats; fewer
/// leave the peer waiting.
const UNDER_WAY: usize = 128;

/// Silence after which what is under way is sent again.
const REPEAT: Duration = Duration::from_millis(200);

/// What is known of one connection.
#[derive(Clone, Copy, Debug, Default)]
struct Conn {
    /// Next sequence number to send.
    seq: u32,
    /// Next sequence number expected; before the handshake 0.
    ack: u32,
    /// The current exchange is over.
    done: bool,
}

/// See the module.
pub struct Crowd {
    socket: PacketSocket,
    port: u16,
    conns: Vec<Conn>,
}

impl Crowd {
    /// Opens `count` connections to `port` of the server.
    ///
    /// # Panics
    /// When not all are open within `limit`.
    pub fn open(net: &Net, port: u16, count: usize, limit: Duration) -> Self {
        let socket = net
            .client
            .enter(|| PacketSocket::open(net.client.device))
            .unwrap_or_else(|error| panic!("no packet socket: {error}"));
        let mut crowd = Self {
            socket,
            port,
            conns: vec![Conn::default(); count],
        };
        crowd.exchange(b"", &|_| None, "handshake", limit);
        crowd
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// Sends `request` once on each connection and checks each answer with `right`. An answer has to fit one segment.
    ///
    /// # Panics
    /// When an answer is wrong or missing after `limit`, or a connection was reset.
    pub fn ask(&mut self, request: &[u8], right: &dyn Fn(&[u8]) -> bool, limit: Duration) {
        for conn in &mut self.conns {
            conn.done = false;
        }
        self.exchange(request, &|answer| Some(right(answer)), "answer", limit);
    }

    /// Runs one exchange on each connection, some at a time, and repeats what is not answered. `check` is given
    /// each answer; `None`: it is not one.
    fn exchange(
        &mut self,
        request: &[u8],
        check: &dyn Fn(&[u8]) -> Option<bool>,
        what: &str,
        limit: Duration,
    ) {
        let total = self.conns.len();
        let deadline = Deadline::after(limit);
        let mut waiting = 0..total;
        let mut under_way = VecDeque::new();
        let mut done = 0;
        while done < total {
            assert!(
                !deadline.passed(),
                "{done} of {total} within {limit:?}: {what}"
            );
            while under_way.len() < UNDER_WAY
                && let Some(index) = waiting.next()
            {
                under_way.push_back(index);
                self.begin(index, request);
            }
            let heard = self.socket.wait(REPEAT).expect("the device is there");
            if heard {
                let mut frames = Vec::new();
                self.socket
                    .receive(|frame| frames.push(std::mem::take(frame)))
                    .expect("the device is there");
                done += frames
                    .iter()
                    .filter(|frame| self.take(frame, request.len() as u32, check))
                    .count();
                under_way.retain(|&index| !self.conns[index].done);
            } else {
                for &index in &under_way {
                    self.begin(index, request);
                }
            }
        }
    }

    /// Sends what begins the exchange of connection `index`.
    fn begin(&self, index: usize, request: &[u8]) {
        let conn = self.conns[index];
        let mut segment = self.segment(index);
        if conn.ack == 0 {
            segment.flags = flag::SYN;
            segment.seq = initial(index);
            segment.options = vec![2, 4, 0x05, 0xb4];
        } else {
            segment.flags = flag::ACK | flag::PSH;
            segment.payload = request.to_vec();
        }
        self.send(&segment);
    }

    /// Takes a frame; true when it ends the exchange of its connection.
    fn take(&mut self, frame: &[u8], asked: u32, check: &dyn Fn(&[u8]) -> Option<bool>) -> bool {
        let Some((index, answer)) = self.of_ours(frame) else {
            return false;
        };
        assert!(!answer.has(flag::RST), "connection {index} was reset");
        let conn = &mut self.conns[index];
        if answer.has(flag::SYN) {
            let first = conn.ack == 0;
            conn.seq = answer.ack;
            conn.ack = answer.end();
            conn.done |= first;
            let segment = self.segment(index);
            self.send(&segment);
            return first;
        }
        if conn.done || answer.seq != conn.ack || answer.payload.is_empty() {
            return false;
        }
        let Some(right) = check(&answer.payload) else {
            return false;
        };
        let text = answer.payload.escape_ascii();
        assert!(right, "connection {index} was answered {text}");
        conn.seq = conn.seq.wrapping_add(asked);
        conn.ack = answer.end();
        conn.done = true;
        let segment = self.segment(index);
        self.send(&segment);
        true
    }

    /// The connection that a frame is for.
    fn of_ours(&self, frame: &[u8]) -> Option<(usize, Received)> {
        let segment = Received::parse(frame)?;
        let IpAddr::V4(to) = segment.dst else {
            return None;
        };
        let address = u32::from(to).checked_sub(FIRST_ADDRESS)? as usize;
        let port = usize::from(segment.dport.checked_sub(FIRST_PORT)?);
        let index = address * PER_ADDRESS + port;
        (port < PER_ADDRESS && index < self.conns.len()).then_some((index, segment))
    }

    /// A bare ACK of connection `index`.
    fn segment(&self, index: usize) -> Segment {
        let address = Ipv4Addr::from(FIRST_ADDRESS + (index / PER_ADDRESS) as u32);
        let port = FIRST_PORT + (index % PER_ADDRESS) as u16;
        let mut segment = Segment::new(
            (IpAddr::V4(address), port),
            (IpAddr::V4(SERVER_V4), self.port),
        );
        segment.flags = flag::ACK;
        segment.seq = self.conns[index].seq;
        segment.ack = self.conns[index].ack;
        segment
    }

    fn send(&self, segment: &Segment) {
        let frame = ethernet(SERVER_MAC, RAW_MAC, &[], &segment.packet());
        match self.socket.send(&frame) {
            // Full: as good as lost, and sent again.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => sent.expect("the device is there"),
        }
    }
}

/// Sequence numbers that differ between neighbours.
fn initial(index: usize) -> u32 {
    (index as u32).wrapping_mul(0x9e37_79b9)
}
