//! An ACK comes in: what it delivered, what that says about losses, and what window it leaves.

use super::busy::Early;
use super::congestion::Congestion;
use super::recovery::Phase;
use super::sent::{Sent, is_after};
use super::volley::Load;
use super::{AckInfo, Acked, Snd, millis, stamp};
use crate::config::Settings;
use crate::counters::Counters;
use crate::seq::SeqNum;
use crate::time::{Instant, Timer};
use crate::wire::SackBlocks;

/// RFC 5681 section 3.2: this many duplicate ACKs in a row tell of a loss, where the peer has no SACK.
const DUP_ACKS: u16 = 3;

/// What one ACK delivered.
#[derive(Default)]
pub(super) struct News {
    /// `snd_una` moved by this much.
    pub gone: u32,
    /// Sequence numbers not known to be delivered before (`DeliveredData` of PRR).
    pub delivered: u32,
    /// The round trip of the oldest segment acknowledged, unless something was sent twice (Karn).
    rtt: Option<u32>,
    /// It reports a duplicate (RFC 2883).
    dsack: bool,
    /// It is the last one of a recovery, or showed that there was no need of it.
    pub ended: bool,
    /// It echoes a mark.
    pub echo: bool,
    /// It delivered something that was sent once, before the recovery began; something that was first sent since.
    original: bool,
    above: bool,
}

impl Snd {
    /// Takes a plausible acknowledgment. `fin`: FIN stands behind the queue.
    pub fn on_ack(
        &mut self,
        now: Instant,
        info: &AckInfo<'_>,
        fin: bool,
        config: &Settings,
        counters: &mut Counters,
    ) -> Acked {
        if self.una == self.nxt {
            self.update_window(now, info, config);
            return Acked::default();
        }
        let before = (self.una, self.nxt.since(self.una));
        let queued = self.queued();
        let mut news = self.deliver(now, info);
        if news.gone > 0 {
            news.ended = self.on_progress(now, info, &news, counters);
        } else if news.delivered > 0 || info.pure {
            news.ended = self.take_back_if_told(&news, counters);
        }
        let lost = if self.sack {
            self.on_probe_acked(info, &news, now, config);
            let (wait, lost) = self.detect_losses(now, config, counters);
            self.arm_reordering(now, wait);
            lost
        } else {
            self.count_duplicates(now, info, &news, config, counters)
        };
        self.adapt_window(now, before, &news, lost, config);
        if news.gone > 0 {
            // RFC 6298 sections 5.2 and 5.3
            self.start_rto(now, config);
        }
        self.update_window(now, info, config);
        if self.una == self.nxt {
            self.stop_timers();
            self.resting = millis(now);
        } else if news.gone + news.delivered > 0 && self.is_early_free() {
            self.schedule_probe(now, config);
        }
        let bytes = news.gone.min(queued);
        Acked {
            bytes,
            fin: fin && news.gone > bytes,
        }
    }

    /// Marks what the ACK and its blocks deliver.
    fn deliver(&mut self, now: Instant, info: &AckInfo<'_>) -> News {
        let mut news = News {
            echo: info.echo,
            ..News::default()
        };
        let at = stamp(now);
        let (una, nxt) = (self.una, self.nxt);
        let Load::Busy(busy) = &mut self.load else {
            return news;
        };
        let moved = una.lt(info.ack);
        // A peer's echo tells which transmission moved `una`; that of a report is older than what it reports.
        let echoed = info
            .echoed_rtt
            .filter(|_| moved)
            .map(|rtt| at.wrapping_sub(rtt.as_micros() as u32));
        let (rtt, reordering, rack) = (&mut self.rtt, &mut self.reordering, &mut busy.rack);
        let carried = &mut self.carried;
        let recovery = &busy.recovery;
        let (mut original, mut above) = (false, false);
        let mut tell = |sent: &Sent, echoed: Option<u32>| {
            *carried = (*carried).max(sent.len().min(u32::from(self.mss)) as u16);
            if !sent.again {
                rtt.least(sent.age(at));
            }
            original |= recovery.is_original(sent);
            above |= recovery.is_above(sent);
            rack.delivered(sent, at, rtt.least_seen(), echoed, reordering);
        };
        if moved {
            let (mut oldest, mut twice) = (None, false);
            news.gone = info.ack.since(una);
            news.delivered = busy.sheet.ack(info.ack, |sent| {
                oldest = oldest.or(Some(sent.age(at)));
                twice |= sent.again;
                tell(sent, echoed);
            });
            news.rtt = oldest.filter(|_| !twice);
            self.una = info.ack;
            self.ecn_end = self.ecn_end.max(info.ack - 1);
            if busy.sheet.has_reneged() {
                // RFC 2018 section 8: what it reported begins where it waits. Then nothing it reported counts.
                busy.sheet.forget_reports();
            }
        }
        if !self.sack {
            (news.original, news.above) = (original, above);
            return news;
        }
        // From below: else what a lost ACK had reported would look overtaken.
        for (left, right) in ascending(una, info.sack) {
            if self.una.lt(left) && left.lt(right) && right.le(nxt) {
                let before = busy.sheet.sacked().0;
                busy.sheet.sack(left, right, |sent| tell(sent, None));
                news.delivered += busy.sheet.sacked().0 - before;
            }
        }
        (news.original, news.above) = (original, above);
        news.dsack = is_dsack(info, una - self.max_wnd);
        busy.rack
            .on_ack(self.una, nxt, news.dsack, &mut self.reordering);
        news
    }

    /// `una` moved. True if that ended a recovery.
    fn on_progress(
        &mut self,
        now: Instant,
        info: &AckInfo<'_>,
        news: &News,
        counters: &mut Counters,
    ) -> bool {
        let echoed = info.echoed_rtt.map(|rtt| rtt.as_micros() as u32);
        // Where something was sent twice, the echo still tells which one arrived (RFC 7323 section 4). An ACK with a
        // D-SACK is of the second one and echoes the first: another ACK was lost, and the echo's age is no round trip.
        let echoed_rtt = echoed.filter(|_| !news.dsack);
        let sample = news.rtt.or(echoed_rtt);
        if let Some(rtt) = sample {
            self.rtt.sample(rtt);
        }
        self.rtt.restore();
        let Load::Busy(busy) = &mut self.load else {
            return false;
        };
        busy.progress = now;
        if busy.forced.is_some_and(|(seq, _)| seq.lt(self.una)) {
            busy.forced = None;
        }
        let echoed_at = echoed.map(|rtt| millis(now).wrapping_sub(rtt / 1000));
        if let Some(before) = busy.recovery.spurious(echoed_at) {
            self.take_back(before, news, counters);
            if let Some(rtt) = echoed_rtt {
                self.rtt.adapt_to(rtt);
            }
            return true;
        }
        if self.take_back_if_told(news, counters) {
            return true;
        }
        let Load::Busy(busy) = &mut self.load else {
            return false;
        };
        if echoed.is_none() {
            busy.recovery.ask(self.una);
        }
        let Some(phase) = busy.recovery.end(self.una) else {
            return false;
        };
        self.reordering.recovered();
        busy.duplicates = 0;
        if phase == Phase::Fast {
            // RFC 9937 section 7.3
            self.congestion.cwnd = self.congestion.ssthresh;
        }
        true
    }

    /// Forward RTO-recovery (RFC 5682 section 3.1 step 3): does the ACK show that the timeout was for nothing?
    fn take_back_if_told(&mut self, news: &News, counters: &mut Counters) -> bool {
        let mss = self.mss();
        let Load::Busy(busy) = &mut self.load else {
            return false;
        };
        match busy.recovery.told(news.original, news.above) {
            Some(Some(before)) => {
                self.take_back(before, news, counters);
                true
            }
            Some(None) => {
                // Step 3a: beside the two that asked the first repetition goes out.
                self.congestion.cwnd = 3 * mss;
                false
            }
            None => false,
        }
    }

    /// Nothing was lost: Eifel response (RFC 4015 section 3.2).
    fn take_back(&mut self, before: Congestion, news: &News, counters: &mut Counters) {
        let mss = self.mss();
        let Load::Busy(busy) = &mut self.load else {
            return;
        };
        counters.spurious += 1;
        busy.recovery.cancel();
        busy.sheet.find_all();
        busy.forced = None;
        let pipe = busy.pipe(mss);
        self.congestion.undo(before, pipe, news.gone, mss);
    }

    /// RACK. Returns after how many µs to look again, and whether anything is lost that was not.
    pub(super) fn detect_losses(
        &mut self,
        now: Instant,
        config: &Settings,
        counters: &mut Counters,
    ) -> (Option<u32>, bool) {
        let situation = self.situation(now);
        let Load::Busy(busy) = &mut self.load else {
            return (None, false);
        };
        let (mut lost, mut news) = (false, false);
        let recovery = &busy.recovery;
        let wait = busy
            .rack
            .detect(&mut busy.sheet, self.reordering, &situation, |sent| {
                lost = true;
                news |= recovery.is_news(sent);
            });
        if news {
            self.begin_recovery(now, config, counters);
        }
        (wait, lost)
    }

    fn begin_recovery(&mut self, now: Instant, config: &Settings, counters: &mut Counters) {
        counters.fast_retransmits += 1;
        let mss = self.mss();
        let before = self.congestion;
        self.lower_threshold(config);
        self.window_reduced();
        let outstanding = self.nxt.since(self.una);
        if let Load::Busy(busy) = &mut self.load {
            // The ACK that tells of it delivered a segment.
            let left = u32::from(busy.duplicates.saturating_sub(1)) * mss;
            let flight = outstanding.saturating_sub(busy.sheet.sacked().0 + left);
            busy.recovery
                .begin(Phase::Fast, stamp(now), self.nxt, flight, before);
            busy.early = Timer::OFF;
            busy.probe = None;
        }
    }

    /// A loss: lowers `ssthresh`.
    pub(super) fn lower_threshold(&mut self, config: &Settings) {
        let (mss, flight) = (self.mss(), self.nxt.since(self.una));
        if let Load::Busy(busy) = &mut self.load {
            // Inside of a recovery the window is below what it is on its way to.
            let window = match busy.recovery.phase {
                Phase::Fast => self.congestion.ssthresh,
                Phase::Open | Phase::Timeout => self.congestion.cwnd,
            };
            self.congestion
                .on_loss(config.congestion, &mut busy.curve, flight, window, mss);
        }
    }

    fn arm_reordering(&mut self, now: Instant, wait: Option<u32>) {
        let Load::Busy(busy) = &mut self.load else {
            return;
        };
        if let Some(wait) = wait {
            busy.early = Timer::at(now + core::time::Duration::from_micros(wait.into()));
            busy.early_for = Early::Reordering;
        } else if busy.early_for == Early::Reordering {
            busy.early = Timer::OFF;
        }
    }

    fn is_early_free(&self) -> bool {
        self.load
            .busy()
            .is_some_and(|busy| busy.early_for == Early::Probe || !busy.early.is_set())
    }

    /// RFC 8985 section 7.4, `TLP_process_ack`: was it the probe that repaired a loss? Then the loss is answered for.
    fn on_probe_acked(&mut self, info: &AckInfo<'_>, news: &News, now: Instant, config: &Settings) {
        let Load::Busy(busy) = &mut self.load else {
            return;
        };
        let Some(probe) = busy.probe else { return };
        if self.una.lt(probe.end) {
            return;
        }
        let echo = info.echoed_rtt.map(|rtt| rtt.as_millis() as u32);
        let repaired = match echo.map(|rtt| millis(now).wrapping_sub(rtt)) {
            // The original had arrived if that is what is echoed; a peer without timestamps must tell by a D-SACK.
            _ if !probe.again || news.dsack => false,
            Some(echoed) => !is_after(probe.at, echoed),
            None => news.gone > 0,
        };
        busy.probe = None;
        if repaired {
            self.lower_threshold(config);
            self.window_reduced();
            self.congestion.cwnd = self.congestion.cwnd.min(self.congestion.ssthresh);
        }
    }

    /// Fast retransmit without SACK (RFC 5681 section 3.2, RFC 6582). Returns whether anything is lost that was not.
    fn count_duplicates(
        &mut self,
        now: Instant,
        info: &AckInfo<'_>,
        news: &News,
        config: &Settings,
        counters: &mut Counters,
    ) -> bool {
        let mss = self.mss();
        let Load::Busy(busy) = &mut self.load else {
            return false;
        };
        let again = |busy: &super::Busy| {
            let first = busy.sheet.first();
            first.is_some_and(|sent| busy.recovery.is_later(sent))
        };
        if news.gone > 0 {
            if busy.recovery.phase != Phase::Fast {
                busy.duplicates = 0;
                return false;
            }
            // Partial (RFC 6582 section 3.2 step 3): the next gap begins at `una`; all but one of what is gone had been
            // counted before.
            let counted = (news.gone.div_ceil(mss) - 1).min(u32::from(u16::MAX)) as u16;
            busy.duplicates = busy.duplicates.saturating_sub(counted);
            let lost = !again(busy);
            if lost {
                busy.sheet.lose_first();
                let first = busy.sheet.lost_until(self.una, mss).since(self.una);
                busy.forced = Some((self.una, first.min(mss).min(self.wnd)));
            }
            return lost;
        }
        let duplicate = info.pure && self.wnd > 0 && info.wnd == self.wnd;
        if !duplicate || info.ack != self.una || busy.recovery.phase == Phase::Timeout {
            return false;
        }
        busy.duplicates = busy.duplicates.saturating_add(1);
        if busy.duplicates < DUP_ACKS || !busy.recovery.is_open() {
            return false;
        }
        busy.sheet.lose_first();
        self.begin_recovery(now, config, counters);
        true
    }

    /// RFC 9293 section 3.10.7.4, fifth check: SND.WND from the newest segment only. The ACK tells first which of two is
    /// newer: a retransmission has a lower SEQ than what its sender said before, and its window must count, or `una`
    /// moves and takes the old window past what was ever offered. Linux (`tcp_may_update_window`) also goes by it.
    #[inline]
    pub(super) fn update_window(&mut self, now: Instant, info: &AckInfo<'_>, config: &Settings) {
        if self.wl2.lt(info.ack) || self.wl2 == info.ack && self.wl1.le(info.seq) {
            if self.wnd == 0 && info.wnd > 0 {
                // Probes sent into the closed window were most likely dropped there.
                if let Load::Busy(busy) = &mut self.load {
                    busy.sheet.lose_all();
                    // The persist timer may be backed off far.
                    self.rtt.restore();
                    if busy.rto.is_set() {
                        self.start_rto(now, config);
                    }
                }
            }
            self.wnd = info.wnd;
            self.max_wnd = self.max_wnd.max(info.wnd);
            self.wl1 = info.seq;
            self.wl2 = info.ack;
        }
    }
}

/// The blocks by their left edges, as far behind `una`.
fn ascending(una: SeqNum, sack: &SackBlocks) -> impl Iterator<Item = (SeqNum, SeqNum)> {
    let mut blocks = [(una, una); 4];
    let given = sack.as_slice();
    blocks[..given.len()].copy_from_slice(given);
    blocks.sort_unstable_by_key(|(left, _)| left.since(una));
    blocks.into_iter()
}

/// RFC 2883 section 4: the first block lies below the ACK, or inside of the second one.
fn is_dsack(info: &AckInfo<'_>, oldest: SeqNum) -> bool {
    match info.sack.as_slice() {
        [(left, right), rest @ ..] if left.lt(*right) => {
            let below = right.le(info.ack) && oldest.le(*left);
            let inside = rest
                .first()
                .is_some_and(|(l, r)| l.le(*left) && right.le(*r));
            below || inside
        }
        _ => false,
    }
}
