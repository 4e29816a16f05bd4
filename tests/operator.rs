//! An operator's day: regions go and come, counting begins anew, a moment is copied while plays go on.
//! Whatever is done, no acknowledged play is lost but by what was asked for, and none counts twice.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::objects::host::TestHost;
use crate::objects::{self, Registered, SEED, load_global, record};
use hitparade::board::{MAIN, ObjectName};
use hitparade::codec;
use hitparade::filter::Filter;
use hitparade::global::{CUT_WITHIN_MS, Global};
use hitparade::region::{self, Limits, Shard};
use hitparade::storage::{MemoryStorage, Storage, Table, Write};
use hitparade::summary::{Seed, Summary};
use hitparade::topology::{Epoch, Region, RegionTable};
use hitparade::window::{DAY_MS, Days, HOUR_MS, Level, MINUTE_MS, PaneKey, Zone, keep_days};
use hitparade::wire::GlobalMetrics;
use hitparade::wire::*;

const NOW_MS: u64 = 20_000 * DAY_MS + 30_000;

/// A shard with its storage.
struct Node {
    key: String,
    number: u32,
    storage: MemoryStorage,
    shard: Shard,
    /// What [`Shard::follow`] and the like name new logs by.
    logs: u8,
    sent: u64,
}

impl Node {
    fn new(key: &str, number: u32, random: u8) -> Self {
        Node::made_at(NOW_MS, (key, number), random)
    }

    fn made_at(now_ms: u64, (key, number): (&str, u32), random: u8) -> Self {
        let storage = MemoryStorage::new();
        let mut shard = Shard::load(&storage, [random; 32], now_ms).unwrap();
        shard.synced(shard.sync_point());
        Node {
            key: key.into(),
            number,
            storage,
            shard,
            logs: random,
            sent: 0,
        }
    }

    fn random(&mut self) -> [u8; 16] {
        self.logs = self.logs.wrapping_add(50);
        [self.logs; 16]
    }

    /// A batch of one play under a name of its own.
    fn play(&mut self, post_id: &str, now_ms: u64) -> RecordReply {
        self.sent += 1;
        let name = format!("{} {}", self.number, self.sent);
        self.play_named(&name, post_id, now_ms)
    }

    fn play_named(&mut self, name: &str, post_id: &str, now_ms: u64) -> RecordReply {
        self.play_at((name, now_ms), post_id, now_ms)
    }

    fn play_at(
        &mut self,
        (name, timestamp_ms): (&str, u64),
        post_id: &str,
        now_ms: u64,
    ) -> RecordReply {
        self.shard.cut_if_due(&self.storage, now_ms).unwrap();
        let play = BatchPlay {
            post_id,
            timestamp_ms,
            count: 1,
        };
        let (key, number) = (self.key.clone(), self.number);
        let at = (&self.storage, &mut self.shard);
        record(at, (&key, number), name.as_bytes(), &[play], now_ms)
    }

    /// What its alarm does, as far as a message; `None` where there is nothing to say.
    fn message(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        self.shard.cut_if_due(&self.storage, now_ms).unwrap();
        if self.shard.checkpoint_is_due(now_ms) {
            self.shard.checkpoint(&self.storage, now_ms).unwrap();
        }
        self.shard.synced(self.shard.sync_point());
        self.shard.push(&self.storage).unwrap()
    }

    fn hear(&mut self, epoch: Epoch) {
        let random = self.random();
        let news = BeginEpoch {
            region_id: &self.key,
            shard: self.number,
            epoch,
        };
        let heard = self.shard.begin_epoch(&self.storage, &news, random);
        assert!(heard.unwrap());
    }

    fn is_told(&mut self, reply: &PushReply) {
        let random = self.random();
        self.shard.pushed(&self.storage, reply, random).unwrap();
    }

    /// Hears of an export.
    fn is_to_cut(&mut self, begun: &ToCut) -> bool {
        let random = self.random();
        let request = CutRequest {
            region_id: &self.key,
            shard: self.number,
            epoch: begun.epoch,
            at_ms: begun.at_ms,
        };
        let now_ms = begun.at_ms - 1;
        let cut = (self.shard).cut_at(&self.storage, &request, random, now_ms);
        cut.unwrap()
    }

    /// Its instance ended; what is stored is there.
    fn start_again(&mut self, now_ms: u64) {
        let random = self.random();
        let random = [random, random].concat().try_into().unwrap();
        self.shard = Shard::load(&self.storage, random, now_ms).unwrap();
        self.shard.synced(self.shard.sync_point());
    }
}

struct World {
    registered: Registered,
    global: Global,
    storage: MemoryStorage,
}

impl World {
    fn new() -> Self {
        let storage = MemoryStorage::new();
        World {
            registered: Registered::new(&objects::REGIONS, SEED),
            global: load_global(&storage),
            storage,
        }
    }

    /// Pushes until the shard has no more to say.
    fn push(&mut self, node: &mut Node, now_ms: u64) {
        for _ in 0..10 {
            let Some(message) = node.message(now_ms) else {
                return;
            };
            let mut taken = self.global.take_push(&message, now_ms);
            if taken == Err(Refusal::LaterEpoch) {
                self.hear();
                taken = self.global.take_push(&message, now_ms);
            }
            let reply = taken.unwrap();
            if self.global.flush_is_due(now_ms) {
                self.flush(now_ms);
            }
            node.is_told(&reply);
            if !node.shard.has_more_to_send() {
                return;
            }
        }
    }

    /// Everything that is pending is folded and durable.
    fn flush(&mut self, now_ms: u64) {
        self.global.flush(&self.storage, now_ms).unwrap();
        let point = self.global.sync_point();
        self.global.synced(&point);
    }

    /// Pushes, seals and folds until nothing is left of the shards; returns when that is.
    fn drain(&mut self, nodes: &mut [&mut Node], mut now_ms: u64) -> u64 {
        for _ in 0..4 {
            now_ms += 2 * MINUTE_MS;
            for node in nodes.iter_mut() {
                self.push(node, now_ms);
            }
            self.flush(now_ms);
        }
        for node in nodes {
            self.push(node, now_ms);
            assert!(!node.shard.has_work(), "{} has work left", node.key);
        }
        now_ms
    }

    /// What the chart of all time says of each post.
    fn counts(&self, scope: &str, now_ms: u64) -> BTreeMap<String, u64> {
        self.chart(scope, now_ms).unwrap()
    }

    fn chart(&self, scope: &str, now_ms: u64) -> Result<BTreeMap<String, u64>, Refusal> {
        let request = ChartRequest {
            scope: scope.into(),
            window: WindowRequest::All,
            sort: Sort::Views,
            k_class: 1_000,
            filter: Filter::default(),
        };
        let rules = hitparade::global::ChartRules::default();
        let chart = self.global.chart(&self.storage, &request, rules, now_ms)?;
        let counts = chart.places.into_iter().map(|place| {
            let count = place.count;
            assert_eq!(count.view_count_min, count.view_count_max, "exact");
            (place.post_id, count.view_count)
        });
        let counts: BTreeMap<String, u64> = counts.collect();
        assert_eq!(chart.total_views, counts.values().sum::<u64>());
        Ok(counts)
    }

    fn delete(&mut self, region_id: &str, now_ms: u64) -> Result<String, Refusal> {
        let deleted = self.registered.delete(region_id, now_ms)?;
        self.hear();
        Ok(deleted.region.key().into_owned())
    }

    fn put(&mut self, region_id: &str, shards: Option<u32>) {
        let request = PutRegion {
            region_id: region_id.into(),
            region_name: None,
            shards,
            hint: None,
        };
        self.registered.put(&request).unwrap();
        self.hear();
    }

    /// The global object hears of what the registry knows.
    fn hear(&mut self) {
        let table = self.registered.table();
        self.global.hear(&self.storage, table).unwrap();
    }

    fn reset(&mut self, id: [u8; 16], random: u8, now_ms: u64) -> Result<ResetDone, Refusal> {
        let done = self.registered.reset(id, random, now_ms)?;
        self.hear();
        Ok(done)
    }
}

/// Whether a post is named in anything that is stored.
fn stores(storage: &MemoryStorage, post_id: &str) -> bool {
    Table::ALL.into_iter().any(|table| {
        let rows = storage.scan(table, &[], &[], usize::MAX).unwrap();
        let has = |(_, value): &(Vec<u8>, Vec<u8>)| {
            let mut windows = value.windows(post_id.len());
            windows.any(|bytes| bytes == post_id.as_bytes())
        };
        rows.iter().any(has)
    })
}

fn counted<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    let counts = counts.into_iter();
    counts
        .map(|(post, count)| (post.to_owned(), count))
        .collect()
}

#[test]
fn what_shards_of_a_deleted_region_have_and_what_still_comes_to_them_counts_in_the_world() {
    let mut world = World::new();
    let (mut here, mut there) = (Node::new("NA", 0, 1), Node::new("EU", 0, 2));
    here.play("folded", NOW_MS);
    let now_ms = world.drain(&mut [&mut here], NOW_MS);
    there.play("elsewhere", now_ms);
    // In a copy, in the outbox and in the shard alone.
    here.play("sealed", now_ms);
    let later_ms = now_ms + 2 * MINUTE_MS;
    here.message(later_ms);
    here.play("pushed", later_ms);
    world.push(&mut here, later_ms);
    here.play("open", later_ms);

    assert_eq!(world.delete("NA", later_ms).unwrap(), "NA");
    assert_eq!(world.chart("NA", later_ms), Err(Refusal::RegionDeleted));
    // A Worker that does not know of it yet, and batches that were claimed for it.
    assert_eq!(here.play("late", later_ms), RecordReply::counted(false));
    here.start_again(later_ms);
    world.global = load_global(&world.storage);
    assert_eq!(world.chart("NA", later_ms), Err(Refusal::RegionDeleted));

    let rest_ms = world.drain(&mut [&mut here, &mut there], later_ms);
    let all = counted([
        ("folded", 1),
        ("sealed", 1),
        ("pushed", 1),
        ("open", 1),
        ("late", 1),
        ("elsewhere", 1),
    ]);
    assert_eq!(world.counts("global", rest_ms), all);
    assert_eq!(world.counts("EU", rest_ms), counted([("elsewhere", 1)]));
    // Again is the same; another there never was; one is left to take plays.
    assert_eq!(world.delete("NA", rest_ms).unwrap(), "NA");
    assert_eq!(world.delete("MOON", rest_ms), Err(Refusal::UnknownRegion));
    assert!(matches!(
        world.delete("EU", rest_ms),
        Err(Refusal::Invalid(_))
    ));
}

#[test]
fn a_region_that_is_made_again_begins_with_nothing_whatever_comes_of_the_one_before() {
    let mut world = World::new();
    let mut nodes = Vec::new();
    let mut now_ms = NOW_MS;
    for round in 0..3_u8 {
        let key = world.global.table().find("NA").unwrap().key().into_owned();
        let expected = ["NA", "NA/1", "NA/2"][usize::from(round)];
        assert_eq!(key, expected);
        let mut node = Node::new(&key, 0, round + 1);
        node.play(&format!("post {round}"), now_ms);
        node.play("all", now_ms);
        world.push(&mut node, now_ms);
        let here = counted([(&*format!("post {round}"), 1), ("all", 1)]);
        assert_eq!(world.counts("NA", now_ms), here, "round {round}");
        now_ms += MINUTE_MS;
        if round < 2 {
            assert_eq!(world.delete("NA", now_ms).unwrap(), key);
            world.put("NA", None);
            assert_eq!(world.counts("NA", now_ms), counted([]));
        }
        nodes.push(node);
        // Every start finds the same.
        world.global = load_global(&world.storage);
    }
    // What the shards of all three have comes now.
    let mut all: Vec<&mut Node> = nodes.iter_mut().collect();
    let rest_ms = world.drain(&mut all, now_ms);
    assert_eq!(
        world.counts("NA", rest_ms),
        counted([("post 2", 1), ("all", 1)])
    );
    let everywhere = counted([("post 0", 1), ("post 1", 1), ("post 2", 1), ("all", 3)]);
    assert_eq!(world.counts("global", rest_ms), everywhere);
}

#[test]
fn counting_begins_anew_and_nothing_of_before_comes_back() {
    let mut world = World::new();
    let id = world.registered.table().installation_id;
    let (mut told, mut asleep) = (Node::new("NA", 0, 1), Node::new("EU", 0, 2));
    for node in [&mut told, &mut asleep] {
        node.play("folded", NOW_MS);
    }
    let now_ms = world.drain(&mut [&mut told, &mut asleep], NOW_MS);
    for node in [&mut told, &mut asleep] {
        node.play("sealed", now_ms);
        node.message(now_ms + 2 * MINUTE_MS);
        node.play_named("repeated", "open", now_ms + 2 * MINUTE_MS);
    }
    let now_ms = now_ms + 2 * MINUTE_MS;
    world.push(&mut told, now_ms);
    let under_way = told.message(now_ms).unwrap();
    world.global.begin_export(&world.storage, now_ms).unwrap();

    assert_eq!(
        world.reset([9; 16], 7, now_ms),
        Err(Refusal::WrongInstallation)
    );
    assert!(!world.counts("global", now_ms).is_empty());
    let done = world.reset(id, 7, now_ms).unwrap();
    assert!(!done.repeated);
    assert_ne!(done.table.installation_id, id);
    // Whoever has not heard the answer asks again: nothing is forgotten twice.
    let epoch = done.table.epoch();
    assert!(stores(&told.storage, "sealed") && stores(&told.storage, "open"));
    told.hear(epoch);
    for post in ["folded", "sealed", "open"] {
        assert!(!stores(&told.storage, post) && !stores(&world.storage, post));
    }
    told.play("new", now_ms);
    world.push(&mut told, now_ms);
    assert!(world.reset(id, 8, now_ms + 1).unwrap().repeated);
    assert_eq!(world.global.table().epoch(), epoch);
    for _ in 0..2 {
        assert_eq!(world.counts("NA", now_ms), counted([("new", 1)]));
        assert_eq!(world.counts("global", now_ms), counted([("new", 1)]));
        // A push of before that was under way, a start of everything, and a batch that was counted.
        world.global.take_push(&under_way, now_ms).unwrap();
        world.global = load_global(&world.storage);
        world.push(&mut told, now_ms);
        let again = told.play_named("repeated", "open", now_ms);
        assert_eq!(again, RecordReply::counted(true));
        told.start_again(now_ms);
    }

    // A shard that was not told sleeps for a day, and comes back with what it has.
    let later_ms = now_ms + DAY_MS;
    asleep.start_again(later_ms);
    world.push(&mut asleep, later_ms);
    assert_eq!(asleep.shard.epoch_ms(), epoch.began_ms);
    assert!(!asleep.shard.has_work(), "it has forgotten all of it");
    asleep.play("after", later_ms);
    let rest_ms = world.drain(&mut [&mut told, &mut asleep], later_ms);
    assert_eq!(
        world.counts("global", rest_ms),
        counted([("new", 1), ("after", 1)])
    );
    let left = world.storage.keys(Table::Meta, b"export/").unwrap();
    assert!(left.is_empty(), "nothing of the export");
    assert_eq!(world.global.tell(GlobalMetrics::default(), 0).gaps, 0);
}

#[test]
fn a_shard_that_hears_of_the_new_epoch_from_a_batch_counts_that_batch() {
    let mut world = World::new();
    let mut node = Node::new("NA", 0, 1);
    node.play("before", NOW_MS);
    let id = world.registered.table().installation_id;
    let epoch = world.reset(id, 7, NOW_MS).unwrap().table.epoch();
    let random = node.random();
    node.shard.follow(&node.storage, epoch, random).unwrap();
    node.play("after", NOW_MS);
    // An old Worker's epoch changes nothing.
    let old = Epoch {
        began_ms: 0,
        seed: SEED,
    };
    node.shard.follow(&node.storage, old, random).unwrap();
    node.start_again(NOW_MS);
    let rest_ms = world.drain(&mut [&mut node], NOW_MS);
    assert_eq!(world.counts("global", rest_ms), counted([("after", 1)]));
}

#[test]
fn a_commit_that_is_under_way_while_counting_begins_anew_counts_once_or_not_at_all() {
    for crashes in [false, true] {
        let mut world = World::new();
        let mut node = Node::new("NA", 0, 1);
        node.play("before", NOW_MS);
        let batch = codec::encode(&Batch {
            key: Some(b"under way"),
            plays_hash: 0,
            sent_ms: NOW_MS,
            plays: vec![BatchPlay {
                post_id: "under way",
                timestamp_ms: NOW_MS,
                count: 1,
            }],
        });
        let request = RecordRequest {
            board: MAIN,
            region_id: "NA",
            shard: 0,
            epoch_ms: 0,
            seed: SEED,
            listed: None,
            batch: &batch,
        };
        node.shard.admit(&request, NOW_MS);
        assert!(node.shard.commit(&node.storage, NOW_MS).unwrap());
        let id = world.registered.table().installation_id;
        let epoch = world.reset(id, 7, NOW_MS).unwrap().table.epoch();
        node.hear(epoch);
        if crashes {
            node.start_again(NOW_MS);
        } else {
            node.shard.committed(NOW_MS).unwrap();
        }
        let again = node.play_named("under way", "under way", NOW_MS);
        assert_eq!(again, RecordReply::counted(true));
        let rest_ms = world.drain(&mut [&mut node], NOW_MS);
        assert_eq!(world.counts("global", rest_ms), counted([("under way", 1)]));
    }
}

#[test]
fn a_global_object_that_is_set_back_to_before_hears_that_counting_began_anew() {
    let mut world = World::new();
    let mut node = Node::new("NA", 0, 1);
    node.play("before", NOW_MS);
    let now_ms = world.drain(&mut [&mut node], NOW_MS);
    let backup = world.storage.clone();
    let id = world.registered.table().installation_id;
    let epoch = world.reset(id, 7, now_ms).unwrap().table.epoch();
    node.hear(epoch);
    node.play("after", now_ms);
    world.storage = backup;
    world.global = load_global(&world.storage);
    let now_ms = world.drain(&mut [&mut node], now_ms);
    assert_eq!(world.counts("global", now_ms), counted([("after", 1)]));
    // And once more.
    let id = world.registered.table().installation_id;
    let again = world.reset(id, 9, now_ms).unwrap().table.epoch();
    assert!(again.began_ms > epoch.began_ms);
    node.play("old", now_ms);
    let now_ms = now_ms + MINUTE_MS;
    world.push(&mut node, now_ms);
    assert_eq!(world.counts("global", now_ms), counted([]));
}

/// Reads an export page by page, with something in between.
fn export(
    world: &mut World,
    at_ms: u64,
    now_ms: u64,
    mut between: impl FnMut(&mut World),
) -> Result<(Vec<TransferRow>, bool), Refusal> {
    let mut request = ExportRequest {
        at_ms,
        position: ExportPosition {
            table: 0,
            key: Vec::new(),
        },
    };
    let mut rows = Vec::new();
    loop {
        let answer = world.global.export(&world.storage, &request, now_ms)?;
        let ExportAnswer::Page(page) = answer else {
            return Err(Refusal::Busy { retry_after_s: 1 });
        };
        rows.extend(page.rows);
        match page.next {
            Some(next) => request.position = next,
            None => return Ok((rows, page.complete)),
        }
        between(world);
    }
}

/// The plays of all time that an export has of a scope; those of its days must be the same.
fn exported(rows: &[TransferRow], scope: &str) -> BTreeMap<String, u64> {
    let of_level = |level: Level| {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for row in rows {
            let TransferRow::Pane(pane) = row else {
                continue;
            };
            if pane.scope != scope || pane.level != level.code() {
                continue;
            }
            let summary = Summary::decode(&pane.summary, Seed::from_bytes(SEED)).unwrap();
            for row in summary.top(usize::MAX) {
                assert_eq!(row.lower, row.upper);
                *counts.entry(row.id.to_owned()).or_default() += row.lower;
            }
        }
        counts
    };
    let all = of_level(Level::All);
    assert_eq!(of_level(Level::Day), all);
    assert_eq!(of_level(Level::Minute), all);
    all
}

#[test]
fn an_export_has_exactly_what_was_durable_at_its_moment_while_plays_go_on() {
    for seed in 0..40_u64 {
        let mut random = {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            move |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            }
        };
        let mut world = World::new();
        let names = [("NA", 0), ("EU", 0)];
        let mut nodes: Vec<Node> = names
            .iter()
            .zip(1..)
            .map(|((key, number), random)| Node::new(key, *number, random))
            .collect();
        let mut exact: BTreeMap<(String, String), u64> = BTreeMap::new();
        let mut now_ms = NOW_MS;
        let begin_ms = NOW_MS + random(3) * MINUTE_MS + random(60_000);
        let mut at_ms = u64::MAX;
        let mut rows = None;
        let mut page_at_ms = u64::MAX;
        while now_ms < NOW_MS + 8 * MINUTE_MS {
            if at_ms == u64::MAX && now_ms >= begin_ms {
                let begun = world.global.begin_export(&world.storage, now_ms).unwrap();
                at_ms = begun.at_ms;
                page_at_ms = at_ms + random(15_000);
                for node in &mut nodes {
                    let (key, random) = (node.key.clone(), node.random());
                    let request = CutRequest {
                        region_id: &key,
                        shard: node.number,
                        epoch: begun.epoch,
                        at_ms,
                    };
                    let cut = node.shard.cut_at(&node.storage, &request, random, now_ms);
                    assert!(cut.unwrap());
                }
            }
            let which = random(2) as usize;
            let node = &mut nodes[which];
            match random(10) {
                0..5 => {
                    let post = format!("post {}", random(30));
                    node.sent += 1;
                    let name = format!("{} {}", node.number, node.sent);
                    // Some are of a minute that is sealed soon after the moment.
                    let timestamp_ms = now_ms - random(40_000);
                    let reply = node.play_at((&name, timestamp_ms), &post, now_ms);
                    assert_eq!(reply, RecordReply::counted(false));
                    if now_ms < at_ms {
                        for scope in [node.key.as_str(), "global"] {
                            let key = (scope.to_owned(), post.clone());
                            *exact.entry(key).or_default() += 1;
                        }
                    }
                }
                5..8 => world.push(node, now_ms),
                8 => world.flush(now_ms),
                _ => {
                    if random(4) == 0 && now_ms < begin_ms {
                        node.start_again(now_ms);
                    }
                }
            }
            if rows.is_none() && now_ms >= page_at_ms {
                let between = |world: &mut World| {
                    for node in &mut nodes {
                        node.play("post 1", now_ms);
                        world.push(node, now_ms + MINUTE_MS);
                    }
                    world.flush(now_ms);
                };
                match export(&mut world, at_ms, now_ms, between) {
                    Ok(found) => rows = Some(found),
                    Err(Refusal::Busy { .. }) => page_at_ms += 500,
                    Err(refusal) => panic!("{refusal:?}"),
                }
            }
            // Their alarms wake them.
            if at_ms < now_ms && now_ms < at_ms + 3_000 {
                nodes.iter_mut().for_each(|node| world.push(node, now_ms));
            }
            now_ms += random(1_500);
        }
        let (rows, complete) = rows.unwrap();
        assert!(complete, "seed {seed}");
        for scope in ["NA", "EU", "global"] {
            let of_scope = exact.iter().filter(|((of, _), _)| of == scope);
            let of_scope = of_scope.map(|((_, post), count)| (post.clone(), *count));
            let expected: BTreeMap<String, u64> = of_scope.collect();
            assert_eq!(exported(&rows, scope), expected, "seed {seed} {scope}");
        }
        // Every play is in charts, those that waited for the moment, too.
        let mut all: Vec<&mut Node> = nodes.iter_mut().collect();
        let rest_ms = world.drain(&mut all, now_ms);
        let counted: u64 = nodes.iter().map(|node| node.sent).sum();
        let charted: u64 = world.counts("global", rest_ms).values().sum();
        assert_eq!(charted, counted, "seed {seed}");
    }
}

#[test]
fn an_export_that_nobody_reads_or_that_another_follows_is_over_and_leaves_nothing() {
    let mut world = World::new();
    let mut node = Node::new("NA", 0, 1);
    node.play("first", NOW_MS);
    let now_ms = world.drain(&mut [&mut node], NOW_MS);
    let first = world.global.begin_export(&world.storage, now_ms).unwrap();
    // Its shards do not answer: they are waited for, but not for ever, and pushes go on.
    let begun = export(&mut world, first.at_ms, first.at_ms + 1, |_| ());
    assert_eq!(begun, Err(Refusal::Busy { retry_after_s: 1 }));
    let late_ms = first.at_ms + 30_000;
    let (_, complete) = export(&mut world, first.at_ms, late_ms, |_| ()).unwrap();
    assert!(!complete);
    node.play("second", late_ms);
    let rest_ms = world.drain(&mut [&mut node], late_ms);
    assert_eq!(aside(&world), 0, "a minute after its last page");
    let over = export(&mut world, first.at_ms, rest_ms, |_| ());
    assert_eq!(over, Err(Refusal::ExportIsOver));

    let second = world.global.begin_export(&world.storage, rest_ms).unwrap();
    let kept_ms = second.at_ms + 30_000;
    let request = |at_ms| ExportRequest {
        at_ms,
        position: ExportPosition {
            table: 1,
            key: Vec::new(),
        },
    };
    let page = world
        .global
        .export(&world.storage, &request(second.at_ms), kept_ms);
    assert!(matches!(page, Ok(ExportAnswer::Page(_))));
    world.global = load_global(&world.storage);
    node.play("third", kept_ms);
    world.push(&mut node, kept_ms + 2 * MINUTE_MS);
    world.flush(kept_ms + 2 * MINUTE_MS);
    assert!(aside(&world) > 1, "it goes on after a start");
    let (rows, _) = export(&mut world, second.at_ms, kept_ms + 3 * MINUTE_MS, |_| ()).unwrap();
    assert_eq!(
        exported(&rows, "NA"),
        counted([("first", 1), ("second", 1)])
    );
    let third = world.global.begin_export(&world.storage, rest_ms).unwrap();
    assert!(third.at_ms != second.at_ms || aside(&world) == 0);
    assert_eq!(aside(&world), 0);
    world.push(&mut node, kept_ms + HOUR_MS);
}

#[test]
fn an_export_has_regions_as_they_were() {
    let mut world = World::new();
    let mut node = Node::new("NA", 0, 1);
    node.play("post", NOW_MS);
    let now_ms = world.drain(&mut [&mut node], NOW_MS);
    name_region(&mut world, "then");
    let begun = world.global.begin_export(&world.storage, now_ms).unwrap();
    let now_ms = begun.at_ms + 30_000;
    let (before, _) = export(&mut world, begun.at_ms, now_ms, |_| ()).unwrap();
    name_region(&mut world, "now");
    world.delete("NA", now_ms).unwrap();
    let (after, _) = export(&mut world, begun.at_ms, now_ms, |_| ()).unwrap();
    assert_eq!(after, before);
    assert_eq!(exported(&after, "NA"), counted([("post", 1)]));
}

#[test]
fn an_export_during_which_too_much_changes_is_over_and_what_changes_is_stored() {
    const REGIONS: usize = 90;
    const DAYS: u64 = 700;
    let mut world = World::new();
    for number in 0..REGIONS {
        let region = PutRegion {
            region_id: format!("{number} {}", "x".repeat(50)),
            region_name: None,
            shards: None,
            hint: None,
        };
        world.registered.put(&region).unwrap();
    }
    world.hear();
    let begun = world.global.begin_export(&world.storage, NOW_MS).unwrap();
    let now_ms = begun.at_ms + 30_000;
    export(&mut world, begun.at_ms, now_ms, |_| ()).unwrap();
    let mut summary = Summary::new(4, Seed::from_bytes([8; 16]));
    summary.record("post", 1);
    let (mut most, summary) = (0, summary.encode());
    for number in 0..REGIONS {
        let rows = (1..=DAYS).map(|day| {
            ImportRow::Row(TransferRow::Pane(TransferPane {
                scope: format!("{number} {}", "x".repeat(50)),
                level: Level::Day.code(),
                start_ms: NOW_MS / DAY_MS * DAY_MS - day * DAY_MS,
                end_ms: NOW_MS / DAY_MS * DAY_MS - (day - 1) * DAY_MS,
                summary: summary.clone(),
            }))
        });
        let request = ImportRequest {
            source: [8; 16],
            export_id: [9; 16],
            first_row: number as u64 * DAYS,
            rows: rows.collect(),
        };
        (world.global)
            .begin_import(&world.storage, &request)
            .unwrap();
        world
            .global
            .import(&world.storage, &request, now_ms)
            .unwrap();
        most = most.max(aside(&world));
    }
    assert!((25_000..60_000).contains(&most), "{most}");
    assert_eq!(
        (aside(&world), world.storage.len(Table::Panes)),
        (0, REGIONS * DAYS as usize)
    );
    let over = export(&mut world, begun.at_ms, now_ms, |_| ());
    assert_eq!(over, Err(Refusal::ExportIsOver));
}

#[test]
fn panes_older_than_is_asked_for_go_and_no_window_reaches_them() {
    let mut world = World::new();
    let mut node = Node::new("NA", 0, 1);
    let old = |days: u64| BatchPlay {
        post_id: "old",
        timestamp_ms: NOW_MS - days * DAY_MS,
        count: 1,
    };
    let plays = [1, 6, 20, 40, 300].map(old);
    let at = (&node.storage, &mut node.shard);
    record(at, ("NA", 0), b"old", &plays, NOW_MS);
    let mut now_ms = world.drain(&mut [&mut node], NOW_MS);
    let days = |world: &World, days: u64, now_ms: u64| {
        let request = ChartRequest {
            scope: "NA".into(),
            window: WindowRequest::Sliding {
                length_ms: days * DAY_MS,
            },
            sort: Sort::Views,
            k_class: 10,
            filter: Filter::default(),
        };
        let rules = hitparade::global::ChartRules::default();
        let chart = world.global.chart(&world.storage, &request, rules, now_ms);
        let chart = chart.unwrap();
        let oldest_day = (now_ms - chart.span.from_ms).div_ceil(DAY_MS);
        (chart.total_views, oldest_day)
    };
    let panes = |world: &World| world.storage.len(Table::Panes);
    assert_eq!(days(&world, 400, now_ms), (5, 401));
    let all = panes(&world);
    let mut kept = Vec::new();
    for (setting, (plays, oldest_day)) in [(30, (3, 31)), (7, (2, 8)), (1, (1, 2))] {
        keep_days(setting);
        world.global = load_global(&world.storage);
        assert_eq!(
            days(&world, 400, now_ms),
            (plays, oldest_day),
            "{setting} days"
        );
        // The first flush of the next hour finds what is too old; a late play of then counts in all time alone.
        now_ms += HOUR_MS;
        let name = format!("late {setting}");
        let at = (&node.storage, &mut node.shard);
        record(at, ("NA", 0), name.as_bytes(), &[old(300)], now_ms);
        now_ms = world.drain(&mut [&mut node], now_ms);
        assert_eq!(
            days(&world, 400, now_ms),
            (plays, oldest_day),
            "{setting} days"
        );
        kept.push(panes(&world));
    }
    assert!(kept.is_sorted_by(|a, b| a > b) && all > kept[0], "{kept:?}");
    let total: u64 = world.counts("NA", now_ms).values().sum();
    assert_eq!(total, 8, "all time forgets nothing");
    keep_days(800);
}

#[test]
fn of_a_deleted_region_and_of_the_first_of_all_it_is_known_for_ever_what_batches_are_decided_by() {
    let mut world = World::new();
    assert_eq!(world.registered.table().origin, "NA");
    world.put("NA", Some(3));
    world.put("NA", Some(2));
    world.delete("NA", NOW_MS).unwrap();
    let stored = world.registered.storage.clone();
    let (key, _) = stored.scan(Table::Meta, b"deleted/", &[], 1).unwrap()[0].clone();
    world.put("NA", Some(1));
    for damaged in [false, true] {
        if damaged {
            let damage = Write::put(Table::Meta, key.clone(), b"damaged".to_vec());
            world.registered.storage.write(&[damage]).unwrap();
        }
        world.registered.start_again();
        assert_eq!(world.registered.registry.damaged_rows() > 0, damaged);
        let table = world.registered.table();
        let most = |key: &str| table.ever_had_key(key).map(|region| region.most_shards);
        assert_eq!((most("NA"), most("NA/1")), (Some(3), Some(1)));
        assert_eq!(table.find("NA").unwrap().key(), "NA/1");
        assert_eq!(
            (table.origin.as_str(), table.deleted[0].deleted_ms),
            ("NA", NOW_MS)
        );
    }
    // A region that is deleted next has a place of its own.
    world.put("MOON", None);
    world.delete("MOON", NOW_MS).unwrap();
    world.registered.start_again();
    let table = world.registered.table();
    let ids = table.deleted.iter();
    let ids: Vec<&str> = ids.map(|it| it.region.region_id.as_str()).collect();
    assert_eq!(ids, ["NA", "MOON"]);
    let kept = world
        .registered
        .storage
        .get(Table::Meta, &key)
        .unwrap()
        .unwrap();
    assert_eq!(kept, b"damaged", "kept");
    let again = world
        .reset(world.registered.table().installation_id, 9, NOW_MS)
        .unwrap();
    assert_eq!(again.table.origin, "NA", "whatever is counted");
}

#[test]
fn a_shard_that_hears_too_late_of_a_moment_does_not_cut_there() {
    let mut world = World::new();
    let mut node = Node::new("NA", 0, 1);
    let begun = world.global.begin_export(&world.storage, NOW_MS).unwrap();
    let (at_ms, epoch) = (begun.at_ms, begun.epoch);
    let cut = |node: &mut Node, at_ms: u64, now_ms: u64| {
        let random = node.random();
        let request = CutRequest {
            region_id: "NA",
            shard: 0,
            epoch,
            at_ms,
        };
        let cut = (node.shard).cut_at(&node.storage, &request, random, now_ms);
        cut.unwrap()
    };
    // It has counted nothing since: it can still cut there.
    node.play("before", at_ms - 1);
    assert!(cut(&mut node, at_ms, at_ms - 1));
    node.play("after", at_ms + 500);
    world.push(&mut node, at_ms + 600);
    let second = at_ms + 100;
    assert!(!cut(&mut node, second, at_ms + 600));
    assert!(!cut(&mut Node::new("EU", 0, 2), 0, NOW_MS));
    let late_ms = at_ms + 30_000;
    let (rows, complete) = export(&mut world, at_ms, late_ms, |_| ()).unwrap();
    assert!(!complete, "EU did not tell");
    assert_eq!(exported(&rows, "NA"), counted([("before", 1)]));
}

/// One was made meanwhile, or was to be, and plays were counted.
#[test]
fn an_export_is_complete_after_one_that_was_made_while_the_clock_was_ahead() {
    const AHEAD_MS: u64 = 3 * 60 * MINUTE_MS;
    for (is_cut, starts_again, plays_again) in [
        (true, false, false),
        (true, true, false),
        (true, false, true),
        (false, false, false),
        (false, true, true),
    ] {
        let case = format!("{is_cut} {starts_again} {plays_again}");
        let mut world = World::new();
        let mut node = Node::new("NA", 0, 1);
        let mut other = Node::new("EU", 0, 2);
        node.play("first", NOW_MS + AHEAD_MS);
        let begun = (world.global)
            .begin_export(&world.storage, NOW_MS + AHEAD_MS)
            .unwrap();
        for node in [&mut node, &mut other] {
            assert!(node.is_to_cut(&begun), "{case}");
            if is_cut {
                world.push(node, begun.at_ms);
            }
        }
        // The clock is set back.
        if starts_again {
            node.start_again(NOW_MS);
        }
        let mut exact = counted([("first", 1)]);
        if plays_again {
            node.play("second", NOW_MS);
            exact.extend(counted([("second", 1)]));
        }
        let begun = world.global.begin_export(&world.storage, NOW_MS).unwrap();
        for node in [&mut node, &mut other] {
            assert!(node.is_to_cut(&begun), "{case}");
            assert!(node.is_to_cut(&begun), "{case}: told again");
            // It tells of the cut of before once more, which is none of this export.
            world.push(node, begun.at_ms - 1);
            world.push(node, begun.at_ms);
        }
        node.play("after", begun.at_ms + 1);
        let now_ms = world.drain(&mut [&mut node, &mut other], begun.at_ms + 1_000);
        let (rows, complete) = export(&mut world, begun.at_ms, now_ms, |_| ()).unwrap();
        assert!(complete, "{case}");
        assert_eq!(exported(&rows, "NA"), exact, "{case}");
    }
}

/// Whoever begins an export may ask for its first page long after its moment.
#[test]
fn an_export_has_nothing_of_after_its_moment_however_late_its_first_page_is_asked_for() {
    let mut world = World::new();
    let mut nodes = [Node::new("NA", 0, 1), Node::new("EU", 0, 2)];
    nodes[0].play("before", NOW_MS);
    let begun = world.global.begin_export(&world.storage, NOW_MS).unwrap();
    for node in &mut nodes {
        assert!(node.is_to_cut(&begun));
    }
    let at_ms = begun.at_ms;
    nodes[1].play("before", at_ms - 1);
    for node in &mut nodes {
        world.push(node, at_ms);
    }
    nodes[0].play("after", at_ms + 1);
    let [first, second] = &mut nodes;
    let now_ms = world.drain(&mut [first, second], at_ms + 30_000);
    let all = counted([("after", 1), ("before", 2)]);
    assert_eq!(world.counts("global", now_ms), all);
    let (rows, complete) = export(&mut world, at_ms, now_ms, |_| ()).unwrap();
    assert!(complete);
    assert_eq!(exported(&rows, "global"), counted([("before", 2)]));
}

/// An export of which the shard of NA has told its moment, with a play of before, and the other has not.
fn begun_with_one_that_has_cut() -> (World, Node, ToCut) {
    let mut world = World::new();
    let mut node = Node::new("NA", 0, 1);
    node.play("before", NOW_MS);
    let begun = world.global.begin_export(&world.storage, NOW_MS).unwrap();
    assert!(node.is_to_cut(&begun));
    world.push(&mut node, begun.at_ms);
    (world, node, begun)
}

/// One region's shard does not tell: the others' plays are of the moment all the same.
#[test]
fn an_export_that_lacks_a_shard_has_nothing_of_after_its_moment_of_the_others() {
    let (mut world, mut node, begun) = begun_with_one_that_has_cut();
    node.play("after", begun.at_ms + 1);
    let now_ms = world.drain(&mut [&mut node], begun.at_ms + 30_000);
    let all = counted([("after", 1), ("before", 1)]);
    assert_eq!(world.counts("global", now_ms), all);
    let (rows, complete) = export(&mut world, begun.at_ms, now_ms, |_| ()).unwrap();
    assert!(!complete);
    assert_eq!(exported(&rows, "global"), counted([("before", 1)]));
}

/// One region's shard does not tell, and the clock is hours behind before anybody gives up.
#[test]
fn an_export_during_which_the_clock_is_set_back_holds_nothing_back() {
    let (mut world, mut node, begun) = begun_with_one_that_has_cut();
    let back_ms = NOW_MS - 3 * HOUR_MS;
    node.play("after", back_ms);
    let now_ms = world.drain(&mut [&mut node], back_ms);
    let (rows, complete) = export(&mut world, begun.at_ms, now_ms, |_| ()).unwrap();
    assert!(!complete);
    assert_eq!(exported(&rows, "global"), counted([("before", 1)]));
}

/// What its shards have of before the moment is refused, or is about to be.
#[test]
fn an_export_without_a_region_that_the_registry_has_lost_is_not_complete() {
    for starts_again in [false, true] {
        let mut world = World::new();
        let mut nodes = [Node::new("NA", 0, 1), Node::new("EU", 0, 2)];
        nodes[1].play("lost", NOW_MS);
        world.push(&mut nodes[1], NOW_MS);
        let known = world.registered.table();
        let is_left = |region: &&Region| region.region_id == "NA";
        let of_before = RegionTable {
            number: known.number - 1,
            regions: known.regions.iter().filter(is_left).cloned().collect(),
            ..known
        };
        world.global.hear(&world.storage, of_before).unwrap();
        if starts_again {
            world.global = load_global(&world.storage);
            let message = nodes[1].message(NOW_MS).unwrap();
            let refused = world.global.take_push(&message, NOW_MS);
            assert_eq!(refused, Err(Refusal::UnknownRegion));
        }
        for is_known in [false, true] {
            let mut now_ms = NOW_MS;
            if is_known {
                now_ms += MINUTE_MS;
                world.hear();
            }
            let begun = world.global.begin_export(&world.storage, now_ms).unwrap();
            for node in &mut nodes {
                if is_known || node.key == "NA" {
                    assert!(node.is_to_cut(&begun));
                    world.push(node, begun.at_ms);
                }
            }
            let (_, complete) = export(&mut world, begun.at_ms, begun.at_ms, |_| ()).unwrap();
            assert_eq!(complete, is_known, "{starts_again}");
        }
    }
}

/// The request of an export that another followed is delivered late.
#[test]
fn a_shard_that_hears_of_an_older_moment_after_a_newer_one_keeps_to_the_newer() {
    for is_cut in [false, true] {
        let mut world = World::new();
        let mut nodes = [Node::new("NA", 0, 1), Node::new("EU", 0, 2)];
        let older = world.global.begin_export(&world.storage, NOW_MS).unwrap();
        let newer_ms = NOW_MS + 200;
        let newer = world.global.begin_export(&world.storage, newer_ms).unwrap();
        nodes[0].play("before", NOW_MS);
        for node in &mut nodes {
            assert!(node.is_to_cut(&newer));
            if is_cut {
                // It has counted nothing since the older moment.
                world.push(node, newer.at_ms);
            }
            assert!(!node.is_to_cut(&older));
            assert!(node.is_to_cut(&newer), "told again");
            world.push(node, newer.at_ms);
        }
        let (rows, complete) = export(&mut world, newer.at_ms, newer.at_ms, |_| ()).unwrap();
        assert!(complete, "cut: {is_cut}");
        assert_eq!(exported(&rows, "global"), counted([("before", 1)]));
    }
}

/// The rows that there are of an export.
fn aside(world: &World) -> usize {
    world.storage.keys(Table::Meta, b"export/").unwrap().len()
}

fn name_region(world: &mut World, name: &str) {
    let region = PutRegion {
        region_id: "EU".into(),
        region_name: Some(name.into()),
        shards: None,
        hint: None,
    };
    world.registered.put(&region).unwrap();
    world.hear();
}

/// A play of a post is folded, of a shard that never pushed before.
fn fold(world: &mut World, post_id: &str, shard: u32) {
    let mut summary = Summary::new(4, Seed::from_bytes(SEED));
    summary.record(post_id, 1);
    let key = PaneKey::of(Level::Minute, NOW_MS - 2 * MINUTE_MS, &Days::default());
    let push = objects::first_push(("NA", shard), &[objects::pane(key, &summary)], &[]);
    world.global.take_push(&push, NOW_MS).unwrap();
    world.global.flush(&world.storage, NOW_MS).unwrap();
}

/// An export is begun, and its first page read; its moment and when that was.
fn begin_to_read(world: &mut World, now_ms: u64) -> (u64, u64) {
    let begun = world.global.begin_export(&world.storage, now_ms).unwrap();
    let kept_ms = begun.at_ms + 30_000;
    let request = ExportRequest {
        at_ms: begun.at_ms,
        position: ExportPosition {
            table: 0,
            key: Vec::new(),
        },
    };
    let page = world.global.export(&world.storage, &request, kept_ms);
    assert!(matches!(page, Ok(ExportAnswer::Page(_))));
    (begun.at_ms, kept_ms)
}

/// What was put aside for one moment is never shown as another's.
#[test]
fn an_export_whose_head_cannot_be_read_is_over_is_counted_and_leaves_nothing_to_the_next() {
    let head = b"export/head".to_vec();
    for damage in [
        Write::put(Table::Meta, head.clone(), b"damaged".to_vec()),
        Write::delete(Table::Meta, head),
    ] {
        let mut world = World::new();
        fold(&mut world, "post", 7);
        let (at_ms, kept_ms) = begin_to_read(&mut world, NOW_MS);
        fold(&mut world, "post", 8);
        assert!(aside(&world) > 1);
        world.storage.write(&[damage]).unwrap();
        world.global = load_global(&world.storage);
        assert_eq!(world.global.damaged_rows(), 1);
        assert_eq!(aside(&world), 0);
        let over = export(&mut world, at_ms, kept_ms, |_| ());
        assert_eq!(over, Err(Refusal::ExportIsOver));
        let (at_ms, kept_ms) = begin_to_read(&mut world, kept_ms);
        let (rows, _) = export(&mut world, at_ms, kept_ms, |_| ()).unwrap();
        assert_eq!(exported(&rows, "NA"), counted([("post", 2)]));
    }
}

/// Nobody reads it, nothing is folded, and the object is started every few minutes.
#[test]
fn an_export_that_nobody_reads_is_over_an_hour_after_its_moment_however_often_the_object_starts() {
    for pushes in [false, true] {
        let mut world = World::new();
        let (at_ms, mut now_ms) = begin_to_read(&mut world, NOW_MS);
        let mut node = Node::new("NA", 0, 1);
        while aside(&world) > 0 {
            now_ms += 9 * MINUTE_MS;
            assert!(now_ms < at_ms + 80 * MINUTE_MS, "pushes: {pushes}");
            world.global = load_global(&world.storage);
            if pushes {
                // A copy alone.
                node.play("post", now_ms);
                node.shard.synced(node.shard.sync_point());
                let push = node.shard.push(&node.storage).unwrap().unwrap();
                let is_short = |_: &Global| false;
                let taken =
                    (world.global).take_push_within(&world.storage, &push, is_short, now_ms);
                taken.unwrap();
            } else {
                (world.global)
                    .end_idle_export(&world.storage, now_ms)
                    .unwrap();
            }
        }
        assert!(now_ms > at_ms + 40 * MINUTE_MS, "it outlives a start");
    }
}

#[test]
fn shards_that_are_more_than_one_request_may_tell_of_an_export_are_handed_out_until_all_were() {
    let mut world = World::new();
    let wide = PutRegion {
        region_id: "WIDE".into(),
        region_name: None,
        shards: Some(100),
        hint: Some(Some("enam".into())),
    };
    world.registered.put(&wide).unwrap();
    world.hear();
    let (global, storage) = (&mut world.global, &world.storage);
    let regions = &global.table().regions;
    let in_all: u32 = regions.iter().map(|region| region.most_shards).sum();
    let mut batches = vec![global.begin_export(storage, NOW_MS).unwrap()];
    let request = ExportRequest {
        at_ms: batches[0].at_ms,
        position: ExportPosition {
            table: 0,
            key: Vec::new(),
        },
    };
    loop {
        match global.export(storage, &request, NOW_MS + 1_000).unwrap() {
            ExportAnswer::Tell(batch) => batches.push(batch),
            ExportAnswer::Wait { .. } => break,
            ExportAnswer::Page(_) => unreachable!("the moment is to come"),
        }
    }
    let told = batches.iter().flat_map(|batch| &batch.shards);
    let mut told: Vec<_> = told.cloned().collect();
    assert!(batches.iter().all(|it| it.shards.len() <= SHARDS_A_REQUEST));
    assert!(batches.iter().all(|it| it.at_ms == request.at_ms));
    assert!(told.contains(&("WIDE".into(), 99, Some("enam".into()))));
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!((all, told.len()), (in_all as usize, in_all as usize));
}

/// A registry that was set back, or cannot read a row, has lost a region, not deleted it.
#[test]
fn what_a_region_had_counts_once_in_its_charts_when_the_registry_knows_it_again() {
    for is_folded_meanwhile in [true, false] {
        let mut world = World::new();
        let mut node = Node::new("EU", 0, 1);
        node.play("stored", NOW_MS);
        let mut now_ms = world.drain(&mut [&mut node], NOW_MS);
        node.play("pending", now_ms);
        now_ms += 2 * MINUTE_MS;
        let message = node.message(now_ms).unwrap();
        let reply = world.global.take_push(&message, now_ms).unwrap();
        node.is_told(&reply);
        let known = world.registered.table();
        let of_before = RegionTable {
            number: known.number - 1,
            regions: known.regions[..1].to_vec(),
            ..known
        };
        world.global.hear(&world.storage, of_before).unwrap();
        if is_folded_meanwhile {
            world.flush(now_ms);
        }
        world.hear();
        now_ms = world.drain(&mut [&mut node], now_ms);
        for scope in ["EU", "global"] {
            let counts = world.counts(scope, now_ms);
            assert_eq!(
                counts,
                counted([("pending", 1), ("stored", 1)]),
                "{scope} {is_folded_meanwhile}"
            );
        }
    }
}

/// The shard hears of the moment, or not.
#[test]
fn an_export_waits_for_shards_that_come_to_be_before_its_moment() {
    for hears in [true, false] {
        let mut world = World::new();
        let mut nodes = [Node::new("NA", 0, 1), Node::new("EU", 0, 2)];
        let begun = world.global.begin_export(&world.storage, NOW_MS).unwrap();
        for node in &mut nodes {
            assert!(node.is_to_cut(&begun));
        }
        world.put("NA", Some(2));
        let mut new = Node::new("NA", 1, 3);
        new.play("post", NOW_MS + 100);
        let position = ExportPosition {
            table: 0,
            key: Vec::new(),
        };
        let at_ms = begun.at_ms;
        let request = ExportRequest { at_ms, position };
        let told = world.global.export(&world.storage, &request, NOW_MS + 100);
        let Ok(ExportAnswer::Tell(told)) = told else {
            panic!("it was told of the moment by nobody: {told:?}");
        };
        assert_eq!(told.shards, [("NA".to_owned(), 1, None)]);
        if hears {
            assert!(new.is_to_cut(&told));
        }
        for node in &mut nodes {
            world.push(node, at_ms);
        }
        let early = export(&mut world, at_ms, at_ms + 100, |_| ());
        assert_eq!(early, Err(Refusal::Busy { retry_after_s: 1 }));
        world.push(&mut new, at_ms + 200);
        let (rows, complete) = export(&mut world, at_ms, at_ms + 30_000, |_| ()).unwrap();
        assert_eq!(complete, hears);
        if hears {
            assert_eq!(exported(&rows, "global"), counted([("post", 1)]));
        }
    }
}

#[test]
fn an_export_does_not_wait_for_a_shard_that_comes_to_be_after_its_moment() {
    let mut world = World::new();
    let mut nodes = [Node::new("NA", 0, 1), Node::new("EU", 0, 2)];
    let begun = world.global.begin_export(&world.storage, NOW_MS).unwrap();
    for node in &mut nodes {
        assert!(node.is_to_cut(&begun));
    }
    let at_ms = begun.at_ms;
    world.push(&mut nodes[0], at_ms);
    let mut new = Node::made_at(at_ms + 50, ("NA", 1), 3);
    new.play("late", at_ms + 100);
    world.push(&mut new, at_ms + 150);
    world.push(&mut nodes[1], at_ms + 200);
    let (rows, complete) = export(&mut world, at_ms, at_ms + 300, |_| ()).unwrap();
    assert!(complete);
    assert_eq!(exported(&rows, "global"), counted([]));
}

#[test]
fn a_sync_that_began_before_counting_began_anew_says_nothing_of_what_is_stored_since() {
    let mut world = World::new();
    let point = world.global.sync_point();
    let installation_id = world.registered.table().installation_id;
    world.reset(installation_id, 9, NOW_MS).unwrap();
    world.global.synced(&point);
    let mut node = Node::new("NA", 0, 1);
    let epoch = world.global.table().epoch();
    node.hear(epoch);
    node.play("post", NOW_MS);
    let message = node.message(NOW_MS).unwrap();
    let told = |world: &mut World| {
        let reply = world.global.take_push(&message, NOW_MS).unwrap();
        reply.days
    };
    let zone = || Some(Zone::utc());
    let (global, storage) = (&mut world.global, &world.storage);
    global.follow_zone(storage, zone, NOW_MS).unwrap();
    assert_eq!(told(&mut world), None);
    let point = world.global.sync_point();
    world.global.synced(&point);
    assert!(told(&mut world).is_some());
}

/// The shard `NA/0` of `main`, on a platform of its own.
fn shard_of(host: &TestHost) -> region::Driver<TestHost> {
    region::Driver::new(host.clone(), Limits::default())
}

/// Asks that shard to cut its log at a moment.
fn request_to_cut(at_ms: u64) -> Vec<u8> {
    codec::encode(&CutRequest {
        region_id: "NA",
        shard: 0,
        epoch: Epoch {
            began_ms: 0,
            seed: SEED,
        },
        at_ms,
    })
}

/// The platform puts an object to sleep that nobody asks for anything, and drops its state with it.
#[test]
fn a_shard_that_sleeps_before_the_moment_of_an_export_or_after_it_tells_of_it_nevertheless() {
    for plays in [0, 1] {
        let host = TestHost {
            object: Rc::new(ObjectName::shard(MAIN, "NA", 0)),
            ..TestHost::at(NOW_MS)
        };
        if plays > 0 {
            let request = objects::request_of_a_play(MAIN, NOW_MS);
            let reply = host.run(shard_of(&host).record(&request, None), || {});
            assert_eq!(reply, RecordReply::counted(false));
        }
        let at_ms = host.now_ms.get() + 20_000;
        let request = request_to_cut(at_ms);
        assert_eq!(host.run(shard_of(&host).cut(&request), || {}), Ok(()));
        let reply = PushReplyOrRefusal(Ok(PushReply {
            wanted_offset: plays,
            durable_offset: plays,
            epoch_ms: 0,
            seed: SEED,
            push_interval_ms: PUSH_INTERVAL_MS,
            is_quiet: true,
            watched_since_ms: None,
            state: 0,
            days: None,
        }));
        let reply = codec::encode(&reply);
        let cut = Some(Cut {
            at_ms,
            offset: plays,
        });
        let mut cuts = Vec::new();
        for _ in 0..8 {
            // The global object is away at the moment.
            *host.push_reply.borrow_mut() = cuts.contains(&cut).then(|| reply.clone());
            host.tasks.borrow_mut().clear();
            let Some(due_ms) = host.alarm_ms.take() else {
                break;
            };
            host.now_ms.set(due_ms.max(host.now_ms.get()));
            assert_eq!(host.run(shard_of(&host).alarm(None), || {}), Ok(()));
            for report in host.pushed.take() {
                let report = codec::decode::<ShardReport<'_>>(&report).unwrap();
                cuts.push(codec::decode::<Push<'_>>(report.push).unwrap().cut);
            }
        }
        cuts.retain(Option::is_some);
        assert_eq!(cuts, [cut, cut], "told and told again, {plays} plays");
        assert_eq!(host.alarm_ms.get(), None, "nothing is left to tell");
    }
}

/// Shards wait a minute between two pushes, as there are many, or as the day's requests are used up.
#[test]
fn a_shard_whose_log_was_cut_sends_all_before_the_cut_without_waiting_as_long_as_it_does_otherwise()
{
    const PANES: u64 = 40;
    let host = TestHost {
        object: Rc::new(ObjectName::shard(MAIN, "NA", 0)),
        ..TestHost::at(NOW_MS)
    };
    let mut limits = Limits::default();
    limits.push.panes = 1;
    let shard = region::Driver::new(host.clone(), limits);
    let plays = (0..PANES).map(|pane| BatchPlay {
        post_id: "post",
        timestamp_ms: NOW_MS - pane * 2 * HOUR_MS,
        count: 1,
    });
    let batch = codec::encode(&Batch {
        key: Some(b"key"),
        plays_hash: 0,
        sent_ms: NOW_MS,
        plays: plays.collect(),
    });
    let request = objects::request_of(MAIN, &batch);
    let reply = host.run(shard.record(&request, None), || {});
    assert_eq!(reply, RecordReply::counted(false));
    let at_ms = NOW_MS + 20_000;
    let request = request_to_cut(at_ms);
    assert_eq!(host.run(shard.cut(&request), || {}), Ok(()));
    let mut sent_ms = None;
    let mut pushes = 0;
    while sent_ms.is_none() {
        let due_ms = host.alarm_ms.take().unwrap();
        host.now_ms.set(due_ms.max(host.now_ms.get()));
        let alarm = host.run(shard.alarm(None), || {
            for report in host.pushed.take() {
                pushes += u64::from(host.now_ms.get() >= at_ms);
                let report = codec::decode::<ShardReport<'_>>(&report).unwrap();
                let push = codec::decode::<Push<'_>>(report.push).unwrap();
                let offset = push.first_offset + push.entries.len() as u64;
                let is_all = push.cut.is_some_and(|cut| cut.offset <= offset);
                sent_ms = sent_ms.or(is_all.then(|| host.now_ms.get()));
                let reply = PushReplyOrRefusal(Ok(PushReply {
                    wanted_offset: offset,
                    durable_offset: offset,
                    epoch_ms: 0,
                    seed: SEED,
                    push_interval_ms: MINUTE_MS,
                    is_quiet: false,
                    watched_since_ms: None,
                    state: 0,
                    days: None,
                }));
                *host.push_reply.borrow_mut() = Some(codec::encode(&reply));
            }
        });
        assert_eq!(alarm, Ok(()));
    }
    assert!(pushes > PANES / 2, "{pushes} since the moment");
    let after_ms = sent_ms.unwrap() - at_ms;
    assert!(after_ms < CUT_WITHIN_MS, "{after_ms} ms after the moment");
}
