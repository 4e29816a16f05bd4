//! The benchmark's Wasm side: what `scripts/bench/summary.mjs` calls and times.

// Exporting a function by its name is the only way in; it is not a risk here.
#![allow(unsafe_code)]

#[path = "floor.rs"]
mod floor;
#[path = "streams.rs"]
mod streams;

use std::cell::RefCell;

use floor::Floor;
use hitparade_summary::{Seed, Summary};
use streams::{COUNTERS, IDS, PANES, Plays, Source, Stream};

const SEED: Seed = Seed::from_bytes(*b"benchmark secret");

#[derive(Default)]
struct Bench {
    source: Option<Source>,
    plays: Plays,
    weights: Vec<u64>,
    exact: Vec<u64>,
    summary: Option<Summary>,
    weighted: Option<Summary>,
    floor: Floor,
    panes: Vec<Summary>,
    encoded: Vec<Vec<u8>>,
}

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::default();
}

fn with<T>(run: impl FnOnce(&mut Bench) -> T) -> T {
    BENCH.with_borrow_mut(run)
}

/// Starts a stream: 0 to 3, in the order of the table, then the drifting one.
#[unsafe(no_mangle)]
pub extern "C" fn start(stream: u32) {
    let stream = match stream {
        0 => Stream::Zipf10,
        1 => Stream::Zipf12,
        2 => Stream::Uniform,
        _ => Stream::Drifting,
    };
    with(|bench| {
        bench.source = Some(Source::new(stream, 1));
        bench.exact = vec![0; IDS];
        bench.summary = Some(Summary::new(COUNTERS, SEED));
        bench.weighted = Some(Summary::new(COUNTERS, SEED));
        bench.panes.clear();
    });
}

/// Draws the plays that the next calls record.
#[unsafe(no_mangle)]
pub extern "C" fn draw(count: u32) {
    with(|bench| {
        if let Some(source) = &mut bench.source {
            bench.plays = Plays::default();
            bench.plays = Plays::draw(source, count as usize);
        }
        for &number in &bench.plays.numbers {
            bench.exact[number as usize] += 1;
        }
        if bench.weights.len() != bench.plays.len() {
            bench.weights = streams::weights(bench.plays.len());
        }
    });
}

/// Records the plays once each.
#[unsafe(no_mangle)]
pub extern "C" fn record() {
    with(|bench| {
        if let Some(summary) = &mut bench.summary {
            let weight = std::hint::black_box(1);
            bench.plays.ids().for_each(|id| summary.record(id, weight));
        }
    });
}

/// Records the plays with weights from 1 to a million.
#[unsafe(no_mangle)]
pub extern "C" fn record_weighted() {
    with(|bench| {
        if let Some(summary) = &mut bench.weighted {
            for (id, &weight) in bench.plays.ids().zip(&bench.weights) {
                summary.record(id, weight);
            }
        }
    });
}

/// The floor on the same plays.
#[unsafe(no_mangle)]
pub extern "C" fn floor() -> u32 {
    with(|bench| {
        let plays = &bench.plays;
        let floor = &mut bench.floor;
        let weight = std::hint::black_box(1);
        plays.ids().for_each(|id| floor.record(id, weight));
        floor.sum() as u32
    })
}

/// The largest overcount as a share of N/m, of the summary of unit weights.
#[unsafe(no_mangle)]
pub extern "C" fn overcount() -> f64 {
    with(|bench| {
        bench
            .summary
            .as_ref()
            .map_or(f64::NAN, |summary| share(summary, &bench.exact))
    })
}

fn share(summary: &Summary, exact: &[u64]) -> f64 {
    let most = summary.rows().map(|row| {
        let number = row
            .id
            .get(5..)
            .and_then(|digits| digits.parse::<usize>().ok());
        row.upper - exact[number.unwrap_or(0)]
    });
    most.max().unwrap_or(0) as f64 * COUNTERS as f64 / summary.total() as f64
}

/// Records the drawn plays as one more pane.
#[unsafe(no_mangle)]
pub extern "C" fn add_pane() {
    with(|bench| {
        let mut pane = Summary::new(COUNTERS, SEED);
        bench.plays.ids().for_each(|id| pane.record(id, 1));
        bench.panes.push(pane);
    });
}

/// Merges the panes into one summary of as many counters.
#[unsafe(no_mangle)]
pub extern "C" fn merge() -> u32 {
    with(|bench| {
        let parts = bench.panes.iter().take(PANES);
        let merged = Summary::merge(parts, COUNTERS, SEED);
        let rows = merged.len() as u32;
        bench.summary = Some(merged);
        rows
    })
}

/// Merges the panes without dropping anything.
#[unsafe(no_mangle)]
pub extern "C" fn merge_all() -> u32 {
    with(|bench| {
        let merged = Summary::merge_all(bench.panes.iter(), SEED);
        merged.len() as u32
    })
}

/// Encodes the panes; their bytes, all together.
#[unsafe(no_mangle)]
pub extern "C" fn encode() -> u32 {
    with(|bench| {
        bench.encoded = bench.panes.iter().map(Summary::encode).collect();
        bench.encoded.iter().map(Vec::len).sum::<usize>() as u32
    })
}

/// Decodes what [`encode`] made; how many of the panes came out as they went in.
#[unsafe(no_mangle)]
pub extern "C" fn decode() -> u32 {
    with(|bench| {
        let decoded = bench
            .encoded
            .iter()
            .zip(&bench.panes)
            .filter(|(bytes, pane)| {
                Summary::decode(bytes, SEED).is_ok_and(|decoded| decoded.total() == pane.total())
            });
        decoded.count() as u32
    })
}
