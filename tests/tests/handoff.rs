//! A connection that the fast path answered goes on with an unmodified nginx on the same address and port.

use sidestep_tests::clock::{Deadline, PATIENCE, lasting, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::Client;
use sidestep_tests::link::Shape;
use sidestep_tests::load::Load;
use sidestep_tests::net::{Host, Net, Plan};
use sidestep_tests::process::Process;
use sidestep_tests::site::{PING, Site};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// nginx behind the fast path. `/who` tells the client's address and port, `PUT /up/x` stores, the rest is a tree.
struct Origin {
    process: Process,
    files: TempDir,
}

impl Origin {
    fn start(host: &Host) -> Self {
        let files = TempDir::new().expect("a directory");
        let dir = files.path().display();
        for sub in ["www/up", "b"] {
            std::fs::create_dir_all(files.path().join(sub)).expect("made");
        }
        std::fs::write(files.path().join("www/ping"), PING).expect("written");
        let config = format!(
            "daemon off; master_process off; user root; pid {dir}/pid; error_log stderr;\n\
             events {{}}\n\
             http {{ log_format who '$remote_addr $remote_port $request_uri $status';\n\
             access_log {dir}/log who; keepalive_requests 1000000000; client_max_body_size 0;\n\
             client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
             uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
             server {{ listen 80; listen [::]:80; root {dir}/www;\n\
             location /up/ {{ dav_methods PUT; }}\n\
             location /who {{ return 200 '$remote_addr $remote_port'; }} }} }}\n"
        );
        let path = files.path().join("nginx.conf");
        std::fs::write(&path, config).expect("written");
        let path = path.display().to_string();
        let mut process = host.spawn(&["nginx", "-e", "stderr", "-c", &path]);
        wait_for(PATIENCE, "nginx listens", || {
            assert!(process.running(), "nginx ended:\n{}", process.stderr());
            let listens = host.must(&["ss", "-Hltn", "sport = :80"]);
            (listens.lines().count() == 2).then_some(())
        });
        Self { process, files }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join("www").join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.files.path().join("log")).expect("a log")
    }

    /// Ends it; connections that it has are closed.
    fn end(mut self, host: &Host) {
        self.process.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(self.process.wait(PATIENCE).is_some(), "nginx goes on");
        assert_eq!(host.must(&["ss", "-Hltn", "sport = :80"]), "");
    }
}

fn client(net: &Net, to: SocketAddr) -> Client {
    Client::new(net.client.connect(to, PATIENCE).expect("connects"))
}

/// What `/who` must say.
fn me(client: &Client) -> String {
    let at = client.stream().local_addr().expect("an address");
    let ip = match at.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(at.ip(), IpAddr::V4),
        ip @ IpAddr::V4(_) => ip,
    };
    format!("{ip} {}", at.port())
}

#[track_caller]
fn is_nginx(answer: &sidestep_tests::http::Answer, status: u16) {
    let server = answer.field("server").unwrap_or_default();
    assert!(server.starts_with("nginx"), "{}", answer.head);
    assert_eq!(answer.status, status, "{}", answer.head);
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

fn total(daemon: &Daemon<'_>, name: &str, label: &str) -> u64 {
    let status = daemon.status();
    let workers = status["workers"].as_array().cloned().unwrap_or_default();
    workers
        .iter()
        .filter_map(|w| w["counters"][name][label].as_u64())
        .sum()
}

#[test]
fn a_miss_is_nginxs_whenever_it_comes_and_nginx_sees_the_client() {
    let (net, site) = (Net::new(), Site::new("kernel"));
    let origin = Origin::start(&net.server);
    let daemon = Daemon::start(&net.server, &site.config());
    for to in net.server.addresses(80) {
        for hits in [0, 1, 3, 1000] {
            let mut client = client(&net, to);
            for _ in 0..hits {
                let answer = client.get("/ping").expect("answered");
                assert_eq!(answer.field("server"), Some("sidestep"));
                assert_eq!(answer.body, PING);
            }
            let answer = client.get("/who").expect("answered");
            is_nginx(&answer, 200);
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(body, me(&client), "behind {hits} hits");
            let line = format!("{} /who 200", me(&client));
            wait_for(PATIENCE, "nginx logs the client", || {
                origin.log().contains(&line).then_some(())
            });
            // It is nginx's now, for good.
            for _ in 0..3 {
                let answer = client.get("/ping").expect("answered");
                is_nginx(&answer, 200);
                assert_eq!(answer.body, PING);
            }
        }
    }
    assert_eq!(total(&daemon, "handoff", "taken"), 8);
    assert_eq!(total(&daemon, "http_left", "path"), 8);
}

#[test]
fn a_pipeline_of_both_is_answered_in_order() {
    let (net, site) = (Net::new(), Site::new("kernel"));
    let _origin = Origin::start(&net.server);
    let _daemon = Daemon::start(&net.server, &site.config());
    for to in net.server.addresses(80) {
        let mut client = client(&net, to);
        let pipeline = [get("/ping"), get("/hello"), get("/who"), get("/ping")].concat();
        client.send(pipeline).expect("sent");
        for path in ["/ping", "/hello"] {
            let answer = client.answer().expect("answered");
            assert_eq!(answer.field("server"), Some("sidestep"), "{path}");
        }
        let answer = client.answer().expect("answered");
        is_nginx(&answer, 200);
        assert_eq!(String::from_utf8_lossy(&answer.body), me(&client));
        is_nginx(&client.answer().expect("answered"), 200);
        // Half-closed behind a request: it gets its answer, then the end.
        let mut client = self::client(&net, to);
        client
            .send([get("/ping"), get("/who")].concat())
            .expect("sent");
        let half = client.stream().shutdown(std::net::Shutdown::Write);
        half.expect("shut down");
        assert_eq!(client.answer().expect("answered").body, PING);
        is_nginx(&client.answer().expect("answered"), 200);
        assert_eq!(client.rest().expect("closed in order"), b"");
    }
}

#[test]
fn ten_mebibytes_go_up_and_a_hundred_come_down_byte_by_byte() {
    let site = Site::new("kernel");
    transfers(&site.config());
}

#[test]
fn through_the_proxy_they_go_as_well() {
    let site = Site::new("kernel");
    transfers(&by_proxy(&site));
}

fn by_proxy(site: &Site) -> String {
    let fallback = "fallback = \"kernel\"";
    site.config()
        .replace(fallback, &format!("{fallback}\nfallback_mode = \"proxy\""))
}

fn transfers(config: &str) {
    let net = Net::new();
    let origin = Origin::start(&net.server);
    let _daemon = Daemon::start(&net.server, config);
    let files = TempDir::new().expect("a directory");
    let mut rng = fastrand::Rng::with_seed(4);
    let up: Vec<u8> = std::iter::repeat_with(|| rng.u8(..))
        .take(10 << 20)
        .collect();
    let source = files.path().join("up");
    std::fs::write(&source, &up).expect("written");
    std::fs::write(origin.file("down"), up.repeat(10)).expect("written");
    let source = source.display().to_string();
    for to in net.server.addresses(80) {
        for (name, expect) in [("with", "Expect: 100-continue"), ("without", "Expect:")] {
            // The first request of a connection, and behind a hit.
            for hits in [&[][..], &[format!("http://{to}/ping")]] {
                let url = format!("http://{to}/up/{name}");
                let mut argv = vec![
                    "curl",
                    "--silent",
                    "--show-error",
                    "--fail",
                    "--max-time",
                    "60",
                ];
                for hit in hits {
                    argv.extend([hit.as_str(), "--next", "--silent", "--show-error", "--fail"]);
                }
                argv.extend(["--header", expect, "--upload-file", &source, &url]);
                net.client.must(&argv);
                let stored = std::fs::read(origin.file(&format!("up/{name}"))).expect("stored");
                assert!(stored == up, "{url}: {} bytes", stored.len());
                std::fs::remove_file(origin.file(&format!("up/{name}"))).expect("removed");
            }
        }
        let down = files.path().join("down").display().to_string();
        let url = format!("http://{to}/down");
        net.client.must(&[
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "60",
            "--output",
            &down,
            &url,
        ]);
        let got = std::fs::read(&down).expect("fetched");
        assert!(got == up.repeat(10), "{} bytes", got.len());
    }
}

#[test]
fn without_a_listener_one_request_gets_503_and_the_connection_goes_on() {
    let (net, site) = (Net::new(), Site::new("kernel"));
    let daemon = Daemon::start(&net.server, &site.config());
    let mut clients: Vec<Client> = net
        .server
        .addresses(80)
        .map(|to| client(&net, to))
        .into_iter()
        .collect();
    for client in &mut clients {
        assert_eq!(client.get("/who").expect("answered").status, 503);
        assert_eq!(client.get("/ping").expect("answered").body, PING);
    }
    assert_eq!(total(&daemon, "handoff", "no_listener"), 2);
    // The server starts, and goes.
    let origin = Origin::start(&net.server);
    let mut other = client(&net, net.server.at(80));
    is_nginx(&other.get("/who").expect("answered"), 200);
    origin.end(&net.server);
    for client in &mut clients {
        assert_eq!(client.get("/who").expect("answered").status, 503);
        assert_eq!(client.get("/ping").expect("answered").body, PING);
    }
    // And starts again.
    let _origin = Origin::start(&net.server);
    for client in &mut clients {
        is_nginx(&client.get("/who").expect("answered"), 200);
    }
}

#[test]
fn a_drain_hands_over_idle_connections() {
    let (net, site) = (Net::new(), Site::new("kernel"));
    let _origin = Origin::start(&net.server);
    let daemon = Daemon::start(&net.server, &site.config());
    let mut clients: Vec<Client> = (0..20)
        .flat_map(|_| net.server.addresses(80))
        .map(|to| client(&net, to))
        .collect();
    for client in clients.iter_mut().step_by(2) {
        assert_eq!(client.get("/ping").expect("answered").body, PING);
    }
    let mut half = client(&net, net.server.at(80));
    half.send("GET /wh").expect("sent");
    daemon.stop();
    for client in &mut clients {
        let answer = client.get("/who").expect("answered");
        is_nginx(&answer, 200);
        assert_eq!(String::from_utf8_lossy(&answer.body), me(client));
    }
    half.send("o HTTP/1.1\r\nHost: test\r\n\r\n").expect("sent");
    is_nginx(&half.answer().expect("answered"), 200);
}

/// Sets the flag when it goes, also by a panic, after which a scope would wait for its threads for ever.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn attach_take_over_and_detach_under_load_cost_no_request() {
    let (net, site) = (Net::new(), Site::new("kernel"));
    let _origin = Origin::start(&net.server);
    let load = Load {
        to: net.server.at(80),
        expect: &[("/ping", PING)],
        connections: 8,
        pipeline: 2,
        duration: Duration::from_secs(4),
        patience: PATIENCE,
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (net, load, over) = (&net, &load, &over);
        let kept = scope.spawn(move || load.run(&net.client));
        // New connections all the time, as well.
        let fresh = scope.spawn(move || {
            let mut outcomes = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let brief = Load {
                    connections: 1,
                    pipeline: 1,
                    duration: Duration::from_millis(5),
                    ..load.clone()
                };
                outcomes.push(brief.run(&net.client));
            }
            outcomes
        });
        let end = SetAtEnd(over);
        while !kept.is_finished() {
            let first = Daemon::start(&net.server, &site.config());
            first.replaced().stop();
        }
        drop(end);
        kept.join().expect("load ran").assert_clean(100);
        for outcome in fresh.join().expect("load ran") {
            outcome.assert_clean(0);
        }
    });
}

#[test]
fn the_proxy_keeps_the_order_and_hides_the_client() {
    let (net, site) = (Net::new(), Site::new("kernel"));
    let daemon = Daemon::start(&net.server, &by_proxy(&site));
    let mut clients = net.server.addresses(80).map(|to| client(&net, to));
    for client in &mut clients {
        assert_eq!(client.get("/who").expect("answered").status, 503);
    }
    let _origin = Origin::start(&net.server);
    for client in &mut clients {
        let pipeline = [get("/ping"), get("/who"), get("/ping")].concat();
        client.send(pipeline).expect("sent");
        let answer = client.answer().expect("answered");
        assert_eq!(answer.field("server"), Some("sidestep"));
        let answer = client.answer().expect("answered");
        is_nginx(&answer, 200);
        assert_ne!(String::from_utf8_lossy(&answer.body), me(client));
        is_nginx(&client.answer().expect("answered"), 200);
    }
    assert_eq!(total(&daemon, "handoff", "taken"), 2);
}

#[test]
fn misses_through_a_bad_link_all_get_their_answers() {
    let shape = Shape {
        loss: 0.01,
        ..Shape::default()
    };
    let net = Plan::new().link(shape, 4).build();
    let site = Site::new("kernel");
    let _origin = Origin::start(&net.server);
    let daemon = Daemon::start(&net.server, &site.config());
    let deadline = Deadline::after(lasting(Duration::from_secs(3), Duration::from_secs(60)));
    let to = net.server.at(80);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !deadline.passed() {
                    let mut client = client(&net, to);
                    let both = [get("/ping"), get("/who")].concat().repeat(2);
                    client.send(both).expect("sent");
                    assert_eq!(client.answer().expect("answered").body, PING);
                    let answer = client.answer().expect("answered");
                    is_nginx(&answer, 200);
                    assert_eq!(String::from_utf8_lossy(&answer.body), me(&client));
                    for _ in 0..2 {
                        is_nginx(&client.answer().expect("answered"), 200);
                    }
                }
            });
        }
    });
    assert!(total(&daemon, "handoff", "taken") > 50);
    assert_eq!(total(&daemon, "handoff", "too_late"), 0);
}

#[test]
fn a_crash_costs_nothing_that_was_handed_over() {
    let (net, site) = (Net::new(), Site::new("kernel"));
    let _origin = Origin::start(&net.server);
    let daemon = Daemon::start(&net.server, &site.config());
    let mut clients = net.server.addresses(80).map(|to| client(&net, to));
    for client in &mut clients {
        assert_eq!(client.get("/ping").expect("answered").body, PING);
        is_nginx(&client.get("/who").expect("answered"), 200);
    }
    daemon.kill9();
    for client in &mut clients {
        is_nginx(&client.get("/who").expect("answered"), 200);
    }
    is_nginx(
        &client(&net, net.server.at(80))
            .get("/who")
            .expect("answered"),
        200,
    );
}
