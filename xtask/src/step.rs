//! Running one command of a task.

use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// The cargo that runs this task.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// `program` with root's rights: directly when we have them, else through sudo.
pub fn as_root(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("-E").arg(program);
    command
}

/// Whether this process has root's rights.
pub fn is_root() -> bool {
    // /proc/self belongs to the effective user.
    std::fs::metadata("/proc/self")
        .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

/// Whether there is a sudo to ask.
pub fn has_sudo() -> bool {
    let mut command = Command::new("sudo");
    command
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok()
}

/// Where cargo puts what it builds.
pub fn target_dir() -> Result<PathBuf> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot run cargo metadata")?;
    let text = String::from_utf8(output.stdout).context("cargo metadata is not text")?;
    // One value out of a known shape: not worth a JSON parser in every cold build.
    text.split_once("\"target_directory\":\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(path, _)| PathBuf::from(path))
        .context("cargo metadata names no target directory")
}

/// The clock, for telling how long a step took.
#[expect(clippy::disallowed_methods, reason = "a task is not the data path")]
pub fn now() -> Instant {
    Instant::now()
}

/// Ctrl-C ends the running child, and then this process goes on to its clean-up; children do not inherit the handler.
///
/// # Errors
/// The handlers cannot be set.
pub fn outlive_signals() -> Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
            .context("cannot handle signals")?;
    }
    Ok(())
}

/// Runs `command` under a heading with its output shown; `false` when it failed.
///
/// # Errors
/// The command cannot be started.
pub fn run(name: &str, mut command: Command) -> Result<bool> {
    heading(name, &command);
    let start = now();
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", crate::show(&command)))?;
    finished(name, status.success(), start);
    Ok(status.success())
}

/// Says what is about to run.
pub fn heading(name: &str, command: &Command) {
    eprintln!("\n=== {name}: {}", crate::show(command));
}

/// Says how it went.
pub fn finished(name: &str, passed: bool, start: Instant) {
    let word = if passed { "ok" } else { "FAILED" };
    eprintln!(
        "=== {name}: {word} in {:.1} s",
        (now() - start).as_secs_f32()
    );
}
