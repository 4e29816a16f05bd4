//! The index of filters: which posts have a tag, an author, a day of publication.
//!
//! # What is stored
//! [`Table::Postings`] has, for each term (a tag, an author, a day), the keys of its posts in order, in blocks
//! of at most [`BLOCK_ENTRIES`]. Each key comes with the minute in which the post was published, so that a
//! filter of a tag and `published` reads the tag's blocks only. A block's row is named by its term and the greatest
//! key that it may have; the last block of a term is named by the greatest key of all. A block with few
//! entries left is merged into the next one, so a term never has many small rows.
//!
//! | | |
//! |---|---|
//! | an entry | 20 bytes |
//! | a post with 5 tags, an author and a time | 7 entries, 140 bytes |
//! | a put that changes none of them | no row |
//! | a put that changes all of them | 7 rows, of 10 KB at most |
//!
//! Hidden posts are in no block: all posts that a filter matches may be shown.
//!
//! # Consistency
//! Blocks change in the same atomic batch as their entries. They can always be built again from the entries.
//! That happens, in steps ([`Postings::build_step`]), where a block cannot be read, where an entry that is
//! replaced cannot be read, and where the blocks are missing or under another seed. Meanwhile filters are refused
//! with [`Refusal::Busy`], and entries can be changed: a change of an entry that the building has passed changes
//! its blocks.
//!
//! # At its limits
//! A filter that matches more than [`MAX_MEMBERS`] posts is refused ([`Refusal::FilterTooWide`]). All entries that
//! are read are counted ([`Postings::entries_read`]), also for a refused filter.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::codec::{self, record};
use crate::filter::{Filter, Keys, MAX_MEMBERS, Members};
use crate::storage::{Storage, StorageError, Table, Write, key_after};
use crate::summary::{IdKey, IdKeys, Seed};
use crate::window::MINUTE_MS;
use crate::wire::{CatalogEntry, MatchRequest, Refusal};

/// Entries of a block: 10 KB. Reading 100,000 entries takes a third of a millisecond; as one row each, 38 ms.
const BLOCK_ENTRIES: usize = 512;
/// A block with fewer than `BLOCK_ENTRIES / FEW` entries is merged into the next.
const FEW: usize = 8;
/// Bytes of blocks that are read at once where all of them are needed.
const AHEAD_BYTES: usize = 256 << 10;
/// After a batch that answered so many look-ups, the next one is larger.
const WORTH_READING_AHEAD: u32 = 4;
/// Posts of a span of publication that are read at most: 10 MiB.
const MAX_PUBLISHED: usize = 4 * MAX_MEMBERS;
/// Up to so many days it is counted whether they have fewer posts than a tag.
const FEW_DAYS: u32 = 8;
/// Entries of the catalog that a step of building reads, and their bytes.
const BUILT_POSTS: usize = 500;
const BUILT_BYTES: usize = 256 << 10;

const POSTINGS_HEAD_KEY: &[u8] = b"postings";
const TAG: u8 = 1;
const AUTHOR: u8 = 2;
const DAY: u8 = 3;
const DAY_MINUTES: u32 = 24 * 60;
/// The minute of a post without a time of publication.
const NEVER: u32 = u32::MAX;
/// The name of a term's last block.
const LAST: IdKey = IdKey::from_bytes([u8::MAX; IdKey::BYTES]);
const POSTING_BYTES: usize = IdKey::BYTES + 4;

/// One post of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Posting {
    key: IdKey,
    minute: u32,
}

/// A block as it is stored: [`POSTING_BYTES`] an entry.
#[derive(Serialize, Deserialize)]
struct PostingsBlock<'a>(#[serde(borrow)] &'a [u8]);

record!(PostingsBlock<'_> v 1);

/// How far the blocks are built from the catalog's entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Built {
    /// Not at all: stored blocks are to be deleted.
    Not,
    /// From the entries up to this id.
    UpTo(Vec<u8>),
    All,
}

#[derive(Serialize, Deserialize)]
struct PostingsHead {
    /// The seed of the keys.
    seed: [u8; 16],
    built: Built,
}

record!(PostingsHead v 1);

/// Why a term's blocks cannot be used.
enum Unusable {
    Damaged,
    Storage(StorageError),
}

impl From<StorageError> for Unusable {
    fn from(error: StorageError) -> Self {
        Unusable::Storage(error)
    }
}

impl From<Unusable> for Refusal {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            // Blocks are being built again.
            Unusable::Damaged => Refusal::Busy { retry_after_s: 2 },
            Unusable::Storage(error) => Refusal::Storage(error.0),
        }
    }
}

/// See the module's introduction.
pub struct Postings {
    keys: IdKeys,
    seed: [u8; 16],
    built: Built,
    is_head_stored: bool,
    /// A block could not be read.
    is_damaged: Cell<bool>,
    entries_read: Cell<u64>,
    block_entries: usize,
}

/// Changes of terms: for each term, the keys that are added with their minutes, or removed (`None`).
#[derive(Default)]
pub struct TermChanges {
    terms: BTreeMap<Vec<u8>, BTreeMap<IdKey, Option<u32>>>,
    /// The terms that a post had are not known, so all blocks must be built again.
    is_lost: bool,
}

/// What is to be written with the entries. [`Postings::written`] must be told when it is written.
pub struct IndexWrites {
    pub writes: Vec<Write>,
    built: Built,
}

fn read_head(storage: &impl Storage) -> Result<Option<PostingsHead>, StorageError> {
    let head = storage.get(Table::Meta, POSTINGS_HEAD_KEY)?;
    Ok(head.and_then(|head| codec::decode::<PostingsHead>(&head).ok()))
}

impl Postings {
    /// The stored index, under its own seed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn stored(storage: &impl Storage) -> Result<Option<Self>, StorageError> {
        let head = read_head(storage)?;
        let seed = head.map(|head| Seed::from_bytes(head.seed));
        seed.map(|seed| Self::load(storage, seed)).transpose()
    }

    /// The index under a seed. It must be built if there is none, or one under another seed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load(storage: &impl Storage, seed: Seed) -> Result<Self, StorageError> {
        let head = read_head(storage)?;
        let head = head.filter(|head| head.seed == seed.to_bytes());
        let is_head_stored = head.is_some();
        let is_empty = || -> Result<bool, StorageError> {
            let mut is_empty = true;
            for table in [Table::Posts, Table::Postings] {
                is_empty &= storage.next_key(table, &[], &[])?.is_none();
            }
            Ok(is_empty)
        };
        let built = match head {
            Some(head) => head.built,
            None if is_empty()? => Built::All,
            None => Built::Not,
        };
        Ok(Postings {
            keys: IdKeys::new(seed),
            seed: seed.to_bytes(),
            built,
            is_head_stored,
            is_damaged: Cell::new(false),
            entries_read: Cell::new(0),
            block_entries: BLOCK_ENTRIES,
        })
    }

    pub fn is_under(&self, seed: Seed) -> bool {
        self.seed == seed.to_bytes()
    }

    /// Whether [`Postings::build_step`] has something to do.
    pub fn is_to_be_built(&self) -> bool {
        self.built != Built::All || self.is_damaged.get()
    }

    /// How many entries of blocks were read so far.
    pub fn entries_read(&self) -> u64 {
        self.entries_read.get()
    }

    /// Notes that an entry replaces another.
    pub fn note(
        &self,
        changes: &mut TermChanges,
        before: Option<&CatalogEntry>,
        after: &CatalogEntry,
    ) {
        let has_blocks = match &self.built {
            Built::Not => false,
            Built::UpTo(last) => after.post_id.as_bytes() <= &last[..],
            Built::All => true,
        };
        if !has_blocks {
            return;
        }
        let key = self.keys.key_of(&after.post_id);
        let (was, is) = (before.map_or_else(Vec::new, terms_of), terms_of(after));
        let minute = minute_of(after);
        let is_same_minute = before.is_some_and(|before| minute_of(before) == minute);
        for term in was.iter().filter(|term| !is.contains(term)) {
            changes.set(term, key, None);
        }
        for term in is
            .iter()
            .filter(|term| !(is_same_minute && was.contains(term)))
        {
            changes.set(term, key, Some(minute));
        }
    }

    /// The writes for these changes. The state changes only with [`Postings::written`].
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn writes(
        &self,
        storage: &impl Storage,
        changes: &TermChanges,
    ) -> Result<IndexWrites, StorageError> {
        let mut writes = Vec::new();
        let mut built = self.built.clone();
        if changes.is_lost || self.is_damaged.get() {
            built = Built::Not;
        } else {
            for (term, keys) in &changes.terms {
                match self.change(storage, term, keys, &mut writes) {
                    Ok(()) => {}
                    Err(Unusable::Storage(error)) => return Err(error),
                    Err(Unusable::Damaged) => {
                        (built, writes) = (Built::Not, Vec::new());
                        break;
                    }
                }
            }
        }
        if built != self.built || !self.is_head_stored {
            writes.push(self.head(&built));
        }
        Ok(IndexWrites { writes, built })
    }

    /// The result of [`Postings::writes`] was written.
    pub fn written(&mut self, built: IndexWrites) {
        self.built = built.built;
        self.is_head_stored = true;
    }

    fn head(&self, built: &Built) -> Write {
        let head = PostingsHead {
            seed: self.seed,
            built: built.clone(),
        };
        Write::put(Table::Meta, POSTINGS_HEAD_KEY, codec::encode(&head))
    }

    /// Builds the blocks of the next [`BUILT_POSTS`] entries. Returns whether all are built.
    ///
    /// # Errors
    /// When the disk refuses; nothing has changed then.
    pub fn build_step(&mut self, storage: &impl Storage) -> Result<bool, StorageError> {
        if self.is_damaged.replace(false) {
            self.built = Built::Not;
        }
        let after = match self.built.clone() {
            Built::All => return Ok(true),
            Built::Not => {
                let begun = Built::UpTo(Vec::new());
                storage.atomically(|| {
                    storage.clear(Table::Postings)?;
                    storage.write(&[self.head(&begun)])
                })?;
                self.built = begun;
                return Ok(false);
            }
            Built::UpTo(after) => after,
        };
        let from = match after.is_empty() {
            true => Vec::new(),
            false => key_after(&after),
        };
        let mut rows = storage.scan(Table::Posts, &[], &from, BUILT_BYTES)?;
        rows.truncate(BUILT_POSTS);
        let up_to = match rows.last() {
            Some((last, _)) => Built::UpTo(last.clone()),
            None => Built::All,
        };
        let mut changes = TermChanges::default();
        for (_, value) in &rows {
            // An entry that cannot be read has no known terms.
            if let Ok(entry) = codec::decode::<CatalogEntry>(value) {
                let key = self.keys.key_of(&entry.post_id);
                for term in terms_of(&entry) {
                    changes.set(&term, key, Some(minute_of(&entry)));
                }
            }
        }
        let mut written = self.writes(storage, &changes)?;
        if written.built != Built::Not {
            written.built = up_to;
            written.writes.retain(|write| write.table() != Table::Meta);
            written.writes.push(self.head(&written.built));
        }
        storage.write(&written.writes)?;
        self.written(written);
        Ok(self.built == Built::All)
    }

    /// The posts of a filter.
    ///
    /// # Errors
    /// [`Refusal::FilterTooWide`]; [`Refusal::Busy`] while blocks are built; when the disk refuses.
    pub fn matching(
        &self,
        storage: &impl Storage,
        request: &MatchRequest,
    ) -> Result<Members, Refusal> {
        request.filter.check().map_err(Refusal::Invalid)?;
        if self.is_to_be_built() {
            return Err(Unusable::Damaged.into());
        }
        self.members(storage, request)
    }

    fn members(&self, storage: &impl Storage, request: &MatchRequest) -> Result<Members, Refusal> {
        let filter = &request.filter;
        let minutes = filter.published_minutes(request.hour);
        let excluded = filter.excluded_tags.iter();
        let mut excluded: Vec<_> = excluded
            .map(|tag| self.cursor(storage, text_term(TAG, tag)))
            .collect();
        let Some(mut wanted) = self.wanted(storage, filter, minutes.clone())? else {
            let mut keys = Vec::new();
            for cursor in &mut excluded {
                while let Some(entry) = cursor.current()? {
                    keys.push(entry.key);
                    if keys.len() > filter.excluded_tags.len() * MAX_MEMBERS {
                        return Err(Refusal::FilterTooWide);
                    }
                    cursor.step();
                }
            }
            return Keys::new(keys)
                .map(Members::AllBut)
                .ok_or(Refusal::FilterTooWide);
        };
        let mut keys: Vec<IdKey> = Vec::new();
        let Some((first, others)) = wanted.split_first_mut() else {
            return Ok(Members::Only(Keys::default()));
        };
        'posts: while let Some(Posting { key, minute }) = first.current()? {
            for other in others.iter_mut() {
                match other.seek(key)? {
                    Some(found) if found.key == key => {}
                    // No post before this key has both terms.
                    Some(found) => {
                        first.seek(found.key)?;
                        continue 'posts;
                    }
                    None => break 'posts,
                }
            }
            first.step();
            if minutes
                .as_ref()
                .is_some_and(|minutes| !minutes.contains(&minute))
            {
                continue;
            }
            for tag in &mut excluded {
                if tag.seek(key)?.is_some_and(|found| found.key == key) {
                    continue 'posts;
                }
            }
            if keys.len() == MAX_MEMBERS {
                return Err(Refusal::FilterTooWide);
            }
            keys.push(key);
        }
        Keys::new(keys)
            .map(Members::Only)
            .ok_or(Refusal::FilterTooWide)
    }

    /// The lists that a post must be in, the shortest first; `None` where the filter only excludes.
    fn wanted<'a, S: Storage>(
        &'a self,
        storage: &'a S,
        filter: &Filter,
        minutes: Option<Range<u32>>,
    ) -> Result<Option<Vec<Cursor<'a, S>>>, Refusal> {
        let tags = filter.tags.iter().map(|tag| text_term(TAG, tag));
        let author = filter.author.iter().map(|author| text_term(AUTHOR, author));
        let terms: Vec<Vec<u8>> = tags.chain(author).collect();
        let count = |term: &[u8]| -> Result<usize, Refusal> {
            Ok(storage.keys(Table::Postings, term)?.len())
        };
        let days = minutes.as_ref().map(days_of);
        let few_days = days.filter(|days| days.len() <= FEW_DAYS as usize);
        let mut counted = Vec::with_capacity(terms.len());
        if terms.len() > 1 || few_days.is_some() {
            for term in terms {
                counted.push((count(&term)?, term));
            }
            counted.sort();
        } else {
            counted.extend(terms.into_iter().map(|term| (0, term)));
        }
        let mut published = None;
        if let Some(minutes) = minutes {
            let is_smaller = match (counted.first(), few_days) {
                (None, _) => true,
                (Some((fewest, _)), Some(days)) => {
                    let mut blocks = 0;
                    for day in days {
                        blocks += count(&day_term(day))?;
                    }
                    blocks < *fewest && blocks * self.block_entries <= MAX_PUBLISHED
                }
                (Some(_), None) => false,
            };
            if is_smaller {
                published = Some(self.published(storage, &minutes)?);
            }
        } else if counted.is_empty() {
            return Ok(None);
        }
        let of_terms = counted
            .into_iter()
            .map(|(_, term)| self.cursor(storage, term));
        Ok(Some(published.into_iter().chain(of_terms).collect()))
    }

    /// All posts that were published in a span of minutes.
    fn published<'a, S: Storage>(
        &'a self,
        storage: &'a S,
        minutes: &Range<u32>,
    ) -> Result<Cursor<'a, S>, Refusal> {
        let days = days_of(minutes);
        let mut entries = Vec::new();
        let mut from = day_term(days.start);
        'days: loop {
            let rows = storage.scan(Table::Postings, &[DAY], &from, AHEAD_BYTES)?;
            let Some((last, _)) = rows.last() else { break };
            from = key_after(last);
            for (key, value) in rows {
                let day = key.get(1..5).and_then(|day| day.first_chunk::<4>());
                if day.is_none_or(|day| u32::from_be_bytes(*day) >= days.end) {
                    break 'days;
                }
                let block = self.read(&value)?.into_iter();
                entries.extend(block.filter(|entry| minutes.contains(&entry.minute)));
                if entries.len() > MAX_PUBLISHED {
                    return Err(Refusal::FilterTooWide);
                }
            }
        }
        entries.sort_unstable_by_key(|entry: &Posting| entry.key);
        Ok(Cursor {
            batch: entries,
            from: None,
            ..self.cursor(storage, Vec::new())
        })
    }

    fn cursor<'a, S: Storage>(&'a self, storage: &'a S, term: Vec<u8>) -> Cursor<'a, S> {
        Cursor {
            postings: self,
            storage,
            from: Some(term.clone()),
            term,
            batch: Vec::new(),
            at: 0,
            asked: 0,
            ahead_bytes: 0,
        }
    }

    /// The entries of a block.
    fn read(&self, value: &[u8]) -> Result<Vec<Posting>, Unusable> {
        let entries = decode(value).ok_or_else(|| {
            self.is_damaged.set(true);
            Unusable::Damaged
        })?;
        self.entries_read
            .set(self.entries_read.get() + entries.len() as u64);
        Ok(entries)
    }

    /// The writes that change some keys of a term.
    fn change(
        &self,
        storage: &impl Storage,
        term: &[u8],
        keys: &BTreeMap<IdKey, Option<u32>>,
        writes: &mut Vec<Write>,
    ) -> Result<(), Unusable> {
        let mut changes = keys.iter().map(|(key, minute)| (*key, *minute)).peekable();
        let (mut carried, mut carried_from) = (Vec::new(), None);
        loop {
            let from = match (carried_from.take(), changes.peek()) {
                (Some(from), _) => from,
                (None, Some((key, _))) => [term, &key.to_bytes()].concat(),
                (None, None) => return Ok(()),
            };
            let row = storage
                .scan(Table::Postings, term, &from, 0)?
                .into_iter()
                .next();
            let stored = row
                .as_ref()
                .map_or(Ok(Vec::new()), |(_, value)| self.read(value))?;
            let row_key = row.map_or_else(|| [term, &LAST.to_bytes()].concat(), |(key, _)| key);
            let name = row_key
                .last_chunk()
                .copied()
                .map_or(LAST, IdKey::from_bytes);
            let before = [&carried[..], &stored[..]].concat();
            let after = changed(&before, &mut changes, name);
            if after.len() < self.block_entries / FEW && name != LAST {
                writes.push(Write::delete(Table::Postings, row_key.clone()));
                carried_from = Some(key_after(&row_key));
                carried = after;
                continue;
            }
            carried = Vec::new();
            if after.is_empty() {
                writes.push(Write::delete(Table::Postings, row_key));
                continue;
            }
            if after == stored {
                continue;
            }
            let pieces = match after.len() > self.block_entries {
                // Three quarters full, so that the next entry does not split it again.
                true => after.len().div_ceil(self.block_entries * 3 / 4),
                false => 1,
            };
            let mut pieces = after.chunks(after.len().div_ceil(pieces)).peekable();
            while let Some(piece) = pieces.next() {
                let own_name = || Some([term, &piece.last()?.key.to_bytes()].concat());
                let key = match pieces.peek() {
                    Some(_) => own_name().unwrap_or_default(),
                    None => row_key.clone(),
                };
                writes.push(Write::put(Table::Postings, key, encode(piece)));
            }
        }
    }
}

impl TermChanges {
    /// The stored entry of a post cannot be read, so its terms are not known.
    pub fn lose(&mut self) {
        self.is_lost = true;
    }

    fn set(&mut self, term: &[u8], key: IdKey, minute: Option<u32>) {
        match self.terms.get_mut(term) {
            Some(keys) => keys.insert(key, minute),
            None => self
                .terms
                .entry(term.to_vec())
                .or_default()
                .insert(key, minute),
        };
    }
}

/// A block's entries after the changes of keys up to the block's name.
fn changed(
    before: &[Posting],
    changes: &mut Peekable<impl Iterator<Item = (IdKey, Option<u32>)>>,
    name: IdKey,
) -> Vec<Posting> {
    let mut after = Vec::with_capacity(before.len() + 1);
    let mut before = before.iter().copied().peekable();
    loop {
        let change = changes.next_if(|(key, _)| {
            *key <= name && before.peek().is_none_or(|entry| *key <= entry.key)
        });
        if let Some((key, minute)) = change {
            before.next_if(|entry| entry.key == key);
            after.extend(minute.map(|minute| Posting { key, minute }));
        } else if let Some(entry) = before.next() {
            after.push(entry);
        } else {
            return after;
        }
    }
}

/// The posts of a term in the order of their keys.
struct Cursor<'a, S> {
    postings: &'a Postings,
    storage: &'a S,
    term: Vec<u8>,
    batch: Vec<Posting>,
    at: usize,
    /// Where the blocks after the batch begin; `None` where there are none.
    from: Option<Vec<u8>>,
    /// Look-ups that this batch answered.
    asked: u32,
    ahead_bytes: usize,
}

impl<S: Storage> Cursor<'_, S> {
    fn current(&mut self) -> Result<Option<Posting>, Unusable> {
        while self.at >= self.batch.len() {
            let Some(from) = self.from.take() else {
                return Ok(None);
            };
            self.load(&from)?;
        }
        self.asked = self.asked.saturating_add(1);
        Ok(self.batch.get(self.at).copied())
    }

    fn step(&mut self) {
        self.at += 1;
    }

    /// Goes on to the first entry whose key is at least this.
    fn seek(&mut self, key: IdKey) -> Result<Option<Posting>, Unusable> {
        if self.batch.last().is_none_or(|last| last.key < key) {
            self.at = self.batch.len();
            if let Some(from) = &mut self.from {
                let wanted = [&self.term[..], &key.to_bytes()].concat();
                *from = std::mem::take(from).max(wanted);
            }
            self.current()?;
        }
        let rest = self.batch.get(self.at..).unwrap_or_default();
        self.at += rest.partition_point(|entry| entry.key < key);
        self.current()
    }

    fn load(&mut self, from: &[u8]) -> Result<(), Unusable> {
        self.ahead_bytes = match self.asked < WORTH_READING_AHEAD {
            true => 0,
            false => (2 * self.ahead_bytes).clamp(AHEAD_BYTES / 16, AHEAD_BYTES),
        };
        (self.at, self.asked) = (0, 0);
        self.batch.clear();
        let rows = (self.storage).scan(Table::Postings, &self.term, from, self.ahead_bytes)?;
        self.from = rows.last().map(|(last, _)| key_after(last));
        for (_, value) in rows {
            self.batch.extend(self.postings.read(&value)?);
        }
        Ok(())
    }
}

/// The terms of an entry: how the keys of their blocks begin.
fn terms_of(entry: &CatalogEntry) -> Vec<Vec<u8>> {
    if entry.hidden {
        return Vec::new();
    }
    let tags = entry.card.tags.iter().map(|tag| text_term(TAG, tag));
    let author = entry
        .card
        .author
        .iter()
        .map(|author| text_term(AUTHOR, author));
    let minute = Some(minute_of(entry)).filter(|minute| *minute != NEVER);
    let day = minute.map(|minute| day_term(minute / DAY_MINUTES));
    tags.chain(author).chain(day).collect()
}

fn minute_of(entry: &CatalogEntry) -> u32 {
    let minute = entry.timestamp_ms.map(|ms| ms / MINUTE_MS);
    minute.map_or(NEVER, |minute| {
        u32::try_from(minute).unwrap_or(NEVER).min(NEVER - 1)
    })
}

/// A term begins with the text's length, so that no term is the beginning of another.
fn text_term(kind: u8, text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[kind][..], &length, text.as_bytes()].concat()
}

fn day_term(day: u32) -> Vec<u8> {
    [&[DAY][..], &day.to_be_bytes()].concat()
}

fn days_of(minutes: &Range<u32>) -> Range<u32> {
    minutes.start / DAY_MINUTES..minutes.end.div_ceil(DAY_MINUTES)
}

fn encode(entries: &[Posting]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * POSTING_BYTES);
    for entry in entries {
        bytes.extend_from_slice(&entry.key.to_bytes());
        bytes.extend_from_slice(&entry.minute.to_le_bytes());
    }
    codec::encode(&PostingsBlock(&bytes))
}

fn decode(value: &[u8]) -> Option<Vec<Posting>> {
    let PostingsBlock(bytes) = codec::decode(value).ok()?;
    let (entries, []) = bytes.as_chunks::<POSTING_BYTES>() else {
        return None;
    };
    let entry = |bytes: &[u8; POSTING_BYTES]| {
        let (key, minute) = bytes.split_first_chunk()?;
        Some(Posting {
            key: IdKey::from_bytes(*key),
            minute: u32::from_le_bytes(*minute.first_chunk()?),
        })
    };
    entries.iter().map(entry).collect()
}

#[cfg(test)]
mod tests;
