//! The state of the global object, and every change of it. See the folder's introduction.

use std::collections::BTreeMap;

use super::catalog::Catalog;
use super::ladder;
use super::live::{Live, Provisional, SentPane};
use super::logs::{Logs, ShardName, Turn};
use super::regions::{self, FirstRegion};
use super::{FLUSH_AFTER_MS, MAX_PENDING_BYTES, MAX_PUSH_ENTRIES};
use crate::codec;
use crate::storage::{Storage, StorageError, Write};
use crate::summary::{Seed, Summary};
use crate::topology::{GLOBAL_SCOPE, MAX_SHARDS, Region, RegionTable};
use crate::window::{DAY_MS, HOUR_MS, Level, PaneKey, fold_targets};
use crate::wire::{CatalogEntry, PostPatch, Push, PushReply, PutRegion, Refusal, SealedPane};

/// How often panes that no question can reach are looked for.
const EXPIRE_EVERY_MS: u64 = HOUR_MS;
/// Panes that begin later than this from now are refused: no clock is that wrong.
const MAX_PANE_AHEAD_MS: u64 = DAY_MS;

/// Figures for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
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
    logs: Logs,
    pub(super) live: Live,
    pub(super) catalog: Catalog,
    damaged_rows: u64,
    refused_pushes: u64,
    expired_ms: u64,
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
        let (table, writes, damaged_rows) = regions::load(storage, first_regions, random)?;
        if !writes.is_empty() {
            storage.write(&writes)?;
        }
        let region_ids: Vec<String> = region_ids(&table).map(str::to_owned).collect();
        Ok(Global {
            logs: Logs::load(storage, &region_ids)?,
            catalog: Catalog::load(storage)?,
            table,
            live: Live::default(),
            damaged_rows,
            refused_pushes: 0,
            expired_ms: 0,
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
        let check = |panes: &[&[u8]]| {
            panes
                .iter()
                .map(|pane| self.check_pane(pane, now_ms))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(CheckedPush {
            entries: check(&push.entries)?,
            provisional: check(&push.provisional)?,
            push,
        })
    }

    fn check_pane(&self, pane: &[u8], now_ms: u64) -> Result<SentPane, Refusal> {
        let invalid = |detail: String| Refusal::Invalid(detail);
        let pane: SealedPane<'_> =
            codec::decode(pane).map_err(|error| invalid(format!("pane: {error}")))?;
        let key = Level::from_code(pane.level)
            .and_then(|level| PaneKey::checked(level, pane.start_ms))
            .filter(|key| key.start_ms <= now_ms.saturating_add(MAX_PANE_AHEAD_MS))
            .ok_or_else(|| invalid("pane: no such span".into()))?;
        Summary::decode(pane.summary, self.seed())
            .map_err(|error| invalid(format!("summary: {error}")))?;
        Ok(SentPane {
            key,
            summary: pane.summary.to_vec(),
        })
    }

    fn take(&mut self, checked: CheckedPush<'_>, now_ms: u64) -> Result<PushReply, Refusal> {
        let CheckedPush {
            push,
            entries,
            provisional,
        } = checked;
        let shard = (push.region_id.to_owned(), push.shard);
        let log = self
            .logs
            .log(&shard, push.log_id, push.oldest_offset, now_ms);
        log.last_heard_ms = now_ms;
        if let Turn::Take { skip } = log.turn(push.first_offset) {
            let taken: Vec<SentPane> = entries.into_iter().skip(skip).collect();
            log.accepted += taken.len() as u64;
            self.live.add_pending(push.region_id, taken, now_ms);
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
        if complete && newer {
            let (log_id, next_offset) = (push.log_id, push.next_offset);
            let copies = Provisional {
                log_id,
                next_offset,
                journal_seq: push.journal_seq,
                panes: provisional,
                received_ms: now_ms,
            };
            self.live.provisional.insert(shard, copies);
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
        let mut targets: BTreeMap<(&str, PaneKey), Vec<usize>> = BTreeMap::new();
        let mut summaries = Vec::new();
        for (region_id, panes) in &self.live.pending {
            for pane in panes {
                // It was decoded when it was taken.
                let Ok(summary) = Summary::decode(&pane.summary, seed) else {
                    continue;
                };
                for target in fold_targets(pane.key, now_ms) {
                    for scope in [region_id.as_str(), GLOBAL_SCOPE] {
                        targets
                            .entry((scope, target))
                            .or_default()
                            .push(summaries.len());
                    }
                }
                summaries.push(summary);
            }
        }
        let mut writes: Vec<Write> = Vec::with_capacity(targets.len());
        for ((scope, target), parts) in targets {
            let parts: Vec<&Summary> = parts
                .iter()
                .filter_map(|index| summaries.get(*index))
                .collect();
            match ladder::fold(storage, scope, target, &parts, seed)? {
                Some(write) => writes.push(write),
                None => self.damaged_rows += 1,
            }
        }
        let regions: Vec<String> = self.live.pending.keys().cloned().collect();
        writes.extend(self.logs.rows(&regions));
        if now_ms.saturating_sub(self.expired_ms) >= EXPIRE_EVERY_MS {
            self.expired_ms = now_ms;
            for scope in region_ids(&self.table).chain([GLOBAL_SCOPE]) {
                writes.extend(ladder::expired(storage, scope, now_ms)?);
            }
        }
        storage.write(&writes)?;
        self.logs.written(&regions);
        self.live.folded();
        Ok(())
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
        let (position, region, write) = regions::put(&self.table, request, now_ms)?;
        storage
            .write(&[write])
            .map_err(|error| Refusal::Storage(error.0))?;
        match self.table.regions.get_mut(position) {
            Some(existing) => existing.clone_from(&region),
            None => self.table.regions.push(region.clone()),
        }
        Ok(region)
    }

    pub fn health(&self) -> Health {
        Health {
            damaged_rows: self.damaged_rows,
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
    entries: Vec<SentPane>,
    provisional: Vec<SentPane>,
}

fn region_ids(table: &RegionTable) -> impl Iterator<Item = &str> {
    table.regions.iter().map(|region| region.region_id.as_str())
}
