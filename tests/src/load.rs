//! Many kernel clients at once that compare every answer with what it has to be.

use crate::clock::Deadline;
use crate::http::{Answer, Client};
use crate::net::Host;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// What the clients do.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// The server.
    pub to: SocketAddr,
    /// (path, body) pairs, asked in turn; each answer must be 200 with exactly this body.
    pub expect: &'a [(&'a str, &'a [u8])],
    /// Connections, each on a thread of its own.
    pub connections: usize,
    /// Requests sent before their answers are read.
    pub pipeline: usize,
    /// How long new requests are sent; every answer asked for is waited for.
    pub duration: Duration,
    /// Longest wait for any one answer.
    pub patience: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Right answers.
    pub right: u64,
    /// One sentence per connection that broke, hung or got a wrong answer.
    pub failures: Vec<String>,
}

impl Load<'_> {
    /// Runs it from `host`.
    pub fn run(&self, host: &Host) -> Outcome {
        let deadline = Deadline::after(self.duration);
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..self.connections)
                .map(|_| scope.spawn(|| self.client(host, deadline)))
                .collect();
            let mut outcome = Outcome::default();
            for (number, client) in clients.into_iter().enumerate() {
                let (right, ended) = client
                    .join()
                    .unwrap_or_else(|_| (0, Err(io::Error::other("client thread panicked"))));
                outcome.right += right;
                if let Err(error) = ended {
                    outcome.failures.push(format!(
                        "connection {number} after {right} answers: {error}"
                    ));
                }
            }
            outcome
        })
    }

    fn client(&self, host: &Host, deadline: Deadline) -> (u64, io::Result<()>) {
        let mut right = 0;
        let ended = host
            .connect(self.to, self.patience)
            .and_then(|stream| self.exchange(&mut Client::new(stream), deadline, &mut right));
        (right, ended)
    }

    fn exchange(&self, client: &mut Client, deadline: Deadline, right: &mut u64) -> io::Result<()> {
        let mut turns = self.expect.iter().cycle();
        while !deadline.passed() {
            let batch: Vec<_> = turns.by_ref().take(self.pipeline).collect();
            let requests: String = batch
                .iter()
                .map(|(path, _)| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
                .collect();
            client.send(requests)?;
            for (path, body) in batch {
                check(path, body, &client.answer()?)?;
                *right += 1;
            }
        }
        Ok(())
    }
}

impl Outcome {
    /// Fails the test unless every answer was right and there were at least `least`.
    ///
    /// # Panics
    /// With all failures.
    pub fn assert_clean(&self, least: u64) {
        assert!(self.failures.is_empty(), "{:#?}", self.failures);
        assert!(
            self.right >= least,
            "only {} answers, not {least}",
            self.right
        );
    }
}

fn check(path: &str, body: &[u8], answer: &Answer) -> io::Result<()> {
    if answer.status == 200 && answer.body == body {
        return Ok(());
    }
    let at = answer.body.iter().zip(body).position(|(a, b)| a != b);
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "wrong answer to {path}: {} with {} bytes, first difference at {at:?}",
            answer.status,
            answer.body.len()
        ),
    ))
}
