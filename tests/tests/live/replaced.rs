//! All files are replaced, and all is reloaded, again and again under load.

use super::client;
use fastrand::Rng;
use sidestep_tests::clock::{lasting, now, soak};
use sidestep_tests::daemon::Daemon;
use sidestep_tests::net::Net;
use sidestep_tests::site::Site;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::scope;
use std::time::Duration;

/// Files and rounds: those of the long form are what is promised.
fn plan() -> (usize, usize) {
    if soak() { (10_000, 100) } else { (1_000, 4) }
}

/// How long one run of the load is; while files are replaced there is one after the other.
fn run() -> Duration {
    lasting(Duration::from_secs(2), Duration::from_secs(20))
}

/// Runs of the load while nothing is replaced.
const CALM: usize = 3;

/// Connections of the load.
const CONNECTIONS: usize = 64;

/// The file `n` of a generation says so in each of its lines, so that a mixture of two shows.
fn body(n: usize, generation: usize) -> String {
    format!("file {n} generation {generation}\n").repeat(1 + n % 60)
}

/// As careful people do: written beside it, then renamed.
fn replace(root: &Path, n: usize, generation: usize) {
    let beside = root.join(format!(".new-{n}"));
    fs::write(&beside, body(n, generation)).expect("written");
    fs::rename(&beside, root.join(format!("{n}.txt"))).expect("renamed");
}

/// What wrk does with an answer: its lines are the same, and those of one entity tag are always the same.
const SCRIPT: &str = r#"
local threads = {}
local seen = {}
function setup(thread) table.insert(threads, thread) end
function init(args) wrong = 0; math.randomseed(7) end
function request() return wrk.format("GET", "/" .. math.random(0, FILES - 1) .. ".txt") end
function response(status, headers, body)
  local line = body:match("^[^\n]*\n")
  local etag = headers["ETag"]
  if status ~= 200 or not line or not etag or body ~= line:rep(#body / #line) then
    wrong = wrong + 1
  elseif seen[etag] == nil then
    seen[etag] = line
  elseif seen[etag] ~= line then
    wrong = wrong + 1
  end
end
function done(summary, latency, requests)
  local all = 0
  for _, thread in ipairs(threads) do all = all + thread:get("wrong") end
  local e = summary.errors
  print(string.format("tally %d %d %d %d", summary.requests, all,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(99)))
end
"#;

/// Requests, wrong answers, errors, and the 99th percentile of the latency in microseconds.
fn wrk(net: &Net, script: &str, duration: Duration) -> [u64; 4] {
    let argv = [
        "wrk".to_owned(),
        "-t1".into(),
        format!("-c{CONNECTIONS}"),
        format!("-d{}s", duration.as_secs()),
        "--timeout".into(),
        "10s".into(),
        "-s".into(),
        script.into(),
        format!("http://{}/", net.server.at(80)),
    ];
    let done = net.client.run(&argv, duration + Duration::from_secs(60));
    let tally = done.stdout.lines().find_map(|l| l.strip_prefix("tally "));
    let numbers = tally.map(|t| t.split(' ').filter_map(|n| n.parse().ok()));
    let numbers: Vec<u64> = numbers.into_iter().flatten().collect();
    numbers
        .try_into()
        .unwrap_or_else(|_| panic!("{}{}", done.stdout, done.stderr))
}

/// Asks for random files until told to stop: each answer is of the file asked for, and never older than one before.
fn check(net: &Net, files: usize, stop: &AtomicBool) -> usize {
    let mut conn = client(net);
    let mut rng = Rng::with_seed(11);
    let mut newest: HashMap<usize, usize> = HashMap::new();
    let mut answers = 0;
    while !stop.load(Ordering::Relaxed) {
        let n = rng.usize(0..files);
        let answer = conn.get(&format!("/{n}.txt")).expect("an answer");
        assert_eq!(answer.status, 200, "file {n}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let of = text.lines().next().and_then(|l| l.rsplit(' ').next());
        let generation: usize = of.and_then(|g| g.parse().ok()).expect("a generation");
        assert_eq!(text, body(n, generation));
        let known = newest.entry(n).or_default();
        assert!(*known <= generation, "file {n}: {generation} after {known}");
        *known = generation;
        answers += 1;
    }
    answers
}

#[test]
fn files_replaced_and_reloaded_under_load_are_never_wrong_mixed_or_missing() {
    let (files, rounds) = plan();
    let (net, site) = (Net::new(), Site::new("none"));
    for n in 0..files {
        replace(site.root(), n, 0);
    }
    let daemon = Daemon::start(&net.server, &site.config());
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("check.lua");
    fs::write(&script, format!("local FILES = {files}\n{SCRIPT}")).expect("written");
    let script = script.display().to_string();
    let stop = AtomicBool::new(false);
    let replacing = |from: usize| {
        for generation in from..from + rounds {
            (0..files).for_each(|n| replace(site.root(), n, generation));
            let done = daemon.control(&["reload"]);
            assert_eq!(done.code(), 0, "{}", done.stderr);
            // When a reload has ended, no answer is older.
            let mut conn = client(&net);
            for n in (0..files).step_by(files / 50) {
                let answer = conn.get(&format!("/{n}.txt")).expect("an answer");
                assert_eq!(answer.body, body(n, generation).as_bytes());
            }
        }
    };
    // One after the other under the same load, and with the same looks at answers, which take their share of the cores.
    let (tell_calm, calm_over) = channel();
    let (net, script, stop) = (&net, script.as_str(), &stop);
    let (took, (calm, busy), answers) = scope(|scope| {
        let checker = scope.spawn(|| check(net, files, stop));
        let load = scope.spawn(move || {
            let calm: Vec<_> = (0..CALM).map(|_| wrk(net, script, run())).collect();
            let _ = tell_calm.send(());
            let mut busy = Vec::new();
            while busy.is_empty() || !stop.load(Ordering::Relaxed) {
                busy.push(wrk(net, script, run()));
            }
            (calm, busy)
        });
        let took = {
            // Also by a panic, after which the scope would wait for its threads for ever.
            let _stop = SetAtEnd(stop);
            // An error: the load has failed, as joining it will tell.
            let _ = calm_over.recv();
            let begun = now();
            replacing(1);
            now().duration_since(begun)
        };
        let load = load.join().expect("wrk runs");
        (took, load, checker.join().expect("every answer is right"))
    });
    println!(
        "{files} files replaced and reloaded {rounds} times in {:.1} s: {} answers of wrk, {answers} looked at one by one; \
         p99 {} us with, {} us without (medians of {} and {} runs)",
        took.as_secs_f64(),
        busy.iter().map(|run| run[0]).sum::<u64>(),
        median_p99(&busy),
        median_p99(&calm),
        busy.len(),
        calm.len(),
    );
    for run in calm.iter().chain(&busy) {
        assert!(run[0] > 0 && run[1..3] == [0, 0], "{run:?}");
    }
}

fn median_p99(runs: &[[u64; 4]]) -> u64 {
    let mut all: Vec<u64> = runs.iter().map(|run| run[3]).collect();
    all.sort_unstable();
    all[all.len() / 2]
}

/// Sets the flag when it goes.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
