//! Whole connections: each is opened, asks once, and is closed.

use super::case::Closes;
use super::{BATCH, Measured, Options};
use sidestep_tests::mem::{MemConn, MemHost};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Ports of one client; those that follow have another address.
const PORTS: u32 = 50_000;
/// The least of them.
const FIRST_PORT: u32 = 1024;
/// Segments of the host for a connection: its SYN-ACK, the answer, and the last ACK or FIN. Less TCP does not allow.
const SENT: usize = 3;

/// What comes next from a client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Ask,
    End,
    /// Of the host's FIN.
    Acknowledge,
}

/// The clients.
struct Clients<'a> {
    closes: Closes,
    request: &'a [u8],
    answer: usize,
    /// By port: those that wait for the host are in [`Turn`] of what they say then.
    open: HashMap<u16, (SocketAddr, Option<MemConn>, Turn)>,
    /// Those that have something to say.
    ready: Vec<u16>,
    begun: u32,
    answered: usize,
    sent: usize,
}

fn server() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 80))
}

impl Clients<'_> {
    /// The frames of one turn of everyone, and of `new` connections.
    fn speak(&mut self, new: usize, host: &mut MemHost) {
        for port in std::mem::take(&mut self.ready) {
            let Some((from, conn, turn)) = self.open.remove(&port) else {
                continue;
            };
            let mut conn = conn.expect("it is open");
            match turn {
                Turn::Ask => {
                    assert!(host.offer(&conn.ack()) && host.offer(&conn.data(self.request)));
                    self.open.insert(port, (from, Some(conn), Turn::End));
                }
                Turn::End => {
                    assert!(host.offer(&conn.fin()));
                    self.open
                        .insert(port, (from, Some(conn), Turn::Acknowledge));
                }
                Turn::Acknowledge => assert!(host.offer(&conn.ack())),
            }
        }
        for _ in 0..new {
            let [_, a, b, c] = (self.begun / PORTS).to_be_bytes();
            let port = (FIRST_PORT + self.begun % PORTS) as u16;
            let from = SocketAddr::from(([10, a, b, c + 1], port));
            assert!(host.offer(&MemConn::syn(from, server())));
            self.open.insert(port, (from, None, Turn::Ask));
            self.begun += 1;
        }
    }

    /// Hears a frame of the host's.
    fn hear(&mut self, frame: &[u8]) {
        let port = u16::from_be_bytes([frame[36], frame[37]]);
        let (from, conn, turn) = self.open.get_mut(&port).expect("it is somebody's");
        self.sent += 1;
        match conn {
            None => *conn = MemConn::answered(*from, server(), frame),
            Some(conn) => {
                let data = conn.take(frame).len();
                self.answered += data;
                if *turn == Turn::End {
                    assert_eq!(data, self.answer, "one segment has it all");
                    assert_eq!(
                        MemConn::is_ended(frame),
                        self.closes == Closes::Server,
                        "the answer has the FIN where the request wants it"
                    );
                }
            }
        }
        let done = self.closes == Closes::Server && *turn == Turn::Acknowledge;
        if done {
            self.open.remove(&port);
        } else {
            self.ready.push(port);
        }
    }
}

/// Runs it. In each batch some connections begin, as many ask, and as many end.
pub(super) fn measure(options: &Options, closes: Closes, warm: impl FnOnce()) -> Measured {
    let mut host = MemHost::new(&options.case.config(), 1024, 1024);
    let mut first = MemConn::open(&mut host, ([192, 0, 2, 2], 1024).into(), server());
    let request = &options.case.requests(&mut host, &mut first)[0];
    let answer = first.request(&mut host, request.as_bytes()).len();
    let mut clients = Clients {
        closes,
        request: request.as_bytes(),
        answer,
        open: HashMap::new(),
        ready: Vec::new(),
        begun: 0,
        answered: 0,
        sent: 0,
    };
    // SYN, ACK and request, FIN; and the ACK of the host's FIN where that is no answer's.
    let frames = match closes {
        Closes::Server => 4,
        Closes::Client => 5,
    };
    let each = BATCH / frames;
    let batches = options.requests.div_ceil(each);
    let mut measured = Measured::of(batches * each);
    let mut done = 0;
    let mut warm = Some(warm);
    for batch in 0..options.warm_up + batches {
        clients.speak(each, &mut host);
        (clients.answered, clients.sent) = (0, 0);
        if batch < options.warm_up {
            host.run();
        } else {
            if let Some(warm) = warm.take() {
                warm();
            }
            measured.run(&mut host, &mut done);
        }
        host.take_sent(|frame| clients.hear(frame));
        if batch >= frames {
            assert_eq!(clients.answered, each * answer, "bytes in batch {batch}");
            assert_eq!(clients.sent, each * SENT, "segments in batch {batch}");
        }
        measured.bytes += clients.answered;
        host.advance(Duration::from_micros(50));
    }
    assert_eq!(done, batches);
    measured
}
