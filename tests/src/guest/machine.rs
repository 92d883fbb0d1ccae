//! A running virtual machine and the shell in it.

use super::shell::{Answer, Shell};
use super::{Case, Image, Packages, tsc};
use crate::clock::wait_for;
use crate::net::{Host, SERVER_MAC, TAP_IF};
use crate::process::Process;
use serde_json::Value;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

// These limits end a wait for what will not come. A machine whose host has other work has been seen to be ten times as slow as on an
// idle one, so each is far beyond that; a larger one only delays the report of a real fault.

/// Longest that QEMU may take to open its socket.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Longest that the kernel may take to its first process: four seconds on an idle host.
const BOOT_LIMIT: Duration = Duration::from_secs(600);
/// Longest that one command in the machine may take; the waits of `tests/zc/init` end before, with an answer.
const COMMAND_LIMIT: Duration = Duration::from_secs(900);
/// Longest that the machine may take to be gone.
const END_LIMIT: Duration = Duration::from_secs(120);

const MEMORY_MIB: u32 = 768;
const CORES: u32 = 2;
/// The second line turns off what complains of time that passes without progress: here that is the host's time.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on tsc=reliable no_timer_check \
    nowatchdog rcupdate.rcu_cpu_stall_suppress=1 workqueue.watchdog_thresh=0 sysctl.kernel.hung_task_timeout_secs=0";

/// A machine; it is gone when this is dropped, after a panic too.
pub struct Machine {
    qemu: Process,
    shell: Shell,
    console: PathBuf,
    /// The kernel's release.
    pub release: String,
}

impl Machine {
    /// Boots one with the NIC of `case` on the TAP device of `client`.
    ///
    /// # Errors
    /// The shell's socket does not work.
    ///
    /// # Panics
    /// With the console when QEMU does not start or the machine does not come up.
    pub fn boot(
        packages: &Packages,
        image: &Image,
        client: &Host,
        case: &Case,
    ) -> io::Result<Self> {
        let socket = image.scratch().join(format!("{}.sock", case.name));
        let console = image.scratch().join(format!("{}.console", case.name));
        let mut argv = packages.qemu();
        let mac = SERVER_MAC.map(|byte| format!("{byte:02x}")).join(":");
        let mut netdev = format!("tap,id=net,ifname={TAP_IF},script=no,downscript=no,vhost=off");
        if case.tap_queues > 1 {
            netdev += &format!(",queues={}", case.tap_queues);
        }
        let arguments = [
            ("-nodefaults", String::new()),
            ("-no-user-config", String::new()),
            ("-no-reboot", String::new()),
            ("-display", "none".to_owned()),
            ("-machine", "q35".to_owned()),
            ("-accel", "tcg,thread=multi".to_owned()),
            ("-cpu", "max".to_owned()),
            ("-smp", CORES.to_string()),
            ("-m", MEMORY_MIB.to_string()),
            ("-kernel", packages.kernel().display().to_string()),
            ("-initrd", image.path().display().to_string()),
            ("-append", kernel_arguments()),
            ("-netdev", netdev),
            // No option ROM: nothing boots from this NIC, and no package has to bring one.
            (
                "-device",
                format!("{},netdev=net,mac={mac},romfile=", case.device),
            ),
            ("-serial", format!("file:{}", console.display())),
            // Nothing runs before the other side is there.
            (
                "-chardev",
                format!(
                    "socket,id=shell,path={},server=on,wait=on",
                    socket.display()
                ),
            ),
            ("-device", "virtio-serial-pci".to_owned()),
            ("-device", "virtserialport,chardev=shell".to_owned()),
        ];
        for (name, value) in arguments {
            argv.push(name.to_owned());
            if !value.is_empty() {
                argv.push(value);
            }
        }
        let mut qemu = client.spawn(&argv);
        let stream = wait_for(START_LIMIT, "QEMU opens its socket", || {
            assert!(qemu.running(), "QEMU ended:\n{}", qemu.stderr());
            UnixStream::connect(&socket).ok()
        });
        let mut machine = Self {
            qemu,
            shell: Shell::new(stream),
            console,
            release: String::new(),
        };
        let up = machine.shell.up(BOOT_LIMIT);
        machine.release = up.map_err(|error| machine.silent("the shell", &error))?;
        Ok(machine)
    }

    /// Runs `command` in the machine's shell.
    ///
    /// # Errors
    /// The machine is gone, or the command does not end: with the console.
    pub fn ask(&mut self, command: &str) -> io::Result<Answer> {
        let answer = self.shell.ask(command, COMMAND_LIMIT);
        answer.map_err(|error| self.silent(&format!("`{command}`"), &error))
    }

    /// The same for a command that has to succeed.
    ///
    /// # Errors
    /// As [`Machine::ask`].
    ///
    /// # Panics
    /// With sidestep's log when it fails.
    pub fn must(&mut self, command: &str) -> io::Result<String> {
        let Answer { code, said } = self.ask(command)?;
        if code != 0 {
            let log = self.ask("tail -n 60 /run/log")?.said;
            panic!(
                "`{command}` ended with {code}:\n{said}\n--- sidestep's log\n{log}\n--- console\n{}",
                self.console()
            );
        }
        Ok(said)
    }

    /// Writes a file in the machine; `text` has no single quotes.
    ///
    /// # Errors
    /// As [`Machine::ask`].
    pub fn write(&mut self, path: &str, text: &str) -> io::Result<()> {
        let quoted = text.lines().map(|line| format!(" '{line}'"));
        let lines: String = quoted.collect();
        self.must(&format!("printf '%s\\n'{lines} > {path}"))?;
        Ok(())
    }

    /// `sidestep status --json`.
    ///
    /// # Errors
    /// As [`Machine::ask`], or it is no JSON.
    pub fn status(&mut self) -> io::Result<Value> {
        // 3: works, but not as well as it could.
        let said = self.must("sidestep status --json || [ $? = 3 ]")?;
        serde_json::from_str(&said).map_err(|e| io::Error::other(format!("{e}:\n{said}")))
    }

    /// What the kernel has written to its console.
    pub fn console(&self) -> String {
        fs::read(&self.console).map_or_else(
            |e| e.to_string(),
            |text| String::from_utf8_lossy(&text).into_owned(),
        )
    }

    /// Ends the machine as its own command does.
    ///
    /// # Errors
    /// The socket's.
    pub fn power_off(mut self) -> io::Result<()> {
        self.shell.tell("poweroff -f")?;
        match self.qemu.wait(END_LIMIT) {
            Some(status) if status.success() => Ok(()),
            other => Err(io::Error::other(format!(
                "QEMU: {other:?}: {}",
                self.qemu.stderr()
            ))),
        }
    }

    fn silent(&self, what: &str, error: &io::Error) -> io::Error {
        let console = self.console();
        io::Error::other(format!(
            "no answer of {what}: {error}\n--- console\n{console}"
        ))
    }
}

fn kernel_arguments() -> String {
    match tsc::khz() {
        Some(khz) => format!("{KERNEL_ARGUMENTS} tsc_early_khz={khz}"),
        None => KERNEL_ARGUMENTS.to_owned(),
    }
}
