//! wrk with every answer compared inside it.

use crate::net::Host;
use crate::process::Finished;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

/// Time beyond its own duration that wrk may take to start and end.
const GRACE: Duration = Duration::from_secs(20);

/// Part of the script that counts; `wrong` is a global, so that `done` can read it from each thread.
const SCRIPT: &str = r#"
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args)
  wrong = 0
  local requests = {}
  for i = 1, depth do requests[i] = wrk.format("GET") end
  batch = table.concat(requests)
end
function request() return batch end
function response(status, headers, body)
  if status ~= 200 or body ~= expected then wrong = wrong + 1 end
end
function done(summary, latency, requests)
  local all = 0
  for _, thread in ipairs(threads) do all = all + thread:get("wrong") end
  local e = summary.errors
  print(string.format("tally %d %d %d %d %d %d %d",
    summary.requests, all, e.connect, e.read, e.write, e.status, e.timeout))
end
"#;

/// A wrk run with one thread.
#[derive(Clone, Debug)]
pub struct Wrk<'a> {
    /// The server.
    pub to: SocketAddr,
    /// The path asked for.
    pub path: &'a str,
    /// The body that each answer must have; its status must be 200.
    pub body: &'a [u8],
    /// Connections.
    pub connections: u32,
    /// Requests sent at a time.
    pub pipeline: u32,
    /// How long it runs.
    pub duration: Duration,
    /// After how long wrk counts a missing answer as a time-out.
    pub timeout: Duration,
}

/// wrk's own counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Answers.
    pub requests: u64,
    /// Answers with another status or body than expected. wrk (4.1) keeps what it has of a body when its connection is reset,
    /// and puts it before the body of the next connection's first answer: one here for one of the errors in reading.
    pub wrong: u64,
    /// Failed connects, reads, writes, statuses and time-outs, in this order.
    pub errors: [u64; 5],
}

impl Wrk<'_> {
    /// Runs it on `host` to its end.
    ///
    /// # Panics
    /// When wrk fails or does not end.
    pub fn run(&self, host: &Host) -> Counts {
        let dir =
            tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let script = dir.path().join("check.lua");
        std::fs::write(&script, self.script())
            .unwrap_or_else(|error| panic!("cannot write a script: {error}"));
        let done = host.run(
            &self.argv(&script.display().to_string()),
            self.duration + GRACE,
        );
        parse(&done)
    }

    fn argv(&self, script: &str) -> Vec<String> {
        vec![
            "wrk".into(),
            "-t1".into(),
            format!("-c{}", self.connections),
            format!("-d{}s", self.duration.as_secs()),
            "--timeout".into(),
            format!("{}s", self.timeout.as_secs()),
            "-s".into(),
            script.into(),
            format!("http://{}{}", self.to, self.path),
        ]
    }

    fn script(&self) -> String {
        let mut text = format!("local depth = {}\nlocal expected = \"", self.pipeline);
        for byte in self.body {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\{byte:03}");
        }
        text.push_str("\"\n");
        text.push_str(SCRIPT);
        text
    }
}

impl Counts {
    /// Fails the test unless all answers were right, without any error, and at least `least` came.
    ///
    /// # Panics
    /// With the counts.
    pub fn assert_clean(&self, least: u64) {
        assert!(
            self.wrong == 0 && self.errors == [0; 5] && self.requests >= least,
            "at least {least} right answers and no error expected: {self:?}"
        );
    }
}

fn parse(done: &Finished) -> Counts {
    let tally: Option<Vec<u64>> = done
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("tally "))
        .and_then(|line| line.split(' ').map(|number| number.parse().ok()).collect());
    match tally.as_deref() {
        Some(&[requests, wrong, connect, read, write, status, timeout]) => Counts {
            requests,
            wrong,
            errors: [connect, read, write, status, timeout],
        },
        _ => panic!(
            "wrk ({}) gave no tally:\n{}{}",
            done.status, done.stdout, done.stderr
        ),
    }
}
