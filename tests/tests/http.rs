//! Conditions, ranges, codings, OPTIONS and limits, asked with curl and byte by byte.

use sidestep_tests::clock::PATIENCE;
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::Client;
use sidestep_tests::net::{Host, Net};
use sidestep_tests::process;
use sidestep_tests::server::Server;
use sidestep_tests::site::{LARGE, PING, Site, large};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// What `curl ARGS` wrote as the status of the answer, and to `out`.
fn curl(host: &Host, out: &Path, args: &[&str]) -> (String, Vec<u8>) {
    let out = out.display().to_string();
    let mut argv = vec!["curl", "--silent", "--show-error", "--max-time", "10"];
    argv.extend(["--output", &out, "--write-out", "%{http_code}"]);
    argv.extend(args);
    let done = host.command(&argv).output().expect("curl runs");
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{argv:?}: {stderr}");
    let status = String::from_utf8(done.stdout).expect("a status");
    // A 304 writes nothing.
    (status, std::fs::read(out).unwrap_or_default())
}

#[test]
fn curl_asks_for_parts_and_conditions() {
    let (net, site) = (Net::new(), Site::new("none"));
    let page = "<p>The same again.\n".repeat(300);
    let page_path = site.root().join("page.html");
    std::fs::write(&page_path, &page).expect("a file is written");
    let mut gzip = Command::new("gzip");
    gzip.args(["--keep", "--best"]).arg(&page_path);
    process::must(gzip, PATIENCE);
    let _daemon = Daemon::start(&net.server, &site.config());
    let files = TempDir::new().expect("a temporary directory");
    let large = large();
    for (turn, to) in net.server.addresses(80).into_iter().enumerate() {
        let (url, page_url) = (
            format!("http://{to}/large.bin"),
            format!("http://{to}/page.html"),
        );
        let new = |name: &str| files.path().join(format!("{turn}-{name}"));
        let ask = |name: &str, args: &[&str]| curl(&net.client, &new(name), args);
        let status = |status: &str, bytes: &[u8]| (status.to_owned(), bytes.to_vec());
        // Ranges.
        for (range, part) in [
            ("0-4", &large[..5]),
            ("1000-2999", &large[1000..3000]),
            ("60000-", &large[60_000..]),
            ("-7", &large[LARGE - 7..]),
            ("65535-70000", &large[LARGE - 1..]),
        ] {
            assert_eq!(
                ask(range, &["-r", range, &url]),
                status("206", part),
                "{range}"
            );
        }
        assert_eq!(ask("beyond", &["-r", "65536-", &url]).0, "416");
        // A download that goes on where it broke off.
        let broken = new("broken");
        std::fs::write(&broken, &large[..30_000]).expect("a file is written");
        let resumed = curl(&net.client, &broken, &["-C", "-", &url]);
        assert!(
            resumed == status("206", &large),
            "{} bytes",
            resumed.1.len()
        );
        // Conditions.
        let etags = new("etags").display().to_string();
        assert_eq!(ask("first", &["--etag-save", &etags, &url]).0, "200");
        assert_eq!(
            ask("again", &["--etag-compare", &etags, &url]),
            status("304", b"")
        );
        let other = ask("other", &["--etag-compare", &etags, &page_url]);
        assert_eq!(other, status("200", page.as_bytes()));
        let later = ["-z", "Wed, 01 Jan 2070 00:00:00 GMT", &url];
        assert_eq!(ask("later", &later), status("304", b""));
        let long_ago = ["-z", "Sun, 06 Nov 1994 08:49:37 GMT", &url];
        assert!(ask("long-ago", &long_ago) == status("200", &large));
        let unless = ["-z", "-Sun, 06 Nov 1994 08:49:37 GMT", &url];
        assert_eq!(ask("unless", &unless).0, "412");
        // Codings.
        let coded = ["--header", "Accept-Encoding: gzip", &page_url];
        assert!(ask("coded", &coded).1.len() < 300);
        let decoded = ask("decoded", &["--compressed", &page_url]);
        assert_eq!(decoded, status("200", page.as_bytes()));
        assert_eq!(ask("plain", &[&page_url]), status("200", page.as_bytes()));
    }
}

#[test]
fn options_tell_what_is_allowed() {
    let (net, site) = (Net::new(), Site::new("none"));
    let _daemon = Daemon::start(&net.server, &site.config());
    let to = net.server.at(80);
    let mut client = Client::new(net.client.connect(to, PATIENCE).expect("connects"));
    for (target, status) in [("*", 204), ("/ping", 204), ("/sub", 204), ("/nothing", 404)] {
        client
            .send(format!("OPTIONS {target} HTTP/1.1\r\nHost: test\r\n\r\n"))
            .expect("sent");
        let answer = client.answer().expect("answered");
        assert_eq!(answer.status, status, "{target}: {}", answer.head);
        if status == 204 {
            assert_eq!(answer.field("allow"), Some("GET, HEAD, OPTIONS"));
            assert_eq!(answer.field("content-length"), None);
        }
    }
    let url = format!("http://{to}/x");
    let argv = [
        "curl",
        "-s",
        "-i",
        "-X",
        "OPTIONS",
        "--request-target",
        "*",
        &url,
    ];
    let said = net.client.must(&argv);
    assert!(said.starts_with("HTTP/1.1 204 No Content\r\n"), "{said}");
}

#[test]
fn limits_have_their_own_statuses() {
    let limits = "[limits]\nheader_bytes = \"1KiB\"\n";
    let (net, site) = (Net::new(), Site::new("none").with(limits));
    let _daemon = Daemon::start(&net.server, &site.config());
    let fits = |len: usize| {
        let head = "GET /ping HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        format!(
            "GET /ping HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "a".repeat(len - head)
        )
    };
    let target = |len| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(len));
    let many = format!(
        "GET /ping HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "A: b\r\n".repeat(300)
    );
    for (request, status) in [
        (fits(1024), 200),
        (fits(1025), 431),
        (many, 431),
        (target(900), 404),
        (target(1100), 414),
        (
            format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(33)),
            501,
        ),
    ] {
        let to = net.server.at(80);
        let mut client = Client::new(net.client.connect(to, PATIENCE).expect("connects"));
        client.send(&request).expect("sent");
        let answer = client.answer().expect("answered");
        let shown = &request[..request.len().min(40)];
        assert_eq!(answer.status, status, "{shown}: {}", answer.head);
        let ends = !matches!(status, 200 | 404);
        assert_eq!(
            answer.field("connection"),
            ends.then_some("close"),
            "{shown}"
        );
    }
}

/// The server sends back what it gets, so that each byte that it got is seen.
#[test]
fn what_is_not_clear_reaches_the_server_byte_for_byte() {
    let (net, site) = (Net::new(), Site::new("kernel"));
    let _server = Server::echo(&net.server, 80);
    let _daemon = Daemon::start(&net.server, &site.config());
    let requests: [&[u8]; 11] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
        b"POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /ping HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /ping HTTP/1.1\nHost: a\n\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        b"GET /ping HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for request in requests {
        for hits in [0, 2] {
            let stream = net.client.connect(net.server.at(80), PATIENCE);
            let mut client = Client::new(stream.expect("connects"));
            for _ in 0..hits {
                assert_eq!(client.get("/ping").expect("answered").body, PING);
            }
            client.send(request).expect("sent");
            let got = client.bytes(request.len()).expect("sent back");
            let shown = request.escape_ascii();
            assert_eq!(got, request, "{shown} behind {hits} hits");
        }
    }
}
