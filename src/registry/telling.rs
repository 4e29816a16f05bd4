//! How far telling shards some news has come: for news that take more than one request. One row, of the
//! news that were told last; it may be lost, then shards are told again.

use super::Registry;
use crate::codec;
use crate::storage::{Storage, StorageError, Table, Write};
use crate::wire::{Refusal, Telling, ToldSoFar};

const TELLING_KEY: &[u8] = b"telling";

impl Registry {
    /// Remembers which shards news were told, where a message says so. Returns which they were.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn telling(
        &self,
        storage: &impl Storage,
        telling: Telling,
    ) -> Result<Option<ToldSoFar>, Refusal> {
        remembered(storage, telling).map_err(Refusal::from)
    }
}

fn remembered(storage: &impl Storage, telling: Telling) -> Result<Option<ToldSoFar>, StorageError> {
    if telling.progress.is_some() {
        let row = codec::encode(&telling);
        storage.write(&[Write::put(Table::Meta, TELLING_KEY.to_vec(), row)])?;
        return Ok(telling.progress);
    }
    let row = storage.get(Table::Meta, TELLING_KEY)?;
    let known = row.and_then(|row| codec::decode::<Telling>(&row).ok());
    let known = known.filter(|known| known.news == telling.news);
    Ok(known.and_then(|known| known.progress))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn what_is_told_of_some_news_is_remembered_until_others_are_told() {
        let storage = MemoryStorage::new();
        let ask = |news: &str, up_to: Option<(&str, u32)>| {
            let news = news.to_owned();
            let progress = up_to.map(|(key, shard)| ToldSoFar {
                up_to: Some((key.to_owned(), shard)),
                silent: Vec::new(),
            });
            let progress = remembered(&storage, Telling { news, progress }).unwrap();
            progress.and_then(|told| told.up_to)
        };
        assert_eq!(ask("reset 1", None), None);
        let up_to = Some(("NA".to_owned(), 39));
        assert_eq!(ask("reset 1", Some(("NA", 39))), up_to);
        assert_eq!(ask("reset 1", None), up_to, "it is in the storage alone");
        assert_eq!(ask("reset 2", None), None);
        ask("deleted EU", Some(("EU", 3)));
        assert_eq!(ask("reset 1", None), None, "told again from the front");
        let damaged = Write::put(Table::Meta, TELLING_KEY.to_vec(), vec![1, 2, 3]);
        storage.write(&[damaged]).unwrap();
        assert_eq!(ask("deleted EU", None), None);
    }
}
