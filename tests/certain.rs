//! A place that is certain is in the chart of exact counts too, in every order.

use crate::objects::hours::{EXACT, NOW_MS, Plays, any_plays, falling_plays, fold};
use hitparade::filter::Filter;
use hitparade::global::{ChartRules, Global};
use hitparade::leaderboard::Leaderboard;
use hitparade::storage::MemoryStorage;
use hitparade::window::HOUR_MS;
use hitparade::wire::{ChartRequest, Sort, WindowRequest};
use proptest::prelude::*;

/// Fewer than a minute's pane has counters, so that it can be exact.
const POSTS: usize = 120;

fn global(plays: &Plays, counters: usize) -> (Global, MemoryStorage) {
    fold(plays, |post| format!("post-{post}"), counters)
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
    let exact = chart(&global(plays, EXACT), sort);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_certain_is_in_the_chart_of_exact_counts(plays in any_plays(POSTS), capacity in 8_usize..80) {
        for sort in [Sort::Views, Sort::Rising, Sort::Distinctive] {
            check(&plays, capacity, sort)?;
        }
    }
}

#[test]
fn where_counts_are_vague_some_places_are_certain_and_some_are_not() {
    let mut plays = falling_plays(POSTS, [2_000, 2_000, 2_000, 4_000]);
    let now = plays.get_mut(&(0, true)).unwrap();
    for (post, more) in (0..30).zip([30_000, 9_000, 900, 500, 300].into_iter().cycle()) {
        now[post * 4] += more / (1 + post as u64 / 5);
    }
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
