//! `sidestep demo`: right in every row, nothing left behind.

use nix::sys::signal::Signal;
use sidestep_tests::clock::PATIENCE;
use sidestep_tests::daemon::binary;
use sidestep_tests::process::{self, Process};
use std::process::Command;

fn demo(args: &[&str]) -> Process {
    let mut command = Command::new(binary());
    command.arg("demo").args(args);
    Process::spawn(command)
}

fn names(argv: &[&str]) -> Vec<String> {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]);
    process::must(command, PATIENCE)
        .lines()
        .filter_map(|line| line.split([' ', '@']).next())
        .map(str::to_owned)
        .collect()
}

fn assert_gone(id: u32) {
    // By its process id: others may run a demo at the same time.
    let id = id.to_string();
    let mut left = names(&["ip", "netns", "list"]);
    left.retain(|name| name.split('-').any(|part| part == id));
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn once_shows_the_table_and_ends() {
    let devices = names(&["ip", "-brief", "link"]);
    let demo = demo(&["--once"]);
    let id = demo.id();
    let done = demo.finish(PATIENCE);
    assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
    for word in [
        "/ping",
        "/hello",
        "fast path",
        "sees 10.77.0.2:",
        "sees [fd77::2]:",
        "after a hit on the connection",
        "xsk_other",
        "pass_kernel_flow",
    ] {
        assert!(
            done.stdout.contains(word),
            "no {word:?} in:\n{}",
            done.stdout
        );
    }
    assert_gone(id);
    assert_eq!(names(&["ip", "-brief", "link"]), devices);
}

#[test]
fn the_hint_works_until_ctrl_c() {
    let demo = demo(&[]);
    let id = demo.id();
    for wanted in ["/ping", "/hello"] {
        let hint = loop {
            let line = demo
                .line("  ip netns exec ", PATIENCE)
                .unwrap_or_else(|| panic!("no hint for {wanted}"));
            if line.contains(wanted) {
                break line;
            }
        };
        let mut shell = Command::new("sh");
        shell.args(["-c", &hint]);
        let answer = process::must(shell, PATIENCE);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{hint}: {answer}");
        assert!(answer.contains("Server: sidestep"), "{hint}: {answer}");
    }
    demo.signal(Signal::SIGINT);
    let done = demo.finish(PATIENCE);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert_gone(id);
}
