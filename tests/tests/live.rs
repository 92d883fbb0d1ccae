//! The store changes while it is served.

#[path = "live/replaced.rs"]
mod replaced;

use nix::sys::signal::Signal;
use sidestep_tests::clock::{PATIENCE, now, wait_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::{Answer, Client};
use sidestep_tests::net::{Net, Plan};
use sidestep_tests::site::{PING, Site};
use std::fs;

fn client(net: &Net) -> Client {
    let to = net.server.at(80);
    Client::new(net.client.connect(to, PATIENCE).expect("connects"))
}

fn get(client: &mut Client, path: &str) -> Answer {
    client.get(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn body(client: &mut Client, path: &str) -> String {
    String::from_utf8_lossy(&get(client, path).body).into_owned()
}

#[test]
fn a_reload_changes_what_is_served_and_nothing_if_anything_is_wrong() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    let mut conn = client(&net);
    assert_eq!(get(&mut conn, "/ping").body, PING);

    let changed = site.config().replace("Hello world!", "Good morning");
    daemon.rewrite(&changed);
    let done = daemon.control(&["reload"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert!(done.stdout.starts_with("reloaded in "), "{}", done.stdout);
    assert_eq!(body(&mut conn, "/hello"), "Good morning");
    assert_eq!(get(&mut conn, "/ping").body, PING);

    // What is wrong changes nothing, whatever else is in the file.
    let nonsense = changed.replace("Good morning", "Good night");
    for (text, says) in [
        (format!("{nonsense}\nfoo = 1"), "unknown key `foo`"),
        (
            nonsense.replace("port = 80", "port = 81"),
            "needs a new attach",
        ),
        (
            nonsense.replace(&site.root().display().to_string(), "/nowhere"),
            "/nowhere",
        ),
    ] {
        daemon.rewrite(&text);
        let done = daemon.control(&["reload"]);
        assert_eq!(done.code(), 2, "{}", done.stdout);
        assert!(done.stderr.contains(says), "{}", done.stderr);
        assert_eq!(body(&mut conn, "/hello"), "Good morning");
        let error = daemon.status()["store"]["reload"]["error"].clone();
        assert!(error.as_str().is_some_and(|e| e.contains(says)), "{error}");
    }

    daemon.rewrite(&changed.replace("Good morning", "Good evening"));
    daemon.signal(Signal::SIGHUP);
    wait_for(PATIENCE, "the reload", || {
        (body(&mut conn, "/hello") == "Good evening").then_some(())
    });
    assert_eq!(
        daemon.status()["store"]["reload"]["error"],
        serde_json::Value::Null
    );
}

#[test]
fn limits_change_with_a_reload() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    let mut conn = client(&net);
    let long = format!("/ping?{}", "x".repeat(600));
    assert_eq!(get(&mut conn, &long).status, 200);
    daemon.rewrite(&(site.config() + "[limits]\nheader_bytes = \"512B\"\n"));
    let done = daemon.control(&["reload"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    // The worker takes them with its next batch.
    wait_for(PATIENCE, "the limit", || {
        let status = get(&mut client(&net), &long).status;
        matches!(status, 414 | 431).then_some(())
    });
}

#[test]
fn the_metrics_page_and_the_memory_of_the_cache_change_with_a_reload() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    let page = |port: u16| {
        let url = format!("http://127.0.0.1:{port}/metrics");
        let argv = ["curl", "--silent", "--max-time", "10", &url].map(str::to_owned);
        net.server.run(&argv, PATIENCE).stdout
    };
    let reload = |more: &str| {
        daemon.rewrite(&(site.config() + more));
        daemon.control(&["reload"])
    };
    assert!(page(9469).contains("sidestep_http"), "{}", page(9469));
    let done = reload("[limits]\ncache_memory = \"2MiB\"\n");
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let done = reload("[control]\nmetrics = \"127.0.0.1:9470\"\n");
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert!(page(9470).contains("sidestep_http"), "{}", page(9470));
    assert_eq!(page(9469), "");
    // Where it cannot be, it stays where it is.
    let done = reload("[control]\nmetrics = \"203.0.113.7:9471\"\n");
    assert_eq!(done.code(), 2, "{}", done.stdout);
    let says = "[control] metrics: cannot listen at 203.0.113.7:9471";
    assert!(done.stderr.contains(says), "{}", done.stderr);
    assert!(page(9470).contains("sidestep_http"), "{}", page(9470));
}

/// That it takes no longer than a second is promised; how long it takes here is printed.
#[test]
fn a_change_of_a_file_is_seen() {
    let (net, site) = (Net::new(), Site::new("none"));
    let _daemon = Daemon::start(&net.server, &site.config());
    let mut conn = client(&net);
    let mut took = Vec::new();
    for n in 0..10 {
        let text = format!("version {n}");
        let beside = site.root().join(".new");
        fs::write(&beside, &text).expect("written");
        fs::rename(&beside, site.root().join("changing.txt")).expect("renamed");
        let begun = now();
        wait_for(PATIENCE, "the change is seen", || {
            let answer = get(&mut conn, "/changing.txt");
            (answer.body == text.as_bytes()).then_some(())
        });
        took.push(now().duration_since(begun));
    }
    took.sort();
    println!(
        "a change is seen after {} ms (median of {}), {} ms at most",
        took[took.len() / 2].as_millis(),
        took.len(),
        took[took.len() - 1].as_millis()
    );
}

/// From the moment on that a command has ended, no answer is from before it, whichever queue it comes from.
#[test]
fn what_is_put_is_served_until_it_is_purged_and_not_once_after_that() {
    let net = Plan::new().queues(2).build();
    let site = Site::new("none");
    let daemon = Daemon::start(&net.server, &site.config());
    let files = tempfile::tempdir().expect("a directory");
    let file = files.path().join("data.json").display().to_string();
    let mut conns: Vec<Client> = (0..8).map(|_| client(&net)).collect();
    for round in 0..20 {
        fs::write(&file, round.to_string()).expect("written");
        let done = daemon.control(&["put", "/data", &file, "--tag", "numbers"]);
        assert_eq!(done.code(), 0, "{}", done.stderr);
        for conn in &mut conns {
            let answer = get(conn, "/data");
            assert_eq!(answer.field("content-type"), Some("application/json"));
            assert_eq!(answer.body, round.to_string().as_bytes());
        }
        if round % 2 == 0 {
            continue;
        }
        let purge: &[&str] = match round % 3 {
            0 => &["purge", "--tag", "numbers"],
            1 => &["purge", "--prefix", "/da"],
            _ => &["purge", "--path", "/data"],
        };
        let done = daemon.control(purge);
        assert_eq!(done.stdout, "1 purged\n", "{}", done.stderr);
        for conn in &mut conns {
            assert_eq!(get(conn, "/data").status, 404);
        }
    }
    // What was put goes before what is there, and stays over a reload.
    fs::write(&file, "pong").expect("written");
    assert_eq!(daemon.control(&["put", "/ping", &file]).code(), 0);
    assert_eq!(daemon.control(&["reload"]).code(), 0);
    assert_eq!(body(&mut conns[0], "/ping"), "pong");
    assert_eq!(daemon.control(&["purge", "--all"]).stdout, "1 purged\n");
    assert_eq!(get(&mut conns[0], "/ping").body, PING);
    let refused = daemon.control(&["put", "ping", &file]);
    assert_eq!(refused.code(), 2, "{}", refused.stderr);
}

#[test]
fn programs_reach_the_same_over_http() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    let socket = daemon.socket();
    let curl = |args: &[&str]| {
        let mut argv = vec!["curl", "--silent", "--show-error", "--max-time", "10"];
        argv.extend(["--unix-socket", &socket, "--write-out", "%{http_code}"]);
        argv.extend(args);
        net.server.must(&argv)
    };
    let files = tempfile::tempdir().expect("a directory");
    let file = files.path().join("large").display().to_string();
    // Over what curl sends without asking first.
    let large = "0123456789".repeat(200_000);
    fs::write(&file, &large).expect("written");
    let put = "http://localhost/put?path=/large&tag=big";
    assert_eq!(
        curl(&["-T", &file, "-H", "Content-Type: text/x", put]),
        "{}\n200"
    );
    let answer = get(&mut client(&net), "/large");
    assert_eq!(answer.field("content-type"), Some("text/x"));
    assert!(
        answer.body == large.as_bytes(),
        "{} bytes",
        answer.body.len()
    );
    let purge = "http://localhost/purge?tag=big";
    assert_eq!(curl(&["-X", "POST", purge]), "{\"purged\":1}\n200");
    assert_eq!(get(&mut client(&net), "/large").status, 404);
    assert!(curl(&["http://localhost/status"]).contains("\"objects\""));
    assert!(curl(&["-X", "POST", "http://localhost/reload"]).ends_with("200"));
    daemon.rewrite("nonsense");
    let refused = curl(&["-X", "POST", "http://localhost/reload"]);
    assert!(
        refused.ends_with("422") && refused.contains("expected"),
        "{refused}"
    );
}
