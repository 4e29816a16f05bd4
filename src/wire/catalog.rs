//! What boards and the catalog say to each other.
//!
//! The catalog numbers its changes. A board says up to where it knows them, and what it wants besides;
//! the answer is all of one moment, and says which one. So whatever a board keeps is as the catalog was at
//! one number, and it is told what changed since.

use serde::{Deserialize, Serialize};

use super::{CatalogEntry, MatchRequest, Matches, Refusal};
use crate::codec::{Record, RecordKind};

/// Posts whose entries are asked for at once: those of one chart.
pub const MAX_ASKED_ENTRIES: usize = 1_000;
/// Bytes of texts of entries in an answer, and one more: what is left out is asked for again.
pub const MAX_ENTRIES_BYTES: usize = 1 << 20;
/// Ids of which is asked at once whether they are known: 6.5 ms in SQLite, and 512 KiB of the longest.
pub const MAX_ASKED_IDS: usize = 2_048;
/// Sets that a board is kept up to date about with one answer: their places are bits of a number.
pub const MAX_KEPT_SETS: usize = 32;

/// Where the catalog's log stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogPosition {
    /// Of the last change; 0 where there was none.
    pub number: u64,
    /// Random, of this change: where a catalog was set back, the same number comes again, of another
    /// change.
    pub mark: u64,
}

/// How large a catalog is, keys included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogSize {
    pub posts: u64,
    pub bytes: u64,
    /// Posts of which something is said: more than that they are hidden, or no longer.
    pub described: u64,
}

/// A part of the posts of a catalog.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PostSet {
    /// Those that are hidden.
    Hidden,
    /// All of which there is an entry.
    Known,
}

/// Board → catalog: what is so?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogQuestion {
    /// Up to where the board knows the changes; none where it knows nothing.
    pub since: Option<CatalogPosition>,
    /// Sets that it has: whether each changed post is of them is told.
    pub kept: Vec<PostSet>,
    /// Sets that it wants.
    pub sets: Vec<PostSet>,
    /// Posts whose entries it wants, at most [`MAX_ASKED_ENTRIES`].
    pub entries: Vec<String>,
    /// Posts of which it wants to know whether there is an entry, at most [`MAX_ASKED_IDS`].
    pub known: Vec<String>,
    /// Filters of which it wants the posts, by the keys that they have under the seed.
    pub matching: Vec<MatchRequest>,
    pub seed: [u8; 16],
}

/// Catalog → board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogAnswer(pub Result<CatalogNews, Refusal>);

/// What is so, all at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogNews {
    pub position: CatalogPosition,
    pub size: CatalogSize,
    pub hidden_posts: u64,
    /// Rows that were met and cannot be read.
    pub damaged_rows: u64,
    /// Posts that changed since; `None` where these are too many, or nobody knows: forget everything.
    pub changes: Option<Vec<PostChange>>,
    /// Of [`CatalogQuestion::sets`], in their order: keys of 16 bytes; `None` where there are too many.
    pub sets: Vec<Option<Vec<u8>>>,
    /// Of the first of [`CatalogQuestion::entries`], in their order: as many as fit.
    pub entries: Vec<Option<CatalogEntry>>,
    /// Of [`CatalogQuestion::known`], in their order.
    pub known: Vec<bool>,
    /// Of [`CatalogQuestion::matching`], in their order: [`Refusal::FilterTooWide`] where too many match,
    /// [`Refusal::Busy`] while the catalog does not know yet.
    pub matching: Vec<Result<Matches, Refusal>>,
    /// Posts of terms that were read for these: who asked pays for it.
    pub postings_read: u64,
}

/// A post that changed, and how it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostChange {
    pub post_id: String,
    /// One bit for each of [`CatalogQuestion::kept`], the first one lowest: whether it is of that set.
    pub is_of: u32,
}

impl Record for CatalogQuestion {
    const KIND: RecordKind = RecordKind::CatalogQuestion;
    const VERSION: u8 = 1;
}

impl Record for CatalogAnswer {
    const KIND: RecordKind = RecordKind::CatalogAnswer;
    const VERSION: u8 = 1;
}
