//! Real clients of a machine, which compare every answer.

use super::Image;
use super::image::{PAGE, WHO_PATH};
use crate::clock::now;
use crate::http::{Answer, Client};
use crate::net::Host;
use std::io::{self, Error};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Longest wait of a client for one answer. An attach or a detach restarts a NIC, which is down for a second or two, the
/// retransmissions of both sides back off meanwhile, and a machine whose host has other work is ten times as slow.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Longest that curl may take for a page.
const CURL_LIMIT: Duration = Duration::from_secs(300);
/// Connections of a load: so many that one queue of two gets them all once in 2^31 runs.
const CONNECTIONS: usize = 32;
/// Answers for each of them.
const ANSWERS: usize = 8;
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
    /// The connection's, or a wrong answer.
    pub fn keep_alive(&self, to: SocketAddr) -> io::Result<()> {
        let mut client = Client::new(self.host.connect(to, PATIENCE)?);
        for _ in 0..3 {
            self.page(&mut client)?;
        }
        Ok(())
    }

    /// Many connections at once, some requests each; returns how many answers a second there were.
    ///
    /// # Errors
    /// The first that a connection had, or a wrong answer.
    pub fn load(&self, to: SocketAddr) -> io::Result<f64> {
        let start = now();
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..CONNECTIONS)
                .map(|_| scope.spawn(|| self.some_pages(to)))
                .collect();
            let ended = all.into_iter().map(|one| {
                one.join()
                    .unwrap_or_else(|_| Err(Error::other("a client panicked")))
            });
            ended.collect::<io::Result<Vec<()>>>()
        })?;
        Ok((CONNECTIONS * ANSWERS) as f64 / (now() - start).as_secs_f64())
    }

    /// Requests on one connection, and on another each time that the server closes, as the kernel's does.
    fn some_pages(&self, to: SocketAddr) -> io::Result<()> {
        let mut open: Option<Client> = None;
        for n in 1..=ANSWERS {
            let mut client = match open.take() {
                Some(client) => client,
                None => Client::new(self.host.connect(to, PATIENCE)?),
            };
            let me = client.stream().local_addr()?;
            let answer = self.page(&mut client).map_err(|error| {
                let which = format!("{me} to {to}, answer {n} of {ANSWERS}: {error}");
                Error::new(error.kind(), which)
            })?;
            if answer.field("connection") != Some("close") {
                open = Some(client);
            }
        }
        Ok(())
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
                let answer = self.page(&mut client)?;
                right.fetch_add(1, Ordering::Relaxed);
                let closes = answer.field("connection") == Some("close");
                if closes || stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Asks for the page, and compares every byte of the answer.
    fn page(&self, client: &mut Client) -> io::Result<Answer> {
        let answer = client.get(PAGE)?;
        if answer.status == 200 && answer.body == self.image.page {
            return Ok(answer);
        }
        let (length, head) = (answer.body.len(), &answer.head);
        let mut pairs = answer.body.iter().zip(&self.image.page);
        let same = pairs.position(|(got, right)| got != right);
        let same = same.unwrap_or(length.min(self.image.page.len()));
        let what = format!("a wrong answer, {length} bytes, of which {same} are right: {head}");
        Err(Error::other(what))
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
