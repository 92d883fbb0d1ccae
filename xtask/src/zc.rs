//! `cargo xtask zc`: sidestep on real drivers, each in a virtual machine under QEMU.

mod apt;
mod packages;

use crate::{setup, step, sweep};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::{Command, ExitCode};

/// The step's name in `cargo xtask test`.
pub const STEP: &str = "zero-copy under QEMU";

/// What came of the short form.
pub enum Outcome {
    /// Every driver did what it has to.
    Passed,
    /// Some did not; it was printed.
    Failed,
    /// The packages cannot be had.
    NoPackages(String),
}

/// Fetches the packages, builds, and tries the drivers named in `drivers`, or all.
///
/// # Errors
/// The packages cannot be had, or a tool cannot be started.
pub fn run(drivers: &[&str]) -> Result<ExitCode> {
    step::outlive_signals()?;
    setup::run()?;
    for name in sweep::sweep()? {
        eprintln!("removed namespace {name} of an earlier run that was killed");
    }
    let target = step::target_dir()?;
    let packages = packages::fetch(&target)?;
    // The profile that the machines are to run: with the debug assertions, which audit each batch.
    let binaries = ["--bin", "sidestep", "--bin", "sidestep-zc"];
    let mut build = step::cargo(&[
        "build",
        "--package",
        "sidestep",
        "--package",
        "sidestep-tests",
    ]);
    build.args(binaries);
    if !step::run("build", build)? {
        bail!("the build failed");
    }
    let json = target.join("zc/outcome.json");
    let mut command = machines(&packages)?;
    command.arg("--json").arg(&json).args(drivers);
    let passed = step::run(STEP, command)?;
    // One that was killed has left its namespace; QEMU has ended with it.
    sweep::sweep()?;
    println!("{}", json.display());
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The drivers of the short form, when all is built.
///
/// # Errors
/// A tool cannot be started.
pub fn short() -> Result<Outcome> {
    let packages = match packages::fetch(&step::target_dir()?) {
        Ok(packages) => packages,
        Err(why) => return Ok(Outcome::NoPackages(format!("{STEP} did not run: {why:#}"))),
    };
    let mut command = machines(&packages)?;
    command.arg("--short");
    Ok(match step::run(STEP, command)? {
        true => Outcome::Passed,
        false => Outcome::Failed,
    })
}

fn machines(packages: &Path) -> Result<Command> {
    let mut command = step::as_root(step::target_dir()?.join("debug/sidestep-zc"));
    command.arg("--packages").arg(packages);
    Ok(command)
}
