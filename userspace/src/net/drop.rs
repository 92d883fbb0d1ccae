//! Why a frame went no further.

/// One variant for each way a frame ends before TCP; the label is its metric label and log word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameDrop {
    /// Ends within its Ethernet header, more than two VLAN tags, to or from a group address, or neither IPv4 nor IPv6.
    Link,
    /// An IP header that contradicts itself or the frame's length, or an address that no IP packet may have.
    Ip,
    /// IPv4 header or ICMP checksum.
    IpChecksum,
    /// Neither TCP nor ICMP "too big".
    NotTcp,
    /// Shorter than a TCP header's ports.
    TcpHeader,
    /// ICMP of another kind, or quoting something that we did not send.
    Icmp,
    /// A fragment for a connection of ours whose others never came.
    Fragment,
    /// The kernel would not take it from us ([`crate::inject`]).
    Inject,
    /// The next worker's mailbox was full.
    Neighbour,
}

impl FrameDrop {
    /// Every variant, in counting order.
    pub const ALL: [Self; 9] = [
        Self::Link,
        Self::Ip,
        Self::IpChecksum,
        Self::NotTcp,
        Self::TcpHeader,
        Self::Icmp,
        Self::Fragment,
        Self::Inject,
        Self::Neighbour,
    ];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Ip => "ip",
            Self::IpChecksum => "ip_checksum",
            Self::NotTcp => "not_tcp",
            Self::TcpHeader => "tcp_header",
            Self::Icmp => "icmp",
            Self::Fragment => "fragment",
            Self::Inject => "inject",
            Self::Neighbour => "neighbour",
        }
    }
}
