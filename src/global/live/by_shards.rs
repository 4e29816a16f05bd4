//! Copies of open panes, merged a few shards at a time.
//!
//! A shard's copy changes with each of its pushes, and a summary cannot be taken out of a merged
//! one. So shards that pushed a pane one after the other are a *group* of it; as all shards push equally often,
//! they will push one after the other again and replace it together. Merging what is live then costs
//! the decoding of what was pushed since, not of every shard's copies; and what is sent as it was, as a minute
//! that is over until it is sealed, is not merged again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::SentPane;
use crate::global::cache::{Cache, Key};
use crate::global::merging::{TooLarge, merge_live};
use crate::summary::{Seed, Summary};
use crate::window::PaneKey;
use crate::wire::ShardName;

/// Shards of a group. When one of them pushes, the others are decoded anew: of a region's hundred shards
/// 20 push in a second, one after the other, and become one group.
const SHARDS_A_GROUP: usize = 32;
/// Decoded bytes of a group's copies: a shard with more has its own. Those of 20 busy shards with
/// short ids are 5 MB.
const DECODED_A_GROUP: usize = 6 << 20;

struct ShardGroup {
    number: u64,
    shards: Vec<u32>,
}

/// The groups of a pane in a region.
#[derive(Default)]
struct PaneGroups {
    groups: Vec<ShardGroup>,
    /// Shards that are in no group, in the order in which they pushed.
    fresh: Vec<u32>,
}

/// The groups of all regions.
#[derive(Default)]
pub struct ByShards {
    regions: RefCell<BTreeMap<String, BTreeMap<PaneKey, PaneGroups>>>,
    groups_made: Cell<u64>,
}

impl ByShards {
    /// A shard's copies of a pane changed. `has_some`: there are some still.
    pub fn replaced(&self, cache: &Cache, shard: &ShardName, pane: PaneKey, has_some: bool) {
        let (region_id, shard) = shard;
        let mut regions = self.regions.borrow_mut();
        let panes = regions.entry(region_id.clone()).or_default();
        let groups = panes.entry(pane).or_default();
        groups.fresh.retain(|fresh| fresh != shard);
        let is_of = |group: &ShardGroup| group.shards.contains(shard);
        if let Some(at) = groups.groups.iter().position(is_of) {
            let group = groups.groups.remove(at);
            cache.remove(&Key::Copies(group.number));
            let others = group.shards.into_iter().filter(|other| other != shard);
            groups.fresh.extend(others);
        }
        if has_some {
            groups.fresh.push(*shard);
        }
        if groups.fresh.is_empty() && groups.groups.is_empty() {
            panes.remove(&pane);
        }
        if panes.is_empty() {
            regions.remove(region_id);
        }
    }

    /// Hands all copies of a region's shards, merged by panes and groups, to `add`. `copies` are those of a
    /// shard.
    ///
    /// # Errors
    /// What `add` says.
    pub fn visit<'a>(
        &self,
        cache: &Cache,
        region_id: &str,
        seed: Seed,
        copies: impl Fn(u32) -> &'a [SentPane],
        mut add: impl FnMut(PaneKey, Rc<Summary>) -> Result<(), TooLarge>,
    ) -> Result<(), TooLarge> {
        let mut regions = self.regions.borrow_mut();
        for (pane, groups) in regions.get_mut(region_id).into_iter().flatten() {
            let copies = |shard| copies(shard).iter().filter(|copy| copy.key == *pane);
            while !groups.fresh.is_empty() {
                let group = self.next_group(&mut groups.fresh, copies);
                groups.groups.push(group);
            }
            for group in &groups.groups {
                let key = Key::Copies(group.number);
                let merged = cache.get::<Summary>(&key).unwrap_or_else(|| {
                    let sent = group.shards.iter().flat_map(|shard| copies(*shard));
                    let parts = sent.filter_map(|it| it.decode(seed));
                    let merged = merge_live(*pane, parts, seed);
                    cache.put(key, Rc::clone(&merged), merged.heap_bytes());
                    merged
                });
                add(*pane, merged)?;
            }
        }
        Ok(())
    }

    /// Takes the next shards that are to be merged together.
    fn next_group<'a, C: Iterator<Item = &'a SentPane>>(
        &self,
        fresh: &mut Vec<u32>,
        copies: impl Fn(u32) -> C,
    ) -> ShardGroup {
        let mut decoded_bytes = 0;
        let fit = fresh.iter().take(SHARDS_A_GROUP).take_while(|shard| {
            let copies = copies(**shard);
            decoded_bytes += copies.map(|pane| pane.decoded_bytes).sum::<usize>();
            decoded_bytes <= DECODED_A_GROUP
        });
        let fit = fit.count().max(1).min(fresh.len());
        self.groups_made.set(self.groups_made.get() + 1);
        ShardGroup {
            number: self.groups_made.get(),
            shards: fresh.drain(..fit).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::{DAY_MS, Days, Level};

    const SEED: Seed = Seed::from_bytes([5; 16]);

    fn pane(minute: u64) -> PaneKey {
        let start_ms = 20_000 * DAY_MS + minute * 60_000;
        PaneKey::of(Level::Minute, start_ms, &Days::default())
    }

    fn copy(minute: u64, plays: u64) -> SentPane {
        let mut summary = Summary::new(4, SEED);
        summary.record("post", plays);
        SentPane {
            key: pane(minute),
            first_seq: 1,
            last_seq: 1,
            summary: summary.encode().into(),
            decoded_bytes: summary.heap_bytes(),
            plays,
        }
    }

    /// The plays of each pane.
    fn plays(of: &ByShards, cache: &Cache, shards: &[Vec<SentPane>]) -> BTreeMap<PaneKey, u64> {
        let mut plays = BTreeMap::new();
        let copies = |shard: u32| &shards[shard as usize][..];
        let add = |key, part: Rc<Summary>| {
            *plays.entry(key).or_default() += part.total();
            Ok(())
        };
        of.visit(cache, "NA", SEED, copies, add).unwrap();
        plays
    }

    #[test]
    fn a_pane_that_is_sent_as_it_was_is_not_merged_again() {
        let (groups, cache) = (ByShards::default(), Cache::default());
        let changed = |shard, minute, has_some| {
            let shard: ShardName = ("NA".into(), shard);
            groups.replaced(&cache, &shard, pane(minute), has_some);
        };
        let of = |before, now| BTreeMap::from([(pane(1), before), (pane(2), now)]);
        let first = [vec![copy(1, 10), copy(2, 1)], vec![copy(1, 20), copy(2, 2)]];
        for shard in 0..2 {
            changed(shard, 1, true);
            changed(shard, 2, true);
        }
        assert_eq!(plays(&groups, &cache, &first), of(30, 3));
        // Told of the second minute alone, it does not look at the first.
        let second = [vec![copy(1, 99), copy(2, 5)], vec![copy(1, 99), copy(2, 2)]];
        changed(0, 2, true);
        assert_eq!(plays(&groups, &cache, &second), of(30, 7));
        // The first is sealed by one shard, and by the other.
        let third = [vec![copy(2, 5)], vec![copy(1, 20), copy(2, 2)]];
        changed(0, 1, false);
        assert_eq!(plays(&groups, &cache, &third), of(20, 7));
        changed(1, 1, false);
        changed(0, 2, false);
        changed(1, 2, false);
        assert!(groups.regions.borrow().is_empty());
    }
}
