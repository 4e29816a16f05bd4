//! Which posts of a catalog a filter matches.

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::filter::{Filter, Keys, Members};

/// What a catalog is at a moment: the number of its last change, and a random mark of that change, as a
/// catalog that was restored may give a number again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CatalogMark {
    pub number: u64,
    pub mark: u64,
}

/// Board → keeper of its catalog: which posts does this filter match?
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MatchRequest {
    pub filter: Filter,
    /// [`crate::filter::hour_of`] the board's now; 0 where the filter says nothing of when posts were
    /// published, so that its answer is the same for ever.
    pub hour: u64,
}

/// The posts, as the catalog was at that mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matches<'a> {
    pub at: CatalogMark,
    /// The keys are of all posts that are *not* matched: see [`Members::AllBut`].
    pub all_but: bool,
    /// [`Keys::to_bytes`], under the installation's seed.
    #[serde(borrow)]
    pub keys: &'a [u8],
}

/// Keeper → board. [`Refusal::FilterTooWide`] where too many match, [`Refusal::Busy`] while the catalog
/// does not know yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchReply<'a>(#[serde(borrow)] pub Result<Matches<'a>, Refusal>);

impl Matches<'_> {
    /// `None` where the keys contradict what they should be.
    pub fn members(&self) -> Option<Members> {
        let keys = Keys::of_bytes(self.keys)?;
        Some(match self.all_but {
            true => Members::AllBut(keys),
            false => Members::Only(keys),
        })
    }
}
