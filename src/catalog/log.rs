//! The numbered log of a catalog's changes: which posts, not what changed of them.
//!
//! A row is one slice that was put. The oldest rows are deleted where the log would keep more ids than
//! [`super::CatalogLimits::log_ids`]. A row that cannot be read stays; a follower that is behind it is told to forget
//! everything.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::codec::{self, record};
use crate::mutants::{self, Mutant};
use crate::storage::{Damage, Storage, StorageError, Table, Write};
use crate::wire::CatalogPosition;

/// Bytes of rows that are read at a time.
const READ_BYTES: usize = 64 << 10;

#[derive(Serialize, Deserialize)]
struct LogRow {
    mark: u64,
    /// Ids of all rows up to this one, since the first.
    ids_so_far: u64,
    ids: Vec<String>,
}

record!(LogRow as CatalogLogRow v 1);

/// The log: its rows in storage, its ends in memory.
#[derive(Clone, Debug, Default)]
pub struct ChangeLog {
    position: CatalogPosition,
    ids_so_far: u64,
    /// The number of the oldest row, and the number of ids up to it: 0 where the row cannot be read.
    oldest: Option<(u64, u64)>,
}

/// A row that is to be added, and the log with it.
pub struct Added {
    pub log: ChangeLog,
    pub writes: Vec<Write>,
}

impl ChangeLog {
    /// The log as it is stored. Where its last row cannot be read, a row with this `mark` is begun behind it
    /// and returned, to be written.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load(
        storage: &impl Storage,
        damage: &Damage,
        mark: u64,
    ) -> Result<(Self, Vec<Write>), StorageError> {
        let keys = storage.keys(Table::CatalogLog, &[])?;
        let Some(last_key) = keys.last() else {
            return Ok((ChangeLog::default(), Vec::new()));
        };
        let mut log = ChangeLog {
            oldest: oldest(storage, damage, &[])?,
            ..ChangeLog::default()
        };
        log.position.number = number_of(last_key);
        if let Some(last) = read_rows(storage, damage, log.position.number)? {
            log.position.mark = last.mark;
            log.ids_so_far = last.ids_so_far;
            return Ok((log, Vec::new()));
        }
        // The last readable row says how many ids there were.
        for key in keys.iter().rev().skip(1).take(100) {
            if let Some(row) = read_rows(storage, damage, number_of(key))? {
                log.ids_so_far = row.ids_so_far;
                break;
            }
        }
        let added = log.add(storage, damage, Vec::new(), mark, u64::MAX)?;
        Ok((added.log, added.writes))
    }

    pub fn position(&self) -> CatalogPosition {
        self.position
    }

    /// Adds a row, and deletes the oldest rows over the limit.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn add(
        &self,
        storage: &impl Storage,
        damage: &Damage,
        ids: Vec<String>,
        mark: u64,
        most_ids: u64,
    ) -> Result<Added, StorageError> {
        let mut log = self.clone();
        let number = self.position.number + 1;
        log.position = CatalogPosition { number, mark };
        log.ids_so_far += ids.len() as u64;
        log.oldest = self.oldest.or(Some((number, log.ids_so_far)));
        let row = LogRow {
            mark,
            ids_so_far: log.ids_so_far,
            ids,
        };
        let mut writes = vec![Write::put(
            Table::CatalogLog,
            key_of(number),
            codec::encode(&row),
        )];
        while let Some((oldest_number, ids_up_to)) = log.oldest
            && oldest_number < number
            && log.ids_so_far.saturating_sub(ids_up_to) >= most_ids
        {
            writes.push(Write::delete(Table::CatalogLog, key_of(oldest_number)));
            let next = oldest(storage, damage, &key_of(oldest_number + 1))?;
            log.oldest = next.or(Some((number, log.ids_so_far)));
        }
        Ok(Added { log, writes })
    }

    /// The posts that changed since a position; `None` where there are more than `at_most`, or the log does not
    /// go back so far.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn since(
        &self,
        storage: &impl Storage,
        damage: &Damage,
        since: CatalogPosition,
        at_most: usize,
    ) -> Result<Option<BTreeSet<String>>, StorageError> {
        let looks_at_mark = !mutants::active(Mutant::NumberWithoutMark);
        if since.number == self.position.number {
            let is_same = since == self.position || !looks_at_mark;
            return Ok(is_same.then(BTreeSet::new));
        }
        if since.number > self.position.number {
            return Ok(None);
        }
        if since.number > 0 || since.mark > 0 {
            let row = read_rows(storage, damage, since.number)?;
            if !row.is_some_and(|row| row.mark == since.mark || !looks_at_mark) {
                return Ok(None);
            }
        }
        let (mut ids, mut next) = (BTreeSet::new(), since.number + 1);
        while next <= self.position.number {
            let rows = storage.scan(Table::CatalogLog, &[], &key_of(next), READ_BYTES)?;
            for (key, value) in &rows {
                let row = decode_row(damage, key, value).filter(|_| number_of(key) == next);
                let Some(row) = row else { return Ok(None) };
                ids.extend(row.ids);
                if ids.len() > at_most {
                    return Ok(None);
                }
                next += 1;
            }
            if rows.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(ids))
    }
}

fn key_of(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// 0 for a key that is not of 8 bytes.
fn number_of(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

fn decode_row(damage: &Damage, key: &[u8], value: &[u8]) -> Option<LogRow> {
    let row = codec::decode(value).ok();
    if row.is_none() {
        damage.note(key);
    }
    row
}

fn read_rows(
    storage: &impl Storage,
    damage: &Damage,
    number: u64,
) -> Result<Option<LogRow>, StorageError> {
    let value = storage.get(Table::CatalogLog, &key_of(number))?;
    Ok(value.and_then(|value| decode_row(damage, &key_of(number), &value)))
}

/// The first row from a key on: its number, and the ids up to it.
fn oldest(
    storage: &impl Storage,
    damage: &Damage,
    from: &[u8],
) -> Result<Option<(u64, u64)>, StorageError> {
    let rows = storage.scan(Table::CatalogLog, &[], from, 0)?;
    Ok(rows.first().map(|(key, value)| {
        let ids = decode_row(damage, key, value).map_or(0, |row| row.ids_so_far);
        (number_of(key), ids)
    }))
}
