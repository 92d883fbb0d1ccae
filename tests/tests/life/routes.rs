//! Counters by route.

use serde_json::{Value, json};
use sidestep_tests::clock::PATIENCE;
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::Client;
use sidestep_tests::net::Net;
use sidestep_tests::server::Server;

const CONFIG: &str = r#"
[[listen]]
address = "interface"
port = 80

[[site]]
hosts = ["test", "other"]

[[site.response]]
path = "/a b"
body = "x"

[[site.cache]]
path = "/api/*"
origin = "http://127.0.0.1:1"

[[site]]
hosts = ["*.example"]

[[site.response]]
path = "/"
body = "y"
"#;

#[test]
fn what_became_of_requests_is_told_by_route() {
    let net = Net::new();
    let _server = Server::http(&net.server, 80, "kernel");
    let daemon = Daemon::start(&net.server, CONFIG);
    let requests: [(&[&str], &str); 4] = [
        (&["GET /a%20b"; 3], "test"),
        (&["GET /a%20b", "POST /a%20b"], "other"),
        (&["GET /api/1"], "test"),
        (&["GET /"], "nobody"),
    ];
    for to in net.server.addresses(80) {
        for (lines, host) in requests {
            let mut client = Client::new(net.client.connect(to, PATIENCE).expect("connects"));
            for line in lines {
                let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n");
                client.send(request).expect("sent");
                assert_eq!(client.answer().expect("answered").status, 200, "{line}");
            }
        }
    }
    let row = |site: &str, route: &str, counts: Value| json!({"site": site, "route": route, "counts": counts});
    let expected = [
        row("", "none", json!({"served": 0, "left_path": 2})),
        row("*.example", "/", json!({"served": 0})),
        row("test", "/a%20b", json!({"served": 8, "left_method": 2})),
        row("test", "/api/*", json!({"served": 0, "left_cache_miss": 2})),
    ];
    let status = daemon.status();
    assert_eq!(status["routes"], json!(expected), "{status:#}");

    let text = daemon.control(&["status"]).stdout;
    assert!(text.contains("test /a%20b"), "{text}");
    let argv = ["curl", "-sf", "http://127.0.0.1:9469/metrics"];
    let page = net.server.must(&argv);
    for line in [
        "sidestep_route{site=\"\",route=\"none\",kind=\"left_path\"} 2",
        "sidestep_route{site=\"*.example\",route=\"/\",kind=\"served\"} 0",
        "sidestep_route{site=\"test\",route=\"/a%20b\",kind=\"served\"} 8",
        "sidestep_route{site=\"test\",route=\"/a%20b\",kind=\"left_method\"} 2",
    ] {
        assert!(page.lines().any(|l| l == line), "no {line} in:\n{page}");
    }
}
