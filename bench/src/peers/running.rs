//! A peer that runs on the server's host, pinned, and checked before it is measured.

use super::peer::{Kind, Peer, filled};
use super::site::{self, Site};
use super::workload::Workload;
use sidestep_tests::clock::{PATIENCE, poll_for};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::http::Client;
use sidestep_tests::net::{Host, Net};
use sidestep_tests::process::Process;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Where each server answers.
pub(super) const PORT: u16 = 80;
/// What fills a cache, on the same host.
const BEHIND: u16 = 8081;

/// Longest that a server may take until it listens: Python's have needed seconds on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Connections that servers make room for where the workload asks for no more.
const ROOM: u32 = 4 << 10;

/// `limits.connections` of sidestep's configuration.
const DEFAULT_CONNECTIONS: u32 = 1_000_000;

/// A server and what it needs; all of it ends when this is dropped.
pub(super) enum Running<'net> {
    Sidestep {
        daemon: Daemon<'net>,
        _behind: Started,
    },
    Kernel {
        _server: Started,
        _behind: Option<Started>,
    },
    Reflector {
        _process: Process,
    },
}

pub(super) struct Started {
    _process: Process,
    _dir: TempDir,
}

/// What the check of a peer has found out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manners {
    /// Its answers have a Date.
    pub date: bool,
    /// It closes a connection when it is asked to.
    pub closes: bool,
}

impl<'net> Running<'net> {
    /// Starts `peer` on `net.server` on `core`, the only one that this thread may use; `alone`: nothing
    /// else but the server shall run there.
    ///
    /// # Errors
    /// It is not installed, ended, or does not listen; with what it said.
    pub(super) fn start(
        net: &'net Net,
        peer: &Peer,
        site: &Site,
        core: usize,
        connections: u32,
        alone: bool,
    ) -> Result<Self, String> {
        let host = &net.server;
        let nginx = Peer::named("nginx")?;
        // nginx closes connections that wait when less than a sixteenth of its places is free.
        let room = connections.max(ROOM) / 8 * 9 + 100;
        match peer.kind {
            Kind::Reflector => {
                let program = peer.program().ok_or("not installed")?;
                let (port, core) = (PORT.to_string(), core.to_string());
                let given = [("port", &port[..]), ("core", &core)];
                let process = host.spawn(&peer.argv(&program, &given));
                match process.line("ready: ", START_LIMIT) {
                    Some(_) => Ok(Self::Reflector { _process: process }),
                    None => Err(format!("is not ready: {}", process.stderr())),
                }
            }
            Kind::Sidestep => {
                let behind = started(host, nginx, site, PORT, room)?;
                let daemon = Daemon::start(host, &config(site, room, alone));
                Ok(Self::Sidestep {
                    daemon,
                    _behind: behind,
                })
            }
            Kind::System { cache: true, .. } => {
                let behind = started(host, nginx, site, BEHIND, room)?;
                let server = started(host, peer, site, PORT, room)?;
                Ok(Self::Kernel {
                    _server: server,
                    _behind: Some(behind),
                })
            }
            _ => Ok(Self::Kernel {
                _server: started(host, peer, site, PORT, room)?,
                _behind: None,
            }),
        }
    }

    /// Requests that sidestep has answered itself so far.
    pub(super) fn hits(&self) -> Option<u64> {
        match self {
            Self::Sidestep { daemon, .. } => Some(daemon.requests().iter().sum()),
            Self::Kernel { .. } | Self::Reflector { .. } => None,
        }
    }

    /// The process of sidestep.
    pub(super) fn daemon(&self) -> Option<u32> {
        match self {
            Self::Sidestep { daemon, .. } => Some(daemon.id()),
            Self::Kernel { .. } | Self::Reflector { .. } => None,
        }
    }
}

/// Asks `peer` for every path of `workloads` and compares the bytes.
///
/// # Errors
/// An answer is not what it has to be, or not from where it has to be.
pub(super) fn checked(net: &Net, peer: &Peer, workloads: &[&Workload]) -> Result<Manners, String> {
    let mut manners = Manners {
        date: true,
        closes: false,
    };
    let connect = || {
        let stream = net.client.connect(net.server.at(PORT), PATIENCE);
        stream.map(Client::new).map_err(|e| format!("connect: {e}"))
    };
    let mut paths: Vec<String> = workloads.iter().flat_map(|w| w.paths()).collect();
    paths.sort();
    paths.dedup();
    let caches = matches!(peer.kind, Kind::System { cache: true, .. });
    // The second time a cache has it.
    let rounds = [false, true].into_iter();
    let rounds = rounds.flat_map(|again| paths.iter().map(move |path| (again, path)));
    for (again, path) in rounds {
        let answer = connect()?.get(path).map_err(|e| format!("{path}: {e}"))?;
        let (body, length) = (site::body(path), answer.field("content-length"));
        if answer.status != 200 || answer.body != body {
            return Err(format!("{path}: not the right answer: {}", answer.head));
        }
        if length != Some(&body.len().to_string()) {
            return Err(format!("{path}: no Content-Length: {}", answer.head));
        }
        // RFC 9111 section 5.1: whoever answers from a cache says for how long it has had the answer.
        if caches && again && answer.field("age").is_none() {
            return Err(format!("{path}: not out of its cache: {}", answer.head));
        }
        manners.date &= answer.field("date").is_some();
    }
    let mut client = connect()?;
    let close = "GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let answered = client.send(close).and_then(|()| client.answer());
    answered.map_err(|e| format!("Connection: close: {e}"))?;
    let short = Some(Duration::from_secs(1));
    let _ = client.stream().set_read_timeout(short);
    manners.closes = client.rest().is_ok();
    Ok(manners)
}

fn started(host: &Host, peer: &Peer, site: &Site, port: u16, room: u32) -> Result<Started, String> {
    let program = peer.program().ok_or("not installed")?;
    let dir = TempDir::new().expect("a temporary directory");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let (root, port) = (site.root().display().to_string(), port.to_string());
    let (files, behind, room) = (
        dir.path().display().to_string(),
        BEHIND.to_string(),
        room.to_string(),
    );
    // What caches fill themselves from says that it may be kept.
    let cache = match port == behind {
        true => "add_header Cache-Control max-age=3600;",
        false => "",
    };
    let config = dir.path().join("server.conf").display().to_string();
    let given = [
        ("root", &root[..]),
        ("port", &port),
        ("dir", &files),
        ("behind", &behind),
        ("connections", &room),
        ("cache", cache),
        ("config", &config),
    ];
    let mut cwd: PathBuf = dir.path().to_owned();
    match peer.kind {
        Kind::System {
            config: template, ..
        } => {
            let text = fs::read_to_string(sources.join(template));
            let text = text.map_err(|e| format!("{template}: {e}"))?;
            fs::write(&config, filled(&text, &given)).map_err(|e| format!("{config}: {e}"))?;
        }
        Kind::Node => cwd = sources.join("node"),
        Kind::Python { .. } => cwd = sources.join("python"),
        _ => {}
    }
    let mut command = host.command(&peer.argv(&program, &given));
    command
        .current_dir(cwd)
        .env("PEER_ROOT", &root)
        .env("GOMAXPROCS", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let mut process = Process::spawn(command);
    let listens = poll_for(START_LIMIT, || {
        let sockets = host.must(&["ss", "-Hltn", &format!("sport = :{port}")]);
        (!process.running() || !sockets.is_empty()).then_some(())
    });
    if listens.is_none() || !process.running() {
        let said = process.stdout() + &process.stderr();
        return Err(format!("does not listen: {}", said.trim_end()));
    }
    Ok(Started {
        _process: process,
        _dir: dir,
    })
}

/// As a user would write it. But on a core with others it sleeps at once when nothing has come, as the others do.
fn config(site: &Site, connections: u32, alone: bool) -> String {
    let interface = match alone {
        true => "",
        false => "[interface]\nspin = \"0s\"\n",
    };
    let mut text = format!(
        "{interface}[[listen]]\naddress = \"interface\"\nport = {PORT}\nfallback = \"kernel\"\n\
         [[site]]\nhosts = [\"*\"]\n\
         [[site.response]]\npath = \"{}\"\ncontent_type = \"text/plain\"\nbody = \"Hello world!\"\n",
        site::HELLO
    );
    let files = site.root().join("files").display().to_string();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "[[site.static]]\npath = \"/files/\"\nroot = \"{files}\"\nmax_object = \"64KiB\""
    );
    if connections > DEFAULT_CONNECTIONS {
        let _ = writeln!(text, "[limits]\nconnections = {connections}");
    }
    text
}
