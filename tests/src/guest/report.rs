//! What came of the drivers, as a table and as JSON.

use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// One queue of a NIC, as `sidestep status --json` told it after the load.
#[derive(Clone, Debug)]
pub struct QueueOutcome {
    /// Its number.
    pub queue: u64,
    /// The mode in use.
    pub mode: String,
    /// Requests answered.
    pub requests: u64,
}

/// What came of one driver.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The case.
    pub name: &'static str,
    /// QEMU's device.
    pub device: &'static str,
    /// The kernel's release.
    pub release: String,
    /// The mode that `mode = "auto"` ended in.
    pub mode: &'static str,
    /// What sidestep said is not as good as it could be.
    pub degraded: Vec<String>,
    /// The same with `interrupts = "suspended"`.
    pub suspended: Vec<String>,
    /// Each queue.
    pub queues: Vec<QueueOutcome>,
    /// Requests that all daemons of the machine have answered.
    pub requests: u64,
    /// Connections that they handed over to the server.
    pub handoffs: u64,
    /// Connections that they carried by proxy.
    pub proxied: u64,
    /// Right answers per second under load. Of an emulated machine: it tells whether something stalls, not how fast it is.
    pub rate: f64,
    /// How often the guest's kernel has reset the NIC because it did not send.
    pub resets: u64,
    /// Time to the machine's first process.
    pub booted: Duration,
    /// Time in all.
    pub took: Duration,
}

/// All of them, and what failed.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases that did all they had to.
    pub passed: Vec<Outcome>,
    /// Names of the others, with why.
    pub failed: Vec<(&'static str, String)>,
}

impl Report {
    /// For machines to read.
    pub fn json(&self) -> Value {
        let passed = self.passed.iter().map(|o| {
            let queues = o
                .queues
                .iter()
                .map(|q| json!({"queue": q.queue, "mode": q.mode, "requests": q.requests}));
            json!({
                "driver": o.name,
                "device": o.device,
                "kernel": o.release,
                "mode": o.mode,
                "degraded": o.degraded,
                "degraded_with_interrupts_suspended": o.suspended,
                "queues": queues.collect::<Vec<_>>(),
                "requests": o.requests,
                "handoffs": o.handoffs,
                "proxied": o.proxied,
                "answers_per_second": o.rate,
                "resets": o.resets,
                "boot_seconds": o.booted.as_secs_f64(),
                "seconds": o.took.as_secs_f64(),
            })
        });
        let failed = self
            .failed
            .iter()
            .map(|(name, why)| json!({"driver": name, "why": why}));
        json!({
            "passed": passed.collect::<Vec<_>>(),
            "failed": failed.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| driver | kernel | mode, requests under load of each queue | requests | handoffs | proxied | answers/s | boot | in all |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for o in &self.passed {
            let queues: Vec<String> = o
                .queues
                .iter()
                .map(|q| format!("{}: {}, {}", q.queue, q.mode, q.requests))
                .collect();
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {:.0} | {:.0} s | {:.0} s |",
                o.name,
                o.release,
                queues.join("; "),
                o.requests,
                o.handoffs,
                o.proxied,
                o.rate,
                o.booted.as_secs_f64(),
                o.took.as_secs_f64()
            )?;
        }
        for o in self.passed.iter().filter(|o| o.resets > 0) {
            writeln!(
                f,
                "{}: the guest's kernel has reset the NIC {} times, which did not send",
                o.name, o.resets
            )?;
        }
        for (name, why) in &self.failed {
            writeln!(f, "{name} FAILED: {why}")?;
        }
        Ok(())
    }
}
