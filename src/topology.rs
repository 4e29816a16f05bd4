//! Which regions there are, how many shards each has, and which shard a batch belongs to.
//!
//! The global object owns the table; Workers hold a copy that is seconds old. A batch goes to the
//! shard that its sender's name hashes to, over the number of shards that was in force when the
//! batch was *first* sent: so a repeat meets the shard that remembers it, also after the number
//! was changed. For every copy of the table to know a change before it counts, it takes effect
//! [`RESHARD_DELAY_MS`] after it was asked for.
//!
//! When a batch was first sent is known by a corrected clock, and the correction differs a little
//! from one attempt to the next. Near a change two attempts might go by different numbers, so
//! there the batch is *claimed* first, at its old shard: see [`Route`].

use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::codec::Record;
use crate::mutants::{self, Mutant};

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
/// Within this of a change, a batch whose shard it changes is claimed at the old one first. Two
/// attempts of one batch disagree about when it was sent by at most twice this: by what the clocks
/// of two Workers differ, and by how long a request is under way.
pub const CLAIM_WITHIN_MS: u64 = 2 * 60_000;
/// How long a number of shards is remembered after it was replaced: longer than the 15 minutes
/// that a batch may be sent again.
const HISTORY_MS: u64 = 60 * 60_000;

/// A number of shards and since when it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardsSince {
    pub since_ms: u64,
    pub shards: u32,
}

/// Where a batch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The shard that counts it.
    pub shard: u32,
    /// The shard that must be asked first whether it has counted the batch, and be told that it
    /// never may: the one of the number before a change that lies near.
    pub claim_at: Option<u32>,
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

    /// Asks for another number of shards, to count from [`RESHARD_DELAY_MS`] on, or that long
    /// after the change that waits already: so batches that are claimed for one change are not
    /// near another. Only a change that is further away than that is replaced.
    pub fn reshard(&mut self, shards: u32, now_ms: u64) {
        if shards == self.shards_wanted() {
            return;
        }
        let soon_ms = now_ms.saturating_add(RESHARD_DELAY_MS);
        self.shards.retain(|entry| entry.since_ms <= soon_ms);
        if shards != self.shards_wanted() {
            let last_ms = self.shards.last().map_or(0, |entry| entry.since_ms);
            let since_ms = now_ms.max(last_ms).saturating_add(reshard_delay_ms());
            self.shards.push(ShardsSince { since_ms, shards });
        }
        // What no batch can ask for any more is forgotten.
        let horizon_ms = now_ms.saturating_sub(HISTORY_MS);
        let newest_old = self
            .shards
            .iter()
            .rposition(|entry| entry.since_ms <= horizon_ms);
        self.shards.drain(..newest_old.unwrap_or(0));
    }

    /// Where a batch goes. `client` is the sender's own name, if it gave one: without it there is
    /// nothing to tell repeats by, and shard 0 is for all.
    pub fn route(&self, client: Option<&str>, sent_ms: u64) -> Route {
        let hash = client.map_or(0, client_hash);
        let shard_of = |shards: u32| (hash % u64::from(shards.max(1))) as u32;
        let near = self.shards.windows(2).find_map(|pair| match pair {
            [before, after] if after.since_ms.abs_diff(sent_ms) <= CLAIM_WITHIN_MS => {
                Some((shard_of(before.shards), shard_of(after.shards)))
            }
            _ => None,
        });
        match near {
            Some((before, after)) if !mutants::active(Mutant::NothingClaimed) => Route {
                shard: after,
                claim_at: (before != after).then_some(before),
            },
            _ => Route {
                shard: shard_of(self.shards_at(sent_ms)),
                claim_at: None,
            },
        }
    }
}

fn reshard_delay_ms() -> u64 {
    if mutants::active(Mutant::ReshardAtOnce) {
        return 0;
    }
    RESHARD_DELAY_MS
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
        let before = region.route(Some("client-7"), now_ms).shard;
        region.reshard(9, now_ms);
        assert_eq!(region.shards_wanted(), 9);
        assert_eq!(region.shards_at(now_ms + RESHARD_DELAY_MS - 1), 4);
        assert_eq!(region.shards_at(now_ms + RESHARD_DELAY_MS), 9);
        assert_eq!(region.route(Some("client-7"), now_ms).shard, before);
    }

    #[test]
    fn changes_keep_their_distance_and_one_far_away_is_replaced() {
        let mut region = Region::new("NA", "North America", 1);
        let now_ms = 1_000_000_000;
        region.reshard(2, now_ms);
        region.reshard(3, now_ms + 1_000);
        let second_ms = now_ms + 2 * RESHARD_DELAY_MS;
        assert_eq!(region.shards_at(second_ms - 1), 2);
        assert_eq!(region.shards_at(second_ms), 3);
        region.reshard(4, now_ms + 2_000);
        assert_eq!(region.shards.len(), 3, "3 never counted");
        assert_eq!(region.shards_at(second_ms), 4);
        region.reshard(2, now_ms + 3_000);
        assert_eq!(region.shards.len(), 2, "2 counts already soon");
        for turn in 1..100 {
            region.reshard(3 + turn, now_ms + u64::from(turn) * 3_600_001);
        }
        assert!(region.shards.len() <= 3, "history is bounded");
    }

    #[test]
    fn near_a_change_a_batch_that_moves_is_claimed_at_its_old_shard() {
        let mut region = Region::new("NA", "North America", 4);
        region.reshard(9, 1_000_000_000);
        let change_ms = 1_000_000_000 + RESHARD_DELAY_MS;
        let shard = |shards: u64, client: &str| (client_hash(client) % shards) as u32;
        for client in (0..50).map(|client| client.to_string()) {
            let (before, after) = (shard(4, &client), shard(9, &client));
            let route = |sent_ms| region.route(Some(&client), sent_ms);
            let direct = |shard| Route {
                shard,
                claim_at: None,
            };
            let claimed = Route {
                shard: after,
                claim_at: (before != after).then_some(before),
            };
            assert_eq!(route(change_ms - CLAIM_WITHIN_MS - 1), direct(before));
            assert_eq!(route(change_ms - CLAIM_WITHIN_MS), claimed);
            assert_eq!(route(change_ms + CLAIM_WITHIN_MS), claimed);
            assert_eq!(route(change_ms + CLAIM_WITHIN_MS + 1), direct(after));
        }
        assert_eq!(region.route(None, change_ms).claim_at, None);
    }

    #[test]
    fn clients_spread_evenly_and_batches_without_one_go_to_shard_0() {
        let region = Region::new("NA", "North America", 10);
        let mut plays = [0; 10];
        for client in 0..10_000 {
            plays[region.route(Some(&client.to_string()), 1).shard as usize] += 1;
        }
        assert!(
            plays.iter().all(|plays| (850..1150).contains(plays)),
            "{plays:?}"
        );
        assert_eq!(region.route(None, 1).shard, 0);
    }

    #[test]
    fn the_hash_of_clients_never_changes() {
        assert_eq!(client_hash("k3J9"), 0xfda9_1e24_0a02_f167);
        assert_eq!(client_hash(""), 0xd1fb_a762_150c_532c);
    }
}
