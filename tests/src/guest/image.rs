//! The files of a virtual machine: Debian's kernel and modules, busybox, and the `sidestep` that was built here.

use crate::daemon;
use crate::process;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Longest that one command of the building (strip, cpio) may take: seconds on an idle machine.
const BUILD_LIMIT: Duration = Duration::from_secs(300);

const INIT: &str = include_str!("../../zc/init");
const WHO: &str = include_str!("../../zc/who");

/// The kernel's modules in an order in which each finds what it needs: NIC drivers, then what sidestep uses.
const MODULES: &str = include_str!("../../zc/modules");

/// A file that is served out of the machine by sidestep and, under the same path, by the server beside it.
pub const PAGE: &str = "/page.txt";
/// A file that only the server beside has.
pub const DOWNLOAD: &str = "/download.bin";
/// Length of [`PAGE`] in bytes: nearly 23 full segments.
pub const PAGE_LENGTH: usize = 32 << 10;
/// Length of [`DOWNLOAD`] in bytes.
pub const DOWNLOAD_LENGTH: usize = 512 << 10;
/// The CGI program that says who asked what.
pub const WHO_PATH: &str = "/cgi-bin/who";

/// What `cargo xtask zc` has fetched and unpacked, in one directory: `qemu/` (the root of its packages; absent when the host's own
/// is used), `kernel/vmlinuz`, `kernel/modules/*.ko`, `kernel/release` and `busybox`.
#[derive(Clone, Debug)]
pub struct Packages(PathBuf);

impl Packages {
    /// Those in `dir`.
    pub fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// The kernel's release, as `uname -r` will print it.
    ///
    /// # Errors
    /// The directory is not what it should be.
    pub fn release(&self) -> io::Result<String> {
        fs::read_to_string(self.0.join("kernel/release")).map(|text| text.trim().to_owned())
    }

    /// The kernel.
    pub fn kernel(&self) -> PathBuf {
        self.0.join("kernel/vmlinuz")
    }

    /// The command line that runs QEMU, up to its own arguments.
    pub fn qemu(&self) -> Vec<String> {
        let root = self.0.join("qemu");
        if !root.exists() {
            return vec!["qemu-system-x86_64".to_owned()];
        }
        let path = |below: &str| root.join(below).display().to_string();
        let libraries = format!(
            "LD_LIBRARY_PATH={}:{}",
            path("usr/lib/x86_64-linux-gnu"),
            path("lib/x86_64-linux-gnu")
        );
        let share = ["-L".to_owned(), path("usr/share/qemu")];
        let bios = ["-L".to_owned(), path("usr/share/seabios")];
        let program = path("usr/bin/qemu-system-x86_64");
        [
            vec!["env".to_owned(), libraries, program],
            share.to_vec(),
            bios.to_vec(),
        ]
        .concat()
    }

    fn busybox(&self) -> PathBuf {
        self.0.join("busybox")
    }

    fn module(&self, name: &str) -> PathBuf {
        self.0.join(format!("kernel/modules/{name}.ko"))
    }
}

/// An initramfs; the same for every driver.
pub struct Image {
    dir: TempDir,
    /// What `PAGE` holds.
    pub page: Vec<u8>,
    /// What `DOWNLOAD` holds.
    pub download: Vec<u8>,
}

impl Image {
    /// Builds it out of `packages` and the `sidestep` beside this program.
    ///
    /// # Errors
    /// A file cannot be read or written.
    ///
    /// # Panics
    /// When a command fails.
    pub fn build(packages: &Packages) -> io::Result<Self> {
        let dir = TempDir::new()?;
        let root = dir.path().join("root");
        for name in [
            "bin",
            "dev",
            "modules",
            "proc",
            "run",
            "sys",
            "tmp",
            "www/cgi-bin",
            "site",
        ] {
            fs::create_dir_all(root.join(name))?;
        }
        for name in MODULES.lines() {
            fs::copy(
                packages.module(name),
                root.join(format!("modules/{name}.ko")),
            )?;
        }
        fs::write(root.join("modules/order"), MODULES)?;
        program(&root.join("init"), INIT)?;
        program(&root.join("www/cgi-bin/who"), WHO)?;
        fs::copy(packages.busybox(), root.join("bin/busybox"))?;
        let sidestep = daemon::binary();
        libraries(&sidestep, &root)?;
        let ss = on_path("ss")?;
        libraries(&ss, &root)?;
        fs::copy(&ss, root.join("bin/ss"))?;
        // A debug build is eight times as large with its symbols as without.
        let mut strip = Command::new("strip");
        strip
            .arg("-o")
            .arg(root.join("bin/sidestep"))
            .arg(&sidestep);
        process::must(strip, BUILD_LIMIT);

        let page = text(PAGE_LENGTH, 1);
        let download = text(DOWNLOAD_LENGTH, 2);
        fs::write(root.join("site").join(&PAGE[1..]), &page)?;
        fs::write(root.join("www").join(&PAGE[1..]), &page)?;
        fs::write(root.join("www").join(&DOWNLOAD[1..]), &download)?;

        let image = dir.path().join("initramfs");
        let mut pack = Command::new("sh");
        pack.args([
            "-c",
            r#"cd "$1" && find . | "$2" cpio -o -H newc > "$3""#,
            "sh",
        ]);
        pack.arg(&root).arg(packages.busybox()).arg(&image);
        process::must(pack, BUILD_LIMIT);
        fs::remove_dir_all(&root)?;
        Ok(Self {
            dir,
            page,
            download,
        })
    }

    /// The initramfs.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("initramfs")
    }

    /// A directory for a machine's sockets and logs.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }
}

/// A program of the host's.
fn on_path(name: &str) -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name));
    found
        .into_iter()
        .find(|file| file.exists())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no {name} on the path")))
}

/// Copies the shared libraries of `program`, and what loads them, to where it looks for them.
fn libraries(program: &Path, root: &Path) -> io::Result<()> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program);
    // "libz.so.1 => /lib/…/libz.so.1 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)".
    for line in process::must(ldd, BUILD_LIMIT).lines() {
        let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) else {
            continue;
        };
        let to = root.join(&path[1..]);
        to.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::copy(path, to)?;
    }
    Ok(())
}

fn program(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// `length` bytes of lower-case letters without a pattern that a segment could repeat.
fn text(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..length).map(|_| random.lowercase() as u8).collect()
}
