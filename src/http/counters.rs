//! What this instance of the Worker has seen, for `/metrics`: each isolate counts for itself.
//!
//! Every label is a word from the source code or a region from the settings: a few hundred numbers at most.

use std::collections::BTreeMap;

/// Upper bounds of the histogram of charts' ages, in seconds. A chart is older than 3 s only where the objects
/// do not answer.
pub const AGE_BOUNDS_S: [u64; 6] = [1, 2, 3, 5, 10, 60];

/// Where a leaderboard came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Source {
    Memory,
    Cache,
    Object,
}

#[derive(Clone, Default)]
pub struct Counters {
    /// By route and status.
    pub requests: BTreeMap<(&'static str, u16), u64>,
    /// Answers that are errors, by code.
    pub problems: BTreeMap<&'static str, u64>,
    /// Plays that were rejected, by code.
    pub rejected_plays: BTreeMap<&'static str, u64>,
    /// Batches that were counted in another region, by the region of `REGIONS` that was not made.
    pub elsewhere: BTreeMap<String, u64>,
    pub charts: BTreeMap<Source, u64>,
    /// Charts by age, as [`AGE_BOUNDS_S`]; older ones last.
    pub ages: [u64; AGE_BOUNDS_S.len() + 1],
    pub ages_sum_ms: u64,
}

impl Counters {
    pub fn answered(&mut self, route: &'static str, status: u16, code: Option<&'static str>) {
        *self.requests.entry((route, status)).or_default() += 1;
        if let Some(code) = code {
            *self.problems.entry(code).or_default() += 1;
        }
    }

    pub fn rejected(&mut self, code: &'static str) {
        *self.rejected_plays.entry(code).or_default() += 1;
    }

    pub fn elsewhere(&mut self, region_id: &str) {
        *self.elsewhere.entry(region_id.to_owned()).or_default() += 1;
    }

    pub fn found(&mut self, source: Source) {
        *self.charts.entry(source).or_default() += 1;
    }

    /// A chart goes out that was computed so long ago.
    pub fn shown(&mut self, age_ms: u64) {
        let place = AGE_BOUNDS_S.iter().position(|s| age_ms <= s * 1_000);
        let place = place.unwrap_or(AGE_BOUNDS_S.len());
        if let Some(count) = self.ages.get_mut(place) {
            *count += 1;
        }
        self.ages_sum_ms = self.ages_sum_ms.saturating_add(age_ms);
    }
}
