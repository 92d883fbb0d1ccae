//! The daemon under test, on a [`Host`].

use crate::clock::{PATIENCE, poll_for, wait_for};
use crate::net::Host;
use crate::process::{Finished, Process};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;
use tempfile::TempDir;

/// Longest that a control command (status, check, detach) or a start may take on a loaded machine.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// Longest that the daemon may take to drain: connections that cannot go to the kernel have some seconds to finish.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

/// The binary under test: `sidestep` of the same profile as this test.
///
/// # Panics
/// When it has not been built.
pub fn binary() -> PathBuf {
    let test =
        std::env::current_exe().unwrap_or_else(|error| panic!("no path to this test: {error}"));
    let mut dir = test.parent().map(PathBuf::from).unwrap_or_default();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let binary = dir.join("sidestep");
    assert!(
        binary.exists(),
        "{} is missing; run `cargo build -p sidestep` (with the same profile) or `cargo xtask test`",
        binary.display()
    );
    binary
}

/// Runs `sidestep ARGS` on `host` to its end.
pub fn sidestep(host: &Host, args: &[&str]) -> Finished {
    host.run(&argv(args), COMMAND_LIMIT)
}

/// A running `sidestep attach`. Dropping it is a check of its own: the frame audit, a clean end with code 0 and a
/// NIC without an XDP program.
pub struct Daemon<'net> {
    host: &'net Host,
    process: Option<Process>,
    files: TempDir,
    /// The line that said it is ready.
    pub ready: String,
}

impl<'net> Daemon<'net> {
    /// Attaches to the host's NIC with `config`, a complete TOML text but for its control socket, and waits until it
    /// is ready.
    ///
    /// # Panics
    /// With its stderr when it ends or does not get ready.
    pub fn start(host: &'net Host, config: &str) -> Self {
        Self::start_by(&[], host, config)
    }

    /// The same, with `wrapper` as the beginning of the command line: a program that becomes the one named behind it.
    ///
    /// # Panics
    /// As [`Daemon::start`].
    pub fn start_by(wrapper: &[&str], host: &'net Host, config: &str) -> Self {
        let files = write_config(config);
        let (process, ready) = Self::spawn(wrapper, host, &files);
        Self {
            host,
            process: Some(process),
            files,
            ready,
        }
    }

    /// Runs `sidestep attach` on `device` for a case in which it has to fail, and returns how it did.
    ///
    /// # Panics
    /// When it has not ended within [`PATIENCE`].
    pub fn fails(host: &Host, device: &str, config: &str) -> Finished {
        let files = write_config(config);
        let path = files.path().join("config.toml").display().to_string();
        let command = host.command(&argv(&["attach", device, "--config", &path]));
        Process::spawn(command).finish(PATIENCE)
    }

    /// A second daemon with the same config, which takes over from this one.
    ///
    /// # Panics
    /// When it does not get ready, or this one does not end with code 0.
    pub fn replaced(mut self) -> Self {
        let (process, ready) = Self::spawn(&[], self.host, &self.files);
        let Some(mut old) = self.process.replace(process) else {
            unreachable!("taken by value only");
        };
        let status = old.wait(DRAIN_LIMIT);
        assert!(
            status.is_some_and(|status| status.code() == Some(0)),
            "replaced: {status:?}, not exit code 0; its stderr:\n{}",
            old.stderr()
        );
        self.ready = ready;
        self
    }

    fn spawn(wrapper: &[&str], host: &Host, files: &TempDir) -> (Process, String) {
        let path = files.path().join("config.toml").display().to_string();
        let mut command: Vec<_> = wrapper.iter().map(|&arg| arg.to_owned()).collect();
        command.extend(argv(&["attach", host.device, "--config", &path]));
        let mut process = host.spawn(&command);
        let Some(ready) = process.line("ready: ", COMMAND_LIMIT) else {
            let state = process.wait(Duration::ZERO);
            panic!(
                "sidestep attach is not ready ({state:?}); its stderr:\n{}",
                process.stderr()
            );
        };
        (process, ready)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.running().stderr()
    }

    /// `sidestep status --json`.
    ///
    /// # Panics
    /// When the command fails, prints no JSON, or its exit code is another than what it prints stands for.
    pub fn status(&self) -> Value {
        let done = self.control(&["status", "--json"]);
        let said = || format!("{}{}{}", done.stdout, done.stderr, self.log());
        assert!(matches!(done.code(), 0 | 3), "status failed:\n{}", said());
        let status: Value = serde_json::from_str(&done.stdout)
            .unwrap_or_else(|error| panic!("status prints no JSON ({error}):\n{}", said()));
        let degraded = status["degraded"] != Value::Array(Vec::new());
        assert_eq!(done.code() == 3, degraded, "{}", said());
        status
    }

    /// Why it does not work as well as it could: the reasons in its status.
    ///
    /// # Panics
    /// As [`Daemon::status`].
    pub fn degraded(&self) -> Vec<String> {
        let status = self.status();
        let all = status["degraded"].as_array().into_iter().flatten();
        all.map(|trouble| trouble["reason"].as_str().unwrap_or("?").to_owned())
            .collect()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.running().id()
    }

    /// Waits for an end that something else caused, with all that it said.
    ///
    /// # Panics
    /// When it still runs after its time to drain.
    pub fn gone(mut self) -> Finished {
        let Some(process) = self.process.take() else {
            unreachable!("taken by value only");
        };
        process.finish(DRAIN_LIMIT)
    }

    /// Sends it SIGTERM; [`Daemon::gone`] waits for its end.
    pub fn terminate(&self) {
        self.running().signal(Signal::SIGTERM);
    }

    /// Whether all of its own threads have ended, also when one that is traced keeps it from being gone.
    pub fn is_over(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()));
        // The state comes behind the name, which is in brackets.
        stat.map_or(true, |stat| stat.contains(") Z "))
    }

    /// Writes another config in the place of its own; it is read with a reload.
    pub fn rewrite(&self, config: &str) {
        write_config_to(self.files.path(), config);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.running().signal(signal);
    }

    /// Runs a control command with this daemon's socket.
    pub fn control(&self, args: &[&str]) -> Finished {
        let socket = self.socket();
        let mut all = args.to_vec();
        all.extend(["--socket", &socket]);
        sidestep(self.host, &all)
    }

    /// Its control socket.
    pub fn socket(&self) -> String {
        self.files.path().join("control.sock").display().to_string()
    }

    /// Bytes of memory that it has resident (`VmRSS`).
    ///
    /// # Panics
    /// When it does not run.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.running().id());
        let status = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kib = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or_else(|| panic!("no VmRSS in {path}")) << 10
    }

    /// Requests answered, per worker.
    pub fn requests(&self) -> Vec<u64> {
        self.per_worker("requests")
    }

    /// Open connections, per worker.
    pub fn connections(&self) -> Vec<u64> {
        self.per_worker("connections")
    }

    /// A counter, summed over the workers.
    pub fn counter(&self, name: &str, label: &str) -> u64 {
        let status = self.status();
        let workers = status["workers"].as_array().into_iter().flatten();
        workers
            .filter_map(|worker| worker["counters"][name][label].as_u64())
            .sum()
    }

    /// Frames and segments dropped so far, whatever the reason, resets sent in answer included.
    pub fn drops(&self) -> u64 {
        let status = self.status();
        let sum = |of: &Value, wanted: &dyn Fn(&str) -> bool| -> u64 {
            let counters = of.as_object().into_iter().flatten();
            counters
                .filter(|(label, _)| wanted(label))
                .filter_map(|(_, count)| count.as_u64())
                .sum()
        };
        let workers = status["workers"].as_array().cloned().unwrap_or_default();
        let by_workers: u64 = workers
            .iter()
            .map(|worker| {
                sum(&worker["counters"]["frame_drops"], &|_| true)
                    + sum(&worker["counters"]["tcp"], &|label| {
                        label.contains("drop") || label.contains("resets")
                    })
            })
            .sum();
        by_workers + sum(&status["xdp"], &|label| label == "pass_malformed")
    }

    /// Checks that no frame is lost or counted twice in any worker.
    ///
    /// Workers publish counter by counter, so a look in the middle of a batch may not add up; a frame that is lost
    /// stays lost, however often one looks.
    ///
    /// # Panics
    /// With the status when `free + in_rx + in_tx + held` is never `total`.
    pub fn audit(&self) {
        let mut status = Value::Null;
        let sound = poll_for(PATIENCE, || {
            status = self.status();
            adds_up(&status).then_some(())
        });
        assert!(
            sound.is_some(),
            "frames do not add up to frames.total: {status:#}"
        );
    }

    /// Ends it as an operator would (SIGTERM) and checks that it ends well.
    ///
    /// # Panics
    /// When the audit fails, it does not end with code 0 in time, or leaves an XDP program.
    pub fn stop(mut self) {
        self.end();
    }

    /// SIGKILL: as a crash. Returns once the process is gone; the NIC must be free of it within a second.
    ///
    /// # Panics
    /// When its XDP program stays.
    pub fn kill9(mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::SIGKILL);
            assert!(
                process.wait(PATIENCE).is_some(),
                "SIGKILL did not end the daemon"
            );
            let host = self.host;
            wait_for(
                Duration::from_secs(1),
                "the killed daemon's XDP program is gone",
                || host.xdp_program().is_none().then_some(()),
            );
        }
    }

    /// Waits for an end that something else caused, for example `sidestep detach`.
    ///
    /// # Panics
    /// When it still runs after its time to drain.
    pub fn ended(mut self) -> ExitStatus {
        let mut process = self
            .process
            .take()
            .unwrap_or_else(|| unreachable!("taken by value only"));
        process
            .wait(DRAIN_LIMIT)
            .unwrap_or_else(|| panic!("the daemon still runs:\n{}", process.stderr()))
    }

    fn end(&mut self) {
        if self.process.is_none() {
            return;
        }
        self.audit();
        let Some(mut process) = self.process.take() else {
            return;
        };
        process.signal(Signal::SIGTERM);
        let status = process.wait(DRAIN_LIMIT);
        assert!(
            status.is_some_and(|status| status.code() == Some(0)),
            "after SIGTERM: {status:?}, not exit code 0; its stderr:\n{}",
            process.stderr()
        );
        assert_eq!(self.host.xdp_program(), None, "an XDP program is left");
    }

    fn running(&self) -> &Process {
        self.process
            .as_ref()
            .unwrap_or_else(|| unreachable!("taken by value or by drop only"))
    }

    fn per_worker(&self, name: &str) -> Vec<u64> {
        let status = self.status();
        let workers = status["workers"].as_array().cloned().unwrap_or_default();
        workers
            .iter()
            .map(|worker| {
                worker[name]
                    .as_u64()
                    .unwrap_or_else(|| panic!("no {name} in {worker:#}"))
            })
            .collect()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Some(process) = &self.process {
                eprintln!("--- stderr of sidestep ---\n{}---", process.stderr());
            }
            return;
        }
        self.end();
    }
}

/// `false` also before the first batch, when nothing is published yet.
fn adds_up(status: &Value) -> bool {
    let workers = status["workers"].as_array().cloned().unwrap_or_default();
    !workers.is_empty()
        && workers.iter().all(|worker| {
            let count = |name: &str| worker["frames"][name].as_u64();
            let parts: Option<Vec<u64>> = ["free", "in_rx", "in_tx", "held"]
                .map(count)
                .into_iter()
                .collect();
            match (parts, count("total")) {
                (Some(parts), Some(total)) => total > 0 && parts.iter().sum::<u64>() == total,
                _ => false,
            }
        })
}

fn argv(args: &[&str]) -> Vec<String> {
    std::iter::once(binary().display().to_string())
        .chain(args.iter().map(|arg| (*arg).to_owned()))
        .collect()
}

fn write_config(config: &str) -> TempDir {
    let files = TempDir::new().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
    write_config_to(files.path(), config);
    files
}

fn write_config_to(files: &Path, config: &str) {
    let socket = files.join("control.sock");
    let socket = format!("[control]\nsocket = \"{}\"\n", socket.display());
    let text = match config.contains("[control]\n") {
        true => config.replace("[control]\n", &socket),
        false => format!("{config}\n{socket}"),
    };
    std::fs::write(files.join("config.toml"), text)
        .unwrap_or_else(|error| panic!("cannot write the config: {error}"));
}
