//! Folding what is pending into the ladders, and making it durable.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::cache::Key;
use super::merging::merge_sealed;
use super::moment::write_apart;
use super::offsets::StoredOffsets;
use super::room::PaneRoom;
use super::state::{Global, Stamp};
use super::{FLUSH_AT_LAST_MS, FOLDED_AT_ONCE_BYTES, ladder};
use super::{MAX_PENDING_DECODED_BYTES, SPANS_A_FLUSH};
use crate::mutants::{self, Mutant};
use crate::storage::{Storage, StorageError};
use crate::summary::Summary;
use crate::topology::{GLOBAL_SCOPE, Region};
use crate::window::{DAY_MS, HOUR_MS, PaneKey, fold_targets};

/// How often panes that no question can reach are looked for.
const EXPIRE_EVERY_MS: u64 = HOUR_MS;

/// What was folded when a sync began. See [`Global::synced`].
pub struct FoldPoint {
    load: Rc<()>,
    offsets: StoredOffsets,
    days_writes: u64,
}

impl Global {
    /// Whether the moment of an export is to be kept now: all of it was taken, or is waited for no more.
    pub(super) fn moment_is_due(&self, now_ms: u64) -> bool {
        let cutting = self.cutting.as_ref();
        cutting.is_some_and(|it| it.is_complete(&self.offsets) || it.is_over(now_ms))
    }

    /// Whether what is pending should be folded now, or it should be stored that a shard has something
    /// open.
    pub fn flush_is_due(&self, now_ms: u64) -> bool {
        if self.moment_is_due(now_ms) {
            return true;
        }
        // Something is open after a time without, or a shard is quiet now: two rows a region.
        let is_a_while_ago = now_ms.saturating_sub(self.flushed_ms) >= self.limits.flush_after_ms;
        if is_a_while_ago && !self.offsets.unsaved().is_empty() {
            return true;
        }
        let Some(since_ms) = self.live.pending_since_ms else {
            return false;
        };
        // Where the clock was set back, its age is not known: nothing waits for as long as that.
        let age_ms = now_ms.checked_sub(since_ms).unwrap_or(FLUSH_AT_LAST_MS);
        let (spans, regions) = self.live.pending_spans_and_regions();
        let is_ordinary = spans <= regions * SPANS_A_FLUSH;
        self.is_full_of_pending()
            || self.live.pending_late_bytes >= self.limits.late_bytes
            || age_ms >= self.limits.flush_after_ms && is_ordinary
            || age_ms >= FLUSH_AT_LAST_MS
    }

    /// Whether a flush would store anything.
    pub fn has_to_store(&self) -> bool {
        self.live.pending_since_ms.is_some() || !self.offsets.unsaved().is_empty()
    }

    /// Whether what is pending may wait no longer.
    pub fn is_full_of_pending(&self) -> bool {
        self.live.pending_bytes >= self.limits.pending_bytes
            || self.pending_is_too_much()
            || self.live.pending_decoded_bytes >= MAX_PENDING_DECODED_BYTES
    }

    /// Closes the charts that are due, and folds everything that is pending into the ladders, together with the offsets: in one
    /// transaction, and a few panes at a time in memory. Keeps the moment of an export that is due.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn flush(&mut self, storage: &impl Storage, now_ms: u64) -> Result<(), StorageError> {
        self.moment.forget_idle(storage, now_ms)?;
        self.close_all(storage, now_ms)?;
        let read = storage;
        let storage = &self.moment.guard(storage);
        let pending = self.live.pending_regions().into_iter();
        let regions: BTreeSet<String> = pending
            .chain(self.offsets.unsaved().iter().cloned())
            .collect();
        let regions: Vec<String> = regions.into_iter().collect();
        if mutants::active(Mutant::OffsetsApart) {
            self.folded_panes += storage.atomically(|| self.fold_pending(storage, now_ms))?;
            storage.write(&self.offsets.rows(&regions))?;
        } else {
            self.folded_panes += storage.atomically(|| {
                let folded = self.fold_pending(storage, now_ms)?;
                storage.write(&self.offsets.rows(&regions))?;
                Ok(folded)
            })?;
        }
        self.folds += 1;
        self.flushed_ms = now_ms;
        if now_ms / EXPIRE_EVERY_MS != self.expired_ms / EXPIRE_EVERY_MS {
            self.expired_ms = now_ms;
            let keys = self.table.regions.iter().map(Region::key);
            for scope in keys.chain([GLOBAL_SCOPE.into()]) {
                let expired = ladder::expired(read, &scope, now_ms, self.days())?;
                storage.atomically(|| write_apart(storage, &expired))?;
            }
            self.thin(storage, now_ms)?;
        }
        self.offsets.written(&regions);
        self.live.folded();
        self.stretches.encode_rest();
        self.folded_anew();
        if self.moment_is_due(now_ms)
            && let Some(cutting) = self.cutting.take()
        {
            let is_complete =
                cutting.is_complete(&self.offsets) && !self.lacks_lost_regions(now_ms);
            let regions = &self.table.regions;
            (self.moment).keep(read, (cutting.at_ms, is_complete), regions, now_ms)?;
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
            let thinned = ladder::thinned(storage, &scope, self.seed(), now_ms, self.days())?;
            for (pane, write) in thinned {
                self.stretches.forget(&scope, pane);
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
            let merged = self.live.merged_entries((region_id, pane), &entries, seed);
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
        let seed = self.seed();
        // Once for all levels.
        let mut world: BTreeMap<PaneKey, Vec<Rc<Summary>>> = BTreeMap::new();
        for (_, pane, summary) in sealed {
            world.entry(*pane).or_default().push(Rc::clone(summary));
        }
        let world = world.into_iter();
        let world: Vec<(PaneKey, Rc<Summary>)> = world
            .map(|(pane, parts)| (pane, merge_sealed(pane, &parts, seed)))
            .collect();
        // What a region had that was deleted counts in the world alone. One that the registry has lost may be back.
        let regions = sealed
            .iter()
            .filter(|(key, ..)| !self.table.has_deleted_key(key));
        let regions = regions.map(|(key, pane, summary)| (*key, pane, summary));
        let world = world
            .iter()
            .map(|(pane, summary)| (GLOBAL_SCOPE, pane, summary));
        let mut targets: BTreeMap<(&str, PaneKey), Vec<&Summary>> = BTreeMap::new();
        for (scope, pane, summary) in regions.chain(world) {
            for target in fold_targets(*pane, now_ms, self.days()) {
                targets.entry((scope, target)).or_default().push(summary);
            }
        }
        let room = PaneRoom::of(storage, now_ms)?;
        let mut rows = 0;
        for ((scope, target), parts) in targets {
            self.stretches.forget(scope, target);
            let write = ladder::fold(storage, scope, target, &parts, seed, (room, &self.damage))?;
            rows += u64::from(write.is_some());
            storage.write(write.as_slice())?;
        }
        Ok(rows)
    }

    /// All that charts and pages are made of may have changed.
    pub(super) fn stored_anew(&mut self) {
        self.cache.forget(|key| matches!(key, Key::Ranks(_)));
        self.folded_anew();
    }

    /// What charts and pages are made of has changed; what is told by its panes is forgotten already.
    fn folded_anew(&mut self) {
        self.forget_made();
        // What is merged of a chart serves no more.
        drop(self.share.take_chart());
        self.stamp = Stamp::default();
    }

    /// Charts and pages that were made serve no more.
    pub(super) fn forget_made(&self) {
        (self.cache).forget(|key| matches!(key, Key::Chart(_) | Key::Page(_)));
    }

    /// Whether something was folded that is not known to be durable: sync then, however long ago
    /// it was folded.
    pub fn sync_is_due(&self) -> bool {
        self.offsets.is_ahead_of_durable() || !self.kept_days.are_durable()
    }

    /// To be taken before a sync and handed to [`Global::synced`] after it.
    pub fn sync_point(&self) -> FoldPoint {
        FoldPoint {
            load: Rc::clone(&self.load),
            offsets: self.offsets.stored(),
            days_writes: self.kept_days.writes_so_far(),
        }
    }

    /// What was folded before the sync point is durable: replies may say so.
    pub fn synced(&mut self, point: &FoldPoint) {
        if !Rc::ptr_eq(&self.load, &point.load) {
            return;
        }
        self.offsets.synced(&point.offsets);
        self.kept_days.synced(point.days_writes);
    }
}
