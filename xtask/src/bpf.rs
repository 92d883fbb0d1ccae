//! `cargo xtask bpf`: builds the BPF objects again and compares them with the committed ones, byte for byte.
//!
//! Nobody needs this to build or use sidestep. The toolchain it needs is pinned, because objects differ between
//! compilers, and what has to be fetched goes under `target/`: neither the system nor the Rust toolchain is changed.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The compiler whose object is committed. 1.96 makes a different one.
const RUSTC: &str = "1.95.0";
/// The newest linker that uses the compiler's own LLVM, so that no LLVM has to be installed.
const LINKER: &str = "0.10.4";
/// Debian's package with the source of `core` for [`RUSTC`]. Not the default candidate, which is newer.
const SOURCE_PACKAGE: &str = "rust-src=1.95.0+dfsg1-2~bpo13+1";
const SOURCE_LIST: &str = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                           http://deb.debian.org/debian trixie-backports main\n";
const TARGET: &str = "bpfel-unknown-none";
/// The binaries of the package `xdp-prog`, and where their built forms are committed.
const OBJECTS: [(&str, &str); 3] = [
    ("sidestep-bpf", "xdp-prog/object/sidestep.bpf.o"),
    ("capture-bpf", "xdp-prog/object/capture.bpf.o"),
    ("wire-bpf", "xdp-prog/object/wire.bpf.o"),
];
/// In messages.
const ALL: &str = "xdp-prog/object/*.bpf.o";

/// How it went.
#[must_use]
#[derive(Debug)]
pub enum Outcome {
    /// The committed objects are what the source builds to.
    Same,
    /// They were not, and now are: commit them.
    Written,
    /// The toolchain could not be had, so nothing was compared; says what was missing.
    NoToolchain(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => write!(f, "{ALL} are what the source builds to"),
            Self::Written => write!(f, "{ALL} were rewritten: commit them"),
            Self::NoToolchain(missing) => {
                write!(
                    f,
                    "{ALL} were NOT compared with their source, the toolchain could not be had: {missing}"
                )
            }
        }
    }
}

/// Builds the objects and compares them with the committed ones; writes what differs, unless `check`.
///
/// # Errors
/// The source does not build, or with `check` the committed object differs.
pub fn run(check: bool) -> Result<Outcome> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask has no parent directory")?;
    let target = match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(dir)?,
        None => root.join("target"),
    };
    let toolchain = match Toolchain::find(&target) {
        Ok(toolchain) => toolchain,
        Err(missing) => return Ok(Outcome::NoToolchain(format!("{missing:#}"))),
    };
    let built = toolchain.build(root, &target.join("bpf"))?;
    let mut outcome = Outcome::Same;
    for (binary, path) in OBJECTS {
        let built = built.join(binary);
        let built = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
        let object = root.join(path);
        // Missing counts as different: a checkout without it cannot build, but can make it.
        if fs::read(&object).is_ok_and(|committed| committed == built) {
            continue;
        }
        if check {
            bail!("{path} is not what the source builds to; run `cargo xtask bpf` and commit it");
        }
        fs::write(&object, built).with_context(|| format!("write {}", object.display()))?;
        outcome = Outcome::Written;
    }
    Ok(outcome)
}

/// What builds the object.
struct Toolchain {
    /// `cargo`, with what has to come in front of it to get [`RUSTC`].
    cargo: Vec<OsString>,
    /// Where the source of `core` is, if not in the toolchain itself.
    source: Option<PathBuf>,
    /// Directory of `bpf-linker`.
    linker: PathBuf,
}

impl Toolchain {
    /// Looks for the parts and fetches what is missing to below `target`. An error says which part could not be had.
    fn find(target: &Path) -> Result<Self> {
        let via_rustup = ["rustup", "run", RUSTC].map(OsString::from).to_vec();
        let prefix = [Vec::new(), via_rustup].into_iter().find(|prefix| {
            output(&mut command(prefix, "rustc", &["--version"]))
                .is_ok_and(|version| version.split(' ').nth(1) == Some(RUSTC))
        });
        let Some(prefix) = prefix else {
            bail!("no rustc {RUSTC}; `rustup toolchain install {RUSTC}` installs it");
        };
        let sysroot = output(&mut command(&prefix, "rustc", &["--print", "sysroot"]))?;
        let in_sysroot = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
        let source = if in_sysroot.join("core").is_dir() {
            None
        } else {
            Some(debian_source(&target.join("tools"))?)
        };
        let linker = linker(&prefix, &target.join("tools"))?;
        let cargo = [prefix, vec!["cargo".into()]].concat();
        Ok(Self {
            cargo,
            source,
            linker,
        })
    }

    /// Builds the objects in the directory `target` and returns where they are.
    fn build(&self, root: &Path, target: &Path) -> Result<PathBuf> {
        let (program, arguments) = self.cargo.split_first().context("no cargo")?;
        let mut build = Command::new(program);
        build.args(arguments).current_dir(root);
        build.args([
            "build",
            "--quiet",
            "--locked",
            "--release",
            "--package",
            "xdp-prog",
            "--bins",
        ]);
        build
            .args(["-Z", "build-std=core", "--target", TARGET, "--target-dir"])
            .arg(target);
        // `-Z` on a stable compiler, as the compiler's own build does it.
        build.env("RUSTC_BOOTSTRAP", "1");
        if let Some(source) = &self.source {
            build.env("__CARGO_TESTS_ONLY_SRC_ROOT", source);
        }
        let path = env::var_os("PATH").unwrap_or_default();
        build.env(
            "PATH",
            env::join_paths(
                [self.linker.clone()]
                    .into_iter()
                    .chain(env::split_paths(&path)),
            )?,
        );
        // Everything that would change the object and could come from outside.
        for flags in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_RUSTFLAGS",
            "RUSTC_WRAPPER",
        ] {
            build.env_remove(flags);
        }
        build.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS", "");
        for (setting, value) in [
            ("OPT_LEVEL", "3"),
            ("LTO", "fat"),
            ("CODEGEN_UNITS", "1"),
            // No paths and line numbers: a comment that moves a line must not change the object.
            ("DEBUG", "0"),
            ("DEBUG_ASSERTIONS", "false"),
            ("OVERFLOW_CHECKS", "false"),
            ("PANIC", "abort"),
            ("INCREMENTAL", "false"),
        ] {
            build.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
        if !build.status().context("run cargo")?.success() {
            bail!("the BPF programs do not build");
        }
        Ok(target.join(TARGET).join("release"))
    }
}

/// The source of `core` from Debian's package of the same compiler, unpacked below `tools`.
fn debian_source(tools: &Path) -> Result<PathBuf> {
    let dir = tools.join(format!("rust-src-{RUSTC}"));
    let source = dir.join(format!("usr/src/rustc-{RUSTC}/library"));
    if source.join("core").is_dir() {
        return Ok(source);
    }
    let advice = || {
        format!(
            "the source of core; `rustup component add rust-src --toolchain {RUSTC}` installs it"
        )
    };
    let apt = tools.join("apt");
    // `apt-get` of its own: neither the system's lists nor its sources are touched.
    for part in ["lists/partial", "archives/partial"] {
        fs::create_dir_all(apt.join(part)).with_context(advice)?;
    }
    let list = apt.join("sources.list");
    fs::write(&list, SOURCE_LIST).with_context(advice)?;
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-o", "Dir::Etc::sourceparts=-"]);
        for (option, value) in [
            ("Etc::sourcelist", &list),
            ("State::lists", &apt.join("lists")),
            ("Cache", &apt),
        ] {
            command
                .arg("-o")
                .arg(format!("Dir::{option}={}", value.display()));
        }
        command.args(arguments).current_dir(&apt);
        output(&mut command)
    };
    println!("bpf: fetching {SOURCE_PACKAGE} (45 MB)");
    apt_get(&["update"]).with_context(advice)?;
    apt_get(&["download", SOURCE_PACKAGE]).with_context(advice)?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let mut files = fs::read_dir(&apt)?.filter_map(|entry| Some(entry.ok()?.path()));
    let package = files
        .find(is_package)
        .context("apt-get left no package")
        .with_context(advice)?;
    // Renamed when whole, so that an interrupted run leaves nothing that looks complete.
    let half = tools.join("rust-src.part");
    if half.exists() {
        fs::remove_dir_all(&half)?;
    }
    output(Command::new("dpkg").arg("-x").arg(&package).arg(&half)).with_context(advice)?;
    fs::remove_file(&package)?;
    fs::rename(&half, &dir)?;
    if !source.join("core").is_dir() {
        bail!("{SOURCE_PACKAGE} has no {}", source.display());
    }
    Ok(source)
}

/// The directory of `bpf-linker` at the pinned version: on the path, or below `tools`, where it is installed if
/// need be.
fn linker(prefix: &[OsString], tools: &Path) -> Result<PathBuf> {
    let is_pinned = |dir: &Path| {
        let mut command = Command::new(dir.join("bpf-linker"));
        output(command.arg("--version"))
            .is_ok_and(|version| version.trim() == format!("bpf-linker {LINKER}"))
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let own = tools.join("bin");
    if let Some(dir) = env::split_paths(&path)
        .chain([own.clone()])
        .find(|dir| is_pinned(dir))
    {
        return Ok(dir);
    }
    println!(
        "bpf: installing bpf-linker {LINKER} under {} (one minute)",
        tools.display()
    );
    let arguments = [
        "install",
        "--quiet",
        "--locked",
        "bpf-linker",
        "--version",
        LINKER,
        "--root",
    ];
    let mut install = command(prefix, "cargo", &arguments);
    install
        .arg(tools)
        .arg("--target-dir")
        .arg(tools.join("build"));
    output(&mut install).with_context(|| format!("bpf-linker {LINKER}"))?;
    // A third of a gigabyte that is not needed any more.
    fs::remove_dir_all(tools.join("build"))?;
    Ok(own)
}

/// The command `name` behind `prefix`.
fn command(prefix: &[OsString], name: &str, arguments: &[&str]) -> Command {
    let mut words = prefix.iter().cloned().chain([name.into()]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).args(arguments);
    command
}

/// Runs a command and returns what it printed; an error has what it complained about.
fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if !out.status.success() {
        bail!(
            "{name} failed: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
