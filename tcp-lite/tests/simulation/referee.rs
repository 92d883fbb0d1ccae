//! Watches the server's end of the link: every segment that reaches it and every one that it says, the lost ones too.
//!
//! It knows both streams byte by byte, and holds what the server says against what it can know at that moment.

macro_rules! must {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}

mod conn;

use crate::packet::{ACK, CLIENT, CWR, ECE, FIN, Packet, RST, SERVER, SERVER_PORT, SYN};
use crate::plan::Streams;
use conn::Conn;

/// What the server's configuration promises, µs.
pub struct Promises {
    pub max_rto: u64,
    pub min_rto: u64,
    /// Longest that received data waits for its ACK: RFC 9293 MUST-40.
    pub ack_delay: u64,
    pub receive_window: u32,
    pub mtu: u16,
    /// Its transmit side is full now and then: what it says may come this much late.
    pub late: u64,
}

fn after(a: u32, b: u32) -> u32 {
    a.wrapping_sub(b)
}

/// Nobody sends so much: a larger distance is no position in this stream.
const FAR: u32 = 1 << 26;

pub struct Referee {
    streams: Streams,
    promises: Promises,
    conns: Vec<Conn>,
    syns: Vec<Packet>,
    port: Option<u16>,
    /// Segments of the server that were checked.
    pub checked: u64,
}

impl Referee {
    pub fn new(streams: Streams, promises: Promises) -> Referee {
        Referee {
            streams,
            promises,
            conns: Vec::new(),
            syns: Vec::new(),
            port: None,
            checked: 0,
        }
    }

    /// A packet reached the server.
    pub fn arrived(&mut self, now: u64, bytes: &[u8]) {
        // Damaged: it must have no effect.
        let Ok(packet) = Packet::parse(bytes) else {
            return;
        };
        if packet.has(SYN) {
            self.syns.push(packet);
            return;
        }
        for conn in &mut self.conns {
            conn.arrived(now, &packet);
        }
    }

    /// The server said something, its application having consumed so much, as far as it still reads. An error says what is
    /// wrong with it.
    pub fn said(&mut self, now: u64, bytes: &[u8], consumed: Option<u32>) -> Result<(), String> {
        let packet = Packet::parse(bytes)?;
        self.checked += 1;
        let port = *self.port.get_or_insert(packet.ports.1);
        let ends = (packet.from, packet.to, packet.ports);
        must!(
            ends == (SERVER, CLIENT, (SERVER_PORT, port)),
            "wrong addresses"
        );
        if packet.has(SYN) {
            return self.syn_ack(now, packet);
        }
        must!(
            packet.has(ACK) || packet.has(RST),
            "neither SYN, ACK nor RST"
        );
        let conn = self.conns.iter_mut().rev().find(|conn| {
            let bare = packet.has(RST) && !packet.has(ACK);
            after(packet.seq, conn.to_client.wrapping_sub(1)) < FAR
                && (bare || after(packet.ack, conn.to_server.wrapping_sub(1)) < FAR)
        });
        match conn {
            Some(conn) => {
                conn.said(now, &packet, &self.streams, &self.promises)?;
                // The client's FIN takes a number and no room.
                let most = consumed.map(|bytes| bytes + self.promises.receive_window + 1);
                must!(
                    most.is_none_or(|most| conn.edge <= most),
                    "its window ends at {}, its buffer at {most:?}",
                    conn.edge
                );
                Ok(())
            }
            None => {
                // A second SYN may be challenged (RFC 5961 section 4) before the first one's SYN-ACK went out.
                let asked = |syn: &Packet| syn.seq.wrapping_add(1) == packet.ack;
                let challenge = packet.seq_len() == 0 && self.syns.iter().any(asked);
                must!(packet.has(RST) || challenge, "of no connection");
                Ok(())
            }
        }
    }

    /// RFC 9293 section 3.5, RFC 7323 sections 1.3 and 2.2, RFC 2018 section 2, RFC 3168 section 6.1.1.
    fn syn_ack(&mut self, now: u64, packet: Packet) -> Result<(), String> {
        let irs = packet.ack.wrapping_sub(1);
        let mut syns = self.syns.iter().rev().filter(|syn| syn.seq == irs);
        let Some(syn) = syns.next().cloned() else {
            return Err("SYN-ACK to no SYN".into());
        };
        must!(packet.has(ACK), "SYN without ACK");
        must!(
            !packet.has(FIN) && !packet.has(RST) && packet.payload.is_empty(),
            "SYN-ACK with more"
        );
        must!(
            packet.shift.is_none() || syn.shift.is_some(),
            "window scale not asked for"
        );
        must!(
            !packet.sack_permitted || syn.sack_permitted,
            "SACK not asked for"
        );
        must!(
            packet.timestamps.is_none() || syn.timestamps.is_some(),
            "timestamps not asked for"
        );
        must!(
            packet.mss == Some(self.promises.mtu - 40),
            "MSS {:?}",
            packet.mss
        );
        must!(!packet.has(ECE) || syn.has(ECE | CWR), "ECN not asked for");
        must!(
            !packet.has(CWR) && packet.ecn == 0,
            "SYN-ACK with CWR or ECT"
        );
        if let (Some((_, ecr)), Some((val, _))) = (packet.timestamps, syn.timestamps) {
            must!(ecr == val, "SYN-ACK echoes {ecr}, not {val}");
        }
        let (to_server, to_client) = (irs.wrapping_add(1), packet.seq.wrapping_add(1));
        let same = |conn: &&mut Conn| (conn.to_server, conn.to_client) == (to_server, to_client);
        if let Some(known) = self.conns.iter_mut().find(same) {
            known.stirred = now;
            return Ok(());
        }
        self.conns.push(Conn {
            to_server,
            to_client,
            edge: u32::from(packet.window),
            lets_in: u32::from(syn.window),
            newest: syn.timestamps.map(|(val, _)| val),
            echo: packet.timestamps.map(|(_, ecr)| ecr),
            syn,
            syn_ack: packet,
            stirred: now,
            ..Conn::default()
        });
        Ok(())
    }

    /// Whatever the server should have done by `now`, it did. An error says what not.
    pub fn looks(&self, now: u64) -> Result<(), String> {
        self.conns
            .iter()
            .try_for_each(|conn| conn.looks(now, &self.promises, &self.streams))
    }
}
