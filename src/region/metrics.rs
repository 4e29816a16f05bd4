//! What a shard tells the operator.

use serde::{Deserialize, Serialize};

use super::Health;
use crate::codec::Record;

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
}

impl Record for ShardMetrics {
    const KIND: u8 = 53;
    const VERSION: u8 = 1;
}

impl ShardMetrics {
    /// Adds how full the shard is.
    pub fn with_health(self, health: &Health) -> Self {
        ShardMetrics {
            damaged_rows: health.damaged_rows,
            waiting_batches: health.waiting as u64,
            open_panes: health.open_panes as u64,
            outbox_panes: health.outbox_entries as u64,
            outbox_bytes: health.outbox_bytes,
            remembered_batches: health.remembered_batches as u64,
            ..self
        }
    }
}
