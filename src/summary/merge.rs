//! Merging and truncating.
//!
//! One pass over the rows of all parts. With `B` the sum of all parts' bounds of an id's cell,
//! an id that is listed in some of the parts has at most
//! `sum of upper (where listed) + B - sum of cell bounds (where listed)`, so a part in which it is
//! missing need not be looked at.

use super::filter::{CELLS_PER_COUNTER, Cells, Filter};
use super::key::{Key, KeyHasher, StoredKey, spread};
use super::table::Table;
use super::{Seed, Summary};

impl Summary {
    /// Merges any number of summaries, of any capacities and seeds, and keeps the `capacity`
    /// largest counters (clamped to `1..=MAX_CAPACITY`). What is dropped goes into the filter.
    pub fn merge<'a>(
        parts: impl IntoIterator<Item = &'a Summary>,
        capacity: usize,
        seed: Seed,
    ) -> Summary {
        let capacity = capacity.clamp(1, Self::MAX_CAPACITY);
        let parts: Vec<&Summary> = parts.into_iter().collect();
        let mut merged = merge_and_keep(&parts, capacity, seed);
        merged.capacity = capacity;
        merged
    }

    /// Merges any number of summaries and keeps every counter, up to
    /// [`MAX_MERGED`](Self::MAX_MERGED): more are dropped as in [`merge`](Self::merge).
    pub fn merge_all<'a>(parts: impl IntoIterator<Item = &'a Summary>, seed: Seed) -> Summary {
        let parts: Vec<&Summary> = parts.into_iter().collect();
        let mut merged = merge_and_keep(&parts, Self::MAX_MERGED, seed);
        let largest = parts.iter().map(|part| part.capacity).max().unwrap_or(1);
        merged.capacity = largest.max(merged.len());
        merged
    }

    /// Keeps the `capacity` largest counters and never more than that again. What it drops goes
    /// into the filter.
    pub fn truncate(&mut self, capacity: usize) {
        let capacity = capacity.clamp(1, Self::MAX_CAPACITY);
        if self.len() > capacity {
            *self = Self::merge([&*self], capacity, self.seed);
        }
        self.capacity = self.capacity.min(capacity);
    }
}

/// Merges; the capacity of the result is `keep`.
fn merge_and_keep(parts: &[&Summary], keep: usize, seed: Seed) -> Summary {
    let rows: usize = parts.iter().map(|part| part.len()).sum();
    let hasher = KeyHasher::new(seed);
    let mut sums = Sums::new(parts, keep, seed);
    // So that a table's 16-bit slots do, ids are merged by ranges of their hashes.
    let ranges = rows.div_ceil(Summary::MAX_MERGED).max(1);
    if ranges == 1 {
        let rows = Rows::merged(parts, &sums, hasher, seed, |_| true);
        return finish(parts, rows, sums, keep, seed);
    }
    let mut kept = Rows::new(hasher);
    for range in 0..ranges {
        let in_range = |hash: u64| spread((hash >> 32) as u32, ranges) == range;
        let mut rows = Rows::merged(parts, &sums, hasher, seed, in_range);
        let (chosen, dropped) = rows.split(keep);
        sums.drop_rows(&rows, &dropped);
        kept.append(&rows, &chosen);
        let (chosen, dropped) = kept.split(keep);
        sums.drop_rows(&kept, &dropped);
        rows = Rows::new(hasher);
        rows.append(&kept, &chosen);
        kept = rows;
    }
    finish(parts, kept, sums, keep, seed)
}

fn finish(
    parts: &[&Summary],
    mut rows: Rows<'_>,
    mut sums: Sums,
    keep: usize,
    seed: Seed,
) -> Summary {
    if rows.len() > keep {
        let (chosen, dropped) = rows.split(keep);
        sums.drop_rows(&rows, &dropped);
        let mut kept = Rows::new(rows.hasher);
        kept.append(&rows, &chosen);
        rows = kept;
    }
    if rows.table.room() < rows.len() {
        rows.table.reserve(rows.len(), &rows.hasher);
    }
    let mut merged = Summary::empty(keep, seed);
    for part in parts {
        merged.total = merged.total.saturating_add(part.total);
    }
    merged.full = sums.full;
    merged.uppers.reserve_exact(rows.len());
    merged.overcounts.units.reserve_exact(rows.len());
    for (lower, overcount) in rows.lowers.iter().zip(&rows.overcounts) {
        merged.uppers.push(lower.saturating_add(*overcount));
        merged.overcounts.push(*overcount);
    }
    merged.texts = rows.texts.iter().map(|&text| text.into()).collect();
    merged.table = rows.table;
    merged.filter = sums.into_filter();
    merged
}

/// The parts' filters, added up cell by cell.
struct Sums {
    full: bool,
    hasher: KeyHasher,
    base: u64,
    counts: Vec<u64>,
    highest: u64,
    /// Whether the sum of all bounds does not fit into 64 bits: then it bounds nothing, and
    /// nothing may be taken from it.
    saturated: bool,
    /// Cells to make if something is dropped and no part had any.
    cells: usize,
}

impl Sums {
    fn new(parts: &[&Summary], keep: usize, seed: Seed) -> Self {
        let keyed_alike = |part: &Summary| part.seed == seed;
        let alike = parts.iter().filter(|part| keyed_alike(part));
        let largest = alike.map(|part| part.filter.len()).max().unwrap_or(0);
        let cells = keep.min(Summary::MAX_CAPACITY) * CELLS_PER_COUNTER;
        let mut sums = Self {
            full: false,
            hasher: KeyHasher::new(seed),
            base: 0,
            counts: vec![0; largest.min(cells)],
            highest: 0,
            saturated: false,
            cells,
        };
        let mut highest = 0_u128;
        for part in parts {
            sums.full |= part.full;
            highest += u128::from(part.filter.highest);
            if keyed_alike(part) {
                sums.base = sums.base.saturating_add(part.filter.base);
                part.filter.add_to(&mut sums.counts);
            } else {
                sums.base = sums.base.saturating_add(part.filter.highest);
            }
        }
        sums.saturated = highest > u128::from(u64::MAX);
        if sums.saturated {
            sums.base = u64::MAX;
        }
        let most = sums.counts.iter().copied().max().unwrap_or(0);
        let highest = u64::try_from(highest).unwrap_or(u64::MAX);
        sums.highest = sums.base.saturating_add(most).min(highest);
        sums
    }

    /// What an id of this hash may have had in all parts together, had it no counter in any.
    fn bound(&self, hash: u64) -> u64 {
        let at = spread(hash as u32, self.counts.len());
        let count = self.counts.get(at).copied().unwrap_or(0);
        self.base.saturating_add(count)
    }

    /// What `part` added to that bound.
    fn share(&self, part: &Summary, alike: bool, hash: u64) -> u64 {
        if !alike {
            return part.filter.highest;
        }
        let at = spread(hash as u32, self.counts.len());
        part.filter.base + part.filter.most(at, self.counts.len())
    }

    /// Makes room in the cells for rows that lose their counters.
    fn drop_rows(&mut self, rows: &Rows<'_>, dropped: &[u32]) {
        if dropped.is_empty() {
            return;
        }
        self.full = true;
        if self.counts.is_empty() {
            self.counts = vec![0; self.cells];
        }
        for &slot in dropped {
            let Some(key) = rows.table.keys().get(slot as usize) else {
                continue;
            };
            let upper = rows.upper(slot);
            let at = spread(self.hasher.hash(&key.key()) as u32, self.counts.len());
            let count = upper.saturating_sub(self.base);
            if let Some(cell) = self.counts.get_mut(at) {
                *cell = (*cell).max(count);
            }
            self.highest = self.highest.max(upper);
        }
    }

    fn into_filter(self) -> Filter {
        Filter::of_counts(self.base, &self.counts, self.highest)
    }
}

impl Filter {
    /// The most that a cell has which shares hashes with cell `at` of a filter of `cells` cells.
    #[inline]
    fn most(&self, at: usize, cells: usize) -> u64 {
        if cells == self.len() {
            return self.count(at);
        }
        let from = at * self.len() / cells.max(1);
        let to = ((at + 1) * self.len()).div_ceil(cells.max(1));
        let counts = (from..to).map(|at| self.count(at));
        counts.max().unwrap_or(0)
    }

    fn add_to(&self, sums: &mut [u64]) {
        if self.len() == 0 {
            return;
        }
        match &self.cells {
            // Narrow cells are exact, and never above `highest`.
            Cells::Narrow(cells) if cells.len() == sums.len() => {
                for (sum, &cell) in sums.iter_mut().zip(cells) {
                    *sum = sum.wrapping_add(cell.into());
                }
            }
            _ => {
                let cells = sums.len();
                for (at, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.saturating_add(self.most(at, cells));
                }
            }
        }
    }
}

/// Merged rows. All vectors are indexed by slot.
struct Rows<'a> {
    hasher: KeyHasher,
    table: Table,
    lowers: Vec<u64>,
    overcounts: Vec<u64>,
    /// Texts of ids that do not fit into keys; empty if no part has any.
    texts: Vec<&'a str>,
}

impl<'a> Rows<'a> {
    fn new(hasher: KeyHasher) -> Self {
        Self {
            hasher,
            table: Table::default(),
            lowers: Vec::new(),
            overcounts: Vec::new(),
            texts: Vec::new(),
        }
    }

    fn len(&self) -> usize {
        self.table.len()
    }

    fn upper(&self, slot: u32) -> u64 {
        let of = |values: &[u64]| values.get(slot as usize).copied().unwrap_or(0);
        of(&self.lowers).saturating_add(of(&self.overcounts))
    }

    /// Merges the rows whose hashes are `wanted`.
    fn merged(
        parts: &[&'a Summary],
        sums: &Sums,
        hasher: KeyHasher,
        seed: Seed,
        wanted: impl Fn(u64) -> bool,
    ) -> Self {
        let mut rows = Self::new(hasher);
        let largest = parts.iter().map(|part| part.len()).max().unwrap_or(0);
        rows.table.reserve(2 * largest, &hasher);
        if parts.iter().any(|part| !part.texts.is_empty()) {
            rows.texts.reserve(2 * largest);
        }
        let with_texts = rows.texts.capacity() > 0;
        for part in parts {
            let alike = part.seed == seed;
            for (slot, key) in part.table.keys().iter().enumerate() {
                let (mut key, mut text) = (key.key(), "");
                if key.is_long() {
                    text = part.text(slot);
                    if !alike {
                        key = Key::long(text.as_bytes(), seed);
                    }
                }
                let hash = hasher.hash(&key);
                if !wanted(hash) {
                    continue;
                }
                let at = rows.find_or_push(key, hash, text, with_texts, sums);
                let upper = part.uppers.get(slot).copied().unwrap_or(0);
                let overcount = part.overcounts.get(slot).min(upper);
                if let Some(lower) = rows.lowers.get_mut(at) {
                    *lower = lower.saturating_add(upper - overcount);
                }
                if let Some(sum) = rows.overcounts.get_mut(at).filter(|_| !sums.saturated) {
                    let share = sums.share(part, alike, hash);
                    *sum = sum.wrapping_sub(share).wrapping_add(overcount);
                }
            }
        }
        rows
    }

    #[inline]
    fn find_or_push(
        &mut self,
        key: Key,
        hash: u64,
        text: &'a str,
        with_texts: bool,
        sums: &Sums,
    ) -> usize {
        let texts = &self.texts;
        let same = |slot: usize| !with_texts || texts.get(slot) == Some(&text);
        if let Some(slot) = self.table.find(&key, hash, same) {
            return slot;
        }
        if self.len() == self.table.room() {
            self.table.reserve(2 * self.len().max(8), &self.hasher);
        }
        self.table.push(key, hash);
        self.lowers.push(0);
        self.overcounts.push(sums.bound(hash));
        if with_texts {
            self.texts.push(text);
        }
        self.len() - 1
    }

    /// The slots of the `keep` largest rows, and the others. Equal rows go by their keys, so the
    /// outcome does not depend on the order of the parts.
    fn split(&self, keep: usize) -> (Vec<u32>, Vec<u32>) {
        let slots = 0..self.len() as u32;
        if self.len() <= keep {
            return (slots.collect(), Vec::new());
        }
        let mut sorted: Vec<(u64, u32)> = slots.map(|slot| (self.upper(slot), slot)).collect();
        let keys = self.table.keys();
        sorted.select_nth_unstable_by(keep, |&(a_upper, a), &(b_upper, b)| {
            let key = |slot: u32| keys.get(slot as usize).map(StoredKey::key);
            b_upper.cmp(&a_upper).then_with(|| key(a).cmp(&key(b)))
        });
        let mut kept: Vec<u32> = sorted.into_iter().map(|(_, slot)| slot).collect();
        let dropped = kept.split_off(keep);
        (kept, dropped)
    }

    /// Adds the rows of these slots, whose ids are not there yet.
    fn append(&mut self, from: &Rows<'a>, slots: &[u32]) {
        let room = self.len() + slots.len();
        if room > self.table.room() {
            self.table.reserve(room, &self.hasher);
        }
        for &slot in slots {
            let slot = slot as usize;
            let Some(key) = from.table.keys().get(slot) else {
                continue;
            };
            let key = key.key();
            self.table.push(key, self.hasher.hash(&key));
            self.lowers
                .push(from.lowers.get(slot).copied().unwrap_or(0));
            let overcount = from.overcounts.get(slot).copied();
            self.overcounts.push(overcount.unwrap_or(0));
            if let Some(text) = from.texts.get(slot) {
                self.texts.push(text);
            }
        }
    }
}
