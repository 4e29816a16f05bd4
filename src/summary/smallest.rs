//! Which counter is the smallest.
//!
//! No order is kept while recording. When something must go, a scan collects the smallest few
//! counters with their values; the list serves until it is used up. Counters only grow, so a
//! counter outside of the list is never smaller than it was at the scan.

/// One in this many counters is collected by a scan.
const COLLECTED_SHARE: usize = 16;

/// The fewest counters that are collected by a scan.
const COLLECTED_LEAST: usize = 8;

#[derive(Clone, Default)]
pub(super) struct Smallest {
    /// Value at the time it was listed, and slot; the smallest last.
    list: Vec<(u64, u16)>,
    /// No counter outside of the list is smaller than this.
    limit: u64,
}

impl Smallest {
    pub(super) fn heap_bytes(&self) -> usize {
        self.list.capacity() * size_of::<(u64, u16)>()
    }

    /// A slot whose value no other is smaller than, and that value.
    pub(super) fn find(&mut self, values: &[u64]) -> Option<(usize, u64)> {
        loop {
            let Some(&(listed, slot)) = self.list.last() else {
                if values.is_empty() {
                    return None;
                }
                self.refill(values);
                continue;
            };
            let value = values.get(usize::from(slot)).copied()?;
            if value == listed {
                return Some((usize::from(slot), value));
            }
            self.list.pop();
            self.list_below_limit(value, slot);
        }
    }

    /// The slot that [`find`](Self::find) gave now has this value. Returns a number that no
    /// counter is smaller than.
    pub(super) fn replaced(&mut self, value: u64, slot: usize) -> u64 {
        self.list.pop();
        self.list_below_limit(value, slot as u16);
        self.list.last().map_or(self.limit, |&(listed, _)| listed)
    }

    fn list_below_limit(&mut self, value: u64, slot: u16) {
        if value < self.limit {
            let at = self.list.partition_point(|&(listed, _)| listed > value);
            self.list.insert(at, (value, slot));
        }
    }

    fn refill(&mut self, values: &[u64]) {
        let keep = (values.len() / COLLECTED_SHARE).max(COLLECTED_LEAST);
        self.list.reserve_exact(2 * keep);
        self.limit = u64::MAX;
        let mut first = true;
        for (slot, &value) in values.iter().enumerate() {
            if value < self.limit || first {
                self.list.push((value, slot as u16));
                if self.list.len() == 2 * keep {
                    self.list.select_nth_unstable(keep - 1);
                    self.limit = self.list[keep - 1].0;
                    self.list.truncate(keep);
                    first = false;
                }
            }
        }
        self.list.sort_unstable_by(|a, b| b.cmp(a));
    }
}
