//! What happened: one reason per drop, refusal and close, one counter per reason.

/// Why a segment was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// Shorter than its header, or a data offset below 5.
    Malformed,
    /// An option of an impossible length.
    BadOptions,
    /// The checksum is wrong.
    BadChecksum,
    /// Addresses or ports that no peer can have (unspecified, loopback, multicast, broadcast, our own; port 0).
    OddAddress,
    /// SYN with RST, SYN with FIN where there is no connection, or none of SYN, ACK and RST.
    OddFlags,
    /// Its timestamp is older than the connection's (RFC 7323 section 5).
    Paws,
    /// It lacks the timestamp that was negotiated (RFC 7323 section 3.2).
    NoTimestamp,
    /// Outside the receive window.
    OutOfWindow,
    /// It acknowledges what was never sent, or what is long gone (RFC 5961 section 5).
    BadAck,
    /// A RST in the window, not at its left edge: challenged (RFC 5961 section 3).
    InexactReset,
    /// A SYN inside a connection: challenged (RFC 5961 section 4).
    UnexpectedSyn,
    /// Data ahead of a gap that the receive budget or the number of gaps had no room for; the peer sends it again.
    NoRoom,
    /// A RST against TIME-WAIT that is not exactly in order.
    TimeWaitReset,
}

impl DropReason {
    /// Every reason, in the order of its counters.
    pub const ALL: [DropReason; 13] = [
        DropReason::Malformed,
        DropReason::BadOptions,
        DropReason::BadChecksum,
        DropReason::OddAddress,
        DropReason::OddFlags,
        DropReason::Paws,
        DropReason::NoTimestamp,
        DropReason::OutOfWindow,
        DropReason::BadAck,
        DropReason::InexactReset,
        DropReason::UnexpectedSyn,
        DropReason::NoRoom,
        DropReason::TimeWaitReset,
    ];

    /// Metric label and log word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            DropReason::Malformed => "tcp_drop_malformed",
            DropReason::BadOptions => "tcp_drop_bad_options",
            DropReason::BadChecksum => "tcp_drop_bad_checksum",
            DropReason::OddAddress => "tcp_drop_odd_address",
            DropReason::OddFlags => "tcp_drop_odd_flags",
            DropReason::Paws => "tcp_drop_paws",
            DropReason::NoTimestamp => "tcp_drop_no_timestamp",
            DropReason::OutOfWindow => "tcp_drop_out_of_window",
            DropReason::BadAck => "tcp_drop_bad_ack",
            DropReason::InexactReset => "tcp_drop_inexact_reset",
            DropReason::UnexpectedSyn => "tcp_drop_unexpected_syn",
            DropReason::NoRoom => "tcp_drop_no_room",
            DropReason::TimeWaitReset => "tcp_drop_time_wait_reset",
        }
    }
}

/// Why a SYN was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefuseReason {
    /// Every connection slot is in use, or every number for an endpoint of ours.
    TableFull,
    /// As many handshakes are under way as `Config::half_open` allows, and there are no SYN cookies.
    HalfOpenFull,
    /// The stack is draining.
    Draining,
}

impl RefuseReason {
    /// Every reason, in the order of its counters.
    pub const ALL: [RefuseReason; 3] = [
        RefuseReason::TableFull,
        RefuseReason::HalfOpenFull,
        RefuseReason::Draining,
    ];

    /// Metric label and log word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            RefuseReason::TableFull => "tcp_refuse_table_full",
            RefuseReason::HalfOpenFull => "tcp_refuse_half_open_full",
            RefuseReason::Draining => "tcp_refuse_draining",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// Both sides' data and FIN were acknowledged.
    Finished,
    /// The peer reset it.
    PeerReset,
    /// The application aborted it.
    Aborted,
    /// `Stack::abort_all`.
    Shutdown,
    /// Nothing that we sent was acknowledged for `Config::user_timeout`.
    UserTimeout,
    /// An idle peer did not answer `Config::keep_alive_probes` keep-alive probes.
    KeepAlive,
    /// After our FIN was acknowledged, the peer did not send its own within `Config::linger`.
    LingerTimeout,
    /// After `close` the peer kept sending past `Config::linger_bytes`.
    LingerFlood,
    /// The peer's FIN was reported, nothing is queued, and the application did not close within `Config::linger`.
    HalfClosedTimeout,
    /// The unread bytes did not fit the receive budget.
    ReceiveBudget,
    /// The handshake was not completed (SYN-RCVD only: the application never heard of it).
    HandshakeTimeout,
}

impl CloseReason {
    /// Every reason, in the order of its counters.
    pub const ALL: [CloseReason; 11] = [
        CloseReason::Finished,
        CloseReason::PeerReset,
        CloseReason::Aborted,
        CloseReason::Shutdown,
        CloseReason::UserTimeout,
        CloseReason::KeepAlive,
        CloseReason::LingerTimeout,
        CloseReason::LingerFlood,
        CloseReason::HalfClosedTimeout,
        CloseReason::ReceiveBudget,
        CloseReason::HandshakeTimeout,
    ];

    /// Metric label and log word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            CloseReason::Finished => "tcp_close_finished",
            CloseReason::PeerReset => "tcp_close_peer_reset",
            CloseReason::Aborted => "tcp_close_aborted",
            CloseReason::Shutdown => "tcp_close_shutdown",
            CloseReason::UserTimeout => "tcp_close_user_timeout",
            CloseReason::KeepAlive => "tcp_close_keep_alive",
            CloseReason::LingerTimeout => "tcp_close_linger_timeout",
            CloseReason::LingerFlood => "tcp_close_linger_flood",
            CloseReason::HalfClosedTimeout => "tcp_close_half_closed_timeout",
            CloseReason::ReceiveBudget => "tcp_close_receive_budget",
            CloseReason::HandshakeTimeout => "tcp_close_handshake_timeout",
        }
    }
}

/// Counts since the stack was made.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Segments given to `on_segment`.
    pub segments_in: u64,
    /// Segments emitted.
    pub segments_out: u64,
    /// New payload bytes received in order.
    pub bytes_in: u64,
    /// Payload bytes emitted, retransmissions included.
    pub bytes_out: u64,
    /// Handshakes begun.
    pub syns: u64,
    /// Handshakes completed.
    pub established: u64,
    /// SYNs answered with a SYN cookie; not among `syns`.
    pub cookies_sent: u64,
    /// Handshakes completed by a SYN cookie; among `established` as well.
    pub cookies_taken: u64,
    /// Segments that came ahead of the one that their SYN cookie needs, and were not reset for it.
    pub cookies_early: u64,
    /// Connections handed off; those taken back count again when they leave again.
    pub detached: u64,
    /// Payload segments emitted again.
    pub retransmits: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// Fast retransmits (entries into fast recovery).
    pub fast_retransmits: u64,
    /// Tail loss probes (RFC 8985).
    pub tail_probes: u64,
    /// Recoveries taken back: nothing had been lost (RFC 4015).
    pub spurious: u64,
    /// Zero-window probes.
    pub probes: u64,
    /// Keep-alive probes.
    pub keep_alives: u64,
    /// Segments with data that a router marked instead of dropping (RFC 3168).
    pub congestion_marks: u64,
    /// Congestion windows reduced since the peer echoed a mark.
    pub ecn_responses: u64,
    /// Segments received ahead of a gap and kept.
    pub out_of_order: u64,
    /// Challenge ACKs and ACKs of unacceptable segments sent.
    pub challenge_acks: u64,
    /// The same, held back by the rate limit.
    pub challenge_acks_limited: u64,
    /// RSTs sent.
    pub resets_sent: u64,
    /// RSTs for unknown segments held back by the rate limit.
    pub resets_limited: u64,
    /// Connections whose path MTU was lowered by ICMP.
    pub path_mtu: u64,
    /// Times that a connection's segments were made smaller, since large ones seemed to vanish.
    pub black_holes: u64,
    /// TIME-WAIT ended early by a new SYN (RFC 6191) or because the table was full.
    pub time_wait_recycled: u64,
    dropped: [u64; DropReason::ALL.len()],
    refused: [u64; RefuseReason::ALL.len()],
    closed: [u64; CloseReason::ALL.len()],
}

impl Counters {
    /// Segments dropped for one reason.
    #[must_use]
    pub fn dropped(&self, why: DropReason) -> u64 {
        self.dropped[why as usize]
    }

    /// SYNs refused for one reason.
    #[must_use]
    pub fn refused(&self, why: RefuseReason) -> u64 {
        self.refused[why as usize]
    }

    /// Connections ended for one reason.
    #[must_use]
    pub fn closed(&self, why: CloseReason) -> u64 {
        self.closed[why as usize]
    }

    pub(crate) fn count_drop(&mut self, why: DropReason) {
        self.dropped[why as usize] += 1;
    }

    pub(crate) fn count_refusal(&mut self, why: RefuseReason) {
        self.refused[why as usize] += 1;
    }

    pub(crate) fn count_close(&mut self, why: CloseReason) {
        self.closed[why as usize] += 1;
    }

    /// Every counter with its metric label.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let plain = [
            ("tcp_segments_in", self.segments_in),
            ("tcp_segments_out", self.segments_out),
            ("tcp_bytes_in", self.bytes_in),
            ("tcp_bytes_out", self.bytes_out),
            ("tcp_syns", self.syns),
            ("tcp_established", self.established),
            ("tcp_cookies_sent", self.cookies_sent),
            ("tcp_cookies_taken", self.cookies_taken),
            ("tcp_cookies_early", self.cookies_early),
            ("tcp_detached", self.detached),
            ("tcp_retransmits", self.retransmits),
            ("tcp_timeouts", self.timeouts),
            ("tcp_fast_retransmits", self.fast_retransmits),
            ("tcp_tail_probes", self.tail_probes),
            ("tcp_spurious", self.spurious),
            ("tcp_probes", self.probes),
            ("tcp_keep_alives", self.keep_alives),
            ("tcp_congestion_marks", self.congestion_marks),
            ("tcp_ecn_responses", self.ecn_responses),
            ("tcp_out_of_order", self.out_of_order),
            ("tcp_challenge_acks", self.challenge_acks),
            ("tcp_challenge_acks_limited", self.challenge_acks_limited),
            ("tcp_resets_sent", self.resets_sent),
            ("tcp_resets_limited", self.resets_limited),
            ("tcp_path_mtu", self.path_mtu),
            ("tcp_black_holes", self.black_holes),
            ("tcp_time_wait_recycled", self.time_wait_recycled),
        ];
        plain
            .into_iter()
            .chain(
                DropReason::ALL
                    .into_iter()
                    .map(|r| (r.label(), self.dropped(r))),
            )
            .chain(
                RefuseReason::ALL
                    .into_iter()
                    .map(|r| (r.label(), self.refused(r))),
            )
            .chain(
                CloseReason::ALL
                    .into_iter()
                    .map(|r| (r.label(), self.closed(r))),
            )
    }
}

#[cfg(test)]
mod tests {
    use super::{CloseReason, Counters, DropReason, RefuseReason};

    #[test]
    fn tables_follow_the_enums_and_labels_are_unique() {
        assert!(
            DropReason::ALL
                .iter()
                .enumerate()
                .all(|(i, r)| *r as usize == i)
        );
        assert!(
            RefuseReason::ALL
                .iter()
                .enumerate()
                .all(|(i, r)| *r as usize == i)
        );
        assert!(
            CloseReason::ALL
                .iter()
                .enumerate()
                .all(|(i, r)| *r as usize == i)
        );
        let mut labels: Vec<_> = Counters::default().iter().map(|(label, _)| label).collect();
        let all = labels.len();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), all);
    }
}
