use super::pace::{MAX_PULLED_SHARDS, PUSHES_A_SECOND};
use super::*;
use crate::wire::PushLimits;

/// The limits of the global object that bound its memory and its messages. The simulation runs with
/// smaller ones, to be at them after a handful of plays.
#[derive(Clone, Copy, Debug)]
pub struct GlobalLimits {
    /// What its shards must keep, too.
    pub push: PushLimits,
    /// Bytes of copies, of all shards together.
    pub copy_bytes: usize,
    /// Pending bytes at which a push makes them folded at once, and where memory is short.
    pub pending_bytes: usize,
    pub worth_flushing_bytes: usize,
    /// Decoded bytes of pending days at which a push makes them folded, and no more of it is taken.
    pub late_bytes: usize,
    /// How long entries may be pending before a push makes them folded.
    pub flush_after_ms: u64,
    /// A push can be taken every so many milliseconds, of whatever shard.
    pub push_gap_ms: u64,
    /// Shards that are asked at once, and quiet ones with something open.
    pub pulled_shards: usize,
}

impl Default for GlobalLimits {
    fn default() -> Self {
        GlobalLimits {
            push: PushLimits::default(),
            copy_bytes: MAX_COPY_BYTES,
            pending_bytes: MAX_PENDING_BYTES,
            worth_flushing_bytes: WORTH_FLUSHING_BYTES,
            late_bytes: LATE_BYTES,
            flush_after_ms: FLUSH_AFTER_MS,
            push_gap_ms: 1_000 / PUSHES_A_SECOND,
            pulled_shards: MAX_PULLED_SHARDS,
        }
    }
}
