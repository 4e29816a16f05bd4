//! What a day costs, by the price list of the platform: the drivers of `src/` on virtual time, from midnight to
//! midnight, and everything counted that is billed.
//!
//! `npm run bench -- bill` prints it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod day;
#[path = "../simulation/executor.rs"]
#[allow(dead_code, reason = "nothing dies here")]
mod executor;
mod host;
#[path = "../objects/mod.rs"]
mod objects;
mod platform;
#[path = "../simulation/random.rs"]
#[allow(dead_code, reason = "the simulation draws more")]
mod random;
mod workers;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use day::{BLOG, FIRST_DAY_MS, MAGAZINE, REGIONS, Site};
use hitparade::board::{MAIN, ObjectName};
use hitparade::window::{DAY_MS, HOUR_MS, MINUTE_MS};
use platform::{AROUND_THE_WORLD, Bill, ONE_MACHINE, Platform};
use random::Random;
use serde_json::{Value, json};
use workers::{Isolates, Workers};

/// Some time as it was billed.
struct Billed {
    bill: Bill,
    requests_to_workers: u64,
    /// Charts that said that they may lack something.
    incomplete: u64,
}

/// Something that a visitor does.
struct Planned {
    at_ms: u64,
    region: usize,
    visitor: u64,
    does: Does,
}

enum Does {
    Play(String),
    Look(&'static str),
}

/// A day of a site, in the order in which it was drawn.
fn plan_of_day(site: Site, day_ms: u64, random: &mut Random) -> Vec<Planned> {
    let first = day_ms / DAY_MS * (site.plays_a_day + site.charts_a_day);
    let all = first..first + site.plays_a_day + site.charts_a_day;
    let planned = all.map(|visitor| {
        let region = visitor as usize % site.regions;
        let does = match visitor - first < site.plays_a_day {
            true => Does::Play(day::post(random, site.posts)),
            // Half of the pages show the region, half the world.
            false if random.chance(500) => Does::Look(REGIONS[region].0),
            false => Does::Look("global"),
        };
        Planned {
            at_ms: day::moment(random, day_ms, region),
            region,
            visitor,
            does,
        }
    });
    planned.collect()
}

fn carry_out(platform: &Platform, workers: &Workers, plan: impl IntoIterator<Item = Planned>) {
    for planned in plan {
        let region_id = REGIONS[planned.region].0;
        let (at_ms, workers) = (planned.at_ms, workers.clone());
        match planned.does {
            Does::Play(post_id) => {
                platform.work_at(at_ms, workers.play(region_id, planned.visitor, post_id));
            }
            Does::Look(scope) => platform.work_at(at_ms, workers.chart(region_id, scope)),
        }
    }
}

/// The day after those before it.
fn day_of(site: Site, days_before: u64, daily_requests: Option<u64>) -> Billed {
    let mut random = Random::new(7);
    let platform = Platform::new(AROUND_THE_WORLD, FIRST_DAY_MS, day::setting(site.regions));
    platform.set_daily_requests(daily_requests);
    let workers = Workers::new(&platform, Isolates::Fresh);
    let mut before = (Bill::default(), 0, 0);
    for day in 0..=days_before {
        let day_ms = FIRST_DAY_MS + day * DAY_MS;
        carry_out(&platform, &workers, plan_of_day(site, day_ms, &mut random));
        if day == days_before {
            before = (
                platform.bill(),
                workers.requests.get(),
                workers.incomplete.get(),
            );
        }
        platform.run_until(day_ms + DAY_MS);
    }
    keep_rows(&platform);
    let (bill_before, requests_before, incomplete_before) = before;
    let billed = Billed {
        bill: platform.bill().since(&bill_before),
        requests_to_workers: workers.requests.get() - requests_before,
        incomplete: workers.incomplete.get() - incomplete_before,
    };
    all_is_counted(&platform, &workers, site, days_before);
    billed
}

/// For `scripts/bench/bill.mjs`, which starts the global object on them in WebAssembly.
fn keep_rows(platform: &Platform) {
    let Ok(path) = std::env::var("BILL_ROWS") else {
        return;
    };
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let rows = platform.rows_of(&ObjectName::global(MAIN)).into_iter();
    let rows = rows.map(|(table, key, value)| (table as usize, hex(&key), hex(&value)));
    let rows = json!({ "now_ms": platform.now_ms(), "rows": rows.collect::<Vec<_>>() });
    std::fs::write(path, rows.to_string()).unwrap();
}

/// When all has come to rest, the chart of the last 24 hours has the day's plays.
fn all_is_counted(platform: &Platform, workers: &Workers, site: Site, days_before: u64) {
    let now_ms = platform.now_ms();
    platform.run_until(now_ms + 3 * MINUTE_MS);
    let sent = site.plays_a_day * (days_before + 1);
    assert_eq!(workers.accepted.get(), sent);
    let told = Rc::new(Cell::new(0));
    let total = workers.clone().total(Rc::clone(&told));
    platform.work_at(platform.now_ms(), total);
    platform.run_until(platform.now_ms() + MINUTE_MS);
    // The window ended a moment later than the day, and is off by a quarter of an hour at most.
    let (told, of) = (told.get(), site.plays_a_day);
    assert!(
        told <= of && told * 100 >= of * 97,
        "{told} of {of} plays are in the chart"
    );
}

fn counts<K: Ord, V: serde::Serialize>(
    counts: &BTreeMap<K, V>,
    name: impl Fn(&K) -> String,
) -> BTreeMap<String, &V> {
    counts
        .iter()
        .map(|(key, count)| (name(key), count))
        .collect()
}

/// As `scripts/bench/bill.mjs` reads it, where `BILL_FILE` says; printed in any case.
fn tell(billed: &Billed, plan: Option<(&[Value], u64)>) {
    let Billed { bill, .. } = billed;
    let two = |(kind, what): &(&str, &str)| format!("{kind} {what}");
    let mut told = json!({
        "requests_to_workers": billed.requests_to_workers,
        "requests": counts(&bill.requests, two),
        "rows": counts(&bill.rows, two),
        "rows_read": bill.rows_read,
        "gb_s": bill.gb_s(),
        "gb_s_with_tail": bill.gb_s_with_tail(),
        "wakes": counts(&bill.wakes, |kind| (*kind).to_owned()),
        "incomplete": billed.incomplete,
    });
    println!("{} requests, {} rows", bill.requests(), bill.rows());
    println!("{told:#}");
    if let Some((plan, length_ms)) = plan {
        told["plan"] = json!(plan);
        told["length_ms"] = json!(length_ms);
    }
    if let Ok(path) = std::env::var("BILL_FILE") {
        std::fs::write(path, told.to_string()).unwrap();
    }
}

/// The first day of an installation. `npm run bench -- bill` looks at the fourth, when all that expires does.
#[test]
fn the_day_of_a_blog_fits_the_free_plan() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let days_before = number("BILL_DAYS_BEFORE").unwrap_or(0);
    let is_blog = std::env::var("BILL_SITE").as_deref() != Ok("magazine");
    let site = if is_blog { BLOG } else { MAGAZINE };
    let billed = day_of(site, days_before, None);
    tell(&billed, None);
    if is_blog {
        // Of 100,000 requests, 100,000 rows and 13,000 GB-s a day.
        let Billed { bill, .. } = &billed;
        assert!(bill.requests() <= 60_000);
        assert!(bill.rows() <= 60_000);
        assert!(bill.gb_s() <= 3_000.0);
    }
}

#[test]
fn plays_are_taken_until_midnight_where_the_days_requests_are_few() {
    // It would take 46,000.
    const DAILY_REQUESTS: u64 = 42_000;
    let billed = day_of(BLOG, 0, Some(DAILY_REQUESTS));
    tell(&billed, None);
    assert!(billed.bill.requests() <= DAILY_REQUESTS);
}

/// Of the busiest hour of a day, from nothing, on one machine: the same is done on bare workerd.
#[test]
fn twenty_minutes_of_a_blog() {
    let length_ms = 20 * MINUTE_MS;
    let begins_ms = FIRST_DAY_MS + 19 * HOUR_MS;
    let (mut random, regions) = (Random::new(7), day::setting(BLOG.regions));
    let platform = Platform::new(ONE_MACHINE, begins_ms, regions);
    let workers = Workers::new(&platform, Isolates::One);
    let is_in =
        |planned: &Planned| (begins_ms..begins_ms + length_ms - MINUTE_MS).contains(&planned.at_ms);
    let mut plan = plan_of_day(BLOG, FIRST_DAY_MS, &mut random);
    plan.retain(is_in);
    plan.sort_by_key(|planned| planned.at_ms);
    let told: Vec<Value> = plan
        .iter()
        .map(|planned| {
            let (post, scope) = match &planned.does {
                Does::Play(post) => (Some(post), None),
                Does::Look(scope) => (None, Some(*scope)),
            };
            json!({
                "at_ms": planned.at_ms - begins_ms,
                "region": REGIONS[planned.region].0,
                "visitor": planned.visitor,
                "post": post,
                "scope": scope,
            })
        })
        .collect();
    carry_out(&platform, &workers, plan);
    platform.run_until(begins_ms + length_ms);
    let billed = Billed {
        bill: platform.bill(),
        requests_to_workers: workers.requests.get(),
        incomplete: workers.incomplete.get(),
    };
    tell(&billed, Some((&told, length_ms)));
}
