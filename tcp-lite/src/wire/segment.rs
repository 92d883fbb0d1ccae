//! A TCP segment: the header's fixed part and where options and payload lie (RFC 9293 section 3.1).

use super::checksum::{Sum, Total, pseudo_header};
use super::options::{Options, Timestamps};
use crate::flow::Flow;
use crate::seq::SeqNum;

/// Bytes of a TCP header without options.
pub(crate) const FIXED_LEN: usize = 20;

/// What a checked view refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// Shorter than the header, or than the header says it is; or a data offset below 5.
    Header,
    /// An option with a length below 2 or past the field's end.
    Options,
}

/// The control bits of a segment, by their place in the header's fourteenth byte.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgment field counts.
    pub const ACK: Flags = Flags(0x10);
    /// ECN-Echo (RFC 3168 section 6.1).
    pub const ECE: Flags = Flags(0x40);
    /// Congestion window reduced (RFC 3168 section 6.1).
    pub const CWR: Flags = Flags(0x80);

    /// Are all of `other` set?
    #[must_use]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// `other` if `yes`, added to this set.
    #[must_use]
    pub const fn with_if(self, yes: bool, other: Flags) -> Flags {
        if yes { self.with(other) } else { self }
    }
}

impl core::fmt::Debug for Flags {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let names = [
            (Flags::FIN, "FIN"),
            (Flags::SYN, "SYN"),
            (Flags::RST, "RST"),
            (Flags::PSH, "PSH"),
            (Flags::ACK, "ACK"),
            (Flags::ECE, "ECE"),
            (Flags::CWR, "CWR"),
        ];
        f.debug_list()
            .entries(
                names
                    .iter()
                    .filter(|(flag, _)| self.has(*flag))
                    .map(|(_, name)| name),
            )
            .finish()
    }
}

/// A checked view of a segment: every accessor is in bounds.
#[derive(Clone, Copy, Debug)]
pub struct SegmentView<'a> {
    header: &'a [u8; FIXED_LEN],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> SegmentView<'a> {
    /// Checks the lengths; `bytes` is exactly the TCP header and payload, by the IP length.
    ///
    /// # Errors
    /// [`Malformed::Header`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<SegmentView<'a>, Malformed> {
        let (header, rest) = bytes
            .split_first_chunk::<FIXED_LEN>()
            .ok_or(Malformed::Header)?;
        let options_len = (usize::from(header[12] >> 4) * 4)
            .checked_sub(FIXED_LEN)
            .ok_or(Malformed::Header)?;
        let (options, payload) = rest
            .split_at_checked(options_len)
            .ok_or(Malformed::Header)?;
        Ok(SegmentView {
            header,
            options,
            payload,
        })
    }

    #[inline]
    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.header[at], self.header[at + 1]])
    }

    #[inline]
    fn double(&self, at: usize) -> u32 {
        u32::from(self.word(at)) << 16 | u32::from(self.word(at + 2))
    }

    /// Source port.
    #[must_use]
    pub fn src_port(&self) -> u16 {
        self.word(0)
    }

    /// Destination port.
    #[must_use]
    pub fn dst_port(&self) -> u16 {
        self.word(2)
    }

    /// SEG.SEQ
    #[must_use]
    #[inline]
    pub fn seq(&self) -> SeqNum {
        SeqNum(self.double(4))
    }

    /// SEG.ACK; only means something when [`Flags::ACK`] is set.
    #[must_use]
    #[inline]
    pub fn ack(&self) -> SeqNum {
        SeqNum(self.double(8))
    }

    /// The control bits.
    #[must_use]
    #[inline]
    pub fn flags(&self) -> Flags {
        Flags(self.header[13])
    }

    /// The window field, not scaled.
    #[must_use]
    #[inline]
    pub fn window(&self) -> u16 {
        self.word(14)
    }

    /// The timestamps, where the field has nothing else as nearly every peer writes it, or nothing at all; `Err`: it has
    /// something else.
    #[inline]
    pub(crate) fn plain_timestamps(&self) -> Result<Option<Timestamps>, ()> {
        match self.options {
            [] => Ok(None),
            field => Timestamps::alone(field).map(Some).ok_or(()),
        }
    }

    /// The parsed options.
    ///
    /// # Errors
    /// [`Malformed::Options`].
    pub fn options(&self) -> Result<Options, Malformed> {
        Options::parse(self.options)
    }

    /// The data.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// SEG.LEN: the sequence space it takes, SYN and FIN included.
    #[must_use]
    pub fn seq_len(&self) -> u32 {
        let flags = self.flags();
        self.payload.len() as u32
            + u32::from(flags.has(Flags::SYN))
            + u32::from(flags.has(Flags::FIN))
    }
}

/// A header of a segment with data: what every one needs, and what it has in common with all others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataHeader {
    pub seq: SeqNum,
    pub ack: SeqNum,
    pub flags: Flags,
    pub window: u16,
    pub timestamps: Option<Timestamps>,
}

impl DataHeader {
    /// Bytes of the header with its options.
    #[inline]
    pub fn len(&self) -> usize {
        match self.timestamps {
            Some(_) => FIXED_LEN + Options::TIMESTAMPS_LEN,
            None => FIXED_LEN,
        }
    }

    /// As [`Header::emit`].
    #[inline]
    pub fn emit(&self, flow: &Flow, buf: &mut [u8], payload: impl FnOnce(&mut [u8]) -> Sum) {
        const ROOM: &str = "a segment has room for its header";
        let mut total = Total::pseudo_header(flow, buf.len());
        // What is written is summed as it is, not read again.
        let mut put = |place: &mut [u8; 4], word: u32| {
            *place = word.to_be_bytes();
            total.add(*place);
        };
        let (fixed, rest) = buf.split_first_chunk_mut::<FIXED_LEN>().expect(ROOM);
        let mut offset = FIXED_LEN as u32 / 4;
        let data = match self.timestamps {
            Some(ts) => {
                offset += Options::TIMESTAMPS_LEN as u32 / 4;
                let (option, data) = rest
                    .split_first_chunk_mut::<{ Options::TIMESTAMPS_LEN }>()
                    .expect(ROOM);
                if let [kind, val, ecr] = option.as_chunks_mut().0 {
                    put(kind, Timestamps::KIND_PADDED);
                    put(val, ts.val);
                    put(ecr, ts.ecr);
                }
                data
            }
            None => rest,
        };
        if let [ports, seq, ack, flags, _] = fixed.as_chunks_mut().0 {
            let from_to = u32::from(flow.local.port) << 16 | u32::from(flow.remote.port);
            put(ports, from_to);
            put(seq, self.seq.0);
            put(ack, self.ack.0);
            let bits = u32::from(self.flags.0) << 16 | u32::from(self.window);
            put(flags, offset << 28 | bits);
        }
        // A header is a multiple of 4 bytes, so the payload begins at an even place.
        total.add_sum(payload(data));
        let [hi, lo] = total.sum().finish().to_be_bytes();
        // Checksum and urgent pointer.
        fixed[16..].copy_from_slice(&[hi, lo, 0, 0]);
    }
}

/// A header to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// SEG.SEQ
    pub seq: SeqNum,
    /// SEG.ACK, written as it is also without [`Flags::ACK`].
    pub ack: SeqNum,
    /// The control bits.
    pub flags: Flags,
    /// The window field as it stands on the wire.
    pub window: u16,
    /// The options.
    pub options: Options,
}

impl Header {
    /// Bytes of the header with its options.
    #[must_use]
    pub fn len(&self) -> usize {
        FIXED_LEN + self.options.len()
    }

    /// Never: a header has at least 20 bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes the segment into `buf`, which is exactly header and payload long: `payload` fills its part and gives
    /// the sum of it; ports come from the flow, the checksum is complete.
    pub fn emit(&self, flow: &Flow, buf: &mut [u8], payload: impl FnOnce(&mut [u8]) -> Sum) {
        let total = buf.len();
        let (header, data) = buf.split_at_mut(self.len());
        header[0..2].copy_from_slice(&flow.local.port.to_be_bytes());
        header[2..4].copy_from_slice(&flow.remote.port.to_be_bytes());
        header[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        header[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        header[12] = (header.len() as u8 / 4) << 4;
        header[13] = self.flags.0;
        header[14..16].copy_from_slice(&self.window.to_be_bytes());
        header[16..20].fill(0); // checksum, urgent pointer
        self.options.emit(&mut header[FIXED_LEN..]);
        // A header is a multiple of 4 bytes, so the payload begins at an even place.
        let sum = pseudo_header(flow, total)
            .plus(payload(data))
            .plus(Sum::of(header));
        header[16..18].copy_from_slice(&sum.finish().to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{Flags, Header, Malformed, Options, SegmentView, SeqNum, Sum, pseudo_header};
    use crate::flow::{Addr, Endpoint, Flow};

    fn flow() -> Flow {
        Flow {
            local: Endpoint {
                addr: Addr::v4([192, 168, 0, 31]),
                port: 80,
            },
            remote: Endpoint {
                addr: Addr::v4([192, 168, 0, 30]),
                port: 40000,
            },
        }
    }

    #[test]
    fn emitted_segment_parses_back_and_sums_to_zero() {
        let options = Options {
            mss: Some(1460),
            ..Options::default()
        };
        let header = Header {
            seq: SeqNum(0xfffffff0),
            ack: SeqNum(77),
            flags: Flags::ACK.with(Flags::PSH),
            window: 512,
            options,
        };
        for data in [&b""[..], b"x", b"hello"] {
            let mut buf = vec![0xaa; header.len() + data.len()];
            header.emit(&flow(), &mut buf, |to| {
                to.copy_from_slice(data);
                Sum::of(to)
            });
            assert_eq!(
                pseudo_header(&flow(), buf.len())
                    .plus(Sum::of(&buf))
                    .finish(),
                0
            );
            let view = SegmentView::parse(&buf).unwrap();
            assert_eq!(
                (view.seq(), view.ack(), view.flags(), view.window()),
                (header.seq, header.ack, header.flags, 512)
            );
            assert_eq!(
                (view.src_port(), view.dst_port(), view.payload()),
                (80, 40000, data)
            );
            assert_eq!(view.options(), Ok(options));
        }
    }

    /// A SYN that Linux sent over a veth, with its checksum, bytes by hand.
    #[test]
    fn checksum_agrees_with_a_hand_made_segment() {
        // 0xb702 is the complement of the words of header (0x09c4+0x0050+0x5002+0x2000) and pseudo-header
        // (2 * 0xc0a8 + 0x001e + 0x001f + 6 + 20), folded.
        let bytes = [
            0x09, 0xc4, 0x00, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0x20, 0, 0, 0, 0, 0,
        ];
        let words: u32 = 0x09c4 + 0x0050 + 0x5002 + 0x2000 + 2 * 0xc0a8 + 0x1e + 0x1f + 6 + 20;
        let want = !((words & 0xffff) + (words >> 16)) as u16;
        assert_eq!(
            pseudo_header(&flow(), 20).plus(Sum::of(&bytes)).finish(),
            want
        );
    }

    #[test]
    fn truncated_and_lying_headers() {
        let mut bytes = [0u8; 24];
        bytes[12] = 0x60;
        assert!(SegmentView::parse(&bytes).is_ok());
        for len in 0..24 {
            assert_eq!(
                SegmentView::parse(&bytes[..len]).err(),
                Some(Malformed::Header),
                "{len}"
            );
        }
        bytes[12] = 0x40;
        assert_eq!(SegmentView::parse(&bytes).err(), Some(Malformed::Header));
        bytes[12] = 0xf0;
        assert_eq!(SegmentView::parse(&bytes).err(), Some(Malformed::Header));
    }
}
