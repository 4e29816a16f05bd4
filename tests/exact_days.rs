//! Days that are exact are stored in two parts: a chart of them that is exact reads both, and one that is not the
//! largest counters alone.

use std::collections::BTreeMap;

use crate::objects::{SEED, chart, first_push, load_global, pane};
use hitparade::capacity::counters;
use hitparade::global::{ChartRules, Global};
use hitparade::leaderboard::{Leaderboard, Sort};
use hitparade::storage::MemoryStorage;
use hitparade::summary::{Seed, Summary};
use hitparade::window::{DAY_MS, Days, Level, PaneKey};
use hitparade::wire::{PostRequest, Refusal, WindowRequest};

const NOW_MS: u64 = 20_000 * DAY_MS + 30_000;
const DAYS: u64 = 10;
const MONTH: WindowRequest = WindowRequest::Sliding {
    length_ms: 30 * DAY_MS,
};

struct World {
    global: Global,
    storage: MemoryStorage,
    played: BTreeMap<String, u64>,
}

impl World {
    /// Ten days of so many posts of every day, the first much played, and so many that are played on one day alone.
    fn new(of_every_day: u64, of_one_day: u64) -> Self {
        let storage = MemoryStorage::new();
        let mut global = load_global(&storage);
        let mut played: BTreeMap<String, u64> = BTreeMap::new();
        for day in 0..DAYS {
            // Of two shards, one after the other: the second is folded into what is stored.
            let growing = || Summary::growing(64 << 20, 16_384, Seed::from_bytes(SEED));
            let mut plays = [growing(), growing()];
            let mut play = |id: String, count: u64| {
                let first = count / 3;
                plays[0].record(&id, first);
                plays[1].record(&id, count - first);
                *played.entry(id).or_default() += count;
            };
            for post in 0..of_every_day {
                let shared = post * 7_919 % of_every_day;
                play(
                    format!("song-{post}"),
                    1 + 4_000_000 / (100 + shared) + (post + day) % 3,
                );
            }
            for post in 0..of_one_day {
                let id = match post % 2 {
                    0 => format!("of day {day}: {post}"),
                    _ => format!("a rather long id of a post that is of day {day}: {post}"),
                };
                play(id, 1 + post % 3);
            }
            let start_ms = NOW_MS - (3 + day) * DAY_MS;
            let key = PaneKey::of(Level::Day, start_ms, &Days::default());
            for (shard, plays) in (2 * day as u32..).zip(plays) {
                assert!(plays.is_exact());
                let push = first_push(("NA", shard), &[pane(key, &plays)], &[]);
                global.take_push(&push, NOW_MS).unwrap();
                global.flush(&storage, NOW_MS).unwrap();
            }
        }
        World {
            global,
            storage,
            played,
        }
    }

    /// A chart of the month, and how many rows were read for it.
    fn month(&self) -> (Leaderboard, u64) {
        let before = self.global.done().rows_read;
        let month = chart(
            &self.global,
            &self.storage,
            "NA",
            (MONTH, Sort::Views),
            NOW_MS,
        )
        .unwrap();
        (month, self.global.done().rows_read - before)
    }

    /// Counts of the most played, in their order.
    fn largest(&self) -> Vec<u64> {
        let mut counts: Vec<u64> = self.played.values().copied().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts.truncate(1_000);
        counts
    }

    #[track_caller]
    fn check_posts(&self) {
        for (post_id, &played) in self.played.iter().step_by(997) {
            let request = PostRequest {
                post_id: post_id.clone(),
                scope: "NA".into(),
                window: MONTH,
                hidden_too: false,
            };
            let report = self
                .global
                .post(&self.storage, &request, ChartRules::default(), NOW_MS);
            let (least, most) = match report {
                Ok(report) => (report.count.view_count_min, report.count.view_count_max),
                Err(Refusal::NotCounted { view_count_max }) => (0, view_count_max),
                Err(refusal) => panic!("{refusal:?}"),
            };
            assert!(
                least <= played && played <= most,
                "{post_id}: {played}, {least} to {most}"
            );
        }
    }
}

/// The chart is that of exact counts.
#[track_caller]
fn check_places(month: &Leaderboard, world: &World) {
    assert_eq!(month.places.len(), 1_000);
    for (place, count) in month.places.iter().zip(world.largest()) {
        assert_eq!(world.played[&place.post_id], count);
        assert_eq!(
            (place.count.view_count_min, place.count.view_count_max),
            (count, count)
        );
    }
}

#[test]
fn a_month_of_no_more_posts_than_a_window_has_is_exact_however_its_days_are_stored() {
    let world = World::new(50_000, 1_000);
    let (month, rows_read) = world.month();
    assert!(rows_read >= DAYS * 51_000, "{rows_read}");
    check_places(&month, &world);
    world.check_posts();
}

#[test]
fn of_a_month_of_more_posts_the_first_thousand_are_right_and_most_rows_are_not_read() {
    let world = World::new(20_000, 20_000);
    let (month, rows_read) = world.month();
    assert_eq!(month.total_views, world.played.values().sum::<u64>());
    // After three days there are more posts than are kept.
    let most = 3 * 40_000 + (DAYS - 3) * counters(Level::Day) as u64;
    assert!((2 * 40_000..=most).contains(&rows_read), "{rows_read}");
    check_places(&month, &world);
    world.check_posts();
}
