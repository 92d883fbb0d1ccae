//! What the fast path answers, asked with real clients.

use sidestep_tests::clock::{PATIENCE, lasting, wall};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::{Answer, Client};
use sidestep_tests::load::Load;
use sidestep_tests::net::{Host, Net, Plan};
use sidestep_tests::site::{HELLO, INDEX, LARGE, PING, SUB_INDEX, Site, large};
use sidestep_tests::wrk::Wrk;
use std::net::SocketAddr;
use std::time::Duration;

fn client(net: &Net, to: SocketAddr) -> Client {
    Client::new(net.client.connect(to, PATIENCE).expect("connects"))
}

fn curl(host: &Host, args: &[&str]) -> Vec<u8> {
    let mut argv = vec!["curl", "--silent", "--show-error", "--max-time", "10"];
    argv.extend(args);
    let done = host.command(&argv).output().expect("curl runs");
    assert!(
        done.status.success(),
        "{argv:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    done.stdout
}

#[test]
fn curl_gets_every_resource_over_both_ip_versions() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    let large = large();
    let resources: [(&str, &[u8], &str); 7] = [
        ("/ping", PING, "application/json"),
        ("/hello", HELLO, "text/plain"),
        ("/", INDEX, "text/html"),
        ("/index.html", INDEX, "text/html"),
        ("/sub/", SUB_INDEX, "text/html"),
        ("/empty.txt", b"", "text/plain"),
        ("/large.bin", &large, "application/octet-stream"),
    ];
    for to in net.server.addresses(80) {
        for (path, body, content_type) in resources {
            let url = format!("http://{to}{path}");
            assert_eq!(curl(&net.client, &[&url]), body, "{url}");
            let head = curl(&net.client, &["--head", &url]);
            let head = String::from_utf8(head)
                .expect("a head is text")
                .to_lowercase();
            assert!(head.starts_with("http/1.1 200 ok\r\n"), "{url}: {head}");
            assert!(
                head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())),
                "{url}: {head}"
            );
            assert!(
                head.contains(&format!("\r\ncontent-type: {content_type}")),
                "{url}: {head}"
            );
        }
        let url = format!("http://{to}/ping");
        assert_eq!(curl(&net.client, &["--http1.0", &url]), PING);
        // One connection for all of them.
        let reused = curl(
            &net.client,
            &[&url, &url, &url, "--write-out", "%{num_connects}"],
        );
        assert_eq!(reused, [PING, b"1", PING, b"0", PING, b"0"].concat());
    }
    assert_eq!(net.server.kernel_connections(80), "");
    assert!(daemon.requests().iter().sum::<u64>() >= 2 * (7 * 2 + 4));
}

#[test]
fn wrk_finds_no_fault_and_the_kernel_sees_no_connection() {
    let (net, site) = (Net::new(), Site::new("kernel"));
    let daemon = Daemon::start(&net.server, &site.config());
    let mut total = 0;
    for (to, path, body, pipeline) in [
        (net.server.at(80), "/hello", HELLO, 1),
        (net.server.at(80), "/ping", PING, 24),
        (net.server.addresses(80)[1], "/ping", PING, 24),
    ] {
        let wrk = Wrk {
            to,
            path,
            body,
            connections: 100,
            pipeline,
            duration: lasting(Duration::from_secs(3), Duration::from_secs(10)),
            timeout: Duration::from_secs(2),
        };
        let (counts, seen) = std::thread::scope(|scope| {
            let running = scope.spawn(|| wrk.run(&net.client));
            let mut seen = String::new();
            while !running.is_finished() {
                seen += &net.server.kernel_connections(80);
            }
            (running.join().expect("wrk ran"), seen)
        });
        counts.assert_clean(1000);
        assert_eq!(
            seen, "",
            "the server's kernel has connections of the fast path"
        );
        eprintln!(
            "{to}{path} pipeline {pipeline}: {} answers",
            counts.requests
        );
        total += counts.requests;
    }
    assert!(daemon.requests().iter().sum::<u64>() >= total);
}

#[test]
fn both_workers_answer_on_two_queues() {
    let (net, site) = (Plan::new().queues(2).build(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    for to in net.server.addresses(80) {
        Load {
            to,
            expect: &[("/ping", PING), ("/", INDEX)],
            connections: 24,
            pipeline: 4,
            duration: Duration::from_secs(1),
            patience: PATIENCE,
        }
        .run(&net.client)
        .assert_clean(100);
    }
    let requests = daemon.requests();
    assert!(
        requests.len() == 2 && requests.iter().all(|count| *count > 0),
        "requests per worker: {requests:?}"
    );
}

#[test]
fn date_is_right_to_the_second() {
    let (net, site) = (Net::new(), Site::new("none"));
    let _daemon = Daemon::start(&net.server, &site.config());
    let mut client = client(&net, net.server.at(80));
    let before = wall();
    let answer = client.get("/ping").expect("answered");
    let after = wall();
    let date = answer.field("date").expect("Date is there");
    let date = httpdate::parse_http_date(date).expect("Date is an HTTP date");
    let second = Duration::from_secs(1);
    assert!(
        date + second > before && date <= after,
        "{date:?} is not within {before:?} and {after:?}"
    );
}

#[test]
fn head_gives_the_head_of_get() {
    let (net, site) = (Net::new(), Site::new("none"));
    let _daemon = Daemon::start(&net.server, &site.config());
    let mut client = client(&net, net.server.at(80));
    for path in ["/ping", "/", "/large.bin", "/no-such-thing"] {
        let get = client.get(path).expect("answered");
        client
            .send(format!("HEAD {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
            .expect("sent");
        let head = client.answer_to_head().expect("answered");
        assert_eq!(without_date(&head), without_date(&get), "{path}");
    }
}

fn without_date(answer: &Answer) -> String {
    answer
        .head
        .lines()
        .filter(|line| !line.starts_with("Date:"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn persistence_follows_version_and_connection_field() {
    let (net, site) = (Net::new(), Site::new("none"));
    let _daemon = Daemon::start(&net.server, &site.config());
    // (version, Connection field, whether the connection stays)
    for (version, connection, stays) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "connection: foo , CLOSE\r\n", false),
        ("1.1", "Connection: foo\r\nConnection: close\r\n", false),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: Keep-Alive, close\r\n", false),
    ] {
        let mut client = client(&net, net.server.at(80));
        let request = format!("GET /ping HTTP/{version}\r\nHost: test\r\n{connection}\r\n");
        client.send(&request).expect("sent");
        let answer = client.answer().expect("answered");
        assert_eq!((answer.status, &answer.body[..]), (200, PING), "{request}");
        if stays {
            assert_eq!(
                client.get("/hello").expect("answered").body,
                HELLO,
                "{request}"
            );
        } else {
            assert_eq!(client.rest().expect("closed cleanly"), b"", "{request}");
        }
    }
}

#[test]
fn pipelines_of_any_depth_are_answered_in_order() {
    let (net, site) = (Net::new(), Site::new("none"));
    let _daemon = Daemon::start(&net.server, &site.config());
    let large = large();
    let resources: [(&str, u16, &[u8]); 4] = [
        ("/ping", 200, PING),
        ("/hello", 200, HELLO),
        ("/large.bin", 200, &large),
        ("/", 200, INDEX),
    ];
    for depth in [1, 2, 25, 1000] {
        let turns: Vec<_> = resources.iter().cycle().take(depth).collect();
        let requests: String = turns
            .iter()
            .map(|(path, ..)| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
            .collect();
        let mut reader = client(&net, net.server.at(80));
        let mut writer = reader.stream().try_clone().expect("copied");
        std::thread::scope(|scope| {
            // Written beside reading: the answers are larger than all buffers on the way.
            scope.spawn(move || {
                std::io::Write::write_all(&mut writer, requests.as_bytes()).expect("sent")
            });
            for (path, status, body) in &turns {
                let answer = reader.answer().expect("answered");
                assert!(
                    answer.status == *status && answer.body == *body,
                    "{path} in a pipeline of {depth}: {}",
                    answer.head
                );
            }
        });
    }
}

#[test]
fn an_answer_to_a_client_that_half_closes_is_whole() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    let mut client = client(&net, net.server.at(80));
    client
        .send("GET /large.bin HTTP/1.1\r\nHost: test\r\n\r\n")
        .expect("sent");
    client
        .stream()
        .shutdown(std::net::Shutdown::Write)
        .expect("shut down");
    let answer = client.answer().expect("answered");
    assert_eq!(answer.body.len(), LARGE);
    assert_eq!(answer.body, large());
    assert_eq!(client.rest().expect("closed cleanly"), b"");
    sidestep_tests::clock::wait_for(PATIENCE, "the connection is gone", || {
        (daemon.connections() == [0]).then_some(())
    });
}

#[test]
fn refusals_without_a_fallback_have_the_right_status() {
    let (net, site) = (Net::new(), Site::new("none"));
    let _daemon = Daemon::start(&net.server, &site.config());
    // (request, status)
    let host = "Host: test\r\n\r\n";
    for (request, status) in [
        (format!("GET /no-such-thing HTTP/1.1\r\n{host}"), 404),
        (format!("GET /../../../etc/passwd HTTP/1.1\r\n{host}"), 404),
        (
            format!("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n{host}"),
            404,
        ),
        (format!("DELETE /ping HTTP/1.1\r\n{host}"), 405),
        (
            format!("PUT /ping HTTP/1.1\r\nContent-Length: 0\r\n{host}"),
            405,
        ),
        (format!("BREW /ping HTTP/1.1\r\n{host}"), 501),
        (format!("GET /too-large.bin HTTP/1.1\r\n{host}"), 501),
        (
            format!("GET /ping HTTP/1.1\r\nContent-Length: 3\r\n{host}abc"),
            413,
        ),
        ("GET /ping HTTP/1.1\r\n\r\n".to_owned(), 400),
    ] {
        let mut client = client(&net, net.server.at(80));
        client.send(&request).expect("sent");
        let answer = client.answer().expect("answered");
        assert_eq!(answer.status, status, "{request}{}", answer.head);
        if status == 405 {
            assert_eq!(
                answer.field("allow"),
                Some("GET, HEAD, OPTIONS"),
                "{}",
                answer.head
            );
        }
        if status == 404 {
            // A plain refusal does not cost the connection.
            assert_eq!(
                client.get("/ping").expect("answered").body,
                PING,
                "{request}"
            );
        }
    }
}
