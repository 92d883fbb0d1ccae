//! One connection as the referee knows it.

use super::{FAR, Promises, after};
use crate::packet::{ACK, CE, CWR, ECE, FIN, Packet, RST};
use crate::plan::Streams;
use crate::ranges::Ranges;

/// One pair of initial sequence numbers. All positions count from the first byte of the stream.
#[derive(Clone, Default)]
pub(super) struct Conn {
    /// The first bytes' sequence numbers.
    pub(super) to_server: u32,
    pub(super) to_client: u32,
    pub(super) syn: Packet,
    pub(super) syn_ack: Packet,
    /// What arrived of the client's stream, FIN included, and what was acknowledged of it.
    pub(super) arrived: Ranges,
    pub(super) acked: u32,
    /// Right edge of the server's window.
    pub(super) edge: u32,
    /// Newest echo that the server gave, its clock.
    pub(super) echo: Option<u32>,
    pub(super) clock: Option<u32>,
    /// Newest timestamp that arrived.
    pub(super) newest: Option<u32>,
    /// The handshake's last ACK arrived.
    pub(super) open: bool,
    /// Highest number that the server said; what the client is known to have, and right edge of what it lets in.
    pub(super) said: u32,
    pub(super) had: u32,
    pub(super) reported: Ranges,
    pub(super) lets_in: u32,
    pub(super) duplicates: u32,
    pub(super) fin: Option<u32>,
    pub(super) reset: bool,
    pub(super) marked: bool,
    /// Times at which it repeated something since it last heard the client.
    pub(super) repeats: Vec<u64>,
    /// When data arrived that no segment answered yet.
    pub(super) owed: Option<u64>,
    /// When one of the two last said something.
    pub(super) stirred: u64,
}

impl Conn {
    fn has_timestamps(&self) -> bool {
        self.syn_ack.timestamps.is_some()
    }

    pub(super) fn arrived(&mut self, now: u64, packet: &Packet) {
        let from = after(packet.seq, self.to_server);
        let ack = after(packet.ack, self.to_client);
        // One below: a keep-alive probe.
        let mine = from.wrapping_add(1) < FAR && packet.has(ACK) && ack < FAR;
        if packet.has(RST) || !mine || self.reset {
            return;
        }
        if self.has_timestamps() && packet.timestamps.is_none() {
            return;
        }
        if let Some((val, _)) = packet.timestamps {
            let newest = *self.newest.get_or_insert(val);
            if after(val, newest) < FAR {
                self.newest = Some(val);
            }
        }
        if ack > self.said {
            return;
        }
        // Without state for it, no other segment brings the whole cookie back.
        self.open |= from == 0;
        self.stirred = now;
        self.repeats.clear();
        if packet.seq_len() > 0 {
            if self.open {
                self.owed.get_or_insert(now);
            }
            let end = from.wrapping_add(packet.seq_len());
            self.arrived.add(if from < FAR { from } else { 0 }, end);
            self.marked |= packet.ecn == CE && !packet.payload.is_empty();
        }
        if ack == self.had {
            self.duplicates += 1;
        } else if ack > self.had {
            self.had = ack;
            if self.had == self.said {
                self.duplicates = 0;
            }
        }
        let shift = self.syn_ack.shift.and(self.syn.shift).unwrap_or(0);
        let window = u32::from(packet.window) << shift;
        self.lets_in = self.lets_in.max(ack + window);
        for (left, right) in &packet.sack {
            let (left, right) = (after(*left, self.to_client), after(*right, self.to_client));
            if left < right && right < FAR {
                self.reported.add(left, right);
            }
        }
    }

    pub(super) fn said(
        &mut self,
        now: u64,
        packet: &Packet,
        streams: &Streams,
        promises: &Promises,
    ) -> Result<(), String> {
        self.owed = None;
        if packet.has(RST) {
            // With another number it answers a segment that it took for nobody's, and resets nothing.
            self.reset |= packet.has(ACK) || after(packet.seq, self.to_client) == self.said;
            must!(packet.payload.is_empty(), "RST with data");
            return Ok(());
        }
        must!(!self.reset, "speaks behind its RST");
        self.acknowledgment(packet, promises)?;
        self.options(packet)?;
        let result = self.data(now, packet, streams, promises);
        self.stirred = now;
        result
    }

    /// The ACK field, the window, ECN-Echo.
    fn acknowledgment(&mut self, packet: &Packet, promises: &Promises) -> Result<(), String> {
        let ack = after(packet.ack, self.to_server);
        must!(
            ack >= self.acked && ack < FAR,
            "ACK moved back from {} to {}",
            self.acked,
            ack as i32
        );
        must!(
            ack <= self.arrived.prefix(),
            "acknowledges {ack}, only {} arrived",
            self.arrived.prefix()
        );
        self.acked = ack;
        let shift = self.syn_ack.shift.unwrap_or(0);
        let window = u32::from(packet.window) << shift;
        must!(window <= promises.receive_window, "window of {window}");
        must!(
            ack + window >= self.edge,
            "window shrank from {} to {}",
            self.edge,
            ack + window
        );
        self.edge = ack + window;
        let ecn = self.syn_ack.has(ECE);
        must!(
            !packet.has(ECE) || ecn && self.marked,
            "ECN-Echo of no mark"
        );
        must!(!packet.has(CWR) || ecn, "CWR without ECN");
        must!(packet.ecn == 0 || ecn, "ECT without ECN");
        Ok(())
    }

    fn options(&mut self, packet: &Packet) -> Result<(), String> {
        let odd = packet.mss.is_some() || packet.shift.is_some() || packet.sack_permitted;
        must!(!odd, "option of a SYN");
        must!(
            packet.timestamps.is_some() == self.has_timestamps(),
            "timestamps missing, or not agreed on"
        );
        if let (Some((clock, echo)), Some(newest)) = (packet.timestamps, self.newest) {
            let before = self.clock.unwrap_or(clock);
            must!(after(clock, before) < FAR, "its clock went back");
            self.clock = Some(clock);
            let before = self.echo.unwrap_or(echo);
            must!(
                after(newest, echo) < FAR && after(echo, before) < FAR,
                "echoes {echo} behind {before}, newest {newest}"
            );
            self.echo = Some(echo);
        }
        must!(
            packet.sack.is_empty() || self.syn_ack.sack_permitted,
            "SACK not agreed on"
        );
        for (nth, (left, right)) in packet.sack.iter().enumerate() {
            let (mut left, right) = (after(*left, self.to_server), after(*right, self.to_server));
            if nth == 0 && left == u32::MAX {
                // The byte of a keep-alive probe, in the place of the SYN.
                left = 0;
            }
            must!(
                left <= right && right < FAR && self.arrived.holds(left, right),
                "reports [{left}, {right}), which did not arrive"
            );
            // Only the first may tell of what came twice (RFC 2883 section 4).
            must!(nth == 0 || left > self.acked, "block {nth} is acknowledged");
        }
        Ok(())
    }

    fn data(
        &mut self,
        now: u64,
        packet: &Packet,
        streams: &Streams,
        promises: &Promises,
    ) -> Result<(), String> {
        let from = after(packet.seq, self.to_client);
        let len = packet.payload.len() as u32;
        if len == 0 && !packet.has(FIN) {
            must!(packet.ecn == 0, "ECT without data");
            let probe = from.wrapping_add(1) == self.said;
            must!(
                probe || from == self.said,
                "ACK at {} instead of {}",
                from as i32,
                self.said
            );
            return Ok(());
        }
        if from >= FAR {
            return Err(format!("data at {}", from as i32));
        }
        let end = from + len + u32::from(packet.has(FIN));
        must!(self.open, "data before the handshake's end");
        must!(from <= self.said, "left out from {} to {from}", self.said);
        let asked = streams.answers_to(self.arrived.prefix());
        must!(from + len <= asked, "says {end}, was asked for {asked}");
        must!(
            streams.agrees(from, &packet.payload),
            "wrong bytes in [{from}, {})",
            from + len
        );
        if packet.has(FIN) {
            must!(
                from + len == asked,
                "FIN at {}, was asked for {asked}",
                from + len
            );
            must!(
                self.fin.is_none_or(|fin| fin == from + len),
                "FIN moved to {}",
                from + len
            );
            self.fin = Some(from + len);
        }
        must!(
            self.fin.is_none_or(|fin| from + len <= fin),
            "data behind FIN"
        );
        let mss = self.syn.mss.filter(|mss| *mss > 0).unwrap_or(536);
        let mss = u32::from(mss.max(88).min(promises.mtu - 40));
        must!(
            len + packet.options_len as u32 <= mss,
            "{len} bytes and {} of options, MSS {mss}",
            packet.options_len
        );
        // One number beyond it asks whether it is still closed (RFC 9293 section 3.8.6.1).
        let probe = end - from == 1 && from <= self.had && end <= self.lets_in + 1;
        must!(
            end <= self.lets_in || probe,
            "says {end}, the window ends at {}",
            self.lets_in
        );
        self.burst(from, end, mss)?;
        let again = from < self.said;
        must!(packet.ecn == 0 || !again, "ECT on a repetition");
        if again {
            self.repeated(now, promises)?;
        }
        self.said = self.said.max(end);
        Ok(())
    }

    /// No congestion window can have become larger: ten segments (RFC 6928) and what arrived of what was sent; what
    /// duplicate ACKs and reports say left the network; three segments of limited transmit and a probe.
    fn burst(&self, from: u32, end: u32, mss: u32) -> Result<(), String> {
        let first = (10 * mss).min((2 * mss).max(14_600));
        let reported = self.reported.above(self.had);
        let most = first + self.had + 2 * reported + (self.duplicates + 4) * mss;
        must!(
            from < self.said || end - self.had <= most,
            "{} outstanding, at most {most} could be",
            end - self.had
        );
        Ok(())
    }

    /// RFC 6298 section 5.5: in silence each wait is twice the one before. The first two times are a probe's and the
    /// timeout's behind it.
    fn repeated(&mut self, now: u64, promises: &Promises) -> Result<(), String> {
        if self.repeats.last() != Some(&now) {
            self.repeats.push(now);
        }
        let [.., a, b, c] = self.repeats[..] else {
            return Ok(());
        };
        if self.repeats.len() < 5 || promises.late > 0 {
            return Ok(());
        }
        let (before, gap) = (b - a, c - b);
        let doubled = gap + 20_000 >= 2 * before || gap + 20_000 >= promises.max_rto;
        must!(
            gap >= promises.min_rto && doubled,
            "repeated after {gap} µs, before that after {before}: {:?}",
            self.repeats
        );
        Ok(())
    }

    pub(super) fn looks(
        &self,
        now: u64,
        promises: &Promises,
        streams: &Streams,
    ) -> Result<(), String> {
        if self.reset || !self.open {
            return Ok(());
        }
        if let Some(since) = self.owed {
            must!(
                now - since <= promises.ack_delay + promises.late,
                "data that came at {since} is not acknowledged"
            );
        }
        let waits = self.had < self.said || self.said < streams.answers_to(self.acked);
        must!(
            !waits || now - self.stirred <= promises.max_rto + 20_000 + promises.late,
            "silent since {} with data to send",
            self.stirred
        );
        Ok(())
    }
}
