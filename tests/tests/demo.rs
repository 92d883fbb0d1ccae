//! `sidestep demo --once`: right in every row, nothing left behind.

use sidestep_tests::daemon::binary;
use sidestep_tests::process::{self, Process};
use std::process::Command;
use std::time::Duration;

fn names(argv: &[&str]) -> Vec<String> {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]);
    process::must(command, Duration::from_secs(10))
        .lines()
        .filter_map(|line| line.split([' ', '@']).next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn demo_once() {
    let devices = names(&["ip", "-brief", "link"]);
    let mut command = Command::new(binary());
    command.args(["demo", "--once"]);
    let demo = Process::spawn(command);
    let id = demo.id().to_string();
    let done = demo.finish(Duration::from_secs(60));
    assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
    for path in ["/ping", "/hello"] {
        assert!(done.stdout.contains(path), "{}", done.stdout);
    }
    // By its process id: others may run a demo at the same time.
    let mut left = names(&["ip", "netns", "list"]);
    left.retain(|name| name.split('-').any(|part| part == id));
    assert!(left.is_empty(), "left behind: {left:?}");
    assert_eq!(names(&["ip", "-brief", "link"]), devices);
}
