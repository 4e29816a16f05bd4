//! The summary beside its peers and the floor, natively.
//!
//! `cargo bench --bench summary` prints the table; `-- --json` prints one line a number for
//! `scripts/bench/summary.mjs`, which adds the same in Wasm. CPU time, medians of interleaved
//! rounds. No stream has a special case. What a play may cost is told by the floor of the same run:
//! both grow where the machine is busy.

#[path = "parts/floor.rs"]
mod floor;
#[path = "parts/peers.rs"]
mod peers;
#[path = "parts/report.rs"]
mod report;
#[path = "parts/streams.rs"]
mod streams;

use cpu_time::ProcessTime;
use hitparade_summary::{Seed, Summary};
use peers::{
    Bucketed, Contender, Cuckoo, DataSketches, Floored, HeavyKeeper, TopKCrate, TopKOfArrays,
};
use report::Report;
use streams::{COUNTERS, IDS, PANES, Plays, Source, Stream, TABLE};

const SEED: Seed = Seed::from_bytes(*b"benchmark secret");

/// 20 million plays, in rounds.
const ROUNDS: usize = 21;
const PLAYS_A_ROUND: usize = 960_000;

/// Merges are repeated this often.
const MERGE_ROUNDS: usize = 15;

impl Contender for Summary {
    fn record(&mut self, id: &str) {
        Summary::record(self, id, 1);
    }

    fn record_all(&mut self, plays: &Plays) {
        let weight = std::hint::black_box(1);
        plays.ids().for_each(|id| Summary::record(self, id, weight));
    }
}

fn main() {
    let json = std::env::args().any(|argument| argument == "--json");
    if std::env::args().any(|argument| argument == "--profile") {
        return profile();
    }
    let mut report = Report::new(json);
    for (at, stream) in TABLE.into_iter().enumerate() {
        plays(&mut report, at, stream);
        merges(&mut report, at, stream);
    }
    others(&mut report);
    hostile(&mut report);
    report.print();
}

/// For a profiler: the summary alone on uniform ids, where most plays find no counter.
fn profile() {
    let mut summary = Summary::new(COUNTERS, SEED);
    let mut source = Source::new(Stream::Uniform, 1);
    let plays = Plays::draw(&mut source, PLAYS_A_ROUND);
    for _ in 0..100 {
        summary.record_all(&plays);
    }
    assert!(summary.is_full());
}

/// CPU time of `run`, in nanoseconds.
fn time(run: impl FnOnce()) -> f64 {
    let start = ProcessTime::now();
    run();
    start.elapsed().as_nanos() as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One round of all contenders after the other, again and again: noise hits all alike. Each
/// round starts with another one, since the first finds the plays in no cache.
fn interleaved(source: &mut Source, contenders: &mut [&mut dyn Contender]) -> Vec<f64> {
    let mut times = vec![Vec::new(); contenders.len()];
    for round in 0..ROUNDS {
        let plays = Plays::draw(source, PLAYS_A_ROUND);
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            let (contender, times) = (&mut contenders[at], &mut times[at]);
            times.push(time(|| contender.record_all(&plays)) / PLAYS_A_ROUND as f64);
        }
    }
    times.into_iter().map(median).collect()
}

fn plays(report: &mut Report, at: usize, stream: Stream) {
    let name = stream.name();
    let mut exact = Exact::default();
    let mut summary = Summary::new(COUNTERS, SEED);
    let mut weighted = Weighted::new();
    let mut topk = TopKCrate::new();
    let mut topk_of_arrays = TopKOfArrays::new();
    let mut datasketches = DataSketches::new();
    let mut heavykeeper = HeavyKeeper::new();
    let (mut bucketed, mut cuckoo) = (Bucketed::new(), Cuckoo::new());
    let mut floor = Floored::default();
    let mut contenders: [&mut dyn Contender; 10] = [
        &mut summary,
        &mut weighted,
        &mut topk,
        &mut datasketches,
        &mut heavykeeper,
        &mut floor,
        &mut topk_of_arrays,
        &mut bucketed,
        &mut cuckoo,
        &mut exact,
    ];
    let times = interleaved(&mut Source::new(stream, 1), &mut contenders);
    let [
        ours,
        with_weights,
        topk_ns,
        datasketches_ns,
        heavykeeper_ns,
        floor_ns,
        arrays_ns,
        bucketed_ns,
        cuckoo_ns,
        _,
    ] = times[..]
    else {
        return;
    };
    report.note(&format!("native, {name}: a play"), ours, "ns");
    report.note(&format!("native, {name}: topk"), topk_ns, "ns");
    report.note(
        &format!("native, {name}: topk, arrays instead of strings"),
        arrays_ns,
        "ns",
    );
    report.note(
        &format!("native, {name}: datasketches"),
        datasketches_ns,
        "ns",
    );
    report.note(
        &format!("native, {name}: heavykeeper, no bounds"),
        heavykeeper_ns,
        "ns",
    );
    report.note(
        &format!("native, {name}: heavykeeper, bucketed, no bounds"),
        bucketed_ns,
        "ns",
    );
    report.note(
        &format!("native, {name}: heavykeeper, cuckoo, no bounds"),
        cuckoo_ns,
        "ns",
    );
    report.note(&format!("native, {name}: floor"), floor_ns, "ns");
    let faster = topk_ns.min(datasketches_ns) / ours;
    report.at_least(
        &format!("native, {name}: against the fastest with bounds"),
        faster,
        "x",
        2.0,
        4.0,
    );
    let (must, aim) = ([5.0, 3.3, 7.0][at], [3.0, 2.0, 3.5][at]);
    report.at_most(
        &format!("native, {name}: against the floor"),
        ours / floor_ns,
        "x",
        must,
        aim,
    );
    let slower = with_weights / ours;
    report.at_most(
        &format!("native, {name}: weights 1 to 10^6"),
        slower,
        "x",
        1.5,
        1.1,
    );
    let (must, aim) = ([0.11, 0.06, 0.13][at], [0.08, 0.05, 0.07][at]);
    let over = exact.overcount_share(&summary);
    report.at_most(&format!("{name}: overcount of N/m"), over, "", must, aim);
    let over = exact.largest(&topk.overcounts(&exact.counts));
    report.note(&format!("{name}: overcount of N/m, topk"), over, "");
    let over = exact.largest(&datasketches.overcounts(&exact.counts));
    report.note(&format!("{name}: overcount of N/m, datasketches"), over, "");
    let encoded = summary.encode().len() as f64 / summary.len() as f64;
    let held = summary.heap_bytes() as f64 / COUNTERS as f64;
    if stream == Stream::Zipf10 {
        report.at_most(
            &format!("{name}: encoded, a counter"),
            encoded,
            "bytes",
            24.0,
            16.0,
        );
    } else {
        report.note(&format!("{name}: encoded, a counter"), encoded, "bytes");
    }
    report.at_most(
        &format!("{name}: in memory, a counter"),
        held,
        "bytes",
        96.0,
        64.0,
    );
    let held = weighted.summary.heap_bytes() as f64 / COUNTERS as f64;
    report.at_most(
        &format!("{name}: in memory, a counter, weights"),
        held,
        "bytes",
        96.0,
        64.0,
    );
}

/// Exact counts of every id.
struct Exact {
    counts: Vec<u64>,
}

impl Default for Exact {
    fn default() -> Self {
        Self {
            counts: vec![0; IDS],
        }
    }
}

impl Contender for Exact {
    fn record(&mut self, _id: &str) {}

    fn record_all(&mut self, plays: &Plays) {
        for &number in &plays.numbers {
            self.counts[number as usize] += 1;
        }
    }
}

impl Exact {
    fn share(&self, overcount: u64) -> f64 {
        overcount as f64 * COUNTERS as f64 / self.counts.iter().sum::<u64>() as f64
    }

    fn largest(&self, overcounts: &[u64]) -> f64 {
        self.share(overcounts.iter().copied().max().unwrap_or(0))
    }

    /// The largest overcount of a row; fails if any bound of any id does not hold.
    fn overcount_share(&self, summary: &Summary) -> f64 {
        let mut id = [0; streams::ID_BYTES];
        for (number, &count) in self.counts.iter().enumerate() {
            streams::write_id(number as u32, &mut id);
            let bounds = summary.bounds(std::str::from_utf8(&id).unwrap_or(""));
            assert!(
                bounds.lower <= count && count <= bounds.upper,
                "bounds broken"
            );
        }
        let overcounts: Vec<u64> = summary
            .rows()
            .map(|row| row.upper - self.counts[peers::number_of(row.id.as_bytes())])
            .collect();
        self.largest(&overcounts)
    }
}

struct Weighted {
    summary: Summary,
    weights: Vec<u64>,
}

impl Weighted {
    fn new() -> Self {
        Self {
            summary: Summary::new(COUNTERS, SEED),
            weights: streams::weights(PLAYS_A_ROUND),
        }
    }
}

impl Contender for Weighted {
    fn record(&mut self, _id: &str) {}

    fn record_all(&mut self, plays: &Plays) {
        for (id, &weight) in plays.ids().zip(&self.weights) {
            self.summary.record(id, weight);
        }
    }
}

fn merges(report: &mut Report, at: usize, stream: Stream) {
    let name = stream.name();
    let mut source = Source::new(stream, 2);
    let mut exact = Exact::default();
    let mut panes = Vec::new();
    let (mut topk, mut datasketches, mut heavykeeper) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PANES {
        let plays = Plays::draw(&mut source, 20_000_000 / PANES);
        exact.record_all(&plays);
        let mut pane = (
            Summary::new(COUNTERS, SEED),
            TopKCrate::new(),
            DataSketches::new(),
            HeavyKeeper::new(),
        );
        let all: [&mut dyn Contender; 4] = [&mut pane.0, &mut pane.1, &mut pane.2, &mut pane.3];
        all.into_iter().for_each(|each| each.record_all(&plays));
        panes.push(pane.0);
        topk.push(pane.1);
        datasketches.push(pane.2);
        heavykeeper.push(pane.3);
    }
    let mut times = vec![Vec::new(); 5];
    let mut merged = None;
    for _ in 0..MERGE_ROUNDS {
        times[0].push(time(|| {
            merged = Some(Summary::merge(&panes, COUNTERS, SEED))
        }));
        times[1].push(time(|| {
            drop(std::hint::black_box(Summary::merge_all(&panes, SEED)))
        }));
        times[2].push(time(|| TopKCrate::merge(&topk)));
        times[3].push(time(|| DataSketches::merge(&datasketches)));
        times[4].push(time(|| HeavyKeeper::merge(&heavykeeper)));
    }
    let times: Vec<f64> = times.into_iter().map(|times| median(times) / 1e6).collect();
    report.at_most(
        &format!("native, {name}: merge of 60 panes"),
        times[0],
        "ms",
        3.0,
        1.5,
    );
    report.note(
        &format!("native, {name}: merge, nothing dropped"),
        times[1],
        "ms",
    );
    report.note(&format!("native, {name}: merge, topk"), times[2], "ms");
    report.note(
        &format!("native, {name}: merge, datasketches"),
        times[3],
        "ms",
    );
    report.note(
        &format!("native, {name}: merge, heavykeeper"),
        times[4],
        "ms",
    );
    let aim = [0.08, 0.05, 0.07][at];
    let over = merged.map_or(f64::NAN, |merged| exact.overcount_share(&merged));
    report.at_most(
        &format!("{name}: overcount of N/m, merged"),
        over,
        "",
        0.12,
        aim,
    );
    let encoded: usize = panes.iter().map(|pane| pane.encode().len()).sum();
    let encoded = encoded as f64 / (PANES * COUNTERS) as f64;
    report.note(
        &format!("{name}: encoded, a counter of a pane"),
        encoded,
        "bytes",
    );
    let bytes: Vec<Vec<u8>> = panes.iter().map(Summary::encode).collect();
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..MERGE_ROUNDS {
        times[0].push(time(|| panes.iter().for_each(|pane| drop(pane.encode()))));
        times[1].push(time(|| {
            bytes
                .iter()
                .for_each(|pane| drop(Summary::decode(pane, SEED)))
        }));
    }
    let [encode, decode] = times.map(|times| median(times) / 1e3 / PANES as f64);
    report.note(&format!("native, {name}: encode a pane"), encode, "us");
    report.note(&format!("native, {name}: decode a pane"), decode, "us");
}

/// Records ids made from another text than the table's.
struct Renamed<F: Fn(u32, &mut String)> {
    summary: Summary,
    rename: F,
    text: String,
}

impl<F: Fn(u32, &mut String)> Renamed<F> {
    /// The ids as one text, so that only recording is timed.
    fn prepare(&mut self, plays: &Plays) -> Vec<(usize, usize)> {
        self.text.clear();
        let mut spans = Vec::with_capacity(plays.len());
        for &number in &plays.numbers {
            let from = self.text.len();
            (self.rename)(number, &mut self.text);
            spans.push((from, self.text.len()));
        }
        spans
    }

    fn record_prepared(&mut self, spans: &[(usize, usize)]) {
        for &(from, to) in spans {
            self.summary
                .record(self.text.get(from..to).unwrap_or(""), 1);
        }
    }
}

/// What a play of renamed ids takes, and what the floor takes for plays of the streams' own ids in
/// the same rounds.
fn renamed_and_floor(stream: Stream, rename: impl Fn(u32, &mut String)) -> (f64, f64) {
    let mut source = Source::new(stream, 3);
    let mut contender = Renamed {
        summary: Summary::new(COUNTERS, SEED),
        rename,
        text: String::new(),
    };
    let mut floor = Floored::default();
    let (mut times, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        let plays = Plays::draw(&mut source, PLAYS_A_ROUND / 2);
        let spans = contender.prepare(&plays);
        let spent = time(|| contender.record_prepared(&spans));
        times.push(spent / spans.len() as f64);
        floors.push(time(|| floor.record_all(&plays)) / spans.len() as f64);
    }
    (median(times), median(floors))
}

fn renamed(stream: Stream, rename: impl Fn(u32, &mut String)) -> f64 {
    renamed_and_floor(stream, rename).0
}

/// Drift and other ids.
fn others(report: &mut Report) {
    let mut summary = Summary::new(COUNTERS, SEED);
    let drifting = interleaved(&mut Source::new(Stream::Drifting, 1), &mut [&mut summary])[0];
    report.note("native, drifting: a play", drifting, "ns");
    for (name, length) in [
        ("11", 11),
        ("16", 16),
        ("17", 17),
        ("24", 24),
        ("40", 40),
        ("128", 128),
    ] {
        let (time, floor) = renamed_and_floor(Stream::Zipf10, |number, text| {
            let mut id = [0; streams::ID_BYTES];
            streams::write_id(number, &mut id);
            text.push_str(std::str::from_utf8(&id).unwrap_or(""));
            text.extend(std::iter::repeat_n('x', length - streams::ID_BYTES));
        });
        ids_of(report, name, length, time, floor);
    }
    let (time, floor) = renamed_and_floor(Stream::Zipf10, |number, text| {
        let mixed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (high, low) = (mixed >> 32, mixed & 0xffff_ffff);
        text.push_str(&format!(
            "{low:08x}-{:04x}-4{:03x}-8{:03x}-{mixed:012x}",
            high >> 16,
            high & 0xfff,
            low & 0xfff
        ));
        text.truncate(text.len() / 36 * 36);
    });
    ids_of(report, "36 (UUIDs)", 36, time, floor);
    let time = renamed(Stream::Zipf10, |number, text| {
        let length = 1 + number.wrapping_mul(2_654_435_761) as usize % 24;
        text.extend(
            format!("{number:x}-abcdefghijklmnopqrstuvwxyz")
                .chars()
                .take(length),
        );
    });
    report.note("native, zipf 1.0: a play, ids of 1 to 24 bytes", time, "ns");
}

/// Ids of 17 to 40 bytes are to take no more than 20 ns where the floor takes 4.
fn ids_of(report: &mut Report, name: &str, length: usize, time: f64, floor: f64) {
    let name = format!("native, zipf 1.0: a play, ids of {name} bytes");
    report.note(&name, time, "ns");
    if (17..=40).contains(&length) {
        report.at_most(
            &format!("{name}, against the floor"),
            time / floor,
            "x",
            5.0,
            4.0,
        );
    }
}

type Rename = fn(u32, &mut String);

/// Ids that collide with the first of them, found by one who knows the seed.
fn colliding() -> [(&'static str, Vec<String>); 2] {
    let mut full = Summary::new(COUNTERS, SEED);
    (0..=COUNTERS).for_each(|number| full.record(&format!("{number:011}"), 1));
    let first = full.place_of("00000000000");
    let ids = |same: &dyn Fn((usize, usize)) -> bool, count: usize| {
        let all = (0..).map(|number: u32| format!("{number:011}"));
        all.filter(|id| same(full.place_of(id)))
            .take(count)
            .collect()
    };
    [
        (
            "one group of the table",
            ids(&|place| place.0 == first.0, 20_000),
        ),
        (
            "one cell of the filter",
            ids(&|place| place.1 == first.1, 2_000),
        ),
    ]
}

/// Ids made to hurt: each differs from the others only where a weak hash does not look, or comes
/// just when its counter has been taken away.
fn hostile(report: &mut Report) {
    let decimal = |number: u32, text: &mut String| text.push_str(&format!("{number:011}"));
    let uniform = renamed(Stream::Uniform, decimal);
    let mut worst = 0.0_f64;
    let rows: [(&str, Rename); 4] = [
        ("high bits of one word", |number, text| {
            text.extend(['a', 'a', 'a', 'a', 'a', 'a']);
            text.extend(char::from_u32(0x1_0000 + number % 0xf_0000));
        }),
        ("swapped words", |number, text| {
            for at in 0..16 {
                text.push(if number >> at & 1 == 1 { 'b' } else { 'c' });
            }
        }),
        ("lengths", |number, text| {
            text.extend(std::iter::repeat_n('\0', 1 + number as usize % 16));
            text.extend(char::from_u32(number % 0x80));
        }),
        ("steps of 2^32", |number, text| {
            text.push_str("aaaa");
            text.push_str(&format!("{:04x}", number & 0xffff));
        }),
    ];
    for (name, rename) in rows {
        let time = renamed(Stream::Uniform, rename);
        report.note(&format!("native, hostile ids, {name}: a play"), time, "ns");
        worst = worst.max(time / uniform);
    }
    for (name, ids) in colliding() {
        let time = renamed(Stream::Uniform, |number, text| {
            text.push_str(&ids[number as usize % ids.len()]);
        });
        report.note(&format!("native, seed known, {name}: a play"), time, "ns");
    }
    let in_turn = {
        let mut turn = 0;
        let mut summary = Summary::new(COUNTERS, SEED);
        let mut times = Vec::new();
        for _ in 0..5 {
            let ids: Vec<String> = (0..500_000)
                .map(|at| format!("{:011}", turn + at))
                .collect();
            turn += 500_000;
            let spent = time(|| ids.iter().for_each(|id| summary.record(id, 1)));
            times.push(spent / ids.len() as f64);
        }
        median(times)
    };
    report.note("native, hostile ids, all distinct: a play", in_turn, "ns");
    worst = worst.max(in_turn / uniform);
    report.at_most(
        "native, hostile ids against uniform ones",
        worst,
        "x",
        3.0,
        1.5,
    );
}
