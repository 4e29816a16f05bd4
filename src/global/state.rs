//! The state of the global object, and every change of it. See the folder's introduction.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::cache::Cache;
use super::catalog::Catalog;
use super::damage::Damage;
use super::live::Live;
use super::moment::{Cutting, Moment, write_apart};
use super::offsets::{Offsets, ShardName};
use super::pace::Pace;
use super::regions::{self, FirstRegion, Installation, RegionRows};
use super::work::Work;
use super::{GlobalLimits, ladder, transfer};
use crate::mutants::{self, Mutant};
use crate::storage::{Storage, StorageError, Table};
use crate::summary::Seed;
use crate::topology::{DeletedRegion, GLOBAL_SCOPE, Region, RegionTable};
use crate::wire::{
    CatalogEntry, DeleteRegion, PostList, PostPatch, PutRegion, Refusal, Reset, ResetDone,
};

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
    pub(super) offsets: Offsets,
    pub(super) cache: Cache,
    pub(super) live: Live,
    pub(super) catalog: Catalog,
    pub(super) work: Work,
    /// Rows of the ladders.
    pub(super) damage: Damage,
    pub(super) refused_pushes: u64,
    pub(super) expired_ms: u64,
    /// When days were thinned last.
    pub(super) thinned_day: Cell<u64>,
    pub(super) flushed_ms: u64,
    pub(super) folds: u64,
    pub(super) folded_panes: u64,
    pub(super) limits: GlobalLimits,
    pub(super) pace: Pace,
    /// When this state was first asked for anything.
    pub(super) started_ms: Cell<Option<u64>>,
    /// Shards that had something open before this state was loaded and were not heard of since,
    /// and when they were heard last.
    pub(super) unheard: BTreeMap<ShardName, u64>,
    /// An export whose moment is to come, or was a moment ago.
    pub(super) cutting: Option<Cutting>,
    /// The moment of an export that is read.
    pub(super) moment: Moment,
    /// What is stored now: another wherever pages are to be begun anew.
    pub(super) stamp: Stamp,
    /// When a shard of each region was heard of last before this state was loaded.
    pub(super) heard_before: BTreeMap<String, u64>,
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
        let offsets = Offsets::load(storage, &keys)?;
        let cache = Cache::default();
        Ok(Global {
            unheard: offsets
                .with_open()
                .filter(|_| !mutants::active(Mutant::NobodyMissed))
                .map(|(shard, heard_ms)| (shard.clone(), heard_ms))
                .collect(),
            heard_before: offsets.heard_by_region(),
            offsets,
            catalog: Catalog::load(storage, Seed::from_bytes(table.seed))?,
            table,
            live: Live::new(cache.clone()),
            cache,
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

    /// Whether [`Global::build_postings`] has something to do.
    pub fn is_to_be_built(&self) -> bool {
        self.catalog.postings.is_to_be_built()
    }

    /// Builds a little more of what filters are answered from. Says whether all is built.
    ///
    /// # Errors
    /// When the disk refuses; nothing was changed.
    pub fn build_postings(&mut self, storage: &impl Storage) -> Result<bool, Refusal> {
        let built = self.catalog.postings.build_step(storage);
        built.map_err(|error| Refusal::Storage(error.0))
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
            self.offsets
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
        self.stored_anew();
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
                + self.offsets.damaged_rows
                + self.moment.damaged_rows
                + self.damage.rows()
                + self.catalog.damage.rows(),
            damaged_regions: self.offsets.damaged_regions(),
            gaps: self.offsets.gaps,
            pending_bytes: self.live.pending_bytes,
            refused_pushes: self.refused_pushes,
        }
    }
}
