//! A storage that counts rows as the platform bills them: parts of a megabyte, deletes.

use std::cell::Cell;

use hitparade::storage::{MAX_PART_BYTES, MemoryStorage, Storage, StorageError, StoredRow};
use hitparade::storage::{Table, Write};

#[derive(Default)]
pub struct Metered {
    /// By [`Table`].
    written: [Cell<u64>; Table::ALL.len()],
    read: Cell<u64>,
    inner: MemoryStorage,
}

fn parts(value: &[u8]) -> u64 {
    value.len().div_ceil(MAX_PART_BYTES).max(1) as u64
}

impl Metered {
    pub fn written_to(&self, table: Table) -> u64 {
        self.written[table as usize].get()
    }

    pub fn read(&self) -> u64 {
        self.read.get()
    }

    fn count_read(&self, rows: u64) {
        self.read.set(self.read.get() + rows);
    }
}

impl Storage for Metered {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let value = self.inner.get(table, key)?;
        self.count_read(value.as_deref().map_or(0, parts));
        Ok(value)
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        max_bytes: usize,
    ) -> Result<Vec<StoredRow>, StorageError> {
        let rows = self.inner.scan(table, prefix, from, max_bytes)?;
        self.count_read(rows.iter().map(|(_, value)| parts(value)).sum());
        Ok(rows)
    }

    fn keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StorageError> {
        let keys = self.inner.keys(table, prefix)?;
        self.count_read(keys.len() as u64);
        Ok(keys)
    }

    /// A sum over the whole table.
    fn bytes(&self, table: Table) -> Result<u64, StorageError> {
        self.count_read(self.inner.len(table) as u64);
        self.inner.bytes(table)
    }

    /// The database knows it.
    fn size(&self) -> Result<u64, StorageError> {
        self.inner.size()
    }

    fn rows_written(&self) -> u64 {
        self.written.iter().map(Cell::get).sum()
    }

    fn write(&self, batch: &[Write]) -> Result<(), StorageError> {
        for write in batch {
            let rows = match write {
                Write::Put { value, .. } => parts(value),
                Write::Delete { table, key } => {
                    self.inner.get(*table, key)?.as_deref().map_or(0, parts)
                }
            };
            let written = &self.written[write.table() as usize];
            written.set(written.get() + rows);
        }
        self.inner.write(batch)
    }

    fn atomically<T>(
        &self,
        change: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.inner.atomically(change)
    }
}
