//! A shard's sealed panes, by offset, until the global object has them for good.
//!
//! A row holds the panes of consecutive offsets, as many as a checkpoint seals and as fit into
//! [`ROW_BYTES`](super::ROW_BYTES): however many panes a beacon's plays are spread over, they cost
//! a row or two. Its key says what a restart needs to know without reading it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codec::{self, record};
use crate::storage::{Storage, StorageError, Table, Write};
use crate::wire::SealedPane;

/// Where rows go that cannot be read, so that they are kept and nothing waits for them.
const DAMAGED: &[u8] = b"damaged/outbox/";

/// Encoded [`SealedPane`]s of consecutive offsets.
#[derive(Serialize, Deserialize)]
struct OutboxRow<'a>(#[serde(borrow)] Vec<&'a [u8]>);

record!(OutboxRow<'_> v 1);

/// A row, as its key tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxKey {
    pub first_offset: u64,
    pub panes: u64,
    pub sealed_ms: u64,
    /// Bytes of the row.
    pub bytes: u64,
}

impl OutboxKey {
    fn end_offset(&self) -> u64 {
        self.first_offset.saturating_add(self.panes)
    }

    fn encode(&self) -> Vec<u8> {
        [self.first_offset, self.panes, self.sealed_ms, self.bytes]
            .map(u64::to_be_bytes)
            .concat()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let (words, []) = key.as_chunks::<8>() else {
            return None;
        };
        let [first_offset, panes, sealed_ms, bytes] = *<&[[u8; 8]; 4]>::try_from(words).ok()?;
        Some(OutboxKey {
            first_offset: u64::from_be_bytes(first_offset),
            panes: u64::from_be_bytes(panes),
            sealed_ms: u64::from_be_bytes(sealed_ms),
            bytes: u64::from_be_bytes(bytes),
        })
    }
}

/// What is known of the rows. The panes themselves are in storage alone.
#[derive(Default)]
pub struct Outbox {
    rows: BTreeMap<u64, OutboxKey>,
    bytes: u64,
}

impl Outbox {
    /// Finds the rows of a log that begins at `log_start`; those before are of another one, whose
    /// header was lost. Also says how many keys are none.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load(storage: &impl Storage, log_start: u64) -> Result<(Self, u64), StorageError> {
        let mut outbox = Outbox::default();
        let mut damaged = 0;
        for key in storage.keys(Table::Outbox, &[])? {
            match OutboxKey::decode(&key) {
                Some(row) if row.first_offset >= log_start => outbox.insert(row),
                Some(_) => {}
                None => damaged += 1,
            }
        }
        Ok((outbox, damaged))
    }

    /// The offset after all that any log has ever stored here.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn next_free_offset(storage: &impl Storage) -> Result<u64, StorageError> {
        let keys = storage.keys(Table::Outbox, &[])?;
        let rows = keys.iter().filter_map(|key| OutboxKey::decode(key));
        Ok(rows.map(|row| row.end_offset()).max().unwrap_or(0))
    }

    fn insert(&mut self, row: OutboxKey) {
        self.bytes = self.bytes.saturating_add(row.bytes);
        self.rows.insert(row.first_offset, row);
    }

    fn remove(&mut self, row: OutboxKey) {
        self.bytes = self.bytes.saturating_sub(row.bytes);
        self.rows.remove(&row.first_offset);
    }

    /// Stores encoded panes, at most `row_bytes` a row where it has more than one, from an offset
    /// on. Part of the caller's transaction.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn add(
        &mut self,
        storage: &impl Storage,
        mut offset: u64,
        panes: &[Vec<u8>],
        row_bytes: usize,
        now_ms: u64,
    ) -> Result<(), StorageError> {
        for panes in rows_of(panes, row_bytes) {
            let value = codec::encode(&OutboxRow(panes.iter().map(Vec::as_slice).collect()));
            let row = OutboxKey {
                first_offset: offset,
                panes: panes.len() as u64,
                sealed_ms: now_ms,
                bytes: value.len() as u64,
            };
            storage.write(&[Write::put(Table::Outbox, row.encode(), value)])?;
            self.insert(row);
            offset = row.end_offset();
        }
        Ok(())
    }

    /// The row that an offset is in.
    pub fn row_of(&self, offset: u64) -> Option<OutboxKey> {
        let (_, row) = self.rows.range(..=offset).next_back()?;
        (offset < row.end_offset()).then_some(*row)
    }

    /// The encoded panes of a row from an offset on; `None` where it cannot be read.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn read(
        storage: &impl Storage,
        row: OutboxKey,
        from_offset: u64,
    ) -> Result<Option<Vec<Vec<u8>>>, StorageError> {
        let Some(value) = storage.get(Table::Outbox, &row.encode())? else {
            return Ok(None);
        };
        let Ok(OutboxRow(panes)) = codec::decode(&value) else {
            return Ok(None);
        };
        let sound = panes.len() as u64 == row.panes
            && panes
                .iter()
                .all(|pane| codec::decode::<SealedPane<'_>>(pane).is_ok());
        let skip = usize::try_from(from_offset.saturating_sub(row.first_offset));
        let panes = panes.into_iter().skip(skip.unwrap_or(usize::MAX));
        Ok(sound.then(|| panes.map(<[u8]>::to_vec).collect()))
    }

    /// Takes a row that cannot be read out; its bytes are kept.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put_aside(
        &mut self,
        storage: &impl Storage,
        row: OutboxKey,
    ) -> Result<(), StorageError> {
        self.remove(row);
        let key = row.encode();
        let Some(value) = storage.get(Table::Outbox, &key)? else {
            return Ok(());
        };
        storage.write(&[
            Write::put(Table::Meta, [DAMAGED, &key[..]].concat(), value),
            Write::delete(Table::Outbox, key),
        ])
    }

    /// The deletes of all rows that were put aside.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put_aside_rows(storage: &impl Storage) -> Result<Vec<Write>, StorageError> {
        let keys = storage.keys(Table::Meta, DAMAGED)?.into_iter();
        Ok(keys.map(|key| Write::delete(Table::Meta, key)).collect())
    }

    /// Forgets the rows that end at or before an offset, and returns the writes that say so.
    pub fn forget_below(&mut self, offset: u64) -> Vec<Write> {
        let rows = self.rows.range(..offset).map(|(_, row)| *row);
        let below: Vec<OutboxKey> = rows.filter(|row| row.end_offset() <= offset).collect();
        below
            .into_iter()
            .map(|row| {
                self.remove(row);
                Write::delete(Table::Outbox, row.encode())
            })
            .collect()
    }

    /// The rows that begin at or after an offset.
    pub fn rows_from(&self, offset: u64) -> impl Iterator<Item = OutboxKey> + '_ {
        self.rows.range(offset..).map(|(_, row)| *row)
    }

    pub fn first(&self) -> Option<OutboxKey> {
        self.rows.first_key_value().map(|(_, row)| *row)
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many panes there are.
    pub fn panes(&self) -> u64 {
        self.rows.values().map(|row| row.panes).sum()
    }
}

/// Splits encoded panes into rows of at most so many bytes, or of one pane.
pub fn rows_of(panes: &[Vec<u8>], row_bytes: usize) -> impl Iterator<Item = &[Vec<u8>]> {
    let mut rest = panes;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fit = rest.iter().take_while(|pane| {
            bytes += pane.len();
            bytes <= row_bytes
        });
        let fit = fit.count().max(1).min(rest.len());
        let (row, others) = rest.split_at(fit);
        rest = others;
        (!row.is_empty()).then_some(row)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn pane(bytes: usize) -> Vec<u8> {
        codec::encode(&SealedPane {
            level: 0,
            start_ms: 60_000,
            end_ms: 120_000,
            first_seq: 1,
            last_seq: 2,
            summary: &vec![7; bytes],
        })
    }

    #[test]
    fn many_small_panes_are_one_row_and_large_ones_have_their_own() {
        let storage = MemoryStorage::new();
        let mut outbox = Outbox::default();
        let panes: Vec<Vec<u8>> = (0..300).map(|_| pane(30)).collect();
        outbox.add(&storage, 5, &panes, 1 << 20, 9).unwrap();
        assert_eq!(storage.len(Table::Outbox), 1);
        let large = [pane(700_000), pane(700_000), pane(2_000_000), pane(1)];
        outbox.add(&storage, 305, &large, 1 << 20, 10).unwrap();
        assert_eq!(storage.len(Table::Outbox), 5);
        let (loaded, damaged) = Outbox::load(&storage, 0).unwrap();
        assert_eq!((loaded.rows, damaged), (outbox.rows.clone(), 0));
        assert_eq!((loaded.bytes, outbox.panes()), (outbox.bytes, 304));
        let row = outbox.row_of(200).unwrap();
        let read = Outbox::read(&storage, row, 200).unwrap().unwrap();
        assert_eq!(read, panes[195..]);
        assert_eq!(outbox.row_of(4), None);
        assert_eq!(outbox.row_of(309), None);
    }

    #[test]
    fn a_row_goes_when_all_of_it_is_below_the_offset() {
        let storage = MemoryStorage::new();
        let mut outbox = Outbox::default();
        let panes: Vec<Vec<u8>> = (0..10).map(|_| pane(30)).collect();
        outbox.add(&storage, 0, &panes, 200, 9).unwrap();
        let rows = outbox.rows.len();
        assert!((2..10).contains(&rows));
        let first = outbox.first().unwrap();
        assert!(outbox.forget_below(first.panes - 1).is_empty());
        let deletes = outbox.forget_below(first.panes);
        storage.write(&deletes).unwrap();
        assert_eq!((deletes.len(), storage.len(Table::Outbox)), (1, rows - 1));
        storage.write(&outbox.forget_below(u64::MAX)).unwrap();
        assert!(outbox.is_empty() && outbox.bytes() == 0);
        assert_eq!(storage.len(Table::Outbox), 0);
    }
}
