//! The proxy way, with a daemon: what goes through it arrives as it was sent, ends as it was ended, and costs little while
//! it waits; who cannot be reached costs one request.

#[path = "proxy/announced.rs"]
mod announced;
#[path = "proxy/automatic.rs"]
mod automatic;
#[path = "proxy/bytes.rs"]
mod bytes;
#[path = "proxy/drained.rs"]
mod drained;
#[path = "proxy/reached.rs"]
mod reached;

use sidestep_tests::clock::PATIENCE;
use sidestep_tests::http::Client;
use sidestep_tests::net::Net;
use sidestep_tests::site::PING;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};

const PORT: u16 = 80;

const MISS: &str = "GET /elsewhere HTTP/1.1\r\nHost: test\r\n\r\n";

/// `/ping` on every address, and these keys in the `[[listen]]`.
fn config(keys: &str) -> String {
    let ping = String::from_utf8_lossy(PING);
    format!(
        "[[listen]]\nport = {PORT}\n{keys}\n\
         [[site]]\n[[site.response]]\npath = \"/ping\"\nbody = '{ping}'\n"
    )
}

fn by_proxy() -> String {
    config("fallback_mode = \"proxy\"")
}

/// A connection that the fast path has answered once.
fn hit(net: &Net, to: SocketAddr) -> Client {
    let mut client = Client::new(net.client.connect(to, PATIENCE).expect("connects"));
    let answer = client.get("/ping").expect("answered");
    assert_eq!(answer.field("server"), Some("sidestep"));
    assert_eq!(answer.body, PING);
    client
}

/// Reads a request head, and leaves everything behind it.
fn head(stream: &TcpStream) -> io::Result<BufReader<&TcpStream>> {
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    while line != b"\r\n" {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(lines)
}

/// Bytes in which no two places are alike.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}
