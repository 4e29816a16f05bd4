//! What cannot be read, or does not make sense: refused, reported, kept, and never in the way.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::objects::{self, Registered, load_global};
use hitparade::codec;
use hitparade::global::Global;
use hitparade::leaderboard::Leaderboard;
use hitparade::region::{Limits, Shard};
use hitparade::storage::{MemoryStorage, Storage, Table, Write};
use hitparade::summary::{Seed, Summary};
use hitparade::topology::Epoch;
use hitparade::window::{DAY_MS, MINUTE_MS};
use hitparade::wire::GlobalMetrics;
use hitparade::wire::ShardMetrics;
use hitparade::wire::*;

const NOW_MS: u64 = 20_000 * DAY_MS + 30_000;

/// A row of a release that does not exist yet, and one that a disk has spoilt.
const SPOILS: [fn(&mut Vec<u8>); 2] = [|row| row[1] = 99, |row| *row = b"spoilt".to_vec()];

/// Loads a shard with other random bytes each time, as the platform gives them: a log that is made
/// anew has another name.
fn load_shard(storage: &MemoryStorage, now_ms: u64) -> Shard {
    static LOADS: AtomicU8 = AtomicU8::new(1);
    let random = [LOADS.fetch_add(1, Ordering::Relaxed); 32];
    let mut shard = Shard::load(storage, random, now_ms).unwrap();
    shard.synced(shard.sync_point());
    shard
}

fn record(shard: &mut Shard, storage: &MemoryStorage, key: &str, now_ms: u64) -> RecordReply {
    let play = BatchPlay {
        post_id: "post",
        timestamp_ms: now_ms,
        count: 1,
    };
    objects::record((storage, shard), ("NA", 0), key.as_bytes(), &[play], now_ms)
}

fn push(shard: &mut Shard, storage: &MemoryStorage) -> Vec<u8> {
    shard.synced(shard.sync_point());
    shard.push(storage).unwrap().unwrap()
}

fn chart(global: &Global, storage: &MemoryStorage, now_ms: u64) -> Leaderboard {
    let everything = (WindowRequest::All, Sort::Views);
    objects::chart(global, storage, "NA", everything, now_ms).unwrap()
}

/// Damaged rows are kept as they are, wherever they were moved to.
fn assert_kept(storage: &MemoryStorage, table: Table, spoilt: &[(Vec<u8>, Vec<u8>)]) {
    let everything = Table::ALL.map(|table| storage.scan(table, &[], &[], usize::MAX));
    let kept: Vec<Vec<u8>> = everything
        .into_iter()
        .flat_map(|rows| rows.unwrap())
        .map(|(_, value)| value)
        .collect();
    for (key, value) in spoilt {
        assert!(kept.contains(value), "{table:?} {key:?} is kept");
    }
}

/// A shard with rows in every table: sealed panes, an open one, fingerprints, a journal.
fn used_shard() -> (MemoryStorage, Shard, u64) {
    let storage = MemoryStorage::new();
    let mut shard = load_shard(&storage, NOW_MS);
    let mut now_ms = NOW_MS;
    for minute in 0..4 {
        now_ms = NOW_MS + minute * MINUTE_MS;
        record(&mut shard, &storage, &format!("batch {minute}"), now_ms);
        shard.checkpoint(&storage, now_ms).unwrap();
    }
    record(&mut shard, &storage, "the last", now_ms);
    for table in [
        Table::Meta,
        Table::Journal,
        Table::OpenPanes,
        Table::Outbox,
        Table::Seen,
    ] {
        assert!(storage.len(table) > 0, "{table:?}");
    }
    (storage, shard, now_ms)
}

#[test]
fn a_shard_starts_with_any_table_damaged_and_keeps_what_it_cannot_read() {
    for table in [
        Table::Meta,
        Table::Journal,
        Table::OpenPanes,
        Table::Outbox,
        Table::Seen,
    ] {
        for spoil in SPOILS {
            let (storage, _, mut now_ms) = used_shard();
            storage.damage(table, spoil);
            let spoilt = storage.scan(table, &[], &[], usize::MAX).unwrap();
            let mut global = load_global(&MemoryStorage::new());
            let mut shard = load_shard(&storage, now_ms);
            for minute in 0..200 {
                now_ms += MINUTE_MS;
                let reply = record(&mut shard, &storage, &format!("new {minute}"), now_ms);
                assert_eq!(reply, RecordReply::counted(false), "{table:?}");
                if shard.checkpoint_is_due(now_ms) {
                    shard.checkpoint(&storage, now_ms).unwrap();
                }
                let push = push(&mut shard, &storage);
                let reply = global.take_push(&push, now_ms).unwrap();
                let reply = PushReply {
                    durable_offset: reply.wanted_offset,
                    ..reply
                };
                shard.pushed(&storage, &reply, [1; 16]).unwrap();
                if minute % 50 == 0 {
                    shard = load_shard(&storage, now_ms);
                }
            }
            assert!(
                shard.damaged_rows() > 0 || table == Table::Outbox,
                "{table:?}"
            );
            assert_kept(&storage, table, &spoilt);
        }
    }
}

#[test]
fn an_idle_shard_that_loses_its_header_counts_nothing_again() {
    let (storage, mut shard, mut now_ms) = used_shard();
    let on_global = MemoryStorage::new();
    let mut global = load_global(&on_global);
    let mut settle = |shard: &mut Shard, now_ms: u64| {
        if shard.checkpoint_is_due(now_ms) {
            shard.checkpoint(&storage, now_ms).unwrap();
        }
        let reply = global.take_push(&push(shard, &storage), now_ms).unwrap();
        global.flush(&on_global, now_ms).unwrap();
        global.synced(&global.sync_point());
        let durable_offset = reply.wanted_offset;
        let reply = PushReply {
            durable_offset,
            ..reply
        };
        shard.pushed(&storage, &reply, [1; 16]).unwrap();
        chart(&global, &on_global, now_ms + 2_000).total_views
    };
    for _ in 0..5 {
        now_ms += MINUTE_MS;
        settle(&mut shard, now_ms);
    }
    assert!(!shard.has_work());
    let counted = settle(&mut shard, now_ms);
    assert_eq!(counted, 5);
    storage.damage(Table::Meta, SPOILS[1]);
    let mut shard = load_shard(&storage, now_ms);
    for _ in 0..5 {
        now_ms += MINUTE_MS;
        if shard.has_work() {
            assert_eq!(settle(&mut shard, now_ms), counted);
        }
    }
    record(&mut shard, &storage, "another", now_ms);
    assert_eq!(settle(&mut shard, now_ms), counted + 1);
}

#[test]
fn a_shard_that_loses_header_and_journal_together_is_not_refused() {
    for spoil in SPOILS {
        let (storage, _, mut now_ms) = used_shard();
        storage.damage(Table::Meta, spoil);
        storage.damage(Table::Journal, spoil);
        let mut global = load_global(&MemoryStorage::new());
        let mut shard = load_shard(&storage, now_ms);
        for minute in 0..4 {
            now_ms += MINUTE_MS;
            record(&mut shard, &storage, &format!("new {minute}"), now_ms);
            if shard.checkpoint_is_due(now_ms) {
                shard.checkpoint(&storage, now_ms).unwrap();
            }
            global
                .take_push(&push(&mut shard, &storage), now_ms)
                .unwrap();
        }
    }
}

#[test]
fn a_damaged_pane_in_the_outbox_is_a_gap_and_blocks_nothing() {
    let (storage, _, now_ms) = used_shard();
    let offsets = storage.keys(Table::Outbox, &[]).unwrap();
    assert!(offsets.len() >= 2);
    for (position, key) in offsets.iter().enumerate() {
        let (storage, _, _) = used_shard();
        storage
            .write(&[Write::put(Table::Outbox, key.clone(), b"spoilt".to_vec())])
            .unwrap();
        let on_global = MemoryStorage::new();
        let mut global = load_global(&on_global);
        let mut shard = load_shard(&storage, now_ms);
        let reply = global.take_push(&push(&mut shard, &storage), now_ms);
        assert_eq!(reply.unwrap().wanted_offset, offsets.len() as u64);
        assert_eq!(
            global.tell(GlobalMetrics::default(), 0).gaps,
            1,
            "offset {position}"
        );
        global.flush(&on_global, now_ms).unwrap();
        // Five plays, one of them lost.
        assert_eq!(chart(&global, &on_global, now_ms).total_views, 4);
        global.synced(&global.sync_point());
        let reply = global
            .take_push(&push(&mut shard, &storage), now_ms)
            .unwrap();
        assert_eq!(reply.durable_offset, offsets.len() as u64);
        shard.pushed(&storage, &reply, [1; 16]).unwrap();
        assert_eq!(shard.tell(ShardMetrics::default(), 0).outbox_panes, 0);
    }
}

/// A play was counted meanwhile, for the minute that the clock showed.
#[test]
fn a_pane_of_a_clock_that_was_days_ahead_keeps_nothing_else_of_its_shard_from_charts() {
    const AHEAD_MS: u64 = 3 * DAY_MS;
    let (on_shard, on_global) = (MemoryStorage::new(), MemoryStorage::new());
    let mut shard = load_shard(&on_shard, NOW_MS + AHEAD_MS);
    record(&mut shard, &on_shard, "ahead", NOW_MS + AHEAD_MS);
    let mut global = load_global(&on_global);
    let mut settle = |shard: &mut Shard, now_ms: u64| {
        if shard.checkpoint_is_due(now_ms) {
            shard.checkpoint(&on_shard, now_ms).unwrap();
        }
        let pushed = global.take_push(&push(shard, &on_shard), now_ms).unwrap();
        global.flush(&on_global, now_ms).unwrap();
        global.synced(&global.sync_point());
        let reply = PushReply {
            durable_offset: pushed.wanted_offset,
            ..pushed
        };
        shard.pushed(&on_shard, &reply, [1; 16]).unwrap();
        assert_eq!(global.tell(GlobalMetrics::default(), 0).gaps, 0);
        let chart = chart(&global, &on_global, now_ms + 2_000);
        assert!(!chart.incomplete);
        chart.total_views
    };
    // The clock is set back.
    for minute in 0..4 {
        let now_ms = NOW_MS + minute * MINUTE_MS;
        record(&mut shard, &on_shard, &format!("batch {minute}"), now_ms);
        assert_eq!(settle(&mut shard, now_ms), minute + 1);
    }
    settle(&mut shard, NOW_MS + 5 * MINUTE_MS);
    assert_eq!(shard.tell(ShardMetrics::default(), NOW_MS).outbox_panes, 0);
    // All that is of now is sealed for an export.
    let now_ms = NOW_MS + 5 * MINUTE_MS;
    record(&mut shard, &on_shard, "exported", now_ms);
    let request = CutRequest {
        region_id: "NA",
        shard: 0,
        epoch: Epoch {
            began_ms: 0,
            seed: objects::SEED,
        },
        at_ms: now_ms + 1,
    };
    let cut = shard.cut_at(&on_shard, &request, [2; 16], now_ms);
    assert!(cut.unwrap() && shard.cut_if_due(&on_shard, now_ms + 1).unwrap());
    assert_eq!(settle(&mut shard, now_ms + 1), 5);
    // Its time comes.
    let then_ms = NOW_MS + AHEAD_MS + 2 * MINUTE_MS;
    assert_eq!(settle(&mut shard, then_ms), 6);
    assert!(!shard.has_work());
}

/// The journal says of some by the clock of then when they were counted.
#[test]
fn a_shard_that_starts_after_its_clock_was_set_back_counts_nothing_twice() {
    let storage = MemoryStorage::new();
    let ahead_ms = NOW_MS + DAY_MS / 2;
    let mut shard = load_shard(&storage, ahead_ms);
    record(&mut shard, &storage, "stored", ahead_ms);
    shard.checkpoint(&storage, ahead_ms).unwrap();
    record(&mut shard, &storage, "in the journal", ahead_ms);
    let mut shard = load_shard(&storage, NOW_MS);
    record(&mut shard, &storage, "new", NOW_MS + MINUTE_MS);
    for key in ["stored", "in the journal", "new"] {
        let again = record(&mut shard, &storage, key, NOW_MS + 2 * MINUTE_MS);
        assert_eq!(again, RecordReply::counted(true), "{key}");
    }
}

#[test]
fn a_pane_that_was_sealed_days_ahead_is_a_gap_and_blocks_nothing() {
    const AHEAD_MS: u64 = 3 * DAY_MS;
    let (on_shard, on_global) = (MemoryStorage::new(), MemoryStorage::new());
    let mut shard = load_shard(&on_shard, NOW_MS + AHEAD_MS);
    record(&mut shard, &on_shard, "ahead", NOW_MS + AHEAD_MS);
    let sealed_ms = NOW_MS + AHEAD_MS + 2 * MINUTE_MS;
    shard.checkpoint(&on_shard, sealed_ms).unwrap();
    // The clock is set back before it was pushed.
    record(&mut shard, &on_shard, "now", NOW_MS);
    let mut global = load_global(&on_global);
    let reply = global.take_push(&push(&mut shard, &on_shard), NOW_MS);
    assert_eq!(reply.unwrap().wanted_offset, 1);
    assert_eq!(global.tell(GlobalMetrics::default(), 0).gaps, 1);
    global.flush(&on_global, NOW_MS).unwrap();
    global.synced(&global.sync_point());
    let reply = global.take_push(&push(&mut shard, &on_shard), NOW_MS);
    shard.pushed(&on_shard, &reply.unwrap(), [1; 16]).unwrap();
    let figures = shard.tell(ShardMetrics::default(), NOW_MS);
    assert_eq!((figures.outbox_panes, figures.open_panes), (0, 1));
    assert_eq!(chart(&global, &on_global, NOW_MS + 2_000).total_views, 1);
    assert_eq!(global.tell(GlobalMetrics::default(), 0).gaps, 1);
}

#[test]
fn a_clock_that_is_days_behind_makes_no_gap_of_what_was_sealed_before() {
    let (on_shard, on_global) = (MemoryStorage::new(), MemoryStorage::new());
    let mut shard = load_shard(&on_shard, NOW_MS);
    let mut global = load_global(&on_global);
    record(&mut shard, &on_shard, "first", NOW_MS);
    global
        .take_push(&push(&mut shard, &on_shard), NOW_MS)
        .unwrap();
    global.flush(&on_global, NOW_MS).unwrap();
    record(&mut shard, &on_shard, "sealed", NOW_MS);
    shard.checkpoint(&on_shard, NOW_MS + 2 * MINUTE_MS).unwrap();
    let sealed = push(&mut shard, &on_shard);
    // The machine starts with another clock, or goes on with it.
    for starts_again in [true, false] {
        if starts_again {
            global = load_global(&on_global);
        }
        let reply = global.take_push(&sealed, NOW_MS - 3 * DAY_MS).unwrap();
        assert_eq!(reply.wanted_offset, 1);
        assert_eq!(global.tell(GlobalMetrics::default(), 0).gaps, 0);
    }
    let chart = chart(&global, &on_global, NOW_MS + 10 * MINUTE_MS);
    assert_eq!(chart.total_views, 2);
}

#[test]
fn what_a_damaged_row_of_the_journal_had_does_not_come_back_with_a_push_of_before() {
    let storage = MemoryStorage::new();
    let mut shard = load_shard(&storage, NOW_MS);
    record(&mut shard, &storage, "first", NOW_MS);
    shard.checkpoint(&storage, NOW_MS).unwrap();
    record(&mut shard, &storage, "lost", NOW_MS);
    let before = push(&mut shard, &storage);
    storage.damage(Table::Journal, |row| row[1] = 99);
    let (on_global, now_ms) = (MemoryStorage::new(), NOW_MS + 1_000);
    let mut global = load_global(&on_global);
    let mut shard = load_shard(&storage, now_ms);
    for plays in 1..=3 {
        if plays > 1 {
            let key = format!("next {plays}");
            let reply = record(&mut shard, &storage, &key, now_ms + 60_000);
            assert_eq!(reply, RecordReply::counted(false));
        }
        // The platform put it to sleep, or not.
        if plays == 3 {
            shard = load_shard(&storage, now_ms);
        }
        for push in [&push(&mut shard, &storage), &before] {
            global.take_push(push, now_ms).unwrap();
            assert_eq!(chart(&global, &on_global, now_ms).total_views, plays);
        }
    }
}

#[test]
fn a_shard_without_its_fingerprints_refuses_what_it_may_have_counted() {
    let (storage, _, now_ms) = used_shard();
    storage.damage(Table::Seen, |row| row[1] = 99);
    let mut shard = load_shard(&storage, now_ms + MINUTE_MS);
    let again = record(&mut shard, &storage, "batch 1", NOW_MS + MINUTE_MS);
    assert_eq!(again, RecordReply::TooOld);
    let new = record(&mut shard, &storage, "new", now_ms + MINUTE_MS);
    assert_eq!(new, RecordReply::counted(false));
}

#[test]
fn a_shard_without_its_header_counts_nothing_twice() {
    let (storage, mut shard, now_ms) = used_shard();
    let on_global = MemoryStorage::new();
    let mut global = load_global(&on_global);
    global
        .take_push(&push(&mut shard, &storage), now_ms)
        .unwrap();
    global.flush(&on_global, now_ms).unwrap();
    storage.damage(Table::Meta, |row| row[1] = 99);
    let mut later_ms = now_ms;
    for _ in 0..3 {
        // Restarted again and again: the entries of the lost log stay out of the new one.
        later_ms += 2 * MINUTE_MS;
        shard = load_shard(&storage, later_ms);
        let again = record(&mut shard, &storage, "the last", now_ms);
        assert_ne!(again, RecordReply::counted(false));
        record(&mut shard, &storage, &format!("at {later_ms}"), later_ms);
        if shard.checkpoint_is_due(later_ms) {
            shard.checkpoint(&storage, later_ms).unwrap();
        }
        global
            .take_push(&push(&mut shard, &storage), later_ms)
            .unwrap();
    }
    // Five before; the journal's last one is in doubt and left out; three after.
    assert!((7..=8).contains(&chart(&global, &on_global, later_ms).total_views));
}

/// A shard each of whose open panes has a row of its own: two of late plays, and a live one.
fn shard_with_a_row_a_pane(storage: &MemoryStorage) -> Shard {
    let limits = Limits {
        row_bytes: 1,
        ..Limits::default()
    };
    let mut shard = Shard::load_within(storage, [1; 32], NOW_MS, limits).unwrap();
    let plays = [(0, 5 * MINUTE_MS), (0, 4 * MINUTE_MS), (40_000, 0)];
    for (number, (after_ms, ago_ms)) in plays.into_iter().enumerate() {
        let now_ms = NOW_MS + after_ms;
        let play = BatchPlay {
            post_id: "post",
            timestamp_ms: now_ms - ago_ms,
            count: 1,
        };
        let key = number.to_be_bytes();
        let reply = objects::record((storage, &mut shard), ("NA", 0), &key, &[play], now_ms);
        assert_eq!(reply, RecordReply::counted(false));
    }
    shard.checkpoint(storage, NOW_MS + 41_000).unwrap();
    assert_eq!(storage.len(Table::OpenPanes), 3);
    shard
}

/// Lets a shard push until nothing is left, and returns what a chart says then.
fn settle(
    (disk, shard): (&MemoryStorage, &mut Shard),
    (storage, global): (&MemoryStorage, &mut Global),
    from_ms: u64,
) -> u64 {
    let mut now_ms = from_ms;
    for _ in 0..5 {
        now_ms += MINUTE_MS;
        if shard.checkpoint_is_due(now_ms) {
            shard.checkpoint(disk, now_ms).unwrap();
        }
        for _ in 0..2 {
            let reply = global.take_push(&push(shard, disk), now_ms).unwrap();
            shard.pushed(disk, &reply, [1; 16]).unwrap();
            global.flush(storage, now_ms).unwrap();
            global.synced(&global.sync_point());
        }
    }
    chart(global, storage, now_ms + 2_000).total_views
}

#[test]
fn rows_of_panes_that_were_sealed_long_ago_are_never_open_again() {
    // The newest rows are lost with the header, or an older row that comes back later.
    for (spoilt, comes_back) in [(0_u64, false), (2, true)] {
        let (disk, storage) = (MemoryStorage::new(), MemoryStorage::new());
        let mut global = load_global(&storage);
        let mut shard = shard_with_a_row_a_pane(&disk);
        // The two late panes are sealed and folded, the live one stays open.
        let sealed_ms = NOW_MS + 61_000;
        shard.checkpoint(&disk, sealed_ms).unwrap();
        let reply = global
            .take_push(&push(&mut shard, &disk), sealed_ms)
            .unwrap();
        shard.pushed(&disk, &reply, [1; 16]).unwrap();
        global.flush(&storage, sealed_ms).unwrap();
        assert_eq!(chart(&global, &storage, sealed_ms + 2_000).total_views, 3);

        let key = spoilt.to_be_bytes().to_vec();
        let row = disk.get(Table::OpenPanes, &key).unwrap();
        disk.damage(Table::Meta, SPOILS[0]);
        if row.is_some() {
            let damage = Write::put(Table::OpenPanes, key.clone(), b"spoilt".to_vec());
            disk.write(&[damage]).unwrap();
        }
        let mut shard = load_shard(&disk, sealed_ms + 5_000);
        record(&mut shard, &disk, "another", sealed_ms + 6_000);
        shard.checkpoint(&disk, sealed_ms + 7_000).unwrap();
        if let Some(row) = row.filter(|_| comes_back) {
            disk.write(&[Write::put(Table::OpenPanes, key, row)])
                .unwrap();
            shard = load_shard(&disk, sealed_ms + 8_000);
        }
        let both = ((&disk, &mut shard), (&storage, &mut global));
        let counted = settle(both.0, both.1, sealed_ms + 9_000);
        // Of the three first ones at most the live one is lost, and none is counted twice.
        let right = if spoilt == 0 { 3 } else { 4 };
        assert_eq!(counted, right, "row {spoilt}");
    }
}

#[test]
fn a_lost_header_loses_nothing_that_is_open_in_an_epoch_that_began_later() {
    let epoch = |began_ms| Epoch {
        began_ms,
        seed: objects::SEED,
    };
    for spoil in SPOILS {
        let disk = MemoryStorage::new();
        let mut shard = load_shard(&disk, NOW_MS);
        shard.follow(&disk, epoch(NOW_MS), [1; 16]).unwrap();
        record(&mut shard, &disk, "one", NOW_MS);
        shard.checkpoint(&disk, NOW_MS + 1_000).unwrap();
        disk.damage(Table::Meta, spoil);
        let mut shard = load_shard(&disk, NOW_MS + 2_000);
        assert_eq!(shard.epoch_ms(), NOW_MS, "as its panes say");
        shard.follow(&disk, epoch(NOW_MS), [2; 16]).unwrap();
        assert_eq!(shard.tell(ShardMetrics::default(), 0).open_panes, 1);

        // Where no pane can be read, either, what there is stays, and the epoch is that of who asks first.
        disk.damage(Table::Meta, spoil);
        disk.damage(Table::OpenPanes, spoil);
        let spoilt = disk.scan(Table::OpenPanes, &[], &[], usize::MAX).unwrap();
        let mut shard = load_shard(&disk, NOW_MS + 3_000);
        shard.follow(&disk, epoch(NOW_MS), [3; 16]).unwrap();
        assert_eq!(shard.epoch_ms(), NOW_MS);
        record(&mut shard, &disk, "two", NOW_MS + 20_000);
        shard.checkpoint(&disk, NOW_MS + 21_000).unwrap();
        let mut shard = load_shard(&disk, NOW_MS + 22_000);
        assert_eq!(shard.epoch_ms(), NOW_MS);
        assert_eq!(shard.tell(ShardMetrics::default(), 0).open_panes, 1);
        assert_kept(&disk, Table::OpenPanes, &spoilt);

        // Counting begins anew all the same.
        shard
            .follow(&disk, epoch(NOW_MS + 23_000), [4; 16])
            .unwrap();
        assert_eq!(shard.tell(ShardMetrics::default(), 0).open_panes, 0);
        assert_eq!(disk.len(Table::OpenPanes), 0);
    }
}

#[test]
fn a_shard_without_its_header_adopts_the_epoch_of_its_first_batch_and_then_follows_the_next() {
    let disk = MemoryStorage::new();
    let mut shard = load_shard(&disk, NOW_MS);
    record(&mut shard, &disk, "one", NOW_MS);
    shard.checkpoint(&disk, NOW_MS + 1_000).unwrap();
    disk.damage(Table::Meta, SPOILS[1]);
    disk.damage(Table::OpenPanes, SPOILS[1]);
    let mut shard = load_shard(&disk, NOW_MS + 2_000);
    let reply = record(&mut shard, &disk, "two", NOW_MS + 20_000);
    assert_eq!(reply, RecordReply::counted(false));
    let epoch = Epoch {
        began_ms: NOW_MS + 21_000,
        seed: objects::SEED,
    };
    shard.follow(&disk, epoch, [2; 16]).unwrap();
    assert_eq!(
        shard.tell(ShardMetrics::default(), 0).open_panes,
        0,
        "what was counted before is over"
    );
    assert_eq!(disk.len(Table::OpenPanes), 0);
}

/// A global object that has folded five plays, and the shard that sent them.
fn used_global() -> (MemoryStorage, Global, MemoryStorage, Shard, u64) {
    let (on_shard, mut shard, now_ms) = used_shard();
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    global
        .take_push(&push(&mut shard, &on_shard), now_ms)
        .unwrap();
    global.flush(&storage, now_ms).unwrap();
    (storage, global, on_shard, shard, now_ms)
}

#[test]
fn the_global_object_starts_with_any_table_damaged_and_keeps_what_it_cannot_read() {
    for table in [Table::Meta, Table::Offsets, Table::Panes] {
        for spoil in SPOILS {
            let (storage, _, on_shard, mut shard, now_ms) = used_global();
            storage.damage(table, spoil);
            let spoilt = storage.scan(table, &[], &[], usize::MAX).unwrap();
            let mut global = load_global(&storage);
            let health = global.tell(GlobalMetrics::default(), 0);
            let taken = global.take_push(&push(&mut shard, &on_shard), now_ms);
            match table {
                Table::Offsets => {
                    assert!(matches!(taken, Err(Refusal::Damaged(_))));
                    assert_eq!(health.damaged_regions, 1);
                    assert!(chart(&global, &storage, now_ms).incomplete);
                }
                _ => assert!(taken.is_ok()),
            }
            if matches!(table, Table::Meta | Table::Offsets) {
                assert!(health.damaged_rows > 0, "{table:?}");
            }
            let mut heard = global.table().clone();
            heard.number += 1;
            heard.regions[0].reshard(2);
            global.hear(&storage, heard).unwrap();
            let later_ms = now_ms + 2 * MINUTE_MS;
            record(&mut shard, &on_shard, "later", later_ms);
            shard.checkpoint(&on_shard, later_ms).unwrap();
            let _ = global.take_push(&push(&mut shard, &on_shard), later_ms);
            global.flush(&storage, later_ms).unwrap();
            let board = chart(&global, &storage, later_ms);
            assert_eq!(
                board.incomplete,
                matches!(table, Table::Panes | Table::Offsets)
            );
            assert!(global.damaged_rows() > 0, "{table:?} is reported");
            if matches!(table, Table::Meta) {
                assert_eq!(board.total_views, 6, "{table:?}: none twice, none lost");
            }
            assert_kept(&storage, table, &spoilt);
            let again = load_global(&storage);
            let ids = again
                .table()
                .regions
                .iter()
                .map(|region| region.region_id.as_str());
            assert_eq!(ids.filter(|id| *id == "NA").count(), 1, "{table:?}");
        }
    }
}

/// Made anew it would begin at epoch 0, for good, and every reset that names the old id be refused.
#[test]
fn an_installation_that_cannot_be_read_is_not_written_over_and_is_not_reset_until_it_can() {
    let mut registered = Registered::new(&objects::REGIONS, objects::SEED);
    let id = registered.table().installation_id;
    let began = registered.reset(id, 9, NOW_MS).unwrap().table;
    let storage = registered.storage.clone();
    let rows = storage
        .scan(Table::Meta, b"installation/", &[], usize::MAX)
        .unwrap();
    let puts = |spoil: fn(&mut Vec<u8>)| {
        let spoilt = rows.iter().cloned().map(|(key, mut value)| {
            spoil(&mut value);
            Write::put(Table::Meta, key, value)
        });
        spoilt.collect::<Vec<Write>>()
    };
    let reset = |registered: &mut Registered, number| {
        let id = registered.table().installation_id;
        registered.reset(id, number, NOW_MS + 1)
    };
    for spoil in SPOILS {
        registered.storage.write(&puts(spoil)).unwrap();
        let stored = |registered: &Registered| {
            let rows = registered.storage.scan(Table::Meta, &[], &[], usize::MAX);
            rows.unwrap()
        };
        let spoilt = stored(&registered);
        for _ in 0..2 {
            registered.start_again();
            assert_eq!(registered.registry.damaged_rows(), 2);
            let refused = reset(&mut registered, 10);
            assert!(matches!(refused, Err(Refusal::Damaged(_))), "{refused:?}");
        }
        assert_eq!(stored(&registered), spoilt, "nothing is written");
    }
    // Repaired: it is as it was, and may be reset.
    registered.storage.write(&puts(|_| ())).unwrap();
    registered.start_again();
    assert_eq!(registered.table(), began);
    assert!(reset(&mut registered, 10).is_ok());
}

/// A summary that lies, with a checksum that is right: one of its first numbers (capacity, total,
/// rows) is another.
fn forged(summary: &[u8], at: usize, number: u64) -> Vec<u8> {
    // Version, flags, seed; then numbers of 7 bits a byte, the last one below 128.
    let (mut forged, mut rest) = (summary[..10].to_vec(), &summary[10..summary.len() - 4]);
    for position in 0..=at {
        let bytes = rest.iter().position(|byte| *byte < 128).unwrap() + 1;
        if position < at {
            forged.extend_from_slice(&rest[..bytes]);
        }
        rest = &rest[bytes..];
    }
    let mut left = number;
    while left >= 128 {
        forged.push(left as u8 | 128);
        left >>= 7;
    }
    forged.push(left as u8);
    forged.extend_from_slice(rest);
    let checksum = crc32fast::hash(&forged);
    forged.extend_from_slice(&checksum.to_le_bytes());
    forged
}

#[test]
fn a_summary_of_another_seed_is_taken_with_wider_bounds_that_hold() {
    let mut full = Summary::new(2, Seed::from_bytes([7; 16]));
    for (post, plays) in [("a", 5), ("b", 3), ("c", 2), ("d", 1)] {
        full.record(post, plays);
    }
    for seed in [objects::SEED, [7; 16]] {
        let read = Summary::decode(&full.encode(), Seed::from_bytes(seed)).unwrap();
        assert_eq!(read.total(), 11);
        for (post, plays) in [("a", 5), ("b", 3), ("c", 2), ("d", 1), ("e", 0)] {
            let bounds = read.bounds(post);
            assert!((bounds.lower..=bounds.upper).contains(&plays), "{post}");
        }
    }
}

#[test]
fn a_bad_push_is_refused_with_a_reason_counted_and_changes_nothing() {
    let (on_shard, mut shard, now_ms) = used_shard();
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let good = push(&mut shard, &on_shard);
    let sound: Push<'_> = codec::decode(&good).unwrap();
    let changed = |change: fn(&mut Push<'_>)| {
        let mut push = sound.clone();
        change(&mut push);
        codec::encode(&push)
    };
    let mut version = good.clone();
    version[1] = 2;
    let pane: SealedPane<'_> = codec::decode(sound.entries[0]).unwrap();
    let with_pane = |pane: SealedPane<'_>| {
        let entry = codec::encode(&pane);
        let mut push = sound.clone();
        push.entries[0] = &entry;
        codec::encode(&push)
    };
    let cut = &pane.summary[..pane.summary.len() / 2];
    let lying = |at, number| {
        let summary = forged(pane.summary, at, number);
        with_pane(SealedPane {
            summary: &summary,
            ..pane.clone()
        })
    };
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("more counters than there can be", lying(0, 1 << 40)),
        ("fewer counters than rows", lying(0, 0)),
        ("more plays than its rows have", lying(1, 1 << 40)),
        ("fewer plays than its rows have", lying(1, 0)),
        ("more rows than bytes", lying(2, 1_000)),
        ("fewer rows than bytes", lying(2, 0)),
        ("cut off", good[..good.len() / 2].to_vec()),
        ("nothing", Vec::new()),
        ("another version", version),
        ("unknown region", changed(|push| push.region_id = "XX")),
        ("no such shard", changed(|push| push.shard = 100_000)),
        ("below its oldest", changed(|push| push.oldest_offset = 1)),
        ("past its end", changed(|push| push.next_offset = 0)),
        (
            "past all offsets",
            changed(|push| push.first_offset = u64::MAX),
        ),
        (
            "no such level",
            with_pane(SealedPane {
                level: 9,
                ..pane.clone()
            }),
        ),
        (
            "between panes",
            with_pane(SealedPane {
                start_ms: 7,
                end_ms: 60_007,
                ..pane.clone()
            }),
        ),
        (
            "half a summary",
            with_pane(SealedPane {
                summary: cut,
                ..pane.clone()
            }),
        ),
        (
            "no summary",
            with_pane(SealedPane {
                summary: &[],
                ..pane.clone()
            }),
        ),
    ];
    for (number, (what, push)) in bad.iter().enumerate() {
        assert!(global.take_push(push, now_ms).is_err(), "{what}");
        assert_eq!(
            global.tell(GlobalMetrics::default(), 0).refused_pushes,
            number as u64 + 1,
            "{what}"
        );
        assert_eq!(chart(&global, &storage, now_ms).total_views, 0, "{what}");
    }
    // A gap is no error: the reply says what is missing, and that the shard is to send it soon.
    let reply = global.take_push(&good, now_ms).unwrap();
    let total = chart(&global, &storage, now_ms + 2_000).total_views;
    let ahead = changed(|push| {
        push.first_offset += 7;
        push.next_offset += 7;
    });
    let busy = PushReply {
        is_quiet: false,
        ..reply
    };
    assert_eq!(global.take_push(&ahead, now_ms), Ok(busy));
    assert_eq!(chart(&global, &storage, now_ms + 4_000).total_views, total);
}
