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

use day::{BLOG, FIRST_DAY_MS, REGIONS, SITES, Site};
use hitparade::board::{MAIN, ObjectName};
use hitparade::storage::Table;
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

/// So many plays and charts of a site, each when `moment` says for its region.
fn planned(
    site: Site,
    (plays, charts): (u64, u64),
    first_visitor: u64,
    random: &mut Random,
    moment: impl Fn(&mut Random, usize) -> u64,
) -> Vec<Planned> {
    let visitors = first_visitor..first_visitor + plays + charts;
    let planned = visitors.map(|visitor| {
        let region = visitor as usize % site.regions;
        let does = match visitor - first_visitor < plays {
            true => Does::Play(day::post(random, site.posts)),
            // Half of the pages show the region, half the world.
            false if random.chance(500) => Does::Look(REGIONS[region].0),
            false => Does::Look("global"),
        };
        Planned {
            at_ms: moment(random, region),
            region,
            visitor,
            does,
        }
    });
    planned.collect()
}

/// A day of a site, in the order in which it was drawn.
fn plan_of_day(site: Site, day_ms: u64, random: &mut Random) -> Vec<Planned> {
    let both = (site.plays_a_day, site.charts_a_day);
    let first_visitor = day_ms / DAY_MS * (site.plays_a_day + site.charts_a_day);
    let moment = |random: &mut Random, region| day::moment(random, day_ms, region);
    planned(site, both, first_visitor, random, moment)
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

/// A site as it is billed.
struct Run {
    platform: Platform,
    workers: Workers,
    /// Plays that were sent.
    sent: u64,
    before: (Bill, u64, u64),
}

impl Run {
    fn new(site: Site, begins_ms: u64, isolates: Isolates) -> Self {
        let platform = Platform::new(AROUND_THE_WORLD, begins_ms, day::setting(site.regions));
        Run {
            workers: Workers::new(&platform, isolates),
            platform,
            sent: 0,
            before: (Bill::default(), 0, 0),
        }
    }

    fn carry_out(&mut self, plan: Vec<Planned>, until_ms: u64) {
        let plays = plan.iter().filter(|it| matches!(it.does, Does::Play(_)));
        self.sent += plays.count() as u64;
        carry_out(&self.platform, &self.workers, plan);
        self.platform.run_until(until_ms);
    }

    fn so_far(&self) -> (Bill, u64, u64) {
        let Workers {
            requests,
            incomplete,
            ..
        } = &self.workers;
        (self.platform.bill(), requests.get(), incomplete.get())
    }

    /// What comes now is billed.
    fn bill_from_now(&mut self) {
        self.before = self.so_far();
    }

    /// Plays of the last 24 hours: the chart has them, when all has come to rest.
    fn end(self, of_the_day: u64) -> Billed {
        let (bill, requests, incomplete) = self.so_far();
        let (bill_before, requests_before, incomplete_before) = &self.before;
        let billed = Billed {
            bill: bill.since(bill_before),
            requests_to_workers: requests - requests_before,
            incomplete: incomplete - incomplete_before,
        };
        all_is_counted(&self.platform, &self.workers, of_the_day);
        keep_rows(&self.platform);
        assert_eq!(self.workers.accepted.get(), self.sent);
        billed
    }
}

/// The day after those before it.
fn day_of(site: Site, days_before: u64, daily_requests: Option<u64>, isolates: Isolates) -> Billed {
    let mut random = Random::new(7);
    let mut run = Run::new(site, FIRST_DAY_MS, isolates);
    run.platform.set_daily_requests(daily_requests);
    for day in 0..=days_before {
        let day_ms = FIRST_DAY_MS + day * DAY_MS;
        if day == days_before {
            run.bill_from_now();
        }
        run.carry_out(plan_of_day(site, day_ms, &mut random), day_ms + DAY_MS);
    }
    run.end(site.plays_a_day)
}

/// A part of a day, of even load, after a start that is not billed. A minute is planned at a time: a plan takes
/// memory.
fn part_of_day(site: Site, isolates: Isolates) -> Billed {
    const START_MS: u64 = 2 * MINUTE_MS;
    let mut random = Random::new(7);
    let mut run = Run::new(site, FIRST_DAY_MS, isolates);
    let of_a_minute = |a_day: u64| a_day * MINUTE_MS / DAY_MS;
    let both = (
        of_a_minute(site.plays_a_day),
        of_a_minute(site.charts_a_day),
    );
    for minute in 0..(START_MS + site.runs_ms) / MINUTE_MS {
        let minute_ms = FIRST_DAY_MS + minute * MINUTE_MS;
        if minute_ms == FIRST_DAY_MS + START_MS {
            run.bill_from_now();
        }
        let moment = |random: &mut Random, _| minute_ms + random.below(MINUTE_MS);
        let plan = planned(site, both, minute * (both.0 + both.1), &mut random, moment);
        run.carry_out(plan, minute_ms + MINUTE_MS);
    }
    let sent = run.sent;
    run.end(sent)
}

/// For `scripts/bench/bill.mjs`, which starts the global object on them.
fn keep_rows(platform: &Platform) {
    let Ok(path) = std::env::var("BILL_ROWS") else {
        return;
    };
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let rows = platform.rows_of(&ObjectName::global(MAIN)).into_iter();
    let rows = rows.map(|(table, key, value)| (table as usize, hex(&key), hex(&value)));
    let rows = json!({
        "now_ms": platform.now_ms(),
        "tables": Table::ALL.map(Table::name),
        "rows": rows.collect::<Vec<_>>(),
    });
    std::fs::write(path, rows.to_string()).unwrap();
}

/// When all has come to rest, the chart of the last 24 hours has the day's plays.
fn all_is_counted(platform: &Platform, workers: &Workers, of: u64) {
    let now_ms = platform.now_ms();
    platform.run_until(now_ms + 3 * MINUTE_MS);
    let told = Rc::new(Cell::new(0));
    let total = workers.clone().total(Rc::clone(&told));
    platform.work_at(platform.now_ms(), total);
    platform.run_until(platform.now_ms() + MINUTE_MS);
    // The window ended a moment later than the day, and is off by a quarter of an hour at most.
    let told = told.get();
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
fn tell(billed: &Billed, more: Value) {
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
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.extend(more);
    }
    if let Ok(path) = std::env::var("BILL_FILE") {
        std::fs::write(path, told.to_string()).unwrap();
    }
}

/// The first day of an installation. `npm run bench -- bill` looks at the fourth, when all that expires does;
/// `npm run bench -- sizes` at other sites, which hold no limit.
#[test]
fn the_day_of_a_blog_fits_the_free_plan() {
    let setting = |name| std::env::var(name).ok();
    let days_before = setting("BILL_DAYS_BEFORE").and_then(|text| text.parse().ok());
    let days_before = days_before.unwrap_or(0);
    let name = setting("BILL_SITE").unwrap_or(BLOG.name.into());
    let site = *SITES.iter().find(|site| site.name == name).unwrap();
    let isolates = match setting("BILL_ISOLATES").as_deref() {
        Some("one") => Isolates::One,
        _ => Isolates::Fresh,
    };
    let billed = match site.runs_ms < DAY_MS {
        true => part_of_day(site, isolates),
        false => day_of(site, days_before, None, isolates),
    };
    tell(
        &billed,
        json!({ "site": {
        "regions": site.regions,
        "plays_a_day": site.plays_a_day,
        "charts_a_day": site.charts_a_day,
        "runs_ms": site.runs_ms,
        "times": site.times,
    } }),
    );
    if site.name == BLOG.name {
        // Of 100,000 requests, 100,000 rows and 13,000 GB-s a day.
        let Billed { bill, .. } = &billed;
        assert!(bill.requests() <= 60_000);
        assert!(bill.rows() <= 60_000);
        assert!(bill.gb_s() <= 3_000.0);
    }
}

#[test]
fn plays_are_taken_until_midnight_where_the_days_requests_are_few() {
    // It would take 51,800.
    const DAILY_REQUESTS: u64 = 46_500;
    let billed = day_of(BLOG, 0, Some(DAILY_REQUESTS), Isolates::Fresh);
    tell(&billed, json!({}));
    assert!(billed.bill.requests() <= DAILY_REQUESTS);
}

/// Of the busiest hour of a day, from nothing, on one machine: the same is done on bare workerd, from the moment
/// that `BILL_BEGINS_MS` says. Panes end with the clock, and so do pushes of a quiet shard.
#[test]
fn twenty_minutes_of_a_blog() {
    let length_ms = 20 * MINUTE_MS;
    let of_plan_ms = FIRST_DAY_MS + 19 * HOUR_MS;
    let begins_ms = std::env::var("BILL_BEGINS_MS").map_or(of_plan_ms, |ms| ms.parse().unwrap());
    let (mut random, regions) = (Random::new(7), day::setting(BLOG.regions));
    let platform = Platform::new(ONE_MACHINE, begins_ms, regions);
    let workers = Workers::new(&platform, Isolates::One);
    let is_in = |planned: &Planned| {
        (of_plan_ms..of_plan_ms + length_ms - MINUTE_MS).contains(&planned.at_ms)
    };
    let mut plan = plan_of_day(BLOG, FIRST_DAY_MS, &mut random);
    plan.retain(is_in);
    for planned in &mut plan {
        planned.at_ms = planned.at_ms - of_plan_ms + begins_ms;
    }
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
    tell(&billed, json!({ "plan": told, "length_ms": length_ms }));
}
