//! A place that is certain is in the chart of exact counts too, in every order.

#![allow(clippy::unwrap_used)]

mod objects;

use std::collections::BTreeMap;

use hitparade::filter::Filter;
use hitparade::global::{ChartRules, Global};
use hitparade::leaderboard::Leaderboard;
use hitparade::storage::MemoryStorage;
use hitparade::summary::{Seed, Summary};
use hitparade::window::{Days, HOUR_MS, Level, MINUTE_MS, PaneKey};
use hitparade::wire::{ChartRequest, Sort, WindowRequest};
use proptest::prelude::*;

const NOW_MS: u64 = 20_000 * 24 * HOUR_MS + 30_000;
const SEED: [u8; 16] = [9; 16];
const REGIONS: [&str; 2] = ["NA", "EU"];
/// Fewer than a minute's pane has counters, so that it can be exact.
const POSTS: usize = 120;

/// Plays of each post by region, now and an hour ago.
type Plays = BTreeMap<(usize, bool), Vec<u64>>;

fn global(plays: &Plays, capacity: usize) -> (Global, MemoryStorage) {
    let storage = MemoryStorage::new();
    let mut global = Global::load(&storage, &objects::table_of(&REGIONS, SEED)).unwrap();
    for (region, region_id) in REGIONS.into_iter().enumerate() {
        let entries = [false, true].map(|is_now| {
            let mut summary = Summary::new(capacity, Seed::from_bytes(SEED));
            // In turns, so that counters change hands.
            for round in 0..8 {
                for (post, count) in plays[&(region, is_now)].iter().enumerate() {
                    let part = count / 8 + u64::from(round < count % 8);
                    if part > 0 {
                        summary.record(&format!("post-{post}"), part);
                    }
                }
            }
            let ago_ms = if is_now {
                MINUTE_MS
            } else {
                HOUR_MS + 5 * MINUTE_MS
            };
            let key = PaneKey::of(Level::Minute, NOW_MS - ago_ms, &Days::default());
            objects::pane(key, &summary)
        });
        let push = objects::first_push((region_id, 0), &entries, &[]);
        global.take_push(&push, NOW_MS).unwrap();
    }
    global.flush(&storage, NOW_MS).unwrap();
    (global, storage)
}

fn chart((global, storage): &(Global, MemoryStorage), sort: Sort) -> Leaderboard {
    let request = ChartRequest {
        scope: "NA".into(),
        window: WindowRequest::Sliding { length_ms: HOUR_MS },
        sort,
        k_class: 100,
        filter: Filter::default(),
    };
    global
        .chart(storage, &request, ChartRules::default(), NOW_MS)
        .unwrap()
}

/// How many places were said to be certain, and whether each of them is.
fn check(plays: &Plays, capacity: usize, sort: Sort) -> Result<usize, TestCaseError> {
    let exact = chart(&global(plays, 16_384), sort);
    let vague = chart(&global(plays, capacity), sort);
    let mut certain = 0;
    for k in [1, 2, 3, 5, 10, 20, 50] {
        let top: Vec<&str> = exact
            .places
            .iter()
            .take(k)
            .map(|it| it.post_id.as_str())
            .collect();
        prop_assert!(exact.certain(k).iter().all(|it| *it));
        for (place, is_certain) in vague.places.iter().zip(vague.certain(k)) {
            let holds = !is_certain || top.contains(&place.post_id.as_str());
            prop_assert!(holds, "{sort:?}, k = {k}: {}", place.post_id);
            certain += usize::from(is_certain);
        }
    }
    Ok(certain)
}

fn plays() -> impl Strategy<Value = Plays> {
    // Many are played little, some much, and each side has others.
    let count = prop_oneof![4 => 0_u64..40, 2 => 0_u64..400, 1 => 0_u64..20_000];
    let one = proptest::collection::vec(count, POSTS);
    (one.clone(), one.clone(), one.clone(), one).prop_map(|(a, b, c, d)| {
        BTreeMap::from([
            ((0, false), a),
            ((0, true), b),
            ((1, false), c),
            ((1, true), d),
        ])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_certain_is_in_the_chart_of_exact_counts(plays in plays(), capacity in 8_usize..80) {
        for sort in [Sort::Views, Sort::Rising, Sort::Distinctive] {
            check(&plays, capacity, sort)?;
        }
    }
}

#[test]
fn where_counts_are_vague_some_places_are_certain_and_some_are_not() {
    let falling = |most: u64| {
        (1..=POSTS as u64)
            .map(|rank| most / rank)
            .collect::<Vec<u64>>()
    };
    let mut now = falling(2_000);
    for (post, more) in (0..30).zip([30_000, 9_000, 900, 500, 300].into_iter().cycle()) {
        now[post * 4] += more / (1 + post as u64 / 5);
    }
    let plays = BTreeMap::from([
        ((0, false), falling(2_000)),
        ((0, true), now),
        ((1, false), falling(2_000)),
        ((1, true), falling(4_000)),
    ]);
    for sort in [Sort::Rising, Sort::Distinctive] {
        check(&plays, 40, sort).unwrap();
        let vague = chart(&global(&plays, 40), sort);
        let certain = vague.certain(20);
        assert!(certain[0], "{sort:?}: {:?}", vague.places.first());
        assert!(
            certain.contains(&false),
            "{sort:?}: {} places",
            certain.len()
        );
    }
}
