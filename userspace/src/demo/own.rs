//! `sidestep demo --config F -- COMMAND`: a configuration and a server of the user's own, in the demo's namespaces.
//!
//! Both run as they would on a real host: the server as an ordinary process, sidestep as `sidestep attach`.

use super::hosts::{self, HOST_V4, Hosts};
use super::{DemoError, until_signal};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use sidestep_config::{Config, Fallback};
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How often to look whether a child listens, or has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Looks that a child gets to end after SIGTERM, 15 seconds of them; a drain takes up to 7. With fewer, a database
/// behind the server would be killed while it writes its last page; with more, one that hangs keeps the terminal.
const LAST_LOOKS: u32 = 300;

/// Where the server finds the daemon's control socket, for its purges.
const SOCKET_VARIABLE: &str = "SIDESTEP_SOCKET";

/// Serves as `config` says beside `command` until Ctrl-C; `tries` are paths to show as examples.
///
/// # Errors
/// See [`DemoError`]. Whatever happens, nothing is left behind.
pub fn run(config: &Path, tries: &[String], command: &[String]) -> Result<(), DemoError> {
    let stop = until_signal()?;
    let checked = Config::load(config)?;
    let hosts = Hosts::make()?;
    let files = tempfile::Builder::new().prefix(&hosts.name).tempdir()?;
    let socket = files.path().join("control.sock");

    let mut server = match command {
        [] => None,
        words => {
            let mut child = hosts.child(words);
            child.env(SOCKET_VARIABLE, &socket);
            Some(Running::start("the server", child)?)
        }
    };
    if let Some(server) = &mut server {
        for listen in checked.listen.iter().filter(|l| is_kernel(l.fallback)) {
            let at = SocketAddr::from((HOST_V4, listen.port));
            log::info!("waiting until {at} is listened on");
            loop {
                if hosts.in_host(|| TcpStream::connect(at).is_ok())? {
                    break;
                }
                server.must_run()?;
                if told(&stop) {
                    return Ok(());
                }
            }
        }
    }

    let own = std::env::current_exe()?.display().to_string();
    let (config, socket) = (config.display().to_string(), socket.display().to_string());
    let mut daemon = hosts.child(&[
        &own,
        "attach",
        hosts::HOST_DEVICE,
        "--config",
        &config,
        "--socket",
        &socket,
    ]);
    daemon.stdout(Stdio::piped());
    let mut daemon = Running::start("sidestep", daemon)?;
    daemon.await_ready()?;
    print_hint(&hosts, &checked, tries, &socket);
    while !told(&stop) {
        daemon.must_run()?;
        let ended = match &mut server {
            Some(server) => server.child.try_wait()?,
            None => None,
        };
        if let Some(status) = ended {
            // Worth seeing: what is known of its answers is still given.
            eprintln!("the server has ended ({status}); sidestep goes on without it");
            server = None;
        }
    }
    println!("\nstopping");
    // First: while it drains, its connections still find the server.
    daemon.stop()
}

fn is_kernel(fallback: Fallback) -> bool {
    match fallback {
        Fallback::Kernel => true,
        Fallback::None => false,
    }
}

/// Waits a moment for the signal.
fn told(stop: &Receiver<()>) -> bool {
    match stop.recv_timeout(LOOK) {
        // Gone: the signal thread has ended, and nobody could stop us any more.
        Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
        Err(RecvTimeoutError::Timeout) => false,
    }
}

fn print_hint(hosts: &Hosts, config: &Config, tries: &[String], socket: &str) {
    let client = hosts.client();
    let port = config.listen.first().map_or(80, |l| l.port);
    let at = if port == 80 {
        HOST_V4.to_string()
    } else {
        format!("{HOST_V4}:{port}")
    };
    println!("\nserving until Ctrl-C; try from another terminal:");
    for path in tries {
        println!("  ip netns exec {client} curl -i 'http://{at}{path}'");
    }
    println!("  sidestep status --socket {socket}");
}

/// A child in a process group of its own, which ends with this value.
struct Running {
    name: &'static str,
    child: Child,
}

impl Running {
    fn start(name: &'static str, mut command: Command) -> Result<Self, DemoError> {
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|e| DemoError::Host {
                what: format!("start {name}"),
                why: e.to_string(),
            })?;
        Ok(Self { name, child })
    }

    /// Waits for the daemon's line on standard output, and shows it.
    fn await_ready(&mut self) -> Result<(), DemoError> {
        let mut line = String::new();
        if let Some(out) = self.child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        if line.is_empty() {
            let status = self.child.wait()?;
            return Err(self.ended(status));
        }
        print!("{line}");
        Ok(())
    }

    fn must_run(&mut self) -> Result<(), DemoError> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    /// Asks it to end, and waits for that.
    fn stop(&mut self) -> Result<(), DemoError> {
        self.signal(Signal::SIGTERM);
        for _ in 0..LAST_LOOKS {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.ended(status)),
                None => std::thread::sleep(LOOK),
            }
        }
        Err(DemoError::Io(io::Error::other(format!(
            "{} does not end",
            self.name
        ))))
    }

    fn ended(&self, status: ExitStatus) -> DemoError {
        DemoError::Ended {
            name: self.name,
            status,
        }
    }

    fn signal(&self, signal: Signal) {
        // Gone already is as good.
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // How it ends does not matter any more.
            let _ = self.stop();
        }
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
