//! What objects need of a disk: ordered tables of byte strings.
//!
//! The writes of one [`Storage::write`] are atomic, as are all writes within one
//! [`Storage::atomically`]. Batches become durable in order: a crash may lose the latest ones, never an
//! earlier one without those after it. *When* a batch is durable only the driver of an object knows, which
//! waits for it (`storage().sync()` on Workers); the state machines tell apart what is written from what
//! is known to be durable.
//!
//! A value may have any size. Implementations split what their platform refuses in one piece
//! ([`MAX_PART_BYTES`]) and write the parts in the same atomic batch.

use std::fmt;
use std::rc::Rc;

use crate::wire::Refusal;

mod damage;
mod memory;
#[cfg(target_arch = "wasm32")]
mod sql;
pub(crate) mod two_copies;

pub use damage::Damage;
pub use memory::MemoryStorage;
#[cfg(target_arch = "wasm32")]
pub use sql::SqlStorage;

/// The largest piece handed to the platform at once. Durable Objects refuse values over 2 MB.
pub const MAX_PART_BYTES: usize = 1 << 20;

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident $name:literal;)*) => {
        /// The tables of a shard, of the global object, of a catalog and of the registry.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        pub enum Table {
            $($(#[$doc])* $table,)*
        }

        impl Table {
            /// Every table, in the order in which they are created.
            pub const ALL: [Table; [$($name),*].len()] = [$(Table::$table),*];

            /// The name of the table in SQL.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Table::$table => $name,)*
                }
            }
        }
    };
}

tables! {
    /// A few small rows: who this object is, where its log stands.
    Meta "meta";
    /// A shard's ring of commits that no checkpoint covers yet.
    Journal "journal";
    /// A shard's panes that still take plays.
    OpenPanes "open_panes";
    /// A shard's sealed panes, by offset.
    Outbox "outbox";
    /// A shard's fingerprints of batches it has counted.
    Seen "seen";
    /// The global object's ladders: one row a scope, level and span.
    Panes "panes";
    /// The global object's consumed offsets: one row a region.
    Offsets "offsets";
    /// The region table.
    Regions "regions";
    /// The catalog: what is known about a post besides its plays.
    Posts "posts";
    /// Which posts of the catalog have a tag, an author, a day of publication.
    Postings "postings";
    /// The catalog's changes, by number.
    CatalogLog "catalog_log";
    /// Published charts: one row a scope and period.
    Charts "charts";
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One change of an atomic batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Stores `value` under `key`, replacing what was there.
    Put {
        table: Table,
        key: Vec<u8>,
        value: Vec<u8>,
    },
    /// Removes `key`; nothing happens where it is absent.
    Delete { table: Table, key: Vec<u8> },
}

impl Write {
    pub fn put(table: Table, key: impl Into<Vec<u8>>, value: Vec<u8>) -> Self {
        let key = key.into();
        Write::Put { table, key, value }
    }

    /// The table that it changes.
    pub fn table(&self) -> Table {
        match self {
            Write::Put { table, .. } | Write::Delete { table, .. } => *table,
        }
    }

    /// The key that it changes.
    pub fn key(&self) -> &[u8] {
        match self {
            Write::Put { key, .. } | Write::Delete { key, .. } => key,
        }
    }

    pub fn delete(table: Table, key: impl Into<Vec<u8>>) -> Self {
        let key = key.into();
        Write::Delete { table, key }
    }
}

/// The disk refused, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("storage: {0}")]
pub struct StorageError(pub String);

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        Refusal::Storage(error.0)
    }
}

/// The first key after another.
pub fn key_after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// A row as it was stored.
pub type StoredRow = (Vec<u8>, Vec<u8>);

/// Ordered tables of byte strings. See the module's introduction for what a write promises.
pub trait Storage {
    /// The value under `key`.
    ///
    /// # Errors
    /// When the disk refuses. Absence is `None`, not an error.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;

    /// Rows whose key is at or above `from` and starts with `prefix`, in the order of their keys,
    /// until the values read exceed `max_bytes`; at least one row where there is one.
    ///
    /// # Errors
    /// When the disk refuses.
    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        max_bytes: usize,
    ) -> Result<Vec<StoredRow>, StorageError>;

    /// The keys that start with `prefix`, in order, without reading values.
    ///
    /// # Errors
    /// When the disk refuses.
    fn keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StorageError>;

    /// The first key at or above `from` that starts with `prefix`, without reading values.
    ///
    /// # Errors
    /// When the disk refuses.
    fn next_key(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
    ) -> Result<Option<Vec<u8>>, StorageError> {
        let found = self.scan(table, prefix, from, 0)?;
        Ok(found.into_iter().next().map(|(key, _)| key))
    }

    /// The values under keys, in the order of the keys: one question for all of them.
    ///
    /// # Errors
    /// When the disk refuses.
    fn get_all(&self, table: Table, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
        let keys = keys.iter();
        keys.map(|key| self.get(table, key.as_bytes())).collect()
    }

    /// Whether there are rows under keys, in the order of the keys: one question for all of them, and no
    /// values.
    ///
    /// # Errors
    /// When the disk refuses.
    fn has_all(&self, table: Table, keys: &[&str]) -> Result<Vec<bool>, StorageError> {
        let found = self.get_all(table, keys)?.into_iter();
        Ok(found.map(|value| value.is_some()).collect())
    }

    /// The number of bytes of all values of a table.
    ///
    /// # Errors
    /// When the disk refuses.
    fn bytes(&self, table: Table) -> Result<u64, StorageError>;

    /// The number of bytes of everything that is stored.
    ///
    /// # Errors
    /// When the disk refuses.
    fn size(&self) -> Result<u64, StorageError> {
        Table::ALL.into_iter().map(|table| self.bytes(table)).sum()
    }

    /// Removes every row of a table: part of the caller's transaction.
    ///
    /// # Errors
    /// When the disk refuses.
    fn clear(&self, table: Table) -> Result<(), StorageError> {
        let keys = self.keys(table, &[])?.into_iter();
        let deletes: Vec<Write> = keys.map(|key| Write::delete(table, key)).collect();
        self.write(&deletes)
    }

    /// Rows written since it was opened, as the platform bills them; 0 where nobody does.
    fn rows_written(&self) -> u64 {
        0
    }

    /// Applies the batch: all of it or nothing.
    ///
    /// # Errors
    /// When the disk refuses; then nothing of the batch is stored.
    fn write(&self, batch: &[Write]) -> Result<(), StorageError>;

    /// Runs several writes as one batch: all of them or none, also as to what a crash leaves. What
    /// is read meanwhile sees them. So a large change need not be in memory as a whole.
    ///
    /// Transactions do not nest.
    ///
    /// # Errors
    /// What `change` fails with, or when the disk refuses; then nothing of it is stored.
    fn atomically<T>(
        &self,
        change: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError>;
}

/// The methods of [`Storage`] that only read, for a storage that wraps another one: each is passed on to
/// the wrapped storage, which the expression names.
#[macro_export]
macro_rules! pass_reads_on {
    ($self:ident => $inner:expr) => {
        fn get(
            &$self,
            table: $crate::storage::Table,
            key: &[u8],
        ) -> Result<Option<Vec<u8>>, $crate::storage::StorageError> {
            $crate::storage::Storage::get($inner, table, key)
        }

        fn scan(
            &$self,
            table: $crate::storage::Table,
            prefix: &[u8],
            from: &[u8],
            max_bytes: usize,
        ) -> Result<Vec<$crate::storage::StoredRow>, $crate::storage::StorageError> {
            $crate::storage::Storage::scan($inner, table, prefix, from, max_bytes)
        }

        fn keys(
            &$self,
            table: $crate::storage::Table,
            prefix: &[u8],
        ) -> Result<Vec<Vec<u8>>, $crate::storage::StorageError> {
            $crate::storage::Storage::keys($inner, table, prefix)
        }

        fn get_all(
            &$self,
            table: $crate::storage::Table,
            keys: &[&str],
        ) -> Result<Vec<Option<Vec<u8>>>, $crate::storage::StorageError> {
            $crate::storage::Storage::get_all($inner, table, keys)
        }

        fn has_all(
            &$self,
            table: $crate::storage::Table,
            keys: &[&str],
        ) -> Result<Vec<bool>, $crate::storage::StorageError> {
            $crate::storage::Storage::has_all($inner, table, keys)
        }

        fn bytes(
            &$self,
            table: $crate::storage::Table,
        ) -> Result<u64, $crate::storage::StorageError> {
            $crate::storage::Storage::bytes($inner, table)
        }

        fn size(&$self) -> Result<u64, $crate::storage::StorageError> {
            $crate::storage::Storage::size($inner)
        }
    };
}

impl<S: Storage> Storage for Rc<S> {
    pass_reads_on!(self => &**self);

    fn write(&self, batch: &[Write]) -> Result<(), StorageError> {
        (**self).write(batch)
    }

    fn atomically<T>(
        &self,
        change: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        (**self).atomically(change)
    }
}
