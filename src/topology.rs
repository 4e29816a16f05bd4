//! Which regions there are, how many shards each has, and which shard a batch belongs to.
//!
//! The global object owns the table; Workers hold a copy that is seconds old. A batch goes to the
//! shard that its sender's name hashes to, over the number of shards that was in force when the
//! batch was *first* sent: so a repeat meets the shard that remembers it, also after the number
//! was changed. For every copy of the table to know a change before it counts, it takes effect
//! [`RESHARD_DELAY_MS`] after it was asked for.

use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::codec::Record;

/// The only board that is open today. Names of objects, rows and messages carry it.
pub const BOARD: &str = "main";
/// The scope of worldwide charts; no region may take the name.
pub const GLOBAL_SCOPE: &str = "global";
/// With 100 regions of 5 levels a flush of the global object writes about 500 rows.
pub const MAX_REGIONS: usize = 100;
/// A region's id, and its name, in bytes.
pub const MAX_REGION_ID_BYTES: usize = 64;
pub const MAX_REGION_NAME_BYTES: usize = 256;
/// At the platform's 1,000 requests a second an object, a region then takes a million beacons/s.
pub const MAX_SHARDS: u32 = 1_000;
/// How long after the request a change of `shards` takes effect: far above the age of any
/// Worker's copy of the table (10 s) and the difference between two clocks.
pub const RESHARD_DELAY_MS: u64 = 5 * 60_000;
/// How long a number of shards is remembered after it was replaced: longer than the 15 minutes
/// that a batch may be sent again.
const HISTORY_MS: u64 = 60 * 60_000;

/// A number of shards and since when it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardsSince {
    pub since_ms: u64,
    pub shards: u32,
}

/// A region as the table knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    pub region_id: String,
    pub region_name: String,
    /// Where its objects should live (a location hint of the platform).
    pub hint: Option<String>,
    /// Ascending by `since_ms`, never empty; the last may lie in the future.
    pub shards: Vec<ShardsSince>,
}

impl Record for Region {
    const KIND: u8 = 1;
    const VERSION: u8 = 1;
}

impl Region {
    /// A region with a number of shards that counts from the beginning.
    pub fn new(region_id: impl Into<String>, region_name: impl Into<String>, shards: u32) -> Self {
        Region {
            region_id: region_id.into(),
            region_name: region_name.into(),
            hint: None,
            shards: vec![ShardsSince {
                since_ms: 0,
                shards,
            }],
        }
    }

    /// The number of shards in force at a moment.
    pub fn shards_at(&self, at_ms: u64) -> u32 {
        let in_force = self
            .shards
            .iter()
            .rev()
            .find(|entry| entry.since_ms <= at_ms);
        in_force
            .or(self.shards.first())
            .map_or(1, |entry| entry.shards)
    }

    /// The number that was asked for last, whether it counts already or not.
    pub fn shards_wanted(&self) -> u32 {
        self.shards.last().map_or(1, |entry| entry.shards)
    }

    /// Asks for another number of shards, to count from [`RESHARD_DELAY_MS`] on.
    pub fn reshard(&mut self, shards: u32, now_ms: u64) {
        if shards == self.shards_wanted() {
            return;
        }
        let since_ms = now_ms.saturating_add(RESHARD_DELAY_MS);
        self.shards.retain(|entry| entry.since_ms <= now_ms);
        self.shards.push(ShardsSince { since_ms, shards });
        // What no batch can ask for any more is forgotten.
        let horizon_ms = now_ms.saturating_sub(HISTORY_MS);
        let newest_old = self
            .shards
            .iter()
            .rposition(|entry| entry.since_ms <= horizon_ms);
        self.shards.drain(..newest_old.unwrap_or(0));
    }

    /// The shard of a batch. `client` is the sender's own name, if it gave one.
    pub fn shard_of(&self, client: Option<&str>, sent_ms: u64) -> u32 {
        let shards = self.shards_at(sent_ms).max(1);
        client.map_or(0, |client| (client_hash(client) % u64::from(shards)) as u32)
    }
}

/// The fixed hash that spreads senders over shards: SipHash-1-3 with a zero key. It must never
/// change: a repeat would meet another shard.
fn client_hash(client: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(client.as_bytes());
    hasher.finish()
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
    } else if region_id == GLOBAL_SCOPE || region_id == "." || region_id == ".." {
        Err("\"global\", \".\" and \"..\" are not for regions")
    } else {
        Ok(())
    }
}

/// Every region, and the seed that all summaries of the installation share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionTable {
    pub seed: [u8; 16],
    /// In the order in which they were made; the first is where plays of unknown origin go.
    pub regions: Vec<Region>,
}

impl Record for RegionTable {
    const KIND: u8 = 2;
    const VERSION: u8 = 1;
}

impl RegionTable {
    pub fn find(&self, region_id: &str) -> Option<&Region> {
        self.regions
            .iter()
            .find(|region| region.region_id == region_id)
    }
}

/// The name of a shard's object.
pub fn shard_object_name(region_id: &str, shard: u32) -> String {
    format!("{BOARD}/{region_id}/{shard}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_shards_takes_effect_later_and_repeats_find_their_shard() {
        let mut region = Region::new("NA", "North America", 4);
        let now_ms = 1_000_000_000;
        let before = region.shard_of(Some("client-7"), now_ms);
        region.reshard(9, now_ms);
        assert_eq!(region.shards_wanted(), 9);
        assert_eq!(region.shards_at(now_ms + RESHARD_DELAY_MS - 1), 4);
        assert_eq!(region.shards_at(now_ms + RESHARD_DELAY_MS), 9);
        assert_eq!(region.shard_of(Some("client-7"), now_ms), before);
    }

    #[test]
    fn a_change_that_does_not_count_yet_is_replaced_by_the_next() {
        let mut region = Region::new("NA", "North America", 1);
        region.reshard(2, 1_000_000_000);
        region.reshard(3, 1_000_001_000);
        assert_eq!(region.shards.len(), 2);
        assert_eq!(region.shards_at(u64::MAX), 3);
        for turn in 1..100 {
            region.reshard(3 + turn, 1_000_001_000 + u64::from(turn) * 3_600_001);
        }
        assert!(region.shards.len() <= 3, "history is bounded");
    }

    #[test]
    fn clients_spread_evenly_and_batches_without_one_go_to_shard_0() {
        let region = Region::new("NA", "North America", 10);
        let mut plays = [0; 10];
        for client in 0..10_000 {
            plays[region.shard_of(Some(&client.to_string()), 1) as usize] += 1;
        }
        assert!(
            plays.iter().all(|plays| (850..1150).contains(plays)),
            "{plays:?}"
        );
        assert_eq!(region.shard_of(None, 1), 0);
    }

    #[test]
    fn the_hash_of_clients_never_changes() {
        assert_eq!(client_hash("k3J9"), 0xfda9_1e24_0a02_f167);
        assert_eq!(client_hash(""), 0xd1fb_a762_150c_532c);
    }
}
