//! `sidestep demo`: the real thing in network namespaces of its own.
//!
//! ```text
//!   namespace …-client          namespace …-host
//!   kernel client ── veth ────── veth ── XDP ─┬─ AF_XDP: the built-in site
//!                                             └─ kernel: an ordinary server, on the same address and port
//! ```

mod hosts;
mod own;
mod requests;
mod site;

use crate::daemon::{Daemon, StartError, Status};
use crate::kernel_http::KernelServer;
use crossbeam::channel::{Receiver, bounded};
use hosts::Hosts;
use requests::Row;
use sidestep_config::ConfigError;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitStatus;
use thiserror::Error;
use tiny_http::Response;

/// Port of the fast path, and of the kernel's server.
const PORT: u16 = 80;
/// What that server answers everything with, and the client's address as it sees it behind that.
const KERNEL_BODY: &str = "Hello from the kernel's server, client ";

/// Why the demo could not be shown.
#[derive(Debug, Error)]
pub enum DemoError {
    /// Not root.
    #[error("the demo makes network namespaces and loads an XDP program\n  help: run it as root")]
    NotRoot,
    /// A namespace or device could not be made.
    #[error("cannot {what}: {why}\n  help: the demo needs iproute2 and a kernel with veth")]
    Host {
        /// What was tried.
        what: String,
        /// What was answered.
        why: String,
    },
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A process of the demo's has ended by itself.
    #[error("{name} has ended: {status}")]
    Ended {
        /// Which one.
        name: &'static str,
        /// How.
        status: ExitStatus,
    },
    /// The daemon did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Something else of the system's.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Shows the demo; with `once` it ends after the table. True when every row was right.
///
/// # Errors
/// See [`DemoError`]. Whatever happens, nothing is left behind.
pub fn run(once: bool) -> Result<bool, DemoError> {
    let stop = until_signal()?;
    let hosts = Hosts::make()?;
    let site = site::write(&hosts.name)?;
    let config = site::config(site.path(), &hosts.name);

    // Threads that enter the host's namespace; those that the daemon and the server start are born in it.
    let (daemon, _server) = hosts.in_host(|| {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
        let server = KernelServer::start(any, "kernel-server", |request| {
            let client = request.remote_addr().map_or("?".into(), as_written);
            Response::from_string(format!("{KERNEL_BODY}{client}\n"))
        })?;
        Ok::<_, DemoError>((Daemon::start(&config, hosts::HOST_DEVICE)?, server))
    })??;
    let reader = daemon.reader();
    let rows = hosts.in_client(|| requests::send(&reader))?;
    let status = reader.read();
    let right = rows.iter().all(Row::right);
    print_table(&rows);
    print_status(&status);
    if !once {
        print_hint(&hosts);
        // An error means that the signal thread is gone: end as well.
        let _ = stop.recv();
        println!("\nstopping");
    }
    daemon.stop()?;
    Ok(right)
}

/// Serves as `config` says, beside the server that `command` starts in the host's namespace, until Ctrl-C. `tries` are
/// paths to show as examples.
///
/// # Errors
/// See [`DemoError`]. Whatever happens, nothing is left behind.
pub fn run_own(config: &Path, tries: &[String], command: &[String]) -> Result<(), DemoError> {
    own::run(config, tries, command)
}

/// From here on Ctrl-C ends the demo by its ordinary way out, which cleans up: by this channel.
fn until_signal() -> Result<Receiver<()>, DemoError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(DemoError::NotRoot);
    }
    let (tell, stop) = bounded(1);
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            // Full: it is ending already.
            let _ = tell.try_send(());
        }
    });
    Ok(stop)
}

/// Without the mapping that a socket of both IP versions shows of IPv4.
fn as_written(address: &SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

fn print_table(rows: &[Row]) {
    println!(
        "{:<28} {:>6}  {:<11} {:>6}  what the server saw",
        "request", "status", "answered by", "µs"
    );
    for row in rows {
        let verdict = match &row.wrong {
            None => String::new(),
            Some(why) => format!("  WRONG: {why}"),
        };
        println!(
            "{:<28} {:>6}  {:<11} {:>6}  {}{verdict}",
            row.request,
            row.status.map_or("-".into(), |s| s.to_string()),
            row.answered_by,
            row.micros,
            row.note
        );
    }
}

fn print_status(status: &Status) {
    println!(
        "\n{} mode on {}; XDP counters:",
        status.mode, status.interface
    );
    for (verdict, count) in status.xdp.iter().filter(|(_, count)| **count > 0) {
        println!("  {verdict:<24} {count:>8}");
    }
}

fn print_hint(hosts: &Hosts) {
    let client = hosts.client();
    println!("\nserving until Ctrl-C; try from another terminal:");
    for url in [
        format!("http://{}/", hosts::HOST_V4),
        format!("http://{}/ping", hosts::HOST_V4),
        format!("http://[{}]/hello", hosts::HOST_V6),
    ] {
        println!("  ip netns exec {client} curl -i '{url}'");
    }
    println!("two requests of one connection, the second for the server behind:");
    let host = hosts::HOST_V4;
    println!("  ip netns exec {client} curl -i 'http://{host}/ping' 'http://{host}/orders/7'");
}
