//! What Workers have told a shard of itself: that its region is there, how many shards of it count, and whether
//! browsers may send plays. On the word of it a shard of `main` counts what Workers send that have no directory
//! ([`BlindRequest`]), as one does that has just been started: else each of them would ask the registry first.
//!
//! # Invariants
//! - It counts what a Worker with a directory of that moment would have had it count, as the decider of the
//!   batch; so whatever other attempts know, they meet the same decider.
//! - What was told is believed for [`LISTED_FOR_MS`], and in the epoch that it was told in.
//!
//! # Cost
//! A row where it changes, and each [`LISTING_RENEWED_MS`] while Workers with a directory send plays; one read
//! at a start.

use super::*;
use crate::codec::record;
use crate::topology::parts_of_key;
use crate::wire::{BlindRequest, ShardListing};

const LISTING_NAME: &[u8] = b"listing";
/// A shard may hear of a region that is deleted, or of a board that is closed to browsers, so much later than a
/// Worker does: where plays are so rare that no Worker with a directory has sent any.
pub const LISTED_FOR_MS: u64 = 10 * 60_000;
pub const LISTING_RENEWED_MS: u64 = LISTED_FOR_MS / 2;

/// As it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::region) struct Listing {
    told_ms: u64,
    epoch_ms: u64,
    listed: ShardListing,
}

record!(Listing v 1);

/// What was told last, and whether it is stored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    listing: Option<Listing>,
    is_to_be_stored: bool,
}

impl Told {
    /// One that cannot be read says nothing: the next Worker tells it again.
    pub fn load(storage: &impl Storage) -> Result<Self, StorageError> {
        let row = storage.get(Table::Meta, LISTING_NAME)?;
        Ok(Told {
            listing: row.and_then(|row| codec::decode(&row).ok()),
            is_to_be_stored: false,
        })
    }

    /// A Worker with a directory says so.
    pub fn take(&mut self, listed: ShardListing, epoch_ms: u64, now_ms: u64) {
        let is_known = self.listing.is_some_and(|known| {
            let age_ms = now_ms.checked_sub(known.told_ms);
            (known.listed, known.epoch_ms) == (listed, epoch_ms)
                && age_ms.is_some_and(|age_ms| age_ms < LISTING_RENEWED_MS)
        });
        if !is_known {
            self.listing = Some(Listing {
                told_ms: now_ms,
                epoch_ms,
                listed,
            });
            self.is_to_be_stored = true;
        }
    }

    pub fn write(&self, writes: &mut Vec<Write>) {
        if let Some(listing) = self.listing.filter(|_| self.is_to_be_stored) {
            let row = codec::encode(&listing);
            writes.push(Write::put(Table::Meta, LISTING_NAME, row));
        }
    }

    pub fn written(&mut self) {
        self.is_to_be_stored = false;
    }
}

impl Shard {
    /// The batch of a Worker without a directory as one with a directory would have sent it; none where that
    /// is not known, or another shard's.
    pub fn seen<'a>(&self, blind: &BlindRequest<'a>, now_ms: u64) -> Option<RecordRequest<'a>> {
        let (epoch_ms, seed) = self.checkpoint.epoch_ms.zip(self.checkpoint.seed)?;
        let name = Some((blind.region_id, blind.shard));
        let Listing {
            told_ms,
            epoch_ms: of_epoch_ms,
            listed,
        } = self.told.listing?;
        // Where the clock was set back, nobody knows how old it is.
        let is_fresh = (told_ms..told_ms.saturating_add(LISTED_FOR_MS)).contains(&now_ms);
        let is_to_count = self.name() == name
            && parts_of_key(blind.region_id).0 == blind.here
            && of_epoch_ms == epoch_ms
            && is_fresh
            && listed.beacons
            && blind.shard < listed.shards;
        is_to_count.then_some(RecordRequest {
            board: MAIN,
            region_id: blind.region_id,
            shard: blind.shard,
            epoch_ms,
            seed,
            listed: None,
            batch: blind.batch,
        })
    }
}
