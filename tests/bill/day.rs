//! The day of a site: when its plays and its charts come.

use hitparade::window::{DAY_MS, HOUR_MS, MINUTE_MS};

use crate::random::Random;

/// How busy each hour of a day is, by the clocks of the place, against the busiest: asleep from one to
/// six, at work from nine, at its most at eight in the evening.
const HOURS: [u64; 24] = [
    25, 14, 8, 5, 4, 5, 10, 25, 45, 60, 68, 72, 78, 75, 70, 70, 72, 76, 82, 92, 100, 92, 72, 45,
];

/// A region, and by how many hours its clocks are ahead of UTC.
pub const REGIONS: [(&str, i64); 6] = [
    ("NA", -6),
    ("SA", -3),
    ("EU", 1),
    ("AF", 2),
    ("AS", 7),
    ("OC", 10),
];

/// `REGIONS`, as the setting says it.
pub fn setting(regions: usize) -> String {
    let regions = REGIONS.iter().take(regions);
    let regions: Vec<String> = regions
        .map(|(id, _)| format!(r#"{{"id":"{id}"}}"#))
        .collect();
    format!("[{}]", regions.join(","))
}

/// A moment of a day that begins at `day_ms` in UTC, as likely as the hours of a region are busy.
pub fn moment(random: &mut Random, day_ms: u64, region: usize) -> u64 {
    let ahead_h = REGIONS[region].1;
    let mut left = random.below(HOURS.iter().sum());
    let hour = HOURS.iter().position(|busy| match left.checked_sub(*busy) {
        Some(less) => {
            left = less;
            false
        }
        None => true,
    });
    let local_h = hour.unwrap_or_default() as i64;
    let utc_h = (local_h - ahead_h).rem_euclid(24) as u64;
    day_ms + utc_h * HOUR_MS + random.below(HOUR_MS)
}

/// What a site has.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    pub name: &'static str,
    pub regions: usize,
    /// Over all regions, spread evenly over them: that makes most of what is billed.
    pub plays_a_day: u64,
    pub charts_a_day: u64,
    /// Posts that are played, the first ones most.
    pub posts: u64,
    /// How much of a day is run; less than one is of even load.
    pub runs_ms: u64,
    /// The site is so many times as large: then a shard of each region is run, with what comes to it.
    pub times: u64,
}

pub const BLOG: Site = Site {
    name: "blog",
    regions: 6,
    plays_a_day: 10_000,
    charts_a_day: 5_000,
    posts: 300,
    runs_ms: DAY_MS,
    times: 1,
};

/// Those of `docs/cost.md`.
pub const SITES: [Site; 5] = [
    BLOG,
    Site {
        name: "magazine",
        regions: 1,
        plays_a_day: DAY_S,
        charts_a_day: DAY_S,
        posts: 3_000,
        ..BLOG
    },
    Site {
        name: "radio",
        regions: 1,
        plays_a_day: 12 * DAY_S,
        charts_a_day: 6 * DAY_S,
        posts: 3_000,
        runs_ms: HOUR_MS,
        times: 1,
    },
    Site {
        name: "national",
        regions: 1,
        plays_a_day: 600 * DAY_S,
        charts_a_day: 600 * DAY_S,
        posts: 30_000,
        runs_ms: 5 * MINUTE_MS,
        times: 1,
    },
    // Ten regions of 143 shards, of which five are run: 286 times 700 plays a second to each.
    Site {
        name: "worldwide",
        regions: 5,
        plays_a_day: 5 * 700 * DAY_S,
        charts_a_day: 5 * 700 * DAY_S,
        posts: 30_000,
        runs_ms: MINUTE_MS,
        times: 286,
    },
];

const DAY_S: u64 = DAY_MS / 1_000;

/// A post, as likely as its rank is low.
pub fn post(random: &mut Random, posts: u64) -> String {
    let (a, b) = (random.below(posts), random.below(posts));
    format!("post-{}", a * b / posts)
}

/// Some day.
pub const FIRST_DAY_MS: u64 = 20_700 * DAY_MS;
