//! Which posts of a catalog a filter matches: a part of [`super::CatalogQuestion`].

use serde::{Deserialize, Serialize};

use crate::filter::{Filter, Keys, Members};

/// Board → keeper of its catalog: which posts does this filter match?
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MatchRequest {
    pub filter: Filter,
    /// [`crate::filter::hour_of`] the board's now; 0 for a filter without `published`, whose answer does not
    /// depend on the time.
    pub hour: u64,
}

/// The posts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matches {
    /// The keys are of all posts that are *not* matched: see [`Members::AllBut`].
    pub all_but: bool,
    /// [`Keys::to_bytes`], under the question's seed.
    pub keys: Vec<u8>,
}

impl Matches {
    /// In the sent form.
    pub fn of(members: &Members) -> Self {
        let (all_but, keys) = match members {
            Members::AllBut(keys) => (true, keys),
            Members::Only(keys) => (false, keys),
        };
        Matches {
            all_but,
            keys: keys.to_bytes(),
        }
    }

    /// `None` where the keys are malformed or out of order.
    pub fn members(&self) -> Option<Members> {
        let keys = Keys::of_bytes(&self.keys)?;
        Some(match self.all_but {
            true => Members::AllBut(keys),
            false => Members::Only(keys),
        })
    }
}
