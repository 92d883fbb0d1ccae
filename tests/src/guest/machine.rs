//! A running virtual machine and the shell in it.

use super::{Case, Image, Packages};
use crate::clock::{Deadline, wait_for};
use crate::net::{Host, SERVER_MAC, TAP_IF};
use crate::process::Process;
use serde_json::Value;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// Longest that QEMU may take to open its socket.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Longest that the kernel may take to its first process: four seconds on an idle machine, software emulation on a loaded one.
const BOOT_LIMIT: Duration = Duration::from_secs(90);
/// Longest that one command in the machine may take; the waits of `tests/zc/init` end before.
const COMMAND_LIMIT: Duration = Duration::from_secs(180);
/// Longest that the machine may take to be gone.
const END_LIMIT: Duration = Duration::from_secs(20);

const MEMORY_MIB: u32 = 768;
const CORES: u32 = 2;
const KERNEL_ARGUMENTS: &str =
    "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on tsc=reliable no_timer_check";

/// A machine; it is gone when this is dropped, after a panic too.
pub struct Machine {
    qemu: Process,
    shell: BufReader<UnixStream>,
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
        let mut argv: Vec<String> = ["nice", "-n", "10"].map(str::to_owned).into();
        argv.extend(packages.qemu());
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
            ("-append", KERNEL_ARGUMENTS.to_owned()),
            ("-netdev", netdev),
            // No option ROM: nothing boots from this NIC, and no package has to bring one.
            (
                "-device",
                format!("{},netdev=net,mac={mac},romfile=", case.device),
            ),
            ("-serial", format!("file:{}", console.display())),
            (
                "-chardev",
                format!(
                    "socket,id=shell,path={},server=on,wait=off",
                    socket.display()
                ),
            ),
            ("-serial", "chardev:shell".to_owned()),
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
            shell: BufReader::new(stream),
            console,
            release: String::new(),
        };
        let up = machine.until(BOOT_LIMIT, |line| line.starts_with("up "))?;
        let last = up.last().map(String::as_str).unwrap_or_default();
        machine.release = last.trim_start_matches("up ").to_owned();
        Ok(machine)
    }

    /// Runs `command` in the machine's shell and returns its code and what it printed.
    ///
    /// # Errors
    /// The machine is gone, or the command does not end.
    pub fn ask(&mut self, command: &str) -> io::Result<(i32, String)> {
        self.shell
            .get_mut()
            .write_all(format!("{command}\n").as_bytes())?;
        let mut lines = self.until(COMMAND_LIMIT, |line| line.starts_with("done "))?;
        let code = lines
            .pop()
            .and_then(|line| line.strip_prefix("done ")?.parse().ok());
        Ok((code.unwrap_or(-1), lines.join("\n")))
    }

    /// The same for a command that has to succeed.
    ///
    /// # Errors
    /// As [`Machine::ask`].
    ///
    /// # Panics
    /// With sidestep's log when it fails.
    pub fn must(&mut self, command: &str) -> io::Result<String> {
        let (code, said) = self.ask(command)?;
        if code != 0 {
            let (_, log) = self.ask("tail -n 60 /run/log")?;
            panic!(
                "`{command}` ended with {code}:\n{said}\n--- sidestep's log\n{log}\n--- console\n{}",
                self.console()
            );
        }
        Ok(said)
    }

    /// Writes a file in the machine.
    ///
    /// # Errors
    /// As [`Machine::ask`].
    pub fn write(&mut self, path: &str, text: &str) -> io::Result<()> {
        self.must(&format!(": > {path}"))?;
        for line in text.lines() {
            self.must(&format!("echo '{line}' >> {path}"))?;
        }
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
        self.shell.get_mut().write_all(b"poweroff -f\n")?;
        match self.qemu.wait(END_LIMIT) {
            Some(status) if status.success() => Ok(()),
            other => Err(io::Error::other(format!(
                "QEMU: {other:?}: {}",
                self.qemu.stderr()
            ))),
        }
    }

    /// Lines of the shell up to the first that is `last`.
    fn until(&mut self, limit: Duration, last: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let deadline = Deadline::after(limit);
        let mut lines = Vec::new();
        let mut line = Vec::new();
        loop {
            // Zero would mean no limit.
            let left = deadline.left().max(Duration::from_millis(1));
            self.shell.get_ref().set_read_timeout(Some(left))?;
            match self.shell.read_until(b'\n', &mut line) {
                Ok(n) if n > 0 => {}
                ended => {
                    let why = ended
                        .err()
                        .map_or_else(|| "it is gone".to_owned(), |e| e.to_string());
                    let said = String::from_utf8_lossy(&line);
                    return Err(io::Error::other(format!(
                        "no answer from the machine: {why}; it said:\n{}\n{said}\n--- console\n{}",
                        lines.join("\n"),
                        self.console()
                    )));
                }
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            let done = last(&text);
            lines.push(text);
            if done {
                return Ok(lines);
            }
        }
    }
}
