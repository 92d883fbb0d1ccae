//! The clients: kernel sockets that ask for one object again and again, and compare every byte.

use sidestep_tests::clock::Deadline;
use sidestep_tests::net::Host;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::AddAssign;
use std::time::Duration;

/// What clients got.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Got {
    /// Of bodies, parts of objects included.
    pub bytes: u64,
    /// Whole ones.
    pub objects: u64,
}

impl AddAssign for Got {
    fn add_assign(&mut self, other: Got) {
        self.bytes += other.bytes;
        self.objects += other.objects;
    }
}

/// What `connections` clients on `host` get in `time`.
pub(super) fn load(
    host: &Host,
    to: SocketAddr,
    path: &str,
    body: &[u8],
    connections: usize,
    time: Duration,
) -> Got {
    let deadline = Deadline::after(time);
    host.enter(|| {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..connections)
                .map(|_| scope.spawn(move || fetch_until(&deadline, to, path, body)))
                .collect();
            let mut got = Got::default();
            for client in clients {
                got += client.join().expect("a client that does not panic");
            }
            got
        })
    })
}

fn fetch_until(deadline: &Deadline, to: SocketAddr, path: &str, body: &[u8]) -> Got {
    let mut got = Got::default();
    while !deadline.passed() {
        match fetch(deadline, to, path, body, &mut got.bytes) {
            Ok(()) => got.objects += 1,
            // The time is over in the middle of something.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) => {}
            Err(e) => panic!("{path} from {to}: {e}"),
        }
    }
    got
}

/// One object on one connection; `got` counts body bytes as they come.
fn fetch(
    deadline: &Deadline,
    to: SocketAddr,
    path: &str,
    body: &[u8],
    got: &mut u64,
) -> io::Result<()> {
    let left = || deadline.left().max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&to, left())?;
    stream.set_read_timeout(Some(left()))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let mut at = 0;
    let mut chunk = [0; 16 << 10];
    while at < body.len() {
        reader.get_ref().set_read_timeout(Some(left()))?;
        let n = reader.read(&mut chunk)?;
        assert!(n > 0, "{path} from {to} ends after {at} bytes");
        assert!(
            body[at..].starts_with(&chunk[..n]),
            "{path} from {to}: wrong bytes behind {at}"
        );
        at += n;
        *got += n as u64;
    }
    Ok(())
}
