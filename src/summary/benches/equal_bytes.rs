//! Every peer with as many bytes as a summary takes: how many of the first 100 and 1,000 it finds.
//!
//! `cargo bench --bench equal_bytes` prints the table; `-- --json` prints one line a number. Bytes
//! are those of the allocator, after 10 million plays. Nothing is timed.

// Counting what is allocated is what it is for.
#![allow(unsafe_code, clippy::expect_used)]

#[path = "parts/report.rs"]
#[allow(dead_code)]
mod report;
#[path = "parts/streams.rs"]
#[allow(dead_code)]
mod streams;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use datasketches::frequencies::{ErrorType, FrequentItemsSketch};
use heavykeeper::{BucketedTopK, CuckooTopK, TopK};
use hitparade_summary::{Seed, Summary};
use report::Report;
use streams::{IDS, Plays, Source, Stream};
use topk::FilteredSpaceSaving;

struct Counting;
static HELD: AtomicUsize = AtomicUsize::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SEED: Seed = Seed::from_bytes(*b"benchmark secret");
/// Counters of the summary that the others have the bytes of.
const SIZES: [usize; 2] = [1_024, 4_096];
const PLAYS: usize = 10_000_000;
/// So many plays fill what a peer will hold.
const FILLING: usize = 1_000_000;
/// Places that are asked for: what peers without counters of their own are told to keep.
const PLACES: usize = 1_000;

/// Something that is told plays and says what was played most.
trait Peer {
    fn record(&mut self, id: &str);
    /// The ids that it has most of, the first first.
    fn top(&self) -> Vec<String>;
}

impl Peer for Summary {
    fn record(&mut self, id: &str) {
        Summary::record(self, id, 1);
    }

    fn top(&self) -> Vec<String> {
        let top = Summary::top(self, PLACES).into_iter();
        top.map(|row| row.id.to_owned()).collect()
    }
}

impl Peer for FilteredSpaceSaving<String> {
    fn record(&mut self, id: &str) {
        self.insert(id.into(), 1);
    }

    fn top(&self) -> Vec<String> {
        let mut rows: Vec<_> = self.iter().collect();
        rows.sort_by_key(|(_, counter)| std::cmp::Reverse(counter.estimated_count()));
        rows.into_iter().map(|(id, _)| id.clone()).collect()
    }
}

impl Peer for FrequentItemsSketch<String> {
    fn record(&mut self, id: &str) {
        self.update_ref(id);
    }

    fn top(&self) -> Vec<String> {
        let mut rows = self.frequent_items(ErrorType::NoFalseNegatives);
        rows.sort_by_key(|row| std::cmp::Reverse(row.estimate()));
        rows.iter().map(|row| row.item().clone()).collect()
    }
}

macro_rules! heavykeepers {
    ($($kind:ident)*) => {$(
        impl Peer for $kind<String> {
            fn record(&mut self, id: &str) {
                self.add(id, 1);
            }

            fn top(&self) -> Vec<String> {
                self.list().into_iter().map(|node| node.item).collect()
            }
        }
    )*};
}

heavykeepers!(TopK BucketedTopK CuckooTopK);

/// Makes a peer of a size: counters, or cells in each of four rows.
type Make = fn(usize) -> Box<dyn Peer>;

const PEERS: [(&str, Make); 6] = [
    ("summary", |size| Box::new(Summary::new(size, SEED))),
    ("topk", |size| {
        Box::new(FilteredSpaceSaving::<String>::new(size))
    }),
    // Its sizes are powers of two.
    ("datasketches", |size| {
        let map = size.next_power_of_two() / if size.is_power_of_two() { 1 } else { 2 };
        Box::new(FrequentItemsSketch::<String>::new(map.max(8)).expect("a power of two"))
    }),
    ("heavykeeper", |size| {
        Box::new(TopK::<String>::with_seed(PLACES.min(size), size, 4, 0.9, 7))
    }),
    ("heavykeeper, bucketed", |size| {
        Box::new(BucketedTopK::<String>::with_seed(
            PLACES.min(size),
            size,
            4,
            0.9,
            7,
        ))
    }),
    ("heavykeeper, cuckoo", |size| {
        Box::new(CuckooTopK::<String>::with_seed(
            PLACES.min(size),
            size,
            4,
            0.9,
            7,
        ))
    }),
];

fn main() {
    let mut report = Report::new(std::env::args().any(|argument| argument == "--json"));
    for stream in [Stream::Zipf10, Stream::Zipf12] {
        for counters in SIZES {
            equal_bytes(&mut report, stream, counters);
        }
    }
    report.print();
}

/// What a peer of a size holds once it was told plays.
fn held(make: Make, size: usize, plays: &Plays) -> usize {
    let before = HELD.load(Relaxed);
    let mut peer = make(size);
    plays.ids().for_each(|id| peer.record(id));
    HELD.load(Relaxed) - before
}

fn equal_bytes(report: &mut Report, stream: Stream, counters: usize) {
    let plays = Plays::draw(&mut Source::new(stream, 1), FILLING);
    let most = held(PEERS[0].1, counters, &plays);
    let mut peers: Vec<(&str, usize, Box<dyn Peer>)> = Vec::new();
    for (name, make) in PEERS {
        // The largest size that takes no more, within a hundredth.
        let (mut fits, mut too_large) = (8, 16 * counters);
        while too_large - fits > 1 + fits / 100 {
            let size = (fits + too_large) / 2;
            match held(make, size, &plays) <= most {
                true => fits = size,
                false => too_large = size,
            }
        }
        let size = if name == "summary" { counters } else { fits };
        peers.push((name, held(make, size, &plays), make(size)));
    }
    let mut source = Source::new(stream, 2);
    let mut counts = vec![0_u32; IDS];
    for _ in 0..PLAYS / FILLING {
        let plays = Plays::draw(&mut source, FILLING);
        for &number in &plays.numbers {
            counts[number as usize] += 1;
        }
        for (_, _, peer) in &mut peers {
            plays.ids().for_each(|id| peer.record(id));
        }
    }
    let mut falling = counts.clone();
    falling.sort_unstable_by(|a, b| b.cmp(a));
    for (name, bytes, peer) in &peers {
        let head = format!("{}, bytes of {counters} counters: {name}", stream.name());
        report.note(&format!("{head}, held"), *bytes as f64 / 1e3, "kB");
        let top = peer.top();
        for k in [100, PLACES] {
            // Ids that are level with the last are as good.
            let is_found = |id: &&String| {
                let number = id.get(5..).and_then(|digits| digits.parse::<usize>().ok());
                number.is_some_and(|number| counts[number] >= falling[k - 1])
            };
            let found = top.iter().take(k).filter(is_found).count();
            report.note(&format!("{head}, found of {k}"), found as f64, "");
        }
    }
}
