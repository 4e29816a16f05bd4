//! What a shard tells the operator.

use serde::{Deserialize, Serialize};

use super::Health;
use crate::codec::Record;
use crate::wire::InstanceMetrics;

/// How many of each size there were, for a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// So many were at most as large as the bound at this place, and larger than the one before;
    /// the last ones were larger than every bound.
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

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What went into panes since the state was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Every play, each as often as its `count` says.
    pub plays: u64,
    /// Entries of each batch.
    pub batch_sizes: Sizes,
    /// Batches and claims of each commit.
    pub commit_sizes: Sizes,
}

/// Counters since the object started, and how full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardMetrics {
    pub rows_written: u64,
    /// Batches that were made durable, repeats not among them.
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
    pub counted: Counted,
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

impl Record for ShardMetrics {
    const KIND: u8 = 53;
    const VERSION: u8 = 2;
}

impl ShardMetrics {
    /// Adds how full the shard is.
    pub fn with_health(self, health: &Health, now_ms: u64) -> Self {
        ShardMetrics {
            damaged_rows: health.damaged_rows,
            waiting_batches: health.waiting as u64,
            open_panes: health.open_panes as u64,
            outbox_panes: health.outbox_panes,
            outbox_bytes: health.outbox_bytes,
            remembered_batches: health.remembered_batches as u64,
            counted: health.counted,
            outbox_age_ms: health
                .oldest_sealed_ms
                .map_or(0, |sealed_ms| now_ms.saturating_sub(sealed_ms)),
            ..self
        }
    }
}

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
        assert_eq!((sizes.count(), sizes.sum), (8, u64::MAX));
    }
}
