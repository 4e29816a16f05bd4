//! Merging and truncating.
//!
//! One pass over the rows of all parts. With `B` the sum of all parts' bounds of an id's cell,
//! an id that is listed in some of the parts has at most
//! `sum of upper (where listed) + B - sum of cell bounds (where listed)`, so a part in which it is
//! missing need not be looked at.

use std::collections::BTreeMap;

use super::filter::{CELLS_PER_COUNTER, Cells, Filter};
use super::key::{Key, KeyHasher, LongKeys, spread};
use super::table::Table;
use super::texts::Texts;
use super::{Seed, Summary};
use crate::mutants;

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

    /// Merges any number of summaries and keeps every counter as long as all of them are exact, they
    /// are at most `rows` and take at most `bytes` of memory; otherwise the `counters` largest, as in
    /// [`merge`](Self::merge).
    pub fn merge_within<'a>(
        parts: impl IntoIterator<Item = &'a Summary>,
        (rows, bytes): (usize, usize),
        counters: usize,
        seed: Seed,
    ) -> Summary {
        let parts: Vec<&Summary> = parts.into_iter().collect();
        if parts.iter().any(|part| part.is_full()) {
            return Self::merge(parts, counters, seed);
        }
        let mut merged = Self::merge_all(parts, seed);
        if merged.is_full() || merged.len() > rows || merged.heap_bytes() > bytes {
            merged.truncate(counters);
        }
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
        self.growth = None;
    }
}

/// Rows of a range, where there are too many for one table: far below the 65,536 that it can hold.
const ROWS_AT_ONCE: usize = 16_384;

/// Merges; the capacity of the result is `keep`.
fn merge_and_keep(parts: &[&Summary], keep: usize, seed: Seed) -> Summary {
    let listed: usize = parts.iter().map(|part| part.len()).sum();
    let mut sums = Sums::new(parts, keep, seed);
    let mut best = Best::new(keep);
    if listed <= Summary::MAX_MERGED {
        let mut rows = Rows::new(parts, sums.hasher);
        for part in parts {
            rows.add_all(part, &sums);
        }
        if rows.len() <= keep {
            return finish(parts, rows, sums, keep, seed);
        }
        best.add_all(&rows, &mut sums);
    } else {
        // Ids are merged by ranges of their hashes.
        let ranges = listed.div_ceil(ROWS_AT_ONCE);
        for range in Listed::all(parts, &sums, ranges) {
            let mut rows = Rows::new(parts, sums.hasher);
            for Listed { hash, part, slot } in range {
                if let Some(part) = parts.get(part as usize) {
                    rows.add(part, slot as usize, hash, &sums);
                }
            }
            best.add_all(&rows, &mut sums);
        }
    }
    let rows = best.into_rows(&mut sums);
    finish(parts, rows, sums, keep, seed)
}

fn finish(parts: &[&Summary], rows: Rows<'_>, sums: Sums, keep: usize, seed: Seed) -> Summary {
    let mut merged = Summary::empty(keep, seed);
    for part in parts {
        merged.total = merged.total.saturating_add(part.total);
    }
    merged.full = sums.full;
    merged.uppers.reserve_exact(rows.len());
    merged.overcounts.units.reserve_exact(rows.len());
    for counts in &rows.counts {
        merged.uppers.push(counts.upper());
        merged.overcounts.push(counts.overcount);
    }
    let mut texts = Texts::default();
    texts.reserve(
        rows.texts.len(),
        rows.texts.iter().map(|text| text.len()).sum(),
    );
    for (slot, text) in rows.texts.iter().enumerate() {
        texts.set(slot, text);
    }
    merged.texts = texts;
    merged.table = rows.table;
    merged.filter = sums.into_filter();
    merged
}

impl Summary {
    /// The key that the id of this slot has under the seed of `long_keys`, which may be another.
    #[inline]
    fn key_of(&self, slot: usize, long_keys: &LongKeys, is_foreign: bool) -> Key {
        let key = self.table.keys()[slot].key();
        if is_foreign && key.is_long() {
            return long_keys.long(self.texts.get(slot));
        }
        key
    }
}

/// A row of a part.
struct Listed {
    hash: u64,
    part: u32,
    slot: u32,
}

impl Listed {
    /// All rows of all parts, by ranges of their hashes: by the half that chooses cells, not by
    /// the one that chooses groups of the table.
    fn all(parts: &[&Summary], sums: &Sums, ranges: usize) -> Vec<Vec<Self>> {
        let listed: usize = parts.iter().map(|part| part.len()).sum();
        // Ranges differ by chance; a quarter more is nearly always enough.
        let room = listed / ranges * 5 / 4;
        let mut all: Vec<Vec<Self>> = (0..ranges).map(|_| Vec::with_capacity(room)).collect();
        for (part_at, part) in parts.iter().enumerate() {
            for slot in 0..part.len() {
                let hash = sums.hasher.hash(&sums.key_of(part, slot));
                if let Some(range) = all.get_mut(spread(hash as u32, ranges)) {
                    range.push(Self {
                        hash,
                        part: part_at as u32,
                        slot: slot as u32,
                    });
                }
            }
        }
        all
    }
}

/// The parts' filters, added up cell by cell.
struct Sums {
    seed: Seed,
    full: bool,
    hasher: KeyHasher,
    long_keys: LongKeys,
    base: u64,
    /// As many as the largest filter has.
    counts: Vec<u64>,
    /// What ids had that lost their counters in this merge: as large as `counts`, or not yet
    /// made. Apart, because `counts` is still asked for what others had.
    dropped: Vec<u64>,
    highest: u64,
    /// Whether the sum of all bounds does not fit into 64 bits: then it bounds nothing, and
    /// nothing may be taken from it.
    saturated: bool,
    /// The most cells of the result, and how many are made if no part had any.
    cells: usize,
}

impl Sums {
    fn new(parts: &[&Summary], keep: usize, seed: Seed) -> Self {
        let mut sums = Self {
            seed,
            full: false,
            hasher: KeyHasher::new(seed),
            long_keys: LongKeys::new(seed),
            base: 0,
            counts: Vec::new(),
            dropped: Vec::new(),
            highest: 0,
            saturated: false,
            cells: keep.min(Summary::MAX_CAPACITY) * CELLS_PER_COUNTER,
        };
        // Filters of a size are added up first: each sum is spread over the largest once.
        let mut by_size: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        let mut highest = 0_u128;
        for part in parts {
            sums.full |= part.full;
            highest += u128::from(part.filter.highest);
            if part.seed == seed {
                sums.base = sums.base.saturating_add(part.filter.base);
                let cells = part.filter.len();
                let counts = by_size.entry(cells).or_insert_with(|| vec![0; cells]);
                part.filter.add_to(counts);
            } else {
                sums.base = sums.base.saturating_add(part.filter.highest);
            }
        }
        if let Some((_, largest)) = by_size.pop_last() {
            sums.counts = largest;
        }
        for smaller in by_size.values().filter(|smaller| !smaller.is_empty()) {
            add_spread(&mut sums.counts, smaller);
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

    /// The key of a row.
    #[inline]
    fn key_of(&self, part: &Summary, slot: usize) -> Key {
        part.key_of(slot, &self.long_keys, part.seed != self.seed)
    }

    /// What an id of this hash may have had in all parts together, had it no counter in any.
    fn bound(&self, hash: u64) -> u64 {
        let at = spread(hash as u32, self.counts.len());
        let count = self.counts.get(at).copied().unwrap_or(0);
        self.base.saturating_add(count)
    }

    /// What `part` added to that bound, at least.
    #[inline]
    fn share(&self, part: &Summary, hash: u64) -> u64 {
        if part.seed == self.seed {
            part.filter.bound(hash)
        } else {
            part.filter.highest
        }
    }

    /// Remembers what an id had that loses its counter.
    fn drop_row(&mut self, hash: u64, upper: u64) {
        self.full = true;
        if mutants::truncation_forgets() {
            return;
        }
        if self.dropped.is_empty() {
            let cells = match self.counts.len() {
                0 => self.cells,
                cells => cells,
            };
            self.dropped = vec![0; cells];
        }
        let at = spread(hash as u32, self.dropped.len());
        if let Some(cell) = self.dropped.get_mut(at) {
            *cell = (*cell).max(upper.saturating_sub(self.base));
        }
        self.highest = self.highest.max(upper);
    }

    fn into_filter(mut self) -> Filter {
        if self.counts.is_empty() {
            self.counts = self.dropped;
        } else {
            for (count, dropped) in self.counts.iter_mut().zip(self.dropped) {
                *count = (*count).max(dropped);
            }
        }
        if self.counts.len() > self.cells {
            let cells = 0..self.cells;
            let folded = cells.map(|at| most_around(&self.counts, at, self.cells));
            self.counts = folded.collect();
        }
        Filter::of_counts(self.base, &self.counts, self.highest)
    }
}

impl Filter {
    /// Adds the cells to as many sums.
    fn add_to(&self, sums: &mut [u64]) {
        match &self.cells {
            // Narrow cells are exact, and never above `highest`.
            Cells::Narrow(cells) => {
                for (sum, &cell) in sums.iter_mut().zip(cells) {
                    *sum = sum.wrapping_add(cell.into());
                }
            }
            Cells::Coarse(_) | Cells::Wide(_) => {
                for (at, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.saturating_add(self.count(at));
                }
            }
        }
    }
}

/// Adds to each count the most that its hashes have in fewer counts.
fn add_spread(counts: &mut [u64], fewer: &[u64]) {
    let cells = counts.len();
    if cells.is_multiple_of(fewer.len()) {
        let each = cells / fewer.len();
        for (counts, more) in counts.chunks_exact_mut(each).zip(fewer) {
            for count in counts {
                *count = count.saturating_add(*more);
            }
        }
        return;
    }
    for (at, count) in counts.iter_mut().enumerate() {
        *count = count.saturating_add(most_around(fewer, at, cells));
    }
}

/// The most of those counts that share hashes with count `at` of `cells`.
fn most_around(counts: &[u64], at: usize, cells: usize) -> u64 {
    let around = counts.get(around(at, counts.len(), cells));
    let around = around.unwrap_or_default();
    around.iter().copied().max().unwrap_or(0)
}

/// Which of so many counts share hashes with count `at` of `cells`. In 64 bits: the product of two
/// filters' sizes has more than the 32 that a length has in Wasm.
fn around(at: usize, counts: usize, cells: usize) -> std::ops::Range<usize> {
    let [at, counts, cells] = [at, counts, cells].map(|length| length as u64);
    let from = at * counts / cells;
    let to = ((at + 1) * counts).div_ceil(cells);
    from as usize..to as usize
}

/// A merged row's counts.
#[derive(Clone, Copy)]
struct Counts {
    lower: u64,
    overcount: u64,
}

impl Counts {
    fn upper(&self) -> u64 {
        self.lower.saturating_add(self.overcount)
    }
}

/// Rows that there is room for at first.
const FIRST_ROOM: usize = 4_096;

/// Merged rows. All vectors are indexed by slot.
struct Rows<'a> {
    hasher: KeyHasher,
    table: Table,
    counts: Vec<Counts>,
    /// Texts of ids that do not fit into keys; empty if no part has any.
    texts: Vec<&'a [u8]>,
    with_texts: bool,
}

impl<'a> Rows<'a> {
    fn new(parts: &[&'a Summary], hasher: KeyHasher) -> Self {
        Self {
            hasher,
            table: Table::default(),
            counts: Vec::new(),
            texts: Vec::new(),
            with_texts: parts.iter().any(|part| !part.texts.is_empty()),
        }
    }

    fn len(&self) -> usize {
        self.table.len()
    }

    /// Adds every row of a part.
    fn add_all(&mut self, part: &'a Summary, sums: &Sums) {
        for slot in 0..part.len() {
            let hash = self.hasher.hash(&sums.key_of(part, slot));
            self.add(part, slot, hash, sums);
        }
    }

    #[inline]
    fn add(&mut self, part: &'a Summary, slot: usize, hash: u64, sums: &Sums) {
        let key = sums.key_of(part, slot);
        let text: &[u8] = if self.with_texts {
            part.texts.get(slot)
        } else {
            b""
        };
        let at = self.find_or_push(key, hash, text, sums);
        let upper = part.uppers.get(slot).copied().unwrap_or(0);
        let overcount = part.overcount(slot, upper);
        if let Some(counts) = self.counts.get_mut(at) {
            counts.lower = counts.lower.saturating_add(upper - overcount);
            if !sums.saturated {
                let share = sums.share(part, hash);
                counts.overcount = counts.overcount.wrapping_sub(share).wrapping_add(overcount);
            }
        }
    }

    #[inline]
    fn find_or_push(&mut self, key: Key, hash: u64, text: &'a [u8], sums: &Sums) -> usize {
        let (with_texts, texts) = (self.with_texts, &self.texts);
        let same = |slot: usize| !with_texts || texts.get(slot) == Some(&text);
        if let Some(slot) = self.table.find(&key, hash, same) {
            return slot;
        }
        if self.len() == self.table.room() {
            let room = (4 * self.len()).max(FIRST_ROOM);
            self.table.reserve(room, &self.hasher);
        }
        self.table.push(key, hash);
        self.counts.push(Counts {
            lower: 0,
            overcount: sums.bound(hash),
        });
        if with_texts {
            self.texts.push(text);
        }
        self.len() - 1
    }
}

/// The largest rows so far.
struct Best<'a> {
    keep: usize,
    rows: Vec<Row<'a>>,
    /// Rows below this are dropped.
    least: u64,
}

struct Row<'a> {
    upper: u64,
    key: Key,
    counts: Counts,
    text: &'a [u8],
}

impl<'a> Best<'a> {
    fn new(keep: usize) -> Self {
        Self {
            keep,
            rows: Vec::new(),
            least: 0,
        }
    }

    fn add_all(&mut self, rows: &Rows<'a>, sums: &mut Sums) {
        let room = 2 * self.keep - self.rows.len();
        self.rows.reserve_exact(rows.len().min(room));
        for (slot, (key, &counts)) in rows.table.keys().iter().zip(&rows.counts).enumerate() {
            let (key, upper) = (key.key(), counts.upper());
            if upper < self.least {
                sums.drop_row(sums.hasher.hash(&key), upper);
                continue;
            }
            let text = rows.texts.get(slot).copied().unwrap_or_default();
            self.rows.push(Row {
                upper,
                key,
                counts,
                text,
            });
            if self.rows.len() == 2 * self.keep {
                self.shorten(sums);
            }
        }
    }

    /// Drops all but the largest. Equal rows go by their keys, so the outcome does not depend on
    /// the order of the parts.
    fn shorten(&mut self, sums: &mut Sums) {
        if self.rows.len() <= self.keep {
            return;
        }
        self.rows.select_nth_unstable_by(self.keep - 1, |a, b| {
            b.upper.cmp(&a.upper).then_with(|| a.key.cmp(&b.key))
        });
        for row in self.rows.drain(self.keep..) {
            sums.drop_row(sums.hasher.hash(&row.key), row.upper);
        }
        self.least = self.rows.last().map_or(0, |row| row.upper);
    }

    fn into_rows(mut self, sums: &mut Sums) -> Rows<'a> {
        self.shorten(sums);
        let mut rows = Rows::new(&[], sums.hasher);
        rows.table.reserve(self.rows.len(), &sums.hasher);
        let with_texts = self.rows.iter().any(|row| row.key.is_long());
        for row in self.rows {
            rows.table.push(row.key, sums.hasher.hash(&row.key));
            rows.counts.push(row.counts);
            if with_texts {
                rows.texts
                    .push(if row.key.is_long() { row.text } else { b"" });
            }
        }
        rows
    }
}
