//! smoltcp as the client: independent code, with its own idea of TCP.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::rng::Rng;
use crate::server::{STRETCH, pattern, request};

pub struct Queues {
    pub rx: VecDeque<Vec<u8>>,
    pub tx: Vec<Vec<u8>>,
    mtu: usize,
}

impl Device for Queues {
    type RxToken<'a> = Taken;
    type TxToken<'a> = Given<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Taken, Given<'_>)> {
        let packet = self.rx.pop_front()?;
        Some((Taken(packet), Given(&mut self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Given<'_>> {
        Some(Given(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = self.mtu;
        caps.checksum = ChecksumCapabilities::default();
        caps
    }
}

pub struct Taken(Vec<u8>);

impl RxToken for Taken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub struct Given<'a>(&'a mut Vec<Vec<u8>>);

impl TxToken for Given<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push(packet);
        result
    }
}

/// What the client does, drawn from the seed.
#[derive(Debug)]
pub struct Plan {
    /// Lengths of the answers asked for.
    pub requests: Vec<u32>,
    /// Bytes of padding per request.
    pub padding: Vec<u16>,
    /// Requests in flight at most.
    pub depth: usize,
    /// Ask the server to close; else the client does, when it has everything.
    pub server_closes: bool,
    /// Send FIN right behind the last request, before the answers.
    pub early_fin: bool,
    /// Read at most this much per wake-up, after such a pause (µs).
    pub sip: usize,
    pub pause: u64,
}

impl Plan {
    pub fn new(rng: &mut Rng) -> Plan {
        let largest = rng.pick(&[10, 200, 3_000, 40_000]);
        let count = 1 + rng.below(rng_count(largest));
        let slow = rng.chance(150);
        let most = rng.pick(&[1, 1, 50, 2_000]);
        Plan {
            requests: (0..count).map(|_| rng.below(largest) as u32).collect(),
            padding: (0..count).map(|_| rng.below(most) as u16).collect(),
            depth: rng.pick(&[1, 4, 24, 1000]),
            server_closes: rng.chance(400),
            // smoltcp forgets what was not read when its TIME-WAIT ends.
            early_fin: !slow && rng.chance(250),
            sip: if slow { 700 } else { usize::MAX },
            pause: if slow {
                rng.pick(&[20_000, 700_000])
            } else {
                0
            },
        }
    }
}

fn rng_count(largest: u64) -> u64 {
    if largest > 10_000 { 6 } else { 60 }
}

pub struct Client {
    iface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    pub device: Queues,
    plan: Plan,
    outbox: Vec<u8>,
    asked: usize,
    /// Answer being read, and bytes of it read.
    reading: (usize, u32),
    read_after: u64,
    fin_sent: bool,
}

impl Client {
    pub fn new(rng: &mut Rng, mtu: usize, plan: Plan) -> Client {
        let mut device = Queues {
            rx: VecDeque::new(),
            tx: Vec::new(),
            mtu,
        };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = rng.next();
        let mut iface = Interface::new(config, &mut device, Instant::ZERO);
        iface.update_ip_addrs(|all| {
            all.push(IpCidr::new(IpAddress::v4(10, 0, 0, 2), 24))
                .unwrap()
        });
        let tx = rng.pick(&[4_096, 65_536]);
        let rx = rng.pick(&[600, 4_096, 65_536, 200_000]);
        let mut socket = Socket::new(
            SocketBuffer::new(vec![0; rx]),
            SocketBuffer::new(vec![0; tx]),
        );
        socket.set_congestion_control(rng.pick(&[
            CongestionControl::None,
            CongestionControl::Reno,
            CongestionControl::Cubic,
        ]));
        socket.set_nagle_enabled(rng.chance(500));
        if rng.chance(600) {
            socket.set_tsval_generator(Some(|| 12_345));
        }
        let mut sockets = SocketSet::new(vec![]);
        let handle = sockets.add(socket);
        let port = 1024 + rng.below(60_000) as u16;
        sockets
            .get_mut::<Socket>(handle)
            .connect(iface.context(), (IpAddress::v4(10, 0, 0, 1), 80), port)
            .unwrap();
        Client {
            iface,
            sockets,
            handle,
            device,
            plan,
            outbox: Vec::new(),
            asked: 0,
            reading: (0, 0),
            read_after: 0,
            fin_sent: false,
        }
    }

    fn done(&self) -> bool {
        self.reading.0 == self.plan.requests.len()
    }

    /// All answers read, and the connection closed in order.
    pub fn finished(&mut self) -> bool {
        let open = self.sockets.get::<Socket>(self.handle).is_open();
        self.done() && !open
    }

    /// All answers read, and a lost FIN that smoltcp 0.14 never repeats: three duplicate ACKs that come while only its FIN is
    /// outstanding stop its timer.
    pub fn forgot_its_fin(&self) -> bool {
        let state = self.sockets.get::<Socket>(self.handle).state();
        self.done() && state == State::FinWait1
    }

    pub fn progress(&self) -> String {
        let socket = self.sockets.get::<Socket>(self.handle);
        format!(
            "{:?} reading {:?} asked {} of {}",
            socket.state(),
            self.reading,
            self.asked,
            self.plan.requests.len()
        )
    }

    pub fn step(&mut self, now: u64) {
        let at = Instant::from_micros(now as i64);
        self.iface.poll(at, &mut self.device, &mut self.sockets);
        self.read(now);
        self.write();
        self.iface.poll(at, &mut self.device, &mut self.sockets);
    }

    fn read(&mut self, now: u64) {
        let socket = self.sockets.get_mut::<Socket>(self.handle);
        if now < self.read_after || !socket.can_recv() {
            return;
        }
        let reading = &mut self.reading;
        let requests = &self.plan.requests;
        let sip = self.plan.sip;
        socket
            .recv(|bytes| {
                let take = bytes.len().min(sip);
                let mut rest = &bytes[..take];
                while !rest.is_empty() {
                    skip_empty(reading, requests);
                    let (id, at) = *reading;
                    let left = *requests.get(id).expect("more bytes than asked for") - at;
                    let (some, behind) = rest.split_at(rest.len().min(left as usize).min(STRETCH));
                    let wanted = pattern(id as u32, at as usize, some.len());
                    assert!(some == wanted, "wrong bytes at {reading:?}");
                    reading.1 += some.len() as u32;
                    rest = behind;
                }
                skip_empty(reading, requests);
                (take, ())
            })
            .unwrap();
        self.read_after = now + self.plan.pause;
    }

    fn write(&mut self) {
        skip_empty(&mut self.reading, &self.plan.requests);
        let socket = self.sockets.get_mut::<Socket>(self.handle);
        if !socket.may_send() {
            return;
        }
        while self.asked < self.plan.requests.len()
            && self.asked - self.reading.0.min(self.asked) < self.plan.depth
        {
            let id = self.asked;
            self.outbox.extend(request(
                id as u32,
                self.plan.requests[id],
                self.plan.padding[id],
            ));
            self.asked += 1;
            if self.asked == self.plan.requests.len() && self.plan.server_closes {
                self.outbox.extend(request(0, u32::MAX, 0));
            }
        }
        let sent = socket.send_slice(&self.outbox).unwrap();
        self.outbox.drain(..sent);
        let all_asked = self.asked == self.plan.requests.len() && self.outbox.is_empty();
        let may_close = self.plan.early_fin || self.reading.0 == self.plan.requests.len();
        // With a closing server the client waits for its FIN.
        let waits = self.plan.server_closes && !self.plan.early_fin && socket.may_recv();
        if all_asked && may_close && !waits && !self.fin_sent {
            socket.close();
            self.fin_sent = true;
        }
    }

    pub fn next(&mut self, now: u64) -> Option<u64> {
        let at = self
            .iface
            .poll_at(Instant::from_micros(now as i64), &self.sockets)
            .map(|at| at.total_micros() as u64);
        let paused = (self.read_after > now && self.sockets.get::<Socket>(self.handle).can_recv())
            .then_some(self.read_after);
        match (at, paused) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

fn skip_empty(reading: &mut (usize, u32), requests: &[u32]) {
    while reading.0 < requests.len() && reading.1 >= requests[reading.0] {
        *reading = (reading.0 + 1, 0);
    }
}
