//! What a link does to frames.

use std::time::Duration;

/// The properties of one direction of a link. The default is a perfect wire: everything at once, in order.
///
/// Probabilities are per frame, 0.0 to 1.0, unless said otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Probability that a frame is lost by itself.
    pub loss: f64,
    /// Losses that come in runs.
    pub burst: Option<Burst>,
    /// Probability that a frame is sent twice.
    pub duplicate: f64,
    /// Probability that a frame is held back by [`Shape::reorder_by`], so that later ones overtake it.
    pub reorder: f64,
    /// How long a reordered frame is held back on top of the delay.
    pub reorder_by: Duration,
    /// One-way delay.
    pub delay: Duration,
    /// Largest random addition to the delay, evenly distributed. It never changes the order.
    pub jitter: Duration,
    /// Bits per second on the wire; `None`: no limit. 24 bytes of preamble, FCS and gap per frame are counted.
    pub rate: Option<u64>,
    /// Bytes that may wait for the wire before frames are lost at the tail; matters with a rate only.
    pub queue: usize,
    /// Probability of each bit behind the Ethernet header to flip; one per frame at most.
    pub bit_errors: f64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            loss: 0.0,
            burst: None,
            duplicate: 0.0,
            reorder: 0.0,
            // Longer than the gap between the frames of one burst of a host, shorter than any RTO.
            reorder_by: Duration::from_millis(2),
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate: None,
            // A common home router's buffer: 100 ms at 20 Mbit/s.
            queue: 256 << 10,
            bit_errors: 0.0,
        }
    }
}

impl Shape {
    /// A wire that only loses frames, each with probability `loss`.
    pub fn lossy(loss: f64) -> Self {
        Self {
            loss,
            ..Self::default()
        }
    }

    /// Says which property is out of its range.
    ///
    /// # Errors
    /// The sentence names the property and the range.
    pub fn check(&self) -> Result<(), String> {
        let burst = self.burst.unwrap_or_default();
        for (name, value) in [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("bit errors", self.bit_errors),
            ("burst enter", burst.enter),
            ("burst leave", burst.leave),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!(
                    "{name} is a probability, 0 to 1 (or 0% to 100%), not {value}"
                ));
            }
        }
        if self.rate == Some(0) {
            return Err("rate 0 would never send a frame; leave it out for no limit".into());
        }
        Ok(())
    }
}

/// Gilbert's model of burst loss: a good state without loss and a bad one that loses everything.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Burst {
    /// Probability per frame to go from good to bad.
    pub enter: f64,
    /// Probability per frame to go from bad to good; the mean run of losses is its inverse.
    pub leave: f64,
}
