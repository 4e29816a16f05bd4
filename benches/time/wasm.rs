//! The benchmark of the global object, in Wasm: what `scripts/bench/time.mjs` calls and times.
//!
//! One instance draws the plays (`draw_*`), others hold a [`Global`] each. Messages go through
//! a buffer of the instance, storage is the host's.

// Exporting a function by its name, and importing the host's, are the only way in and out.
#![allow(unsafe_code)]

mod host;
#[path = "../../src/summary/benches/parts/streams.rs"]
#[allow(dead_code)]
mod streams;
mod world;

use std::cell::RefCell;

use hitparade::filter::Filter;
use hitparade::global::{ChartRules, Global};
use hitparade::topology::{Region, RegionTable};
use hitparade::window::{Days, Level, Timeframe, Unit, Window, sliding, tiles};
use hitparade::wire::{ChartRequest, PostRequest, Sort, WindowRequest};
use host::HostStorage;
use world::{World, region_id};

const SEED: [u8; 16] = *b"benchmark secret";
const FAILED: f64 = -1.0;

#[derive(Default)]
struct Bench {
    global: Option<Global>,
    world: Option<World>,
    message: Vec<u8>,
}

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::default();
}

fn with<T>(run: impl FnOnce(&mut Bench) -> T) -> T {
    BENCH.with_borrow_mut(run)
}

/// Makes room for a message of so many bytes, and says where.
#[unsafe(no_mangle)]
pub extern "C" fn message(bytes: usize) -> *mut u8 {
    with(|bench| {
        bench.message.clear();
        bench.message.resize(bytes, 0);
        bench.message.as_mut_ptr()
    })
}

/// Where the message is that was made last; its bytes are what the call returned.
#[unsafe(no_mangle)]
pub extern "C" fn made() -> *const u8 {
    with(|bench| bench.message.as_ptr())
}

/// Loads the state from the storage, with so many regions where there are none.
#[unsafe(no_mangle)]
pub extern "C" fn load(regions: u32) -> f64 {
    let made = |region| Region::new(region_id(region), region_id(region), 1);
    let table = RegionTable::new((0..regions).map(made).collect(), SEED);
    let loaded = Global::load(&HostStorage, &table);
    with(|bench| bench.global = loaded.ok());
    with(|bench| if bench.global.is_some() { 0.0 } else { FAILED })
}

fn with_global(run: impl FnOnce(&mut Global, &[u8]) -> Option<f64>) -> f64 {
    let answer = with(|bench| {
        let global = bench.global.as_mut()?;
        run(global, &bench.message)
    });
    answer.unwrap_or(FAILED)
}

/// Takes the message as a push and folds what is pending where that is due, as the object does.
/// Returns 1 where it folded, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn take_push(now_ms: f64) -> f64 {
    let now_ms = now_ms as u64;
    with_global(|global, push| {
        global.take_push(push, now_ms).ok()?;
        if !global.flush_is_due(now_ms) {
            return Some(0.0);
        }
        flush_now(global, now_ms)?;
        Some(1.0)
    })
}

fn flush_now(global: &mut Global, now_ms: u64) -> Option<()> {
    global.flush(&HostStorage, now_ms).ok()?;
    let point = global.sync_point();
    global.synced(&point);
    Some(())
}

/// Folds what is pending.
#[unsafe(no_mangle)]
pub extern "C" fn flush(now_ms: f64) -> f64 {
    with_global(|global, _| flush_now(global, now_ms as u64).map(|()| 0.0))
}

/// Scopes by number: 0 is worldwide, then the regions.
fn scope(number: u32) -> String {
    match number {
        0 => "global".to_owned(),
        region => region_id(region - 1),
    }
}

/// A cold chart with its previous ranks; sorts are 0 views, 1 rising, 2 distinctive. Returns the
/// number of places; the chart is thrown away.
#[unsafe(no_mangle)]
pub extern "C" fn chart(scope_number: u32, minutes: u32, k: u32, sort: u32, now_ms: f64) -> f64 {
    with_global(|global, _| {
        let request = ChartRequest {
            scope: scope(scope_number),
            window: WindowRequest::Sliding {
                length_ms: u64::from(minutes) * 60_000,
            },
            sort: match sort {
                1 => Sort::Rising,
                2 => Sort::Distinctive,
                _ => Sort::Views,
            },
            k_class: k,
            filter: Filter::default(),
        };
        let chart = global.chart(&HostStorage, &request, ChartRules::default(), now_ms as u64);
        // A chart calls itself incomplete after a load, until all shards were heard of again.
        let chart = chart.ok().filter(|chart| !chart.places.is_empty())?;
        Some(chart.places.len() as f64)
    })
}

/// All of one post's numbers. Returns the points of its series.
#[unsafe(no_mangle)]
pub extern "C" fn post(hours: u32, now_ms: f64) -> f64 {
    with_global(|global, _| {
        let request = PostRequest {
            post_id: "song-000000".into(),
            scope: scope(0),
            window: WindowRequest::Sliding {
                length_ms: u64::from(hours) * 3_600_000,
            },
            hidden_too: false,
        };
        let report = global.post(&HostStorage, &request, ChartRules::default(), now_ms as u64);
        Some(report.ok()?.series.len() as f64)
    })
}

/// Every region with its plays of a day.
#[unsafe(no_mangle)]
pub extern "C" fn regions(now_ms: f64) -> f64 {
    with_global(|global, _| Some(global.regions(&HostStorage, now_ms as u64).ok()?.len() as f64))
}

/// Starts drawing.
#[unsafe(no_mangle)]
pub extern "C" fn draw() {
    with(|bench| bench.world = Some(World::new(SEED)));
}

fn with_world(make: impl FnOnce(&mut World) -> Vec<u8>) -> usize {
    with(|bench| {
        if let Some(world) = &mut bench.world {
            bench.message = make(world);
        }
        bench.message.len()
    })
}

/// Draws a push of sealed panes of a level. Returns its bytes.
#[unsafe(no_mangle)]
pub extern "C" fn draw_history(region: u32, level: u32, end_ms: f64, panes: u32) -> usize {
    let level = Level::from_code(level as u8).unwrap_or(Level::Minute);
    with_world(|world| world.history(region, level, end_ms as u64, panes))
}

/// Draws what a shard pushes. Returns its bytes.
#[unsafe(no_mangle)]
pub extern "C" fn draw_push(
    region: u32,
    shard: u32,
    start_ms: f64,
    minute: u32,
    step: u32,
) -> usize {
    with_world(|world| world.push(region, shard, start_ms as u64, minute, step))
}

/// How many panes a window of so many hours and the one before it need.
#[unsafe(no_mangle)]
pub extern "C" fn panes_of(hours: u32, now_ms: f64) -> f64 {
    let now_ms = now_ms as u64;
    let Ok(timeframe) = Timeframe::new(u64::from(hours), Unit::Hours) else {
        return FAILED;
    };
    let count = |window: &Window| tiles(window.span, now_ms, &Days::default()).len() as f64;
    let asked = sliding(timeframe, now_ms, &Days::default());
    let before = hitparade::window::previous(&asked, now_ms, &Days::default());
    count(&asked) + before.as_ref().map_or(0.0, count)
}
