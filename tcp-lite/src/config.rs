//! Limits and timings of a stack.

use core::ops::Deref;
use core::time::Duration;

use crate::time::{LONGEST, micros};

/// How the congestion window grows and shrinks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CongestionControl {
    /// RFC 9438: by the time since the last loss, and never less than Reno would.
    #[default]
    Cubic,
    /// RFC 5681: one segment per round trip; halves at a loss.
    NewReno,
}

/// Everything a [`crate::Stack`] is told once. All tables get their final size from it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Connections in every state, half-open and TIME-WAIT included. Too low refuses clients; each costs its slot's memory.
    pub capacity: usize,
    /// Keys the connection table, initial sequence numbers (RFC 6528) and timestamp offsets: from a true random source.
    pub secret: [u8; 16],
    /// Most unread bytes per connection, and the window offered; at most 65,535, so that it fits a segment unscaled.
    pub receive_window: u32,
    /// The local link's MTU, bytes from the IP header on: gives the MSS that we announce and never exceed.
    pub mtu: u16,
    /// Agree to timestamps (RFC 7323) when the peer offers them.
    pub timestamps: bool,
    /// Agree to selective acknowledgment (RFC 2018) when the peer offers it.
    pub sack: bool,
    /// Agree to window scaling (RFC 7323) when the peer offers it.
    pub window_scale: bool,
    /// The scale that we offer (14 at most, RFC 7323 section 2.3): windows are told in units of `1 << window_shift`, rounded
    /// down. Ours need none; a TCP that takes connections over ([`crate::Io::hand_off`]) has to live with it, and without
    /// one no upload of its own is faster than 64 KiB a round trip.
    pub window_shift: u8,
    /// Agree to explicit congestion notification (RFC 3168) when the peer offers it.
    pub ecn: bool,
    /// Most handshakes under way; SYNs past it get a cookie. Too low, and clients without timestamps lose SACK and
    /// window scaling for nothing; too high lets a SYN flood fill the table.
    pub half_open: usize,
    /// Answer SYNs past the half-open budget with a SYN cookie (RFC 4987 section 3.6); else refuse them.
    pub syn_cookies: bool,
    /// Response pieces queued in the whole stack; a run of the same one takes the room of one.
    pub pieces: usize,
    /// Response pieces queued on one connection: bounds what a pipelining client that does not read can hold.
    pub pieces_per_connection: u16,
    /// Bytes of memory for unread and out-of-order data in the whole stack.
    pub receive_budget: usize,
    /// 2 MSL. RFC 9293 says 4 minutes; Linux holds 60 s, and so do we.
    pub time_wait: Duration,
    /// Least distance of the retransmission timeout from the round trip. RFC 6298 wants an RTO of 1 s at least; Linux uses
    /// 200 ms and delays ACKs by 40 ms: much less, and every delayed ACK looks like a loss; more, and a lost last segment
    /// stalls its answer for longer.
    pub min_rto: Duration,
    /// Upper bound of the retransmission timeout (RFC 6298 section 2.5: at least 60 s).
    pub max_rto: Duration,
    /// Retransmission timeout before the first measurement (RFC 6298 section 2.1).
    pub initial_rto: Duration,
    /// How the window grows behind a loss.
    pub congestion: CongestionControl,
    /// How long a peer is thought to delay the ACK of a lone segment; a tail loss probe waits for such. RFC 8985
    /// assumes the worst case of 200 ms, which leaves most of a lost short answer to the timeout. Linux delays by 40 ms;
    /// for a peer that delays more, the probe is one segment for nothing, and its D-SACK says so.
    pub peer_ack_delay: Duration,
    /// SYN-ACKs sent before a half-open connection is given up.
    pub syn_ack_tries: u8,
    /// How long an ACK may wait for data to ride on (RFC 9293 MUST-40 bounds it by 0.5 s).
    pub delayed_ack: Duration,
    /// A connection whose oldest unacknowledged byte has not moved for this long is reset, also if its peer answers
    /// zero-window probes (RFC 9293 section 3.8.3).
    pub user_timeout: Duration,
    /// How long nothing may be heard of an idle peer before it is asked, `None`: for ever (RFC 9293 MUST-25: off by
    /// default; MUST-28: two hours unless there is a reason). Counts up to 6 days.
    pub keep_alive: Option<Duration>,
    /// How long an answer to such a probe is awaited before the next one. Counts up to half an hour.
    pub keep_alive_interval: Duration,
    /// Probes without an answer before the connection is reset: more than one, since probes and answers get lost
    /// (MUST-29).
    pub keep_alive_probes: u8,
    /// How long the peer's FIN is awaited after ours was acknowledged, and the application's `close` after the peer's FIN.
    pub linger: Duration,
    /// Bytes that a peer may still send after `close` before it is reset.
    pub linger_bytes: u32,
    /// Challenge ACKs per second, the whole stack (RFC 5961 section 7).
    pub challenge_acks_per_second: u32,
    /// RSTs per second in answer to segments of no connection, the whole stack.
    pub resets_per_second: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            capacity: 65_536,
            secret: [0; 16],
            receive_window: 65_535,
            mtu: 1500,
            timestamps: true,
            sack: true,
            window_scale: true,
            window_shift: 0,
            ecn: true,
            half_open: 8_192,
            syn_cookies: true,
            pieces: 262_144,
            pieces_per_connection: 512,
            receive_budget: 64 << 20,
            time_wait: Duration::from_secs(60),
            min_rto: Duration::from_millis(200),
            max_rto: Duration::from_secs(60),
            initial_rto: Duration::from_secs(1),
            congestion: CongestionControl::Cubic,
            peer_ack_delay: Duration::from_millis(50),
            syn_ack_tries: 5,
            delayed_ack: Duration::from_millis(40),
            user_timeout: Duration::from_secs(60),
            keep_alive: None,
            keep_alive_interval: Duration::from_secs(75),
            keep_alive_probes: 9,
            linger: Duration::from_secs(10),
            linger_bytes: 1 << 20,
            challenge_acks_per_second: 1_000,
            resets_per_second: 1_000,
        }
    }
}

/// A stack's configuration, with those times in µs that are looked at for every segment: a [`Duration`] is seconds and
/// nanoseconds, and takes ten instructions to become a number.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    config: Config,
    pub micros: Micros,
    pub least: Least,
}

/// What timers of an answer of one segment are set for at least, ms.
#[derive(Clone, Debug)]
pub(crate) struct Least {
    pub rto: u32,
    /// With the probe before it.
    pub probe: u32,
}

/// Times of a [`Config`], in µs.
#[derive(Clone, Debug)]
pub(crate) struct Micros {
    pub min_rto: u64,
    pub max_rto: u64,
    pub initial_rto: u64,
    pub user_timeout: u64,
    pub peer_ack_delay: u64,
    pub delayed_ack: u64,
    /// No retransmission timer is set for less.
    pub least_rto: u64,
}

impl Settings {
    pub fn new(config: Config) -> Settings {
        let config = config.bounded();
        let least_rto = config.min_rto.min(config.initial_rto).min(config.max_rto);
        let micros = Micros {
            min_rto: micros(config.min_rto),
            max_rto: micros(config.max_rto),
            initial_rto: micros(config.initial_rto),
            user_timeout: micros(config.user_timeout),
            peer_ack_delay: micros(config.peer_ack_delay),
            delayed_ack: micros(config.delayed_ack),
            least_rto: micros(least_rto),
        };
        let rto = micros.least_rto.min(micros.user_timeout);
        let millis = |micros: u64| (micros / 1000).min(1 << 30) as u32;
        let least = Least {
            rto: millis(rto),
            probe: millis(rto.min(micros.peer_ack_delay)),
        };
        Settings {
            config,
            micros,
            least,
        }
    }
}

impl Deref for Settings {
    type Target = Config;
    fn deref(&self) -> &Config {
        &self.config
    }
}

impl Config {
    /// With everything within what a connection can keep.
    fn bounded(self) -> Config {
        Config {
            receive_window: self.receive_window.clamp(1, u32::from(u16::MAX)),
            max_rto: self.max_rto.min(LONGEST),
            delayed_ack: self.delayed_ack.min(LONGEST),
            peer_ack_delay: self.peer_ack_delay.min(LONGEST / 2),
            keep_alive: self.keep_alive.map(|idle| idle.min(LONGEST / 2)),
            // Up to 255 of them follow.
            keep_alive_interval: self.keep_alive_interval.min(LONGEST / 512),
            ..self
        }
    }
}
