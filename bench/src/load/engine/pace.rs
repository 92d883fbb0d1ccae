//! When requests are sent.

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    /// Nanoseconds between two requests over all; `None`: each as soon as its connection may ask.
    interval: Option<f64>,
    start: u64,
    sent: u64,
}

impl Pace {
    pub(super) fn new(rate: Option<f64>, now: u64) -> Self {
        Self {
            interval: rate.map(|rate| 1e9 / rate),
            start: now,
            sent: 0,
        }
    }

    /// Requests are due from `now` on.
    pub(super) fn begin(&mut self, now: u64) {
        self.start = now;
        self.sent = 0;
    }

    /// Whether each answer lets the next request go.
    pub(super) fn is_closed(&self) -> bool {
        self.interval.is_none()
    }

    /// When the next request should be sent, in nanoseconds; 0 when at once.
    pub(super) fn next(&self) -> u64 {
        match self.interval {
            Some(interval) => self.start + (self.sent as f64 * interval) as u64,
            None => 0,
        }
    }

    /// When the request that can be sent at `now` should have been sent: from then on its latency counts, however late
    /// it really is, or what a slow server holds up would not be seen (coordinated omission). `None` if none is due.
    pub(super) fn take(&mut self, now: u64) -> Option<u64> {
        if self.is_closed() {
            return Some(now);
        }
        let due = self.next();
        (due <= now).then(|| {
            self.sent += 1;
            due
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_counts_from_when_it_was_due() {
        let mut pace = Pace::new(Some(1000.0), 0);
        pace.begin(5_000_000);
        assert_eq!(pace.take(4_999_999), None);
        assert_eq!(pace.take(5_000_000), Some(5_000_000));
        assert_eq!(pace.take(5_500_000), None);
        assert_eq!(pace.take(9_000_000), Some(6_000_000));
        assert_eq!(pace.take(9_000_000), Some(7_000_000));
        assert_eq!(pace.next(), 8_000_000);
    }

    #[test]
    fn a_closed_loop_never_waits() {
        let mut pace = Pace::new(None, 0);
        assert_eq!(
            (pace.take(7), pace.take(7), pace.next()),
            (Some(7), Some(7), 0)
        );
    }
}
