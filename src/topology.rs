//! Which regions there are, and how many shards each has.
//!
//! The registry owns the table. Workers and global objects hold copies, which are seconds or minutes old,
//! or days where the registry is away. Exactness does not depend on the age of a copy: the batch itself
//! and what its decider remembers say which shard counts it ([`crate::routing`]).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::codec::record;
use crate::text::looks_empty;

/// The scope of worldwide charts; no region may take the name.
pub const GLOBAL_SCOPE: &str = "global";
/// With 100 regions of 5 levels a flush of a global object writes about 500 rows.
pub const MAX_REGIONS: usize = 100;
/// Bytes of a region's id.
pub const MAX_REGION_ID_BYTES: usize = 64;
/// Regions that were deleted and are remembered: a hundred bytes each in every Worker's table.
pub const MAX_DELETED_REGIONS: usize = 1_000;
/// At the platform's 1,000 requests a second an object, a region then takes a million beacons/s.
pub const MAX_SHARDS: u32 = 1_000;
/// Shards of all regions together: with a kilobyte of each, a global object holds 10 MB.
pub const MAX_SHARDS_IN_ALL: u32 = 10_000;

/// A region as the table knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    pub region_id: String,
    /// How many regions of this id were deleted before this one was made.
    pub incarnation: u32,
    pub region_name: String,
    /// Where its objects should live (a location hint of the platform).
    pub hint: Option<String>,
    /// Among so many shards a batch without a home is sent to one. They are `main`'s, but where another board was
    /// told of its own.
    pub shards: u32,
    /// The most shards that it ever had. Each of them may hold plays, decide about batches whose home is
    /// from that time, and count batches that do not say when they were first sent.
    pub most_shards: u32,
}

record!(Region v 1);

impl Region {
    /// A region, the first of its id.
    pub fn new(region_id: impl Into<String>, region_name: impl Into<String>, shards: u32) -> Self {
        Region {
            region_id: region_id.into(),
            incarnation: 0,
            region_name: region_name.into(),
            hint: None,
            shards,
            most_shards: shards,
        }
    }

    /// The name of its shards, logs and panes: its id, and behind it the incarnation of a region that was
    /// made again, so that nothing of the region before is taken for its own.
    pub fn key(&self) -> Cow<'_, str> {
        key_of(&self.region_id, self.incarnation)
    }

    /// Has another number of shards from now on.
    pub fn reshard(&mut self, shards: u32) {
        self.shards = shards;
        self.most_shards = self.most_shards.max(shards);
    }
}

/// The platform's location hints
/// (developers.cloudflare.com/durable-objects/reference/data-location). With an unknown hint, every request
/// to the object fails.
const LOCATION_HINTS: [&str; 9] = [
    "wnam", "enam", "sam", "weur", "eeur", "apac", "oc", "afr", "me",
];

/// Checks where a region's objects should live.
///
/// # Errors
/// What is allowed, as a sentence.
pub fn check_hint(hint: &str) -> Result<(), String> {
    match LOCATION_HINTS.contains(&hint) {
        true => Ok(()),
        false => Err(format!("hint must be one of {}", LOCATION_HINTS.join(", "))),
    }
}

/// Checks a region's id.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn check_region_id(region_id: &str) -> Result<(), &'static str> {
    if region_id.is_empty() || region_id.len() > MAX_REGION_ID_BYTES {
        Err("a region's id has 1 to 64 bytes")
    } else if region_id.chars().any(|c| c.is_control() || c == '/') {
        Err("a region's id must not contain control characters or \"/\"")
    } else if looks_empty(region_id) {
        Err("a region's id must not be made of spaces and characters that nobody sees")
    } else if region_id == GLOBAL_SCOPE || region_id == "." || region_id == ".." {
        Err("\"global\", \".\" and \"..\" are not for regions")
    } else {
        Ok(())
    }
}

/// A [`Region::key`]. No id has a slash in it.
pub fn key_of(region_id: &str, incarnation: u32) -> Cow<'_, str> {
    match incarnation {
        0 => Cow::Borrowed(region_id),
        incarnation => Cow::Owned(format!("{region_id}/{incarnation}")),
    }
}

/// The id and the incarnation of the region that has this key.
pub fn parts_of_key(key: &str) -> (&str, u32) {
    match key.split_once('/') {
        Some((region_id, incarnation)) => (region_id, incarnation.parse().unwrap_or(0)),
        None => (key, 0),
    }
}

/// A region that was deleted. Its shards still decide about batches whose home is there, and the global
/// object still takes what they push, for the worldwide charts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedRegion {
    /// As it was.
    pub region: Region,
    pub deleted_ms: u64,
}

record!(DeletedRegion v 1);

/// Since when an installation counts. A reset begins a new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// When counting began, by the registry's clock; later than any epoch before. 0 is the first epoch.
    pub began_ms: u64,
    /// What all summaries of the installation share.
    pub seed: [u8; 16],
}

/// Every region, and what all objects of the installation share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionTable {
    /// Grows with each change: of two tables, the one with the larger number is the later one.
    pub number: u64,
    /// Names the installation; a reset changes it. It is no secret.
    pub installation_id: [u8; 16],
    pub epoch_ms: u64,
    pub seed: [u8; 16],
    /// The key of the region that was made first, even if it was deleted: it decides about batches that
    /// name neither a region nor a home.
    pub origin: String,
    /// In the order in which they were made. Plays whose place is unknown go to the first.
    pub regions: Vec<Region>,
    /// In the order in which they were deleted.
    pub deleted: Vec<DeletedRegion>,
}

record!(RegionTable v 1);

impl RegionTable {
    /// Of an installation that has just been made.
    pub fn new(regions: Vec<Region>, seed: [u8; 16]) -> Self {
        let origin = regions.first().map(|region| region.key().into_owned());
        RegionTable {
            number: 1,
            seed,
            origin: origin.unwrap_or_default(),
            regions,
            ..RegionTable::default()
        }
    }

    pub fn epoch(&self) -> Epoch {
        Epoch {
            began_ms: self.epoch_ms,
            seed: self.seed,
        }
    }

    /// Whether there was a region of this id, and is none.
    pub fn is_deleted(&self, region_id: &str) -> bool {
        self.find(region_id).is_none() && self.incarnations(region_id) > 0
    }

    /// How many regions of this id were deleted.
    pub fn incarnations(&self, region_id: &str) -> u32 {
        let deleted = self.deleted.iter();
        deleted
            .filter(|it| it.region.region_id == region_id)
            .count() as u32
    }

    /// The region of a [`Region::key`], if it was not deleted.
    pub fn find_key(&self, key: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.key() == key)
    }

    /// The region of a [`Region::key`], deleted or not.
    pub fn ever_had_key(&self, key: &str) -> Option<&Region> {
        self.regions_ever().find(|region| region.key() == key)
    }

    /// Whether the region of this key was deleted: not one that is not known.
    pub fn has_deleted_key(&self, key: &str) -> bool {
        self.find_key(key).is_none() && self.knows_key(key)
    }

    /// Whether there is or was a region of this key.
    pub fn knows_key(&self, key: &str) -> bool {
        self.ever_had_key(key).is_some()
    }

    /// All regions, those that were deleted included.
    pub fn regions_ever(&self) -> impl Iterator<Item = &Region> {
        let deleted = self.deleted.iter().map(|it| &it.region);
        self.regions.iter().chain(deleted)
    }

    /// [`Region::key`] of all of them.
    pub fn keys(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.regions_ever().map(Region::key)
    }

    pub fn find(&self, region_id: &str) -> Option<&Region> {
        self.regions
            .iter()
            .find(|region| region.region_id == region_id)
    }
}

/// A shard: its region's key, and its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId {
    pub key: String,
    pub shard: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_shards_that_a_region_had_are_remembered() {
        let mut region = Region::new("NA", "North America", 2);
        for (shards, most) in [(4, 4), (1, 4), (3, 4), (9, 9)] {
            region.reshard(shards);
            assert_eq!((region.shards, region.most_shards), (shards, most));
        }
    }
}
