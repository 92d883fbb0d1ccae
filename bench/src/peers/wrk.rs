//! wrk as the generator: one thread, kernel sockets.

use super::sample::Load;
use super::workload::Workload;
use sidestep_tests::clock::PATIENCE;
use sidestep_tests::process::Finished;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// Figures of the whole run on one line, times in microseconds.
const TALLY: &str = r#"
function done(summary, latency, requests)
  local e = summary.errors
  print(string.format("tally %d %d %f %f %f %f %d", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

/// Its command line against `target`; it needs a script in `dir`.
pub(super) fn argv(
    target: SocketAddr,
    workload: &Workload,
    seconds: u64,
    dir: &Path,
) -> Vec<String> {
    let path = dir.join("load.lua");
    fs::write(&path, script(workload)).expect("a script");
    vec![
        "wrk".to_owned(),
        "-t1".to_owned(),
        format!("-c{}", workload.connections),
        format!("-d{seconds}s"),
        "--timeout".to_owned(),
        format!("{}s", PATIENCE.as_secs()),
        "-s".to_owned(),
        path.display().to_string(),
        format!("http://{target}{}", workload.paths()[0]),
    ]
}

/// What it counted. It corrects its latencies by the time between two requests, and knows of no pipelines then, so those
/// are of no use with them.
///
/// # Errors
/// It gave no figures; with what it said.
pub(super) fn parse(done: &Finished, workload: &Workload) -> Result<Load, String> {
    let tally = done.stdout.lines().find_map(|line| {
        let words = line.strip_prefix("tally ")?.split(' ');
        let numbers = words.map(|word| word.parse().ok());
        numbers.collect::<Option<Vec<f64>>>()
    });
    let Some(&[requests, duration, p50, p99, p99_9, max, failed]) = tally.as_deref() else {
        return Err(format!("wrk: {}{}", done.stdout, done.stderr));
    };
    Ok(Load {
        requests,
        seconds: duration / 1e6,
        latency: (workload.depth == 1).then_some([p50, p99, p99_9, max]),
        failed,
        wrong: 0.0,
        retransmits: None,
        busy: None,
        between: None,
    })
}

/// Where one request is all there is, wrk keeps it and calls no Lua while it runs.
fn script(workload: &Workload) -> String {
    let depth = workload.depth;
    let mut text = String::new();
    let paths = workload.paths();
    if workload.per_connection == Some(1) {
        text += "wrk.headers[\"Connection\"] = \"close\"\n";
    }
    // Writing to a String cannot fail.
    if paths.len() == 1 && workload.per_connection.is_none_or(|requests| requests == 1) {
        let _ = writeln!(
            text,
            "local one = wrk.format\nwrk.format = function(...) return string.rep(one(...), {depth}) end"
        );
    } else {
        let _ = writeln!(text, "local paths, depth = {{");
        for path in paths {
            let _ = write!(text, "{path:?}, ");
        }
        let _ = writeln!(text, "}}, {depth}");
        // wrk does not say which connection it asks for, so a connection's length is left to chance and right on average.
        let chance = match workload.per_connection {
            Some(requests) if requests > 1 => 1.0 / f64::from(requests),
            _ => 0.0,
        };
        let _ = writeln!(text, "local chance = {chance}{MANY}");
    }
    text + TALLY
}

const MANY: &str = r#"
local open, closing, turn = {}, {}, 0
function init(args)
  for i, path in ipairs(paths) do open[i] = string.rep(wrk.format("GET", path), depth) end
  wrk.headers["Connection"] = wrk.headers["Connection"] or "close"
  for i, path in ipairs(paths) do closing[i] = string.rep(wrk.format("GET", path), depth) end
end
function request()
  turn = turn % #paths + 1
  if chance > 0 and math.random() < chance then return closing[turn] end
  return open[turn]
end
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_figures_are_read() {
        let done = |stdout: &str| Finished {
            status: Default::default(),
            stdout: stdout.to_owned(),
            stderr: String::new(),
        };
        let plain = Workload::named("plain").expect("a workload");
        let good = done("Running\ntally 4000 2000000 90.0 410.0 800.5 1200.0 3\n");
        let load = parse(&good, plain).expect("figures");
        assert_eq!(
            (load.requests, load.seconds, load.failed),
            (4000.0, 2.0, 3.0)
        );
        assert_eq!(load.latency, Some([90.0, 410.0, 800.5, 1200.0]));
        let piped = Workload::named("pipelined-24").expect("a workload");
        assert_eq!(parse(&good, piped).expect("figures").latency, None);
        let bad = parse(&done("unable to connect"), plain);
        assert!(bad.is_err_and(|said| said.contains("unable to connect")));
    }

    #[test]
    fn one_request_costs_no_lua() {
        let script = |key| script(Workload::named(key).expect("a workload"));
        for key in ["plain", "pipelined-24", "1-request", "64k"] {
            assert!(!script(key).contains("function request"), "{key}");
        }
        assert!(script("1-request").contains("\"close\""));
        assert!(!script("plain").contains("close"));
        for key in ["10-requests", "mixed", "handed-over"] {
            assert!(script(key).contains("function request"), "{key}");
        }
        assert!(script("10-requests").contains("chance = 0.1\n"));
    }
}
