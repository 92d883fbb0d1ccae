//! How to reach a peer below IP.

/// The Ethernet header of an answer: addresses, up to two VLAN tags, EtherType.
///
/// An answer goes back to where the request came from, so that it needs no route or
/// neighbour lookup and asymmetric VLANs and virtual gateways work as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Link {
    header: [u8; Link::MAX],
    len: u8,
}

/// `ETH_P_8021Q` and `ETH_P_8021AD`.
const TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];

/// The bit of an Ethernet address's first byte that multicast and broadcast have set (IEEE 802, I/G).
const GROUP: u8 = 1;

impl Link {
    /// Ethernet header with two VLAN tags, in bytes.
    pub const MAX: usize = 22;

    /// The header that answers `frame`, and the rest of the frame. `None` when the frame ends
    /// within its header, has more than two tags, or is to or from a group of stations: no TCP is (RFC 1122 4.2.3.10),
    /// and an answer would have that group's address as its source.
    pub fn answering(frame: &[u8]) -> Option<(Self, &[u8])> {
        let mut len = 14;
        while TAGS.iter().any(|tag| frame.get(len - 2..len) == Some(tag)) {
            len += 4;
            if len > Self::MAX {
                return None;
            }
        }
        let (from, rest) = frame.split_at_checked(len)?;
        if (from[0] | from[6]) & GROUP != 0 {
            return None;
        }
        let mut header = [0; Self::MAX];
        header[..6].copy_from_slice(&from[6..12]);
        header[6..12].copy_from_slice(&from[..6]);
        header[12..len].copy_from_slice(&from[12..]);
        Some((
            Self {
                header,
                len: len as u8,
            },
            rest,
        ))
    }

    /// The header's bytes.
    pub fn header(&self) -> &[u8] {
        &self.header[..usize::from(self.len)]
    }

    /// The header of what came from there: the addresses change places.
    pub fn reversed(&self) -> Self {
        let mut reversed = *self;
        reversed.header[..6].copy_from_slice(&self.header[6..12]);
        reversed.header[6..12].copy_from_slice(&self.header[..6]);
        reversed
    }

    /// What follows the header (`ETH_P_IP`, `ETH_P_IPV6` …).
    pub fn ether_type(&self) -> u16 {
        let header = self.header();
        u16::from_be_bytes([header[header.len() - 2], header[header.len() - 1]])
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({:02x?})", self.header())
    }
}
