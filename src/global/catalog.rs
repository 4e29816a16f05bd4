//! What is known about posts besides their plays, and which of them are hidden.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::MAX_HIDDEN_POSTS;
use super::damage::Damage;
use crate::codec;
use crate::storage::{Storage, StorageError, Table, Write};
use crate::wire::{CatalogEntry, PostPatch, Refusal};

/// Hidden ids have keys of their own in [`Table::Meta`]: charts need all of them.
const HIDDEN_PREFIX: &[u8] = b"hidden/";
/// Where entries go that cannot be read, when others are put in their place.
const DAMAGED_PREFIX: &[u8] = b"damaged/posts/";
/// Entries that charts asked for lately, in memory: at most this many bytes of text.
const CACHE_BYTES: usize = 4 << 20;

/// The catalog: entries in storage, hidden ids in memory.
#[derive(Default)]
pub struct Catalog {
    hidden: BTreeSet<String>,
    /// What the hidden ids take in memory.
    hidden_bytes: usize,
    cache: RefCell<Cache>,
    /// Entries that were read from storage so far.
    pub(super) reads: Cell<u64>,
    pub(super) damage: Damage,
}

#[derive(Default)]
struct Cache {
    entries: BTreeMap<String, Option<CatalogEntry>>,
    bytes: usize,
}

impl Catalog {
    /// # Errors
    /// When the disk refuses.
    pub fn load(storage: &impl Storage) -> Result<Self, StorageError> {
        let keys = storage.keys(Table::Meta, HIDDEN_PREFIX)?;
        let ids = keys
            .iter()
            .filter_map(|key| key.strip_prefix(HIDDEN_PREFIX))
            .filter_map(|id| String::from_utf8(id.to_vec()).ok());
        let hidden: BTreeSet<String> = ids.collect();
        Ok(Catalog {
            hidden_bytes: hidden.iter().map(|id| hidden_bytes(id)).sum(),
            hidden,
            ..Catalog::default()
        })
    }

    pub fn is_hidden(&self, post_id: &str) -> bool {
        self.hidden.contains(post_id)
    }

    /// Bytes that are held: the cache, and hidden ids.
    pub fn held_bytes(&self) -> usize {
        self.cache.borrow().bytes + self.hidden_bytes
    }

    /// The entry of a post. One that cannot be read is answered as absent.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn get(
        &self,
        storage: &impl Storage,
        post_id: &str,
    ) -> Result<Option<CatalogEntry>, StorageError> {
        if let Some(entry) = self.cache.borrow().entries.get(post_id) {
            return Ok(entry.clone());
        }
        self.reads.set(self.reads.get() + 1);
        let bytes = storage.get(Table::Posts, post_id.as_bytes())?;
        let entry = bytes.and_then(|bytes| {
            let read = codec::decode::<CatalogEntry>(&bytes).ok();
            if read.is_none() {
                self.damage.note(post_id.as_bytes());
            }
            read
        });
        let mut cache = self.cache.borrow_mut();
        let texts = post_id.len() + entry.as_ref().map_or(0, text_bytes);
        cache.bytes += texts + size_of::<(String, Option<CatalogEntry>)>() + 32;
        if cache.bytes > CACHE_BYTES {
            *cache = Cache::default();
        }
        cache.entries.insert(post_id.to_owned(), entry.clone());
        Ok(entry)
    }

    /// Changes entries: a hidden one hides its post, another brings it back. Returns the last as
    /// it is stored now.
    ///
    /// # Errors
    /// [`Refusal`] when too many are hidden or the disk refuses; nothing is stored then.
    pub fn put(
        &mut self,
        storage: &impl Storage,
        patches: &[PostPatch],
    ) -> Result<Option<CatalogEntry>, Refusal> {
        let newly_hidden = patches.iter().filter(|patch| patch.hidden).count();
        if newly_hidden > 0 && self.hidden.len() + newly_hidden > MAX_HIDDEN_POSTS {
            return Err(Refusal::Invalid("too many posts are hidden already".into()));
        }
        let mut changed: BTreeMap<&str, CatalogEntry> = BTreeMap::new();
        for patch in patches {
            let entry = match changed.remove(patch.post_id.as_str()) {
                Some(entry) => entry,
                None => self
                    .get(storage, &patch.post_id)
                    .map_err(|error| Refusal::Storage(error.0))?
                    .unwrap_or_default(),
            };
            changed.insert(&patch.post_id, patched(entry, patch));
        }
        let mut writes = Vec::with_capacity(changed.len());
        for (post_id, entry) in &changed {
            let hidden_key = [HIDDEN_PREFIX, post_id.as_bytes()].concat();
            if entry.hidden {
                writes.push(Write::put(Table::Meta, hidden_key, Vec::new()));
            } else if self.is_hidden(post_id) {
                writes.push(Write::delete(Table::Meta, hidden_key));
            }
            // What cannot be read is kept beside what is written in its place.
            let before = storage.get(Table::Posts, post_id.as_bytes());
            let before = before.map_err(|error| Refusal::Storage(error.0))?;
            if let Some(bytes) = before
                && codec::decode::<CatalogEntry>(&bytes).is_err()
            {
                let key = [DAMAGED_PREFIX, post_id.as_bytes()].concat();
                writes.push(Write::put(Table::Meta, key, bytes));
            }
            let value = codec::encode(entry);
            writes.push(Write::put(Table::Posts, post_id.as_bytes(), value));
        }
        storage
            .write(&writes)
            .map_err(|error| Refusal::Storage(error.0))?;
        *self.cache.borrow_mut() = Cache::default();
        for (post_id, entry) in &changed {
            let bytes = hidden_bytes(post_id);
            if entry.hidden && self.hidden.insert((*post_id).to_owned()) {
                self.hidden_bytes += bytes;
            } else if !entry.hidden && self.hidden.remove(*post_id) {
                self.hidden_bytes -= bytes;
            }
        }
        let last = patches.last();
        Ok(last.and_then(|last| changed.remove(last.post_id.as_str())))
    }
}

fn patched(mut entry: CatalogEntry, patch: &PostPatch) -> CatalogEntry {
    fn set<T: Clone>(field: &mut Option<T>, change: &Option<Option<T>>) {
        if let Some(value) = change {
            field.clone_from(value);
        }
    }
    entry.post_id.clone_from(&patch.post_id);
    entry.hidden = patch.hidden;
    set(&mut entry.card.author, &patch.author);
    set(&mut entry.card.content, &patch.content);
    set(&mut entry.card.url, &patch.url);
    set(&mut entry.card.image, &patch.image);
    set(&mut entry.timestamp_ms, &patch.timestamp_ms);
    entry
}

/// What a hidden id takes: its text, and its share of the tree's nodes.
fn hidden_bytes(post_id: &str) -> usize {
    post_id.len() + 48
}

fn text_bytes(entry: &CatalogEntry) -> usize {
    let card = &entry.card;
    let texts = [&card.author, &card.content, &card.url, &card.image];
    texts.into_iter().flatten().map(String::len).sum()
}
