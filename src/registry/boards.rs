//! Which boards there are, which are being deleted, and what they have stored where.
//!
//! A board is a row. One that is deleted leaves a tombstone until every object that it ever had has said
//! that it is empty: the list of these is exact, as each was enlisted before its first write.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::board::{
    Board, BoardShards, MAIN, MAX_BOARDS, ObjectName, check_board_id, parts_of_board_key,
};
use crate::codec::{self, record};
use crate::storage::{Storage, StorageError, Table, Write};
use crate::text::check_name;
use crate::topology::{MAX_SHARDS, MAX_SHARDS_IN_ALL, RegionTable};
use crate::wire::{Enlist, PutBoard, Refusal};

const BOARD_PREFIX: &[u8] = b"board/";
const TOMBSTONE_PREFIX: &[u8] = b"tombstone/";
const OBJECT_PREFIX: &[u8] = b"object/";

/// A board that is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    pub deleted_ms: u64,
}

record!(Tombstone v 1);

/// What is in memory of it: 250 bytes a board.
#[derive(Default)]
pub struct Boards {
    /// By their ids. `main` is here where anything of it was changed.
    pub live: BTreeMap<String, Board>,
    /// By the keys of their boards.
    pub tombstones: BTreeMap<String, Tombstone>,
    /// The ids of boards whose rows cannot be read. Nobody knows their incarnations: their objects are neither
    /// enlisted nor told that they are of no board, and no other board takes their names.
    pub unreadable: BTreeSet<String>,
    /// Tombstones that cannot be read.
    pub damaged_tombstones: u64,
}

fn row_of_board(board_id: &str) -> Vec<u8> {
    [BOARD_PREFIX, board_id.as_bytes()].concat()
}

fn row_of_tombstone(key: &str) -> Vec<u8> {
    [TOMBSTONE_PREFIX, key.as_bytes()].concat()
}

/// Those of a board lie together, its shards first.
fn rows_of_objects(key: &str) -> Vec<u8> {
    [OBJECT_PREFIX, key.as_bytes(), b"/"].concat()
}

fn row_of_object(object: &ObjectName) -> Vec<u8> {
    let order = match object {
        ObjectName::Shard { .. } => b"0",
        ObjectName::Global { .. } => b"1",
        _ => b"2",
    };
    let rows = rows_of_objects(object.board().unwrap_or_default());
    [&rows, &order[..], object.as_named().as_bytes()].concat()
}

/// The object of a row of a board, by its key: what cannot be read is deleted with its board, too.
fn object_of_row(row: &[u8], key: &str) -> Option<ObjectName> {
    let (order, name) = row.get(rows_of_objects(key).len()..)?.split_first()?;
    let kind = match order {
        b'0' => "shard",
        b'1' => "global",
        _ => "registry",
    };
    let object = ObjectName::of_name(kind, std::str::from_utf8(name).ok()?);
    (row_of_object(&object) == row).then_some(object)
}

fn invalid<T>(detail: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Invalid(detail.into()))
}

impl Boards {
    /// # Errors
    /// When the disk refuses.
    pub fn load(storage: &impl Storage) -> Result<Self, StorageError> {
        let mut boards = Boards::default();
        for (row, value) in storage.scan(Table::Meta, BOARD_PREFIX, &[], usize::MAX)? {
            match codec::decode::<Board>(&value) {
                Ok(board) => {
                    boards.live.insert(board.board_id.clone(), board);
                }
                Err(_) => {
                    let board_id = row.get(BOARD_PREFIX.len()..).unwrap_or_default();
                    let board_id = String::from_utf8_lossy(board_id).into_owned();
                    boards.unreadable.insert(board_id);
                }
            }
        }
        for (row, value) in storage.scan(Table::Meta, TOMBSTONE_PREFIX, &[], usize::MAX)? {
            let key = row.get(TOMBSTONE_PREFIX.len()..).unwrap_or_default();
            let Ok(key) = std::str::from_utf8(key) else {
                boards.damaged_tombstones += 1;
                continue;
            };
            // Without it, what is left of the board would stay for ever.
            let tombstone = codec::decode::<Tombstone>(&value).ok();
            boards.damaged_tombstones += u64::from(tombstone.is_none());
            let tombstone = tombstone.unwrap_or(Tombstone { deleted_ms: 0 });
            boards.tombstones.insert(key.to_owned(), tombstone);
        }
        Ok(boards)
    }

    /// Rows that cannot be read.
    pub fn damaged(&self) -> u64 {
        self.unreadable.len() as u64 + self.damaged_tombstones
    }

    fn check_readable(&self, board_id: &str) -> Result<(), Refusal> {
        match self.unreadable.contains(board_id) {
            true => Err(Refusal::Damaged(format!("the row of board {board_id}"))),
            false => Ok(()),
        }
    }

    /// The board of this key.
    ///
    /// # Errors
    /// [`Refusal::Gone`] where it is deleted; [`Refusal::Damaged`] where nobody knows.
    pub fn of_key(&self, key: &str) -> Result<&Board, Refusal> {
        let (board_id, incarnation) = parts_of_board_key(key).ok_or(Refusal::Gone)?;
        self.check_readable(board_id)?;
        let board = self.live.get(board_id);
        let board = board.filter(|board| board.incarnation == incarnation);
        board.ok_or(Refusal::Gone)
    }

    /// All of them, `main` included.
    pub fn all(&self) -> Vec<Board> {
        let main = (!self.live.contains_key(MAIN)).then(Board::main);
        main.into_iter()
            .chain(self.live.values().cloned())
            .collect()
    }

    /// How many there are besides `main`, those whose deletion is not done included.
    fn count(&self) -> usize {
        let others = self.live.keys().filter(|board_id| *board_id != MAIN);
        others.count() + self.unreadable.len() + self.tombstones.len()
    }

    /// The board as it is to be, and the write that stores it.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] with what is wrong.
    pub fn put(
        &self,
        table: &RegionTable,
        request: &PutBoard,
        incarnation: u64,
        now_ms: u64,
    ) -> Result<(Board, Write), Refusal> {
        let board_id = request.board_id.as_str();
        if let Err(detail) = check_board_id(board_id) {
            return invalid(detail);
        }
        self.check_readable(board_id)?;
        if let Some(name) = &request.board_name {
            check_name("board_name", name).map_err(Refusal::Invalid)?;
        }
        let is_main = board_id == MAIN;
        let existing = self.live.get(board_id).cloned();
        let existing = existing.or_else(|| is_main.then(Board::main));
        let is_new = existing.is_none();
        if is_new && self.count() >= MAX_BOARDS {
            return invalid(
                "there are 10000 boards already, the most that there may be; those whose deletion is not done count",
            );
        }
        let mut board = existing.unwrap_or_else(|| {
            let catalog = request.catalog.unwrap_or_default();
            let made = || catalog.incarnation(incarnation);
            let incarnation = request.incarnation.unwrap_or_else(made);
            Board::new(board_id, incarnation.max(1), now_ms)
        });
        if request
            .catalog
            .is_some_and(|catalog| catalog != board.catalog())
        {
            return invalid("catalog is chosen when a board is made, and stays");
        }
        if is_new && self.tombstones.contains_key(board.key().as_ref()) {
            return invalid("this incarnation is being deleted");
        }
        if !is_new
            && request
                .incarnation
                .is_some_and(|it| it != board.incarnation)
        {
            return invalid("there is such a board, of another incarnation; delete it first");
        }
        if is_main && !request.shards.is_empty() {
            return invalid("PUT /regions/{region_id} sets the shards of main");
        }
        if let Some(name) = &request.board_name {
            board.board_name.clone_from(name);
        }
        board.beacons = request.beacons.unwrap_or(board.beacons);
        board.public = request.public.unwrap_or(board.public);
        for (region_id, shards) in &request.shards {
            let Some(region) = table.find(region_id) else {
                return Err(Refusal::UnknownRegion);
            };
            if !(1..=MAX_SHARDS).contains(shards) {
                return invalid("shards are whole numbers from 1 to 1000, by region");
            }
            board.reshard(&region.key(), *shards);
        }
        let most = |of: &BoardShards| of.most_shards;
        if board.shards.values().map(most).sum::<u32>() > MAX_SHARDS_IN_ALL {
            return invalid("a board has at most 10000 shards in all regions together");
        }
        let others = self.live.values().filter(|it| it.board_id != board_id);
        let entries: usize = others.map(|it| it.shards.len()).sum();
        if entries + board.shards.len() > MAX_BOARDS {
            return invalid("boards with several shards in a region: at most 10000 in all");
        }
        let write = Write::put(Table::Meta, row_of_board(board_id), codec::encode(&board));
        Ok((board, write))
    }

    /// The writes that delete a board, whose key is returned.
    ///
    /// # Errors
    /// [`Refusal`]: there is none, or it is `main`.
    pub fn delete(
        &self,
        board_id: &str,
        now_ms: u64,
    ) -> Result<(String, Tombstone, [Write; 2]), Refusal> {
        if board_id == MAIN {
            return invalid("main stays; POST /admin/reset lets it count anew");
        }
        self.check_readable(board_id)?;
        let board = self.live.get(board_id).ok_or(Refusal::Gone)?;
        let (key, tombstone) = (board.key().into_owned(), Tombstone { deleted_ms: now_ms });
        let row = codec::encode(&tombstone);
        let writes = [
            Write::delete(Table::Meta, row_of_board(board_id)),
            Write::put(Table::Meta, row_of_tombstone(&key), row),
        ];
        Ok((key, tombstone, writes))
    }

    /// The boards that are there now as others, with nothing counted and all settings kept: for counting
    /// that begins anew. Whatever was theirs is deleted; of most there may be nothing.
    pub fn begin_anew(
        &mut self,
        random: impl Fn(&str) -> u64,
        has_objects: &BTreeSet<String>,
        now_ms: u64,
    ) -> Vec<Write> {
        let mut writes = Vec::new();
        for board in self.live.values_mut().filter(|board| !board.is_main()) {
            let (key, tombstone) = (board.key().into_owned(), Tombstone { deleted_ms: now_ms });
            if has_objects.contains(&key) {
                let row = codec::encode(&tombstone);
                writes.push(Write::put(Table::Meta, row_of_tombstone(&key), row));
                self.tombstones.insert(key, tombstone);
            }
            board.incarnation = board.catalog().incarnation(random(&board.board_id));
            board.made_ms = now_ms;
            let row = codec::encode(&*board);
            writes.push(Write::put(Table::Meta, row_of_board(&board.board_id), row));
        }
        writes
    }

    /// The key of a board of this id whose deletion is not done.
    pub fn dying(&self, board_id: &str) -> Option<(&String, &Tombstone)> {
        let mut dying = self.tombstones.iter();
        dying.find(|(key, _)| parts_of_board_key(key).is_some_and(|(id, _)| id == board_id))
    }
}

/// Lists an object, so that its board's deletion finds it.
///
/// # Errors
/// When the disk refuses.
pub fn enlist(storage: &impl Storage, object: &ObjectName) -> Result<(), StorageError> {
    let row = row_of_object(object);
    if storage.get(Table::Meta, &row)?.is_some() {
        return Ok(());
    }
    let object = object.clone();
    storage.write(&[Write::put(
        Table::Meta,
        row,
        codec::encode(&Enlist { object }),
    )])
}

/// The keys of boards that have objects.
///
/// # Errors
/// When the disk refuses.
pub fn with_objects(storage: &impl Storage) -> Result<BTreeSet<String>, StorageError> {
    let rows = storage.keys(Table::Meta, OBJECT_PREFIX)?.into_iter();
    let keys = rows.filter_map(|row| {
        let rest = row.get(OBJECT_PREFIX.len()..)?;
        let key = rest.split(|byte| *byte == b'/').next()?;
        String::from_utf8(key.to_vec()).ok()
    });
    Ok(keys.collect())
}

/// The objects of a deleted board that are to be emptied next, of one kind: shards before what they push
/// to. And how many there are in all.
///
/// # Errors
/// When the disk refuses.
pub fn enlisted(
    storage: &impl Storage,
    key: &str,
    most: usize,
) -> Result<(Vec<ObjectName>, u64), StorageError> {
    let rows = storage.keys(Table::Meta, &rows_of_objects(key))?;
    let all = rows.len() as u64;
    let objects = rows.iter().filter_map(|row| object_of_row(row, key));
    let objects: Vec<ObjectName> = objects.take(most).collect();
    let first = objects.first().map(std::mem::discriminant);
    let is_next = |object: &ObjectName| Some(std::mem::discriminant(object)) == first;
    Ok((objects.into_iter().filter(is_next).collect(), all))
}

/// Of objects that are empty those that are still enlisted, each with the write that strikes it: who wiped
/// one twice, or beside somebody else, has struck it before.
///
/// # Errors
/// When the disk refuses.
pub fn strikes(storage: &impl Storage, objects: &[ObjectName]) -> Result<Vec<Write>, StorageError> {
    let rows: BTreeSet<Vec<u8>> = objects.iter().map(row_of_object).collect();
    let mut strikes = Vec::with_capacity(rows.len());
    for row in rows {
        if storage.get(Table::Meta, &row)?.is_some() {
            strikes.push(Write::delete(Table::Meta, row));
        }
    }
    Ok(strikes)
}

/// All objects of a deleted board are empty.
pub fn bury(key: &str) -> Write {
    Write::delete(Table::Meta, row_of_tombstone(key))
}
