//! Merging and truncating.
//!
//! Parts are added one after the other, and none of them is kept: a [`Merger`] has a row for each id, and
//! the sums of all filters. With `B` the sum of all parts' bounds of an id's cell, an id that is listed in some of
//! the parts has at most
//! `sum of upper (where listed) + B - sum of cell bounds (where listed)`, so a part in which it is
//! missing need not be looked at. `B` is known in the end only: until then a row is without it, and so is what
//! is dropped. An id without a row may have as much beyond `B` as any that was dropped of its cell.

use std::collections::BTreeMap;

use super::filter::{CELLS_PER_COUNTER, Cells, Filter};
use super::key::{Key, KeyHasher, LongKeys, StoredKey, spread};
use super::texts::Texts;
use super::{Bounds, Seed, Summary};
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
        let mut merged = Merger::of(parts, seed).finish(capacity);
        merged.capacity = capacity;
        merged.index();
        merged
    }

    /// Merges any number of summaries and keeps every counter, up to
    /// [`MAX_MERGED`](Self::MAX_MERGED): more are dropped as in [`merge`](Self::merge).
    pub fn merge_all<'a>(parts: impl IntoIterator<Item = &'a Summary>, seed: Seed) -> Summary {
        let mut merged = Merger::of(parts, seed).finish(Self::MAX_MERGED);
        merged.index();
        merged
    }

    /// Merges any number of summaries and keeps every counter as long as all of them are exact, they
    /// are at most `rows` and take at most `bytes` of memory; otherwise the `counters` largest, as in
    /// [`merge`](Self::merge). The ids are not indexed, as in [`decode`](Self::decode).
    pub fn merge_within<'a>(
        parts: impl IntoIterator<Item = &'a Summary>,
        within: (usize, usize),
        counters: usize,
        seed: Seed,
    ) -> Summary {
        Merger::of(parts, seed).finish_within(within, counters)
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

    /// The key that the id of this slot has under the seed of `long_keys`, which may be another.
    #[inline(always)]
    fn key_of(&self, slot: usize, long_keys: &LongKeys, is_foreign: bool) -> Key {
        let key = self.table.keys()[slot].key();
        if is_foreign && key.is_long() {
            return long_keys.long(self.texts.get(slot));
        }
        key
    }
}

/// Rows that are held at once: 5 MB, and 1 MB of places. Where a part might bring more, the
/// [`MAX_MERGED`](Summary::MAX_MERGED) largest stay, which are as many as a merged summary has. So each time as
/// many are let go as would come with a part of the largest kind, or more.
const MOST_ROWS: usize = 10 << 14;

/// Merges summaries one after the other, of any capacities and seeds. Besides its rows, 32 bytes and a place
/// each, and their long ids, it holds one sum a cell of the filters.
#[derive(Clone)]
pub struct Merger {
    seed: Seed,
    hasher: KeyHasher,
    long_keys: LongKeys,
    /// The largest of any part.
    capacity: usize,
    total: u64,
    full: bool,
    rows: Vec<MergedRow>,
    /// Of all rows, or empty: the first part needs none.
    places: Places,
    /// By row.
    texts: Texts,
    sums: Sums,
    dropped: Dropped,
    /// No row is added: what has none is looked for in vain.
    is_closed: bool,
}

/// What an id has in all parts that list it.
#[derive(Clone, Copy)]
struct MergedRow {
    key: Key,
    lower: u64,
    /// How much more it may have, without the sum of all bounds of its cell, wrapping.
    beyond: u64,
}

impl Merger {
    /// Nothing is allocated until something is added.
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            hasher: KeyHasher::new(seed),
            long_keys: LongKeys::new(seed),
            capacity: 1,
            total: 0,
            full: false,
            rows: Vec::new(),
            places: Places::default(),
            texts: Texts::default(),
            sums: Sums::default(),
            dropped: Dropped::default(),
            is_closed: false,
        }
    }

    /// One for the ids of a summary alone, of which the bounds are wanted: see
    /// [`finish_bounds`](Self::finish_bounds). That takes half the time, and no more memory than their rows.
    pub fn of_ids(ids: &Summary) -> Self {
        let mut merger = Self::new(ids.seed);
        let keys = ids.table.keys().iter();
        let row = |key: &StoredKey| MergedRow {
            key: key.key(),
            lower: 0,
            beyond: 0,
        };
        merger.rows = keys.map(row).collect();
        merger.texts = ids.texts.clone();
        merger.find_places(merger.rows.len());
        merger.is_closed = true;
        merger
    }

    fn of<'a>(parts: impl IntoIterator<Item = &'a Summary>, seed: Seed) -> Self {
        let mut merger = Self::new(seed);
        parts.into_iter().for_each(|part| merger.add(part));
        merger
    }

    /// All plays that were added, saturating.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether anything was dropped, here or in a part.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether there are more ids than a merged summary has, so that nothing is exact any more: of an exact part
    /// its largest counters are enough, with a filter for the others.
    pub fn is_beyond(&self) -> bool {
        self.rows.len() + usize::from(self.full) > Summary::MAX_MERGED && !self.is_closed
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<MergedRow>()
            + self.places.heap_bytes()
            + self.texts.heap_bytes()
            + self.sums.heap_bytes()
            + self.dropped.beyond.capacity() * size_of::<u64>()
    }

    /// Adds a part. Once there are more ids than a merged summary has, so that nothing is exact any more, an exact
    /// part brings none that is not among its [`MAX_CAPACITY`](Summary::MAX_CAPACITY) largest: what the others have
    /// is in cells, as in the filter of a part that dropped them.
    pub fn add(&mut self, part: &Summary) {
        if self.rows.len() + part.len() > MOST_ROWS && !self.is_closed {
            self.truncate(Summary::MAX_MERGED);
        }
        let is_beyond = self.is_beyond();
        self.capacity = self.capacity.max(part.capacity);
        self.total = self.total.saturating_add(part.total);
        self.full |= part.full;
        self.sums.add(part, self.seed);
        if self.rows.is_empty() && !self.is_closed {
            return self.add_first(part);
        }
        if self.places.is_empty() {
            self.find_places(self.rows.len() + part.len() / 2);
        }
        let (mut least, mut cells, mut listed) = (0, Vec::new(), Vec::new());
        if is_beyond && !part.full && part.len() > Summary::MAX_CAPACITY {
            let mut uppers = part.uppers.clone();
            uppers.select_nth_unstable_by(Summary::MAX_CAPACITY, |a, b| b.cmp(a));
            least = uppers[Summary::MAX_CAPACITY];
            cells = vec![0; Summary::MAX_CAPACITY * CELLS_PER_COUNTER];
            listed.reserve_exact(part.len());
            self.full = true;
        }
        let is_foreign = part.seed != self.seed;
        let with_texts = part.texts.used() > 0;
        for slot in 0..part.len() {
            let key = part.key_of(slot, &self.long_keys, is_foreign);
            let hash = self.hasher.hash(&key);
            let text = match with_texts && key.is_long() {
                true => part.texts.get(slot),
                false => b"",
            };
            let (lower, beyond) = part.counts_beyond(slot, hash, is_foreign);
            let cell = spread(hash as u32, cells.len());
            let at = match self.find(&key, hash, text) {
                Ok(at) => at,
                Err(_) if self.is_closed => continue,
                Err(place) => match cells.get_mut(cell).filter(|_| lower <= least) {
                    Some(cell) => {
                        *cell = lower.max(*cell);
                        continue;
                    }
                    None => self.push(place, key, hash, text),
                },
            };
            if let Some(row) = self.rows.get_mut(at) {
                row.lower = row.lower.saturating_add(lower);
                row.beyond = row.beyond.wrapping_add(beyond);
            }
            if least > 0 {
                listed.push((at, cell));
            }
        }
        for (at, cell) in listed {
            self.rows[at].beyond = self.rows[at].beyond.wrapping_sub(cells[cell]);
        }
        self.sums.add_cells(&cells, least);
    }

    /// The row of an id, or the place where it is to be put.
    #[inline(always)]
    fn find(&self, key: &Key, hash: u64, text: &[u8]) -> Result<usize, usize> {
        self.places.find(hash, |at| {
            let is_same = self.rows.get(at).is_some_and(|row| row.key == *key);
            is_same && (text.is_empty() || self.texts.get(at) == text)
        })
    }

    /// Where nothing is yet, all ids are new.
    fn add_first(&mut self, part: &Summary) {
        let is_foreign = part.seed != self.seed;
        self.rows.reserve_exact(part.len());
        self.texts = part.texts.clone();
        for slot in 0..part.len() {
            let key = part.key_of(slot, &self.long_keys, is_foreign);
            let hash = self.hasher.hash(&key);
            let (lower, beyond) = part.counts_beyond(slot, hash, is_foreign);
            let beyond = beyond.wrapping_add(self.dropped.of(hash));
            self.rows.push(MergedRow { key, lower, beyond });
        }
    }

    #[inline(never)]
    fn push(&mut self, place: usize, key: Key, hash: u64, text: &[u8]) -> usize {
        let at = self.rows.len();
        if at == self.rows.capacity() {
            // Doubled, more than is ever used would be held.
            self.rows.reserve_exact((at / 2).max(64));
        }
        self.rows.push(MergedRow {
            key,
            lower: 0,
            beyond: self.dropped.of(hash),
        });
        if !text.is_empty() {
            self.texts.set(at, text);
        }
        match self.places.has_room_for(at + 1) {
            true => self.places.put(place, hash, at),
            false => self.find_places(2 * at),
        }
        at
    }

    /// Finds all rows their places anew, with room for so many.
    fn find_places(&mut self, room: usize) {
        self.places = Places::with_room_for(room.min(MOST_ROWS).max(self.rows.len()));
        for (at, row) in self.rows.iter().enumerate() {
            self.places.put_new(self.hasher.hash(&row.key), at);
        }
    }

    /// Keeps the `keep` largest rows: what it drops is in the bounds of all other ids from then on.
    pub fn truncate(&mut self, keep: usize) {
        if self.rows.len() > keep {
            self.sums.unite();
            self.drop_smallest(keep.max(1));
            // So much any id may have that lost its row, and more with each part from now on.
            let dropped = u128::from(self.dropped.highest);
            self.sums.highest = self.sums.highest.max(dropped);
        }
    }

    /// Drops all but the largest rows. Equal ones go by their keys, so the outcome does not depend on
    /// the order of the parts. The sums must be united.
    fn drop_smallest(&mut self, keep: usize) {
        self.places = Places::default();
        if self.rows.len() <= keep {
            return;
        }
        self.full = true;
        let bounds = self.sums.united();
        let upper = |row: &MergedRow| bounds.upper(row, &self.hasher);
        let uppers: Vec<u64> = self.rows.iter().map(upper).collect();
        let mut sorted = uppers.clone();
        let (larger, least, _) = sorted.select_nth_unstable_by(keep - 1, |a, b| b.cmp(a));
        let least = *least;
        let mut even = keep - larger.iter().filter(|upper| **upper > least).count();
        drop(sorted);
        let of_rows = self.rows.iter().zip(&uppers);
        let keys = of_rows.filter(|(_, upper)| **upper == least);
        let mut keys: Vec<Key> = keys.map(|(row, _)| row.key).collect();
        let (_, last_key, _) = keys.select_nth_unstable(even - 1);
        let last_key = *last_key;
        self.dropped.make_room(keep, bounds.counts.len());
        let texts = std::mem::take(&mut self.texts);
        let mut uppers = uppers.into_iter();
        let (mut at, mut kept) = (0, 0);
        self.rows.retain(|row| {
            let upper = uppers.next().unwrap_or(0);
            let is_even = upper == least && row.key <= last_key && even > 0;
            even -= usize::from(is_even);
            let stays = upper > least || is_even;
            if !stays {
                let hash = self.hasher.hash(&row.key);
                self.dropped.raise(hash, upper, bounds.of(hash));
            } else if row.key.is_long() {
                self.texts.set(kept, texts.get(at));
            }
            at += 1;
            kept += usize::from(stays);
            stays
        });
    }

    /// All that was added, with the `keep` largest counters, [`MAX_MERGED`](Summary::MAX_MERGED) at most. The ids
    /// are not indexed, as in [`Summary::decode`].
    pub fn finish(mut self, keep: usize) -> Summary {
        let keep = keep.clamp(1, Summary::MAX_MERGED);
        self.sums.unite();
        self.drop_smallest(keep);
        let mut merged = Summary::empty(1, self.seed);
        merged.total = self.total;
        merged.full = self.full;
        merged.table.expect(self.rows.len());
        merged.uppers.reserve_exact(self.rows.len());
        merged.overcounts.units.reserve_exact(self.rows.len());
        let bounds = self.sums.united();
        for row in &self.rows {
            let upper = bounds.upper(row, &self.hasher);
            merged.table.push_unindexed(row.key);
            merged.uppers.push(upper);
            merged.overcounts.push(upper - row.lower);
        }
        merged.filter = self.sums.into_filter(self.dropped, keep);
        merged.texts = self.texts;
        merged.texts.shrink_to_fit();
        merged.capacity = self.capacity.max(merged.len()).min(keep);
        merged
    }

    /// The bounds of the ids that it was made for, in the order of their rows, in all that was added.
    pub fn finish_bounds(mut self) -> Vec<Bounds> {
        self.sums.unite();
        let bounds = self.sums.united();
        let of = |row: &MergedRow| Bounds {
            lower: row.lower,
            upper: bounds.upper(row, &self.hasher),
        };
        self.rows.iter().map(of).collect()
    }

    /// All that was added: every counter as long as all parts were exact, they are at most `rows` and take at
    /// most `bytes` of memory; otherwise the `counters` largest.
    pub fn finish_within(self, (rows, bytes): (usize, usize), counters: usize) -> Summary {
        let counters = counters.clamp(1, Summary::MAX_CAPACITY);
        let fits = !self.full && self.rows.len() <= rows.min(Summary::MAX_MERGED);
        let mut merged = match fits {
            true => self.finish(Summary::MAX_MERGED),
            false => self.finish(counters),
        };
        if merged.heap_bytes() > bytes {
            merged = Self::of([&merged], merged.seed).finish(counters);
        }
        if merged.full {
            merged.capacity = counters;
        }
        merged
    }
}

impl Summary {
    /// What the id of a slot has here: what was counted for sure, and how much more it may have than an id of
    /// its cell that has no counter, wrapping.
    #[inline(always)]
    fn counts_beyond(&self, slot: usize, hash: u64, is_foreign: bool) -> (u64, u64) {
        let upper = self.uppers.get(slot).copied().unwrap_or(0);
        if !self.full {
            return (upper, 0);
        }
        let overcount = self.overcount(slot, upper);
        let share = match is_foreign {
            true => self.filter.highest,
            false => self.filter.bound(hash),
        };
        (upper - overcount, overcount.wrapping_sub(share))
    }
}

/// Where rows are, by their hashes: open addressing, at most five eighths full.
#[derive(Clone, Default)]
struct Places {
    /// The number of a row and one more, below a part of its hash. 0: none.
    all: Vec<u32>,
}

/// Bits of a row's number.
const ROW_BITS: u32 = 18;
const ROW_MASK: u32 = (1 << ROW_BITS) - 1;
/// [`MOST_ROWS`], and one that has come before others go, have numbers.
const _: () = assert!(MOST_ROWS < ROW_MASK as usize);

impl Places {
    fn with_room_for(rows: usize) -> Self {
        let places = (rows * 8).div_ceil(5).next_power_of_two();
        Self {
            all: vec![0; places.max(64)],
        }
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn has_room_for(&self, rows: usize) -> bool {
        rows <= self.all.len() / 8 * 5
    }

    fn heap_bytes(&self) -> usize {
        self.all.capacity() * size_of::<u32>()
    }

    /// By the half of a hash that chooses no cells.
    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        spread((hash >> 32) as u32, self.all.len())
    }

    /// The row of this hash that `is_it`, or the place where it is to be put.
    #[inline(always)]
    fn find(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Result<usize, usize> {
        let tag = tag(hash);
        let mut place = self.home(hash);
        loop {
            match self.all.get(place).copied() {
                None => place = 0,
                Some(0) => return Err(place),
                Some(found) => {
                    let at = (found & ROW_MASK) as usize - 1;
                    if found & !ROW_MASK == tag && is_it(at) {
                        return Ok(at);
                    }
                    place += 1;
                }
            }
        }
    }

    fn put(&mut self, place: usize, hash: u64, at: usize) {
        if let Some(free) = self.all.get_mut(place) {
            *free = tag(hash) | (at as u32 + 1);
        }
    }

    /// Puts a row that is not there.
    #[inline(always)]
    fn put_new(&mut self, hash: u64, at: usize) {
        if let Err(place) = self.find(hash, |_| false) {
            self.put(place, hash, at);
        }
    }
}

/// A part of the hash beside a row's number.
#[inline(always)]
fn tag(hash: u64) -> u32 {
    (hash as u32) << ROW_BITS
}

/// The parts' filters, added up cell by cell.
#[derive(Clone, Default)]
struct Sums {
    /// Of parts that were keyed otherwise.
    base: u64,
    /// By how many cells they have.
    by_size: BTreeMap<usize, Vec<u64>>,
    /// Of all parts together. Where it does not fit into 64 bits it bounds nothing, and nothing may be taken
    /// from it.
    highest: u128,
}

impl Sums {
    fn add(&mut self, part: &Summary, seed: Seed) {
        self.highest += u128::from(part.filter.highest);
        if part.seed != seed {
            self.base = self.base.saturating_add(part.filter.highest);
            return;
        }
        self.base = self.base.saturating_add(part.filter.base);
        let cells = part.filter.len();
        if cells > 0 {
            part.filter.add_to(self.of_size(cells));
        }
    }

    /// The same of cells, if there are any, none of which has more than `highest`.
    fn add_cells(&mut self, cells: &[u64], highest: u64) {
        if cells.is_empty() {
            return;
        }
        self.highest += u128::from(highest);
        for (sum, cell) in self.of_size(cells.len()).iter_mut().zip(cells) {
            *sum = sum.saturating_add(*cell);
        }
    }

    /// Those of two sizes are held at most: encoded within their bytes, many panes have many sizes.
    fn of_size(&mut self, cells: usize) -> &mut [u64] {
        if self.by_size.len() > 1 && !self.by_size.contains_key(&cells) {
            self.unite();
        }
        let counts = self.by_size.entry(cells);
        counts.or_insert_with(|| vec![0; cells])
    }

    fn heap_bytes(&self) -> usize {
        let counts = self.by_size.values();
        counts
            .map(|counts| counts.capacity() * size_of::<u64>())
            .sum()
    }

    /// Adds all up in those of the largest filter. Sums of a size are spread over the largest once.
    fn unite(&mut self) {
        if let Some((cells, mut counts)) = self.by_size.pop_last() {
            for smaller in self.by_size.values() {
                add_spread(&mut counts, smaller);
            }
            self.by_size.clear();
            self.by_size.insert(cells, counts);
        }
    }

    /// All that was added up, once it is united.
    fn united(&self) -> United<'_> {
        United {
            base: self.base,
            counts: self.by_size.values().next().map_or(&[], Vec::as_slice),
            highest: u64::try_from(self.highest).unwrap_or(u64::MAX),
            is_saturated: self.is_saturated(),
        }
    }

    fn is_saturated(&self) -> bool {
        self.highest > u128::from(u64::MAX)
    }

    /// The filter of what is united, and of what was dropped, for so many counters.
    fn into_filter(mut self, dropped: Dropped, keep: usize) -> Filter {
        let most_cells = keep.min(Summary::MAX_CAPACITY) * CELLS_PER_COUNTER;
        let is_saturated = self.is_saturated();
        let base = if is_saturated { u64::MAX } else { self.base };
        let (_, mut counts) = self.by_size.pop_last().unwrap_or_default();
        if counts.is_empty() {
            counts = dropped.beyond;
        } else if !dropped.beyond.is_empty() {
            add_spread(&mut counts, &dropped.beyond);
        }
        if counts.len() > most_cells {
            let more = std::mem::replace(&mut counts, vec![0; most_cells]);
            add_spread(&mut counts, &more);
        }
        let most = counts.iter().copied().max().unwrap_or(0);
        let highest = self.highest.max(dropped.highest.into());
        let highest = u64::try_from(highest).unwrap_or(u64::MAX);
        Filter::of_counts(base, &counts, base.saturating_add(most).min(highest))
    }
}

/// What ids without a counter may have in all parts together.
struct United<'a> {
    base: u64,
    counts: &'a [u64],
    /// What an id may have had at most that has no counter in any part.
    highest: u64,
    is_saturated: bool,
}

impl United<'_> {
    /// What an id of this hash may have had, had it no counter in any part.
    #[inline(always)]
    fn of(&self, hash: u64) -> u64 {
        let at = spread(hash as u32, self.counts.len());
        let count = self.counts.get(at).copied().unwrap_or(0);
        self.base.saturating_add(count)
    }

    /// What a row has at most.
    #[inline(always)]
    fn upper(&self, row: &MergedRow, hasher: &KeyHasher) -> u64 {
        if self.is_saturated {
            return u64::MAX;
        }
        let bound = match self.counts {
            [] => self.base,
            _ => self.of(hasher.hash(&row.key)),
        };
        // Two cells of a filter may share one of `dropped`, and a row's bound may then be above all that is not
        // accounted for; as what a row has for sure is its bound less that at most, it would be too much.
        let beyond = row.beyond.wrapping_add(bound).min(self.highest);
        row.lower.saturating_add(beyond)
    }
}

/// What ids had that lost their rows.
#[derive(Clone, Default)]
struct Dropped {
    /// By cell, the most that any of them had beyond the sum of all bounds; empty until one is dropped.
    beyond: Vec<u64>,
    /// The most that any of them may have had by then.
    highest: u64,
}

impl Dropped {
    /// Makes the cells: as many as the filters have, or as one of so many counters has.
    fn make_room(&mut self, keep: usize, cells: usize) {
        if self.beyond.is_empty() {
            let cells = match cells {
                0 => keep.min(Summary::MAX_CAPACITY) * CELLS_PER_COUNTER,
                cells => cells,
            };
            self.beyond = vec![0; cells];
        }
    }

    /// What an id of this hash may have had beyond the sum of all bounds.
    #[inline(always)]
    fn of(&self, hash: u64) -> u64 {
        let at = spread(hash as u32, self.beyond.len());
        self.beyond.get(at).copied().unwrap_or(0)
    }

    /// Remembers what an id had that loses its row.
    #[inline(always)]
    fn raise(&mut self, hash: u64, upper: u64, bound: u64) {
        if mutants::truncation_forgets() {
            return;
        }
        let at = spread(hash as u32, self.beyond.len());
        if let Some(cell) = self.beyond.get_mut(at) {
            *cell = (*cell).max(upper.saturating_sub(bound));
        }
        self.highest = self.highest.max(upper);
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
            Cells::Wide(cells) if self.shift == 0 => {
                let most = self.highest - self.base;
                for (sum, &cell) in sums.iter_mut().zip(cells) {
                    *sum = sum.saturating_add(u64::from(cell).min(most));
                }
            }
            Cells::Coarse(cells) => {
                let counts: [u64; 256] =
                    std::array::from_fn(|units| self.bound_of(units as u64) - self.base);
                for (sum, &cell) in sums.iter_mut().zip(cells) {
                    *sum = sum.saturating_add(counts[usize::from(cell)]);
                }
            }
            Cells::Wide(_) => {
                for (at, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.saturating_add(self.count(at));
                }
            }
        }
    }
}

/// Adds to each count the most that its hashes have in others, which may be fewer or more.
fn add_spread(counts: &mut [u64], others: &[u64]) {
    let cells = counts.len();
    if cells.is_multiple_of(others.len()) {
        let each = cells / others.len();
        for (counts, more) in counts.chunks_exact_mut(each).zip(others) {
            for count in counts {
                *count = count.saturating_add(*more);
            }
        }
    } else if others.len().is_multiple_of(cells) {
        let others = others.chunks_exact(others.len() / cells);
        for (count, others) in counts.iter_mut().zip(others) {
            let most = others.iter().copied().max().unwrap_or(0);
            *count = count.saturating_add(most);
        }
    } else {
        // A count shares hashes with all others from the one that its first hash is in up to the one of its last.
        let (mut from, mut rest) = (0, 0);
        for count in counts {
            let (mut to, mut more) = (from, rest + others.len());
            while more >= cells {
                more -= cells;
                to += 1;
            }
            let shared = others.get(from..to + usize::from(more > 0));
            let most = shared.unwrap_or_default().iter().copied().max();
            *count = count.saturating_add(most.unwrap_or(0));
            (from, rest) = (to, more);
        }
    }
}
