//! How many unasked-for answers leave per second.

use core::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::time::Instant;

/// A budget per second of the caller's clock.
///
/// A fixed budget shared by all connections lets an attacker count what is left and so learn of other people's
/// connections (CVE-2016-5696); every second therefore has its own secret size between half and all of the limit.
#[derive(Debug)]
pub(crate) struct Limiter {
    per_second: u32,
    secret: [u8; 16],
    second: u64,
    left: u32,
}

impl Limiter {
    pub fn new(per_second: u32, secret: [u8; 16]) -> Limiter {
        Limiter {
            per_second,
            secret,
            second: u64::MAX,
            left: 0,
        }
    }

    pub fn allow(&mut self, now: Instant) -> bool {
        let second = now.0 / 1_000_000;
        if second != self.second {
            self.second = second;
            let mut hasher = SipHasher24::new_with_key(&self.secret);
            hasher.write_u64(second);
            let half = self.per_second / 2;
            self.left = self.per_second - (hasher.finish() % u64::from(half + 1)) as u32;
        }
        let allowed = self.left > 0;
        self.left -= u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::{Instant, Limiter};

    #[test]
    fn each_second_has_its_own_budget() {
        let mut limiter = Limiter::new(100, [3; 16]);
        let mut sizes: Vec<_> = (0..20u64)
            .map(|s| {
                (0..1000)
                    .filter(|_| limiter.allow(Instant(s * 1_000_000 + 5)))
                    .count()
            })
            .collect();
        assert!(sizes.iter().all(|n| (50..=100).contains(n)), "{sizes:?}");
        sizes.sort_unstable();
        sizes.dedup();
        assert!(sizes.len() > 5);
        assert!(!Limiter::new(0, [3; 16]).allow(Instant(0)));
    }
}
