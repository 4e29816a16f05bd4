//! Copies of open panes, merged a few shards at a time.
//!
//! A shard's copies change with each of its pushes, and a summary cannot be taken out of a merged
//! one. So shards that pushed one after the other are a *group*; as all shards push equally often,
//! they will push one after the other again and replace it together. Merging what is live then costs
//! the decoding of what was pushed since, not of every shard's copies.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{SentPane, is_merged};
use crate::global::cache::{Cache, Key};
use crate::global::merging::{PaneMerging, TooLarge};
use crate::summary::{Seed, Summary};
use crate::window::PaneKey;

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

#[derive(Default)]
struct RegionGroups {
    groups: Vec<ShardGroup>,
    /// Shards that are in no group, in the order in which they pushed.
    fresh: Vec<u32>,
}

/// The groups of all regions.
#[derive(Default)]
pub struct ByShards {
    regions: RefCell<BTreeMap<String, RegionGroups>>,
    groups_made: Cell<u64>,
}

type Panes = Vec<(PaneKey, Rc<Summary>)>;

impl ByShards {
    /// A shard's copies changed.
    pub fn replaced(&self, cache: &Cache, region_id: &str, shard: u32) {
        let mut regions = self.regions.borrow_mut();
        let region = regions.entry(region_id.to_owned()).or_default();
        region.fresh.retain(|fresh| *fresh != shard);
        let is_of = |group: &ShardGroup| group.shards.contains(&shard);
        if let Some(at) = region.groups.iter().position(is_of) {
            let group = region.groups.remove(at);
            cache.remove(&Key::Copies(group.number));
            let others = group.shards.into_iter().filter(|other| *other != shard);
            region.fresh.extend(others);
        }
        region.fresh.push(shard);
    }

    /// Hands all copies of a region's shards, merged by groups, to `add`. `copies` are those of a
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
        let Some(region) = regions.get_mut(region_id) else {
            return Ok(());
        };
        while !region.fresh.is_empty() {
            let group = self.next_group(&mut region.fresh, &copies);
            region.groups.push(group);
        }
        for group in &region.groups {
            let key = Key::Copies(group.number);
            let panes = cache.get::<Panes>(&key).unwrap_or_else(|| {
                let (panes, bytes) = merge_copies(&group.shards, seed, &copies);
                let panes = Rc::new(panes);
                cache.put(key, Rc::clone(&panes), bytes);
                panes
            });
            for (pane, summary) in panes.iter() {
                add(*pane, Rc::clone(summary))?;
            }
        }
        Ok(())
    }

    /// Takes the next shards that are to be merged together.
    fn next_group<'a>(
        &self,
        fresh: &mut Vec<u32>,
        copies: &impl Fn(u32) -> &'a [SentPane],
    ) -> ShardGroup {
        let mut decoded_bytes = 0;
        let fit = fresh.iter().take(SHARDS_A_GROUP).take_while(|shard| {
            let panes = copies(**shard).iter().filter(|pane| is_merged(pane));
            decoded_bytes += panes.map(|pane| pane.decoded_bytes).sum::<usize>();
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

/// Merges the copies of some shards. Also says how many bytes they hold.
fn merge_copies<'a>(
    shards: &[u32],
    seed: Seed,
    copies: &impl Fn(u32) -> &'a [SentPane],
) -> (Panes, usize) {
    let mut merging = PaneMerging::new(seed, usize::MAX);
    let panes = shards.iter().flat_map(|shard| copies(*shard));
    for pane in panes.filter(|pane| is_merged(pane)) {
        if let Some(summary) = pane.decode(seed) {
            // There is no limit.
            let _ = merging.add(pane.key, summary);
        }
    }
    merging.finish()
}
