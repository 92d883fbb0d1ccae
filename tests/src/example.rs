//! One of `examples/` as `cargo xtask example` starts it: `sidestep demo` with the example's server behind it.

use crate::clock::PATIENCE;
use crate::daemon::binary;
use crate::process::{self, Finished, Process};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longest start: a database of full size takes 15 s on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(180);

/// The server's drain and sidestep's, one after the other.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// The host's address in every demo.
pub const HOST: &str = "10.77.0.1";

/// A running example.
pub struct Example {
    process: Process,
    socket: String,
    id: u32,
}

/// An answer to curl.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header section as it came.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Example {
    /// Starts the example `name` with `server`, arguments of its Python, and waits until sidestep is ready.
    ///
    /// # Panics
    /// With what it said when it does not get ready.
    pub fn start(name: &str, server: &[&str]) -> Self {
        Self::start_with(name, server, &[])
    }

    /// [`Example::start`] with these environment variables.
    ///
    /// # Panics
    /// As it.
    pub fn start_with(name: &str, server: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary());
        command.args(["demo", "--config", "sidestep.toml", "--"]);
        command
            .arg(python(name))
            .args(server)
            .current_dir(source(name));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs(environment.iter().copied());
        let mut process = Process::spawn(command);
        let id = process.id();
        let socket = process
            .line("  sidestep status --socket ", START_LIMIT)
            .unwrap_or_else(|| {
                let state = process.wait(Duration::ZERO);
                panic!("{name} is not ready ({state:?}):\n{}", process.stderr())
            });
        let socket = socket.split(' ').next_back().unwrap_or_default().to_owned();
        Self {
            process,
            socket,
            id,
        }
    }

    /// A command line on the host, beside the server.
    pub fn on_host(&self, argv: &[&str]) -> Command {
        self.inside("host", argv)
    }

    /// A command line on the client, to which the host is [`HOST`].
    pub fn on_client(&self, argv: &[&str]) -> Command {
        self.inside("client", argv)
    }

    fn inside(&self, which: &str, argv: &[&str]) -> Command {
        let mut command = Command::new("ip");
        let namespace = format!("sidestep-demo-{}-{which}", self.id);
        command.args(["netns", "exec", &namespace]).args(argv);
        command
    }

    /// The client, for threads that connect from there.
    pub fn client(&self) -> ClientHost {
        ClientHost(format!("/run/netns/sidestep-demo-{}-client", self.id))
    }

    /// The server's own answer.
    ///
    /// # Panics
    /// When there is none.
    pub fn direct(&self, path: &str, options: &[&str]) -> Answer {
        curl("127.0.0.1", path, options, |argv| self.on_host(argv))
    }

    /// The answer that a client gets.
    ///
    /// # Panics
    /// When there is none.
    pub fn through(&self, path: &str, options: &[&str]) -> Answer {
        curl(HOST, path, options, |argv| self.on_client(argv))
    }

    /// `sidestep status --json`.
    ///
    /// # Panics
    /// When there is none.
    pub fn status(&self) -> Value {
        let mut command = Command::new(binary());
        command.args(["status", "--json", "--socket", &self.socket]);
        // It may fail to be perfect (exit code 3), and says so in the JSON.
        let Finished { stdout, stderr, .. } = process::run(command, PATIENCE);
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"))
    }

    /// Requests that the fast path answered.
    ///
    /// # Panics
    /// As [`Example::status`].
    pub fn hits(&self) -> u64 {
        let status = self.status();
        let workers = status["workers"].as_array();
        let requests = |worker: &Value| worker["requests"].as_u64();
        workers.into_iter().flatten().filter_map(requests).sum()
    }

    /// Kills every process whose command line has `word` and that is the server's: as a crash.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill_server(&self, word: &str) {
        let namespace = format!("sidestep-demo-{}-host", self.id);
        let mut list = Command::new("ip");
        list.args(["netns", "pids", &namespace]);
        let pids = process::must(list, PATIENCE);
        let is_server = |pid: &&str| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                line.contains(word) && !line.contains("sidestep attach")
            })
        };
        let found: Vec<&str> = pids.lines().filter(is_server).collect();
        assert!(!found.is_empty(), "no {word} in {namespace}");
        for pid in found {
            let pid = nix::unistd::Pid::from_raw(pid.parse().expect("a process id"));
            // One may end with the one before it.
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        }
    }

    /// Ends it with Ctrl-C.
    ///
    /// # Panics
    /// When it does not end, or not well.
    pub fn stop(self) {
        self.process.signal(Signal::SIGINT);
        let Finished { status, stderr, .. } = self.process.finish(STOP_LIMIT);
        assert!(status.success(), "{status}:\n{stderr}");
    }

    /// What its processes said on standard error.
    pub fn log(&self) -> String {
        self.process.stderr()
    }
}

/// The client of an example.
#[derive(Clone, Debug)]
pub struct ClientHost(String);

impl ClientHost {
    /// A connection to `port` of [`HOST`]; reads and writes on it fail after [`PATIENCE`].
    ///
    /// # Errors
    /// The host does not accept it.
    pub fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let namespace = File::open(&self.0)?;
        let to = SocketAddr::from(([10, 77, 0, 1], port));
        // A namespace belongs to the thread that enters it.
        let stream = std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
                TcpStream::connect_timeout(&to, PATIENCE)
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

fn curl(host: &str, path: &str, options: &[&str], on: impl FnOnce(&[&str]) -> Command) -> Answer {
    let url = format!("http://{host}{path}");
    let mut argv = vec!["curl", "--silent", "--show-error", "--include"];
    argv.extend(["--max-time", "20"]);
    argv.extend(options);
    argv.push(&url);
    let text = process::must(on(&argv), PATIENCE * 3);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{url}: {text}"));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("{url}: {head}")),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

impl Answer {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.head, self.body))
    }
}

/// The example's directory.
pub fn source(name: &str) -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    examples.join(name)
}

/// The Python of the example's virtual environment, in cargo's target directory, two or three above this program.
///
/// # Panics
/// When it is not there.
pub fn python(name: &str) -> PathBuf {
    let program =
        std::env::current_exe().unwrap_or_else(|error| panic!("no path to this program: {error}"));
    program
        .ancestors()
        .map(|dir| dir.join("examples").join(name).join("bin/python"))
        .find(|python| python.exists())
        .unwrap_or_else(|| {
            panic!("what {name} needs is missing; run `cargo xtask test` or `cargo xtask example {name}`")
        })
}
