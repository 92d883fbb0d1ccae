//! `cargo xtask bench`: installs the servers of `sidestep-bench peers` and runs it.
//!
//! What cannot be had is named and left out. Programs go to `target/peers/`; their sources are in `bench/peers/`.

use crate::{servers, setup, step, sweep};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const GO: (&str, &str) = ("golang-go", "servers to compare with");
const VENV: (&str, &str) = ("python3-venv", "servers to compare with");

/// Programs of `bench/peers/rust`.
const RUST: [&str; 3] = ["peer-actix", "peer-hyper", "peer-may"];

/// Installs the servers that `args` ask for, then becomes `sidestep-bench peers` with them.
///
/// # Errors
/// sidestep itself or its benchmark cannot be built.
pub fn run(args: &[&str]) -> Result<ExitCode> {
    setup::run()?;
    // One that was interrupted has left its hosts behind.
    sweep::sweep()?;
    let mut build = step::cargo(&["build", "--release", "--package", "sidestep"]);
    build.args(["--package", "sidestep-bench"]);
    if !step::run("build", build)? {
        bail!("the build failed");
    }
    let program = step::target_dir()?.join("release/sidestep-bench");
    let list = Command::new(&program)
        .args(["peers", "--list"])
        .args(args)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let target = step::target_dir()?.join("peers");
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    // Wrong usage names no server, and is told by the program itself.
    for key in String::from_utf8_lossy(&list.stdout).lines() {
        if let Err(error) = install(key, &target) {
            eprintln!("left out: {key}: {error:#}");
        }
    }
    let out = step::target_dir()?.join("bench");
    let mut command = step::as_root(&program);
    command.arg("peers").arg("--out").arg(out).args(args);
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {}", crate::show(&command)))
}

/// Makes the server called `key` ready to be started.
fn install(key: &str, target: &Path) -> Result<()> {
    const WHY: &str = "a server to compare with";
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/peers");
    match key {
        "h2o" => setup::packages(&[("h2o", WHY)]),
        "haproxy" => setup::packages(&[("haproxy", WHY)]),
        "varnish" => setup::packages(&[("varnish", WHY)]),
        "node" => setup::packages(&[("nodejs", WHY)]),
        "go" => {
            setup::packages(&[GO])?;
            servers::go(&source.join("go"), target, "peer-go")
        }
        "fasthttp" => fasthttp(&source, target),
        "fastapi" | "flask" | "sanic" | "tornado" | "twisted" => {
            setup::packages(&[VENV])?;
            // The environment of the compatibility test.
            let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/servers");
            let venv = step::target_dir()?.join("servers/python");
            servers::environment(&tests.join("requirements.txt"), &venv)
        }
        "japronto" | "meinheld" => {
            let wanted = source.join("python/requirements37.txt");
            let python = python37().context("there is no CPython 3.7")?;
            servers::environment_of(&python, &wanted, &target.join("python37"))
        }
        "actix" | "hyper" | "may" => rust(&source, target),
        // sidestep is built, and nginx came with the set-up.
        _ => Ok(()),
    }
}

/// Its one dependency comes from the distribution, as a tree of sources without a module.
fn fasthttp(source: &Path, target: &Path) -> Result<()> {
    setup::packages(&[
        GO,
        (
            "golang-github-valyala-fasthttp-dev",
            "a server to compare with",
        ),
    ])?;
    let mut build = Command::new("go");
    build
        .current_dir(source.join("fasthttp"))
        .args(["build", "-o"])
        .arg(target.join("peer-fasthttp"))
        .arg(".")
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOCACHE", target.join("go-cache"))
        .env("GOFLAGS", "")
        .env("GOTOOLCHAIN", "local");
    servers::must(build)
}

/// One crate after the other: more at once takes more memory than a small machine has.
fn rust(source: &Path, target: &Path) -> Result<()> {
    let mut build = step::cargo(&["build", "--release", "--locked", "--jobs", "1"]);
    build
        .arg("--manifest-path")
        .arg(source.join("rust/Cargo.toml"))
        .env("CARGO_TARGET_DIR", target.join("rust"));
    servers::must(build)?;
    for program in RUST {
        let built = target.join("rust/release").join(program);
        fs::copy(&built, target.join(program))
            .with_context(|| format!("cannot copy {}", built.display()))?;
    }
    Ok(())
}

/// A CPython 3.7 in the path, or one of pyenv's.
fn python37() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv"));
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from).or(home);
    let versions = pyenv.and_then(|pyenv| fs::read_dir(pyenv.join("versions")).ok());
    let pyenvs = versions.into_iter().flatten().flatten();
    pyenvs
        .filter(|version| version.file_name().to_string_lossy().starts_with("3.7."))
        .map(|version| version.path().join("bin/python"))
        .chain([PathBuf::from("python3.7")])
        .find(|python| servers::quiet(Command::new(python).args(["-c", "import venv"])))
}
