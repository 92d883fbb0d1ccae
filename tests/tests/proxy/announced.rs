//! The PROXY protocol, with nginx as the one who understands it.

use super::{PORT, config, hit};
use sidestep_tests::clock::{PATIENCE, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::Client;
use sidestep_tests::net::{Host, Net};
use sidestep_tests::process::Process;
use std::net::SocketAddr;
use tempfile::TempDir;

/// nginx that takes no connection without a PROXY header. It answers with the client and the server as the header names
/// them, and logs the client.
struct Nginx {
    _process: Process,
    files: TempDir,
}

impl Nginx {
    fn start(host: &Host) -> Self {
        let files = TempDir::new().expect("a directory");
        let dir = files.path().display();
        let text = format!(
            "daemon off; master_process off; user root; pid {dir}/pid; error_log stderr; events {{}}\n\
             http {{ log_format who '$proxy_protocol_addr $proxy_protocol_port $request_uri';\n\
             access_log {dir}/log who; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p;\n\
             fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
             server {{ listen {PORT} proxy_protocol; listen [::]:{PORT} proxy_protocol;\n\
             location / {{ return 200 '$proxy_protocol_addr $proxy_protocol_port \
             $proxy_protocol_server_addr $proxy_protocol_server_port'; }} }} }}\n"
        );
        let path = files.path().join("nginx.conf");
        std::fs::write(&path, text).expect("written");
        let path = path.display().to_string();
        let mut process = host.spawn(&["nginx", "-e", "stderr", "-c", &path]);
        wait_for(PATIENCE, "nginx listens", || {
            assert!(process.running(), "nginx ended:\n{}", process.stderr());
            let listens = host.must(&["ss", "-Hltn", &format!("sport = :{PORT}")]);
            (listens.lines().count() == 2).then_some(())
        });
        Self {
            _process: process,
            files,
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.files.path().join("log")).expect("a log")
    }
}

/// Checks that nginx has seen this connection between its own two ends.
#[track_caller]
fn is_seen(client: &Client, body: &[u8]) {
    let words = |end: SocketAddr| format!("{} {}", end.ip(), end.port());
    let stream = client.stream();
    let (own, to) = (stream.local_addr(), stream.peer_addr());
    let ends = [own, to].map(|end| words(end.expect("an address")));
    assert_eq!(String::from_utf8_lossy(body), ends.join(" "));
}

#[test]
fn nginx_sees_the_client_that_a_proxy_header_names() {
    let net = Net::new();
    let nginx = Nginx::start(&net.server);
    for keys in [
        "proxy_protocol = \"v2\"",
        "fallback_mode = \"proxy\"\nproxy_protocol = \"v2\"",
    ] {
        let daemon = Daemon::start(&net.server, &config(keys));
        for to in net.server.addresses(PORT) {
            // The first request of a connection, and in the middle.
            let stream = net.client.connect(to, PATIENCE).expect("connects");
            for mut client in [Client::new(stream), hit(&net, to)] {
                for _ in 0..2 {
                    let answer = client.get("/elsewhere").expect("answered");
                    assert_eq!(answer.status, 200, "{}", answer.head);
                    is_seen(&client, &answer.body);
                }
                let own = client.stream().local_addr().expect("an address");
                let line = format!("{} {} /elsewhere", own.ip(), own.port());
                wait_for(PATIENCE, "nginx logs the client", || {
                    nginx.log().contains(&line).then_some(())
                });
            }
            // Behind hits in one segment.
            let mut client = hit(&net, to);
            let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
            let pipeline = [get("/ping"), get("/elsewhere"), get("/ping")].concat();
            client.send(pipeline).expect("sent");
            let answer = client.answer().expect("answered");
            assert_eq!(answer.field("server"), Some("sidestep"));
            for _ in 0..2 {
                let answer = client.answer().expect("answered");
                is_seen(&client, &answer.body);
            }
        }
        assert_eq!(daemon.counter("handoff", "taken"), 6);
    }
}
