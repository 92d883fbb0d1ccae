//! `sidestep-bench load` as the generator: TCP of its own over AF_XDP, cheaper per request than any server.

use super::sample::Load;
use super::workload::Workload;
use serde_json::Value;
use sidestep_tests::net::CLIENT_IF;
use sidestep_tests::process::Finished;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// The share of the answers whose bodies are compared; the rest have the right status and length.
const COMPARED: &str = "0.001";

/// Whether this program has it.
pub(super) fn available() -> bool {
    let mut help = Command::new(program());
    help.args(["load", "--help"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    help.status().is_ok_and(|status| status.success())
}

/// Its command line against `target` on `core`; `rate`: so many requests per second, answered or not.
pub(super) fn argv(
    target: SocketAddr,
    workload: &Workload,
    seconds: u64,
    core: usize,
    rate: Option<f64>,
) -> Vec<String> {
    let mut argv = vec![program(), "load".to_owned(), "--json".to_owned()];
    let mut option = |name: &str, value: String| argv.extend([format!("--{name}"), value]);
    option("interface", CLIENT_IF.to_owned());
    option("target", target.to_string());
    option("connections", workload.connections.to_string());
    option("depth", workload.depth.to_string());
    if let Some(requests) = workload.per_connection {
        option("requests-per-connection", requests.to_string());
    }
    option("seconds", seconds.to_string());
    option("warm-up", "0.5".to_owned());
    option("core", core.to_string());
    option("verify", COMPARED.to_owned());
    if let Some(rate) = rate {
        option("rate", format!("{rate:.0}"));
    }
    for path in workload.paths() {
        option("path", path);
    }
    argv
}

/// What it counted.
///
/// # Errors
/// It gave no figures; with what it said.
pub(super) fn parse(done: &Finished) -> Result<Load, String> {
    let all: Value = serde_json::from_str(&done.stdout)
        .map_err(|_| format!("load: {}{}", done.stdout, done.stderr))?;
    let number = |of: &Value, name: &str| {
        let found = of[name].as_f64();
        found.ok_or_else(|| format!("load: no {name} in {all}"))
    };
    let (latency, failed) = (&all["latency_us"], all["failed"].as_object());
    Ok(Load {
        requests: number(&all, "requests")?,
        seconds: number(&all, "seconds")?,
        latency: Some([
            number(latency, "p50")?,
            number(latency, "p99")?,
            number(latency, "p99_9")?,
            number(latency, "max")?,
        ]),
        failed: failed.map_or(0.0, |all| all.values().filter_map(Value::as_f64).sum()),
        wrong: number(&all, "wrong")?,
        retransmits: all["retransmits"].as_f64(),
        busy: all["generator"]["busy"].as_f64(),
    })
}

fn program() -> String {
    let program = std::env::current_exe().expect("a path to this program");
    program.display().to_string()
}
