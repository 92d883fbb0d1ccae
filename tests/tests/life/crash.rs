//! `kill -9`.

use super::{By, CONFIG, PONG, ask, client};
use sidestep_tests::clock::{PATIENCE, now, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::Net;
use sidestep_tests::server::Server;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Connections of a burst, and the time between two.
const BURST: u32 = 40;
const INTERVAL: Duration = Duration::from_millis(5);

/// After a kill new connections are to be served within this.
const TARGET: Duration = Duration::from_millis(100);

/// One connection with one request.
struct Attempt {
    began: Instant,
    ended: Instant,
    result: io::Result<By>,
}

impl Attempt {
    fn make(net: &Net, to: SocketAddr) -> Self {
        let began = now();
        let result = client(net, to).and_then(|mut client| ask(&mut client, "/ping"));
        Self {
            began,
            ended: now(),
            result,
        }
    }
}

/// One connection after the other.
fn attempts(net: &Net, to: SocketAddr, over: &AtomicBool, hits: &AtomicU64) -> Vec<Attempt> {
    let mut all = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let attempt = Attempt::make(net, to);
        let hit = matches!(attempt.result, Ok(By::Sidestep));
        hits.fetch_add(u64::from(hit), Ordering::Relaxed);
        all.push(attempt);
    }
    all
}

/// Connections that begin at short intervals, whatever becomes of those before: one whose SYN the dying daemon had
/// already been given waits a second until its client repeats it.
fn burst(net: &Net) -> Vec<Attempt> {
    let to = net.server.addresses(80);
    let start = now();
    std::thread::scope(|scope| {
        let attempts = (0..BURST).map(|n| {
            scope.spawn(move || {
                std::thread::sleep((start + n * INTERVAL).saturating_duration_since(now()));
                Attempt::make(net, to[n as usize % 2])
            })
        });
        let attempts: Vec<_> = attempts.collect();
        let ended = attempts.into_iter().map(|t| t.join().expect("no panic"));
        ended.collect()
    })
}

/// Goes on on one connection of the kernel's.
fn goes_on(mut client: sidestep_tests::http::Client, over: &AtomicBool) -> io::Result<u64> {
    let mut answers = 0;
    while !over.load(Ordering::Relaxed) {
        match ask(&mut client, "/ping")? {
            By::Kernel => answers += 1,
            By::Sidestep => return Err(io::Error::other("not the kernel's")),
        }
    }
    Ok(answers)
}

#[test]
fn a_killed_daemon_costs_no_connection_of_the_kernels_and_no_new_one() {
    let net = Net::new();
    let _server = Server::http(&net.server, 80, PONG);
    // Of the kernel's from the start, and handed over to it.
    let addresses = net.server.addresses(80);
    let mut kept: Vec<_> = addresses
        .map(|to| client(&net, to).expect("connects"))
        .into();
    for client in &mut kept {
        assert_eq!(ask(client, "/ping").expect("answered"), By::Kernel);
    }
    let mut daemon = Daemon::start(&net.server, CONFIG);
    for to in addresses {
        let mut client = client(&net, to).expect("connects");
        assert_eq!(ask(&mut client, "/ping").expect("answered"), By::Sidestep);
        assert_eq!(ask(&mut client, "/other").expect("answered"), By::Kernel);
        kept.push(client);
    }
    let (over, hits) = (AtomicBool::new(false), AtomicU64::new(0));
    let (net, over, hits) = (&net, &over, &hits);
    let served = |more: u64| {
        let least = hits.load(Ordering::Relaxed) + more;
        wait_for(PATIENCE, "new connections are served by sidestep", || {
            (hits.load(Ordering::Relaxed) >= least).then_some(())
        });
    };
    std::thread::scope(|scope| {
        let kept: Vec<_> = kept
            .into_iter()
            .map(|client| scope.spawn(move || goes_on(client, over)))
            .collect();
        let fresh_threads = addresses.map(|to| scope.spawn(move || attempts(net, to, over, hits)));
        let end = SetAtEnd(over);
        let mut kills = Vec::new();
        for _ in 0..3 {
            served(50);
            let killed = now();
            let burst = scope.spawn(move || burst(net));
            daemon.kill9();
            let gone = now();
            let mut burst = burst.join().expect("no panic");
            burst.retain(|attempt| attempt.began >= killed);
            kills.push((killed, gone, burst));
            daemon = Daemon::start(&net.server, CONFIG);
        }
        served(50);
        drop(end);
        for client in kept {
            let answers = client.join().expect("no panic").expect("no failure");
            assert!(answers > 100, "{answers}");
        }
        let mut fresh = Vec::new();
        for attempts in fresh_threads {
            fresh.extend(attempts.join().expect("no panic"));
        }
        for (n, (killed, gone, burst)) in kills.iter().enumerate() {
            let answered = burst
                .iter()
                .filter(|attempt| matches!(attempt.result, Ok(By::Kernel)));
            let first = answered.map(|a| a.ended.duration_since(*killed)).min();
            let first = first.expect("some are answered");
            println!(
                "{:?} after the kill the daemon is gone, {first:?} after it a new connection is answered: {} {TARGET:?}",
                gone.duration_since(*killed),
                if first <= TARGET {
                    "within"
                } else {
                    "not within"
                },
            );
            // What begins once the program is gone is the kernel's, without exception, until the next is killed.
            let next = kills.get(n + 1).map(|(killed, ..)| *killed);
            let late = burst.iter().chain(&fresh).filter(|attempt| {
                attempt.began >= *gone && next.is_none_or(|next| attempt.ended < next)
            });
            let failed: Vec<_> = late.filter_map(|a| a.result.as_ref().err()).collect();
            assert!(failed.is_empty(), "{failed:?}");
        }
        daemon.stop();
    });
}

#[test]
fn a_worker_that_panics_leaves_all_to_the_kernel_and_says_why() {
    let net = Net::new();
    let _server = Server::http(&net.server, 80, PONG);
    let addresses = net.server.addresses(80);
    let mut kept = addresses.map(|to| client(&net, to).expect("connects"));
    for client in &mut kept {
        assert_eq!(ask(client, "/ping").expect("answered"), By::Kernel);
    }
    let faulty = env!("CARGO_BIN_EXE_sidestep-panics");
    let instead = format!("shift; exec {faulty} \"$@\"");
    let daemon = Daemon::start_by(&["sh", "-c", &instead, "sh"], &net.server, CONFIG);
    let mut victim = client(&net, addresses[0]).expect("connects");
    assert_eq!(ask(&mut victim, "/ping").expect("answered"), By::Sidestep);
    // Not ours: the connection is to move to the kernel.
    victim
        .send("GET /other HTTP/1.1\r\nHost: test\r\n\r\n")
        .expect("sent");
    let ended = daemon.gone();
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    for words in [
        "the fault of this build",
        "error: the worker of queue 0 failed; detached",
    ] {
        assert!(ended.stderr.contains(words), "{words}:\n{}", ended.stderr);
    }
    assert_eq!(net.server.xdp_program(), None);
    for (to, kept) in addresses.into_iter().zip(&mut kept) {
        let mut new = client(&net, to).expect("connects");
        assert_eq!(ask(&mut new, "/ping").expect("answered"), By::Kernel);
        assert_eq!(ask(kept, "/ping").expect("answered"), By::Kernel);
    }
}

/// Sets the flag when it goes, also by a panic, after which a scope would wait for its threads for ever.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
