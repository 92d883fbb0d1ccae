//! `cargo xtask test` and `cargo xtask soak`.

use crate::tally::Tally;
use crate::{setup, step, sweep};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Set for the test programs to run the network tests in their long form.
const SOAK: &str = "SIDESTEP_SOAK";

/// Every check and every test; all run even when an earlier one fails. The last line is the count of tests.
///
/// # Errors
/// Set-up failed, or a tool cannot be started.
pub fn run() -> Result<ExitCode> {
    begin()?;
    let mut failed = Vec::new();
    let mut check = |name: &'static str, command: Command| -> Result<bool> {
        let passed = step::run(name, command)?;
        if !passed {
            failed.push(name.to_owned());
        }
        Ok(passed)
    };
    check("format", step::cargo(&["fmt", "--all", "--check"]))?;
    check(
        "clippy",
        step::cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    let mut doc = step::cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    check("doc", doc)?;
    let built = check(
        "build",
        step::cargo(&["build", "--workspace", "--all-targets"]),
    )?;
    let mut tally = Tally::default();
    if built {
        test("test", &mut tally, &["--workspace"], false)?;
    }
    end(tally, failed)
}

/// The network tests only, long and optimised.
///
/// # Errors
/// As [`run`].
pub fn soak() -> Result<ExitCode> {
    begin()?;
    let mut failed = Vec::new();
    let mut tally = Tally::default();
    let build = step::cargo(&["build", "--release", "--workspace", "--all-targets"]);
    if step::run("build", build)? {
        let what = ["--release", "--package", "sidestep-tests"];
        test("soak", &mut tally, &what, true)?;
    } else {
        failed.push("build".to_owned());
    }
    end(tally, failed)
}

fn begin() -> Result<()> {
    // Ctrl-C ends the running child, and then this process goes on to the sweep; the handler is not inherited.
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
            .context("cannot handle signals")?;
    }
    setup::run()?;
    for name in sweep::sweep()? {
        eprintln!("removed namespace {name} of an earlier run that was killed");
    }
    Ok(())
}

fn end(tally: Tally, mut failed: Vec<String>) -> Result<ExitCode> {
    let left = sweep::sweep()?;
    if !left.is_empty() {
        failed.push(format!("clean-up (left behind: {})", left.join(", ")));
    }
    if tally.failed > 0 || tally.passed == 0 {
        failed.push("tests".to_owned());
    }
    println!();
    if !failed.is_empty() {
        println!("failed: {}", failed.join(", "));
    }
    println!("{tally}");
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs `cargo test`, shows its output and counts its results.
fn test(name: &str, tally: &mut Tally, what: &[&str], long: bool) -> Result<()> {
    let mut command = step::cargo(&["test", "--no-fail-fast"]);
    command.args(what);
    if !step::is_root() {
        command.args(["--config", r#"target."cfg(all())".runner = ["sudo", "-E"]"#]);
    }
    if long {
        command.env(SOAK, "1");
    }
    step::heading(name, &command);
    let start = step::now();
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo test")?;
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output);
        let mut line = Vec::new();
        while lines
            .read_until(b'\n', &mut line)
            .context("cannot read from cargo test")?
            > 0
        {
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            tally.line(text.trim_end());
            line.clear();
        }
    }
    tally.close();
    let passed = child
        .wait()
        .context("cannot wait for cargo test")?
        .success();
    if !passed && tally.failed == 0 {
        tally.failed = 1;
    }
    step::finished(name, passed, start);
    Ok(())
}
