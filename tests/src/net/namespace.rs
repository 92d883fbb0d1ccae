//! A network namespace with a name.

use super::{CLIENT_IF, LINK_CLIENT_IF, LINK_SERVER_IF, SERVER_IF, SETUP_LIMIT, TAP_IF};
use crate::process;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::process::{Command, Stdio};

/// One of them; removed on drop, with the devices of the harness in it.
pub(crate) struct Namespace {
    pub(super) name: String,
    file: File,
}

impl Namespace {
    pub(super) fn new(name: String) -> Self {
        process::must(ip(&["netns", "add", &name]), SETUP_LIMIT);
        let file = File::open(format!("/run/netns/{name}"))
            .unwrap_or_else(|error| panic!("cannot open namespace {name}: {error}"));
        Self { name, file }
    }

    /// `ip netns exec` replaces itself by the program, so the process id, group and death signal stay; it also
    /// mounts the namespace's own /sys.
    pub(super) fn command<S: AsRef<std::ffi::OsStr>>(&self, argv: &[S]) -> Command {
        let mut command = ip(&["netns", "exec", &self.name]);
        command.args(argv);
        command
    }

    /// Runs a short command in it that has to succeed and returns its standard output.
    pub(crate) fn must<S: AsRef<std::ffi::OsStr>>(&self, argv: &[S]) -> String {
        process::must(self.command(argv), SETUP_LIMIT)
    }

    pub(super) fn ip(&self, args: &[&str]) {
        let mut command = ip(&["-n", &self.name]);
        command.args(args);
        process::must(command, SETUP_LIMIT);
    }

    /// Runs `work` on a thread in it. Sockets made there stay there.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET)
                    .unwrap_or_else(|error| panic!("cannot enter {}: {error}", self.name));
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Errors are left alone: a panic while one unwinds would abort and leave the rest behind, and the final sweep of
        // `cargo xtask test` finds what stayed.
        let quietly = |mut command: Command| {
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        };
        // The devices go by name first: an open socket keeps a nameless namespace, and its devices, alive.
        for device in [SERVER_IF, CLIENT_IF, LINK_SERVER_IF, LINK_CLIENT_IF, TAP_IF] {
            if self.enter(|| nix::net::if_::if_nametoindex(device)).is_ok() {
                quietly(ip(&["-n", &self.name, "link", "del", device]));
            }
        }
        quietly(ip(&["netns", "del", &self.name]));
    }
}

fn ip(args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(args);
    command
}
