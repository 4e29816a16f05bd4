use std::cell::RefCell;
use std::collections::BTreeMap;

use super::{Storage, StorageError, StoredRow, Table, Write};

type RowKey = (Table, Vec<u8>);
/// The keys that a transaction has changed, each with the value that it had before.
type Undo = Vec<(RowKey, Option<Vec<u8>>)>;

/// Tables in memory, for tests, benchmarks and the simulation.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    rows: RefCell<BTreeMap<RowKey, Vec<u8>>>,
    /// The changes of the transaction under way, the oldest first, to be taken back should it fail.
    undo: RefCell<Option<Undo>>,
}

impl MemoryStorage {
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes a stored value in place, as a failing disk would.
    pub fn damage(&self, table: Table, change: impl Fn(&mut Vec<u8>)) {
        for ((row_table, _), value) in self.rows.borrow_mut().iter_mut() {
            if *row_table == table {
                change(value);
            }
        }
    }

    /// The number of rows of a table.
    pub fn len(&self, table: Table) -> usize {
        let rows = self.rows.borrow();
        rows.keys().filter(|(row, _)| *row == table).count()
    }
}

impl Storage for MemoryStorage {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.rows.borrow().get(&(table, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        max_bytes: usize,
    ) -> Result<Vec<StoredRow>, StorageError> {
        let start = if from > prefix { from } else { prefix };
        let mut bytes = 0;
        let mut found = Vec::new();
        for ((row_table, key), value) in self.rows.borrow().range((table, start.to_vec())..) {
            if *row_table != table || !key.starts_with(prefix) || bytes > max_bytes {
                break;
            }
            bytes += value.len();
            found.push((key.clone(), value.clone()));
        }
        Ok(found)
    }

    fn keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StorageError> {
        let rows = self.rows.borrow();
        let matching = rows
            .range((table, prefix.to_vec())..)
            .take_while(|((row_table, key), _)| *row_table == table && key.starts_with(prefix));
        Ok(matching.map(|((_, key), _)| key.clone()).collect())
    }

    fn bytes(&self, table: Table) -> Result<u64, StorageError> {
        let rows = self.rows.borrow();
        let values = rows.iter().filter(|((row, _), _)| *row == table);
        Ok(values.map(|(_, value)| value.len() as u64).sum())
    }

    fn size(&self) -> Result<u64, StorageError> {
        let rows = self.rows.borrow();
        Ok(rows.values().map(|value| value.len() as u64).sum())
    }

    fn write(&self, batch: &[Write]) -> Result<(), StorageError> {
        let mut rows = self.rows.borrow_mut();
        let mut undo = self.undo.borrow_mut();
        for change in batch {
            let row_key = (change.table(), change.key().to_vec());
            let before = match change {
                Write::Put { value, .. } => rows.insert(row_key.clone(), value.clone()),
                Write::Delete { .. } => rows.remove(&row_key),
            };
            if let Some(undo) = undo.as_mut() {
                undo.push((row_key, before));
            }
        }
        Ok(())
    }

    fn atomically<T>(
        &self,
        change: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.undo.replace(Some(Vec::new()));
        let outcome = change();
        let undo = self.undo.take();
        if outcome.is_err() {
            let mut rows = self.rows.borrow_mut();
            for (row_key, before) in undo.into_iter().flatten().rev() {
                match before {
                    Some(value) => rows.insert(row_key, value),
                    None => rows.remove(&row_key),
                };
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_fails_leaves_everything_as_it_was() {
        let storage = MemoryStorage::new();
        let put = |key: &[u8], value: &[u8]| Write::put(Table::Meta, key, value.to_vec());
        storage.write(&[put(b"a", b"1")]).unwrap();
        let failed: Result<(), _> = storage.atomically(|| {
            storage.write(&[put(b"a", b"2"), put(b"b", b"2")])?;
            storage.write(&[Write::delete(Table::Meta, *b"a")])?;
            Err(StorageError("full".into()))
        });
        assert!(failed.is_err());
        let rows = storage.scan(Table::Meta, &[], &[], usize::MAX).unwrap();
        assert_eq!(rows, [(b"a".to_vec(), b"1".to_vec())]);
        let both = storage.atomically(|| storage.write(&[put(b"b", b"3")]));
        assert!(both.is_ok());
        assert_eq!(storage.len(Table::Meta), 2);
    }
}
