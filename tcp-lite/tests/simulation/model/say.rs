//! What the model client sends.

use super::Model;
use crate::packet::{ACK, CWR, ECE, ECT0, FIN, Packet, RST, SYN};

impl Model {
    pub(super) fn say_syn(&mut self, now: u64) {
        let flags = if self.habits.ecn {
            SYN | ECE | CWR
        } else {
            SYN
        };
        let mut packet = self.packet(self.mine.wrapping_sub(1), flags);
        packet.window = self.habits.buffer.min(65_535) as u16;
        packet.mss = self.habits.mss;
        packet.shift = self.habits.shift;
        packet.sack_permitted = self.habits.sack;
        packet.timestamps = self.habits.timestamps.then(|| (self.clock(now), 0));
        self.edge = u32::from(packet.window);
        self.out.push(packet.build());
    }

    /// A segment of `[from, to)` of the stream with everything that goes along.
    pub(super) fn say(&mut self, now: u64, from: u32, to: u32, flags: u8) {
        let fresh = from >= self.nxt;
        let data = self.streams.asked.len() as u32;
        let payload = &self.streams.asked[from.min(data) as usize..to.min(data) as usize];
        let mut packet = self.packet(self.mine.wrapping_add(from), flags | ACK);
        packet.payload = payload.to_vec();
        if self.fin.is_some_and(|fin| from <= fin && fin < to) {
            packet.flags |= FIN;
        }
        if !packet.payload.is_empty() && self.ecn && fresh {
            packet.ecn = ECT0;
            if self.cwr {
                packet.flags |= CWR;
                self.cwr = false;
            }
        }
        self.finish(now, &mut packet);
        self.out.push(packet.build());
        self.nxt = self.nxt.max(to);
        (self.ack_now, self.ack_at, self.unacknowledged) = (false, None, 0);
    }

    /// Acknowledgment, window, options.
    pub(super) fn finish(&mut self, now: u64, packet: &mut Packet) {
        packet.ack = self.theirs.wrapping_add(self.got);
        if self.ece {
            packet.flags |= ECE;
        }
        packet.window = self.offer();
        packet.timestamps = self.timestamps.then(|| (self.clock(now), self.recent));
        if self.sack && !packet.has(SYN) {
            let room = if self.timestamps { 3 } else { 4 };
            let absolute =
                |(l, r): (u32, u32)| (self.theirs.wrapping_add(l), self.theirs.wrapping_add(r));
            let blocks = self.twice.iter().chain(&self.blocks).take(room);
            packet.sack = blocks.map(|block| absolute(*block)).collect();
            self.twice = None;
        }
    }

    /// RFC 9293 section 3.8.6.2.2, unless it is silly; never takes back what it offered.
    pub(super) fn offer(&mut self) -> u16 {
        let unread = self.got_bytes() - self.read;
        let free = self.got + self.habits.buffer.saturating_sub(unread);
        let step = if self.habits.silly {
            1
        } else {
            536.min(self.habits.buffer / 2)
        };
        let wish = if free >= self.edge + step {
            free
        } else {
            self.edge
        };
        let unit = 1 << self.shift;
        let units = (wish - self.got) / unit;
        let least = (self.edge - self.got).div_ceil(unit);
        let window = units.max(least).min(65_535);
        self.edge = self.edge.max(self.got + window * unit);
        window as u16
    }

    /// How far its window would open by what was read since it was last told.
    pub(super) fn would_open(&self) -> bool {
        let unread = self.got_bytes() - self.read;
        let free = self.got + self.habits.buffer.saturating_sub(unread);
        let step = if self.habits.silly {
            1
        } else {
            536.min(self.habits.buffer / 2)
        };
        let small = (self.edge - self.got) < self.habits.buffer / 2;
        small && free >= self.edge + step.max(1 << self.shift)
    }

    pub(super) fn reset(&mut self, about: Option<&Packet>) {
        let mut packet = self.packet(self.mine.wrapping_add(self.nxt), RST);
        match about {
            Some(other) if other.has(ACK) => packet.seq = other.ack,
            Some(other) => {
                packet.seq = 0;
                packet.flags |= ACK;
                packet.ack = other.seq.wrapping_add(other.seq_len());
            }
            None => {}
        }
        self.out.push(packet.build());
    }
}
