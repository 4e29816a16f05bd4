//! What the global object holds, and what it gives up.

use super::state::Global;
use super::stretches::MOST_ENCODED_BYTES;
use super::{HELD_BYTES, LEAST_CACHE_BYTES, MOST_CACHE_BYTES};
use crate::storage::{Storage, StorageError};

/// A part of what caches may take is for encoded stretches.
const ENCODED_SHARE: usize = 3;

impl Global {
    /// Gives up everything that can be had again, and folds what is pending: for an instance in
    /// which memory is short, whoever holds it.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn free_memory(&mut self, storage: &impl Storage, now_ms: u64) -> Result<(), StorageError> {
        self.cache.keep_within(0);
        self.stretches.keep_within(0);
        self.live.drop_copies_over(0);
        // Less is not worth its rows.
        match self.live.pending_bytes > self.limits.worth_flushing_bytes {
            true => self.flush(storage, now_ms),
            false => Ok(()),
        }
    }

    /// Sees to it that everything that is held stays within [`HELD_BYTES`]: the cache gives way first,
    /// then copies, of the shard that has most. A flush frees what is pending.
    pub(super) fn make_room(&mut self) {
        self.fit_cache();
        let others = self.fixed_bytes() + self.live.pending_bytes + LEAST_CACHE_BYTES;
        let room = HELD_BYTES.saturating_sub(others);
        self.live.drop_copies_over(room.min(self.limits.copy_bytes));
    }

    /// The cache may take what nothing else needs.
    pub(super) fn fit_cache(&self) {
        let needed = self.fixed_bytes() + self.live.held_bytes();
        let caches = HELD_BYTES.saturating_sub(needed);
        let caches = caches.clamp(LEAST_CACHE_BYTES, MOST_CACHE_BYTES);
        let encoded = (caches / ENCODED_SHARE).min(MOST_ENCODED_BYTES);
        self.stretches.keep_within(encoded);
        self.cache.keep_within(caches - encoded);
    }

    /// What is not given up: offsets, what the catalog keeps, and which rows are put aside.
    fn fixed_bytes(&self) -> usize {
        self.offsets.held_bytes() + self.catalog.held_bytes() + self.moment.held_bytes()
    }
}
