//! The servers that are compared, each with one worker; `cargo xtask bench` installs them, `bench/peers/` has their apps.

use sidestep_tests::net::SERVER_IF;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One server.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its name for `--peer`.
    pub key: &'static str,
    pub title: &'static str,
    pub kind: Kind,
    /// Arguments behind the program, with `{root}`, `{port}` and `{dir}` in them.
    args: &'static [&'static str],
    /// What prints its version.
    version: Version,
}

/// Where its program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// sidestep itself, with nginx behind it.
    Sidestep,
    /// `sidestep-bench reflect`, which only sends frames back: the limit of the link and the kernel, without TCP.
    Reflector,
    /// A program of the system; its configuration is a template in `bench/peers/`.
    System {
        program: &'static str,
        config: &'static str,
        /// Fills itself from an nginx behind it.
        cache: bool,
    },
    /// Built into `target/peers/`.
    Built(&'static str),
    /// Node with `bench/peers/node/`.
    Node,
    /// A program of the Python environment in this directory of `target/`, with an app of `bench/peers/python/`.
    Python {
        environment: &'static str,
        program: &'static str,
    },
}

#[derive(Debug)]
enum Version {
    /// What this command says behind this word.
    Says(&'static [&'static str], &'static str),
    /// Of these packages of its Python environment.
    Packages(&'static [&'static str]),
    /// Of this package in the lock file of `bench/peers/rust`.
    Locked(&'static str),
    /// This package's own.
    Ours,
}

/// Debian's package; it has no program that could be asked.
const FASTHTTP: Version = Version::Says(
    &[
        "dpkg-query",
        "--show",
        "--showformat=is ${Version}",
        "golang-github-valyala-fasthttp-dev",
    ],
    "is ",
);

const PYTHON: &str = "servers/python";
const PYTHON37: &str = "peers/python37";

const fn python(
    key: &'static str,
    title: &'static str,
    program: &'static str,
    args: &'static [&'static str],
    packages: &'static [&'static str],
) -> Peer {
    Peer {
        key,
        title,
        kind: Kind::Python {
            environment: PYTHON,
            program,
        },
        args,
        version: Version::Packages(packages),
    }
}

const fn built(
    key: &'static str,
    title: &'static str,
    program: &'static str,
    version: Version,
) -> Peer {
    Peer {
        key,
        title,
        kind: Kind::Built(program),
        args: &["{root}", "{port}"],
        version,
    }
}

/// sidestep and the physical limit, then what users run.
pub(super) static ALL: [Peer; 19] = [
    Peer {
        key: "sidestep",
        title: "sidestep",
        kind: Kind::Sidestep,
        args: &[],
        version: Version::Ours,
    },
    Peer {
        key: "reflector",
        title: "bare reflector",
        kind: Kind::Reflector,
        args: &[
            "reflect",
            "--interface",
            SERVER_IF,
            "--port",
            "{port}",
            "--core",
            "{core}",
        ],
        version: Version::Ours,
    },
    Peer {
        key: "nginx",
        title: "nginx",
        kind: Kind::System {
            program: "nginx",
            config: "nginx/nginx.conf",
            cache: false,
        },
        args: &["-e", "stderr", "-p", "{dir}", "-c", "{config}"],
        version: Version::Says(&["nginx", "-v"], "nginx/"),
    },
    Peer {
        key: "h2o",
        title: "h2o",
        kind: Kind::System {
            program: "h2o",
            config: "h2o/h2o.conf",
            cache: false,
        },
        args: &["-c", "{config}"],
        version: Version::Says(&["h2o", "--version"], "h2o version "),
    },
    Peer {
        key: "haproxy",
        title: "HAProxy's cache",
        kind: Kind::System {
            program: "haproxy",
            config: "haproxy/haproxy.cfg",
            cache: true,
        },
        args: &["-f", "{config}"],
        version: Version::Says(&["haproxy", "-v"], "version "),
    },
    Peer {
        key: "varnish",
        title: "Varnish",
        kind: Kind::System {
            program: "varnishd",
            config: "varnish/default.vcl",
            cache: true,
        },
        args: &[
            "-F",
            "-n",
            "{dir}/varnish",
            "-f",
            "{config}",
            "-a",
            "0.0.0.0:{port}",
            "-s",
            "malloc,256m",
            "-T",
            "none",
        ],
        version: Version::Says(&["varnishd", "-V"], "varnish-"),
    },
    built(
        "go",
        "Go net/http",
        "peer-go",
        Version::Says(&["go", "version"], "go version go"),
    ),
    built("fasthttp", "fasthttp", "peer-fasthttp", FASTHTTP),
    Peer {
        key: "node",
        title: "Node http",
        kind: Kind::Node,
        args: &["app.js", "{root}", "{port}"],
        version: Version::Says(&["node", "--version"], "v"),
    },
    python(
        "fastapi",
        "uvicorn + FastAPI",
        "uvicorn",
        &[
            "--host",
            "",
            "--port",
            "{port}",
            "--no-access-log",
            "--log-level",
            "warning",
            "fastapi_app:app",
        ],
        &["uvicorn", "fastapi"],
    ),
    python(
        "flask",
        "gunicorn + Flask",
        "gunicorn",
        &["--workers", "1", "-b", "[::]:{port}", "flask_app:app"],
        &["gunicorn", "Flask"],
    ),
    python(
        "sanic",
        "Sanic",
        "sanic",
        &[
            "--host",
            "::",
            "--port",
            "{port}",
            "--single-process",
            "--no-access-logs",
            "sanic_app:app",
        ],
        &["sanic"],
    ),
    python(
        "tornado",
        "Tornado",
        "python",
        &["tornado_app.py", "{port}"],
        &["tornado"],
    ),
    python(
        "twisted",
        "Twisted",
        "python",
        &["twisted_app.py", "{port}"],
        &["Twisted"],
    ),
    Peer {
        key: "japronto",
        title: "Japronto",
        kind: Kind::Python {
            environment: PYTHON37,
            program: "python",
        },
        args: &["japronto_app.py", "{port}"],
        version: Version::Packages(&["japronto"]),
    },
    Peer {
        key: "meinheld",
        title: "Meinheld",
        kind: Kind::Python {
            environment: PYTHON37,
            program: "python",
        },
        args: &["meinheld_app.py", "{port}"],
        version: Version::Packages(&["meinheld"]),
    },
    built("hyper", "hyper", "peer-hyper", Version::Locked("hyper")),
    built(
        "actix",
        "actix-web",
        "peer-actix",
        Version::Locked("actix-web"),
    ),
    built(
        "may",
        "may_minihttp",
        "peer-may",
        Version::Locked("may_minihttp"),
    ),
];

impl Peer {
    pub(super) fn named(key: &str) -> Result<&'static Self, String> {
        ALL.iter().find(|peer| peer.key == key).ok_or_else(|| {
            let keys: Vec<&str> = ALL.iter().map(|peer| peer.key).collect();
            format!("no peer {key}; there are: {}", keys.join(", "))
        })
    }

    /// Whether it answers with kernel sockets, as all but sidestep and the reflector do.
    pub(super) fn kernel(&self) -> bool {
        !matches!(self.kind, Kind::Sidestep | Kind::Reflector)
    }

    /// Whether it is asked for more connections than wrk can open. Python would take hours.
    pub(super) fn crowds(&self) -> bool {
        match self.kind {
            Kind::Sidestep | Kind::System { .. } | Kind::Built(_) | Kind::Node => true,
            Kind::Reflector | Kind::Python { .. } => false,
        }
    }

    /// Its program; `None` when it is not installed.
    pub(super) fn program(&self) -> Option<PathBuf> {
        let found = match self.kind {
            Kind::Sidestep => sidestep_tests::daemon::binary(),
            Kind::Reflector => std::env::current_exe().ok()?,
            Kind::System { program, .. } => on_path(program)?,
            Kind::Node => on_path("node")?,
            Kind::Built(program) => target("peers")?.join(program),
            Kind::Python {
                environment,
                program,
            } => target(environment)?.join("bin").join(program),
        };
        found.exists().then_some(found)
    }

    /// Its command line, and the directory of `bench/peers/` that it starts in, if any.
    pub(super) fn argv(&self, program: &Path, given: &[(&str, &str)]) -> Vec<String> {
        let program = program.display().to_string();
        let args = self.args.iter().map(|arg| filled(arg, given));
        std::iter::once(program).chain(args).collect()
    }

    pub(super) fn version(&self) -> String {
        match &self.version {
            Version::Ours => env!("CARGO_PKG_VERSION").to_owned(),
            Version::Says(argv, word) => {
                let said = Command::new(argv[0]).args(&argv[1..]).output();
                let text = said.map_or(String::new(), |said| {
                    let both = [said.stdout, said.stderr].concat();
                    String::from_utf8_lossy(&both).into_owned()
                });
                behind(&text, word).unwrap_or("?").to_owned()
            }
            Version::Locked(package) => {
                let lock = include_str!("../../peers/rust/Cargo.lock");
                let found = lock
                    .split_once(&format!("name = \"{package}\"\nversion = \""))
                    .and_then(|(_, rest)| rest.split('"').next());
                found.unwrap_or("?").to_owned()
            }
            Version::Packages(packages) => {
                let all = packages.iter().map(|package| self.package(package));
                all.collect::<Vec<_>>().join(" + ")
            }
        }
    }

    /// The version of a package of its Python environment, by the name of the directory that describes it.
    fn package(&self, name: &str) -> String {
        let look = || {
            let Kind::Python { environment, .. } = self.kind else {
                return None;
            };
            let lib = std::fs::read_dir(target(environment)?.join("lib")).ok()?;
            let packages = lib.flatten().map(|dir| dir.path().join("site-packages"));
            let entries = packages.filter_map(|dir| std::fs::read_dir(dir).ok());
            let prefix = format!("{}-", name.to_lowercase());
            entries.flatten().flatten().find_map(|entry| {
                let file = entry.file_name().to_str()?.to_lowercase();
                let rest = file.strip_prefix(&prefix)?;
                // What pip built itself is described in an older way.
                let old = || rest.strip_suffix(".egg-info")?.split('-').next();
                let version = rest.strip_suffix(".dist-info").or_else(old)?;
                Some(version.to_owned())
            })
        };
        look().unwrap_or_else(|| "?".to_owned())
    }
}

/// `text` with each `{name}` replaced.
pub(super) fn filled(text: &str, given: &[(&str, &str)]) -> String {
    given.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), value)
    })
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path).map(|dir| dir.join(program));
    found.find(|path| path.exists())
}

/// A directory of cargo's target directory, two above this program.
fn target(name: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let mut found = program.ancestors().map(|dir| dir.join(name));
    found.find(|dir| dir.exists())
}

/// The word behind `word`, without what closes it.
fn behind<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.split_once(word)?.1;
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | ')'));
    Some(&rest[..end.unwrap_or(rest.len())])
}
