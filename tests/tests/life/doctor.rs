//! `sidestep doctor`.

use super::{CONFIG, PONG};
use sidestep_tests::daemon::{Daemon, binary, sidestep};
use sidestep_tests::listener::{How, PLAINLY, listen_as};
use sidestep_tests::net::{Host, Net};
use sidestep_tests::process::Finished;
use sidestep_tests::server::Server;

/// What a check says, without what to do.
fn finding(done: &Finished, check: &str) -> String {
    let line = done.stdout.lines().find_map(|l| l.strip_prefix(check));
    line.map_or_else(
        || panic!("no {check}:\n{}", done.stdout),
        |l| l.trim().to_owned(),
    )
}

fn with_config(host: &Host, config: &str) -> Finished {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.toml").display().to_string();
    std::fs::write(&path, config).expect("written");
    sidestep(host, &["doctor", host.device, "--config", &path])
}

/// How a fault comes about and goes, the exit code, the check that finds it, and words of the cure.
type Row = (
    &'static [&'static str],
    &'static [&'static str],
    i32,
    &'static str,
    &'static str,
);

#[test]
fn each_fault_is_told_with_its_cure() {
    let net = Net::new();
    let host = &net.server;
    let healthy = sidestep(host, &["doctor", host.device]);
    assert_eq!(healthy.code(), 0, "{}", healthy.stdout);
    assert!(finding(&healthy, "xdp").contains("native, no zero-copy"));
    let link = ["ip", "link", "set", host.device];
    let rows: [Row; 4] = [
        (&["down"], &["up"], 3, "link", "ip link set ss-srv up"),
        (&["mtu", "3600"], &["mtu", "1500"], 3, "mtu", "mtu 3498"),
        (&["mtu", "9000"], &["mtu", "1500"], 1, "mtu", "mtu 3818"),
        (
            &["sysctl", "-qw", "net.ipv4.tcp_syncookies=0"],
            &["sysctl", "-qw", "net.ipv4.tcp_syncookies=1"],
            3,
            "tcp_syncookies",
            "tcp_syncookies=1",
        ),
    ];
    for (fault, cure, code, check, help) in rows {
        let run = |argv: &[&str]| match argv[0] {
            "sysctl" => host.must(argv),
            _ => host.must(&[&link, argv].concat()),
        };
        run(fault);
        let done = sidestep(host, &["doctor", host.device]);
        assert_eq!(done.code(), code, "{fault:?}:\n{}", done.stdout);
        let word = if code == 1 { "no " } else { "worse " };
        assert!(finding(&done, check).starts_with(word), "{}", done.stdout);
        assert!(done.stdout.contains(help), "{help}:\n{}", done.stdout);
        run(cure);
    }
    let done = sidestep(host, &["doctor", host.device]);
    assert_eq!(done.stdout, healthy.stdout);

    let binary = binary().display().to_string();
    let argv = [
        "setpriv",
        "--bounding-set=-all",
        "--inh-caps=-all",
        &binary,
        "doctor",
        "ss-srv",
    ];
    let done = host.run(&argv, sidestep_tests::clock::PATIENCE);
    assert_eq!(done.code(), 1, "{}", done.stdout);
    assert!(finding(&done, "privilege").starts_with("no "));
    assert_eq!(sidestep(host, &["doctor", "ss-none"]).code(), 2);
    assert_eq!(sidestep(host, &["doctor"]).code(), 2);
}

#[test]
fn what_the_configuration_asks_for_is_looked_at() {
    let net = Net::new();
    let host = &net.server;
    let done = with_config(host, CONFIG);
    assert_eq!(done.code(), 0, "{}", done.stdout);
    assert!(finding(&done, "listeners").starts_with("note  nobody listens at"));

    let done = with_config(
        host,
        &format!("[interface]\nmode = \"zero-copy\"\n{CONFIG}"),
    );
    assert_eq!(done.code(), 1, "{}", done.stdout);
    assert!(finding(&done, "xdp").starts_with("no "));

    let how = How {
        mptcp: true,
        ..PLAINLY
    };
    let mptcp = listen_as(host, "[::]:80".parse().expect("an address"), how);
    let done = with_config(host, CONFIG);
    assert_eq!(done.code(), 3, "{}", done.stdout);
    assert!(finding(&done, "listeners").contains("MPTCP"));
    drop(mptcp);

    let _server = Server::http(host, 80, PONG);
    let _daemon = Daemon::start(host, CONFIG);
    let done = with_config(host, CONFIG);
    assert_eq!(done.code(), 0, "{}", done.stdout);
    assert!(finding(&done, "listeners").starts_with("ok "));
    assert!(finding(&done, "program").starts_with("note  a sidestep runs here"));
}
