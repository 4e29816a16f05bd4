//! What a chart of a filter costs the global object and its catalog together, against the chart of all posts: processor time.
//!
//! `cargo bench --bench filters`

#![allow(clippy::unwrap_used)]

use std::rc::Rc;

use cpu_time::ProcessTime;
use hitparade::catalog::{CatalogLimits, Catalogs, Follower, Keeper};
use hitparade::codec;
use hitparade::filter::Filter;
use hitparade::global::{ChartRules, Global};
use hitparade::storage::MemoryStorage;
use hitparade::summary::{Seed, Summary};
use hitparade::topology::{Region, RegionTable};
use hitparade::window::{DAY_MS, Days, HOUR_MS, Level, PaneKey};
use hitparade::wire::{ChartRequest, PostPatch, Push, PutPosts, SealedPane, Sort, WindowRequest};

const SEED: [u8; 16] = *b"benchmark secret";
const NOW_MS: u64 = 20_000 * DAY_MS + DAY_MS / 2;
const HOURS: u64 = 24;
const ROUNDS: u32 = 20;
const POSTS_A_PUT: u64 = 10_000;

fn load(storage: &MemoryStorage) -> Global {
    let regions = vec![Region::new("NA", "NA", 1)];
    Global::load(storage, &RegionTable::new(regions, SEED)).unwrap()
}

/// The catalog in the same storage.
fn keeper(storage: &MemoryStorage) -> Keeper {
    let mut keeper = Keeper::load(storage, CatalogLimits::default(), 1).unwrap();
    keeper.index_under(storage, Seed::from_bytes(SEED)).unwrap();
    keeper
}

/// A chart with all that the catalog says.
fn chart(global: &Global, keeper: &Keeper, storage: &MemoryStorage, request: &ChartRequest) {
    let catalog = global.catalog();
    loop {
        let misses = catalog.misses();
        let made = global.chart(storage, request, ChartRules::default(), NOW_MS);
        if catalog.misses() == misses {
            made.unwrap();
            return;
        }
        let question = catalog.question();
        let news = keeper.answer(storage, &question).unwrap();
        catalog.take(&question, news, NOW_MS);
    }
}

/// Half of them longer than what a counter holds.
fn id(number: u64) -> String {
    match number % 2 {
        0 => format!("song {number:08}"),
        _ => format!("https://example.com/songs/{number:08}"),
    }
}

/// A day of plays of so many posts, and all of them in the catalog: every tenth with one tag, 100 with
/// another, and two of 100,000 others each.
fn world(posts: u64) -> MemoryStorage {
    let storage = MemoryStorage::new();
    let (mut global, mut keeper) = (load(&storage), keeper(&storage));
    for hour in 0..HOURS / 2 {
        let mut summary = Summary::new(8_192, Seed::from_bytes(SEED));
        for number in 0..posts.min(100_000) {
            summary.record(
                &id(number),
                1 + 100_000 / (1 + (number * 7 + hour) % posts.min(100_000)),
            );
        }
        let key = PaneKey::of(
            Level::TwoHours,
            NOW_MS - (2 * hour + 2) * HOUR_MS,
            &Days::default(),
        );
        let entry = codec::encode(&SealedPane {
            level: key.level.code(),
            start_ms: key.start_ms,
            end_ms: key.end_ms,
            first_seq: 1,
            last_seq: 1,
            summary: &summary.encode(),
        });
        let push = Push {
            region_id: "NA",
            shard: 0,
            epoch_ms: 0,
            log_id: 1,
            oldest_offset: 0,
            first_offset: hour,
            entries: vec![&entry],
            next_offset: hour + 1,
            journal_seq: hour,
            log_began_ms: 1,
            copies: Vec::new(),
            copies_left_out: false,
            cut: None,
            watched_since_ms: None,
            replied_by: 0,
        };
        global.take_push(&codec::encode(&push), NOW_MS).unwrap();
        global.flush(&storage, NOW_MS).unwrap();
    }
    for from in (0..posts).step_by(POSTS_A_PUT as usize) {
        let patches = (from..posts.min(from + POSTS_A_PUT)).map(|number| {
            let mut tags = vec![
                format!("tag {:06}", number % 100_000),
                format!("tag {:06}", number * 31 % 100_000),
            ];
            tags.extend((number % 10 == 0).then(|| "tenth".into()));
            tags.extend((number % (posts / 100) == 0).then(|| "hundred".into()));
            tags.sort_unstable();
            tags.dedup();
            PostPatch {
                post_id: id(number),
                author: Some(Some(format!("author {}", number % 1_000))),
                tags: Some(tags),
                timestamp_ms: Some(Some(NOW_MS - number % 365 * DAY_MS)),
                ..PostPatch::default()
            }
        });
        for patches in patches.collect::<Vec<_>>().chunks(500) {
            let put = PutPosts {
                patches: patches.to_vec(),
                only_new: false,
            };
            keeper.put(&storage, &put, from).unwrap();
        }
    }
    storage
}

/// Milliseconds of a chart that nobody asked for before, of the first in an object and of one whose panes
/// are merged already.
fn ms(storage: &MemoryStorage, filter: &Filter, sort: Sort) -> [f64; 2] {
    let request = |k_class| ChartRequest {
        scope: "NA".into(),
        window: WindowRequest::Sliding { length_ms: DAY_MS },
        sort,
        k_class,
        filter: filter.clone(),
    };
    let warm = load(storage);
    let all = ChartRequest {
        filter: Filter::default(),
        ..request(10)
    };
    let keeper = keeper(storage);
    let follow = |mut global: Global| {
        global.follow(Rc::new(Follower::new(&Catalogs::default(), "shared")));
        global
    };
    let warm = follow(warm);
    chart(&warm, &keeper, storage, &all);
    let [mut first, mut merged] = [0.0, 0.0];
    for round in 0..ROUNDS {
        let cold = follow(load(storage));
        for (global, ms) in [(&cold, &mut first), (&warm, &mut merged)] {
            let started = ProcessTime::now();
            // Another number of places each time is another chart; its posts are known after the first.
            let request = request(100 + round);
            chart(global, &keeper, storage, &request);
            *ms += started.elapsed().as_secs_f64() * 1e3 / f64::from(ROUNDS);
        }
    }
    [first, merged]
}

fn tagged(tag: &str) -> Filter {
    Filter::new(vec![tag.into()], vec![], None, None).unwrap()
}

fn main() {
    println!(
        "| posts in the catalog | filter | sort | first in an object, ms | of all posts | panes merged and posts known, ms | of all posts |"
    );
    println!("|---|---|---|---|---|---|---|");
    for posts in [5_000, 1_000_000] {
        let storage = world(posts);
        for sort in [Sort::Views, Sort::Rising] {
            let all = ms(&storage, &Filter::default(), sort);
            let filters = [
                ("100 posts", tagged("hundred")),
                ("every tenth", tagged("tenth")),
                (
                    "all but every tenth",
                    Filter::new(vec![], vec!["tenth".into()], None, None).unwrap(),
                ),
                (
                    "an author",
                    Filter::new(vec![], vec![], Some("author 7".into()), None).unwrap(),
                ),
                (
                    "7 days",
                    Filter::new(vec![], vec![], None, Some(168)).unwrap(),
                ),
                (
                    "a tag and 7 days",
                    Filter::new(vec!["tenth".into()], vec![], None, Some(168)).unwrap(),
                ),
            ];
            for (name, filter) in filters {
                let of = ms(&storage, &filter, sort);
                println!(
                    "| {posts} | {name} | {} | {:.2} | {:.2} x | {:.2} | {:.2} x |",
                    format!("{sort:?}").to_lowercase(),
                    of[0],
                    of[0] / all[0],
                    of[1],
                    of[1] / all[1]
                );
            }
        }
    }
}
