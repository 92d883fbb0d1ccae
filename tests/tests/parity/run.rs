//! Runs an exchange against one server and writes down what it answers.

mod record;

use crate::script::{Exchange, Goal, Pace, Spec, Step};
use crate::target::{Answers, LINUX, Linux, OURS, REQUEST, request};
use sidestep_tests::clock::{Deadline, PATIENCE, now};
use sidestep_tests::raw::{RawClient, Received, Segment, flag};
use std::time::{Duration, Instant};

/// How long `until` waits for what never comes. A loaded machine takes a few ms; only a difference costs this long.
const LONGEST: Duration = Duration::from_secs(3);

/// How long a step without timers may take. Linux's shortest timer is 8 ms; on an idle machine a step takes a tenth of
/// a millisecond.
const STALL: Duration = Duration::from_millis(5);

/// `until` tells what came at once from what a timer sent: Linux's shortest retransmission timeout is 200 ms, and a loaded
/// machine answers within a fraction of this.
const AT_ONCE: Duration = Duration::from_millis(150);

/// How often an exchange is run until no step stalls and every timer is in time; the last run counts in any case.
const RUNS: usize = 6;

/// Our TSval unless the script says otherwise.
const TSVAL: i64 = 100;
/// Where the relative numbers start in the real ones: our TSval 0, and the server's ISN as long as it is not known.
const TS_BASE: u32 = 0x7fff_0000;
const IRS: u32 = 7_000_000;

/// One client connection as the script sees it.
struct Conn<'a> {
    raw: &'a mut RawClient,
    answers: &'a Answers,
    /// The server, if it is the kernel's.
    linux: Option<&'a Linux>,
    port: u16,
    to: u16,
    /// Our ISN.
    iss: u32,
    /// The server's ISN and what its SYN-ACK acknowledged.
    irs: Option<(u32, u32)>,
    path: String,
    close: bool,
    /// Both sides agreed to timestamps.
    timestamps: bool,
    /// The last TSval that we sent, relative.
    tsval: i64,
    /// The last TSval that came.
    ts_recent: u32,
    /// The last acknowledgment that came.
    acked: Option<u32>,
    /// When the last segment was sent or came.
    last: Instant,
    /// How long the last `next` took.
    pace: Duration,
    /// A step took so long that a timer may have come first, or a timer was not in time.
    stalled: bool,
    /// What came before the step that records it.
    early: Vec<Received>,
    transcript: Vec<String>,
}

/// Runs `exchange` against the kernel's server, or ours when there is `None`, and returns the script with the answers
/// after each step.
pub fn run(
    raw: &mut RawClient,
    exchange: &Exchange,
    answers: &Answers,
    linux: Option<&Linux>,
) -> Vec<String> {
    let mut runs = 1;
    loop {
        let (transcript, stalled) = run_once(raw, exchange, answers, linux);
        if !stalled || runs == RUNS {
            return transcript;
        }
        runs += 1;
    }
}

fn run_once(
    raw: &mut RawClient,
    exchange: &Exchange,
    answers: &Answers,
    linux: Option<&Linux>,
) -> (Vec<String>, bool) {
    let port = raw.port();
    let mut conn = Conn {
        raw,
        answers,
        linux,
        port,
        to: if linux.is_some() { LINUX } else { OURS },
        // Near the end of the number space, so that longer exchanges wrap.
        iss: u32::MAX - 150,
        irs: None,
        path: "/small".to_owned(),
        close: false,
        timestamps: false,
        tsval: TSVAL,
        ts_recent: 0,
        acked: None,
        last: now(),
        pace: Duration::ZERO,
        stalled: false,
        early: Vec::new(),
        transcript: Vec::new(),
    };
    for (line, step) in &exchange.steps {
        conn.transcript.push(line.clone());
        conn.step(step);
    }
    conn.clean_up();
    (conn.transcript, conn.stalled)
}

impl Conn<'_> {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Ask { path, close } => {
                self.path.clone_from(path);
                self.close = *close;
            }
            Step::Open(spec) => self.open(spec),
            Step::Send(spec) => {
                self.wait(spec.rtt);
                let segment = self.segment(spec);
                self.raw.send(&segment);
                self.last = now();
            }
            Step::Sync => {
                let segments = self.fence();
                self.record(&segments);
            }
            Step::Until(goal) => {
                let deadline = Deadline::after(LONGEST);
                let mut segments = std::mem::take(&mut self.early);
                let mut since = self.last;
                while !segments.iter().any(|segment| self.reaches(segment, goal)) {
                    let Some(segment) = self.receive(deadline.left()) else {
                        self.record(&segments);
                        self.transcript.push("    (it does not come)".to_owned());
                        return;
                    };
                    if self.last - since > AT_ONCE {
                        self.record(&std::mem::take(&mut segments));
                        self.transcript.push("    (after a timeout)".to_owned());
                    }
                    self.stalled |= !segments.is_empty() && self.last - since > STALL;
                    since = self.last;
                    segments.push(segment);
                }
                if let Some(linux) = self.linux {
                    linux.wait_written((self.raw.addr, self.port).into());
                }
                segments.extend(self.fence());
                self.record(&segments);
            }
            Step::Next(pace) => self.next(pace),
        }
    }

    /// Lets a round trip pass; what comes meanwhile belongs to the next step.
    fn wait(&mut self, rtt: Duration) {
        let arrival = Deadline::after(rtt);
        while !rtt.is_zero()
            && let Some(segment) = self.receive(arrival.left())
        {
            self.early.push(segment);
        }
    }

    fn open(&mut self, spec: &Spec) {
        let mut syn = self.segment(spec);
        syn.flags = flag::SYN;
        let since = now();
        self.raw.send(&syn);
        let syn_ack = loop {
            let Some(segment) = self.receive(PATIENCE) else {
                panic!("port {} takes no connection", self.to);
            };
            if segment.has(flag::SYN | flag::ACK) {
                break segment;
            }
        };
        self.wait(spec.rtt);
        self.early.clear();
        self.timestamps = spec.ts.is_some() && syn_ack.option(8).is_some();
        let ack = Spec {
            flags: flag::ACK,
            seq: 1,
            end: 1,
            ack: Some(1),
            window: spec.window,
            ..Spec::default()
        };
        let ack = self.segment(&ack);
        self.raw.send(&ack);
        self.last = now();
        // The server takes a handshake that was slow for a long way, or for a lossy one.
        self.stalled |= self.last - since > spec.rtt + STALL;
    }

    fn segment(&mut self, spec: &Spec) -> Segment {
        let mut segment = self.raw.segment(self.port, self.to);
        segment.flags = spec.flags;
        segment.seq = self.iss.wrapping_add(spec.seq as u32);
        let irs = self.irs.map_or(IRS, |(irs, _)| irs);
        segment.ack = spec.ack.map_or(0, |ack| irs.wrapping_add(ack as u32));
        segment.window = spec.window.unwrap_or(segment.window);
        segment.urgent = spec.urgent;
        segment.ecn = spec.ecn;
        segment.data_offset = spec.data_offset;
        segment.sum_error = u16::from(spec.bad_sum);
        segment.options.clone_from(&spec.options);
        let ts = spec
            .ts
            .or((self.timestamps && !spec.no_ts).then_some((self.tsval, None)));
        if let Some((value, echo)) = ts {
            self.tsval = self.tsval.max(value);
            let echo = match (echo, spec.flags & flag::ACK) {
                (Some(echo), _) => self.ts_recent.wrapping_add(echo as u32),
                (None, 0) => 0,
                (None, _) => self.ts_recent,
            };
            segment.options.extend([1, 1, 8, 10]);
            segment
                .options
                .extend(TS_BASE.wrapping_add(value as u32).to_be_bytes());
            segment.options.extend(echo.to_be_bytes());
        }
        if !spec.sack.is_empty() {
            segment
                .options
                .extend([1, 1, 5, 2 + 8 * spec.sack.len() as u8]);
            for (from, to) in &spec.sack {
                segment
                    .options
                    .extend(irs.wrapping_add(*from as u32).to_be_bytes());
                segment
                    .options
                    .extend(irs.wrapping_add(*to as u32).to_be_bytes());
            }
        }
        // A SYN takes number `seq` itself; byte n of the stream has number n + 1.
        let first = spec.seq + i64::from(spec.flags & flag::SYN != 0) - 1;
        let stream = request(&self.path, self.close);
        let byte = |at: i64| stream[at.rem_euclid(REQUEST as i64) as usize];
        let garble = |byte: u8| if spec.garbled { byte ^ 1 } else { byte };
        segment.payload = (first..first + spec.end - spec.seq)
            .map(|at| garble(byte(at)))
            .collect();
        segment
    }

    fn next(&mut self, pace: &Pace) {
        let range = match pace {
            Pace::Within(range) => range.clone(),
            Pace::Doubled => self.pace.mul_f32(1.4)..self.pace * 3,
        };
        let since = self.last;
        let Some(segment) = self.receive(range.end) else {
            self.transcript
                .push("    (nothing in that time)".to_owned());
            self.stalled = true;
            return;
        };
        self.pace = self.last - since;
        self.record(&[segment]);
        if self.pace < range.start {
            let early = format!("    (too early: {})", coarse(self.pace));
            self.transcript.push(early);
            self.stalled = true;
        }
    }

    /// The next segment of this connection.
    fn receive(&mut self, limit: Duration) -> Option<Received> {
        let deadline = Deadline::after(limit);
        loop {
            let segment = self.raw.receive(deadline.left())?;
            if segment.dport == self.port && segment.sport == self.to {
                self.note(&segment);
                return Some(segment);
            }
        }
    }

    fn note(&mut self, segment: &Received) {
        self.last = now();
        if segment.has(flag::ACK) && !segment.has(flag::RST) {
            self.acked = Some(segment.ack);
        }
        if segment.has(flag::SYN) && self.irs.is_none_or(|(_, ack)| ack != segment.ack) {
            self.irs = Some((segment.seq, segment.ack));
        }
        if let Some(value) = segment.option(8).and_then(|ts| be32(ts, 0)) {
            self.ts_recent = value;
        }
    }

    /// What has come, up to the answer to two SYNs sent now. A NIC queue is served in order, so what the segments before
    /// had caused at once is among it. Two: the kernel may look at a segment after the next one, when its socket is in use.
    fn fence(&mut self) -> Vec<Received> {
        let mut before = std::mem::take(&mut self.early);
        let since = self.last;
        for _ in 0..2 {
            let port = self.raw.port();
            let mut syn = self.raw.segment(port, self.to);
            syn.flags = flag::SYN;
            syn.options = vec![2, 4, 5, 180];
            self.raw.send(&syn);
            let deadline = Deadline::after(PATIENCE);
            loop {
                let Some(segment) = self.raw.receive(deadline.left()) else {
                    panic!("port {} takes no connection any more", self.to);
                };
                if segment.sport != self.to {
                    continue;
                }
                if segment.dport == self.port {
                    self.note(&segment);
                    before.push(segment);
                } else if segment.dport == port {
                    syn.flags = flag::RST;
                    syn.seq = segment.ack;
                    syn.options.clear();
                    self.raw.send(&syn);
                    break;
                }
            }
        }
        self.stalled |= now() - since > STALL;
        before
    }

    fn reaches(&self, segment: &Received, goal: &Goal) -> bool {
        let seq = self.theirs(segment.seq);
        let behind = seq + segment.payload.len() as i64;
        match goal {
            Goal::Data(end) => behind > seq && behind >= *end,
            Goal::Segment(from, end) => (seq, behind) == (*from, *end),
            Goal::Ack(ack) => segment.has(flag::ACK) && self.ours(segment.ack) >= *ack,
            Goal::Flags(flags) => segment.has(*flags),
        }
    }

    /// Resets what is left, so that nothing of it is sent during another exchange.
    fn clean_up(&mut self) {
        let mut reset = self.raw.segment(self.port, self.to);
        reset.flags = flag::RST;
        reset.seq = self.acked.unwrap_or(self.iss.wrapping_add(1));
        self.raw.send(&reset);
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A power of two of milliseconds: the same in every run.
fn coarse(time: Duration) -> String {
    format!("< {} ms", (time.as_millis() as u64 + 1).next_power_of_two())
}
