//! The two servers that are compared: same answers, byte for byte, over two TCPs.

use sidestep_tests::clock::{PATIENCE, wait_for};
use sidestep_tests::http::Client;
use sidestep_tests::net::{Net, SERVER_IF};
use sidestep_tests::server::Server;
use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

/// Where `sidestep` listens.
pub const OURS: u16 = 80;
/// Where the kernel's own server listens.
pub const LINUX: u16 = 8080;

/// Length of each request, bytes.
pub const REQUEST: usize = 100;
/// Each path with "does the request ask to close?" and the length of its whole answer, head included, in bytes.
const ANSWERS: [(&str, bool, usize); 4] = [
    ("/small", false, 1_000),
    ("/last", true, 1_000),
    ("/large", false, 40_000),
    ("/largest", true, 20_000),
];

/// Length of a `Date` value (RFC 9110 section 5.6.7).
const DATE: usize = 29;

/// Length of the value of `ETag`.
const TAG: usize = 24;

/// An answer whose Date is not compared.
pub struct Answer {
    bytes: Vec<u8>,
    date: usize,
}

impl Answer {
    /// Whether `data` is what stands at offset `at` of this answer sent over and over.
    pub fn holds(&self, at: usize, data: &[u8]) -> bool {
        (at..).zip(data).all(|(at, byte)| {
            let at = at % self.bytes.len();
            (self.date..self.date + DATE).contains(&at) || self.bytes[at] == *byte
        })
    }
}

/// The answers by (path, close).
pub type Answers = HashMap<(String, bool), Answer>;

/// The request for `path`, [`REQUEST`] bytes long.
pub fn request(path: &str, close: bool) -> Vec<u8> {
    let connection = if close { "Connection: close\r\n" } else { "" };
    let head = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{connection}X-Pad: ");
    let pad = "-".repeat(REQUEST - head.len() - 4);
    format!("{head}{pad}\r\n\r\n").into_bytes()
}

/// The config of `sidestep`.
pub fn config() -> String {
    let mut text = format!(
        "[[listen]]\naddress = \"interface\"\nport = {OURS}\nfallback = \"none\"\n[[site]]\nhosts = [\"*\"]\n"
    );
    for (path, close, len) in ANSWERS {
        let date = "-".repeat(DATE);
        let tag = "-".repeat(TAG);
        let connection = if close { "Connection: close\r\n" } else { "" };
        // The body's length has as many digits as the answer's, or one less; all are chosen far from that edge.
        let digits = "0".repeat(if len == 1_000 { 3 } else { 5 });
        let head = format!(
            "HTTP/1.1 200 OK\r\nServer: sidestep\r\nDate: {date}\r\nETag: {tag}\r\nContent-Type: text/plain\r\n\
             Content-Length: {digits}\r\n{connection}\r\n"
        );
        let body: String = ('a'..='z').cycle().take(len - head.len()).collect();
        text += &format!(
            "[[site.response]]\npath = \"{path}\"\ncontent_type = \"text/plain\"\nbody = \"{body}\"\n"
        );
    }
    text
}

/// Asks `sidestep` for every answer.
///
/// # Panics
/// When one is not as long as the scripts take it to be.
pub fn learn(net: &Net) -> Arc<Answers> {
    let learn = |(path, close, len): (&str, bool, usize)| {
        let stream = net
            .client
            .connect(net.server.at(OURS), PATIENCE)
            .expect("connects");
        let mut client = Client::new(stream);
        client.send(request(path, close)).expect("sends");
        let answer = client.answer().expect("is answered");
        let mut bytes = answer.head.into_bytes();
        bytes.extend(b"\r\n");
        bytes.extend(&answer.body);
        assert_eq!(
            bytes.len(),
            len,
            "the head of {path} has changed; `config` has to follow"
        );
        let date = bytes
            .windows(8)
            .position(|window| window == b"\r\nDate: ")
            .expect("a Date");
        let answer = Answer {
            bytes,
            date: date + 8,
        };
        ((path.to_owned(), close), answer)
    };
    Arc::new(ANSWERS.map(learn).into_iter().collect())
}

/// Settings of the server's namespace in which Linux is comparable; both servers read the first ones.
const SETTINGS: [(&str, &str); 5] = [
    // A reset ends TIME-WAIT: the default, named because it is compared.
    ("net.ipv4.tcp_rfc1337", "0"),
    // Room for a whole answer: otherwise what is sent next depends on when the server's thread runs again.
    ("net.ipv4.tcp_wmem", "4096 1048576 4194304"),
    // Every segment out of order has its own ACK, as RFC 5681 wants it; the default sums the later ones up.
    ("net.ipv4.tcp_comp_sack_nr", "0"),
    // What the window allows is sent now; the default holds back less than a third of it for a millisecond.
    ("net.ipv4.tcp_tso_win_divisor", "255"),
    // Agree to ECN when asked.
    ("net.ipv4.tcp_ecn", "2"),
];

/// The kernel's server.
pub struct Linux {
    _server: Server,
    writing: Arc<Mutex<HashSet<SocketAddr>>>,
}

impl Linux {
    /// Starts it with those answers and makes its TCP comparable.
    pub fn start(net: &Net, answers: &Arc<Answers>) -> Self {
        for (name, value) in SETTINGS {
            let setting = format!("{name}={value}");
            net.server.must(&["sysctl", "-qw", &setting]);
        }
        for [version, prefix, key, value] in [
            ["-4", "10.77.0.0/24", "scope", "link"],
            ["-6", "fd00:77::/64", "metric", "256"],
        ] {
            // The congestion control of a route, because that of a namespace may only be one of a short list.
            net.server.must(&[
                "ip", version, "route", "replace", prefix, "dev", SERVER_IF, "proto", "kernel",
                key, value, "congctl", "reno",
            ]);
        }
        let writing = Arc::new(Mutex::new(HashSet::new()));
        let (answers, busy) = (Arc::clone(answers), Arc::clone(&writing));
        let server = Server::start(&net.server, LINUX, move |stream| {
            serve(stream, &answers, &busy)
        });
        server.delay_acks().expect("the listener takes the option");
        Self {
            _server: server,
            writing,
        }
    }

    /// Waits until no thread writes to the connection of `client`: as long as one does, the kernel puts the segments of
    /// the connection aside.
    pub fn wait_written(&self, client: SocketAddr) {
        wait_for(PATIENCE, "the answer is written", || {
            let writing = self.writing.lock().expect("no thread panicked");
            (!writing.contains(&client)).then_some(())
        });
    }
}

/// Ends a connection as `sidestep` and nginx do: FIN behind the answer, and what still comes is read and dropped.
fn serve(
    stream: &TcpStream,
    answers: &Answers,
    writing: &Mutex<HashSet<SocketAddr>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let client = stream.peer_addr()?;
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let mut out = stream;
    let mut lines = BufReader::new(stream);
    let mut head = String::new();
    loop {
        head.clear();
        while !head.ends_with("\r\n\r\n") {
            if lines.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let close = head.contains("Connection: close");
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let Some(answer) = answers.get(&(path, close)) else {
            return Ok(());
        };
        let busy = || writing.lock().expect("no thread panicked");
        busy().insert(client);
        let written = out.write_all(&answer.bytes);
        busy().remove(&client);
        written?;
        if close {
            stream.shutdown(Shutdown::Write)?;
            io::copy(&mut lines, &mut io::sink())?;
            return Ok(());
        }
    }
}
