//! What a connection says.

mod fin;
mod plain;
mod volley;

use core::time::Duration;

use crate::app::{App, Ecn, Full, Out};
use crate::arrive::Segment;
use crate::config::Config;
use crate::connection::{Connection, Cx};
use crate::counters::{CloseReason, Counters};
use crate::flow::Flow;
use crate::handshake::Negotiated;
use crate::recv::Rcv;
use crate::send::{Chunk, TimerVerdict};
use crate::seq::SeqNum;
use crate::state::{Class, Eof, State};
use crate::time::{Instant, Timer};
use crate::wire::{Flags, Header, Options, SackBlocks, Sum, Timestamps};

/// Emits a segment without data and counts it. Never ECN-capable (RFC 3168 sections 6.1.1 and 6.1.4).
pub(crate) fn reply<L>(
    out: &mut impl Out<L>,
    counters: &mut Counters,
    flow: &Flow,
    link: &L,
    header: &Header,
) -> Result<(), Full> {
    out.emit(flow, link, Ecn::NotEct, header.len(), |buf| {
        header.emit(flow, buf, |_| Sum::ZERO)
    })?;
    counters.segments_out += 1;
    Ok(())
}

/// A SYN-ACK with the terms of the connection.
pub(crate) fn syn_ack(
    now: Instant,
    flow: &Flow,
    iss: SeqNum,
    terms: &Negotiated,
    rcv: &mut Rcv,
    config: &Config,
) -> Header {
    let mut options = terms.answer(flow, config);
    options.timestamps = timestamps(now, terms, rcv);
    Header {
        seq: iss,
        ack: rcv.nxt,
        flags: Flags::SYN.with(Flags::ACK).with_if(terms.ecn, Flags::ECE),
        // Never scaled (RFC 7323 section 2.2).
        window: rcv.offer(terms.payload(), 0, config),
        options,
    }
}

fn timestamps(now: Instant, terms: &Negotiated, rcv: &Rcv) -> Option<Timestamps> {
    terms.timestamps.then(|| Timestamps {
        val: terms.ts_clock(now),
        ecr: rcv.ts_recent(),
    })
}

impl<A: App> Connection<A> {
    /// Everything that may go out now; an ACK that is owed rides on data if there is any.
    #[inline]
    pub fn output<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) -> Result<(), Full> {
        if self.output_volley(cx)? || self.output_plain(cx)? || self.output_fin(cx)? {
            return Ok(());
        }
        self.output_all(cx)
    }

    fn output_all<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) -> Result<(), Full> {
        match &self.state {
            State::SynRcvd(half) if half.due => self.send_syn_ack(cx)?,
            // Its last word was said.
            State::Closed => return Ok(()),
            _ => {}
        }
        if self.rcv.delayed.is_set() && self.has_gap() {
            // It filled a part of it (RFC 5681 section 4.2).
            self.rcv.ack_now = true;
        }
        if let Some((snd, fin)) = self.state.snd() {
            snd.keep_timer(cx.now, fin, &cx.shared.config, &mut cx.shared.pieces);
        }
        while let Some((snd, fin)) = self.state.snd()
            && let Some(chunk) = snd.next_chunk(cx.now, fin)
        {
            self.send_chunk(chunk, cx)?;
        }
        if self.rcv.ack_now {
            self.send_ack(None, cx)?;
        }
        Ok(())
    }

    /// Is there data that waits for the peer's ACKs to let it out, for the first time or again?
    pub fn is_mid_answer(&mut self) -> bool {
        self.state.snd().is_some_and(|(snd, _)| snd.has_unsent())
    }

    pub fn send_syn_ack<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) -> Result<(), Full> {
        let State::SynRcvd(half) = &self.state else {
            return Ok(());
        };
        let config = &cx.shared.config;
        let header = syn_ack(
            cx.now,
            cx.flow,
            half.iss,
            &self.terms,
            &mut self.rcv,
            config,
        );
        self.emit(&header, cx)?;
        let State::SynRcvd(half) = &mut self.state else {
            return Ok(());
        };
        half.due = false;
        half.sent = cx.now;
        self.rcv.acked();
        Ok(())
    }

    fn send_chunk<O: Out<A::Link>>(
        &mut self,
        mut chunk: Chunk,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<(), Full> {
        let sack = if self.has_gap() {
            self.sack_beside(&mut chunk)
        } else {
            SackBlocks::NONE
        };
        let Some((snd, _)) = self.state.snd() else {
            return Ok(());
        };
        let ect = self.terms.ecn && snd.is_ect(&chunk);
        let flags = Flags::ACK
            .with_if(chunk.push, Flags::PSH)
            .with_if(chunk.fin, Flags::FIN)
            .with_if(ect && snd.cwr, Flags::CWR);
        let mut header = self.header(chunk.seq, flags, cx);
        header.options.sack = sack;
        let Some((snd, _)) = self.state.snd() else {
            return Ok(());
        };
        let at = chunk.seq.since(snd.una);
        let shared = &mut *cx.shared;
        let ecn = if ect { Ecn::Ect0 } else { Ecn::NotEct };
        let len = header.len() + chunk.len as usize;
        cx.out.emit(cx.flow, &self.link, ecn, len, |buf| {
            header.emit(cx.flow, buf, |payload| {
                snd.fill(&shared.pieces, at, payload, cx.app)
            });
        })?;
        shared.counters.segments_out += 1;
        shared.counters.bytes_out += u64::from(chunk.len);
        snd.cwr &= !ect;
        snd.sent(cx.now, chunk, &shared.config);
        shared.counters.retransmits += u64::from(chunk.again);
        self.rcv.acked();
        self.rcv.slacken();
        Ok(())
    }

    /// An ACK; `twice` came although it had been acknowledged.
    pub(super) fn send_ack<O: Out<A::Link>>(
        &mut self,
        twice: Option<(SeqNum, SeqNum)>,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<(), Full> {
        // RFC 9293 section 3.10.7.4: SEQ=SND.NXT, also while older data is being sent again.
        let mut header = self.header(self.state.snd_nxt(), Flags::ACK, cx);
        header.options.sack = self.sack_blocks(twice);
        self.emit(&header, cx)?;
        self.rcv.acked();
        Ok(())
    }

    /// An ACK at once, since the peer counts them; with the next flush if there is no room.
    pub fn acknowledge<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) {
        self.report(None, cx);
    }

    /// The same, with what came twice. Not on data, which would be cut for it.
    pub fn report<O: Out<A::Link>>(
        &mut self,
        twice: Option<(SeqNum, SeqNum)>,
        cx: &mut Cx<'_, A, O>,
    ) {
        if self.state.class() != Class::Gone && self.send_ack(twice, cx).is_err() {
            self.rcv.ack_now = true;
        }
    }

    /// The ACK of a segment below the window: the one that acknowledged it was lost, or it was sent for nothing.
    pub fn acknowledge_again<O: Out<A::Link>>(&mut self, seg: &Segment<'_>, cx: &mut Cx<'_, A, O>) {
        if seg.seq.lt(self.rcv.nxt) {
            self.rcv.quicken();
        }
        let twice = self.twice(seg);
        self.report(twice, cx);
    }

    /// What of `seg`, before it is taken, is here already: below RCV.NXT, else behind a gap. A peer with SACK wants to
    /// know (RFC 2883 section 4).
    pub fn twice(&mut self, seg: &Segment<'_>) -> Option<(SeqNum, SeqNum)> {
        if !self.terms.sack {
            return None;
        }
        let nxt = self.rcv.nxt;
        if seg.seq.lt(nxt) {
            let end = (seg.seq + seg.seq_len).min(nxt);
            return seg.seq.lt(end).then_some((seg.seq, end));
        }
        let fin = seg.flags.has(Flags::FIN);
        let inbox = self.state.inbox()?;
        inbox.overlap(nxt, seg.seq, seg.payload.len(), fin)
    }

    /// An ACK that a hostile peer can provoke at will (RFC 5961 section 7).
    pub fn challenge<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) {
        if cx.shared.challenges.allow(cx.now) {
            cx.shared.counters.challenge_acks += 1;
            self.acknowledge(cx);
        } else {
            cx.shared.counters.challenge_acks_limited += 1;
        }
    }

    /// RST at SND.NXT; lost if there is no room.
    pub fn send_reset<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) {
        let flags = Flags::RST.with(Flags::ACK);
        // RFC 7323 section 3.2: with timestamps (SHOULD).
        let timestamps = timestamps(cx.now, &self.terms, &self.rcv);
        let header = Header {
            seq: self.state.snd_nxt(),
            ack: self.rcv.nxt,
            flags,
            window: 0,
            options: Options {
                timestamps,
                ..Options::default()
            },
        };
        if self.emit(&header, cx).is_ok() {
            cx.shared.counters.resets_sent += 1;
        }
    }

    /// A segment without data.
    pub fn emit<O: Out<A::Link>>(
        &self,
        header: &Header,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<(), Full> {
        let counters = &mut cx.shared.counters;
        reply(cx.out, counters, cx.flow, &self.link, header)
    }

    /// The header of any segment but SYN-ACK and RST.
    pub fn header<O>(&mut self, seq: SeqNum, flags: Flags, cx: &Cx<'_, A, O>) -> Header {
        Header {
            seq,
            ack: self.rcv.ack(),
            flags: flags.with_if(self.rcv.ece, Flags::ECE),
            window: self.rcv.offer(
                self.terms.payload(),
                self.terms.rcv_shift,
                &cx.shared.config,
            ),
            options: Options {
                timestamps: timestamps(cx.now, &self.terms, &self.rcv),
                ..Options::default()
            },
        }
    }

    fn sack_blocks(&mut self, twice: Option<(SeqNum, SeqNum)>) -> SackBlocks {
        // 40 bytes of options take four blocks, or three beside timestamps (RFC 2018 section 3).
        let limit = if self.terms.timestamps { 3 } else { 4 };
        // What the other TCP does not get, it would have to take back.
        let (wanted, nxt) = (self.terms.sack && !self.rcv.leaving, self.rcv.nxt);
        let mut blocks = SackBlocks::NONE;
        if !wanted {
            return blocks;
        }
        if let Some((left, right)) = twice {
            blocks.push(left, right);
        }
        if let Some(inbox) = self.state.inbox() {
            inbox.report(nxt, limit, &mut blocks);
        }
        blocks
    }

    fn has_gap(&mut self) -> bool {
        let nxt = self.rcv.nxt;
        self.state.inbox().is_some_and(|inbox| inbox.has_gap(nxt))
    }

    /// SACK blocks for a segment with data (RFC 2018 section 4: every ACK has them while there is a gap). Options come out
    /// of the segment (RFC 6691): new data is cut for them. What was sent before keeps its bounds, by which losses are
    /// found, and goes without them if it is too long.
    fn sack_beside(&mut self, chunk: &mut Chunk) -> SackBlocks {
        let sack = self.sack_blocks(None);
        let options = Options {
            sack,
            ..Options::default()
        };
        let most = u32::from(self.terms.payload()) - options.len() as u32;
        if chunk.len <= most {
            return sack;
        }
        if chunk.again {
            return SackBlocks::NONE;
        }
        (chunk.len, chunk.fin, chunk.push) = (most, false, false);
        sack
    }

    /// Looks at every deadline of the connection but TIME-WAIT's, which is the stack's.
    pub fn on_timer<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) {
        let now = cx.now;
        self.unfold(cx);
        if self.rcv.delayed.is_due(now) {
            self.rcv.delayed = Timer::OFF;
            self.rcv.ack_now = true;
        }
        if let Some((snd, fin)) = self.state.snd()
            && snd.timer(now, &cx.shared.config).is_due(now)
        {
            if !snd.is_busy(fin) {
                snd.stop_timers();
            } else if snd.on_timer(now, &cx.shared.config, &mut cx.shared.counters)
                == TimerVerdict::GiveUp
            {
                self.abort(CloseReason::UserTimeout, cx);
            } else {
                self.suspect_black_hole(cx);
            }
        }
        if self.deadline.is_due(now) {
            self.tell_deadline(cx);
        }
        if self
            .state
            .inbox()
            .is_some_and(|inbox| inbox.retry.is_due(now))
        {
            self.resume(true, cx);
        }
        self.on_state_timer(cx);
        self.on_keep_alive(cx);
    }

    fn on_state_timer<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) {
        let now = cx.now;
        let config = &cx.shared.config;
        match &mut self.state {
            State::SynRcvd(half) => {
                if half.timer.is_due(now) {
                    if half.tries >= config.syn_ack_tries {
                        self.end(CloseReason::HandshakeTimeout, cx);
                        return;
                    }
                    half.timer = Timer::after(
                        now,
                        config.initial_rto.saturating_mul(1 << half.tries.min(16)),
                    );
                    half.tries += 1;
                    half.due = true;
                }
            }
            State::FinWait1 { linger, .. } | State::FinWait2 { linger, .. } => {
                if linger.until.is_due(now) {
                    // Silently: a RST could destroy what the peer has received and not read.
                    self.end(CloseReason::LingerTimeout, cx);
                }
            }
            State::CloseWait {
                snd,
                inbox,
                eof: Eof::Told(until),
            } => {
                if until.is_due(now) {
                    if snd.is_busy(false) || inbox.retry.is_set() || self.deadline.is_set() {
                        *until = Timer::after(now, config.linger.max(Duration::from_millis(1)));
                    } else {
                        self.abort(CloseReason::HalfClosedTimeout, cx);
                    }
                }
            }
            State::Established { .. }
            | State::CloseWait { .. }
            | State::Closing { .. }
            | State::LastAck { .. }
            | State::TimeWait(_)
            | State::Closed => {}
        }
    }
}
