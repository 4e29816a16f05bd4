//! Filtered Space-Saving: the heavy hitters of a stream of weighted plays in bounded memory,
//! with a lower and an upper bound for every id there is.
//!
//! # Overview
//!
//! A [`Summary`] of capacity `m` keeps a counter for at most `m` ids. While no more ids than
//! that were played, it is an exact count. After that, an id without a counter is counted in
//! one cell of a *filter*, together with all other ids of that cell; once the cell exceeds the
//! smallest counter, the id takes that counter over, starts with what its cell had, and
//! remembers that as its possible overcount. What the smallest counter had goes into the cell of
//! the id that lost it.
//!
//! Summaries merge: [`Summary::merge`] takes any number of them, of any capacities and seeds,
//! in one pass. An id that is missing in one of them had there at most what its cell says.
//!
//! # Accuracy
//!
//! With `N` the [`total`](Summary::total) and `m` the smallest capacity of any summary merged in
//! that was ever full, for every id, whether it has a counter or not:
//!
//! ```text
//! lower ≤ true ≤ upper        upper - true ≤ unlisted_max ≤ N / m
//! ```
//!
//! This holds through recording, merging, truncating and encoding, in any order. Why: let `E` be
//! `unlisted_max`. Each operation keeps `sum over the counters of max(upper - E, 0) + m·E ≤ N`.
//! A play adds at most its weight to both sides; raising `E` by `d` happens only while all `m`
//! counters are at least `E + d`, which takes `m·d` from the sum and adds it to the other term;
//! merging adds the inequalities up; truncating raises `E` to the largest counter dropped.
//!
//! In practice the filter makes it far tighter, about a tenth of `N / m` at ten cells a counter.
//!
//! # Exact while it fits
//!
//! A summary need not have a number of counters from the start:
//! [`growing`](Summary::growing), it is an exact count as long as it fits into so much memory, and
//! takes its capacity only when it does not. Nor need what is merged:
//! [`merge_within`](Summary::merge_within). Where parts are read one after the other, a [`Merger`] takes
//! each, and holds none.
//!
//! # Cost
//!
//! A play costs one keyed hash, one look into a group of tags, one counter or cell; no order is
//! kept (`src/smallest.rs`). Ids of up to 16 bytes live in their counters: 58.6 bytes a counter in
//! all, 78.6 once counts pass 65,535 per cell. Longer ids cost their text as well. Memory is
//! allocated as counters are needed, the filter when the first id finds no counter.
//!
//! # Limits
//!
//! Ids of 1 to 256 bytes, others are ignored. Totals and counts saturate at `u64::MAX`: a
//! saturated bound is a bound of the saturated count. Up to
//! [`MAX_CAPACITY`](Summary::MAX_CAPACITY) counters while recording,
//! [`MAX_MERGED`](Summary::MAX_MERGED) in a merged summary.
//!
//! # Example
//!
//! ```
//! use hitparade_summary::{Seed, Summary};
//!
//! let seed = Seed::from_bytes([7; 16]);
//! let (mut morning, mut evening) = (Summary::new(1_000, seed), Summary::new(1_000, seed));
//! morning.record("song-1", 3);
//! morning.record("song-2", 5);
//! evening.record("song-1", 4);
//!
//! let day = Summary::merge([&morning, &evening], 1_000, seed);
//! let top = day.top(1);
//! assert_eq!((top[0].id, top[0].lower, top[0].upper), ("song-1", 7, 7));
//! ```
//!
//! # Papers
//!
//! - Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data
//!   Streams", ICDT 2005: Space-Saving.
//! - Homem, Carvalho, "Finding top-k elements in data streams", Information Sciences 180 (2010):
//!   the filter.
//! - Agarwal, Cormode, Huang, Phillips, Wei, Yi, "Mergeable Summaries", PODS 2012.
//! - Cafaro, Pulimeno, Tempesta, "A parallel space saving algorithm", arXiv 1401.0702: merging.

#![deny(missing_docs)]

mod bytes;
mod decode;
mod encode;
mod filter;
mod key;
mod look_up;
mod merge;
#[cfg(feature = "testing")]
pub mod mutants;
#[cfg(not(feature = "testing"))]
mod mutants;
mod numbers;
mod overcounts;
mod record;
mod rows;
mod seed;
mod smallest;
mod table;
mod texts;

pub use bytes::DecodeError;
pub use key::{IdKey, IdKeys, MAX_ID_BYTES};
pub use merge::Merger;
pub use rows::{Bounds, Known, Row};
pub use seed::Seed;

use filter::Filter;
use key::{KeyHasher, LongKeys};
use overcounts::Overcounts;
use smallest::Smallest;
use table::Table;
use texts::Texts;

/// A bounded set of counters and a filter that bounds every id without one.
///
/// All vectors are indexed by slot.
#[derive(Clone)]
pub struct Summary {
    seed: Seed,
    hasher: KeyHasher,
    long_keys: LongKeys,
    capacity: usize,
    total: u64,
    /// Whether something was ever dropped, here or in a summary merged in.
    full: bool,
    table: Table,
    /// The upper bounds: all plays since the id has its counter, and its overcount.
    uppers: Vec<u64>,
    overcounts: Overcounts,
    texts: Texts,
    filter: Filter,
    smallest: Smallest,
    /// An id without a counter whose bound would exceed this may take a counter over.
    admit_above: u64,
    /// How far it grows as long as it is exact; `None` once it is not.
    growth: Option<Growth>,
}

/// How far a summary grows that has dropped nothing.
#[derive(Clone, Copy)]
struct Growth {
    /// Memory at most.
    bytes: usize,
    /// What it keeps of its counters when it has to drop something.
    counters: usize,
}

impl Summary {
    /// The most counters that a summary can be asked to keep while recording. Slots are 16-bit
    /// numbers, and 16,384 counters are under 1.3 MB.
    pub const MAX_CAPACITY: usize = 16_384;

    /// The most counters that [`merge_all`](Summary::merge_all) keeps: all 16-bit slots, 4 MB.
    pub const MAX_MERGED: usize = 65_536;

    /// An empty summary of at most `capacity` counters, clamped to `1..=MAX_CAPACITY`.
    /// Allocates nothing until something is recorded.
    pub fn new(capacity: usize, seed: Seed) -> Self {
        Self::empty(capacity.clamp(1, Self::MAX_CAPACITY), seed)
    }

    /// An empty summary that drops nothing as long as it has at most [`MAX_MERGED`](Self::MAX_MERGED)
    /// ids and takes at most `bytes` of memory, or up to half as much more. The first id beyond that makes it one of `counters`
    /// (clamped as in [`new`](Self::new)), as [`truncate`](Self::truncate) would.
    pub fn growing(bytes: usize, counters: usize, seed: Seed) -> Self {
        let mut summary = Self::empty(1, seed);
        summary.grow_within(bytes, counters);
        summary
    }

    /// Makes it one that grows, as [`growing`](Self::growing) does, if it is exact: for one that was
    /// stored while it grew.
    pub fn grow_within(&mut self, bytes: usize, counters: usize) {
        if !self.full {
            let counters = counters.clamp(1, Self::MAX_CAPACITY);
            self.capacity = Self::MAX_MERGED;
            self.growth = Some(Growth { bytes, counters });
        }
    }

    fn empty(capacity: usize, seed: Seed) -> Self {
        Self {
            seed,
            hasher: KeyHasher::new(seed),
            long_keys: LongKeys::new(seed),
            capacity,
            total: 0,
            full: false,
            table: Table::default(),
            uppers: Vec::new(),
            overcounts: Overcounts::default(),
            texts: Texts::default(),
            filter: Filter::default(),
            smallest: Smallest::default(),
            admit_above: 0,
            growth: None,
        }
    }

    /// What its ids are hashed with.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// All plays recorded and merged in, saturating.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Ids with a counter.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no id has a counter.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        self.filter.highest
    }

    /// Bytes of the ids that are too long for keys.
    pub fn long_id_bytes(&self) -> usize {
        self.texts.used()
    }

    /// Makes the index of its ids, if there is none: to ask for many of them.
    pub fn index(&mut self) {
        if !self.table.is_indexed() {
            self.reserve(self.len());
        }
    }

    /// Makes it smaller, for bounds of ids without a counter that are up to a 127th of the highest one higher; that
    /// one stays.
    pub fn coarsen(&mut self) {
        self.filter.coarsen();
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.table.heap_bytes()
            + self.uppers.capacity() * size_of::<u64>()
            + self.overcounts.heap_bytes()
            + self.texts.heap_bytes()
            + self.long_keys.heap_bytes()
            + self.filter.heap_bytes()
            + self.smallest.heap_bytes()
    }
}

impl std::fmt::Debug for Summary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Summary")
            .field("capacity", &self.capacity)
            .field("len", &self.len())
            .field("total", &self.total)
            .field("unlisted_max", &self.unlisted_max())
            .finish_non_exhaustive()
    }
}
