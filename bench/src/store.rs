//! What a store of many files costs.

use sidestep::store::{Found, Keeper};
use sidestep_config::Config;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Files in one directory: what a program that spreads files over directories makes of it.
const IN_ONE: usize = 1000;

/// Size of a large file, in bytes; sparse, and over `max_object`.
const LARGE: u64 = 1 << 30;

/// Longest that a change may take to be seen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The tree.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Small files
    #[arg(long, default_value_t = 1_000_000)]
    objects: usize,
    /// Bytes of each
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Files of 1 GiB, sparse
    #[arg(long, default_value_t = 20)]
    large: usize,
    /// Files of 1 GiB whose bytes are on the disk
    #[arg(long, default_value_t = 0)]
    real: usize,
    /// Where to make the tree; it is removed afterwards
    #[arg(long, default_value = "/tmp")]
    dir: PathBuf,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    match measure(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn name(n: usize) -> String {
    format!("{}/{n}.html", n / IN_ONE)
}

fn body(options: &Options, n: usize, version: usize) -> Vec<u8> {
    let mut text = format!("<p>{n} {version}\n").repeat(1 + options.bytes / 8);
    text.truncate(options.bytes);
    text.into_bytes()
}

fn make(options: &Options, root: &Path) -> io::Result<()> {
    for n in 0..options.objects {
        if n % IN_ONE == 0 {
            fs::create_dir(root.join((n / IN_ONE).to_string()))?;
        }
        fs::write(root.join(name(n)), body(options, n, 0))?;
    }
    for n in 0..options.large {
        fs::File::create(root.join(format!("large-{n}")))?.set_len(LARGE)?;
    }
    let block: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    for n in 0..options.real {
        let mut file = fs::File::create(root.join(format!("real-{n}")))?;
        for _ in 0..LARGE >> 20 {
            file.write_all(&block)?;
        }
    }
    Ok(())
}

/// Processor time of this process so far, in all threads, user and system: on a machine that others use as well it says
/// more than the time that has passed.
fn processor() -> io::Result<Duration> {
    /// Ticks of /proc in a second: USER_HZ, which is the same on every Linux of today.
    const TICKS: u64 = 100;
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name of the program stands in brackets, and may hold anything. The times are the 14th and 15th of all.
    let behind = stat.rsplit(") ").next().unwrap_or_default();
    let times = behind.split(' ').skip(11).take(2);
    let ticks: u64 = times.filter_map(|n| n.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// Bytes that this process has resident.
fn resident() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kib = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib << 10)
        .ok_or(io::ErrorKind::InvalidData.into())
}

#[expect(clippy::disallowed_methods, reason = "this is a benchmark")]
fn measure(options: &Options) -> io::Result<()> {
    let root = tempfile::tempdir_in(&options.dir)?;
    let begun = Instant::now();
    make(options, root.path())?;
    println!("tree made in {:.1} s", begun.elapsed().as_secs_f64());
    let config = format!(
        "[[listen]]\naddress = \"192.0.2.1\"\nport = 80\n[[site]]\nhosts = [\"*\"]\n[[site.static]]\npath = \"/\"\nroot = {:?}\n",
        root.path()
    );
    let config = Config::parse(&config, "bench").map_err(io::Error::other)?;
    let before = resident()?;
    let (begun, used) = (Instant::now(), processor()?);
    let keeper = Arc::new(Keeper::open(&config).map_err(io::Error::other)?);
    let (start, used) = (begun.elapsed(), processor()? - used);
    let after = resident()?;
    let summary = keeper.live().summary();
    let payload = (options.objects * options.bytes) as u64;
    let each = (after - before).saturating_sub(payload) / options.objects.max(1) as u64;
    println!(
        "start: {:.2} s, {:.2} s of processors, for {} objects of {} bytes and {} of 1 GiB, files in the page cache",
        start.as_secs_f64(),
        used.as_secs_f64(),
        options.objects,
        options.bytes,
        options.large + options.real
    );
    println!(
        "memory: {} MiB more, of them {} MiB heads and bodies; {each} bytes an object beside its body",
        (after - before) >> 20,
        summary.bytes >> 20
    );
    let running = keeper.start(None)?;
    let (begun, used) = (Instant::now(), processor()?);
    let same = |config: &Config| Ok::<_, sidestep::store::StoreError>(config.clone());
    keeper.change(same).map_err(io::Error::other)?;
    println!(
        "reload with nothing changed: {:.2} s, {:.2} s of processors, {} MiB at its end",
        begun.elapsed().as_secs_f64(),
        (processor()? - used).as_secs_f64(),
        resident()? >> 20
    );
    let mut seen: Vec<Duration> = Vec::new();
    for round in 1..=20 {
        let n = round * options.objects / 21;
        let expected = body(options, n, round);
        let begun = Instant::now();
        fs::write(root.path().join(name(n)), &expected)?;
        let path = format!("/{}", name(n));
        while !is(&keeper, &path, &expected) {
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::other("a change was not seen"));
            }
            std::thread::yield_now();
        }
        seen.push(begun.elapsed());
    }
    seen.sort();
    println!(
        "a change is seen after {} ms (median of {}), {} ms at most",
        seen[seen.len() / 2].as_millis(),
        seen.len(),
        seen[seen.len() - 1].as_millis()
    );
    drop(running);
    Ok(())
}

fn is(keeper: &Keeper, path: &str, body: &[u8]) -> bool {
    let snapshot = keeper.live().current().get();
    match snapshot.find(b"bench", path.as_bytes()).1 {
        Found::Response(id) => snapshot.content(id) == body,
        _ => false,
    }
}
