//! Segments as lines of a transcript, without what is not compared.

use super::{Conn, IRS, TS_BASE, be32};
use sidestep_tests::raw::{Received, flag};
use std::net::IpAddr;

impl Conn<'_> {
    /// A number of ours, relative to our ISN.
    pub(super) fn ours(&self, number: u32) -> i64 {
        i64::from(number.wrapping_sub(self.iss).cast_signed())
    }

    /// A number of the server's, relative to its ISN.
    pub(super) fn theirs(&self, number: u32) -> i64 {
        let irs = self.irs.map_or(IRS, |(irs, _)| irs);
        i64::from(number.wrapping_sub(irs).cast_signed())
    }

    /// Writes the segments of one step down, without the bare ACKs whose news a later segment of the step carries too:
    /// SACK blocks as well, if there are any.
    pub(super) fn record(&mut self, segments: &[Received]) {
        for (at, segment) in segments.iter().enumerate() {
            let rides = |later: &Received| {
                let blocks = segment.option(5);
                later.end() != later.seq
                    && self.ours(later.ack) >= self.ours(segment.ack)
                    && (blocks.is_none() || later.option(5) == blocks)
            };
            let bare =
                segment.flags & !(flag::PSH | flag::ECE) == flag::ACK && segment.payload.is_empty();
            if bare && segment.window != 0 && segments[at + 1..].iter().any(rides) {
                continue;
            }
            for line in self.lines(segment) {
                self.transcript.push(format!("    {line}"));
            }
        }
    }

    /// A segment as one line, or two when its FIN rides on data.
    fn lines(&self, segment: &Received) -> Vec<String> {
        let mut flags = String::new();
        // PSH is a hint that a sender may set at will (RFC 9293 section 3.9.1.2), so it is not compared.
        for (bit, letter) in [
            (flag::SYN, 'S'),
            (flag::RST, 'R'),
            (flag::URG, 'U'),
            (flag::ECE, 'E'),
            (flag::CWR, 'W'),
            (flag::ACK, '.'),
        ] {
            if segment.has(bit) {
                flags.push(letter);
            }
        }
        let seq = self.theirs(segment.seq);
        let end = seq + segment.payload.len() as i64;
        let mut rest = String::new();
        if segment.has(flag::ACK) {
            rest += &format!(" ack {}", self.ours(segment.ack));
        }
        if segment.window == 0 && !segment.has(flag::RST) {
            rest += " win 0";
        }
        rest += ["", " ect1", " ect", " ce"][usize::from(segment.ecn)];
        rest += &self.options(segment);
        if segment.has(flag::RST) && segment.seq == 0 {
            return vec![format!("{flags} number zero{rest}")];
        }
        if segment.has(flag::SYN) {
            let same = self.irs.is_some_and(|(irs, _)| irs == segment.seq);
            let seq = if same { "0" } else { "another ISN" };
            return vec![format!("{flags} {seq}{rest}")];
        }
        let fin = || format!("F{flags} {end}{rest}");
        if segment.payload.is_empty() {
            return vec![if segment.has(flag::FIN) {
                fin()
            } else {
                format!("{flags} {seq}{rest}")
            }];
        }
        let answer = &self.answers[&(self.path.clone(), self.close)];
        let holds = seq >= 1 && answer.holds((seq - 1) as usize, &segment.payload);
        let wrong = if holds { "" } else { " WRONG BYTES" };
        let mut lines = vec![format!("{flags} {seq}:{end}{rest}{wrong}")];
        if segment.has(flag::FIN) {
            lines.push(fin());
        }
        lines
    }

    /// The options in one order, without padding.
    fn options(&self, segment: &Received) -> String {
        let link = match self.raw.addr {
            IpAddr::V4(_) => 1460,
            IpAddr::V6(_) => 1440,
        };
        let mut text = String::new();
        if let Some(mss) = segment.option(2) {
            let mss = u16::from_be_bytes([mss[0], mss[1]]);
            text += &if mss == link {
                " mss link".to_owned()
            } else {
                format!(" mss {mss}")
            };
        }
        if segment.option(3).is_some() {
            text += " ws";
        }
        if segment.option(4).is_some() {
            text += " sackok";
        }
        if let Some(echo) = segment.option(8).and_then(|ts| be32(ts, 4)) {
            let echo = echo.wrapping_sub(TS_BASE).cast_signed();
            text += &format!(" ts ecr {echo}");
        }
        if let Some(sack) = segment.option(5) {
            text += " sack";
            for block in sack.chunks_exact(8) {
                let edge = |at| be32(block, at).map_or(0, |edge| self.ours(edge));
                text += &format!(" {}:{}", edge(0), edge(4));
            }
        }
        text
    }
}
