//! sidestep beside other servers: the same answers over the same link, from one worker on one core.
//!
//! Runs are interleaved: each run measures every server once in each layout, on hosts and a veth made for it, and begins
//! with another server than the run before. `docs/performance.md` says how the tables are read.

pub(crate) mod account;
mod cpu;
mod machine;
mod measure;
mod own;
mod peer;
mod plot;
mod results;
mod running;
mod sample;
mod site;
mod table;
mod verdicts;
mod workload;
mod wrk;

use machine::Machine;
use measure::Terms;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use peer::{Kind, Peer};
use results::{Results, Spread, Table};
use running::Manners;
use sample::{Generator, Layout, Sample};
use serde_json::json;
use site::Site;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use verdicts::HalfLoad;
use workload::Workload;

/// What to run; `cargo xtask bench` installs the servers.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Workloads, by name; all of them if there is none
    #[arg(long, value_delimiter = ',')]
    workload: Vec<String>,
    /// Servers, by name; all that are installed if there is none
    #[arg(long, value_delimiter = ',')]
    peer: Vec<String>,
    /// Who shares a core with whom
    #[arg(long, value_enum, default_value_t = Layouts::Both)]
    layout: Layouts,
    /// Who asks
    #[arg(long, value_enum, default_value_t = Generators::Both)]
    generator: Generators,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Interleaved runs, each with fresh hosts; medians count
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// One run of a second each, few servers, the workloads that the verdicts are about: to see that it works
    #[arg(long)]
    quick: bool,
    /// The server's core and the generator's
    #[arg(long, value_delimiter = ',', default_value = "0,1", num_args = 2)]
    cores: Vec<usize>,
    /// Only names the servers that would be measured
    #[arg(long)]
    list: bool,
    /// Where results.json and plot.svg go
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Writes the tables as a Markdown document
    #[arg(long)]
    doc: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Layouts {
    Same,
    Two,
    Both,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Generators {
    Wrk,
    Own,
    Both,
}

const QUICK_WORKLOADS: [&str; 3] = ["plain", "pipelined-24", "1-request"];
const QUICK_PEERS: [&str; 5] = ["sidestep", "reflector", "nginx", "go", "japronto"];

/// How long the daemon is left alone to see what it takes then.
const IDLE: Duration = Duration::from_secs(10);

/// How the document begins.
const TITLE: &str = "\
# Beside other servers\n\nMade by `cargo xtask bench`; [performance.md](performance.md) says how it is measured and read.\n\n";

/// Characters of what a server said that are shown.
const MOST_OF_A_TROUBLE: usize = 300;

/// What is measured, in full.
struct Plan {
    workloads: Vec<&'static Workload>,
    peers: Vec<&'static Peer>,
    layouts: Vec<Layout>,
    generators: Vec<Generator>,
    seconds: u64,
    runs: usize,
    cores: [usize; 2],
}

/// Everything that came out, as far as it has come.
#[derive(Default)]
struct Report {
    results: Results,
    manners: BTreeMap<&'static str, Manners>,
    /// Why something of a peer is not there, each said once.
    troubles: Vec<String>,
    half: Option<HalfLoad>,
    idle: Option<f64>,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    match measured(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("nothing was measured");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Whether there is anything to show.
fn measured(options: &Options) -> Result<bool, String> {
    let plan = Plan::of(options)?;
    if options.list {
        let keys: Vec<&str> = plan.peers.iter().map(|peer| peer.key).collect();
        println!("{}", keys.join("\n"));
        return Ok(true);
    }
    fs::create_dir_all(&options.out).map_err(|e| format!("{}: {e}", options.out.display()))?;
    room_for_connections();
    let machine = Machine::look(plan.cores);
    let mut report = Report::default();
    println!("{}\n", machine.text());
    let site = Site::new();
    let terms = Terms {
        site: &site,
        cores: plan.cores,
        seconds: plan.seconds,
        generators: &plan.generators,
    };
    for run in 0..plan.runs {
        plan.run(run, &terms, &mut report);
        // What has been measured is kept, whatever comes.
        report.save(options, &plan, &machine)?;
    }
    plan.rest(options, &terms, &mut report);
    let text = report.save(options, &plan, &machine)?;
    println!("{text}");
    if let Some(path) = &options.doc {
        fs::write(path, format!("{TITLE}{text}"))
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(!report.results.samples.is_empty())
}

impl Plan {
    fn of(options: &Options) -> Result<Self, String> {
        let keys = |given: &[String], quick: &[&str], all: Vec<&str>| -> Vec<String> {
            let wanted = match (given.is_empty(), options.quick) {
                (false, _) => return given.to_vec(),
                (true, true) => quick.to_vec(),
                (true, false) => all,
            };
            wanted.into_iter().map(str::to_owned).collect()
        };
        let all = workload::ALL.iter().map(|w| w.key).collect();
        let workloads = keys(&options.workload, &QUICK_WORKLOADS, all);
        let all = peer::ALL.iter().map(|p| p.key).collect();
        let peers = keys(&options.peer, &QUICK_PEERS, all);
        let own = own::available();
        Ok(Self {
            workloads: workloads
                .iter()
                .map(|key| Workload::named(key))
                .collect::<Result<_, _>>()?,
            peers: peers
                .iter()
                .map(|key| Peer::named(key))
                .collect::<Result<_, _>>()?,
            // Two cores first: they tell what the generator itself takes.
            layouts: match options.layout {
                Layouts::Same => vec![Layout::Same],
                Layouts::Two => vec![Layout::Two],
                Layouts::Both => vec![Layout::Two, Layout::Same],
            },
            generators: match options.generator {
                Generators::Wrk => vec![Generator::Wrk],
                Generators::Own if own => vec![Generator::Own],
                Generators::Own => return Err("this build has no load generator".to_owned()),
                Generators::Both if own => vec![Generator::Wrk, Generator::Own],
                Generators::Both => vec![Generator::Wrk],
            },
            seconds: if options.quick { 1 } else { options.seconds },
            runs: if options.quick { 1 } else { options.runs },
            cores: [options.cores[0], options.cores[1]],
        })
    }

    fn run(&self, run: usize, terms: &Terms, report: &mut Report) {
        let turn = run % self.peers.len();
        for peer in self.peers[turn..].iter().chain(&self.peers[..turn]) {
            if peer.program().is_none() {
                report.trouble(peer.title, "not installed");
                continue;
            }
            let turns = self.layouts.iter();
            let turns =
                turns.flat_map(|&layout| self.groups(peer).map(move |group| (layout, group)));
            for (layout, group) in turns {
                eprintln!(
                    "run {} of {}: {}, {}: {}",
                    run + 1,
                    self.runs,
                    peer.title,
                    layout.name(),
                    group.iter().map(|w| w.key).collect::<Vec<_>>().join(", ")
                );
                match guarded(|| measure::cell(terms, peer, layout, &group, run)) {
                    Ok(outcome) => {
                        report.manners.insert(peer.key, outcome.manners);
                        report.results.samples.extend(outcome.samples);
                        for trouble in outcome.troubles {
                            report.trouble(peer.title, &trouble);
                        }
                    }
                    Err(trouble) => report.trouble(peer.title, &trouble),
                }
            }
        }
    }

    /// The workloads in the order in which a peer gets them, those together that share hosts and a server. What leaves much
    /// behind, or needs much room, has some of its own: a connection in TIME-WAIT keeps its ports, and with sidestep the next
    /// one from there would be the kernel's.
    fn groups(&self, peer: &Peer) -> impl Iterator<Item = Vec<&'static Workload>> {
        let fits = |w: &&&Workload| match peer.kind {
            // It answers nothing, and only our generator sends frames.
            Kind::Reflector => w.key == "plain" && self.generators.contains(&Generator::Own),
            _ => !w.large() || peer.unlimited(),
        };
        let all = self.workloads.iter().filter(fits).copied();
        let (together, alone): (Vec<_>, Vec<_>) = all.partition(|w| !w.large() && w.hits() == 1.0);
        let alone: Vec<_> = alone.into_iter().map(|w| vec![w]).collect();
        let together = (!together.is_empty()).then_some(together);
        together.into_iter().chain(alone)
    }

    /// What is measured beside the tables: latency at half load, and what is taken without any.
    fn rest(&self, options: &Options, terms: &Terms, report: &mut Report) {
        let planned = |key| self.peers.iter().any(|peer| peer.key == key);
        if !planned("sidestep") {
            return;
        }
        eprintln!("without traffic");
        let time = if options.quick { IDLE / 5 } else { IDLE };
        match guarded(|| measure::idle(terms, time)) {
            Ok(share) => report.idle = Some(share),
            Err(trouble) => report.trouble("without traffic", &trouble),
        }
        if !planned("nginx") || !self.generators.contains(&Generator::Own) {
            return;
        }
        let plain = Table {
            workload: "plain",
            layout: Layout::Two,
            generator: Generator::Own,
        };
        let Some(most) = report.results.median(plain, "nginx", Sample::rate) else {
            return;
        };
        let rate = most / 2.0;
        let mut times = [Vec::new(), Vec::new()];
        for run in 0..self.runs {
            for (times, key) in times.iter_mut().zip(["sidestep", "nginx"]) {
                eprintln!(
                    "run {} of {}: {key} at half of nginx's rate",
                    run + 1,
                    self.runs
                );
                match guarded(|| measure::at_rate(terms, key, rate)) {
                    Ok(p99) => times.push(p99),
                    Err(trouble) => report.trouble(key, &trouble),
                }
            }
        }
        let [sidestep, nginx] = times.map(|times| Spread::of(times.into_iter()));
        report.half = sidestep.zip(nginx).map(|(sidestep, nginx)| HalfLoad {
            rate,
            sidestep: sidestep.median,
            nginx: nginx.median,
        });
    }

    fn tables(&self) -> impl Iterator<Item = (&'static Workload, Table)> + '_ {
        self.workloads.iter().flat_map(move |&workload| {
            let layouts = [Layout::Same, Layout::Two];
            layouts.into_iter().flat_map(move |layout| {
                self.generators.iter().map(move |&generator| {
                    let table = Table {
                        workload: workload.key,
                        layout,
                        generator,
                    };
                    (workload, table)
                })
            })
        })
    }
}

impl Report {
    fn trouble(&mut self, title: &str, trouble: &str) {
        let line = format!("{title}: {}", trouble.trim());
        if !self.troubles.contains(&line) {
            eprintln!("{line}");
            self.troubles.push(line);
        }
    }

    /// Writes the files and returns the tables.
    fn save(&self, options: &Options, plan: &Plan, machine: &Machine) -> Result<String, String> {
        let verdicts = verdicts::verdicts(&self.results, self.half, self.idle);
        let mut text = format!(
            "{}\n\n{} interleaved runs of {} s each, medians. One worker, 100 connections where nothing else is said.\n\n",
            machine.text(),
            plan.runs,
            plan.seconds
        );
        let tables: Vec<_> = plan.tables().collect();
        for (workload, table) in &tables {
            text += &table::markdown(&self.results, workload, *table);
        }
        let versions: Vec<(&Peer, String)> = plan
            .peers
            .iter()
            .filter(|peer| self.manners.contains_key(peer.key))
            .map(|peer| (*peer, peer.version()))
            .collect();
        text += "### Versions\n\n";
        for (peer, version) in &versions {
            let date = match self.manners[peer.key].date || !peer.kernel() {
                true => "",
                false => ", sends no Date",
            };
            text += &format!("- {} {version}{date}\n", peer.title);
        }
        if !self.troubles.is_empty() {
            text += "\n### Left out\n\n";
            for trouble in &self.troubles {
                let words: Vec<&str> = trouble.split_whitespace().collect();
                let line: String = words.join(" ").chars().take(MOST_OF_A_TROUBLE).collect();
                text += &format!("- {line}\n");
            }
        }
        text += "\n### Verdicts\n\n";
        for verdict in &verdicts {
            text += &format!("- {}: {}\n", verdict.what, verdict.text);
        }
        let peers: Vec<_> = versions
            .iter()
            .map(|(peer, version)| {
                json!({ "peer": peer.key, "title": peer.title, "version": version,
                        "date": self.manners[peer.key].date })
            })
            .collect();
        let all = json!({
            "machine": machine, "runs": plan.runs, "seconds": plan.seconds, "cores": plan.cores, "peers": peers,
            "samples": self.results.samples, "half_load": self.half, "idle": self.idle, "left_out": self.troubles,
            "verdicts": verdicts,
        });
        let plot = plot::svg(&self.results, &tables);
        for (name, content) in [("results.json", all.to_string()), ("plot.svg", plot)] {
            let path = options.out.join(name);
            fs::write(&path, content).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(text)
    }
}

/// What breaks one server's turn must not cost the others theirs.
fn guarded<T>(turn: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(turn)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>();
        Err(format!("broke off: {}", said.map_or("", String::as_str)))
    })
}

/// Servers with many connections need as many descriptors; what is started inherits it. As many as there may be.
fn room_for_connections() {
    let most = fs::read_to_string("/proc/sys/fs/nr_open");
    let most = most.ok().and_then(|text| text.trim().parse().ok());
    let hard = getrlimit(Resource::RLIMIT_NOFILE)
        .map(|(_, hard)| hard)
        .ok();
    for limit in [most, hard].into_iter().flatten() {
        // The hard limit can only be raised by whom the machine lets; servers' own is then the most.
        if setrlimit(Resource::RLIMIT_NOFILE, limit, limit).is_ok() {
            return;
        }
    }
}
