//! Filtered Space-Saving: the heavy hitters of a stream of weighted plays in bounded memory.

mod encode;
mod merge;
mod seed;

use std::collections::HashMap;
use std::hash::Hasher;

pub use encode::DecodeError;
pub use seed::Seed;

/// Cells of the filter per counter.
const CELLS_PER_COUNTER: usize = 8;

/// The longest id that is counted, in bytes.
pub const MAX_ID_BYTES: usize = 256;

#[derive(Clone)]
struct Counter {
    id: Box<str>,
    upper: u64,
    overcount: u64,
}

/// A bounded set of counters plus a filter that bounds every id without one.
#[derive(Clone)]
pub struct Summary {
    seed: Seed,
    capacity: usize,
    total: u64,
    full: bool,
    counters: Vec<Counter>,
    index: HashMap<Box<str>, usize>,
    /// What every id without a counter may have, besides its cell.
    base: u64,
    cells: Vec<u64>,
    unlisted_max: u64,
}

/// `lower ≤ true count ≤ upper`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The id was played at least this often.
    pub lower: u64,
    /// The id was played at most this often.
    pub upper: u64,
}

/// One counter of a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The id as it was recorded.
    pub id: &'a str,
    /// The id was played at least this often.
    pub lower: u64,
    /// The id was played at most this often.
    pub upper: u64,
}

impl Bounds {
    /// The best single number between the bounds.
    pub fn estimate(&self) -> u64 {
        self.upper
    }
}

impl Row<'_> {
    /// The best single number between the bounds.
    pub fn estimate(&self) -> u64 {
        self.upper
    }
}

impl Summary {
    /// The most counters that a summary can be asked to keep while recording.
    pub const MAX_CAPACITY: usize = 16_384;

    /// The most counters that [`Summary::merge_all`] keeps.
    pub const MAX_MERGED: usize = 1 << 20;

    /// An empty summary of at most `capacity` counters, clamped to `1..=MAX_CAPACITY`.
    /// Allocates nothing until something is recorded.
    pub fn new(capacity: usize, seed: Seed) -> Self {
        Self::with_limit(capacity.clamp(1, Self::MAX_CAPACITY), seed)
    }

    fn with_limit(capacity: usize, seed: Seed) -> Self {
        Self {
            seed,
            capacity,
            total: 0,
            full: false,
            counters: Vec::new(),
            index: HashMap::new(),
            base: 0,
            cells: Vec::new(),
            unlisted_max: 0,
        }
    }

    /// Counts `weight` plays of `id`. An id of no or more than 256 bytes, or a weight of 0,
    /// is not a play and is ignored.
    pub fn record(&mut self, id: &str, weight: u64) {
        if id.is_empty() || id.len() > MAX_ID_BYTES || weight == 0 {
            return;
        }
        self.total = self.total.saturating_add(weight);
        if let Some(counter) = self.index.get(id).and_then(|&at| self.counters.get_mut(at)) {
            counter.upper = counter.upper.saturating_add(weight);
            return;
        }
        let bound = self.unlisted_bound(id);
        let upper = bound.saturating_add(weight);
        let counter = Counter {
            id: id.into(),
            upper,
            overcount: bound,
        };
        if self.counters.len() < self.capacity {
            self.push(counter);
            return;
        }
        self.full = true;
        let Some(at) = (0..self.counters.len()).min_by_key(|&at| self.counters[at].upper) else {
            return;
        };
        if upper < self.counters[at].upper {
            self.raise(id, upper);
            return;
        }
        let new_id = counter.id.clone();
        let dropped = std::mem::replace(&mut self.counters[at], counter);
        self.index.remove(&dropped.id);
        self.index.insert(new_id, at);
        self.raise(&dropped.id, dropped.upper);
    }

    fn push(&mut self, counter: Counter) {
        self.index.insert(counter.id.clone(), self.counters.len());
        self.counters.push(counter);
    }

    fn cell_of(&self, id: &str) -> usize {
        let mut hasher = siphasher::sip::SipHasher13::new_with_key(&self.seed.to_bytes());
        hasher.write(id.as_bytes());
        let hash = u128::from(hasher.finish());
        ((hash * self.cells.len() as u128) >> 64) as usize
    }

    fn unlisted_bound(&self, id: &str) -> u64 {
        let cell = self.cells.get(self.cell_of(id)).copied().unwrap_or(0);
        self.base.saturating_add(cell)
    }

    /// Makes the bound of the ids that share `id`'s cell at least `bound`.
    fn raise(&mut self, id: &str, bound: u64) {
        if self.cells.is_empty() {
            self.cells = vec![0; self.capacity.min(Self::MAX_CAPACITY) * CELLS_PER_COUNTER];
        }
        let at = self.cell_of(id);
        let base = self.base;
        if let Some(cell) = self.cells.get_mut(at) {
            *cell = (*cell).max(bound.saturating_sub(base));
        }
        self.unlisted_max = self.unlisted_max.max(bound);
    }

    /// All plays recorded and merged in, saturating.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Ids with a counter.
    pub fn len(&self) -> usize {
        self.counters.len()
    }

    /// Whether no id has a counter.
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    /// The most counters it keeps.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether nothing was ever dropped: every row is exact and every other id has no plays.
    pub fn is_exact(&self) -> bool {
        !self.full
    }

    /// Whether it, or one merged in, ever had to drop something.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// No id without a counter was played more often than this.
    pub fn unlisted_max(&self) -> u64 {
        self.unlisted_max
    }

    /// The bounds of any id, whether it has a counter or not.
    pub fn bounds(&self, id: &str) -> Bounds {
        match self.index.get(id).and_then(|&at| self.counters.get(at)) {
            Some(counter) => Bounds {
                lower: counter.upper - counter.overcount,
                upper: counter.upper,
            },
            None => Bounds {
                lower: 0,
                upper: self.unlisted_bound(id).min(self.unlisted_max),
            },
        }
    }

    /// All counters, in any order.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.counters.iter().map(|counter| Row {
            id: &counter.id,
            lower: counter.upper - counter.overcount,
            upper: counter.upper,
        })
    }

    /// The `k` rows with the highest estimates, then by the bytes of their ids.
    pub fn top(&self, k: usize) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = self.rows().collect();
        rows.sort_unstable_by(|a, b| b.estimate().cmp(&a.estimate()).then(a.id.cmp(b.id)));
        rows.truncate(k);
        rows
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let ids: usize = self.counters.iter().map(|counter| counter.id.len()).sum();
        self.counters.capacity() * size_of::<Counter>()
            + self.index.capacity() * (size_of::<(Box<str>, usize)>() + 1)
            + 2 * ids
            + self.cells.capacity() * size_of::<u64>()
    }
}

impl std::fmt::Debug for Summary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Summary")
            .field("capacity", &self.capacity)
            .field("len", &self.len())
            .field("total", &self.total)
            .field("unlisted_max", &self.unlisted_max)
            .finish_non_exhaustive()
    }
}
