//! Which regions there are, how many shards each has, and which shard a batch belongs to.
//!
//! The global object owns the table; Workers hold a copy that is seconds old. A batch goes to the
//! shard that its sender's name hashes to, over the number of shards that was in force when the
//! batch was *first* sent: so a repeat meets the shard that remembers it, also after the number
//! was changed. A change takes effect [`RESHARD_DELAY_MS`] after it was asked for, so that Workers
//! know it before it counts.
//!
//! When a batch was first sent is known by a corrected clock, and the correction differs a little
//! from one attempt to the next. Near a change two attempts might go by different numbers, so
//! there the batch is *claimed* first, at its old shard: see [`Route`].
//!
//! A Worker that cannot reach the global object goes on with the copy that it has, for days if
//! need be. What keeps it from going by a number that has been replaced are the shards: each one
//! of the old number is told of the change, and from then on refuses batches that it moves where
//! they were routed without it. As long as not all of them were told, batches go on being claimed.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::codec::Record;
use crate::mutants::{self, Mutant};
use crate::text::looks_empty;

/// The only board that is open today. Names of objects, rows and messages carry it.
pub const BOARD: &str = "main";
/// The scope of worldwide charts; no region may take the name.
pub const GLOBAL_SCOPE: &str = "global";
/// With 100 regions of 5 levels a flush of the global object writes about 500 rows.
pub const MAX_REGIONS: usize = 100;
/// A region's id, and its name, in bytes.
pub const MAX_REGION_ID_BYTES: usize = 64;
pub const MAX_REGION_NAME_BYTES: usize = 256;
/// Regions that were deleted and are remembered: a hundred bytes each in every Worker's table.
pub const MAX_DELETED_REGIONS: usize = 1_000;
/// At the platform's 1,000 requests a second an object, a region then takes a million beacons/s.
pub const MAX_SHARDS: u32 = 1_000;
/// How long after the request a change of `shards` takes effect: far above the age of the copy of
/// any Worker that reaches the global object (10 s) and the difference between two clocks, so that
/// no shard has to refuse one.
pub const RESHARD_DELAY_MS: u64 = 5 * 60_000;
/// Within this of a change, a batch whose shard it changes is claimed at the old one first. Two
/// attempts of one batch disagree about when it was sent by at most twice this: by what the clocks
/// of two Workers differ, and by how long a request is under way.
pub const CLAIM_WITHIN_MS: u64 = 2 * 60_000;
/// Shards of a damaged region at which one batch is claimed at most: one after the other, they take
/// about 100 ms.
const MAX_CLAIMED: u32 = 16;
/// How long a batch is known again that does not say when it was first sent: as long as shards remember
/// what they counted.
pub(crate) const REPEATED_WITHIN_MS: u64 = 20 * 60_000;
/// How long a number of shards is remembered after it was replaced: longer than the 15 minutes
/// that a batch may be sent again.
const HISTORY_MS: u64 = 60 * 60_000;
/// Numbers of shards that a region remembers or has waiting, about seven minutes apart.
const MAX_NUMBERS: usize = 16;

/// A number of shards and since when it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardsSince {
    pub since_ms: u64,
    pub shards: u32,
    /// When it was asked for. It names the change, and grows from one to the next; 0 is the number
    /// that the region was made with.
    pub asked_ms: u64,
    /// Batches that were sent until then, and that it moves, are claimed. None while not every
    /// shard of the number before has been told: then there is no end to it.
    pub claim_until_ms: Option<u64>,
}

impl ShardsSince {
    /// Batches that were sent from then on, and that it moves, are claimed.
    fn claim_from_ms(&self) -> u64 {
        self.since_ms.saturating_sub(CLAIM_WITHIN_MS)
    }

    fn claims(&self, sent_ms: u64) -> bool {
        let mut until_ms = self.claim_until_ms;
        if mutants::active(Mutant::ClaimsEndUntold) {
            until_ms = Some(self.since_ms.saturating_add(CLAIM_WITHIN_MS));
        }
        sent_ms >= self.claim_from_ms() && until_ms.is_none_or(|until_ms| sent_ms <= until_ms)
    }
}

/// What a shard is told of a change of the number of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// [`ShardsSince::asked_ms`].
    pub asked_ms: u64,
    /// The first attempt of a batch from which on it matters.
    pub from_ms: u64,
}

/// Why another number of shards is not taken. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReshardError {
    /// Not every shard was told of the change before.
    Untold,
    /// So many changes wait already.
    TooMany,
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
    /// How many regions of this id were deleted before this one was made.
    pub incarnation: u32,
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
            incarnation: 0,
            region_name: region_name.into(),
            hint: None,
            shards: vec![ShardsSince {
                since_ms: 0,
                shards,
                asked_ms: 0,
                claim_until_ms: Some(0),
            }],
        }
    }

    /// What its shards, their logs and its panes are known by: its id; of one that was made again,
    /// with a number behind it, so that nothing of the one before is taken for its own.
    pub fn key(&self) -> Cow<'_, str> {
        key_of(&self.region_id, self.incarnation)
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

    /// Asks for another number of shards, to count from [`RESHARD_DELAY_MS`] on. Changes wait in
    /// line, so far apart that a batch is near to one of them at most, whoever judges it.
    ///
    /// # Errors
    /// [`ReshardError`]: nothing was changed.
    pub fn reshard(&mut self, shards: u32, now_ms: u64) -> Result<(), ReshardError> {
        if shards == self.shards_wanted() {
            return Ok(());
        }
        let last = self.shards.last();
        let Some(claimed_ms) = last.map_or(Some(0), |last| last.claim_until_ms) else {
            return Err(ReshardError::Untold);
        };
        // What no batch can ask for any more is forgotten; with it the number before.
        let horizon_ms = now_ms.saturating_sub(HISTORY_MS);
        let is_old = |entry: &ShardsSince| {
            entry.since_ms <= horizon_ms
                && entry
                    .claim_until_ms
                    .is_some_and(|until_ms| until_ms <= horizon_ms)
        };
        let forgotten = self.shards.iter().rposition(is_old).unwrap_or(0);
        if self.shards.len() - forgotten >= MAX_NUMBERS {
            return Err(ReshardError::TooMany);
        }
        let since_ms = now_ms
            .saturating_add(RESHARD_DELAY_MS)
            .max(claimed_ms.saturating_add(3 * CLAIM_WITHIN_MS));
        let change = ShardsSince {
            since_ms,
            shards,
            asked_ms: now_ms.max(self.last_change().saturating_add(1)),
            claim_until_ms: None,
        };
        self.shards.drain(..forgotten);
        self.shards.push(change);
        if mutants::active(Mutant::ReshardAtOnce) {
            let since_ms = 0;
            self.shards = vec![ShardsSince { since_ms, ..change }];
        }
        Ok(())
    }

    /// The most shards that it remembers: a batch may go to any of them.
    pub fn most_shards(&self) -> u32 {
        let shards = self.shards.iter().map(|entry| entry.shards);
        shards.max().unwrap_or(1)
    }

    /// The change that was asked for last: what a Worker that routes by this knows.
    pub fn last_change(&self) -> u64 {
        self.shards.last().map_or(0, |last| last.asked_ms)
    }

    /// The change that not every shard is known to have been told of, and the number of shards
    /// that have to be.
    pub fn untold(&self) -> Option<(Change, u32)> {
        match self.shards.as_slice() {
            [.., before, last] if last.claim_until_ms.is_none() => {
                let (asked_ms, from_ms) = (last.asked_ms, last.claim_from_ms());
                Some((Change { asked_ms, from_ms }, before.shards))
            }
            _ => None,
        }
    }

    /// Every shard of the number before has been told of a change: what was sent before now may
    /// have met one that had not, and is claimed; what is sent later need not be.
    pub fn told(&mut self, asked_ms: u64, now_ms: u64) {
        let last = self.shards.last_mut();
        if let Some(last) = last.filter(|last| last.asked_ms == asked_ms)
            && last.claim_until_ms.is_none()
        {
            // Two Workers disagree about when a batch was sent by at most twice the margin.
            let told_ms = now_ms.saturating_add(2 * CLAIM_WITHIN_MS);
            let over_ms = last.since_ms.saturating_add(CLAIM_WITHIN_MS);
            last.claim_until_ms = Some(told_ms.max(over_ms));
        }
    }

    /// Every shard that a batch may have met. Two attempts of one batch disagree about when it was
    /// sent: the one that was counted may have gone by another number than this one would.
    fn all_shards_of(&self, client: Option<&str>) -> BTreeSet<u32> {
        let hash = client.map_or(0, client_hash);
        let numbers = self.shards.iter().map(|entry| entry.shards);
        numbers.map(|shards| shard_of(hash, shards)).collect()
    }

    /// Where a batch goes. `client` is the sender's own name, if it gave one: without it there is
    /// nothing to tell repeats by, and shard 0 is for all.
    pub fn route(&self, client: Option<&str>, sent_ms: u64) -> Route {
        let hash = client.map_or(0, client_hash);
        let near = self.shards.windows(2).find_map(|pair| match pair {
            [before, after] if after.claims(sent_ms) => {
                Some((shard_of(hash, before.shards), shard_of(hash, after.shards)))
            }
            _ => None,
        });
        match near {
            Some((before, after)) if !mutants::active(Mutant::NothingClaimed) => Route {
                shard: after,
                claim_at: (before != after).then_some(before),
            },
            _ => Route {
                shard: shard_of(hash, self.shards_at(sent_ms)),
                claim_at: None,
            },
        }
    }
}

fn shard_of(client_hash: u64, shards: u32) -> u32 {
    (client_hash % u64::from(shards.max(1))) as u32
}

/// The fixed hash that spreads senders over shards: SipHash-1-3 with a zero key. It must never
/// change: a repeat would meet another shard.
fn client_hash(client: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(client.as_bytes());
    hasher.finish()
}

/// Where the platform can be asked to put an object
/// (developers.cloudflare.com/durable-objects/reference/data-location). It fails every request to an
/// object with a hint that it does not know.
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
fn key_of(region_id: &str, incarnation: u32) -> Cow<'_, str> {
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

/// A region that was deleted. Its shards take no plays; what they had is still taken of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedRegion {
    /// As it was.
    pub region: Region,
    pub deleted_ms: u64,
    /// Batches that were sent until then are claimed at its shards, wherever they go now. None while not
    /// every shard is known to have been told: then there is no end to it.
    pub claim_until_ms: Option<u64>,
    /// Its row could not be read, and this is what its key says: which numbers of shards it had before
    /// the largest is not known.
    pub is_damaged: bool,
}

impl Record for DeletedRegion {
    const KIND: u8 = 72;
    const VERSION: u8 = 1;
}

impl DeletedRegion {
    /// The shards that may have counted a batch which was first sent at a moment, by a Worker that did
    /// not know. None for one that was sent later than any of them took plays. One that does not say
    /// when it was first sent may be the repeat of one that was sent [`REPEATED_WITHIN_MS`] before.
    /// Of a damaged region it may be any.
    pub fn claim_at(
        &self,
        client: Option<&str>,
        (sent_ms, is_first): (u64, bool),
    ) -> impl Iterator<Item = u32> {
        let mut until_ms = self.claim_until_ms;
        if !is_first {
            until_ms = until_ms.map(|until_ms| until_ms.saturating_add(REPEATED_WITHIN_MS));
        }
        if mutants::active(Mutant::DeletedNotAsked) {
            until_ms = Some(0);
        }
        let claims = until_ms.is_none_or(|until_ms| sent_ms <= until_ms);
        let is_any = self.is_damaged && client.is_some();
        let any = (claims && is_any).then(|| 0..self.region.most_shards());
        let met = (claims && !is_any).then(|| self.region.all_shards_of(client));
        any.into_iter().flatten().chain(met.into_iter().flatten())
    }

    /// Whether a batch would have to be claimed at more shards than a sender may cause messages to.
    pub fn is_too_wide(&self) -> bool {
        self.is_damaged && self.region.most_shards() > MAX_CLAIMED
    }

    /// Every shard has been told: what was sent before now may have met one that had not.
    pub fn told(&mut self, now_ms: u64) {
        // Two Workers disagree about when a batch was sent by at most twice the margin.
        let until_ms = now_ms.saturating_add(2 * CLAIM_WITHIN_MS);
        self.claim_until_ms.get_or_insert(until_ms);
    }
}

/// Since when an installation counts. Where counting begins anew, so does this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// When counting began anew, by the clock of the global object; later than each one before. 0 is
    /// the first.
    pub began_ms: u64,
    /// What all summaries of the installation share.
    pub seed: [u8; 16],
}

/// Every region, and what all objects of the installation share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionTable {
    /// Names the installation, and changes where counting begins anew. No secret.
    pub installation_id: [u8; 16],
    pub epoch_ms: u64,
    pub seed: [u8; 16],
    /// In the order in which they were made; the first is where plays of unknown origin go.
    pub regions: Vec<Region>,
    /// In the order in which they were deleted.
    pub deleted: Vec<DeletedRegion>,
}

impl Record for RegionTable {
    const KIND: u8 = 2;
    const VERSION: u8 = 1;
}

impl RegionTable {
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

    /// The shards of deleted regions at which a part of a batch is claimed before it goes to a region:
    /// any of them may have counted it, where no play of the batch names a region. Where plays do, the
    /// part went to a region of the same id alone.
    pub fn claim_at(
        &self,
        (region_id, names_regions): (&str, bool),
        client: Option<&str>,
        sent: (u64, bool),
    ) -> impl Iterator<Item = (&DeletedRegion, u32)> {
        let may_know =
            move |deleted: &&DeletedRegion| !names_regions || deleted.region.region_id == region_id;
        let deleted = self.deleted.iter().filter(may_know);
        deleted.flat_map(move |deleted| {
            let shards = deleted.claim_at(client, sent);
            shards.map(move |shard| (deleted, shard))
        })
    }

    /// Deleted regions of an id of which not every shard is known to have been told.
    pub fn untold_deletions(&self, region_id: &str) -> impl Iterator<Item = &DeletedRegion> {
        let untold = move |it: &&DeletedRegion| {
            it.region.region_id == region_id && it.claim_until_ms.is_none()
        };
        self.deleted.iter().filter(untold)
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

    /// Whether there is or was a region of this key.
    pub fn knows_key(&self, key: &str) -> bool {
        self.find_key(key).is_some() || self.deleted.iter().any(|it| it.region.key() == key)
    }

    /// Of all regions, those that were deleted included: [`Region::key`].
    pub fn keys(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let deleted = self.deleted.iter().map(|it| it.region.key());
        self.regions.iter().map(Region::key).chain(deleted)
    }

    pub fn find(&self, region_id: &str) -> Option<&Region> {
        self.regions
            .iter()
            .find(|region| region.region_id == region_id)
    }
}

/// The name of a shard's object, by the key of its region.
pub fn shard_object_name(key: &str, shard: u32) -> String {
    format!("{BOARD}/{key}/{shard}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_000_000_000;
    const CHANGE_MS: u64 = NOW_MS + RESHARD_DELAY_MS;

    /// 4 shards, and 9 from [`CHANGE_MS`] on.
    fn resharded() -> Region {
        let mut region = Region::new("NA", "North America", 4);
        region.reshard(9, NOW_MS).unwrap();
        region
    }

    fn shard_of(shards: u64, client: &str) -> u32 {
        (client_hash(client) % shards) as u32
    }

    /// A client that the change of [`resharded`] moves.
    fn moved_client() -> String {
        let mut clients = (0..50).map(|client| client.to_string());
        let moved = |client: &String| shard_of(4, client) != shard_of(9, client);
        clients.find(moved).unwrap()
    }

    #[test]
    fn a_change_of_shards_takes_effect_later_and_repeats_find_their_shard() {
        let before = Region::new("NA", "North America", 4);
        let before = before.route(Some("client-7"), NOW_MS).shard;
        let region = resharded();
        assert_eq!(region.shards_wanted(), 9);
        assert_eq!(region.shards_at(CHANGE_MS - 1), 4);
        assert_eq!(region.shards_at(CHANGE_MS), 9);
        assert_eq!(region.route(Some("client-7"), NOW_MS).shard, before);
    }

    #[test]
    fn the_next_change_waits_until_all_know_of_the_last_and_keeps_its_distance() {
        let mut region = resharded();
        assert_eq!(region.reshard(9, NOW_MS), Ok(()), "nothing to do");
        assert_eq!(region.reshard(3, NOW_MS), Err(ReshardError::Untold));
        let (change, shards) = region.untold().unwrap();
        assert_eq!((change.asked_ms, shards), (NOW_MS, 4));
        assert_eq!(change.from_ms, CHANGE_MS - CLAIM_WITHIN_MS);
        region.told(NOW_MS - 1, NOW_MS);
        assert!(region.untold().is_some(), "another change");
        region.told(NOW_MS, NOW_MS);
        assert_eq!(region.untold(), None);
        assert_eq!(region.reshard(3, NOW_MS), Ok(()));
        assert_eq!(region.untold().unwrap().0.asked_ms, NOW_MS + 1);
        let second_ms = CHANGE_MS + 4 * CLAIM_WITHIN_MS;
        assert_eq!(region.shards_at(second_ms - 1), 9);
        assert_eq!(region.shards_at(second_ms), 3);
    }

    #[test]
    fn what_is_remembered_and_what_waits_is_bounded() {
        let mut region = resharded();
        let reshard = |region: &mut Region, now_ms| {
            region.told(region.last_change(), now_ms);
            region.reshard(1 + region.shards_wanted() % 7, now_ms)
        };
        let mut turns = 0..100;
        let refused = turns.find_map(|_| reshard(&mut region, NOW_MS).err());
        assert_eq!(refused, Some(ReshardError::TooMany));
        assert_eq!(region.shards.len(), MAX_NUMBERS);
        let wanted = region.shards_wanted();
        let later_ms = NOW_MS + 24 * HISTORY_MS;
        assert_eq!(reshard(&mut region, later_ms), Ok(()));
        assert_eq!(region.shards.len(), 2);
        assert_eq!(region.shards_at(later_ms), wanted);
    }

    #[test]
    fn near_a_change_a_batch_that_moves_is_claimed_at_its_old_shard() {
        let mut region = resharded();
        region.told(NOW_MS, NOW_MS);
        for client in (0..50).map(|client| client.to_string()) {
            let (before, after) = (shard_of(4, &client), shard_of(9, &client));
            let route = |sent_ms| region.route(Some(&client), sent_ms);
            let direct = |shard| Route {
                shard,
                claim_at: None,
            };
            let claimed = Route {
                shard: after,
                claim_at: (before != after).then_some(before),
            };
            assert_eq!(route(CHANGE_MS - CLAIM_WITHIN_MS - 1), direct(before));
            assert_eq!(route(CHANGE_MS - CLAIM_WITHIN_MS), claimed);
            assert_eq!(route(CHANGE_MS + CLAIM_WITHIN_MS), claimed);
            assert_eq!(route(CHANGE_MS + CLAIM_WITHIN_MS + 1), direct(after));
        }
        assert_eq!(region.route(None, CHANGE_MS).claim_at, None);
    }

    #[test]
    fn claims_go_on_until_every_shard_was_told_of_the_change() {
        let mut region = resharded();
        let client = moved_client();
        let far_ms = CHANGE_MS + 100 * HISTORY_MS;
        assert!(region.route(Some(&client), far_ms).claim_at.is_some());
        region.told(NOW_MS, far_ms);
        let until_ms = far_ms + 2 * CLAIM_WITHIN_MS;
        let claim_at = |sent_ms| region.route(Some(&client), sent_ms).claim_at;
        assert!(claim_at(until_ms).is_some());
        assert!(claim_at(until_ms + 1).is_none());
        region.reshard(2, far_ms).unwrap();
        let claim_at = region.route(Some(&client), far_ms).claim_at;
        assert!(claim_at.is_some(), "also when another change is asked for");
    }

    #[test]
    fn what_a_deleted_region_moved_is_claimed_at_every_shard_that_may_have_counted_it() {
        let deleted = DeletedRegion {
            region: resharded(),
            deleted_ms: NOW_MS,
            claim_until_ms: None,
            is_damaged: false,
        };
        let client = moved_client();
        // An attempt that was dated two minutes later has been counted at the new shard.
        let claim_from_ms = CHANGE_MS - CLAIM_WITHIN_MS;
        let claimed: Vec<u32> = deleted
            .claim_at(Some(&client), (claim_from_ms - 1, true))
            .collect();
        let counted = deleted.region.route(Some(&client), claim_from_ms);
        assert!(claimed.contains(&counted.shard));
        assert!(counted.claim_at.is_some_and(|old| claimed.contains(&old)));
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
