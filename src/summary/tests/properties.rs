//! The summary's guarantees against exact counts of every id, for any stream and any tree of
//! recording, merging, truncating and encoding.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use hitparade_summary::{IdKey, IdKeys, Merger, Seed, Summary};
use proptest::prelude::*;

/// One summary with what it should know.
#[derive(Clone)]
struct Known {
    summary: Summary,
    exact: BTreeMap<String, u128>,
    /// The smallest capacity of any full summary in it, its own if it had to drop something.
    smallest: usize,
    /// Whether nothing may have been dropped by what was done.
    exact_expected: bool,
    /// Memory and counters, where it grows.
    growth: Option<(usize, usize)>,
}

fn seed(number: u8) -> Seed {
    Seed::from_bytes([number; 16])
}

fn saturated(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Known {
    fn new(capacity: usize, seed_number: u8) -> Self {
        Self {
            summary: Summary::new(capacity, seed(seed_number)),
            exact: BTreeMap::new(),
            smallest: usize::MAX,
            exact_expected: true,
            growth: None,
        }
    }

    fn growing(bytes: usize, counters: usize, seed_number: u8) -> Self {
        Self {
            summary: Summary::growing(bytes, counters, seed(seed_number)),
            growth: Some((bytes, counters)),
            ..Self::new(1, seed_number)
        }
    }

    fn record(&mut self, id: &str, weight: u64) {
        self.summary.record(id, weight);
        if let Some((bytes, counters)) = self.growth.filter(|_| self.summary.is_exact()) {
            // What is made with the first long id comes on top.
            let fits = self.summary.heap_bytes() <= bytes + bytes / 2 + 1_000;
            let is_small = self.summary.len() <= counters.max(8);
            assert!(
                fits || is_small,
                "{:?}: {} bytes, {} ids, {} of text",
                self.growth,
                self.summary.heap_bytes(),
                self.summary.len(),
                self.summary.long_id_bytes()
            );
        }
        *self.exact.entry(id.into()).or_default() += u128::from(weight);
        self.note_capacity();
    }

    fn note_capacity(&mut self) {
        self.exact.retain(|_, count| *count > 0);
        if self.exact.len() > self.summary.capacity() {
            self.exact_expected = false;
            self.smallest = self.smallest.min(self.summary.capacity());
        }
    }

    fn merged(parts: &[Self], capacity: Option<usize>, seed_number: u8) -> Self {
        let summaries = parts.iter().map(|part| &part.summary);
        let summary = match capacity {
            // Odd ones keep twice as many where nothing has to be dropped.
            Some(capacity) if capacity % 2 == 1 => {
                let within = (2 * capacity, usize::MAX);
                Summary::merge_within(summaries, within, capacity, seed(seed_number))
            }
            Some(capacity) => Summary::merge(summaries, capacity, seed(seed_number)),
            None => Summary::merge_all(summaries, seed(seed_number)),
        };
        let mut merged = Self {
            summary,
            exact: BTreeMap::new(),
            smallest: parts
                .iter()
                .map(|part| part.smallest)
                .min()
                .unwrap_or(usize::MAX),
            exact_expected: parts.iter().all(|part| part.exact_expected),
            growth: None,
        };
        for part in parts {
            for (id, count) in &part.exact {
                *merged.exact.entry(id.clone()).or_default() += count;
            }
        }
        let listed: usize = parts.iter().map(|part| part.summary.len()).sum();
        if listed > merged.summary.capacity() {
            merged.smallest = merged.smallest.min(merged.summary.capacity());
        }
        merged.note_capacity();
        merged
    }

    fn truncate(&mut self, capacity: usize) {
        if self.summary.len() > capacity {
            self.smallest = self.smallest.min(capacity.max(1));
        }
        self.summary.truncate(capacity);
        self.growth = None;
        self.note_capacity();
    }

    fn coarsen(&mut self) {
        let before = self.summary.clone();
        self.summary.coarsen();
        let highest = before.unlisted_max();
        assert_eq!(self.summary.unlisted_max(), highest);
        for id in self
            .exact
            .keys()
            .map(String::as_str)
            .chain(["never played"])
        {
            let [before, after] = [&before, &self.summary].map(|summary| summary.bounds(id));
            assert_eq!(before.lower, after.lower);
            assert!(before.upper <= after.upper);
            assert!(after.upper - before.upper <= highest / 126 + 1);
        }
    }

    fn recode(&mut self, seed_number: u8) {
        let bytes = self.summary.encode();
        self.summary = Summary::decode(&bytes, seed(seed_number)).unwrap();
        if let Some((bytes, counters)) = self.growth {
            self.summary.grow_within(bytes, counters);
        }
    }

    /// Every guarantee, for every id that was ever played and some that never were.
    fn check(&self) {
        let summary = &self.summary;
        let total: u128 = self.exact.values().sum();
        assert_eq!(summary.total(), saturated(total), "total");
        let allowed = if self.smallest == usize::MAX {
            0
        } else {
            saturated(total / self.smallest as u128)
        };
        assert!(summary.unlisted_max() <= allowed, "unlisted above N/m");
        let keys = IdKeys::new(summary.seed());
        let key_of = |id: &str| IdKey::from_bytes(keys.key_of(id).to_bytes());
        for (id, &count) in &self.exact {
            let bounds = summary.bounds(id);
            let count = saturated(count);
            assert!(bounds.lower <= count, "lower bound of {id:?}");
            assert!(count <= bounds.upper, "upper bound of {id:?}");
            assert!(
                bounds.upper - count <= allowed,
                "overcount of {id:?} above N/m"
            );
            assert!((bounds.lower..=bounds.upper).contains(&bounds.estimate()));
            assert_eq!(summary.by_key(key_of(id)).bounds(), bounds);
        }
        for absent in [
            "never played",
            "x",
            "a rather long id that was never played at all",
        ] {
            if !self.exact.contains_key(absent) {
                let bounds = summary.bounds(absent);
                assert_eq!(bounds.lower, 0);
                assert!(bounds.upper <= summary.unlisted_max());
                assert_eq!(summary.by_key(key_of(absent)).bounds(), bounds);
            }
        }
        self.check_rows();
    }

    fn check_rows(&self) {
        let summary = &self.summary;
        let mut listed = 0;
        let keys = IdKeys::new(summary.seed());
        for (key, row) in summary.keyed_rows() {
            let bounds = summary.bounds(row.id);
            assert_eq!((row.lower, row.upper), (bounds.lower, bounds.upper));
            assert_eq!(key, keys.key_of(row.id));
            assert!(self.exact.contains_key(row.id), "a row of no play");
            listed += 1;
        }
        assert_eq!(listed, summary.len());
        assert!(summary.len() <= summary.capacity());
        assert_eq!(summary.is_exact(), !summary.is_full());
        if self.exact_expected {
            assert!(summary.is_exact(), "nothing had to be dropped");
        }
        if summary.is_exact() {
            assert_eq!(summary.unlisted_max(), 0);
            assert_eq!(summary.len(), self.exact.len());
            assert!(summary.rows().all(|row| row.lower == row.upper));
        }
        let all = summary.top(usize::MAX);
        assert_eq!(all.len(), summary.len());
        let ordered = |a: &hitparade_summary::Row<'_>, b: &hitparade_summary::Row<'_>| {
            (b.estimate(), a.id) < (a.estimate(), b.id) || a.estimate() > b.estimate()
        };
        assert!(all.windows(2).all(|pair| ordered(&pair[0], &pair[1])));
        for k in [0, 1, all.len() / 2, all.len()] {
            assert_eq!(summary.top(k), all[..k.min(all.len())]);
        }
    }

    /// `decode(encode(x)) = x`, as far as anything can tell.
    fn check_encoding(&self, seed_number: u8) {
        let bytes = self.summary.encode();
        let again = Summary::decode(&bytes, seed(seed_number)).unwrap();
        assert_eq!(again.encode(), bytes);
        assert_eq!(again.total(), self.summary.total());
        assert_eq!(again.capacity(), self.summary.capacity());
        assert_eq!(again.is_full(), self.summary.is_full());
        assert_eq!(again.unlisted_max(), self.summary.unlisted_max());
        assert_eq!(again.top(usize::MAX), self.summary.top(usize::MAX));
        let other = seed(seed_number + 1);
        let foreign = Summary::decode(&bytes, other).unwrap();
        for id in self.exact.keys().map(String::as_str).chain([
            "never played",
            "",
            "song-0",
            "\u{10ffff}",
            "a rather long id, never played",
        ]) {
            let bounds = again.bounds(id);
            assert_eq!(bounds, self.summary.bounds(id));
            // Without decoding all of it, also under another seed.
            let looked_up = Summary::bounds_in(&bytes, id, seed(seed_number)).unwrap();
            assert_eq!(looked_up, bounds, "{id:?}");
            let looked_up = Summary::bounds_in(&bytes, id, other);
            assert_eq!(looked_up, Ok(foreign.bounds(id)), "{id:?}");
        }
    }
}

impl Known {
    /// In two parts it is the same, and the first bounds every id.
    fn check_parts(&self, seed_number: u8) {
        let (seed, other) = (seed(seed_number), seed(seed_number + 1));
        for counters in [1, 7] {
            let Some((largest, others)) = self.summary.encode_parts(counters) else {
                assert!(self.summary.is_full() || self.summary.len() <= counters);
                continue;
            };
            let whole = Summary::decode_parts(&largest, &others, seed).unwrap();
            assert_eq!(whole.encode(), self.summary.encode());
            let foreign = Summary::decode_parts(&largest, &others, other).unwrap();
            assert_eq!(foreign.top(usize::MAX), whole.top(usize::MAX));
            assert!(Summary::decode_parts(&others, &largest, seed).is_err());
            assert!(Summary::decode_parts(&largest, &largest, seed).is_err());
            let first = Summary::decode(&largest, seed).unwrap();
            let total: u128 = self.exact.values().sum();
            assert_eq!((first.len(), first.total()), (counters, saturated(total)));
            assert!(first.unlisted_max() <= saturated(total / counters as u128));
            for (id, &count) in &self.exact {
                let (bounds, count) = (first.bounds(id), saturated(count));
                assert!((bounds.lower..=bounds.upper).contains(&count), "{id:?}");
                assert!(bounds.lower == 0 || bounds.lower == bounds.upper);
            }
            for id in self
                .exact
                .keys()
                .map(String::as_str)
                .chain(["", "never played"])
            {
                let looked_up = Summary::bounds_in_parts((&largest, &others), id, seed);
                assert_eq!(looked_up, Ok(self.summary.bounds(id)), "{id:?}");
            }
        }
    }
}

/// Ids of every kind: short, of 15 to 17 bytes, long, not ASCII, prefixes of each other.
fn id_of(kind: u8, number: u16) -> String {
    match kind % 7 {
        0 => format!("{number}"),
        1 => format!("song-{number:06}"),
        2 => format!("{number:016}"),
        3 => {
            let text = format!("{number:05}-eleven-byte");
            text[..15 + usize::from(number % 3)].to_string()
        }
        4 => format!("https://example.org/articles/{number}/what-happened-next"),
        5 => "ü€😀\0".repeat(1 + usize::from(number % 25)),
        _ => "\0".repeat(1 + usize::from(number % 256)),
    }
}

fn weight() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 1..4_u64,
        2 => 0..1_000_000_u64,
        1 => prop_oneof![Just(u64::from(u16::MAX)), Just(u64::from(u32::MAX)), Just(1 << 33), Just(1 << 48)],
        1 => prop_oneof![Just(u64::MAX), Just(u64::MAX / 2), Just(1 << 62), any::<u64>()],
    ]
}

fn small_weight() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1..4_u64, 1 => 1..100_000_u64, 1 => Just(1_u64 << 34)]
}

#[derive(Clone, Debug)]
enum Step {
    Record(u8, u16, u64),
    /// The same weight for many ids in turn.
    Run(u8, u16, u64),
    Truncate(usize),
    Coarsen,
    Recode(u8),
    MergeWith(Vec<usize>, Option<usize>, u8),
    Switch(usize),
}

fn step(weight: impl Strategy<Value = u64> + Clone + 'static) -> impl Strategy<Value = Step> {
    let seeds = 1..4_u8;
    prop_oneof![
        20 => (any::<u8>(), 0..60_u16, weight.clone()).prop_map(|(k, n, w)| Step::Record(k, n, w)),
        4 => (any::<u8>(), 1..300_u16, weight).prop_map(|(k, n, w)| Step::Run(k, n, w)),
        1 => (0..40_usize).prop_map(Step::Truncate),
        1 => Just(Step::Coarsen),
        2 => seeds.clone().prop_map(Step::Recode),
        2 => (prop::collection::vec(0..4_usize, 1..5), prop::option::of(1..40_usize), seeds)
            .prop_map(|(parts, capacity, seed)| Step::MergeWith(parts, capacity, seed)),
        3 => (0..4_usize).prop_map(Step::Switch),
    ]
}

/// The last two grow, within so much memory.
fn run(capacities: [usize; 4], bytes: usize, steps: Vec<Step>) {
    let mut all: Vec<Known> = capacities
        .into_iter()
        .enumerate()
        .map(|(at, capacity)| match at {
            0 | 1 => Known::new(capacity, 1 + at as u8 % 2),
            _ => Known::growing(bytes, capacity, 1 + at as u8 % 2),
        })
        .collect();
    let mut seeds = [1_u8, 2, 1, 2];
    let mut at = 0;
    for step in steps {
        match step {
            Step::Record(kind, number, weight) => all[at].record(&id_of(kind, number), weight),
            Step::Run(kind, count, weight) => {
                (0..count).for_each(|number| all[at].record(&id_of(kind, number), weight));
            }
            Step::Truncate(capacity) => all[at].truncate(capacity),
            Step::Coarsen => all[at].coarsen(),
            Step::Recode(seed) => {
                all[at].recode(seed);
                seeds[at] = seed;
            }
            Step::MergeWith(parts, capacity, seed) => {
                let parts: Vec<Known> = parts.into_iter().map(|part| all[part].clone()).collect();
                all[at] = Known::merged(&parts, capacity, seed);
                seeds[at] = seed;
            }
            Step::Switch(to) => at = to,
        }
        all[at].check();
    }
    for (known, seed) in all.iter().zip(seeds) {
        known.check();
        known.check_encoding(seed);
        known.check_parts(seed);
    }
    let merged = Known::merged(&all, None, 1);
    merged.check();
    merged.check_encoding(1);
    let merged = Known::merged(&all, Some(7), 3);
    merged.check();
    merged.check_encoding(3);
}

/// What is added to a [`Merger`], and how many rows are kept after it.
#[derive(Clone, Debug)]
struct Part {
    capacity: usize,
    seed: u8,
    /// Numbers of ids: products of two are often small.
    plays: Vec<(u16, u16, u64)>,
    is_coarse: bool,
    keep: Option<usize>,
}

fn part() -> impl Strategy<Value = Part> {
    let plays = prop::collection::vec((0..20_u16, 0..20_u16, small_weight()), 1..200);
    let keep = prop::option::weighted(0.4, 1..40_usize);
    (1..60_usize, 1..3_u8, plays, any::<bool>(), keep).prop_map(
        |(capacity, seed, plays, is_coarse, keep)| Part {
            capacity,
            seed,
            plays,
            is_coarse,
            keep,
        },
    )
}

/// Parts with filters of any size, and cuts between them.
fn run_merger(parts: &[Part], keep: usize) {
    let mut merger = Merger::new(seed(1));
    let mut exact: BTreeMap<String, u64> = BTreeMap::new();
    let mut summaries = Vec::new();
    for part in parts {
        let mut summary = Summary::new(part.capacity, seed(part.seed));
        for (first, second, weight) in &part.plays {
            let id = id_of(1 + (first % 2) as u8 * 3, first * second);
            summary.record(&id, *weight);
            *exact.entry(id).or_default() += weight;
        }
        if part.is_coarse {
            summary.coarsen();
        }
        merger.add(&summary);
        if let Some(keep) = part.keep {
            merger.truncate(keep);
        }
        summaries.push(summary);
    }
    let mut beside = Merger::of_ids(&summaries[0]);
    summaries.iter().for_each(|part| beside.add(part));
    for (row, bounds) in summaries[0].rows().zip(beside.finish_bounds()) {
        let count = exact[row.id];
        assert!(
            (bounds.lower..=bounds.upper).contains(&count),
            "{}: {count}, {bounds:?}",
            row.id
        );
    }
    let mut merged = merger.finish(keep);
    merged.index();
    assert_eq!(merged.total(), exact.values().sum::<u64>());
    for (id, count) in exact {
        let bounds = merged.bounds(&id);
        assert!(
            (bounds.lower..=bounds.upper).contains(&count),
            "{id}: {count}, {bounds:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bounds_hold_through_any_cuts_between_parts_of_any_size(
        parts in prop::collection::vec(part(), 1..8),
        keep in 1..100_usize,
    ) {
        run_merger(&parts, keep);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_guarantee_holds_through_any_tree_of_operations(
        capacities in [1..40_usize, 1..40_usize, 1..8_usize, 1..3_usize],
        bytes in 500..20_000_usize,
        steps in prop::collection::vec(step(small_weight().boxed()), 1..60),
    ) {
        run(capacities, bytes, steps);
    }

    #[test]
    fn every_guarantee_holds_for_weights_that_saturate(
        capacities in [1..40_usize, 1..40_usize, 1..8_usize, 1..3_usize],
        bytes in 500..20_000_usize,
        steps in prop::collection::vec(step(weight().boxed()), 1..40),
    ) {
        run(capacities, bytes, steps);
    }

    #[test]
    fn bytes_that_are_no_summary_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Summary::decode(&bytes, seed(1));
        let _ = Summary::bounds_in(&bytes, "song", seed(1));
    }
}
