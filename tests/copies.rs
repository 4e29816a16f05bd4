//! Copies of what shards have not sealed: never beside entries with the same plays, from one
//! moment where two scopes are compared, and missed aloud after a start.

use crate::objects::{self, SEED, load_global};
use hitparade::codec;
use hitparade::global::{Global, HEARD_AFTER_MS, MAX_LOGS_A_SHARD};
use hitparade::leaderboard::Leaderboard;
use hitparade::region::Shard;
use hitparade::storage::{MemoryStorage, Table};
use hitparade::summary::{Seed, Summary};
use hitparade::window::{DAY_MS, HOUR_MS, MINUTE_MS};
use hitparade::wire::{BatchPlay, Push, RecordReply, SealedPane, Sort, WindowRequest};

const NOW_MS: u64 = 20_000 * DAY_MS + 12 * HOUR_MS;
const HOUR: WindowRequest = WindowRequest::Sliding { length_ms: HOUR_MS };

/// A minute's plays of some posts, of these commits.
fn pane(minute: u64, (first_seq, last_seq): (u64, u64), plays: &[(&str, u64)]) -> Vec<u8> {
    let mut summary = Summary::new(1_024, Seed::from_bytes(SEED));
    for (post_id, count) in plays {
        summary.record(post_id, *count);
    }
    codec::encode(&SealedPane {
        level: 0,
        start_ms: NOW_MS + minute * MINUTE_MS,
        end_ms: NOW_MS + (minute + 1) * MINUTE_MS,
        first_seq,
        last_seq,
        summary: &summary.encode(),
    })
}

struct Sent<'a> {
    region_id: &'a str,
    log_id: u128,
    first_offset: u64,
    entries: &'a [&'a [u8]],
    next_offset: u64,
    seq: u64,
    copies: &'a [&'a [u8]],
    copies_left_out: bool,
}

impl Default for Sent<'_> {
    fn default() -> Self {
        Sent {
            region_id: "NA",
            log_id: 1,
            first_offset: 0,
            entries: &[],
            next_offset: 0,
            seq: 1,
            copies: &[],
            copies_left_out: false,
        }
    }
}

impl Sent<'_> {
    fn encode(&self) -> Vec<u8> {
        self.encode_as(0)
    }

    /// As another shard of the region would send it.
    fn encode_as(&self, shard: u32) -> Vec<u8> {
        codec::encode(&Push {
            region_id: self.region_id,
            shard,
            epoch_ms: 0,
            log_id: self.log_id,
            log_began_ms: self.log_id as u64,
            oldest_offset: 0,
            first_offset: self.first_offset,
            entries: self.entries.to_vec(),
            next_offset: self.next_offset,
            journal_seq: self.seq,
            copies: self.copies.to_vec(),
            copies_left_out: self.copies_left_out,
            cut: None,
            watched_since_ms: None,
            replied_by: 0,
        })
    }

    fn push(&self, global: &mut Global, now_ms: u64) {
        global.take_push(&self.encode(), now_ms).unwrap();
    }
}

fn chart(global: &Global, storage: &MemoryStorage, now_ms: u64) -> Leaderboard {
    objects::chart(global, storage, "NA", (HOUR, Sort::Views), now_ms).unwrap()
}

fn total(global: &Global, storage: &MemoryStorage, now_ms: u64) -> u64 {
    chart(global, storage, now_ms).total_views
}

#[test]
fn a_push_that_cannot_hold_all_that_is_sealed_leaves_no_copy_of_what_it_holds() {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let (first, second) = (pane(0, (1, 1), &[("x", 60)]), pane(1, (2, 2), &[("x", 5)]));
    let open = Sent {
        copies: &[&first, &second],
        seq: 2,
        ..Sent::default()
    };
    open.push(&mut global, NOW_MS + 80_000);
    assert_eq!(total(&global, &storage, NOW_MS + 80_000), 65);
    // Both are sealed now; only the first fits, and no other push comes.
    let backlog = Sent {
        entries: &[&first],
        next_offset: 2,
        seq: 3,
        ..Sent::default()
    };
    backlog.push(&mut global, NOW_MS + 160_000);
    for later_s in [0, 10, 600] {
        let now_ms = NOW_MS + 162_000 + later_s * 1_000;
        if global.flush_is_due(now_ms) {
            global.flush(&storage, now_ms).unwrap();
        }
        assert_eq!(total(&global, &storage, now_ms), 65, "{later_s} s later");
    }
    let rest = Sent {
        first_offset: 1,
        entries: &[&second],
        next_offset: 2,
        seq: 3,
        ..Sent::default()
    };
    rest.push(&mut global, NOW_MS + 800_000);
    assert_eq!(total(&global, &storage, NOW_MS + 802_000), 65);
}

#[test]
fn a_push_that_comes_late_brings_no_copies_of_what_was_taken() {
    for restarts in [false, true] {
        let storage = MemoryStorage::new();
        let mut global = load_global(&storage);
        let minute = pane(0, (1, 1), &[("x", 60)]);
        let old = Sent {
            copies: &[&minute],
            ..Sent::default()
        };
        let sealed = Sent {
            entries: &[&minute],
            next_offset: 1,
            ..Sent::default()
        };
        sealed.push(&mut global, NOW_MS + 95_000);
        if restarts {
            global.flush(&storage, NOW_MS + 96_000).unwrap();
            global = load_global(&storage);
        }
        old.push(&mut global, NOW_MS + 97_000);
        assert_eq!(total(&global, &storage, NOW_MS + 99_000), 60);
        // Of a log that the shard began before, too.
        let other = pane(0, (1, 1), &[("y", 7)]);
        let new_log = Sent {
            log_id: 2,
            copies: &[&other],
            ..Sent::default()
        };
        new_log.push(&mut global, NOW_MS + 100_000);
        let older = Sent {
            next_offset: 1,
            seq: 9,
            copies: &[&minute],
            ..Sent::default()
        };
        older.push(&mut global, NOW_MS + 101_000);
        assert_eq!(total(&global, &storage, NOW_MS + 103_000), 67);
    }
}

#[test]
fn a_copy_of_what_came_after_an_entry_stays_beside_it() {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let (sealed, open) = (pane(0, (1, 4), &[("x", 10)]), pane(0, (5, 5), &[("x", 1)]));
    let both = Sent {
        entries: &[&sealed],
        next_offset: 1,
        seq: 5,
        copies: &[&open],
        ..Sent::default()
    };
    both.push(&mut global, NOW_MS + 95_000);
    both.push(&mut global, NOW_MS + 95_001);
    assert_eq!(total(&global, &storage, NOW_MS + 95_002), 11);
}

#[test]
fn what_is_distinctive_is_compared_with_the_same_moment_elsewhere() {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let push = |global: &mut Global, region_id: &str, seq: u64, plays: u64, now_ms: u64| {
        let copy = pane(0, (1, seq), &[("x", plays), ("other", 1_000_000)]);
        let sent = Sent {
            region_id,
            seq,
            copies: &[&copy],
            ..Sent::default()
        };
        sent.push(global, now_ms);
    };
    let now_ms = NOW_MS + 30_000;
    for region_id in ["NA", "EU"] {
        push(&mut global, region_id, 1, 1_000, now_ms);
    }
    total(&global, &storage, now_ms);
    let world = (HOUR, Sort::Views);
    objects::chart(&global, &storage, "global", world, now_ms + 500).unwrap();
    // As often in both regions.
    for region_id in ["NA", "EU"] {
        push(&mut global, region_id, 2, 50_000, now_ms + 900);
    }
    for later_ms in (1_000..3_000).step_by(100) {
        let asked = (HOUR, Sort::Distinctive);
        let chart = objects::chart(&global, &storage, "NA", asked, now_ms + later_ms).unwrap();
        assert!(chart.places.is_empty(), "{later_ms}: {:?}", chart.places);
    }
}

#[test]
fn charts_say_that_they_lack_what_a_push_had_no_room_for() {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let minute = pane(0, (1, 1), &[("x", 60)]);
    let mut sent = Sent {
        copies: &[&minute],
        copies_left_out: true,
        ..Sent::default()
    };
    sent.push(&mut global, NOW_MS + 5_000);
    assert!(chart(&global, &storage, NOW_MS + 7_000).incomplete);
    sent.copies_left_out = false;
    sent.push(&mut global, NOW_MS + 10_000);
    assert!(!chart(&global, &storage, NOW_MS + 12_000).incomplete);
}

#[test]
fn a_chart_of_what_was_merged_a_moment_ago_says_what_it_lacked_then() {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let (first, second) = (pane(0, (1, 1), &[("x", 60)]), pane(1, (2, 2), &[("x", 5)]));
    let sent = Sent {
        copies: &[&first],
        copies_left_out: true,
        ..Sent::default()
    };
    sent.push(&mut global, NOW_MS + 65_000);
    assert!(chart(&global, &storage, NOW_MS + 67_000).incomplete);
    let sent = Sent {
        seq: 2,
        copies: &[&first, &second],
        ..Sent::default()
    };
    sent.push(&mut global, NOW_MS + 67_100);
    let world = |now_ms| {
        let hour = (HOUR, Sort::Views);
        objects::chart(&global, &storage, "global", hour, now_ms).unwrap()
    };
    for later_ms in (200..4_000).step_by(100) {
        let chart = world(NOW_MS + 67_000 + later_ms);
        assert!(chart.total_views == 65 || chart.incomplete, "{later_ms}");
    }
    assert!(!world(NOW_MS + 71_000).incomplete);
}

#[test]
fn a_quiet_installation_is_complete_however_often_its_object_starts() {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let minute = pane(0, (1, 1), &[("x", 60)]);
    let sealed = Sent {
        entries: &[&minute],
        next_offset: 1,
        ..Sent::default()
    };
    sealed.push(&mut global, NOW_MS + 95_000);
    global.flush(&storage, NOW_MS + 104_000).unwrap();
    for later_ms in [10 * MINUTE_MS, HOUR_MS, 30 * HOUR_MS] {
        let global = load_global(&storage);
        assert!(!chart(&global, &storage, NOW_MS + later_ms).incomplete);
    }
}

#[test]
fn after_a_start_charts_say_that_they_may_lack_what_shards_have_open() {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let (first, second) = (pane(0, (1, 1), &[("x", 60)]), pane(1, (2, 2), &[("x", 5)]));
    assert!(
        !chart(&global, &storage, NOW_MS).incomplete,
        "nobody was ever heard from"
    );
    let sent = Sent {
        entries: &[&first],
        next_offset: 1,
        seq: 2,
        copies: &[&second],
        ..Sent::default()
    };
    sent.push(&mut global, NOW_MS + 95_000);
    global.flush(&storage, NOW_MS + 104_000).unwrap();
    assert!(!chart(&global, &storage, NOW_MS + 105_000).incomplete);
    let started_ms = NOW_MS + 110_000;
    let mut global = load_global(&storage);
    assert!(chart(&global, &storage, started_ms).incomplete);
    // The shard had something open: until it is heard from, however long that takes.
    assert!(chart(&global, &storage, started_ms + HEARD_AFTER_MS + 60_000).incomplete);
    // But not for ever: by then it has lost its storage, or is gone.
    assert!(!chart(&global, &storage, started_ms + 2 * DAY_MS).incomplete);
    let again = Sent {
        first_offset: 1,
        next_offset: 1,
        seq: 3,
        copies: &[&second],
        ..Sent::default()
    };
    again.push(&mut global, started_ms + HEARD_AFTER_MS + 61_000);
    let told = chart(&global, &storage, started_ms + HEARD_AFTER_MS + 63_000);
    assert_eq!((told.total_views, told.incomplete), (65, false));
}

/// Plays of a post in the minute at [`NOW_MS`], counted by a shard at a time.
/// Takes a push as the object does.
fn take(sent: &Sent<'_>, (global, storage): (&mut Global, &MemoryStorage), now_ms: u64) {
    sent.push(global, now_ms);
    if global.flush_is_due(now_ms) {
        global.flush(storage, now_ms).unwrap();
    }
}

#[test]
fn after_a_start_charts_say_that_they_lack_the_first_plays_after_a_quiet_time() {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let (minute, later) = (pane(0, (1, 1), &[("x", 60)]), pane(9, (2, 2), &[("x", 5)]));
    let sealed = Sent {
        entries: &[&minute],
        next_offset: 1,
        ..Sent::default()
    };
    take(&sealed, (&mut global, &storage), NOW_MS + 95_000);
    let nothing_more = Sent {
        first_offset: 1,
        next_offset: 1,
        ..Sent::default()
    };
    take(&nothing_more, (&mut global, &storage), NOW_MS + 110_000);
    let begin_ms = NOW_MS + 545_000;
    let open = Sent {
        first_offset: 1,
        next_offset: 1,
        seq: 2,
        copies: &[&later],
        ..Sent::default()
    };
    take(&open, (&mut global, &storage), begin_ms);
    let shown = chart(&global, &storage, begin_ms + 2_000);
    assert_eq!((shown.total_views, shown.incomplete), (65, false));
    open.push(&mut global, begin_ms + 15_000);
    assert!(
        !global.flush_is_due(begin_ms + 15_000),
        "it costs rows once"
    );

    let mut global = load_global(&storage);
    let started_ms = begin_ms + 20_000;
    for now_ms in [started_ms, started_ms + HEARD_AFTER_MS + 1_000] {
        let lacking = chart(&global, &storage, now_ms);
        assert_eq!((lacking.total_views, lacking.incomplete), (60, true));
    }
    take(&open, (&mut global, &storage), started_ms + 30_000);
    let whole = chart(&global, &storage, started_ms + 32_000);
    assert_eq!((whole.total_views, whole.incomplete), (65, false));
}

#[test]
fn after_a_start_charts_lack_nothing_that_was_sealed_before_anybody_had_seen_it_open() {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let (minute, later) = (pane(0, (1, 1), &[("x", 60)]), pane(1, (2, 2), &[("x", 5)]));
    let sealed = Sent {
        entries: &[&minute],
        next_offset: 1,
        ..Sent::default()
    };
    take(&sealed, (&mut global, &storage), NOW_MS + 95_000);
    global.flush(&storage, NOW_MS + 104_000).unwrap();
    // Its pushes were lost while this was open.
    let next = Sent {
        first_offset: 1,
        entries: &[&later],
        next_offset: 2,
        seq: 2,
        ..Sent::default()
    };
    take(&next, (&mut global, &storage), NOW_MS + 155_000);
    let shown = chart(&global, &storage, NOW_MS + 157_000);
    assert_eq!((shown.total_views, shown.incomplete), (65, false));

    let global = load_global(&storage);
    let started_ms = NOW_MS + 160_000;
    chart(&global, &storage, started_ms);
    let whole = chart(&global, &storage, started_ms + HEARD_AFTER_MS + 1_000);
    assert_eq!((whole.total_views, whole.incomplete), (65, false));
}

/// It is asked when somebody looks, and did not answer.
#[test]
fn what_a_quiet_shard_pushes_that_was_not_heard_of_is_in_the_next_chart() {
    let (first, second) = (pane(0, (1, 1), &[("x", 60)]), pane(1, (2, 2), &[("x", 5)]));
    let both: [&[u8]; 2] = [&first, &second];
    let open = Sent {
        seq: 2,
        copies: &both,
        ..Sent::default()
    };
    let sealed = Sent {
        seq: 2,
        entries: &both,
        next_offset: 2,
        ..Sent::default()
    };
    for pushed in [open, sealed] {
        let storage = MemoryStorage::new();
        let mut global = load_global(&storage);
        let known = Sent {
            copies: &[&first],
            ..Sent::default()
        };
        known.push(&mut global, NOW_MS + 95_000);
        let asked_ms = NOW_MS + 110_000;
        assert_eq!(total(&global, &storage, asked_ms), 60);
        pushed.push(&mut global, asked_ms + 100);
        assert_eq!(total(&global, &storage, asked_ms + 130), 65);
    }
}

fn count(shard: (&MemoryStorage, &mut Shard), post_id: &str, count: u32, now_ms: u64) {
    let play = BatchPlay {
        post_id,
        timestamp_ms: NOW_MS,
        count,
    };
    let key = now_ms.to_be_bytes();
    let reply = objects::record(shard, ("NA", 0), &key, &[play], now_ms);
    assert_eq!(reply, RecordReply::counted(false));
}

/// What a shard tells at a time.
fn push_of((disk, shard): (&MemoryStorage, &mut Shard), now_ms: u64) -> Vec<u8> {
    if shard.checkpoint_is_due(now_ms) {
        shard.checkpoint(disk, now_ms).unwrap();
    }
    shard.synced(shard.sync_point());
    shard.push(disk).unwrap().unwrap()
}

#[test]
fn what_comes_late_of_a_storage_that_was_lost_takes_nothing_from_charts() {
    let (old_disk, new_disk) = (MemoryStorage::new(), MemoryStorage::new());
    let mut old = Shard::load(&old_disk, [1; 32], NOW_MS).unwrap();
    count((&old_disk, &mut old), "x", 60, NOW_MS + 1_000);
    let sealed = push_of((&old_disk, &mut old), NOW_MS + 95_000);
    let mut new = Shard::load(&new_disk, [2; 32], NOW_MS + 100_000).unwrap();
    count((&new_disk, &mut new), "y", 7, NOW_MS + 101_000);
    let open = push_of((&new_disk, &mut new), NOW_MS + 105_000);

    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    global.take_push(&open, NOW_MS + 105_100).unwrap();
    assert_eq!(total(&global, &storage, NOW_MS + 108_000), 7);
    global.take_push(&sealed, NOW_MS + 109_000).unwrap();
    assert_eq!(total(&global, &storage, NOW_MS + 111_000), 67);
}

#[test]
fn what_was_open_when_a_header_was_lost_is_in_charts_once() {
    let disk = MemoryStorage::new();
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let mut shard = Shard::load(&disk, [1; 32], NOW_MS).unwrap();
    for second in 1..=3 {
        count((&disk, &mut shard), "x", 20, NOW_MS + second * 1_000);
    }
    let open = push_of((&disk, &mut shard), NOW_MS + 5_000);
    global.take_push(&open, NOW_MS + 5_100).unwrap();
    shard.checkpoint(&disk, NOW_MS + 6_000).unwrap();
    assert_eq!(total(&global, &storage, NOW_MS + 8_000), 60);

    disk.damage(Table::Meta, |row| row[1] = 99);
    let mut shard = Shard::load(&disk, [2; 32], NOW_MS + 20_000).unwrap();
    count((&disk, &mut shard), "x", 1, NOW_MS + 21_000);
    let sealed = push_of((&disk, &mut shard), NOW_MS + 95_000);
    // Also where only its entries are taken.
    let is_short = |_: &Global| true;
    let taken = global.take_push_within(&storage, &sealed, is_short, NOW_MS + 95_100);
    taken.unwrap();
    assert_eq!(total(&global, &storage, NOW_MS + 98_000), 61);
    global.take_push(&open, NOW_MS + 99_000).unwrap();
    assert_eq!(total(&global, &storage, NOW_MS + 101_000), 61);
    global.flush(&storage, NOW_MS + 104_000).unwrap();
    let mut global = load_global(&storage);
    global.take_push(&open, NOW_MS + 105_000).unwrap();
    assert_eq!(total(&global, &storage, NOW_MS + 107_000), 61);
}

#[test]
fn a_log_that_is_forgotten_is_never_folded_again() {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let minute = pane(0, (1, 1), &[("x", 60)]);
    let logs = MAX_LOGS_A_SHARD as u128 + 4;
    let entries = [&minute[..]];
    let sent = |log_id| Sent {
        log_id,
        entries: &entries,
        next_offset: 1,
        ..Sent::default()
    };
    for log_id in 1..=logs {
        sent(log_id).push(&mut global, NOW_MS + 95_000);
    }
    // What is still under way of them comes late, in any order.
    for log_id in (1..=logs).rev().chain(1..=logs) {
        let push = sent(log_id).encode();
        let taken = global.take_push(&push, NOW_MS + 96_000);
        assert_eq!(taken.is_err(), log_id <= 4, "{log_id}: {taken:?}");
    }
    global.flush(&storage, NOW_MS + 104_000).unwrap();
    let mut global = load_global(&storage);
    assert!(
        global
            .take_push(&sent(1).encode(), NOW_MS + 105_000)
            .is_err()
    );
    let counted = 60 * logs as u64;
    assert_eq!(total(&global, &storage, NOW_MS + 107_000), counted);
}

#[test]
fn after_a_start_charts_say_that_entries_are_missing() {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let (first, second) = (pane(0, (1, 1), &[("x", 60)]), pane(1, (2, 2), &[("x", 5)]));
    let open = Sent {
        entries: &[&first],
        next_offset: 1,
        seq: 2,
        copies: &[&second],
        ..Sent::default()
    };
    open.push(&mut global, NOW_MS + 95_000);
    global.flush(&storage, NOW_MS + 104_000).unwrap();
    let sealed = Sent {
        first_offset: 1,
        entries: &[&second],
        next_offset: 2,
        seq: 2,
        ..Sent::default()
    };
    sealed.push(&mut global, NOW_MS + 155_000);
    let mut global = load_global(&storage);
    // The shard heard that this entry was taken, and does not know yet that it was forgotten.
    let nothing_new = Sent {
        first_offset: 2,
        next_offset: 2,
        seq: 2,
        ..Sent::default()
    };
    let started_ms = NOW_MS + 160_000;
    nothing_new.push(&mut global, started_ms);
    let lacking = chart(&global, &storage, started_ms + HEARD_AFTER_MS + 2_000);
    assert_eq!((lacking.total_views, lacking.incomplete), (60, true));
    sealed.push(&mut global, started_ms + HEARD_AFTER_MS + 3_000);
    let whole = chart(&global, &storage, started_ms + HEARD_AFTER_MS + 5_000);
    assert_eq!((whole.total_views, whole.incomplete), (65, false));
}

#[test]
fn after_a_start_a_push_that_comes_late_does_not_stand_for_its_shard() {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let (first, second) = (pane(0, (1, 1), &[("x", 60)]), pane(1, (2, 2), &[("x", 5)]));
    let old = Sent {
        copies: &[&first],
        ..Sent::default()
    };
    let new = Sent {
        seq: 2,
        copies: &[&first, &second],
        ..Sent::default()
    };
    old.push(&mut global, NOW_MS + 5_000);
    let other = Sent {
        region_id: "NA",
        entries: &[&first],
        next_offset: 1,
        ..Sent::default()
    };
    let other = other.encode_as(1);
    global.take_push(&other, NOW_MS + 95_000).unwrap();
    new.push(&mut global, NOW_MS + 96_000);
    global.flush(&storage, NOW_MS + 104_000).unwrap();
    let mut global = load_global(&storage);
    let started_ms = NOW_MS + 110_000;
    old.push(&mut global, started_ms);
    let lacking = chart(&global, &storage, started_ms + HEARD_AFTER_MS + 2_000);
    assert_eq!((lacking.total_views, lacking.incomplete), (60, true));
    new.push(&mut global, started_ms + HEARD_AFTER_MS + 3_000);
    let whole = chart(&global, &storage, started_ms + HEARD_AFTER_MS + 5_000);
    assert_eq!((whole.total_views, whole.incomplete), (125, false));
}

#[test]
fn after_a_start_charts_say_that_they_lack_what_a_backlog_had_shown_as_copies() {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let (first, second) = (pane(0, (1, 1), &[("x", 60)]), pane(1, (2, 2), &[("x", 5)]));
    let open = Sent {
        copies: &[&first, &second],
        seq: 2,
        ..Sent::default()
    };
    open.push(&mut global, NOW_MS + 80_000);
    // Both are sealed, and the second does not fit.
    let backlog = Sent {
        entries: &[&first],
        next_offset: 2,
        seq: 2,
        ..Sent::default()
    };
    backlog.push(&mut global, NOW_MS + 160_000);
    global.flush(&storage, NOW_MS + 170_000).unwrap();
    assert_eq!(total(&global, &storage, NOW_MS + 170_000), 65);
    let global = load_global(&storage);
    let started_ms = NOW_MS + 180_000;
    chart(&global, &storage, started_ms);
    let lacking = chart(&global, &storage, started_ms + HEARD_AFTER_MS + 2_000);
    assert_eq!((lacking.total_views, lacking.incomplete), (60, true));
}

#[test]
fn a_copy_is_made_anew_only_where_a_play_has_come_since() {
    let storage = MemoryStorage::new();
    let mut shard = Shard::load(&storage, [1; 32], NOW_MS).unwrap();
    let copies = |shard: &mut Shard, now_ms| {
        let push = push_of((&storage, shard), now_ms);
        let push: Push<'_> = codec::decode(&push).unwrap();
        let copies = push.copies.iter().map(|copy| copy.to_vec());
        copies.collect::<Vec<Vec<u8>>>()
    };
    // A day a month ago, and the minute under way.
    let play = |shard: &mut Shard, timestamp_ms, now_ms: u64| {
        let play = BatchPlay {
            post_id: "x",
            timestamp_ms,
            count: 1,
        };
        let key = now_ms.to_be_bytes();
        let of = (&storage, shard);
        assert_eq!(
            objects::record(of, ("NA", 0), &key, &[play], now_ms),
            RecordReply::counted(false)
        );
    };
    play(&mut shard, NOW_MS - 31 * DAY_MS, NOW_MS);
    play(&mut shard, NOW_MS, NOW_MS + 1);
    let first = copies(&mut shard, NOW_MS + 5_000);
    play(&mut shard, NOW_MS, NOW_MS + 5_001);
    let second = copies(&mut shard, NOW_MS + 10_000);
    assert_eq!(first.len(), 2);
    let (same, other): (Vec<_>, Vec<_>) = second.iter().partition(|copy| first.contains(copy));
    assert_eq!((same.len(), other.len()), (1, 1));
    let minute: SealedPane<'_> = codec::decode(other[0]).unwrap();
    let plays = Summary::decode(minute.summary, Seed::from_bytes(SEED)).unwrap();
    assert_eq!((minute.level, plays.total()), (0, 2));
    // What is stored is the same, and comes back.
    shard.checkpoint(&storage, NOW_MS + 11_000).unwrap();
    let mut again = Shard::load(&storage, [1; 32], NOW_MS + 12_000).unwrap();
    let third = copies(&mut again, NOW_MS + 15_000);
    let totals = third.iter().map(|copy| {
        let pane: SealedPane<'_> = codec::decode(copy).unwrap();
        let plays = Summary::decode(pane.summary, Seed::from_bytes(SEED));
        plays.unwrap().total()
    });
    assert_eq!(totals.sum::<u64>(), 3);
}
