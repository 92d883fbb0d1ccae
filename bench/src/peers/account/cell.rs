//! One server on hosts made for it, and whose time its requests took.

use crate::load::drive::monotonic;
use crate::peers::measure::{self, Job, Terms, hosts, pin};
use crate::peers::peer::Peer;
use crate::peers::running::{self, PORT, Running};
use crate::peers::sample::{Generator, Load};
use crate::peers::workload::Workload;
use crate::peers::{cpu, own};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;
use sidestep_tests::clock::poll_for;
use sidestep_tests::net::{Host, Net, Nic};
use sidestep_tests::process::{self, Process};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// How often the threads are looked at, in seconds.
const LOOK_EVERY: f64 = 0.05;
/// The share of the measured time that has to be watched for its figures to be of use.
const LEAST_WATCHED: f64 = 0.7;
/// Longest that a command takes, and a generator longer than it should.
const GRACE: Duration = Duration::from_secs(20);

/// The share of requests that may be sent again. With more, frames were lost (a veth's ring of 256 has overflowed), and what
/// was measured is a server that waits and is asked twice.
const MOST_RETRANSMITTED: f64 = 0.001;

/// What is between the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Link {
    /// A veth as it is: it copies each frame for XDP, on the time of whoever receives
    Veth,
    /// A veth that gives frames as the driver of a NIC does, already in pages for XDP
    Wire,
}

impl Link {
    /// In words, for what was measured over it.
    pub(in crate::peers) fn text(self) -> &'static str {
        match self {
            Self::Veth => "over a veth as it is",
            Self::Wire => "over a veth that gives frames as a NIC's driver does",
        }
    }
}

/// One measurement: microseconds per request, by who ran.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(in crate::peers) struct Account {
    /// Requests per second.
    pub rate: f64,
    /// The server's processes.
    pub processes: f64,
    /// The thread of its NIC.
    pub nic: f64,
    pub generator: f64,
    pub generators_nic: f64,
    /// What is between the NICs: neither side's. Nothing where that is a mere veth.
    pub wire: f64,
    /// The share of the requests that were sent again.
    pub retransmitted: f64,
}

impl Account {
    /// What of it is the server's.
    pub(in crate::peers) fn server(&self) -> f64 {
        self.processes + self.nic
    }

    /// What is wrong with it: so much was lost that its figures are not those of the server.
    pub(in crate::peers) fn disturbed(&self) -> Option<String> {
        let share = 100.0 * self.retransmitted;
        let lost = self.retransmitted > MOST_RETRANSMITTED;
        lost.then(|| format!("disturbed: {share:.2} % of the requests were sent again"))
    }
}

/// One peer on hosts made for it; for each workload its account, or why there is none. All share the first core of `terms`;
/// `close`: each request asks the server to end the connection.
///
/// # Errors
/// The peer does not run or answers wrongly, or the NICs can have no threads of their own.
pub(in crate::peers) fn cell(
    terms: &Terms,
    link: Link,
    close: bool,
    peer: &Peer,
    workloads: &[&Workload],
) -> Result<Vec<Result<Account, String>>, String> {
    let net = hosts(terms, link == Link::Wire);
    let [core, _] = terms.cores;
    pin(&[core]);
    let most = workloads.iter().map(|w| w.connections).max().unwrap_or(0);
    let mut wire = Vec::new();
    for end in net.wire().into_iter().flatten() {
        wire.extend(threaded(end, core)?);
    }
    let threads = Threads {
        nic: threaded(net.server.nic(), core)?,
        generators_nic: threaded(net.client.nic(), core)?,
        wire,
    };
    let running = Running::start(&net, peer, terms.site, core, most, false)?;
    running::checked(&net, peer, workloads)?;
    let accounts = workloads.iter().map(|workload| {
        let job = Job {
            workload,
            generator: Generator::Own,
            seconds: terms.seconds,
            rate: None,
            frames: false,
        };
        let before = running.hits();
        let (load, account) = account(&net, core, &threads, &job, close)?;
        measure::hits(before, running.hits(), &load, &job)?;
        Ok(account)
    });
    Ok(accounts.collect())
}

/// Who receives, by number.
struct Threads {
    nic: Vec<u32>,
    generators_nic: Vec<u32>,
    wire: Vec<u32>,
}

/// Makes a device receive in threads of its own, on `core`; their numbers. For that it has to have NAPI, which a veth has with
/// GRO.
///
/// # Errors
/// The kernel gives it none.
fn threaded(nic: Nic<'_>, core: usize) -> Result<Vec<u32>, String> {
    let device = nic.device;
    let before = napi_threads(device);
    nic.must(&["ethtool", "-K", device, "gro", "on"]);
    let file = format!("/sys/class/net/{device}/threaded");
    // What the kernel refuses is seen below, in the place of a panic here.
    nic.must(&["sh", "-c", &format!("echo 1 > {file} || true")]);
    let mut threads = napi_threads(device);
    threads.retain(|thread| !before.contains(thread));
    if threads.is_empty() {
        return Err(format!(
            "{device}: no thread of its own to receive in (threaded NAPI, Linux 6.6)"
        ));
    }
    let mut set = CpuSet::new();
    set.set(core).map_err(|e| format!("core {core}: {e}"))?;
    for &thread in &threads {
        sched_setaffinity(Pid::from_raw(thread as i32), &set)
            .map_err(|e| format!("{device}: its thread: {e}"))?;
    }
    Ok(threads)
}

/// The kernel's threads that receive for devices with this name, on any host.
fn napi_threads(device: &str) -> Vec<u32> {
    let name = format!("napi/{device}-");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let threads = processes.filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse::<u32>().ok()?;
        let comm = fs::read_to_string(entry.path().join("comm")).ok()?;
        comm.starts_with(&name).then_some(id)
    });
    threads.collect()
}

/// Whoever is watched: the server's processes, its NIC, the generator, its NIC, the wire.
const WHO: usize = 5;

/// What the generator counted, and whose time that took.
fn account(
    net: &Net,
    core: usize,
    threads: &Threads,
    job: &Job<'_>,
    close: bool,
) -> Result<(Load, Account), String> {
    let mut argv = own::argv(net.server.at(PORT), job, core);
    if close {
        argv.extend(["--header", "Connection: close"].map(str::to_owned));
    }
    let servers = processes(&net.server);
    let mut generator: Process = net.client.spawn(&argv);
    let id = [generator.id()];
    let watched: [&[u32]; WHO] = [
        &servers,
        &threads.nic,
        &id,
        &threads.generators_nic,
        &threads.wire,
    ];
    let mut looks: Vec<(f64, [f64; WHO])> = Vec::new();
    let ended = poll_for(Duration::from_secs(job.seconds) + GRACE, || {
        let at = monotonic();
        if looks.last().is_none_or(|last| at - last.0 >= LOOK_EVERY) {
            let times = watched.map(|ids| ids.iter().map(|&id| cpu::of_process(id)).sum());
            looks.push((at, times));
        }
        (!generator.running()).then_some(())
    });
    ended.ok_or_else(|| format!("does not end: {}", generator.stderr()))?;
    let load = own::parse(&generator.finish(GRACE), job)?;
    // It may take a while to end, in which nothing is asked: what counts is when it says that it measured.
    let [from, to] = load
        .between
        .ok_or("load does not tell when it has measured")?;
    let within = |look: &&(f64, [f64; WHO])| look.0 >= from && look.0 <= to;
    let both = looks.iter().find(within);
    let both = both.zip(looks.iter().rev().find(within));
    let sound = both.filter(|(first, last)| last.0 - first.0 >= LEAST_WATCHED * load.seconds);
    let (first, last) = sound.ok_or("the machine is too busy: not watched")?;
    let rate = load.requests / load.seconds;
    let requests = rate * (last.0 - first.0);
    let each = |who: usize| (last.1[who] - first.1[who]) / requests * 1e6;
    let account = Account {
        rate,
        processes: each(0),
        nic: each(1),
        generator: each(2),
        generators_nic: each(3),
        wire: each(4),
        retransmitted: load.retransmits.unwrap_or(0.0) / load.requests,
    };
    Ok((load, account))
}

/// All that runs on `host`.
fn processes(host: &Host) -> Vec<u32> {
    let mut pids = Command::new("ip");
    pids.args(["netns", "pids", host.name()]);
    let text = process::must(pids, GRACE);
    text.lines().filter_map(|id| id.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::Account;

    #[test]
    fn what_was_sent_again_disturbs() {
        let with = |retransmitted| Account {
            retransmitted,
            ..Account::default()
        };
        assert_eq!(with(0.0).disturbed(), None);
        assert_eq!(with(0.000_9).disturbed(), None);
        let said = with(0.012).disturbed().expect("too many");
        assert!(said.contains("1.20 %"), "{said}");
    }
}
