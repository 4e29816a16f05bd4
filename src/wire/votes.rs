//! Votes: how many plays one address may add to a post.

use serde::{Deserialize, Serialize};

use crate::codec::record;

/// Worker → shard, beside a batch: who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    pub sender: u64,
    /// Plays that it may add to a post in a minute.
    pub limit: u32,
}

record!(Voter v 1);
