//! One peer in one layout on a fresh pair of hosts.

use super::cpu::{self, Spent, Watch};
use super::offloads::Offloads;
use super::peer::{Kind, Peer};
use super::plan::Turn;
use super::running::{self, Manners, PORT, Running};
use super::sample::{Generator, Layout, Load, Sample};
use super::site::Site;
use super::workload::Workload;
use super::{own, wrk};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::Pid;
use sidestep_tests::net::{Host, Net, Plan};
use std::time::Duration;
use tempfile::TempDir;

/// Descriptors that a server needs beside its connections'.
const SPARE: u64 = 200;

/// The share of its hits that sidestep has to answer itself. Less than all: a connection whose ports the kernel still has in
/// TIME-WAIT is the kernel's, and a worker that gets no core for seconds loses its queue to the kernel.
const LEAST_HITS: f64 = 0.7;

/// How long the daemon is left alone to see what it takes then.
pub(super) const IDLE: Duration = Duration::from_secs(10);

/// What all measurements have in common.
pub(super) struct Terms<'a> {
    pub site: &'a Site,
    /// The server's core, and the generator's where it has one of its own.
    pub cores: [usize; 2],
    pub seconds: u64,
    pub offloads: Offloads,
}

/// What a generator is to do.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub workload: &'a Workload,
    pub generator: Generator,
    pub seconds: u64,
    /// Requests per second, answered or not; `None`: as many as there are answers.
    pub rate: Option<f64>,
    /// Only frames, for what reflects them.
    pub frames: bool,
}

impl Job<'_> {
    /// How many times as many requests there are with those of the warm-up as without.
    fn warmed(&self) -> f64 {
        let seconds = self.seconds as f64;
        match self.generator {
            Generator::Wrk => 1.0,
            Generator::Own => (seconds + own::WARM_UP) / seconds,
        }
    }
}

/// What one peer did on one pair of hosts.
#[derive(Default)]
pub(super) struct Outcome {
    pub manners: Manners,
    pub samples: Vec<Sample>,
    /// What could not be measured, and why.
    pub troubles: Vec<String>,
}

/// Starts `peer`, checks its answers, and measures each workload with each generator.
///
/// # Errors
/// It does not run, or answers wrongly.
pub(super) fn cell(
    terms: &Terms,
    peer: &Peer,
    layout: Layout,
    turns: &[Turn],
    run: usize,
) -> Result<Outcome, String> {
    let net = hosts(terms, false);
    let [server, generator] = cores(terms, layout);
    pin(&[server]);
    let workloads: Vec<&Workload> = turns.iter().map(|(workload, _)| *workload).collect();
    let most = workloads.iter().map(|w| w.connections).max().unwrap_or(0);
    let running = Running::start(&net, peer, terms.site, server, most, layout == Layout::Two)?;
    pin(&[generator]);
    let frames = peer.kind == Kind::Reflector;
    let mut outcome = Outcome::default();
    if !frames {
        outcome.manners = running::checked(&net, peer, &workloads)?;
        // What compiles itself while it runs has a second to do so.
        let job = Job {
            workload: Workload::named("plain")?,
            generator: Generator::Wrk,
            seconds: 1,
            rate: None,
            frames,
        };
        generated(terms, &net, layout, &job)?;
    }
    for (workload, generators) in turns {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        if peer.kernel() && u64::from(workload.connections) + SPARE > descriptors {
            let trouble = format!("{}: only {descriptors} descriptors", workload.key);
            outcome.troubles.push(trouble);
            continue;
        }
        for &generator in generators {
            let (key, by) = (workload.key, generator.name());
            // wrk closes no connection itself.
            if generator == Generator::Wrk
                && workload.per_connection.is_some()
                && !outcome.manners.closes
            {
                let trouble = format!("{key}, {by}: does not close a connection when asked to");
                outcome.troubles.push(trouble);
                continue;
            }
            let job = Job {
                workload,
                generator,
                seconds: terms.seconds,
                rate: None,
                frames,
            };
            let (before, ran) = (running.hits(), generated(terms, &net, layout, &job));
            let sample = ran.and_then(|(load, spent)| {
                Ok(Sample {
                    peer: peer.key.to_owned(),
                    workload: workload.key,
                    layout,
                    generator,
                    run,
                    hits: hits(before, running.hits(), &load, &job)?,
                    load,
                    spent,
                })
            });
            match sample {
                Ok(sample) => outcome.samples.push(sample),
                Err(trouble) => {
                    outcome.troubles.push(format!("{key}, {by}: {trouble}"));
                }
            }
        }
    }
    Ok(outcome)
}

/// The share of the requests of a job that sidestep answered itself, from its counter before and after; `None`: there is none.
///
/// # Errors
/// So few that another server than sidestep would be measured under its name.
pub(super) fn hits(
    before: Option<u64>,
    after: Option<u64>,
    load: &Load,
    job: &Job<'_>,
) -> Result<Option<f64>, String> {
    let asked = load.requests * job.warmed();
    let both = before.zip(after);
    let hits = both.map(|(before, after)| (after - before) as f64 / asked);
    match hits.filter(|share| *share < LEAST_HITS * job.workload.hits()) {
        Some(share) => Err(format!("sidestep itself answered only {share:.2} of it")),
        None => Ok(hits),
    }
}

/// The p99 of one peer at a fixed rate with two cores and our own generator, microseconds.
///
/// # Errors
/// It does not run.
pub(super) fn at_rate(terms: &Terms, key: &str, rate: f64) -> Result<f64, String> {
    let net = hosts(terms, false);
    let (layout, workload) = (Layout::Two, Workload::named("plain")?);
    pin(&terms.cores[..1]);
    let (peer, [core, _]) = (Peer::named(key)?, terms.cores);
    let _running = Running::start(&net, peer, terms.site, core, workload.connections, true)?;
    pin(&terms.cores[1..]);
    running::checked(&net, peer, &[workload])?;
    let job = Job {
        workload,
        generator: Generator::Own,
        seconds: terms.seconds,
        rate: Some(rate),
        frames: false,
    };
    let (load, _) = generated(terms, &net, layout, &job)?;
    let [_, p99, ..] = load.latency.ok_or("no latencies")?;
    Ok(p99)
}

/// The share of a core that sidestep takes when nothing comes.
///
/// # Errors
/// It does not run.
pub(super) fn idle(terms: &Terms) -> Result<f64, String> {
    let net = hosts(terms, false);
    pin(&terms.cores[..1]);
    let peer = Peer::named("sidestep")?;
    let running = Running::start(&net, peer, terms.site, terms.cores[0], 0, true)?;
    pin(&terms.cores[1..]);
    let id = running.daemon().ok_or("no daemon")?;
    running::checked(&net, peer, &[Workload::named("plain")?])?;
    let before = cpu::of_process(id);
    std::thread::sleep(IDLE);
    Ok((cpu::of_process(id) - before) / IDLE.as_secs_f64())
}

/// Lets this thread, and what it starts, run on these cores only.
pub(super) fn pin(cores: &[usize]) {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core).expect("such a core");
    }
    sched_setaffinity(Pid::from_raw(0), &set).expect("cores that this process may use");
}

fn cores(terms: &Terms, layout: Layout) -> [usize; 2] {
    match layout {
        Layout::Same => [terms.cores[0]; 2],
        Layout::Two => terms.cores,
    }
}

/// Runs a generator to its end.
fn generated(terms: &Terms, net: &Net, layout: Layout, job: &Job) -> Result<(Load, Spent), String> {
    let dir = TempDir::new().expect("a temporary directory");
    let (target, [_, core]) = (net.server.at(PORT), cores(terms, layout));
    let (workload, seconds) = (job.workload, job.seconds);
    let argv = match job.generator {
        Generator::Wrk => wrk::argv(target, workload, seconds, dir.path()),
        Generator::Own => own::argv(target, job, core),
    };
    let watch = Watch::new(&net.server, terms.cores);
    let generator = net.client.spawn(&argv);
    let (done, looks) = watch.until_end(generator, seconds, workload.connections)?;
    let load = match job.generator {
        Generator::Wrk => wrk::parse(&done, workload),
        Generator::Own => own::parse(&done, job),
    }?;
    match load.requests > 0.0 {
        true => {
            let spent = looks.spent(load.between, seconds as f64)?;
            Ok((load, spent))
        }
        false => Err(format!("no answer: {}{}", done.stdout, done.stderr)),
    }
}

/// A fresh veth between two hosts with room for many connections; with `wire` one that gives frames as a NIC's driver does.
pub(super) fn hosts(terms: &Terms, wire: bool) -> Net {
    let plan = Plan::new();
    let net = if wire { plan.wire() } else { plan }.build();
    terms.offloads.set(&net);
    for host in [&net.server, &net.client] {
        set(host, "net.ipv4.ip_local_port_range=1024 65535");
        set(host, "net.ipv4.tcp_max_syn_backlog=65535");
        set(host, "net.core.somaxconn=65535");
        // A veth's ring of 256 frames overflows without a word; with a queueing discipline in front it holds back.
        let device = host.device;
        let qdisc = [
            "tc", "qdisc", "replace", "dev", device, "root", "pfifo", "limit", "1000",
        ];
        host.must(&qdisc);
    }
    // What our generator asks from when ports of one address are not enough.
    let gateway = net.client.v4.to_string();
    let route = ["ip", "route", "add", own::SOURCES, "via", &gateway];
    net.server.must(&route);
    net
}

fn set(host: &Host, sysctl: &str) {
    host.must(&["sysctl", "-qw", sysctl]);
}
