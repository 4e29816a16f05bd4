//! The state of the registry, and every change of it. See the folder's introduction.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::boards::{self, Boards};
use super::changes::{Change, Changed, Changes};
use super::regions::{self, Installation, RegionRows};
use crate::board::{Board, DirectoryNews, ObjectName};
use crate::mutants::{self, Mutant};
use crate::settings::RegionSetting;
use crate::storage::{Storage, StorageError, Write};
use crate::topology::{DeletedRegion, Region, RegionTable};
use crate::wire::{
    DeleteRegion, Deletion, PutBoard, PutRegion, Refusal, RegistryMetrics, Reset, ResetDone,
};

/// The state machine of the registry. Storage and clock are handed in.
pub struct Registry {
    table: RegionTable,
    rows: RegionRows,
    changes: Changes,
    boards: Boards,
}

impl Registry {
    /// Makes the state from what is stored, and at the first start the seed and the regions.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load(
        storage: &impl Storage,
        first_regions: &[RegionSetting],
        random: [u8; 16],
    ) -> Result<Self, StorageError> {
        let (mut table, rows, mut writes) = regions::load(storage, first_regions, random)?;
        let mut changes = Changes::load(storage)?;
        let is_new = changes.number() == 0;
        if is_new || !writes.is_empty() {
            let change = changes.next(Changed::Everything, version_of(&random));
            writes.push(change.write());
            storage.write(&writes)?;
            changes.stored(change);
        }
        table.number = changes.number();
        Ok(Registry {
            table,
            rows,
            changes,
            boards: Boards::load(storage)?,
        })
    }

    /// The regions and the seed.
    pub fn table(&self) -> &RegionTable {
        &self.table
    }

    /// What the settings said of regions at the start and the table did not, a sentence each.
    pub fn region_differences(&self) -> &[String] {
        &self.rows.differences
    }

    /// Rows that could not be read at the start.
    pub fn damaged_rows(&self) -> u64 {
        self.rows.damaged + self.boards.damaged()
    }

    /// What is new to a Worker with this version of the directory.
    pub fn directory_news(&self, version: Option<u64>) -> DirectoryNews {
        let new = version.and_then(|version| self.changes.since(version));
        let is_whole = new.is_none();
        let regions = new.as_ref().is_none_or(|new| new.regions);
        let changed = new.map(|new| new.boards).unwrap_or_default();
        let (there, gone): (Vec<String>, Vec<String>) = changed
            .into_iter()
            .partition(|board_id| self.boards.live.contains_key(board_id));
        let there = there.iter().filter_map(|id| self.boards.live.get(id));
        DirectoryNews {
            version: self.changes.version(),
            table: regions.then(|| self.table.clone()),
            is_whole,
            boards: match is_whole {
                true => self.boards.all(),
                false => there.cloned().collect(),
            },
            gone,
        }
    }

    /// Lists an object of a board, and tells it of the regions, each with the shards that the board has
    /// there. Of `main`, which is never deleted, nobody needs a list.
    ///
    /// # Errors
    /// [`Refusal::Gone`] where there is no such board any more.
    pub fn enlist(
        &mut self,
        storage: &impl Storage,
        object: &ObjectName,
    ) -> Result<RegionTable, Refusal> {
        let mut table = self.table.clone();
        if object.is_to_enlist() {
            let key = object.board().unwrap_or_default();
            let board = self.boards.of_key(key)?;
            boards::enlist(storage, object)?;
            let deleted = table.deleted.iter_mut().map(|it| &mut it.region);
            for region in table.regions.iter_mut().chain(deleted) {
                let of_board = board.shards_in(region);
                (region.shards, region.most_shards) = (of_board.shards, of_board.most_shards);
            }
        }
        Ok(table)
    }

    /// Makes or changes a board. `random` is its incarnation where it is made.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn put_board(
        &mut self,
        storage: &impl Storage,
        request: &PutBoard,
        (random, version): (u64, u64),
        now_ms: u64,
    ) -> Result<Board, Refusal> {
        let (board, write) = self.boards.put(&self.table, request, random, now_ms)?;
        if self.boards.live.get(&board.board_id) != Some(&board) {
            let changed = Changed::Board(board.board_id.clone());
            let change = self.changes.next(changed, version);
            self.store(storage, vec![write], change)?;
            let board_id = board.board_id.clone();
            self.boards.live.insert(board_id, board.clone());
        }
        Ok(board)
    }

    /// Deletes a board: its name is free, and what it has stored is to be wiped. Returns its key; also
    /// where it is deleted and not wiped yet.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn delete_board(
        &mut self,
        storage: &impl Storage,
        board_id: &str,
        version: u64,
        now_ms: u64,
    ) -> Result<String, Refusal> {
        if !self.boards.live.contains_key(board_id)
            && let Some((key, _)) = self.boards.dying(board_id)
        {
            return Ok(key.clone());
        }
        let (key, tombstone, writes) = self.boards.delete(board_id, now_ms)?;
        let changed = Changed::Board(board_id.to_owned());
        let change = self.changes.next(changed, version);
        self.store(storage, writes.into(), change)?;
        self.boards.live.remove(board_id);
        self.boards.tombstones.insert(key.clone(), tombstone);
        Ok(key)
    }

    /// Whether the board of a key shows itself without a token. One that is no more is told so by whoever
    /// is asked for its charts.
    pub fn is_public(&self, key: &str) -> bool {
        self.boards.of_key(key).map_or(true, |board| board.public)
    }

    /// How it stands, for the operator.
    pub fn tell(&self, metrics: RegistryMetrics, now_ms: u64) -> RegistryMetrics {
        let others = self.boards.live.values().filter(|board| !board.is_main());
        let oldest = self.boards.tombstones.values();
        let oldest_ms = oldest.map(|tombstone| tombstone.deleted_ms).min();
        RegistryMetrics {
            boards: 1 + others.count() as u64,
            deletions: self.boards.tombstones.len() as u64,
            oldest_deletion_age_ms: oldest_ms.map_or(0, |ms| now_ms.saturating_sub(ms)),
            changes: self.changes.number(),
            damaged_rows: self.damaged_rows(),
            ..metrics
        }
    }

    /// Whether there are boards besides `main`.
    pub fn has_other_boards(&self) -> bool {
        self.boards.live.values().any(|board| !board.is_main())
    }

    /// The keys of boards that are deleted and not wiped yet.
    pub fn to_wipe(&self) -> Vec<String> {
        self.boards.tombstones.keys().cloned().collect()
    }

    /// The objects of a deleted board that are to be emptied next, and how far its deletion is.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn objects_to_wipe(
        &self,
        storage: &impl Storage,
        key: &str,
        most: usize,
    ) -> Result<(Vec<ObjectName>, Deletion), Refusal> {
        let (objects, objects_left) = boards::enlisted(storage, key, most)?;
        let tombstone = self.boards.tombstones.get(key);
        let deleted_ms = tombstone.map_or(0, |tombstone| tombstone.deleted_ms);
        let deletion = Deletion {
            deleted_ms,
            objects_left,
        };
        Ok((objects, deletion))
    }

    /// Some objects of a deleted board are empty. Where they were the last, nothing of it is left.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn wiped(
        &mut self,
        storage: &impl Storage,
        key: &str,
        objects: &[ObjectName],
    ) -> Result<(), Refusal> {
        let mut writes = boards::strikes(storage, objects)?;
        let (_, left) = boards::enlisted(storage, key, 0)?;
        let is_last = left <= writes.len() as u64 || mutants::active(Mutant::TombstoneGoneEarly);
        if is_last {
            writes.push(boards::bury(key));
        }
        storage.write(&writes)?;
        if is_last {
            self.boards.tombstones.remove(key);
        }
        Ok(())
    }

    /// Stores what a change is made of, with the change itself.
    fn store(
        &mut self,
        storage: &impl Storage,
        mut writes: Vec<Write>,
        change: Change,
    ) -> Result<(), Refusal> {
        writes.push(change.write());
        storage.write(&writes)?;
        self.changes.stored(change);
        self.table.number = self.changes.number();
        Ok(())
    }

    /// Makes or changes a region.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn put_region(
        &mut self,
        storage: &impl Storage,
        request: &PutRegion,
        version: u64,
    ) -> Result<Region, Refusal> {
        let (position, region, write) = regions::put(&self.table, &self.rows, request)?;
        let key = write.key().to_vec();
        let change = self.changes.next(Changed::Regions, version);
        self.store(storage, vec![write], change)?;
        match self.table.regions.get_mut(position) {
            Some(existing) => existing.clone_from(&region),
            None => {
                self.rows.made(&key);
                self.table.regions.push(region.clone());
            }
        }
        Ok(region)
    }

    /// Deletes a region. Its plays stay in the world's; global objects that hear of it delete its panes.
    /// Returns what is remembered of it; also where it was deleted before.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn delete_region(
        &mut self,
        storage: &impl Storage,
        request: &DeleteRegion,
        version: u64,
        now_ms: u64,
    ) -> Result<DeletedRegion, Refusal> {
        let region_id = request.region_id.as_str();
        if self.table.is_deleted(region_id) {
            let mut deleted = self.table.deleted.iter().rev();
            let deleted = deleted.find(|deleted| deleted.region.region_id == region_id);
            return deleted.cloned().ok_or(Refusal::UnknownRegion);
        }
        let (position, deleted, writes) =
            regions::delete(&self.table, &self.rows, region_id, now_ms)?;
        let change = self.changes.next(Changed::Regions, version);
        self.store(storage, writes.into(), change)?;
        self.table.regions.remove(position);
        self.rows.keys.remove(position);
        self.table.deleted.push(deleted.clone());
        self.rows.next_deleted += 1;
        Ok(deleted)
    }

    /// Begins counting anew: with another id, epoch and seed. Regions stay. Who asks again with the id
    /// of before changes nothing.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn reset(
        &mut self,
        storage: &impl Storage,
        request: &Reset,
        random: [u8; 32],
        version: u64,
        now_ms: u64,
    ) -> Result<ResetDone, Refusal> {
        if self.rows.is_installation_lost {
            // Nobody knows which epoch a new one has to be later than.
            return Err(Refusal::Damaged("the installation's rows".into()));
        }
        let was = self.rows.installation.clone();
        if was.previous_id == Some(request.installation_id) {
            return Ok(ResetDone {
                table: self.table.clone(),
                repeated: true,
                boards_left: 0,
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
        let mut writes = regions::epoch_writes(&self.rows, &installation, seed);
        // Other boards are made again.
        let random_of = |board_id: &str| hash_with_random(&seed, board_id.as_bytes());
        let has_objects = boards::with_objects(storage)?;
        let mut anew = Boards::load(storage)?;
        writes.extend(anew.begin_anew(random_of, &has_objects, now_ms));
        let change = self.changes.next(Changed::Everything, version);
        self.store(storage, writes, change)?;
        // Rows of another generation may have been begun.
        *self = Self::load(storage, &[], seed)?;
        Ok(ResetDone {
            table: self.table.clone(),
            repeated: false,
            boards_left: 0,
        })
    }

    /// Takes the seed of an installation that is imported into this one, whose `main` has no plays yet. With
    /// other boards, which may have some, it keeps its own.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn adopt_seed(
        &mut self,
        storage: &impl Storage,
        seed: [u8; 16],
        version: u64,
    ) -> Result<RegionTable, Refusal> {
        if self.table.seed != seed && !self.has_other_boards() {
            let writes = regions::seed_writes(&self.rows, seed).into();
            let change = self.changes.next(Changed::Regions, version);
            self.store(storage, writes, change)?;
            self.table.seed = seed;
        }
        Ok(self.table.clone())
    }
}

/// A version from the random bytes of a start, from which the seed cannot be found.
fn version_of(random: &[u8; 16]) -> u64 {
    hash_with_random(random, b"version")
}

fn hash_with_random(random: &[u8; 16], what: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(random);
    hasher.write(what);
    hasher.finish128().h1
}
