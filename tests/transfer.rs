//! What leaves one installation arrives in another: every count and bound, once.

use std::collections::BTreeMap;

use crate::objects;
use hitparade::capacity::set_counters;
use hitparade::catalog::{CatalogLimits, Keeper};
use hitparade::filter::Filter;
use hitparade::global::{ChartRules, Global};
use hitparade::leaderboard::Leaderboard;
use hitparade::storage::{MemoryStorage, Storage, Table};
use hitparade::summary::{Seed, Summary};
use hitparade::window::{DAY_MS, HOUR_MS, KnownDays, Level, MINUTE_MS, Zone};
use hitparade::wire::*;

const NOW_MS: u64 = 20_000 * DAY_MS + 30_000;
const AGES_MS: [u64; 6] = [
    2 * MINUTE_MS,
    40 * MINUTE_MS,
    5 * HOUR_MS,
    80 * HOUR_MS,
    40 * DAY_MS,
    900 * DAY_MS,
];

struct World {
    registered: objects::Registered,
    global: Global,
    storage: MemoryStorage,
    seed: [u8; 16],
    /// Those that have pushed.
    shards: u32,
    /// Every play: scope, age and post.
    exact: BTreeMap<(String, u64, String), u64>,
}

impl World {
    fn new(seed: u8) -> Self {
        set_counters(Some(8));
        let storage = MemoryStorage::new();
        let seed = [seed; 16];
        World {
            registered: objects::Registered::new(&["NA", "EU"], seed),
            global: load(&storage, seed),
            storage,
            seed,
            shards: 0,
            exact: BTreeMap::new(),
        }
    }

    /// `TIME_ZONE` says this.
    fn move_to(&mut self, zone: &Zone) {
        let zone = || Some(zone.clone());
        let kept = self.global.follow_zone(&self.storage, zone, NOW_MS);
        kept.unwrap();
    }

    /// One sealed pane of a region for each age, with so many different posts.
    fn play(&mut self, region_id: &str, posts: u64) {
        let mut entries = Vec::new();
        let known = KnownDays {
            days: self.global.days().clone(),
            until_ms: u64::MAX,
        };
        for age_ms in AGES_MS {
            let key = known.recording_pane(NOW_MS - age_ms, NOW_MS);
            let capacity = hitparade::capacity::counters(key.level);
            let mut summary = Summary::new(capacity, Seed::from_bytes(self.seed));
            for post in 0..posts {
                let (id, count) = (format!("post {post}"), 1 + (post * 7 + age_ms) % 11);
                summary.record(&id, count);
                for scope in [region_id, "global"] {
                    *self
                        .exact
                        .entry((scope.into(), age_ms, id.clone()))
                        .or_default() += count;
                }
            }
            entries.push(objects::pane(key, &summary));
        }
        let push = objects::first_push((region_id, self.shards), &entries, &[]);
        self.shards += 1;
        self.global.take_push(&push, NOW_MS).unwrap();
        self.global.flush(&self.storage, NOW_MS).unwrap();
    }

    /// Everything of a moment. Its shards are none that could cut their logs: they are waited for as
    /// long as may be.
    fn export(&mut self) -> Vec<TransferRow> {
        let mut rows = Vec::new();
        let begun = self.global.begin_export(&self.storage, NOW_MS).unwrap();
        let mut request = ExportRequest {
            at_ms: begun.at_ms,
            position: ExportPosition {
                table: 0,
                key: Vec::new(),
            },
        };
        let mut now_ms = NOW_MS;
        loop {
            let answer = self.global.export(&self.storage, &request, now_ms).unwrap();
            let page = match answer {
                ExportAnswer::Wait { ms } => {
                    now_ms += ms;
                    continue;
                }
                ExportAnswer::Tell(_) => continue,
                ExportAnswer::Page(page) => page,
            };
            assert_eq!((page.seed, page.damaged_rows), (self.seed, 0));
            assert!(!page.complete, "no shard has told what it had");
            rows.extend(page.rows);
            match page.next {
                Some(next) => request.position = next,
                None => break,
            }
        }
        let keeper = self.keeper();
        let posts = keeper.list(&self.storage, None).unwrap().entries;
        rows.extend(posts.into_iter().map(TransferRow::Post));
        rows
    }

    fn keeper(&self) -> Keeper {
        Keeper::load(&self.storage, CatalogLimits::default(), 1).unwrap()
    }

    fn import(
        &mut self,
        from: &World,
        id: u8,
        first_row: u64,
        rows: &[TransferRow],
    ) -> Result<u64, Refusal> {
        let request = ImportRequest {
            source: from.seed,
            export_id: [id; 16],
            first_row,
            rows: rows.iter().cloned().map(ImportRow::Row).collect(),
        };
        self.take(&request, NOW_MS)
    }

    /// Takes rows as the driver does: the registry is asked for what they need.
    fn take(&mut self, request: &ImportRequest, now_ms: u64) -> Result<u64, Refusal> {
        let needs = self.global.begin_import(&self.storage, request)?;
        if let Some(seed) = needs.seed {
            self.registered.adopt_seed(seed);
        }
        for region in &needs.regions {
            self.registered.put(region)?;
        }
        self.hear();
        let imported = self.global.import(&self.storage, request, now_ms)?;
        self.seed = self.global.table().seed;
        let posts = request.rows.iter().filter_map(|row| match row {
            ImportRow::Row(TransferRow::Post(entry)) => Some(PostPatch {
                post_id: entry.post_id.clone(),
                author: Some(entry.card.author.clone()),
                hidden: Some(entry.hidden),
                ..PostPatch::default()
            }),
            _ => None,
        });
        let put = PutPosts {
            patches: posts.collect(),
            only_new: true,
        };
        self.keeper().put(&self.storage, &put, 1).unwrap();
        Ok(imported.next_row)
    }

    fn hear(&mut self) {
        let table = self.registered.table();
        self.global.hear(&self.storage, table).unwrap();
    }

    fn chart(&self, scope: &str, window: WindowRequest) -> Leaderboard {
        let request = ChartRequest {
            scope: scope.into(),
            window,
            sort: Sort::Views,
            k_class: 1_000,
            filter: Filter::default(),
        };
        let rules = ChartRules::default();
        objects::hear_of_catalog(&self.global, &self.storage);
        self.global
            .chart(&self.storage, &request, rules, NOW_MS)
            .unwrap()
    }

    fn charts(&self) -> Vec<Leaderboard> {
        let windows = AGES_MS.map(|age_ms| WindowRequest::Sliding {
            length_ms: (age_ms + HOUR_MS).min(400 * DAY_MS),
        });
        let windows = windows.into_iter().chain([WindowRequest::All]);
        let scopes = ["NA", "EU", "MOON", "global"];
        let questions = windows.flat_map(|window| scopes.map(|scope| (scope, window)));
        questions
            .map(|(scope, window)| self.chart(scope, window))
            .collect()
    }

    /// Bounds and totals of all time, against every play.
    fn assert_bounds(&self, exact: &BTreeMap<(String, u64, String), u64>) {
        for scope in ["NA", "EU", "MOON", "global"] {
            let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
            for ((_, _, id), count) in exact.iter().filter(|((of, _, _), _)| of == scope) {
                *counts.entry(id).or_default() += count;
            }
            let chart = self.chart(scope, WindowRequest::All);
            assert_eq!(chart.total_views, counts.values().sum::<u64>(), "{scope}");
            // Post 5 is hidden: no chart speaks of it.
            for (id, count) in counts.into_iter().filter(|(id, _)| *id != "post 5") {
                let row = chart.places.iter().find(|row| row.post_id == id);
                let (min, max) = row.map_or((0, chart.unlisted_max), |row| {
                    (row.count.view_count_min, row.count.view_count_max)
                });
                assert!(
                    (min..=max).contains(&count),
                    "{scope} {id}: {min}..{max}, {count}"
                );
            }
        }
    }
}

fn load(storage: &MemoryStorage, seed: [u8; 16]) -> Global {
    Global::load(storage, &objects::table_of(&["NA", "EU"], seed)).unwrap()
}

fn region(region_id: &str) -> PutRegion {
    PutRegion {
        region_id: region_id.into(),
        region_name: Some(format!("name of {region_id}")),
        shards: Some(3),
        hint: Some(Some("weur".into())),
    }
}

fn old_installation() -> World {
    let mut old = World::new(1);
    old.registered.put(&region("MOON")).unwrap();
    old.hear();
    let post = |number: usize, hidden| PostPatch {
        post_id: format!("post {number}"),
        author: Some(Some("someone".into())),
        hidden: Some(hidden),
        ..PostPatch::default()
    };
    let posts = [post(3, false), post(5, true)];
    objects::put_posts(&old.global, &old.storage, &posts);
    // More posts than counters: these panes are not exact.
    for (region_id, posts) in [("NA", 200), ("EU", 5), ("MOON", 90), ("NA", 30)] {
        old.play(region_id, posts);
    }
    old
}

#[test]
fn an_export_arrives_with_every_count_and_bound_however_often_it_breaks_off_and_is_sent_again() {
    let mut old = old_installation();
    let rows = old.export();
    let charts = old.charts();
    assert!(
        charts.iter().any(|chart| chart.unlisted_max > 0),
        "some are not exact"
    );
    for chunk in [1, 7, 1_000] {
        let mut new = World::new(2);
        let mut next: usize = 0;
        while next < rows.len() {
            let chunk = &rows[next..rows.len().min(next + chunk)];
            next = new.import(&old, 1, next as u64, chunk).unwrap() as usize;
            // Killed after each answer; what was sent is sent again, from its start and from later.
            new.global = load(&new.storage, [3; 16]);
            for first in [0, next / 2, next] {
                let again = new
                    .import(&old, 1, first as u64, &rows[first..next])
                    .unwrap();
                assert_eq!(again as usize, next);
            }
            let ahead = new.import(&old, 1, next as u64 + 1, &rows[..1]).unwrap();
            assert_eq!(ahead as usize, next, "rows that leave a gap are not taken");
        }
        assert_eq!(new.charts(), charts);
        assert_eq!(new.global.table().find("MOON").unwrap().shards, 3);
        assert_eq!(new.export().len(), rows.len());
    }
}

#[test]
fn an_installation_that_counts_already_adds_what_arrives() {
    let mut old = old_installation();
    let rows = old.export();
    let mut new = World::new(2);
    new.play("NA", 60);
    new.play("EU", 300);
    let mut exact = new.exact.clone();
    for (key, count) in &old.exact {
        *exact.entry(key.clone()).or_default() += count;
    }
    for _ in 0..3 {
        new.import(&old, 1, 0, &rows).unwrap();
        new.global = load(&new.storage, [3; 16]);
    }
    new.assert_bounds(&exact);
    assert_eq!(new.seed, [2; 16], "the seed of what is stored stays");
}

#[test]
fn what_would_be_counted_twice_is_refused() {
    let mut old = old_installation();
    let rows = old.export();
    let refused = |outcome: Result<u64, Refusal>| matches!(outcome, Err(Refusal::Invalid(_)));
    let before = old.charts();
    let mut copy = World::new(1);
    copy.storage = old.storage.clone();
    copy.global = load(&copy.storage, [1; 16]);
    assert!(refused(copy.import(&old, 1, 0, &rows)), "into itself");
    // It was loaded a moment ago, and says that shards may have something open.
    let as_told = |chart: Leaderboard| Leaderboard {
        incomplete: false,
        exact: false,
        ..chart
    };
    let after = copy.charts().into_iter().map(as_told);
    assert!(after.eq(before.iter().cloned().map(as_told)), "as it was");
    let mut new = World::new(2);
    new.import(&old, 1, 0, &rows).unwrap();
    assert!(
        refused(new.import(&old, 2, 0, &rows)),
        "another export of the same plays"
    );
    assert_eq!(new.charts(), before);
}

fn in_zone(seed: u8, zone: &Zone) -> World {
    let mut world = World::new(seed);
    world.registered.put(&region("MOON")).unwrap();
    world.hear();
    world.move_to(zone);
    world
}

#[test]
fn days_come_along_where_nothing_was_counted_yet_and_others_are_refused() {
    let zone = Zone::read("Asia/Kathmandu", "20700").unwrap();
    let mut old = in_zone(1, &zone);
    old.play("NA", 5);
    let before = old.charts();
    let rows = old.export();
    assert!(matches!(&rows[0], TransferRow::Days(days) if days == old.global.days()));
    let mut new = in_zone(2, &Zone::utc());
    new.import(&old, 1, 0, &rows).unwrap();
    assert_eq!(new.global.days(), old.global.days());
    assert_eq!(new.charts(), before);
    // Its own zone goes on from the next midnight.
    new.move_to(&Zone::utc());
    assert_eq!(new.global.days().zone_at(u64::MAX), Zone::utc());
    assert_eq!(new.charts(), before);
    let mut played = in_zone(3, &Zone::utc());
    played.play("NA", 1);
    let as_played = played.charts();
    assert!(played.import(&old, 1, 0, &rows).is_err());
    assert_eq!(played.charts(), as_played);
}

#[test]
fn an_import_goes_on_where_the_own_zone_ends_the_day_that_is_under_way_earlier() {
    let kathmandu = Zone::read("Asia/Kathmandu", "20700").unwrap();
    let new_york = Zone::read("America/New_York", "-18000").unwrap();
    let mut old = in_zone(1, &kathmandu);
    old.play("NA", 5);
    let before = old.charts();
    let rows = old.export();
    let mut new = in_zone(2, &new_york);
    for (number, row) in (0..).zip(&rows) {
        new.import(&old, 1, number, std::slice::from_ref(row))
            .unwrap();
        new.move_to(&new_york);
    }
    assert_eq!(new.global.days().zone_at(u64::MAX), new_york);
    assert_ne!(new.global.days().day(NOW_MS), old.global.days().day(NOW_MS));
    assert_eq!(new.charts(), before);
}

#[test]
fn days_that_were_counted_before_the_setting_named_a_zone_stay_what_they_are() {
    let kathmandu = Zone::read("Asia/Kathmandu", "20700").unwrap();
    let mut world = World::new(1);
    world.registered.put(&region("MOON")).unwrap();
    world.hear();
    world.play("NA", 5);
    let before = world.charts();
    world.move_to(&kathmandu);
    assert_eq!(world.global.days().zone_at(u64::MAX), kathmandu);
    assert_eq!(world.charts(), before);
}

#[test]
fn a_wrong_row_is_refused_and_none_of_its_request_is_counted() {
    let mut old = old_installation();
    let rows = old.export();
    let day = |start_ms: u64| (Level::Day.code(), start_ms, start_ms + DAY_MS);
    let all = (Level::All.code(), 0, u64::MAX);
    let pane = |scope: &str, (level, start_ms, end_ms): (u8, u64, u64), summary: &[u8]| {
        TransferRow::Pane(TransferPane {
            scope: scope.into(),
            level,
            start_ms,
            end_ms,
            summary: summary.to_vec(),
        })
    };
    let good = Summary::new(4, Seed::from_bytes(old.seed)).encode();
    for bad in [
        pane("NOWHERE", all, &good),
        pane("NA", (9, 0, u64::MAX), &good),
        pane("NA", day(1), &good),
        pane("NA", day(HOUR_MS), &good),
        pane("NA", all, b"no summary"),
        TransferRow::Region(region("global")),
    ] {
        let mut new = World::new(2);
        let with_bad = [&rows[..], &[bad]].concat();
        assert!(new.import(&old, 1, 0, &with_bad).is_err());
        assert!(
            new.storage
                .scan(Table::Panes, &[], &[], 0)
                .unwrap()
                .is_empty()
        );
        assert_eq!(new.import(&old, 1, 0, &rows).unwrap() as usize, rows.len());
    }
}

#[test]
fn panes_that_no_question_can_reach_any_more_are_left_out() {
    let mut old = old_installation();
    let rows = old.export();
    let mut new = World::new(2);
    let later_ms = NOW_MS + 30 * DAY_MS;
    let request = ImportRequest {
        source: old.seed,
        export_id: [1; 16],
        first_row: 0,
        rows: rows.iter().cloned().map(ImportRow::Row).collect(),
    };
    new.take(&request, later_ms).unwrap();
    let kept = new.export();
    let is_kept = |level: Level| {
        kept.iter()
            .any(|row| matches!(row, TransferRow::Pane(pane) if pane.level == level.code()))
    };
    assert_eq!(
        Level::LADDER.map(is_kept),
        [false, false, false, true, true]
    );
    assert_eq!(
        new.chart("NA", WindowRequest::All),
        old.chart("NA", WindowRequest::All)
    );
}

/// A row that nobody takes.
fn pane_of_nowhere(from: &World) -> TransferRow {
    TransferRow::Pane(TransferPane {
        scope: "NOWHERE".into(),
        level: Level::All.code(),
        start_ms: 0,
        end_ms: u64::MAX,
        summary: Summary::new(4, Seed::from_bytes(from.seed)).encode(),
    })
}

#[test]
fn an_export_of_which_nothing_was_taken_keeps_no_other_out() {
    let mut old = old_installation();
    let rows = old.export();
    let mut new = World::new(2);
    assert!(new.import(&old, 1, 0, &[pane_of_nowhere(&old)]).is_err());
    // Two begin, and one of them takes rows first.
    let request = |id: u8| ImportRequest {
        source: old.seed,
        export_id: [id; 16],
        first_row: 0,
        rows: rows.iter().cloned().map(ImportRow::Row).collect(),
    };
    new.global.begin_import(&new.storage, &request(1)).unwrap();
    assert_eq!(new.import(&old, 2, 0, &rows).unwrap() as usize, rows.len());
    let late = new.global.import(&new.storage, &request(1), NOW_MS);
    assert!(matches!(late, Err(Refusal::Invalid(_))), "{late:?}");
    assert!(new.import(&old, 1, 0, &rows).is_err());
    assert_eq!(
        new.chart("NA", WindowRequest::All),
        old.chart("NA", WindowRequest::All)
    );
}

#[test]
fn its_own_export_is_refused_also_where_an_import_was_begun_before_it_counted_anything() {
    let old = old_installation();
    let mut new = World::new(2);
    assert!(new.import(&old, 1, 0, &[pane_of_nowhere(&old)]).is_err());
    new.seed = new.global.table().seed;
    assert_eq!(new.seed, old.seed);
    new.play("NA", 5);
    let before = new.chart("NA", WindowRequest::All);
    let own = ImportRequest {
        source: new.seed,
        export_id: [2; 16],
        first_row: 0,
        rows: new.export().into_iter().map(ImportRow::Row).collect(),
    };
    let taken = new.take(&own, NOW_MS);
    assert!(matches!(taken, Err(Refusal::Invalid(_))), "{taken:?}");
    assert_eq!(new.chart("NA", WindowRequest::All), before);
}
