//! The state of a shard, and every change of it. See the folder's introduction.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::journal::{FoundCommit, Journal};
use super::outbox::{Outbox, rows_of};
use super::panes::{Applied, OpenPane, OpenPanes};
use super::seen::{Fate, Fingerprint, Seen};
use super::*;
use crate::capacity;
use crate::codec::{self, DecodeError, Record};
use crate::mutants::{self, Mutant};
use crate::storage::{Storage, StorageError, Table, Write, twin};
use crate::summary::{Seed, Summary};
use crate::topology::{Epoch, ShardId};
use crate::window::{Level, PaneKey};
use crate::wire::{
    Batch, BeginEpoch, Claim, Counted, Cut, CutRequest, MAX_PANE_AHEAD_MS, NameCheck, RecordReply,
    RecordRequest, SealedPane,
};

/// The two copies of the checkpoint's header: without it the journal would be counted again.
const CHECKPOINT_NAME: &[u8] = b"checkpoint/";
/// By so much a batch may seem to have been sent after it was counted: as long as its body may be under
/// way to a Worker. New batches are refused for so long after a damage, so it is no more than that.
const REFUSE_MARGIN_MS: u64 = 15_000;

/// What a checkpoint says besides panes, outbox and fingerprints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub log_id: u128,
    /// When the log began; later than the one before.
    pub log_began_ms: u64,
    /// The key of the fingerprints.
    pub secret: [u8; 16],
    /// Who this shard is, once it was told.
    pub name: Option<(String, u32)>,
    pub seed: Option<[u8; 16]>,
    /// [`Epoch::began_ms`] of what is counted here. None where the header was lost and no open pane
    /// says it: nothing is counted then, until somebody does.
    pub epoch_ms: Option<u64>,
    /// Where the log was cut last, for an export.
    pub cut: Option<Cut>,
    /// The journal up to here is in the panes and the outbox. A new log numbers its commits from the
    /// millisecond on in which it began: there are less than 1,000 a second, so no log of a shard has
    /// a number of one before.
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
}

impl Record for Checkpoint {
    const KIND: u8 = 35;
    const VERSION: u8 = 1;
}

/// Open panes as a checkpoint found them, as many as fit into a row: when each was opened, and an
/// encoded [`SealedPane`].
#[derive(Serialize, Deserialize)]
struct OpenPanesRow<'a> {
    /// [`Epoch::began_ms`] of what they count: the header may be lost.
    epoch_ms: u64,
    #[serde(borrow)]
    panes: Vec<(u64, &'a [u8])>,
}

impl Record for OpenPanesRow<'_> {
    const KIND: u8 = 41;
    const VERSION: u8 = 1;
}

/// A pane that takes no more plays and is not in the outbox yet.
struct SealedInMemory {
    key: PaneKey,
    pane: OpenPane,
    last_seq: u64,
}

impl SealedInMemory {
    fn encode(&self) -> Vec<u8> {
        let most_bytes = capacity::sealed_bytes(self.key.level);
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
    batches: Vec<Waiting>,
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub outbox_panes: u64,
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
    /// The log is to be cut then.
    cut_at_ms: Option<u64>,
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

    /// What becomes of it, where nothing has yet.
    fn fate(&self, seen: &mut Seen) -> Fate {
        let moved_to = match self {
            Wanted::Plays(_) => None,
            Wanted::Claim(claim) => Some(seen.shared(claim.to.clone())),
        };
        Fate {
            plays_hash: self.plays_hash(),
            moved_to,
        }
    }

    /// Whether it is a claim for the very shard that decides: no Worker sends one.
    fn is_for(&self, key: &str, shard: u32) -> bool {
        matches!(self, Wanted::Claim(Claim { to, .. }) if to.key == key && to.shard == shard)
    }

    /// Whether the global object might refuse the panes of its plays, for as long as their time has
    /// not come: a Worker's clock is wrong.
    fn is_ahead_of(&self, now_ms: u64) -> bool {
        let limit_ms = now_ms.saturating_add(MAX_PANE_AHEAD_MS / 2);
        match self {
            Wanted::Plays(batch) => batch.plays.iter().any(|play| play.timestamp_ms > limit_ms),
            Wanted::Claim(_) => false,
        }
    }

    /// What it is remembered by.
    fn fingerprint(&self, secret: &[u8; 16]) -> Option<Fingerprint> {
        self.key().map(|key| Fingerprint::of(secret, key))
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
        let checkpoint = stored
            .record
            .unwrap_or_else(|| Checkpoint::new(random, now_ms));
        let covered_seq = if lost_header {
            0
        } else {
            checkpoint.covered_seq
        };
        let (journal, mut commits, damaged_journal) =
            Journal::load(storage, covered_seq, limits.journal_rows)?;
        let mut shard = Shard {
            applied_seq: checkpoint.covered_seq,
            applied_ms: now_ms,
            header_dirty: is_new,
            header_generation: stored.generation,
            wanted_offset: 0,
            sendable_offset: 0,
            checkpoint,
            journal,
            open: OpenPanes::default(),
            sealed: Vec::new(),
            sealed_bytes: 0,
            open_rows: BTreeSet::new(),
            unread_open_rows: BTreeSet::new(),
            seen: Seen::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            pending: BTreeMap::new(),
            in_flight: None,
            next_ticket: 1,
            outbox: Outbox::default(),
            damaged_rows: stored.damaged + damaged_journal,
            load_id: random.first_chunk().map_or(0, |id| u64::from_be_bytes(*id)),
            settled: false,
            cut_at_ms: None,
            counted: Counted::default(),
            limits,
        };
        if lost_header {
            shard.begin_beside_lost_header(storage, &mut commits, now_ms)?;
        }
        shard.load_open_panes(storage)?;
        let (outbox, damaged_keys) = Outbox::load(storage, shard.checkpoint.log_start)?;
        shard.outbox = outbox;
        shard.damaged_rows += damaged_keys;
        shard.wanted_offset = shard.oldest_offset();
        shard.load_seen(storage, lost_header, now_ms)?;
        for commit in &commits {
            let seq = commit.last_seq;
            for batch in &commit.batches {
                shard.apply(batch, Applied { seq, now_ms });
            }
            shard.applied_seq = seq;
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
                    let fate = wanted.fate(&mut self.seen);
                    self.seen.insert(fingerprint, fate, now_ms);
                }
            }
            self.applied_seq = self.applied_seq.max(commit.last_seq);
        }
        self.journal.cover(self.applied_seq);
        self.checkpoint.covered_seq = self.applied_seq;
        // The open panes say it.
        self.checkpoint.epoch_ms = None;
        let next = Outbox::next_free_offset(storage)?;
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
        if mutants::active(Mutant::DamagedClaimsForgotten) {
            damaged = 0;
        }
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

    /// Takes back what the last checkpoint left open: what every row there holds, with a header or
    /// without. What is of an epoch before the last that is known is over.
    fn load_open_panes(&mut self, storage: &impl Storage) -> Result<(), StorageError> {
        let seed = self.seed();
        let mut rows = Vec::new();
        for (key, row) in storage.scan(Table::OpenPanes, &[], &[], usize::MAX)? {
            let Ok(number) = key.try_into().map(u64::from_be_bytes) else {
                self.damaged_rows += 1;
                continue;
            };
            let Some((epoch_ms, panes)) = read_open_row(&row, seed) else {
                self.damaged_rows += 1;
                self.unread_open_rows.insert(number);
                continue;
            };
            self.open_rows.insert(number);
            rows.push((epoch_ms, panes));
        }
        let known_ms = &mut self.checkpoint.epoch_ms;
        if known_ms.is_none() {
            *known_ms = rows.iter().map(|(epoch_ms, _)| *epoch_ms).max();
        }
        let epoch_ms = self.epoch_ms();
        let rows = rows.into_iter().filter(|(of_ms, _)| *of_ms >= epoch_ms);
        for (_, panes) in rows {
            for (key, pane) in panes {
                // Two panes of one span: one of them could not be read for a while.
                if let Some(other) = self.open.panes.insert(key, pane) {
                    self.add_sealed(key, other);
                }
            }
        }
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
        if wanted.is_ahead_of(now_ms) || wanted.is_for(request.region_id, request.shard) {
            return Admission::Answer(RecordReply::Invalid);
        }
        if let Some(retry_after_s) = self.overload(request.batch.len(), now_ms) {
            return Admission::Answer(RecordReply::Busy { retry_after_s });
        }
        self.introduce(request.region_id, request.shard, request.seed);
        if self.checkpoint.epoch_ms.is_none() {
            self.checkpoint.epoch_ms = Some(request.epoch_ms);
            self.header_dirty = true;
        }
        let fate = wanted.fate(&mut self.seen);
        let reply = reply_of(&fate, false);
        let fingerprint = wanted.fingerprint(&self.checkpoint.secret);
        if mutants::active(Mutant::ClaimsNotJournaled)
            && let Some((fingerprint, _)) = fingerprint.zip(fate.moved_to.as_ref())
        {
            self.seen.remember_in_memory_alone(fingerprint, fate);
            return Admission::Answer(reply);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if let Some(fingerprint) = fingerprint {
            self.pending.insert(fingerprint, Pending { ticket, fate });
        }
        self.waiting_bytes += request.batch.len();
        self.waiting.push_back(Waiting {
            ticket,
            fingerprint,
            batch: request.batch.to_vec(),
        });
        Admission::Wait { ticket, reply }
    }

    /// What is to be said of a batch of which it is known what became of it, or is about to.
    fn known(&self, wanted: &Wanted<'_>) -> Option<Admission> {
        let fingerprint = wanted.fingerprint(&self.checkpoint.secret)?;
        let (mut fate, ticket) = self.known_as(&fingerprint)?;
        let is_same = fate.plays_hash == wanted.plays_hash();
        if !is_same && !mutants::active(Mutant::NamesReused) {
            // To refuse promises nothing: there is no commit to wait for.
            return Some(Admission::Answer(RecordReply::KeyReused));
        }
        let mut answers_at_once = false;
        match wanted {
            Wanted::Plays(_) if fate.moved_to.is_some() => {
                if mutants::active(Mutant::ClaimsIgnored) {
                    return None;
                }
            }
            Wanted::Claim(claim) => {
                let takes_its_own = match &fate.moved_to {
                    Some(_) => mutants::active(Mutant::OwnTarget),
                    None if ticket.is_some() => mutants::active(Mutant::ClaimPassesCommit),
                    None => mutants::active(Mutant::ClaimBlind),
                };
                if takes_its_own {
                    answers_at_once = fate.moved_to.is_none();
                    fate.moved_to = Some(Rc::new(claim.to.clone()));
                }
            }
            Wanted::Plays(_) => {}
        }
        answers_at_once |= fate.moved_to.is_some() && mutants::active(Mutant::MovedBeforeDurable);
        let reply = reply_of(&fate, true);
        Some(match ticket {
            Some(ticket) if !answers_at_once => Admission::Wait { ticket, reply },
            None if !self.is_settled() => Admission::Answer(RecordReply::Busy { retry_after_s: 1 }),
            _ => Admission::Answer(reply),
        })
    }

    /// What became of the batch of a fingerprint; with the ticket of the commit that this waits for.
    fn known_as(&self, fingerprint: &Fingerprint) -> Option<(Fate, Option<u64>)> {
        if let Some(fate) = self.seen.fate(fingerprint) {
            return Some((fate, None));
        }
        let Pending { ticket, fate } = self.pending.get(fingerprint)?;
        Some((fate.clone(), Some(*ticket)))
    }

    /// Whether other plays had a key, or are about to have it.
    fn check_name(&self, check: &NameCheck<'_>) -> RecordReply {
        let fingerprint = Fingerprint::of(&self.checkpoint.secret, check.key);
        match self.known_as(&fingerprint) {
            Some((fate, _)) if fate.plays_hash != check.plays_hash => RecordReply::KeyReused,
            _ => RecordReply::NameFree,
        }
    }

    /// Its region and number, once it was told.
    pub fn name(&self) -> Option<(&str, u32)> {
        let name = self.checkpoint.name.as_ref();
        name.map(|(region_id, shard)| (region_id.as_str(), *shard))
    }

    /// Whether the request is meant for another shard than the one this is.
    fn is_another(&self, region_id: &str, shard: u32) -> bool {
        self.name().is_some_and(|name| name != (region_id, shard))
    }

    /// Takes note that counting has begun anew; `false` if another shard is meant. After the next sync
    /// it may be said that this one knows. `random` names the next log.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn begin_epoch(
        &mut self,
        storage: &impl Storage,
        news: &BeginEpoch<'_>,
        random: [u8; 16],
    ) -> Result<bool, StorageError> {
        if self.is_another(news.region_id, news.shard) {
            return Ok(false);
        }
        self.follow(storage, news.epoch, random)?;
        Ok(true)
    }

    /// Counts anew where the installation does: forgets all that was counted before, whether or not
    /// the global object has it. Batches that were counted go on being known, so that none of them is
    /// counted again; what waits for its commit counts in the new epoch. `random` names the new log.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn follow(
        &mut self,
        storage: &impl Storage,
        epoch: Epoch,
        random: [u8; 16],
    ) -> Result<(), StorageError> {
        let known_ms = self.checkpoint.epoch_ms;
        if known_ms.is_some_and(|known_ms| epoch.began_ms <= known_ms) {
            return Ok(());
        }
        self.checkpoint.epoch_ms = Some(epoch.began_ms);
        self.checkpoint.seed = Some(epoch.seed);
        if known_ms.is_none() {
            // What is stored and cannot be read may be of this epoch: nothing goes.
            self.header_dirty = true;
            let mut header = Vec::new();
            self.write_header(&mut header);
            storage.write(&header)?;
            self.header_dirty = false;
            return Ok(());
        }
        self.checkpoint.cut = None;
        self.cut_at_ms = None;
        self.sealed.clear();
        self.sealed_bytes = 0;
        if !mutants::active(Mutant::PanesSurviveTheirEpoch) {
            self.open.clear();
        }
        // The rows of what is in flight come after these.
        self.checkpoint.covered_seq = self.applied_seq;
        storage.atomically(|| {
            let mut writes = self.start_new_log(u128::from_be_bytes(random));
            writes.extend(Outbox::put_aside_rows(storage)?);
            // Nor does anything of it stay that cannot be read today.
            let numbers = std::mem::take(&mut self.unread_open_rows);
            let numbers = numbers.iter().map(|number| number.to_be_bytes());
            writes.extend(numbers.map(|key| Write::delete(Table::OpenPanes, key)));
            writes.extend(self.journal.clear(storage, self.applied_seq)?);
            // Those that the journal alone has: it is covered from here on.
            writes.extend(self.seen.save(self.applied_ms));
            let written_ms = &mut self.checkpoint.written_ms;
            *written_ms = self.applied_ms.max(*written_ms);
            storage.write(&writes)?;
            self.save_open(storage)?;
            let mut header = Vec::new();
            self.write_header(&mut header);
            storage.write(&header)
        })?;
        self.header_dirty = false;
        self.journal.cover(self.applied_seq);
        Ok(())
    }

    /// Is to cut its log at a moment, for an export; `false` if another shard is meant, if it has
    /// counted something since that moment, or if it knows of a later one: the export of the earlier
    /// is over. A shard that does not know who it is learns it.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn cut_at(
        &mut self,
        storage: &impl Storage,
        request: &CutRequest<'_>,
        random: [u8; 16],
    ) -> Result<bool, StorageError> {
        let is_late = self.applied_ms >= request.at_ms;
        if is_late || self.is_another(request.region_id, request.shard) {
            return Ok(false);
        }
        self.follow(storage, request.epoch, random)?;
        self.introduce(request.region_id, request.shard, request.epoch.seed);
        let cut_ms = self.checkpoint.cut.map(|cut| cut.at_ms);
        let known_ms = self.cut_at_ms.max(cut_ms);
        if known_ms < Some(request.at_ms) {
            self.cut_at_ms = Some(request.at_ms);
        }
        Ok(known_ms <= Some(request.at_ms))
    }

    /// How long until its log is to be cut, if it is.
    pub fn cut_in_ms(&self, now_ms: u64) -> Option<u64> {
        self.cut_at_ms.map(|at_ms| at_ms.saturating_sub(now_ms))
    }

    /// Cuts the log if it is time: to be asked before anything more is committed. All that is counted is
    /// sealed, and lies below the cut.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn cut_if_due(
        &mut self,
        storage: &impl Storage,
        now_ms: u64,
    ) -> Result<bool, StorageError> {
        let Some(at_ms) = self.cut_at_ms.filter(|at_ms| now_ms >= *at_ms) else {
            return Ok(false);
        };
        self.cut_at_ms = None;
        let keys: Vec<PaneKey> = self.open.panes.keys().copied().collect();
        for key in keys {
            self.seal(key);
        }
        let offset = self.checkpoint.next_offset + self.sealed.len() as u64;
        self.checkpoint.cut = Some(Cut { at_ms, offset });
        self.header_dirty = true;
        self.checkpoint(storage, now_ms)?;
        Ok(true)
    }

    /// Whether it is known what became of a batch with this key, or is about to.
    pub fn knows(&self, key: &[u8]) -> bool {
        let fingerprint = Fingerprint::of(&self.checkpoint.secret, key);
        self.pending.contains_key(&fingerprint) || self.seen.contains(&fingerprint)
    }

    /// Takes the name and, where it has none yet, the seed from a request.
    fn introduce(&mut self, region_id: &str, shard: u32, seed: [u8; 16]) {
        if self.checkpoint.name.is_none() {
            self.checkpoint.name = Some((region_id.to_owned(), shard));
            self.header_dirty = true;
        }
        if self.checkpoint.seed.is_none() {
            self.checkpoint.seed = Some(seed);
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
        (too_old || self.outbox.bytes() > self.limits.outbox_bytes).then_some(60)
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
        let seq = commit.last_seq;
        for waiting in &commit.batches {
            self.apply(&waiting.batch, Applied { seq, now_ms });
            if let Some(fingerprint) = &waiting.fingerprint {
                self.pending.remove(fingerprint);
            }
        }
        self.applied_seq = seq;
        self.applied_ms = now_ms;
        self.seal_over_the_limits();
        Some(commit.first_ticket..=commit.last_ticket)
    }

    /// Counts a journaled batch, unless it was counted before.
    fn apply(&mut self, batch: &[u8], applied: Applied) {
        let Some(wanted) = Wanted::decode(batch) else {
            // It was checked when it was admitted; only a row of another release gets here.
            self.damaged_rows += 1;
            return;
        };
        if let Some(fingerprint) = wanted.fingerprint(&self.checkpoint.secret) {
            if let Some(known) = self.seen.fate(&fingerprint) {
                let counts_twice =
                    known.moved_to.is_some() && mutants::active(Mutant::ClaimsIgnored);
                if !counts_twice {
                    return;
                }
            }
            let fate = wanted.fate(&mut self.seen);
            self.seen.insert(fingerprint, fate, applied.now_ms);
        }
        let Wanted::Plays(batch) = wanted else {
            return;
        };
        let seed = self.seed();
        self.counted.batch_sizes.add(batch.plays.len() as u64);
        for play in &batch.plays {
            self.counted.plays = self.counted.plays.saturating_add(u64::from(play.count));
            self.open
                .record(play.post_id, play.timestamp_ms, play.count, seed, applied);
        }
    }

    fn seal_over_the_limits(&mut self) {
        for key in self.open.over_the_limits(&self.limits) {
            if mutants::active(Mutant::LatePaneDropped) {
                self.open.remove(key);
            }
            self.seal(key);
        }
    }

    pub(super) fn seal(&mut self, key: PaneKey) {
        if let Some(pane) = self.open.remove(key) {
            self.add_sealed(key, pane);
        }
    }

    fn add_sealed(&mut self, key: PaneKey, pane: OpenPane) {
        self.sealed_bytes += pane.summary.heap_bytes();
        let last_seq = self.applied_seq;
        self.sealed.push(SealedInMemory {
            key,
            pane,
            last_seq,
        });
    }

    /// Whether a checkpoint must be written now, after a commit: the journal grows too long, or
    /// too much is sealed in memory. Panes whose time has come wait for the next push, so what
    /// they cost does not grow with the number of commits.
    pub fn checkpoint_is_needed(&self) -> bool {
        let (rows, bytes) = self.journal.uncovered();
        rows >= self.limits.checkpoint_rows
            || bytes >= CHECKPOINT_BYTES
            || self.sealed_bytes >= self.limits.sealed_bytes
    }

    /// Whether a checkpoint should be written before a push: there is something to seal, too.
    pub fn checkpoint_is_due(&self, now_ms: u64) -> bool {
        self.checkpoint_is_needed() || !self.sealed.is_empty() || !self.open.due(now_ms).is_empty()
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
                self.add_sealed(key, pane.clone());
                continue;
            }
            self.seal(key);
        }
        storage.atomically(|| {
            self.save_sealed(storage, now_ms)?;
            self.save_open(storage)?;
            if let Some(write) = self.seen.save(now_ms) {
                self.header_dirty = true;
                storage.write(&[write])?;
            }
            if self.checkpoint.covered_seq != self.applied_seq || self.header_dirty {
                if !mutants::active(Mutant::JournalNotCovered) {
                    self.checkpoint.covered_seq = self.applied_seq;
                }
                self.checkpoint.written_ms = now_ms;
                self.header_dirty = true;
            }
            let mut header = Vec::new();
            self.write_header(&mut header);
            storage.write(&header)
        })?;
        self.header_dirty = false;
        self.journal.cover(self.applied_seq);
        Ok(())
    }

    /// Moves what is sealed into the outbox.
    fn save_sealed(&mut self, storage: &impl Storage, now_ms: u64) -> Result<(), StorageError> {
        if self.sealed.is_empty() {
            return Ok(());
        }
        let sealed = std::mem::take(&mut self.sealed);
        self.sealed_bytes = 0;
        let panes: Vec<Vec<u8>> = sealed.iter().map(SealedInMemory::encode).collect();
        let (offset, row_bytes) = (self.checkpoint.next_offset, self.limits.row_bytes);
        self.outbox
            .add(storage, offset, &panes, row_bytes, now_ms)?;
        self.checkpoint.next_offset += panes.len() as u64;
        self.header_dirty = true;
        Ok(())
    }

    /// Writes the open panes, if they changed, in place of those of the checkpoint before. Rows that
    /// are not needed any more are deleted, not left: the panes in them were sealed, and nobody but a
    /// header could tell a start so.
    fn save_open(&mut self, storage: &impl Storage) -> Result<(), StorageError> {
        if !std::mem::take(&mut self.open.changed) {
            return Ok(());
        }
        let last_seq = self.applied_seq;
        let panes = self.open.panes.iter();
        let panes = panes.map(|(key, pane)| {
            // Only ids that are very long take more: after a restart they have fewer counters.
            let summary = capacity::encode_within(&pane.summary, capacity::MOST_PANE_BYTES);
            encode_pane(*key, pane, last_seq, &summary)
        });
        let panes: Vec<Vec<u8>> = panes.collect();
        let mut opened_ms = self.open.panes.values().map(|pane| pane.opened_ms);
        let free = (0_u64..).filter(|number| !self.unread_open_rows.contains(number));
        let mut written = BTreeSet::new();
        for (number, panes) in free.zip(rows_of(&panes, self.limits.row_bytes)) {
            let panes = panes.iter().map(Vec::as_slice);
            let row = OpenPanesRow {
                epoch_ms: self.epoch_ms(),
                panes: opened_ms.by_ref().zip(panes).collect(),
            };
            let row = Write::put(Table::OpenPanes, number.to_be_bytes(), codec::encode(&row));
            storage.write(&[row])?;
            written.insert(number);
        }
        let emptied = self.open_rows.difference(&written);
        let deletes: Vec<Write> = emptied
            .map(|number| Write::delete(Table::OpenPanes, number.to_be_bytes()))
            .collect();
        self.open_rows = written;
        storage.write(&deletes)
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
        let mut writes = self.outbox.forget_below(u64::MAX);
        self.checkpoint.log_id = log_id;
        self.checkpoint.log_began_ms += 1;
        self.checkpoint.log_start = self.checkpoint.next_offset;
        self.wanted_offset = self.checkpoint.next_offset;
        self.header_dirty = true;
        self.write_header(&mut writes);
        writes
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

    /// Panes that are sealed and not in the outbox yet, encoded.
    pub(super) fn sealed_in_memory(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.sealed.iter().map(SealedInMemory::encode)
    }

    pub(super) fn oldest_offset(&self) -> u64 {
        let first = self.outbox.first();
        first.map_or(self.checkpoint.next_offset, |row| row.first_offset)
    }

    pub fn health(&self) -> Health {
        Health {
            damaged_rows: self.damaged_rows,
            waiting: self.waiting.len(),
            open_panes: self.open.panes.len(),
            outbox_panes: self.outbox.panes(),
            outbox_bytes: self.outbox.bytes(),
            remembered_batches: self.seen.len(),
            oldest_sealed_ms: self.oldest_sealed_ms(),
            counted: self.counted,
        }
    }
}

/// What is said of a batch that this became of.
fn reply_of(fate: &Fate, repeated: bool) -> RecordReply {
    match &fate.moved_to {
        None => RecordReply::counted(repeated),
        Some(to) => RecordReply::Moved {
            to: ShardId::clone(to),
        },
    }
}

impl Checkpoint {
    fn new(random: [u8; 32], now_ms: u64) -> Self {
        let (log_id, secret) = random.split_at(16);
        Checkpoint {
            log_id: log_id.try_into().map_or(0, u128::from_be_bytes),
            log_began_ms: now_ms,
            secret: secret.try_into().unwrap_or_default(),
            name: None,
            seed: None,
            epoch_ms: Some(0),
            cut: None,
            covered_seq: match mutants::active(Mutant::CommitsNumberedAnew) {
                true => 0,
                false => now_ms,
            },
            next_offset: 0,
            log_start: 0,
            written_ms: 0,
            refuse_before_ms: 0,
            damaged_seen: 0,
        }
    }
}

/// A pane as it is sent and stored; `summary` is its own, encoded, or what there is room for.
pub(super) fn encode_pane(key: PaneKey, pane: &OpenPane, last_seq: u64, summary: &[u8]) -> Vec<u8> {
    codec::encode(&SealedPane {
        level: key.level.code(),
        start_ms: key.start_ms,
        first_seq: pane.first_seq,
        // Where a clock was set back before a header was lost, the open panes are of later commits.
        last_seq: last_seq.max(pane.first_seq),
        summary,
    })
}

/// The panes of a row and the epoch that they count in, if all of them can be read.
fn read_open_row(row: &[u8], seed: Seed) -> Option<(u64, Vec<(PaneKey, OpenPane)>)> {
    let OpenPanesRow { epoch_ms, panes } = codec::decode(row).ok()?;
    let panes = panes.into_iter();
    let panes = panes.map(|(opened_ms, pane)| read_open_pane(pane, opened_ms, seed));
    Some((epoch_ms, panes.collect::<Option<Vec<_>>>()?))
}

fn read_open_pane(pane: &[u8], opened_ms: u64, seed: Seed) -> Option<(PaneKey, OpenPane)> {
    let pane: SealedPane<'_> = codec::decode(pane).ok()?;
    let key = PaneKey::checked(Level::from_code(pane.level)?, pane.start_ms)?;
    let mut summary = Summary::decode(pane.summary, seed).ok()?;
    capacity::reopen(&mut summary);
    let open = OpenPane {
        summary,
        opened_ms,
        first_seq: pane.first_seq,
    };
    Some((key, open))
}
