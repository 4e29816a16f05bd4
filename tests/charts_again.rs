//! Charts that are asked for again a moment later are given again, and are never older than that.

use crate::objects;
use hitparade::filter::Filter;
use hitparade::global::{ChartRules, Global};
use hitparade::settings::VisiblePosts;
use hitparade::storage::MemoryStorage;
use hitparade::summary::{Seed, Summary};
use hitparade::window::{DAY_MS, MINUTE_MS};
use hitparade::wire::*;

const NOW_MS: u64 = 20_000 * DAY_MS + 30_000;
const SEED: [u8; 16] = [9; 16];

struct World {
    global: Global,
    storage: MemoryStorage,
}

impl World {
    fn new() -> Self {
        let storage = MemoryStorage::new();
        World {
            global: Global::load(&storage, &objects::table_of(&["NA"], SEED)).unwrap(),
            storage,
        }
    }

    /// The shard's open pane has so many plays of one post.
    fn push(&mut self, plays: u64, now_ms: u64) {
        let key = objects::recording_pane(NOW_MS, now_ms);
        let mut summary = Summary::new(10, Seed::from_bytes(SEED));
        summary.record("post", plays);
        let pane = objects::pane(key, &summary);
        let push = objects::first_push(("NA", 0), &[], &[pane]);
        self.global.take_push(&push, now_ms).unwrap();
    }

    fn question(scope: &str, sort: Sort) -> ChartRequest {
        ChartRequest {
            scope: scope.into(),
            window: WindowRequest::Sliding {
                length_ms: 3_600_000,
            },
            sort,
            k_class: 10,
            filter: Filter::default(),
        }
    }

    /// Plays in the chart, and whether it was known.
    fn ask(&self, scope: &str, sort: Sort, now_ms: u64) -> (u64, bool) {
        let (question, rules) = (Self::question(scope, sort), ChartRules::default());
        let known = self.global.known_chart(&question, rules, now_ms).is_some();
        let chart = self
            .global
            .chart(&self.storage, &question, rules, now_ms)
            .unwrap();
        (chart.total_views, known)
    }
}

#[test]
fn one_computation_serves_all_who_ask_before_anything_can_be_different() {
    for (scope, sort) in [
        ("NA", Sort::Views),
        ("global", Sort::Rising),
        ("NA", Sort::Distinctive),
    ] {
        let mut world = World::new();
        world.push(1, NOW_MS);
        assert_eq!(world.ask(scope, sort, NOW_MS), (1, false));
        assert_eq!(world.ask(scope, sort, NOW_MS + 999), (1, true));
        world.push(5, NOW_MS + 999);
        assert_eq!(
            world.ask(scope, sort, NOW_MS + 1_000),
            (5, false),
            "{scope} {sort:?}"
        );
    }
}

#[test]
fn it_is_no_older_than_the_copies_that_it_is_made_of() {
    let mut world = World::new();
    world.push(1, NOW_MS);
    assert_eq!(world.ask("NA", Sort::Views, NOW_MS), (1, false));
    // Another chart of the same copies, 900 ms after they were merged: good for 100 ms more.
    assert_eq!(world.ask("NA", Sort::Rising, NOW_MS + 900), (1, false));
    world.push(5, NOW_MS + 950);
    assert_eq!(world.ask("NA", Sort::Rising, NOW_MS + 1_000), (5, false));
}

#[test]
fn what_was_merged_before_the_clock_went_back_is_not_fresh_again_when_its_time_comes() {
    let mut world = World::new();
    let later_ms = NOW_MS + 60_000;
    world.push(1, later_ms);
    assert_eq!(world.ask("NA", Sort::Views, later_ms), (1, false));
    world.push(5, NOW_MS);
    assert_eq!(world.ask("NA", Sort::Views, later_ms + 500), (5, false));

    // The push came before, and what is seen of it is somebody else's question.
    let later_ms = later_ms + 60_000;
    assert_eq!(world.ask("NA", Sort::Views, later_ms), (5, false));
    world.push(7, later_ms + 3_000);
    world.global.clock_is(NOW_MS);
    assert_eq!(world.ask("NA", Sort::Views, later_ms + 500), (7, false));
}

#[test]
fn what_is_folded_or_hidden_is_seen_at_once() {
    let mut world = World::new();
    world.push(1, NOW_MS);
    world.ask("NA", Sort::Views, NOW_MS);
    let patch = PostPatch::hiding("post".into());
    objects::put_posts(&world.global, &world.storage, &[patch]);
    assert!(!world.ask("NA", Sort::Views, NOW_MS + 1).1);
    assert!(world.ask("NA", Sort::Views, NOW_MS + 2).1);
    world.global.flush(&world.storage, NOW_MS + 3).unwrap();
    assert!(!world.ask("NA", Sort::Views, NOW_MS + 4).1);
}

/// `previous_rank` of a window of weeks comes from one that stays the same for hours.
#[test]
fn ranks_before_are_of_the_posts_that_are_new_enough_now() {
    const HOUR_MS: u64 = 60 * MINUTE_MS;
    let mut world = World::new();
    // So long ago, in the window before and in this one.
    for (shard, days, [old, new]) in [(0, 40, [9, 5]), (1, 2, [1, 1])] {
        let mut summary = Summary::new(10, Seed::from_bytes(SEED));
        summary.record("old", old);
        summary.record("new", new);
        let pane = objects::pane(
            objects::recording_pane(NOW_MS - days * DAY_MS, NOW_MS),
            &summary,
        );
        let push = objects::first_push(("NA", shard), &[pane], &[]);
        world.global.take_push(&push, NOW_MS).unwrap();
    }
    world.global.flush(&world.storage, NOW_MS).unwrap();
    let published = |post_id: &str, at_ms: u64| PostPatch {
        post_id: post_id.into(),
        author: Some(Some("Ann".into())),
        timestamp_ms: Some(Some(at_ms)),
        ..PostPatch::default()
    };
    let hour_ms = NOW_MS / HOUR_MS * HOUR_MS;
    let patches = [
        published("old", hour_ms - DAY_MS + MINUTE_MS),
        published("new", hour_ms - HOUR_MS),
    ];
    objects::put_posts(&world.global, &world.storage, &patches);
    let question = ChartRequest {
        window: WindowRequest::Sliding {
            length_ms: 30 * DAY_MS,
        },
        filter: Filter::new(vec![], vec![], None, Some(24)).unwrap(),
        ..World::question("NA", Sort::Views)
    };
    let ranks_before = |now_ms| {
        let rules = ChartRules::default();
        let chart = objects::chart_of(&world.global, &world.storage, &question, rules, now_ms);
        let places = chart.unwrap().places.into_iter();
        places
            .map(|it| (it.post_id, it.previous_rank))
            .collect::<Vec<_>>()
    };
    let [new, old] = [("new".to_owned(), Some(2)), ("old".to_owned(), Some(1))];
    assert_eq!(ranks_before(NOW_MS), [new, old]);
    // "old" is too old by then, in both windows.
    assert_eq!(
        ranks_before(NOW_MS + HOUR_MS),
        [("new".to_owned(), Some(1))]
    );
}

#[test]
fn a_catalog_decides_at_once_which_posts_show_and_hiding_makes_no_catalog() {
    let mut world = World::new();
    world.push(3, NOW_MS);
    let shown = |world: &World, visible| {
        let (question, rules) = (World::question("NA", Sort::Views), ChartRules { visible });
        let chart = world.global.chart(&world.storage, &question, rules, NOW_MS);
        let chart = chart.unwrap();
        assert_eq!(chart.total_views, 3, "all plays count");
        chart.places.len()
    };
    let all = |world: &World| {
        let rules = [
            VisiblePosts::All,
            VisiblePosts::KnownIfAny,
            VisiblePosts::Known,
        ];
        rules.map(|visible| shown(world, visible))
    };
    let describing = |post_id: &str, content: Option<&str>| PostPatch {
        post_id: post_id.into(),
        content: Some(content.map(str::to_owned)),
        ..PostPatch::default()
    };
    let showing = PostPatch {
        hidden: Some(false),
        ..PostPatch::hiding("post".into())
    };
    assert_eq!(all(&world), [1, 1, 0]);
    for (patch, shown) in [
        (PostPatch::hiding("spam".into()), [1, 1, 0]),
        (describing("another", Some("A song")), [1, 0, 0]),
        (describing("another", None), [1, 1, 0]),
        (PostPatch::hiding("post".into()), [0, 0, 0]),
        (showing, [1, 1, 1]),
        (describing("another", Some("A song")), [1, 1, 1]),
        (PostPatch::erasing("another".into()), [1, 1, 1]),
    ] {
        objects::put_posts(&world.global, &world.storage, std::slice::from_ref(&patch));
        assert_eq!(all(&world), shown, "{patch:?}");
        world.global = Global::load(&world.storage, &objects::table_of(&["NA"], SEED)).unwrap();
        objects::hear_of_catalog(&world.global, &world.storage);
        world.push(3, NOW_MS);
        assert_eq!(all(&world), shown, "{patch:?}, after a restart");
    }
}

#[test]
fn late_plays_of_the_window_before_are_in_its_ranks_as_soon_as_they_come_and_once_they_are_folded()
{
    let mut world = World::new();
    world.push(1, NOW_MS);
    let mut shards = 1..;
    let mut come = |world: &mut World, post_id: &str, plays, now_ms| {
        let mut summary = Summary::new(10, Seed::from_bytes(SEED));
        summary.record(post_id, plays);
        let key = objects::recording_pane(NOW_MS - 90 * MINUTE_MS, now_ms);
        let shard = ("NA", shards.next().unwrap());
        let push = objects::first_push(shard, &[objects::pane(key, &summary)], &[]);
        world.global.take_push(&push, now_ms).unwrap();
    };
    let previous = |world: &World, now_ms| {
        let (question, rules) = (World::question("NA", Sort::Views), ChartRules::default());
        let chart = world.global.chart(&world.storage, &question, rules, now_ms);
        chart.unwrap().places[0].previous_rank
    };
    come(&mut world, "post", 5, NOW_MS + 1);
    world.global.flush(&world.storage, NOW_MS + 2).unwrap();
    for later_ms in [2_000, 4_000] {
        assert_eq!(previous(&world, NOW_MS + later_ms), Some(1));
    }
    come(&mut world, "more", 9, NOW_MS + 5_000);
    assert_eq!(previous(&world, NOW_MS + 7_000), Some(2), "pending");
    world.global.flush(&world.storage, NOW_MS + 8_000).unwrap();
    for later_ms in [10_000, 12_000] {
        assert_eq!(previous(&world, NOW_MS + later_ms), Some(2), "folded");
    }
    come(&mut world, "most", 20, NOW_MS + 13_000);
    world.global.flush(&world.storage, NOW_MS + 13_001).unwrap();
    let now_ms = NOW_MS + 15_000;
    assert_eq!(previous(&world, now_ms), Some(3), "folded at once");
}
