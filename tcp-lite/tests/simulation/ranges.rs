//! Which parts of a stream are there.

/// Ascending, disjoint, not touching.
#[derive(Clone, Debug, Default)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    pub fn add(&mut self, from: u32, to: u32) {
        if from >= to {
            return;
        }
        let first = self.0.partition_point(|(_, end)| *end < from);
        let behind = self.0.partition_point(|(start, _)| *start <= to);
        let mut new = (from, to);
        for (start, end) in self.0.drain(first..behind) {
            new = (new.0.min(start), new.1.max(end));
        }
        self.0.insert(first, new);
    }

    pub fn holds(&self, from: u32, to: u32) -> bool {
        from >= to || self.0.iter().any(|(a, b)| *a <= from && to <= *b)
    }

    /// The end of what is there without a gap from 0 on.
    pub fn prefix(&self) -> u32 {
        match self.0.first() {
            Some((0, end)) => *end,
            _ => 0,
        }
    }

    /// How much is there at and above `from`.
    pub fn above(&self, from: u32) -> u32 {
        let part = |(a, b): &(u32, u32)| b.saturating_sub((*a).max(from));
        self.0.iter().map(part).sum()
    }
}
