//! A storage that lives outside of the instance, as the database of a Durable Object does: what
//! the instance's memory is measured as holds no stored row. `scripts/bench/time/instance.mjs` is the
//! other side.

use hitparade::storage::{Storage, StorageError, StoredRow, Table, Write};

#[link(wasm_import_module = "storage")]
unsafe extern "C" {
    /// Finds rows and keeps them for [`take`]. Returns how many bytes that are.
    fn find(
        table: u32,
        prefix: *const u8,
        prefix_bytes: usize,
        from: *const u8,
        from_bytes: usize,
        max_bytes: usize,
        what: u32,
    ) -> usize;
    /// Copies what was found to `to`.
    fn take(to: *mut u8);
    fn put(table: u32, key: *const u8, key_bytes: usize, value: *const u8, value_bytes: usize);
    fn delete(table: u32, key: *const u8, key_bytes: usize);
    fn bytes(table: u32) -> f64;
}

/// What [`find`] is asked for.
const ONE_VALUE: u32 = 0;
const ROWS: u32 = 1;
const KEYS: u32 = 2;

pub struct HostStorage;

fn found(table: Table, prefix: &[u8], from: &[u8], max_bytes: usize, what: u32) -> Vec<u8> {
    // Both ends of what the host reads are slices of this instance; what it writes has the
    // length that it has named.
    unsafe {
        let (p, f) = (prefix.as_ptr(), from.as_ptr());
        let length = find(
            table as u32,
            p,
            prefix.len(),
            f,
            from.len(),
            max_bytes,
            what,
        );
        let mut bytes = vec![0; length];
        take(bytes.as_mut_ptr());
        bytes
    }
}

/// Rows as the host writes them: length of the key, of the value, key, value.
fn rows(mut bytes: &[u8]) -> Vec<StoredRow> {
    let mut rows = Vec::new();
    while let Some((lengths, rest)) = bytes.split_first_chunk::<8>() {
        let [a, b, c, d, e, f, g, h] = *lengths;
        let key_bytes = u32::from_le_bytes([a, b, c, d]) as usize;
        let value_bytes = u32::from_le_bytes([e, f, g, h]) as usize;
        let (key, rest) = rest.split_at(key_bytes);
        let (value, rest) = rest.split_at(value_bytes);
        rows.push((key.to_vec(), value.to_vec()));
        bytes = rest;
    }
    rows
}

impl Storage for HostStorage {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let mut value = found(table, key, &[], 0, ONE_VALUE);
        // The last byte says whether there is one.
        Ok((value.pop() == Some(1)).then_some(value))
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        max_bytes: usize,
    ) -> Result<Vec<StoredRow>, StorageError> {
        Ok(rows(&found(table, prefix, from, max_bytes, ROWS)))
    }

    fn keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StorageError> {
        let rows = rows(&found(table, prefix, &[], usize::MAX, KEYS));
        Ok(rows.into_iter().map(|(key, _)| key).collect())
    }

    fn bytes(&self, table: Table) -> Result<u64, StorageError> {
        Ok(unsafe { bytes(table as u32) } as u64)
    }

    /// A database knows its size; here room is never short.
    fn size(&self) -> Result<u64, StorageError> {
        Ok(0)
    }

    fn write(&self, batch: &[Write]) -> Result<(), StorageError> {
        for change in batch {
            // The host copies both before it returns.
            match change {
                Write::Put { table, key, value } => unsafe {
                    put(
                        *table as u32,
                        key.as_ptr(),
                        key.len(),
                        value.as_ptr(),
                        value.len(),
                    );
                },
                Write::Delete { table, key } => unsafe {
                    delete(*table as u32, key.as_ptr(), key.len());
                },
            }
        }
        Ok(())
    }

    /// Nothing fails here, so nothing is ever taken back.
    fn atomically<T>(
        &self,
        change: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        change()
    }
}
