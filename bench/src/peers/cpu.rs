//! What the cores did, and what processes took.

use crate::load::drive::monotonic;
use serde::Serialize;
use sidestep_tests::clock::poll_for;
use sidestep_tests::net::Host;
use sidestep_tests::process::{self, Finished, Process};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

/// How often the cores are looked at while a generator runs, in seconds.
const LOOK_EVERY: f64 = 0.05;

/// What of a generator's time is left out at both ends where it does not say when it measured: there it starts, connects
/// and prints.
const MARGIN: f64 = 0.04;

/// The share of a generator's time that has to be watched for its figures to be of use.
const LEAST_WATCHED: f64 = 0.7;

/// Time beyond its own that a generator may take to start and end, and for what hangs.
const GRACE: Duration = Duration::from_secs(60);

/// Time that a connection may take to be opened.
const OPENING: Duration = Duration::from_micros(200);

/// Bytes of a page where all of these servers run.
const PAGE: f64 = 4096.0;

/// Ticks per second of /proc/stat (`USER_HZ`, the same on every Linux of today).
const TICKS: f64 = 100.0;

/// Seconds of one core since boot, or between two looks, out of /proc/stat: ticks of 10 ms that the kernel samples.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Core {
    pub user: f64,
    pub system: f64,
    /// Interrupts of both kinds.
    pub softirq: f64,
    /// With time that the hypervisor gave to others.
    pub idle: f64,
}

impl Core {
    pub(super) fn busy(&self) -> f64 {
        self.user + self.system + self.softirq
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
            softirq: self.softirq - before.softirq,
            idle: self.idle - before.idle,
        }
    }

    /// Shares in per cent: user, system, softirq, idle.
    pub(super) fn shares(&self) -> [f64; 4] {
        let all = (self.busy() + self.idle).max(f64::MIN_POSITIVE);
        [self.user, self.system, self.softirq, self.idle].map(|part| 100.0 * part / all)
    }
}

/// The cores `wanted`, in this order.
pub(super) fn cores(wanted: [usize; 2]) -> [Core; 2] {
    let text = fs::read_to_string("/proc/stat").expect("/proc/stat");
    wanted.map(|core| {
        let name = format!("cpu{core} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        let ticks: Vec<f64> = line
            .unwrap_or_else(|| panic!("no core {core}"))
            .split_whitespace()
            .map(|number| number.parse::<f64>().expect("a number") / TICKS)
            .collect();
        // proc_stat(5): user nice system idle iowait irq softirq steal.
        Core {
            user: ticks[0] + ticks[1],
            system: ticks[2],
            softirq: ticks[5] + ticks[6],
            idle: ticks[3] + ticks[4] + ticks[7],
        }
    })
}

/// What a measurement took, out of the middle of the generator's time.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Spent {
    /// Seconds that it is of; of one look, when it was.
    pub seconds: f64,
    /// The server's core and the generator's.
    pub cores: [Core; 2],
    /// Processor seconds of all processes on the server's host.
    pub server: f64,
    /// Processor seconds of the generator's process.
    pub generator: f64,
    /// Processor seconds of the kernel's own threads for softirqs on the two cores.
    pub ksoftirqd: [f64; 2],
    /// Bytes that the server's processes and the kernel's objects have grown by, at the most, from the start on.
    pub grown: f64,
}

/// Who is watched while a generator runs. Processes by themselves, and not only their cores: what else runs on the machine
/// must not count.
pub(super) struct Watch {
    cores: [usize; 2],
    server: Vec<u32>,
    ksoftirqd: [Option<u32>; 2],
}

impl Watch {
    /// Watches all that runs on `host`.
    pub(super) fn new(host: &Host, cores: [usize; 2]) -> Self {
        let mut pids = Command::new("ip");
        pids.args(["netns", "pids", host.name()]);
        let text = process::must(pids, GRACE);
        Self {
            cores,
            server: text.lines().filter_map(|id| id.parse().ok()).collect(),
            ksoftirqd: cores.map(ksoftirqd),
        }
    }

    /// Waits for the end of a generator that runs for so many `seconds` at last, when it has opened its connections.
    ///
    /// # Errors
    /// It does not end.
    pub(super) fn until_end(
        &self,
        mut generator: Process,
        seconds: u64,
        connections: u32,
    ) -> Result<(Finished, Looks), String> {
        let id = generator.id();
        let mut looks = Looks(vec![self.look(id)]);
        let limit = Duration::from_secs(seconds) + GRACE + OPENING * connections;
        let ended = poll_for(limit, || {
            let last = looks.0.last().map_or(0.0, |last| last.seconds);
            if monotonic() - last >= LOOK_EVERY {
                looks.0.push(self.look(id));
            }
            (!generator.running()).then_some(())
        });
        match ended {
            Some(()) => Ok((generator.finish(GRACE), looks)),
            None => Err(format!("does not end: {}", generator.stderr())),
        }
    }

    fn look(&self, generator: u32) -> Spent {
        Spent {
            seconds: monotonic(),
            cores: cores(self.cores),
            server: self.server.iter().map(|&id| run_time(id)).sum(),
            generator: run_time(generator),
            ksoftirqd: self.ksoftirqd.map(|id| id.map_or(0.0, run_time)),
            grown: self.server.iter().map(|&id| resident(id)).sum::<f64>() + objects(),
        }
    }
}

/// What all had taken when it was looked at, again and again.
pub(super) struct Looks(Vec<Spent>);

impl Looks {
    /// What was taken while the generator measured: `between` these times, or, where it does not tell, in its last `seconds`,
    /// without what it starts and prints in.
    ///
    /// # Errors
    /// Too little of that time was looked at.
    pub(super) fn spent(&self, between: Option<[f64; 2]>, seconds: f64) -> Result<Spent, String> {
        let end = self.0.last().map_or(0.0, |last| last.seconds);
        let [from, to] = between.unwrap_or([1.0 - MARGIN, MARGIN].map(|part| end - part * seconds));
        let within = |look: &&Spent| look.seconds >= from && look.seconds <= to;
        let both = self.0.iter().find(within);
        let both = both.zip(self.0.iter().rev().find(within));
        let spent = both
            .map(|(first, last)| last.since(first))
            .unwrap_or_default();
        let watched = spent.seconds / seconds;
        if watched < LEAST_WATCHED {
            return Err(format!(
                "the machine is too busy: watched {watched:.2} of it"
            ));
        }
        let sizes = || self.0.iter().map(|look| look.grown);
        let grown = sizes().fold(0.0, f64::max) - sizes().next().unwrap_or(0.0);
        Ok(Spent { grown, ..spent })
    }
}

impl Spent {
    fn since(&self, before: &Self) -> Self {
        Self {
            seconds: self.seconds - before.seconds,
            cores: [0, 1].map(|n| self.cores[n].since(&before.cores[n])),
            server: self.server - before.server,
            generator: self.generator - before.generator,
            ksoftirqd: [0, 1].map(|n| self.ksoftirqd[n] - before.ksoftirqd[n]),
            grown: self.grown - before.grown,
        }
    }
}

/// Whether this kernel keeps softirqs out of the times of processes (`CONFIG_IRQ_TIME_ACCOUNTING`): then they are only in
/// those of the cores, else in those of whom they interrupted.
pub(super) fn softirqs_apart() -> bool {
    static APART: LazyLock<bool> = LazyLock::new(|| {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut look = Command::new("zgrep");
        look.args(["-qs", "^CONFIG_IRQ_TIME_ACCOUNTING=y", "/proc/config.gz"])
            .arg(format!("/boot/config-{}", release.trim()))
            .stderr(Stdio::null());
        look.status().is_ok_and(|status| status.success())
    });
    *APART
}

/// Processor seconds of all threads of a process so far, to the hundredth; none of one that is gone.
fn run_time(id: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // proc_pid_stat(5): utime and stime are fields 14 and 15; the name, the second, may have spaces in it.
    let behind_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields = behind_name.split(' ').skip(11).take(2);
    fields
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS
}

/// Bytes of memory that a process has; none of one that is gone.
fn resident(id: u32) -> f64 {
    // proc_pid_statm(5): the second field, in pages.
    let text = fs::read_to_string(format!("/proc/{id}/statm")).unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<f64>().ok());
    PAGE * pages.unwrap_or(0.0)
}

/// Bytes of all of the kernel's objects, sockets among them.
fn objects() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    1024.0 * kib.unwrap_or(0.0)
}

/// The kernel's thread that runs softirqs on `core` when there are many.
fn ksoftirqd(core: usize) -> Option<u32> {
    let name = format!("ksoftirqd/{core}\n");
    let mut all = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse::<u32>().ok()?;
        Some((id, fs::read_to_string(entry.path().join("comm")).ok()?))
    });
    all.find(|(_, comm)| *comm == name).map(|(id, _)| id)
}

/// Processor seconds of all threads of a process that runs, to the nanosecond.
pub(super) fn of_process(id: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).expect("the threads of a process");
    let nanoseconds = tasks.map(|task| {
        let path = task.expect("a thread").path().join("schedstat");
        // A thread may end in between.
        let text = fs::read_to_string(path).unwrap_or_default();
        let first = text.split(' ').next().and_then(|n| n.parse::<f64>().ok());
        first.unwrap_or(0.0)
    });
    nanoseconds.sum::<f64>() / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four seconds of looks, a tenth of one apart, in which the server worked from 1.0 to 3.0.
    fn looks() -> Looks {
        let look = |n: u32| Spent {
            seconds: f64::from(n) / 10.0,
            server: (f64::from(n) / 10.0 - 1.0).clamp(0.0, 2.0),
            grown: if n == 20 { 5000.0 } else { 1000.0 },
            ..Spent::default()
        };
        Looks((0..=40).map(look).collect())
    }

    #[test]
    fn only_what_was_taken_while_the_generator_measured_counts() {
        let spent = looks().spent(Some([1.0, 3.0]), 2.0).expect("looks");
        assert!((spent.server - spent.seconds).abs() < 1e-9, "{spent:?}");
        assert_eq!(spent.grown, 4000.0);
        // Where it does not tell, its last seconds are taken for it.
        let last = looks().spent(None, 2.0).expect("looks");
        assert!(last.server < 0.6 * last.seconds, "{last:?}");
    }

    #[test]
    fn a_time_that_was_not_looked_at_gives_nothing() {
        let missed = looks().spent(Some([3.5, 5.5]), 2.0);
        assert!(missed.is_err_and(|said| said.contains("too busy")));
    }
}
