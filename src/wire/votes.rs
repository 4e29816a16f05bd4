//! Votes of an address: what a Worker says of a sender, and a shard of its plays.

use serde::{Deserialize, Serialize};

use crate::codec::{Record, RecordKind};

/// Worker → shard, beside a batch: who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    pub sender: u64,
    /// What it may add to a post a minute.
    pub limit: u32,
}

impl Record for Voter {
    const KIND: RecordKind = RecordKind::Voter;
    const VERSION: u8 = 1;
}
