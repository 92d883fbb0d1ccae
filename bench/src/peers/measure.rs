//! One peer in one layout on a fresh pair of hosts.

use super::cpu::{self, Spent, Watch};
use super::peer::Peer;
use super::running::{self, Manners, PORT, Running};
use super::sample::{Generator, Layout, Load, Sample};
use super::site::Site;
use super::workload::Workload;
use super::{own, wrk};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::Pid;
use sidestep_tests::net::{Host, Net};
use std::time::Duration;
use tempfile::TempDir;

/// Descriptors that a server needs beside its connections'.
const SPARE: u64 = 200;

/// What all measurements have in common.
pub(super) struct Terms<'a> {
    pub site: &'a Site,
    /// The server's core, and the generator's where it has one of its own.
    pub cores: [usize; 2],
    pub seconds: u64,
    pub generators: &'a [Generator],
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
    workloads: &[&Workload],
    run: usize,
) -> Result<Outcome, String> {
    let net = hosts();
    let [server, generator] = cores(terms, layout);
    pin(&[server]);
    let most = workloads.iter().map(|w| w.connections).max().unwrap_or(0);
    let running = Running::start(&net, peer, terms.site, most)?;
    pin(&[generator]);
    let mut outcome = Outcome {
        manners: running::checked(&net, workloads)?,
        ..Outcome::default()
    };
    // What compiles itself while it runs has a second to do so.
    let plain = Workload::named("plain")?;
    generated(terms, &net, layout, plain, Generator::Wrk, 1, None)?;
    for workload in workloads {
        if workload.large() && !peer.unlimited() {
            continue;
        }
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        if peer.kernel() && u64::from(workload.connections) + SPARE > descriptors {
            let trouble = format!("{}: only {descriptors} descriptors", workload.key);
            outcome.troubles.push(trouble);
            continue;
        }
        if workload.per_connection.is_some() && !outcome.manners.closes {
            outcome.troubles.push(format!(
                "{}: does not close a connection when asked to",
                workload.key
            ));
            continue;
        }
        for &by in terms.generators {
            if by == Generator::Wrk && !workload.wrk() {
                continue;
            }
            match sample(terms, &net, &running, peer, layout, workload, by, run) {
                Ok(sample) => outcome.samples.push(sample),
                Err(trouble) => {
                    let by = by.name();
                    outcome
                        .troubles
                        .push(format!("{}, {by}: {trouble}", workload.key));
                }
            }
        }
    }
    Ok(outcome)
}

/// The p99 of one peer at a fixed rate with two cores and our own generator, microseconds.
///
/// # Errors
/// It does not run.
pub(super) fn at_rate(terms: &Terms, key: &str, rate: f64) -> Result<f64, String> {
    let net = hosts();
    let (layout, workload) = (Layout::Two, Workload::named("plain")?);
    pin(&terms.cores[..1]);
    let _running = Running::start(&net, Peer::named(key)?, terms.site, workload.connections)?;
    pin(&terms.cores[1..]);
    running::checked(&net, &[workload])?;
    let (by, rate) = (Generator::Own, Some(rate));
    let (load, _) = generated(terms, &net, layout, workload, by, terms.seconds, rate)?;
    let [_, p99, ..] = load.latency.ok_or("no latencies")?;
    Ok(p99)
}

/// The share of a core that sidestep takes when nothing comes.
///
/// # Errors
/// It does not run.
pub(super) fn idle(terms: &Terms, time: Duration) -> Result<f64, String> {
    let net = hosts();
    pin(&terms.cores[..1]);
    let running = Running::start(&net, Peer::named("sidestep")?, terms.site, 0)?;
    pin(&terms.cores[1..]);
    let id = running.daemon().ok_or("no daemon")?;
    running::checked(&net, &[Workload::named("plain")?])?;
    let before = cpu::of_process(id);
    std::thread::sleep(time);
    Ok((cpu::of_process(id) - before) / time.as_secs_f64())
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

#[expect(clippy::too_many_arguments, reason = "what a sample is labelled with")]
fn sample(
    terms: &Terms,
    net: &Net,
    running: &Running,
    peer: &Peer,
    layout: Layout,
    workload: &Workload,
    generator: Generator,
    run: usize,
) -> Result<Sample, String> {
    let (hits, seconds) = (running.hits(), terms.seconds);
    let (load, spent) = generated(terms, net, layout, workload, generator, seconds, None)?;
    let hits = hits.zip(running.hits());
    let hits = hits.map(|(before, after)| (after - before) as f64 / load.requests);
    // Otherwise another server than sidestep would be measured under its name.
    if hits.is_some_and(|share| share < 0.9 * workload.hits()) {
        return Err(format!("sidestep itself answered only {hits:?} of it"));
    }
    Ok(Sample {
        peer: peer.key.to_owned(),
        workload: workload.key,
        layout,
        generator,
        run,
        load,
        spent,
        hits,
    })
}

/// Runs a generator to its end; at `rate` requests per second, or as fast as it can.
fn generated(
    terms: &Terms,
    net: &Net,
    layout: Layout,
    workload: &Workload,
    generator: Generator,
    seconds: u64,
    rate: Option<f64>,
) -> Result<(Load, Spent), String> {
    let dir = TempDir::new().expect("a temporary directory");
    let (target, [_, core]) = (net.server.at(PORT), cores(terms, layout));
    let argv = match generator {
        Generator::Wrk => wrk::argv(target, workload, seconds, dir.path()),
        Generator::Own => own::argv(target, workload, seconds, core, rate),
    };
    let watch = Watch::new(&net.server, terms.cores);
    let (done, spent) = watch.until_end(net.client.spawn(&argv), seconds)?;
    let load = match generator {
        Generator::Wrk => wrk::parse(&done, workload),
        Generator::Own => own::parse(&done),
    }?;
    match load.requests > 0.0 {
        true => Ok((load, spent)),
        false => Err(format!("no answer: {}{}", done.stdout, done.stderr)),
    }
}

/// A fresh veth between two hosts with room for many connections.
fn hosts() -> Net {
    let net = Net::new();
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
    net
}

fn set(host: &Host, sysctl: &str) {
    host.must(&["sysctl", "-qw", sysctl]);
}
