//! The state of a shard, and every change of it. See the folder's introduction.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::journal::Journal;
use super::panes::{OpenPane, OpenPanes};
use super::seen::{Fingerprint, Seen};
use super::*;
use crate::codec::{self, Record};
use crate::storage::{Storage, StorageError, Table, Write};
use crate::summary::{Seed, Summary};
use crate::window::{Level, PaneKey};
use crate::wire::{Batch, RecordReply, RecordRequest, SealedPane};

/// The two copies of the checkpoint's header: without it the journal would be counted again.
const CHECKPOINT_KEYS: [&[u8]; 2] = [b"checkpoint/a", b"checkpoint/b"];

/// What a checkpoint says besides panes, outbox and fingerprints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub log_id: u128,
    /// The key of the fingerprints.
    pub secret: [u8; 16],
    /// Who this shard is, once it was told.
    pub name: Option<(String, u32)>,
    pub seed: Option<[u8; 16]>,
    /// The journal up to here is in the panes and the outbox.
    pub covered_seq: u64,
    /// The offset of the next sealed pane.
    pub next_offset: u64,
}

impl Record for Checkpoint {
    const KIND: u8 = 35;
    const VERSION: u8 = 1;
}

#[derive(Serialize, Deserialize)]
struct OpenPaneRow<'a> {
    #[serde(borrow)]
    pane: SealedPane<'a>,
    opened_ms: u64,
}

impl Record for OpenPaneRow<'_> {
    const KIND: u8 = 36;
    const VERSION: u8 = 1;
}

/// A sealed pane in the outbox.
pub(super) struct OutboxEntry {
    pub sealed_ms: u64,
    pub bytes: u64,
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
    batches: Vec<Waiting>,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Nothing to wait for.
    Answer(RecordReply),
    /// To be answered when the commit of this ticket is durable.
    Wait { ticket: u64, repeated: bool },
}

/// What was written before a sync: durable once the sync is done.
#[derive(Clone, Copy, Debug)]
pub struct SyncPoint {
    next_offset: u64,
}

/// Figures for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Rows that could not be read when the shard was loaded.
    pub damaged_rows: u64,
    pub waiting: usize,
    pub open_panes: usize,
    pub outbox_entries: usize,
    pub outbox_bytes: u64,
    pub remembered_batches: usize,
}

/// The state machine of a shard. Storage and clock are handed in.
pub struct Shard {
    pub(super) checkpoint: Checkpoint,
    journal: Journal,
    /// The last commit whose plays are in the panes.
    pub(super) applied_seq: u64,
    pub(super) open: OpenPanes,
    /// Sealed before their time, not in the outbox yet.
    sealed: Vec<(PaneKey, OpenPane)>,
    next_pane_row: u64,
    seen: Seen,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Batches that wait or are in flight, and their tickets.
    pending: BTreeMap<Fingerprint, u64>,
    in_flight: Option<InFlight>,
    next_ticket: u64,
    pub(super) outbox: BTreeMap<u64, OutboxEntry>,
    pub(super) outbox_bytes: u64,
    /// Entries below this are durable in this shard's storage and may be sent.
    pub(super) sendable_offset: u64,
    /// What the global object wants next, as far as is known.
    pub(super) wanted_offset: u64,
    damaged_rows: u64,
    /// The checkpoint's header is not in storage as it is here.
    header_dirty: bool,
}

impl Shard {
    /// Makes the state from what is stored. `random` names the log of a shard that has none.
    ///
    /// Rows that cannot be read are counted and left as they are.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load(
        storage: &impl Storage,
        random: [u8; 32],
        now_ms: u64,
    ) -> Result<Self, StorageError> {
        let mut damaged_rows = 0;
        let mut stored = None;
        let mut first_start = true;
        for key in CHECKPOINT_KEYS {
            if let Some(bytes) = storage.get(Table::Meta, key)? {
                first_start = false;
                match codec::decode::<Checkpoint>(&bytes) {
                    Ok(checkpoint) => stored = stored.or(Some(checkpoint)),
                    Err(_) => damaged_rows += 1,
                }
            }
        }
        let lost_header = stored.is_none() && !first_start;
        let mut checkpoint = stored.unwrap_or_else(|| Checkpoint::new(random));
        let (mut journal, mut commits, damaged) = Journal::load(storage, checkpoint.covered_seq)?;
        damaged_rows += damaged;
        if lost_header {
            // Nobody knows any more which commits are in the panes, nor which log the outbox
            // belongs to: neither is counted again. The rows stay where they are.
            let last_seq = commits.last().map_or(0, |commit| commit.last_seq);
            commits.clear();
            journal.cover(last_seq);
            checkpoint.covered_seq = last_seq;
            let last_key = storage.keys(Table::Outbox, &[])?.pop().unwrap_or_default();
            let last_offset = read_outbox_key(&last_key).map(|(offset, _, _)| offset);
            checkpoint.next_offset = last_offset.map_or(0, |offset| offset.saturating_add(1));
        }

        let mut shard = Shard {
            applied_seq: checkpoint.covered_seq,
            header_dirty: first_start || lost_header,
            wanted_offset: 0,
            sendable_offset: 0,
            checkpoint,
            journal,
            open: OpenPanes::default(),
            sealed: Vec::new(),
            next_pane_row: 0,
            seen: Seen::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            pending: BTreeMap::new(),
            in_flight: None,
            next_ticket: 1,
            outbox: BTreeMap::new(),
            outbox_bytes: 0,
            damaged_rows,
        };
        shard.load_open_panes(storage)?;
        if !lost_header {
            shard.load_outbox(storage)?;
        }
        shard.wanted_offset = shard.oldest_offset();
        for (key, value) in storage.scan(Table::Seen, &[], &[], usize::MAX)? {
            shard.damaged_rows += u64::from(!shard.seen.load_row(&key, &value));
        }
        shard.seen.loaded(now_ms);
        for commit in &commits {
            for batch in &commit.batches {
                shard.apply(batch, now_ms);
            }
            shard.applied_seq = commit.last_seq;
        }
        shard.seal_over_the_limits();
        if !commits.is_empty() {
            // Which slot a row goes to depends on the readable ones: start with a free ring.
            shard.checkpoint(storage, now_ms)?;
        }
        Ok(shard)
    }

    fn load_open_panes(&mut self, storage: &impl Storage) -> Result<(), StorageError> {
        for (key, value) in storage.scan(Table::OpenPanes, &[], &[], usize::MAX)? {
            let row = key.try_into().map(u64::from_be_bytes).unwrap_or(0);
            self.next_pane_row = self.next_pane_row.max(row.saturating_add(1));
            let seed = self.seed();
            let Some((key, opened_ms, summary)) = read_open_pane(&value, seed) else {
                self.damaged_rows += 1;
                continue;
            };
            let pane = OpenPane {
                summary,
                row: Some(row),
                dirty: false,
                opened_ms,
            };
            self.open.panes.insert(key, pane);
        }
        Ok(())
    }

    fn load_outbox(&mut self, storage: &impl Storage) -> Result<(), StorageError> {
        self.outbox_bytes = storage.bytes(Table::Outbox)?;
        for key in storage.keys(Table::Outbox, &[])? {
            if let Some((offset, sealed_ms, bytes)) = read_outbox_key(&key) {
                self.outbox.insert(offset, OutboxEntry { sealed_ms, bytes });
            }
        }
        Ok(())
    }

    /// Decides about a batch.
    pub fn admit(&mut self, request: &RecordRequest<'_>, now_ms: u64) -> Admission {
        let Ok(batch) = codec::decode::<Batch<'_>>(request.batch) else {
            return Admission::Answer(RecordReply::Invalid);
        };
        self.introduce(request);
        if now_ms.saturating_sub(batch.sent_ms) > TOO_OLD_MS {
            return Admission::Answer(RecordReply::TooOld);
        }
        let secret = self.checkpoint.secret;
        let fingerprint = batch.key.map(|key| Fingerprint::of(&secret, key));
        if let Some(fingerprint) = &fingerprint {
            if self.seen.contains(fingerprint) {
                return Admission::Answer(RecordReply::Counted { repeated: true });
            }
            if let Some(ticket) = self.pending.get(fingerprint) {
                return Admission::Wait {
                    ticket: *ticket,
                    repeated: true,
                };
            }
        }
        if let Some(retry_after_s) = self.overload(request.batch.len(), now_ms) {
            return Admission::Answer(RecordReply::Busy { retry_after_s });
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if let Some(fingerprint) = fingerprint {
            self.pending.insert(fingerprint, ticket);
        }
        self.waiting_bytes += request.batch.len();
        self.waiting.push_back(Waiting {
            ticket,
            fingerprint,
            batch: request.batch.to_vec(),
        });
        Admission::Wait {
            ticket,
            repeated: false,
        }
    }

    /// Takes the name and, where it has none yet, the seed from a request.
    fn introduce(&mut self, request: &RecordRequest<'_>) {
        if self.checkpoint.name.is_none() {
            self.checkpoint.name = Some((request.region_id.to_owned(), request.shard));
            self.header_dirty = true;
        }
        if self.checkpoint.seed.is_none() {
            self.checkpoint.seed = Some(request.seed);
            self.header_dirty = true;
        }
    }

    /// Why nothing more can be taken, as seconds after which to try again.
    fn overload(&self, bytes: usize, now_ms: u64) -> Option<u32> {
        if self.waiting.len() >= MAX_WAITING_REQUESTS
            || self.waiting_bytes + bytes > MAX_WAITING_BYTES
        {
            return Some(1);
        }
        let oldest = self
            .outbox
            .first_key_value()
            .map(|(_, entry)| entry.sealed_ms);
        let too_old =
            oldest.is_some_and(|sealed_ms| now_ms.saturating_sub(sealed_ms) > MAX_OUTBOX_AGE_MS);
        (too_old || self.outbox_bytes > MAX_OUTBOX_BYTES).then_some(60)
    }

    /// The number and bytes of the batches that wait for a commit.
    pub fn waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.waiting_bytes)
    }

    /// Writes what waits to the journal; `false` if nothing waits or a commit is under way. After
    /// the next sync call [`Shard::committed`].
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn commit(&mut self, storage: &impl Storage, now_ms: u64) -> Result<bool, StorageError> {
        if self.in_flight.is_some() || self.waiting.is_empty() {
            return Ok(false);
        }
        let mut batches: Vec<Waiting> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            let full = batches.len() >= MAX_COMMIT_REQUESTS
                || bytes + next.batch.len() > MAX_COMMIT_BYTES && !batches.is_empty();
            if full {
                break;
            }
            bytes += next.batch.len();
            batches.extend(self.waiting.pop_front());
        }
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        let encoded: Vec<&[u8]> = batches.iter().map(|waiting| &waiting.batch[..]).collect();
        let (mut writes, mut last_seq) = self.journal.rows_of(&encoded);
        if !self.journal.has_room_for(writes.len()) {
            self.checkpoint(storage, now_ms)?;
            (writes, last_seq) = self.journal.rows_of(&encoded);
        }
        // The header goes first: a journal without it would be counted as another log's.
        self.write_header(&mut writes);
        storage.write(&writes)?;
        self.header_dirty = false;
        self.journal.written(last_seq, bytes as u64);
        self.in_flight = Some(InFlight {
            first_ticket: batches.first().map_or(0, |first| first.ticket),
            last_ticket: batches.last().map_or(0, |last| last.ticket),
            last_seq,
            batches,
        });
        Ok(true)
    }

    /// The commit's rows are durable: counts its plays. Returns the tickets that may be answered.
    pub fn committed(&mut self, now_ms: u64) -> Option<RangeInclusive<u64>> {
        let commit = self.in_flight.take()?;
        for waiting in &commit.batches {
            self.apply(&waiting.batch, now_ms);
            if let Some(fingerprint) = &waiting.fingerprint {
                self.pending.remove(fingerprint);
            }
        }
        self.applied_seq = commit.last_seq;
        self.seal_over_the_limits();
        Some(commit.first_ticket..=commit.last_ticket)
    }

    /// Counts a journaled batch, unless it was counted before.
    fn apply(&mut self, batch: &[u8], now_ms: u64) {
        let Ok(batch) = codec::decode::<Batch<'_>>(batch) else {
            // It was checked when it was admitted; only a row of another release gets here.
            self.damaged_rows += 1;
            return;
        };
        if let Some(key) = batch.key {
            let fingerprint = Fingerprint::of(&self.checkpoint.secret, key);
            if self.seen.contains(&fingerprint) {
                return;
            }
            self.seen.insert(fingerprint, now_ms);
        }
        let seed = self.seed();
        for play in &batch.plays {
            self.open
                .record(play.post_id, play.timestamp_ms, play.count, seed, now_ms);
        }
    }

    fn seal_over_the_limits(&mut self) {
        for key in self.open.over_the_limits() {
            self.seal(key);
        }
    }

    pub(super) fn seal(&mut self, key: PaneKey) {
        if let Some(pane) = self.open.panes.remove(&key) {
            self.sealed.push((key, pane));
        }
    }

    /// Whether a checkpoint should be written now.
    pub fn checkpoint_is_due(&self, now_ms: u64) -> bool {
        let (rows, bytes) = self.journal.uncovered();
        rows >= CHECKPOINT_ROWS
            || bytes >= CHECKPOINT_BYTES
            || !self.sealed.is_empty()
            || !self.open.due(now_ms).is_empty()
    }

    /// Writes everything that the journal holds into its final place, atomically, and seals what
    /// is due. What is in flight stays in the journal.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn checkpoint(&mut self, storage: &impl Storage, now_ms: u64) -> Result<(), StorageError> {
        for key in self.open.due(now_ms) {
            self.seal(key);
        }
        let mut writes = Vec::new();
        for (key, pane) in std::mem::take(&mut self.sealed) {
            let entry = encode_pane(key, &pane.summary);
            let bytes = entry.len() as u64;
            let offset = self.checkpoint.next_offset;
            self.checkpoint.next_offset += 1;
            self.outbox_bytes += bytes;
            self.outbox.insert(
                offset,
                OutboxEntry {
                    sealed_ms: now_ms,
                    bytes,
                },
            );
            writes.push(Write::put(
                Table::Outbox,
                outbox_key(offset, now_ms, bytes),
                entry,
            ));
            if let Some(row) = pane.row {
                writes.push(Write::delete(Table::OpenPanes, row.to_be_bytes()));
            }
        }
        for (key, pane) in &mut self.open.panes {
            if !pane.dirty {
                continue;
            }
            let row = *pane.row.get_or_insert_with(|| {
                self.next_pane_row += 1;
                self.next_pane_row - 1
            });
            pane.dirty = false;
            let value = codec::encode(&OpenPaneRow {
                pane: SealedPane {
                    level: key.level.code(),
                    start_ms: key.start_ms,
                    summary: &pane.summary.encode(),
                },
                opened_ms: pane.opened_ms,
            });
            writes.push(Write::put(Table::OpenPanes, row.to_be_bytes(), value));
        }
        writes.extend(self.seen.save(now_ms));
        if self.checkpoint.covered_seq != self.applied_seq || !writes.is_empty() {
            self.checkpoint.covered_seq = self.applied_seq;
            self.header_dirty = true;
        }
        self.write_header(&mut writes);
        if writes.is_empty() {
            return Ok(());
        }
        storage.write(&writes)?;
        self.header_dirty = false;
        self.journal.cover(self.applied_seq);
        Ok(())
    }

    fn write_header(&self, writes: &mut Vec<Write>) {
        if self.header_dirty {
            let header = codec::encode(&self.checkpoint);
            for key in CHECKPOINT_KEYS {
                writes.push(Write::put(Table::Meta, key, header.clone()));
            }
        }
    }

    /// To be taken before a sync and handed to [`Shard::synced`] after it.
    pub fn sync_point(&self) -> SyncPoint {
        SyncPoint {
            next_offset: self.checkpoint.next_offset,
        }
    }

    /// What was written before the sync point is durable.
    pub fn synced(&mut self, point: SyncPoint) {
        self.sendable_offset = self.sendable_offset.max(point.next_offset);
    }

    /// Whether there is anything that the global object does not have for good: if not, the shard
    /// needs no alarm and may hibernate.
    pub fn has_work(&self) -> bool {
        !self.waiting.is_empty()
            || self.in_flight.is_some()
            || !self.open.panes.is_empty()
            || !self.sealed.is_empty()
            || !self.outbox.is_empty()
    }

    /// Forgets the log and starts another: the global object has seen offsets of this log that
    /// this storage never gave out, so it was set back to an earlier state. What the outbox holds
    /// was folded then.
    pub(super) fn start_new_log(&mut self, log_id: u128) -> Vec<Write> {
        let deletes = self.outbox.iter().map(|(offset, entry)| {
            Write::delete(
                Table::Outbox,
                outbox_key(*offset, entry.sealed_ms, entry.bytes),
            )
        });
        let mut writes: Vec<Write> = deletes.collect();
        self.outbox.clear();
        self.outbox_bytes = 0;
        self.checkpoint.log_id = log_id;
        self.wanted_offset = self.checkpoint.next_offset;
        self.header_dirty = true;
        self.write_header(&mut writes);
        writes
    }

    pub(super) fn seed(&self) -> Seed {
        Seed::from_bytes(self.checkpoint.seed.unwrap_or_default())
    }

    /// The installation's seed, for panes opened from now on.
    pub(super) fn set_seed(&mut self, seed: [u8; 16]) {
        if self.checkpoint.seed != Some(seed) {
            self.checkpoint.seed = Some(seed);
            self.header_dirty = true;
        }
    }

    /// The offset that the next pane to be sealed will get. Panes that are sealed and not in the
    /// outbox yet have theirs already: the global object must not take the copies of the open
    /// panes for all there is.
    pub(super) fn next_offset(&self) -> u64 {
        self.checkpoint.next_offset + self.sealed.len() as u64
    }

    pub(super) fn oldest_offset(&self) -> u64 {
        let first = self.outbox.first_key_value().map(|(offset, _)| *offset);
        first.unwrap_or(self.checkpoint.next_offset)
    }

    pub fn health(&self) -> Health {
        Health {
            damaged_rows: self.damaged_rows,
            waiting: self.waiting.len(),
            open_panes: self.open.panes.len(),
            outbox_entries: self.outbox.len(),
            outbox_bytes: self.outbox_bytes,
            remembered_batches: self.seen.len(),
        }
    }
}

impl Checkpoint {
    fn new(random: [u8; 32]) -> Self {
        let (log_id, secret) = random.split_at(16);
        Checkpoint {
            log_id: log_id.try_into().map_or(0, u128::from_be_bytes),
            secret: secret.try_into().unwrap_or_default(),
            name: None,
            seed: None,
            covered_seq: 0,
            next_offset: 0,
        }
    }
}

pub(super) fn encode_pane(key: PaneKey, summary: &Summary) -> Vec<u8> {
    codec::encode(&SealedPane {
        level: key.level.code(),
        start_ms: key.start_ms,
        summary: &summary.encode(),
    })
}

fn read_open_pane(value: &[u8], seed: Seed) -> Option<(PaneKey, u64, Summary)> {
    let row = codec::decode::<OpenPaneRow<'_>>(value).ok()?;
    let key = PaneKey::checked(Level::from_code(row.pane.level)?, row.pane.start_ms)?;
    let summary = Summary::decode(row.pane.summary, seed).ok()?;
    Some((key, row.opened_ms, summary))
}

/// Offset, time and size in the key: a restart learns them without reading the panes.
pub(super) fn outbox_key(offset: u64, sealed_ms: u64, bytes: u64) -> Vec<u8> {
    [offset, sealed_ms, bytes].map(u64::to_be_bytes).concat()
}

fn read_outbox_key(key: &[u8]) -> Option<(u64, u64, u64)> {
    let mut numbers = key
        .chunks_exact(8)
        .map(|chunk| chunk.try_into().map(u64::from_be_bytes));
    let mut next = || numbers.next()?.ok();
    Some((next()?, next()?, next()?))
}
