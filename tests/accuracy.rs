//! Charts beside exact counts of every id, on the whole way: shards, pushes, folds, charts. The
//! long form, which says how good they are, is `npm run bench -- accuracy`.

#[allow(dead_code)]
#[path = "../benches/accuracy/judge.rs"]
mod judge;
#[path = "../src/summary/benches/parts/streams.rs"]
#[allow(dead_code)]
mod streams;
#[allow(dead_code)]
#[path = "../benches/accuracy/way.rs"]
mod way;

use crate::objects;
use hitparade::capacity::set_counters;
use hitparade::global::ChartRules;
use hitparade::window::{DAY_MS, HOUR_MS, MINUTE_MS};
use hitparade::wire::{BatchPlay, PostRequest, WindowRequest};
use judge::{Judged, judge};
use streams::{Source, Stream};
use way::{PUSH_INTERVAL_MS, Way};

const START_MS: u64 = 20_000 * DAY_MS + 11 * HOUR_MS + 47 * MINUTE_MS;
const REGIONS: [&str; 2] = ["NA", "EU"];
const SHARDS_A_REGION: u32 = 2;

/// Plays of a stream, of one to three counts each, over so many minutes in two regions of two shards.
fn played(
    stream: Stream,
    ids: usize,
    plays_a_step: usize,
    minutes: u64,
) -> (Way, Vec<(String, u64)>) {
    let mut way = Way::new(&REGIONS, SHARDS_A_REGION, START_MS);
    let mut source = Source::over(stream, ids, 11);
    let names: Vec<String> = (0..ids)
        .map(|number| match number % 3 {
            0 => format!("song-{number}"),
            1 => format!("{number:08x}-9d2c-4f0b-8a51-{:012x}", number * 7_919),
            _ => format!("Sängerin „{number}“, live: \"{number}\""),
        })
        .collect();
    let mut counts = vec![0_u64; ids];
    for step in 0..minutes * MINUTE_MS / PUSH_INTERVAL_MS {
        way.now_ms += PUSH_INTERVAL_MS;
        for shard in 0..way.shards() {
            let plays: Vec<BatchPlay<'_>> = (0..plays_a_step)
                .map(|_| {
                    let (number, random) = (source.draw() as usize, source.random());
                    let count = 1 + random as u32 % 3;
                    counts[number] += u64::from(count);
                    // One in eight comes a while late.
                    let late_ms = if random >> 61 == 0 {
                        random >> 8 & 0xf_ffff
                    } else {
                        0
                    };
                    BatchPlay {
                        post_id: &names[number],
                        timestamp_ms: way.now_ms - 1 - late_ms,
                        count,
                    }
                })
                .collect();
            way.play(shard, &plays);
        }
        // Some pushes are missing.
        way.push(step % 7 != 3);
        way.fold_if_due();
    }
    way.push(true);
    (way, names.into_iter().zip(counts).collect())
}

fn judged(way: &Way, counts: &[(String, u64)], window: WindowRequest) -> Judged {
    let (chart, _) = way.chart("global", window);
    let exact = counts.iter().filter(|(_, count)| *count > 0);
    let exact = exact.map(|(id, count)| (id.as_str(), *count));
    judge(&chart, exact.collect()).unwrap()
}

const DAY: WindowRequest = WindowRequest::Sliding { length_ms: DAY_MS };

/// Lets everything be sealed and folded.
fn settle(way: &mut Way) {
    for _ in 0..30 {
        way.now_ms += PUSH_INTERVAL_MS;
        way.push(true);
        way.fold_if_due();
    }
}

#[test]
fn what_is_small_is_exact_on_the_whole_way() {
    let (mut way, counts) = played(Stream::Zipf08, 20_000, 250, 8);
    let live = judged(&way, &counts, DAY);
    assert_eq!(live.found[1], 100, "copies of what is open are in part");
    settle(&mut way);
    for window in [DAY, WindowRequest::All] {
        assert!(judged(&way, &counts, window).exact);
    }
}

#[test]
fn whoever_is_played_most_in_a_minute_is_first_however_many_are_played() {
    let mut way = Way::new(&["NA"], 1, START_MS);
    let names: Vec<String> = (0..=9_000)
        .map(|number| format!("post-{number:04}"))
        .collect();
    way.now_ms += PUSH_INTERVAL_MS;
    // In an order that has nothing to do with the counts.
    let plays = (0..9_000_u64).map(|at| 1 + at * 7_919 % 9_000);
    let plays = plays.map(|number| BatchPlay {
        post_id: &names[number as usize],
        timestamp_ms: START_MS,
        count: number as u32,
    });
    let plays: Vec<BatchPlay<'_>> = plays.collect();
    plays.chunks(4_500).for_each(|plays| way.play(0, plays));
    way.push(true);
    let exact = names.iter().enumerate().skip(1);
    let exact: Vec<(String, u64)> = exact.map(|(at, name)| (name.clone(), at as u64)).collect();
    let live = judged(&way, &exact, DAY);
    assert_eq!(
        live.found,
        [10, 100, 1_000],
        "from a copy of 4,096 counters"
    );
    settle(&mut way);
    assert!(judged(&way, &exact, DAY).exact);
}

#[test]
fn bounds_hold_for_every_id_on_the_whole_way() {
    // Most panes have to drop something.
    set_counters(Some(256));
    for stream in [Stream::Zipf08, Stream::Zipf12, Stream::Drifting] {
        let (mut way, counts) = played(stream, 30_000, 250, 8);
        for window in [DAY, WindowRequest::All] {
            judged(&way, &counts, window);
        }
        // What one post's page says of it, whether it is in a chart or not.
        for (id, count) in counts.iter().step_by(499) {
            let request = PostRequest {
                post_id: id.clone(),
                scope: "global".into(),
                window: DAY,
                hidden_too: false,
            };
            let page = way
                .global
                .post(&way.storage, &request, ChartRules::default(), way.now_ms);
            let Ok(page) = page else {
                // Nothing is known of a post without plays.
                continue;
            };
            let said = page.count.view_count_min..=page.count.view_count_max;
            assert!(
                said.contains(count),
                "{id}: {count} is not {:?}",
                page.count
            );
        }
        settle(&mut way);
        judged(&way, &counts, DAY);
    }
    set_counters(None);
}
