//! Counters as other threads see them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What has counters.
pub(crate) trait Counted {
    /// Shows every counter and gauge as (name, label, value): the same names in the same order each time.
    fn visit(&self, see: &mut impl FnMut(&'static str, &'static str, u64));
}

/// The values of one worker, written by it once per batch and read by anyone.
///
/// Single values are exact; two of them may be of neighbouring batches.
#[derive(Debug, Default)]
pub struct Published {
    table: OnceLock<Table>,
    rounds: AtomicU64,
}

/// Values apart from their names: some 200 of them are written in each batch, by a worker that others wait for.
#[derive(Debug)]
struct Table {
    names: Vec<(&'static str, &'static str)>,
    values: Vec<AtomicU64>,
}

impl Published {
    /// Stores what `of` shows.
    pub(crate) fn publish(&self, of: &impl Counted) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        match self.table.get() {
            Some(Table { names, values }) => {
                let mut next = 0;
                of.visit(&mut |name, label, value| {
                    debug_assert_eq!(names.get(next), Some(&(name, label)));
                    if let Some(to) = values.get(next) {
                        to.store(value, Ordering::Relaxed);
                    }
                    next += 1;
                });
            }
            None => {
                let (mut names, mut values) = (Vec::new(), Vec::new());
                of.visit(&mut |name, label, value| {
                    names.push((name, label));
                    values.push(AtomicU64::new(value));
                });
                // Only this thread publishes, so that nobody else can have set it.
                let _ = self.table.set(Table { names, values });
            }
        }
    }

    /// How often the worker has published.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Every value as (name, label, value); nothing before the first batch.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.table.get().into_iter().flat_map(|table| {
            let values = table.values.iter().map(|v| v.load(Ordering::Relaxed));
            let names = table.names.iter().zip(values);
            names.map(|(&(name, label), value)| (name, label, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two(u64);

    impl Counted for Two {
        fn visit(&self, see: &mut impl FnMut(&'static str, &'static str, u64)) {
            see("frames", "received", self.0);
            see("frames", "sent", self.0 + 1);
        }
    }

    #[test]
    fn what_was_published_last_is_read() {
        let published = Published::default();
        assert_eq!((published.read().count(), published.rounds()), (0, 0));
        for n in [7, 9] {
            published.publish(&Two(n));
            let seen: Vec<_> = published.read().collect();
            let right = [("frames", "received", n), ("frames", "sent", n + 1)];
            assert_eq!(seen, right);
        }
        assert_eq!(published.rounds(), 2);
    }
}
