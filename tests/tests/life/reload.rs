//! `sidestep reload` under load.

use super::client;
use sidestep_tests::clock::{PATIENCE, soak, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::Net;
use sidestep_tests::server::Server;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bodies are longer than a segment, so that one made of two contents would show.
const BODY: usize = 20_000;

fn body(version: usize) -> Vec<u8> {
    format!("{version:8}").into_bytes().repeat(BODY / 8)
}

fn write(root: &Path, version: usize) {
    // Renamed into place, as who publishes a file does: no reader ever sees half of one.
    let new = root.join("new");
    std::fs::write(&new, body(version)).expect("written");
    std::fs::rename(new, root.join("file")).expect("renamed");
}

/// Asks for the file and, each third time, for what is the kernel's. Each answer must be of a version from the one that
/// was live when it was asked for to the newest there is.
fn run(
    net: &Net,
    to: SocketAddr,
    live: &AtomicUsize,
    newest: &AtomicUsize,
    over: &AtomicBool,
) -> u64 {
    let mut answers = 0;
    while !over.load(Ordering::Relaxed) {
        let mut client = client(net, to).expect("connects");
        for _ in 0..20 {
            let from = live.load(Ordering::SeqCst);
            let answer = client.get("/file").expect("answered");
            assert_eq!(answer.field("server"), Some("sidestep"), "{}", answer.head);
            let text = String::from_utf8_lossy(&answer.body[..8]).trim().to_owned();
            let version = text.parse().unwrap_or_else(|_| panic!("wrong: {text}"));
            assert!(
                (from..=newest.load(Ordering::SeqCst)).contains(&version),
                "{version} after {from}"
            );
            assert!(answer.body == body(version), "a mixed answer");
            answers += 1;
        }
        let answer = client.get("/other").expect("answered");
        assert_eq!(answer.field("server"), Some("kernel"), "{}", answer.head);
    }
    answers
}

/// Sets the flag when it goes, also by a panic, after which a scope would wait for its threads for ever.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_answer_is_wrong_mixed_or_old_through_reloads() {
    let net = Net::new();
    let _server = Server::http(&net.server, 80, "x");
    let root = tempfile::tempdir().expect("a directory");
    write(root.path(), 0);
    let config = format!(
        "[[listen]]\naddress = \"interface\"\nport = 80\n[[site]]\nhosts = [\"*\"]\n\
         [[site.static]]\npath = \"/\"\nroot = {:?}\n",
        root.path()
    );
    let daemon = Daemon::start(&net.server, &config);
    let (live, newest, over) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicBool::new(false),
    );
    let (net, live, newest, over) = (&net, &live, &newest, &over);
    std::thread::scope(|scope| {
        let to = net.server.addresses(80).repeat(3);
        let clients: Vec<_> = to
            .into_iter()
            .map(|to| scope.spawn(move || run(net, to, live, newest, over)))
            .collect();
        let end = SetAtEnd(over);
        for version in 1..=if soak() { 200 } else { 10 } {
            let before: u64 = daemon.requests().iter().sum();
            wait_for(PATIENCE, "the clients go on", || {
                let now: u64 = daemon.requests().iter().sum();
                (now > before + 50 || clients.iter().any(|c| c.is_finished())).then_some(())
            });
            newest.store(version, Ordering::SeqCst);
            write(root.path(), version);
            let done = daemon.control(&["reload"]);
            assert_eq!(done.code(), 0, "{}", done.stderr);
            // Who asks from now on must not get an older one.
            live.store(version, Ordering::SeqCst);
        }
        drop(end);
        for client in clients {
            assert!(client.join().expect("no client failed") > 0);
        }
    });
}
