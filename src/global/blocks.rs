//! Copies of open panes, merged a few shards at a time.
//!
//! A shard's copies change with each of its pushes, and a summary cannot be taken out of a merged
//! one. So shards that pushed one after the other share a *block*; as all shards push equally
//! often, they will push one after the other again and replace it together. Merging what is live
//! then costs the decoding of what was pushed since, not of every shard's copies.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::live::SentPane;
use super::merged::merge_within;
use crate::capacity::counters;
use crate::summary::{Seed, Summary};
use crate::window::PaneKey;

/// Shards of a block. When one of them pushes, the others are decoded anew: twice 16 are little
/// beside the 20 that push in a second where a region has a hundred.
const SHARDS_A_BLOCK: usize = 16;
/// Memory of all blocks. Shards that do not fit are decoded for each merge.
const MAX_BLOCK_BYTES: usize = 16 << 20;
/// Memory of copies that were decoded to check them and are kept until they are merged.
const MAX_DECODED_BYTES: usize = 6 << 20;

/// Merged panes of a block.
pub type BlockPanes = Vec<(PaneKey, Rc<Summary>)>;

struct Block {
    shards: Vec<u32>,
    panes: BlockPanes,
    bytes: usize,
}

#[derive(Default)]
struct Region {
    blocks: Vec<Block>,
    /// Shards that are in no block, in the order in which they pushed, with what was decoded.
    fresh: Vec<(u32, Vec<(PaneKey, Summary)>)>,
}

/// The blocks of all regions.
#[derive(Default)]
pub struct Blocks {
    regions: RefCell<BTreeMap<String, Region>>,
    block_bytes: Cell<usize>,
    decoded_bytes: Cell<usize>,
}

impl Blocks {
    /// A shard's copies were replaced by these.
    pub fn replaced(&self, region_id: &str, shard: u32, mut decoded: Vec<(PaneKey, Summary)>) {
        let mut regions = self.regions.borrow_mut();
        let region = regions.entry(region_id.to_owned()).or_default();
        if let Some(at) = region.fresh.iter().position(|(fresh, _)| *fresh == shard) {
            let (_, dropped) = region.fresh.remove(at);
            self.decoded_bytes
                .set(self.decoded_bytes.get().saturating_sub(bytes_of(&dropped)));
        }
        let stale = |block: &Block| block.shards.contains(&shard);
        if let Some(at) = region.blocks.iter().position(stale) {
            let block = region.blocks.remove(at);
            self.block_bytes
                .set(self.block_bytes.get().saturating_sub(block.bytes));
            let others = block.shards.into_iter().filter(|other| *other != shard);
            region.fresh.extend(others.map(|other| (other, Vec::new())));
        }
        let bytes = bytes_of(&decoded);
        if self.decoded_bytes.get() + bytes > MAX_DECODED_BYTES {
            decoded.clear();
        } else {
            self.decoded_bytes.set(self.decoded_bytes.get() + bytes);
        }
        region.fresh.push((shard, decoded));
    }

    /// All copies of a region's shards, merged by blocks. `copies` are those of a shard.
    pub fn panes<'a>(
        &self,
        region_id: &str,
        seed: Seed,
        copies: impl Fn(u32) -> &'a [SentPane],
    ) -> BlockPanes {
        let mut regions = self.regions.borrow_mut();
        let Some(region) = regions.get_mut(region_id) else {
            return Vec::new();
        };
        let mut fresh = std::mem::take(&mut region.fresh);
        for (_, decoded) in &fresh {
            self.decoded_bytes
                .set(self.decoded_bytes.get().saturating_sub(bytes_of(decoded)));
        }
        let mut panes: BlockPanes = Vec::new();
        while !fresh.is_empty() {
            let rest = fresh.split_off(fresh.len().min(SHARDS_A_BLOCK));
            let block = merged(fresh, seed, &copies);
            panes.extend(block.panes.iter().cloned());
            if self.block_bytes.get() + block.bytes <= MAX_BLOCK_BYTES {
                self.block_bytes.set(self.block_bytes.get() + block.bytes);
                region.blocks.push(block);
            } else {
                let shards = block.shards.into_iter();
                region.fresh.extend(shards.map(|shard| (shard, Vec::new())));
            }
            fresh = rest;
        }
        // Those that were just merged and do not fit are in `panes` already.
        let kept = region.blocks.iter().flat_map(|block| &block.panes);
        let known: Vec<*const Summary> = panes.iter().map(|(_, pane)| Rc::as_ptr(pane)).collect();
        let others = kept.filter(|(_, pane)| !known.contains(&Rc::as_ptr(pane)));
        panes.extend(others.cloned());
        panes
    }
}

/// Merges the copies of some shards, decoding what was not kept decoded.
fn merged<'a>(
    shards: Vec<(u32, Vec<(PaneKey, Summary)>)>,
    seed: Seed,
    copies: &impl Fn(u32) -> &'a [SentPane],
) -> Block {
    let mut parts: BTreeMap<PaneKey, Vec<Rc<Summary>>> = BTreeMap::new();
    let mut names = Vec::with_capacity(shards.len());
    for (shard, decoded) in shards {
        names.push(shard);
        if decoded.is_empty() {
            for pane in copies(shard) {
                // It was decoded when it was taken: this cannot fail, and must not panic.
                if let Ok(summary) = Summary::decode(&pane.summary, seed) {
                    parts.entry(pane.key).or_default().push(Rc::new(summary));
                }
            }
        }
        for (key, summary) in decoded {
            parts.entry(key).or_default().push(Rc::new(summary));
        }
    }
    let panes: BlockPanes = parts
        .into_iter()
        .map(|(key, parts)| (key, merge_live(key, parts, seed)))
        .collect();
    Block {
        shards: names,
        bytes: panes.iter().map(|(_, pane)| pane.heap_bytes()).sum(),
        panes,
    }
}

/// Merges what is live of a pane. Where a part is exact no longer, twice the counters that the
/// pane will have once it is stored are enough.
pub fn merge_live(key: PaneKey, mut parts: Vec<Rc<Summary>>, seed: Seed) -> Rc<Summary> {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            Rc::new(merge_within(&parts, 2 * counters(key.level), seed))
        }
    }
}

fn bytes_of(panes: &[(PaneKey, Summary)]) -> usize {
    panes.iter().map(|(_, pane)| pane.heap_bytes()).sum()
}
