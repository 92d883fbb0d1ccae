//! What is counted, and its form as JSON.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::time::Duration;

/// How a request, or a connection that should carry some, fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A SYN was answered by a reset.
    Refused,
    /// No SYN was answered.
    NoHandshake,
    /// The peer reset a connection that waited for an answer.
    Reset,
    /// The peer ended a connection that waited for an answer, without having said so before.
    Closed,
    /// What was sent was never acknowledged, or a request never answered.
    Timeout,
    /// What came was no answer.
    Malformed,
    /// An answer whose length is not said, or in chunks, which are not read.
    NoLength,
    /// Something came that nobody had asked for.
    Unasked,
    /// No answer before the end.
    Unanswered,
}

impl Failure {
    const ALL: [(Self, &str); 9] = [
        (Self::Refused, "refused"),
        (Self::NoHandshake, "no_handshake"),
        (Self::Reset, "reset"),
        (Self::Closed, "closed"),
        (Self::Timeout, "timeout"),
        (Self::Malformed, "malformed"),
        (Self::NoLength, "no_length"),
        (Self::Unasked, "unasked"),
        (Self::Unanswered, "unanswered"),
    ];
}

/// The longest latency that is told apart, in nanoseconds.
const LONGEST: u64 = 600_000_000_000;
/// Decimal digits that a latency keeps.
const DIGITS: u8 = 3;

/// See the module.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Right answers.
    pub(crate) requests: u64,
    /// Answers with another status, length or body.
    pub(crate) wrong: u64,
    /// Bodies compared.
    pub(crate) compared: u64,
    /// Segments sent again.
    pub(crate) retransmits: u64,
    /// Connections opened.
    pub(crate) opened: u64,
    failed: [u64; Failure::ALL.len()],
    latency: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST, DIGITS);
        Self {
            requests: 0,
            wrong: 0,
            compared: 0,
            retransmits: 0,
            opened: 0,
            failed: [0; Failure::ALL.len()],
            latency: latency.unwrap_or_else(|error| unreachable!("constants: {error}")),
        }
    }

    /// A right answer after `latency` nanoseconds.
    #[inline]
    pub(crate) fn answered(&mut self, latency: u64) {
        self.requests += 1;
        self.latency.saturating_record(latency);
    }

    /// `count` requests have failed.
    pub(crate) fn failed(&mut self, how: Failure, count: u64) {
        self.failed[how as usize] += count;
    }

    /// How many have failed so.
    #[cfg(test)]
    pub(crate) fn failures(&self, how: Failure) -> u64 {
        self.failed[how as usize]
    }

    /// All failures.
    #[cfg(test)]
    pub(crate) fn all_failures(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// Counts from zero again: what came before was to warm up. What failed or was wrong in it stays.
    pub(crate) fn begin(&mut self) {
        self.requests = 0;
        self.compared = 0;
        self.retransmits = 0;
        self.opened = 0;
        self.latency.reset();
    }

    /// The object of `--json`. `connections`: open ones.
    pub(crate) fn json(&self, run: &Run) -> Value {
        let seconds = run.measured.as_secs_f64();
        let micros = |nanoseconds: u64| (nanoseconds as f64 / 100.0).round() / 10.0;
        let at = |quantile| micros(self.latency.value_at_quantile(quantile));
        let failed: serde_json::Map<String, Value> = Failure::ALL
            .iter()
            .filter(|(how, _)| self.failed[*how as usize] > 0)
            .map(|(how, name)| ((*name).to_owned(), self.failed[*how as usize].into()))
            .collect();
        json!({
            "requests": self.requests,
            "seconds": seconds,
            "between": run.between,
            "requests_per_second": if seconds > 0.0 { (self.requests as f64 / seconds).round() } else { 0.0 },
            "connections": run.connections,
            "opened": self.opened,
            "opening_seconds": run.opening.as_secs_f64(),
            "failed": failed,
            "wrong": self.wrong,
            "compared": self.compared,
            "retransmits": self.retransmits,
            "latency_us": {
                "p50": at(0.5),
                "p90": at(0.9),
                "p99": at(0.99),
                "p99_9": at(0.999),
                "max": micros(if self.latency.is_empty() { 0 } else { self.latency.max() }),
            },
            "generator": {
                "cpu_seconds": run.cpu.as_secs_f64(),
                "busy": run.busy,
            },
            "mode": run.mode,
        })
    }
}

/// What is known of a run beside its answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// What it took to open the connections.
    pub(crate) opening: Duration,
    pub(crate) measured: Duration,
    /// Connections that were open when the measuring ended.
    pub(crate) connections: u32,
    /// What the generator's thread has used of a core, system calls included.
    pub(crate) cpu: Duration,
    /// The share of the time in which it had something to do.
    pub(crate) busy: f64,
    /// When measuring began and ended, in seconds of CLOCK_MONOTONIC.
    pub(crate) between: [f64; 2],
    /// How the NIC was opened.
    pub(crate) mode: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_has_what_the_callers_read() {
        let mut tally = Tally::new();
        for latency in 1..=1000 {
            tally.answered(latency * 1000);
        }
        tally.failed(Failure::Reset, 2);
        tally.wrong = 1;
        let run = Run {
            opening: Duration::from_secs(1),
            measured: Duration::from_secs(2),
            connections: 7,
            cpu: Duration::from_millis(1500),
            busy: 0.75,
            between: [0.0; 2],
            mode: "copy",
        };
        let json = tally.json(&run);
        assert_eq!(json["requests_per_second"], 500.0);
        assert_eq!(json["failed"], json!({"reset": 2}));
        assert_eq!(
            (&json["wrong"], &json["connections"]),
            (&json!(1), &json!(7))
        );
        let p50 = json["latency_us"]["p50"].as_f64().unwrap();
        assert!((499.0..502.0).contains(&p50), "{p50}");
        let max = json["latency_us"]["max"].as_f64().unwrap();
        assert!((999.0..1002.0).contains(&max), "{max}");
        assert_eq!(json["generator"]["busy"], 0.75);
        assert_eq!(tally.failures(Failure::Reset), 2);
        tally.begin();
        assert_eq!(
            (tally.requests, tally.all_failures(), tally.wrong),
            (0, 2, 1)
        );
    }

    #[test]
    fn names_stand_where_their_kinds_count() {
        for (place, (how, _)) in Failure::ALL.iter().enumerate() {
            assert_eq!(*how as usize, place);
        }
    }
}
