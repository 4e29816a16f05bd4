//! Which counter is the smallest.
//!
//! No order is kept while recording. When something must go, a scan collects the smallest few
//! counters with their values; the list serves until it is used up. Counters only grow, so a
//! counter outside of the list is never smaller than it was at the scan.

/// One in this many counters is collected by a scan: 1 byte a counter for the list.
const COLLECTED_SHARE: usize = 8;

/// The fewest counters that are collected by a scan.
const COLLECTED_LEAST: usize = 8;

/// Values that far above the smallest are not listed: so that a value and its slot are one number.
const WIDEST: u64 = 1 << 48;

#[derive(Clone, Default)]
pub(super) struct Smallest {
    /// What a value has above `base` as it was listed, and its slot in the low 16 bits; the
    /// smallest last.
    list: Vec<u64>,
    /// No counter is smaller than this.
    base: u64,
    /// No counter outside of the list is smaller than this, which is at most `base + WIDEST`.
    limit: u64,
    /// How far above the smallest the next scan expects its limit.
    guess: u64,
}

impl Smallest {
    pub(super) fn heap_bytes(&self) -> usize {
        self.list.capacity() * size_of::<u64>()
    }

    /// A slot whose value no other is smaller than, and that value.
    #[inline]
    pub(super) fn find(&mut self, values: &[u64]) -> Option<(usize, u64)> {
        loop {
            let Some(&listed) = self.list.last() else {
                if values.is_empty() {
                    return None;
                }
                self.refill(values);
                continue;
            };
            let slot = usize::from(listed as u16);
            let value = values.get(slot).copied()?;
            if value == self.base + (listed >> 16) {
                return Some((slot, value));
            }
            self.list.pop();
            self.list_below_limit(value, slot as u16);
        }
    }

    /// The slot that [`find`](Self::find) gave now has this value. Returns a number that no
    /// counter is smaller than.
    #[inline]
    pub(super) fn replaced(&mut self, value: u64, slot: usize) -> u64 {
        self.list.pop();
        self.list_below_limit(value, slot as u16);
        match self.list.last() {
            Some(&listed) => self.base + (listed >> 16),
            None => self.limit,
        }
    }

    fn list_below_limit(&mut self, value: u64, slot: u16) {
        if value < self.limit {
            let entry = (value - self.base) << 16 | u64::from(slot);
            let at = self.list.partition_point(|&listed| listed > entry);
            self.list.insert(at, entry);
        }
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self, values: &[u64]) {
        let keep = (values.len() / COLLECTED_SHARE).max(COLLECTED_LEAST);
        self.base = values.iter().copied().min().unwrap_or(0);
        self.collect(values, keep, self.base.saturating_add(self.guess));
        if self.list.len() < keep / 4 {
            self.collect(values, keep, self.base.saturating_add(WIDEST));
        }
        self.list.sort_unstable_by(|a, b| b.cmp(a));
        self.guess = self.limit - self.base + self.limit.abs_diff(self.base) / 4 + 1;
        self.guess = self.guess.min(WIDEST);
        if self.list.is_empty() {
            // All values are the largest number: there is nothing below it.
            self.list.push(0);
        }
    }

    /// Lists the smallest values below `limit`, about `keep` of them.
    fn collect(&mut self, values: &[u64], keep: usize, limit: u64) {
        self.limit = limit;
        let mut smallest = vec![0; 4 * keep];
        let mut count = 0;
        for (at, chunk) in values.chunks(keep).enumerate() {
            if count > 3 * keep {
                self.shorten(&mut smallest[..count], keep);
                count = keep;
            }
            for (slot, &value) in (at * keep..).zip(chunk) {
                if let Some(place) = smallest.get_mut(count) {
                    *place = value.wrapping_sub(self.base) << 16 | slot as u64;
                }
                // Without a branch: whether a value is small enough cannot be foretold.
                count += usize::from(value < self.limit);
            }
        }
        if count > keep {
            self.shorten(&mut smallest[..count], keep);
            count = keep;
        }
        self.list.clear();
        self.list.reserve_exact(keep);
        self.list.extend_from_slice(&smallest[..count]);
    }

    /// Moves the `keep` smallest to the front, and the limit to them.
    fn shorten(&mut self, smallest: &mut [u64], keep: usize) {
        let (_, largest, _) = smallest.select_nth_unstable(keep - 1);
        self.limit = self.base + (*largest >> 16);
    }
}
