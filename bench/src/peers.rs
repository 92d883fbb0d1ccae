//! sidestep beside other servers: the same answers over the same link, from one worker on one core.
//!
//! Runs are interleaved: each run measures every server once in each layout, on hosts and a veth made for it, and begins
//! with another server than the run before. `docs/performance.md` says how the tables are read.

pub(crate) mod account;
mod cpu;
mod machine;
mod measure;
mod offloads;
mod options;
mod own;
mod peer;
mod plan;
mod plot;
mod results;
mod running;
mod sample;
mod scope;
mod site;
mod table;
mod verdicts;
mod workload;
mod wrk;

use account::{Link, Row};
use machine::Machine;
use measure::Terms;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
pub(crate) use options::Options;
use peer::Peer;
use plan::Plan;
use results::{Accounted, Results, Spread, Table};
use running::Manners;
use sample::{Generator, Layout, Sample};
use serde_json::json;
use site::Site;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use verdicts::HalfLoad;

/// How the document begins.
const TITLE: &str = "\
# Beside other servers\n\nMade by `cargo xtask bench`; [performance.md](performance.md) says how it is measured and read.\n\n";

/// Characters of what a server said that are shown.
const MOST_OF_A_TROUBLE: usize = 300;

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
    eprintln!(
        "{} runs of {} servers: {}",
        plan.runs,
        plan.peers.len(),
        about(plan.estimate())
    );
    let site = Site::new();
    let terms = Terms {
        site: &site,
        cores: plan.cores,
        seconds: plan.seconds,
        offloads: options.offloads,
    };
    for run in 0..plan.runs {
        report.run(&plan, run, &terms);
        // What has been measured is kept, whatever comes.
        report.save(options, &plan, &machine)?;
    }
    report.rest(&plan, &terms);
    let text = report.save(options, &plan, &machine)?;
    println!("{text}");
    if let Some(path) = &options.doc {
        fs::write(path, format!("{TITLE}{text}"))
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(!report.results.samples.is_empty())
}

impl Report {
    fn run(&mut self, plan: &Plan, run: usize, terms: &Terms) {
        for peer in plan.turn(run) {
            if peer.program().is_none() {
                self.trouble(peer.title, "not installed");
                continue;
            }
            for workload in plan.spared(peer) {
                let trouble =
                    format!("{workload}: not asked, since Python would take hours to open them");
                self.trouble(peer.title, &trouble);
            }
            for (layout, turns) in plan.cells(peer) {
                let keys: Vec<&str> = turns.iter().map(|(workload, _)| workload.key).collect();
                eprintln!(
                    "run {} of {}: {}, {}: {}",
                    run + 1,
                    plan.runs,
                    peer.title,
                    layout.name(),
                    keys.join(", ")
                );
                match guarded(|| measure::cell(terms, peer, layout, &turns, run)) {
                    Ok(outcome) => {
                        self.manners.insert(peer.key, outcome.manners);
                        self.results.samples.extend(outcome.samples);
                        for trouble in outcome.troubles {
                            self.trouble(peer.title, &trouble);
                        }
                    }
                    Err(trouble) => self.trouble(peer.title, &trouble),
                }
            }
            self.account(plan, peer, run, terms);
        }
    }

    /// Whose time the requests to `peer` take.
    fn account(&mut self, plan: &Plan, peer: &'static Peer, run: usize, terms: &Terms) {
        let workloads = plan.accounts(peer);
        if workloads.is_empty() {
            return;
        }
        let keys: Vec<&str> = workloads.iter().map(|workload| workload.key).collect();
        eprintln!(
            "run {} of {}: {}, whose time: {}",
            run + 1,
            plan.runs,
            peer.title,
            keys.join(", ")
        );
        let accounts = guarded(|| account::cell(terms, Link::Wire, false, peer, &workloads));
        let accounts = match accounts {
            Ok(accounts) => accounts,
            Err(trouble) => return self.trouble(peer.title, &format!("whose time: {trouble}")),
        };
        for (workload, account) in workloads.into_iter().zip(accounts) {
            let sound = account.and_then(|account| match account.disturbed() {
                Some(trouble) => Err(trouble),
                None => Ok(account),
            });
            match sound {
                Ok(account) => self.results.accounts.push(Accounted {
                    peer: peer.key.to_owned(),
                    workload: workload.key,
                    run,
                    account,
                }),
                Err(trouble) => {
                    let trouble = format!("whose time, {}: {trouble}", workload.key);
                    self.trouble(peer.title, &trouble);
                }
            }
        }
    }

    /// The accounts as a table; nothing when there are none.
    fn accounts(&self, plan: &Plan) -> String {
        let results = &self.results;
        let rows = plan.workloads.iter().flat_map(|workload| {
            let peers = results.accounted(workload.key).into_iter();
            peers.map(|peer| Row {
                workload: workload.title,
                peer: table::title(peer),
                accounts: results.accounts(workload.key, peer),
            })
        });
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            return String::new();
        }
        let link = Link::Wire;
        format!(
            "### Whose processor time a request takes: same core, {}\n\n{}\n",
            link.text(),
            account::markdown(link, &rows)
        )
    }

    /// What is measured beside the tables: latency at half load, and what is taken without any.
    fn rest(&mut self, plan: &Plan, terms: &Terms) {
        if !plan.planned("sidestep") {
            return;
        }
        eprintln!("without traffic");
        match guarded(|| measure::idle(terms)) {
            Ok(share) => self.idle = Some(share),
            Err(trouble) => self.trouble("without traffic", &trouble),
        }
        let plain = Table {
            workload: "plain",
            layout: Layout::Two,
            generator: Generator::Own,
        };
        let most = self.results.median(plain, "nginx", Sample::rate);
        let Some(rate) = most.filter(|_| plan.half_load()).map(|most| most / 2.0) else {
            return;
        };
        let mut times = [Vec::new(), Vec::new()];
        for run in 0..plan.runs {
            for (times, key) in times.iter_mut().zip(["sidestep", "nginx"]) {
                eprintln!(
                    "run {} of {}: {key} at half of nginx's rate",
                    run + 1,
                    plan.runs
                );
                match guarded(|| measure::at_rate(terms, key, rate)) {
                    Ok(p99) => times.push(p99),
                    Err(trouble) => self.trouble(key, &trouble),
                }
            }
        }
        let [sidestep, nginx] = times.map(|times| Spread::of(times.into_iter()));
        self.half = sidestep.zip(nginx).map(|(sidestep, nginx)| HalfLoad {
            rate,
            sidestep: sidestep.median,
            nginx: nginx.median,
        });
    }

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
            "{}\n\n{} interleaved runs of {} s each, medians. One worker, 100 connections where nothing else is said. {}\n\n",
            machine.text(),
            plan.runs,
            plan.seconds,
            options.offloads.text()
        );
        let tables: Vec<_> = plan.tables().collect();
        for (workload, table) in &tables {
            text += &table::markdown(&self.results, workload, *table);
        }
        text += &self.accounts(plan);
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
        text += &verdicts::markdown(&verdicts);
        let peers: Vec<_> = versions
            .iter()
            .map(|(peer, version)| {
                json!({ "peer": peer.key, "title": peer.title, "version": version,
                        "date": self.manners[peer.key].date })
            })
            .collect();
        let all = json!({
            "machine": machine, "runs": plan.runs, "seconds": plan.seconds, "cores": plan.cores,
            "offloads": options.offloads, "peers": peers,
            "samples": self.results.samples, "accounts": self.results.accounts, "half_load": self.half, "idle": self.idle, "left_out": self.troubles,
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

/// A time for people.
fn about(seconds: f64) -> String {
    match seconds / 60.0 {
        minutes if minutes < 2.0 => format!("about {seconds:.0} seconds"),
        minutes if minutes < 120.0 => format!("about {minutes:.0} minutes"),
        minutes => format!("about {:.0} hours", minutes / 60.0),
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
