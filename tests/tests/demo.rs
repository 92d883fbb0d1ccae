//! `sidestep demo --once`: right in every row, nothing left behind.

use sidestep_tests::daemon::binary;
use sidestep_tests::process;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

fn everything() -> BTreeSet<String> {
    let lines = |argv: &[&str]| {
        let mut command = Command::new(argv[0]);
        command.args(&argv[1..]);
        process::must(command, Duration::from_secs(10))
    };
    let devices = lines(&["ip", "-brief", "link"]);
    let namespaces = lines(&["ip", "netns", "list"]);
    let first = |line: &str| line.split([' ', '@']).next().unwrap_or_default().to_owned();
    devices
        .lines()
        .chain(namespaces.lines())
        .map(first)
        .collect()
}

#[test]
fn demo_once() {
    let before = everything();
    let mut command = Command::new(binary());
    command.args(["demo", "--once"]);
    let done = process::run(command, Duration::from_secs(60));
    assert_eq!(done.code(), 0, "{}{}", done.stdout, done.stderr);
    for path in ["/ping", "/hello"] {
        assert!(done.stdout.contains(path), "{}", done.stdout);
    }
    let left: Vec<_> = everything().difference(&before).cloned().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
