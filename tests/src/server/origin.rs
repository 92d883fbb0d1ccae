//! A server whose answers a test writes, and that remembers what it was asked by whom.

use super::Server;
use crate::clock::{PATIENCE, poll_for};
use crate::net::Host;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A request that an [`Origin`] got.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who asked.
    pub from: IpAddr,
    /// Its method.
    pub method: String,
    /// Its target.
    pub target: String,
    /// Its field lines.
    pub fields: Vec<String>,
    /// Its body, by Content-Length.
    pub body: Vec<u8>,
}

impl Asked {
    /// The value of the first field `name`, compared without case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The cache asked, not a client: it is on the same host.
    pub fn by_cache(&self) -> bool {
        self.from.is_loopback()
    }
}

/// An HTTP/1.1 answer with `fields`, a line each, and `body`.
pub fn answer(status: u16, fields: &[&str], body: &str) -> String {
    let mut text = format!("HTTP/1.1 {status} Scripted\r\n");
    for field in fields {
        text += &format!("{field}\r\n");
    }
    if status != 304 {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text + "\r\n" + body
}

/// See the module's documentation. It ends when dropped.
pub struct Origin {
    server: Option<Server>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Origin {
    /// Answers each request to `port` of `host` with what `script` makes of it: bytes as they are to be sent.
    ///
    /// # Panics
    /// When the port cannot be had.
    pub fn start(
        host: &Host,
        port: u16,
        script: impl Fn(&Asked) -> String + Clone + Send + 'static,
    ) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let server = Server::start(host, port, move |stream| serve(stream, &script, &log));
        Self {
            server: Some(server),
            asked,
        }
    }

    /// Nobody listens any more, and every connection is closed.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.asked).clone()
    }

    /// How often the cache has asked for `target`.
    pub fn fetches(&self, target: &str) -> usize {
        let asked = lock(&self.asked);
        asked
            .iter()
            .filter(|asked| asked.by_cache() && asked.target == target)
            .count()
    }

    /// How often a client was answered by it about `target`.
    pub fn misses(&self, target: &str) -> usize {
        let asked = lock(&self.asked);
        asked
            .iter()
            .filter(|asked| !asked.by_cache() && asked.target == target)
            .count()
    }

    /// Waits until the cache has asked for `target` so often.
    ///
    /// # Panics
    /// When it does not.
    pub fn fetched(&self, target: &str, times: usize) {
        let done = poll_for(PATIENCE, || (self.fetches(target) >= times).then_some(()));
        assert!(
            done.is_some(),
            "{target} was fetched {} times, not {times}; asked: {:#?}",
            self.fetches(target),
            self.asked()
        );
    }
}

fn lock(asked: &Mutex<Vec<Asked>>) -> MutexGuard<'_, Vec<Asked>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(
    stream: &TcpStream,
    script: &impl Fn(&Asked) -> String,
    log: &Mutex<Vec<Asked>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let from = stream.peer_addr()?.ip().to_canonical();
    let mut out = stream;
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let first = lines.remove(0);
        let mut words = first.split(' ').map(str::to_owned);
        let mut asked = Asked {
            from,
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            fields: lines,
            body: Vec::new(),
        };
        let length = asked.field("content-length").and_then(|n| n.parse().ok());
        asked.body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut asked.body)?;
        lock(log).push(asked.clone());
        out.write_all(script(&asked).as_bytes())?;
    }
}
