//! Child processes that end with the test: own process group, killed on drop and when the spawning thread dies.

use crate::clock::{Deadline, poll_for};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A finished command.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, lossily decoded.
    pub stdout: String,
    /// Its standard error, lossily decoded.
    pub stderr: String,
}

impl Finished {
    /// The exit code; -1 when a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }
}

/// A running child with its output collected.
///
/// The kernel kills it when the *thread* that spawned it ends, so spawn from the thread that owns the test.
pub struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `command` with its output piped to this value.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn spawn(mut command: Command) -> Self {
        let name = format!("{command:?}");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        die_with_parent(&mut command);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let (sender, lines) = channel();
        let stdout = Arc::new(Mutex::new(String::new()));
        let stderr = Arc::new(Mutex::new(String::new()));
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            let text = Arc::clone(&stdout);
            readers.push(collect(pipe, text, move |line| {
                // The receiver is gone when nobody waits for lines any more; the text is kept all the same.
                let _ = sender.send(line);
            }));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.push(collect(pipe, Arc::clone(&stderr), |_| {}));
        }
        Self {
            name,
            child,
            lines,
            stdout,
            stderr,
            readers,
        }
    }

    /// The process id, which is also its process group's.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of standard output that starts with `prefix`; `None` when the output ends or `limit` passes.
    pub fn line(&self, prefix: &str, limit: Duration) -> Option<String> {
        let deadline = Deadline::after(limit);
        loop {
            match self.lines.recv_timeout(deadline.left()) {
                Ok(line) if line.starts_with(prefix) => return Some(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Sends `signal` to the process alone.
    pub fn signal(&self, signal: Signal) {
        // It may have ended already, which the caller sees by waiting for it.
        let _ = nix::sys::signal::kill(self.pid(), signal);
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end, at most for `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        poll_for(limit, || self.child.try_wait().ok().flatten())
    }

    /// Waits for its end and returns all that it said.
    ///
    /// # Panics
    /// When it does not end within `limit`.
    pub fn finish(mut self, limit: Duration) -> Finished {
        let Some(status) = self.wait(limit) else {
            panic!(
                "{} still runs after {limit:?}; its stderr:\n{}",
                self.name,
                self.stderr()
            );
        };
        // A grandchild may hold the pipes open; it ends with the group.
        self.kill_group();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Finished {
            status,
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn kill_group(&self) {
        // ESRCH: all of the group is gone already.
        let _ = killpg(self.pid(), Signal::SIGKILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
        let _ = self.child.wait();
    }
}

/// Runs `command` to its end.
///
/// # Panics
/// When it cannot be started or does not end within `limit`.
pub fn run(command: Command, limit: Duration) -> Finished {
    Process::spawn(command).finish(limit)
}

/// Runs `command` and returns its standard output.
///
/// # Panics
/// When it fails.
pub fn must(command: Command, limit: Duration) -> String {
    let name = format!("{command:?}");
    let done = run(command, limit);
    assert!(
        done.status.success(),
        "{name}: {}\n{}{}",
        done.status,
        done.stdout,
        done.stderr
    );
    done.stdout
}

fn die_with_parent(command: &mut Command) {
    let parent = std::process::id().cast_signed();
    // SAFETY: the closure runs between fork and exec and makes two system calls, both async-signal-safe;
    // it neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // The parent may have died before the request above took hold.
            if libc::getppid() != parent {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

fn collect(
    pipe: impl Read + Send + 'static,
    into: Arc<Mutex<String>>,
    mut each: impl FnMut(String) + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(n) if n > 0) {
            let line = String::from_utf8_lossy(&bytes).into_owned();
            into.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push_str(&line);
            each(line.trim_end().to_owned());
            bytes.clear();
        }
    })
}

fn text(of: &Mutex<String>) -> String {
    of.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone()
}
