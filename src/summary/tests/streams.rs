//! The summary on streams of every kind against an exact count of every id.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use hitparade_summary::{Merger, Seed, Summary};

const SEED: Seed = Seed::from_bytes(*b"sixteen byte key");
const PLAYS: usize = 30_000;
const IDS: usize = 20_000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between 0 and 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Ranks of a Zipf law, by the inverse of its distribution.
fn zipf(exponent: f64, random: &mut Random) -> impl FnMut() -> usize {
    let mut sums = Vec::with_capacity(IDS);
    let mut sum = 0.0;
    for rank in 1..=IDS {
        sum += (rank as f64).powf(-exponent);
        sums.push(sum);
    }
    move || {
        let at = random.share() * sum;
        sums.partition_point(|&each| each < at).min(IDS - 1)
    }
}

type Play = (String, u64);

fn song(number: usize) -> String {
    format!("song-{number:06}")
}

/// An id of 1 to 256 bytes, of one- to four-byte characters.
fn odd_id(number: usize) -> String {
    let alphabet = ['a', 'é', '€', '😀', '\0', ' ', '\u{7f}'];
    let mut id = format!("{number:x}");
    let length = 1 + number * 31 % 256;
    while id.len() < length {
        id.push(alphabet[number % alphabet.len()]);
    }
    while id.len() > 256 {
        id.pop();
    }
    id
}

/// Every stream that the summary is tested on, by name.
fn streams() -> Vec<(&'static str, Vec<Play>)> {
    let mut random = Random(1);
    let mut all = Vec::new();
    for (name, exponent) in [
        ("zipf 0.6", 0.6),
        ("zipf 0.8", 0.8),
        ("zipf 1.0", 1.0),
        ("zipf 1.2", 1.2),
    ] {
        let mut rank = zipf(exponent, &mut random);
        all.push((
            name,
            (0..PLAYS)
                .map(|_| (song(rank() * 7_919 % IDS), 1))
                .collect(),
        ));
    }
    let mut rank = zipf(1.0, &mut random);
    let drifting = (0..PLAYS).map(|at| (song((rank() + at / 500 * 37) % IDS), 1));
    all.push(("drifting", drifting.collect()));
    let mut sorted: Vec<Play> = (0..PLAYS).map(|_| (song(rank()), 1)).collect();
    sorted.sort();
    all.push(("sorted", sorted.clone()));
    sorted.reverse();
    all.push(("sorted backwards", sorted));
    let odd = (0..PLAYS).map(|_| (odd_id(rank()), 1));
    all.push(("ids of 1 to 256 bytes", odd.collect()));
    drop(rank);
    let uniform = (0..PLAYS).map(|_| (song(random.next() as usize % IDS), 1));
    all.push(("uniform", uniform.collect()));
    all.push(("one id", vec![("the only one".into(), 3); PLAYS]));
    all.push(("all distinct", (0..PLAYS).map(|at| (song(at), 1)).collect()));
    let heavy = (0..PLAYS).map(|_| {
        let weight = (1.0 / (random.share() + 1e-12)).powf(1.5) as u64;
        (song(random.next() as usize % 3_000), weight.max(1))
    });
    all.push(("heavy-tailed weights", heavy.collect()));
    let extreme = (0..PLAYS).map(|at| {
        let weight = [1, 1, 1, 65_536, 1 << 32, 1 << 40][random.next() as usize % 6];
        (song(at % 5_000), weight)
    });
    all.push(("extreme weights", extreme.collect()));
    // A cycle of more ids than counters: each comes back just after it lost its counter.
    for cycle in [2, 18, 257, 4_097] {
        all.push((
            "in turn",
            (0..PLAYS).map(|at| (song(at % cycle), 1)).collect(),
        ));
    }
    // The counters are filled and hardened, then everything is new and alternates with giants.
    let hardened = (0..PLAYS).map(|at| match at {
        _ if at < PLAYS / 3 => (song(at % 300), 50),
        _ if at % 97 == 0 => (song(at % 11), 100_000),
        _ => (song(at), 1),
    });
    all.push(("hardened, then new", hardened.collect()));
    all
}

fn exact_counts<'a>(plays: impl IntoIterator<Item = &'a Play>) -> HashMap<&'a str, u64> {
    let mut exact = HashMap::new();
    for (id, weight) in plays {
        *exact.entry(id.as_str()).or_default() += weight;
    }
    exact
}

fn check(name: &str, summary: &Summary, exact: &HashMap<&str, u64>, smallest: usize) {
    let total: u64 = exact.values().sum();
    let allowed = total / smallest as u64;
    assert_eq!(summary.total(), total, "{name}, {smallest}");
    assert!(summary.unlisted_max() <= allowed, "{name}, {smallest}");
    for (id, &count) in exact {
        let bounds = summary.bounds(id);
        assert!(bounds.lower <= count, "{name}, {smallest}: lower of {id:?}");
        assert!(count <= bounds.upper, "{name}, {smallest}: upper of {id:?}");
        assert!(
            bounds.upper - count <= allowed,
            "{name}, {smallest}: {id:?} above N/m"
        );
        assert!(
            bounds.upper - count <= summary.unlisted_max(),
            "{name}, {smallest}: {id:?}"
        );
    }
    for row in summary.rows() {
        assert!(
            exact.contains_key(row.id),
            "{name}: {:?} was never played",
            row.id
        );
    }
    if exact.len() <= smallest {
        assert!(summary.is_exact());
        assert!(
            exact
                .iter()
                .all(|(id, &count)| summary.bounds(id).lower == count)
        );
    }
}

fn recorded(plays: &[Play], capacity: usize) -> Summary {
    let mut summary = Summary::new(capacity, SEED);
    plays
        .iter()
        .for_each(|(id, weight)| summary.record(id, *weight));
    summary
}

#[test]
fn bounds_hold_for_every_id_of_every_stream() {
    for (name, plays) in streams() {
        let exact = exact_counts(&plays);
        for capacity in [1, 2, 3, 16, 100, 1_024, 4_096] {
            check(name, &recorded(&plays, capacity), &exact, capacity);
        }
    }
}

#[test]
fn merging_in_any_tree_keeps_the_bounds() {
    for (name, plays) in streams() {
        let exact = exact_counts(&plays);
        let parts: Vec<Summary> = plays
            .chunks(PLAYS / 12)
            .enumerate()
            .map(|(at, plays)| recorded(plays, [64, 200, 100, 1_000][at % 4]))
            .collect();
        check(name, &Summary::merge_all(&parts, SEED), &exact, 64);
        check(name, &Summary::merge(&parts, 50, SEED), &exact, 50);
        let chain = parts.iter().fold(Summary::new(80, SEED), |chain, part| {
            Summary::merge([&chain, part], 80, SEED)
        });
        check(name, &chain, &exact, 64);
        let foreign = Seed::from_bytes([9; 16]);
        let pairs: Vec<Summary> = parts
            .chunks(2)
            .enumerate()
            .map(|(at, pair)| {
                let seed = if at % 3 == 0 { foreign } else { SEED };
                let mut merged = Summary::merge_all(pair, seed);
                merged.truncate(60 + at);
                Summary::decode(&merged.encode(), SEED).unwrap()
            })
            .collect();
        check(name, &Summary::merge(&pairs, 1_000, SEED), &exact, 60);
    }
}

#[test]
fn recording_goes_on_after_decoding() {
    for (name, plays) in streams() {
        let exact = exact_counts(&plays);
        let (first, second) = plays.split_at(PLAYS / 2);
        for seed in [SEED, Seed::from_bytes([9; 16])] {
            let mut summary = Summary::decode(&recorded(first, 128).encode(), seed).unwrap();
            second
                .iter()
                .for_each(|(id, weight)| summary.record(id, *weight));
            check(name, &summary, &exact, 128);
        }
    }
}

#[test]
fn what_is_let_go_while_parts_are_added_and_comes_again_keeps_the_bounds() {
    let foreign = Seed::from_bytes([9; 16]);
    for (name, plays) in streams() {
        let exact = exact_counts(&plays);
        let part = |(at, plays): (usize, &[Play])| {
            let mut part = Summary::new(
                [64, 200, 100_000, 1_000][at % 4],
                if at % 5 == 4 { foreign } else { SEED },
            );
            plays
                .iter()
                .for_each(|(id, weight)| part.record(id, *weight));
            Summary::decode(&part.encode(), SEED).unwrap()
        };
        let parts: Vec<Summary> = plays.chunks(PLAYS / 12).enumerate().map(part).collect();
        let mut merger = Merger::new(SEED);
        for part in &parts {
            merger.add(part);
            merger.truncate(80);
        }
        let merged = merger.finish(70);
        check(name, &merged, &exact, 64);
        // The same ids alone, in all that was played.
        let mut beside = Merger::of_ids(&merged);
        parts.iter().for_each(|part| beside.add(part));
        assert_eq!(beside.total(), merged.total(), "{name}");
        for (row, there) in merged.rows().zip(beside.finish_bounds()) {
            let count = exact[row.id];
            let holds = there.lower <= count && count <= there.upper;
            assert!(holds, "{name}: {:?} {count} {there:?}", row.id);
        }
    }
}

#[test]
fn the_order_of_parts_does_not_matter() {
    for (name, plays) in streams() {
        let mut parts: Vec<Summary> = plays
            .chunks(PLAYS / 7)
            .map(|plays| recorded(plays, 90))
            .collect();
        let forwards = Summary::merge(&parts, 40, SEED).encode();
        parts.reverse();
        assert_eq!(
            Summary::merge(&parts, 40, SEED).encode(),
            forwards,
            "{name}"
        );
    }
}

#[test]
fn more_rows_than_a_merged_summary_keeps_go_into_the_filter() {
    let plays: Vec<Play> = (0..90_000)
        .map(|at| (song(at), 1 + at as u64 % 3))
        .collect();
    let exact = exact_counts(&plays);
    let parts: Vec<Summary> = plays
        .chunks(10_000)
        .map(|plays| recorded(plays, Summary::MAX_CAPACITY))
        .collect();
    let merged = Summary::merge_all(&parts, SEED);
    assert_eq!(merged.len(), Summary::MAX_MERGED);
    assert!(merged.is_full());
    check("many rows", &merged, &exact, Summary::MAX_MERGED);
    let again = Summary::decode(&merged.encode(), SEED).unwrap();
    check("many rows, decoded", &again, &exact, Summary::MAX_MERGED);
}

#[test]
fn where_nothing_is_exact_any_more_the_largest_of_each_exact_part_are_found_and_bounds_hold() {
    let foreign = Seed::from_bytes([9; 16]);
    let parts = (0..6_u64).map(|part| {
        // Those of the first thousand are in each part, others in some; few are played more than once.
        let ids =
            (0..1_000).chain((0..30_000).map(|at| 1_000 + (at * 7 + part * 11_003) % 150_000));
        let id = |at: u64| match at % 3 {
            0 => format!("{at:0>36}"),
            _ => song(at as usize),
        };
        let weight = |at| 1 + u64::from(at % 50 == part) + 2_000 / (at + 1);
        ids.map(|at| (id(at), weight(at))).collect::<Vec<Play>>()
    });
    let parts: Vec<Vec<Play>> = parts.collect();
    let plays = parts.concat();
    let exact = exact_counts(&plays);
    let mut merger = Merger::new(SEED);
    for (at, plays) in parts.iter().enumerate() {
        let seed = if at == 4 { foreign } else { SEED };
        let mut part = Summary::growing(64 << 20, 1, seed);
        plays
            .iter()
            .for_each(|(id, weight)| part.record(id, *weight));
        assert!(part.is_exact() && part.len() > Summary::MAX_CAPACITY);
        merger.add(&part);
    }
    let merged = merger.finish(Summary::MAX_MERGED);
    assert!(merged.is_full());
    check("large parts", &merged, &exact, Summary::MAX_CAPACITY);
    for at in (0..500).filter(|at| at % 3 != 0) {
        let (id, bounds) = (song(at), merged.bounds(&song(at)));
        let count = exact[&id[..]];
        assert_eq!((bounds.lower, bounds.upper), (count, count), "{id}");
    }
}

#[test]
fn a_small_summary_costs_little_memory() {
    let mut summary = Summary::new(Summary::MAX_CAPACITY, SEED);
    assert_eq!(summary.heap_bytes(), 0);
    summary.record("a", 1);
    assert!(summary.heap_bytes() < 1_000, "{}", summary.heap_bytes());
    (0..100).for_each(|at| summary.record(&song(at), 1));
    assert!(summary.heap_bytes() < 100 * 128, "{}", summary.heap_bytes());
}

#[test]
fn what_is_not_a_play_is_ignored() {
    let mut summary = Summary::new(4, SEED);
    summary.record("", 1);
    summary.record(&"x".repeat(257), 1);
    summary.record("a", 0);
    assert_eq!((summary.total(), summary.len()), (0, 0));
    assert_eq!(summary.bounds("").upper, 0);
    summary.record(&"x".repeat(256), 1);
    assert_eq!((summary.total(), summary.len()), (1, 1));
}

#[test]
fn the_seed_shows_neither_itself_nor_in_an_encoding() {
    let secret = *b"\xfe\xdc\xba\x98\x76\x54\x32\x10\xfe\xdc\xba\x98\x76\x54\x32\x10";
    let seed = Seed::from_bytes(secret);
    assert_eq!(seed.to_bytes(), secret);
    let shown = format!("{seed:?}").to_lowercase();
    assert!(!shown.contains("fedc") && !shown.contains("254"), "{shown}");
    let mut summary = Summary::new(1, seed);
    (0..50).for_each(|at| summary.record(&song(at), 1));
    let bytes = summary.encode();
    assert!(
        !bytes
            .windows(4)
            .any(|window| window == &secret[..4] || window == &secret[8..12])
    );
    assert_ne!(seed.id(), Seed::from_bytes([0; 16]).id());
}

#[test]
fn decoding_says_what_is_wrong() {
    let bytes = recorded(&[("a".into(), 1)], 3).encode();
    let error = |bytes: &[u8]| Summary::decode(bytes, SEED).unwrap_err().to_string();
    assert_eq!(error(&[]), "the summary ends too early");
    assert_eq!(
        error(&bytes[..bytes.len() - 1]),
        "a summary whose checksum is wrong"
    );
    let mut newer = bytes.clone();
    newer[0] = 200;
    assert_eq!(
        error(&newer),
        "a summary of version 200, which this build does not read"
    );
}
