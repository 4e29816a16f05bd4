//! Decoding anything: no panic, no unbounded allocation, and whatever decodes works.
//!
//! Two seconds by default; for longer, on the stable tool chain:
//! `FUZZ_SECONDS=600 cargo test --release -p hitparade-summary --test fuzz -- --nocapture`.
//! `fuzz/` has the same for `cargo fuzz`, which is guided by coverage but needs nightly.

// The counting allocator only passes on to the system's.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use hitparade_summary::{Seed, Summary};

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.get() + layout.size() as isize;
        HELD.set(held);
        MOST.set(MOST.get().max(held));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SEED: Seed = Seed::from_bytes([3; 16]);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Summaries of every kind, encoded.
fn corpus() -> Vec<Vec<u8>> {
    let mut random = Random(1);
    let mut all = Vec::new();
    for (capacity, plays, ids) in [
        (1, 0, 1),
        (3, 50, 9),
        (40, 30, 30),
        (40, 5_000, 300),
        (1_000, 20_000, 9_000),
    ] {
        for largest in [1, 1_000, u64::from(u32::MAX), u64::MAX] {
            for length in [0, 3, 40, 200] {
                let mut summary = Summary::new(capacity, SEED);
                for _ in 0..plays {
                    let most = 1 + random.below(ids);
                    let number = random.below(most);
                    let id = format!("{number}{}", "é".repeat(length / 2));
                    summary.record(&id, random.next() % largest + 1);
                }
                all.push(summary.encode());
                let foreign = Summary::merge([&summary, &summary], 20, Seed::from_bytes([4; 16]));
                all.push(foreign.encode());
            }
        }
    }
    all
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len());
        match random.below(9) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), random.next() as u8),
            2 => drop(bytes.drain(at..(at + 1 + random.below(8)).min(bytes.len()).max(at))),
            3 => {
                let from = random.below(other.len());
                let to = (from + random.below(40)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            4 => {
                let tail = other.get(at..).unwrap_or(&[]);
                bytes.truncate(at);
                bytes.extend_from_slice(tail);
            }
            kind => {
                // The head, where capacities and counts are, as often as all the rest.
                let at = if kind < 7 { random.below(40) } else { at };
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = match random.below(4) {
                        0 => byte.wrapping_add(1),
                        1 => *byte ^ 1 << random.below(8),
                        2 => [0, 1, 127, 128, 255][random.below(5)],
                        _ => random.next() as u8,
                    };
                }
            }
        }
    }
}

/// Makes the checksum right, or nothing would get past it.
fn sign(bytes: &mut Vec<u8>) {
    let checksum = crc32fast::hash(bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
}

/// Decodes, and uses what came out. Returns whether it was a summary.
fn try_bytes(bytes: &[u8], probe: &Summary) -> bool {
    let before = HELD.get();
    MOST.set(before);
    let decoded = Summary::decode(bytes, SEED);
    let taken = (MOST.get() - before) as usize;
    // What the documentation of `decode` promises, with the texts of long ids.
    let allowed = 40_000 + (200 + 256) * bytes.len();
    assert!(taken <= allowed, "{taken} bytes for {}", bytes.len());
    let probes = ["new", "17", "é"];
    let looked_up = probes.map(|id| Summary::bounds_in(bytes, id, SEED));
    let Ok(mut summary) = decoded else {
        return false;
    };
    assert_eq!(looked_up, probes.map(|id| Ok(summary.bounds(id))));
    if let Some(row) = summary.rows().nth(summary.len() / 2) {
        assert_eq!(Summary::bounds_in(bytes, row.id, SEED), Ok(row.bounds()));
    }
    let again = summary.encode();
    assert_eq!(Summary::decode(&again, SEED).unwrap().encode(), again);
    assert!(
        summary
            .rows()
            .all(|row| row.lower <= row.upper && !row.id.is_empty())
    );
    let top: Vec<String> = summary.top(3).iter().map(|row| row.id.into()).collect();
    let merged = Summary::merge([&summary, probe, &summary], 10, SEED);
    assert!(merged.len() <= 10);
    for (number, id) in top
        .iter()
        .map(String::as_str)
        .chain(["new", "é"])
        .enumerate()
    {
        summary.record(id, 1 + number as u64);
        let bounds = summary.bounds(id);
        assert!(bounds.lower <= bounds.upper);
    }
    summary.truncate(5);
    assert!(summary.len() <= 5);
    true
}

#[test]
fn decoding_survives_anything() {
    let seconds = std::env::var("FUZZ_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(2);
    let mut random = Random(std::env::var("FUZZ_SEED").map_or(7, |text| text.parse().unwrap()));
    let mut corpus = corpus();
    let probe = Summary::decode(&corpus[20], SEED).unwrap();
    let (mut tried, mut decoded) = (0_u64, 0_u64);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        let other = corpus[random.below(corpus.len())].clone();
        bytes.truncate(bytes.len() - 4);
        mutate(&mut bytes, &other, &mut random);
        if random.below(50) > 0 {
            sign(&mut bytes);
        }
        tried += 1;
        if try_bytes(&bytes, &probe) {
            decoded += 1;
            // What still decodes leads on to what else does.
            if corpus.len() < 2_000 && bytes.len() < 3_000 {
                corpus.push(bytes);
            } else if bytes.len() < 3_000 {
                let at = random.below(corpus.len());
                corpus[at] = bytes;
            }
        }
    }
    println!("{tried} tried, {decoded} of them summaries");
    assert!(decoded > 0);
}
