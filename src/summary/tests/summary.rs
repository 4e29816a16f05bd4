//! The summary against an exact count of every id.

use std::collections::HashMap;

use hitparade_summary::{Seed, Summary};

const SEED: Seed = Seed::from_bytes(*b"sixteen byte key");

/// A stream with many small ids and a few large ones.
fn stream(seed: u64, plays: usize, ids: u64) -> Vec<(String, u64)> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..plays)
        .map(|_| {
            let most = next() % ids + 1;
            (format!("post-{:06}", next() % most), next() % 5 + 1)
        })
        .collect()
}

fn check(summary: &Summary, exact: &HashMap<String, u64>, smallest: usize) {
    let total: u64 = exact.values().sum();
    assert_eq!(summary.total(), total);
    for (id, &count) in exact {
        let bounds = summary.bounds(id);
        assert!(bounds.lower <= count && count <= bounds.upper, "{id}");
        assert!(bounds.upper - count <= total / smallest as u64, "{id}");
    }
}

fn count(plays: &[(String, u64)], exact: &mut HashMap<String, u64>) {
    for (id, weight) in plays {
        *exact.entry(id.clone()).or_default() += weight;
    }
}

#[test]
fn bounds_hold_for_every_id() {
    for capacity in [1, 2, 17, 256, 5000] {
        let mut summary = Summary::new(capacity, SEED);
        let mut exact = HashMap::new();
        let plays = stream(7, 50_000, 4_000);
        count(&plays, &mut exact);
        plays
            .iter()
            .for_each(|(id, weight)| summary.record(id, *weight));
        check(&summary, &exact, capacity);
        assert_eq!(summary.is_exact(), capacity == 5000);
    }
}

#[test]
fn merging_truncating_and_encoding_keep_the_bounds() {
    let mut exact = HashMap::new();
    let parts: Vec<Summary> = (1..9)
        .map(|part| {
            let mut summary = Summary::new(part * 50, SEED);
            let plays = stream(part as u64, 20_000, 4_000);
            count(&plays, &mut exact);
            plays
                .iter()
                .for_each(|(id, weight)| summary.record(id, *weight));
            Summary::decode(&summary.encode(), SEED).unwrap()
        })
        .collect();
    check(&Summary::merge_all(&parts, SEED), &exact, 50);
    check(&Summary::merge(&parts, 40, SEED), &exact, 40);
    let foreign = Seed::from_bytes([9; 16]);
    let mut merged = Summary::merge(&parts, 100, foreign);
    merged.truncate(30);
    let mut merged = Summary::decode(&merged.encode(), SEED).unwrap();
    check(&merged, &exact, 30);
    let plays = stream(99, 20_000, 4_000);
    count(&plays, &mut exact);
    plays
        .iter()
        .for_each(|(id, weight)| merged.record(id, *weight));
    check(&merged, &exact, 30);
}

#[test]
fn exact_below_the_capacity() {
    let mut left = Summary::new(10, SEED);
    let mut right = Summary::new(10, Seed::from_bytes([1; 16]));
    left.record("a", 3);
    right.record("a", 4);
    right.record("b", u64::MAX);
    let merged = Summary::merge([&left, &right], 2, SEED);
    assert!(merged.is_exact());
    let top: Vec<_> = merged
        .top(5)
        .iter()
        .map(|row| (row.id, row.lower, row.upper))
        .collect();
    assert_eq!(top, [("b", u64::MAX, u64::MAX), ("a", 7, 7)]);
    assert_eq!(merged.unlisted_max(), 0);
}

#[test]
fn a_summary_that_grows_is_exact_up_to_its_memory_and_then_has_its_counters() {
    let ids: Vec<String> = (0..70_000)
        .map(|number| format!("song-{number:06}"))
        .collect();
    let mut summary = Summary::growing(3 << 20, 16_384, SEED);
    for (at, id) in ids.iter().enumerate() {
        let before = summary.heap_bytes();
        summary.record(id, 1);
        let expected = at < Summary::MAX_MERGED;
        assert_eq!(summary.is_exact(), expected, "{at}: {before} bytes");
        if !expected {
            break;
        }
    }
    assert_eq!((summary.len(), summary.capacity()), (16_384, 16_384));
    assert_eq!(summary.total(), 65_537);
    let mut small = Summary::growing(100_000, 64, SEED);
    ids.iter().for_each(|id| small.record(id, 1));
    assert_eq!((small.is_full(), small.len()), (true, 64));
}
