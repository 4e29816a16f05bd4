//! Plays of two regions in this hour and in the one before, and the global object that has folded them.

use std::collections::BTreeMap;

use hitparade::global::Global;
use hitparade::storage::MemoryStorage;
use hitparade::summary::{Seed, Summary};
use hitparade::window::{Days, HOUR_MS, Level, MINUTE_MS, PaneKey};
use proptest::prelude::*;

use super::{REGIONS, SEED, first_push, load_global, pane};

pub const NOW_MS: u64 = 20_000 * 24 * HOUR_MS + 30_000;
/// Counters with which nothing is dropped.
pub const EXACT: usize = 16_384;

/// How often each post was played: by region, and whether it was in this hour.
pub type Plays = BTreeMap<(usize, bool), Vec<u64>>;

fn plays_of(counts: [Vec<u64>; 4]) -> Plays {
    let sides = [(0, false), (0, true), (1, false), (1, true)];
    sides.into_iter().zip(counts).collect()
}

/// Many posts are played little, some much, and each side has others.
pub fn any_plays(posts: usize) -> impl Strategy<Value = Plays> {
    let count = prop_oneof![4 => 0_u64..40, 2 => 0_u64..400, 1 => 0_u64..20_000];
    proptest::array::uniform4(proptest::collection::vec(count, posts)).prop_map(plays_of)
}

/// Every post has been played more often than the one behind it; `most` are the plays of each side's first.
pub fn falling_plays(posts: usize, most: [u64; 4]) -> Plays {
    plays_of(most.map(|most| (1..=posts as u64).map(|rank| most / rank).collect()))
}

/// Folds a pane of each side with so many counters.
pub fn fold(
    plays: &Plays,
    id: impl Fn(usize) -> String,
    counters: usize,
) -> (Global, MemoryStorage) {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    for (region, region_id) in REGIONS.into_iter().enumerate() {
        let sides = [(false, HOUR_MS + 5 * MINUTE_MS), (true, MINUTE_MS)];
        let sealed = sides.map(|(is_now, ago_ms)| {
            let mut summary = Summary::new(counters, Seed::from_bytes(SEED));
            // In turns, so that counters change hands.
            for round in 0..8 {
                for (post, count) in plays[&(region, is_now)].iter().enumerate() {
                    let part = count / 8 + u64::from(round < count % 8);
                    if part > 0 {
                        summary.record(&id(post), part);
                    }
                }
            }
            pane(
                PaneKey::of(Level::Minute, NOW_MS - ago_ms, &Days::default()),
                &summary,
            )
        });
        let push = first_push((region_id, 0), &sealed, &[]);
        global.take_push(&push, NOW_MS).unwrap();
    }
    global.flush(&storage, NOW_MS).unwrap();
    (global, storage)
}
