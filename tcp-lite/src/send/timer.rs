//! The timers of the send half: retransmission (RFC 6298), persist, reordering and tail loss probe (RFC 8985).

use super::busy::{Early, Probe};
use super::rack::Situation;
use super::recovery::Phase;
use super::volley::Load;
use super::{Snd, millis, stamp};
use crate::config::Settings;
use crate::counters::Counters;
use crate::time::{Instant, Timer};

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
        let Load::Busy(busy) = &mut self.load else {
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
        if self.load.busy().is_some_and(|busy| busy.rto.is_due(now)) {
            self.on_rto(now, config, counters);
        }
        TimerVerdict::Continue
    }

    /// Nothing is queued or outstanding after all.
    pub fn stop_timers(&mut self) {
        if let Load::Busy(busy) = &mut self.load {
            (busy.rto, busy.early, busy.pace.timer) = (Timer::OFF, Timer::OFF, Timer::OFF);
        }
    }

    fn on_rto(&mut self, now: Instant, config: &Settings, counters: &mut Counters) {
        let mss = self.mss();
        let flight = self.nxt.since(self.una);
        let situation = self.situation(now);
        let Load::Busy(busy) = &mut self.load else {
            return;
        };
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
            let Load::Busy(busy) = &mut self.load else {
                return;
            };
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
        if let Load::Busy(busy) = &mut self.load
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
        let Load::Busy(busy) = &mut self.load else {
            return;
        };
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
        let Load::Busy(busy) = &self.load else { return };
        let wait = self.probe_wait(busy.sheet.len() == 1, config);
        let Load::Busy(busy) = &mut self.load else {
            return;
        };
        let may = busy.recovery.is_open()
            && busy.probe.is_none()
            && busy.sheet.sacked().0 == 0
            && !busy.sheet.has_lost()
            && !busy.sheet.is_empty();
        let Some(wait) = wait.filter(|_| may) else {
            if busy.early_for == Early::Probe {
                busy.early = Timer::OFF;
            }
            return;
        };
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
        if let Load::Busy(busy) = &mut self.load {
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
                .load
                .busy()
                .is_some_and(|busy| !busy.recovery.is_open()),
        }
    }
}
