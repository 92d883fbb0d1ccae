//! What the model client makes of what it receives.

use super::habits::Acks;
use super::{Model, State};
use crate::packet::{CE, CWR, ECE, FIN, Packet, RST, SYN};
use crate::ranges::Ranges;

impl Model {
    pub(super) fn open(&mut self, now: u64, packet: &Packet) {
        self.state = State::Open;
        self.theirs = packet.seq.wrapping_add(1);
        self.sack = packet.sack_permitted;
        self.timestamps = packet.timestamps.is_some();
        self.recent = packet.timestamps.map_or(0, |(val, _)| val);
        self.shift = self
            .habits
            .shift
            .filter(|_| packet.shift.is_some())
            .unwrap_or(0);
        self.ecn = packet.has(ECE);
        self.mss = u32::from(packet.mss.unwrap_or(536)) - 40;
        self.lets_in = u32::from(packet.window);
        (self.timer, self.backoff) = (None, 0);
        self.read_after = now;
        self.ack_now = true;
    }

    pub(super) fn hear(&mut self, now: u64, packet: &Packet) {
        if self.timestamps {
            let Some((val, _)) = packet.timestamps else {
                self.hear_reset(packet);
                return;
            };
            if (val.wrapping_sub(self.recent) as i32) < 0 {
                self.ack_now |= !packet.has(RST);
                return;
            }
            if packet.seq.wrapping_sub(self.theirs) <= self.got {
                self.recent = val;
            }
        }
        if packet.has(RST) {
            self.hear_reset(packet);
            return;
        }
        if packet.has(SYN) {
            self.ack_now = true;
            return;
        }
        let from = packet.seq.wrapping_sub(self.theirs);
        let ack = packet.ack.wrapping_sub(self.mine);
        let len = packet.seq_len();
        if (from as i32) < self.got as i32 && from.wrapping_add(len) as i32 <= self.got as i32 {
            // Seen before, or a question whether it is still there.
            if len > 0 {
                self.twice =
                    Some((from, from + packet.payload.len() as u32)).filter(|(l, r)| l < r);
            }
            self.ack_now = true;
        }
        if from as i32 > self.edge as i32 || ack as i32 > self.nxt as i32 {
            self.ack_now = true;
            return;
        }
        self.hear_ack(now, packet, ack);
        if len > 0 {
            self.hear_data(now, packet, from);
        }
    }

    pub(super) fn hear_reset(&mut self, packet: &Packet) {
        let from = packet.seq.wrapping_sub(self.theirs);
        if packet.has(RST) && from == self.got {
            self.state = State::Closed;
            self.was_reset = true;
        } else if packet.has(RST) && from.wrapping_sub(self.got) < self.edge - self.got {
            // RFC 5961 section 3.2
            self.ack_now = true;
        }
    }

    pub(super) fn hear_ack(&mut self, now: u64, packet: &Packet, ack: u32) {
        if (ack as i32) > self.una as i32 {
            self.una = ack;
            (self.duplicates, self.backoff) = (0, 0);
            self.timer = (self.una < self.nxt).then(|| now + self.habits.rto);
        } else if ack == self.una && packet.seq_len() == 0 && self.una < self.nxt {
            self.duplicates += 1;
            if self.duplicates == 3 {
                self.repeat(now);
            }
        }
        if ack as i32 >= 0 {
            self.lets_in = self.lets_in.max(ack + u32::from(packet.window));
        }
        if packet.has(ECE) && self.ecn && self.una >= self.cwr_from {
            self.cwr = true;
            self.cwr_from = self.nxt + 1;
        }
    }

    pub(super) fn hear_data(&mut self, now: u64, packet: &Packet, from: u32) {
        if self.ecn && !packet.payload.is_empty() {
            if packet.has(CWR) {
                self.ece = false;
            }
            self.ece |= packet.ecn == CE;
        }
        let end = from.wrapping_add(packet.payload.len() as u32);
        let from = if (from as i32) < 0 { 0 } else { from };
        let fits = end.min(self.edge);
        if packet.has(FIN) && end < self.edge {
            self.their_fin = Some(end);
        }
        let before = self.got;
        let island = from > self.got;
        if from < fits {
            if self.held.holds(from, fits) {
                self.twice = Some((from, fits));
                self.ack_now = true;
            }
            self.held.add(from, fits);
        }
        self.got = self.held.prefix();
        if self.their_fin == Some(self.got) {
            self.got += 1;
            self.held.add(0, self.got);
            self.ack_now = true;
        }
        let gap_filled = !self.blocks.is_empty();
        self.remember(from, fits);
        if island || gap_filled || end > self.edge {
            self.ack_now = true;
        } else if self.got > before {
            self.unacknowledged += 1;
            match self.habits.acks {
                Acks::Each => self.ack_now = true,
                Acks::Second if self.unacknowledged >= 2 => self.ack_now = true,
                Acks::Second | Acks::Late => {
                    self.ack_at.get_or_insert(now + self.habits.ack_delay);
                }
            }
        }
    }

    /// RFC 2018 section 4: the block with the newest segment first.
    pub(super) fn remember(&mut self, from: u32, to: u32) {
        let got = self.got;
        let mut newest = (from, to);
        self.blocks.retain(|(l, r)| {
            let touches = *l <= newest.1 && newest.0 <= *r;
            if touches {
                newest = (newest.0.min(*l), newest.1.max(*r));
            }
            !touches && *r > got
        });
        if newest.0 < newest.1 && newest.0 > got {
            self.blocks.insert(0, newest);
        }
        if !self.blocks.is_empty() && self.rng.chance(self.habits.reneges) {
            self.blocks.clear();
            self.held = Ranges::default();
            self.held.add(0, self.got);
            self.their_fin = self.their_fin.filter(|fin| *fin < self.got);
        }
    }
}
