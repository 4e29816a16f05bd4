//! What the global object hears from the registry: which regions there are, and since when is counted.
//!
//! It stores the table that it saw last, so that it starts without the registry, and goes on without it.
//! It hears of changes late: a region that it does not know comes with a push or a question, which make
//! it ask; a region that was deleted stays in its own tables until then, and nobody asks for it, as
//! Workers know.

use std::rc::Rc;

use super::moment::write_apart;
use super::state::Global;
use super::{closed, ladder, transfer};
use crate::storage::{Storage, StorageError, Table, Write, two_copies};
use crate::topology::{Region, RegionTable};

/// Two copies: without it nothing is taken while the registry is away.
const TABLE_NAME: &[u8] = b"heard/";

/// What was heard last, and where it is stored.
pub struct Heard {
    pub table: Option<RegionTable>,
    pub rows: HeardRows,
}

#[derive(Clone, Copy)]
pub struct HeardRows {
    generation: u8,
    /// Copies that cannot be read.
    pub damaged: u64,
}

impl Heard {
    /// # Errors
    /// When the disk refuses.
    pub fn load(storage: &impl Storage) -> Result<Self, StorageError> {
        let stored = two_copies::load::<RegionTable>(storage, Table::Meta, TABLE_NAME)?;
        Ok(Heard {
            table: stored.record,
            rows: HeardRows {
                generation: stored.generation,
                damaged: stored.damaged,
            },
        })
    }
}

impl HeardRows {
    /// The writes that store a table.
    pub fn writes(self, table: &RegionTable) -> [Write; 2] {
        two_copies::writes(Table::Meta, TABLE_NAME, self.generation, table)
    }
}

impl Global {
    /// The regions that were heard of last, of an object that is not loaded; `None` where it heard of
    /// none, or nobody can read of which.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn heard(storage: &impl Storage) -> Result<Option<RegionTable>, StorageError> {
        Ok(Heard::load(storage)?.table)
    }

    /// Takes the regions as they are now. Panes of regions that were deleted go; where counting began
    /// anew, every pane and offset goes, and with them the marks of imports and an export under way.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn hear(
        &mut self,
        storage: &impl Storage,
        mut table: RegionTable,
    ) -> Result<(), StorageError> {
        let begins_anew = table.epoch_ms > self.table.epoch_ms;
        // The registry may have been set back. What was counted since stays.
        table.epoch_ms = table.epoch_ms.max(self.table.epoch_ms);
        if table == self.table {
            return Ok(());
        }
        let writes = self.heard.writes(&table);
        if begins_anew {
            storage.atomically(|| {
                storage.clear(Table::Panes)?;
                storage.clear(Table::Charts)?;
                storage.clear(Table::Offsets)?;
                self.moment.forget(storage)?;
                storage.write(&transfer::marks_of_imports(storage)?)?;
                storage.write(&writes)
            })?;
            let (catalog, rules) = (Rc::clone(&self.catalog), self.closing.rules());
            let number = self.number;
            let together = self.share.together().clone();
            *self = Self::load_beside(storage, &table, self.limits, &together)?;
            self.is_known_by(number);
            self.follow(catalog);
            self.close_by(rules);
            return Ok(());
        }
        for key in table.keys().filter(|key| !self.table.knows_key(key)) {
            self.offsets.load_region(storage, &key)?;
            // One that was lost for a while: what its shards pushed meanwhile was refused.
            let shards = self.offsets.heard_where(|_| true);
            let missed = shards.filter(|(shard, _)| *shard.0 == *key);
            self.unheard
                .extend(missed.map(|(shard, heard_ms)| (shard.clone(), heard_ms)));
        }
        let regions = self.table.regions.iter().map(|region| region.key());
        let deleted = regions.filter(|key| table.has_deleted_key(key));
        if let Some(cutting) = &mut self.cutting {
            for region in table.regions_ever() {
                let known = self.table.ever_had_key(&region.key());
                let known = known.map_or(0, |region| region.most_shards);
                let new =
                    (known..region.most_shards).map(|shard| (region.key().into_owned(), shard));
                new.for_each(|shard| cutting.expect(shard));
            }
        }
        // What is pending of them goes into the world's panes with the next flush.
        let guarded = self.moment.guard(storage);
        guarded.atomically(|| {
            guarded.write(&writes)?;
            for key in deleted {
                write_apart(&guarded, &closed::all_of(storage, &key)?)?;
                write_apart(&guarded, &ladder::all_of(storage, &key)?)?;
            }
            Ok(())
        })?;
        let is_lost = |key: &str| !table.knows_key(key);
        self.lost_regions.get_mut().retain(|key, _| is_lost(key));
        let keys = self.table.regions.iter().map(Region::key);
        keys.filter(|key| is_lost(key))
            .for_each(|key| self.note_lost_region(&key, self.seen_ms));
        self.table = table;
        self.stored_anew();
        Ok(())
    }

    /// The registry knows nothing of an epoch that shards know of.
    pub fn take_epochs_to(&mut self, epoch_ms: u64) {
        self.taken_epoch_ms = epoch_ms;
    }

    /// The epoch of the push that was refused last as [`Refusal::LaterEpoch`].
    ///
    /// [`Refusal::LaterEpoch`]: crate::wire::Refusal::LaterEpoch
    pub fn refused_epoch_ms(&self) -> u64 {
        self.refused_epoch_ms.get()
    }
}
