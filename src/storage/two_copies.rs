//! Rows without which nothing can be counted, each stored as two copies.
//!
//! Where one copy cannot be read, the other serves. The next write then begins a new *generation* of both
//! copies beside the old ones: a copy that is damaged, or was written by a release that this one does not
//! know, stays as it is.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Storage, StorageError, Table, Write};
use crate::codec::{self, Record};

const COPIES: [u8; 2] = *b"ab";
/// So many generations are begun at most. The last one is overwritten even where it is damaged.
const MAX_COPY_GENERATIONS: u8 = 64;

/// A row's two copies as they were found.
pub struct TwoCopies<T> {
    /// The newest that can be read.
    pub record: Option<T>,
    /// Copies that cannot be read.
    pub damaged: u64,
    /// What [`writes`] is to be given.
    pub generation: u8,
}

impl<T> TwoCopies<T> {
    /// Whether there are copies, and none can be read.
    pub fn is_lost(&self) -> bool {
        self.record.is_none() && self.damaged > 0
    }
}

fn copy_key(name: &[u8], copy: u8, generation: u8) -> Vec<u8> {
    let mut key = name.to_vec();
    key.push(copy);
    if generation > 0 {
        key.push(generation);
    }
    key
}

/// Reads a row.
///
/// # Errors
/// When the disk refuses.
pub fn load<T: Record + DeserializeOwned>(
    storage: &impl Storage,
    table: Table,
    name: &[u8],
) -> Result<TwoCopies<T>, StorageError> {
    let mut copies = TwoCopies {
        record: None,
        damaged: 0,
        generation: 0,
    };
    // One question for all: an object that is woken has many rows to read.
    let mut rows: BTreeMap<_, _> = storage
        .scan(table, name, &[], usize::MAX)?
        .into_iter()
        .collect();
    for generation in 0..MAX_COPY_GENERATIONS {
        let mut found = false;
        let mut damaged = 0;
        let mut record = None;
        for copy in COPIES {
            if let Some(bytes) = rows.remove(&copy_key(name, copy, generation)) {
                found = true;
                match codec::decode::<T>(&bytes) {
                    Ok(readable) => record = record.or(Some(readable)),
                    Err(_) => damaged += 1,
                }
            }
        }
        if !found {
            break;
        }
        let last = generation + 1 == MAX_COPY_GENERATIONS;
        copies.generation = generation + u8::from(damaged > 0 && !last);
        copies.damaged += damaged;
        copies.record = record.or(copies.record);
    }
    Ok(copies)
}

/// The writes that store both copies.
pub fn writes<T: Record + Serialize>(
    table: Table,
    name: &[u8],
    generation: u8,
    record: &T,
) -> [Write; 2] {
    let row = codec::encode(record);
    COPIES.map(|copy| Write::put(table, copy_key(name, copy, generation), row.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Number(u64);

    crate::codec::record!(Number as Region v 1);

    fn store(storage: &MemoryStorage, number: u64) {
        let copies = load::<Number>(storage, Table::Meta, b"n/").unwrap();
        storage
            .write(&writes(
                Table::Meta,
                b"n/",
                copies.generation,
                &Number(number),
            ))
            .unwrap();
    }

    #[test]
    fn damaged_copies_are_kept_and_what_is_new_goes_beside_them() {
        let storage = MemoryStorage::new();
        store(&storage, 1);
        store(&storage, 2);
        assert_eq!(storage.len(Table::Meta), 2);
        storage
            .write(&[Write::put(Table::Meta, *b"n/a", b"damaged".to_vec())])
            .unwrap();
        let copies = load::<Number>(&storage, Table::Meta, b"n/").unwrap();
        assert_eq!((copies.record, copies.damaged), (Some(Number(2)), 1));
        store(&storage, 3);
        assert_eq!(storage.len(Table::Meta), 4);
        storage.damage(Table::Meta, |value| value[0] ^= 1);
        let copies = load::<Number>(&storage, Table::Meta, b"n/").unwrap();
        assert!(copies.is_lost());
        store(&storage, 4);
        let copies = load::<Number>(&storage, Table::Meta, b"n/").unwrap();
        assert_eq!((copies.record, copies.damaged), (Some(Number(4)), 4));
        let kept = storage.get(Table::Meta, b"n/a").unwrap().unwrap();
        assert_ne!(kept, b"", "kept");
    }
}
