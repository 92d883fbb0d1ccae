//! Servers as users run them, unmodified, with the small apps in `tests/servers/`; `cargo xtask servers` installs them.
//!
//! Each answers `GET /hit` with [`HIT`], `GET /miss` with the client's address and port as it sees them,
//! `GET /download?bytes=N` with [`records`], and logs each request with the client's address and port.

use crate::clock::{PATIENCE, wait_for};
use crate::net::Host;
use crate::process::{self, Process};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// The server's own answer to `GET /hit`.
pub const HIT: &[u8] = b"from the server\n";

/// Length of one record of a download.
pub const RECORD: usize = 64;

/// Longest start of a server: ten of them start at once, and a loaded two-core machine has needed 20 s for Python's.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A server that users run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// nginx with nothing but its configuration.
    Nginx,
    /// uvicorn with a FastAPI app.
    Uvicorn,
    /// gunicorn's sync worker with a Flask app.
    Gunicorn,
    /// gunicorn's gevent worker with the same.
    Gevent,
    /// Sanic's own server.
    Sanic,
    /// Tornado's own server.
    Tornado,
    /// Twisted Web.
    Twisted,
    /// Hypercorn with a plain ASGI app.
    Hypercorn,
    /// Node's `http`.
    Node,
    /// Go's `net/http`.
    Go,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Nginx,
        Self::Uvicorn,
        Self::Gunicorn,
        Self::Gevent,
        Self::Sanic,
        Self::Tornado,
        Self::Twisted,
        Self::Hypercorn,
        Self::Node,
        Self::Go,
    ];

    /// What to call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Uvicorn => "uvicorn + FastAPI",
            Self::Gunicorn => "gunicorn (sync) + Flask",
            Self::Gevent => "gunicorn (gevent) + Flask",
            Self::Sanic => "Sanic",
            Self::Tornado => "Tornado",
            Self::Twisted => "Twisted",
            Self::Hypercorn => "Hypercorn",
            Self::Node => "Node http",
            Self::Go => "Go net/http",
        }
    }

    /// Its version: the pinned one of Python's packages, else what the program says of itself.
    ///
    /// # Panics
    /// When the program is missing.
    pub fn version(self) -> String {
        let said = |argv: &[&str], prefix: &str| {
            let mut command = Command::new(argv[0]);
            command.args(&argv[1..]);
            let done = process::run(command, PATIENCE);
            let text = done.stdout + &done.stderr;
            let at = text.find(prefix).map(|at| at + prefix.len());
            let rest = at.and_then(|at| text[at..].split_whitespace().next());
            rest.unwrap_or_else(|| panic!("{argv:?}: {text}"))
                .to_owned()
        };
        let pins = include_str!("../../servers/requirements.txt");
        let pinned = |package: &str| {
            let line = pins.lines().find_map(|line| line.strip_prefix(package));
            line.and_then(|rest| rest.strip_prefix("=="))
                .unwrap_or_else(|| panic!("{package} is not in requirements.txt"))
        };
        match self {
            Self::Nginx => said(&["nginx", "-v"], "nginx/"),
            Self::Uvicorn => format!("{} + {}", pinned("uvicorn"), pinned("fastapi")),
            Self::Gunicorn => format!("{} + {}", pinned("gunicorn"), pinned("Flask")),
            Self::Gevent => ["gunicorn", "gevent", "Flask"].map(pinned).join(" + "),
            Self::Sanic => pinned("sanic").to_owned(),
            Self::Tornado => pinned("tornado").to_owned(),
            Self::Twisted => pinned("Twisted").to_owned(),
            Self::Hypercorn => pinned("Hypercorn").to_owned(),
            Self::Node => said(&["node", "--version"], "v"),
            Self::Go => said(&["go", "version"], "go version go"),
        }
    }

    /// The folder of its app in `tests/servers/`.
    fn app(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Uvicorn => "fastapi",
            Self::Gunicorn | Self::Gevent => "flask",
            Self::Sanic => "sanic",
            Self::Tornado => "tornado",
            Self::Twisted => "twisted",
            Self::Hypercorn => "hypercorn",
            Self::Node => "node",
            Self::Go => "go",
        }
    }

    /// The command line, with all addresses of the host and the log on standard output or in a file of `dir`.
    fn argv(self, port: u16, installed: &Path, dir: &str) -> Vec<String> {
        let python = |name: &str| installed.join("python/bin").join(name);
        let every = format!("[::]:{port}");
        let log = "%(h)s %({REMOTE_PORT}e)s %(r)s";
        let gunicorn = ["--access-logfile", "-", "--access-logformat", log];
        let port = port.to_string();
        let (program, arguments): (PathBuf, Vec<&str>) = match self {
            Self::Nginx => (
                "nginx".into(),
                vec!["-e", "stderr", "-p", dir, "-c", "nginx.conf"],
            ),
            Self::Uvicorn => (
                python("uvicorn"),
                vec!["--host", "", "--port", &port, "app:app"],
            ),
            Self::Gunicorn => (
                python("gunicorn"),
                [&["-b", &every][..], &gunicorn, &["app:app"]].concat(),
            ),
            Self::Gevent => (
                python("gunicorn"),
                [&["-k", "gevent", "-b", &every][..], &gunicorn, &["app:app"]].concat(),
            ),
            Self::Sanic => (
                python("sanic"),
                vec![
                    "--host",
                    "::",
                    "--port",
                    &port,
                    "--single-process",
                    "--access-logs",
                    "app:app",
                ],
            ),
            Self::Tornado | Self::Twisted => (python("python"), vec!["app.py", &port]),
            Self::Hypercorn => (
                python("hypercorn"),
                vec![
                    "--config",
                    "hypercorn.toml",
                    "-b",
                    &every,
                    "--access-logfile",
                    "-",
                    "app:app",
                ],
            ),
            Self::Node => ("node".into(), vec!["app.js", &port]),
            Self::Go => (installed.join("go-server"), vec![&port]),
        };
        let program = program.display().to_string();
        let arguments = arguments.into_iter().map(str::to_owned);
        std::iter::once(program).chain(arguments).collect()
    }
}

/// A server of a user's that runs; it and its children end when this is dropped.
pub struct Running {
    /// Which one.
    pub kind: Kind,
    /// Where it listens.
    pub port: u16,
    // Lanes of a test share the server.
    process: Mutex<Process>,
    files: TempDir,
}

impl Running {
    /// Starts `kind` on `port` of every address of `host`; [`Running::ready`] waits for it.
    ///
    /// # Panics
    /// When it is not installed.
    pub fn start(host: &Host, kind: Kind, port: u16) -> Self {
        let files =
            TempDir::new().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let installed = installed();
        let app = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("servers")
            .join(kind.app());
        let mut cwd = app.clone();
        if kind == Kind::Nginx {
            cwd = files.path().to_owned();
            let listen = format!("listen {port}; listen [::]:{port};\n");
            fs::copy(app.join("nginx.conf"), cwd.join("nginx.conf"))
                .and_then(|_| fs::write(cwd.join("port.conf"), listen))
                .and_then(|()| fs::create_dir(cwd.join("www")))
                .unwrap_or_else(|error| panic!("cannot write nginx's files: {error}"));
        }
        let dir = files.path().display().to_string();
        let mut command = host.command(&kind.argv(port, &installed, &dir));
        command
            .current_dir(cwd)
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NODE_PATH", installed.join("node_modules"));
        Self {
            kind,
            port,
            process: Mutex::new(Process::spawn(command)),
            files,
        }
    }

    /// Waits until it listens.
    ///
    /// # Panics
    /// With what it said when it ends or does not listen.
    pub fn ready(&self, host: &Host) {
        let (kind, port) = (self.kind, self.port);
        wait_for(START_LIMIT, &format!("{kind:?} listens"), || {
            if !self.process().running() {
                panic!("{kind:?} ended:\n{}", self.log());
            }
            let listens = host.must(&["ss", "-Hltn", &format!("sport = :{port}")]);
            // nginx opens one socket after the other.
            let enough = if kind == Kind::Nginx { 2 } else { 1 };
            (listens.lines().count() >= enough).then_some(())
        });
    }

    /// Makes `GET /download?bytes=N` work for this N; all but nginx make the bytes up as they send them.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn can_download(&self, bytes: usize) {
        if self.kind == Kind::Nginx {
            let path = self.files.path().join("www").join(bytes.to_string());
            fs::write(path, records(bytes)).unwrap_or_else(|error| panic!("no download: {error}"));
        }
    }

    /// All that it logged so far.
    pub fn log(&self) -> String {
        let file = fs::read(self.files.path().join("access.log")).unwrap_or_default();
        let process = self.process();
        process.stdout() + &process.stderr() + &String::from_utf8_lossy(&file)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its log has a line about `path` with the client's address and port.
    pub fn logged(&self, client: SocketAddr, path: &str) -> bool {
        let (ip, port) = (client.ip(), client.port());
        let forms = [
            format!("{ip} {port}"),
            format!("{ip}:{port}"),
            format!("[{ip}]:{port}"),
        ];
        let whole = |line: &str, form: &str| {
            let at = line.find(form).map(|at| at + form.len());
            at.is_some_and(|end| !line[end..].starts_with(|c: char| c.is_ascii_digit()))
        };
        self.log().lines().any(|line| {
            line.contains(path)
                && forms
                    .iter()
                    .any(|form| whole(&line.replace("::ffff:", ""), form))
        })
    }
}

/// The address and port in an answer to `GET /miss`; a listener for both IP versions shows IPv4 ones as mapped.
pub fn client_seen(body: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = std::str::from_utf8(body).ok()?.trim_end().split_once(' ')?;
    let ip: IpAddr = ip.parse().ok()?;
    Some(SocketAddr::new(ip.to_canonical(), port.parse().ok()?))
}

/// What `GET /download?bytes=N` gives: numbered lines, so that no two places are alike. `bytes` is cut to whole records.
pub fn records(bytes: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes);
    for number in 0..bytes / RECORD {
        let mut record = [b'0'; RECORD];
        let digits = number.to_string();
        record[RECORD - 1 - digits.len()..RECORD - 1].copy_from_slice(digits.as_bytes());
        record[RECORD - 1] = b'\n';
        all.extend(record);
    }
    all
}

/// `servers` in cargo's target directory, two or three above this program.
///
/// # Panics
/// When it is not there.
pub fn installed() -> PathBuf {
    let program =
        std::env::current_exe().unwrap_or_else(|error| panic!("no path to this program: {error}"));
    program
        .ancestors()
        .map(|dir| dir.join("servers"))
        .find(|dir| dir.join("go-server").exists())
        .unwrap_or_else(|| panic!("the servers are missing; run `cargo xtask servers`"))
}
