//! NewReno congestion control: slow start, congestion avoidance, fast recovery (RFC 5681, 6582, 6928).

use crate::seq::SeqNum;

/// Above every window that a peer can offer (RFC 7323: 2^30): the arithmetic then needs no overflow checks.
const MAX_CWND: u32 = 1 << 30;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Congestion {
    pub cwnd: u32,
    ssthresh: u32,
    /// SND.NXT when the last loss was seen: ACKs up to it belong to that loss (RFC 6582 section 3.2).
    recover: SeqNum,
    pub dup_acks: u8,
    pub recovering: bool,
}

impl Congestion {
    pub fn new(mss: u32, iss: SeqNum, handshake_lost: bool) -> Congestion {
        // RFC 6928 section 2; one segment if the SYN-ACK was lost (RFC 5681 section 3.1).
        let cwnd = if handshake_lost {
            mss
        } else {
            initial_window(mss)
        };
        Congestion {
            cwnd,
            ssthresh: MAX_CWND,
            recover: iss,
            dup_acks: 0,
            recovering: false,
        }
    }

    /// After a pause of an RTO the window says nothing about the path any more (RFC 5681 section 4.1).
    pub fn restart(&mut self, mss: u32) {
        self.cwnd = self.cwnd.min(initial_window(mss));
    }

    /// `acked` new bytes were acknowledged up to `una`, with `flight` bytes outstanding before.
    /// Returns true when this is a partial ACK of a recovery: the next gap must be sent again.
    pub fn on_ack(&mut self, una: SeqNum, acked: u32, flight: u32, mss: u32) -> bool {
        self.dup_acks = 0;
        if self.recovering {
            if una.lt(self.recover) {
                // RFC 6582 section 3.2 step 3, partial: deflate by what left the network, and one segment back.
                self.cwnd =
                    self.cwnd.saturating_sub(acked).max(mss) + if acked >= mss { mss } else { 0 };
                return true;
            }
            // Full: do not let a burst out.
            self.recovering = false;
            self.cwnd = self
                .ssthresh
                .min((flight - acked.min(flight)).max(mss) + mss);
            return false;
        }
        // Kept near `una`, so that the comparison above holds across a wrap.
        self.recover = self.recover.max(una);
        // A window that was not used proves nothing.
        if flight.saturating_mul(2) < self.cwnd {
            return false;
        }
        let growth = if self.cwnd < self.ssthresh {
            acked.min(2 * mss) // RFC 3465 with L = 2
        } else {
            (u64::from(mss) * u64::from(acked.min(2 * mss)) / u64::from(self.cwnd)).max(1) as u32
        };
        self.cwnd = (self.cwnd + growth).min(MAX_CWND);
        false
    }

    /// A duplicate ACK; returns true when it begins a recovery: the first gap must be sent again.
    pub fn on_duplicate(&mut self, una: SeqNum, nxt: SeqNum, flight: u32, mss: u32) -> bool {
        self.dup_acks = self.dup_acks.saturating_add(1);
        if self.recovering {
            self.cwnd = (self.cwnd + mss).min(MAX_CWND);
            return false;
        }
        // ACKs of what was sent before the last loss do not tell of a new one (RFC 6582 section 3.2 step 2).
        if self.dup_acks < 3 || una.lt(self.recover) {
            return false;
        }
        self.recovering = true;
        self.recover = nxt;
        self.ssthresh = (flight / 2).max(2 * mss);
        self.cwnd = self.ssthresh + 3 * mss;
        true
    }

    /// What may be outstanding now: the first two duplicates let out a new segment each (RFC 3042).
    pub fn allowed(&self, mss: u32) -> u32 {
        let limited = if self.recovering {
            0
        } else {
            u32::from(self.dup_acks.min(2)) * mss
        };
        self.cwnd + limited
    }

    /// A router marked a segment where it might have dropped it (RFC 3168 section 6.1.2).
    pub fn on_ecn(&mut self, flight: u32, mss: u32) {
        self.ssthresh = (flight / 2).max(2 * mss);
        self.cwnd = self.cwnd.min(self.ssthresh);
    }

    /// The retransmission timer rang (RFC 5681 section 3.1).
    pub fn on_timeout(&mut self, nxt: SeqNum, flight: u32, mss: u32, again: bool) {
        if !again {
            self.ssthresh = (flight / 2).max(2 * mss);
        }
        self.cwnd = mss;
        self.recover = nxt;
        self.recovering = false;
        self.dup_acks = 0;
    }
}

fn initial_window(mss: u32) -> u32 {
    (10 * mss).min((2 * mss).max(14_600))
}
