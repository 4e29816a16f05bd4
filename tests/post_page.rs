//! What is read for charts and for a post's page, and what is kept of it.

use crate::objects;
use crate::objects::host::TestHost;
use cpu_time::ThreadTime;
use hitparade::codec;
use hitparade::filter::Filter;
use hitparade::global::{
    ChartRules, ClosingRules, Done, Driver, FLUSH_AT_LAST_MS, Global, GlobalSettings,
};
use hitparade::leaderboard::Count;
use hitparade::settings::VisiblePosts;
use hitparade::storage::MemoryStorage;
use hitparade::summary::{Seed, Summary};
use hitparade::window::DAY_MS;
use hitparade::wire::GlobalMetrics;
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
    let table = objects::table_of(&["NA"], SEED);
    let mut global = Global::load(&storage, &table).unwrap();
    let entries: Vec<Vec<u8>> = (1..=DAYS)
        .map(|day| {
            let key = objects::recording_pane(NOW_MS - day * DAY_MS, NOW_MS);
            let mut summary = Summary::new(10, Seed::from_bytes(SEED));
            summary.record("post", 1);
            objects::pane(key, &summary)
        })
        .collect();
    let push = objects::first_push(("NA", 0), &entries, &[]);
    global.take_push(&push, NOW_MS).unwrap();
    global.flush(&storage, NOW_MS).unwrap();
    (global, storage)
}

fn question(scope: &str, window: WindowRequest) -> ChartRequest {
    ChartRequest {
        scope: scope.into(),
        window,
        sort: Sort::Views,
        k_class: 10,
        filter: Filter::default(),
    }
}

fn page(global: &Global, storage: &MemoryStorage) -> PostReport {
    let request = PostRequest {
        post_id: "post".into(),
        scope: "global".into(),
        window: WINDOW,
        hidden_too: false,
    };
    let report = global.post(storage, &request, ChartRules::default(), NOW_MS);
    report.unwrap()
}

/// How many panes and rows are read for something.
fn read_for<T>(global: &Global, work: impl FnOnce() -> T) -> (T, u64) {
    let before = global.done();
    let outcome = work();
    let done = global.done() - before;
    (outcome, done.panes + done.rows_read)
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
        assert!(first >= 2 * DAYS, "{scope}: {first}");
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
    assert!(views == 0 && read < 20, "{views}, {read}");
    let (views, read) = ask(DAYS + 50, DAYS - 49);
    assert_eq!(views, 50);
    assert!((50 * 2..50 * 2 + 20).contains(&read), "{read}");
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

    // The panes of its series and of the region are looked into, not decoded; those of its scope are, once.
    let (series, region) = (DAYS, DAYS);
    assert!(
        (series + region + 2 * DAYS..series + region + 3 * DAYS).contains(&first),
        "{first}: the series, a region, its scope"
    );
    let again = || read_for(&global, || page(&global, &storage)).1;
    let second = again();
    assert!(
        (series + region..(series + region) * 5 / 4).contains(&second),
        "{second}: the series and the region"
    );
    // What many pages look into is merged, and serves all further ones.
    let last = (0..30).fold(0, |_, _| again());
    assert!(
        (series..series * 5 / 4).contains(&last),
        "{last}: the series alone"
    );
    // The days of a point: had they been kept, nothing would be read for them.
    let (step, _) = report.series[report.series.len() / 2];
    let (from_ms, to_ms) = (step.from_ms, step.to_ms);
    let question = question("global", WindowRequest::Between { from_ms, to_ms });
    let chart = || global.chart(&storage, &question, ChartRules::default(), NOW_MS);
    let (chart, read) = read_for(&global, chart);
    assert_eq!(chart.unwrap().total_views, (to_ms - from_ms) / DAY_MS);
    assert!(read >= 2 * (to_ms - from_ms) / DAY_MS, "{read}");
}

#[test]
fn a_page_says_the_same_again() {
    let (global, storage) = world();
    assert_eq!(page(&global, &storage), page(&global, &storage));
}

/// A page in a world of one region, of which a pane of the last minute has these plays.
fn page_of(post_id: &str, plays: &Summary, catalog: &[&str]) -> Result<PostReport, Refusal> {
    let (mut global, storage) = (world().0, MemoryStorage::new());
    let key = objects::recording_pane(NOW_MS - 60_000, NOW_MS);
    let pane = objects::pane(key, plays);
    let push = objects::first_push(("NA", 1), &[pane], &[]);
    global.take_push(&push, NOW_MS).unwrap();
    for post_id in catalog {
        let patch = PostPatch {
            post_id: (*post_id).to_owned(),
            content: Some(Some("known".into())),
            ..PostPatch::default()
        };
        objects::put_posts(&global, &storage, &[patch]);
    }
    let request = PostRequest {
        post_id: post_id.into(),
        scope: "NA".into(),
        window: WindowRequest::Sliding {
            length_ms: 3_600_000,
        },
        hidden_too: false,
    };
    global.post(&storage, &request, ChartRules::default(), NOW_MS)
}

#[test]
fn a_post_without_a_counter_is_told_apart_from_one_that_nobody_played() {
    let seed = Seed::from_bytes(SEED);
    let mut exact = Summary::new(1_024, seed);
    exact.record("played", 3);
    let mut full = Summary::new(1_024, seed);
    (0..9_000).for_each(|number| full.record(&format!("{number}"), 1));
    full.record("late", 1);
    let most = full.bounds("late").upper;
    assert!(most >= 1 && full.bounds("late").lower == 0 && full.rows().all(|row| row.id != "late"));

    let report = page_of("played", &exact, &[]).unwrap();
    assert_eq!(
        (report.count.view_count_min, report.count.view_count_max),
        (3, 3)
    );
    // Exact: nobody played it.
    assert_eq!(page_of("never", &exact, &[]), Err(Refusal::NotFound));
    let report = page_of("known", &exact, &["known"]).unwrap();
    assert_eq!(report.count, Count::default());
    // Not exact: it may have been.
    let refused = Err(Refusal::NotCounted {
        view_count_max: most,
    });
    assert_eq!(page_of("late", &full, &[]), refused);
    let report = page_of("late", &full, &["late"]).unwrap();
    assert_eq!(
        (report.count.view_count_min, report.count.view_count_max),
        (0, most)
    );
    assert_eq!(report.entry.card.content.as_deref(), Some("known"));
}

#[test]
fn what_is_merged_is_counted_wherever_it_comes_from() {
    const POSTS: u64 = 500;
    let (mut global, storage) = world();
    let ask = |global: &Global, window, k_class| {
        let question = ChartRequest {
            k_class,
            ..question("NA", window)
        };
        let before = global.done();
        global
            .chart(&storage, &question, ChartRules::default(), NOW_MS)
            .unwrap();
        global.done() - before
    };
    let first = ask(&global, WINDOW, 10);
    assert!(
        first.rows_read >= DAYS && first.rows_merged >= DAYS,
        "{first:?}"
    );
    // From a run in memory: one row of the only post.
    let again = ask(&global, WINDOW, 11);
    assert!(
        again.rows_read < 10 && (1..20).contains(&again.rows_merged),
        "{again:?}"
    );
    // From what is live.
    let mut live = Summary::new(1_024, Seed::from_bytes(SEED));
    let long = |number: u64| format!("{number:0>100}");
    (0..POSTS).for_each(|number| live.record(&long(number), 1));
    let key = objects::recording_pane(NOW_MS, NOW_MS);
    let pane = objects::pane(key, &live);
    let push = objects::first_push(("NA", 1), &[], &[pane]);
    global.take_push(&push, NOW_MS + 2_000).unwrap();
    let hour = WindowRequest::Sliding {
        length_ms: 3_600_000,
    };
    let question = question("NA", hour);
    let before = global.done();
    global
        .chart(&storage, &question, ChartRules::default(), NOW_MS + 2_000)
        .unwrap();
    let live = global.done() - before;
    assert!(live.rows_merged >= POSTS, "{live:?}");
    assert!(live.long_id_bytes >= 100 * POSTS, "{live:?}");
}

#[test]
fn a_hidden_post_has_no_page_but_for_who_may_see_hidden_ones() {
    let (global, storage) = world();
    let asked = |hidden_too| PostRequest {
        post_id: "post".into(),
        scope: "global".into(),
        window: WINDOW,
        hidden_too,
    };
    let text = PostPatch {
        post_id: "post".into(),
        content: Some(Some("known".into())),
        ..PostPatch::default()
    };
    for (patch, is_hidden, content) in [
        (text.clone(), false, Some("known")),
        (PostPatch::hiding("post".into()), true, Some("known")),
        (text, true, Some("known")),
        (PostPatch::erasing("post".into()), true, None),
    ] {
        objects::put_posts(&global, &storage, &[patch]);
        let page = |hidden_too| {
            let request = asked(hidden_too);
            global.post(&storage, &request, ChartRules::default(), NOW_MS)
        };
        let for_all = page(false);
        assert_eq!(matches!(for_all, Err(Refusal::NotFound)), is_hidden);
        let entry = page(true).unwrap().entry;
        assert_eq!(entry.hidden, is_hidden);
        assert_eq!(entry.card.content.as_deref(), content);
    }
}

#[test]
fn where_only_posts_of_the_catalog_show_others_have_no_page_but_for_the_operator() {
    let (global, storage) = world();
    let page = |visible, hidden_too| {
        let request = PostRequest {
            post_id: "post".into(),
            scope: "global".into(),
            window: WINDOW,
            hidden_too,
        };
        // As a driver does, where the entry is not known.
        global.catalog().entry("post");
        objects::hear_of_catalog(&global, &storage);
        let page = global.post(&storage, &request, ChartRules { visible }, NOW_MS);
        page.is_ok()
    };
    let pages = |visible| [page(visible, false), page(visible, true)];
    assert_eq!(pages(VisiblePosts::KnownIfAny), [true, true]);
    assert_eq!(pages(VisiblePosts::Known), [false, true]);
    let patch = |post_id: &str| PostPatch {
        post_id: post_id.into(),
        content: Some(Some("known".into())),
        ..PostPatch::default()
    };
    objects::put_posts(&global, &storage, &[patch("other")]);
    assert_eq!(pages(VisiblePosts::KnownIfAny), [false, true]);
    assert_eq!(pages(VisiblePosts::All), [true, true]);
    objects::put_posts(&global, &storage, &[patch("post")]);
    assert_eq!(pages(VisiblePosts::KnownIfAny), [true, true]);
}

const PAGE_REGIONS: [&str; 3] = ["NA", "EU", "AS"];

const POSTS_A_DAY: usize = 800;

/// A driver with 60 days of many posts in each region: reading any of them takes a turn of its own.
fn driver(host: &TestHost) -> Driver<TestHost> {
    let settings = GlobalSettings {
        // No chart is published meanwhile, for which folding would wait.
        closing: ClosingRules {
            close_after_ms: 400 * DAY_MS,
            ..ClosingRules::default()
        },
        ..GlobalSettings::default()
    };
    let table = EnlistReply(Ok(objects::table_of(&PAGE_REGIONS, SEED)));
    *host.enlisted.borrow_mut() = Some(codec::encode(&table));
    let driver = Driver::new(host.clone(), settings);
    let learn = codec::encode(&Learn {
        table: objects::table_of(&PAGE_REGIONS, SEED),
    });
    host.run(driver.learn(&learn), || {});
    let mut summary = Summary::new(POSTS_A_DAY, Seed::from_bytes(SEED));
    (0..POSTS_A_DAY).for_each(|number| summary.record(&format!("post {number}"), 3));
    let days = (1..=60).map(|day| objects::recording_pane(NOW_MS - day * DAY_MS, NOW_MS));
    let panes: Vec<Vec<u8>> = days.map(|key| objects::pane(key, &summary)).collect();
    for region_id in PAGE_REGIONS {
        let mut taken = 0;
        // Some of them are folded before others are taken.
        while taken < panes.len() {
            taken = push(&driver, (region_id, 0), taken as u64, &panes[taken..], &[]) as usize;
        }
    }
    // The first look whether charts are due to be closed is a task, for which folding waits.
    let mut turns = 0;
    let pass = std::future::poll_fn(|_| {
        turns += 1;
        match turns {
            ..100 => std::task::Poll::Pending,
            _ => std::task::Poll::Ready(()),
        }
    });
    host.run(pass, || {});
    // All of it is folded by the next push.
    host.now_ms.set(NOW_MS + FLUSH_AT_LAST_MS);
    push(&driver, ("NA", 1), 0, &[], &[]);
    assert_eq!(
        driver.look(|global| global.tell(GlobalMetrics::default(), 0).pending_bytes),
        Some(0)
    );
    driver
}

/// Sends what a shard has from an offset on. Returns the offset that is wanted next.
fn push(
    driver: &Driver<TestHost>,
    (region_id, shard): (&str, u32),
    first_offset: u64,
    entries: &[Vec<u8>],
    copies: &[Vec<u8>],
) -> u64 {
    let next_offset = first_offset + entries.len() as u64;
    let push = codec::encode(&Push {
        region_id,
        shard,
        epoch_ms: 0,
        log_id: 1,
        log_began_ms: 1,
        oldest_offset: 0,
        first_offset,
        entries: entries.iter().map(Vec::as_slice).collect(),
        next_offset,
        journal_seq: next_offset,
        copies: copies.iter().map(Vec::as_slice).collect(),
        copies_left_out: false,
        cut: None,
        watched_since_ms: None,
        replied_by: 0,
    });
    let report = codec::encode(&ShardReport {
        region_id,
        shard,
        push: &push,
        figures: &[],
    });
    let reply =
        codec::decode::<PushReplyOrRefusal>(&driver.host().run(driver.push(&report), || {}));
    reply.unwrap().0.unwrap().wanted_offset
}

#[test]
fn a_page_is_of_one_moment_whatever_is_taken_and_folded_while_it_is_made() {
    let mut waits = Vec::new();
    // Something is pushed each time that the page waits, or only the n-th time.
    for only in [None].into_iter().chain((0..8).map(Some)) {
        let mut one = Summary::new(10, Seed::from_bytes(SEED));
        one.record("post 7", 1);
        let yesterday = objects::pane(objects::recording_pane(NOW_MS - DAY_MS, NOW_MS), &one);
        let open = objects::pane(objects::recording_pane(NOW_MS, NOW_MS), &one);
        for scope in ["global", "EU"] {
            let host = TestHost::at(NOW_MS);
            let driver = driver(&host);
            let question = codec::encode(&PostQuestion {
                asker: 1,
                page: PostRequest {
                    post_id: "post 7".into(),
                    scope: scope.into(),
                    window: WindowRequest::Sliding {
                        length_ms: 62 * DAY_MS,
                    },
                    hidden_too: false,
                },
            });
            let mut times = 0_u64;
            let reply = host.run(driver.post(&question), || {
                if only.is_none_or(|only| only == times) && times < 40 {
                    // Long enough for what is pending to be folded.
                    host.now_ms.set(host.now_ms.get() + 9_000);
                    let shard = 2 + times as u32;
                    let entry = std::slice::from_ref(&yesterday);
                    let copy = std::slice::from_ref(&open);
                    for region_id in PAGE_REGIONS {
                        push(&driver, (region_id, shard), 0, entry, copy);
                    }
                }
                times += 1;
            });
            waits.push(times);
            let report = codec::decode::<PostReply>(&reply).unwrap().0.unwrap();
            let exact = |count: &Count| {
                assert_eq!(count.view_count_min, count.view_count_max);
                count.view_count
            };
            let series: u64 = report.series.iter().map(|(_, count)| exact(count)).sum();
            let count = exact(&report.count);
            assert!(
                count >= if scope == "global" { 540 } else { 180 },
                "{only:?}, {scope}: {count}"
            );
            assert_eq!(series, count, "{only:?}, {scope}: by time");
            let regions = report.regions.iter();
            let in_scope = regions.filter(|(id, _)| scope == "global" || id == scope);
            let by_region: u64 = in_scope.map(|(_, count)| exact(count)).sum();
            assert_eq!(by_region, count, "{only:?}, {scope}: by region");
        }
    }
    assert!(waits.iter().any(|waits| *waits > 3), "{waits:?}");
}

#[test]
fn a_page_of_a_post_that_nobody_played_lately_costs_little_after_a_year() {
    // Yesterday's day, which still takes plays, is in no window of 24 h.
    let noon_ms = NOW_MS + DAY_MS / 2;
    let storage = MemoryStorage::new();
    let table = objects::table_of(&PAGE_REGIONS, SEED);
    let mut global = Global::load(&storage, &table).unwrap();
    // 4,000 of 9,000 posts a day, in one of three regions.
    for day in 1..=380_u64 {
        let mut summary = Summary::new(4_096, Seed::from_bytes(SEED));
        let ids = (0..4_000).map(|number| (number * 7 + day * 13) % 9_000);
        ids.for_each(|id| summary.record(&format!("p{id}"), 1 + id % 50));
        let pane = objects::pane(
            objects::recording_pane(noon_ms - day * DAY_MS, noon_ms),
            &summary,
        );
        let region_id = PAGE_REGIONS[day as usize % 3];
        let push = objects::first_push((region_id, day as u32), &[pane], &[]);
        global.take_push(&push, noon_ms).unwrap();
        if day % 20 == 0 {
            global.flush(&storage, noon_ms).unwrap();
        }
    }
    let page = |number: u64| {
        let request = PostRequest {
            post_id: format!("p{number}"),
            scope: "global".into(),
            window: WindowRequest::Sliding { length_ms: DAY_MS },
            hidden_too: false,
        };
        let (before, started) = (global.done(), ThreadTime::now());
        let report = global.post(
            &storage,
            &request,
            ChartRules::default(),
            noon_ms + number * 500,
        );
        let ms = started.elapsed().as_secs_f64() * 1e3;
        // The summary of all time has no counter for some of them.
        let is_told = matches!(
            report,
            Ok(_) | Err(Refusal::NotFound | Refusal::NotCounted { .. })
        );
        assert!(is_told, "{report:?}");
        (global.done() - before, ms)
    };
    // What the first pages have read is kept for the others.
    (0..5).for_each(|number| {
        page(number);
    });
    let (costs, ms): (Vec<_>, Vec<_>) = (5..45).map(page).unzip();
    let average = |of: fn(&Done) -> u64| costs.iter().map(of).sum::<u64>() / costs.len() as u64;
    let (rows, panes) = (average(|done| done.rows_read), average(|done| done.panes));
    let (ms, us) = (ms.iter().sum::<f64>() / ms.len() as f64, average(Done::us));
    println!("{ms:.2} ms a page, charged {us} us; {rows} rows read, {panes} panes looked for");
    // The pane of all time has 9,000 rows, one day 4,000, and a day of the series has 96 panes: nothing of
    // them is decoded, but the day of the region once, when many pages have looked into it.
    assert!(rows <= 4_000 / 40, "{rows} rows are read");
    assert!(us < 3_000, "charged {us} us");
    assert!(panes < 40, "{panes} panes are looked for");
}
