//! What a worker counts. Plain integers: one writer, published once per batch. TCP's own are in `tcp_lite`.

use crate::net::{Emitter, FrameDrop};
use crate::reason::{NotOurs, NotTaken};

/// Below TCP.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Frames taken from the receive ring.
    pub frames_received: u64,
    /// Frames queued for transmission.
    pub frames_sent: u64,
    /// Segments that found no free frame or no room in the transmit ring; TCP sends them later.
    pub tx_full: u64,
    /// Frames handed to the next worker.
    pub strays_passed: u64,
    /// Frames taken from the previous worker.
    pub strays_taken: u64,
    /// Frames given to the kernel.
    pub injected: u64,
    /// Datagrams put together from fragments.
    pub reassembled: u64,
    drops: [u64; FrameDrop::ALL.len()],
}

impl Counters {
    /// Counts a frame that ends here.
    pub fn dropped(&mut self, why: FrameDrop) {
        self.drops[why as usize] += 1;
    }

    /// Adds what one batch has sent.
    pub fn emitted<M, R>(&mut self, out: &Emitter<'_, M, R>) {
        self.frames_sent += out.sent;
        self.tx_full += out.full;
    }

    /// Shows every counter as (name, label, value).
    pub fn visit(&self, see: &mut impl FnMut(&'static str, &'static str, u64)) {
        see("frames", "received", self.frames_received);
        see("frames", "sent", self.frames_sent);
        see("frames", "tx_full", self.tx_full);
        see("frames", "stray_passed", self.strays_passed);
        see("frames", "stray_taken", self.strays_taken);
        see("frames", "injected", self.injected);
        see("frames", "reassembled", self.reassembled);
        for why in FrameDrop::ALL {
            see("frame_drops", why.label(), self.drops[why as usize]);
        }
    }
}

/// Above TCP.
#[derive(Clone, Debug)]
pub struct HttpCounters {
    /// Requests answered, refusals included.
    pub requests: u64,
    /// Those of them whose head, byte for byte, had just been answered.
    pub repeated: u64,
    /// Those of them whose whole frame was like the one before on its connection.
    pub turns: u64,
    /// Heads that were not complete within the header timeout.
    pub header_timeouts: u64,
    /// Connections closed because no request came.
    pub idle_timeouts: u64,
    /// Connections whose client ended in the middle of a head.
    pub cut_off: u64,
    /// Connections that the kernel took.
    pub handed_over: u64,
    /// Requests answered with 503, since nobody listened or the kernel did not take the connection in time.
    refused: [u64; NotTaken::ALL.len()],
    /// Answers by the first digit of their status.
    classes: [u64; CLASSES.len()],
    not_ours: [u64; NotOurs::COUNT],
    /// Those of them that were left to the kernel.
    left: [u64; NotOurs::COUNT],
}

const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

impl Default for HttpCounters {
    fn default() -> Self {
        Self {
            requests: 0,
            repeated: 0,
            turns: 0,
            header_timeouts: 0,
            idle_timeouts: 0,
            cut_off: 0,
            handed_over: 0,
            refused: [0; NotTaken::ALL.len()],
            classes: [0; CLASSES.len()],
            not_ours: [0; NotOurs::COUNT],
            left: [0; NotOurs::COUNT],
        }
    }
}

impl HttpCounters {
    /// Counts `times` answers; `status` is 200 to 599.
    #[inline]
    pub fn answered(&mut self, status: u16, times: u64) {
        self.requests += times;
        if let Some(class) = self
            .classes
            .get_mut(usize::from(status / 100).wrapping_sub(2))
        {
            *class += times;
        }
    }

    /// Counts a request that the fast path does not serve, and refuses.
    pub fn not_ours(&mut self, why: NotOurs) {
        self.not_ours[why.index()] += 1;
    }

    /// Counts a request that is left to the kernel.
    pub fn left(&mut self, why: NotOurs) {
        self.left[why.index()] += 1;
    }

    /// Counts a connection that the kernel should have taken.
    pub fn not_taken(&mut self, why: NotTaken) {
        self.refused[why as usize] += 1;
    }

    /// Shows every counter as (name, label, value).
    pub fn visit(&self, see: &mut impl FnMut(&'static str, &'static str, u64)) {
        see("http", "requests", self.requests);
        see("http", "repeated", self.repeated);
        see("http", "turns", self.turns);
        see("http", "header_timeouts", self.header_timeouts);
        see("http", "idle_timeouts", self.idle_timeouts);
        see("http", "cut_off", self.cut_off);
        for (label, count) in CLASSES.iter().zip(self.classes) {
            see("http_status", label, count);
        }
        for (why, count) in NotOurs::all().zip(self.not_ours) {
            see("http_not_ours", why.label(), count);
        }
        for (why, count) in NotOurs::all().zip(self.left) {
            see("http_left", why.label(), count);
        }
        see("handoff", "taken", self.handed_over);
        for why in NotTaken::ALL {
            see("handoff", why.label(), self.refused[why as usize]);
        }
    }
}
