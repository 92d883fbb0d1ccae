//! Hits and misses in turn on connections that come and go: nothing fails, through loss, attach, take-over and detach.

use sidestep_tests::clock::{Deadline, lasting, soak, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::Client;
use sidestep_tests::link::Shape;
use sidestep_tests::net::{Net, Plan};
use sidestep_tests::server::Nginx;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

const PORT: u16 = 80;

/// What both sidestep and nginx answer; nginx has the second one alone.
const TREE: [(&str, &[u8]); 2] = [("/hit", b"a hit"), ("/miss", b"a miss")];

/// Clients at a time, half of them over each IP version.
const CLIENTS: usize = 16;

/// Requests on one connection: the first hits are sidestep's, the rest is handed over with the first miss.
const REQUESTS: usize = 8;

/// Longest wait for an answer: a segment that is lost three times over costs seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Clients that run until told to stop.
struct Clients<'scope> {
    threads: Vec<ScopedJoinHandle<'scope, io::Result<()>>>,
    right: &'scope AtomicU64,
}

impl<'scope> Clients<'scope> {
    fn start(
        scope: &'scope Scope<'scope, '_>,
        net: &'scope Net,
        stop: &'scope AtomicBool,
        right: &'scope AtomicU64,
    ) -> Self {
        let targets = net.server.addresses(PORT);
        let threads = (0..CLIENTS).map(|number| {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    connection(net, targets[number % 2], number, right)?;
                }
                Ok(())
            })
        });
        Self {
            threads: threads.collect(),
            right,
        }
    }

    /// Waits for `more` right answers from now on.
    fn go_on(&self, more: u64) {
        let least = self.right.load(Ordering::Relaxed) + more;
        wait_for(PATIENCE, "the clients go on", || {
            (self.right.load(Ordering::Relaxed) >= least).then_some(())
        });
    }

    /// Waits for their end, and fails the test unless every answer came and was right.
    fn end(self) {
        let ended = self.threads.into_iter().map(ScopedJoinHandle::join);
        let failures: Vec<_> = ended
            .filter_map(|client| client.expect("no client panicked").err())
            .collect();
        let right = self.right.load(Ordering::Relaxed);
        assert!(failures.is_empty(), "after {right} answers: {failures:#?}");
        println!("{right} answers, none failed");
    }
}

/// Opens a connection, and asks for a hit and a miss in turn, until it is told that an answer is the last.
fn connection(net: &Net, to: SocketAddr, number: usize, right: &AtomicU64) -> io::Result<()> {
    let mut client = Client::new(net.client.connect(to, PATIENCE)?);
    for (turn, (path, body)) in TREE.iter().cycle().take(REQUESTS).enumerate() {
        let fault = |what: &dyn std::fmt::Display| {
            io::Error::other(format!(
                "client {number} to {to}, request {turn}, {path}: {what}"
            ))
        };
        let answer = client.get(path).map_err(|error| fault(&error))?;
        if answer.status != 200 || answer.body != *body {
            return Err(fault(&answer.head));
        }
        right.fetch_add(1, Ordering::Relaxed);
        if answer.head.contains("\r\nConnection: close\r\n") {
            return match client.rest() {
                Ok(rest) if rest.is_empty() => Ok(()),
                other => Err(fault(&format!("no end in order: {other:?}"))),
            };
        }
    }
    Ok(())
}

/// With this `fallback_mode`.
fn config(mode: &str) -> String {
    let (path, body) = (TREE[0].0, String::from_utf8_lossy(TREE[0].1));
    format!(
        "[[listen]]\naddress = \"interface\"\nport = {PORT}\nfallback = \"kernel\"\nfallback_mode = \"{mode}\"\n\
         [[site]]\nhosts = [\"*\"]\n[[site.response]]\npath = \"{path}\"\nbody = \"{body}\"\n"
    )
}

/// Waits until it has answered some requests.
fn answers(daemon: &Daemon) {
    wait_for(PATIENCE, "hits from the fast path", || {
        (daemon.requests().iter().sum::<u64>() > 100).then_some(())
    });
}

fn under_load(net: &Net, work: impl FnOnce(&Clients)) {
    let (stop, right) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let clients = Clients::start(scope, net, &stop, &right);
        // A client that sees this thread panic would go on for ever.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&clients)));
        stop.store(true, Ordering::Relaxed);
        match done {
            Ok(()) => clients.end(),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
}

#[test]
fn nothing_fails_through_loss() {
    through_loss("handoff");
}

#[test]
fn nothing_fails_through_loss_and_the_proxy() {
    through_loss("proxy");
}

fn through_loss(mode: &str) {
    let shape = Shape {
        loss: 0.01,
        ..Shape::default()
    };
    let net = Plan::new().link(shape, 4).build();
    let _nginx = Nginx::start(&net.server, PORT, &TREE);
    let daemon = Daemon::start(&net.server, &config(mode));
    under_load(&net, |clients| {
        let time = Deadline::after(lasting(Duration::from_secs(5), Duration::from_secs(60)));
        while !time.passed() {
            clients.go_on(100);
        }
    });
    answers(&daemon);
    daemon.stop();
}

#[test]
fn nothing_fails_through_attach_take_over_and_detach() {
    through_lives("handoff", 10);
}

#[test]
fn nothing_fails_through_attach_take_over_and_detach_of_the_proxy() {
    through_lives("proxy", if soak() { 10 } else { 4 });
}

fn through_lives(mode: &str, lives: u32) {
    let net = Net::new();
    let _nginx = Nginx::start(&net.server, PORT, &TREE);
    under_load(&net, |clients| {
        for _ in 0..lives {
            clients.go_on(100);
            let daemon = Daemon::start(&net.server, &config(mode));
            answers(&daemon);
            let daemon = daemon.replaced();
            answers(&daemon);
            daemon.stop();
        }
    });
}
