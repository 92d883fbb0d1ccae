//! `sidestep-bench load` as the generator: TCP of its own over AF_XDP, cheaper per request than any server.

use super::measure::Job;
use super::sample::Load;
use serde_json::Value;
use sidestep_tests::net::CLIENT_IF;
use sidestep_tests::process::Finished;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// The share of the answers whose bodies are compared; the rest have the right status and length.
const COMPARED: &str = "0.001";

/// Addresses that it asks from when the ports of one are not enough.
pub(super) const SOURCES: &str = "10.64.0.0/20";

/// Connections that one address has ports for.
const PORTS: u32 = 50_000;

/// Seconds that it asks before it measures.
pub(super) const WARM_UP: f64 = 0.5;

/// Whether this program has it.
pub(super) fn available() -> bool {
    let mut help = Command::new(program());
    help.args(["load", "--help"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    help.status().is_ok_and(|status| status.success())
}

/// Its command line against `target` on `core`.
pub(super) fn argv(target: SocketAddr, job: &Job, core: usize) -> Vec<String> {
    // It ends with what is measured: what it took to close connections would be taken for a part of that.
    let mut argv = ["load", "--json", "--abandon"].map(str::to_owned).to_vec();
    argv.insert(0, program());
    let mut option = |name: &str, value: String| argv.extend([format!("--{name}"), value]);
    let workload = job.workload;
    option("interface", CLIENT_IF.to_owned());
    option("target", target.to_string());
    option("seconds", job.seconds.to_string());
    option("warm-up", WARM_UP.to_string());
    option("core", core.to_string());
    for path in workload.paths() {
        option("path", path);
    }
    if job.frames {
        option("frames", workload.connections.to_string());
        return argv;
    }
    option("connections", workload.connections.to_string());
    if workload.connections > PORTS {
        option("sources", SOURCES.to_owned());
    }
    option("depth", workload.depth.to_string());
    if let Some(requests) = workload.per_connection {
        option("requests-per-connection", requests.to_string());
    }
    option("verify", COMPARED.to_owned());
    if let Some(rate) = job.rate {
        option("rate", format!("{rate:.0}"));
    }
    argv
}

/// What it counted.
///
/// # Errors
/// It gave no figures, with what it said; or not all connections were open at the end.
pub(super) fn parse(done: &Finished, job: &Job) -> Result<Load, String> {
    let all: Value = serde_json::from_str(&done.stdout)
        .map_err(|_| format!("load: {}{}", done.stdout, done.stderr))?;
    let number = |of: &Value, name: &str| {
        let found = of[name].as_f64();
        found.ok_or_else(|| format!("load: no {name} in {all}"))
    };
    let (latency, failed) = (&all["latency_us"], all["failed"].as_object());
    let open = number(&all, "connections")?;
    if job.workload.large() && open < f64::from(job.workload.connections) {
        let failed = &all["failed"];
        return Err(format!(
            "only {open} connections at the end; failed: {failed}"
        ));
    }
    Ok(Load {
        requests: number(&all, "requests")?,
        seconds: number(&all, "seconds")?,
        latency: Some([
            number(latency, "p50")?,
            number(latency, "p99")?,
            number(latency, "p99_9")?,
            number(latency, "max")?,
        ]),
        failed: failed.map_or(0.0, |all| {
            let counts = all.values().filter_map(Value::as_f64);
            counts.fold(0.0, |sum, count| sum + count)
        }),
        wrong: number(&all, "wrong")?,
        retransmits: all["retransmits"].as_f64(),
        busy: all["generator"]["busy"].as_f64(),
        between: all["between"][0]
            .as_f64()
            .zip(all["between"][1].as_f64())
            .map(<[f64; 2]>::from),
    })
}

fn program() -> String {
    let program = std::env::current_exe().expect("a path to this program");
    program.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::sample::Generator;
    use crate::peers::workload::Workload;

    fn said(stdout: &str, workload: &str) -> Result<Load, String> {
        let done = Finished {
            status: Default::default(),
            stdout: stdout.to_owned(),
            stderr: "error: no such NIC".to_owned(),
        };
        let job = Job {
            workload: Workload::named(workload).expect("a workload"),
            generator: Generator::Own,
            seconds: 2,
            rate: None,
            frames: false,
        };
        parse(&done, &job)
    }

    const FIGURES: &str = r#"{"requests": 4000, "seconds": 2.0, "between": [7.5, 9.5], "failed": {"reset": 2, "timeout": 1}, "wrong": 0,
        "retransmits": 5, "connections": 9999,
        "latency_us": {"p50": 90.0, "p90": 95.0, "p99": 410.0, "p99_9": 800.5, "max": 1200.0},
        "generator": {"cpu_seconds": 0.5, "busy": 0.25}}"#;

    #[test]
    fn its_figures_are_read() {
        let load = said(FIGURES, "plain").expect("figures");
        assert_eq!(
            (load.requests, load.seconds, load.failed),
            (4000.0, 2.0, 3.0)
        );
        assert_eq!(load.latency, Some([90.0, 410.0, 800.5, 1200.0]));
        assert_eq!(load.between, Some([7.5, 9.5]));
        assert_eq!((load.retransmits, load.busy), (Some(5.0), Some(0.25)));
        assert!(said("", "plain").is_err_and(|said| said.contains("no such NIC")));
    }

    #[test]
    fn a_crowd_is_only_measured_when_all_of_it_is_there() {
        let few = said(FIGURES, "10000-connections");
        assert!(few.is_err_and(|said| said.contains("only 9999 connections")));
    }
}
