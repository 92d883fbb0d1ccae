//! What a client asks for and how it behaves towards its own TCP, drawn from the seed.

use crate::rng::Rng;
use crate::server::{STRETCH, pattern, request};

/// Bytes of a request without padding.
const HEAD: u32 = 6;

/// What the application on top of a client does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Lengths of the answers asked for.
    pub requests: Vec<u32>,
    /// Bytes of padding per request.
    pub padding: Vec<u16>,
    /// Requests in flight at most.
    pub depth: usize,
    /// Ask the server to close; else the client does, when it has everything.
    pub server_closes: bool,
    /// Send FIN right behind the last request, before the answers.
    pub early_fin: bool,
    /// Read at most this much per wake-up, after such a pause (µs).
    pub sip: usize,
    pub pause: u64,
}

impl Plan {
    pub fn new(rng: &mut Rng) -> Plan {
        let largest = rng.pick(&[10, 200, 3_000, 40_000]);
        let count = 1 + rng.below(if largest > 10_000 { 6 } else { 60 });
        let slow = rng.chance(150);
        let most = rng.pick(&[1, 1, 50, 2_000]);
        Plan {
            requests: (0..count).map(|_| rng.below(largest) as u32).collect(),
            padding: (0..count).map(|_| rng.below(most) as u16).collect(),
            depth: rng.pick(&[1, 4, 24, 1000]),
            server_closes: rng.chance(400),
            // smoltcp forgets what was not read when its TIME-WAIT ends.
            early_fin: !slow && rng.chance(250),
            sip: if slow { 700 } else { usize::MAX },
            pause: if slow {
                rng.pick(&[20_000, 700_000])
            } else {
                0
            },
        }
    }

    /// The bytes of request `id`; the last one is followed by the demand to close, if there is to be one.
    pub fn request(&self, id: usize) -> Vec<u8> {
        let mut bytes = request(id as u32, self.requests[id], self.padding[id]);
        if self.server_closes && id + 1 == self.requests.len() {
            bytes.extend(request(0, u32::MAX, 0));
        }
        bytes
    }
}

/// Both streams of a connection as the plan has them.
#[derive(Clone, Debug)]
pub struct Streams {
    /// All that the client says.
    pub asked: Vec<u8>,
    /// Where each request ends in it, without the demand to close behind the last one.
    pub asked_ends: Vec<u32>,
    /// Where each answer ends in what the server says.
    pub answer_ends: Vec<u32>,
}

impl Streams {
    pub fn new(plan: &Plan) -> Streams {
        let mut asked = Vec::new();
        let (mut asked_ends, mut answer_ends, mut end) = (Vec::new(), Vec::new(), 0);
        for (id, len) in plan.requests.iter().enumerate() {
            let begin = asked.len() as u32;
            asked.extend(plan.request(id));
            asked_ends.push(begin + HEAD + u32::from(plan.padding[id]));
            end += len;
            answer_ends.push(end);
        }
        Streams {
            asked,
            asked_ends,
            answer_ends,
        }
    }

    /// Bytes of all answers.
    pub fn answers(&self) -> u32 {
        self.answer_ends.last().copied().unwrap_or(0)
    }

    /// Bytes of the answers to the requests that are whole in the first `asked` bytes.
    pub fn answers_to(&self, asked: u32) -> u32 {
        let whole = self.asked_ends.partition_point(|end| *end <= asked);
        whole.checked_sub(1).map_or(0, |at| self.answer_ends[at])
    }

    /// Answers that are whole in the first `read` bytes.
    pub fn whole(&self, read: u32) -> usize {
        self.answer_ends.partition_point(|end| *end <= read)
    }

    /// Is `bytes` what stands at `at` in the answers?
    pub fn agrees(&self, mut at: u32, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let id = self.whole(at);
            let Some(end) = self.answer_ends.get(id) else {
                return false;
            };
            let begin = id.checked_sub(1).map_or(0, |id| self.answer_ends[id]);
            let (some, rest) = bytes.split_at(bytes.len().min((end - at) as usize).min(STRETCH));
            if some != pattern(id as u32, (at - begin) as usize, some.len()) {
                return false;
            }
            at += some.len() as u32;
            bytes = rest;
        }
        true
    }
}
