//! What the objects tell the operator.

use serde::{Deserialize, Serialize};

use crate::codec::record;

/// An instance of Wasm, as an object in it sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceMetrics {
    /// Its random name.
    pub id: u64,
    pub started_ms: u64,
    pub memory_bytes: u64,
    pub allocated_bytes: u64,
}

/// A histogram of sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// For each bound, how many sizes were at most as large and larger than the bound before; behind
    /// them, how many were larger than every bound.
    pub counts: [u64; Sizes::BOUNDS.len() + 1],
    pub sum: u64,
}

impl Sizes {
    pub const BOUNDS: [u64; 6] = [1, 4, 16, 64, 256, 1_024];

    pub fn add(&mut self, size: u64) {
        let place = Self::BOUNDS.iter().position(|bound| size <= *bound);
        let place = place.unwrap_or(Self::BOUNDS.len());
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(size);
    }
}

/// What was committed since the state was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Plays that were counted, each as often as its `count` says.
    pub plays: u64,
    /// Claims: batches that another shard counts, and this one never will.
    pub claims: u64,
    /// How many plays each batch had, whatever their `count`.
    pub batch_sizes: Sizes,
    /// How many batches and claims each commit had.
    pub commit_sizes: Sizes,
}

/// Counters of a shard since it started, and how full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardMetrics {
    pub rows_written: u64,
    /// Batches that were made durable, without repeats.
    pub batches: u64,
    pub repeated_batches: u64,
    /// Batches that were told to come back.
    pub busy_batches: u64,
    pub damaged_rows: u64,
    pub waiting_batches: u64,
    pub open_panes: u64,
    pub outbox_panes: u64,
    pub outbox_bytes: u64,
    pub remembered_batches: u64,
    /// Leaderboards that the global object was asked for.
    pub charts_asked: u64,
    pub committed: Committed,
    /// Pushes that the global object took, their bytes, and those that failed.
    pub pushes: u64,
    pub pushed_bytes: u64,
    pub failed_pushes: u64,
    /// Since the oldest sealed pane of the outbox was sealed; 0 where there is none.
    pub outbox_age_ms: u64,
    /// How often the state was loaded from storage: once, and after each storage error.
    pub loads: u64,
    pub started_ms: u64,
    pub instance: InstanceMetrics,
}

record!(ShardMetrics v 2);

/// The figures that a shard sent with its last push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardFigures {
    pub region_id: String,
    pub shard: u32,
    pub age_ms: u64,
    /// [`ShardReport::figures`](super::ShardReport::figures).
    pub figures: Vec<u8>,
}

/// Counters of the global object since it started, and how it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalMetrics {
    pub rows_written: u64,
    /// Flushes, each of which folds all pending entries into the ladders.
    pub folds: u64,
    /// Rows of the ladders that flushes wrote.
    pub folded_panes: u64,
    /// Published charts that were closed, those of a history among them.
    pub closed_charts: u64,
    /// Sealed panes that no shard can send any more: their plays are lost.
    pub gaps: u64,
    pub pushes: u64,
    pub refused_pushes: u64,
    /// Quiet shards that were asked what they have, and those that did not answer.
    pub pulls: u64,
    pub failed_pulls: u64,
    pub damaged_rows: u64,
    pub damaged_regions: u64,
    /// Bytes of entries that were taken and are not folded yet.
    pub pending_bytes: u64,
    /// Bytes of the database, and how many it may have.
    pub stored_bytes: u64,
    pub most_stored_bytes: u64,
    /// The size of the catalog, and its limits.
    pub catalog_posts: u64,
    pub most_catalog_posts: u64,
    pub catalog_bytes: u64,
    pub most_catalog_bytes: u64,
    /// Leaderboards that were asked for, and those that had no turn.
    pub charts: u64,
    pub refused_charts: u64,
    /// `DAILY_REQUESTS` (0: no limit), and the requests to objects of today, as far as this object sees them.
    pub daily_requests: u64,
    pub requests_today: u64,
    /// The processor time that charts, pages and lists of regions were charged.
    pub reading_ms: u64,
    /// How often the state was loaded from storage: once, and after each storage error.
    pub loads: u64,
    pub started_ms: u64,
    pub instance: InstanceMetrics,
    /// For how long each shard that has panes open has not pushed; a quiet one, since it was to.
    pub push_ages_ms: Vec<(String, u32, u64)>,
    /// How many shards have sent figures, and the figures of some of them.
    pub shards_told: u64,
    pub shards: Vec<ShardFigures>,
}

record!(GlobalMetrics v 1);

/// What objects were asked of in a day, as the global object stores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Days since 1970, in UTC.
    pub day: u64,
    pub requests: u64,
    /// Of the day before.
    pub requests_before: u64,
}

record!(Spent v 1);

/// How the registry stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryMetrics {
    /// Boards, `main` among them.
    pub boards: u64,
    /// Boards whose deletion is not done, and for how long the oldest of them has been so.
    pub deletions: u64,
    pub oldest_deletion_age_ms: u64,
    /// Changes of regions and boards since the installation began.
    pub changes: u64,
    pub damaged_rows: u64,
    pub rows_written: u64,
    /// Of the database in which the catalog lies that boards share.
    pub stored_bytes: u64,
    pub started_ms: u64,
    pub instance: InstanceMetrics,
}

record!(RegistryMetrics v 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_counts_at_the_first_bound_that_it_does_not_exceed() {
        let mut sizes = Sizes::default();
        for size in [0, 1, 2, 4, 5, 1_024, 1_025, u64::MAX] {
            sizes.add(size);
        }
        assert_eq!(sizes.counts, [2, 2, 1, 0, 0, 1, 2]);
        assert_eq!((sizes.counts.iter().sum::<u64>(), sizes.sum), (8, u64::MAX));
    }
}
