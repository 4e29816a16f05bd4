//! Real shards and the real global object against a plain list of plays: random plays of any
//! lateness, in several regions and shards, restarts of both, questions of every kind.
//!
//! `PROPTEST_CASES=10000 cargo test --release --test native global_windows` runs 10,000 cases;
//! `NOISE_SEEDS=1000 cargo test --release --test native nothing_rises_in_stationary_noise` looks for risers in the
//! noise of 1,000 seeds, which takes a minute.

pub mod world;

use crate::objects::REGIONS;
use crate::zones::{Drawn, drawn};
use hitparade::window::{DAY_MS, HOUR_MS, MINUTE_MS};
use hitparade::wire::{BatchPlay, Sort, WindowRequest};
use proptest::prelude::*;
use world::{SHARDS, START_MS, World};

#[derive(Clone, Debug)]
enum Step {
    /// Plays of some posts, so long ago, in a region.
    Play {
        region: usize,
        shard: usize,
        post: u32,
        age_ms: u64,
        count: u32,
    },
    Wait {
        ms: u64,
    },
    Push {
        region: usize,
        shard: usize,
    },
    RestartShard {
        region: usize,
        shard: usize,
    },
    RestartGlobal,
    /// The installation has another zone.
    Move {
        zone: Drawn,
    },
    Ask {
        scope: usize,
        window: WindowRequest,
    },
}

fn age_ms() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..3 * MINUTE_MS,
        2 => 0..3 * HOUR_MS,
        2 => 0..2 * DAY_MS,
        1 => 0..17 * DAY_MS,
        1 => 0..400 * DAY_MS,
    ]
}

fn window() -> impl Strategy<Value = WindowRequest> {
    let minutes = prop_oneof![
        1..180_u64,
        1..3_000_u64,
        1..576_000_u64,
        Just(1_440),
        Just(43_200)
    ];
    prop_oneof![
        3 => minutes.clone().prop_map(|minutes| WindowRequest::Sliding { length_ms: minutes * MINUTE_MS }),
        2 => minutes.prop_map(|minutes| WindowRequest::Tumbling { length_ms: minutes * MINUTE_MS }),
        1 => Just(WindowRequest::All),
        1 => (age_ms(), 1..30 * DAY_MS).prop_map(|(age_ms, length_ms)| {
            let from_ms = START_MS - age_ms;
            WindowRequest::Between { from_ms, to_ms: from_ms + length_ms }
        }),
        1 => (age_ms(), 1..30 * DAY_MS, 1..30 * DAY_MS).prop_map(|(age_ms, length_ms, before_ms)| {
            let from_ms = START_MS - age_ms;
            let before_ms = Some(from_ms - before_ms);
            WindowRequest::Since { from_ms, to_ms: from_ms + length_ms, before_ms }
        }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let (region, shard) = (|| 0..REGIONS.len(), || 0..SHARDS);
    prop_oneof![
        12 => (region(), shard(), 0..40_u32, age_ms(), 1..9_u32)
            .prop_map(|(region, shard, post, age_ms, count)| Step::Play { region, shard, post, age_ms, count }),
        3 => prop_oneof![1..20_000_u64, 1..10 * MINUTE_MS, 1..5 * HOUR_MS, 1..3 * DAY_MS]
            .prop_map(|ms| Step::Wait { ms }),
        4 => (region(), shard()).prop_map(|(region, shard)| Step::Push { region, shard }),
        1 => (region(), shard()).prop_map(|(region, shard)| Step::RestartShard { region, shard }),
        1 => Just(Step::RestartGlobal),
        1 => drawn().prop_map(|zone| Step::Move { zone }),
        3 => (0..=REGIONS.len(), window()).prop_map(|(scope, window)| Step::Ask { scope, window }),
    ]
}

fn take(world: &mut World, step: &Step) {
    match *step {
        Step::Play {
            region,
            shard,
            post,
            age_ms,
            count,
        } => {
            world.play(
                region,
                shard,
                &format!("post-{post}"),
                world.now_ms - age_ms,
                count,
            );
        }
        Step::Wait { ms } => world.now_ms += ms,
        Step::Push { region, shard } => world.push(region, shard),
        Step::RestartShard { region, shard } => world.restart_shard(region, shard),
        Step::RestartGlobal => world.restart_global(),
        Step::Move { ref zone } => world.move_to(zone.around(world.now_ms)),
        Step::Ask { scope, window } => {
            // Provisional panes are merged at most once a second, and for two after a shard told what
            // was missing, charts say `incomplete`.
            world.push_all();
            world.now_ms += 2_000;
            world.check(scope, window);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(32),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_chart_is_right_whatever_happened_before(
        steps in prop::collection::vec(step(), 1..120),
        windows in prop::collection::vec(window(), 3),
        zone in drawn(),
    ) {
        let mut world = World::in_zone(zone.around(START_MS));
        steps.iter().for_each(|step| take(&mut world, step));
        world.settle();
        for window in windows {
            (0..=REGIONS.len()).for_each(|scope| world.check(scope, window));
        }
        world.check(0, WindowRequest::All);
        // Whatever expires stays in all time.
        world.now_ms += 900 * DAY_MS;
        world.play(0, 0, "last", world.now_ms, 1);
        world.settle();
        world.check(0, WindowRequest::All);
    }

    #[test]
    fn a_day_is_the_same_whether_its_plays_came_live_late_or_imported(
        plays in prop::collection::vec((0..DAY_MS, 0..30_u32, 1..5_u32), 1..60),
    ) {
        let day_ms = START_MS / DAY_MS * DAY_MS + DAY_MS;
        let mut charts = Vec::new();
        for way in ["live", "late", "imported"] {
            let mut world = World::new();
            let mut sorted = plays.clone();
            if way == "live" {
                sorted.sort_unstable();
            }
            for (offset_ms, post, count) in sorted {
                let timestamp_ms = day_ms + offset_ms;
                let recorded_ms = match way {
                    "live" => timestamp_ms,
                    "late" => day_ms + DAY_MS + offset_ms / 2,
                    _ => day_ms + 20 * DAY_MS,
                };
                world.now_ms = world.now_ms.max(recorded_ms);
                world.play(0, 0, &format!("post-{post}"), timestamp_ms, count);
                world.push(0, 0);
            }
            world.settle();
            world.now_ms = day_ms + 30 * DAY_MS;
            let window = WindowRequest::Between { from_ms: day_ms, to_ms: day_ms + DAY_MS };
            world.check(1, window);
            let chart = world.chart(1, window, Sort::Views);
            charts.push((chart.total_views, chart.places));
        }
        prop_assert_eq!(&charts[0], &charts[1]);
        prop_assert_eq!(&charts[0], &charts[2]);
    }
}

#[test]
fn a_year_is_imported_within_the_limits_of_a_shard_and_every_day_is_right() {
    let mut world = World::new();
    for day in (0..400).rev() {
        for post in 0..5 {
            let timestamp_ms = world.now_ms - day * DAY_MS - post * HOUR_MS;
            world.play(
                0,
                0,
                &format!("post-{post}"),
                timestamp_ms.max(world.now_ms - 400 * DAY_MS),
                3,
            );
        }
        if day % 40 == 0 {
            world.push(0, 0);
            assert!(world.open_panes(0, 0) <= 870, "a pane is open once");
        }
    }
    world.settle();
    let days = |days| WindowRequest::Sliding {
        length_ms: days * DAY_MS,
    };
    for window in [
        days(1),
        days(7),
        days(30),
        days(365),
        days(400),
        WindowRequest::All,
    ] {
        (0..=1).for_each(|scope| world.check(scope, window));
    }
}

#[test]
fn more_posts_than_counters_stay_within_their_bounds() {
    hitparade::capacity::set_counters(Some(256));
    let mut world = World::new();
    for minute in 0..4_u64 {
        for post in 0..3_000_u64 {
            let rank = post * (minute + 7) % 3_000;
            let count = 20_000 / (rank as u32 + 10);
            world.play(
                (post % 2) as usize,
                (post % 3 % 2) as usize,
                &format!("post-{rank}"),
                world.now_ms - post,
                count,
            );
        }
        world.now_ms += 20 * MINUTE_MS;
        world.push_all();
        world.now_ms += 1_000;
        world.check(
            0,
            WindowRequest::Sliding {
                length_ms: 3 * HOUR_MS,
            },
        );
    }
    world.settle();
    let hours = |hours| WindowRequest::Sliding {
        length_ms: hours * HOUR_MS,
    };
    for window in [
        hours(1),
        hours(3),
        hours(24),
        hours(720),
        WindowRequest::All,
    ] {
        (0..=2).for_each(|scope| world.check(scope, window));
        (0..=2).for_each(|scope| world.check(scope, window));
    }
    hitparade::capacity::set_counters(None);
}

const DAY: WindowRequest = WindowRequest::Sliding { length_ms: DAY_MS };

/// Two days of departures from New York: minute, origin, destination.
const FLIGHTS: &str = include_str!("global_windows/flights.tsv");

/// Real departures of the two days that end now; LGA's plays go to one region, JFK's and EWR's
/// to the other.
fn two_days_of_flights() -> World {
    let mut world = World::new();
    let mut plays: [Vec<BatchPlay<'_>>; 2] = Default::default();
    for line in FLIGHTS.lines().skip(1) {
        let mut cells = line.split('\t');
        let minute: u64 = cells.next().unwrap().parse().unwrap();
        let region = usize::from(cells.next() == Some("LGA"));
        let timestamp_ms = START_MS - 2 * DAY_MS + minute * MINUTE_MS;
        let post_id = cells.next().unwrap();
        plays[region].push(BatchPlay {
            post_id,
            timestamp_ms,
            count: 1,
        });
    }
    for (region, plays) in plays.iter().enumerate() {
        world.play_all(region, 0, plays);
    }
    world.settle();
    world
}

/// So many plays of a post that no flight has, one a second until now.
fn planted(plays: u64, now_ms: u64) -> Vec<BatchPlay<'static>> {
    let play = |number| BatchPlay {
        post_id: "planted",
        timestamp_ms: now_ms - number * 1_000,
        count: 1,
    };
    (0..plays).map(play).collect()
}

#[test]
fn a_riser_among_real_flights_is_found_within_one_push() {
    let mut world = two_days_of_flights();
    world.check(0, DAY);
    let before = world.chart(0, DAY, Sort::Rising).places;
    assert!(before.iter().all(|place| place.post_id != "planted"));
    let plays = planted(120, world.now_ms);
    world.play_all(0, 1, &plays);
    world.push(0, 1);
    world.now_ms += 1_000;
    for scope in [0, 1] {
        let places = world.chart(scope, DAY, Sort::Rising).places;
        assert_eq!(places[0].post_id, "planted");
    }
    let elsewhere = world.chart(2, DAY, Sort::Rising).places;
    assert!(elsewhere.iter().all(|place| place.post_id != "planted"));
}

#[test]
fn a_local_favourite_among_real_flights_is_found_within_one_push() {
    let mut world = two_days_of_flights();
    // As often played as the most frequent destination, and only here.
    let most = world.chart(0, DAY, Sort::Views).places[0].count.view_count;
    let plays = planted(most, world.now_ms);
    world.play_all(1, 1, &plays);
    world.push(1, 1);
    world.now_ms += 1_000;
    assert_eq!(
        world.chart(2, DAY, Sort::Distinctive).places[0].post_id,
        "planted"
    );
    let elsewhere = world.chart(1, DAY, Sort::Distinctive).places;
    assert!(elsewhere.iter().all(|place| place.post_id != "planted"));
}

#[test]
fn nothing_rises_in_stationary_noise() {
    // Posts far beyond the counters of a pane, of a tail as Zipf's, in two hours alike.
    let seeds = std::env::var("NOISE_SEEDS").map_or(20, |seeds| seeds.parse().unwrap());
    for seed in 1..=seeds {
        let mut world = World::new();
        let mut random = u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15);
        let mut draw = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 11) as f64 / (1_u64 << 53) as f64
        };
        let ids: Vec<String> = (0..20_000).map(|id| format!("post-{id}")).collect();
        let hour_ms = START_MS / HOUR_MS * HOUR_MS;
        let plays: Vec<BatchPlay<'_>> = (0..40_000)
            .map(|_| BatchPlay {
                post_id: &ids[(ids.len() as f64).powf(draw()) as usize - 1],
                timestamp_ms: hour_ms - 2 * HOUR_MS + (draw() * 2.0 * HOUR_MS as f64) as u64,
                count: 1,
            })
            .collect();
        for plays in plays.chunks(10_000) {
            world.play_all(0, 0, plays);
        }
        world.settle();
        let window = WindowRequest::Between {
            from_ms: hour_ms - HOUR_MS,
            to_ms: hour_ms,
        };
        assert!(
            world.chart(0, window, Sort::Rising).places.is_empty(),
            "seed {seed}"
        );
    }
}
