//! The state of the global object, and every change of it. See the folder's introduction.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::cache::Cache;
use super::closed::Closing;
use super::days::KeptDays;
use super::hearing::{Heard, HeardRows};
use super::live::Live;
use super::memory::{Share, Together};
use super::moment::{Cutting, Moment};
use super::offsets::Offsets;
use super::pace::Pace;
use super::stretches::Stretches;
use super::work::Work;
use super::{GlobalLimits, MOST_CACHE_BYTES};
use crate::catalog::Follower;
use crate::mutants::{self, Mutant};
use crate::storage::{Damage, Storage, StorageError};
use crate::summary::Seed;
use crate::topology::{GLOBAL_SCOPE, RegionTable};
use crate::window::DAY_MS;
use crate::wire::{Refusal, ShardName};

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
    /// Tells this state from one that was dropped, or was there before counting began anew: a sync that began
    /// before says nothing here.
    pub(super) load: Rc<()>,
    pub(super) table: RegionTable,
    pub(super) heard: HeardRows,
    /// What the clock said last.
    pub(super) seen_ms: u64,
    /// The latest that it ever was, as far as is known.
    pub(super) latest_ms: u64,
    /// Shards with something open that were heard from while charts are to be closed, and when they were before.
    pub(super) heard_late: BTreeMap<ShardName, u64>,
    /// Up to this one, shards' epochs are taken that are later than the registry's: it was asked for them and
    /// knows of none, as it was set back. 0 where there is none.
    pub(super) taken_epoch_ms: u64,
    /// The one that was refused last.
    pub(super) refused_epoch_ms: Cell<u64>,
    /// Regions that the registry has lost whose shards push, and when one was refused last.
    pub(super) lost_regions: RefCell<BTreeMap<String, u64>>,
    pub(super) offsets: Offsets,
    pub(super) cache: Cache,
    pub(super) stretches: Stretches,
    /// What it holds, of what all of the instance hold.
    pub(super) share: Share,
    pub(super) live: Live,
    /// What is known of the catalog.
    pub(super) catalog: Rc<Follower>,
    pub(super) closing: Closing,
    pub(super) work: Work,
    /// Rows of the ladders.
    pub(super) damage: Damage,
    pub(super) refused_pushes: u64,
    pub(super) news: u64,
    /// Since when somebody watches charts over sockets.
    pub(super) watched_since_ms: Option<u64>,
    /// What shards know this state by: another after each load, and 0 where nobody has said it.
    pub(super) number: u64,
    pub(super) expired_ms: u64,
    /// When days were thinned last.
    pub(super) thinned_day: Cell<u64>,
    pub(super) flushed_ms: u64,
    pub(super) folds: u64,
    pub(super) folded_panes: u64,
    pub(super) closed_charts: u64,
    pub(super) limits: GlobalLimits,
    pub(super) pace: Pace,
    /// When this state was first asked for anything.
    pub(super) started_ms: Cell<Option<u64>>,
    /// Shards that had something open before this state was loaded, or before another, and were not heard from since,
    /// and when they were heard last.
    pub(super) unheard: BTreeMap<ShardName, u64>,
    /// An export whose moment is to come, or was a moment ago.
    pub(super) cutting: Option<Cutting>,
    /// The moment of an export that is read.
    pub(super) moment: Moment,
    pub(super) kept_days: KeptDays,
    /// What is stored now: another wherever pages are to be begun anew.
    pub(super) stamp: Stamp,
    /// When a busy shard of each region was heard from last before this state was loaded.
    pub(super) heard_before: BTreeMap<String, u64>,
    /// When any shard was: about the time of the last flush.
    pub(super) saved_ms: u64,
}

impl Global {
    /// Makes the state from what is stored; where nothing is, it begins with these regions.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load(storage: &impl Storage, table: &RegionTable) -> Result<Self, StorageError> {
        let limits = GlobalLimits::default();
        Self::load_beside(storage, table, limits, &Together::default())
    }

    /// [`Global::load`] with limits of one's own, in an instance with others.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load_beside(
        storage: &impl Storage,
        table: &RegionTable,
        limits: GlobalLimits,
        together: &Together,
    ) -> Result<Self, StorageError> {
        let heard = Heard::load(storage)?;
        let table = match heard.table {
            Some(table) => table,
            None => {
                storage.write(&heard.rows.writes(table))?;
                table.clone()
            }
        };
        let keys: Vec<String> = table.keys().map(Cow::into_owned).collect();
        let offsets = Offsets::load(storage, &keys)?;
        let cache = Cache::within(together.room(), MOST_CACHE_BYTES);
        // With the last flush: an object that is woken for each does not look again each time for what is
        // too old.
        let last_ms = offsets.last_heard_ms();
        let busy_shards = offsets.busy_shards();
        Ok(Global {
            load: Rc::default(),
            unheard: offsets
                .to_miss()
                .filter(|_| !mutants::active(Mutant::NobodyMissed))
                .filter(|_| !mutants::active(Mutant::WokenTakenForWhole))
                .map(|(shard, heard_ms)| (shard.clone(), heard_ms))
                .collect(),
            heard_before: offsets.heard_by_region(),
            offsets,
            catalog: Rc::new(Follower::of_nothing()),
            closing: Closing::default(),
            table,
            live: Live::new(cache.clone()),
            stretches: Stretches::new(cache.clone(), together.room()),
            cache,
            share: Share::of(together),
            work: Work::default(),
            heard: heard.rows,
            seen_ms: 0,
            latest_ms: last_ms,
            heard_late: BTreeMap::new(),
            taken_epoch_ms: 0,
            refused_epoch_ms: Cell::new(0),
            lost_regions: RefCell::default(),
            damage: Damage::default(),
            refused_pushes: 0,
            news: 0,
            watched_since_ms: None,
            number: 0,
            saved_ms: last_ms,
            expired_ms: last_ms,
            thinned_day: Cell::new(last_ms / DAY_MS),
            flushed_ms: 0,
            folds: 0,
            folded_panes: 0,
            closed_charts: 0,
            limits,
            pace: Pace::new(limits.push_gap_ms, busy_shards),
            started_ms: Cell::default(),
            cutting: None,
            moment: Moment::load(storage)?,
            kept_days: KeptDays::load(storage)?,
            stamp: Stamp::default(),
        })
    }

    /// The regions and the seed, as far as this object has heard.
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
        Ok(self.moment.forget_idle(storage, now_ms)?)
    }

    /// Shows posts as this catalog says. Before, there is none: every post shows.
    pub fn follow(&mut self, catalog: Rc<Follower>) {
        self.catalog = catalog;
    }

    /// What is known of the catalog.
    pub fn catalog(&self) -> &Follower {
        &self.catalog
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

    /// Rows that could not be read: those of the regions, the offsets and an export's at the start, those of
    /// panes when they were asked for.
    pub fn damaged_rows(&self) -> u64 {
        let at_start = self.heard.damaged + self.offsets.damaged_rows + self.moment.damaged_rows;
        at_start + self.kept_days.damaged_rows + self.damage.rows()
    }
}
