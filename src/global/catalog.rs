//! What is known about posts besides their plays, and which of them are hidden.
//!
//! # At its limits
//! So many posts and bytes and no more ([`MAX_CATALOG_POSTS`], [`MAX_CATALOG_BYTES`]), and so many
//! hidden ones ([`MAX_HIDDEN_POSTS`], [`MAX_HIDDEN_BYTES`]): what would pass them is refused whole.
//! What is there can be changed all the same, as long as it grows by nothing; and hidden.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashSet};

use ahash::RandomState;

use super::damage::Damage;
use super::postings::{Changes, Postings};
use super::{MAX_CATALOG_BYTES, MAX_CATALOG_POSTS, MAX_HIDDEN_BYTES, MAX_HIDDEN_POSTS};
use crate::codec::{self, Record, RecordKind};
use crate::filter::Members;
use crate::storage::{Storage, StorageError, Table, Write};
use crate::summary::Seed;
use crate::wire::{CatalogEntry, MatchRequest, PostList, PostPatch, Refusal};

use serde::{Deserialize, Serialize};

/// Hidden ids have keys of their own in [`Table::Meta`]: charts need all of them.
const HIDDEN_PREFIX: &[u8] = b"hidden/";
/// Where entries go that cannot be read, when others are put in their place.
const DAMAGED_PREFIX: &[u8] = b"damaged/posts/";
/// How large the catalog is: one row, changed with its entries.
const SIZE_KEY: &[u8] = b"catalog";
/// Bytes that a hidden id holds besides its own: a string and its part of a node.
const HIDDEN_ID_BYTES: usize = 48;
/// Entries that charts asked for lately, in memory: at most this many bytes of text.
const CACHE_BYTES: usize = 4 << 20;
/// Where only its posts show, a chart asks of every id that was played, made-up ones too. So the ids of a
/// catalog of so many posts are in memory, if they take no more than so many bytes: a question takes
/// 50 ns there, and 10 us in storage.
const MAX_IDS_HELD: u64 = 20_000;
const MAX_ID_BYTES_HELD: usize = 2 << 20;
/// A page of the list: so many entries, or bytes of them and one more. In an answer they take twice as
/// much, where every letter is escaped six times: under 2 MiB.
const LISTED_POSTS: usize = 1_000;
const LISTED_BYTES: usize = 256 << 10;
/// Bytes of entries that are read at a time where all are counted.
const COUNTED_BYTES: usize = 1 << 20;

/// How large the catalog is, keys included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogSize {
    pub posts: u64,
    pub bytes: u64,
    /// Posts of which something is said: more than that they are hidden, or no longer.
    pub described: u64,
}

impl Record for CatalogSize {
    const KIND: RecordKind = RecordKind::CatalogSize;
    const VERSION: u8 = 1;
}

/// The catalog: entries in storage, hidden ids in memory.
pub struct Catalog {
    pub(super) size: CatalogSize,
    hidden: BTreeSet<String>,
    /// Bytes that they hold.
    hidden_bytes: usize,
    cache: RefCell<Cache>,
    ids: RefCell<Ids>,
    /// Entries that were read from storage so far.
    pub(super) reads: Cell<u64>,
    pub(super) damage: Damage,
    pub(super) postings: Postings,
    /// How often entries were changed since the start.
    pub(super) changes: u64,
}

/// The ids of all entries.
#[derive(Default)]
enum Ids {
    #[default]
    NotRead,
    All {
        ids: HashSet<String, RandomState>,
        bytes: usize,
    },
    /// They take too much.
    TooMany,
}

impl Ids {
    fn read(storage: &impl Storage, size: CatalogSize) -> Result<Self, StorageError> {
        if size.posts > MAX_IDS_HELD {
            return Ok(Ids::TooMany);
        }
        let mut all = Ids::All {
            ids: HashSet::with_hasher(RandomState::with_seeds(13, 14, 15, 16)),
            bytes: 0,
        };
        for key in storage.keys(Table::Posts, &[])? {
            all.add(&String::from_utf8_lossy(&key));
        }
        Ok(all)
    }

    fn add(&mut self, post_id: &str) {
        let Ids::All { ids, bytes } = self else {
            return;
        };
        if ids.insert(post_id.to_owned()) {
            *bytes += held_bytes(post_id);
        }
        if *bytes > MAX_ID_BYTES_HELD {
            *self = Ids::TooMany;
        }
    }
}

#[derive(Default)]
struct Cache {
    entries: BTreeMap<String, Option<CatalogEntry>>,
    bytes: usize,
}

impl Catalog {
    /// # Errors
    /// When the disk refuses.
    pub fn load(storage: &impl Storage, seed: Seed) -> Result<Self, StorageError> {
        let keys = storage.keys(Table::Meta, HIDDEN_PREFIX)?;
        let ids = keys
            .iter()
            .filter_map(|key| key.strip_prefix(HIDDEN_PREFIX))
            .filter_map(|id| String::from_utf8(id.to_vec()).ok());
        let hidden: BTreeSet<String> = ids.collect();
        Ok(Catalog {
            size: read_size(storage)?,
            hidden_bytes: hidden.iter().map(|id| held_bytes(id)).sum(),
            hidden,
            cache: RefCell::default(),
            ids: RefCell::default(),
            reads: Cell::default(),
            damage: Damage::default(),
            postings: Postings::load(storage, seed)?,
            changes: 0,
        })
    }

    /// Whether it says something of any post. Hiding one in an installation without a catalog makes
    /// none.
    pub fn describes_posts(&self) -> bool {
        self.size.described > 0
    }

    pub fn is_hidden(&self, post_id: &str) -> bool {
        self.hidden.contains(post_id)
    }

    /// Bytes that are held: the cache, and hidden ids.
    pub fn held_bytes(&self) -> usize {
        let ids = match &*self.ids.borrow() {
            Ids::All { bytes, .. } => *bytes,
            Ids::NotRead | Ids::TooMany => 0,
        };
        self.cache.borrow().bytes + self.hidden_bytes + ids
    }

    /// Whether it has an entry of a post, where that is known without a look into storage.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn knows(
        &self,
        storage: &impl Storage,
        post_id: &str,
    ) -> Result<Option<bool>, StorageError> {
        let mut ids = self.ids.borrow_mut();
        if matches!(*ids, Ids::NotRead) {
            *ids = Ids::read(storage, self.size)?;
        }
        Ok(match &*ids {
            Ids::All { ids, .. } => Some(ids.contains(post_id)),
            Ids::NotRead | Ids::TooMany => {
                let cached = &self.cache.borrow().entries;
                cached.get(post_id).map(Option::is_some)
            }
        })
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
        let texts = post_id.len() + entry.as_ref().map_or(0, |entry| entry.card.text_bytes());
        cache.bytes += texts + size_of::<(String, Option<CatalogEntry>)>() + 32;
        if cache.bytes > CACHE_BYTES {
            *cache = Cache::default();
        }
        cache.entries.insert(post_id.to_owned(), entry.clone());
        Ok(entry)
    }

    /// The entries behind an id, as many as fit into a page. One that cannot be read is left out.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn list(
        &self,
        storage: &impl Storage,
        after: Option<&str>,
    ) -> Result<PostList, StorageError> {
        let behind = |id: &[u8]| [id, &[0]].concat();
        let from = after.map_or_else(Vec::new, |id| behind(id.as_bytes()));
        let mut rows = storage.scan(Table::Posts, &[], &from, LISTED_BYTES)?;
        rows.truncate(LISTED_POSTS);
        let mut list = PostList::default();
        if let Some((last, _)) = rows.last() {
            let further = storage.scan(Table::Posts, &[], &behind(last), 0)?;
            if !further.is_empty() {
                list.next_after = String::from_utf8(last.clone()).ok();
            }
        }
        for (key, value) in rows {
            match codec::decode::<CatalogEntry>(&value) {
                Ok(entry) => list.entries.push(entry),
                Err(_) => self.damage.note(&key),
            }
        }
        Ok(list)
    }

    /// Changes entries: those that say so hide their posts, or bring them back. Returns the last as
    /// it is stored now.
    ///
    /// # Errors
    /// [`Refusal`] when there are too many, or too many hidden, or the disk refuses; nothing is
    /// stored then.
    pub fn put(
        &mut self,
        storage: &impl Storage,
        patches: &[PostPatch],
    ) -> Result<Option<CatalogEntry>, Refusal> {
        let refused = |error: StorageError| Refusal::Storage(error.0);
        let mut changed: BTreeMap<&str, CatalogEntry> = BTreeMap::new();
        let mut erased: BTreeSet<&str> = BTreeSet::new();
        for patch in patches {
            let entry = match changed.remove(patch.post_id.as_str()) {
                Some(entry) => entry,
                None => CatalogEntry {
                    // Also where the entry cannot be read.
                    hidden: self.is_hidden(&patch.post_id),
                    ..self
                        .get(storage, &patch.post_id)
                        .map_err(refused)?
                        .unwrap_or_default()
                },
            };
            changed.insert(&patch.post_id, patched(entry, patch));
            if patch.erases() {
                erased.insert(&patch.post_id);
            }
        }
        let mut size = self.size;
        let mut writes = Vec::with_capacity(changed.len() + 1);
        let mut postings = Changes::default();
        for (post_id, entry) in &changed {
            let key = post_id.as_bytes();
            let hidden_key = [HIDDEN_PREFIX, key].concat();
            if entry.hidden {
                writes.push(Write::put(Table::Meta, hidden_key, Vec::new()));
            } else if self.is_hidden(post_id) {
                writes.push(Write::delete(Table::Meta, hidden_key));
            }
            let value = codec::encode(entry);
            let before = storage.get(Table::Posts, key).map_err(refused)?;
            size.replace(key, before.as_deref(), &value);
            let known = before
                .as_deref()
                .map(codec::decode::<CatalogEntry>)
                .transpose();
            match &known {
                Ok(known) => self.postings.note(&mut postings, known.as_ref(), entry),
                Err(_) => postings.lose(),
            }
            // What cannot be read is kept beside what is written in its place, unless it is to go.
            let damaged_key = [DAMAGED_PREFIX, key].concat();
            if erased.contains(post_id) {
                writes.push(Write::delete(Table::Meta, damaged_key));
            } else if let Some(bytes) = before.filter(|_| known.is_err()) {
                writes.push(Write::put(Table::Meta, damaged_key, bytes));
            }
            writes.push(Write::put(Table::Posts, key, value));
        }
        // Whatever there is, a post can be hidden: there are not so many of these.
        let are_hidden = changed.values().all(|entry| entry.hidden);
        if !are_hidden {
            self.check_size(size)?;
        }
        self.check_hidden(&changed)?;
        if size != self.size {
            writes.push(Write::put(Table::Meta, SIZE_KEY, codec::encode(&size)));
        }
        let mut built = self.postings.writes(storage, &postings).map_err(refused)?;
        writes.append(&mut built.writes);
        storage.write(&writes).map_err(refused)?;
        self.postings.written(built);
        self.changes += 1;
        self.size = size;
        *self.cache.borrow_mut() = Cache::default();
        for (post_id, entry) in &changed {
            self.ids.get_mut().add(post_id);
            let bytes = held_bytes(post_id);
            if entry.hidden {
                if self.hidden.insert((*post_id).to_owned()) {
                    self.hidden_bytes += bytes;
                }
            } else if self.hidden.remove(*post_id) {
                self.hidden_bytes = self.hidden_bytes.saturating_sub(bytes);
            }
        }
        let last = patches.last();
        Ok(last.and_then(|last| changed.remove(last.post_id.as_str())))
    }

    /// The posts of a filter.
    ///
    /// # Errors
    /// As [`Postings::matching`].
    pub fn matching(
        &self,
        storage: &impl Storage,
        request: &MatchRequest,
    ) -> Result<Members, Refusal> {
        self.postings.matching(storage, request)
    }

    fn check_size(&self, size: CatalogSize) -> Result<(), Refusal> {
        let grows = size.posts > self.size.posts || size.bytes > self.size.bytes;
        let is_over = size.posts > MAX_CATALOG_POSTS || size.bytes > MAX_CATALOG_BYTES;
        if !(grows && is_over) {
            return Ok(());
        }
        Err(Refusal::Invalid(format!(
            "the catalog is full: it has {} posts of {} bytes, and may have {MAX_CATALOG_POSTS} of \
             {MAX_CATALOG_BYTES}; shorten texts of posts that nobody plays any more",
            self.size.posts, self.size.bytes
        )))
    }

    fn check_hidden(&self, changed: &BTreeMap<&str, CatalogEntry>) -> Result<(), Refusal> {
        let is_new = |(id, entry): &(&&str, &CatalogEntry)| entry.hidden && !self.is_hidden(id);
        let is_shown = |(id, entry): &(&&str, &CatalogEntry)| !entry.hidden && self.is_hidden(id);
        let [new, shown] = [
            changed
                .iter()
                .filter(is_new)
                .map(|(id, _)| held_bytes(id))
                .collect::<Vec<_>>(),
            changed
                .iter()
                .filter(is_shown)
                .map(|(id, _)| held_bytes(id))
                .collect(),
        ];
        let posts = (self.hidden.len() + new.len()).saturating_sub(shown.len());
        let bytes = self.hidden_bytes + new.iter().sum::<usize>();
        let bytes = bytes.saturating_sub(shown.iter().sum());
        if new.is_empty() || posts <= MAX_HIDDEN_POSTS && bytes <= MAX_HIDDEN_BYTES {
            return Ok(());
        }
        Err(Refusal::Invalid(format!(
            "too many posts are hidden already: {} that hold {} bytes; at most {MAX_HIDDEN_POSTS} \
             and {MAX_HIDDEN_BYTES} bytes",
            self.hidden.len(),
            self.hidden_bytes
        )))
    }
}

impl CatalogSize {
    /// An entry is put in the place of what was there.
    fn replace(&mut self, key: &[u8], before: Option<&[u8]>, value: &[u8]) {
        let bytes = |value: &[u8]| (key.len() + value.len()) as u64;
        let described = |value: &[u8]| {
            let entry = codec::decode::<CatalogEntry>(value);
            u64::from(entry.is_ok_and(|entry| entry.describes()))
        };
        self.posts += u64::from(before.is_none());
        self.bytes = (self.bytes + bytes(value)).saturating_sub(before.map_or(0, bytes));
        self.described =
            (self.described + described(value)).saturating_sub(before.map_or(0, described));
    }
}

/// The size that is stored; where none is or it cannot be read, everything is counted once.
fn read_size(storage: &impl Storage) -> Result<CatalogSize, StorageError> {
    let stored = storage.get(Table::Meta, SIZE_KEY)?;
    if let Some(size) = stored.and_then(|bytes| codec::decode(&bytes).ok()) {
        return Ok(size);
    }
    let (mut size, mut from) = (CatalogSize::default(), Vec::new());
    loop {
        let rows = storage.scan(Table::Posts, &[], &from, COUNTED_BYTES)?;
        for (key, value) in &rows {
            size.replace(key, None, value);
        }
        let Some((last, _)) = rows.last() else {
            return Ok(size);
        };
        from = [last, &[0][..]].concat();
    }
}

/// What a hidden id holds in memory.
fn held_bytes(post_id: &str) -> usize {
    post_id.len() + HIDDEN_ID_BYTES
}

fn patched(mut entry: CatalogEntry, patch: &PostPatch) -> CatalogEntry {
    fn set<T: Clone>(field: &mut Option<T>, change: &Option<Option<T>>) {
        if let Some(value) = change {
            field.clone_from(value);
        }
    }
    entry.post_id.clone_from(&patch.post_id);
    entry.hidden = patch.hidden.unwrap_or(entry.hidden);
    set(&mut entry.card.author, &patch.author);
    set(&mut entry.card.content, &patch.content);
    set(&mut entry.card.url, &patch.url);
    set(&mut entry.card.image, &patch.image);
    set(&mut entry.timestamp_ms, &patch.timestamp_ms);
    if let Some(tags) = &patch.tags {
        entry.card.tags.clone_from(tags);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    const SEED: Seed = Seed::from_bytes([7; 16]);

    fn patch(post_id: String, hidden: bool) -> PostPatch {
        PostPatch {
            post_id,
            hidden: Some(hidden),
            ..PostPatch::default()
        }
    }

    fn put(
        catalog: &mut Catalog,
        storage: &MemoryStorage,
        patches: &[PostPatch],
    ) -> Result<(), String> {
        match catalog.put(storage, patches) {
            Ok(_) => Ok(()),
            Err(Refusal::Invalid(detail)) => Err(detail),
            Err(other) => Err(format!("{other:?}")),
        }
    }

    /// What the size should be.
    fn counted(storage: &MemoryStorage) -> CatalogSize {
        let rows = storage.scan(Table::Posts, &[], &[], usize::MAX).unwrap();
        let bytes = rows.iter().map(|(key, value)| key.len() + value.len());
        CatalogSize {
            posts: rows.len() as u64,
            bytes: bytes.sum::<usize>() as u64,
            described: rows
                .iter()
                .filter(|(_, value)| {
                    let card = codec::decode::<CatalogEntry>(value).unwrap().card;
                    card.content.is_some()
                })
                .count() as u64,
        }
    }

    #[test]
    fn its_size_is_known_whatever_is_put_and_after_a_restart() {
        let storage = MemoryStorage::new();
        let mut catalog = Catalog::load(&storage, SEED).unwrap();
        for round in 0..50_usize {
            let patches: Vec<PostPatch> = (0..20)
                .map(|number| PostPatch {
                    content: Some((round % 3 > 0).then(|| "x".repeat(round * number))),
                    ..patch(format!("{}", number * round % 37), round % 4 == 0)
                })
                .collect();
            put(&mut catalog, &storage, &patches).unwrap();
            assert_eq!(catalog.size, counted(&storage));
            catalog = Catalog::load(&storage, SEED).unwrap();
            assert_eq!(catalog.size, counted(&storage));
        }
        storage
            .write(&[Write::delete(Table::Meta, SIZE_KEY)])
            .unwrap();
        assert_eq!(
            Catalog::load(&storage, SEED).unwrap().size,
            counted(&storage)
        );
    }

    #[test]
    fn a_list_has_every_entry_once_in_pages_of_their_order() {
        for (posts, content_bytes) in [(0, 1), (1, 1), (2 * LISTED_POSTS, 1), (700, 1_000)] {
            let storage = MemoryStorage::new();
            let mut catalog = Catalog::load(&storage, SEED).unwrap();
            let patches: Vec<PostPatch> = (0..posts)
                .map(|number| PostPatch {
                    content: Some(Some("x".repeat(content_bytes))),
                    ..patch(format!("{number}\u{e9}"), number % 3 == 0)
                })
                .collect();
            put(&mut catalog, &storage, &patches).unwrap();
            let (mut listed, mut pages, mut after) = (Vec::new(), 0, None);
            loop {
                let page = catalog.list(&storage, after.as_deref()).unwrap();
                let bytes: usize = page.entries.iter().map(|it| it.card.text_bytes()).sum();
                assert!(page.entries.len() <= LISTED_POSTS && bytes <= LISTED_BYTES + 1_000);
                pages += 1;
                listed.extend(page.entries);
                after = page.next_after;
                if after.is_none() {
                    break;
                }
            }
            let mut ids: Vec<String> = patches.into_iter().map(|patch| patch.post_id).collect();
            ids.sort_unstable();
            let found: Vec<String> = listed.into_iter().map(|entry| entry.post_id).collect();
            assert_eq!(found, ids);
            assert_eq!(
                pages,
                (posts * content_bytes.max(256)).div_ceil(256_000).max(1)
            );
        }
    }

    #[test]
    fn only_who_says_so_hides_a_post_or_brings_it_back() {
        let storage = MemoryStorage::new();
        let mut catalog = Catalog::load(&storage, SEED).unwrap();
        let text = |content: &str| PostPatch {
            post_id: "x".into(),
            content: Some(Some(content.into())),
            ..PostPatch::default()
        };
        let steps = [
            (text("a"), false),
            (PostPatch::hiding("x".into()), true),
            (text("b"), true),
            (
                PostPatch {
                    hidden: Some(true),
                    ..text("c")
                },
                true,
            ),
            (
                PostPatch {
                    post_id: "x".into(),
                    ..PostPatch::default()
                },
                true,
            ),
            (
                PostPatch {
                    hidden: Some(false),
                    ..text("d")
                },
                false,
            ),
            (text("e"), false),
            (PostPatch::erasing("x".into()), true),
            (text("f"), true),
            (patch("x".into(), false), false),
        ];
        for (step, (patch, hidden)) in steps.into_iter().enumerate() {
            let stored = catalog.put(&storage, &[patch]).unwrap().unwrap();
            assert_eq!(stored.hidden, hidden, "step {step}");
            catalog = Catalog::load(&storage, SEED).unwrap();
            assert_eq!(catalog.is_hidden("x"), hidden, "step {step}");
            assert_eq!(catalog.get(&storage, "x").unwrap(), Some(stored));
            assert_eq!(catalog.size, counted(&storage));
        }
    }

    #[test]
    fn what_is_erased_is_nowhere_in_the_storage_also_where_it_could_not_be_read() {
        let storage = MemoryStorage::new();
        let mut catalog = Catalog::load(&storage, SEED).unwrap();
        let everything = PostPatch {
            author: Some(Some("Somebody".into())),
            content: Some(Some("a secret".into())),
            url: Some(Some("https://a.example/secret".into())),
            image: Some(Some("https://a.example/secret.png".into())),
            timestamp_ms: Some(Some(1)),
            ..patch("x".into(), false)
        };
        let erase = [PostPatch::erasing("x".into())];
        let secrets = |storage: &MemoryStorage| {
            let rows = [Table::Posts, Table::Meta]
                .map(|table| storage.scan(table, &[], &[], usize::MAX).unwrap());
            let mut values = rows.iter().flatten().map(|(_, value)| value);
            values.any(|value| {
                let text = String::from_utf8_lossy(value);
                text.contains("secret") || text.contains("Somebody")
            })
        };
        catalog
            .put(&storage, std::slice::from_ref(&everything))
            .unwrap();
        assert!(secrets(&storage));
        let stored = catalog.put(&storage, &erase).unwrap().unwrap();
        let empty = CatalogEntry {
            post_id: "x".into(),
            hidden: true,
            ..CatalogEntry::default()
        };
        assert_eq!(stored, empty);
        assert!(!secrets(&storage));

        // Damaged, and kept beside the next one: both go.
        for kept_beside in [false, true] {
            let damaged = Write::put(Table::Posts, b"x".to_vec(), b"\x00 a secret".to_vec());
            storage.write(&[damaged]).unwrap();
            catalog = Catalog::load(&storage, SEED).unwrap();
            if kept_beside {
                let routine = PostPatch {
                    author: Some(Some("A".into())),
                    ..PostPatch::hiding("x".into())
                };
                catalog.put(&storage, &[routine]).unwrap();
            }
            assert!(secrets(&storage));
            catalog.put(&storage, &erase).unwrap();
            assert!(!secrets(&storage), "kept beside: {kept_beside}");
        }
    }

    #[test]
    fn at_its_limit_it_takes_no_more_posts_and_says_so_and_those_it_has_can_change() {
        for full in [
            CatalogSize {
                posts: MAX_CATALOG_POSTS - 1,
                bytes: 1_000,
                described: 0,
            },
            CatalogSize {
                posts: 1_000,
                bytes: MAX_CATALOG_BYTES - 100,
                described: 0,
            },
        ] {
            let storage = MemoryStorage::new();
            let size = Write::put(Table::Meta, SIZE_KEY, codec::encode(&full));
            storage.write(&[size]).unwrap();
            let mut catalog = Catalog::load(&storage, SEED).unwrap();
            let one = patch("one".into(), false);
            put(&mut catalog, &storage, std::slice::from_ref(&one)).unwrap();
            let large = PostPatch {
                content: Some(Some("x".repeat(200))),
                ..patch("two".into(), false)
            };
            let before = storage.size().unwrap();
            let detail = put(&mut catalog, &storage, &[one.clone(), large]).unwrap_err();
            assert!(
                detail.starts_with("the catalog is full: it has "),
                "{detail}"
            );
            assert_eq!(storage.size().unwrap(), before, "nothing is stored");
            // What does not grow goes on, and hiding.
            for id in ["one", "abuse"] {
                put(&mut catalog, &storage, &[patch(id.into(), true)]).unwrap();
                assert!(catalog.is_hidden(id));
            }
            put(&mut catalog, &storage, &[one]).unwrap();
        }
    }

    #[test]
    fn hidden_posts_are_bounded_by_number_and_by_bytes() {
        for (id_bytes, at_most) in [(16, MAX_HIDDEN_POSTS), (256, MAX_HIDDEN_BYTES / 304)] {
            let storage = MemoryStorage::new();
            let mut catalog = Catalog::load(&storage, SEED).unwrap();
            let all: Vec<PostPatch> = (0..=at_most)
                .map(|number| patch(format!("{number:0>id_bytes$}"), true))
                .collect();
            for some in all[..at_most].chunks(10_000) {
                put(&mut catalog, &storage, some).unwrap();
            }
            let over = &all[at_most..];
            let detail = put(&mut catalog, &storage, over).unwrap_err();
            let said = format!("too many posts are hidden already: {at_most} that hold");
            assert!(detail.starts_with(&said), "{detail}");
            assert!(!catalog.is_hidden(&over[0].post_id));
            // One that is hidden already takes no more room; one that is shown again makes some.
            put(&mut catalog, &storage, &all[..1]).unwrap();
            put(
                &mut catalog,
                &storage,
                &[patch(all[0].post_id.clone(), false)],
            )
            .unwrap();
            put(&mut catalog, &storage, over).unwrap();
            let again = Catalog::load(&storage, SEED).unwrap();
            assert_eq!(
                (again.hidden_bytes, again.hidden.len()),
                (catalog.hidden_bytes, at_most)
            );
        }
    }
}
