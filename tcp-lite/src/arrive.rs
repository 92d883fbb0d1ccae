//! SEGMENT ARRIVES for a connection that exists (RFC 9293 section 3.10.7.4).

mod data;
mod ends;
mod predicted;

pub(crate) use predicted::{Predicted, Spoke};

use crate::app::{App, Arrival, Ecn, Out};
use crate::connection::{Connection, Cx};
use crate::counters::{CloseReason, DropReason};
use crate::handshake::Offer;
use crate::recv::Place;
use crate::send::{AckInfo, Acked, Snd, SndStart};
use crate::seq::SeqNum;
use crate::state::{Linger, State};
use crate::time::Timer;
use crate::wire::{Flags, Malformed, Options, SegmentView, Timestamps, is_right};

/// SYN-ACKs sent by the timer after which the initial window is still the full one. RFC 5681 section 3.1 has it for one,
/// but is of a time when the timer was 3 s; with 1 s, as Linux says too, a second loss in a row tells of congestion, while
/// one costs a long path four round trips of a short answer.
const MAX_FORGIVEN_SYN_ACKS: u8 = 2;

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

    /// Has the peer sent all that it had? Then it is answered at once, not with the flush. FIN says so like PSH (RFC 9293
    /// section 3.8.6.2.2).
    pub fn is_pushed(&self) -> bool {
        self.flags.has(Flags::FIN) || self.flags.has(Flags::PSH) && !self.payload.is_empty()
    }

    /// Does it ask for a new connection?
    pub fn opens(&self) -> bool {
        let flags = self.flags;
        flags.has(Flags::SYN) && !flags.has(Flags::ACK) && !flags.has(Flags::FIN)
    }
}

/// Everything about a segment that can be wrong without knowing its connection, but for its addresses: those of a
/// connection that exists are right.
pub(crate) fn check<'a, L>(seg: &Arrival<'a, L>) -> Result<Segment<'a>, DropReason> {
    interpret(&verify(seg)?, seg.ecn)
}

/// Its lengths, and its checksum.
#[inline]
pub(crate) fn verify<'a, L>(seg: &Arrival<'a, L>) -> Result<SegmentView<'a>, DropReason> {
    let view = SegmentView::parse(seg.bytes).map_err(|_| DropReason::Malformed)?;
    if !is_right(&seg.flow, seg.bytes) {
        return Err(DropReason::BadChecksum);
    }
    Ok(view)
}

/// Its options and flags.
pub(crate) fn interpret<'a>(view: &SegmentView<'a>, ecn: Ecn) -> Result<Segment<'a>, DropReason> {
    let options = view.options().map_err(|malformed| match malformed {
        Malformed::Header => DropReason::Malformed,
        Malformed::Options => DropReason::BadOptions,
    })?;
    let flags = view.flags();
    let syn_and_reset = flags.has(Flags::SYN.with(Flags::RST));
    let nothing = !flags.has(Flags::SYN) && !flags.has(Flags::RST) && !flags.has(Flags::ACK);
    if syn_and_reset || nothing {
        return Err(DropReason::OddFlags);
    }
    Ok(Segment::new(view, options, ecn))
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
        self.unfold(cx);
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
            // RFC 5961 section 4.2: whatever its sequence number and its other flags.
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
        self.establish(seg.seq, seg.window, seg.options.timestamps, cx);
        let room = self.on_ack(seg, cx)?;
        if place == Place::AtClosedWindow {
            self.resume(room, cx);
            self.acknowledge(cx);
            return Err(DropReason::OutOfWindow);
        }
        self.resume(room, cx);
        self.take_data(seg, cx)
    }

    /// May `seg`, with this result, change the way by which the peer is reached?
    ///
    /// Nothing but the frame's own checksum covers its link addresses, so one frame alone is not believed for ever. A
    /// segment that takes sequence space corrects itself: if its addresses were damaged, our ACK goes astray and the
    /// peer sends it again. A bare ACK is never repeated; with wrong addresses from it all we send would be lost, and
    /// a peer that only waits would never tell us. It counts only once the timer rang, when the old way is in doubt.
    pub fn may_move(&mut self, seg: &Segment<'_>, result: Result<(), DropReason>) -> bool {
        let repeated = seg.seq_len > 0;
        match result {
            Ok(()) => {
                let in_doubt = |(snd, _): (&mut Snd, bool)| snd.is_backed_off();
                repeated || self.state.snd().is_some_and(in_doubt)
            }
            Err(DropReason::OutOfWindow) => repeated && seg.seq.lt(self.rcv.nxt),
            Err(_) => false,
        }
    }

    /// RFC 5961 section 3.2: only the exact number resets. While the connection leaves, a peer that is gone answers with
    /// the one that we acknowledge.
    fn on_reset<O: Out<A::Link>>(
        &mut self,
        seg: &Segment<'_>,
        cx: &mut Cx<'_, A, O>,
    ) -> Result<(), DropReason> {
        if seg.seq == self.rcv.nxt || seg.seq == self.rcv.ack() {
            self.end(CloseReason::PeerReset, cx);
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
                self.acknowledge_again(seg, cx);
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
    fn establish<O: Out<A::Link>>(
        &mut self,
        seq: SeqNum,
        window: u16,
        timestamps: Option<Timestamps>,
        cx: &mut Cx<'_, A, O>,
    ) {
        let State::SynRcvd(half) = &self.state else {
            return;
        };
        let start = SndStart {
            iss: half.iss,
            wnd: self.terms.scale(window),
            seq,
            mss: self.terms.payload(),
            sack: self.terms.sack,
            // Karn: of a SYN-ACK that was sent twice, or as a cookie, only the echo tells when.
            rtt: match timestamps {
                _ if half.tries == 1 => Some(cx.now.since(half.sent)),
                Some(ts) if self.terms.timestamps => self.terms.echoed(cx.now, ts.ecr),
                Some(_) | None => None,
            },
            handshake_lost: half.tries > MAX_FORGIVEN_SYN_ACKS,
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
                let until = Timer::after(cx.now, cx.shared.config.linger);
                self.state = State::FinWait2 {
                    snd_nxt: snd.nxt,
                    linger: Linger {
                        until,
                        discarded: linger.discarded,
                    },
                };
            }
            State::Closing { .. } => self.wait_out(cx),
            State::LastAck { .. } => self.end(CloseReason::Finished, cx),
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
}
