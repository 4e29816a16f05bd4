//! How far charts are from exact counts on the way that plays take: the tables of
//! `docs/inside/accuracy.md`.
//!
//! `npm run bench -- accuracy` passes the flights in on standard input. Words after `--` choose
//! cases whose names contain one of them; `--hours N` takes a shorter day.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "accuracy/judge.rs"]
mod judge;
#[path = "../tests/objects/mod.rs"]
mod objects;
#[path = "../src/summary/benches/parts/streams.rs"]
#[allow(dead_code)]
mod streams;
#[path = "accuracy/way.rs"]
mod way;

use std::collections::HashMap;
use std::io::{IsTerminal, Read};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use hitparade::leaderboard::Leaderboard;
use hitparade::window::{DAY_MS, Days, HOUR_MS, Level, MINUTE_MS, parse_rfc3339_ms};
use hitparade::wire::{BatchPlay, WindowRequest};
use judge::{FIRST, Judged, judge};
use streams::{Source, Stream};
use way::{PUSH_INTERVAL_MS, Way};

/// Charts are asked for at a moment at which their windows need panes of every level, with a minute
/// under way and the one before it not sealed.
const END_MS: u64 = 20_000 * DAY_MS + 13 * HOUR_MS + 47 * MINUTE_MS + 20_000;
const WORLD: &str = "global";
/// So long before the end all shards push as they really do, with copies.
const LAST_MINUTES: u64 = 10;
/// Panes kept a year after the first play: `src/window/mod.rs` has the numbers.
const KEPT: [(Level, f64); 5] = [
    (Level::Minute, 180.0),
    (Level::Quarter, 210.0),
    (Level::TwoHours, 193.0),
    (Level::Day, 365.0),
    (Level::All, 1.0),
];
/// Plays of a batch at most.
const BATCH: usize = 5_000;

/// What ids look like.
#[derive(Clone, Copy, PartialEq)]
enum Ids {
    /// 11 bytes, or 12 where there are more than a million: `song-` and digits.
    Short,
    /// 36 bytes.
    Uuids,
}

impl Ids {
    fn text(self, number: u32, ids: usize) -> String {
        if self == Ids::Short {
            return match ids {
                0..=1_000_000 => format!("song-{number:06}"),
                _ => format!("song-{number:07}"),
            };
        }
        let mixed = |turn: u64| {
            let mut word = (u64::from(number) << 8 | turn).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ word >> 31
        };
        let (a, b) = (mixed(1), mixed(2));
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 48 & 0x3fff | 0x8000,
            b & 0xffff_ffff_ffff
        )
    }
}

/// How plays come.
#[derive(Clone, Copy, PartialEq)]
enum Arrival {
    /// Each when it is played.
    Live,
    /// All afterwards, in the order of time, a day in an hour and a quarter.
    Imported,
}

/// A stream that is drawn.
#[derive(Clone, Copy)]
struct Drawn {
    stream: Stream,
    ids: usize,
    /// In all, over all shards.
    plays_a_second: f64,
    text: Ids,
    arrival: Arrival,
    regions: usize,
    shards_a_region: u32,
}

/// What must come out of a case.
#[derive(Clone, Copy, Default)]
struct Must {
    found_100: usize,
    found_1000: usize,
    error_100: Option<f64>,
    error_1000: Option<f64>,
    exact: bool,
    pushed_bytes: Option<f64>,
    stored_mb: Option<f64>,
}

enum Kind {
    Drawn(Drawn),
    /// New posts a day, over so many days.
    New {
        a_day: u32,
        days: u64,
    },
    Flights,
    /// 9,000 posts of one minute, played once to 9,000 times.
    Staircase,
}

struct Case {
    name: String,
    kind: Kind,
    must: Must,
}

/// A chart of a case, or what it cost.
struct Row {
    case: String,
    judged: Judged,
    chart_ms: [f64; 2],
    /// A shard, a minute.
    pushed_bytes: f64,
    /// After a year, a region; by level, a pane.
    stored_mb: f64,
    pane_bytes: [f64; KEPT.len()],
    fold_ms: f64,
    must: Must,
}

/// A case by number, and what became of it.
type Done = (usize, Result<Vec<Row>, String>);

fn cases() -> Vec<Case> {
    let drawn = |stream: Stream, ids, plays_a_second, regions, shards_a_region| Drawn {
        stream,
        ids,
        plays_a_second,
        text: Ids::Short,
        arrival: Arrival::Live,
        regions,
        shards_a_region,
    };
    let million = |stream, regions, shards| drawn(stream, 1_000_000, 1_000.0, regions, shards);
    let ten = |stream| drawn(stream, 10_000_000, 120.0, 1, 1);
    let (flat, usual) = (Stream::Zipf08, Stream::Zipf10);
    let usual_must = Must {
        found_100: 100,
        found_1000: 995,
        error_100: Some(0.02),
        error_1000: Some(0.30),
        ..Must::default()
    };
    let flat_must = Must {
        found_100: 99,
        found_1000: 970,
        ..Must::default()
    };
    let case = |name: &str, kind, must| Case {
        name: name.into(),
        kind,
        must,
    };
    let exact = Must {
        exact: true,
        ..Must::default()
    };
    let mut cases = Vec::new();
    for (regions, shards) in [(1, 1), (1, 10), (1, 100), (10, 1), (10, 10)] {
        let of = shape(regions, shards);
        let mut must = usual_must;
        if (regions, shards) == (1, 1) {
            // Of 118 kB; of 80 MB.
            must.pushed_bytes = Some(2.5 * 118_000.0);
            must.stored_mb = Some(80.0);
        }
        cases.push(case(
            &format!("1 M, Zipf 1.0, 1,000/s, {of}"),
            Kind::Drawn(million(usual, regions, shards)),
            must,
        ));
        if regions == 1 {
            cases.push(case(
                &format!("1 M, Zipf 0.8, 1,000/s, {of}"),
                Kind::Drawn(million(flat, regions, shards)),
                flat_must,
            ));
        }
    }
    for shards in [1, 10] {
        let uuids = Drawn {
            text: Ids::Uuids,
            ..million(usual, 1, shards)
        };
        cases.push(case(
            &format!("1 M UUIDs, Zipf 1.0, 1,000/s, {}", shape(1, shards)),
            Kind::Drawn(uuids),
            Must {
                found_100: 100,
                found_1000: 980,
                pushed_bytes: (shards == 1).then_some(6.0 * 118_000.0),
                ..Must::default()
            },
        ));
    }
    for (name, stream, must) in [
        (
            "10 M, Zipf 1.0, 120/s, 1 shard",
            usual,
            Must {
                found_100: 100,
                ..flat_must
            },
        ),
        (
            "10 M, Zipf 0.8, 120/s, 1 shard",
            flat,
            Must {
                found_1000: 900,
                ..flat_must
            },
        ),
    ] {
        cases.push(case(name, Kind::Drawn(ten(stream)), must));
    }
    cases.push(case(
        "1 M, Zipf 1.0, 1,000/s, imported, 1 shard",
        Kind::Drawn(Drawn {
            arrival: Arrival::Imported,
            ..million(usual, 1, 1)
        }),
        usual_must,
    ));
    cases.push(case(
        "1 M, Zipf 1.0, 1/s, 1 shard",
        Kind::Drawn(drawn(usual, 1_000_000, 1.0, 1, 1)),
        Must {
            found_100: 100,
            exact: true,
            stored_mb: Some(60.0),
            ..Must::default()
        },
    ));
    cases.push(case(
        "50,000 new posts a day, 24h",
        Kind::New {
            a_day: 50_000,
            days: 1,
        },
        exact,
    ));
    cases.push(case(
        "2,000 new posts a day, 30d",
        Kind::New {
            a_day: 2_000,
            days: 30,
        },
        exact,
    ));
    cases.push(case(
        "9,000 posts, 1 to 9,000 plays, a minute",
        Kind::Staircase,
        exact,
    ));
    cases.push(case("flights", Kind::Flights, exact));
    cases
}

fn shape(regions: usize, shards: u32) -> String {
    let shards_in_all = regions as u32 * shards;
    match (regions, shards_in_all) {
        (1, 1) => "1 shard".into(),
        (1, _) => format!("{shards_in_all} shards"),
        _ => format!("{shards_in_all} shards, {regions} regions"),
    }
}

struct Options {
    words: Vec<String>,
    hours: u64,
    flights: String,
}

fn options() -> Options {
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let (mut words, mut hours) = (Vec::new(), 24);
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--hours" => {
                let given = arguments.next().and_then(|hours| hours.parse().ok());
                hours = given.filter(|hours| (1..=24).contains(hours)).unwrap_or(24);
            }
            _ => words.push(word.to_lowercase()),
        }
    }
    let mut flights = String::new();
    let stdin = std::io::stdin();
    if !stdin.is_terminal() && stdin.lock().read_to_string(&mut flights).is_err() {
        flights.clear();
    }
    Options {
        words,
        hours,
        flights,
    }
}

fn main() -> ExitCode {
    let options = options();
    let is_asked_for = |case: &Case| {
        let name = case.name.to_lowercase();
        options.words.is_empty() || options.words.iter().any(|word| name.contains(word))
    };
    let cases: Vec<Case> = cases().into_iter().filter(is_asked_for).collect();
    let (next, started) = (AtomicUsize::new(0), Instant::now());
    let done: Mutex<Vec<Done>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, case)) = next_of(&cases, &next) {
                    let rows = run(case, &options);
                    let seconds = started.elapsed().as_secs();
                    let mut done = done.lock().unwrap();
                    done.push((at, rows));
                    eprintln!(
                        "▸ {} of {} after {seconds} s: {}",
                        done.len(),
                        cases.len(),
                        case.name
                    );
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(at, _)| *at);
    report(&cases, done)
}

fn next_of<'a>(cases: &'a [Case], next: &AtomicUsize) -> Option<(usize, &'a Case)> {
    let at = next.fetch_add(1, Relaxed);
    Some((at, cases.get(at)?))
}

fn run(case: &Case, options: &Options) -> Result<Vec<Row>, String> {
    match case.kind {
        Kind::Drawn(drawn) => run_drawn(case, drawn, options.hours).map(|row| vec![row]),
        Kind::New { a_day, days } => run_new(case, a_day, days).map(|row| vec![row]),
        Kind::Staircase => run_staircase(case).map(|row| vec![row]),
        Kind::Flights => run_flights(case, &options.flights),
    }
}

/// Plays in the order of time, for the shards in turn.
struct Batches<'a> {
    way: &'a mut Way,
    /// A batch of each shard.
    waiting: Vec<Vec<(u32, u64)>>,
}

impl<'a> Batches<'a> {
    fn new(way: &'a mut Way) -> Self {
        let waiting = vec![Vec::new(); way.shards()];
        Batches { way, waiting }
    }

    fn add(&mut self, shard: usize, number: u32, timestamp_ms: u64, names: &[String]) {
        self.waiting[shard].push((number, timestamp_ms));
        if self.waiting[shard].len() == BATCH {
            self.send(shard, names);
        }
    }

    fn send(&mut self, shard: usize, names: &[String]) {
        if self.waiting[shard].is_empty() {
            return;
        }
        let plays: Vec<BatchPlay<'_>> = self.waiting[shard]
            .drain(..)
            .map(|(number, timestamp_ms)| BatchPlay {
                post_id: &names[number as usize],
                timestamp_ms,
                count: 1,
            })
            .collect();
        self.way.play(shard, &plays);
    }

    /// The end of a step: everything is sent, and pushed where it is time.
    fn step(&mut self, names: &[String], with_copies: bool) {
        for shard in 0..self.waiting.len() {
            self.send(shard, names);
        }
        self.way.push(with_copies);
        self.way.fold_if_due();
    }
}

fn run_drawn(case: &Case, drawn: Drawn, hours: u64) -> Result<Row, String> {
    let names: Vec<String> = (0..drawn.ids as u32)
        .map(|number| drawn.text.text(number, drawn.ids))
        .collect();
    let regions: Vec<String> = (0..drawn.regions).map(|at| format!("R{at}")).collect();
    let regions: Vec<&str> = regions.iter().map(String::as_str).collect();
    let timeframe = hitparade::window::Timeframe::default();
    let window_from_ms = hitparade::window::sliding(timeframe, END_MS, &Days::default())
        .span
        .from_ms;
    let from_ms = window_from_ms.max(END_MS / MINUTE_MS * MINUTE_MS - hours * HOUR_MS);
    let is_live = drawn.arrival == Arrival::Live;
    let mut way = Way::new(
        &regions,
        drawn.shards_a_region,
        if is_live { from_ms } else { END_MS },
    );
    let mut source = Source::over(drawn.stream, drawn.ids, 1);
    let mut counts = vec![0_u32; drawn.ids];
    // A step of the clock is more of the plays' time where they are imported.
    let step_ms = if is_live {
        PUSH_INTERVAL_MS
    } else {
        20 * PUSH_INTERVAL_MS
    };
    let (mut played_ms, mut due) = (from_ms, 0.0);
    let shards = way.shards() as u64;
    let mut batches = Batches::new(&mut way);
    while played_ms < END_MS {
        let step_ms = step_ms.min(END_MS - played_ms);
        due += drawn.plays_a_second * step_ms as f64 / 1e3;
        batches.way.now_ms += if is_live { step_ms } else { PUSH_INTERVAL_MS };
        let count = due as u64;
        due -= count as f64;
        for play in 0..count {
            let number = source.draw();
            counts[number as usize] += 1;
            let shard = ((source.random() >> 32) * shards) >> 32;
            batches.add(
                shard as usize,
                number,
                played_ms + play * step_ms / count,
                &names,
            );
        }
        played_ms += step_ms;
        let left_ms = END_MS - played_ms;
        let with_copies = !is_live || left_ms <= LAST_MINUTES * MINUTE_MS;
        if with_copies && batches.way.sent_since_ms.is_none() {
            batches.way.forget_sent();
        }
        batches.step(&names, with_copies);
    }
    let window = match drawn.arrival {
        Arrival::Live => WindowRequest::Sliding { length_ms: DAY_MS },
        Arrival::Imported => WindowRequest::Between {
            from_ms,
            to_ms: END_MS,
        },
    };
    let exact = counts
        .iter()
        .zip(&names)
        .filter(|(count, _)| **count > 0)
        .map(|(count, name)| (name.as_str(), u64::from(*count)));
    chart_row(case, &mut way, (WORLD, window, &case.name), |_| {
        exact.collect()
    })
}

/// Asks for a chart, cold and once more when what is live is merged anew, and judges it.
fn chart_row<'n>(
    case: &Case,
    way: &mut Way,
    (scope, window, name): (&str, WindowRequest, &str),
    exact: impl FnOnce(&Leaderboard) -> Vec<(&'n str, u64)>,
) -> Result<Row, String> {
    let (chart, first_ms) = way.chart(scope, window);
    let judged = judge(&chart, exact(&chart)).map_err(|error| format!("{name}: {error}"))?;
    way.now_ms += 1_500;
    let (_, again_ms) = way.chart(scope, window);
    way.now_ms -= 1_500;
    let stored = way.stored();
    if stored.is_empty() {
        return Err(format!("{name}: no stored pane was found"));
    }
    let pane_bytes = KEPT.map(|(level, _)| stored.get(&level).copied().unwrap_or(0.0));
    let year = KEPT.iter().zip(pane_bytes);
    way.folds_ms.sort_by(f64::total_cmp);
    Ok(Row {
        case: name.to_owned(),
        judged,
        chart_ms: [first_ms, again_ms],
        pushed_bytes: way.pushed_a_minute(),
        stored_mb: year.map(|((_, kept), bytes)| kept * bytes).sum::<f64>() / 1e6,
        pane_bytes,
        fold_ms: way
            .folds_ms
            .get(way.folds_ms.len() / 2)
            .copied()
            .unwrap_or(0.0),
        must: case.must,
    })
}

/// Posts that are new on each day, played one to five times within an hour of their first play.
fn run_new(case: &Case, a_day: u32, days: u64) -> Result<Row, String> {
    let names: Vec<String> = (0..a_day * days as u32)
        .map(|number| Ids::Short.text(number, 0))
        .collect();
    let length_ms = days * DAY_MS;
    let minutes = hitparade::window::Timeframe::Length {
        ms: length_ms,
        unit: hitparade::window::Unit::Days,
    };
    let from_ms = hitparade::window::sliding(minutes, END_MS, &Days::default())
        .span
        .from_ms;
    let mut plays: Vec<(u64, u32)> = Vec::new();
    let mut source = Source::over(Stream::Uniform, 1_000, 3);
    // All over the one day, or in the first hour of each.
    let new_within_ms = if days == 1 {
        DAY_MS - 2 * HOUR_MS
    } else {
        HOUR_MS
    };
    for number in 0..names.len() as u64 {
        let (day, of_day) = (number / u64::from(a_day), number % u64::from(a_day));
        let first_ms = from_ms + day * DAY_MS + new_within_ms * of_day / u64::from(a_day);
        for _ in 0..1 + source.random() % 5 {
            plays.push((first_ms + source.random() % HOUR_MS, number as u32));
        }
    }
    plays.sort_unstable();
    let mut counts = vec![0_u64; names.len()];
    let mut way = Way::new(&["NA"], 1, from_ms);
    let mut batches = Batches::new(&mut way);
    let step_ms = if days == 1 {
        PUSH_INTERVAL_MS
    } else {
        MINUTE_MS
    };
    let mut plays = plays.into_iter().peekable();
    while batches.way.now_ms < END_MS {
        batches.way.now_ms = (batches.way.now_ms + step_ms).min(END_MS);
        let now_ms = batches.way.now_ms;
        while let Some((timestamp_ms, number)) = plays.next_if(|(at_ms, _)| *at_ms < now_ms) {
            counts[number as usize] += 1;
            batches.add(0, number, timestamp_ms, &names);
        }
        let with_copies = END_MS - now_ms <= LAST_MINUTES * MINUTE_MS;
        if with_copies && batches.way.sent_since_ms.is_none() {
            batches.way.forget_sent();
        }
        batches.step(&names, with_copies);
    }
    let exact = names.iter().map(String::as_str).zip(counts.iter().copied());
    let exact = exact.filter(|(_, count)| *count > 0);
    let window = WindowRequest::Sliding { length_ms };
    chart_row(case, &mut way, (WORLD, window, &case.name), |_| {
        exact.collect()
    })
}

fn run_staircase(case: &Case) -> Result<Row, String> {
    let names: Vec<String> = (0..=9_000)
        .map(|number| format!("post-{number:04}"))
        .collect();
    let minute_ms = END_MS / MINUTE_MS * MINUTE_MS;
    let mut way = Way::new(&["NA"], 1, minute_ms);
    // In an order that has nothing to do with the counts, a tenth of each at a time.
    for part in 0..10_u64 {
        way.now_ms += 2_000;
        let plays: Vec<BatchPlay<'_>> = (0..9_000_u64)
            .map(|at| 1 + at * 7_919 % 9_000)
            .map(|number| BatchPlay {
                post_id: &names[number as usize],
                timestamp_ms: minute_ms + 1,
                count: (number / 10 + u64::from(part < number % 10)) as u32,
            })
            .filter(|play| play.count > 0)
            .collect();
        plays.chunks(BATCH).for_each(|plays| way.play(0, plays));
        way.push(true);
        way.fold_if_due();
    }
    // Sealed and folded.
    for _ in 0..24 {
        way.now_ms += PUSH_INTERVAL_MS;
        way.push(true);
        way.fold_if_due();
    }
    let exact = names.iter().enumerate().skip(1);
    let exact = exact.map(|(number, name)| (name.as_str(), number as u64));
    let window = WindowRequest::Sliding { length_ms: HOUR_MS };
    chart_row(case, &mut way, (WORLD, window, &case.name), |_| {
        exact.collect()
    })
}

/// Aircraft as posts, airports as regions: the last four weeks, as if they ended now.
fn run_flights(case: &Case, flights: &str) -> Result<Vec<Row>, String> {
    let mut departures: Vec<(u64, usize, &str)> = Vec::new();
    let mut regions: Vec<&str> = Vec::new();
    for line in flights.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [time, origin, _, _, tailnum] = cells[..] else {
            continue;
        };
        let Some(at_ms) = parse_rfc3339_ms(&format!("{time}Z")) else {
            continue;
        };
        let region = regions.iter().position(|region| *region == origin);
        let region = region.unwrap_or_else(|| {
            regions.push(origin);
            regions.len() - 1
        });
        departures.push((at_ms, region, tailnum));
    }
    let Some(last_ms) = departures.iter().map(|(at_ms, ..)| *at_ms).max() else {
        return Ok(Vec::new());
    };
    let moved_ms = END_MS - MINUTE_MS - last_ms;
    departures
        .iter_mut()
        .for_each(|(at_ms, ..)| *at_ms += moved_ms);
    let from_ms = END_MS - 28 * DAY_MS;
    departures.retain(|(at_ms, ..)| *at_ms >= from_ms);
    departures.sort_unstable();
    let mut way = Way::new(&regions, 1, from_ms);
    let mut departing = departures.iter().peekable();
    while way.now_ms < END_MS {
        way.now_ms = (way.now_ms + MINUTE_MS).min(END_MS);
        let now_ms = way.now_ms;
        while let Some((at_ms, region, tailnum)) = departing.next_if(|(at_ms, ..)| *at_ms < now_ms)
        {
            let play = BatchPlay {
                post_id: tailnum,
                timestamp_ms: *at_ms,
                count: 1,
            };
            way.play(*region, &[play]);
        }
        way.push(END_MS - now_ms <= LAST_MINUTES * MINUTE_MS);
        way.fold_if_due();
    }
    let mut rows = Vec::new();
    let scopes: Vec<String> = std::iter::once(WORLD.to_owned())
        .chain(way.regions.clone())
        .collect();
    for scope in &scopes {
        for days in [1, 7, 30] {
            let window = WindowRequest::Sliding {
                length_ms: days * DAY_MS,
            };
            let name = format!("flights, {scope}, {days} d");
            let exact = |chart: &Leaderboard| {
                let mut counts: HashMap<&str, u64> = HashMap::new();
                for (at_ms, region, tailnum) in &departures {
                    let here = scope == WORLD || regions[*region] == scope;
                    if here && (chart.span.from_ms..chart.span.to_ms).contains(at_ms) {
                        *counts.entry(tailnum).or_default() += 1;
                    }
                }
                counts.into_iter().collect()
            };
            rows.push(chart_row(case, &mut way, (scope, window, &name), exact)?);
        }
    }
    Ok(rows)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn three<T>(of: [T; FIRST.len()], show: impl Fn(T) -> String) -> String {
    of.map(show).join(" / ")
}

/// Prints everything; whether all that must hold does.
fn report(cases: &[Case], done: Vec<Done>) -> ExitCode {
    println!(
        "\n| stream | posts | found of 10 / 100 / 1,000 | error of `view_count` | width | certain \
         | pushed, a shard and minute | minute, quarter, two hours, day, all time | a year \
         | fold | chart, first and again |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    let mut missed = Vec::new();
    for (at, rows) in done {
        match rows {
            Err(error) => missed.push(format!("{}: {error}", cases[at].name)),
            Ok(rows) => {
                for row in rows {
                    print_row(&row);
                    missed.extend(row.missed());
                }
            }
        }
    }
    println!();
    if missed.is_empty() {
        println!("Every bound holds for every id, and everything is as it must be.");
        return ExitCode::SUCCESS;
    }
    missed.iter().for_each(|line| println!("MISSED  {line}"));
    ExitCode::FAILURE
}

fn print_row(row: &Row) {
    let judged = &row.judged;
    let kilobytes = row.pane_bytes.map(|bytes| format!("{:.1}", bytes / 1e3));
    println!(
        "| {}{} | {} | {} | {} | {} | {} | {:.1} kB | {} kB | {:.1} MB | {:.1} ms | {:.1}, {:.1} ms |",
        row.case,
        if judged.exact { ": exact" } else { "" },
        judged.posts,
        three(judged.found, |found| found.to_string()),
        three(judged.error, percent),
        three(judged.width, percent),
        three(judged.certain, percent),
        row.pushed_bytes / 1e3,
        kilobytes.join(", "),
        row.stored_mb,
        row.fold_ms,
        row.chart_ms[0],
        row.chart_ms[1],
    );
}

impl Row {
    /// What is not as it must be.
    fn missed(&self) -> Vec<String> {
        let (judged, must) = (&self.judged, self.must);
        let mut missed = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                missed.push(format!("{}: {what}", self.case));
            }
        };
        let [_, found_100, found_1000] = judged.found;
        let [_, error_100, error_1000] = judged.error;
        let is_whole =
            |found: usize, k: usize, least: usize| found >= least.min(judged.posts).min(k);
        check(
            is_whole(found_100, 100, must.found_100),
            format!(
                "{found_100} of the first 100 are found, not {}",
                must.found_100
            ),
        );
        check(
            is_whole(found_1000, 1_000, must.found_1000),
            format!(
                "{found_1000} of the first 1,000 are found, not {}",
                must.found_1000
            ),
        );
        for (k, error, most) in [
            (100, error_100, must.error_100),
            (1_000, error_1000, must.error_1000),
        ] {
            check(
                most.is_none_or(|most| error <= most),
                format!("an error of {} among the first {k}", percent(error)),
            );
        }
        check(!must.exact || judged.exact, "not exact".into());
        check(
            must.pushed_bytes
                .is_none_or(|most| self.pushed_bytes <= most),
            format!("{:.0} bytes pushed a minute", self.pushed_bytes),
        );
        check(
            must.stored_mb.is_none_or(|most| self.stored_mb <= most),
            format!("{:.1} MB stored after a year", self.stored_mb),
        );
        missed
    }
}
