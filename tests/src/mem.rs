//! The whole data path without a kernel: frames in, frames out, one call a batch.

use crate::raw::{Received, Segment, ethernet, flag};
use sidestep::handoff::Handoff;
use sidestep::store::{Current, Snapshot};
use sidestep::worker::{Limits, Neighbours, Now, Pipeline, Service, Stranger};
use sidestep::xsk::{Audit, MemFrame, MemPort, Port};
use sidestep_config::{Config, ListenAddress};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Ethernet addresses of the host and its client.
const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// MTU of the link, in bytes.
const MTU: u16 = 1500;

/// Second at which every host starts, for `Date`: 2026-01-01 00:00:00 UTC.
const START: u32 = 1_767_225_600;

/// A worker on a queue in memory.
pub struct MemHost {
    pipeline: Pipeline,
    current: Current,
    port: MemPort,
    now: Now,
    batch: Vec<MemFrame>,
    injected: Arc<Mutex<Vec<Vec<u8>>>>,
}

fn snapshot(config: &Config) -> Arc<Snapshot> {
    Arc::new(Snapshot::build(config).expect("a valid store"))
}

struct Record(Arc<Mutex<Vec<Vec<u8>>>>);

impl Stranger for Record {
    fn inject(&mut self, frame: &mut [u8]) -> io::Result<()> {
        self.0
            .lock()
            .expect("nobody panics with it")
            .push(frame.to_vec());
        Ok(())
    }

    fn carry(&mut self, frame: &mut [u8]) -> io::Result<()> {
        self.inject(frame)
    }
}

impl MemHost {
    /// A host that serves `config`, whose `[[listen]]` must name addresses, from a queue of `frames` frames whose
    /// transmit ring takes `tx_room`.
    ///
    /// # Panics
    /// When the configuration is wrong.
    pub fn new(config: &str, frames: usize, tx_room: usize) -> Self {
        let mut ring = Self::ring(config, frames, tx_room, 1);
        ring.pop().expect("one worker")
    }

    /// The same with a way of connections into a kernel.
    ///
    /// # Panics
    /// When the configuration is wrong.
    pub fn beside_kernel(
        config: &str,
        frames: usize,
        tx_room: usize,
        kernel: Box<dyn Handoff>,
    ) -> Self {
        let mut ring = Neighbours::ring(1).expect("eventfds");
        let neighbours = ring.pop().expect("one worker");
        Self::beside(neighbours, config, frames, tx_room, Some(kernel))
    }

    /// The same with several workers, which pass on to each other what they do not know.
    ///
    /// # Panics
    /// When the configuration is wrong.
    pub fn ring(config: &str, frames: usize, tx_room: usize, workers: usize) -> Vec<Self> {
        let ring = Neighbours::ring(workers).expect("eventfds");
        ring.into_iter()
            .map(|neighbours| Self::beside(neighbours, config, frames, tx_room, None))
            .collect()
    }

    fn beside(
        neighbours: Neighbours,
        config: &str,
        frames: usize,
        tx_room: usize,
        kernel: Option<Box<dyn Handoff>>,
    ) -> Self {
        let config = Config::parse(config, "test").expect("a valid configuration");
        let current = Current::new(snapshot(&config));
        let listeners = config
            .listen
            .iter()
            .map(|listen| match listen.address {
                ListenAddress::Ip(ip) => (SocketAddr::new(ip, listen.port), listen.fallback),
                ListenAddress::Interface => panic!("no interface here"),
            })
            .collect();
        let limits = Limits::from(&config.limits);
        let service = Service::new(&current, listeners, limits, None, kernel);
        let stack = tcp_lite::Config {
            capacity: config.limits.connections as usize,
            secret: [7; 16],
            mtu: MTU,
            ..tcp_lite::Config::default()
        };
        let injected = Arc::default();
        let stranger = Box::new(Record(Arc::clone(&injected)));
        Self {
            pipeline: Pipeline::new(stack, service, neighbours, Some(stranger)),
            current,
            port: MemPort::new(frames, 2048, tx_room),
            now: Now {
                mono: tcp_lite::Instant(0),
                unix: START,
            },
            batch: Vec::new(),
            injected,
        }
    }

    /// Answers requests from the sites of `config` from now on.
    ///
    /// # Panics
    /// When the configuration is wrong.
    pub fn replace(&mut self, config: &str) {
        let config = Config::parse(config, "test").expect("a valid configuration");
        self.current.replace(snapshot(&config));
    }

    /// Moves the clock.
    pub fn advance(&mut self, by: Duration) {
        self.now.mono += by;
        self.now.unix = START + (self.now.mono.0 / 1_000_000) as u32;
    }

    /// Puts a frame into the receive ring; false when no frame is free.
    pub fn offer(&mut self, frame: &[u8]) -> bool {
        let received = self.port.receive(frame);
        let taken = received.is_some();
        self.batch.extend(received);
        taken
    }

    /// Runs one batch of what was offered.
    pub fn run(&mut self) {
        self.pipeline
            .batch(self.now, &mut self.port, &mut self.batch);
    }

    /// Takes no new connections from now on; those that can go to the kernel, go.
    pub fn drain(&mut self) {
        self.pipeline.drain(self.now);
    }

    /// Closes what a drain has left.
    pub fn close(&mut self) {
        self.pipeline.close();
    }

    /// Shows what was sent since the last call.
    pub fn take_sent(&mut self, look: impl FnMut(&[u8])) {
        self.port.take_sent(look);
    }

    /// One batch of `frames`; the frames it sends.
    ///
    /// # Panics
    /// When more frames are offered than the queue has.
    pub fn exchange(&mut self, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        for frame in frames {
            assert!(self.offer(frame), "no free frame");
        }
        self.run();
        let mut sent = Vec::new();
        self.take_sent(|frame| sent.push(frame.to_vec()));
        sent
    }

    /// When the pipeline wants to run again.
    pub fn next_deadline(&self) -> Option<Duration> {
        let at = self.pipeline.next_deadline()?;
        Some(at.since(self.now.mono))
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.pipeline.connections()
    }

    /// Where every frame is.
    pub fn audit(&self) -> Audit {
        self.port.audit()
    }

    /// What went to the kernel since the last call.
    ///
    /// # Panics
    /// When another thread panicked with the list.
    pub fn take_injected(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.injected.lock().expect("nobody panics with it"))
    }

    /// All counters and gauges of the pipeline's, as (name, label, value).
    pub fn counters(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut all = Vec::new();
        self.pipeline
            .visit(&mut |name, label, value| all.push((name, label, value)));
        all
    }

    /// A counter of the pipeline's.
    pub fn counter(&self, name: &str, label: &str) -> u64 {
        let mut found = 0;
        self.pipeline.visit(&mut |n, l, value| {
            if (n, l) == (name, label) {
                found = value;
            }
        });
        found
    }
}

/// A client's frame around `segment`.
pub fn frame(segment: &Segment) -> Vec<u8> {
    ethernet(HOST_MAC, CLIENT_MAC, &segment.vlans, &segment.packet())
}

fn opening(from: SocketAddr, to: SocketAddr) -> Segment {
    let mut syn = Segment::new((from.ip(), from.port()), (to.ip(), to.port()));
    syn.flags = flag::SYN;
    syn.seq = u32::MAX - 100;
    syn.options = vec![2, 4, 0x05, 0xb4];
    syn
}

/// A client's connection to a [`MemHost`]: no loss, no window, each answer acknowledged at once.
#[derive(Debug)]
pub struct MemConn {
    next: Segment,
}

impl MemConn {
    /// The frame that [`MemConn::open`] sends first.
    pub fn syn(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
        frame(&opening(from, to))
    }

    /// Opens a connection with an MSS of 1460.
    ///
    /// # Panics
    /// When the host does not take it.
    pub fn open(host: &mut MemHost, from: SocketAddr, to: SocketAddr) -> Self {
        Self::try_open(host, from, to).expect("a SYN-ACK")
    }

    /// The same; `None` when the host does not take it.
    ///
    /// # Panics
    /// When the host has more to say than the handshake.
    pub fn try_open(host: &mut MemHost, from: SocketAddr, to: SocketAddr) -> Option<Self> {
        let sent = host.exchange(&[Self::syn(from, to)]);
        let conn = sent.iter().find_map(|f| Self::answered(from, to, f))?;
        host.offer(&conn.ack());
        host.run();
        Some(conn)
    }

    /// The connection that `sent`, a SYN-ACK, opens in answer to [`MemConn::syn`]; its ACK is still to be sent. `None`
    /// when the frame is something else.
    pub fn answered(from: SocketAddr, to: SocketAddr, sent: &[u8]) -> Option<Self> {
        let syn_ack = Received::parse(sent)?;
        if syn_ack.dport != from.port() || !syn_ack.has(flag::SYN | flag::ACK) {
            return None;
        }
        let mut next = opening(from, to);
        next.options.clear();
        next.flags = flag::ACK;
        next.seq = syn_ack.ack;
        next.ack = syn_ack.end();
        Some(Self { next })
    }

    /// Has the host ended what it sends, by the frame that was taken last?
    pub fn is_ended(sent: &[u8]) -> bool {
        Received::parse(sent).is_some_and(|segment| segment.has(flag::FIN))
    }

    /// Opens a connection with the options that Linux uses: SACK, timestamps, and a window scale of 7.
    ///
    /// # Panics
    /// When the host does not take it.
    pub fn open_as_linux(host: &mut MemHost, from: SocketAddr, to: SocketAddr) -> Self {
        const STAMP: [u8; 8] = [0, 0, 0x10, 0, 0, 0, 0, 0];
        let mut syn = opening(from, to);
        syn.options.extend([4, 2, 8, 10]);
        syn.options.extend(STAMP);
        syn.options.extend([1, 3, 3, 7]);
        let sent = host.exchange(&[frame(&syn)]);
        let answered = sent.iter().find_map(|f| Self::answered(from, to, f));
        let mut conn = answered.expect("a SYN-ACK");
        conn.next.options = [&[1, 1, 8, 10], &STAMP[..]].concat();
        host.offer(&conn.ack());
        host.run();
        conn
    }

    /// The frame that acknowledges all that was taken.
    pub fn ack(&self) -> Vec<u8> {
        frame(&self.next)
    }

    /// The frame that resets the connection.
    pub fn reset(&self) -> Vec<u8> {
        let mut reset = self.next.clone();
        reset.flags = flag::RST;
        frame(&reset)
    }

    /// The frame that ends what the client sends.
    pub fn fin(&mut self) -> Vec<u8> {
        self.next.flags = flag::ACK | flag::FIN;
        let made = frame(&self.next);
        self.next.seq = self.next.seq.wrapping_add(1);
        self.next.flags = flag::ACK;
        made
    }

    /// The client's next sequence number, and the host's.
    pub fn numbers(&self) -> (u32, u32) {
        (self.next.seq, self.next.ack)
    }

    /// The frame that carries `data` next.
    pub fn data(&mut self, data: &[u8]) -> Vec<u8> {
        self.next.flags = flag::ACK | flag::PSH;
        self.next.payload = data.to_vec();
        let made = frame(&self.next);
        self.next.seq = self.next.seq.wrapping_add(data.len() as u32);
        self.next.payload.clear();
        self.next.flags = flag::ACK;
        made
    }

    /// Takes the data of a frame of the host's if it is next in order; the next frame acknowledges it.
    pub fn take(&mut self, sent: &[u8]) -> Vec<u8> {
        let Some(segment) = Received::parse(sent) else {
            return Vec::new();
        };
        if segment.dport != self.next.sport || segment.seq != self.next.ack {
            return Vec::new();
        }
        self.next.ack = segment.end();
        segment.payload
    }

    /// Sends `data` and returns all that comes back until the host falls silent.
    pub fn request(&mut self, host: &mut MemHost, data: &[u8]) -> Vec<u8> {
        let mut offered = vec![self.data(data)];
        let mut answer = Vec::new();
        loop {
            let sent = host.exchange(&offered);
            let before = answer.len();
            for frame in &sent {
                answer.extend(self.take(frame));
            }
            if answer.len() == before {
                return answer;
            }
            offered = vec![frame(&self.next)];
        }
    }
}
