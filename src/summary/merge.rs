//! Merging and truncating.

use std::collections::HashMap;

use super::{CELLS_PER_COUNTER, Counter, Seed, Summary};

impl Summary {
    /// Merges any number of summaries in one pass and keeps the `capacity` largest counters.
    pub fn merge<'a>(
        parts: impl IntoIterator<Item = &'a Summary>,
        capacity: usize,
        seed: Seed,
    ) -> Summary {
        let mut merged = Self::merge_all(parts, seed);
        merged.truncate(capacity);
        merged.capacity = capacity.clamp(1, Self::MAX_CAPACITY);
        merged
    }

    /// Merges any number of summaries and keeps every counter, up to
    /// [`MAX_MERGED`](Self::MAX_MERGED).
    pub fn merge_all<'a>(parts: impl IntoIterator<Item = &'a Summary>, seed: Seed) -> Summary {
        let parts: Vec<&Summary> = parts.into_iter().collect();
        let mut ids: HashMap<&str, (u64, u64)> = HashMap::new();
        for part in &parts {
            for row in part.rows() {
                ids.entry(row.id).or_default();
            }
        }
        for (id, (lower, upper)) in &mut ids {
            for part in &parts {
                let bounds = part.bounds(id);
                *lower = lower.saturating_add(bounds.lower);
                *upper = upper.saturating_add(bounds.upper);
            }
        }
        let capacity = parts.iter().map(|part| part.capacity).max().unwrap_or(1);
        let mut merged = Self::with_limit(capacity.max(ids.len()), seed);
        merged.add_filters(&parts);
        for (id, (lower, upper)) in ids {
            merged.push(Counter {
                id: id.into(),
                upper,
                overcount: upper - lower,
            });
        }
        if merged.len() > Self::MAX_MERGED {
            merged.drop_smallest(Self::MAX_MERGED);
            merged.capacity = Self::MAX_MERGED;
        }
        merged
    }

    fn add_filters(&mut self, parts: &[&Summary]) {
        let largest = parts.iter().map(|part| part.cells.len()).max().unwrap_or(0);
        let cells = largest.min(Self::MAX_CAPACITY * CELLS_PER_COUNTER);
        let mut sums = vec![0_u64; cells];
        for part in parts {
            self.total = self.total.saturating_add(part.total);
            self.full |= part.full;
            if part.seed != self.seed || part.cells.is_empty() {
                self.base = self.base.saturating_add(part.unlisted_max);
                continue;
            }
            self.base = self.base.saturating_add(part.base);
            for (at, sum) in sums.iter_mut().enumerate() {
                // Cells split the range of the hash evenly: those of `part` that overlap this one.
                let from = at * part.cells.len() / cells;
                let to = ((at + 1) * part.cells.len()).div_ceil(cells);
                let most = part.cells[from..to].iter().copied().max().unwrap_or(0);
                *sum = sum.saturating_add(most);
            }
        }
        let most = sums.iter().copied().max().unwrap_or(0);
        let limit: u64 = parts
            .iter()
            .fold(0, |sum, part| sum.saturating_add(part.unlisted_max));
        self.unlisted_max = self.base.saturating_add(most).min(limit);
        if self.full {
            self.cells = sums;
        }
    }

    /// Keeps the `capacity` largest counters; what it drops goes into the filter.
    pub fn truncate(&mut self, capacity: usize) {
        let capacity = capacity.clamp(1, Self::MAX_CAPACITY);
        if self.len() > capacity {
            self.drop_smallest(capacity);
        }
        self.capacity = self.capacity.min(capacity);
    }

    fn drop_smallest(&mut self, keep: usize) {
        self.full = true;
        self.counters
            .sort_unstable_by(|a, b| b.upper.cmp(&a.upper).then_with(|| a.id.cmp(&b.id)));
        for dropped in self.counters.split_off(keep) {
            self.raise(&dropped.id, dropped.upper);
        }
        self.index = self
            .counters
            .iter()
            .enumerate()
            .map(|(at, counter)| (counter.id.clone(), at))
            .collect();
    }
}
