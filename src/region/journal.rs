//! The write-ahead log: what makes an accepted batch durable before anything else happens.
//!
//! Rows have growing numbers and live in a ring of slots that are overwritten once a checkpoint
//! covers them; nothing is deleted. A commit is one row, or several written in one atomic batch
//! where it is larger than the platform takes in one piece.

use serde::{Deserialize, Serialize};

use crate::codec::{self, record};
use crate::storage::{MAX_PART_BYTES, Storage, StorageError, Table, Write};

#[derive(Serialize, Deserialize)]
struct JournalRow<'a> {
    seq: u64,
    /// The number of the commit's first row, and how many rows it has.
    first_seq: u64,
    rows: u64,
    /// A part of an encoded [`Commit`].
    #[serde(borrow)]
    part: &'a [u8],
}

record!(JournalRow<'_> v 1);

/// Encoded batches that became durable together.
#[derive(Serialize, Deserialize)]
struct Commit<'a> {
    /// When they are counted, now and by a start that finds them here: their plays get into the same panes.
    counted_ms: u64,
    #[serde(borrow)]
    batches: Vec<&'a [u8]>,
}

record!(Commit<'_> v 1);

/// Where the journal stands.
pub struct Journal {
    /// Slots that hold a row which cannot be read: they are kept as they are.
    slots: Vec<u64>,
    next_seq: u64,
    /// Everything up to here is covered by the last checkpoint.
    covered_seq: u64,
    uncovered_bytes: u64,
    /// Rows that cannot be read.
    unread_rows: u64,
    /// Commits that cannot be read though all their rows can: their last numbers.
    unread_commits: Vec<u64>,
    /// Each row that no checkpoint covers lies in the slot that its number says. It may lie elsewhere where
    /// other slots could be read when it was written.
    are_in_place: bool,
}

/// A commit as a restart finds it.
pub struct FoundCommit {
    pub last_seq: u64,
    pub counted_ms: u64,
    pub batches: Vec<Vec<u8>>,
}

impl Journal {
    /// Reads the ring. Returns the commits after `covered_seq` in their order.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load(
        storage: &impl Storage,
        covered_seq: u64,
        ring_rows: u64,
    ) -> Result<(Self, Vec<FoundCommit>), StorageError> {
        let mut readable: Vec<u64> = (0..ring_rows).collect();
        let mut parts = std::collections::BTreeMap::new();
        let mut slots = Vec::new();
        let mut last_seq = covered_seq;
        let mut unread_rows = 0;
        for (key, value) in storage.scan(Table::Journal, &[], &[], usize::MAX)? {
            let slot = key.try_into().map(u64::from_be_bytes).unwrap_or(u64::MAX);
            match codec::decode::<JournalRow<'_>>(&value) {
                Ok(row) => {
                    last_seq = last_seq.max(row.seq);
                    if row.seq > covered_seq {
                        let part = (row.first_seq, row.rows, row.part.to_vec());
                        parts.insert(row.seq, part);
                        slots.push((row.seq, slot));
                    }
                }
                Err(_) => {
                    readable.retain(|readable| *readable != slot);
                    unread_rows += 1;
                }
            }
        }
        let mut uncovered_bytes = 0;
        let (mut commits, mut unread_commits) = (Vec::new(), Vec::new());
        let firsts = parts.iter().filter(|(seq, part)| **seq == part.0);
        for (first_seq, (_, rows, _)) in firsts {
            let past_last = first_seq.saturating_add(*rows);
            let pieces: Vec<_> = parts.range(first_seq..&past_last).collect();
            let whole = pieces.len() as u64 == *rows
                && pieces.iter().all(|(_, (first, _, _))| first == first_seq);
            let bytes: Vec<u8> = pieces
                .iter()
                .flat_map(|(_, part)| &part.2)
                .copied()
                .collect();
            uncovered_bytes += bytes.len() as u64;
            match codec::decode::<Commit<'_>>(&bytes) {
                Ok(commit) if whole => commits.push(FoundCommit {
                    last_seq: past_last - 1,
                    counted_ms: commit.counted_ms,
                    batches: commit.batches.into_iter().map(<[u8]>::to_vec).collect(),
                }),
                // Of one that is not whole a row is among the unread ones, or the disk gave back
                // less than it was given.
                _ => unread_commits.extend(whole.then_some(past_last - 1)),
            }
        }
        let count = readable.len().max(1) as u64;
        let slot_of = |seq: u64| readable.get((seq % count) as usize);
        let are_in_place = slots.iter().all(|(seq, slot)| slot_of(*seq) == Some(slot));
        let journal = Journal {
            are_in_place,
            slots: readable,
            next_seq: last_seq.saturating_add(1),
            covered_seq,
            uncovered_bytes,
            unread_rows,
            unread_commits,
        };
        Ok((journal, commits))
    }

    /// How many rows and commits are stored that cannot be read, but for commits that a checkpoint of
    /// everything up to `covered_seq` covers. Nobody knows of a row that cannot be read whether one does.
    pub fn unread_after(&self, covered_seq: u64) -> u64 {
        let commits = self.unread_commits.iter();
        self.unread_rows + commits.filter(|seq| **seq > covered_seq).count() as u64
    }

    /// A number above that of each row that is there, and of each that cannot be read: rows have numbers in a row.
    pub fn past_unread(&self) -> u64 {
        self.next_seq.saturating_add(self.unread_rows)
    }

    /// Whether it can go on as it was found. Otherwise rows would be written over that are needed still:
    /// cover all first.
    pub fn can_go_on(&self) -> bool {
        self.are_in_place
    }

    /// The rows of a commit that is counted at this time, with the number of its last one. They are not part
    /// of the journal until they were [`Journal::written`].
    pub fn rows_of(&self, batches: &[&[u8]], counted_ms: u64) -> (Vec<Write>, u64) {
        let commit = codec::encode(&Commit {
            counted_ms,
            batches: batches.to_vec(),
        });
        // Room for the row's own header.
        let parts: Vec<&[u8]> = commit.chunks(MAX_PART_BYTES - 64).collect();
        let rows = parts.len() as u64;
        let first_seq = self.next_seq;
        let slots = self.slots.len().max(1) as u64;
        let writes = (first_seq..).zip(parts).map(|(seq, part)| {
            let slot = self.slots.get((seq % slots) as usize).copied();
            let row = codec::encode(&JournalRow {
                seq,
                first_seq,
                rows,
                part,
            });
            Write::put(
                Table::Journal,
                slot.unwrap_or(u64::MAX - 1).to_be_bytes(),
                row,
            )
        });
        (writes.collect(), first_seq + rows - 1)
    }

    /// The rows up to `last_seq` are in storage.
    pub fn written(&mut self, last_seq: u64, bytes: u64) {
        self.next_seq = last_seq.saturating_add(1);
        self.uncovered_bytes += bytes;
    }

    /// The deletes of all rows up to `seq`, and of those that cannot be read.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn clear(&mut self, storage: &impl Storage, seq: u64) -> Result<Vec<Write>, StorageError> {
        self.unread_rows = 0;
        let rows = storage.scan(Table::Journal, &[], &[], usize::MAX)?;
        let is_later = |value: &[u8]| {
            let row = codec::decode::<JournalRow<'_>>(value);
            row.is_ok_and(|row| row.seq > seq)
        };
        let rows = rows.into_iter().filter(|(_, value)| !is_later(value));
        let deletes = rows.map(|(key, _)| Write::delete(Table::Journal, key));
        Ok(deletes.collect())
    }

    /// A checkpoint covers everything up to `seq`: those rows are free.
    pub fn cover(&mut self, seq: u64) {
        self.covered_seq = seq;
        self.next_seq = self.next_seq.max(seq.saturating_add(1));
        self.uncovered_bytes = 0;
    }

    /// Rows that the next checkpoint will free, and their bytes.
    pub fn uncovered(&self) -> (u64, u64) {
        let rows = self
            .next_seq
            .saturating_sub(1)
            .saturating_sub(self.covered_seq);
        (rows, self.uncovered_bytes)
    }

    /// Whether `rows` more fit without overwriting one that no checkpoint covers.
    pub fn has_room_for(&self, rows: usize) -> bool {
        self.uncovered().0 + rows as u64 <= self.slots.len() as u64
    }
}

/// The commit that writes put into a journal, for whoever watches a disk: its number, and its
/// batches and claims.
#[cfg(feature = "simulation")]
pub fn journaled(writes: &[Write]) -> Option<(u64, Vec<Vec<u8>>)> {
    let rows = writes.iter().filter_map(|write| match write {
        Write::Put { table, value, .. } if *table == Table::Journal => {
            codec::decode::<JournalRow<'_>>(value).ok()
        }
        _ => None,
    });
    let rows: Vec<JournalRow<'_>> = rows.collect();
    let last_seq = rows.last()?.seq;
    let commit = rows.iter().flat_map(|row| row.part).copied();
    let commit: Vec<u8> = commit.collect();
    let commit: Commit<'_> = codec::decode(&commit).ok()?;
    Some((
        last_seq,
        commit.batches.into_iter().map(<[u8]>::to_vec).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::JOURNAL_ROWS;
    use crate::storage::MemoryStorage;

    fn commit(journal: &mut Journal, storage: &MemoryStorage, batches: &[&[u8]]) -> u64 {
        let (writes, last_seq) = journal.rows_of(batches, 7);
        assert!(journal.has_room_for(writes.len()));
        storage.write(&writes).unwrap();
        journal.written(last_seq, 1);
        last_seq
    }

    #[test]
    fn commits_come_back_in_order_and_covered_ones_do_not() {
        let storage = MemoryStorage::new();
        let (mut journal, found) = Journal::load(&storage, 0, JOURNAL_ROWS).unwrap();
        assert!(found.is_empty());
        let mut covered = 0;
        for turn in 0..1_000_u32 {
            let seq = commit(&mut journal, &storage, &[&turn.to_be_bytes(), b"second"]);
            if turn % 100 == 99 {
                covered = seq;
                journal.cover(seq);
            }
        }
        commit(&mut journal, &storage, &[b"last"]);
        let (loaded, found) = Journal::load(&storage, covered, JOURNAL_ROWS).unwrap();
        assert_eq!((found.len(), loaded.unread_after(covered)), (1, 0));
        assert_eq!(found[0].batches, [b"last"]);
        assert_eq!(found[0].counted_ms, 7);
        let (_, found) = Journal::load(&storage, covered - 3, JOURNAL_ROWS).unwrap();
        assert_eq!(found.len(), 4);
        assert_eq!(found[0].batches[0], 997_u32.to_be_bytes());
        assert!(storage.len(Table::Journal) as u64 <= JOURNAL_ROWS);
    }

    #[test]
    fn a_commit_larger_than_a_value_is_split_and_comes_back_whole_or_not_at_all() {
        let storage = MemoryStorage::new();
        let (mut journal, _) = Journal::load(&storage, 0, JOURNAL_ROWS).unwrap();
        let large = vec![7; 3 * MAX_PART_BYTES];
        let last_seq = commit(&mut journal, &storage, &[&large, b"small"]);
        assert_eq!(last_seq, 4);
        let (_, found) = Journal::load(&storage, 0, JOURNAL_ROWS).unwrap();
        assert_eq!(found[0].batches[0], large);
        let third = storage.keys(Table::Journal, &[]).unwrap()[2].clone();
        storage
            .write(&[Write::put(Table::Journal, third, b"damaged".to_vec())])
            .unwrap();
        let (journal, found) = Journal::load(&storage, 0, JOURNAL_ROWS).unwrap();
        assert_eq!((found.len(), journal.unread_after(u64::MAX)), (0, 1));
        assert_eq!(
            journal.slots.len() as u64,
            JOURNAL_ROWS - 1,
            "its slot is left alone"
        );
    }

    #[test]
    fn a_start_goes_on_where_the_last_one_stood_unless_other_slots_can_be_read_now() {
        let storage = MemoryStorage::new();
        let (mut journal, _) = Journal::load(&storage, 0, 4).unwrap();
        for turn in 0..3_u8 {
            commit(&mut journal, &storage, &[&[turn]]);
            let (found, commits) = Journal::load(&storage, 0, 4).unwrap();
            journal = found;
            assert!(journal.can_go_on());
            assert_eq!(commits.len(), usize::from(turn) + 1);
        }
        let (writes, _) = journal.rows_of(&[b"fourth", b"fifth"], 7);
        assert!(journal.has_room_for(writes.len()) && !journal.has_room_for(2));
        let (smaller, _) = Journal::load(&storage, 0, 3).unwrap();
        assert!(!smaller.can_go_on());
        let first = storage.keys(Table::Journal, &[]).unwrap()[0].clone();
        let damage = Write::put(Table::Journal, first, b"damaged".to_vec());
        storage.write(&[damage]).unwrap();
        let (damaged, _) = Journal::load(&storage, 0, 4).unwrap();
        assert!(!damaged.can_go_on());
    }
}
