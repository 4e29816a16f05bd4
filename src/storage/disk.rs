//! The storage of an object: its database, or tables in memory where it rehearses. One type for both, so that what
//! uses it is the same code.

use std::rc::Rc;

use super::{MemoryStorage, SqlStorage, Storage, StorageError, StoredRow, Table, Write};

pub enum Disk {
    Sql(SqlStorage),
    Memory(Rc<MemoryStorage>),
}

/// Passes a call on to what is there.
macro_rules! pass_on {
    ($disk:ident, $storage:ident => $call:expr) => {
        match $disk {
            Disk::Sql($storage) => $call,
            Disk::Memory($storage) => $call,
        }
    };
}

impl Storage for Disk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        pass_on!(self, it => it.get(table, key))
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        max_bytes: usize,
    ) -> Result<Vec<StoredRow>, StorageError> {
        pass_on!(self, it => it.scan(table, prefix, from, max_bytes))
    }

    fn keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StorageError> {
        pass_on!(self, it => it.keys(table, prefix))
    }

    fn next_key(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
    ) -> Result<Option<Vec<u8>>, StorageError> {
        pass_on!(self, it => it.next_key(table, prefix, from))
    }

    fn get_all(&self, table: Table, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
        pass_on!(self, it => it.get_all(table, keys))
    }

    fn has_all(&self, table: Table, keys: &[&str]) -> Result<Vec<bool>, StorageError> {
        pass_on!(self, it => it.has_all(table, keys))
    }

    fn bytes(&self, table: Table) -> Result<u64, StorageError> {
        pass_on!(self, it => it.bytes(table))
    }

    fn size(&self) -> Result<u64, StorageError> {
        pass_on!(self, it => it.size())
    }

    fn clear(&self, table: Table) -> Result<(), StorageError> {
        pass_on!(self, it => it.clear(table))
    }

    fn rows_written(&self) -> u64 {
        pass_on!(self, it => it.rows_written())
    }

    fn write(&self, batch: &[Write]) -> Result<(), StorageError> {
        pass_on!(self, it => it.write(batch))
    }

    fn atomically<T>(
        &self,
        change: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        pass_on!(self, it => it.atomically(change))
    }
}
