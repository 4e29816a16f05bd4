//! The crates that do the same, as well as each can be used.

#![allow(clippy::expect_used)]

use datasketches::frequencies::{ErrorType, FrequentItemsSketch};
use heavykeeper::{BucketedTopK, CuckooTopK, TopK};
use topk::FilteredSpaceSaving;

use crate::floor::Floor;
use crate::streams::{COUNTERS, ID_BYTES, Plays};

pub trait Contender {
    fn record(&mut self, id: &str);

    fn record_all(&mut self, plays: &Plays) {
        plays.ids().for_each(|id| self.record(id));
    }
}

/// The number of an id.
pub fn number_of(id: &[u8]) -> usize {
    let digits = id.get(5..ID_BYTES).unwrap_or(&[]);
    digits
        .iter()
        .fold(0, |number, &digit| 10 * number + usize::from(digit - b'0'))
}

/// Takes owned ids only, so a string a play.
#[derive(Clone)]
pub struct TopKCrate(FilteredSpaceSaving<String>);

impl TopKCrate {
    pub fn new() -> Self {
        Self(FilteredSpaceSaving::new(COUNTERS))
    }

    pub fn overcounts(&self, exact: &[u64]) -> Vec<u64> {
        let rows = self.0.iter();
        rows.map(|(id, counter)| counter.estimated_count() - exact[number_of(id.as_bytes())])
            .collect()
    }

    pub fn merge(parts: &[Self]) {
        let mut merged = parts[0].clone();
        for part in &parts[1..] {
            merged.0.merge(&part.0).expect("equal sizes");
        }
        std::hint::black_box(merged);
    }
}

impl Contender for TopKCrate {
    fn record(&mut self, id: &str) {
        self.0.insert(id.into(), 1);
    }
}

/// The same with ids of one length that need no string: faster than strings can be.
pub struct TopKOfArrays(FilteredSpaceSaving<[u8; ID_BYTES]>);

impl TopKOfArrays {
    pub fn new() -> Self {
        Self(FilteredSpaceSaving::new(COUNTERS))
    }
}

impl Contender for TopKOfArrays {
    fn record(&mut self, id: &str) {
        if let Some(id) = id.as_bytes().first_chunk() {
            self.0.insert(*id, 1);
        }
    }
}

/// A map of 2,048 holds up to 1,536 counters: half as many again as the others have.
pub struct DataSketches(FrequentItemsSketch<String>);

impl DataSketches {
    pub fn new() -> Self {
        Self(FrequentItemsSketch::new(2 * COUNTERS).expect("a power of two"))
    }

    pub fn overcounts(&self, exact: &[u64]) -> Vec<u64> {
        let rows = self.0.frequent_items(ErrorType::NoFalseNegatives);
        rows.iter()
            .map(|row| row.upper_bound() - exact[number_of(row.item().as_bytes())])
            .collect()
    }

    pub fn merge(parts: &[Self]) {
        let mut merged = Self::new();
        parts.iter().for_each(|part| merged.0.merge(&part.0));
        std::hint::black_box(merged.0);
    }
}

impl Contender for DataSketches {
    fn record(&mut self, id: &str) {
        self.0.update_ref(id);
    }
}

/// Four rows of 4,096 cells and a decay of 0.9.
#[derive(Clone)]
pub struct HeavyKeeper(TopK<String>);

impl HeavyKeeper {
    pub fn new() -> Self {
        Self(TopK::with_seed(COUNTERS, 4 * COUNTERS, 4, 0.9, 7))
    }

    pub fn merge(parts: &[Self]) {
        let mut merged = parts[0].clone();
        for part in &parts[1..] {
            merged.0.merge(&part.0).expect("equal sizes");
        }
        std::hint::black_box(merged);
    }
}

impl Contender for HeavyKeeper {
    fn record(&mut self, id: &str) {
        self.0.add(id, 1);
    }
}

/// The faster variants of the same crate, with as many cells; their authors recommend them.
pub struct Bucketed(BucketedTopK<String>);

impl Bucketed {
    pub fn new() -> Self {
        Self(BucketedTopK::with_seed(COUNTERS, 4 * COUNTERS, 4, 0.9, 7))
    }
}

impl Contender for Bucketed {
    fn record(&mut self, id: &str) {
        self.0.add(id, 1);
    }
}

pub struct Cuckoo(CuckooTopK<String>);

impl Cuckoo {
    pub fn new() -> Self {
        Self(CuckooTopK::with_seed(COUNTERS, 4 * COUNTERS, 4, 0.9, 7))
    }
}

impl Contender for Cuckoo {
    fn record(&mut self, id: &str) {
        self.0.add(id, 1);
    }
}

#[derive(Default)]
pub struct Floored(Floor);

impl Contender for Floored {
    fn record(&mut self, id: &str) {
        self.0.record(id, 1);
    }

    fn record_all(&mut self, plays: &Plays) {
        let weight = std::hint::black_box(1);
        plays.ids().for_each(|id| self.0.record(id, weight));
        std::hint::black_box(self.0.sum());
    }
}
