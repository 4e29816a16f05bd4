//! What the cache of the global object saves, and what it holds: processor time of pushes and charts,
//! rows, and bytes by the allocator. `src/global/cache.rs` tells what follows from it.
//!
//! `cargo bench --bench cache`

#![allow(clippy::unwrap_used, unsafe_code)]

#[path = "../tests/objects/mod.rs"]
mod objects;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use cpu_time::ProcessTime;
use hitparade::capacity::counters;
use hitparade::codec;
use hitparade::filter::Filter;
use hitparade::global::{ChartRules, Global};
use hitparade::storage::MemoryStorage;
use hitparade::summary::{Seed, Summary};
use hitparade::topology::{Region, RegionTable};
use hitparade::window::{DAY_MS, Days, HOUR_MS, Level, MINUTE_MS, PaneKey};
use hitparade::wire::{ChartRequest, Push, SealedPane, Sort, WindowRequest};
use objects::SEED;

struct Counting;
static NOW: AtomicUsize = AtomicUsize::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NOW.fetch_add(layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW_MS: u64 = 20_000 * DAY_MS + 12 * HOUR_MS;

/// Skewed: small numbers often.
fn post(random: &mut u64) -> String {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    let uniform = (*random >> 11) as f64 / (1_u64 << 53) as f64;
    format!("post-{:012}", (1e6_f64.powf(uniform)) as u64)
}

fn pane(key: PaneKey, plays: usize, weight: u64, random: &mut u64) -> Vec<u8> {
    let mut summary = Summary::new(counters(key.level), Seed::from_bytes(SEED));
    (0..plays).for_each(|_| summary.record(&post(random), weight));
    codec::encode(&SealedPane {
        level: key.level.code(),
        start_ms: key.start_ms,
        end_ms: key.end_ms,
        first_seq: 1,
        last_seq: 1,
        summary: &summary.encode(),
    })
}

fn load(storage: &MemoryStorage, regions: u32) -> Global {
    let region = |region| Region::new(format!("R{region}"), format!("R{region}"), 1);
    let table = RegionTable::new((0..regions).map(region).collect(), SEED);
    Global::load(storage, &table).unwrap()
}

fn chart(
    global: &Global,
    storage: &MemoryStorage,
    scope: &str,
    window: WindowRequest,
    now_ms: u64,
) {
    let request = ChartRequest {
        scope: scope.into(),
        window,
        sort: Sort::Views,
        k_class: 1_000,
        filter: Filter::default(),
    };
    (global.chart(storage, &request, ChartRules::default(), now_ms)).unwrap();
}

fn sliding(length_ms: u64) -> WindowRequest {
    WindowRequest::Sliding { length_ms }
}

fn ms(started: ProcessTime) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

/// Shards that push two open panes every 5 s, one after the other, and the same two charts of each
/// scope every second for half a minute.
fn live(regions: u32, shards: u32) {
    let storage = MemoryStorage::new();
    let mut global = load(&storage, regions);
    let mut random = 7;
    let minutes =
        [0, 1].map(|ago| PaneKey::of(Level::Minute, NOW_MS - ago * MINUTE_MS, &Days::default()));
    let copies: Vec<Vec<Vec<u8>>> = (0..20)
        .map(|_| {
            minutes
                .iter()
                .map(|key| pane(*key, 20_000, 1, &mut random))
                .collect()
        })
        .collect();
    let held = NOW.load(Relaxed);
    let (mut pushing_ms, mut charting_ms, mut pushes) = (0.0, 0.0, 0_u32);
    let all = regions * shards;
    for second in 0..35_u32 {
        let now_ms = NOW_MS + u64::from(second) * 1_000;
        for number in (0..all).filter(|number| number % 5 == second % 5) {
            let (region, shard) = (number / shards, number % shards);
            let copies = &copies[(number % 20) as usize];
            let push = codec::encode(&Push {
                region_id: &format!("R{region}"),
                shard,
                epoch_ms: 0,
                log_id: 1 + u128::from(number),
                log_began_ms: 1,
                oldest_offset: 0,
                first_offset: 0,
                entries: Vec::new(),
                next_offset: 0,
                journal_seq: u64::from(second) + 1,
                copies: copies.iter().map(Vec::as_slice).collect(),
                copies_left_out: false,
                cut: None,
                watched_since_ms: None,
                replied_by: 0,
            });
            let started = ProcessTime::now();
            global.take_push(&push, now_ms).unwrap();
            if second >= 5 {
                pushing_ms += ms(started);
                pushes += 1;
            }
        }
        let started = ProcessTime::now();
        for region in 0..regions {
            chart(
                &global,
                &storage,
                &format!("R{region}"),
                sliding(HOUR_MS),
                now_ms,
            );
        }
        chart(&global, &storage, "global", sliding(HOUR_MS), now_ms);
        if second >= 5 {
            charting_ms += ms(started);
        }
    }
    let held = NOW.load(Relaxed) - held;
    println!(
        "live, {regions} regions of {shards} shards: {:.3} ms a push, {:.1} ms a second for charts of \
         {} scopes, {:.1} MB held",
        pushing_ms / f64::from(pushes),
        charting_ms / 30.0,
        regions + 1,
        held as f64 / 1e6
    );
}

/// Ladders of some regions: 60 days, 14 days of two hours, 40 hours of quarters.
fn history(regions: u32) -> MemoryStorage {
    let storage = MemoryStorage::new();
    let mut global = load(&storage, regions);
    let mut random = 11;
    let mut log = 0;
    for region in 0..regions {
        let panes = (1..=60)
            .map(|ago| PaneKey::of(Level::Day, NOW_MS - ago * DAY_MS, &Days::default()))
            .chain((1..160).map(|ago| {
                PaneKey::of(
                    Level::Quarter,
                    NOW_MS - ago * 15 * MINUTE_MS,
                    &Days::default(),
                )
            }));
        for key in panes {
            log += 1;
            let entry = pane(key, 20_000, 50, &mut random);
            let push = objects::first_push((&format!("R{region}"), log), &[entry], &[]);
            global.take_push(&push, NOW_MS).unwrap();
            if log % 20 == 0 {
                global.flush(&storage, NOW_MS).unwrap();
            }
        }
    }
    global.flush(&storage, NOW_MS).unwrap();
    storage
}

/// Charts of all scopes over a day and a month, all of them every two seconds, a minute.
fn warm(regions: u32, storage: &MemoryStorage, cold_a_second: u64) {
    let base = NOW.load(Relaxed);
    let global = load(storage, regions);
    let scopes: Vec<String> = (0..regions).map(|region| format!("R{region}")).collect();
    let (mut warm_ms, mut cold_ms) = (0.0, 0.0);
    let (mut read, mut merged, mut charts) = (0, 0, 0);
    for second in 0..60 {
        let now_ms = NOW_MS + second * 1_000;
        for number in 0..cold_a_second {
            let ago = second * cold_a_second + number;
            let (from_ms, to_ms) = (
                NOW_MS - (58 - ago % 25) * DAY_MS,
                NOW_MS - (1 + ago % 24) * DAY_MS,
            );
            let started = ProcessTime::now();
            let between = WindowRequest::Between { from_ms, to_ms };
            chart(
                &global,
                storage,
                &scopes[ago as usize % scopes.len()],
                between,
                now_ms,
            );
            cold_ms += ms(started);
        }
        if second % 2 == 1 {
            continue;
        }
        let (before, started) = (global.done(), ProcessTime::now());
        for scope in scopes.iter().map(String::as_str).chain(["global"]) {
            for length_ms in [DAY_MS, 30 * DAY_MS] {
                chart(&global, storage, scope, sliding(length_ms), now_ms);
                charts += u64::from(second >= 10);
            }
        }
        if second >= 10 {
            warm_ms += ms(started);
            let done = global.done() - before;
            read += done.rows_read;
            merged += done.rows_merged;
        }
    }
    let held = NOW.load(Relaxed) - base;
    println!(
        "{regions} regions, {cold_a_second} other windows a second: {:.2} ms a warm chart ({} rows read, \
         {} merged), {:.1} ms one of the others, {:.1} MB held",
        warm_ms / charts as f64,
        read / charts,
        merged / charts,
        cold_ms / (60 * cold_a_second.max(1)) as f64,
        held as f64 / 1e6
    );
}

fn main() {
    for (regions, shards) in [(1, 10), (1, 100), (10, 10), (10, 100)] {
        live(regions, shards);
    }
    for regions in [3, 10, 20] {
        let storage = history(regions);
        for cold_a_second in [0, 20] {
            warm(regions, &storage, cold_a_second);
        }
    }
}
