//! A peer that asks for one answer, and acknowledges as Linux does: every segment at first and beside a gap, else
//! every second; newest SACK block first; duplicates reported.

use std::collections::BTreeMap;

use tcp_lite::wire::{Flags, Header, Options, SegmentView, Sum, Timestamps};
use tcp_lite::{Addr, Endpoint, Flow, SeqNum};

/// Segments that a new connection acknowledges one by one (Linux: TCP_MAX_QUICKACKS).
const QUICK_ACKS: u32 = 16;
/// µs
const DELAYED_ACK: u64 = 40_000;
const REQUEST: &[u8] = b"GET";
const ISS: SeqNum = SeqNum(u32::MAX - 7);

pub struct Peer {
    /// Offset of the next byte wanted, from the SYN-ACK's number on.
    nxt: u32,
    /// Ahead of a gap: from, to.
    islands: BTreeMap<u32, u32>,
    /// Where the newest segments came, newest first.
    recent: Vec<u32>,
    server: SeqNum,
    echo: u32,
    quick: u32,
    waiting: u32,
    pub ack_at: Option<u64>,
    /// Segments that came twice.
    pub twice: u32,
}

/// From the server's side.
pub fn flow() -> Flow {
    let end = |last, port| Endpoint {
        addr: Addr::v4([10, 0, 0, last]),
        port,
    };
    Flow {
        local: end(1, 80),
        remote: end(2, 4242),
    }
}

impl Peer {
    pub fn new() -> Peer {
        Peer {
            nxt: 0,
            islands: BTreeMap::new(),
            recent: Vec::new(),
            server: SeqNum(0),
            echo: 0,
            quick: QUICK_ACKS,
            waiting: 0,
            ack_at: None,
            twice: 0,
        }
    }

    /// Bytes in order.
    pub fn got(&self) -> u32 {
        self.nxt.saturating_sub(1)
    }

    pub fn syn(&self, now: u64) -> Vec<u8> {
        let options = Options {
            mss: Some(1460),
            window_scale: Some(10),
            sack_permitted: true,
            ..Options::default()
        };
        self.segment(now, Flags::SYN, ISS, options, b"")
    }

    /// Takes a segment; says what is sent for it at once.
    pub fn take(&mut self, now: u64, bytes: &[u8]) -> Option<Vec<u8>> {
        let view = SegmentView::parse(bytes).expect("a whole segment");
        let echo = view.options().expect("whole options").timestamps;
        if view.flags().has(Flags::SYN) {
            self.server = view.seq();
            self.nxt = 1;
            self.echo = echo.expect("timestamps were offered").val;
            let flags = Flags::ACK.with(Flags::PSH);
            return Some(self.segment(now, flags, ISS + 1, Options::default(), REQUEST));
        }
        let from = view.seq().since(self.server);
        let to = from + view.payload().len() as u32;
        if from == to {
            return None;
        }
        self.waiting += 1;
        let mut twice = None;
        let gap = !self.islands.is_empty();
        if to <= self.nxt || self.holds(from, to) {
            twice = Some((from, to));
            self.twice += 1;
        } else if from <= self.nxt {
            self.echo = echo.map_or(self.echo, |e| e.val);
            self.nxt = to;
            while let Some((&left, &right)) = self.islands.first_key_value()
                && left <= self.nxt
            {
                self.nxt = self.nxt.max(right);
                self.islands.pop_first();
            }
        } else {
            self.hold(from, to);
        }
        let quick = self.quick > 0;
        self.quick = self.quick.saturating_sub(1);
        if gap || quick || twice.is_some() || !self.islands.is_empty() || self.waiting >= 2 {
            return Some(self.ack(now, twice));
        }
        self.ack_at.get_or_insert(now + DELAYED_ACK);
        None
    }

    pub fn ack(&mut self, now: u64, twice: Option<(u32, u32)>) -> Vec<u8> {
        self.waiting = 0;
        self.ack_at = None;
        let mut options = Options::default();
        let mut told: Vec<(u32, u32)> = twice.into_iter().collect();
        for at in &self.recent {
            let island = self.islands.range(..=at).next_back();
            if let Some((&left, &right)) = island
                && right > *at
                && !told.contains(&(left, right))
                && told.len() < 3
            {
                told.push((left, right));
            }
        }
        for (left, right) in told {
            options.sack.push(self.server + left, self.server + right);
        }
        self.segment(
            now,
            Flags::ACK,
            ISS + 1 + REQUEST.len() as u32,
            options,
            b"",
        )
    }

    fn holds(&self, from: u32, to: u32) -> bool {
        let island = self.islands.range(..=from).next_back();
        island.is_some_and(|(_, right)| to <= *right)
    }

    fn hold(&mut self, from: u32, mut to: u32) {
        let mut left = from;
        if let Some((&l, &r)) = self.islands.range(..=from).next_back()
            && r >= from
        {
            (left, to) = (l, to.max(r));
        }
        while let Some((&l, &r)) = self.islands.range(left..=to).next() {
            to = to.max(r);
            self.islands.remove(&l);
        }
        self.islands.insert(left, to);
        self.recent.insert(0, from);
        self.recent.truncate(64);
    }

    fn segment(
        &self,
        now: u64,
        flags: Flags,
        seq: SeqNum,
        options: Options,
        data: &[u8],
    ) -> Vec<u8> {
        let mut header = Header {
            seq,
            ack: self.server + self.nxt,
            flags,
            window: 65_535,
            options,
        };
        header.options.timestamps = Some(Timestamps {
            val: (now / 1000) as u32 + 1,
            ecr: self.echo,
        });
        let ours = flow();
        let swapped = Flow {
            local: ours.remote,
            remote: ours.local,
        };
        let mut bytes = vec![0; header.len() + data.len()];
        header.emit(&swapped, &mut bytes, |buf| {
            buf.copy_from_slice(data);
            Sum::of(buf)
        });
        bytes
    }
}
