//! Ids that were made to collide, by somebody who knows the seed: bounds hold for every one.
//!
//! What they cost is in the benchmark: `npm run bench -- summary`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use hitparade_summary::{Seed, Summary};

const SEED: Seed = Seed::from_bytes(*b"the known secret");

/// Ids that share a group, a cell, or both with the first of them, in a full summary.
struct Colliding {
    capacity: usize,
    same: fn((usize, usize), (usize, usize)) -> bool,
    ids: usize,
}

const KINDS: [(&str, Colliding); 3] = [
    (
        "one group of the table",
        Colliding {
            capacity: 128,
            same: |a, b| a.0 == b.0,
            ids: 1_500,
        },
    ),
    (
        "one cell of the filter",
        Colliding {
            capacity: 32,
            same: |a, b| a.1 == b.1,
            ids: 1_500,
        },
    ),
    (
        "both",
        Colliding {
            capacity: 8,
            same: |a, b| a == b,
            ids: 1_000,
        },
    ),
];

impl Colliding {
    fn ids(&self) -> Vec<String> {
        let mut full = Summary::new(self.capacity, SEED);
        (0..=self.capacity).for_each(|number| full.record(&format!("{number}"), 1));
        let first = full.place_of("song-0");
        let all = (0..).map(|number| format!("song-{number}"));
        all.filter(|id| (self.same)(full.place_of(id), first))
            .take(self.ids)
            .collect()
    }
}

/// Orders that hurt: in turn, so that each comes back just after it lost its counter; a few
/// heavy ones among light ones; heavier and heavier.
fn orders(ids: &[String]) -> Vec<Vec<(&str, u64)>> {
    let in_turn = (0..4).flat_map(|_| ids).map(|id| (id.as_str(), 1));
    let few_heavy = ids.iter().enumerate().flat_map(|(at, id)| {
        let heavy = &ids[at % 7];
        [(id.as_str(), 1), (heavy.as_str(), 100)]
    });
    let heavier = ids
        .iter()
        .zip(1..)
        .map(|(id, weight)| (id.as_str(), weight));
    vec![in_turn.collect(), few_heavy.collect(), heavier.collect()]
}

fn check(name: &str, summary: &Summary, exact: &BTreeMap<&str, u64>, capacity: usize) {
    let total: u64 = exact.values().sum();
    assert_eq!(summary.total(), total, "{name}");
    assert!(summary.unlisted_max() <= total / capacity as u64, "{name}");
    for (id, &count) in exact {
        let bounds = summary.bounds(id);
        assert!(
            bounds.lower <= count && count <= bounds.upper,
            "{name}: {id}"
        );
        assert!(
            bounds.upper - count <= total / capacity as u64,
            "{name}: {id}"
        );
    }
}

#[test]
fn bounds_hold_for_ids_that_collide_under_a_known_seed() {
    for (name, kind) in KINDS {
        let ids = kind.ids();
        for plays in orders(&ids) {
            let mut exact = BTreeMap::new();
            let mut whole = Summary::new(kind.capacity, SEED);
            let mut parts = vec![Summary::new(kind.capacity, SEED); 5];
            for (at, &(id, weight)) in plays.iter().enumerate() {
                *exact.entry(id).or_default() += weight;
                whole.record(id, weight);
                parts[at % 5].record(id, weight);
            }
            check(name, &whole, &exact, kind.capacity);
            let stored = Summary::decode(&whole.encode(), SEED).unwrap();
            check(name, &stored, &exact, kind.capacity);
            check(
                name,
                &Summary::merge_all(&parts, SEED),
                &exact,
                kind.capacity,
            );
            let merged = Summary::merge(&parts, kind.capacity, SEED);
            check(name, &merged, &exact, kind.capacity);
        }
    }
}
