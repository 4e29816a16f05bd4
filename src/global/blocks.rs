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
use super::merging::{PaneMerging, TooLarge};
use crate::summary::{Seed, Summary};
use crate::window::PaneKey;

/// Shards of a block. When one of them pushes, the others are decoded anew: twice 16 are little
/// beside the 20 that push in a second where a region has a hundred.
const SHARDS_A_BLOCK: usize = 16;
/// Decoded bytes of a block's copies: a shard with more has its own. Those of 16 busy shards with
/// short ids are 2 MB.
const DECODED_A_BLOCK: usize = 6 << 20;
/// Memory of copies that were decoded to check them and are kept until they are merged.
pub const MAX_DECODED_BYTES: usize = 4 << 20;

struct Block {
    shards: Vec<u32>,
    panes: Vec<(PaneKey, Rc<Summary>)>,
    bytes: usize,
}

type Decoded = Vec<(PaneKey, Rc<Summary>)>;

#[derive(Default)]
struct Region {
    blocks: Vec<Block>,
    /// Shards that are in no block, in the order in which they pushed, with what was decoded.
    fresh: Vec<(u32, Decoded)>,
}

/// The blocks of all regions.
#[derive(Default)]
pub struct Blocks {
    regions: RefCell<BTreeMap<String, Region>>,
    block_bytes: Cell<usize>,
    decoded_bytes: Cell<usize>,
}

impl Blocks {
    /// Bytes that are held.
    pub fn bytes(&self) -> usize {
        self.block_bytes.get() + self.decoded_bytes.get()
    }

    /// Room for what was decoded to be checked.
    pub fn decoded_room(&self) -> usize {
        MAX_DECODED_BYTES.saturating_sub(self.decoded_bytes.get())
    }

    /// A shard's copies changed; `decoded` are the same, or nothing.
    pub fn replaced(&self, region_id: &str, shard: u32, mut decoded: Decoded) {
        let mut regions = self.regions.borrow_mut();
        let region = regions.entry(region_id.to_owned()).or_default();
        if let Some(at) = region.fresh.iter().position(|(fresh, _)| *fresh == shard) {
            let (_, dropped) = region.fresh.remove(at);
            take_off(&self.decoded_bytes, bytes_of(&dropped));
        }
        let stale = |block: &Block| block.shards.contains(&shard);
        if let Some(at) = region.blocks.iter().position(stale) {
            let block = region.blocks.remove(at);
            take_off(&self.block_bytes, block.bytes);
            let others = block.shards.into_iter().filter(|other| *other != shard);
            region.fresh.extend(others.map(|other| (other, Vec::new())));
        }
        if bytes_of(&decoded) > self.decoded_room() {
            decoded.clear();
        }
        let bytes = bytes_of(&decoded);
        self.decoded_bytes.set(self.decoded_bytes.get() + bytes);
        region.fresh.push((shard, decoded));
    }

    /// Forgets what is merged and decoded; which shards there are stays.
    pub fn forget(&self) {
        for region in self.regions.borrow_mut().values_mut() {
            let blocks = std::mem::take(&mut region.blocks);
            let shards = blocks.into_iter().flat_map(|block| block.shards);
            region
                .fresh
                .iter_mut()
                .for_each(|(_, decoded)| decoded.clear());
            region.fresh.extend(shards.map(|shard| (shard, Vec::new())));
        }
        self.block_bytes.set(0);
        self.decoded_bytes.set(0);
    }

    /// Hands all copies of a region's shards, merged by blocks, to `add`. `copies` are those of a
    /// shard; blocks are kept while all take at most `most_bytes`.
    ///
    /// # Errors
    /// What `add` says.
    pub fn visit<'a>(
        &self,
        region_id: &str,
        seed: Seed,
        most_bytes: usize,
        copies: impl Fn(u32) -> &'a [SentPane],
        mut add: impl FnMut(PaneKey, Rc<Summary>) -> Result<(), TooLarge>,
    ) -> Result<(), TooLarge> {
        let mut regions = self.regions.borrow_mut();
        let Some(region) = regions.get_mut(region_id) else {
            return Ok(());
        };
        for (key, pane) in region.blocks.iter().flat_map(|block| &block.panes) {
            add(*key, Rc::clone(pane))?;
        }
        let mut unkept = Vec::new();
        while !region.fresh.is_empty() {
            let mut decoded_bytes = 0;
            let fit = region
                .fresh
                .iter()
                .take(SHARDS_A_BLOCK)
                .take_while(|(shard, _)| {
                    let panes = copies(*shard).iter();
                    decoded_bytes += panes.map(|pane| pane.decoded_bytes).sum::<usize>();
                    decoded_bytes <= DECODED_A_BLOCK
                });
            let fit = fit.count().max(1).min(region.fresh.len());
            let shards: Vec<(u32, Decoded)> = region.fresh.drain(..fit).collect();
            for (_, decoded) in &shards {
                take_off(&self.decoded_bytes, bytes_of(decoded));
            }
            let block = merged(shards, seed, &copies);
            let added = block
                .panes
                .iter()
                .try_for_each(|(key, pane)| add(*key, Rc::clone(pane)));
            if self.block_bytes.get() + block.bytes <= most_bytes && added.is_ok() {
                self.block_bytes.set(self.block_bytes.get() + block.bytes);
                region.blocks.push(block);
            } else {
                unkept.extend(block.shards.into_iter().map(|shard| (shard, Vec::new())));
            }
            if added.is_err() {
                region.fresh.extend(unkept);
                return added;
            }
        }
        region.fresh = unkept;
        Ok(())
    }
}

/// Merges the copies of some shards, decoding what was not kept decoded.
fn merged<'a>(
    shards: Vec<(u32, Decoded)>,
    seed: Seed,
    copies: &impl Fn(u32) -> &'a [SentPane],
) -> Block {
    let mut merging = PaneMerging::new(seed, usize::MAX);
    let mut names = Vec::with_capacity(shards.len());
    for (shard, decoded) in shards {
        names.push(shard);
        let kept = !decoded.is_empty();
        for (key, summary) in decoded {
            let _ = merging.add(key, summary);
        }
        for pane in copies(shard).iter().filter(|_| !kept) {
            if let Some(summary) = pane.decode(seed) {
                let _ = merging.add(pane.key, summary);
            }
        }
    }
    let (panes, bytes) = merging.finish();
    Block {
        shards: names,
        panes,
        bytes,
    }
}

fn bytes_of(panes: &Decoded) -> usize {
    panes.iter().map(|(_, pane)| pane.heap_bytes()).sum()
}

fn take_off(from: &Cell<usize>, bytes: usize) {
    from.set(from.get().saturating_sub(bytes));
}
