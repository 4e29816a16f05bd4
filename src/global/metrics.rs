//! What the global object tells the operator.

use serde::{Deserialize, Serialize};

use super::Global;
use crate::codec::Record;
use crate::topology::{GLOBAL_SCOPE, parts_of_key};
use crate::wire::{InstanceMetrics, ShardFigures};

/// Counters since the object started, and how it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalMetrics {
    pub rows_written: u64,
    /// Flushes: what was pending went into the ladders.
    pub folds: u64,
    /// Rows of ladders that these wrote.
    pub folded_panes: u64,
    /// Offsets that no shard could send any more.
    pub gaps: u64,
    pub pushes: u64,
    pub refused_pushes: u64,
    pub damaged_rows: u64,
    pub damaged_regions: u64,
    /// Taken and not folded yet.
    pub pending_bytes: u64,
    /// Bytes of the database, of [`DATABASE_BYTES`](super::DATABASE_BYTES).
    pub stored_bytes: u64,
    pub catalog_posts: u64,
    pub catalog_bytes: u64,
    /// Leaderboards that were asked for, and those that had no turn.
    pub charts: u64,
    pub refused_charts: u64,
    /// What reading was charged: charts, pages, lists of regions.
    pub reading_ms: u64,
    /// How often the state was loaded from storage: once, and after each storage error.
    pub loads: u64,
    pub started_ms: u64,
    pub instance: InstanceMetrics,
    /// How long ago each shard that has panes open pushed last.
    pub push_ages_ms: Vec<(String, u32, u64)>,
    /// Shards that have told their figures, and the figures of some of them.
    pub shards_told: u64,
    pub shards: Vec<ShardFigures>,
}

impl Record for GlobalMetrics {
    const KIND: u8 = 62;
    const VERSION: u8 = 1;
}

impl Global {
    /// Adds what the state knows.
    pub fn tell(&self, metrics: GlobalMetrics, now_ms: u64) -> GlobalMetrics {
        let health = self.health();
        let copies = self.live.copies_of(GLOBAL_SCOPE);
        let open = copies.filter(|(_, copies)| !copies.panes.is_empty());
        let push_ages_ms = open.map(|((region_id, shard), copies)| {
            let age_ms = now_ms.saturating_sub(copies.received_ms);
            (parts_of_key(region_id).0.to_owned(), *shard, age_ms)
        });
        GlobalMetrics {
            folds: self.folds,
            folded_panes: self.folded_panes,
            gaps: health.gaps,
            refused_pushes: health.refused_pushes,
            damaged_rows: health.damaged_rows,
            damaged_regions: health.damaged_regions as u64,
            pending_bytes: health.pending_bytes as u64,
            catalog_posts: self.catalog.size.posts,
            catalog_bytes: self.catalog.size.bytes,
            push_ages_ms: push_ages_ms.collect(),
            ..metrics
        }
    }
}
