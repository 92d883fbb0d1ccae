//! A host with the real steering, injector and gateway, and connections as userspace would leave them: the numbers are
//! known, and the client waits for an answer.

use sidestep::handoff::{
    Gateway, GatewayError, Handoff, KernelHandoff, Proxy, Standing, Ticket, Ways,
};
use sidestep::inject::Injector;
use sidestep::steer::{AttachMode, Steering, Verdict};
use sidestep_config::ProxyProtocol;
use sidestep_tests::clock::{Deadline, PATIENCE};
use sidestep_tests::listener::{How, listen_as};
use sidestep_tests::net::{Net, RAW_MAC, SERVER_MAC};
use sidestep_tests::raw::{RawClient, Segment, ethernet, flag};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::thread;
use tcp_lite::{Endpoint, Flow};

/// Port of the service.
pub const PORT: u16 = 80;

/// The client's clock and ours, as last seen.
pub const CLOCKS: (u32, u32) = (7_000_000, u32::MAX - 3);

/// Handles of a gateway that a test has at a time.
const HANDLES: u32 = 2;

/// How connections go to the kernel.
#[derive(Clone, Copy)]
pub enum By {
    Kernel,
    Proxy,
    Both,
}

pub struct Stage {
    // The programs leave before their devices.
    pub handoff: Box<dyn Handoff>,
    gateway: Gateway,
    _proxy: Proxy,
    injector: Injector,
    steering: Steering,
    pub net: Net,
}

impl Stage {
    /// With the kernel's own way.
    pub fn new(mode: AttachMode) -> Self {
        Self::with(mode, By::Kernel)
    }

    pub fn with(mode: AttachMode, by: By) -> Self {
        let net = Net::new();
        let (steering, injector, gateway, proxy, handoff) = net.server.enter(|| {
            let mut steering = Steering::load(1, 1).unwrap_or_else(|error| panic!("{error}"));
            for at in net.server.addresses(PORT) {
                steering.add_service(at.ip(), PORT).expect("a service");
            }
            steering
                .attach(net.server.device, mode)
                .unwrap_or_else(|error| panic!("{error}"));
            let index = nix::net::if_::if_nametoindex(net.server.device).expect("the NIC");
            let injector = Injector::open(index).unwrap_or_else(|error| panic!("{error}"));
            let gateway = Gateway::attach(index, HANDLES).unwrap_or_else(|error| panic!("{error}"));
            let proxy = Proxy::start(index, 1).expect("a proxy");
            let own = || gateway.handle().expect("a handle");
            let proxied = || proxy.handle(ProxyProtocol::Off).expect("a handle");
            let handoff: Box<dyn Handoff> = match by {
                By::Kernel => Box::new(own()),
                By::Proxy => Box::new(proxied()),
                By::Both => Box::new(Ways::new(own(), proxied())),
            };
            (steering, injector, gateway, proxy, handoff)
        });
        Self {
            handoff,
            gateway,
            _proxy: proxy,
            injector,
            steering,
            net,
        }
    }

    /// As another daemon on the same NIC would have it, with a handle.
    pub fn another_gateway(&self) -> (Gateway, Box<dyn Handoff>) {
        let device = self.net.server.device;
        self.net.server.enter(|| {
            let index = nix::net::if_::if_nametoindex(device).expect("the NIC");
            let gateway = Gateway::attach(index, HANDLES).unwrap_or_else(|error| panic!("{error}"));
            let handoff: Box<dyn Handoff> = Box::new(gateway.handle().expect("a handle"));
            (gateway, handoff)
        })
    }

    /// As another worker would have it.
    pub fn another_handle(&self) -> Result<KernelHandoff, GatewayError> {
        let gateway = &self.gateway;
        self.net.server.enter(|| gateway.handle())
    }

    /// Sets one of the host's `net.ipv4`.
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/net/ipv4/{name}");
        let set = || std::fs::write(path, value);
        self.net.server.enter(set).expect("set");
    }

    pub fn clients(&self) -> [RawClient; 2] {
        [RawClient::v4(&self.net), RawClient::v6(&self.net)]
    }

    /// Listens as `how` says.
    pub fn listen(&self, at: IpAddr, how: How) -> TcpListener {
        listen_as(&self.net.server, (at, PORT).into(), how)
    }

    /// Takes the one place in the accept queue of a listener without a backlog.
    pub fn fill(&self, at: IpAddr) -> TcpStream {
        let connect = || TcpStream::connect((at, PORT));
        self.net.server.enter(connect).expect("a place")
    }

    /// What the gateway makes of a flow with the first of `segments` as its carrier, injected again while it is pending. The
    /// others follow once they are the kernel's.
    pub fn hand_over(&mut self, ticket: &Ticket, segments: &[Segment]) -> Standing {
        let (first, rest) = segments.split_first().expect("a carrier");
        let mut standing = self.offer(ticket);
        let deadline = Deadline::after(PATIENCE);
        loop {
            match standing {
                Standing::Waits => standing = self.offer(ticket),
                Standing::Pending => {
                    self.carry(ticket, first);
                    standing = self.look(ticket);
                }
                Standing::Ready => {
                    self.inject(segments);
                    return standing;
                }
                Standing::Taken => {
                    self.inject(rest);
                    return standing;
                }
                Standing::NoListener | Standing::Refused(_) => return standing,
            }
            assert!(!deadline.passed(), "still {standing:?}: {ticket:?}");
        }
    }

    /// Looks some times whether the segment has come through.
    fn look(&mut self, ticket: &Ticket) -> Standing {
        for _ in 0..1000 {
            match self.handoff.standing(&ticket.flow) {
                Standing::Pending => thread::yield_now(),
                standing => return standing,
            }
        }
        Standing::Pending
    }

    /// Offers, inside the host: the proxy makes sockets.
    pub fn offer(&mut self, ticket: &Ticket) -> Standing {
        let handoff = &mut self.handoff;
        let offer = || handoff.offer(ticket);
        self.net.server.enter(offer).expect("offered")
    }

    pub fn inject(&mut self, segments: &[Segment]) {
        for segment in segments {
            let mut frame = frame(segment);
            self.injector.inject(&mut frame).expect("injected");
        }
    }

    /// The carrier of an offer.
    pub fn carrier(&self, ticket: &Ticket, segment: &Segment) -> Vec<u8> {
        let mut frame = frame(segment);
        self.handoff.label(ticket, &mut frame);
        frame
    }

    /// Injects it.
    pub fn carry(&mut self, ticket: &Ticket, segment: &Segment) {
        self.late(vec![self.carrier(ticket, segment)]);
    }

    /// Injects carriers, whatever has become of their offers.
    pub fn late(&mut self, carriers: Vec<Vec<u8>>) {
        for mut frame in carriers {
            self.injector.carry(&mut frame).expect("injected");
        }
    }

    /// Injects a carrier like any other frame, as a client's would be that ends like one.
    pub fn disguise(&mut self, ticket: &Ticket, segment: &Segment) {
        let mut frame = self.carrier(ticket, segment);
        self.injector.inject(&mut frame).expect("injected");
    }

    /// Returns when everything injected so far has been seen by the kernel: frames keep their order, and one that
    /// came later was.
    pub fn settle(&mut self, client: &mut RawClient) {
        let ticket = ticket(client, 0);
        let other = Ticket {
            flow: Flow {
                local: Endpoint {
                    port: PORT + 1,
                    ..ticket.flow.local
                },
                ..ticket.flow
            },
            ..ticket
        };
        let segment = carrier(client, &other, 0, b"x", 0);
        assert_eq!(self.hand_over(&other, &[segment]), Standing::NoListener);
        self.handoff.forget(&other.flow);
    }

    pub fn count(&self, verdict: Verdict) -> u64 {
        self.steering.counters().expect("counters")[verdict as usize]
    }
}

fn frame(segment: &Segment) -> Vec<u8> {
    ethernet(SERVER_MAC, RAW_MAC, &segment.vlans, &segment.packet())
}

/// A fresh connection; of the three lowest bits of `options`, timestamps, SACK and window scaling. Its numbers are about to
/// wrap.
pub fn ticket(client: &mut RawClient, options: u32) -> Ticket {
    let end = |addr: IpAddr, port| Endpoint {
        addr: addr.into(),
        port,
    };
    Ticket {
        flow: Flow {
            local: end(client.peer, PORT),
            remote: end(client.addr, client.port()),
        },
        seq: u32::MAX - 20,
        ack: u32::MAX - 5,
        mss: 1400,
        snd_wscale: (options & 4 != 0).then_some(7),
        rcv_wscale: 0,
        sack: options & 2 != 0,
        ecn: false,
        timestamps: (options & 1 != 0).then_some(CLOCKS),
    }
}

/// The client's segment `from` bytes behind the ticket's number.
pub fn carrier(
    client: &RawClient,
    ticket: &Ticket,
    from: usize,
    data: &[u8],
    flags: u8,
) -> Segment {
    let Flow { local, remote } = ticket.flow;
    let mut segment = client.segment(remote.port, local.port);
    segment.seq = ticket.seq.wrapping_add(from as u32);
    segment.ack = ticket.ack;
    segment.flags = flag::ACK | flags;
    segment.payload = data.to_vec();
    if let Some((theirs, ours)) = ticket.timestamps {
        segment.options = [
            &[1, 1, 8, 10],
            &theirs.to_be_bytes()[..],
            &ours.to_be_bytes(),
        ]
        .concat();
    }
    segment
}
