use super::*;

/// The limits of a shard that bound its storage, memory and messages. The simulation runs with
/// smaller ones, to be at them after a handful of plays.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub journal_rows: u64,
    pub checkpoint_rows: u64,
    pub late_panes: usize,
    pub open_bytes: usize,
    pub waiting_requests: usize,
    pub outbox_bytes: u64,
    pub outbox_age_ms: u64,
    pub push_bytes: usize,
    pub provisional_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            journal_rows: JOURNAL_ROWS,
            checkpoint_rows: CHECKPOINT_ROWS,
            late_panes: MAX_LATE_PANES,
            open_bytes: MAX_OPEN_BYTES,
            waiting_requests: MAX_WAITING_REQUESTS,
            outbox_bytes: MAX_OUTBOX_BYTES,
            outbox_age_ms: MAX_OUTBOX_AGE_MS,
            push_bytes: MAX_PUSH_BYTES,
            provisional_bytes: MAX_PROVISIONAL_BYTES,
        }
    }
}
