//! System packages and toolchain components that a fresh Debian or Ubuntu lacks.

use crate::step;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// (package, why). Rust itself is taken as given.
const PACKAGES: &[(&str, &str)] = &[
    ("gcc", "linking"),
    ("libc6-dev", "linking"),
    ("make", "building libxdp"),
    ("pkg-config", "building libxdp"),
    ("libelf-dev", "building libxdp"),
    ("zlib1g-dev", "building libxdp"),
    ("clang", "building libxdp"),
    ("m4", "building libxdp"),
    ("libclang-dev", "bindings to libxdp"),
    ("iproute2", "namespaces, sockets and devices in tests"),
    ("ethtool", "queues and offloads in tests"),
    ("procps", "processes in tests"),
    ("curl", "a client in tests and the demo"),
    ("wrk", "a client in tests"),
    ("tcpdump", "reads a dump in tests"),
    ("nginx-light", "a server in tests"),
];

/// While this file exists and exits with 101, installed services are not started (Debian Policy, invoke-rc.d).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The toolchain's components and [`PACKAGES`].
///
/// # Errors
/// Something is missing and could not be installed.
pub fn run() -> Result<()> {
    components()?;
    packages(PACKAGES)
}

/// Installs those of `wanted` (package, why) that are missing as root; otherwise names the one command that does.
///
/// # Errors
/// Packages are missing and could not be installed.
pub fn packages(wanted: &[(&'static str, &'static str)]) -> Result<()> {
    if !Path::new("/etc/debian_version").exists() {
        let names: Vec<_> = wanted
            .iter()
            .map(|(name, why)| format!("{name} ({why})"))
            .collect();
        eprintln!(
            "not Debian or Ubuntu: make sure that these are there: {}",
            names.join(", ")
        );
        return Ok(());
    }
    let missing: Vec<&str> = wanted
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !step::is_root() {
        bail!(
            "missing system packages; run\n\n  sudo apt-get install -y --no-install-recommends {}\n\nand then this again",
            missing.join(" ")
        );
    }
    install(&missing)
}

/// clippy and rustfmt are not part of rustup's minimal profile.
fn components() -> Result<()> {
    for (tool, component) in [("clippy", "clippy"), ("fmt", "rustfmt")] {
        let there = step::cargo(&[tool, "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if there {
            continue;
        }
        let mut add = Command::new("rustup");
        add.args(["component", "add", component]);
        if !step::run("setup", add).unwrap_or(false) {
            bail!(
                "cargo {tool} is missing and `rustup component add {component}` failed: install it with your Rust toolchain"
            );
        }
    }
    Ok(())
}

fn installed(package: &str) -> bool {
    // The flavour of nginx does not matter.
    if package == "nginx-light" && Path::new("/usr/sbin/nginx").exists() {
        return true;
    }
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

fn install(packages: &[&str]) -> Result<()> {
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-o", "Acquire::Retries=3"])
            .args(args);
        command
    };
    let _unstarted = NoServices::begin()?;
    let mut wanted = vec!["install", "-y", "--no-install-recommends"];
    wanted.extend(packages);
    // First without an update: it may work, and a stale list is told by a failure.
    if step::run("setup", apt(&wanted))? {
        return Ok(());
    }
    step::run("setup", apt(&["update"]))?;
    if !step::run("setup", apt(&wanted))? {
        bail!("apt-get could not install: {}", packages.join(" "));
    }
    Ok(())
}

/// Keeps packages from starting their services (nginx would take port 80) while it lives.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> Result<Self> {
        let ours = !Path::new(POLICY).exists();
        if ours {
            std::fs::write(POLICY, "#!/bin/sh\nexit 101\n")
                .with_context(|| format!("cannot write {POLICY}"))?;
            let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(POLICY, executable)
                .with_context(|| format!("cannot make {POLICY} executable"))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = std::fs::remove_file(POLICY)
        {
            eprintln!("remove {POLICY} by hand, it keeps new services from starting: {error}");
        }
    }
}
