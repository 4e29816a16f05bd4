//! What a shard tells the operator of how full it is.

use super::ShardHealth;
use crate::wire::ShardMetrics;

impl ShardMetrics {
    /// Adds how full the shard is.
    pub fn with_health(self, health: &ShardHealth, now_ms: u64) -> Self {
        ShardMetrics {
            damaged_rows: health.damaged_rows,
            waiting_batches: health.waiting as u64,
            open_panes: health.open_panes as u64,
            outbox_panes: health.outbox_panes,
            outbox_bytes: health.outbox_bytes,
            remembered_batches: health.remembered_batches as u64,
            committed: health.committed,
            outbox_age_ms: health
                .oldest_sealed_ms
                .map_or(0, |sealed_ms| now_ms.saturating_sub(sealed_ms)),
            ..self
        }
    }
}
