//! The state of the global object, and every change of it. See the folder's introduction.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::catalog::Catalog;
use super::damage::Damage;
use super::ladder;
use super::live::{Live, Provisional, SentPane};
use super::logs::{Logs, ShardName, Turn};
use super::recent::Recent;
use super::regions::{self, FirstRegion, RegionRows};
use super::runs::Runs;
use super::{FLUSH_AFTER_MS, MAX_PENDING_BYTES, MAX_PUSH_ENTRIES};
use crate::codec;
use crate::mutants::{self, Mutant};
use crate::storage::{Storage, StorageError, Table, Write};
use crate::summary::{Seed, Summary};
use crate::topology::{GLOBAL_SCOPE, MAX_SHARDS, Region, RegionTable};
use crate::window::{DAY_MS, HOUR_MS, Level, PaneKey, fold_targets};
use crate::wire::{CatalogEntry, PostPatch, Push, PushReply, PutRegion, Refusal, SealedPane, Told};

/// How often panes that no question can reach are looked for.
const EXPIRE_EVERY_MS: u64 = HOUR_MS;
/// Panes that begin later than this from now are refused: no clock is that wrong.
const MAX_PANE_AHEAD_MS: u64 = DAY_MS;

/// Figures for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Rows that could not be read: those of the regions, the seed and the offsets at the start,
    /// those of panes and posts when they were asked for.
    pub damaged_rows: u64,
    pub damaged_regions: usize,
    pub gaps: u64,
    pub pending_bytes: usize,
    pub refused_pushes: u64,
}

/// What was folded when a sync began. See [`Global::synced`].
pub struct SyncPoint(Vec<(ShardName, u128, u64)>);

/// The state machine of the global object. Storage and clock are handed in.
pub struct Global {
    pub(super) table: RegionTable,
    pub(super) region_rows: RegionRows,
    pub(super) logs: Logs,
    pub(super) live: Live,
    pub(super) runs: Runs,
    pub(super) catalog: Catalog,
    pub(super) recent: RefCell<Recent>,
    pub(super) counters_read: Cell<u64>,
    /// Rows of the ladders.
    pub(super) damage: Damage,
    refused_pushes: u64,
    expired_ms: u64,
    pub(super) folds: u64,
    pub(super) folded_panes: u64,
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
        let (table, region_rows, writes) = regions::load(storage, first_regions, random)?;
        if !writes.is_empty() {
            storage.write(&writes)?;
        }
        let region_ids: Vec<String> = region_ids(&table).map(str::to_owned).collect();
        Ok(Global {
            logs: Logs::load(storage, &region_ids)?,
            catalog: Catalog::load(storage)?,
            table,
            live: Live::default(),
            runs: Runs::default(),
            recent: RefCell::default(),
            counters_read: Cell::default(),
            region_rows,
            damage: Damage::default(),
            refused_pushes: 0,
            expired_ms: 0,
            folds: 0,
            folded_panes: 0,
        })
    }

    /// The regions and the seed, for Workers.
    pub fn table(&self) -> &RegionTable {
        &self.table
    }

    pub(super) fn seed(&self) -> Seed {
        Seed::from_bytes(self.table.seed)
    }

    /// Takes a push. The reply may be sent at once: it promises only what is durable.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn take_push(&mut self, push: &[u8], now_ms: u64) -> Result<PushReply, Refusal> {
        let taken = self
            .check_push(push, now_ms)
            .and_then(|push| self.take(push, now_ms));
        self.refused_pushes += u64::from(taken.is_err());
        taken
    }

    fn check_push<'a>(&self, push: &'a [u8], now_ms: u64) -> Result<CheckedPush<'a>, Refusal> {
        let invalid = |detail: String| Refusal::Invalid(detail);
        let push: Push<'_> = codec::decode(push).map_err(|error| invalid(error.to_string()))?;
        if self.table.find(push.region_id).is_none() {
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
            || push.entries.len() > MAX_PUSH_ENTRIES
            || push.first_offset < push.oldest_offset
            || last.is_none_or(|last| last > push.next_offset);
        if contradicts {
            return Err(invalid("offsets contradict each other".into()));
        }
        let check = |pane: &&[u8]| self.check_pane(pane, now_ms);
        let check_entry = |entry: &&[u8]| match *entry {
            [] => Ok(None),
            pane => self.check_pane(pane, now_ms).map(|(sent, _)| Some(sent)),
        };
        let entries = push.entries.iter().map(check_entry);
        let provisional = push.provisional.iter().map(check);
        let provisional: Vec<(SentPane, Summary)> = provisional.collect::<Result<_, _>>()?;
        let (provisional, decoded) = provisional
            .into_iter()
            .map(|(sent, summary)| {
                let key = sent.key;
                (sent, (key, summary))
            })
            .unzip();
        Ok(CheckedPush {
            entries: entries.collect::<Result<_, _>>()?,
            provisional,
            decoded,
            push,
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
        let decoded = Summary::decode(pane.summary, self.seed())
            .map_err(|error| invalid(format!("summary: {error}")))?;
        let summary = pane.summary.to_vec();
        Ok((SentPane { key, summary }, decoded))
    }

    fn take(&mut self, checked: CheckedPush<'_>, now_ms: u64) -> Result<PushReply, Refusal> {
        let CheckedPush {
            push,
            entries,
            provisional,
            decoded,
        } = checked;
        let shard = (push.region_id.to_owned(), push.shard);
        let log = self
            .logs
            .log(&shard, push.log_id, push.oldest_offset, now_ms);
        log.last_heard_ms = now_ms;
        let mut gaps = 0;
        if let Turn::Take { skip } = log.turn(push.first_offset) {
            let skip = match mutants::active(Mutant::FoldWithoutOffsetCheck) {
                true => 0,
                false => skip,
            };
            let taken: Vec<Option<SentPane>> = entries.into_iter().skip(skip).collect();
            if !taken.is_empty() {
                log.accepted += taken.len() as u64;
                gaps = taken.iter().filter(|pane| pane.is_none()).count() as u64;
                let panes = taken.into_iter().flatten().collect();
                self.live.add_pending(push.region_id, panes, now_ms);
            }
        }
        let reply = PushReply {
            wanted_offset: log.accepted,
            durable_offset: log.durable,
            seed: self.table.seed,
        };
        let complete = log.accepted == push.next_offset;
        let last = self.live.provisional.get(&shard);
        let newer = last.is_none_or(|last| {
            last.log_id != push.log_id
                || (push.journal_seq, push.next_offset) >= (last.journal_seq, last.next_offset)
        });
        self.logs.gaps += gaps;
        let unguarded = mutants::active(Mutant::ProvisionalUnguarded);
        if complete && newer || unguarded {
            let (mut provisional, mut decoded) = (provisional, decoded);
            if mutants::active(Mutant::ProvisionalAdded)
                && let Some(last) = self.live.provisional.remove(&shard)
            {
                provisional.extend(last.panes);
                decoded.clear();
            }
            let (log_id, next_offset) = (push.log_id, push.next_offset);
            let copies = Provisional {
                log_id,
                next_offset,
                journal_seq: push.journal_seq,
                panes: provisional,
                received_ms: now_ms,
            };
            self.live.replace_provisional(shard, copies, decoded);
        }
        Ok(reply)
    }

    /// Whether what is pending should be folded now.
    pub fn flush_is_due(&self, now_ms: u64) -> bool {
        self.live.pending_bytes >= MAX_PENDING_BYTES
            || self
                .live
                .pending_since_ms
                .is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= FLUSH_AFTER_MS)
    }

    /// Folds everything that is pending into the ladders, together with the offsets.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn flush(&mut self, storage: &impl Storage, now_ms: u64) -> Result<(), StorageError> {
        let seed = self.seed();
        let sealed = self.live.pending_merged(seed);
        let mut targets: BTreeMap<(&str, PaneKey), Vec<&Summary>> = BTreeMap::new();
        for (region_id, pane, summary) in &sealed {
            for target in fold_targets(*pane, now_ms) {
                for scope in [region_id, GLOBAL_SCOPE] {
                    targets.entry((scope, target)).or_default().push(summary);
                }
            }
        }
        let mut writes: Vec<Write> = Vec::with_capacity(targets.len());
        for ((scope, target), parts) in targets {
            self.runs.forget(scope, target);
            let folded = ladder::fold(storage, scope, target, &parts, seed, &self.damage)?;
            writes.extend(folded);
        }
        self.folds += 1;
        self.folded_panes += writes.len() as u64;
        let regions: Vec<String> = self.live.pending.keys().cloned().collect();
        writes.extend(self.logs.rows(&regions));
        if now_ms.saturating_sub(self.expired_ms) >= EXPIRE_EVERY_MS {
            self.expired_ms = now_ms;
            for scope in region_ids(&self.table).chain([GLOBAL_SCOPE]) {
                writes.extend(ladder::expired(storage, scope, now_ms)?);
            }
        }
        if mutants::active(Mutant::OffsetsApart) {
            let (panes, offsets): (Vec<Write>, Vec<Write>) = writes
                .into_iter()
                .partition(|write| write.table() == Table::Panes);
            storage.write(&panes)?;
            writes = offsets;
        }
        storage.write(&writes)?;
        self.logs.written(&regions);
        self.live.folded();
        self.recent.get_mut().forget();
        Ok(())
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

    /// Changes entries of the catalog. Returns the last as it is stored now.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn put_posts(
        &mut self,
        storage: &impl Storage,
        patches: &[PostPatch],
    ) -> Result<Option<CatalogEntry>, Refusal> {
        self.recent.get_mut().forget();
        self.catalog.put(storage, patches)
    }

    /// Makes or changes a region.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn put_region(
        &mut self,
        storage: &impl Storage,
        request: &PutRegion,
        now_ms: u64,
    ) -> Result<Region, Refusal> {
        let refused = |error: StorageError| Refusal::Storage(error.0);
        let (position, region, write) =
            regions::put(&self.table, &self.region_rows, request, now_ms)?;
        if position == self.table.regions.len() {
            self.logs
                .load_region(storage, &region.region_id)
                .map_err(refused)?;
        }
        storage
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

    /// Every shard has been told of a change of the number of shards: batches are claimed for a
    /// while more only.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn told(
        &mut self,
        storage: &impl Storage,
        told: &Told,
        now_ms: u64,
    ) -> Result<Region, Refusal> {
        let regions = &mut self.table.regions;
        let position = regions
            .iter()
            .position(|region| region.region_id == told.region_id);
        let found = position.and_then(|at| regions.get_mut(at).zip(self.region_rows.keys.get(at)));
        let (known, key) = found.ok_or(Refusal::UnknownRegion)?;
        let mut region = known.clone();
        region.told(told.asked_ms, now_ms);
        let write = Write::put(Table::Regions, key.clone(), codec::encode(&region));
        storage
            .write(&[write])
            .map_err(|error| Refusal::Storage(error.0))?;
        known.clone_from(&region);
        Ok(region)
    }

    pub fn health(&self) -> Health {
        Health {
            damaged_rows: self.region_rows.damaged
                + self.logs.damaged_rows
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
    push: Push<'a>,
    /// One an offset; `None` for a gap.
    entries: Vec<Option<SentPane>>,
    provisional: Vec<SentPane>,
    /// The same, decoded.
    decoded: Vec<(PaneKey, Summary)>,
}

fn region_ids(table: &RegionTable) -> impl Iterator<Item = &str> {
    table.regions.iter().map(|region| region.region_id.as_str())
}
