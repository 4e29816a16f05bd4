//! The state of a shard, and every change of it. See the folder's introduction.

mod admit;
mod checkpoint;
mod commit;
mod listing;
mod load;
mod log;
mod watched;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::journal::{FoundCommit, Journal};
use super::outbox::{Outbox, rows_of};
use super::panes::{Applied, Copied, OpenPane, OpenPanes};
use super::seen::{Fate, Fingerprint, Seen};
use super::*;
use crate::board::MAIN;
use crate::capacity;
use crate::codec::{self, RecordError};
use crate::mutants::{self, Mutant};
use crate::storage::{Storage, StorageError, Table, Write, two_copies};
use crate::summary::{Seed, Summary};
use crate::topology::{Epoch, ShardId};
use crate::window::{KnownDays, Level, PaneKey};
use crate::wire::{
    Batch, BeginEpoch, Claim, Committed, Cut, CutRequest, MAX_PANE_AHEAD_MS, NameCheck,
    RecordReply, RecordRequest, SealedPane, ShardMetrics,
};
pub use admit::Admission;
use admit::Wanted;
use checkpoint::encode_pane;
use checkpoint::{CHECKPOINT_NAME, OpenPanesRow};
pub(super) use checkpoint::{Checkpoint, copy_of};
pub use listing::{LISTED_FOR_MS, LISTING_RENEWED_MS};

/// A pane that takes no more plays and is not in the outbox yet.
struct SealedInMemory {
    key: PaneKey,
    pane: OpenPane,
    last_seq: u64,
}

impl SealedInMemory {
    fn encode(&self) -> Vec<u8> {
        let most_bytes = capacity::sealed_bytes(self.key.level, self.pane.summary.len());
        let copy = self.pane.copy.as_ref().and_then(Copied::whole);
        if let Some(whole) = copy.filter(|copy| copy.len() <= most_bytes) {
            return whole.to_vec();
        }
        let summary = capacity::encode_within(&self.pane.summary, most_bytes);
        encode_pane(self.key, &self.pane, self.last_seq, &summary)
    }
}

/// A batch that waits for its commit, or is in flight, and what will have become of it then.
struct Pending {
    ticket: u64,
    fate: Fate,
}

struct Waiting {
    ticket: u64,
    fingerprint: Option<Fingerprint>,
    batch: Vec<u8>,
}

/// A commit whose rows are written and not known to be durable.
struct InFlight {
    first_ticket: u64,
    last_ticket: u64,
    last_seq: u64,
    /// As its rows say.
    counted_ms: u64,
    batches: Vec<Waiting>,
}

/// What was written before a sync: durable once the sync is done.
#[derive(Clone, Copy, Debug)]
pub struct SyncPoint {
    load_id: u64,
    next_offset: u64,
    watched_since_ms: Option<u64>,
}

/// The state machine of a shard. Storage and clock are handed in.
pub struct Shard {
    pub(super) checkpoint: Checkpoint,
    journal: Journal,
    /// The last commit whose plays are in the panes.
    pub(super) applied_seq: u64,
    /// When that was.
    applied_ms: u64,
    pub(super) open: OpenPanes,
    /// Sealed before their time, not in the outbox yet.
    sealed: Vec<SealedInMemory>,
    sealed_bytes: usize,
    /// Rows that hold what was open at the last checkpoint, and those of which nobody can read what
    /// they hold: they are kept as they are.
    open_rows: BTreeSet<u64>,
    unread_open_rows: BTreeSet<u64>,
    seen: Seen,
    /// Rows of it that cannot be read.
    unread_seen_rows: u64,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    pending: BTreeMap<Fingerprint, Pending>,
    in_flight: Option<InFlight>,
    next_ticket: u64,
    pub(super) outbox: Outbox,
    /// Entries below this are durable in this shard's storage and may be sent.
    pub(super) sendable_offset: u64,
    /// What the global object wants next, as far as is known.
    pub(super) wanted_offset: u64,
    pub(super) damaged_rows: u64,
    /// The checkpoint's header is not in storage as it is here.
    header_dirty: bool,
    header_generation: u8,
    /// Tells this state from one that was dropped: a sync that began before says nothing here.
    load_id: u64,
    /// What was loaded is durable: it may have been written a moment ago, by a state that was
    /// dropped.
    settled: bool,
    /// The moment of the cut that the push under way tells of.
    cut_sent_ms: Option<u64>,
    committed: Committed,
    told: listing::Told,
    watched: watched::Watched,
    /// [`PushReply::state`] of the last reply.
    ///
    /// [`PushReply::state`]: crate::wire::PushReply::state
    pub(super) replied_by: u64,
    pub(super) limits: Limits,
}

impl Shard {
    /// Its region and number, once it was told.
    pub fn name(&self) -> Option<(&str, u32)> {
        let name = self.checkpoint.name.as_ref();
        name.map(|(region_id, shard)| (region_id.as_str(), *shard))
    }

    fn oldest_sealed_ms(&self) -> Option<u64> {
        self.outbox.first().map(|row| row.sealed_ms)
    }

    /// The last commit whose plays are in the panes.
    pub fn applied_seq(&self) -> u64 {
        self.applied_seq
    }

    /// The number and bytes of the batches that wait for a commit.
    pub fn waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.waiting_bytes)
    }

    /// To be taken before a sync and handed to [`Shard::synced`] after it.
    pub fn sync_point(&self) -> SyncPoint {
        SyncPoint {
            load_id: self.load_id,
            next_offset: self.checkpoint.next_offset,
            watched_since_ms: self.watched.since_ms,
        }
    }

    /// Names the log of what it counts.
    pub fn log_id(&self) -> u128 {
        self.checkpoint.log_id
    }

    /// What was written before the sync point is durable.
    pub fn synced(&mut self, point: SyncPoint) {
        if point.load_id != self.load_id {
            return;
        }
        self.settled = true;
        self.sendable_offset = self.sendable_offset.max(point.next_offset);
        self.watched.synced(point.watched_since_ms);
    }

    /// Whether what was loaded is known to be durable: one sync after the load. Until then nothing
    /// that it says may be promised to anybody.
    pub fn is_settled(&self) -> bool {
        self.settled || mutants::active(Mutant::LoadedTakenForDurable)
    }

    /// Below this the outbox may be sent: it is durable here.
    pub(super) fn sendable_offset(&self) -> u64 {
        if mutants::active(Mutant::SentBeforeDurable) {
            return self.checkpoint.next_offset;
        }
        self.sendable_offset
    }

    /// Whether there is anything that the global object does not have for good: if not, the shard
    /// needs no alarm and may hibernate.
    pub fn has_work(&self) -> bool {
        let is_counting = !self.waiting.is_empty() || self.in_flight.is_some();
        is_counting || self.has_open() || self.has_sealed() || self.has_untold_cut()
    }

    /// Whether something is sealed that is not forgotten yet.
    pub(super) fn has_sealed(&self) -> bool {
        !self.sealed.is_empty() || !self.outbox.is_empty()
    }

    pub(super) fn seed(&self) -> Seed {
        Seed::from_bytes(self.checkpoint.seed.unwrap_or_default())
    }

    /// [`Epoch::began_ms`] of what is counted here.
    pub fn epoch_ms(&self) -> u64 {
        self.checkpoint.epoch_ms.unwrap_or_default()
    }

    /// The installation's seed, for panes opened from now on.
    pub(super) fn set_seed(&mut self, seed: [u8; 16]) {
        if self.checkpoint.seed != Some(seed) {
            self.checkpoint.seed = Some(seed);
            self.header_dirty = true;
        }
    }

    /// Where days begin, for late plays from now on.
    pub(super) fn set_days(&mut self, days: &KnownDays) {
        if days.days.is_sound() {
            self.header_dirty |= self.checkpoint.days.days != days.days;
            self.checkpoint.days.clone_from(days);
        }
    }

    /// Panes that are sealed and not in the outbox yet, encoded.
    pub(super) fn sealed_in_memory(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.sealed.iter().map(SealedInMemory::encode)
    }

    pub(super) fn oldest_offset(&self) -> u64 {
        let first = self.outbox.first();
        first.map_or(self.checkpoint.next_offset, |row| row.first_offset)
    }

    /// Rows that could not be read when the shard was loaded.
    pub fn damaged_rows(&self) -> u64 {
        self.damaged_rows
    }

    /// Adds to figures for the operator what the state knows.
    pub fn tell(&self, metrics: ShardMetrics, now_ms: u64) -> ShardMetrics {
        let age_ms = |sealed_ms| now_ms.saturating_sub(sealed_ms);
        ShardMetrics {
            damaged_rows: self.damaged_rows,
            waiting_batches: self.waiting.len() as u64,
            open_panes: self.open.panes.len() as u64,
            outbox_panes: self.outbox.panes(),
            outbox_bytes: self.outbox.bytes(),
            remembered_batches: self.seen.len() as u64,
            committed: self.committed,
            outbox_age_ms: self.oldest_sealed_ms().map_or(0, age_ms),
            ..metrics
        }
    }
}
