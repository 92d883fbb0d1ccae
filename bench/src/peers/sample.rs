//! One measurement: what the generator counted, and what the cores did meanwhile.

use super::cpu::{self, Spent};
use serde::Serialize;

/// Who shares a core with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Layout {
    /// Server and generator on the first core. 1/rate is what both take for a request.
    Same,
    /// The server on the first core, the generator on the second.
    Two,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Generator {
    Wrk,
    /// `sidestep-bench load`
    Own,
}

impl Layout {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Same => "same core",
            Self::Two => "two cores",
        }
    }
}

impl Generator {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Wrk => "wrk",
            Self::Own => "sidestep-bench load",
        }
    }
}

/// Less than this share of a generator's time is not what it works, but an error of the figures.
const LEAST_OWN: f64 = 0.05;

/// What a generator counted.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Load {
    pub requests: f64,
    pub seconds: f64,
    /// p50, p99, p99.9 and the largest, microseconds; where the generator can tell.
    pub latency: Option<[f64; 4]>,
    /// Connections, requests and answers that went wrong.
    pub failed: f64,
    /// Answers with another body than expected, where bodies are compared.
    pub wrong: f64,
    pub retransmits: Option<f64>,
    /// The share of its time that the generator worked, where it waits without sleeping.
    pub busy: Option<f64>,
    /// When it measured, in seconds of CLOCK_MONOTONIC, where it tells.
    pub between: Option<[f64; 2]>,
}

/// One measurement with where it belongs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    pub peer: String,
    pub workload: &'static str,
    pub layout: Layout,
    pub generator: Generator,
    pub run: usize,
    pub load: Load,
    pub spent: Spent,
    /// The share of the requests that sidestep answered itself.
    pub hits: Option<f64>,
}

impl Sample {
    /// Requests per second.
    pub(super) fn rate(&self) -> f64 {
        self.load.requests / self.load.seconds
    }

    /// Microseconds of processor time per request of all that had to do with it, the generator included.
    pub(super) fn whole(&self) -> f64 {
        let spent = &self.spent;
        let mut seconds = spent.server + spent.generator;
        let used = match self.layout {
            Layout::Same => 0..1,
            Layout::Two => 0..2,
        };
        for core in used {
            seconds += match cpu::softirqs_apart() {
                true => spent.cores[core].softirq,
                false => spent.ksoftirqd[core],
            };
        }
        self.per_request(seconds)
    }

    /// Microseconds per request that the generator itself takes, without softirqs: those that run on its time are also the
    /// server's receiving. `None` where all share a core, and where others on the machine cause so many softirqs that nothing
    /// is left.
    pub(super) fn own(&self) -> Option<f64> {
        let spent = &self.spent;
        let interrupted = match cpu::softirqs_apart() {
            true => 0.0,
            false => (spent.cores[1].softirq - spent.ksoftirqd[1]).max(0.0),
        };
        let own = spent.generator - interrupted;
        let worked = match self.load.busy {
            Some(busy) => own.min(busy * spent.seconds),
            None => own,
        };
        let known = self.layout == Layout::Two && own > LEAST_OWN * spent.generator;
        known.then(|| self.per_request(worked))
    }

    /// Microseconds per request of softirqs in the time of both processes, where they share a core.
    pub(super) fn softirqs(&self) -> Option<f64> {
        let spent = &self.spent;
        let known = self.layout == Layout::Same && !cpu::softirqs_apart();
        let all = (spent.cores[0].softirq - spent.ksoftirqd[0]).max(0.0);
        known.then(|| self.per_request(all))
    }

    /// Microseconds per request, of seconds within the time that was watched.
    fn per_request(&self, seconds: f64) -> f64 {
        seconds / self.spent.seconds * self.load.seconds * 1e6 / self.load.requests
    }
}
