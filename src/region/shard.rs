//! The state of a shard, and every change of it. See the folder's introduction.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::changes::Changes;
use super::journal::{FoundCommit, Journal};
use super::panes::{OpenPane, OpenPanes};
use super::seen::{Fingerprint, Seen};
use super::*;
use crate::codec::{self, DecodeError, Record};
use crate::mutants::{self, Mutant};
use crate::storage::{Storage, StorageError, Table, Write, twin};
use crate::summary::{Seed, Summary};
use crate::window::{Level, PaneKey};
use crate::wire::{Announcement, Batch, Claim, NameCheck, RecordReply, RecordRequest, SealedPane};

/// The two copies of the checkpoint's header: without it the journal would be counted again.
const CHECKPOINT_NAME: &[u8] = b"checkpoint/";
/// Where rows of the outbox go that cannot be read, so that they are kept and nothing waits for
/// them.
const DAMAGED_OUTBOX: &[u8] = b"damaged/outbox/";
/// Clocks of Workers and shards differ by so much at most where it matters after a damage only.
const REFUSE_MARGIN_MS: u64 = 10_000;

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
    /// The first offset of this log: what lies below in the outbox belongs to another.
    pub log_start: u64,
    /// When this was written.
    pub written_ms: u64,
    /// Fingerprints were lost: a batch that was first sent before this may have been counted.
    pub refuse_before_ms: u64,
    /// Rows of fingerprints that cannot be read and that are reckoned with already.
    pub damaged_seen: u64,
    /// Changes of the number of shards that it was told of.
    pub changes: Changes,
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

/// A batch that waits for its commit, or is in flight.
#[derive(Clone, Copy)]
struct Pending {
    ticket: u64,
    plays_hash: u32,
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
    Wait { ticket: u64, reply: RecordReply },
}

/// What was written before a sync: durable once the sync is done.
#[derive(Clone, Copy, Debug)]
pub struct SyncPoint {
    load_id: u64,
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
    /// When the oldest entry of the outbox was sealed.
    pub oldest_sealed_ms: Option<u64>,
    pub counted: Counted,
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
    pending: BTreeMap<Fingerprint, Pending>,
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
    header_generation: u8,
    /// Tells this state from one that was dropped: a sync that began before says nothing here.
    load_id: u64,
    /// What was loaded is durable: it may have been written a moment ago, by a state that was
    /// dropped.
    settled: bool,
    counted: Counted,
    pub(super) limits: Limits,
}

/// What a shard is asked to journal.
enum Wanted<'a> {
    Plays(Batch<'a>),
    Claim(Claim<'a>),
}

impl<'a> Wanted<'a> {
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        match codec::decode::<Batch<'a>>(bytes) {
            Ok(batch) => Some(Wanted::Plays(batch)),
            Err(DecodeError::OtherKind { .. }) => codec::decode(bytes).ok().map(Wanted::Claim),
            Err(_) => None,
        }
    }

    fn sent_ms(&self) -> u64 {
        match self {
            Wanted::Plays(batch) => batch.sent_ms,
            Wanted::Claim(claim) => claim.sent_ms,
        }
    }

    fn key(&self) -> Option<&'a [u8]> {
        match self {
            Wanted::Plays(batch) => batch.key,
            Wanted::Claim(claim) => Some(claim.key),
        }
    }

    fn plays_hash(&self) -> u32 {
        match self {
            Wanted::Plays(batch) => batch.plays_hash,
            Wanted::Claim(claim) => claim.plays_hash,
        }
    }

    /// What marks it as seen.
    fn fingerprint(&self, secret: &[u8; 16]) -> Option<Fingerprint> {
        match self {
            Wanted::Plays(batch) => batch.key.map(|key| Fingerprint::of(secret, key)),
            Wanted::Claim(claim) => Some(Fingerprint::of_claim(secret, claim.key)),
        }
    }
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
        Self::load_within(storage, random, now_ms, Limits::default())
    }

    /// [`Shard::load`] with limits of one's own.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load_within(
        storage: &impl Storage,
        random: [u8; 32],
        now_ms: u64,
        limits: Limits,
    ) -> Result<Self, StorageError> {
        let stored = twin::load::<Checkpoint>(storage, Table::Meta, CHECKPOINT_NAME)?;
        let lost_header = stored.is_lost();
        let is_new = stored.record.is_none();
        let checkpoint = stored.record.unwrap_or_else(|| Checkpoint::new(random));
        let (journal, mut commits, damaged_journal) =
            Journal::load(storage, checkpoint.covered_seq, limits.journal_rows)?;
        let mut shard = Shard {
            applied_seq: checkpoint.covered_seq,
            header_dirty: is_new,
            header_generation: stored.generation,
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
            damaged_rows: stored.damaged + damaged_journal,
            load_id: random.first_chunk().map_or(0, |id| u64::from_be_bytes(*id)),
            settled: false,
            counted: Counted::default(),
            limits,
        };
        if lost_header {
            shard.begin_beside_lost_header(storage, &mut commits, now_ms)?;
        }
        shard.load_open_panes(storage)?;
        shard.load_outbox(storage)?;
        shard.load_seen(storage, lost_header, now_ms)?;
        for commit in &commits {
            for batch in &commit.batches {
                shard.apply(batch, now_ms);
            }
            shard.applied_seq = commit.last_seq;
        }
        // What the journal had was counted before.
        shard.counted = Counted::default();
        shard.seal_over_the_limits();
        if !commits.is_empty() {
            // Which slot a row goes to depends on the readable ones: start with a free ring.
            shard.checkpoint(storage, now_ms)?;
        }
        Ok(shard)
    }

    /// Nobody knows any more which commits are in the panes, nor which log the outbox belongs to:
    /// neither is counted again. The rows stay where they are.
    fn begin_beside_lost_header(
        &mut self,
        storage: &impl Storage,
        commits: &mut Vec<FoundCommit>,
        now_ms: u64,
    ) -> Result<(), StorageError> {
        let secret = self.checkpoint.secret;
        for commit in std::mem::take(commits) {
            let batches = commit.batches.iter();
            for wanted in batches.filter_map(|batch| Wanted::decode(batch)) {
                if let Some(fingerprint) = wanted.fingerprint(&secret) {
                    self.seen.insert(fingerprint, wanted.plays_hash(), now_ms);
                }
            }
            self.applied_seq = commit.last_seq;
        }
        self.journal.cover(self.applied_seq);
        self.checkpoint.covered_seq = self.applied_seq;
        let keys = storage.keys(Table::Outbox, &[])?;
        let offsets = keys
            .iter()
            .filter_map(|key| read_outbox_key(key))
            .map(|(offset, _, _)| offset);
        let next = offsets.max().map_or(0, |last| last.saturating_add(1));
        self.checkpoint.log_start = next;
        self.checkpoint.next_offset = next;
        Ok(())
    }

    fn load_seen(
        &mut self,
        storage: &impl Storage,
        lost_header: bool,
        now_ms: u64,
    ) -> Result<(), StorageError> {
        if mutants::active(Mutant::FingerprintsForgotten) {
            return Ok(());
        }
        let mut damaged = 0;
        for (key, value) in storage.scan(Table::Seen, &[], &[], usize::MAX)? {
            damaged += u64::from(!self.seen.load_row(&key, &value));
        }
        self.damaged_rows += damaged;
        // Without the header's secret no fingerprint says anything.
        let newest_ms = self.seen.newest_row_ms().filter(|_| lost_header);
        let last_ms = match lost_header {
            true => now_ms,
            false => self.checkpoint.written_ms,
        };
        let damaged_ms = (damaged > self.checkpoint.damaged_seen).then_some(last_ms);
        if let Some(lost_ms) = newest_ms.max(damaged_ms) {
            let refuse_before_ms = lost_ms.saturating_add(REFUSE_MARGIN_MS);
            let before_ms = &mut self.checkpoint.refuse_before_ms;
            *before_ms = refuse_before_ms.max(*before_ms);
            self.checkpoint.damaged_seen = damaged;
            self.header_dirty = true;
        }
        self.seen.loaded(now_ms);
        Ok(())
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
            // Two rows of one span: one of them could not be read for a while.
            if let Some(other) = self.open.panes.insert(key, pane) {
                self.sealed.push((key, other));
            }
        }
        Ok(())
    }

    fn load_outbox(&mut self, storage: &impl Storage) -> Result<(), StorageError> {
        self.outbox_bytes = storage.bytes(Table::Outbox)?;
        for key in storage.keys(Table::Outbox, &[])? {
            match read_outbox_key(&key) {
                Some((offset, sealed_ms, bytes)) if offset >= self.checkpoint.log_start => {
                    self.outbox.insert(offset, OutboxEntry { sealed_ms, bytes });
                }
                // Of another log, whose header was lost.
                Some(_) => {}
                None => self.damaged_rows += 1,
            }
        }
        self.wanted_offset = self.oldest_offset();
        Ok(())
    }

    /// Decides about a batch.
    pub fn admit(&mut self, request: &RecordRequest<'_>, now_ms: u64) -> Admission {
        if self.is_another(request.region_id, request.shard) {
            return Admission::Answer(RecordReply::Invalid);
        }
        let Some(wanted) = Wanted::decode(request.batch) else {
            let check = codec::decode::<NameCheck<'_>>(request.batch);
            let reply = check.map_or(RecordReply::Invalid, |check| self.check_name(&check));
            return Admission::Answer(reply);
        };
        if now_ms.saturating_sub(wanted.sent_ms()) > TOO_OLD_MS {
            return Admission::Answer(RecordReply::TooOld);
        }
        if let Some(answer) = self.known(&wanted) {
            return answer;
        }
        if wanted.key().is_some() && wanted.sent_ms() < self.checkpoint.refuse_before_ms {
            return Admission::Answer(RecordReply::TooOld);
        }
        let changes = &self.checkpoint.changes;
        let outdated = |last_change| changes.concern(last_change, wanted.sent_ms());
        if request.last_change.is_some_and(outdated) && !mutants::active(Mutant::OldRoutesTaken) {
            return Admission::Answer(RecordReply::Outdated);
        }
        if let Some(retry_after_s) = self.overload(request.batch.len(), now_ms) {
            return Admission::Answer(RecordReply::Busy { retry_after_s });
        }
        self.introduce(request);
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let fingerprint = wanted.fingerprint(&self.checkpoint.secret);
        if let Some(fingerprint) = fingerprint {
            let plays_hash = wanted.plays_hash();
            let pending = Pending { ticket, plays_hash };
            self.pending.insert(fingerprint, pending);
        }
        self.waiting_bytes += request.batch.len();
        self.waiting.push_back(Waiting {
            ticket,
            fingerprint,
            batch: request.batch.to_vec(),
        });
        let reply = match wanted {
            Wanted::Plays(_) => RecordReply::Counted { repeated: false },
            Wanted::Claim(_) => RecordReply::Claimed,
        };
        Admission::Wait { ticket, reply }
    }

    /// What is to be said of a batch that was counted or claimed before, or is about to be.
    fn known(&self, wanted: &Wanted<'_>) -> Option<Admission> {
        let key = wanted.key()?;
        let secret = &self.checkpoint.secret;
        let is_claim = matches!(wanted, Wanted::Claim(_));
        let counted = RecordReply::Counted { repeated: true };
        if let Some((plays_hash, answer)) = self.known_as(&Fingerprint::of(secret, key), counted) {
            // To refuse promises nothing: there is no commit to wait for.
            let reused = Admission::Answer(RecordReply::KeyReused);
            return Some(if plays_hash == wanted.plays_hash() {
                answer
            } else {
                reused
            });
        }
        // A claim says that nothing under this key was counted here, whatever its plays are. The
        // shard that counts them knows them.
        let claimed = Fingerprint::of_claim(secret, key);
        let (_, claimed) = self.known_as(&claimed, RecordReply::Claimed)?;
        if is_claim {
            return Some(claimed);
        }
        // Whether the claim is durable yet does not matter: what is refused may come again.
        let ignored = mutants::active(Mutant::ClaimsIgnored);
        (!ignored).then_some(Admission::Answer(RecordReply::Moved))
    }

    /// The hash of the plays that are remembered under a fingerprint, and what is to be said of the
    /// same ones.
    fn known_as(&self, fingerprint: &Fingerprint, reply: RecordReply) -> Option<(u32, Admission)> {
        if let Some(plays_hash) = self.seen.plays_hash(fingerprint) {
            let soon = RecordReply::Busy { retry_after_s: 1 };
            let answer = Admission::Answer(if self.is_settled() { reply } else { soon });
            return Some((plays_hash, answer));
        }
        let Pending { ticket, plays_hash } = *self.pending.get(fingerprint)?;
        Some((plays_hash, Admission::Wait { ticket, reply }))
    }

    /// Whether other plays were counted under a key, or wait to be.
    fn check_name(&self, check: &NameCheck<'_>) -> RecordReply {
        let fingerprint = Fingerprint::of(&self.checkpoint.secret, check.key);
        match self.known_as(&fingerprint, RecordReply::NameFree) {
            Some((plays_hash, _)) if plays_hash != check.plays_hash => RecordReply::KeyReused,
            _ => RecordReply::NameFree,
        }
    }

    /// Whether the request is meant for another shard than the one this is.
    fn is_another(&self, region_id: &str, shard: u32) -> bool {
        let name = self.checkpoint.name.as_ref();
        name.is_some_and(|name| (name.0.as_str(), name.1) != (region_id, shard))
    }

    /// Takes note of a change of the number of shards; `false` if it is meant for another shard.
    /// After the next sync it may be said that this one knows.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn hear(
        &mut self,
        storage: &impl Storage,
        announcement: &Announcement<'_>,
    ) -> Result<bool, StorageError> {
        if self.is_another(announcement.region_id, announcement.shard) {
            return Ok(false);
        }
        if self.checkpoint.changes.learn(announcement.change) {
            self.header_dirty = true;
            let mut writes = Vec::new();
            self.write_header(&mut writes);
            storage.write(&writes)?;
            self.header_dirty = false;
        }
        Ok(true)
    }

    /// Whether a batch with this key was counted, or waits to be.
    pub fn knows(&self, key: &[u8]) -> bool {
        let fingerprint = Fingerprint::of(&self.checkpoint.secret, key);
        self.pending.contains_key(&fingerprint) || self.seen.contains(&fingerprint)
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
        if self.waiting.len() >= self.limits.waiting_requests
            || self.waiting_bytes + bytes > MAX_WAITING_BYTES
        {
            return Some(1);
        }
        let oldest = self.oldest_sealed_ms();
        let too_old = oldest
            .is_some_and(|sealed_ms| now_ms.saturating_sub(sealed_ms) > self.limits.outbox_age_ms);
        (too_old || self.outbox_bytes > self.limits.outbox_bytes).then_some(60)
    }

    fn oldest_sealed_ms(&self) -> Option<u64> {
        let oldest = self.outbox.first_key_value();
        oldest.map(|(_, entry)| entry.sealed_ms)
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
        self.counted.commit_sizes.add(commit.batches.len() as u64);
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
        let Some(wanted) = Wanted::decode(batch) else {
            // It was checked when it was admitted; only a row of another release gets here.
            self.damaged_rows += 1;
            return;
        };
        if let Some(fingerprint) = wanted.fingerprint(&self.checkpoint.secret) {
            if self.seen.contains(&fingerprint) {
                return;
            }
            self.seen.insert(fingerprint, wanted.plays_hash(), now_ms);
        }
        let Wanted::Plays(batch) = wanted else {
            return;
        };
        let seed = self.seed();
        self.counted.batch_sizes.add(batch.plays.len() as u64);
        for play in &batch.plays {
            self.counted.plays = self.counted.plays.saturating_add(u64::from(play.count));
            self.open
                .record(play.post_id, play.timestamp_ms, play.count, seed, now_ms);
        }
    }

    fn seal_over_the_limits(&mut self) {
        for key in self.open.over_the_limits(&self.limits) {
            if mutants::active(Mutant::LatePaneDropped) {
                self.open.panes.remove(&key);
            }
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
        rows >= self.limits.checkpoint_rows
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
            if mutants::active(Mutant::AlarmNotIdempotent)
                && let Some(pane) = self.open.panes.get(&key)
            {
                self.sealed.push((key, pane.clone()));
                continue;
            }
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
            if !mutants::active(Mutant::JournalNotCovered) {
                self.checkpoint.covered_seq = self.applied_seq;
            }
            self.checkpoint.written_ms = now_ms;
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
            let generation = self.header_generation;
            writes.extend(twin::writes(
                Table::Meta,
                CHECKPOINT_NAME,
                generation,
                &header,
            ));
        }
    }

    /// To be taken before a sync and handed to [`Shard::synced`] after it.
    pub fn sync_point(&self) -> SyncPoint {
        SyncPoint {
            load_id: self.load_id,
            next_offset: self.checkpoint.next_offset,
        }
    }

    /// What was written before the sync point is durable.
    pub fn synced(&mut self, point: SyncPoint) {
        if point.load_id != self.load_id {
            return;
        }
        self.settled = true;
        self.sendable_offset = self.sendable_offset.max(point.next_offset);
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

    /// Takes an entry that cannot be read out of the outbox; the bytes are kept. The global object
    /// is told that it is missing.
    pub(super) fn put_aside(
        &mut self,
        storage: &impl Storage,
        offset: u64,
    ) -> Result<(), StorageError> {
        let Some(entry) = self.outbox.remove(&offset) else {
            return Ok(());
        };
        self.outbox_bytes = self.outbox_bytes.saturating_sub(entry.bytes);
        self.damaged_rows += 1;
        let key = outbox_key(offset, entry.sealed_ms, entry.bytes);
        let Some(value) = storage.get(Table::Outbox, &key)? else {
            return Ok(());
        };
        storage.write(&[
            Write::put(Table::Meta, [DAMAGED_OUTBOX, &key[..]].concat(), value),
            Write::delete(Table::Outbox, key),
        ])
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
        self.checkpoint.log_start = self.checkpoint.next_offset;
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
            oldest_sealed_ms: self.oldest_sealed_ms(),
            counted: self.counted,
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
            log_start: 0,
            written_ms: 0,
            refuse_before_ms: 0,
            damaged_seen: 0,
            changes: Changes::default(),
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
