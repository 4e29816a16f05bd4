//! What beacons cost in rows written, whatever their plays' times: rows are what is billed. Both
//! objects together, as many as SQLite writes: parts of a megabyte, deletes, alarms.

use crate::objects::metered::Metered;
use crate::objects::{self, record, sync_both};
use hitparade::global::Global;
use hitparade::region::{PUSHES_AN_ALARM, Shard};
use hitparade::storage::Storage;
use hitparade::window::{DAY_MS, HOUR_MS, MINUTE_MS};
use hitparade::wire::{BatchPlay, RecordReply};

const NOW_MS: u64 = 20_000 * DAY_MS + 12 * HOUR_MS;

/// The times that anybody's plays may have, one in each pane: minutes, then quarters of an hour.
fn a_day_back(now_ms: u64) -> Vec<u64> {
    let minutes = (1..135).map(|minute| minute * MINUTE_MS);
    let quarters = (10..95).map(|quarter| quarter * 15 * MINUTE_MS);
    minutes
        .chain(quarters)
        .map(|age_ms| now_ms - age_ms)
        .collect()
}

/// Lets beacons come to a shard for four minutes, each with the plays that `plays` gives it: ids and
/// times. Returns the rows a beacon.
fn rows_a_beacon(a_second: u64, plays: impl Fn(u64, u64) -> Vec<(String, u64)>) -> f64 {
    let (disk, storage) = (Metered::default(), Metered::default());
    let mut shard = Shard::load(&disk, [1; 32], NOW_MS).unwrap();
    let mut global = Global::load(
        &storage,
        &objects::table_of(&objects::REGIONS, objects::SEED),
    )
    .unwrap();
    let (mut beacons, mut alarms) = (0, 0);
    // What was written to begin with is written once.
    let begin = disk.rows_written() + storage.rows_written();
    for second in 0..240 {
        for number in 0..a_second {
            let now_ms = NOW_MS + second * 1_000 + number * 1_000 / a_second;
            let plays = plays(beacons, now_ms);
            let plays: Vec<BatchPlay<'_>> = plays
                .iter()
                .map(|(post_id, timestamp_ms)| BatchPlay {
                    post_id,
                    timestamp_ms: *timestamp_ms,
                    count: 1,
                })
                .collect();
            let key = beacons.to_be_bytes();
            let reply = record((&disk, &mut shard), ("NA", 0), &key, &plays, now_ms);
            assert_eq!(reply, RecordReply::counted(false));
            beacons += 1;
            if shard.checkpoint_is_needed() {
                shard.checkpoint(&disk, now_ms).unwrap();
            }
        }
        if second % 5 != 4 {
            continue;
        }
        alarms += 1;
        let now_ms = NOW_MS + (second + 1) * 1_000;
        for _ in 0..PUSHES_AN_ALARM {
            if shard.checkpoint_is_due(now_ms) {
                shard.checkpoint(&disk, now_ms).unwrap();
            }
            shard.synced(shard.sync_point());
            let push = shard.push(&disk).unwrap().unwrap();
            let reply = global.take_push(&push, now_ms).unwrap();
            if global.flush_is_due(now_ms) {
                global.flush(&storage, now_ms).unwrap();
            }
            sync_both(&mut global, &mut shard);
            shard.pushed(&disk, &reply, [2; 16]).unwrap();
            if !shard.has_more_to_send() {
                break;
            }
        }
    }
    let rows = disk.rows_written() + storage.rows_written() - begin + alarms;
    let rows_a_beacon = rows as f64 / beacons as f64;
    println!(
        "{a_second} beacons/s: {rows_a_beacon:.3} rows a beacon ({} of the shard, {} of the global object)",
        disk.rows_written(),
        storage.rows_written()
    );
    rows_a_beacon
}

/// An address may send 600 beacons a minute.
const ONE_ADDRESS: u64 = 10;

#[test]
fn plays_of_a_whole_day_in_each_beacon_cost_two_rows_at_most() {
    let rows = rows_a_beacon(ONE_ADDRESS, |_, now_ms| {
        let times = a_day_back(now_ms).into_iter();
        times.map(|time_ms| ("post".into(), time_ms)).collect()
    });
    assert!(rows <= 2.0, "{rows}");
}

#[test]
fn late_plays_that_open_their_panes_one_after_the_other_cost_two_rows_at_most() {
    let rows = rows_a_beacon(ONE_ADDRESS, |beacon, now_ms| {
        let times = a_day_back(now_ms);
        let at = beacon as usize * 7;
        let plays = (at..at + 7).map(|at| ("post".into(), times[at % times.len()]));
        plays.collect()
    });
    assert!(rows <= 2.0, "{rows}");
}

/// Each so many bytes of a beacon count as one request more against its sender's limit.
const BYTES_A_REQUEST: u64 = 24 << 10;

/// An id of 256 bytes that does not pack.
fn dense_id(number: u64) -> String {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letters = (0..256).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 94) as u8)
    });
    letters.collect()
}

#[test]
fn beacons_of_new_long_ids_over_a_whole_day_cost_two_rows_at_most_for_each_that_they_count_as() {
    let plays = 200;
    let counts_as = 1 + plays * 256_u64 / BYTES_A_REQUEST;
    let rows = rows_a_beacon(ONE_ADDRESS / counts_as, |beacon, now_ms| {
        let times = a_day_back(now_ms);
        let play = |number: u64| {
            let at = (beacon * 7 + number) as usize % times.len();
            (dense_id(beacon * plays + number), times[at])
        };
        (0..plays).map(play).collect()
    });
    let rows = rows / counts_as as f64;
    assert!(rows <= 2.0, "{rows}");
}

#[test]
fn the_largest_beacons_of_late_plays_cost_two_rows_at_most_for_each_that_they_count_as() {
    let plays = 1_000;
    let counts_as = 1 + plays * 256_u64 / BYTES_A_REQUEST;
    // Once a second is a little more than it may send.
    let rows = rows_a_beacon((ONE_ADDRESS / counts_as).max(1), |beacon, now_ms| {
        let times = a_day_back(now_ms);
        let (first, at) = (beacon * plays, beacon as usize);
        let ids = (first..first + plays).map(dense_id);
        let spread = |(number, id): (usize, String)| (id, times[(at + number / 250) % times.len()]);
        ids.enumerate().map(spread).collect()
    });
    let rows = rows / counts_as as f64;
    assert!(rows <= 2.0, "{rows}");
}

#[test]
fn ordinary_beacons_cost_what_they_did_before() {
    let plays = |beacon: u64, now_ms: u64| vec![(format!("post {}", beacon % 50), now_ms)];
    // Each is a commit of its own here; the object lets a busy shard's share one.
    let rows = rows_a_beacon(ONE_ADDRESS, plays);
    assert!(rows <= 1.2, "{rows}");
}
