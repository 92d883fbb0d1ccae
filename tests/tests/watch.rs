//! `sidestep top` and `sidestep dump` beside a daemon that serves.

use sidestep_tests::clock::{PATIENCE, wait_for};
use sidestep_tests::daemon::{Daemon, binary};
use sidestep_tests::http::Client;
use sidestep_tests::net::Net;
use sidestep_tests::process::Process;
use sidestep_tests::server::Server;
use sidestep_tests::site::{PING, Site};
use std::net::SocketAddr;

fn ping(net: &Net, to: SocketAddr) -> SocketAddr {
    let mut client = Client::new(net.client.connect(to, PATIENCE).expect("connects"));
    assert_eq!(client.get("/ping").expect("answered").body, PING);
    client.stream().local_addr().expect("an address")
}

#[test]
fn top_shows_rates_by_queue_and_by_route() {
    let (net, site) = (Net::new(), Site::new("kernel"));
    let _server = Server::http(&net.server, 80, "from the kernel");
    let daemon = Daemon::start(&net.server, &site.config());
    let socket = daemon.socket();
    let mut top = net.server.spawn(&[
        &binary().display().to_string(),
        "top",
        "--interval",
        "1",
        "--socket",
        &socket,
    ]);
    // Until a frame has seen some of each.
    let shows = wait_for(PATIENCE, "a frame with hits and a handoff", || {
        ping(&net, net.server.at(80));
        let mut client = Client::new(net.client.connect(net.server.at(80), PATIENCE).ok()?);
        assert_eq!(
            client.get("/no-such-thing").expect("answered").body,
            b"from the kernel"
        );
        assert!(top.running(), "{}", top.stderr());
        let text = top.stdout();
        let lines = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let all: Vec<Vec<&str>> = lines.collect();
        let busy = |name: &[&str], columns: [usize; 2]| {
            all.iter().any(|row| {
                row.starts_with(name)
                    && columns
                        .iter()
                        .all(|&at| row.get(at).is_some_and(|n| *n != "-"))
            })
        };
        let route = |name: &[&str]| {
            let ours = |row: &&Vec<&str>| row.ends_with(name);
            all.iter()
                .filter(ours)
                .any(|row| row[0] != "-" || row[1] != "-")
        };
        let seen = busy(&["all"], [1, 2]) && busy(&["queue", "0"], [2, 3]);
        (seen && route(&["*", "/ping"]) && route(&["*", "/*"])).then_some(text)
    });
    let first = shows.lines().next().unwrap_or_default();
    assert!(
        first.starts_with(&format!("sidestep on {}, copy mode", net.server.device)),
        "{first}"
    );
    top.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(top.finish(PATIENCE).code(), 0);

    let once = daemon.control(&["top", "--once", "--interval", "0.1"]);
    assert_eq!(once.code(), 0, "{}", once.stderr);
    assert!(
        once.stdout.contains("queue 0") && once.stdout.contains("* /ping"),
        "{}",
        once.stdout
    );
    daemon.stop();
    let none = sidestep_tests::daemon::sidestep(&net.server, &["top", "--socket", &socket]);
    assert_eq!(none.code(), 1);
    assert!(
        none.stderr.contains("no sidestep daemon answers"),
        "{}",
        none.stderr
    );
}

/// `sidestep dump ARGS | tcpdump`, on the server's host.
fn dump(net: &Net, daemon: &Daemon<'_>, args: &str) -> Process {
    let (binary, socket) = (binary().display().to_string(), daemon.socket());
    let pipe = format!("{binary} dump {args} --socket {socket} | tcpdump -n -tttt -l -r - 2>&1");
    let process = net.server.spawn(&["sh", "-c", &pipe]);
    let open = process.line("reading from file -, link-type EN10MB", PATIENCE);
    assert!(open.is_some(), "{}{}", process.stdout(), process.stderr());
    process
}

#[test]
fn tcpdump_reads_a_dump() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    for to in net.server.addresses(80) {
        let mut dump = dump(&net, &daemon, "");
        let from = ping(&net, to);
        let arrow = |a: SocketAddr, b: SocketAddr| {
            let end = |s: SocketAddr| format!("{}.{}", s.ip(), s.port());
            format!("{} > {}: ", end(a), end(b))
        };
        let (there, back) = (arrow(from, to), arrow(to, from));
        // The handshake, the request, and the answer, in this order.
        let wanted = [
            (&there, "Flags [S]"),
            (&back, "Flags [S.]"),
            (&there, "GET /ping HTTP/1.1"),
            (&back, "HTTP/1.1 200 OK"),
        ];
        for (ends, what) in wanted {
            loop {
                let line = dump.line("", PATIENCE);
                let line = line.unwrap_or_else(|| panic!("no {what} in {}", dump.stdout()));
                if line.contains(ends.as_str()) && line.contains(what) {
                    break;
                }
            }
        }
        assert!(dump.running());
        drop(dump);
    }
    daemon.stop();
}

#[test]
fn a_dump_is_filtered_and_ends_with_its_count_its_reader_and_its_daemon() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    let [v4, v6] = net.server.addresses(80);
    let counted = dump(
        &net,
        &daemon,
        &format!("--host {} --port 80 --count 3", v6.ip()),
    );
    for _ in 0..2 {
        ping(&net, v4);
    }
    let from = ping(&net, v6);
    let done = counted.finish(PATIENCE);
    let lines: Vec<&str> = done.stdout.lines().skip(1).collect();
    assert!(
        lines.len() == 3 && lines.iter().all(|line| line.contains(" IP6 ")),
        "{}",
        done.stdout
    );
    assert!(
        lines[0].contains(&format!("{}.{} > ", from.ip(), from.port())),
        "{}",
        done.stdout
    );

    // The one that has ended has left the taps to the next; the daemon's end is that one's.
    let rest = dump(&net, &daemon, "");
    ping(&net, v4);
    daemon.stop();
    let done = rest.finish(PATIENCE);
    assert!(done.stdout.contains("GET /ping"), "{}", done.stdout);
}

#[test]
fn a_dump_wants_a_daemon_and_no_terminal() {
    let net = Net::new();
    let none =
        sidestep_tests::daemon::sidestep(&net.server, &["dump", "--socket", "/nonexistent/socket"]);
    assert_eq!(none.code(), 1);
    assert!(
        none.stderr.contains("no sidestep daemon dumps"),
        "{}",
        none.stderr
    );
}
