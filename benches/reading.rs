//! What reading costs the global object: processor time of a row that is read from storage and of
//! one that is merged, by sort and by length of the ids, and of looking one post up in what is stored.
//! `src/global/turns.rs` has the sums.
//!
//! `cargo bench --bench reading`

#![allow(clippy::unwrap_used)]

use cpu_time::ProcessTime;
use hitparade::codec;
use hitparade::filter::Filter;
use hitparade::global::{ChartRules, Global};
use hitparade::storage::MemoryStorage;
use hitparade::summary::{Seed, Summary};
use hitparade::topology::{Region, RegionTable};
use hitparade::window::{DAY_MS, Days, Level, PaneKey};
use hitparade::wire::{ChartRequest, Push, SealedPane, Sort, WindowRequest};

const SEED: [u8; 16] = *b"benchmark secret";
const NOW_MS: u64 = 20_000 * DAY_MS + DAY_MS / 2;
const DAYS: u64 = 60;
const IDS_A_DAY: u64 = 4_000;
const ROUNDS: u64 = 5;
const REGIONS: [&str; 2] = ["NA", "EU"];

/// An id of so many bytes that shares few of them with others.
fn id(number: u64, bytes: usize) -> String {
    let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{hash:016x}{number:x>width$}", width = bytes - 16)
}

fn day(day: u64, region: u64, bytes: usize, ids: u64) -> Vec<u8> {
    let mut summary = Summary::new(4_096, Seed::from_bytes(SEED));
    for number in 0..ids {
        let number = (day * 2 + region) * IDS_A_DAY + number;
        summary.record(&id(number, bytes), 1 + number % 7);
    }
    let key = PaneKey::of(Level::Day, NOW_MS - (day + 1) * DAY_MS, &Days::default());
    codec::encode(&SealedPane {
        level: key.level.code(),
        start_ms: key.start_ms,
        end_ms: key.end_ms,
        first_seq: 1,
        last_seq: 1,
        summary: &summary.encode(),
    })
}

fn world(bytes: usize, ids_a_day: u64) -> MemoryStorage {
    let storage = MemoryStorage::new();
    let mut global = load(&storage);
    for (region, region_id) in (0..).zip(REGIONS) {
        for number in 0..DAYS {
            let entry = day(number, region, bytes, ids_a_day);
            let push = Push {
                region_id,
                shard: 0,
                epoch_ms: 0,
                log_id: 1,
                oldest_offset: 0,
                first_offset: number,
                entries: vec![&entry],
                next_offset: number + 1,
                journal_seq: number,
                log_began_ms: 1,
                copies: Vec::new(),
                copies_left_out: false,
                cut: None,
                watched_since_ms: None,
                replied_by: 0,
            };
            global.take_push(&codec::encode(&push), NOW_MS).unwrap();
            global.flush(&storage, NOW_MS).unwrap();
        }
    }
    storage
}

fn load(storage: &MemoryStorage) -> Global {
    let regions = REGIONS.map(|id| Region::new(id, id, 1));
    Global::load(storage, &RegionTable::new(regions.into(), SEED)).unwrap()
}

fn main() {
    println!(
        "| ids a day | bytes an id | sort | | ms | rows read | rows merged | MB of long ids | us a row |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (ids_a_day, bytes) in [
        (4_000, 17),
        (8_000, 17),
        (4_000, 64),
        (4_000, 120),
        (4_000, 256),
    ] {
        let storage = world(bytes, ids_a_day);
        for sort in [Sort::Views, Sort::Rising, Sort::Distinctive] {
            let mut global = load(&storage);
            for (name, rounds) in [("first", 1), ("again", ROUNDS)] {
                let (before, started) = (global.done(), ProcessTime::now());
                for round in 0..rounds {
                    if name == "first" {
                        global = load(&storage);
                    }
                    let request = ChartRequest {
                        scope: "NA".into(),
                        window: WindowRequest::Sliding {
                            length_ms: 30 * DAY_MS,
                        },
                        sort,
                        k_class: 1_000 - round as u32,
                        filter: Filter::default(),
                    };
                    let rules = ChartRules::default();
                    global.chart(&storage, &request, rules, NOW_MS).unwrap();
                }
                let ms = started.elapsed().as_secs_f64() * 1e3 / rounds as f64;
                let done = match name {
                    "first" => global.done(),
                    _ => global.done() - before,
                };
                let [read, merged] = [done.rows_read, done.rows_merged].map(|n| n / rounds);
                let long = done.long_id_bytes as f64 / rounds as f64 / 1e6;
                println!(
                    "| {ids_a_day} | {bytes} | {} | {name} | {ms:.1} | {read} | {merged} | {long:.1} | {:.2} |",
                    format!("{sort:?}").to_lowercase(),
                    ms * 1e3 / (read + merged) as f64
                );
            }
        }
    }
    looking_up();
}

/// Looking one post up in stored panes, beside decoding them.
fn looking_up() {
    let seed = Seed::from_bytes(SEED);
    println!("\n| posts | counters | bytes an id | bytes | look up | ns a byte | decode |");
    println!("|---|---|---|---|---|---|---|");
    for (posts, counters, bytes) in [
        (4_000, 16_384, 17),
        (4_000, 16_384, 36),
        (16_000, 16_384, 17),
        (60_000, 8_192, 17),
        (20_000, 4_096, 256),
    ] {
        let mut pane = Summary::new(counters, seed);
        (0..posts).for_each(|number| pane.record(&id(number, bytes), 1 + number % 7 * number % 5));
        let encoded = pane.encode();
        let rounds = 400;
        let timed = |look: &dyn Fn(&str)| {
            let started = ProcessTime::now();
            // Every other one is absent.
            (0..rounds).for_each(|round| look(&id(round * posts / rounds * 2, bytes)));
            started.elapsed().as_secs_f64() * 1e6 / rounds as f64
        };
        let look_up_us = timed(&|post| {
            Summary::bounds_in(&encoded, post, seed).unwrap();
        });
        let decode_us = timed(&|post| {
            Summary::decode_checked(&encoded, seed)
                .unwrap()
                .bounds(post);
        });
        println!(
            "| {posts} | {counters} | {bytes} | {} | {look_up_us:.0} us | {:.1} | {decode_us:.0} us |",
            encoded.len(),
            look_up_us * 1e3 / encoded.len() as f64
        );
    }
}
