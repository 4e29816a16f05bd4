//! The tables in the SQLite database of a Durable Object.
//!
//! Each table is `(key, part, value)` without a row id: one row written a value of up to
//! [`MAX_PART_BYTES`], no index besides the key. A batch of several statements runs in
//! `transactionSync`: should one of them fail, none of them happened.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use js_sys::Uint8Array;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use worker::{SqlCursor, SqlStorageValue};

use crate::instance::go_on;
use crate::panics;

use super::{MAX_PART_BYTES, Storage, StorageError, StoredRow, Table, Write};

#[wasm_bindgen]
extern "C" {
    /// The part of `DurableObjectStorage` that `worker` does not bind.
    type Transactions;

    #[wasm_bindgen(method, getter)]
    fn sql(this: &Transactions) -> Size;

    /// `worker` gives the size of a database as a `usize`, which ends at 4 GB.
    type Size;

    #[wasm_bindgen(method, getter, catch, js_name = databaseSize)]
    fn database_size(this: &Size) -> Result<f64, JsValue>;

    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction_sync(
        this: &Transactions,
        change: &mut dyn FnMut() -> Result<(), JsValue>,
    ) -> Result<JsValue, JsValue>;
}

/// The database of this object.
pub struct SqlStorage {
    sql: worker::SqlStorage,
    transactions: Transactions,
    size: Size,
    rows_written: Cell<u64>,
    in_transaction: Cell<bool>,
}

impl SqlStorage {
    /// Creates the tables that are missing.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn open(storage: &worker::Storage) -> Result<Self, StorageError> {
        let transactions: Transactions = JsValue::from(storage.as_raw()).unchecked_into();
        let storage = SqlStorage {
            sql: storage.sql(),
            size: transactions.sql(),
            transactions,
            rows_written: Cell::new(0),
            in_transaction: Cell::new(false),
        };
        // One call for all: an object that is woken makes it each time.
        let create = Table::ALL.map(|table| {
            format!(
                "CREATE TABLE IF NOT EXISTS {table} (key BLOB NOT NULL, part INTEGER NOT NULL, \
                 value BLOB NOT NULL, PRIMARY KEY (key, part)) WITHOUT ROWID"
            )
        });
        storage.exec(&create.join(";"), &[])?;
        Ok(storage)
    }

    /// Whether there is no table: nothing was ever stored, or everything was deleted.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn is_empty(storage: &worker::Storage) -> Result<bool, StorageError> {
        let query = "SELECT 1 FROM sqlite_master WHERE name = 'meta'";
        let cursor = storage.sql().exec_raw(query, Vec::new());
        let cursor = cursor.map_err(|error| StorageError(error.to_string()))?;
        Ok(rows(&cursor).next().transpose()?.is_none())
    }

    fn exec(&self, query: &str, bindings: &[JsValue]) -> Result<SqlCursor, StorageError> {
        self.sql
            .exec_raw(query, bindings.to_vec())
            .map_err(|error| StorageError(error.to_string()))
    }

    fn change(&self, query: &str, bindings: &[JsValue]) -> Result<(), StorageError> {
        let cursor = self.exec(query, bindings)?;
        self.rows_written
            .set(self.rows_written.get() + cursor.rows_written() as u64);
        Ok(())
    }
}

impl SqlStorage {
    fn apply(&self, change: &Write) -> Result<(), StorageError> {
        let (table, key) = match change {
            Write::Put { table, key, .. } | Write::Delete { table, key } => (*table, blob(key)),
        };
        let mut parts = 0;
        if let Write::Put { value, .. } = change {
            let put = format!("INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)");
            // An empty value is one empty part.
            let empty = value.is_empty().then_some(&[][..]);
            for part in value.chunks(MAX_PART_BYTES).chain(empty) {
                self.change(&put, &[key.clone(), parts.into(), blob(part)])?;
                parts += 1;
            }
        }
        if table == Table::Journal {
            // Its values have one part always.
            return Ok(());
        }
        // What is left of a value that had more parts; finding none is not billed.
        let rest = format!("DELETE FROM {table} WHERE key = ? AND part >= ?");
        self.change(&rest, &[key, parts.into()])
    }
}

fn blob(bytes: &[u8]) -> JsValue {
    Uint8Array::from(bytes).into()
}

/// The keys of a list in JSON, which a statement takes as one value, however many there are.
const THESE: &str = "SELECT CAST(value AS BLOB) FROM json_each(?)";

fn these(keys: &[&str]) -> JsValue {
    serde_json::json!(keys).to_string().into()
}

fn bytes_of(value: Option<SqlStorageValue>) -> Result<Vec<u8>, StorageError> {
    match value {
        Some(SqlStorageValue::Blob(bytes)) => Ok(bytes),
        _ => Err(StorageError("a value that is no blob".into())),
    }
}

/// The rows of a cursor, each a list of values.
fn rows(
    cursor: &SqlCursor,
) -> impl Iterator<Item = Result<std::vec::IntoIter<SqlStorageValue>, StorageError>> {
    cursor.raw().map(|row| {
        row.map(Vec::into_iter)
            .map_err(|error| StorageError(error.to_string()))
    })
}

/// The first key after every key that starts with the prefix, if there is one.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut after = prefix.get(..=last)?.to_vec();
    *after.last_mut()? += 1;
    Some(after)
}

/// `WHERE` for the keys from `from` on that start with `prefix`.
fn range_of(prefix: &[u8], from: &[u8]) -> (&'static str, Vec<JsValue>) {
    let start = blob(if from > prefix { from } else { prefix });
    match after_prefix(prefix) {
        Some(after) => ("key >= ? AND key < ?", vec![start, blob(&after)]),
        None => ("key >= ?", vec![start]),
    }
}

impl Storage for SqlStorage {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let query = format!("SELECT value FROM {table} WHERE key = ? ORDER BY part");
        let cursor = self.exec(&query, &[blob(key)])?;
        let mut found: Option<Vec<u8>> = None;
        for row in rows(&cursor) {
            let part = bytes_of(row?.next())?;
            match &mut found {
                Some(value) => value.extend(part),
                None => found = Some(part),
            }
        }
        Ok(found)
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        max_bytes: usize,
    ) -> Result<Vec<StoredRow>, StorageError> {
        let (range, bindings) = range_of(prefix, from);
        let query = format!("SELECT key, value FROM {table} WHERE {range} ORDER BY key, part");
        let cursor = self.exec(&query, &bindings)?;
        let mut found: Vec<StoredRow> = Vec::new();
        let mut bytes = 0;
        for row in rows(&cursor) {
            let mut row = row?;
            let (key, part) = (bytes_of(row.next())?, bytes_of(row.next())?);
            bytes += part.len();
            match found.last_mut().filter(|(last, _)| *last == key) {
                Some((_, value)) => value.extend(part),
                None if bytes - part.len() > max_bytes => break,
                None => found.push((key, part)),
            }
        }
        Ok(found)
    }

    fn keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StorageError> {
        let (range, bindings) = range_of(prefix, prefix);
        let query = format!("SELECT key FROM {table} WHERE part = 0 AND {range} ORDER BY key");
        let cursor = self.exec(&query, &bindings)?;
        rows(&cursor).map(|row| bytes_of(row?.next())).collect()
    }

    fn next_key(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
    ) -> Result<Option<Vec<u8>>, StorageError> {
        let (range, bindings) = range_of(prefix, from);
        let query = format!("SELECT key FROM {table} WHERE {range} ORDER BY key LIMIT 1");
        let cursor = self.exec(&query, &bindings)?;
        let next = rows(&cursor).next().transpose()?;
        next.map(|mut row| bytes_of(row.next())).transpose()
    }

    fn get_all(&self, table: Table, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
        let query =
            format!("SELECT key, value FROM {table} WHERE key IN ({THESE}) ORDER BY key, part");
        let cursor = self.exec(&query, &[these(keys)])?;
        let mut found: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        for row in rows(&cursor) {
            let mut row = row?;
            let (key, part) = (bytes_of(row.next())?, bytes_of(row.next())?);
            found.entry(key).or_default().extend(part);
        }
        // A key may be asked for twice.
        let values = keys.iter().map(|key| found.get(key.as_bytes()).cloned());
        Ok(values.collect())
    }

    fn has_all(&self, table: Table, keys: &[&str]) -> Result<Vec<bool>, StorageError> {
        let query = format!("SELECT key FROM {table} WHERE part = 0 AND key IN ({THESE})");
        let cursor = self.exec(&query, &[these(keys)])?;
        let found: Result<HashSet<Vec<u8>>, StorageError> =
            rows(&cursor).map(|row| bytes_of(row?.next())).collect();
        let found = found?;
        Ok(keys
            .iter()
            .map(|key| found.contains(key.as_bytes()))
            .collect())
    }

    fn bytes(&self, table: Table) -> Result<u64, StorageError> {
        let query = format!("SELECT COALESCE(SUM(LENGTH(value)), 0) FROM {table}");
        let cursor = self.exec(&query, &[])?;
        match rows(&cursor)
            .next()
            .transpose()?
            .and_then(|mut row| row.next())
        {
            Some(SqlStorageValue::Integer(bytes)) => Ok(bytes.unsigned_abs()),
            Some(SqlStorageValue::Float(bytes)) => Ok(bytes as u64),
            _ => Err(StorageError("no sum".into())),
        }
    }

    fn size(&self) -> Result<u64, StorageError> {
        let size = self.size.database_size();
        let size = size.map_err(|error| StorageError(format!("{error:?}")))?;
        Ok(size as u64)
    }

    fn clear(&self, table: Table) -> Result<(), StorageError> {
        self.change(&format!("DELETE FROM {table}"), &[])
    }

    fn rows_written(&self) -> u64 {
        self.rows_written.get()
    }

    fn write(&self, batch: &[Write]) -> Result<(), StorageError> {
        let apply_all = || {
            batch.iter().try_for_each(|change| {
                self.apply(change)?;
                if self.in_transaction.get() {
                    panics::point("transaction");
                }
                Ok(())
            })
        };
        // One statement is atomic by itself, and this is the one for each group of plays.
        let is_one_statement = matches!(
            batch,
            [Write::Put {
                table: Table::Journal,
                ..
            }]
        );
        if is_one_statement || self.in_transaction.get() {
            return apply_all();
        }
        self.atomically(apply_all)
    }

    fn atomically<T>(
        &self,
        change: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut change = Some(change);
        let mut done = None;
        self.in_transaction.set(true);
        let outcome = self.transactions.transaction_sync(&mut || {
            let Some(change) = change.take() else {
                return Ok(());
            };
            match change() {
                Ok(value) => {
                    done = Some(Ok(value));
                    Ok(())
                }
                Err(error) => {
                    let thrown = JsValue::from_str(&error.0);
                    done = Some(Err(error));
                    Err(thrown)
                }
            }
        });
        self.in_transaction.set(false);
        // The change may have panicked, which the call above takes for an error of the database.
        go_on();
        match (done, outcome) {
            (Some(Err(error)), _) => Err(error),
            (_, Err(error)) => Err(StorageError(format!("{error:?}"))),
            (Some(Ok(value)), Ok(_)) => Ok(value),
            (None, Ok(_)) => Err(StorageError("the transaction did not run".into())),
        }
    }
}
