//! What boards and the catalog say to each other.
//!
//! The catalog numbers its changes. A board's question names the number up to which it knows them, and what it
//! wants besides. The answer is of one moment, with its number. So a board's copy is the catalog's state at one
//! number, and the next answer says what changed since.

use serde::{Deserialize, Serialize};

use super::{CatalogEntry, MatchRequest, Matches, Refusal};
use crate::codec::record;

/// The most posts whose entries are asked for at once: those of one chart.
pub const MAX_ASKED_ENTRIES: usize = 1_000;
/// Bytes of entries in an answer, and at most one entry more; the rest is asked for again.
pub const MAX_ENTRIES_BYTES: usize = 1 << 20;
/// The most ids in a question whether they are known: 6.5 ms in SQLite, and 512 KiB with the longest ids.
pub const MAX_ASKED_IDS: usize = 2_048;
/// The most sets that a board keeps up to date: an answer has a bit for each.
pub const MAX_KEPT_SETS: usize = 32;

/// A position in the catalog's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogPosition {
    /// The number of the last change; 0 before the first.
    pub number: u64,
    /// Random, made with the change: a catalog that was restored from a backup gives the same number to another
    /// change.
    pub mark: u64,
}

/// How large a catalog is, keys included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogSize {
    pub posts: u64,
    pub bytes: u64,
    /// Posts whose entries say more than whether they are hidden.
    pub described: u64,
}

/// A part of the posts of a catalog.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PostSet {
    /// Those that are hidden.
    Hidden,
    /// Those with an entry.
    Known,
}

/// Board → catalog: what changed, and what the board needs besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogQuestion {
    /// The position of the board's copy; `None` where it has none.
    pub since: Option<CatalogPosition>,
    /// Sets that it has: the answer says for each changed post whether it belongs to them.
    pub kept: Vec<PostSet>,
    /// Sets that it wants.
    pub sets: Vec<PostSet>,
    /// Posts whose entries it wants, at most [`MAX_ASKED_ENTRIES`].
    pub entries: Vec<String>,
    /// Posts of which it wants to know whether there is an entry, at most [`MAX_ASKED_IDS`].
    pub known: Vec<String>,
    /// Filters whose posts it wants, by their keys under the seed.
    pub matching: Vec<MatchRequest>,
    pub seed: [u8; 16],
}

/// The catalog's answer, all of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogNews {
    pub position: CatalogPosition,
    pub size: CatalogSize,
    pub hidden_posts: u64,
    /// Rows that could not be read so far.
    pub damaged_rows: u64,
    /// Posts that changed since; `None` where they are too many or not known any more: forget everything.
    pub changes: Option<Vec<PostChange>>,
    /// Of [`CatalogQuestion::sets`], in their order: keys of 16 bytes; `None` where there are too many.
    pub sets: Vec<Option<Vec<u8>>>,
    /// Of the first of [`CatalogQuestion::entries`], in their order, as many as fit.
    pub entries: Vec<Option<CatalogEntry>>,
    /// Of [`CatalogQuestion::known`], in their order.
    pub known: Vec<bool>,
    /// Of [`CatalogQuestion::matching`], in their order: [`Refusal::FilterTooWide`] where too many match,
    /// [`Refusal::Busy`] while the catalog builds its index.
    pub matching: Vec<Result<Matches, Refusal>>,
    /// Entries of the index that were read for `matching`, which the readers who asked are charged for.
    pub postings_read: u64,
}

/// A post that changed, and how it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostChange {
    pub post_id: String,
    /// A bit for each of [`CatalogQuestion::kept`], the first one lowest: whether the post is in that set.
    pub is_of: u32,
}

record!(CatalogQuestion v 1);
