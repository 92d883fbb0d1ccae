//! Frames without a TCP, for a reflector: how many of them the machine carries there and back.
//!
//! Each has the size and the headers of a request. One that does not come back is sent again after a while.

use super::drive::Job;
use super::engine::Sink;
use super::requests::Requests;
use super::sources::Sources;
use super::tally::Tally;
use super::wire::{self, Segment, Template, flag};
use std::time::Duration;

/// After so long, in nanoseconds, a frame is lost: far longer than a queue of some thousand frames takes.
const LOST: u64 = 200_000_000;

/// What is sent.
pub(crate) struct Settings {
    pub(crate) sources: Sources,
    pub(crate) template: Template,
    pub(crate) requests: Requests,
    /// Frames under way, each from an address and port of its own.
    pub(crate) frames: u32,
    pub(crate) warm_up: Duration,
    pub(crate) seconds: Duration,
}

/// See the module.
pub(crate) struct Frames {
    set: Settings,
    /// When each was sent, in nanoseconds; 0: it is here.
    sent: Vec<u64>,
    /// Those that are here.
    here: Vec<u32>,
    tally: Tally,
    measures: bool,
    /// When to begin to measure, and to end, in nanoseconds.
    begin: u64,
    end: u64,
    /// When to look for lost ones, in nanoseconds.
    look: u64,
}

impl Frames {
    /// Begins at `now`, in nanoseconds.
    pub(crate) fn new(set: Settings, now: u64) -> Self {
        let begin = now + set.warm_up.as_nanos() as u64;
        Self {
            sent: vec![0; set.frames as usize],
            here: (0..set.frames).collect(),
            tally: Tally::new(),
            measures: false,
            begin,
            end: begin + set.seconds.as_nanos() as u64,
            look: now + LOST,
            set,
        }
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Frames under way.
    pub(crate) fn count(&self) -> u32 {
        self.set.frames
    }

    /// Those that have not come back.
    fn find_lost(&mut self, now: u64) {
        for (index, sent) in (0..).zip(&mut self.sent) {
            if *sent != 0 && *sent + LOST <= now {
                *sent = 0;
                self.tally.retransmits += 1;
                self.here.push(index);
            }
        }
    }
}

impl Job for Frames {
    #[inline]
    fn frame(&mut self, now: u64, frame: &[u8], _: &mut impl Sink) {
        // Its checksum is still right: addresses and ports have changed places, which no sum sees.
        let Some(back) = wire::parse(frame, false) else {
            return;
        };
        let Some(index) = self.set.sources.index(back.low, back.port) else {
            return;
        };
        let sent = std::mem::take(&mut self.sent[index as usize]);
        if sent == 0 {
            return;
        }
        self.here.push(index);
        let (data, _) = self
            .set
            .requests
            .piece(0, self.set.requests.bytes_of(0) as usize);
        if back.data != data {
            self.tally.wrong += 1;
        } else if self.measures {
            self.tally.answered(now - sent);
        }
    }

    fn turn(&mut self, now: u64, sink: &mut impl Sink) -> bool {
        if now >= self.look {
            self.find_lost(now);
            self.look = now + LOST;
        }
        if !self.measures && now >= self.begin {
            self.measures = true;
            self.tally.begin();
        }
        if now >= self.end {
            self.measures = false;
            return false;
        }
        let set = &self.set;
        let (data, data_sum) = set.requests.piece(0, set.requests.bytes_of(0) as usize);
        while let Some(&index) = self.here.last() {
            let segment = Segment {
                low: set.sources.low(index),
                port: set.sources.port(index),
                seq: 0,
                ack: 0,
                flags: flag::ACK | flag::PSH,
                options: 0,
                window: u16::MAX,
            };
            let write = |frame: &mut [u8]| set.template.write(frame, segment, data, data_sum);
            if !sink.send(set.template.len(data.len()), write) {
                break;
            }
            self.here.pop();
            self.sent[index as usize] = now.max(1);
        }
        true
    }

    fn next(&self, now: u64) -> u64 {
        let phase = if self.measures { self.end } else { self.begin };
        let room = if self.here.is_empty() {
            u64::MAX
        } else {
            now + LOST / 1000
        };
        phase.min(self.look).min(room)
    }

    fn connections(&self) -> usize {
        self.sent.len()
    }

    fn measures(&self) -> bool {
        self.measures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::requests::render;
    use crate::load::sources::Prefix;
    use crate::reflect::reflected;

    struct Wire(Vec<Vec<u8>>);

    impl Sink for Wire {
        fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
            let mut frame = vec![0; len];
            fill(&mut frame);
            self.0.push(frame);
            true
        }
    }

    fn frames(target: &str, source: &str) -> Frames {
        let target = target.parse().unwrap();
        let prefix: Prefix = source.parse().unwrap();
        let sources = Sources::new(prefix, 16).unwrap();
        let request = render("GET", "/", "a", &[]);
        let set = Settings {
            template: Template::new([1; 6], [2; 6], sources.first(), target),
            sources,
            requests: Requests::new(&[request], 1460),
            frames: 16,
            warm_up: Duration::from_secs(1),
            seconds: Duration::from_secs(1),
        };
        Frames::new(set, 0)
    }

    #[test]
    fn what_is_reflected_is_counted_and_what_is_lost_is_sent_again() {
        for (target, source) in [("192.0.2.1:80", "10.0.0.1"), ("[fd00::2]:80", "fd00::1")] {
            let mut frames = frames(target, source);
            let mut wire = Wire(Vec::new());
            let mut now = 0;
            let mut sent = 0;
            while frames.turn(now, &mut wire) {
                assert!(wire.0.len() <= 16);
                for (number, frame) in wire.0.drain(..).enumerate() {
                    sent += 1;
                    // The first of each batch is lost.
                    if number > 0 {
                        let mut back = vec![0; frame.len()];
                        reflected(&frame, &mut back);
                        frames.frame(now + 1000, &back, &mut Wire(Vec::new()));
                    }
                }
                now += 10_000_000;
            }
            let tally = frames.tally();
            assert!(
                tally.requests > 0 && tally.requests < sent,
                "{target} {tally:?}"
            );
            assert!(
                tally.retransmits > 0 && tally.wrong == 0,
                "{target} {tally:?}"
            );
        }
    }

    #[test]
    fn another_content_is_wrong() {
        let mut frames = frames("192.0.2.1:80", "10.0.0.1");
        let mut wire = Wire(Vec::new());
        frames.turn(0, &mut wire);
        let mut back = vec![0; wire.0[0].len()];
        reflected(&wire.0[0], &mut back);
        back[60] ^= 1;
        frames.frame(5, &back, &mut wire);
        assert_eq!(frames.tally().wrong, 1);
    }
}
