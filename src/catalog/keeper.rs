//! The keeper of a catalog: its entries, the hidden posts, and the log of changes.

use std::collections::{BTreeMap, BTreeSet};

use super::log::ChangeLog;
use super::postings::{Postings, TermChanges};
use super::set::{KeySet, PostKey, post_key};
use super::{
    CatalogLimits, MAX_CATALOG_BYTES, MAX_CATALOG_POSTS, MAX_HIDDEN_BYTES, MAX_HIDDEN_POSTS,
    MAX_SETS_AT_ONCE,
};
use crate::codec::{self, record};
use crate::filter::Members;
use crate::storage::{Damage, Storage, StorageError, Table, Write, key_after};
use crate::summary::Seed;
use crate::wire::{
    CatalogEntry, CatalogNews, CatalogPosition, CatalogQuestion, CatalogSize, MAX_ASKED_ENTRIES,
    MAX_ASKED_IDS, MAX_ENTRIES_BYTES, MAX_KEPT_SETS, MatchRequest, Matches, PostChange, PostList,
    PostSet, PutPost, PutPosts, Refusal,
};

/// Hidden ids have keys of their own in [`Table::Meta`]: charts need all of them.
const HIDDEN_PREFIX: &[u8] = b"hidden/";
/// Where an entry that cannot be read is kept when another is put in its place.
const DAMAGED_PREFIX: &[u8] = b"damaged/posts/";
/// How large the catalog is: one row, changed with its entries.
const SIZE_KEY: &[u8] = b"catalog";
/// Bytes that a hidden id holds besides its own: a string and its part of a node.
const HIDDEN_ID_BYTES: usize = 48;
/// A page of the list: at most so many entries, and at most so many bytes and one more entry. As JSON, with
/// every letter escaped in six characters, that is under 2 MiB.
const LISTED_POSTS: usize = 1_000;
const LISTED_POST_BYTES: usize = 256 << 10;
/// Bytes of entries that are read at a time where all are counted.
const COUNTED_BYTES: usize = 1 << 20;

record!(CatalogSize v 1);

/// The catalog: entries and log in storage, hidden ids in memory. Storage is handed in.
pub struct Keeper {
    limits: CatalogLimits,
    size: CatalogSize,
    hidden: BTreeSet<String>,
    /// Memory of `hidden`.
    hidden_bytes: usize,
    log: ChangeLog,
    damage: Damage,
    /// The index of filters, once a board has asked for one.
    pub(super) postings: Option<Postings>,
}

/// What a slice of posts changes, by their ids: the new entries, the stored ones, and which posts are to be
/// erased.
struct Slice<'a> {
    changed: BTreeMap<&'a str, CatalogEntry>,
    stored: BTreeMap<&'a str, Vec<u8>>,
    erased: BTreeSet<&'a str>,
}

impl Keeper {
    /// Loads the catalog. `mark` is random, and used where the end of the log cannot be read.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load(
        storage: &impl Storage,
        limits: CatalogLimits,
        mark: u64,
    ) -> Result<Self, StorageError> {
        let keys = storage.keys(Table::Meta, HIDDEN_PREFIX)?;
        let ids = keys
            .iter()
            .filter_map(|key| key.strip_prefix(HIDDEN_PREFIX))
            .filter_map(|id| String::from_utf8(id.to_vec()).ok());
        let hidden: BTreeSet<String> = ids.collect();
        let damage = Damage::default();
        let (log, writes) = ChangeLog::load(storage, &damage, mark)?;
        if !writes.is_empty() {
            storage.write(&writes)?;
        }
        Ok(Keeper {
            limits,
            size: read_size(storage)?,
            hidden_bytes: hidden.iter().map(|id| held_bytes(id)).sum(),
            hidden,
            log,
            damage,
            postings: Postings::stored(storage)?,
        })
    }

    /// From now on, indexes filters by keys under this seed. The index is built in steps
    /// ([`Keeper::build_step`]).
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn index_under(&mut self, storage: &impl Storage, seed: Seed) -> Result<(), StorageError> {
        if !(self.postings.as_ref()).is_some_and(|postings| postings.is_under(seed)) {
            self.postings = Some(Postings::load(storage, seed)?);
        }
        Ok(())
    }

    /// Whether [`Keeper::build_step`] has something to do.
    pub fn is_to_be_built(&self) -> bool {
        (self.postings.as_ref()).is_some_and(Postings::is_to_be_built)
    }

    /// Builds a part of the index of filters. Returns whether the index is complete.
    ///
    /// # Errors
    /// When the disk refuses; nothing was changed.
    pub fn build_step(&mut self, storage: &impl Storage) -> Result<bool, StorageError> {
        match &mut self.postings {
            Some(postings) => postings.build_step(storage),
            None => Ok(true),
        }
    }

    /// The posts of a filter.
    ///
    /// # Errors
    /// [`Refusal::FilterTooWide`]; [`Refusal::Busy`] while the index is being built, or is under another seed;
    /// and when the disk refuses.
    pub fn matching(
        &self,
        storage: &impl Storage,
        seed: Seed,
        request: &MatchRequest,
    ) -> Result<Members, Refusal> {
        let postings = self.postings.as_ref().filter(|it| it.is_under(seed));
        let postings = postings.ok_or(Refusal::Busy { retry_after_s: 2 })?;
        postings.matching(storage, request)
    }

    pub fn position(&self) -> CatalogPosition {
        self.log.position()
    }

    pub fn size(&self) -> CatalogSize {
        self.size
    }

    pub fn is_hidden(&self, post_id: &str) -> bool {
        self.hidden.contains(post_id)
    }

    /// Rows that could not be read so far.
    pub fn damaged_rows(&self) -> u64 {
        self.damage.rows()
    }

    /// Answers a board's question.
    ///
    /// # Errors
    /// [`Refusal`] for a question that asks for more than an answer may hold, and when the disk refuses.
    pub fn answer(
        &self,
        storage: &impl Storage,
        question: &CatalogQuestion,
    ) -> Result<CatalogNews, Refusal> {
        if question.kept.len() > MAX_KEPT_SETS
            || question.sets.len() > MAX_SETS_AT_ONCE
            || question.entries.len() > MAX_ASKED_ENTRIES
            || question.known.len() > MAX_ASKED_IDS
            || question.matching.len() > MAX_SETS_AT_ONCE
        {
            return Err(Refusal::Invalid("a question for too much".into()));
        }
        let changed = match question.since {
            None => None,
            Some(since) => {
                let at_most = self.limits.most_behind;
                (self.log).since(storage, &self.damage, since, at_most)?
            }
        };
        let changes = changed.map(|ids| {
            let change = |post_id: String| PostChange {
                is_of: self.sets_of(&post_id, &question.kept),
                post_id,
            };
            ids.into_iter().map(change).collect()
        });
        let mut sets = Vec::with_capacity(question.sets.len());
        for set in &question.sets {
            let keys = self.set(storage, set)?;
            sets.push(keys.map(|keys| KeySet::new(keys).to_bytes()));
        }
        let postings_read = || self.postings.as_ref().map_or(0, Postings::entries_read);
        let read_before = postings_read();
        let mut matching = Vec::with_capacity(question.matching.len());
        for request in &question.matching {
            let found = self.matching(storage, Seed::from_bytes(question.seed), request);
            if let Err(Refusal::Storage(error)) = found {
                return Err(Refusal::Storage(error));
            }
            matching.push(found.map(|members| Matches::of(&members)));
        }
        let known = match question.known.is_empty() {
            true => Vec::new(),
            false => {
                let ids: Vec<&str> = question.known.iter().map(String::as_str).collect();
                storage.has_all(Table::Posts, &ids)?
            }
        };
        Ok(CatalogNews {
            position: self.log.position(),
            size: self.size,
            hidden_posts: self.hidden.len() as u64,
            changes,
            sets,
            entries: self.entries(storage, &question.entries)?,
            known,
            matching,
            postings_read: postings_read() - read_before,
            damaged_rows: self.damage.rows(),
        })
    }

    /// The sets that a post with an entry belongs to, as bits.
    fn sets_of(&self, post_id: &str, sets: &[PostSet]) -> u32 {
        let is_of = |set: &PostSet| match set {
            PostSet::Hidden => self.is_hidden(post_id),
            PostSet::Known => true,
        };
        let bits = (0..u32::BITS).zip(sets);
        bits.fold(0, |bits, (bit, set)| bits | u32::from(is_of(set)) << bit)
    }

    /// The posts of a set; `None` where they are too many to send.
    fn set(
        &self,
        storage: &impl Storage,
        set: &PostSet,
    ) -> Result<Option<Vec<PostKey>>, StorageError> {
        // MAX_HIDDEN_POSTS keeps the set of hidden posts small enough to send.
        if *set == PostSet::Known && self.size.posts > self.limits.set_posts as u64 {
            return Ok(None);
        }
        Ok(Some(match set {
            PostSet::Hidden => self.hidden.iter().map(|id| post_key(id)).collect(),
            PostSet::Known => {
                let ids = storage.keys(Table::Posts, &[])?.into_iter();
                ids.filter_map(|id| String::from_utf8(id).ok())
                    .map(|id| post_key(&id))
                    .collect()
            }
        }))
    }

    /// The first of these entries, as many as fit into an answer. One that cannot be read is answered as
    /// absent.
    fn entries(
        &self,
        storage: &impl Storage,
        post_ids: &[String],
    ) -> Result<Vec<Option<CatalogEntry>>, StorageError> {
        if post_ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = post_ids.iter().map(String::as_str).collect();
        let stored = storage.get_all(Table::Posts, &ids)?;
        let (mut entries, mut bytes) = (Vec::with_capacity(stored.len()), 0);
        for (post_id, value) in ids.into_iter().zip(stored) {
            if bytes > MAX_ENTRIES_BYTES {
                break;
            }
            bytes += value.as_ref().map_or(0, Vec::len);
            entries.push(value.and_then(|value| self.decoded(post_id, &value)));
        }
        Ok(entries)
    }

    fn decoded(&self, post_id: &str, value: &[u8]) -> Option<CatalogEntry> {
        let entry = codec::decode(value).ok();
        if entry.is_none() {
            self.damage.note(post_id.as_bytes());
        }
        entry
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
        let from = after.map_or_else(Vec::new, |id| key_after(id.as_bytes()));
        let mut rows = storage.scan(Table::Posts, &[], &from, LISTED_POST_BYTES)?;
        rows.truncate(LISTED_POSTS);
        let mut list = PostList::default();
        if let Some((last, _)) = rows.last() {
            let further = storage.next_key(Table::Posts, &[], &key_after(last))?;
            if further.is_some() {
                list.next_after = String::from_utf8(last.clone()).ok();
            }
        }
        for (key, value) in rows {
            match codec::decode::<CatalogEntry>(&value) {
                Ok(entry) => list.entries.push(entry),
                Err(_) => {
                    self.damage.note(&key);
                    list.damaged_rows += 1;
                }
            }
        }
        Ok(list)
    }

    /// Changes entries, all or none. A patch may hide its post or show it again. A patch that changes nothing is
    /// not written. `mark` is random.
    ///
    /// # Errors
    /// [`Refusal`] when there are too many, or too many hidden, or the disk refuses; nothing is
    /// stored then.
    pub fn put(
        &mut self,
        storage: &impl Storage,
        request: &PutPosts,
        mark: u64,
    ) -> Result<Option<PutPost>, Refusal> {
        let patches = &request.patches;
        let ids: Vec<&str> = patches.iter().map(|patch| &patch.post_id[..]).collect();
        let stored = storage.get_all(Table::Posts, &ids)?;
        let stored: BTreeMap<&str, Vec<u8>> = (ids.into_iter().zip(stored))
            .filter_map(|(id, value)| Some((id, value?)))
            .collect();
        let mut changed: BTreeMap<&str, CatalogEntry> = BTreeMap::new();
        let mut erased: BTreeSet<&str> = BTreeSet::new();
        for patch in patches {
            let post_id = patch.post_id.as_str();
            let before = stored.get(post_id);
            if request.only_new && before.is_some() {
                continue;
            }
            let entry = match changed.remove(post_id) {
                Some(entry) => entry,
                None => CatalogEntry {
                    // Known even where the entry cannot be read.
                    hidden: self.is_hidden(post_id),
                    ..before
                        .and_then(|value| self.decoded(post_id, value))
                        .unwrap_or_default()
                },
            };
            changed.insert(post_id, entry.patched(patch));
            if patch.erases() {
                erased.insert(post_id);
            }
        }
        let last = patches.last().and_then(|last| {
            let post_id = &last.post_id[..];
            Some(PutPost {
                entry: changed.get(post_id)?.clone(),
                was_known: stored.contains_key(post_id),
            })
        });
        let slice = Slice {
            changed,
            stored,
            erased,
        };
        self.write(storage, &slice, mark)?;
        Ok(last)
    }

    fn write(
        &mut self,
        storage: &impl Storage,
        slice: &Slice<'_>,
        mark: u64,
    ) -> Result<(), Refusal> {
        let Slice {
            changed,
            stored,
            erased,
        } = slice;
        let mut size = self.size;
        let mut writes = Vec::with_capacity(changed.len() + 3);
        let (mut ids, mut terms) = (Vec::new(), TermChanges::default());
        for (post_id, entry) in changed {
            let key = post_id.as_bytes();
            let value = codec::encode(entry);
            let before = stored.get(post_id);
            let is_damaged =
                before.is_some_and(|bytes| codec::decode::<CatalogEntry>(bytes).is_err());
            // An entry that cannot be read is kept elsewhere, unless the post is to be erased.
            let damaged_key = [DAMAGED_PREFIX, key].concat();
            if erased.contains(post_id) {
                writes.push(Write::delete(Table::Meta, damaged_key));
            } else if let Some(bytes) = before.filter(|_| is_damaged) {
                writes.push(Write::put(Table::Meta, damaged_key, bytes.clone()));
            }
            if before == Some(&value) && entry.hidden == self.is_hidden(post_id) {
                continue;
            }
            let hidden_key = [HIDDEN_PREFIX, key].concat();
            if entry.hidden {
                writes.push(Write::put(Table::Meta, hidden_key, Vec::new()));
            } else if self.is_hidden(post_id) {
                writes.push(Write::delete(Table::Meta, hidden_key));
            }
            replace(&mut size, key, before.map(Vec::as_slice), &value);
            if let Some(postings) = &self.postings {
                let known = before.map(|bytes| codec::decode::<CatalogEntry>(bytes));
                match known.transpose() {
                    Ok(known) => postings.note(&mut terms, known.as_ref(), entry),
                    Err(_) => terms.lose(),
                }
            }
            writes.push(Write::put(Table::Posts, key, value));
            ids.push((*post_id).to_owned());
        }
        // A post can be hidden even in a full catalog; hidden posts have a limit of their own.
        let are_hidden = changed.values().all(|entry| entry.hidden);
        if !are_hidden {
            self.check_size(size)?;
        }
        self.check_hidden(changed)?;
        if size != self.size {
            writes.push(Write::put(Table::Meta, SIZE_KEY, codec::encode(&size)));
        }
        let mut log = None;
        let ids_are_none = ids.is_empty();
        if !ids_are_none {
            let most_ids = self.limits.log_ids;
            let added = self.log.add(storage, &self.damage, ids, mark, most_ids)?;
            writes.extend(added.writes);
            log = Some(added.log);
        }
        let built = match &self.postings {
            Some(postings) if !ids_are_none => {
                let mut built = postings.writes(storage, &terms)?;
                writes.append(&mut built.writes);
                Some(built)
            }
            _ => None,
        };
        if !writes.is_empty() {
            storage.write(&writes)?;
        }
        if let (Some(postings), Some(built)) = (&mut self.postings, built) {
            postings.written(built);
        }
        self.size = size;
        if let Some(log) = log {
            self.log = log;
        }
        for (post_id, entry) in changed {
            let bytes = held_bytes(post_id);
            if entry.hidden {
                if self.hidden.insert((*post_id).to_owned()) {
                    self.hidden_bytes += bytes;
                }
            } else if self.hidden.remove(*post_id) {
                self.hidden_bytes = self.hidden_bytes.saturating_sub(bytes);
            }
        }
        Ok(())
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

/// Counts an entry in place of the one before.
fn replace(size: &mut CatalogSize, key: &[u8], before: Option<&[u8]>, value: &[u8]) {
    let bytes = |value: &[u8]| (key.len() + value.len()) as u64;
    let described = |value: &[u8]| {
        let entry = codec::decode::<CatalogEntry>(value);
        u64::from(entry.is_ok_and(|entry| entry.describes()))
    };
    size.posts += u64::from(before.is_none());
    size.bytes = (size.bytes + bytes(value)).saturating_sub(before.map_or(0, bytes));
    size.described =
        (size.described + described(value)).saturating_sub(before.map_or(0, described));
}

/// The stored size; where it is absent or cannot be read, all entries are counted.
fn read_size(storage: &impl Storage) -> Result<CatalogSize, StorageError> {
    let stored = storage.get(Table::Meta, SIZE_KEY)?;
    if let Some(size) = stored.and_then(|bytes| codec::decode(&bytes).ok()) {
        return Ok(size);
    }
    let (mut size, mut from) = (CatalogSize::default(), Vec::new());
    loop {
        let rows = storage.scan(Table::Posts, &[], &from, COUNTED_BYTES)?;
        for (key, value) in &rows {
            replace(&mut size, key, None, value);
        }
        let Some((last, _)) = rows.last() else {
            return Ok(size);
        };
        from = key_after(last);
    }
}

/// Memory of a hidden id.
fn held_bytes(post_id: &str) -> usize {
    post_id.len() + HIDDEN_ID_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;
    use crate::wire::PostPatch;

    fn patch(post_id: String, hidden: bool) -> PostPatch {
        PostPatch {
            post_id,
            hidden: Some(hidden),
            ..PostPatch::default()
        }
    }

    fn request(patches: &[PostPatch]) -> PutPosts {
        PutPosts {
            patches: patches.to_vec(),
            only_new: false,
        }
    }

    fn get(catalog: &Keeper, storage: &MemoryStorage, post_id: &str) -> Option<CatalogEntry> {
        let entries = catalog.entries(storage, &[post_id.to_owned()]).unwrap();
        entries.into_iter().next().flatten()
    }

    fn put(
        catalog: &mut Keeper,
        storage: &MemoryStorage,
        patches: &[PostPatch],
    ) -> Result<(), String> {
        match catalog.put(storage, &request(patches), 1) {
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
        let mut catalog = Keeper::load(&storage, CatalogLimits::default(), 1).unwrap();
        for round in 0..50_usize {
            let patches: Vec<PostPatch> = (0..20)
                .map(|number| PostPatch {
                    content: Some((round % 3 > 0).then(|| "x".repeat(round * number))),
                    ..patch(format!("{}", number * round % 37), round % 4 == 0)
                })
                .collect();
            put(&mut catalog, &storage, &patches).unwrap();
            assert_eq!(catalog.size, counted(&storage));
            catalog = Keeper::load(&storage, CatalogLimits::default(), 1).unwrap();
            assert_eq!(catalog.size, counted(&storage));
        }
        storage
            .write(&[Write::delete(Table::Meta, SIZE_KEY)])
            .unwrap();
        assert_eq!(
            Keeper::load(&storage, CatalogLimits::default(), 1)
                .unwrap()
                .size,
            counted(&storage)
        );
    }

    #[test]
    fn a_list_has_every_entry_once_in_pages_of_their_order() {
        for (posts, content_bytes) in [(0, 1), (1, 1), (2 * LISTED_POSTS, 1), (700, 1_000)] {
            let storage = MemoryStorage::new();
            let mut catalog = Keeper::load(&storage, CatalogLimits::default(), 1).unwrap();
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
                assert!(page.entries.len() <= LISTED_POSTS && bytes <= LISTED_POST_BYTES + 1_000);
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
        let mut catalog = Keeper::load(&storage, CatalogLimits::default(), 1).unwrap();
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
            let stored = catalog.put(&storage, &request(&[patch]), 1);
            let stored = stored.unwrap().unwrap();
            assert_eq!(stored.was_known, step > 0);
            let stored = stored.entry;
            assert_eq!(stored.hidden, hidden, "step {step}");
            catalog = Keeper::load(&storage, CatalogLimits::default(), 1).unwrap();
            assert_eq!(catalog.is_hidden("x"), hidden, "step {step}");
            assert_eq!(get(&catalog, &storage, "x"), Some(stored));
            assert_eq!(catalog.size, counted(&storage));
        }
    }

    #[test]
    fn what_is_erased_is_nowhere_in_the_storage_also_where_it_could_not_be_read() {
        let storage = MemoryStorage::new();
        let mut catalog = Keeper::load(&storage, CatalogLimits::default(), 1).unwrap();
        let everything = PostPatch {
            author: Some(Some("Somebody".into())),
            content: Some(Some("a secret".into())),
            url: Some(Some("https://a.example/secret".into())),
            image: Some(Some("https://a.example/secret.png".into())),
            timestamp_ms: Some(Some(1)),
            ..patch("x".into(), false)
        };
        let erase = request(&[PostPatch::erasing("x".into())]);
        let secrets = |storage: &MemoryStorage| {
            let rows = [Table::Posts, Table::Meta]
                .map(|table| storage.scan(table, &[], &[], usize::MAX).unwrap());
            let mut values = rows.iter().flatten().map(|(_, value)| value);
            values.any(|value| {
                let text = String::from_utf8_lossy(value);
                text.contains("secret") || text.contains("Somebody")
            })
        };
        let everything = request(std::slice::from_ref(&everything));
        catalog.put(&storage, &everything, 1).unwrap();
        assert!(secrets(&storage));
        let stored = catalog.put(&storage, &erase, 1).unwrap().unwrap();
        let empty = CatalogEntry {
            post_id: "x".into(),
            hidden: true,
            ..CatalogEntry::default()
        };
        assert_eq!(stored.entry, empty);
        assert!(!secrets(&storage));

        // Damaged, and kept beside the next one: both go.
        for kept_beside in [false, true] {
            let damaged = Write::put(Table::Posts, b"x".to_vec(), b"\x00 a secret".to_vec());
            storage.write(&[damaged]).unwrap();
            catalog = Keeper::load(&storage, CatalogLimits::default(), 1).unwrap();
            if kept_beside {
                let routine = PostPatch {
                    author: Some(Some("A".into())),
                    ..PostPatch::hiding("x".into())
                };
                catalog.put(&storage, &request(&[routine]), 1).unwrap();
            }
            assert!(secrets(&storage));
            catalog.put(&storage, &erase, 1).unwrap();
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
            let mut catalog = Keeper::load(&storage, CatalogLimits::default(), 1).unwrap();
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
            let mut catalog = Keeper::load(&storage, CatalogLimits::default(), 1).unwrap();
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
            let again = Keeper::load(&storage, CatalogLimits::default(), 1).unwrap();
            assert_eq!(
                (again.hidden_bytes, again.hidden.len()),
                (catalog.hidden_bytes, at_most)
            );
        }
    }
}
