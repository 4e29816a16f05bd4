//! The moment of an export: what was stored then stays readable while plays go on being folded.
//!
//! 1. *Cutting.* Every shard cuts its log at the same moment, a little ahead of now: what it had counted
//!    by then is sealed and below an offset ([`Cut`]). Those that come to be before it are told, too. Of each
//!    shard that has cut, no more is taken until all have: a second or two, and [`CUT_WITHIN_MS`] at most.
//!    Shards keep what is not taken, as ever.
//! 2. *Keeping.* Once all have, or are waited for no more, what was taken is folded, before anything
//!    later is, whether or not somebody asks for it already; that is the moment. From then on, before a row changes, the
//!    row as it was is put aside, once ([`KeptMoment`]). Pages are read from the tables with what was put
//!    aside in its place. So nothing waits for who reads, and who breaks off holds nothing up.
//!
//! # Limits
//! What is put aside takes [`MAX_KEPT_BYTES`], its keys [`MAX_KEY_BYTES`] of memory. It is dropped when it
//! would take more, [`IDLE_MS`] after the last page was asked for, or after a start within
//! [`STARTS_FOR_MS`] of the moment, and at a later start; then the export is over, and has to begin again. There is one at a time.
//!
//! # Cost
//! One more row for each that changes for the first time since the moment: the first flush writes twice
//! as many, and each after it the few panes that it meets anew.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::offsets::Offsets;
use crate::codec::{self, record};
use crate::storage::{Storage, StorageError, StoredRow, Table, Write};
use crate::topology::Region;
use crate::window::HOUR_MS;
use crate::wire::{Cut, Push, ShardName};

/// From the question to the moment: every shard has to be told before. Six are told at once, the farthest
/// within a quarter of a second; the more there are, the longer it takes. 100 shards: 6 s.
pub const CUT_AHEAD_MS: u64 = 1_000;
pub const CUT_AHEAD_A_SHARD_MS: u64 = 50;
/// How long shards that do not tell are waited for. The pages then say that plays are missing.
pub const CUT_WITHIN_MS: u64 = 20_000;
/// How long an export is kept that nobody reads.
pub const IDLE_MS: u64 = 10 * 60_000;
/// How long after its moment an export outlives a start of the object.
const STARTS_FOR_MS: u64 = HOUR_MS;
/// How long after its last page: should the answer have been lost.
const AFTER_LAST_MS: u64 = 60_000;
/// What may be put aside: with the ladders, the catalog and the offsets it fits into the database
/// ([`super::room`]). Half an hour of ten regions is 10 MB, an import of two years 130 MB.
pub const MAX_KEPT_BYTES: u64 = 256 << 20;
/// What the keys of it may take in memory: those of 50,000 panes.
pub const MAX_KEY_BYTES: usize = 4 << 20;
/// What a key takes besides its bytes, in the tree and for the allocator.
const KEY_OVERHEAD: usize = 48;

/// What the keys of both begin with.
const EXPORT_PREFIX: &[u8] = b"export/";
const EXPORT_HEAD_KEY: &[u8] = b"export/head";
const ROW_PREFIX: &[u8] = b"export/row/";
/// The tables that are exported, in their order, behind the regions.
pub const TABLES: [Table; 2] = [Table::Panes, Table::Charts];

/// Rows, and the key up to which they are all there.
pub type RowsUpTo = (Vec<StoredRow>, Vec<u8>);

/// An export whose shards have not all told what they had.
pub struct Cutting {
    began_ms: u64,
    pub at_ms: u64,
    /// Who is still to hear of it, the next one last.
    unheard: Vec<ShardName>,
    expected: BTreeSet<ShardName>,
    cuts: BTreeMap<ShardName, (u128, Cut)>,
}

impl Cutting {
    pub fn new(began_ms: u64, at_ms: u64, mut shards: Vec<ShardName>) -> Self {
        shards.reverse();
        Cutting {
            began_ms,
            at_ms,
            expected: shards.iter().cloned().collect(),
            unheard: shards,
            cuts: BTreeMap::new(),
        }
    }

    /// Waits for one more, which may have come to be before the moment, and is to hear of it.
    pub fn expect(&mut self, shard: ShardName) {
        if self.expected.insert(shard.clone()) {
            self.unheard.push(shard);
        }
    }

    /// Takes so many of the shards that are still to hear of it.
    pub fn hand_out(&mut self, shards: usize) -> Vec<ShardName> {
        let rest = self.unheard.len().saturating_sub(shards);
        let mut next = self.unheard.split_off(rest);
        next.reverse();
        next
    }

    pub fn is_over(&self, now_ms: u64) -> bool {
        // Where the clock was set back, its moment may not come for long.
        let is_set_back = now_ms.saturating_add(CUT_WITHIN_MS) < self.began_ms;
        is_set_back || now_ms > self.at_ms.saturating_add(CUT_WITHIN_MS)
    }

    /// Takes note of where a shard was cut. Returns the offset up to which its entries may be taken.
    pub fn limit(&mut self, shard: &ShardName, push: &Push<'_>) -> Option<u64> {
        // Of other boards' shards that came to be before the moment nobody else tells.
        if push.log_began_ms < self.at_ms {
            self.expect(shard.clone());
        }
        let cut = push.cut.filter(|cut| cut.at_ms == self.at_ms)?;
        self.cuts.insert(shard.clone(), (push.log_id, cut));
        Some(cut.offset)
    }

    /// Whether everything was taken that any shard had at the moment.
    pub fn is_complete(&self, offsets: &Offsets) -> bool {
        self.expected.iter().all(|shard| {
            let cut = self.cuts.get(shard);
            cut.is_some_and(|(log_id, cut)| offsets.accepted(shard, *log_id) >= Some(cut.offset))
        })
    }
}

/// What is known of a moment whose rows are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    at_ms: u64,
    complete: bool,
    /// As they were.
    regions: Vec<Region>,
}

record!(Head v 1);

/// A moment that is kept.
pub struct KeptMoment {
    head: Head,
    /// The rows that were put aside: the table's place in [`TABLES`], and the key.
    rows: BTreeSet<Vec<u8>>,
    bytes: u64,
    key_bytes: usize,
    until_ms: Cell<u64>,
}

impl KeptMoment {
    fn is_full(&self) -> bool {
        self.bytes > MAX_KEPT_BYTES || self.key_bytes > MAX_KEY_BYTES
    }

    /// The deletes of all that was put aside, and of the moment.
    fn deletes(self) -> Vec<Write> {
        let rows = self.rows.into_iter().chain([EXPORT_HEAD_KEY.to_vec()]);
        rows.map(|key| Write::delete(Table::Meta, key)).collect()
    }
}

/// The deletes of all that is stored of any moment.
fn deletes_of_stored(storage: &impl Storage) -> Result<Vec<Write>, StorageError> {
    let keys = storage.keys(Table::Meta, EXPORT_PREFIX)?.into_iter();
    Ok(keys.map(|key| Write::delete(Table::Meta, key)).collect())
}

/// The moment that is kept, shared with what writes.
#[derive(Clone, Default)]
pub struct Moment {
    kept: Rc<RefCell<Option<KeptMoment>>>,
    /// Heads that could not be read, or were not there, at the start.
    pub damaged_rows: u64,
}

fn row_key(table: usize, key: &[u8]) -> Vec<u8> {
    [ROW_PREFIX, &[table as u8], key].concat()
}

impl Moment {
    /// Goes on keeping what was kept before a start. Rows of a moment that nobody can tell are deleted:
    /// they must not be shown as the next one's.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load(storage: &impl Storage) -> Result<Self, StorageError> {
        let head = storage.get(Table::Meta, EXPORT_HEAD_KEY)?;
        let head = head.and_then(|head| codec::decode::<Head>(&head).ok());
        let Some(head) = head else {
            let deletes = deletes_of_stored(storage)?;
            if !deletes.is_empty() {
                storage.write(&deletes)?;
            }
            return Ok(Moment {
                damaged_rows: u64::from(!deletes.is_empty()),
                ..Moment::default()
            });
        };
        let rows = storage.keys(Table::Meta, ROW_PREFIX)?;
        let kept = KeptMoment {
            head,
            key_bytes: rows.iter().map(|key| key.len() + KEY_OVERHEAD).sum(),
            rows: rows.into_iter().collect(),
            // With the few other rows that there are.
            bytes: storage.bytes(Table::Meta)?,
            until_ms: Cell::new(u64::MAX),
        };
        Ok(Moment {
            kept: Rc::new(RefCell::new(Some(kept))),
            damaged_rows: 0,
        })
    }

    /// Keeps what is stored now.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep(
        &self,
        storage: &impl Storage,
        (at_ms, complete): (u64, bool),
        regions: &[Region],
        now_ms: u64,
    ) -> Result<(), StorageError> {
        self.forget(storage)?;
        let head = Head {
            at_ms,
            complete,
            regions: regions.to_vec(),
        };
        storage.write(&[Write::put(
            Table::Meta,
            EXPORT_HEAD_KEY,
            codec::encode(&head),
        )])?;
        *self.kept.borrow_mut() = Some(KeptMoment {
            head,
            rows: BTreeSet::new(),
            bytes: 0,
            key_bytes: 0,
            until_ms: Cell::new(now_ms.saturating_add(IDLE_MS)),
        });
        Ok(())
    }

    /// Keeps nothing any more.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn forget(&self, storage: &impl Storage) -> Result<(), StorageError> {
        *self.kept.borrow_mut() = None;
        let deletes = deletes_of_stored(storage)?;
        match deletes.is_empty() {
            true => Ok(()),
            false => storage.write(&deletes),
        }
    }

    /// Drops what nobody asks for any more.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn forget_idle(&self, storage: &impl Storage, now_ms: u64) -> Result<(), StorageError> {
        let is_idle = self.kept.borrow().as_ref().is_some_and(|kept| {
            // Nobody knows after a start when a page was asked for last.
            if kept.until_ms.get() == u64::MAX {
                let is_old = now_ms.saturating_sub(kept.head.at_ms) >= STARTS_FOR_MS;
                let until_ms = now_ms.saturating_add(IDLE_MS);
                kept.until_ms.set(if is_old { 0 } else { until_ms });
            }
            now_ms > kept.until_ms.get()
        });
        if is_idle {
            self.forget(storage)
        } else {
            Ok(())
        }
    }

    /// Bytes of memory.
    pub fn held_bytes(&self) -> usize {
        let kept = self.kept.borrow();
        kept.as_ref().map_or(0, |kept| kept.key_bytes)
    }

    /// Whether this moment is kept, and every shard had told what it had by then.
    pub fn is_kept(&self, at_ms: u64) -> Option<bool> {
        self.look(at_ms, |head| head.complete)
    }

    /// The regions as they were at that moment.
    pub fn regions(&self, at_ms: u64) -> Vec<Region> {
        let regions = self.look(at_ms, |head| head.regions.clone());
        regions.unwrap_or_default()
    }

    fn look<T>(&self, at_ms: u64, look: impl FnOnce(&Head) -> T) -> Option<T> {
        let kept = self.kept.borrow();
        let head = kept.as_ref().map(|kept| &kept.head);
        head.filter(|head| head.at_ms == at_ms).map(look)
    }

    /// It is being read. After the last page it is kept for a while only.
    pub fn asked(&self, is_last: bool, now_ms: u64) {
        let more_ms = if is_last { AFTER_LAST_MS } else { IDLE_MS };
        if let Some(kept) = self.kept.borrow().as_ref() {
            kept.until_ms.set(now_ms.saturating_add(more_ms));
        }
    }

    /// Rows of a table from a key on, as they were, and the key up to which they are all there; `None`
    /// where there are no more.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn scan(
        &self,
        storage: &impl Storage,
        table: usize,
        from: &[u8],
        max_bytes: usize,
    ) -> Result<Option<RowsUpTo>, StorageError> {
        let Some(of) = TABLES.get(table) else {
            return Ok(None);
        };
        let now = storage.scan(*of, &[], from, max_bytes)?;
        let aside_prefix = row_key(table, &[]);
        let aside_from = row_key(table, from);
        let aside = storage.scan(Table::Meta, &aside_prefix, &aside_from, max_bytes)?;
        let aside = aside.into_iter().map(|(key, was)| {
            let key = key.get(aside_prefix.len()..).unwrap_or_default().to_vec();
            (key, was)
        });
        let aside: BTreeMap<Vec<u8>, Vec<u8>> = aside.collect();
        let ends = [now.last().map(|(key, _)| key), aside.keys().next_back()];
        // Beyond the lesser end something may be missing.
        let Some(end) = ends.into_iter().flatten().min().cloned() else {
            return Ok(None);
        };
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = now.into_iter().collect();
        for (key, was) in aside {
            match was.split_first() {
                Some((_, value)) => rows.insert(key, value.to_vec()),
                None => rows.remove(&key),
            };
        }
        rows.retain(|key, _| *key <= end);
        Ok(Some((rows.into_iter().collect(), end)))
    }

    /// The storage, for whoever changes rows.
    pub fn guard<'a, S>(&self, storage: &'a S) -> Guarded<'a, S> {
        Guarded {
            storage,
            moment: self.clone(),
        }
    }
}

/// A storage that puts rows aside before they change.
pub struct Guarded<'a, S> {
    storage: &'a S,
    moment: Moment,
}

impl<S: Storage> Guarded<'_, S> {
    /// The rows as they were, to be written with what changes them. Where there is no room for them, the
    /// moment is kept no more.
    fn put_aside(&self, batch: &[Write]) -> Result<Vec<Write>, StorageError> {
        let mut aside = Vec::new();
        let mut moment = self.moment.kept.borrow_mut();
        let Some(kept) = moment.as_mut() else {
            return Ok(aside);
        };
        for change in batch {
            let table = TABLES.iter().position(|table| *table == change.table());
            let Some(table) = table else { continue };
            let key = row_key(table, change.key());
            if kept.rows.contains(&key) {
                continue;
            }
            // Nothing stands for a row that was not there.
            let was = self.storage.get(change.table(), change.key())?;
            let was = was.map_or_else(Vec::new, |value| [&[1], &value[..]].concat());
            kept.bytes += (key.len() + was.len()) as u64;
            kept.key_bytes += key.len() + KEY_OVERHEAD;
            kept.rows.insert(key.clone());
            aside.push(Write::put(Table::Meta, key, was));
            if kept.is_full() {
                return Ok(moment.take().map(KeptMoment::deletes).unwrap_or_default());
            }
        }
        Ok(aside)
    }
}

impl<S: Storage> Storage for Guarded<'_, S> {
    crate::pass_reads_on!(self => self.storage);

    fn write(&self, batch: &[Write]) -> Result<(), StorageError> {
        let mut aside = self.put_aside(batch)?;
        if aside.is_empty() {
            return self.storage.write(batch);
        }
        aside.extend_from_slice(batch);
        self.storage.write(&aside)
    }

    fn atomically<T>(
        &self,
        change: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.storage.atomically(change)
    }
}

/// Writes one after the other within a transaction: what is put aside is in memory one row at a time.
///
/// # Errors
/// When the disk refuses.
pub fn write_apart(storage: &impl Storage, writes: &[Write]) -> Result<(), StorageError> {
    writes
        .chunks(1)
        .try_for_each(|change| storage.write(change))
}
