//! What changed, in which order: so that Workers fetch what is new to them, and nothing else.
//!
//! Each change has a number, which grows, and a version, 64 random bits, which names what is so from
//! then on. A registry that was restored from a backup makes other versions than those that it made
//! before: who comes with one that it does not know is told everything.
//!
//! # Limit
//! The last [`MAX_BOARD_CHANGES`] are kept, a row each, overwritten in a ring: 100 bytes each in memory. Who is
//! farther behind is told everything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::codec::{self, record};
use crate::storage::{Storage, StorageError, Table, Write};

/// Behind by more than this is as good as new. A script that makes ten boards a second is told of in
/// full by each isolate that asks less often than every 100 s: as often as Workers must.
pub const MAX_BOARD_CHANGES: u64 = 1_024;
const CHANGE_PREFIX: &[u8] = b"change/";

/// What a change was of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Changed {
    /// The region table.
    Regions,
    /// The board of this id: made, changed, deleted.
    Board(String),
    /// So much that whoever asks is told everything.
    Everything,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ChangeRow {
    number: u64,
    version: u64,
    changed: Changed,
}

record!(ChangeRow v 1);

/// A change that is to be stored.
pub struct Change(ChangeRow);

impl Change {
    pub fn write(&self) -> Write {
        let key = row_of_change(self.0.number);
        Write::put(Table::Meta, key, codec::encode(&self.0))
    }
}

fn row_of_change(number: u64) -> Vec<u8> {
    [CHANGE_PREFIX, &(number % MAX_BOARD_CHANGES).to_be_bytes()].concat()
}

/// What is new to somebody.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct New {
    pub regions: bool,
    /// Ids of boards.
    pub boards: BTreeSet<String>,
}

/// The last changes.
#[derive(Default)]
pub struct Changes(VecDeque<ChangeRow>);

impl Changes {
    /// # Errors
    /// When the disk refuses. Of rows that cannot be read, and of what was before them, nothing is known.
    pub fn load(storage: &impl Storage) -> Result<Self, StorageError> {
        let rows = storage.scan(Table::Meta, CHANGE_PREFIX, &[], usize::MAX)?;
        let rows = rows
            .iter()
            .filter_map(|(_, row)| codec::decode::<ChangeRow>(row).ok());
        let rows: BTreeMap<u64, ChangeRow> = rows.map(|row| (row.number, row)).collect();
        let mut last: VecDeque<ChangeRow> = VecDeque::new();
        for row in rows.into_values().rev() {
            if last
                .front()
                .is_some_and(|next| row.number + 1 != next.number)
            {
                break;
            }
            last.push_front(row);
        }
        Ok(Changes(last))
    }

    /// The change that comes next, to be stored with what it is of.
    pub fn next(&self, changed: Changed, version: u64) -> Change {
        Change(ChangeRow {
            number: self.number() + 1,
            version,
            changed,
        })
    }

    /// It is stored.
    pub fn stored(&mut self, change: Change) {
        if self.0.len() as u64 >= MAX_BOARD_CHANGES {
            self.0.pop_front();
        }
        self.0.push_back(change.0);
    }

    /// How many there were; 0 before the first.
    pub fn number(&self) -> u64 {
        self.0.back().map_or(0, |last| last.number)
    }

    /// What names all that is so now.
    pub fn version(&self) -> u64 {
        self.0.back().map_or(0, |last| last.version)
    }

    /// What is new since a version; `None` where everything may be.
    pub fn since(&self, version: u64) -> Option<New> {
        let known = self.0.iter().rposition(|row| row.version == version)?;
        let mut new = New::default();
        for row in self.0.iter().skip(known + 1) {
            match &row.changed {
                Changed::Regions => new.regions = true,
                Changed::Board(board_id) => {
                    new.boards.insert(board_id.clone());
                }
                Changed::Everything => return None,
            }
        }
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn add(changes: &mut Changes, storage: &MemoryStorage, changed: Changed, version: u64) {
        let change = changes.next(changed, version);
        storage.write(&[change.write()]).unwrap();
        changes.stored(change);
    }

    fn board(number: u64) -> Changed {
        Changed::Board(format!("board-{number}"))
    }

    #[test]
    fn what_is_new_is_what_changed_since_and_a_start_knows_it_as_well() {
        let storage = MemoryStorage::new();
        let mut changes = Changes::load(&storage).unwrap();
        assert_eq!((changes.number(), changes.version()), (0, 0));
        add(&mut changes, &storage, Changed::Regions, 71);
        add(&mut changes, &storage, board(1), 72);
        add(&mut changes, &storage, board(2), 73);
        add(&mut changes, &storage, board(1), 74);
        for changes in [&changes, &Changes::load(&storage).unwrap()] {
            assert_eq!((changes.number(), changes.version()), (4, 74));
            assert_eq!(changes.since(74), Some(New::default()));
            let new = changes.since(72).unwrap();
            assert!(!new.regions);
            assert_eq!(new.boards.len(), 2);
            assert_eq!(changes.since(70), None, "of another registry");
        }
        add(&mut changes, &storage, Changed::Everything, 75);
        assert_eq!(changes.since(74), None);
        assert_eq!(changes.since(75), Some(New::default()));
    }

    #[test]
    fn so_many_are_kept_and_what_cannot_be_read_ends_them() {
        let storage = MemoryStorage::new();
        let mut changes = Changes::default();
        for number in 1..=3 * MAX_BOARD_CHANGES {
            add(&mut changes, &storage, board(number % 10), number);
        }
        let rows = |storage: &MemoryStorage| storage.keys(Table::Meta, CHANGE_PREFIX).unwrap();
        assert_eq!(rows(&storage).len() as u64, MAX_BOARD_CHANGES);
        let loaded = Changes::load(&storage).unwrap();
        let oldest = 2 * MAX_BOARD_CHANGES + 1;
        for changes in [&changes, &loaded] {
            assert_eq!(changes.since(oldest).unwrap().boards.len(), 10);
            assert_eq!(changes.since(oldest - 1), None);
        }
        let damaged = 3 * MAX_BOARD_CHANGES - 10;
        let key = changes.0.iter().find(|row| row.number == damaged).cloned();
        let key = Change(key.unwrap()).write().key().to_vec();
        storage
            .write(&[Write::put(Table::Meta, key, vec![1])])
            .unwrap();
        let loaded = Changes::load(&storage).unwrap();
        assert_eq!(loaded.number(), changes.number());
        assert_eq!(loaded.since(damaged), None);
        assert!(loaded.since(damaged + 1).is_some());
    }
}
