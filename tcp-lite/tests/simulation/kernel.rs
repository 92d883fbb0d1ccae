//! Another TCP that takes a connection over, as plain as can be: it knows the terms and the unread bytes, no more.

use std::collections::BTreeMap;

use tcp_lite::wire::{Flags, Header, Options, SegmentView, Sum, Timestamps, pseudo_header};
use tcp_lite::{Detached, Ecn, Flow, Instant, Out, SeqNum, Terms};

use crate::server::{PADDING, STRETCH, Server, Transmit, first, pattern};

/// Everything that is outstanding is sent again after so much silence, µs.
const REPEAT: u64 = 400_000;
/// Outstanding segments at most.
const FLIGHT: u32 = 16;

pub struct Kernel {
    flow: Flow,
    terms: Terms,
    since: u64,
    ts_recent: u32,
    rcv_nxt: SeqNum,
    /// Data behind a gap, by sequence number.
    ahead: BTreeMap<u32, Vec<u8>>,
    unread: Vec<u8>,
    peer_fin: Option<SeqNum>,
    owes_ack: bool,
    /// Requests answered on this connection so far.
    id: u32,
    una: SeqNum,
    nxt: SeqNum,
    /// The highest number sent.
    sent: SeqNum,
    window: u32,
    /// Bytes from `una` on.
    queue: Vec<u8>,
    closing: bool,
    fin_acked: bool,
    mss: u32,
    resend: Option<u64>,
    silent: u32,
    reset: bool,
}

impl Kernel {
    pub fn take_over(now: u64, at: Instant, mut detached: Detached<Server>) -> Kernel {
        let terms = detached.terms(at);
        let unread = detached.unread().to_vec();
        let nxt = terms.seq + unread.len() as u32;
        let options = if terms.timestamps.is_some() { 12 } else { 0 };
        let mut kernel = Kernel {
            flow: *detached.flow(),
            terms,
            since: now,
            ts_recent: terms.timestamps.map_or(0, |ts| ts.val),
            rcv_nxt: nxt,
            ahead: BTreeMap::new(),
            unread,
            peer_fin: detached.fin().then_some(nxt),
            owes_ack: true,
            id: *detached.conn(),
            una: terms.ack,
            nxt: terms.ack,
            sent: terms.ack,
            window: u32::from(terms.window) << terms.snd_shift.unwrap_or(0),
            queue: Vec::new(),
            closing: false,
            fin_acked: false,
            mss: u32::from(terms.mss) - options,
            resend: None,
            silent: 0,
            reset: false,
        };
        kernel.read();
        kernel
    }

    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Both directions are closed, or it was reset.
    pub fn is_done(&self) -> bool {
        self.reset || self.fin_acked && self.peer_fin.is_some_and(|fin| fin.lt(self.rcv_nxt))
    }

    pub fn on_segment(&mut self, bytes: &[u8]) {
        let Ok(seg) = SegmentView::parse(bytes) else {
            return;
        };
        let sum = pseudo_header(&self.flow, bytes.len()).plus(Sum::of(bytes));
        let (Ok(options), 0) = (seg.options(), sum.finish()) else {
            return;
        };
        if seg.flags().has(Flags::RST) {
            self.reset = true;
            return;
        }
        if let (Some(_), Some(ts)) = (self.terms.timestamps, options.timestamps) {
            self.ts_recent = ts.val;
        }
        let (seq, data) = (seg.seq(), seg.payload());
        let end = seq + data.len() as u32;
        self.window = u32::from(seg.window()) << self.terms.snd_shift.unwrap_or(0);
        self.on_ack(seg.ack());
        self.owes_ack |= seg.seq_len() > 0;
        if self.rcv_nxt.lt(end) {
            let old = if seq.lt(self.rcv_nxt) {
                self.rcv_nxt.since(seq)
            } else {
                0
            };
            let rest = data[old as usize..].to_vec();
            let known = self.ahead.entry((seq + old).0).or_default();
            if known.len() < rest.len() {
                *known = rest;
            }
        }
        if seg.flags().has(Flags::FIN) {
            self.peer_fin = Some(end);
        }
        self.read();
    }

    fn on_ack(&mut self, ack: SeqNum) {
        assert!(ack.le(self.sent), "an ACK of what was never sent");
        if !self.una.lt(ack) {
            return;
        }
        let n = ack.since(self.una);
        let data = n.min(self.queue.len() as u32);
        self.queue.drain(..data as usize);
        self.fin_acked |= n > data;
        self.una = ack;
        self.nxt = self.nxt.max(ack);
        self.resend = None;
        self.silent = 0;
    }

    /// Puts data in order, answers requests.
    fn read(&mut self) {
        while let Some((seq, data)) = self
            .ahead
            .iter()
            .map(|(seq, data)| (SeqNum(*seq), data))
            .find(|(seq, _)| seq.le(self.rcv_nxt))
        {
            let old = self.rcv_nxt.since(seq) as usize;
            let new = data.get(old..).unwrap_or(&[]).to_vec();
            self.unread.extend_from_slice(&new);
            self.rcv_nxt += new.len() as u32;
            self.ahead.remove(&seq.0);
        }
        let mut used = 0;
        while let Some((len, padding, size)) = first(&self.unread[used..]) {
            used += size;
            if len == u32::MAX {
                self.closing = true;
                continue;
            }
            let id = self.id;
            assert!(
                padding == pattern(id + PADDING, 0, padding.len()),
                "wrong bytes in request {id}"
            );
            for at in (0..len as usize).step_by(STRETCH) {
                let part = pattern(id, at, STRETCH.min(len as usize - at));
                self.queue.extend_from_slice(part);
            }
            self.id += 1;
        }
        self.unread.drain(..used);
        if self.peer_fin == Some(self.rcv_nxt) {
            assert!(self.unread.is_empty(), "requests left at EOF");
            self.rcv_nxt += 1;
            self.closing = true;
        }
    }

    pub fn output(&mut self, now: u64, out: &mut Transmit) {
        if self.reset {
            return;
        }
        let whole = self.queue.len() as u32 + u32::from(self.closing && !self.fin_acked);
        if self.resend.is_some_and(|at| at <= now) {
            self.nxt = self.una;
            self.resend = None;
            self.silent += 1;
            if self.silent > 3 {
                // Large segments may vanish.
                self.mss = self.mss.min(500);
            }
        }
        // Into a closed window goes a byte now and then.
        let probe = self.window == 0 && self.nxt == self.una && self.silent > 0;
        let window = if probe { 1 } else { self.window };
        let most = whole.min(window).min(FLIGHT * self.mss);
        while self.nxt.since(self.una) < most {
            let at = self.nxt.since(self.una);
            let len = (most - at)
                .min(self.mss)
                .min(self.queue.len() as u32 - at.min(self.queue.len() as u32));
            let fin = at + len == self.queue.len() as u32 && whole > at + len && most > at + len;
            let flags = Flags::ACK.with_if(fin, Flags::FIN);
            if !self.send(now, at, len, flags, out) {
                break;
            }
            self.nxt += len + u32::from(fin);
            self.sent = self.sent.max(self.nxt);
            if len == 0 && !fin {
                break;
            }
        }
        if whole > 0 && self.resend.is_none() {
            self.resend = Some(now + REPEAT);
        }
        if self.owes_ack {
            let at = self.nxt.since(self.una);
            self.send(now, at, 0, Flags::ACK, out);
        }
    }

    fn send(&mut self, now: u64, at: u32, len: u32, flags: Flags, out: &mut Transmit) -> bool {
        let timestamps = self.terms.timestamps.map(|ts| Timestamps {
            val: ts.ecr.wrapping_add(((now - self.since) / 1000) as u32),
            ecr: self.ts_recent,
        });
        let header = Header {
            seq: self.una + at,
            ack: self.rcv_nxt,
            flags,
            window: u16::MAX,
            options: Options {
                timestamps,
                ..Options::default()
            },
        };
        let data = &self.queue[at.min(self.queue.len() as u32) as usize..][..len as usize];
        let sent = out.emit(
            &self.flow,
            &(),
            Ecn::NotEct,
            header.len() + data.len(),
            |buf| {
                header.emit(&self.flow, buf, |to| {
                    to.copy_from_slice(data);
                    Sum::of(data)
                });
            },
        );
        self.owes_ack &= sent.is_err();
        sent.is_ok()
    }

    pub fn next(&self) -> Option<u64> {
        if self.reset { None } else { self.resend }
    }
}
