//! The packages of the virtual machines, unpacked in `target/zc`. Once complete they are taken as they are, without a network;
//! remove the directory for a newer kernel.
//!
//! ```text
//!   target/zc/packages/
//!     busybox              of busybox-static
//!     kernel/              vmlinuz, modules/*.ko, release
//!     qemu/                the root of QEMU's packages; absent where the host's own will do
//! ```

use super::apt::{Apt, output};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's newest kernel for a release.
const KERNEL_SUITE: &str = "trixie-backports";
/// What is always the newest one.
const KERNEL: &str = "linux-image-amd64";

/// Where Debian's keys are (package debian-archive-keyring), on Debian and Ubuntu.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Modules that the machines load.
const MODULES: &str = include_str!("../../../tests/zc/modules");

/// Suites with a QEMU that has igb (8.0 or later) and fits the libraries of a Debian release, the best last.
const QEMU_SUITES: [(&str, &[&str]); 2] = [
    ("bookworm", &["bookworm", "bookworm-backports"]),
    ("trixie", &["trixie"]),
];

/// Fetches what is missing below `target` and returns the directory.
///
/// # Errors
/// A package cannot be had, or does not hold what it should.
pub fn fetch(target: &Path) -> Result<PathBuf> {
    let zc = target.join("zc");
    let done = zc.join("packages");
    if is_complete(&done) {
        return Ok(done);
    }
    if std::env::consts::ARCH != "x86_64" {
        bail!("the machines are x86-64, and so has sidestep to be in them");
    }
    if !Path::new(KEYRING).exists() {
        bail!("{KEYRING} is missing (package debian-archive-keyring)");
    }
    eprintln!("\n=== zc: fetching Debian's newest kernel, QEMU and busybox (190 MB)");
    // Renamed when whole, so that an interrupted run leaves nothing that looks complete.
    let half = zc.join("packages.part");
    if half.exists() {
        fs::remove_dir_all(&half).context("cannot remove an earlier attempt")?;
    }
    fs::create_dir_all(half.join("kernel/modules")).context("cannot make target/zc")?;
    let apt = Apt::open(
        &zc.join("apt"),
        &["trixie", KERNEL_SUITE],
        Path::new(KEYRING),
    )?;
    busybox(&apt, &half)?;
    kernel(&apt, &half)?;
    qemu(&zc, &half)?;
    // The packages themselves are of no more use.
    for name in ["apt", "apt-qemu"] {
        let dir = zc.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
    }
    if done.exists() {
        fs::remove_dir_all(&done).context("cannot remove packages of before")?;
    }
    fs::rename(&half, &done).context("cannot complete target/zc")?;
    Ok(done)
}

/// Whole once it has its name; but the machines may want more today than they did then.
fn is_complete(packages: &Path) -> bool {
    let modules = packages.join("kernel/modules");
    MODULES
        .lines()
        .all(|name| modules.join(format!("{name}.ko")).exists())
}

fn busybox(apt: &Apt, to: &Path) -> Result<()> {
    let root = to.join("busybox.root");
    unpack(&apt.download(&["busybox-static"])?, &root)?;
    fs::copy(
        first(&root, &["usr/bin/busybox", "bin/busybox"])?,
        to.join("busybox"),
    )
    .context("busybox-static")?;
    fs::remove_dir_all(&root).context("busybox-static")?;
    Ok(())
}

fn kernel(apt: &Apt, to: &Path) -> Result<()> {
    let all = apt.depends(KERNEL_SUITE, KERNEL)?;
    let release = all
        .iter()
        .find_map(|name| name.strip_prefix("linux-image-"))
        .with_context(|| format!("{KERNEL} depends on no kernel: {}", all.join(", ")))?;
    let (binary, modules) = (
        format!("linux-binary-{release}"),
        format!("linux-modules-{release}"),
    );
    let root = to.join("kernel.root");
    for package in apt.download(&[&binary, &modules])? {
        // Of 160 MB, packed, a dozen files are wanted.
        let mut wanted = vec!["*/vmlinuz".to_owned()];
        wanted.extend(MODULES.lines().map(|name| format!("*/{name}.ko*")));
        extract(&package, &wanted, &root)?;
    }
    let mut modules = Vec::new();
    let mut image = None;
    walk(
        &root,
        &mut |path| match path.file_name().and_then(|name| name.to_str()) {
            Some("vmlinuz") => image = Some(path.to_owned()),
            Some(_) => modules.push(path.to_owned()),
            None => {}
        },
    )?;
    let kernel = to.join("kernel");
    let image = image.with_context(|| format!("{binary} holds no vmlinuz"))?;
    fs::rename(image, kernel.join("vmlinuz")).context("vmlinuz")?;
    for name in MODULES.lines() {
        let file = format!("{name}.ko");
        let packed = modules.iter().find(|path| {
            let stem = path.file_name().and_then(|name| name.to_str());
            stem.is_some_and(|stem| stem == file || stem == format!("{file}.xz"))
        });
        let packed = packed.with_context(|| format!("linux-modules-{release} holds no {file}"))?;
        let plain = if packed
            .extension()
            .is_some_and(|extension| extension == "xz")
        {
            let mut xzcat = Command::new(to.join("busybox"));
            let done = xzcat
                .arg("xzcat")
                .arg(packed)
                .output()
                .context("busybox xzcat")?;
            if !done.status.success() {
                bail!("{} cannot be unpacked", packed.display());
            }
            done.stdout
        } else {
            fs::read(packed).with_context(|| format!("cannot read {}", packed.display()))?
        };
        fs::write(kernel.join("modules").join(&file), plain).context("a module")?;
    }
    fs::write(kernel.join("release"), release).context("the kernel's release")?;
    fs::remove_dir_all(&root).context("the kernel's packages")?;
    Ok(())
}

/// The host's own if it has igb, else one that fits the host's libraries.
fn qemu(zc: &Path, to: &Path) -> Result<()> {
    let own = Command::new("qemu-system-x86_64")
        .args(["-device", "help"])
        .output();
    if own.is_ok_and(|done| String::from_utf8_lossy(&done.stdout).contains("\"igb\"")) {
        return Ok(());
    }
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = system
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or("unknown");
    let Some((_, suites)) = QEMU_SUITES.iter().find(|(release, _)| *release == codename) else {
        bail!("qemu-system-x86_64 is missing or has no igb: install qemu-system-x86 8.0 or later");
    };
    let apt = Apt::open(&zc.join("apt-qemu"), suites, Path::new(KEYRING))?;
    let suite = suites.last().context("no suite")?;
    let root = to.join("qemu");
    unpack(&apt.download_with_needs(suite, "qemu-system-x86")?, &root)?;
    first(&root, &["usr/bin/qemu-system-x86_64"])?;
    Ok(())
}

fn unpack(packages: &[PathBuf], root: &Path) -> Result<()> {
    for package in packages {
        output(Command::new("dpkg").arg("-x").arg(package).arg(root))?;
    }
    Ok(())
}

/// The files of `package` that match one of `wanted`; it need not have any.
fn extract(package: &Path, wanted: &[String], root: &Path) -> Result<()> {
    fs::create_dir_all(root).context("cannot make a directory")?;
    // tar fails for a pattern that matches nothing, and each package has only some of them: what came is checked by the caller.
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"package=$1 root=$2; shift 2; dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --wildcards "$@" 2> /dev/null || true"#])
        .arg("sh")
        .arg(package)
        .arg(root)
        .args(wanted);
    output(&mut command)?;
    Ok(())
}

fn first(root: &Path, paths: &[&str]) -> Result<PathBuf> {
    let found = paths
        .iter()
        .map(|path| root.join(path))
        .find(|path| path.exists());
    found.with_context(|| format!("a package holds no {}", paths.join(" or ")))
}

fn walk(dir: &Path, see: &mut impl FnMut(&Path)) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry.context("a directory")?.path();
        if path.is_dir() {
            walk(&path, see)?;
        } else {
            see(&path);
        }
    }
    Ok(())
}
