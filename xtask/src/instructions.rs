//! `cargo xtask instructions`: what a request costs the worker, in instructions, frame to frame.
//!
//! Unlike times, these are the same on a loaded machine and on an idle one, so that the committed ones of
//! `bench/instructions.toml` can be held: a case that takes more fails.

use crate::{setup, step};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What is counted: the function of `bench/src/mem.rs` that the measured batches go through.
const COUNTED: &str = "sidestep_bench::mem::counted*";

/// A case may take this share more than its snapshot: another build of the same code differs by about 1 %. Less fails
/// without reason, more lets small losses add up.
const TOLERANCE: f64 = 0.03;

/// Each run counts at least as many: enough that what is done once per batch or second shows as it does in service.
const REQUESTS: &str = "20000";

/// Batches before anything counts. Under valgrind each takes long; every connection has had its turn 192 times then, and
/// where each request has a connection of its own, TIME-WAIT is full.
const WARM_UP: &str = "300";

/// (name in the snapshot, options of `sidestep-bench mem`)
const CASES: &[(&str, &[&str])] = &[
    ("plain", &[]),
    ("plain-timestamps", &["--linux"]),
    ("pipelined-16", &["--depth", "16"]),
    ("pipelined-24", &["--depth", "24"]),
    ("pipelined-24-timestamps", &["--linux", "--depth", "24"]),
    ("body-1k", &["--case", "kib1"]),
    ("body-10k", &["--case", "kib10"]),
    ("mixed-20-paths", &["--case", "mixed"]),
    (
        "mixed-20-paths-pipelined-16",
        &["--case", "mixed", "--depth", "16"],
    ),
    ("not-modified", &["--case", "not-modified"]),
    ("browser", &["--case", "browser"]),
    ("unlike-heads", &["--case", "unlike"]),
    (
        "unlike-heads-pipelined-16",
        &["--case", "unlike", "--depth", "16"],
    ),
    ("connection-server-closes", &["--case", "server-closes"]),
    ("connection-client-closes", &["--case", "client-closes"]),
];

/// What one case came to, per request.
struct Count {
    instructions: f64,
    allocations: f64,
}

/// Counts every case whose name contains `only`; with `update` the snapshot is written, else held.
///
/// # Errors
/// valgrind cannot be installed, the build or a run fails, or the snapshot cannot be read or written.
pub fn run(update: bool, only: &str) -> Result<ExitCode> {
    setup::packages(&[("valgrind", "counting instructions")])?;
    let build = step::cargo(&["build", "--release", "--package", "sidestep-bench"]);
    if !step::run("build", build)? {
        bail!("the build failed");
    }
    let binary = step::target_dir()?.join("release/sidestep-bench");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/instructions.toml");
    let mut snapshot = read(&path)?;
    let mut worse = Vec::new();
    println!(
        "{:30} {:>12} {:>10} {:>8} {:>12}",
        "per request", "instructions", "snapshot", "change", "allocations"
    );
    for &(name, options) in CASES.iter().filter(|(name, _)| name.contains(only)) {
        let count = count(&binary, name, options)?;
        let before = snapshot.insert(name.to_owned(), count.instructions);
        let change = before.map(|before| count.instructions / before - 1.0);
        println!(
            "{name:30} {:12.0} {:>10} {:>8} {:12}",
            count.instructions,
            before.map_or_else(|| "-".to_owned(), |before| format!("{before:.0}")),
            change.map_or_else(|| "-".to_owned(), |by| format!("{:+.1} %", 100.0 * by)),
            count.allocations,
        );
        if !update && change.is_none_or(|by| by > TOLERANCE) {
            worse.push(name);
        }
    }
    if update {
        write(&path, &snapshot)?;
    }
    if worse.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "more instructions than {}, or not in it: {}; if that is meant: --update",
        path.display(),
        worse.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

fn count(binary: &Path, name: &str, options: &[&str]) -> Result<Count> {
    let found: PathBuf = std::env::temp_dir().join(format!(
        "sidestep-instructions-{}-{name}",
        std::process::id()
    ));
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", found.display()))
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(binary)
        .args(["mem", "--requests", REQUESTS, "--warm-up", WARM_UP])
        .args(options);
    let output = command.output().context("cannot run valgrind")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let counts = std::fs::read_to_string(&found);
    let _ = std::fs::remove_file(&found);
    if !output.status.success() {
        bail!("{name}: {}{said}", String::from_utf8_lossy(&output.stderr));
    }
    let requests = number_before(&said, " requests,").context("no number of requests")?;
    let allocations = number_before(&said, " allocations").context("no number of allocations")?;
    let counts = counts.with_context(|| format!("cannot read {}", found.display()))?;
    let total: f64 = counts
        .lines()
        .find_map(|line| line.strip_prefix("summary: "))
        .and_then(|total| total.trim().parse().ok())
        .context("callgrind's file has no summary")?;
    if total == 0.0 {
        bail!("{name}: nothing was counted; is {COUNTED} still its name?");
    }
    Ok(Count {
        instructions: total / requests,
        allocations,
    })
}

/// The number that stands in front of `words`.
fn number_before(text: &str, words: &str) -> Option<f64> {
    let before = text.split_once(words)?.0;
    before.rsplit(char::is_whitespace).next()?.parse().ok()
}

/// One value a line, so that no TOML parser is needed in every cold build.
fn read(path: &Path) -> Result<BTreeMap<String, f64>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, count) = line.split_once(" = ").with_context(|| line.to_owned())?;
            Ok((name.to_owned(), count.parse().context(line.to_owned())?))
        })
        .collect()
}

fn write(path: &Path, snapshot: &BTreeMap<String, f64>) -> Result<()> {
    let mut text = "# Instructions per request, frame to frame; held by `cargo xtask instructions`, written by it with --update.\n"
        .to_owned();
    let known = CASES
        .iter()
        .filter_map(|(name, _)| snapshot.get_key_value(*name));
    for (name, count) in known {
        writeln!(text, "{name} = {count:.0}")?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_in_front_of_the_words() {
        let said =
            "1920 requests, 24 at once: 80 ns each, 12.50 million/s, 0.0025 allocations each";
        assert_eq!(number_before(said, " requests,"), Some(1920.0));
        assert_eq!(number_before(said, " allocations"), Some(0.0025));
        assert_eq!(number_before(said, " answers"), None);
    }

    #[test]
    fn every_case_is_in_the_snapshot() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/instructions.toml");
        let snapshot = read(&path).expect("it is well-formed");
        let names: Vec<&str> = snapshot.keys().map(String::as_str).collect();
        let mut cases: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
        cases.sort_unstable();
        assert_eq!(names, cases);
    }
}
