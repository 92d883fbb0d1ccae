//! The comparison with other servers runs: one server, one workload, once. What it measures is not looked at.

use std::process::Command;
use tempfile::TempDir;

#[test]
fn one_server_gives_one_row() {
    let out = TempDir::new().expect("a temporary directory");
    let run = Command::new(env!("CARGO_BIN_EXE_sidestep-bench"))
        .args(["peers", "--peer", "nginx", "--workload", "plain"])
        .args(["--layout", "two", "--generator", "wrk", "--runs", "1"])
        .args(["--seconds", "2", "--out"])
        .arg(out.path())
        .output()
        .expect("sidestep-bench");
    let [stdout, stderr] =
        [run.stdout, run.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(run.status.success(), "{stdout}{stderr}");
    let rows = stdout.lines().filter(|line| line.starts_with("| nginx | "));
    assert_eq!(rows.count(), 1, "{stdout}{stderr}");
    for name in ["results.json", "plot.svg"] {
        let file = std::fs::read_to_string(out.path().join(name)).expect(name);
        assert!(file.contains("nginx"), "{name}: {file}");
    }
}
