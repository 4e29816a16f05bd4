//! What is read for charts and for a post's page, and what is kept of it.

#![allow(clippy::unwrap_used)]

use hitparade::codec;
use hitparade::global::{ChartRules, FirstRegion, Global};
use hitparade::leaderboard::Count;
use hitparade::storage::MemoryStorage;
use hitparade::summary::{Seed, Summary};
use hitparade::window::{DAY_MS, recording_pane};
use hitparade::wire::*;

const NOW_MS: u64 = 20_000 * DAY_MS + 30_000;
const SEED: [u8; 16] = [9; 16];
const DAYS: u64 = 300;
/// A window over all of them.
const WINDOW: WindowRequest = WindowRequest::Sliding {
    length_ms: 320 * DAY_MS,
};

/// A region with a play of one post each day.
fn world() -> (Global, MemoryStorage) {
    let storage = MemoryStorage::new();
    let first = FirstRegion {
        region_id: "NA".into(),
        region_name: "NA".into(),
        hint: None,
    };
    let mut global = Global::load(&storage, &[first], SEED).unwrap();
    let entries: Vec<Vec<u8>> = (1..=DAYS)
        .map(|day| {
            let key = recording_pane(NOW_MS - day * DAY_MS, NOW_MS);
            let mut summary = Summary::new(10, Seed::from_bytes(SEED));
            summary.record("post", 1);
            codec::encode(&SealedPane {
                level: key.level.code(),
                start_ms: key.start_ms,
                first_seq: 1,
                last_seq: 1,
                summary: &summary.encode(),
            })
        })
        .collect();
    let push = Push {
        region_id: "NA",
        shard: 0,
        log_id: 1,
        log_began_ms: 1,
        oldest_offset: 0,
        first_offset: 0,
        entries: entries.iter().map(Vec::as_slice).collect(),
        next_offset: DAYS,
        journal_seq: 1,
        copies: Vec::new(),
    };
    global.take_push(&codec::encode(&push), NOW_MS).unwrap();
    global.flush(&storage, NOW_MS).unwrap();
    (global, storage)
}

fn question(scope: &str, window: WindowRequest) -> ChartRequest {
    ChartRequest {
        scope: scope.into(),
        window,
        sort: Sort::Views,
        k_class: 10,
    }
}

fn page(global: &Global, storage: &MemoryStorage) -> PostReport {
    let request = PostRequest {
        post_id: "post".into(),
        scope: "global".into(),
        window: WINDOW,
    };
    let report = global.post(storage, &request, ChartRules::default(), NOW_MS);
    report.unwrap()
}

/// How many counters are read for something; a pane counts as some.
fn read_for<T>(global: &Global, work: impl FnOnce() -> T) -> (T, u64) {
    let before = global.counters_read();
    let done = work();
    (done, global.counters_read() - before)
}

#[test]
fn a_chart_over_a_year_is_much_to_read_once() {
    let (global, storage) = world();
    for scope in ["NA", "global"] {
        let ask = |k_class| {
            let question = ChartRequest {
                k_class,
                ..question(scope, WINDOW)
            };
            let chart = global.chart(&storage, &question, ChartRules::default(), NOW_MS);
            assert_eq!(chart.unwrap().total_views, DAYS);
        };
        let (_, first) = read_for(&global, || ask(10));
        // Asked for another number of places, it is not the chart that was given a moment ago.
        let (_, again) = read_for(&global, || ask(11));
        assert!(first > 64 * DAYS, "{scope}: {first}");
        assert!(20 * again < first, "{scope}: {again} after {first}");
    }
}

#[test]
fn where_nothing_is_stored_hardly_anything_is_read() {
    let (global, storage) = world();
    let ask = |from_day, to_day| {
        let moment = |day| NOW_MS - day * DAY_MS;
        let (from_ms, to_ms) = (moment(from_day), moment(to_day));
        let question = question("NA", WindowRequest::Between { from_ms, to_ms });
        let chart = || global.chart(&storage, &question, ChartRules::default(), NOW_MS);
        let (chart, read) = read_for(&global, chart);
        (chart.unwrap().total_views, read)
    };
    // The window before has nothing either.
    let (views, read) = ask(500, DAYS + 50);
    assert!(views == 0 && read < 1_000, "{views}, {read}");
    let (views, read) = ask(DAYS + 50, DAYS - 49);
    assert_eq!(views, 50);
    assert!((50 * 65..50 * 65 + 1_000).contains(&read), "{read}");
}

#[test]
fn a_page_keeps_what_charts_need_too_and_nothing_of_its_series() {
    let (global, storage) = world();
    let (report, first) = read_for(&global, || page(&global, &storage));
    let counts = |count: u64| [count; 3];
    let of = |count: &Count| [count.view_count, count.view_count_min, count.view_count_max];
    assert_eq!(of(&report.count), counts(DAYS));
    assert_eq!(report.rank, Some(1));
    assert_eq!(report.regions.len(), 1);
    assert_eq!(of(&report.regions[0].1), counts(DAYS));
    let sum: u64 = report
        .series
        .iter()
        .map(|(_, count)| count.view_count)
        .sum();
    assert_eq!(sum, DAYS);
    assert!(report.series.len() <= 100);

    let (_, again) = read_for(&global, || page(&global, &storage));
    let series = 65 * DAYS;
    assert!(
        first > 3 * series,
        "{first}: the series, its scope, a region"
    );
    assert!(
        (series..series * 5 / 4).contains(&again),
        "{again}: the series alone"
    );
    // The days of a point: had they been kept, nothing would be read for them.
    let (step, _) = report.series[report.series.len() / 2];
    let (from_ms, to_ms) = (step.from_ms, step.to_ms);
    let question = question("global", WindowRequest::Between { from_ms, to_ms });
    let chart = || global.chart(&storage, &question, ChartRules::default(), NOW_MS);
    let (chart, read) = read_for(&global, chart);
    assert_eq!(chart.unwrap().total_views, (to_ms - from_ms) / DAY_MS);
    assert!(read >= 65 * (to_ms - from_ms) / DAY_MS, "{read}");
}

#[test]
fn a_page_says_the_same_again() {
    let (global, storage) = world();
    assert_eq!(page(&global, &storage), page(&global, &storage));
}
