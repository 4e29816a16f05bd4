//! No input that the limits allow makes the global object, or a shard, take more memory than an
//! instance has: counted by the allocator, as it would be in Wasm.
//!
//! What storage holds is not counted: on the platform it lies outside. A test's messages are made
//! beforehand, so 4 MiB for the one that is being taken are added to what is measured.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crate::objects::{self, SEED};
use hitparade::codec;
use hitparade::filter::Filter;
use hitparade::global::{ChartRules, ClosingStep, Global, GlobalLimits, Knowing, Together};
use hitparade::region::Shard;
use hitparade::storage::{MemoryStorage, Storage, StorageError, Write};
use hitparade::summary::{Seed, Summary};
use hitparade::topology::{Region, RegionTable};
use hitparade::window::{DAY_MS, Days, HOUR_MS, Level, MINUTE_MS, PaneKey};
use hitparade::wire::{BatchPlay, ChartRequest, Push, PushReply, SealedPane, Sort, WindowRequest};

/// What an instance may take, and what a message takes while it is looked at.
const INSTANCE_BYTES: usize = 96 << 20;
const MESSAGE_BYTES: usize = 4 << 20;

/// Counts what each thread allocates, and so each test.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// What [`Disk`]s store.
    static STORED: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    NOW.set(NOW.get() + bytes);
    PEAK.set(PEAK.get().max(now()));
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    /// Both are there while one is copied to the other.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as isize);
        let moved = unsafe { System.realloc(pointer, layout, new_size) };
        count(-(layout.size() as isize));
        moved
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn now() -> isize {
    NOW.get() - STORED.get()
}

/// The most that was held above `base` while something ran.
fn peak_of(base: isize, run: impl FnOnce()) -> usize {
    PEAK.set(now());
    run();
    usize::try_from(PEAK.get() - base).unwrap()
}

#[track_caller]
fn assert_fits(what: &str, peak: usize) {
    println!(
        "{what}: {:.1} MiB at most",
        peak as f64 / f64::from(1 << 20)
    );
    assert!(
        peak + MESSAGE_BYTES <= INSTANCE_BYTES,
        "{what}: {peak} bytes"
    );
}

/// Memory that is not counted.
#[derive(Default)]
struct Disk(MemoryStorage);

impl Disk {
    fn uncounted<T>(&self, change: impl FnOnce() -> T) -> T {
        let (before, peak) = (NOW.get(), PEAK.get());
        let done = change();
        STORED.set(STORED.get() + NOW.get() - before);
        PEAK.set(peak);
        done
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let rows = std::mem::take(&mut self.0);
        self.uncounted(|| drop(rows));
    }
}

impl Storage for Disk {
    hitparade::pass_reads_on!(self => &self.0);

    fn write(&self, batch: &[Write]) -> Result<(), StorageError> {
        self.uncounted(|| self.0.write(batch))
    }

    /// Nothing fails here, so nothing needs to be taken back.
    fn atomically<T>(
        &self,
        change: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        change()
    }
}

const NOW_MS: u64 = 20_000 * DAY_MS + 12 * HOUR_MS;

/// The longest ids: they share all but the last bytes, so that they encode to a tenth.
fn long_id(number: usize) -> String {
    let hash = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:x<240}{hash:016x}", "")
}

/// The longest ids that share nothing.
fn scrambled_id(number: usize) -> String {
    let hash = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let part = |turn: u32| format!("{:016x}", hash.rotate_left(turn * 7).wrapping_mul(hash | 1));
    (0..16).map(part).collect()
}

fn global_of(disk: &Disk, regions: usize) -> Global {
    let region = |number: usize| {
        let id = format!("R{number}");
        Region::new(id.clone(), id, 1)
    };
    let table = RegionTable::new((0..regions).map(region).collect(), SEED);
    Global::load(disk, &table).unwrap()
}

/// Asks for every kind of chart there is over windows that reach what was sent.
fn ask_for_charts(global: &Global, disk: &Disk, scopes: &[&str], now_ms: u64) {
    for scope in scopes {
        for window in [
            WindowRequest::Sliding { length_ms: HOUR_MS },
            WindowRequest::Sliding { length_ms: DAY_MS },
            WindowRequest::Sliding {
                length_ms: 30 * DAY_MS,
            },
            WindowRequest::All,
        ] {
            for sort in [Sort::Views, Sort::Rising, Sort::Distinctive] {
                let request = ChartRequest {
                    scope: (*scope).into(),
                    window,
                    sort,
                    k_class: 1_000,
                    filter: Filter::default(),
                };
                // Some are refused: nothing rises in all time.
                let _ = global.chart(disk, &request, ChartRules::default(), now_ms);
            }
        }
    }
    global.regions(disk, now_ms).unwrap();
}

/// Takes pushes as the object does, with all that comes after.
fn take(global: &mut Global, disk: &Disk, push: &[u8], now_ms: u64) -> PushReply {
    let reply = global.take_push(push, now_ms).unwrap();
    if global.flush_is_due(now_ms) {
        global.flush(disk, now_ms).unwrap();
        global.synced(&global.sync_point());
    }
    reply
}

/// A shard that is filled by browsers, as fast as their addresses may.
struct Filled {
    disk: Disk,
    shard: Shard,
    region_id: String,
    number: u32,
    batches: u64,
}

impl Filled {
    fn new(region: usize, number: u32) -> Self {
        let disk = Disk::default();
        let mut random = [number as u8; 32];
        random[0] = region as u8;
        let shard = Shard::load(&disk, random, NOW_MS).unwrap();
        Filled {
            disk,
            shard,
            region_id: format!("R{region}"),
            number,
            batches: 0,
        }
    }

    /// A beacon of as many plays as fit into one.
    fn beacon(&mut self, id: impl Fn(usize) -> String, timestamp_ms: u64, now_ms: u64) {
        let first = (self.batches as usize + 1) * 1_000;
        let ids: Vec<String> = (first..first + 1_000).map(id).collect();
        let plays = ids.iter().map(|post_id| BatchPlay {
            post_id,
            timestamp_ms,
            count: 1,
        });
        let plays: Vec<BatchPlay<'_>> = plays.collect();
        self.record(&plays, now_ms);
    }

    fn record(&mut self, plays: &[BatchPlay<'_>], now_ms: u64) {
        self.batches += 1;
        let key = self.batches.to_be_bytes();
        let name = (&self.region_id[..], self.number);
        objects::record((&self.disk, &mut self.shard), name, &key, plays, now_ms);
        if self.shard.checkpoint_is_needed() {
            self.shard.checkpoint(&self.disk, now_ms).unwrap();
        }
    }

    /// All pushes that it makes until nothing is left to be sent.
    fn pushes(&mut self, now_ms: u64) -> Vec<Vec<u8>> {
        let mut pushes = Vec::new();
        loop {
            if self.shard.checkpoint_is_due(now_ms) {
                self.shard.checkpoint(&self.disk, now_ms).unwrap();
            }
            self.shard.synced(self.shard.sync_point());
            let push = self.shard.push(&self.disk).unwrap().unwrap();
            let sent: Push<'_> = codec::decode(&push).unwrap();
            let reply = PushReply {
                wanted_offset: sent.first_offset + sent.entries.len() as u64,
                durable_offset: 0,
                epoch_ms: 0,
                seed: SEED,
                push_interval_ms: 5_000,
                is_quiet: false,
                watched_since_ms: None,
                state: 0,
                days: None,
            };
            pushes.push(push);
            self.shard.pushed(&self.disk, &reply, [1; 16]).unwrap();
            if !self.shard.has_more_to_send() {
                return pushes;
            }
        }
    }
}

/// Times of all panes that browsers reach.
fn a_day_back(now_ms: u64) -> Vec<u64> {
    let minutes = (1..135).map(|minute| minute * MINUTE_MS);
    let quarters = (10..95).map(|quarter| quarter * 15 * MINUTE_MS);
    minutes
        .chain(quarters)
        .map(|age_ms| now_ms - age_ms)
        .collect()
}

#[test]
fn a_shard_under_the_worst_beacons_stays_within_its_memory() {
    for id in [long_id, scrambled_id] {
        let base = now();
        let mut filled = Filled::new(0, 0);
        let times = a_day_back(NOW_MS);
        let peak = peak_of(base, || {
            for beacon in 0..400 {
                let now_ms = NOW_MS + beacon * 25;
                filled.beacon(id, times[beacon as usize % times.len()], now_ms);
                if beacon % 200 == 199 {
                    drop(filled.pushes(now_ms));
                }
            }
        });
        assert_fits("a shard, 400 beacons of 1,000 long ids", peak);
    }
}

#[test]
fn beacons_of_the_longest_ids_to_six_regions_stay_within_memory() {
    for id in [long_id, scrambled_id] {
        let disk = Disk::default();
        let mut global = global_of(&disk, 6);
        let times = a_day_back(NOW_MS);
        let mut pushes = Vec::new();
        for region in 0..6 {
            let mut filled = Filled::new(region, 0);
            for beacon in 0..80 {
                let at = |number| id(region * 1_000_000 + number);
                filled.beacon(at, times[beacon % times.len()], NOW_MS);
            }
            pushes.extend(filled.pushes(NOW_MS));
        }
        let base = now();
        let peak = peak_of(base, || {
            for push in &pushes {
                take(&mut global, &disk, push, NOW_MS);
            }
            ask_for_charts(&global, &disk, &["global", "R0"], NOW_MS + 1);
            global.flush(&disk, NOW_MS + 2).unwrap();
            ask_for_charts(&global, &disk, &["global", "R0"], NOW_MS + 2_000);
        });
        assert_fits("six regions, 480 beacons of 1,000 long ids", peak);
    }
}

#[test]
fn tiny_panes_stay_within_memory() {
    let disk = Disk::default();
    let mut global = global_of(&disk, 1);
    let mut tiny = Summary::new(1_024, Seed::from_bytes(SEED));
    tiny.record("a", 1);
    let tiny = tiny.encode();
    let pane = |minute: u64| {
        codec::encode(&SealedPane {
            level: 0,
            start_ms: NOW_MS - (1 + minute % 160) * MINUTE_MS,
            end_ms: NOW_MS - minute % 160 * MINUTE_MS,
            first_seq: minute,
            last_seq: minute,
            summary: &tiny,
        })
    };
    let base = now();
    let peak = peak_of(base, || {
        for shard in 0..60 {
            let entries: Vec<Vec<u8>> = (0..10_000).map(pane).collect();
            let push = objects::first_push(("R0", shard), &entries, &[]);
            drop(entries);
            take(&mut global, &disk, &push, NOW_MS);
        }
    });
    assert_fits("600,000 panes of one play", peak);
}

fn full_pane(
    first: usize,
    counters: usize,
    start_ms: u64,
    id: impl Fn(usize) -> String,
) -> Vec<u8> {
    let mut summary = Summary::new(counters, Seed::from_bytes(SEED));
    (first..first + counters).for_each(|number| summary.record(&id(number), 1 + number as u64 % 7));
    codec::encode(&SealedPane {
        level: 0,
        start_ms,
        end_ms: start_ms + MINUTE_MS,
        first_seq: 1,
        last_seq: 2,
        summary: &summary.encode(),
    })
}

#[test]
fn copies_of_any_number_of_shards_stay_within_memory_and_charts_say_what_they_lack() {
    // Ten times what fits, of one region and of a hundred.
    for (regions, shards) in [(1, 200), (100, 2)] {
        let disk = Disk::default();
        let mut global = global_of(&disk, regions);
        // As large as copies may be: the same for all, to be made once.
        let copies: Vec<Vec<u8>> = (0..7)
            .map(|at| {
                full_pane(
                    at * 1_024,
                    1_024,
                    NOW_MS - at as u64 * MINUTE_MS,
                    scrambled_id,
                )
            })
            .collect();
        let base = now();
        let peak = peak_of(base, || {
            for region in 0..regions {
                let region_id = format!("R{region}");
                for shard in 0..shards {
                    let push = objects::first_push((&region_id, shard), &[], &copies);
                    take(&mut global, &disk, &push, NOW_MS);
                }
            }
            ask_for_charts(&global, &disk, &["global", "R0"], NOW_MS + 1);
        });
        assert_fits("copies of 200 shards, 2 MB each", peak);
        let day = WindowRequest::Sliding { length_ms: DAY_MS };
        let request = ChartRequest {
            scope: "global".into(),
            window: day,
            sort: Sort::Views,
            k_class: 10,
            filter: Filter::default(),
        };
        let chart = global.chart(&disk, &request, ChartRules::default(), NOW_MS + 5_000);
        assert!(chart.unwrap().incomplete);
    }
}

#[test]
fn boards_of_an_instance_have_one_budget_and_who_holds_little_keeps_all_of_it() {
    const LARGE: usize = 3;
    let together = Together::default();
    let board = || {
        let disk = Disk::default();
        let table = RegionTable::new(vec![Region::new("R0", "R0", 1)], SEED);
        let limits = GlobalLimits::default();
        let global = Global::load_beside(&disk, &table, limits, &together).unwrap();
        (disk, global)
    };
    let pane = |first: usize, counters: usize, at: u64| {
        full_pane(first, counters, NOW_MS - at * MINUTE_MS, scrambled_id)
    };
    let copies: Vec<Vec<u8>> = (0..4)
        .map(|at| pane(at * 1_024, 1_024, at as u64))
        .collect();
    let sealed: Vec<Vec<u8>> = (0..4)
        .map(|at| pane(at * 1_024, 1_024, 10 + at as u64))
        .collect();
    let little = vec![pane(0, 10, 0)];
    let request = ChartRequest {
        scope: "global".into(),
        window: WindowRequest::All,
        sort: Sort::Views,
        k_class: 10,
        filter: Filter::default(),
    };
    let base = now();
    let mut boards: Vec<(Disk, Global)> = (0..=LARGE).map(|_| board()).collect();
    let mut last = None;
    let peak = peak_of(base, || {
        for round in 0..3 {
            let now_ms = NOW_MS + round * 5_000;
            // Of each large board more than fits, if it were alone.
            for shard in 0..30 {
                for (disk, global) in boards.iter_mut().take(LARGE) {
                    let sealed = if round == 0 { &sealed[..] } else { &[] };
                    let push = objects::first_push(("R0", shard), sealed, &copies);
                    // It comes again: a reply was lost.
                    let _ = global.take_push(&push, now_ms);
                    if global.flush_is_due(now_ms) {
                        global.flush(disk, now_ms).unwrap();
                    }
                }
            }
            let push = objects::first_push(("R0", 0), &[], &little);
            let (disk, global) = &mut boards[LARGE];
            take(global, disk, &push, now_ms);
            for (disk, global) in &boards {
                ask_for_charts(global, disk, &["global", "R0"], now_ms + 1);
            }
            let (disk, global) = &boards[LARGE];
            let rules = ChartRules::default();
            last = Some(global.chart(disk, &request, rules, now_ms + 2).unwrap());
        }
    });
    assert_fits(
        "three boards of 30 shards, 1 MB each, and a small one",
        peak,
    );
    let chart = last.unwrap();
    assert!(!chart.incomplete && chart.places.len() == 10, "{chart:?}");
    // Who is left has the room of all.
    boards.truncate(1);
    let (disk, global) = &mut boards[0];
    global.flush(disk, NOW_MS + 20_000).unwrap();
    for shard in 0..20 {
        let push = objects::first_push(("R0", 200 + shard), &[], &copies);
        take(global, disk, &push, NOW_MS + 21_000);
    }
    let held = now() - base;
    assert!(held > 20 << 20, "{held} bytes are held");
    boards.clear();
}

#[test]
fn a_backlog_of_many_shards_stays_within_memory() {
    for id in [long_id, scrambled_id] {
        let disk = Disk::default();
        let mut global = global_of(&disk, 2);
        let base = now();
        let peak = peak_of(base, || {
            for round in 0..2 {
                for shard in 0..8 {
                    let region_id = format!("R{}", shard % 2);
                    let mut bytes = 0;
                    let minutes = (0..60).map(|minute| {
                        let start_ms = NOW_MS - (round * 60 + minute + 1) * MINUTE_MS;
                        full_pane(
                            shard as usize * 9_973 + minute as usize * 501,
                            1_024,
                            start_ms,
                            id,
                        )
                    });
                    let entries: Vec<Vec<u8>> = minutes
                        .take_while(|entry| {
                            bytes += entry.len();
                            bytes < 4 << 20
                        })
                        .collect();
                    let push = objects::first_push(
                        (&region_id, shard + 100 * round as u32),
                        &entries,
                        &[],
                    );
                    drop(entries);
                    take(&mut global, &disk, &push, NOW_MS);
                }
                ask_for_charts(&global, &disk, &["R1"], NOW_MS + 2_000 * round);
            }
        });
        // The pushes are made in here: another message, and the panes that it is made of.
        assert_fits("a backlog of long ids", peak - 2 * MESSAGE_BYTES);
    }
}

#[test]
fn charts_over_days_of_the_longest_ids_stay_within_memory() {
    let disk = Disk::default();
    let mut global = global_of(&disk, 1);
    for day in 1..=45 {
        let mut summary = Summary::new(8_192, Seed::from_bytes(SEED));
        let ids = (0..8_192).map(|number| scrambled_id(day * 8_192 + number));
        ids.for_each(|id| summary.record(&id, 1 + day as u64));
        let key = PaneKey::of(Level::Day, NOW_MS - day as u64 * DAY_MS, &Days::default());
        let entry = codec::encode(&SealedPane {
            level: key.level.code(),
            start_ms: key.start_ms,
            end_ms: key.end_ms,
            first_seq: day as u64,
            last_seq: day as u64,
            summary: &summary.encode(),
        });
        take(
            &mut global,
            &disk,
            &objects::first_push(("R0", day as u32), &[entry], &[]),
            NOW_MS,
        );
    }
    global.flush(&disk, NOW_MS).unwrap();
    let base = now();
    let peak = peak_of(base, || {
        ask_for_charts(&global, &disk, &["global", "R0"], NOW_MS + 1)
    });
    assert_fits("charts over 45 days of 8,192 long ids", peak);
}

/// A thousand plays a second of a million posts (Zipf 1.0), in all, for three minutes: what a hundred
/// shards push of them, in the order of time.
fn pushes_of_a_hundred_shards(regions: usize) -> Vec<(u64, Vec<u8>)> {
    let mut shards: Vec<Filled> = (0..100)
        .map(|number| Filled::new(number % regions, (number / regions) as u32))
        .collect();
    let mut state = 7_u64;
    let mut post = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let share = (state >> 11) as f64 / (1_u64 << 53) as f64;
        format!("song-{:06}", 1_000_000_f64.powf(share) as u64)
    };
    let mut pushes = Vec::new();
    for step in 1..=36 {
        let now_ms = NOW_MS + step * 5_000;
        for shard in &mut shards {
            let ids: Vec<String> = (0..50).map(|_| post()).collect();
            let plays = ids.iter().map(|post_id| BatchPlay {
                post_id,
                timestamp_ms: now_ms - 2_500,
                count: 1,
            });
            let plays: Vec<BatchPlay<'_>> = plays.collect();
            shard.record(&plays, now_ms);
            let made = shard.pushes(now_ms);
            pushes.extend(made.into_iter().map(|push| (now_ms, push)));
        }
    }
    pushes
}

#[test]
fn a_hundred_shards_leave_room_for_charts_of_all_their_scopes() {
    for regions in [10, 100] {
        let disk = Disk::default();
        let mut global = global_of(&disk, regions);
        let pushes = pushes_of_a_hundred_shards(regions);
        let scopes: Vec<String> = (0..regions).map(|number| format!("R{number}")).collect();
        let scopes = scopes.iter().map(String::as_str).chain(["global"]);
        let scopes: Vec<&str> = scopes.collect();
        let base = now();
        let mut asked_ms = NOW_MS;
        let peak = peak_of(base, || {
            for (now_ms, push) in &pushes {
                if now_ms - asked_ms >= 60_000 {
                    asked_ms = *now_ms;
                    ask_for_charts(&global, &disk, &scopes, *now_ms);
                }
                take(&mut global, &disk, push, *now_ms);
            }
        });
        let what = format!("100 shards of {regions} regions, charts of all scopes");
        assert_fits(&what, peak);
    }
}

#[test]
fn boards_that_close_a_month_at_the_same_time_hold_one_chart_between_their_steps() {
    // 2026-10-01.
    let month_ms = 20_727 * DAY_MS;
    let together = Together::default();
    let days: Vec<Vec<u8>> = (0..31)
        .map(|day| {
            let mut plays = Summary::new(8_192, Seed::from_bytes(SEED));
            for number in day * 8_192..(day + 1) * 8_192 {
                plays.record(&scrambled_id(number)[..36], 1 + number as u64 % 5);
            }
            let start_ms = month_ms + day as u64 * DAY_MS;
            objects::pane(PaneKey::of(Level::Day, start_ms, &Days::default()), &plays)
        })
        .collect();
    let pushed_ms = month_ms + 30 * DAY_MS + 20 * HOUR_MS;
    let table = objects::table_of(&["R0"], SEED);
    let board = |_| {
        let (disk, limits) = (Disk::default(), GlobalLimits::default());
        let mut global = Global::load_beside(&disk, &table, limits, &together).unwrap();
        let begun = global.close_step(&disk, Knowing::SoFar, month_ms + HOUR_MS);
        assert_eq!(begun.unwrap(), ClosingStep::Done);
        for (shard, day) in (0..).zip(&days) {
            let push = objects::first_push(("R0", shard), std::slice::from_ref(day), &[]);
            global.take_push(&push, pushed_ms).unwrap();
            global.flush(&disk, pushed_ms).unwrap();
        }
        (disk, global)
    };
    let mut boards: Vec<(Disk, Global)> = (0..4).map(board).collect();
    let due_ms = month_ms + 31 * DAY_MS + 3 * HOUR_MS;
    together.room().give_up();
    let base = now();
    let mut between_steps = 0;
    let peak = peak_of(base, || {
        let mut are_over = false;
        while !are_over {
            are_over = true;
            for (disk, global) in &mut boards {
                let step = global.close_step(disk, Knowing::SoFar, due_ms).unwrap();
                are_over &= step == ClosingStep::Over;
                // What memory that is short takes away.
                together.room().give_up();
                between_steps = between_steps.max(now() - base);
            }
        }
    });
    // One holds 7 MB.
    assert!(between_steps < 10 << 20, "{between_steps} bytes are held");
    assert_fits("4 boards that close a month of 8,192 UUIDs a day", peak);
}
