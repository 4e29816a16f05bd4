//! The state of the global object, and every change of it. See the folder's introduction.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::catalog::Catalog;
use super::damage::Damage;
use super::ladder;
use super::live::{Copies, Live, SentPane, merge_entries};
use super::logs::{Logs, ShardName, Turn};
use super::moment::{Cutting, Moment, write_apart};
use super::pace::Pace;
use super::recent::Recent;
use super::regions::{self, FirstRegion, Installation, RegionRows};
use super::room::Room;
use super::runs::Runs;
use super::transfer;
use super::work::Work;
use super::*;
use crate::codec;
use crate::mutants::{self, Mutant};
use crate::storage::{Storage, StorageError, Table};
use crate::summary::{Seed, Summary};
use crate::topology::{DeletedRegion, GLOBAL_SCOPE, MAX_SHARDS, Region, RegionTable};
use crate::window::{DAY_MS, HOUR_MS, Level, PaneKey, fold_targets};
use crate::wire::{
    CatalogEntry, DeleteRegion, MAX_PANE_AHEAD_MS, PostList, PostPatch, Push, PushReply, PutRegion,
    Refusal, Reset, ResetDone, SealedPane,
};

/// How often panes that no question can reach are looked for.
const EXPIRE_EVERY_MS: u64 = HOUR_MS;

/// Figures for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Rows that could not be read: those of the regions, the seed, the offsets and an export's at the start,
    /// those of panes and posts when they were asked for.
    pub damaged_rows: u64,
    pub damaged_regions: usize,
    pub gaps: u64,
    pub pending_bytes: usize,
    pub refused_pushes: u64,
}

/// What was folded when a sync began. See [`Global::synced`].
pub struct SyncPoint(Vec<(ShardName, u128, u64)>);

/// Tells what is stored at one moment from what is at the next.
#[derive(Clone, Default)]
pub struct Stamp(Rc<()>);

impl PartialEq for Stamp {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

/// The state machine of the global object. Storage and clock are handed in.
pub struct Global {
    pub(super) table: RegionTable,
    pub(super) region_rows: RegionRows,
    pub(super) logs: Logs,
    pub(super) live: Live,
    pub(super) runs: Runs,
    pub(super) catalog: Catalog,
    pub(super) recent: RefCell<Recent>,
    pub(super) work: Work,
    /// Rows of the ladders.
    pub(super) damage: Damage,
    refused_pushes: u64,
    expired_ms: u64,
    /// When days were thinned last.
    thinned_day: Cell<u64>,
    flushed_ms: u64,
    pub(super) folds: u64,
    pub(super) folded_panes: u64,
    limits: GlobalLimits,
    pace: Pace,
    /// When this state was first asked for anything.
    started_ms: Cell<Option<u64>>,
    /// Shards that had something open before this state was loaded and were not heard of since,
    /// and when they were heard last.
    unheard: BTreeMap<ShardName, u64>,
    /// An export whose moment is to come, or was a moment ago.
    pub(super) cutting: Option<Cutting>,
    /// The moment of an export that is read.
    pub(super) moment: Moment,
    /// What is stored now: another wherever pages are to be begun anew.
    pub(super) stamp: Stamp,
    /// When a shard of each region was heard of last before this state was loaded.
    heard_before: BTreeMap<String, u64>,
}

impl Global {
    /// Makes the state from what is stored, and at the first start the seed and the regions.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load(
        storage: &impl Storage,
        first_regions: &[FirstRegion],
        random: [u8; 16],
    ) -> Result<Self, StorageError> {
        Self::load_within(storage, first_regions, random, GlobalLimits::default())
    }

    /// [`Global::load`] with limits of one's own.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load_within(
        storage: &impl Storage,
        first_regions: &[FirstRegion],
        random: [u8; 16],
        limits: GlobalLimits,
    ) -> Result<Self, StorageError> {
        let (table, region_rows, writes) = regions::load(storage, first_regions, random)?;
        if !writes.is_empty() {
            storage.write(&writes)?;
        }
        let keys: Vec<String> = table.keys().map(Cow::into_owned).collect();
        let logs = Logs::load(storage, &keys)?;
        Ok(Global {
            unheard: logs
                .with_open()
                .filter(|_| !mutants::active(Mutant::NobodyMissed))
                .map(|(shard, heard_ms)| (shard.clone(), heard_ms))
                .collect(),
            heard_before: logs.heard_by_region(),
            logs,
            catalog: Catalog::load(storage)?,
            table,
            live: Live::default(),
            runs: Runs::default(),
            recent: RefCell::default(),
            work: Work::default(),
            region_rows,
            damage: Damage::default(),
            refused_pushes: 0,
            expired_ms: 0,
            thinned_day: Cell::new(0),
            flushed_ms: 0,
            folds: 0,
            folded_panes: 0,
            limits,
            pace: Pace::new(limits.push_gap_ms),
            started_ms: Cell::default(),
            cutting: None,
            moment: Moment::load(storage)?,
            stamp: Stamp::default(),
        })
    }

    /// What the settings said of regions at the start and the table did not, a sentence each.
    pub fn region_differences(&self) -> &[String] {
        &self.region_rows.differences
    }

    /// The regions and the seed, for Workers.
    pub fn table(&self) -> &RegionTable {
        &self.table
    }

    pub(super) fn seed(&self) -> Seed {
        Seed::from_bytes(self.table.seed)
    }

    /// Takes a push, also where memory is short: refusing it would keep what could be freed. `is_short`
    /// says so, of all that the instance holds and with what the push itself takes.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed, but for [`Refusal::Storage`]: drop this state and load it anew.
    pub fn take_push_within(
        &mut self,
        storage: &impl Storage,
        push: &[u8],
        is_short: impl Fn(&Self) -> bool,
        now_ms: u64,
    ) -> Result<PushReply, Refusal> {
        self.end_idle_export(storage, now_ms)?;
        if is_short(self) {
            let freed = self.free_memory(storage, now_ms);
            freed.map_err(|error| Refusal::Storage(error.0))?;
        }
        match is_short(self) {
            true => self.take_entries(push, now_ms),
            false => self.take_push(push, now_ms),
        }
    }

    /// Takes a push. The reply may be sent at once: it promises only what is durable.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn take_push(&mut self, push: &[u8], now_ms: u64) -> Result<PushReply, Refusal> {
        self.take_as_checked(push, true, now_ms)
    }

    /// Takes a push's entries and leaves its copies, for want of memory: charts say that they are
    /// `incomplete` until the shard pushes again.
    ///
    /// # Errors
    /// As [`Global::take_push`].
    pub fn take_entries(&mut self, push: &[u8], now_ms: u64) -> Result<PushReply, Refusal> {
        self.take_as_checked(push, false, now_ms)
    }

    fn take_as_checked(
        &mut self,
        push: &[u8],
        with_copies: bool,
        now_ms: u64,
    ) -> Result<PushReply, Refusal> {
        self.started_ms.set(self.started_ms.get().or(Some(now_ms)));
        let taken = self
            .check_push(push, with_copies, now_ms)
            .map(|push| self.take(push, now_ms));
        self.refused_pushes += u64::from(taken.is_err());
        taken
    }

    /// Whether this keeps what the sender is to keep: see [`PushLimits`](crate::wire::PushLimits).
    fn is_within_limits(&self, push: &Push<'_>) -> bool {
        let bytes = |panes: &[&[u8]]| panes.iter().map(|pane| pane.len()).sum::<usize>();
        let (entries, copies) = (bytes(&push.entries), bytes(&push.copies));
        let is_one = push.entries.len() == 1;
        (is_one || entries + copies <= self.limits.push.bytes)
            && copies <= self.limits.push.copy_bytes
            && (is_one || push.entries.len() + push.copies.len() <= self.limits.push.panes)
    }

    fn check_push<'a>(
        &self,
        push: &'a [u8],
        with_copies: bool,
        now_ms: u64,
    ) -> Result<CheckedPush<'a>, Refusal> {
        let invalid = |detail: String| Refusal::Invalid(detail);
        let push: Push<'_> = codec::decode(push).map_err(|error| invalid(error.to_string()))?;
        if !self.table.knows_key(push.region_id) {
            return Err(Refusal::UnknownRegion);
        }
        if self.logs.is_damaged(push.region_id) {
            return Err(Refusal::Damaged(format!(
                "offsets of region {}",
                push.region_id
            )));
        }
        let last = push.first_offset.checked_add(push.entries.len() as u64);
        let contradicts = push.shard >= MAX_SHARDS
            || push.first_offset < push.oldest_offset
            || last.is_none_or(|last| last > push.next_offset);
        if contradicts {
            return Err(invalid("offsets contradict each other".into()));
        }
        if !self.is_within_limits(&push) {
            return Err(invalid("more than a push may hold".into()));
        }
        let shard = (push.region_id.to_owned(), push.shard);
        let log = (push.log_id, push.log_began_ms);
        if self.logs.is_forgotten(&shard, log) {
            return Err(invalid("a log that was forgotten".into()));
        }
        let mut entries = Vec::with_capacity(push.entries.len());
        for entry in &push.entries {
            entries.push(match *entry {
                [] => None,
                pane => Some(self.check_pane(pane, now_ms)?.0),
            });
        }
        // What was decoded to be checked is kept until it is merged, where there is room.
        let mut room = self.live.decoded_room();
        let mut copies = Vec::with_capacity(push.copies.len());
        let mut decoded = Vec::new();
        for copy in push.copies.iter().filter(|_| with_copies) {
            let (sent, summary) = self.check_pane(copy, now_ms)?;
            room = room.saturating_sub(sent.decoded_bytes);
            if room > 0 {
                decoded.push((sent.key, Rc::new(summary)));
            }
            copies.push(sent);
        }
        if decoded.len() < copies.len() {
            decoded.clear();
        }
        Ok(CheckedPush {
            shard,
            push,
            entries,
            copies,
            decoded,
        })
    }

    fn check_pane(&self, pane: &[u8], now_ms: u64) -> Result<(SentPane, Summary), Refusal> {
        let invalid = |detail: String| Refusal::Invalid(detail);
        let pane: SealedPane<'_> =
            codec::decode(pane).map_err(|error| invalid(format!("pane: {error}")))?;
        let key = Level::from_code(pane.level)
            .and_then(|level| PaneKey::checked(level, pane.start_ms))
            .filter(|key| key.start_ms <= now_ms.saturating_add(MAX_PANE_AHEAD_MS))
            .ok_or_else(|| invalid("pane: no such span".into()))?;
        if pane.first_seq > pane.last_seq {
            return Err(invalid("pane: no such commits".into()));
        }
        let decoded = Summary::decode(pane.summary, self.seed())
            .map_err(|error| invalid(format!("summary: {error}")))?;
        let sent = SentPane {
            key,
            first_seq: pane.first_seq,
            last_seq: pane.last_seq,
            summary: pane.summary.into(),
            decoded_bytes: decoded.heap_bytes(),
        };
        Ok((sent, decoded))
    }

    fn take(&mut self, checked: CheckedPush<'_>, now_ms: u64) -> PushReply {
        let CheckedPush {
            shard,
            push,
            entries,
            copies,
            decoded,
        } = checked;
        if push.epoch_ms < self.table.epoch_ms && !mutants::active(Mutant::OldEpochTaken) {
            // It was counted before counting began anew: the shard forgets it when it hears of it.
            return PushReply {
                wanted_offset: push.first_offset,
                durable_offset: push.oldest_offset,
                epoch_ms: self.table.epoch_ms,
                seed: self.table.seed,
                push_interval_ms: self.pace.interval_ms(),
            };
        }
        // Until the moment is kept, however late that is.
        let cutting = self.cutting.as_mut();
        let limit = cutting.and_then(|cutting| cutting.limit(&shard, &push));
        let log = self.logs.log(
            &shard,
            (push.log_id, push.log_began_ms),
            push.oldest_offset,
            now_ms,
        );
        let pause_ms = now_ms.saturating_sub(log.last_heard_ms);
        self.pace.add(pause_ms, now_ms);
        log.last_heard_ms = now_ms;
        let mut gaps = 0;
        if let Turn::Take { skip } = log.turn(push.first_offset) {
            let skip = match mutants::active(Mutant::FoldWithoutOffsetCheck) {
                true => 0,
                false => skip,
            };
            let most = limit.map_or(usize::MAX, |limit| {
                usize::try_from(limit.saturating_sub(log.accepted)).unwrap_or(usize::MAX)
            });
            let taken: Vec<Option<SentPane>> = entries.into_iter().skip(skip).take(most).collect();
            if !taken.is_empty() {
                log.accepted += taken.len() as u64;
                gaps = taken.iter().filter(|pane| pane.is_none()).count() as u64;
                let panes = taken.into_iter().flatten().collect();
                self.live.add_pending(&shard, panes, now_ms);
            }
        }
        let are_entries_missing = log.accepted < push.next_offset;
        let reply = PushReply {
            wanted_offset: log.accepted,
            durable_offset: log.durable,
            // A later one, where this object was set back: the shard stays where it is.
            epoch_ms: self.table.epoch_ms.max(push.epoch_ms),
            seed: self.table.seed,
            push_interval_ms: self.pace.interval_ms(),
        };
        self.logs.gaps += gaps;
        if mutants::active(Mutant::HeardByOldPushes) {
            self.unheard.remove(&shard);
        }
        if !self.logs.has_come_late(&shard, &push) {
            if self.unheard.remove(&shard).is_some() {
                self.live.nothing_missing_since(&shard, now_ms);
            }
            self.logs.copies_taken(&shard, &push);
            let silent = mutants::active;
            let incomplete = push.copies_left_out
                || copies.len() < push.copies.len() && !silent(Mutant::CopiesLeftInSilence)
                || are_entries_missing && !silent(Mutant::EntriesMissingInSilence);
            let copies = Copies {
                log_id: push.log_id,
                incomplete,
                panes: copies,
                received_ms: now_ms,
            };
            self.live
                .take_copies(&shard, copies, decoded, are_entries_missing);
        }
        self.make_room();
        reply
    }

    /// Whether the moment of an export is to be kept now: all of it was taken, or is waited for no more.
    pub(super) fn moment_is_due(&self, now_ms: u64) -> bool {
        let cutting = self.cutting.as_ref();
        cutting.is_some_and(|it| it.is_complete(&self.logs) || it.is_over(now_ms))
    }

    /// Whether what is pending should be folded now, or it should be stored that a shard has something
    /// open.
    pub fn flush_is_due(&self, now_ms: u64) -> bool {
        if self.moment_is_due(now_ms) {
            return true;
        }
        let Some(since_ms) = self.live.pending_since_ms else {
            // What was open first after a quiet time: two rows a region, no pane.
            let is_a_while_ago =
                now_ms.saturating_sub(self.flushed_ms) >= self.limits.flush_after_ms;
            return is_a_while_ago && !self.logs.newly_open().is_empty();
        };
        // Where the clock was set back, its age is not known: nothing waits for as long as that.
        let age_ms = now_ms.checked_sub(since_ms).unwrap_or(FLUSH_AT_LAST_MS);
        let (spans, regions) = self.live.pending_spans_and_regions();
        let is_ordinary = spans <= regions * SPANS_A_FLUSH;
        self.live.pending_bytes >= self.limits.pending_bytes
            || self.live.pending_decoded_bytes >= MAX_PENDING_DECODED_BYTES
            || age_ms >= self.limits.flush_after_ms && is_ordinary
            || age_ms >= FLUSH_AT_LAST_MS
    }

    /// Folds everything that is pending into the ladders, together with the offsets: in one
    /// transaction, and a few panes at a time in memory. Keeps the moment of an export that is due.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn flush(&mut self, storage: &impl Storage, now_ms: u64) -> Result<(), StorageError> {
        self.moment.forget_idle(storage, now_ms)?;
        let read = storage;
        let storage = &self.moment.guard(storage);
        let pending = self.live.pending_regions().into_iter();
        let regions: BTreeSet<String> = pending
            .chain(self.logs.newly_open().iter().cloned())
            .collect();
        let regions: Vec<String> = regions.into_iter().collect();
        if mutants::active(Mutant::OffsetsApart) {
            self.folded_panes += storage.atomically(|| self.fold_pending(storage, now_ms))?;
            storage.write(&self.logs.rows(&regions))?;
        } else {
            self.folded_panes += storage.atomically(|| {
                let folded = self.fold_pending(storage, now_ms)?;
                storage.write(&self.logs.rows(&regions))?;
                Ok(folded)
            })?;
        }
        self.folds += 1;
        self.flushed_ms = now_ms;
        if now_ms.saturating_sub(self.expired_ms) >= EXPIRE_EVERY_MS {
            self.expired_ms = now_ms;
            let keys = self.table.regions.iter().map(Region::key);
            for scope in keys.chain([GLOBAL_SCOPE.into()]) {
                let expired = ladder::expired(read, &scope, now_ms)?;
                storage.atomically(|| write_apart(storage, &expired))?;
            }
            self.thin(storage, now_ms)?;
        }
        self.logs.written(&regions);
        self.live.folded();
        self.stored_anew();
        if self.moment_is_due(now_ms)
            && let Some(cutting) = self.cutting.take()
        {
            let is_complete = cutting.is_complete(&self.logs);
            self.moment.keep(read, cutting.at_ms, is_complete, now_ms)?;
        }
        Ok(())
    }

    /// Once a day, lets days that are a month old have fewer counters.
    fn thin(&self, storage: &impl Storage, now_ms: u64) -> Result<(), StorageError> {
        let day = now_ms / DAY_MS;
        if self.thinned_day.replace(day) == day {
            return Ok(());
        }
        let keys = self.table.regions.iter().map(Region::key);
        for scope in keys.chain([GLOBAL_SCOPE.into()]) {
            for (pane, write) in ladder::thinned(storage, &scope, self.seed(), now_ms)? {
                self.runs.forget(&scope, pane);
                storage.write(&[write])?;
            }
        }
        Ok(())
    }

    /// Writes what is pending into the ladders. Returns how many rows that were.
    fn fold_pending(&self, storage: &impl Storage, now_ms: u64) -> Result<u64, StorageError> {
        let seed = self.seed();
        let mut rows = 0;
        let mut group: Vec<(&str, PaneKey, Rc<Summary>)> = Vec::new();
        let mut bytes = 0;
        for ((pane, region_id), entries) in self.live.pending_by_pane() {
            let merged = merge_entries(&entries, seed);
            bytes += merged.heap_bytes();
            group.push((region_id, pane, merged));
            if bytes > FOLDED_AT_ONCE_BYTES {
                rows += self.fold(storage, &group, now_ms)?;
                group.clear();
                bytes = 0;
            }
        }
        Ok(rows + self.fold(storage, &group, now_ms)?)
    }

    /// Folds merged panes: each target is read, merged and written once.
    fn fold(
        &self,
        storage: &impl Storage,
        sealed: &[(&str, PaneKey, Rc<Summary>)],
        now_ms: u64,
    ) -> Result<u64, StorageError> {
        let mut targets: BTreeMap<(&str, PaneKey), Vec<&Summary>> = BTreeMap::new();
        for (key, pane, summary) in sealed {
            // What a region had that was deleted counts in the world alone.
            let here = self.table.find_key(key).map(|_| *key);
            for target in fold_targets(*pane, now_ms) {
                for scope in here.into_iter().chain([GLOBAL_SCOPE]) {
                    targets.entry((scope, target)).or_default().push(summary);
                }
            }
        }
        let (seed, room) = (self.seed(), Room::of(storage, now_ms)?);
        let mut rows = 0;
        for ((scope, target), parts) in targets {
            self.runs.forget(scope, target);
            let write = ladder::fold(storage, scope, target, &parts, seed, (room, &self.damage))?;
            rows += u64::from(write.is_some());
            storage.write(write.as_slice())?;
        }
        Ok(rows)
    }

    /// What charts and pages are made of has changed.
    pub(super) fn stored_anew(&mut self) {
        self.recent.get_mut().forget();
        self.stamp = Stamp::default();
    }

    /// Gives up everything that can be had again, and folds what is pending: for an instance in
    /// which memory is short, whoever holds it.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn free_memory(&mut self, storage: &impl Storage, now_ms: u64) -> Result<(), StorageError> {
        self.recent.get_mut().forget();
        self.live.keep_within(0);
        self.runs.keep_within(0);
        self.live.drop_copies_over(0);
        // Less is not worth its rows.
        match self.live.pending_bytes > self.limits.worth_flushing_bytes {
            true => self.flush(storage, now_ms),
            false => Ok(()),
        }
    }

    /// Sees to it that everything that is held stays within [`HELD_BYTES`]: caches give way first,
    /// then copies, of the shard that has most. A flush frees what is pending.
    pub(super) fn make_room(&mut self) {
        self.shrink_caches();
        let others = self.fixed_bytes() + self.live.pending_bytes + LEAST_CACHE_BYTES;
        let room = HELD_BYTES.saturating_sub(others);
        self.live.drop_copies_over(room.min(self.limits.copy_bytes));
    }

    /// Caches may take what nothing else needs.
    pub(super) fn shrink_caches(&self) {
        let needed = self.fixed_bytes() + self.live.held_bytes();
        let caches = HELD_BYTES.saturating_sub(needed);
        let caches = caches.clamp(LEAST_CACHE_BYTES, MOST_CACHE_BYTES);
        self.live.keep_within(caches / 2);
        self.runs.keep_within(caches / 3);
        self.recent.borrow_mut().keep_within(caches / 8);
    }

    /// Everything that is held between two messages and that can be given up or folded.
    pub fn held_bytes(&self) -> usize {
        self.live.held_bytes() + self.live.cached_bytes()
    }

    /// What is not given up: offsets, what the catalog keeps, and which rows are put aside.
    fn fixed_bytes(&self) -> usize {
        self.logs.held_bytes() + self.catalog.held_bytes() + self.moment.held_bytes()
    }

    /// Whether a shard of a scope was heard of shortly before this state was loaded: then it may have
    /// something open. A shard that has pushes all the time.
    fn was_busy(&self, scope: &str, started_ms: u64) -> bool {
        let mut heard = self.heard_before.iter();
        heard.any(|(region_id, heard_ms)| {
            let in_scope = scope == GLOBAL_SCOPE || region_id == scope;
            in_scope && started_ms.saturating_sub(*heard_ms) < BUSY_WITHIN_MS
        })
    }

    /// Whether charts of a scope may lack plays that were in them before: copies did not fit, or this
    /// state was loaded a moment ago and shards have not told yet what they have open.
    pub(super) fn lacks_live_plays(&self, scope: &str, now_ms: u64) -> bool {
        let started_ms = self.started_ms.get().unwrap_or(now_ms);
        self.started_ms.set(Some(started_ms));
        let is_new = now_ms.saturating_sub(started_ms) < HEARD_AFTER_MS;
        let in_scope = |shard: &&ShardName| scope == GLOBAL_SCOPE || shard.0 == scope;
        is_new && self.was_busy(scope, started_ms)
            || self.unheard.iter().any(|(shard, heard_ms)| {
                in_scope(&shard) && now_ms.saturating_sub(*heard_ms) < GONE_AFTER_MS
            })
            || self.live.is_incomplete(scope, now_ms)
    }

    /// Whether something was folded that is not known to be durable: sync then, however long ago
    /// it was folded.
    pub fn sync_is_due(&self) -> bool {
        self.logs.is_ahead_of_durable()
    }

    /// To be taken before a sync and handed to [`Global::synced`] after it.
    pub fn sync_point(&self) -> SyncPoint {
        SyncPoint(self.logs.consumed())
    }

    /// What was folded before the sync point is durable: replies may say so.
    pub fn synced(&mut self, point: &SyncPoint) {
        self.logs.synced(&point.0);
    }

    /// Ends an export that nobody reads any more: to be asked before anything is put aside for it.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn end_idle_export(&self, storage: &impl Storage, now_ms: u64) -> Result<(), Refusal> {
        let ended = self.moment.forget_idle(storage, now_ms);
        ended.map_err(|error| Refusal::Storage(error.0))
    }

    /// Changes entries of the catalog. Returns the last as it is stored now.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn put_posts(
        &mut self,
        storage: &impl Storage,
        patches: &[PostPatch],
    ) -> Result<Option<CatalogEntry>, Refusal> {
        self.stored_anew();
        self.catalog.put(&self.moment.guard(storage), patches)
    }

    /// A page of the catalog.
    ///
    /// # Errors
    /// [`Refusal`] when the disk refuses.
    pub fn list_posts(
        &self,
        storage: &impl Storage,
        after: Option<&str>,
    ) -> Result<PostList, Refusal> {
        let listed = self.catalog.list(storage, after);
        listed.map_err(|error| Refusal::Storage(error.0))
    }

    /// Makes or changes a region.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn put_region(
        &mut self,
        storage: &impl Storage,
        request: &PutRegion,
    ) -> Result<Region, Refusal> {
        let refused = |error: StorageError| Refusal::Storage(error.0);
        let (position, region, write) = regions::put(&self.table, &self.region_rows, request)?;
        if position == self.table.regions.len() {
            self.logs
                .load_region(storage, &region.key())
                .map_err(refused)?;
        }
        let guarded = self.moment.guard(storage);
        guarded
            .write(std::slice::from_ref(&write))
            .map_err(refused)?;
        if position == self.table.regions.len() {
            self.region_rows.made(write.key());
        }
        match self.table.regions.get_mut(position) {
            Some(existing) => existing.clone_from(&region),
            None => self.table.regions.push(region.clone()),
        }
        Ok(region)
    }

    /// Deletes a region with its panes; its plays stay in the world's. What its shards still have is
    /// taken into the world's, too. Returns what is remembered of it; also where it was deleted before.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn delete_region(
        &mut self,
        storage: &impl Storage,
        request: &DeleteRegion,
        now_ms: u64,
    ) -> Result<DeletedRegion, Refusal> {
        let refused = |error: StorageError| Refusal::Storage(error.0);
        let region_id = request.region_id.as_str();
        if self.table.is_deleted(region_id) {
            let mut deleted = self.table.deleted.iter().rev();
            let deleted = deleted.find(|deleted| deleted.region.region_id == region_id);
            return deleted.cloned().ok_or(Refusal::UnknownRegion);
        }
        let (position, deleted, writes) =
            regions::delete(&self.table, &self.region_rows, region_id, now_ms)?;
        // What is pending of it goes into the world's panes with the next flush.
        let guarded = self.moment.guard(storage);
        let key = deleted.region.key().into_owned();
        let change = || {
            guarded.write(&writes)?;
            write_apart(&guarded, &ladder::all_of(storage, &key)?)
        };
        guarded.atomically(change).map_err(refused)?;
        self.table.regions.remove(position);
        self.region_rows.keys.remove(position);
        self.table.deleted.push(deleted.clone());
        self.region_rows.next_deleted += 1;
        self.stored_anew();
        Ok(deleted)
    }

    /// Begins counting anew: every pane and offset goes, and with them the marks of imports and an
    /// export under way. Catalog and regions stay. Who asks again with the id of before changes
    /// nothing.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn reset(
        &mut self,
        storage: &impl Storage,
        request: &Reset,
        random: [u8; 32],
        now_ms: u64,
    ) -> Result<ResetDone, Refusal> {
        let refused = |error: StorageError| Refusal::Storage(error.0);
        if self.region_rows.is_installation_lost {
            // Nobody knows which epoch a new one has to be later than.
            return Err(Refusal::Damaged("the installation's rows".into()));
        }
        let was = self.region_rows.installation.clone();
        if was.previous_id == Some(request.installation_id) {
            return Ok(ResetDone {
                table: self.table.clone(),
                repeated: true,
            });
        }
        if was.id != request.installation_id {
            return Err(Refusal::WrongInstallation);
        }
        let (id, seed) = random.split_at(16);
        let installation = Installation {
            id: id.try_into().unwrap_or_default(),
            previous_id: Some(was.id),
            epoch_ms: now_ms.max(was.epoch_ms.saturating_add(1)),
            origin: was.origin,
        };
        let seed = seed.try_into().unwrap_or_default();
        let change = || {
            storage.clear(Table::Panes)?;
            storage.clear(Table::Offsets)?;
            self.moment.forget(storage)?;
            storage.write(&transfer::marks_of_imports(storage)?)?;
            storage.write(&regions::epoch_writes(
                &self.region_rows,
                &installation,
                seed,
            ))
        };
        storage.atomically(change).map_err(refused)?;
        *self = Self::load_within(storage, &[], seed, self.limits).map_err(refused)?;
        Ok(ResetDone {
            table: self.table.clone(),
            repeated: false,
        })
    }

    /// The key of a region by which its panes and shards are known; the world is itself.
    pub(super) fn key_of(&self, scope: &str) -> String {
        let region = self.table.find(scope);
        region.map_or_else(|| scope.to_owned(), |region| region.key().into_owned())
    }

    /// Why a scope cannot be asked for that is none.
    pub(super) fn require(&self, scope: &str) -> Result<(), Refusal> {
        if scope == GLOBAL_SCOPE || self.table.find(scope).is_some() {
            Ok(())
        } else if self.table.is_deleted(scope) {
            Err(Refusal::RegionDeleted)
        } else {
            Err(Refusal::UnknownRegion)
        }
    }

    pub fn health(&self) -> Health {
        Health {
            damaged_rows: self.region_rows.damaged
                + self.logs.damaged_rows
                + self.moment.damaged_rows
                + self.damage.rows()
                + self.catalog.damage.rows(),
            damaged_regions: self.logs.damaged_regions(),
            gaps: self.logs.gaps,
            pending_bytes: self.live.pending_bytes,
            refused_pushes: self.refused_pushes,
        }
    }
}

/// A push whose every part was found to be sound.
struct CheckedPush<'a> {
    shard: ShardName,
    push: Push<'a>,
    /// One an offset; `None` for a gap.
    entries: Vec<Option<SentPane>>,
    copies: Vec<SentPane>,
    /// The same, decoded; none where there was no room.
    decoded: Vec<(PaneKey, Rc<Summary>)>,
}
