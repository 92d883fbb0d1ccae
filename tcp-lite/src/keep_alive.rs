//! Is an idle peer still there? (RFC 9293 section 3.8.4)

use crate::app::{App, Out};
use crate::config::Config;
use crate::connection::{Connection, Cx};
use crate::counters::CloseReason;
use crate::state::State;
use crate::time::{Instant, Timer};
use crate::wire::Flags;

impl<A: App> Connection<A> {
    /// When to ask next. Only while nothing is outstanding: what is, asks by itself; and only before the application
    /// closed: `Config::linger` bounds the rest.
    #[inline]
    pub fn keep_alive(&self, now: Instant, config: &Config) -> Timer {
        let Some(idle) = config.keep_alive else {
            return Timer::OFF;
        };
        match &self.state {
            State::Established { snd, .. } | State::CloseWait { snd, .. }
                if !snd.is_busy(false) =>
            {
                let asked = config
                    .keep_alive_interval
                    .saturating_mul(self.probes.into());
                Timer::after(now - self.rcv.silence(now), idle + asked)
            }
            State::SynRcvd(_)
            | State::Established { .. }
            | State::FinWait1 { .. }
            | State::FinWait2 { .. }
            | State::CloseWait { .. }
            | State::Closing { .. }
            | State::LastAck { .. }
            | State::TimeWait(_)
            | State::Closed => Timer::OFF,
        }
    }

    /// Asks, or gives up, if it is time. The probe has no data and the last number that the peer acknowledged, so that
    /// it must answer; lost if there is no room.
    pub fn on_keep_alive<O: Out<A::Link>>(&mut self, cx: &mut Cx<'_, A, O>) {
        let config = &cx.shared.config;
        if !self.keep_alive(cx.now, config).is_due(cx.now) {
            return;
        }
        if self.probes >= config.keep_alive_probes {
            self.abort(CloseReason::KeepAlive, cx);
            return;
        }
        self.probes += 1;
        let header = self.header(self.state.snd_nxt() - 1, Flags::ACK, cx);
        if self.emit(&header, cx).is_ok() {
            cx.shared.counters.keep_alives += 1;
        }
    }
}
