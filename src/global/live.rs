//! What is in charts and in no ladder yet: pending entries, and copies of open panes.
//!
//! Both stay encoded as they came. Charts need them merged by region and pane; that is done at
//! most once in [`LIVE_MAX_AGE_MS`], and copies by blocks of shards (see [`super::blocks`]), so
//! the cost of a chart does not grow with the number of shards.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::LIVE_MAX_AGE_MS;
use super::blocks::{Blocks, merge_live};
use super::logs::ShardName;
use crate::summary::{Seed, Summary};
use crate::topology::GLOBAL_SCOPE;
use crate::window::PaneKey;

/// A pane as it was sent.
pub struct SentPane {
    pub key: PaneKey,
    /// An encoded summary that was decoded once, to check it.
    pub summary: Vec<u8>,
}

/// The copies of a shard's open panes.
pub struct Provisional {
    pub log_id: u128,
    pub next_offset: u64,
    pub journal_seq: u64,
    pub panes: Vec<SentPane>,
    pub received_ms: u64,
}

/// The merged panes of a scope.
pub type MergedPanes = Rc<Vec<(PaneKey, Rc<Summary>)>>;

/// Everything that charts need besides the ladders.
#[derive(Default)]
pub struct Live {
    /// By region, in the order in which they came.
    pub pending: BTreeMap<String, Vec<SentPane>>,
    pub pending_bytes: usize,
    pub pending_since_ms: Option<u64>,
    pub provisional: BTreeMap<ShardName, Provisional>,
    blocks: Blocks,
    /// By scope: when it was merged, and the panes.
    merged: RefCell<BTreeMap<String, (u64, MergedPanes)>>,
}

impl Live {
    /// Adds what was taken of a region's shard. Nothing but a gap may have been: then there is an
    /// offset to be stored.
    pub fn add_pending(&mut self, region_id: &str, panes: Vec<SentPane>, now_ms: u64) {
        self.pending_bytes += panes.iter().map(|pane| pane.summary.len()).sum::<usize>();
        self.pending_since_ms.get_or_insert(now_ms);
        self.pending
            .entry(region_id.to_owned())
            .or_default()
            .extend(panes);
    }

    /// Takes a shard's copies in place of its last ones; `decoded` are the same.
    pub fn replace_provisional(
        &mut self,
        shard: ShardName,
        copies: Provisional,
        decoded: Vec<(PaneKey, Summary)>,
    ) {
        self.blocks.replaced(&shard.0, shard.1, decoded);
        self.provisional.insert(shard, copies);
    }

    /// What is pending, one summary a region and pane: each is folded into several.
    pub fn pending_merged(&self, seed: Seed) -> Vec<(&str, PaneKey, Summary)> {
        let mut merged = Vec::new();
        for (region_id, panes) in &self.pending {
            let mut parts: BTreeMap<PaneKey, Vec<Summary>> = BTreeMap::new();
            for pane in panes {
                // It was decoded when it was taken: this cannot fail, and must not panic.
                if let Ok(summary) = Summary::decode(&pane.summary, seed) {
                    parts.entry(pane.key).or_default().push(summary);
                }
            }
            for (pane, parts) in parts {
                let summary = Summary::merge_all(&parts, seed);
                merged.push((region_id.as_str(), pane, summary));
            }
        }
        merged
    }

    /// What was pending is in the ladders now.
    pub fn folded(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
        self.pending_since_ms = None;
        // Merged panes that hold what is in the ladders too would count it twice.
        self.merged.borrow_mut().clear();
    }

    /// The panes of a scope, merged from all shards of its regions.
    pub fn merged(&self, scope: &str, seed: Seed, now_ms: u64) -> MergedPanes {
        if let Some((merged_ms, panes)) = self.merged.borrow().get(scope)
            && now_ms.saturating_sub(*merged_ms) < LIVE_MAX_AGE_MS
            && *merged_ms <= now_ms
        {
            return Rc::clone(panes);
        }
        let mut parts: BTreeMap<PaneKey, Vec<Rc<Summary>>> = BTreeMap::new();
        if scope == GLOBAL_SCOPE {
            for region_id in self.regions() {
                for (key, summary) in self.merged(&region_id, seed, now_ms).iter() {
                    parts.entry(*key).or_default().push(Rc::clone(summary));
                }
            }
        } else {
            for pane in self.pending.get(scope).into_iter().flatten() {
                // It was decoded when it was taken: this cannot fail, and must not panic.
                if let Ok(summary) = Summary::decode(&pane.summary, seed) {
                    parts.entry(pane.key).or_default().push(Rc::new(summary));
                }
            }
            for (key, summary) in self
                .blocks
                .panes(scope, seed, |shard| self.copies(scope, shard))
            {
                parts.entry(key).or_default().push(summary);
            }
        }
        let merged = parts
            .into_iter()
            .map(|(key, parts)| (key, merge_live(key, parts, seed)));
        let panes = Rc::new(merged.collect());
        let entry = (now_ms, Rc::clone(&panes));
        self.merged.borrow_mut().insert(scope.to_owned(), entry);
        panes
    }

    /// When the copies of a scope were merged that serve its charts now.
    pub fn merged_ms(&self, scope: &str, now_ms: u64) -> u64 {
        let merged = self.merged.borrow();
        merged
            .get(scope)
            .map_or(now_ms, |(merged_ms, _)| *merged_ms)
    }

    fn copies(&self, region_id: &str, shard: u32) -> &[SentPane] {
        let copies = self.provisional.get(&(region_id.to_owned(), shard));
        copies.map_or(&[], |copies| &copies.panes)
    }

    fn regions(&self) -> Vec<String> {
        let provisional = self.provisional.keys().map(|(region_id, _)| region_id);
        let mut regions: Vec<String> = self.pending.keys().chain(provisional).cloned().collect();
        regions.sort_unstable();
        regions.dedup();
        regions
    }
}
