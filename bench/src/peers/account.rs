//! Whose processor time a request takes.
//!
//! Kernels without `CONFIG_IRQ_TIME_ACCOUNTING` count what softirqs do for a NIC as the time of whom they interrupt. But the
//! scheduler knows to the nanosecond how long each thread ran. So the NICs' receive work is given threads of its own
//! (`/sys/class/net/*/threaded`): what the server's processes and its NIC's thread ran for is what the server takes, and
//! the rest is the generator's. All of them share one core.

use super::measure::{Job, Terms, hosts, pin};
use super::offloads::Offloads;
use super::peer::Peer;
use super::running::{self, PORT, Running};
use super::sample::Generator;
use super::site::Site;
use super::workload::Workload;
use super::{cpu, own};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use sidestep_tests::clock::{now, poll_for};
use sidestep_tests::net::{Host, Net};
use sidestep_tests::process::{self, Process};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// How often the threads are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What is left out at both ends of the measured time, in seconds: the generator begins and ends there.
const MARGIN: f64 = 0.2;
/// Longest that a command takes, and a generator longer than it should.
const GRACE: Duration = Duration::from_secs(20);

/// What to run. `cargo xtask bench` installs the servers. Needs root, and Linux 6.6.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Servers, by name
    #[arg(long, value_delimiter = ',', default_value = "sidestep,nginx")]
    peer: Vec<String>,
    /// Workloads, by name
    #[arg(long, value_delimiter = ',', default_value = "1-request")]
    workload: Vec<String>,
    /// Each request says `Connection: close`, so that the server ends its connection
    #[arg(long)]
    close: bool,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Interleaved runs, each with fresh hosts; medians count
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// The core that all share
    #[arg(long, default_value_t = 0)]
    core: usize,
}

/// Who runs: the server's processes, its NIC's thread, the generator, its NIC's.
const WHO: usize = 4;

/// Seconds that each of them ran, or microseconds per request.
type Times = [f64; WHO];

/// One measurement.
#[derive(Clone, Copy)]
struct Account {
    /// Requests per second.
    rate: f64,
    /// Microseconds per request.
    each: Times,
}

impl Account {
    fn server(&self) -> f64 {
        self.each[0] + self.each[1]
    }
}

pub(crate) fn run(options: &Options) -> ExitCode {
    match measured(options) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measured(options: &Options) -> Result<String, String> {
    let peers: Vec<&Peer> = options
        .peer
        .iter()
        .map(|key| Peer::named(key))
        .collect::<Result<_, _>>()?;
    let workloads: Vec<&Workload> = options
        .workload
        .iter()
        .map(|key| Workload::named(key))
        .collect::<Result<_, _>>()?;
    if peers.is_empty() {
        return Err("no server".to_owned());
    }
    super::room_for_connections();
    let site = Site::new();
    let mut accounts: BTreeMap<(usize, usize), Vec<Account>> = BTreeMap::new();
    for run in 0..options.runs {
        for turn in 0..peers.len() {
            let place = (run + turn) % peers.len();
            let peer = peers[place];
            eprintln!("run {} of {}: {}", run + 1, options.runs, peer.title);
            for (row, account) in cell(options, peer, &site, &workloads)?
                .into_iter()
                .enumerate()
            {
                accounts.entry((row, place)).or_default().push(account);
            }
        }
    }
    let mut text = String::from(
        "| workload | server | requests/s | server, µs | its processes | its NIC | generator, µs | its NIC | beside the first |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for (row, workload) in workloads.iter().enumerate() {
        let mut first = None;
        for (place, peer) in peers.iter().enumerate() {
            let Some(all) = accounts.get(&(row, place)) else {
                continue;
            };
            let median = |of: &dyn Fn(&Account) -> f64| middle(all.iter().map(of).collect());
            let server = median(&Account::server);
            let ratio = server / *first.get_or_insert(server);
            let [processes, nic, generator, its_nic] =
                [0, 1, 2, 3].map(|who| median(&|account| account.each[who]));
            text += &format!(
                "| {} | {} | {:.0} | {server:.2} | {processes:.2} | {nic:.2} | {generator:.2} | {its_nic:.2} | {ratio:.2} |\n",
                workload.title,
                peer.title,
                median(&|account| account.rate),
            );
        }
    }
    Ok(text)
}

/// The median; of an even number the higher of the middle ones.
fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One peer on hosts made for it.
fn cell(
    options: &Options,
    peer: &Peer,
    site: &Site,
    workloads: &[&Workload],
) -> Result<Vec<Account>, String> {
    let net = hosts(&Terms {
        site,
        cores: [options.core; 2],
        seconds: options.seconds,
        offloads: Offloads::None,
    });
    pin(&[options.core]);
    let most = workloads.iter().map(|w| w.connections).max().unwrap_or(0);
    let nics = [&net.server, &net.client].map(|host| threaded(host, options.core));
    let running = Running::start(&net, peer, site, options.core, most, false)?;
    running::checked(&net, peer, workloads)?;
    let nics = [nics[0].clone()?, nics[1].clone()?];
    let accounts = workloads.iter().map(|workload| {
        let hits = running.hits();
        let account = account(options, &net, &nics, workload)?;
        if running.hits().is_some_and(|after| Some(after) == hits) {
            return Err("sidestep itself answered nothing".to_owned());
        }
        Ok(account)
    });
    accounts.collect()
}

/// Makes the NIC of `host` receive in threads of its own, on `core`; their numbers. For that it has to have NAPI, which a
/// veth has with GRO.
fn threaded(host: &Host, core: usize) -> Result<Vec<u32>, String> {
    let device = host.device;
    let before = napi_threads(device);
    host.must(&["ethtool", "-K", device, "gro", "on"]);
    let on = format!("echo 1 > /sys/class/net/{device}/threaded");
    host.must(&["sh", "-c", &on]);
    let mut threads = napi_threads(device);
    threads.retain(|thread| !before.contains(thread));
    if threads.is_empty() {
        return Err(format!("{device}: no thread of its own"));
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

fn account(
    options: &Options,
    net: &Net,
    nics: &[Vec<u32>; 2],
    workload: &Workload,
) -> Result<Account, String> {
    let job = Job {
        workload,
        generator: Generator::Own,
        seconds: options.seconds,
        rate: None,
        frames: false,
    };
    let mut argv = own::argv(net.server.at(PORT), &job, options.core);
    if options.close {
        argv.extend(["--header", "Connection: close"].map(str::to_owned));
    }
    let servers = processes(&net.server);
    let mut generator: Process = net.client.spawn(&argv);
    let id = generator.id();
    let start = now();
    let mut looks: Vec<(f64, Times)> = Vec::new();
    let ended = poll_for(Duration::from_secs(options.seconds) + GRACE, || {
        let at = (now() - start).as_secs_f64();
        if looks
            .last()
            .is_none_or(|last| at - last.0 >= LOOK_EVERY.as_secs_f64())
        {
            let sum = |ids: &[u32]| ids.iter().map(|&id| cpu::of_process(id)).sum();
            let times = [sum(&servers), sum(&nics[0]), sum(&[id]), sum(&nics[1])];
            looks.push((at, times));
        }
        (!generator.running()).then_some(at)
    });
    let end = ended.ok_or_else(|| format!("does not end: {}", generator.stderr()))?;
    let load = own::parse(&generator.finish(GRACE), &job)?;
    let from = end - options.seconds as f64 + MARGIN;
    let within: Vec<_> = looks
        .into_iter()
        .filter(|look| look.0 >= from && look.0 <= end - MARGIN)
        .collect();
    let ([first, ..], [.., last]) = (&within[..], &within[..]) else {
        return Err("the machine is too busy: not watched".to_owned());
    };
    let rate = load.requests / load.seconds;
    let requests = rate * (last.0 - first.0);
    let mut each = Times::default();
    for (who, each) in each.iter_mut().enumerate() {
        *each = (last.1[who] - first.1[who]) / requests * 1e6;
    }
    Ok(Account { rate, each })
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
    use super::middle;

    #[test]
    fn the_middle_one_counts() {
        assert_eq!(middle(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(middle(vec![4.0, 1.0, 3.0, 2.0]), 3.0);
        assert!(middle(Vec::new()).is_nan());
    }
}
