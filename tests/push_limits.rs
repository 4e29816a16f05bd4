//! Whatever a shard has to tell goes out: no push of a shard is refused, however it was filled,
//! and its pushes end.

use crate::objects::{self, chart, record, sync_both};
use hitparade::codec;
use hitparade::global::{Global, GlobalLimits, Together};
use hitparade::region::{Limits, Shard};
use hitparade::storage::MemoryStorage;
use hitparade::window::{DAY_MS, HOUR_MS, MINUTE_MS};
use hitparade::wire::GlobalMetrics;
use hitparade::wire::ShardMetrics;
use hitparade::wire::{BatchPlay, Push, PushLimits, RecordReply, Sort, WindowRequest};
use proptest::prelude::*;

const NOW_MS: u64 = 20_000 * DAY_MS + 12 * HOUR_MS;

struct World {
    now_ms: u64,
    disk: MemoryStorage,
    shard: Shard,
    storage: MemoryStorage,
    global: Global,
    batches: u64,
    plays: u64,
}

impl World {
    fn new(limits: Limits) -> Self {
        let (disk, storage) = (MemoryStorage::new(), MemoryStorage::new());
        let table = objects::table_of(&objects::REGIONS, objects::SEED);
        let on_global = GlobalLimits {
            push: limits.push,
            ..GlobalLimits::default()
        };
        World {
            now_ms: NOW_MS,
            shard: Shard::load_within(&disk, [1; 32], NOW_MS, limits).unwrap(),
            disk,
            global: Global::load_beside(&storage, &table, on_global, &Together::default()).unwrap(),
            storage,
            batches: 0,
            plays: 0,
        }
    }

    /// A batch of one play of a post at each of these times.
    fn play(&mut self, post_id: &str, times_ms: impl IntoIterator<Item = u64>) {
        let plays: Vec<BatchPlay<'_>> = times_ms
            .into_iter()
            .map(|timestamp_ms| BatchPlay {
                post_id,
                timestamp_ms,
                count: 1,
            })
            .collect();
        self.batches += 1;
        let key = self.batches.to_be_bytes();
        let on = (&self.disk, &mut self.shard);
        let reply = record(on, ("NA", 0), &key, &plays, self.now_ms);
        assert_eq!(reply, RecordReply::counted(false));
        self.plays += plays.len() as u64;
        if self.shard.checkpoint_is_needed() {
            self.shard.checkpoint(&self.disk, self.now_ms).unwrap();
        }
    }

    /// Pushes as an alarm does; returns how many panes the pushes carried.
    fn push(&mut self) -> usize {
        let mut panes = 0;
        for _ in 0..1_000 {
            if self.shard.checkpoint_is_due(self.now_ms) {
                self.shard.checkpoint(&self.disk, self.now_ms).unwrap();
            }
            self.shard.synced(self.shard.sync_point());
            let push = self.shard.push(&self.disk).unwrap().unwrap();
            let sent: Push<'_> = codec::decode(&push).unwrap();
            panes += sent.entries.len() + sent.copies.len();
            let reply = self.global.take_push(&push, self.now_ms).unwrap();
            if self.global.flush_is_due(self.now_ms) {
                self.global.flush(&self.storage, self.now_ms).unwrap();
                sync_both(&mut self.global, &mut self.shard);
            }
            self.shard.pushed(&self.disk, &reply, [2; 16]).unwrap();
            if !self.shard.has_more_to_send() {
                return panes;
            }
        }
        panic!("a thousand pushes were not enough");
    }

    /// Everything is sealed, sent, folded, and counted once.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.now_ms += MINUTE_MS;
            self.push();
            self.global.flush(&self.storage, self.now_ms).unwrap();
            sync_both(&mut self.global, &mut self.shard);
        }
        self.push();
        assert!(
            !self.shard.has_work(),
            "{:?}",
            self.shard.tell(ShardMetrics::default(), 0)
        );
        let all = (WindowRequest::All, Sort::Views);
        let chart = chart(&self.global, &self.storage, "NA", all, self.now_ms + 20_000).unwrap();
        assert_eq!((chart.total_views, chart.incomplete), (self.plays, false));
        assert_eq!(
            self.global.tell(GlobalMetrics::default(), 0).refused_pushes,
            0
        );
    }
}

/// One time in each pane that a browser may reach: minutes, then quarters of an hour.
fn a_day_back(now_ms: u64) -> impl Iterator<Item = u64> {
    let minutes = (1..135).map(|minute| minute * MINUTE_MS);
    let quarters = (10..95).map(|quarter| quarter * 15 * MINUTE_MS);
    minutes.chain(quarters).map(move |age_ms| now_ms - age_ms)
}

#[test]
fn an_address_that_spreads_its_plays_over_a_day_while_the_global_object_is_away_blocks_nobody() {
    let mut world = World::new(Limits::default());
    // 600 requests a minute for half a minute.
    for _ in 0..300 {
        world.now_ms += 100;
        let now_ms = world.now_ms;
        world.play("attack", a_day_back(now_ms));
    }
    world.play("honest", [world.now_ms]);
    assert!(world.push() > 200);
    world.settle();
}

#[test]
fn an_import_of_400_days_in_no_order_goes_out() {
    let mut world = World::new(Limits::default());
    let mut random = 88_172_645_463_325_252_u64;
    for _ in 0..1_000 {
        world.now_ms += 100;
        let now_ms = world.now_ms;
        let times: Vec<u64> = (0..100)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                now_ms - random % (400 * DAY_MS)
            })
            .collect();
        world.play(&format!("{}", random % 1_000_000), times);
    }
    world.settle();
}

#[test]
fn what_a_worker_with_a_wrong_clock_sends_is_refused_before_it_is_counted() {
    let mut world = World::new(Limits::default());
    let play = BatchPlay {
        post_id: "from the future",
        timestamp_ms: NOW_MS + 2 * DAY_MS,
        count: 1,
    };
    let on = (&world.disk, &mut world.shard);
    let reply = record(on, ("NA", 0), b"key", &[play], NOW_MS);
    assert_eq!(reply, RecordReply::Invalid);
    world.play("now", [NOW_MS]);
    world.settle();
}

fn limits() -> impl Strategy<Value = Limits> {
    let push = (200_usize..4_000, 100_usize..2_000, 2_usize..40);
    (push, 1_usize..80, 300_usize..100_000).prop_map(
        |((bytes, copy_bytes, panes), late_panes, open_bytes)| Limits {
            late_panes,
            open_bytes,
            sealed_bytes: open_bytes,
            row_bytes: bytes / 2,
            push: PushLimits {
                bytes,
                copy_bytes: copy_bytes.min(bytes),
                panes,
            },
            ..Limits::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_push_of_a_shard_is_refused_however_it_was_filled(
        limits in limits(),
        batches in prop::collection::vec(
            (0_u64..90_000, prop::collection::vec((0_u64..400 * DAY_MS, 0_u32..30), 1..30), any::<bool>()),
            1..60,
        ),
    ) {
        let mut world = World::new(limits);
        for (pause_ms, plays, pushes) in batches {
            world.now_ms += pause_ms;
            let now_ms = world.now_ms;
            for (age_ms, post) in plays {
                // Half of them within the last hours, where panes are fine.
                let age_ms = if post % 2 == 0 { age_ms % (3 * HOUR_MS) } else { age_ms };
                let post_id = format!("{post:0>200}");
                world.play(&post_id[post as usize..], [now_ms - age_ms]);
            }
            if pushes {
                world.push();
            }
        }
        world.settle();
    }
}
