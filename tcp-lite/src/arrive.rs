//! SEGMENT ARRIVES for a connection that exists (RFC 9293 section 3.10.7.4).

use crate::app::{App, Arrival, Ecn, Out};
use crate::connection::{Connection, Cx};
use crate::counters::{CloseReason, Counters, DropReason};
use crate::handshake::Offer;
use crate::recv::{Place, Placed};
use crate::send::{AckInfo, Acked, Snd, SndStart};
use crate::seq::SeqNum;
use crate::state::{Eof, Linger, State};
use crate::time::Timer;
use crate::wire::{Flags, Malformed, Options, SegmentView, Sum, pseudo_header};

/// A segment whose checksum and options were found right.
pub(crate) struct Segment<'a> {
    pub seq: SeqNum,
    pub ack: SeqNum,
    pub flags: Flags,
    /// From the IP header.
    pub ecn: Ecn,
    pub window: u16,
    pub options: Options,
    pub payload: &'a [u8],
    pub seq_len: u32,
}

impl<'a> Segment<'a> {
    pub fn new(view: &SegmentView<'a>, options: Options, ecn: Ecn) -> Segment<'a> {
        Segment {
            seq: view.seq(),
            ack: view.ack(),
            flags: view.flags(),
            ecn,
            window: view.window(),
            options,
            payload: view.payload(),
            seq_len: view.seq_len(),
        }
    }
}

/// Everything about a segment that can be wrong without knowing its connection.
pub(crate) fn check<'a, L>(seg: &Arrival<'a, L>) -> Result<Segment<'a>, DropReason> {
    let view = SegmentView::parse(seg.bytes).map_err(|_| DropReason::Malformed)?;
    if !seg.flow.is_plausible() {
        return Err(DropReason::OddAddress);
    }
    if pseudo_header(&seg.flow, seg.bytes.len())
        .plus(Sum::of(seg.bytes))
        .finish()
        != 0
    {
        return Err(DropReason::BadChecksum);
    }
    let options = view.options().map_err(|malformed| match malformed {
        Malformed::Header => DropReason::Malformed,
        Malformed::Options => DropReason::BadOptions,
    })?;
    let flags = view.flags();
    let syn_and_end = flags.has(Flags::SYN) && (flags.has(Flags::FIN) || flags.has(Flags::RST));
    let nothing = !flags.has(Flags::SYN) && !flags.has(Flags::RST) && !flags.has(Flags::ACK);
    if syn_and_end || nothing {
        return Err(DropReason::OddFlags);
    }
    Ok(Segment::new(&view, options, seg.ecn))
}

impl<A: App> Connection<A> {
    /// Takes one segment; what it makes us say waits for `output`, but for ACKs that the peer counts one by one.
    pub fn on_segment<O: Out<A::Link>>(
        &mut self,
        seg: &Segment<'_>,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<(), DropReason> {
        if let State::TimeWait(_) = self.state {
            return self.in_time_wait(seg, cx);
        }
        if let State::SynRcvd(half) = &mut self.state
            && seg.flags.has(Flags::SYN)
            && seg.seq + 1 == self.rcv.nxt
        {
            // The peer did not see our SYN-ACK.
            half.due = true;
            // RFC 3168 section 6.1.1: one SYN that does not ask for it is enough.
            self.terms.ecn &= Offer::of(seg).ecn;
            if let Some(ts) = seg.options.timestamps {
                self.rcv.note_timestamp(cx.now, seg.seq, ts);
            }
            return Ok(());
        }
        if seg.flags.has(Flags::RST) {
            return self.on_reset(seg, cx);
        }
        if seg.flags.has(Flags::SYN) {
            // RFC 5961 section 4.2: whatever its sequence number.
            self.challenge(cx);
            return Err(DropReason::UnexpectedSyn);
        }
        self.check_timestamp(seg, cx)?;
        let place = self.rcv.place(seg.seq, seg.seq_len);
        if place == Place::Outside {
            if seg.seq_len > 0 {
                self.acknowledge_again(seg, cx);
            } else {
                self.challenge(cx);
            }
            return Err(DropReason::OutOfWindow);
        }
        if !seg.flags.has(Flags::ACK) {
            return Err(DropReason::OddFlags);
        }
        self.rcv.hear(cx.now);
        self.probes = 0;
        self.establish(seg, cx);
        let room = self.on_ack(seg, cx)?;
        if place == Place::AtClosedWindow {
            self.resume(room, cx);
            self.acknowledge(cx);
            return Err(DropReason::OutOfWindow);
        }
        self.resume(room, cx);
        self.take_data(seg, cx)
    }

    /// RFC 5961 section 3.2: only the exact number resets.
    fn on_reset<O: Out<A::Link>>(
        &mut self,
        seg: &Segment<'_>,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<(), DropReason> {
        if seg.seq == self.rcv.nxt {
            self.end(CloseReason::PeerReset, cx.shared, cx.app);
            Ok(())
        } else if seg.seq.within(self.rcv.nxt, self.rcv.wnd()) {
            self.challenge(cx);
            Err(DropReason::InexactReset)
        } else {
            Err(DropReason::OutOfWindow)
        }
    }

    /// RFC 7323 sections 3.2, 4.3 and 5.3.
    fn check_timestamp<O: Out<A::Link>>(
        &mut self,
        seg: &Segment<'_>,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<(), DropReason> {
        if !self.terms.timestamps {
            return Ok(());
        }
        let Some(ts) = seg.options.timestamps else {
            return Err(DropReason::NoTimestamp);
        };
        if self.rcv.is_old(cx.now, ts) {
            if seg.seq_len > 0 {
                self.acknowledge(cx);
            } else {
                self.challenge(cx);
            }
            return Err(DropReason::Paws);
        }
        if self.rcv.place(seg.seq, seg.seq_len) != Place::Outside {
            self.rcv.note_timestamp(cx.now, seg.seq, ts);
        }
        Ok(())
    }

    /// In SYN-RCVD: does `seg` acknowledge something else than our SYN?
    ///
    /// RFC 9293 section 3.10.7.4 answers it with RST. The caller does, unless it knows the connection: where several
    /// stacks share the traffic, a SYN that was sent twice may have opened it on two, and only one of them is right.
    pub fn is_of_another(&self, seg: &Segment<'_>) -> bool {
        let flags = seg.flags;
        let bare = flags.has(Flags::ACK) && !flags.has(Flags::SYN) && !flags.has(Flags::RST);
        match &self.state {
            State::SynRcvd(half) => bare && seg.ack != half.iss + 1,
            State::Established { .. }
            | State::CloseWait { .. }
            | State::FinWait1 { .. }
            | State::FinWait2 { .. }
            | State::Closing { .. }
            | State::LastAck { .. }
            | State::TimeWait(_)
            | State::Closed => false,
        }
    }

    /// SYN-RCVD: the ACK of our SYN makes it ESTABLISHED.
    fn establish<O: Out<A::Link>>(&mut self, seg: &Segment<'_>, cx: &mut Cx<'_, A, O>) {
        let State::SynRcvd(half) = &self.state else {
            return;
        };
        let start = SndStart {
            iss: half.iss,
            wnd: self.terms.scale(seg.window),
            seq: seg.seq,
            mss: self.terms.payload(),
            sack: self.terms.sack,
            // Karn: no sample from a SYN-ACK that was sent twice.
            rtt: (half.tries == 1).then(|| cx.now.since(half.sent)),
            handshake_lost: half.tries > 1,
        };
        self.state = State::Established {
            snd: Snd::new(cx.now, start),
            inbox: Default::default(),
        };
        cx.shared.counters.established += 1;
        let lifted = self.call(cx, |app, now, io, _| app.on_established(now, io));
        self.put_back(lifted, cx);
        if cx.shared.draining && !self.rcv.leaving {
            self.close(cx.shared);
        }
    }

    /// The ACK field. True when the send queue got shorter.
    fn on_ack<O: Out<A::Link>>(
        &mut self,
        seg: &Segment<'_>,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<bool, DropReason> {
        let info = AckInfo {
            seq: seg.seq,
            ack: seg.ack,
            wnd: self.terms.scale(seg.window),
            pure: seg.seq_len == 0,
            sack: &seg.options.sack,
            echo: self.terms.ecn && seg.flags.has(Flags::ECE),
            echoed_rtt: match seg.options.timestamps {
                Some(ts) if self.terms.timestamps => self.terms.echoed(cx.now, ts.ecr),
                Some(_) | None => None,
            },
        };
        let Some((snd, fin)) = self.state.snd() else {
            // FIN-WAIT-2: all we ever sent is acknowledged.
            if self.state.snd_nxt().lt(seg.ack) {
                self.challenge(cx);
                return Err(DropReason::BadAck);
            }
            return Ok(false);
        };
        if !snd.is_plausible(seg.ack) {
            self.challenge(cx);
            return Err(DropReason::BadAck);
        }
        let shared = &mut *cx.shared;
        if info.echo && snd.on_ecn(seg.ack, &shared.config) {
            shared.counters.ecn_responses += 1;
        }
        let acked: Acked = snd.on_ack(cx.now, &info, fin, &shared.config, &mut shared.counters);
        snd.release(&mut shared.pieces, acked.bytes, cx.app);
        if acked.fin {
            self.on_fin_acked(cx);
        }
        Ok(acked.bytes > 0)
    }

    fn on_fin_acked<O>(&mut self, cx: &mut Cx<'_, A, O>) {
        match &self.state {
            State::FinWait1 { snd, linger } => {
                let until = Timer::at(cx.now + cx.shared.config.linger);
                self.state = State::FinWait2 {
                    snd_nxt: snd.nxt,
                    linger: Linger {
                        until,
                        discarded: linger.discarded,
                    },
                };
            }
            State::Closing { .. } => self.wait_out(cx.now, cx.shared, cx.app),
            State::LastAck { .. } => self.end(CloseReason::Finished, cx.shared, cx.app),
            // No FIN is queued in these.
            State::SynRcvd(_)
            | State::Established { .. }
            | State::FinWait2 { .. }
            | State::CloseWait { .. }
            | State::TimeWait(_)
            | State::Closed => {}
        }
    }

    /// Goes on with an application that waited for room in its queue.
    pub fn resume<O: Out<A::Link>>(&mut self, room: bool, cx: &mut Cx<'_, A, O>) {
        if room && self.state.inbox().is_some_and(|inbox| inbox.blocked) {
            self.deliver(&[], cx);
        }
        self.tell_eof(cx);
    }

    /// Data and FIN, cut to what the window takes.
    fn take_data<O: Out<A::Link>>(
        &mut self,
        seg: &Segment<'_>,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<(), DropReason> {
        if seg.seq_len == 0 {
            return Ok(());
        }
        self.note_congestion(seg, &mut cx.shared.counters);
        let old = if seg.seq.lt(self.rcv.nxt) {
            self.rcv.nxt.since(seg.seq)
        } else {
            0
        };
        let seq = seg.seq + old;
        let ahead = seq.since(self.rcv.nxt);
        let window = self.rcv.wnd().saturating_sub(ahead) as usize;
        let whole = seg.payload.get(old as usize..).unwrap_or(&[]);
        let payload = &whole[..whole.len().min(window)];
        // FIN takes a number of the window too, and one that was seen before does not count again.
        let fin =
            seg.flags.has(Flags::FIN) && whole.len() < window && old as usize <= seg.payload.len();
        let fin = fin.then(|| seq + payload.len() as u32);
        match &mut self.state {
            State::Established { inbox, .. } => {
                let end = inbox.note_fin(fin);
                // Nothing is behind a FIN.
                let payload = match end {
                    Some(end) if end.lt(seq) => &[],
                    Some(end) => &payload[..payload.len().min(end.since(seq) as usize)],
                    None => payload,
                };
                let taken = self.take_wanted(ahead, payload, cx);
                if end == Some(self.rcv.nxt) && !self.rcv.leaving {
                    self.on_fin(cx);
                } else if ahead > 0 {
                    self.acknowledge(cx);
                }
                taken
            }
            State::FinWait1 { linger, .. } | State::FinWait2 { linger, .. } => {
                if ahead > 0 {
                    self.acknowledge(cx);
                    return Err(DropReason::NoRoom);
                }
                self.rcv.nxt += payload.len() as u32;
                linger.discarded = linger.discarded.saturating_add(payload.len() as u32);
                if linger.discarded > cx.shared.config.linger_bytes {
                    self.abort(CloseReason::LingerFlood, cx);
                    return Ok(());
                }
                self.rcv.owe_ack(cx.now, payload.len(), &cx.shared.config);
                if fin == Some(self.rcv.nxt) {
                    self.on_fin(cx);
                }
                Ok(())
            }
            // Behind the peer's FIN: not looked at.
            State::CloseWait { .. } | State::Closing { .. } | State::LastAck { .. } => {
                self.acknowledge(cx);
                Ok(())
            }
            State::SynRcvd(_) | State::TimeWait(_) | State::Closed => Ok(()),
        }
    }

    /// RFC 3168 section 6.1.3: a mark is echoed from now on, until the peer says that it has slowed down. A segment that
    /// says so may itself be marked.
    fn note_congestion(&mut self, seg: &Segment<'_>, counters: &mut Counters) {
        if !self.terms.ecn || seg.payload.is_empty() {
            return;
        }
        let marked = seg.ecn == Ecn::Ce;
        counters.congestion_marks += u64::from(marked);
        self.rcv.ece = marked || self.rcv.ece && !seg.flags.has(Flags::CWR);
    }

    /// ESTABLISHED: data for the application.
    fn take_wanted<O: Out<A::Link>>(
        &mut self,
        ahead: u32,
        payload: &[u8],
        cx: &mut Cx<'_, A, O>,
    ) -> Result<(), DropReason> {
        if payload.is_empty() {
            return Ok(());
        }
        let Some(inbox) = self.state.inbox() else {
            return Ok(());
        };
        let (new, lent) = if ahead == 0 && inbox.is_empty() && !self.rcv.leaving {
            (payload.len(), payload)
        } else {
            match inbox.place(ahead as usize, payload, &mut cx.shared.buffers) {
                Placed::InOrder(new) => (new, &[][..]),
                Placed::Island => {
                    cx.shared.counters.out_of_order += 1;
                    return Ok(());
                }
                Placed::NoRoom => {
                    self.rcv.ack_now = true;
                    return Err(DropReason::NoRoom);
                }
            }
        };
        self.rcv.nxt += new as u32;
        cx.shared.counters.bytes_in += new as u64;
        if self.rcv.leaving {
            self.rcv.unread += new as u32;
            return Ok(());
        }
        if new > payload.len() {
            // It filled a gap (RFC 5681 section 4.2).
            self.rcv.ack_now = true;
        }
        self.rcv.owe_ack(cx.now, payload.len(), &cx.shared.config);
        self.deliver(lent, cx);
        Ok(())
    }

    /// The peer's FIN is at RCV.NXT (RFC 9293 section 3.10.7.4, eighth check).
    pub fn on_fin<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) {
        self.rcv.nxt += 1;
        self.rcv.ack_now = true;
        match self.state.take() {
            State::Established { snd, inbox } => {
                self.state = State::CloseWait {
                    snd,
                    inbox,
                    eof: Eof::Pending,
                };
                self.tell_eof(cx);
            }
            State::FinWait1 { snd, linger: _ } => self.state = State::Closing { snd },
            state @ State::FinWait2 { .. } => {
                self.state = state;
                self.wait_out(cx.now, cx.shared, cx.app);
            }
            // Reset meanwhile, or FIN was seen before.
            state @ (State::SynRcvd(_)
            | State::CloseWait { .. }
            | State::Closing { .. }
            | State::LastAck { .. }
            | State::TimeWait(_)
            | State::Closed) => self.state = state,
        }
    }
}
