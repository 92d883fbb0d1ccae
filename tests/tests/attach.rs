//! The command line: what cannot work fails with the fix in one message, the right exit code and the NIC as it was.

use sidestep_tests::clock::PATIENCE;
use sidestep_tests::daemon::{Daemon, binary, sidestep};
use sidestep_tests::net::{Host, Net};
use sidestep_tests::process::Finished;
use sidestep_tests::site::Site;

/// What a failed attach must not change.
fn nic(host: &Host) -> String {
    let all = [
        host.must(&["ip", "-details", "-o", "link", "show"]),
        host.must(&["ip", "-o", "addr", "show"]),
        host.must(&["ethtool", "-k", host.device]),
        host.must(&["ethtool", "-l", host.device]),
    ];
    all.concat()
}

/// One clear error: the code, and every one of `words`, and no panic.
fn assert_error(done: &Finished, code: i32, words: &[&str]) {
    assert_eq!(done.code(), code, "{}", done.stderr);
    let text = done.stderr.to_lowercase();
    for word in words {
        assert!(
            text.contains(&word.to_lowercase()),
            "no {word:?} in:\n{}",
            done.stderr
        );
    }
    assert!(!text.contains("panicked"), "{}", done.stderr);
    assert!(!done.stdout.contains("ready:"), "{}", done.stdout);
}

#[test]
fn a_missing_nic() {
    let net = Net::new();
    let before = nic(&net.server);
    let done = Daemon::fails(&net.server, "ss-none", &Site::new("none").config());
    assert_error(&done, 2, &["ss-none"]);
    assert_eq!(nic(&net.server), before);
}

#[test]
fn a_queue_that_the_nic_does_not_have() {
    let net = Net::new();
    let before = nic(&net.server);
    let site = Site::new("none").with("[interface]\nqueues = [0, 5]");
    let done = Daemon::fails(&net.server, net.server.device, &site.config());
    assert_error(&done, 2, &["queue", "5", "ethtool -L"]);
    assert_eq!(nic(&net.server), before);
}

#[test]
fn no_privilege() {
    let net = Net::new();
    let before = nic(&net.server);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config.toml");
    std::fs::write(&path, Site::new("none").config()).expect("written");
    // The site's tree is gone by now, so a site without one.
    let text = "[[site]]\nhosts = [\"*\"]\n[[site.response]]\npath = \"/\"\nbody = \"x\"\n";
    std::fs::write(&path, text).expect("written");
    let (binary, path) = (binary().display().to_string(), path.display().to_string());
    let done = net.server.run(
        &[
            "setpriv",
            "--bounding-set=-all",
            "--inh-caps=-all",
            &binary,
            "attach",
            net.server.device,
            "--config",
            &path,
        ],
        PATIENCE,
    );
    assert_error(&done, 1, &["root", "CAP_"]);
    assert_eq!(nic(&net.server), before);
}

#[test]
fn another_xdp_program_on_the_nic() {
    let net = Net::new();
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let source = "__attribute__((section(\"xdp\"), used)) int pass(void *ctx) { return 2; }\n\
                  char _license[] __attribute__((section(\"license\"), used)) = \"GPL\";\n";
    std::fs::write(path("pass.c"), source).expect("written");
    net.server.must(&[
        "clang",
        "-O2",
        "-target",
        "bpf",
        "-c",
        &path("pass.c"),
        "-o",
        &path("pass.o"),
    ]);
    net.server.must(&[
        "ip",
        "link",
        "set",
        "dev",
        net.server.device,
        "xdp",
        "obj",
        &path("pass.o"),
        "sec",
        "xdp",
    ]);
    let before = nic(&net.server);
    let program = net.server.xdp_program().expect("the program is on");
    let done = Daemon::fails(&net.server, net.server.device, &Site::new("none").config());
    assert_error(&done, 1, &["XDP program", net.server.device]);
    assert_eq!(nic(&net.server), before);
    assert_eq!(net.server.xdp_program(), Some(program));
    net.server
        .must(&["ip", "link", "set", "dev", net.server.device, "xdp", "off"]);
    Daemon::start(&net.server, &Site::new("none").config()).stop();
}

#[test]
fn a_bad_config_is_told_with_its_place() {
    let net = Net::new();
    let before = nic(&net.server);
    let good = Site::new("none");
    let gone = good
        .config()
        .replace(&good.root().display().to_string(), "/no/such/dir");
    for (config, words) in [
        (
            good.config().replace("max_object", "max_objekt"),
            &["config.toml:", "max_objekt"][..],
        ),
        (
            good.config().replace("port = 80", "port = \"http\""),
            &["config.toml:4:8", "http"],
        ),
        (gone, &["config.toml:", "/no/such/dir"]),
        (
            good.config() + "[[site]]\nhosts = [\"*\"]\n",
            &["config.toml:", "host"],
        ),
        ("not toml".to_owned(), &["config.toml:1:"]),
    ] {
        let done = Daemon::fails(&net.server, net.server.device, &config);
        assert_error(&done, 2, words);
    }
    let done = sidestep(
        &net.server,
        &["attach", net.server.device, "--config", "/no/such/file"],
    );
    assert_error(&done, 2, &["/no/such/file"]);
    assert_eq!(nic(&net.server), before);
}

#[test]
fn the_nic_is_as_before_after_a_good_life() {
    let net = Net::new();
    let before = nic(&net.server);
    let daemon = Daemon::start(&net.server, &Site::new("none").config());
    assert!(net.server.xdp_program().is_some());
    assert!(daemon.ready.contains(net.server.device), "{}", daemon.ready);
    assert!(daemon.ready.contains(":80"), "{}", daemon.ready);
    let status = daemon.status();
    assert_eq!(
        status["workers"].as_array().map(Vec::len),
        Some(1),
        "{status:#}"
    );
    assert!(status["workers"][0]["mode"].is_string(), "{status:#}");
    assert!(
        status["xdp"]
            .as_object()
            .is_some_and(|counters| !counters.is_empty()),
        "{status:#}"
    );
    let text = daemon.control(&["status"]);
    assert_eq!(text.code(), 0, "{}", text.stderr);
    assert!(!text.stdout.is_empty());
    daemon.stop();
    assert_eq!(nic(&net.server), before);
}

#[test]
fn check_status_and_usage() {
    let net = Net::new();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("site.toml");
    let file = path.display().to_string();
    let site = Site::new("kernel");
    std::fs::write(&path, site.config()).expect("written");
    let done = sidestep(&net.server, &["check", &file]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    std::fs::write(&path, site.config() + "[limits]\nconections = 5\n").expect("written");
    assert_error(
        &sidestep(&net.server, &["check", &file]),
        2,
        &["site.toml:", "conections"],
    );
    let socket = dir.path().join("none.sock").display().to_string();
    assert_error(
        &sidestep(&net.server, &["status", "--socket", &socket]),
        1,
        &["none.sock"],
    );
    assert_error(&sidestep(&net.server, &["attach"]), 2, &["usage"]);
    assert_error(&sidestep(&net.server, &["fly"]), 2, &["fly"]);
    let done = sidestep(&net.server, &["--version"]);
    assert_eq!(
        (done.code(), done.stdout.starts_with("sidestep ")),
        (0, true)
    );
}
