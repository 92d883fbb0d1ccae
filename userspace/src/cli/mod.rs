//! The command line: parsed once, each command in a file of its own.

mod attach;
mod change;
mod doctor;
mod dump;
mod query;
mod top;

use crate::daemon::{OpenWayBack, open_way_back};
use crate::demo::DemoError;
use clap::{CommandFactory, Parser, Subcommand};
use sidestep_config::Config;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// It worked.
const OK: u8 = 0;
/// It did not, for a reason of the machine's.
const FAILURE: u8 = 1;
/// The command line or the configuration is wrong.
const USAGE: u8 = 2;
/// It works, but not as well as it could.
const DEGRADED: u8 = 3;

/// Answers small GETs straight out of the NIC's queues and leaves everything else to the kernel.
#[derive(Debug, Parser)]
#[command(name = "sidestep", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show it at work in network namespaces of its own; needs root, changes nothing on the host
    Demo {
        /// End after the table instead of serving until Ctrl-C
        #[arg(long, conflicts_with = "config")]
        once: bool,
        /// Serve as this configuration says, instead of the built-in one
        #[arg(long, short, value_name = "FILE")]
        config: Option<PathBuf>,
        /// A path to show as an example; may be given several times
        #[arg(
            long = "try",
            value_name = "PATH",
            default_value = "/",
            requires = "config"
        )]
        tries: Vec<String>,
        /// Start this in the host's namespace first: the server behind sidestep
        #[arg(last = true, value_name = "COMMAND", requires = "config")]
        command: Vec<String>,
    },
    /// Attach to a NIC and serve until told to stop (in the foreground)
    Attach {
        /// The NIC; the configuration's [interface] name if left out
        interface: Option<String>,
        /// The configuration
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// The control socket, instead of the configuration's
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
    /// Let the daemon of a NIC finish its connections, detach and exit
    Detach {
        /// The NIC
        interface: String,
        #[command(flatten)]
        socket: Socket,
    },
    /// Check a configuration without touching anything
    Check {
        /// The configuration
        #[arg(value_name = "FILE")]
        config: PathBuf,
    },
    /// Tell how well a NIC could be served, and what to do about it; changes nothing
    Doctor {
        /// The NIC; the configuration's [interface] name if left out
        interface: Option<String>,
        /// The configuration to serve, for what depends on it
        #[arg(long, short, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Show what a running daemon does
    Status {
        /// As one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Have a running daemon read its configuration and trees again; on an error it goes on with the old ones
    Reload {
        #[command(flatten)]
        socket: Socket,
    },
    /// Answer a path with a file's bytes from now on, whatever else is there
    Put {
        #[command(flatten)]
        what: change::PutArgs,
        #[command(flatten)]
        socket: Socket,
    },
    /// Forget what was put or learned
    Purge {
        #[command(flatten)]
        scope: change::ScopeArgs,
        /// Only of the site of this host
        #[arg(long)]
        host: Option<String>,
        #[command(flatten)]
        socket: Socket,
    },
    /// Watch what a running daemon does: rates, by queue and by route
    Top {
        /// Print one frame, then end
        #[arg(long)]
        once: bool,
        /// Time between two looks, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
        interval: f64,
        #[command(flatten)]
        socket: Socket,
    },
    /// Write the frames that the fast path receives and sends to standard output, as pcap: `sidestep dump | tcpdump -r -`
    Dump {
        /// Only frames from or to this address
        #[arg(long, value_name = "ADDRESS")]
        host: Option<IpAddr>,
        /// Only TCP segments from or to this port
        #[arg(long)]
        port: Option<u16>,
        /// End after so many frames
        #[arg(long, short, value_name = "FRAMES")]
        count: Option<u64>,
        #[command(flatten)]
        socket: Socket,
    },
    /// Print a configuration with every key, its default and what it does
    Sample,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Debug, clap::Args)]
struct Socket {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = crate::control::DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    main_with(open_way_back)
}

/// The same, where `attach` uses another way back into the kernel.
pub fn main_with(way_back: OpenWayBack) -> ExitCode {
    let default_log = env_logger::Env::default().default_filter_or("info");
    env_logger::Builder::from_env(default_log).init();
    // clap itself exits with 2 on a wrong command line.
    let code = match Cli::parse().command {
        Command::Demo {
            once,
            config,
            tries,
            command,
        } => demo(once, config.as_deref(), &tries, &command),
        Command::Attach {
            interface,
            config,
            socket,
        } => attach::run(interface, &config, socket, way_back),
        Command::Detach { interface, socket } => query::detach(interface, &socket.socket),
        Command::Doctor { interface, config } => doctor::run(interface, config.as_deref()),
        Command::Check { config } => check(&config),
        Command::Status { json, socket } => query::status(json, &socket.socket),
        Command::Reload { socket } => change::reload(&socket.socket),
        Command::Put { what, socket } => change::put(what, &socket.socket),
        Command::Purge {
            scope,
            host,
            socket,
        } => change::purge(host, scope, &socket.socket),
        Command::Top {
            once,
            interval,
            socket,
        } => top::run(once, Duration::from_secs_f64(interval), &socket.socket),
        Command::Dump {
            host,
            port,
            count,
            socket,
        } => dump::run(dump::Filter { host, port }, count, &socket.socket),
        Command::Sample => {
            print!("{}", Config::sample());
            OK
        }
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "sidestep", &mut io::stdout());
            OK
        }
        Command::Man => man(),
    };
    ExitCode::from(code)
}

/// An interval that makes sense: at least what a terminal can show, at most an hour.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=3600.0).contains(&seconds) => Ok(seconds),
        Ok(_) | Err(_) => Err("not a number from 0.05 to 3600".into()),
    }
}

fn demo(once: bool, config: Option<&Path>, tries: &[String], command: &[String]) -> u8 {
    let shown = match config {
        None => crate::demo::run(once),
        Some(config) => crate::demo::run_own(config, tries, command).map(|()| true),
    };
    match shown {
        Ok(true) => OK,
        Ok(false) => FAILURE,
        Err(e @ DemoError::Config(_)) => fail(&e, USAGE),
        Err(e) => fail(&e, FAILURE),
    }
}

fn check(config: &Path) -> u8 {
    match Config::load(config) {
        Ok(_) => {
            println!("{}: ok", config.display());
            OK
        }
        Err(e) => fail(&e, USAGE),
    }
}

fn man() -> u8 {
    match clap_mangen::Man::new(Cli::command()).render(&mut io::stdout()) {
        Ok(()) => OK,
        Err(e) => fail(&e, FAILURE),
    }
}

fn fail(error: &impl std::fmt::Display, code: u8) -> u8 {
    eprintln!("error: {error}");
    code
}
