//! Connections that leave for the kernel, with a kernel that does as it is told.

use super::{PING, at, config, open, ping_answer};
use sidestep::handoff::{Handoff, Standing, Ticket};
use sidestep_tests::mem::{MemConn, MemHost};
use sidestep_tests::raw::{Received, flag};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tcp_lite::{Endpoint, Flow};

const MISS: &str = "GET /elsewhere HTTP/1.1\r\nHost: test\r\n\r\n";

#[derive(Clone)]
pub(super) struct Kernel(Arc<Mutex<Told>>);

pub(super) struct Told {
    listens: bool,
    asked: usize,
    on_offer: Standing,
    standing: Standing,
    offered: Vec<Ticket>,
    forgotten: usize,
}

impl Kernel {
    pub(super) fn new(standing: Standing) -> Self {
        Self(Arc::new(Mutex::new(Told {
            listens: true,
            asked: 0,
            on_offer: Standing::Pending,
            standing,
            offered: Vec::new(),
            forgotten: 0,
        })))
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl Handoff for Kernel {
    fn offer(&mut self, ticket: &Ticket) -> io::Result<Standing> {
        let mut told = self.told();
        told.offered.push(*ticket);
        Ok(told.on_offer)
    }

    fn standing(&mut self, _: &Flow) -> Standing {
        self.told().standing
    }

    fn forget(&mut self, _: &Flow) {
        self.told().forgotten += 1;
    }

    fn listens(&mut self, _: &Endpoint) -> bool {
        let mut told = self.told();
        told.asked += 1;
        told.listens
    }
}

fn host(standing: Standing) -> (MemHost, Kernel) {
    let kernel = Kernel::new(standing);
    let host = MemHost::beside_kernel(&config("kernel"), 64, 64, Box::new(kernel.clone()));
    (host, kernel)
}

fn read(frames: &[Vec<u8>]) -> Vec<Received> {
    frames
        .iter()
        .map(|f| Received::parse(f).expect("a segment"))
        .collect()
}

fn status(answer: &[u8]) -> String {
    let line = answer.split(|&b| b == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

#[test]
fn a_first_miss_goes_with_all_that_is_behind_it_in_order() {
    let (mut host, kernel) = host(Standing::Taken);
    let mut conn = open(&mut host, 4000);
    let (seq, ack) = conn.numbers();
    let (first, second) = (conn.data(MISS.as_bytes()), conn.data(PING.as_bytes()));
    assert_eq!(
        host.exchange(&[first, second.clone()]),
        Vec::<Vec<u8>>::new()
    );
    let injected = host.take_injected();
    let [carrier, behind] = &read(&injected)[..] else {
        panic!("{injected:?}")
    };
    assert_eq!((carrier.seq, carrier.ack), (seq, ack));
    assert_eq!(carrier.payload, MISS.as_bytes());
    assert_eq!(carrier.flags, flag::ACK | flag::PSH);
    assert_eq!(behind.payload, PING.as_bytes());
    assert_eq!(injected[1], second);
    assert_eq!(injected[0][..12], second[..12], "Ethernet addresses");
    let told = kernel.told();
    assert_eq!((told.offered.len(), told.forgotten), (1, 1));
    let ticket = told.offered[0];
    assert_eq!((ticket.seq, ticket.ack, ticket.mss), (seq, ack, 1460));
    drop(told);
    assert_eq!(host.connections(), 0);
    assert_eq!(host.counter("handoff", "taken"), 1);
    assert_eq!(host.counter("http_left", "path"), 1);
    // What comes later belongs to nobody here: it goes to the kernel as it is.
    let late = conn.data(b"late");
    assert_eq!(
        host.exchange(std::slice::from_ref(&late)),
        Vec::<Vec<u8>>::new()
    );
    assert_eq!(host.take_injected(), [late]);
}

#[test]
fn hits_before_a_miss_are_answered_and_acknowledged_first() {
    let (mut host, kernel) = host(Standing::Taken);
    let mut conn = open(&mut host, 4000);
    let (seq, _) = conn.numbers();
    let all = [PING, PING, MISS, PING].concat();
    let sent = host.exchange(&[conn.data(all.as_bytes())]);
    let answers: Vec<u8> = sent.iter().flat_map(|f| conn.take(f)).collect();
    assert_eq!(answers, ping_answer().repeat(2));
    let acked = read(&sent).last().expect("a segment").ack;
    assert_eq!(
        acked,
        seq.wrapping_add(2 * PING.len() as u32),
        "no more than was answered"
    );
    assert_eq!(host.take_injected(), Vec::<Vec<u8>>::new());
    assert_eq!(host.exchange(&[conn.ack()]), Vec::<Vec<u8>>::new());
    let carrier = &read(&host.take_injected())[0];
    assert_eq!(carrier.payload, [MISS, PING].concat().as_bytes());
    assert_eq!((carrier.seq, carrier.ack), (acked, conn.numbers().1));
    assert_eq!(kernel.told().offered.len(), 1);
    assert_eq!(host.counter("http", "requests"), 2);
}

#[test]
fn while_the_kernel_has_no_room_the_carrier_is_repeated_and_the_rest_waits() {
    let (mut host, kernel) = host(Standing::Pending);
    let mut conn = open(&mut host, 4000);
    let rest = [
        conn.data(MISS.as_bytes()),
        conn.data(b"one"),
        conn.data(b"two"),
    ];
    host.exchange(&rest[..2]);
    assert_eq!(host.take_injected().len(), 1, "the carrier alone");
    assert_eq!(
        (host.connections(), host.counter("connections", "leaving")),
        (1, 1)
    );
    let mut carriers = 0;
    for _ in 0..100 {
        host.advance(Duration::from_millis(5));
        assert_eq!(host.exchange(&[]), Vec::<Vec<u8>>::new());
        carriers += host.take_injected().len();
    }
    assert!((3..20).contains(&carriers), "{carriers} in half a second");
    host.exchange(&rest[2..]);
    kernel.told().standing = Standing::Taken;
    host.advance(Duration::from_millis(200));
    host.exchange(&[]);
    let injected = host.take_injected();
    assert_eq!(injected, rest[1..]);
    assert_eq!((host.connections(), kernel.told().forgotten), (0, 1));
}

#[test]
fn while_the_server_lets_no_proxy_in_nothing_goes_to_the_kernel() {
    let (mut host, kernel) = host(Standing::Waits);
    kernel.told().on_offer = Standing::Waits;
    let mut conn = open(&mut host, 4000);
    // More than one carrier holds.
    let body = vec![b'x'; 40_000];
    let head = format!(
        "POST /elsewhere HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let all = [head.as_bytes(), &body].concat();
    let frames: Vec<_> = all.chunks(1400).map(|part| conn.data(part)).collect();
    host.exchange(&frames);
    for _ in 0..20 {
        host.advance(Duration::from_millis(50));
        assert_eq!(host.exchange(&[]), Vec::<Vec<u8>>::new());
    }
    let tries = kernel.told().offered.len();
    assert!((3..20).contains(&tries), "{tries} in a second");
    assert_eq!(host.take_injected(), Vec::<Vec<u8>>::new());
    kernel.told().standing = Standing::Ready;
    host.advance(Duration::from_millis(200));
    host.exchange(&[]);
    let injected = read(&host.take_injected());
    let got: Vec<u8> = injected.iter().flat_map(|s| s.payload.clone()).collect();
    assert!(got == all, "{} bytes, each once and in order", got.len());
    assert_eq!((host.connections(), kernel.told().forgotten), (0, 1));
    assert_eq!(host.counter("handoff", "taken"), 1);
}

#[test]
fn a_server_that_lets_no_proxy_in_costs_one_request() {
    let (mut host, kernel) = host(Standing::Waits);
    kernel.told().on_offer = Standing::Waits;
    let mut conn = open(&mut host, 4000);
    host.exchange(&[conn.data(MISS.as_bytes())]);
    let mut answer = Vec::new();
    for _ in 0..60 {
        host.advance(Duration::from_millis(100));
        answer.extend(host.exchange(&[]).iter().flat_map(|f| conn.take(f)));
    }
    assert_eq!(status(&answer), "HTTP/1.1 503 Service Unavailable");
    assert_eq!(host.counter("handoff", "too_late"), 1);
    kernel.told().on_offer = Standing::NoListener;
    let answer = conn.request(&mut host, MISS.as_bytes());
    assert_eq!(status(&answer), "HTTP/1.1 503 Service Unavailable");
    assert_eq!(host.counter("handoff", "no_listener"), 1);
    assert_eq!(host.take_injected(), Vec::<Vec<u8>>::new());
    let answer = conn.request(&mut host, PING.as_bytes());
    assert_eq!(status(&answer), "HTTP/1.1 200 OK");
}

#[test]
fn where_nobody_listens_the_request_alone_is_refused() {
    let (mut host, kernel) = host(Standing::Taken);
    kernel.told().listens = false;
    let mut conn = open(&mut host, 4000);
    let answer = conn.request(&mut host, MISS.as_bytes());
    assert_eq!(status(&answer), "HTTP/1.1 503 Service Unavailable");
    assert_eq!(conn.request(&mut host, PING.as_bytes()), ping_answer());
    assert_eq!(host.counter("handoff", "no_listener"), 1);
    assert_eq!(
        (kernel.told().offered.len(), host.take_injected().len()),
        (0, 0)
    );
    // Later there is a server.
    kernel.told().listens = true;
    assert_eq!(conn.request(&mut host, MISS.as_bytes()), b"");
    assert_eq!(host.counter("handoff", "taken"), 1);
}

#[test]
fn a_listener_that_went_away_in_between_costs_one_request() {
    for (standing, label) in [
        (Standing::NoListener, "no_listener"),
        (Standing::Refused(22), "refused"),
    ] {
        let (mut host, _) = host(standing);
        let mut conn = open(&mut host, 4000);
        let both = [MISS, PING].concat();
        let answer = conn.request(&mut host, both.as_bytes());
        assert_eq!(status(&answer), "HTTP/1.1 503 Service Unavailable");
        assert!(answer.ends_with(&ping_answer()));
        assert_eq!(host.counter("handoff", label), 1);
        assert_eq!(host.connections(), 1);
    }
}

#[test]
fn that_somebody_listens_is_believed_for_a_while_and_until_a_connection_comes_back() {
    let (mut host, kernel) = host(Standing::Taken);
    let miss = |host: &mut MemHost, port| {
        let mut conn = open(host, port);
        conn.request(host, MISS.as_bytes());
        kernel.told().asked
    };
    assert_eq!(miss(&mut host, 4000), 1);
    host.advance(Duration::from_millis(99));
    assert_eq!(miss(&mut host, 4001), 1);
    host.advance(Duration::from_millis(1));
    assert_eq!(miss(&mut host, 4002), 2);
    kernel.told().standing = Standing::NoListener;
    assert_eq!(miss(&mut host, 4003), 2);
    assert_eq!(miss(&mut host, 4004), 3);
    // That nobody listens is never taken for granted.
    kernel.told().listens = false;
    assert_eq!(miss(&mut host, 4005), 4);
    assert_eq!(miss(&mut host, 4006), 5);
}

#[test]
fn where_the_next_request_begins_is_unknown_behind_a_body_that_nobody_took() {
    let (mut host, _) = host(Standing::NoListener);
    let mut conn = open(&mut host, 4000);
    let post = "POST /form HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nbody";
    let sent = host.exchange(&[conn.data(post.as_bytes())]);
    let last = read(&sent).pop().expect("an answer");
    assert!(last.has(flag::FIN));
    assert!(last.payload.starts_with(b"HTTP/1.1 503 "));
}

#[test]
fn what_the_kernel_never_takes_is_refused_in_the_end() {
    let (mut host, kernel) = host(Standing::Pending);
    let mut conn = open(&mut host, 4000);
    host.exchange(&[conn.data(MISS.as_bytes())]);
    let mut answer = Vec::new();
    for _ in 0..100 {
        host.advance(Duration::from_millis(100));
        answer.extend(host.exchange(&[]).iter().flat_map(|f| conn.take(f)));
    }
    assert_eq!(status(&answer), "HTTP/1.1 503 Service Unavailable");
    assert_eq!(host.counter("handoff", "too_late"), 1);
    assert_eq!(kernel.told().forgotten, 1);
}

#[test]
fn too_many_at_once_are_refused() {
    let kernel = Kernel::new(Standing::Pending);
    let config = config("kernel").replace("connections = 1000", "connections = 2000");
    let mut host = MemHost::beside_kernel(&config, 64, 64, Box::new(kernel.clone()));
    let mut refused = 0;
    for port in 2000..3030 {
        let mut conn = open(&mut host, port);
        let answer = conn.request(&mut host, MISS.as_bytes());
        refused += usize::from(status(&answer) == "HTTP/1.1 503 Service Unavailable");
    }
    assert_eq!(refused, 1030 - 1024);
    assert_eq!(host.counter("handoff", "no_room"), 6);
    kernel.told().standing = Standing::Taken;
    host.advance(Duration::from_secs(1));
    host.exchange(&[]);
    assert_eq!(host.counter("handoff", "taken"), 1024);
    let mut conn = open(&mut host, 4000);
    assert_eq!(conn.request(&mut host, MISS.as_bytes()), b"");
}

#[test]
fn a_client_that_resets_while_answers_are_out_makes_room_again() {
    let (mut host, _) = host(Standing::Taken);
    for port in 2000..4100 {
        let mut conn = open(&mut host, port);
        let sent = host.exchange(&[conn.data([PING, MISS].concat().as_bytes())]);
        assert!(!sent.is_empty(), "{port}");
        host.exchange(&[conn.reset()]);
    }
    assert_eq!(
        (host.connections(), host.counter("handoff", "no_room")),
        (0, 0)
    );
}

#[test]
fn a_drain_hands_over_what_is_idle_at_once_and_what_is_busy_once_it_is_answered() {
    let (mut host, kernel) = host(Standing::Taken);
    let idle = open(&mut host, 4000);
    let mut busy = open(&mut host, 4001);
    let mut half = open(&mut host, 4002);
    assert_eq!(half.request(&mut host, b"GET /el"), b"");
    let sent = host.exchange(&[busy.data(PING.as_bytes())]);
    host.drain();
    host.exchange(&[]);
    let mut injected = read(&host.take_injected());
    injected.sort_by_key(|segment| segment.sport);
    let [first, second] = &injected[..] else {
        panic!("{injected:?}")
    };
    assert_eq!((first.seq, first.ack), idle.numbers());
    assert_eq!((first.flags, &first.payload[..]), (flag::ACK, &b""[..]));
    assert_eq!(second.payload, b"GET /el");
    assert_eq!(host.connections(), 1);
    let answer: Vec<u8> = sent.iter().flat_map(|f| busy.take(f)).collect();
    assert_eq!(answer, ping_answer());
    host.exchange(&[busy.ack()]);
    assert_eq!((host.connections(), host.take_injected().len()), (0, 1));
    assert_eq!(kernel.told().offered.len(), 3);
    // A new connection is the kernel's from the start.
    let syn = MemConn::syn(client(4003), at("192.0.2.1:80"));
    assert_eq!(
        host.exchange(std::slice::from_ref(&syn)),
        Vec::<Vec<u8>>::new()
    );
    assert_eq!(host.take_injected(), [syn]);
}

fn client(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([192, 0, 2, 2]), port)
}

#[test]
fn a_drain_without_a_server_serves_on_and_closes_in_the_end() {
    let mut host = MemHost::new(&config("none"), 64, 64);
    let mut conn = open(&mut host, 4000);
    let _idle = open(&mut host, 4001);
    host.drain();
    assert_eq!(host.exchange(&[]), Vec::<Vec<u8>>::new());
    assert_eq!(host.connections(), 2);
    let sent = host.exchange(&[conn.data(PING.as_bytes())]);
    let answer = read(&sent).pop().expect("an answer");
    let text = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(
        text.starts_with("HTTP/1.1 200 OK") && text.contains("Connection: close"),
        "{text}"
    );
    assert!(answer.has(flag::FIN));
    host.close();
    let sent = read(&host.exchange(&[]));
    assert!(
        sent.iter().any(|s| s.dport == 4001 && s.has(flag::FIN)),
        "{sent:?}"
    );
}

#[test]
fn a_drain_that_finds_a_server_later_hands_over_then() {
    let (mut host, kernel) = host(Standing::Taken);
    kernel.told().listens = false;
    let _idle = open(&mut host, 4000);
    host.drain();
    host.exchange(&[]);
    assert_eq!(host.connections(), 1);
    kernel.told().listens = true;
    host.advance(Duration::from_millis(150));
    host.exchange(&[]);
    assert_eq!(
        (host.connections(), host.counter("handoff", "taken")),
        (0, 1)
    );
}

#[test]
fn what_waited_for_room_to_be_refused_leaves_by_a_timer() {
    let (mut host, kernel) = host(Standing::Taken);
    // All the stack's room for answers is taken by clients that acknowledge nothing. Two heads in turn: several of one
    // would take the room of one.
    let batch = [PING, &PING.replace("test", "tess")].concat().repeat(16);
    for port in 2000..2512 {
        let mut conn = open(&mut host, port);
        for _ in 0..16 {
            host.exchange(&[conn.data(batch.as_bytes())]);
        }
    }
    let mut conn = open(&mut host, 4000);
    kernel.told().listens = false;
    assert_eq!(conn.request(&mut host, MISS.as_bytes()), b"");
    kernel.told().listens = true;
    host.advance(Duration::from_millis(20));
    host.exchange(&[]);
    assert_eq!(host.next_deadline(), Some(Duration::ZERO));
    host.exchange(&[]);
    let injected = read(&host.take_injected());
    assert_eq!(injected[0].payload, MISS.as_bytes());
}
