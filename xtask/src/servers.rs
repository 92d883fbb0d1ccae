//! The servers and clients of users that `tests/tests/compat.rs` and `clients.rs` run: `target/servers/`, and what Debian and
//! Ubuntu package.

use crate::{setup, step};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// (package, why), beside those of [`setup`]; nginx is one of them.
const PACKAGES: &[(&str, &str)] = &[
    ("ca-certificates", "downloads"),
    ("python3-venv", "Python servers in tests"),
    ("nodejs", "a server in tests"),
    ("golang-go", "a server in tests"),
    ("golang-github-gorilla-websocket-dev", "a server in tests"),
    ("wget", "a client in tests"),
    ("apache2-utils", "ab, a client in tests"),
    ("hey", "a client in tests"),
    ("nghttp2-client", "h2load, a client in tests"),
];

/// The smallest build of Chromium. Ubuntu has only a snap of it, which cannot run in the namespaces of tests.
const BROWSER: (&str, &str) = ("chromium-headless-shell", "a client in tests");
/// Any of these does as well, and one that the environment names.
const BROWSERS: [&str; 4] = [
    "chromium-headless-shell",
    "chrome-headless-shell",
    "chromium",
    "google-chrome",
];

/// Node's WebSocket package. The distribution's npm would bring hundreds of packages for this one.
const WS: &str = "https://registry.npmjs.org/ws/-/ws-8.18.3.tgz";
/// Its SHA-256.
const WS_SUM: &str = "424be604c8e7926fc29a1f067bf2dac256af3bcea62fe30395018bbaf8a9be2a";

/// Installs and builds what is missing or out of date; half a second when nothing is.
///
/// # Errors
/// A package or a download cannot be had, or Go's server does not build.
pub fn run() -> Result<()> {
    setup::packages(PACKAGES)?;
    browser()?;
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    let source = tests.join("servers");
    let target = step::target_dir()?.join("servers");
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    environment(&source.join("requirements.txt"), &target.join("python"))?;
    node(&target)?;
    go(&source.join("go"), &target, "go-server")?;
    go(&tests.join("clients/go"), &target, "go-client")
}

fn browser() -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let there = |name| {
        path.split(':')
            .any(|dir| Path::new(dir).join(name).exists())
    };
    if std::env::var_os("CHROMIUM").is_some() || BROWSERS.into_iter().any(there) {
        return Ok(());
    }
    setup::packages(&[BROWSER]).context("install Chromium by hand and name it in $CHROMIUM")
}

/// Makes `venv` anew unless it is of the packages that `wanted` lists. It holds a copy of the list that it was made from.
///
/// # Errors
/// A package cannot be had.
pub fn environment(wanted: &Path, venv: &Path) -> Result<()> {
    environment_of(Path::new("/usr/bin/python3"), wanted, venv)
}

/// The same with another Python than the system's.
///
/// # Errors
/// As [`environment`].
pub fn environment_of(base: &Path, wanted: &Path, venv: &Path) -> Result<()> {
    let (python, made_from) = (venv.join("bin/python"), venv.join("requirements.txt"));
    let list = fs::read(wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    // It starts no more when the system's Python has moved on to another version.
    let starts = quiet(Command::new(&python).args(["-c", "import sys"]));
    if starts && fs::read(&made_from).is_ok_and(|had| had == list) {
        return Ok(());
    }
    let mut make = Command::new(base);
    make.args(["-m", "venv", "--clear"]).arg(venv);
    must(make)?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--requirement"]);
    install.arg(wanted);
    must(install)?;
    fs::write(&made_from, list).with_context(|| format!("cannot write {}", made_from.display()))
}

fn node(target: &Path) -> Result<()> {
    let package = target.join("node_modules/ws");
    // The archive is taken apart beside it and moved in whole.
    if package.join("package.json").exists() {
        return Ok(());
    }
    let (archive, apart) = (target.join("ws.tgz"), target.join("ws"));
    let mut fetch = Command::new("curl");
    fetch
        .args(["-fsSL", "--retry", "3", WS, "-o"])
        .arg(&archive);
    must(fetch)?;
    let sum = Command::new("sha256sum").arg(&archive).output();
    let sum = sum.context("cannot run sha256sum")?.stdout;
    if !sum.starts_with(WS_SUM.as_bytes()) {
        bail!("{WS} is not the file that it was");
    }
    for dir in [&apart, &target.join("node_modules")] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let mut unpack = Command::new("tar");
    unpack.args(["--strip-components=1", "-xzf"]).arg(&archive);
    unpack.arg("-C").arg(&apart);
    must(unpack)?;
    fs::rename(&apart, &package).context("cannot move Node's package in")
}

/// Go looks itself whether anything is to be done. Nothing is downloaded: the one module comes from the distribution.
///
/// # Errors
/// It does not build.
pub fn go(source: &Path, target: &Path, program: &str) -> Result<()> {
    let mut build = Command::new("go");
    build
        .current_dir(source)
        .args(["build", "-mod=mod", "-o"])
        .arg(target.join(program))
        .env("GOCACHE", target.join("go-cache"))
        .env("GOPATH", target.join("go-path"))
        .env("GOFLAGS", "")
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local");
    must(build)
}

/// Whether `command` can be run and succeeds.
pub fn quiet(command: &mut Command) -> bool {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a command that has to succeed.
///
/// # Errors
/// It does not.
pub fn must(command: Command) -> Result<()> {
    let shown = crate::show(&command);
    if !step::run("servers", command)? {
        bail!("failed: {shown}");
    }
    Ok(())
}
