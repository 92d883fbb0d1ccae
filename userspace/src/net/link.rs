//! How to reach a peer below IP.

/// The Ethernet header of an answer: addresses, up to two VLAN tags, EtherType; in 17 bytes, since every connection
/// keeps one.
///
/// An answer goes back to where the request came from, so that it needs no route or
/// neighbour lookup and asymmetric VLANs and virtual gateways work as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// To, from.
    stations: [u8; 12],
    /// Tag control information, as far as there are tags.
    tci: [[u8; 2]; 2],
    /// [`Link::V6`], [`Link::SERVICE`] for each tag, and the count of tags.
    shape: u8,
}

/// `ETH_P_8021Q`: a customer's tag, and `ETH_P_8021AD`: a service provider's.
const TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];
/// `ETH_P_IP` and `ETH_P_IPV6`
const IP: [[u8; 2]; 2] = [[0x08, 0x00], [0x86, 0xdd]];

/// The bit of an Ethernet address's first byte that multicast and broadcast have set (IEEE 802, I/G).
const GROUP: u8 = 1;

impl Link {
    const COUNT: u8 = 0b11;
    /// Of the first tag; the next bit is the second's.
    const SERVICE: u8 = 0b100;
    const V6: u8 = 0b1_0000;

    /// The header that answers `frame`, and the IP packet in it. `None` when the frame ends
    /// within its header, has more than two tags, is not IP, or is to or from a group of stations: no TCP is (RFC 1122
    /// 4.2.3.10), and an answer would have that group's address as its source.
    pub fn answering(frame: &[u8]) -> Option<(Self, &[u8])> {
        let (addresses, mut rest) = frame.split_first_chunk::<12>()?;
        let (ours, theirs) = addresses.split_at(6);
        if (ours[0] | theirs[0]) & GROUP != 0 {
            return None;
        }
        let mut link = Self {
            stations: [0; 12],
            tci: [[0; 2]; 2],
            shape: 0,
        };
        link.stations[..6].copy_from_slice(theirs);
        link.stations[6..].copy_from_slice(ours);
        loop {
            let (kind, behind) = rest.split_first_chunk::<2>()?;
            if let Some(v6) = IP.iter().position(|ip| ip == kind) {
                link.shape |= Self::V6 * v6 as u8;
                return Some((link, behind));
            }
            let service = TAGS.iter().position(|tag| tag == kind)?;
            let (tci, behind) = behind.split_first_chunk::<2>()?;
            let nth = link.tags();
            *link.tci.get_mut(nth)? = *tci;
            link.shape |= (Self::SERVICE * service as u8) << nth;
            link.shape += 1;
            rest = behind;
        }
    }

    /// The same for a header without tags in front of a packet of IPv6, or of IPv4.
    #[inline]
    pub(super) fn answering_untagged(header: &[u8; 14], v6: bool) -> Option<Self> {
        let [stations @ .., hi, lo] = header;
        if [*hi, *lo] != IP[usize::from(v6)] {
            return None;
        }
        // Six bytes each, moved in words: ours and two of theirs, the other four.
        let (front, back) = stations.split_first_chunk::<8>()?;
        let front = u64::from_le_bytes(*front);
        let back = u64::from(u32::from_le_bytes(*back.first_chunk()?));
        if (front | front >> 48) & u64::from(GROUP) != 0 {
            return None;
        }
        let mut stations = [0; 12];
        let theirs = front >> 48 | back << 16;
        stations[..8].copy_from_slice(&(theirs | front << 48).to_le_bytes());
        stations[8..].copy_from_slice(&((front >> 16) as u32).to_le_bytes());
        Some(Self {
            stations,
            tci: [[0; 2]; 2],
            shape: Self::V6 * u8::from(v6),
        })
    }

    /// Of no peer.
    pub const NONE: Self = Self {
        stations: [0; 12],
        tci: [[0; 2]; 2],
        shape: 0,
    };

    /// Is an IPv6 packet behind it?
    #[inline]
    pub fn is_v6(&self) -> bool {
        self.shape & Self::V6 != 0
    }

    /// The header of what came from there: the addresses change places.
    pub fn reversed(&self) -> Self {
        let mut reversed = *self;
        reversed.stations[..6].copy_from_slice(&self.stations[6..]);
        reversed.stations[6..].copy_from_slice(&self.stations[..6]);
        reversed
    }

    fn tags(&self) -> usize {
        usize::from(self.shape & Self::COUNT)
    }

    /// Writes the header if it is one of IPv4 without tags: its 14 bytes, which nearly all are.
    #[inline]
    pub(super) fn write_plain(&self, header: &mut [u8; 14]) {
        debug_assert!(self.is_plain());
        let (stations, kind) = header.split_at_mut(12);
        stations.copy_from_slice(&self.stations);
        kind.copy_from_slice(&IP[0]);
    }

    /// Is it a header of IPv4 without tags?
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.shape == 0
    }

    /// Bytes of the header.
    pub fn header_len(&self) -> usize {
        14 + 4 * self.tags()
    }

    /// Writes the header, of [`Link::header_len`] bytes.
    pub fn write(&self, header: &mut [u8]) {
        let (stations, mut rest) = header
            .split_first_chunk_mut::<12>()
            .expect("a header has at least 14 bytes");
        *stations = self.stations;
        for (nth, tci) in self.tci.iter().take(self.tags()).enumerate() {
            let service = self.shape >> nth & Self::SERVICE != 0;
            rest[..2].copy_from_slice(&TAGS[usize::from(service)]);
            rest[2..4].copy_from_slice(tci);
            rest = &mut rest[4..];
        }
        rest.copy_from_slice(&IP[usize::from(self.is_v6())]);
    }
}

#[cfg(test)]
mod tests {
    use super::{IP, Link, TAGS};

    /// A frame's header with these tags, and what is in it.
    fn frame(tags: &[[u8; 2]], ip: [u8; 2]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for (nth, tag) in tags.iter().enumerate() {
            frame.extend_from_slice(tag);
            frame.extend_from_slice(&[0x60, nth as u8 + 7]);
        }
        frame.extend_from_slice(&ip);
        frame.extend_from_slice(b"packet");
        frame
    }

    #[test]
    fn answers_go_back_the_way_they_came() {
        let [customer, service] = TAGS;
        let shapes: [&[[u8; 2]]; 7] = [
            &[],
            &[customer],
            &[service],
            &[customer, customer],
            &[customer, service],
            &[service, customer],
            &[service, service],
        ];
        for tags in shapes {
            for (v6, ip) in IP.into_iter().enumerate() {
                let mut frame = frame(tags, ip);
                let (link, packet) = Link::answering(&frame).expect("it is well-formed");
                assert_eq!((packet, link.is_v6()), (&b"packet"[..], v6 == 1));
                let mut header = vec![0; link.header_len()];
                link.write(&mut header);
                frame.truncate(link.header_len());
                frame[..12].rotate_left(6);
                assert_eq!(header, frame);
                for len in 0..frame.len() {
                    assert_eq!(Link::answering(&frame[..len]), None);
                }
            }
        }
        assert_eq!(size_of::<Link>(), 17);
    }

    #[test]
    fn what_is_not_for_us() {
        let [customer, service] = TAGS;
        let arp = frame(&[], [0x08, 0x06]);
        let three = frame(&[service, customer, customer], IP[0]);
        let (mut to_all, mut from_group) = (frame(&[], IP[0]), frame(&[], IP[0]));
        (to_all[0], from_group[6]) = (0xff, 3);
        for frame in [arp, three, to_all, from_group] {
            assert_eq!(Link::answering(&frame), None);
        }
    }
}
