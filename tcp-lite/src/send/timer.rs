//! The timers of the send half: retransmission (RFC 6298), persist, reordering and tail loss probe (RFC 8985).

use core::time::Duration;

use super::busy::{Early, Probe};
use super::rack::Situation;
use super::recovery::Phase;
use super::{Snd, millis, stamp};
use crate::config::Settings;
use crate::counters::Counters;
use crate::time::{Instant, Timer, micros};

/// Least time before a tail loss probe. Less takes a peer for silent that only waits for its processor (its round trip
/// being that of an idle machine); more leaves a short path waiting for nothing.
const MIN_PTO: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimerVerdict {
    Continue,
    GiveUp,
}

impl Snd {
    /// A timer rang. `GiveUp`: nothing moved for the user timeout.
    pub fn on_timer(
        &mut self,
        now: Instant,
        config: &Settings,
        counters: &mut Counters,
    ) -> TimerVerdict {
        let Some(busy) = &mut self.busy else {
            return TimerVerdict::Continue;
        };
        if now.0.saturating_sub(busy.progress.0) >= config.micros.user_timeout {
            return TimerVerdict::GiveUp;
        }
        if busy.pace.timer.is_due(now) {
            // The output that follows goes on.
            busy.pace.timer = Timer::OFF;
        }
        if busy.early.is_due(now) {
            busy.early = Timer::OFF;
            match busy.early_for {
                Early::Reordering => self.on_reordering_timer(now, config, counters),
                Early::Probe => self.send_probe(now, config, counters),
            }
        }
        if self.busy.as_ref().is_some_and(|busy| busy.rto.is_due(now)) {
            self.on_rto(now, config, counters);
        }
        TimerVerdict::Continue
    }

    /// Nothing is queued or outstanding after all.
    pub fn stop_timers(&mut self) {
        if let Some(busy) = &mut self.busy {
            (busy.rto, busy.early, busy.pace.timer) = (Timer::OFF, Timer::OFF, Timer::OFF);
        }
    }

    fn on_rto(&mut self, now: Instant, config: &Settings, counters: &mut Counters) {
        let mss = self.mss();
        let flight = self.nxt.since(self.una);
        let situation = self.situation(now);
        let Some(busy) = &mut self.busy else { return };
        busy.early = Timer::OFF;
        if self.wnd == 0 || flight == 0 {
            // Persist (RFC 9293 section 3.8.6.1): what the window takes, at least one byte or the FIN.
            counters.probes += 1;
            busy.forced = Some((self.una, self.wnd.clamp(1, mss)));
        } else {
            counters.timeouts += 1;
            self.window_reduced();
            let again = self.rtt.is_backed_off();
            let before = self.congestion;
            if !again {
                self.lower_threshold(config);
            }
            self.congestion.on_timeout(mss);
            let Some(busy) = &mut self.busy else { return };
            busy.recovery
                .begin(Phase::Timeout, stamp(now), self.nxt, flight, before);
            busy.duplicates = 0;
            busy.probe = None;
            if self.sack {
                // RFC 2018 section 8 wants everything forgotten that was reported; RFC 6675 section 5.1 lets it be
                // kept by whom notices that the peer took it back: its first segment must not be among it, nor may it
                // be of no use twice.
                if again || busy.sheet.has_reneged() {
                    busy.sheet.forget_reports();
                }
                busy.rack
                    .on_timeout(&mut busy.sheet, self.reordering, &situation);
            } else {
                busy.sheet.lose_all();
            }
            let first = busy.sheet.lost_until(self.una, mss).since(self.una);
            busy.forced = Some((self.una, first.min(mss).min(self.wnd)));
            // The path may have become another one.
            self.rtt.forget_least();
        }
        self.rtt.back_off();
        self.start_rto(now, config);
    }

    /// RFC 8985 section 6.2 step 5: the reordering window of something is over.
    fn on_reordering_timer(&mut self, now: Instant, config: &Settings, counters: &mut Counters) {
        let (_, lost) = self.detect_losses(now, config, counters);
        let mss = self.mss();
        let ssthresh = self.congestion.ssthresh;
        if let Some(busy) = &mut self.busy
            && busy.recovery.phase == Phase::Fast
            && lost
        {
            let pipe = busy.pipe(mss);
            self.congestion.cwnd = busy.recovery.window(0, pipe, ssthresh, mss, false);
        }
    }

    /// RFC 8985 section 7.3, `TLP_send_probe`: new data if there is any, else the last segment again.
    fn send_probe(&mut self, now: Instant, config: &Settings, counters: &mut Counters) {
        let mss = self.mss();
        let Some(busy) = &mut self.busy else { return };
        let Some(last) = busy.sheet.last() else {
            return;
        };
        let sent = self.nxt.since(self.una);
        let unsent = busy.queue.bytes().saturating_sub(sent).min(mss);
        let again = unsent == 0 || self.wnd.saturating_sub(sent) < unsent;
        busy.forced = if again {
            // A segment as it is cut now.
            let from = last.seq.max(last.end - last.len().min(mss));
            Some((from, last.end.since(from)))
        } else {
            Some((self.nxt, unsent))
        };
        busy.probe = Some(Probe {
            end: if again { self.nxt } else { self.nxt + unsent },
            again,
            at: millis(now),
        });
        counters.tail_probes += 1;
        self.start_rto(now, config);
    }

    /// RFC 8985 section 7.2: when the tail is probed, if it may be. Before the timeout anyhow, which costs the window.
    pub fn schedule_probe(&mut self, now: Instant, config: &Settings) {
        let srtt = self.rtt.smoothed();
        let Some(busy) = &mut self.busy else { return };
        let may = self.sack
            && srtt > 0
            && busy.recovery.is_open()
            && busy.probe.is_none()
            && busy.sheet.sacked().0 == 0
            && !busy.sheet.has_lost()
            && !busy.sheet.is_empty()
            && self.wnd > 0;
        if !may {
            if busy.early_for == Early::Probe {
                busy.early = Timer::OFF;
            }
            return;
        }
        let trip = u64::from(srtt);
        let mut wait = (2 * trip).max(micros(MIN_PTO));
        if busy.sheet.len() == 1 {
            // The delayed ACK is there one trip and the delay later; half a trip for its variance. A whole one as well,
            // as the RFC has it, would only hold up what is lost on a long path.
            wait = wait.max(trip + trip / 2 + config.micros.peer_ack_delay);
        }
        busy.early = Timer::at(now.later(wait)).min(busy.rto);
        busy.early_for = Early::Probe;
    }

    /// RFC 6298 section 5, with the user timeout before it.
    #[inline]
    pub(super) fn start_rto(&mut self, now: Instant, config: &Settings) {
        self.ring_in(self.rtt.rto(config), now, config);
    }

    /// Starts the retransmission timer for `wait` µs.
    #[inline]
    pub(super) fn ring_in(&mut self, wait: u64, now: Instant, config: &Settings) {
        if let Some(busy) = &mut self.busy {
            let give_up = busy.progress.later(config.micros.user_timeout);
            busy.rto = Timer::at(now.later(wait).min(give_up));
        }
    }

    pub(super) fn situation(&self, now: Instant) -> Situation {
        Situation {
            now: stamp(now),
            srtt: self.rtt.smoothed(),
            min_rtt: self.rtt.least_seen(),
            recovering: self
                .busy
                .as_ref()
                .is_some_and(|busy| !busy.recovery.is_open()),
        }
    }
}
