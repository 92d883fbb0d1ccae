//! apt with sources and lists of its own: neither the host's configuration nor its lists are touched.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIRROR: &str = "http://deb.debian.org/debian";

/// Packages of some of Debian's suites.
pub struct Apt {
    dir: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// Reads the lists of `suites` into `dir`, signed by a key of `keyring`.
    ///
    /// # Errors
    /// They cannot be had.
    pub fn open(dir: &Path, suites: &[&str], keyring: &Path) -> Result<Self> {
        for part in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(dir.join(part))
                .with_context(|| format!("cannot make {}", dir.join(part).display()))?;
        }
        let source = |suite: &&str| {
            let keyring = keyring.display();
            format!("deb [arch=amd64 signed-by={keyring}] {MIRROR} {suite} main\n")
        };
        let list = dir.join("sources.list");
        fs::write(&list, suites.iter().map(source).collect::<String>())
            .with_context(|| format!("cannot write {}", list.display()))?;
        let of = |name: &str, value: &Path| format!("Dir::{name}={}", value.display());
        let apt = Self {
            dir: dir.to_owned(),
            options: vec![
                "Dir::Etc::sourceparts=-".to_owned(),
                of("Etc::sourcelist", &list),
                of("State::lists", &dir.join("lists")),
                of("Cache", dir),
                "Acquire::Languages=none".to_owned(),
                "Acquire::Retries=2".to_owned(),
                // A mirror that does not answer is no reason to wait for minutes.
                "Acquire::http::Timeout=20".to_owned(),
                // All files are ours, and nothing is installed.
                "Debug::NoLocking=1".to_owned(),
                "APT::Sandbox::User=root".to_owned(),
            ],
        };
        // Without this, lists that cannot be had are a warning.
        apt.run("apt-get", &["-o", "APT::Update::Error-Mode=any", "update"])
            .with_context(|| format!("no package lists from {MIRROR}"))?;
        Ok(apt)
    }

    /// What `package` of `suite` depends on.
    ///
    /// # Errors
    /// There is no such package.
    pub fn depends(&self, suite: &str, package: &str) -> Result<Vec<String>> {
        let release = format!("APT::Default-Release={suite}");
        let listed = self.run("apt-cache", &["-o", &release, "depends", package])?;
        let names = listed
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.map(str::to_owned).collect())
    }

    /// Fetches exactly these packages and returns their files.
    ///
    /// # Errors
    /// One of them cannot be had.
    pub fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let to = self.empty("download")?;
        let mut command = self.command("apt-get");
        command.arg("download").args(packages).current_dir(&to);
        output(&mut command)?;
        debs(&to)
    }

    /// Fetches `package` of `suite` and what it needs that the host does not have, and returns their files.
    ///
    /// # Errors
    /// One of them cannot be had.
    pub fn download_with_needs(&self, suite: &str, package: &str) -> Result<Vec<PathBuf>> {
        let to = self.empty("archives")?;
        fs::create_dir_all(to.join("partial")).context("cannot make a directory")?;
        let archives = format!("Dir::Cache::archives={}", to.display());
        self.run(
            "apt-get",
            &[
                "-o",
                &archives,
                "install",
                "--download-only",
                "--yes",
                "--no-install-recommends",
                "--target-release",
                suite,
                package,
            ],
        )?;
        debs(&to)
    }

    fn empty(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(dir)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        output(self.command(program).args(arguments))
    }
}

/// Runs a command that has to succeed and returns its standard output.
///
/// # Errors
/// With its standard error when it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        // apt says one line for each attempt; the last tells enough.
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        bail!(
            "{}: {}",
            command.get_program().display(),
            last.unwrap_or("failed")
        );
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn debs(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let debs: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    if debs.is_empty() {
        bail!("apt left no package in {}", dir.display());
    }
    Ok(debs)
}
