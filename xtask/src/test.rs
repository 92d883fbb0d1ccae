//! `cargo xtask test` and `cargo xtask soak`.

use crate::tally::Tally;
use crate::{bpf, example, mutants, servers, setup, step, sweep, zc};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

/// Set for the test programs to run the network tests in their long form.
const SOAK: &str = "SIDESTEP_SOAK";

/// Every check and every test; all run even when an earlier one fails. The last line is the count of tests.
///
/// # Errors
/// Set-up failed, or a tool cannot be started.
pub fn run() -> Result<ExitCode> {
    let mut run = Run::begin()?;
    run.step("format", step::cargo(&["fmt", "--all", "--check"]))?;
    let mut clippy = step::cargo(&["clippy", "--workspace", "--all-targets", "--quiet"]);
    clippy.args(["--", "-D", "warnings"]);
    run.step("clippy", clippy)?;
    let mut doc = step::cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run.step("doc", doc)?;
    run.bpf();
    // The tests look for the binary beside them, so it is built first.
    let build = step::cargo(&["build", "--workspace", "--all-targets"]);
    if run.step("build", build)? {
        run.test("test", &["--workspace"], &[])?;
        run.mutants(true);
        run.zero_copy()?;
    }
    run.end()
}

/// Seeds of the simulation in the long form, per client.
const SEEDS: &str = "100000";

/// The network tests and the simulation, long and optimised, and all mutants.
///
/// # Errors
/// As [`run`].
pub fn soak() -> Result<ExitCode> {
    let mut run = Run::begin()?;
    let build = step::cargo(&["build", "--release", "--workspace", "--all-targets"]);
    if run.step("build", build)? {
        let long = [(SOAK, "1")];
        run.test("soak", &["--release", "--package", "sidestep-tests"], &long)?;
        let simulation = ["--release", "--package", "tcp-lite", "--test", "simulation"];
        run.test("simulation", &simulation, &[("TCP_LITE_SEEDS", SEEDS)])?;
        run.mutants(false);
    }
    run.end()
}

/// What came of the steps so far.
struct Run {
    failed: Vec<String>,
    notes: Vec<String>,
    tally: Tally,
}

impl Run {
    fn begin() -> Result<Self> {
        step::outlive_signals()?;
        setup::run()?;
        servers::run()?;
        example::install()?;
        for name in sweep::sweep()? {
            eprintln!("removed namespace {name} of an earlier run that was killed");
        }
        Ok(Self {
            failed: Vec::new(),
            notes: Vec::new(),
            tally: Tally::default(),
        })
    }

    /// Runs a command; `false` when it failed.
    fn step(&mut self, name: &str, command: Command) -> Result<bool> {
        let passed = step::run(name, command)?;
        if !passed {
            self.failed.push(name.to_owned());
        }
        Ok(passed)
    }

    /// Compares the BPF object with its source; a toolchain that cannot be had is no failure, but is said at the end.
    fn bpf(&mut self) {
        eprintln!("\n=== bpf: build the object and compare");
        match bpf::run(true) {
            Ok(outcome @ bpf::Outcome::NoToolchain(_)) => self.notes.push(outcome.to_string()),
            Ok(outcome) => eprintln!("=== bpf: {outcome}"),
            Err(error) => {
                eprintln!("=== bpf: FAILED: {error:#}");
                self.failed.push("bpf".to_owned());
            }
        }
    }

    /// Real drivers in virtual machines; packages that cannot be had are no failure, but are said at the end.
    fn zero_copy(&mut self) -> Result<()> {
        match zc::short()? {
            zc::Outcome::Passed => {}
            zc::Outcome::Failed => self.failed.push(zc::STEP.to_owned()),
            zc::Outcome::NoPackages(why) => self.notes.push(why),
        }
        Ok(())
    }

    /// Breaks TCP and demands that the simulation notices.
    fn mutants(&mut self, short: bool) {
        eprintln!("\n=== mutants: break one rule of TCP at a time, run the simulation");
        let start = step::now();
        let outcome = mutants::run(short);
        let passed = outcome
            .as_ref()
            .is_ok_and(|outcome| outcome.missed.is_empty());
        match outcome {
            Ok(outcome) => eprintln!("=== mutants: {outcome}"),
            Err(error) => eprintln!("=== mutants: {error:#}"),
        }
        if !passed {
            self.failed.push("mutants".to_owned());
        }
        step::finished("mutants", passed, start);
    }

    /// Runs `cargo test`, shows its output and counts its results.
    fn test(&mut self, name: &str, what: &[&str], env: &[(&str, &str)]) -> Result<()> {
        let mut command = step::cargo(&["test", "--no-fail-fast"]);
        command.args(what);
        // Without sudo the network tests fail and say what they need.
        if !step::is_root() && step::has_sudo() {
            command.args(["--config", r#"target."cfg(all())".runner = ["sudo", "-E"]"#]);
        }
        command.envs(env.iter().copied());
        step::heading(name, &command);
        let start = step::now();
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run cargo test")?;
        if let Some(output) = child.stdout.take() {
            self.count(BufReader::new(output))?;
        }
        let passed = child
            .wait()
            .context("cannot wait for cargo test")?
            .success();
        if !passed && self.tally.failed == 0 {
            // A test program that could not be built or started has printed nothing to count.
            self.tally.failed = 1;
        }
        step::finished(name, passed, start);
        Ok(())
    }

    fn count(&mut self, mut output: impl BufRead) -> Result<()> {
        let mut line = Vec::new();
        while output
            .read_until(b'\n', &mut line)
            .context("cannot read from cargo test")?
            > 0
        {
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            self.tally.line(text.trim_end());
            line.clear();
        }
        self.tally.close();
        Ok(())
    }

    fn end(mut self) -> Result<ExitCode> {
        let left = sweep::sweep()?;
        if !left.is_empty() {
            self.failed
                .push(format!("clean-up (left behind: {})", left.join(", ")));
        }
        if self.tally.failed > 0 || self.tally.passed == 0 {
            self.failed.push("tests".to_owned());
        }
        println!();
        for note in &self.notes {
            println!("note: {note}");
        }
        if !self.failed.is_empty() {
            println!("failed: {}", self.failed.join(", "));
        }
        println!("{}", self.tally);
        Ok(if self.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
