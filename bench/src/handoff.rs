//! What stepping aside costs: connections whose next request is handed to a server, beside the same to the server alone.
//!
//! Each server runs twice on one NIC; sidestep has the port of one. Clients are kernel sockets, and take turns request by
//! request where latencies are measured and second by second where rates are. What shares a core waits for one another,
//! so there are several layouts. Where all is on one core, a difference in time per connection is a difference in work.

mod measure;

use measure::{MIXED, Targets, Times, Way, latencies, mixed, rates};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::Net;
use sidestep_tests::server::user::{Kind, Running};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const PORT: u16 = 80;
const ALONE_PORT: u16 = 8080;

/// A fast server, beside which every microsecond shows, and one that does something. The others get a row each.
const SERVERS: [Kind; 2] = [Kind::Nginx, Kind::Uvicorn];

/// Layouts of that row: where differences are differences in work, and as a client on another host would have it.
const ROWS: &[Layout] = LAYOUTS.split_at(2).0;

/// What to run; `cargo xtask servers` gets the servers.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Connections for each latency
    #[arg(long, default_value_t = 2_000)]
    connections: usize,
    /// Seconds for each rate
    #[arg(long, default_value_t = 5)]
    seconds: usize,
    /// The two cores that are used
    #[arg(long, value_delimiter = ',', default_value = "0,1", num_args = 2)]
    cores: Vec<usize>,
    /// Only the layout in which all share the first core
    #[arg(long)]
    one_core: bool,
    /// Only these servers: nginx, uvicorn, gunicorn …
    #[arg(long = "server", value_parser = kind)]
    servers: Vec<Kind>,
    /// Writes the tables into this document, between its two lines that say so
    #[arg(long)]
    doc: Option<PathBuf>,
}

/// A server by its name in lower case.
fn kind(name: &str) -> Result<Kind, String> {
    let named = |kind: &Kind| format!("{kind:?}").to_lowercase();
    let mut kinds = Kind::ALL.into_iter();
    kinds.find(|kind| named(kind) == name).ok_or_else(|| {
        let known: Vec<String> = Kind::ALL.iter().map(named).collect();
        format!("the servers are: {}", known.join(", "))
    })
}

/// Which of the two cores everybody is on.
struct Layout {
    name: &'static str,
    server: usize,
    worker: usize,
    client: usize,
    busy_poll: bool,
}

const LAYOUTS: [Layout; 4] = [
    Layout {
        name: "all on one core",
        server: 0,
        worker: 0,
        client: 0,
        busy_poll: false,
    },
    Layout {
        name: "client on a core of its own",
        server: 0,
        worker: 0,
        client: 1,
        busy_poll: false,
    },
    Layout {
        name: "worker on a core of its own",
        server: 1,
        worker: 0,
        client: 1,
        busy_poll: false,
    },
    Layout {
        name: "worker on a core of its own, `busy_poll = true`",
        server: 1,
        worker: 0,
        client: 1,
        busy_poll: true,
    },
];

const MISS: &[&str] = &["/miss"];

/// One request of a connection. A server alone accepts the connection when it comes; behind sidestep it does so with
/// the first miss.
const REQUESTS: [Way; 4] = [
    Way {
        name: "miss as first request",
        before: &[],
        timed: MISS,
        whole: false,
    },
    Way {
        name: "first miss, after 3 hits",
        before: &["/hit"; 3],
        timed: MISS,
        whole: false,
    },
    // The kernel has the connection already, but the worker may still have to clear up.
    Way {
        name: "second miss",
        before: MISS,
        timed: MISS,
        whole: false,
    },
    Way {
        name: "fifth miss",
        before: &["/miss"; 4],
        timed: MISS,
        whole: false,
    },
];

/// All that a client waits for, from connect(2) on: here both sides accept within the time.
const CONNECTIONS: [Way; 3] = [
    Way {
        name: "connection: 1 miss",
        before: &[],
        timed: MISS,
        whole: true,
    },
    Way {
        name: "connection: 1 hit, 1 miss",
        before: &["/hit"],
        timed: MISS,
        whole: true,
    },
    Way {
        name: "connection: 1 hit, 10 misses",
        before: &["/hit"],
        timed: &["/miss"; 10],
        whole: true,
    },
];

/// What the tables of a document stand between.
const MARKS: [&str; 2] = ["<!-- measured -->\n", "<!-- end of measured -->\n"];

pub(crate) fn run(options: &Options) -> ExitCode {
    let mut report = format!(
        "Of {} connections for each row (mixed load: {}, of {MIXED} requests), rates over {} s.\n\n",
        options.connections,
        options.connections / 4,
        options.seconds
    );
    let layouts = match options.one_core {
        true => &LAYOUTS[..1],
        false => &LAYOUTS[..],
    };
    let wanted = |kind: &Kind| options.servers.is_empty() || options.servers.contains(kind);
    for kind in SERVERS.into_iter().filter(wanted) {
        for layout in layouts {
            let section = measured(options, kind, layout);
            println!("{section}");
            report += &section;
        }
    }
    let others = |kind: &Kind| !SERVERS.contains(kind) && wanted(kind);
    for layout in &layouts[..layouts.len().min(ROWS.len())] {
        let mut section = String::new();
        for kind in Kind::ALL.into_iter().filter(others) {
            section += &row(options, kind, layout);
        }
        if !section.is_empty() {
            let section = format!(
                "### Other servers, {}\n\n{ROW_HEAD}{section}\n",
                layout.name
            );
            println!("{section}");
            report += &section;
        }
    }
    match &options.doc {
        Some(path) => written(path, &report),
        None => ExitCode::SUCCESS,
    }
}

/// All of one server in one layout.
fn measured(options: &Options, kind: Kind, layout: &Layout) -> String {
    staged(options, kind, layout, |targets, worker| {
        let mut text = format!(
            "### {} {}, {}\n\n",
            kind.name(),
            kind.version(),
            layout.name
        );
        text += Times::HEAD;
        for way in REQUESTS.iter().chain(&CONNECTIONS) {
            text += &latencies(targets, way, options.connections).row(way.name);
        }
        let [mut all, mut first] = mixed(targets, options.connections / 4);
        text += &all.row("mixed keep-alive load: all misses");
        text += &first.row("mixed keep-alive load: first miss of each connection");
        text += "\n";
        if layout.client == layout.server && layout.client == layout.worker {
            text += &rate_table(options, targets, worker);
        }
        text
    })
}

const ROW_HEAD: &str = "| server | miss as first request: alone, p50, µs | with sidestep | ratio | connection of 1 miss: alone | with sidestep | ratio \
                        | all misses of a mixed load: ratio |\n|---|---|---|---|---|---|---|---|\n";

/// What matters most of one server in one layout.
fn row(options: &Options, kind: Kind, layout: &Layout) -> String {
    staged(options, kind, layout, |targets, _| {
        let mut text = format!("| {} {} |", kind.name(), kind.version());
        for way in [&REQUESTS[0], &CONNECTIONS[0]] {
            let [with, alone] = latencies(targets, way, options.connections).medians();
            write!(text, " {alone:.0} | {with:.0} | {:.2} |", with / alone).expect("text grows");
        }
        if kind == Kind::Gunicorn {
            // It closes after each answer.
            return text + " – |\n";
        }
        let [mut all, _] = mixed(targets, options.connections / 4);
        let [with, alone] = all.medians();
        writeln!(text, " {:.2} |", with / alone).expect("text grows");
        text
    })
}

/// Brings up a server twice and sidestep, and lets `measure` look at them; it is told where the worker's times are.
fn staged(
    options: &Options,
    kind: Kind,
    layout: &Layout,
    measure: impl FnOnce(Targets, &Path) -> String + Send,
) -> String {
    let before = sched_getaffinity(Pid::from_raw(0)).expect("the cores of this process");
    let on = |core: usize| {
        let mut cores = CpuSet::new();
        cores.set(options.cores[core]).expect("such a core");
        // Children inherit it.
        sched_setaffinity(Pid::from_raw(0), &cores).expect("a core that this process may use");
    };
    let net = Net::new();
    on(layout.server);
    let servers = [PORT, ALONE_PORT].map(|port| Running::start(&net.server, kind, port));
    for server in &servers {
        server.ready(&net.server);
    }
    on(layout.worker);
    let daemon = Daemon::start(&net.server, &config(layout.busy_poll));
    let targets = Targets {
        with: net.server.at(PORT),
        alone: net.server.at(ALONE_PORT),
    };
    on(layout.client);
    let worker = worker_of(daemon.id());
    let text = net.client.enter(|| measure(targets, &worker));
    daemon.stop();
    sched_setaffinity(Pid::from_raw(0), &before).expect("the cores as they were");
    text
}

fn rate_table(options: &Options, targets: Targets, worker: &Path) -> String {
    let mut text = "| connections, one at a time | alone, per s | with sidestep, per s | µs more each | of the worker's thread, µs |\n\
                    |---|---|---|---|---|\n"
        .to_owned();
    for way in &CONNECTIONS {
        let [with, alone] = rates(targets, way, options.seconds, || run_time(worker));
        let more = 1e6 / with.per_second - 1e6 / alone.per_second;
        let name = way.name.trim_start_matches("connection: ");
        writeln!(
            text,
            "| {name} | {:.0} | {:.0} | {more:.1} | {:.1} |",
            alone.per_second, with.per_second, with.worker
        )
        .expect("text grows");
    }
    text + "\n"
}

/// Where the kernel tells how long the worker's thread has run.
fn worker_of(process: u32) -> PathBuf {
    fs::read_dir(format!("/proc/{process}/task"))
        .expect("the daemon's threads")
        .map(|task| task.expect("a thread").path())
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "queue-0\n"))
        .expect("a worker")
        .join("schedstat")
}

fn run_time(schedstat: &Path) -> Duration {
    let text = fs::read_to_string(schedstat).expect("the worker's times");
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("time on a core"))
}

fn config(busy_poll: bool) -> String {
    format!(
        "[interface]\nbusy_poll = {busy_poll}\n\
         [[listen]]\naddress = \"interface\"\nport = {PORT}\nfallback = \"kernel\"\n\
         [[site]]\nhosts = [\"*\"]\n[[site.response]]\npath = \"/hit\"\nbody = \"a hit\"\n"
    )
}

/// Puts `report` in its place in the document.
fn written(path: &Path, report: &str) -> ExitCode {
    let [begin, end] = MARKS;
    let parts = fs::read_to_string(path).ok().and_then(|text| {
        let (before, rest) = text.split_once(begin)?;
        let (_, after) = rest.split_once(end)?;
        Some(format!("{before}{begin}\n{report}{end}{after}"))
    });
    match parts.map(|text| fs::write(path, text)) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("cannot write {}: {error}", path.display());
            ExitCode::FAILURE
        }
        None => {
            eprintln!("{}: not there, or without its marks", path.display());
            ExitCode::FAILURE
        }
    }
}
