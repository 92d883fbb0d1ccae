//! IPv4 and TCP as the model client reads and writes them: no line of it is shared with what it tests.

use std::fmt;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const ECE: u8 = 0x40;
pub const CWR: u8 = 0x80;

/// ECT(0) and "congestion experienced" in the IP header (RFC 3168 section 5).
pub const ECT0: u8 = 2;
pub const CE: u8 = 3;

pub const CLIENT: [u8; 4] = [10, 0, 0, 2];
pub const SERVER: [u8; 4] = [10, 0, 0, 1];
pub const SERVER_PORT: u16 = 80;

#[derive(Clone, Default)]
pub struct Packet {
    pub from: [u8; 4],
    pub to: [u8; 4],
    pub ports: (u16, u16),
    pub ecn: u8,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub mss: Option<u16>,
    pub shift: Option<u8>,
    pub sack_permitted: bool,
    pub timestamps: Option<(u32, u32)>,
    pub sack: Vec<(u32, u32)>,
    pub payload: Vec<u8>,
    /// Bytes of options; only read, never written.
    pub options_len: usize,
}

impl Packet {
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Sequence numbers it takes.
    pub fn seq_len(&self) -> u32 {
        self.payload.len() as u32 + u32::from(self.has(SYN)) + u32::from(self.has(FIN))
    }

    /// An error says what is wrong with it; a damaged packet has a wrong checksum and is nobody's fault.
    pub fn parse(bytes: &[u8]) -> Result<Packet, &'static str> {
        let at16 = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let at32 = |at: usize| (u32::from(at16(at)) << 16) | u32::from(at16(at + 2));
        if bytes.len() < 40 || bytes[0] != 0x45 || bytes[9] != 6 {
            return Err("no TCP over IPv4");
        }
        if usize::from(at16(2)) != bytes.len() || fold(sum(&bytes[..20])) != 0xffff {
            return Err("IPv4 header");
        }
        let pseudo = sum(&bytes[12..20]) + 6 + (bytes.len() as u32 - 20);
        if fold(pseudo + sum(&bytes[20..])) != 0xffff {
            return Err("checksum");
        }
        let data = 20 + usize::from(bytes[32] >> 4) * 4;
        if data < 40 || data > bytes.len() || bytes[32] & 0xf != 0 {
            return Err("data offset");
        }
        let mut packet = Packet {
            from: bytes[12..16].try_into().unwrap(),
            to: bytes[16..20].try_into().unwrap(),
            ports: (at16(20), at16(22)),
            ecn: bytes[1] & 3,
            seq: at32(24),
            ack: at32(28),
            flags: bytes[33],
            window: at16(34),
            payload: bytes[data..].to_vec(),
            options_len: data - 40,
            ..Packet::default()
        };
        let mut at = 40;
        while at < data {
            let kind = bytes[at];
            if kind == 0 {
                break;
            }
            if kind == 1 {
                at += 1;
                continue;
            }
            if at + 1 >= data {
                return Err("option without length");
            }
            let len = usize::from(bytes[at + 1]);
            if len < 2 || at + len > data {
                return Err("option's length");
            }
            match (kind, len) {
                (2, 4) => packet.mss = Some(at16(at + 2)),
                (3, 3) => packet.shift = Some(bytes[at + 2]),
                (4, 2) => packet.sack_permitted = true,
                (5, 10 | 18 | 26 | 34) => {
                    for block in 0..(len - 2) / 8 {
                        let left = at + 2 + 8 * block;
                        packet.sack.push((at32(left), at32(left + 4)));
                    }
                }
                (8, 10) => packet.timestamps = Some((at32(at + 2), at32(at + 6))),
                _ => return Err("unknown option"),
            }
            at += len;
        }
        Ok(packet)
    }

    pub fn build(&self) -> Vec<u8> {
        let mut options = Vec::new();
        if let Some(mss) = self.mss {
            options.extend([2, 4]);
            options.extend(mss.to_be_bytes());
        }
        if let Some(shift) = self.shift {
            options.extend([3, 3, shift]);
        }
        if self.sack_permitted {
            options.extend([4, 2]);
        }
        if let Some((val, ecr)) = self.timestamps {
            options.extend([8, 10]);
            options.extend(val.to_be_bytes());
            options.extend(ecr.to_be_bytes());
        }
        if !self.sack.is_empty() {
            options.extend([5, 2 + 8 * self.sack.len() as u8]);
            for (left, right) in &self.sack {
                options.extend(left.to_be_bytes());
                options.extend(right.to_be_bytes());
            }
        }
        options.resize(options.len().next_multiple_of(4), 1);
        assert!(options.len() <= 40);
        let len = 40 + options.len() + self.payload.len();
        let mut bytes = vec![0x45, self.ecn];
        bytes.extend((len as u16).to_be_bytes());
        bytes.extend([0, 0, 0, 0, 64, 6, 0, 0]);
        bytes.extend(self.from);
        bytes.extend(self.to);
        bytes.extend(self.ports.0.to_be_bytes());
        bytes.extend(self.ports.1.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([((20 + options.len()) as u8) << 2, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        bytes.extend(&self.payload);
        write_ip_sum(&mut bytes);
        let pseudo = sum(&bytes[12..20]) + 6 + (len as u32 - 20);
        let check = !fold(pseudo + sum(&bytes[20..]));
        bytes[36..38].copy_from_slice(&check.to_be_bytes());
        bytes
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, name) in [
            (SYN, "SYN "),
            (FIN, "FIN "),
            (RST, "RST "),
            (PSH, "PSH "),
            (ECE, "ECE "),
            (CWR, "CWR "),
        ] {
            if self.has(bit) {
                f.write_str(name)?;
            }
        }
        write!(f, "seq {} len {}", self.seq, self.payload.len())?;
        if self.has(ACK) {
            write!(f, " ack {}", self.ack)?;
        }
        write!(f, " win {}", self.window)?;
        if let Some((val, ecr)) = self.timestamps {
            write!(f, " ts {val}/{ecr}")?;
        }
        if !self.sack.is_empty() {
            write!(f, " sack {:?}", self.sack)?;
        }
        if self.has(SYN) {
            write!(f, " mss {:?} scale {:?}", self.mss, self.shift)?;
            write!(f, " sack permitted {}", self.sack_permitted)?;
        }
        if self.ecn != 0 {
            write!(f, " ecn {}", self.ecn)?;
        }
        Ok(())
    }
}

/// Writes the IPv4 header's checksum.
pub fn write_ip_sum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let check = !fold(sum(&packet[..20]));
    packet[10..12].copy_from_slice(&check.to_be_bytes());
}

fn sum(bytes: &[u8]) -> u32 {
    let pairs = bytes.chunks_exact(2);
    let odd = pairs.remainder().first().map_or(0, |b| u32::from(*b) << 8);
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    pairs.map(word).sum::<u32>() + odd
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
