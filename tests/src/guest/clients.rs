//! Real clients of a machine, which compare every answer.

use super::Image;
use super::image::{PAGE, WHO_PATH};
use crate::http::Client;
use crate::net::Host;
use crate::wrk::Wrk;
use std::io::{self, Error};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Longest wait of a client for one answer. An attach or a detach restarts a NIC, which is down for a second or two, and the
/// retransmissions of both sides back off meanwhile.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// Longest that curl may take for a page.
const CURL_LIMIT: Duration = Duration::from_secs(60);
/// How long wrk loads an address; twice as long each time that it gets fewer answers than [`LEAST`], as on a loaded machine,
/// where the emulation hardly moves.
const LOADS: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(32),
];
/// Connections of wrk: so many that one queue of two gets them all once in 2^31 runs.
const CONNECTIONS: u32 = 32;
/// Answers that wrk has to get in one go: three for each connection. A machine that stalls gives none.
const LEAST: u64 = 3 * CONNECTIONS as u64;
/// Bytes of a body for the server: more than its receive window at the start, and more than a GSO frame.
const BODY: usize = 150_000;
/// Requests that a visitor sends on a connection at most.
const VISITS: usize = 20;

/// How a request for the server arrives.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// As the connection's first.
    First,
    /// In one segment behind two that sidestep answers.
    Pipelined,
    /// After three that sidestep has answered.
    Later,
    /// With a body of many segments.
    WithBody,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::First, Self::Pipelined, Self::Later, Self::WithBody];
}

/// The clients' host, and what they must get.
#[derive(Clone, Copy)]
pub struct Clients<'a> {
    /// Where they run.
    pub host: &'a Host,
    /// Whose files they ask for.
    pub image: &'a Image,
}

impl Clients<'_> {
    /// curl fetches `path`.
    ///
    /// # Panics
    /// When it does not get `expected`.
    pub fn curl(&self, to: SocketAddr, path: &str, expected: &[u8]) {
        let limit = CURL_LIMIT.as_secs().to_string();
        let url = format!("http://{to}{path}");
        let argv = ["curl", "-sS", "--max-time", &limit, &url];
        let done = self.host.run(&argv, 2 * CURL_LIMIT);
        assert_eq!(done.code(), 0, "{}", done.stderr);
        let length = done.stdout.len();
        assert!(
            done.stdout.as_bytes() == expected,
            "{url}: {length} bytes, not those expected"
        );
    }

    /// One connection, some requests for the page.
    ///
    /// # Errors
    /// The connection's.
    ///
    /// # Panics
    /// When an answer is wrong.
    pub fn keep_alive(&self, to: SocketAddr) -> io::Result<()> {
        let mut client = Client::new(self.host.connect(to, PATIENCE)?);
        for _ in 0..3 {
            self.page(&mut client)?;
        }
        Ok(())
    }

    /// wrk until it has had enough answers; returns how many a second.
    ///
    /// # Panics
    /// When an answer is wrong or does not come.
    pub fn load(&self, to: SocketAddr) -> f64 {
        let mut last = 0;
        for duration in LOADS {
            let load = Wrk {
                to,
                path: PAGE,
                body: &self.image.page,
                connections: CONNECTIONS,
                pipeline: 1,
                duration,
                timeout: PATIENCE,
            };
            let counts = load.run(self.host);
            counts.assert_clean(0);
            last = counts.requests;
            if last >= LEAST {
                return last as f64 / duration.as_secs_f64();
            }
        }
        panic!("wrk got {last} answers of {LEAST} from {to}, in ever longer runs: {LOADS:?}");
    }

    /// A request that the server has to take over. It must see the client's own address and port, and get every byte.
    ///
    /// # Errors
    /// The connection's.
    ///
    /// # Panics
    /// When an answer is wrong.
    pub fn hand_over(&self, to: SocketAddr, way: Way) -> io::Result<()> {
        let stream = self.host.connect(to, PATIENCE)?;
        let me = stream.local_addr()?;
        let mut client = Client::new(stream);
        let (mut pipelined, mut method, mut body): (_, _, &[u8]) = (0, "GET", &[]);
        match way {
            Way::First => {}
            Way::Pipelined => pipelined = 2,
            Way::Later => {
                for _ in 0..3 {
                    self.page(&mut client)?;
                }
            }
            Way::WithBody => (method, body) = ("POST", &self.image.download[..BODY]),
        }
        let page = format!("GET {PAGE} HTTP/1.1\r\nHost: test\r\n\r\n");
        let length = body.len();
        let mut request = page.repeat(pipelined);
        request += &format!(
            "{method} {WHO_PATH} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
        );
        client.send([request.as_bytes(), body].concat())?;
        for _ in 0..pipelined {
            assert_eq!(client.answer()?.body, self.image.page);
        }
        let answer = client.answer()?;
        let expected = [expected_line(me, method).as_bytes(), body].concat();
        assert!(
            answer.status == 200 && answer.body == expected,
            "{way:?}: not {} bytes that begin with {:?} but {}: {:?}\n{}",
            expected.len(),
            expected_line(me, method),
            answer.body.len(),
            String::from_utf8_lossy(answer.body.split_at(answer.body.len().min(64)).0),
            answer.head
        );
        Ok(())
    }

    /// Asks for the page until told to stop, and comes back when the server closes.
    ///
    /// # Errors
    /// The connections', or a wrong answer.
    pub fn visit(&self, to: SocketAddr, stop: &AtomicBool, right: &AtomicU64) -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let mut client = Client::new(self.host.connect(to, PATIENCE)?);
            for _ in 0..VISITS {
                let answer = client.get(PAGE)?;
                if answer.status != 200 || answer.body != self.image.page {
                    let (length, head) = (answer.body.len(), &answer.head);
                    return Err(Error::other(format!(
                        "a wrong answer, {length} bytes: {head}"
                    )));
                }
                right.fetch_add(1, Ordering::Relaxed);
                let closes = answer.field("connection") == Some("close");
                if closes || stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
        Ok(())
    }

    fn page(&self, client: &mut Client) -> io::Result<()> {
        let answer = client.get(PAGE)?;
        let right = answer.status == 200 && answer.body == self.image.page;
        assert!(right, "{} bytes: {}", answer.body.len(), answer.head);
        Ok(())
    }
}

/// What `tests/zc/who` says of a client: busybox httpd's variables.
fn expected_line(me: SocketAddr, method: &str) -> String {
    let port = me.port();
    match me.ip() {
        IpAddr::V4(ip) => format!("[::ffff:{ip}] {port} {method}\n"),
        IpAddr::V6(ip) => format!("[{ip}] {port} {method}\n"),
    }
}
