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
use std::rc::Rc;

use hitparade::catalog::{CatalogLimits, Catalogs, Follower, Keeper};
use hitparade::codec;
use hitparade::filter::Filter;
use hitparade::global::{ChartRules, ClosingStep, Global, Knowing};
use hitparade::summary::Seed;
use hitparade::topology::{Region, RegionTable};
use hitparade::window::{
    DAY_MS, Days, Level, MINUTE_MS, PaneKey, Timeframe, Unit, Window, Zone, expires_before_ms,
    sliding, tiles,
};
use hitparade::wire::{ChartRequest, PostPatch, PostRequest, Push, PutPosts, Sort, WindowRequest};
use host::HostStorage;
use world::{World, post_id, region_id};

const SEED: [u8; 16] = *b"benchmark secret";
const FAILED: f64 = -1.0;

#[derive(Default)]
struct Bench {
    global: Option<Global>,
    keeper: Option<Keeper>,
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

/// Takes the message as a push. Returns 1 where what is pending is to be folded then, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn take_push(now_ms: f64) -> f64 {
    let now_ms = now_ms as u64;
    with_global(|global, push| {
        global.take_push(push, now_ms).ok()?;
        Some(f64::from(u8::from(global.flush_is_due(now_ms))))
    })
}

/// Takes the message as a push of what is to be folded at once; all of it has to be taken.
#[unsafe(no_mangle)]
pub extern "C" fn take_history(now_ms: f64) -> f64 {
    with_global(|global, push| {
        let next_offset = codec::decode::<Push<'_>>(push).ok()?.next_offset;
        let reply = global.take_push(push, now_ms as u64).ok()?;
        (reply.wanted_offset == next_offset).then_some(0.0)
    })
}

/// Folds what is pending.
#[unsafe(no_mangle)]
pub extern "C" fn flush(now_ms: f64) -> f64 {
    with_global(|global, _| {
        global.flush(&HostStorage, now_ms as u64).ok()?;
        let point = global.sync_point();
        global.synced(&point);
        Some(0.0)
    })
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
    let sort = match sort {
        1 => Sort::Rising,
        2 => Sort::Distinctive,
        _ => Sort::Views,
    };
    chart_of(
        ChartRequest {
            sort,
            ..request(scope_number, sliding_by(minutes), k)
        },
        now_ms,
    )
}

/// A chart of a period of the calendar, compared with the one before, which began at `before_ms`.
#[unsafe(no_mangle)]
pub extern "C" fn chart_since(
    scope_number: u32,
    from_ms: f64,
    to_ms: f64,
    before_ms: f64,
    k: u32,
    now_ms: f64,
) -> f64 {
    let window = WindowRequest::Since {
        from_ms: from_ms as u64,
        to_ms: to_ms as u64,
        before_ms: Some(before_ms as u64),
    };
    chart_of(request(scope_number, window, k), now_ms)
}

/// A chart of the posts with the tag of this number of [`TAGS`], or of all where there is none; what the catalog says is
/// asked for as long as something is missing.
#[unsafe(no_mangle)]
pub extern "C" fn chart_tagged(
    scope_number: u32,
    minutes: u32,
    tag: u32,
    k: u32,
    now_ms: f64,
) -> f64 {
    let filter = match TAGS.get(tag as usize) {
        Some((tag, _)) => Filter::new(vec![(*tag).into()], vec![], None, None),
        None => Ok(Filter::default()),
    };
    let Ok(filter) = filter else { return FAILED };
    let request = ChartRequest {
        filter,
        ..request(scope_number, sliding_by(minutes), k)
    };
    with(|bench| {
        let (Some(global), Some(keeper)) = (&bench.global, &bench.keeper) else {
            return FAILED;
        };
        let catalog = global.catalog();
        loop {
            let misses = catalog.misses();
            let made = global.chart(&HostStorage, &request, ChartRules::default(), now_ms as u64);
            if catalog.misses() == misses {
                return made.map_or(FAILED, |chart| chart.places.len() as f64);
            }
            let question = catalog.question();
            let Ok(news) = keeper.answer(&HostStorage, &question) else {
                return FAILED;
            };
            catalog.take(&question, news, now_ms as u64);
        }
    })
}

fn sliding_by(minutes: u32) -> WindowRequest {
    WindowRequest::Sliding {
        length_ms: u64::from(minutes) * 60_000,
    }
}

fn request(scope_number: u32, window: WindowRequest, k: u32) -> ChartRequest {
    ChartRequest {
        scope: scope(scope_number),
        window,
        sort: Sort::Views,
        k_class: k,
        filter: Filter::default(),
    }
}

fn chart_of(request: ChartRequest, now_ms: f64) -> f64 {
    with_global(|global, _| {
        let chart = global.chart(&HostStorage, &request, ChartRules::default(), now_ms as u64);
        // A chart calls itself incomplete after a load, until all shards were heard from again.
        let chart = chart.ok().filter(|chart| !chart.places.is_empty())?;
        Some(chart.places.len() as f64)
    })
}

/// Closes the next published chart that is due, of one scope. Returns 0 where none is.
#[unsafe(no_mangle)]
pub extern "C" fn close_step(now_ms: f64) -> f64 {
    with_global(|global, _| {
        let step = global.close_step(&HostStorage, Knowing::SoFar, now_ms as u64);
        Some(f64::from(u8::from(step.ok()? != ClosingStep::Over)))
    })
}

/// Tags of the catalog, with how many of a million posts have each: those whose numbers are multiples.
const TAGS: [(&str, u32); 2] = [("hundred", 10_000), ("tenth", 10)];

/// Loads the catalog from the storage.
#[unsafe(no_mangle)]
pub extern "C" fn load_catalog() -> f64 {
    let keeper = Keeper::load(&HostStorage, CatalogLimits::default(), 1);
    let keeper = keeper.and_then(|mut keeper| {
        keeper.index_under(&HostStorage, Seed::from_bytes(SEED))?;
        Ok(keeper)
    });
    with(|bench| {
        bench.keeper = keeper.ok();
        bench.keeper.as_ref().map_or(FAILED, |_| 0.0)
    })
}

/// Puts posts into the catalog, from one number up to another.
#[unsafe(no_mangle)]
pub extern "C" fn put_posts(from: u32, to: u32) -> f64 {
    let patches = (from..to).map(|number| {
        let tags = TAGS.iter().filter(|(_, each)| number.is_multiple_of(*each));
        let mut tags: Vec<String> = tags.map(|(tag, _)| (*tag).into()).collect();
        tags.push(format!("tag {:06}", number % 100_000));
        tags.sort_unstable();
        PostPatch {
            post_id: post_id(number),
            author: Some(Some(format!("author {}", number % 1_000))),
            tags: Some(tags),
            ..PostPatch::default()
        }
    });
    let put = PutPosts {
        patches: patches.collect(),
        only_new: false,
    };
    with(|bench| {
        let put = bench
            .keeper
            .as_mut()
            .map(|keeper| keeper.put(&HostStorage, &put, from.into()));
        put.and_then(Result::ok).map_or(FAILED, |_| 0.0)
    })
}

/// Forgets what the global object knows of the catalog: it follows it from now on.
#[unsafe(no_mangle)]
pub extern "C" fn follow() {
    let follower = Rc::new(Follower::new(&Catalogs::default(), "shared"));
    with(|bench| {
        if let Some(global) = &mut bench.global {
            global.follow(follower);
        }
    });
}

/// All of one post's numbers. Returns the points of its series.
#[unsafe(no_mangle)]
pub extern "C" fn post(hours: u32, now_ms: f64) -> f64 {
    with_global(|global, _| {
        let request = PostRequest {
            post_id: post_id(0),
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

/// How many panes of a level a scope has that was played all the time for a year, in the days of a zone:
/// the message, as `src/js/zones.js` says it.
#[unsafe(no_mangle)]
pub extern "C" fn panes_kept(level: u32, now_ms: f64) -> f64 {
    let (now_ms, level) = (now_ms as u64, Level::from_code(level as u8));
    with(|bench| {
        let zone = std::str::from_utf8(&bench.message).ok();
        let zone = zone.and_then(|text| Zone::read("Some/Zone", text));
        let Some((days, level)) = zone.map(Days::of).zip(level) else {
            return FAILED;
        };
        let oldest_ms = expires_before_ms(level, now_ms, &days).max(now_ms - 365 * DAY_MS);
        let minutes = (oldest_ms..now_ms).step_by(MINUTE_MS as usize);
        let mut panes: Vec<u64> = minutes
            .map(|ms| PaneKey::of(level, ms, &days).start_ms)
            .collect();
        panes.dedup();
        panes.len() as f64
    })
}
