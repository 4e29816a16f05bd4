use super::*;
use crate::wire::PushLimits;

/// The limits of a shard that bound its storage, memory and messages. The simulation runs with
/// smaller ones, to be at them after a handful of plays.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub journal_rows: u64,
    pub checkpoint_rows: u64,
    pub late_panes: usize,
    pub open_bytes: usize,
    pub sealed_bytes: usize,
    pub row_bytes: usize,
    pub waiting_requests: usize,
    pub group_after_a_second: u32,
    pub group_requests: usize,
    pub outbox_bytes: u64,
    pub outbox_age_ms: u64,
    pub push: PushLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            journal_rows: JOURNAL_ROWS,
            checkpoint_rows: CHECKPOINT_ROWS,
            late_panes: MAX_LATE_PANES,
            open_bytes: MAX_OPEN_BYTES,
            sealed_bytes: MAX_SEALED_BYTES,
            row_bytes: ROW_BYTES,
            waiting_requests: MAX_WAITING_REQUESTS,
            group_after_a_second: GROUP_AFTER_A_SECOND,
            group_requests: GROUP_REQUESTS,
            outbox_bytes: MAX_OUTBOX_BYTES,
            outbox_age_ms: MAX_OUTBOX_AGE_MS,
            push: PushLimits::default(),
        }
    }
}
