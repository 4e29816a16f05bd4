//! A year of the past that is sent at once: what shards and the global object do for it, and what pages
//! cost that are asked for meanwhile.

use crate::objects::{self, SEED};
use cpu_time::ThreadTime;
use hitparade::global::{ChartRules, Global};
use hitparade::region::Shard;
use hitparade::storage::MemoryStorage;
use hitparade::window::{DAY_MS, HOUR_MS, Zone};
use hitparade::wire::GlobalMetrics;
use hitparade::wire::ShardMetrics;
use hitparade::wire::*;

const REGIONS: [&str; 3] = ["NA", "EU", "AS"];
const DAYS: u64 = 380;
/// Posts of a day, each played on it, of all that there are.
const POSTS_A_DAY: u64 = 4_000;
const POSTS: u64 = 9_000;
const PUSH_INTERVAL_MS: u64 = 5_000;
/// A day of the past is sent all so many milliseconds.
const BATCH_MS: u64 = 150;
const START_MS: u64 = 20_000 * DAY_MS + 13 * HOUR_MS + 47 * 60_000;

struct Held {
    region_id: &'static str,
    storage: MemoryStorage,
    shard: Shard,
    batches: u64,
}

struct World {
    now_ms: u64,
    storage: MemoryStorage,
    global: Global,
    shards: Vec<Held>,
    spent: Spent,
}

/// Milliseconds of processor time since it was looked at last, and the longest piece of each.
#[derive(Default, Debug)]
struct Spent {
    record: f64,
    push: f64,
    longest_push: f64,
    take: f64,
    longest_take: f64,
    fold: f64,
    longest_fold: f64,
    pushed_bytes: usize,
    /// Rows of ladders that were written by one flush at most.
    most_folded_panes: u64,
}

fn timed<T>(sum: &mut f64, longest: &mut f64, run: impl FnOnce() -> T) -> T {
    let started = ThreadTime::now();
    let done = run();
    let ms = started.elapsed().as_secs_f64() * 1e3;
    *sum += ms;
    *longest = longest.max(ms);
    done
}

impl World {
    fn new() -> Self {
        let storage = MemoryStorage::new();
        let mut global = Global::load(&storage, &objects::table_of(&REGIONS, SEED)).unwrap();
        global
            .follow_zone(&storage, || Some(Zone::utc()), 0)
            .unwrap();
        let shards = (0..).zip(REGIONS).map(|(number, region_id)| {
            let storage = MemoryStorage::new();
            let shard = Shard::load(&storage, [number; 32], START_MS).unwrap();
            Held {
                region_id,
                storage,
                shard,
                batches: 0,
            }
        });
        World {
            now_ms: START_MS,
            storage,
            global,
            shards: shards.collect(),
            spent: Spent::default(),
        }
    }

    fn record(&mut self, region: usize, plays: &[BatchPlay<'_>]) {
        let (held, spent) = (&mut self.shards[region], &mut self.spent);
        held.batches += 1;
        let key = held.batches.to_be_bytes();
        let now_ms = self.now_ms;
        timed(&mut spent.record, &mut 0.0, || {
            let of = (&held.storage, &mut held.shard);
            let reply = objects::record(of, (held.region_id, 0), &key, plays, now_ms);
            assert_eq!(reply, RecordReply::counted(false));
            if held.shard.checkpoint_is_needed() {
                held.shard.checkpoint(&held.storage, now_ms).unwrap();
            }
        });
    }

    /// A shard pushes all it has, as its alarm does.
    fn push(&mut self, region: usize) {
        let (held, spent, now_ms) = (&mut self.shards[region], &mut self.spent, self.now_ms);
        loop {
            let push = timed(&mut spent.push, &mut spent.longest_push, || {
                if held.shard.checkpoint_is_due(now_ms) {
                    held.shard.checkpoint(&held.storage, now_ms).unwrap();
                }
                held.shard.synced(held.shard.sync_point());
                held.shard.push(&held.storage).unwrap()
            });
            let Some(push) = push else { return };
            spent.pushed_bytes += push.len();
            let global = &mut self.global;
            let reply = timed(&mut spent.take, &mut spent.longest_take, || {
                global.take_push(&push, now_ms).unwrap()
            });
            if global.flush_is_due(now_ms) {
                let folded =
                    |global: &Global| global.tell(GlobalMetrics::default(), now_ms).folded_panes;
                let before = folded(global);
                timed(&mut spent.fold, &mut spent.longest_fold, || {
                    global.flush(&self.storage, now_ms).unwrap();
                });
                let folded = folded(global) - before;
                spent.most_folded_panes = folded.max(spent.most_folded_panes);
            }
            global.synced(&global.sync_point());
            held.shard
                .pushed(&held.storage, &reply, [region as u8; 16])
                .unwrap();
            if !held.shard.has_more_to_send() {
                return;
            }
        }
    }

    /// Time passes until then; each shard pushes at its own moment of the interval.
    fn pass(&mut self, until_ms: u64) {
        while self.now_ms < until_ms {
            self.now_ms += 50;
            for region in 0..REGIONS.len() {
                let at_ms = region as u64 * 1_650;
                if (self.now_ms + at_ms).is_multiple_of(PUSH_INTERVAL_MS) {
                    self.push(region);
                }
            }
        }
    }

    /// The 24h page of a post: what it is charged, and milliseconds of processor time.
    fn page(&mut self, number: u64) -> (u64, f64) {
        let request = PostRequest {
            post_id: format!("p{number}"),
            scope: "global".into(),
            window: WindowRequest::Sliding { length_ms: DAY_MS },
            hidden_too: false,
        };
        let (before, mut ms) = (self.global.done(), 0.0);
        let rules = ChartRules::default();
        let page = timed(&mut ms, &mut 0.0, || {
            self.global
                .post(&self.storage, &request, rules, self.now_ms)
        });
        let is_told = |refusal| matches!(refusal, Refusal::NotFound | Refusal::NotCounted { .. });
        assert!(page.map_or_else(is_told, |_| true));
        ((self.global.done() - before).us(), ms)
    }
}

#[test]
fn a_year_that_is_imported_leaves_pages_of_today_as_cheap_as_they_were() {
    let mut world = World::new();
    // Shards hear where days begin with the answer to a push.
    for region in 0..REGIONS.len() {
        let timestamp_ms = world.now_ms;
        let play = BatchPlay {
            post_id: "p0",
            timestamp_ms,
            count: 1,
        };
        world.record(region, &[play]);
    }
    world.pass(START_MS + 2 * PUSH_INTERVAL_MS);
    for day in 1..=DAYS {
        let numbers = (0..POSTS_A_DAY).map(|post| (post, (post * 7 + day * 13) % POSTS));
        let ids: Vec<(u32, String)> = numbers
            .map(|(post, number)| (1 + post as u32 % 50, format!("p{number}")))
            .collect();
        let timestamp_ms = world.now_ms - day * DAY_MS - 1_000;
        let plays = ids.iter().map(|(count, post_id)| BatchPlay {
            post_id,
            timestamp_ms,
            count: *count,
        });
        let plays: Vec<BatchPlay<'_>> = plays.collect();
        world.record(day as usize % REGIONS.len(), &plays);
        world.pass(world.now_ms + BATCH_MS);
    }
    println!("import: {:?}", std::mem::take(&mut world.spent));
    let (mut all, mut most_folded_panes) = (Vec::new(), 0);
    for second in 0..140 {
        let (mut charged, mut ms) = (Vec::new(), Vec::new());
        for half in 0..2 {
            let (us, took_ms) = world.page(second * 2 + half);
            charged.push(us);
            ms.push((took_ms * 100.0).round() / 100.0);
            world.pass(world.now_ms + 500);
        }
        let spent = std::mem::take(&mut world.spent);
        println!("{second}: pages {charged:?} us, {ms:?} ms; {spent:?}");
        most_folded_panes = spent.most_folded_panes.max(most_folded_panes);
        all.extend(charged);
    }
    let held = world
        .shards
        .iter()
        .map(|held| held.shard.tell(ShardMetrics::default(), 0));
    let held: u64 = held.map(|told| told.open_panes + told.outbox_panes).sum();
    assert_eq!(held, 0, "all of it is folded");
    let average_us = all.iter().sum::<u64>() / all.len() as u64;
    assert!(average_us < 3_500, "a page is charged {average_us} us");
    // After a flush, the pane of all time is read anew: 9,000 posts.
    let most_us = all.iter().max();
    assert!(most_us < Some(&15_000), "a page is charged {most_us:?} us");
    // 27 days here and worldwide, all time of a few scopes, and what the last two weeks are folded into.
    assert!(
        most_folded_panes < 200,
        "{most_folded_panes} panes are folded at once"
    );
}
