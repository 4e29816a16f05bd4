//! Reading a summary: bounds, rows, the top.

use super::Summary;
use super::key::{IdKey, Key, StoredKey};

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

/// What a summary knows of the ids of a key, which are one but for very few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// One that has a counter.
    Row(Row<'a>),
    /// None has a counter: each was played so often at most.
    AtMost(u64),
}

impl Known<'_> {
    /// Both bounds.
    pub fn bounds(&self) -> Bounds {
        match self {
            Known::Row(row) => row.bounds(),
            Known::AtMost(upper) => Bounds {
                lower: 0,
                upper: *upper,
            },
        }
    }
}

impl Bounds {
    /// The single number between the bounds that ranks best: the lower one, what was counted for
    /// sure. What is least known does not rank highest so. Where bounds are narrow it finds as many of
    /// the first 1,000 as the middle does and errs twice as much, which is little (at most 1.6 against
    /// 0.8 %, two hours of Zipf 1.0); where they are wide, the middle shows single plays as thousands.
    pub fn estimate(&self) -> u64 {
        self.lower
    }
}

impl Row<'_> {
    /// Both bounds.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            lower: self.lower,
            upper: self.upper,
        }
    }

    /// As [`Bounds::estimate`].
    pub fn estimate(&self) -> u64 {
        self.lower
    }
}

impl Summary {
    /// The bounds of any id, whether it has a counter or not.
    pub fn bounds(&self, id: &str) -> Bounds {
        if id.is_empty() {
            return Bounds { lower: 0, upper: 0 };
        }
        let key = self.long_keys.key_of(id);
        let hash = self.hasher.hash(&key);
        match self.slot_of(&key, hash, id) {
            Some(slot) => self.bounds_of(slot),
            None => Bounds {
                lower: 0,
                upper: self.filter.bound(hash),
            },
        }
    }

    /// What is known of a key under this summary's seed.
    pub fn by_key(&self, key: IdKey) -> Known<'_> {
        let key = key.key();
        let hash = self.hasher.hash(&key);
        match self.table.find(&key, hash, |_| true) {
            Some(slot) => Known::Row(self.row(slot)),
            None => Known::AtMost(self.filter.bound(hash)),
        }
    }

    /// All counters with their keys, in any order.
    pub fn keyed_rows(&self) -> impl Iterator<Item = (IdKey, Row<'_>)> {
        let keys = self.table.keys().iter().enumerate();
        keys.map(|(slot, key)| (IdKey::of(key), self.row(slot)))
    }

    /// The group of the table and the cell of the filter that an id belongs to: for tests that
    /// make ids collide.
    #[cfg(feature = "testing")]
    pub fn place_of(&self, id: &str) -> (usize, usize) {
        let hash = self.hasher.hash(&self.long_keys.key_of(id));
        let cell = super::key::spread(hash as u32, self.filter.len());
        (self.table.home(hash), cell)
    }

    /// The slot of an id with this key and hash.
    pub(super) fn slot_of(&self, key: &Key, hash: u64, id: &str) -> Option<usize> {
        self.table.find(key, hash, |slot| {
            !key.is_long() || self.texts.get(slot) == id.as_bytes()
        })
    }

    pub(super) fn bounds_of(&self, slot: usize) -> Bounds {
        let upper = self.uppers.get(slot).copied().unwrap_or(0);
        Bounds {
            lower: upper - self.overcount(slot, upper),
            upper,
        }
    }

    /// How much of its upper bound a counter may have from before it was the id's. Rounded up in
    /// its units, so it may exceed what every overcount is below.
    pub(super) fn overcount(&self, slot: usize, upper: u64) -> u64 {
        let overcount = self.overcounts.get(slot);
        overcount.min(self.filter.highest).min(upper)
    }

    /// The id that has the counter of this slot.
    pub(super) fn text(&self, slot: usize) -> &str {
        let short = self.table.keys().get(slot).and_then(StoredKey::text);
        // All that is recorded or decoded is text.
        let long = || std::str::from_utf8(self.texts.get(slot)).ok();
        short.or_else(long).unwrap_or("")
    }

    pub(super) fn row(&self, slot: usize) -> Row<'_> {
        let Bounds { lower, upper } = self.bounds_of(slot);
        Row {
            id: self.text(slot),
            lower,
            upper,
        }
    }

    /// All counters, in any order.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.len()).map(|slot| self.row(slot))
    }

    /// The `k` rows with the highest estimates, then by the bytes of their ids.
    pub fn top(&self, k: usize) -> Vec<Row<'_>> {
        let order = |a: &Row<'_>, b: &Row<'_>| {
            let by_estimate = b.estimate().cmp(&a.estimate());
            by_estimate.then_with(|| a.id.cmp(b.id))
        };
        let mut rows: Vec<Row<'_>> = self.rows().collect();
        if k == 0 {
            return Vec::new();
        }
        if k < rows.len() {
            rows.select_nth_unstable_by(k - 1, order);
            rows.truncate(k);
        }
        rows.sort_unstable_by(order);
        rows
    }
}
