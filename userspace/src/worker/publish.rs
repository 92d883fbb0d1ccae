//! Counters as other threads see them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The values of one worker, written by it once per batch and read by anyone.
///
/// Single values are exact; two of them may be of neighbouring batches.
#[derive(Debug, Default)]
pub struct Published {
    values: OnceLock<Vec<Value>>,
    rounds: AtomicU64,
}

#[derive(Debug)]
struct Value {
    name: &'static str,
    label: &'static str,
    value: AtomicU64,
}

impl Published {
    /// Stores what `visit` shows. It must show the same names in the same order each time.
    pub fn publish(&self, visit: impl FnOnce(&mut dyn FnMut(&'static str, &'static str, u64))) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        match self.values.get() {
            Some(values) => {
                let mut values = values.iter();
                visit(&mut |name, label, value| {
                    if let Some(to) = values.next() {
                        debug_assert!((to.name, to.label) == (name, label));
                        to.value.store(value, Ordering::Relaxed);
                    }
                });
            }
            None => {
                let mut values = Vec::new();
                visit(&mut |name, label, value| {
                    values.push(Value {
                        name,
                        label,
                        value: AtomicU64::new(value),
                    });
                });
                // Only this thread publishes, so that nobody else can have set it.
                let _ = self.values.set(values);
            }
        }
    }

    /// How often the worker has published.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Every value as (name, label, value); nothing before the first batch.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.values
            .get()
            .into_iter()
            .flatten()
            .map(|v| (v.name, v.label, v.value.load(Ordering::Relaxed)))
    }
}
