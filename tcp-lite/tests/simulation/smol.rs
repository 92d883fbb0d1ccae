//! smoltcp as the client: independent code, with its own idea of TCP.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use tcp_lite::CloseReason;

use crate::peer::Peer;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::server::{STRETCH, pattern};

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
            self.outbox.extend(self.plan.request(id));
            self.asked += 1;
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
}

impl Peer for Client {
    fn arrive(&mut self, _: u64, packet: Vec<u8>) {
        self.device.rx.push_back(packet);
    }

    fn step(&mut self, now: u64) {
        let at = Instant::from_micros(now as i64);
        self.iface.poll(at, &mut self.device, &mut self.sockets);
        self.read(now);
        self.write();
        self.iface.poll(at, &mut self.device, &mut self.sockets);
    }

    fn said(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.device.tx)
    }

    fn next(&mut self, now: u64) -> Option<u64> {
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

    fn finished(&self) -> bool {
        let open = self.sockets.get::<Socket>(self.handle).is_open();
        self.done() && !open
    }

    /// smoltcp 0.14 never repeats a lost FIN if three duplicate ACKs come while only that is outstanding: they stop its timer.
    fn forgot_its_fin(&self) -> bool {
        let state = self.sockets.get::<Socket>(self.handle).state();
        self.done() && state == State::FinWait1
    }

    fn progress(&self) -> String {
        let socket = self.sockets.get::<Socket>(self.handle);
        format!(
            "{:?} reading {:?} asked {} of {}",
            socket.state(),
            self.reading,
            self.asked,
            self.plan.requests.len()
        )
    }

    /// Who reads slowly from a large buffer says FIN later than the server lingers.
    fn excuses(&self, why: CloseReason) -> bool {
        why == CloseReason::PeerReset || why == CloseReason::LingerTimeout && self.plan.pause > 0
    }
}

fn skip_empty(reading: &mut (usize, u32), requests: &[u32]) {
    while reading.0 < requests.len() && reading.1 >= requests[reading.0] {
        *reading = (reading.0 + 1, 0);
    }
}
