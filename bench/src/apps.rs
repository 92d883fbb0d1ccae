//! `examples/` under load: each endpoint straight from the server and through sidestep, by turns, in one run.
//!
//! One server listens on two ports, and sidestep has one of them. Both are asked over the same link by wrk with the same
//! connections, so that what differs is who answers.

use sidestep_tests::clock::{PATIENCE, poll_for};
use sidestep_tests::example::{self, Example, HOST};
use sidestep_tests::process::{self, Process};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tempfile::TempDir;

/// sidestep's, and the server's.
const PORT: &str = "80";
/// The server's alone.
const ALONE: &str = "8080";

/// What to run; `cargo xtask example` gets what the examples need.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds of each turn
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Turns of each side; the median counts
    #[arg(long, default_value_t = 3)]
    turns: usize,
    /// Connections of wrk
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// The bookstore's authors, with ten books each
    #[arg(long, default_value = "100000")]
    authors: String,
    /// The bookstore's databases
    #[arg(long, value_delimiter = ',', default_value = "postgresql,sqlite")]
    databases: Vec<String>,
}

/// What is asked for: one line of the table.
struct Endpoint {
    name: &'static str,
    /// Paths, asked for in turn.
    paths: Vec<String>,
    /// A body makes it a POST.
    body: Option<&'static str>,
}

/// What wrk measured in one turn.
#[derive(Clone, Copy, Debug)]
struct Turn {
    per_second: f64,
    p99_ms: f64,
    /// Answers that sidestep gave.
    hits: u64,
    answers: u64,
}

const NEW_AUTHOR: &str =
    r#"{"name": "A New One", "books": [{"title": "A Title", "year": 2001, "genre": "Essay"}]}"#;

pub(crate) fn run(options: &Options) -> ExitCode {
    let files = TempDir::new().expect("a temporary directory");
    println!(
        "wrk -t1 -c{}, {} turns of {} s each, medians",
        options.connections, options.turns, options.seconds
    );
    {
        let uvicorn = |port| {
            let common = ["-m", "uvicorn", "--host", "", "--no-access-log"];
            [
                &common[..],
                &["--log-level", "warning", "--port", port, "app:app"],
            ]
            .concat()
        };
        let example = Example::start("fastapi-ping", &uvicorn(PORT));
        let python = example::python("fastapi-ping").display().to_string();
        let mut alone = example.on_host(&[&[&python[..]], &uvicorn(ALONE)[..]].concat());
        alone.current_dir(example::source("fastapi-ping"));
        let _alone = Process::spawn(alone);
        let url = format!("http://{HOST}:{ALONE}/ping");
        let mut asking = example.on_client(&["curl", "-sf", "-o", "/dev/null", &url]);
        poll_for(PATIENCE, || asking.status().ok()?.success().then_some(()));
        let endpoints = [get("GET /ping", ["/ping".to_owned()])];
        table("fastapi-ping", &example, &endpoints, options, files.path());
        example.stop();
    }
    for database in &options.databases {
        let authors = ["--authors", &options.authors, "--database", database];
        let ports = ["--port", PORT, "--port", ALONE];
        let example = Example::start("bookstore", &[&["serve"][..], &authors, &ports].concat());
        let endpoints = [
            get("GET /author/17", ["/author/17".to_owned()]),
            get(
                "GET /author/<id>, 500 of them",
                (1..=500).map(|id| format!("/author/{id}")),
            ),
            get(
                "GET /author?limit=20&offset=50000",
                ["/author?limit=20&offset=50000".to_owned()],
            ),
            Endpoint {
                name: "POST /author",
                paths: vec!["/author".to_owned()],
                body: Some(NEW_AUTHOR),
            },
        ];
        let name = format!("bookstore, {} authors in {database}", options.authors);
        table(&name, &example, &endpoints, options, files.path());
        example.stop();
    }
    ExitCode::SUCCESS
}

fn get(name: &'static str, paths: impl IntoIterator<Item = String>) -> Endpoint {
    Endpoint {
        name,
        paths: paths.into_iter().collect(),
        body: None,
    }
}

fn table(name: &str, example: &Example, endpoints: &[Endpoint], options: &Options, files: &Path) {
    println!("\n## {name}\n");
    println!(
        "| request | server alone, requests/s | p99, ms | through sidestep, requests/s | p99, ms | | hits |"
    );
    println!("|---|---|---|---|---|---|---|");
    for endpoint in endpoints {
        let script = files.join("script.lua");
        fs::write(&script, endpoint.script()).expect("a script");
        warm(example, endpoint);
        let (mut alone, mut through) = (Vec::new(), Vec::new());
        for _ in 0..options.turns {
            alone.push(turn(example, ALONE, &script, options));
            through.push(turn(example, PORT, &script, options));
        }
        let (alone, through) = (median(&mut alone), median(&mut through));
        println!(
            "| `{}` | {:.0} | {:.1} | {:.0} | {:.1} | × {:.1} | {:.1} % |",
            endpoint.name,
            alone.per_second,
            alone.p99_ms,
            through.per_second,
            through.p99_ms,
            through.per_second / alone.per_second,
            // More than 100 where a connection's last answer came after wrk's count.
            (100.0 * through.hits as f64 / through.answers as f64).min(100.0),
        );
    }
}

impl Endpoint {
    fn script(&self) -> String {
        let mut text = String::from("local paths = {");
        for path in &self.paths {
            // Writing to a String cannot fail.
            let _ = write!(text, "{path:?}, ");
        }
        text.push_str("}\nlocal turn = 0\n");
        if let Some(body) = self.body {
            let _ = writeln!(
                text,
                "wrk.method, wrk.body = \"POST\", [[{body}]]\nwrk.headers[\"Content-Type\"] = \"application/json\""
            );
        }
        text.push_str(
            "function request() turn = turn % #paths + 1; return wrk.format(nil, paths[turn]) end\n",
        );
        text
    }
}

/// Asks for each path, on connections of its own, until the fast path has them: a connection that meets a miss stays with
/// the server. What it never learns is measured as it is.
fn warm(example: &Example, endpoint: &Endpoint) {
    if endpoint.body.is_some() {
        return;
    }
    let hits = || {
        let before = example.hits();
        for path in &endpoint.paths {
            let url = format!("http://{HOST}{path}");
            let no_keep_alive = ["-s", "-o", "/dev/null", "-H", "Connection: close", &url];
            process::must(
                example.on_client(&[&["curl"][..], &no_keep_alive].concat()),
                PATIENCE,
            );
        }
        example.hits() - before
    };
    poll_for(PATIENCE, || {
        (hits() == endpoint.paths.len() as u64).then_some(())
    });
}

fn turn(example: &Example, port: &str, script: &Path, options: &Options) -> Turn {
    let before = example.hits();
    let (connections, seconds) = (
        format!("-c{}", options.connections),
        format!("-d{}s", options.seconds),
    );
    let (script, url) = (
        script.display().to_string(),
        // wrk's `Host` names a port that its URL names, also the usual one; to the cache that is another host than curl's.
        match port {
            PORT => format!("http://{HOST}/"),
            _ => format!("http://{HOST}:{port}/"),
        },
    );
    let wrk = [
        "wrk",
        "-t1",
        &connections,
        &seconds,
        "--latency",
        "--timeout",
        "10s",
        "-s",
        &script,
        &url,
    ];
    let limit = Duration::from_secs(options.seconds) + 3 * PATIENCE;
    let said = process::must(example.on_client(&wrk), limit);
    assert!(
        !said.contains("Non-2xx") && !said.contains("Socket errors"),
        "wrk met failures on port {port}: {said}\n{}",
        example.log()
    );
    let value = |label: &str| {
        let line = said
            .lines()
            .find_map(|line| line.trim().strip_prefix(label));
        let word = line.and_then(|rest| rest.split_whitespace().next());
        word.unwrap_or_else(|| panic!("no {label} in {said}"))
    };
    let answers = said
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    Turn {
        per_second: value("Requests/sec:").parse().expect("a number"),
        p99_ms: milliseconds(value("99%")),
        hits: example.hits() - before,
        answers: answers.unwrap_or_else(|| panic!("no count in {said}")),
    }
}

/// wrk writes `12.34us`, `1.23ms` and `1.05s`.
fn milliseconds(text: &str) -> f64 {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
    let found = units
        .iter()
        .find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor));
    found.unwrap_or_else(|| panic!("not a time: {text}"))
}

fn median(turns: &mut [Turn]) -> Turn {
    turns.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    turns[turns.len() / 2]
}
