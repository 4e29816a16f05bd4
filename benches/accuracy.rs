//! How far the summary's counts are from exact ones, by counters and bytes: the tables of
//! `docs/accuracy.md`. Nothing is timed, the same comes out everywhere.
//!
//! `npm run bench -- accuracy` passes the flights in on standard input; without them
//! `cargo bench --bench accuracy` prints the other tables.

#[path = "../src/summary/benches/parts/streams.rs"]
#[allow(dead_code)]
mod streams;

use std::collections::{BTreeMap, HashMap};
use std::io::{IsTerminal, Read};

use hitparade::capacity;
use hitparade::summary::{Seed, Summary};
use hitparade::window::Level;
use streams::{IDS, Plays, Source, Stream};

const SEED: Seed = Seed::from_bytes(*b"benchmark secret");
const COUNTERS: [usize; 6] = [256, 512, 1_024, 2_048, 4_096, 8_192];
const FLIGHT_COUNTERS: [usize; 5] = [64, 128, 256, 512, 1_024];

/// Plays of a pane: of a minute and 15 minutes at ten plays a second; of a minute, 15 minutes,
/// two hours and a day at a thousand.
const PLAYS: [usize; 6] = [600, 9_000, 60_000, 900_000, 7_200_000, 86_400_000];

fn main() {
    for stream in [Stream::Zipf08, Stream::Zipf10, Stream::Zipf12] {
        panes(stream);
    }
    levels();
    let mut flights = String::new();
    let stdin = std::io::stdin();
    if !stdin.is_terminal() && stdin.lock().read_to_string(&mut flights).is_ok() {
        timeframes(&flights);
    }
}

/// The first so many posts are looked at.
const FIRST: [usize; 3] = [10, 100, 1_000];

/// What a summary says of the posts that are played most, beside their true counts.
struct Errors {
    /// Of the first posts, how many a chart of as many lists.
    found: [usize; FIRST.len()],
    /// The widest bounds of the first posts, as a share of the post's count.
    widest: [f64; FIRST.len()],
    /// What an unlisted post may have, as a share of all plays.
    unlisted: f64,
}

impl Errors {
    /// `exact` are all posts with plays, the most played first.
    fn of(summary: &Summary, exact: &[(String, u64)]) -> Self {
        let mut counts: HashMap<&str, u64> = HashMap::new();
        let mut shares = Vec::new();
        for (id, count) in exact {
            let bounds = summary.bounds(id);
            assert!(
                bounds.lower <= *count && *count <= bounds.upper,
                "a bound does not hold for {id}"
            );
            counts.insert(id, *count);
            shares.push((bounds.upper - bounds.lower) as f64 / *count as f64);
        }
        let found = |k: usize| {
            // Posts that are level with the last of the first k are as good.
            let least = exact.get(k - 1).map_or(0, |(_, count)| *count);
            let top = summary.top(k);
            top.iter().filter(|row| counts[row.id] >= least).count()
        };
        let widest = |k: usize| shares.iter().take(k).copied().fold(0.0, f64::max);
        Errors {
            found: FIRST.map(found),
            widest: FIRST.map(widest),
            unlisted: summary.unlisted_max() as f64 / summary.total().max(1) as f64,
        }
    }

    fn row(&self, head: &str, bytes: usize) -> String {
        let found = self.found.map(|count| count.to_string()).join(" | ");
        let widest = self.widest.map(|share| format!("{:.2} %", 100.0 * share));
        format!(
            "| {head} | {bytes} | {found} | {} | {:.4} % |",
            widest.join(" | "),
            100.0 * self.unlisted,
        )
    }
}

const COLUMNS: &str = "bytes a pane | found of 10 | of 100 | of 1,000 \
     | width of 10 | of 100 | of 1,000 | unlisted";
const RULE: &str = "--:|--:|--:|--:|--:|--:|--:|--:|";

fn sorted(mut exact: Vec<(String, u64)>) -> Vec<(String, u64)> {
    exact.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    exact
}

/// Plays with exact counts beside summaries of several sizes.
struct Pane {
    summaries: Vec<Summary>,
    counts: Vec<u64>,
}

impl Pane {
    fn new(counters: &[usize]) -> Self {
        Pane {
            summaries: counters.iter().map(|&m| Summary::new(m, SEED)).collect(),
            counts: vec![0; IDS],
        }
    }

    fn add(&mut self, plays: &Plays) {
        for &number in &plays.numbers {
            self.counts[number as usize] += 1;
        }
        for summary in &mut self.summaries {
            plays.ids().for_each(|id| summary.record(id, 1));
        }
    }

    fn exact(&self) -> Vec<(String, u64)> {
        let played = self.counts.iter().zip(0..).filter(|(count, _)| **count > 0);
        let named = played.map(|(&count, number)| {
            let mut id = [0; streams::ID_BYTES];
            streams::write_id(number, &mut id);
            (String::from_utf8_lossy(&id).into_owned(), count)
        });
        sorted(named.collect())
    }
}

/// One pane that grows.
fn panes(stream: Stream) {
    println!("\n### {}, a million posts\n", stream.name());
    println!("| plays | counters | {COLUMNS} |\n|--:|--:|{RULE}");
    let mut source = Source::new(stream, 1);
    let mut pane = Pane::new(&COUNTERS);
    let mut recorded = 0;
    for plays in PLAYS {
        while recorded < plays {
            let more = (plays - recorded).min(1_000_000);
            pane.add(&Plays::draw(&mut source, more));
            recorded += more;
        }
        let exact = pane.exact();
        for summary in &pane.summaries {
            let head = format!("{plays} | {}", summary.capacity());
            let bytes = summary.encode().len();
            println!("{}", Errors::of(summary, &exact).row(&head, bytes));
        }
    }
}

/// Charts over panes of a level, at a thousand plays a second: with the counters that it has,
/// half of them, and twice as many.
fn levels() {
    println!("\n### Charts, zipf 1.0, a thousand plays a second\n");
    println!("| chart | panes | counters of each | {COLUMNS} |\n|---|--:|--:|{RULE}");
    for (chart, level, panes, plays) in [
        ("1h", Level::Minute, 60, 60_000),
        ("5h", Level::Quarter, 20, 900_000),
        ("24h", Level::TwoHours, 12, 7_200_000),
    ] {
        let counters = capacity::counters(level);
        let sizes = [counters / 2, counters, 2 * counters];
        let mut source = Source::new(Stream::Zipf10, 2);
        let mut all = Pane::new(&[]);
        let mut parts = vec![Vec::new(); sizes.len()];
        for _ in 0..panes {
            let mut pane = Pane::new(&sizes);
            let mut left = plays;
            while left > 0 {
                let more = left.min(1_000_000);
                pane.add(&Plays::draw(&mut source, more));
                left -= more;
            }
            for (sum, count) in all.counts.iter_mut().zip(&pane.counts) {
                *sum += count;
            }
            for (parts, summary) in parts.iter_mut().zip(pane.summaries) {
                parts.push(summary);
            }
        }
        let exact = all.exact();
        for (size, parts) in sizes.iter().zip(&parts) {
            let merged = Summary::merge_all(parts, SEED);
            let bytes: usize = parts.iter().map(|part| part.encode().len()).sum();
            let head = format!("{chart} | {panes} | {size}");
            println!(
                "{}",
                Errors::of(&merged, &exact).row(&head, bytes / parts.len())
            );
        }
    }
}

/// Aircraft as posts, airports as regions: charts over the last days of the year, from panes of a day.
fn timeframes(flights: &str) {
    /// A region's plays of a day, by post.
    type Day<'a> = HashMap<&'a str, u64>;
    let mut regions: BTreeMap<&str, BTreeMap<&str, Day<'_>>> = BTreeMap::new();
    for line in flights.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [time, origin, _, _, tailnum] = cells[..] else {
            continue;
        };
        for region in [origin, "global"] {
            let days = regions.entry(region).or_default();
            let day = days.entry(time.get(..10).unwrap_or(time)).or_default();
            *day.entry(tailnum).or_default() += 1;
        }
    }
    println!("\n### Flights: aircraft as posts, airports as regions\n");
    println!(
        "| region | days | plays | posts | counters | {COLUMNS} |\n|---|--:|--:|--:|--:|{RULE}"
    );
    for (region, days) in &regions {
        for length in [1, 7, 30, 365] {
            let days: Vec<_> = days.iter().rev().take(length).collect();
            let mut exact: Day<'_> = HashMap::new();
            for (tailnum, plays) in days.iter().flat_map(|(_, plays)| plays.iter()) {
                *exact.entry(tailnum).or_default() += plays;
            }
            let named = exact.iter().map(|(id, count)| ((*id).to_owned(), *count));
            let exact = sorted(named.collect());
            let plays: u64 = exact.iter().map(|(_, count)| count).sum();
            for counters in FLIGHT_COUNTERS {
                let panes: Vec<Summary> = days.iter().map(|(_, day)| pane(day, counters)).collect();
                let bytes: usize = panes.iter().map(|pane| pane.encode().len()).sum();
                let merged = Summary::merge_all(&panes, SEED);
                let head = format!(
                    "{region} | {length} | {plays} | {} | {counters}",
                    exact.len()
                );
                let errors = Errors::of(&merged, &exact);
                println!("{}", errors.row(&head, bytes / panes.len()));
            }
        }
    }
}

/// A day's plays as a summary, in the order of the posts' names, each as often as it was played.
fn pane(day: &HashMap<&str, u64>, counters: usize) -> Summary {
    let mut plays: Vec<(&&str, &u64)> = day.iter().collect();
    plays.sort_unstable();
    let mut summary = Summary::new(counters, SEED);
    plays
        .into_iter()
        .for_each(|(id, &count)| summary.record(id, count));
    summary
}
