//! The load generator of `sidestep-bench` against real stacks: what it counts as right is right, and what is wrong it
//! says.

use sidestep_tests::daemon::{Daemon, binary};
use sidestep_tests::link::Shape;
use sidestep_tests::net::{Net, Plan};
use sidestep_tests::process::Finished;
use sidestep_tests::server::user::{Kind, Running};
use sidestep_tests::site::Site;
use std::io::{Read, Write};
use std::time::Duration;

/// Only against hanging: a run is a few seconds, its handshakes and its end.
const LIMIT: Duration = Duration::from_secs(120);

fn bench() -> String {
    let bench = binary().with_file_name("sidestep-bench");
    assert!(
        bench.exists(),
        "run `cargo build -p sidestep-bench` (with the same profile)"
    );
    bench.display().to_string()
}

/// Runs `sidestep-bench load` on the client's host.
fn load(net: &Net, target: &str, options: &[&str]) -> Finished {
    let bench = bench();
    let mut argv = vec![
        &*bench,
        "load",
        "--interface",
        net.client.device,
        "--target",
        target,
        "--json",
    ];
    argv.extend(options);
    net.client.run(&argv, LIMIT)
}

/// The same, which has to end well; its result.
fn clean(net: &Net, target: &str, options: &[&str]) -> serde_json::Value {
    let done = load(net, target, options);
    assert_eq!(
        done.code(),
        0,
        "{options:?}: {}{}",
        done.stdout,
        done.stderr
    );
    let result: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    println!("{target} {options:?}: {result}");
    assert_eq!(
        (&result["wrong"], &result["failed"]),
        (&0.into(), &serde_json::json!({}))
    );
    result
}

fn count(result: &serde_json::Value, name: &str) -> u64 {
    result[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name} in {result}"))
}

const SHORT: [&str; 4] = ["--seconds", "2", "--warm-up", "0.2"];

#[test]
fn sidestep_answers_it_in_every_way_of_asking() {
    let (net, site) = (Net::new(), Site::new("none"));
    let daemon = Daemon::start(&net.server, &site.config());
    let [v4, v6] = net.server.addresses(80).map(|address| address.to_string());
    for (target, options) in [
        (&v4, &["--connections", "1", "--path", "/hello"][..]),
        (
            &v4,
            &[
                "--depth", "24", "--path", "/hello", "--path", "/ping", "--verify", "1",
            ],
        ),
        (
            &v4,
            &[
                "--path",
                "/large.bin",
                "--connections",
                "5",
                "--verify",
                "1",
                "--checksums",
            ],
        ),
        (
            &v4,
            &[
                "--path",
                "/hello",
                "--requests-per-connection",
                "1",
                "--sources",
                "10.77.0.128/26",
            ],
        ),
        (
            &v4,
            &["--path", "/hello", "--rate", "500", "--mode", "generic"],
        ),
        (
            &v4,
            &["--path", "/none", "--status", "404", "--method", "HEAD"],
        ),
        (
            &v4,
            &[
                "--path",
                "/hello",
                "--connections",
                "3000",
                "--active",
                "1",
                "--in-flight",
                "100",
            ],
        ),
        (
            &v6,
            &[
                "--path",
                "/hello",
                "--depth",
                "3",
                "--checksums",
                "--verify",
                "1",
            ],
        ),
        (
            &v6,
            &[
                "--path",
                "/ping",
                "--requests-per-connection",
                "5",
                "--sources",
                "fd00:77::1:0/112",
            ],
        ),
    ] {
        let result = clean(&net, target, &[options, &SHORT].concat());
        assert!(count(&result, "requests") >= 10, "{options:?}: {result}");
    }
    sidestep_tests::clock::wait_for(LIMIT, "no connection is left", || {
        (daemon.connections() == [0]).then_some(())
    });
}

#[test]
fn linux_and_nginx_accept_its_tcp() {
    let net = Net::new();
    let server = Running::start(&net.server, Kind::Nginx, 80);
    server.ready(&net.server);
    let [v4, v6] = net.server.addresses(80).map(|address| address.to_string());
    for (target, options) in [
        (
            &v4,
            &["--path", "/hit", "--connections", "50", "--verify", "1"][..],
        ),
        (
            &v4,
            &[
                "--path",
                "/hit",
                "--depth",
                "8",
                "--sources",
                "10.77.0.128/26",
            ],
        ),
        (
            &v4,
            &[
                "--path",
                "/hit",
                "--requests-per-connection",
                "3",
                "--sources",
                "10.77.0.128/26",
            ],
        ),
        (
            &v6,
            &[
                "--path",
                "/hit",
                "--requests-per-connection",
                "1",
                "--sources",
                "fd00:77::1:0/112",
            ],
        ),
    ] {
        let result = clean(&net, target, &[options, &SHORT].concat());
        assert!(count(&result, "requests") >= 10, "{options:?}: {result}");
        // It says goodbye: what is left at most is in TIME-WAIT.
        sidestep_tests::clock::wait_for(LIMIT, "no connection is left open", || {
            let left = net
                .server
                .must(&["ss", "-Htn", "state", "established", "sport", "= :80"]);
            left.is_empty().then_some(())
        });
    }
}

#[test]
fn one_per_cent_loss_fails_no_request() {
    let net = Plan::new().link(Shape::lossy(0.01), 7).build();
    let site = Site::new("none");
    let _daemon = Daemon::start(&net.server, &site.config());
    let server = Running::start(&net.server, Kind::Nginx, 8080);
    server.ready(&net.server);
    let mut retransmits = 0;
    for (port, path, connections) in [
        (80, "/hello", "50"),
        (80, "/large.bin", "5"),
        (8080, "/hit", "50"),
    ] {
        let target = net.server.at(port).to_string();
        let options = [
            "--path",
            path,
            "--connections",
            connections,
            "--verify",
            "1",
        ];
        let more = [
            "--depth",
            "2",
            "--requests-per-connection",
            "40",
            "--seconds",
            "4",
        ];
        let result = clean(&net, &target, &[&options[..], &more].concat());
        assert!(count(&result, "requests") >= 10, "{result}");
        retransmits += count(&result, "retransmits");
    }
    let tallies = net.link().expect("planned").tallies();
    assert!(tallies.iter().all(|tally| tally.lost > 0), "{tallies:?}");
    assert!(retransmits > 0);
}

#[test]
fn a_server_that_lies_in_one_byte_is_found_out() {
    let net = Net::new();
    let listener = net.server.listen(80).expect("a listener");
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 1024];
            let Ok(1..) = stream.read(&mut request) else {
                continue;
            };
            let word = if number == 20 { "truts" } else { "truth" };
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n";
            // The client may have seen enough.
            let _ = stream.write_all(format!("{head}{word}").as_bytes());
        }
    });
    let target = net.server.at(80).to_string();
    let options = [
        "--connections",
        "1",
        "--requests-per-connection",
        "1",
        "--verify",
        "1",
    ];
    let done = load(&net, &target, &[&options[..], &SHORT].concat());
    assert_eq!(done.code(), 1, "{}", done.stdout);
    let result: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(result["wrong"], 1, "{result}");
    assert!(done.stderr.contains("another body"), "{}", done.stderr);
}

#[test]
fn a_server_that_is_not_there_is_an_error_with_its_kind() {
    let net = Net::new();
    let done = load(&net, &net.server.at(81).to_string(), &SHORT);
    assert_eq!(done.code(), 1, "{}", done.stdout);
    assert!(done.stdout.contains("refused"), "{}", done.stdout);
    let done = load(&net, "10.77.0.99:80", &SHORT);
    assert_eq!(done.code(), 1, "{}", done.stdout);
    assert!(done.stderr.contains("--target-mac"), "{}", done.stderr);
}

#[test]
fn frames_come_back_from_the_reflector() {
    let net = Net::new();
    let bench = bench();
    let reflector = net.server.spawn(&[
        &*bench,
        "reflect",
        "--interface",
        net.server.device,
        "--port",
        "80",
    ]);
    let ready = reflector.line("ready: ", LIMIT);
    assert!(ready.is_some(), "{}", reflector.stderr());
    for target in net.server.addresses(80) {
        let result = clean(
            &net,
            &target.to_string(),
            &[&["--frames", "64"], &SHORT[..]].concat(),
        );
        assert!(count(&result, "requests") > 1000, "{result}");
    }
    // Another port is the kernel's, which says that nobody is there.
    let done = load(&net, &net.server.at(81).to_string(), &SHORT);
    assert!(done.stdout.contains("refused"), "{}", done.stdout);
}

#[test]
fn a_crowd_of_which_few_ask_is_served() {
    let mut crowd = std::process::Command::new(bench());
    crowd.args(["crowd", "--connections", "20000", "--seconds", "2"]);
    let done = sidestep_tests::process::run(crowd, LIMIT);
    assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
    assert!(
        done.stdout.contains("sidestep: 20000 connections"),
        "{}",
        done.stdout
    );
}
