//! `cargo xtask example NAME`: one of `examples/` behind sidestep, in the network namespaces of `sidestep demo`.

use crate::{servers, setup, step};
use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What an example needs beside its Python packages.
struct Example {
    name: &'static str,
    packages: &'static [(&'static str, &'static str)],
    /// Arguments of Python that start the server in the example's directory.
    server: &'static [&'static str],
    tries: &'static [&'static str],
}

const VENV: (&str, &str) = ("python3-venv", "the example's server");

const EXAMPLES: [Example; 2] = [
    Example {
        name: "fastapi-ping",
        packages: &[VENV],
        server: &[
            "-m",
            "uvicorn",
            "--host",
            "",
            "--port",
            "80",
            "--log-level",
            "warning",
            "app:app",
        ],
        tries: &["/ping", "/time"],
    },
    Example {
        name: "bookstore",
        packages: &[VENV, ("postgresql", "the example's database")],
        server: &["serve"],
        tries: &["/author/17", "/author?limit=20&offset=50000"],
    },
];

/// Becomes `sidestep demo` with the example `name`; `more` goes to its server.
///
/// # Errors
/// There is no such example, or something that it needs cannot be had.
pub fn run(name: &str, more: &[&str]) -> Result<ExitCode> {
    let Some(example) = EXAMPLES.iter().find(|e| e.name == name) else {
        let names: Vec<&str> = EXAMPLES.iter().map(|e| e.name).collect();
        bail!("no example {name}; there are: {}", names.join(", "));
    };
    setup::run()?;
    setup::packages(example.packages)?;
    let python = environment(example)?;
    let build = step::cargo(&["build", "--release", "--package", "sidestep"]);
    if !step::run("build", build)? {
        bail!("the build failed");
    }
    let mut command = step::as_root(step::target_dir()?.join("release/sidestep"));
    let source = source(example);
    command
        .arg("demo")
        .arg("--config")
        .arg(source.join("sidestep.toml"));
    for path in example.tries {
        command.args(["--try", path]);
    }
    // The server's own directory: where it looks for its app.
    command.current_dir(source).arg("--").arg(python);
    command.args(example.server).args(more);
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {}", crate::show(&command)))
}

/// What all examples need, for their tests.
///
/// # Errors
/// As [`run`].
pub fn install() -> Result<()> {
    for example in &EXAMPLES {
        setup::packages(example.packages)?;
        environment(example)?;
    }
    Ok(())
}

/// The Python of the example's virtual environment, made if need be.
fn environment(example: &Example) -> Result<PathBuf> {
    let venv = step::target_dir()?.join("examples").join(example.name);
    servers::environment(&source(example).join("requirements.txt"), &venv)?;
    Ok(venv.join("bin/python"))
}

fn source(example: &Example) -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    examples.join(example.name)
}
