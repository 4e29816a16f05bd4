//! The posts of a chart's filter, and what a summary knows of them.
//!
//! # The smaller side
//! A filter of a hundred posts asks the summary about each of them; one of a hundred thousand is asked
//! about each row of the summary. Either takes as many steps as the smaller side has: 65,536 at most.
//! Without a look at every member, one without a counter may have what any other without a counter may
//! have: with more members than counters, some member's cell is about as high as the highest anyway.

use std::rc::Rc;

use super::state::Global;
use crate::filter::{Filter, Members, hour_of};
use crate::summary::{IdKey, Known, Row, Summary};
use crate::wire::{MatchRequest, Refusal};

/// What a summary knows of the posts that a chart is of.
pub struct Found<'a> {
    /// Those that have a counter.
    pub rows: Vec<Row<'a>>,
    pub absent: Absent,
}

/// Posts of a chart that have no counter.
pub enum Absent {
    /// Each of them, and how much it may have.
    Each(Vec<(IdKey, u64)>),
    /// Any, and how much each may have.
    Any(u64),
}

impl Absent {
    /// No post without a counter has more.
    pub fn most(&self) -> u64 {
        match self {
            Absent::Each(each) => each.iter().map(|(_, most)| *most).max().unwrap_or(0),
            Absent::Any(most) => *most,
        }
    }
}

/// The posts of a chart in a summary, where `members` are all or those of a filter.
pub fn find<'a>(summary: &'a Summary, members: Option<&Members>) -> Found<'a> {
    let any = Absent::Any(summary.unlisted_max());
    let (rows, absent) = match members {
        None => (summary.rows().collect(), any),
        Some(Members::Only(keys)) if keys.len() <= summary.len() => {
            let (mut rows, mut absent) = (Vec::new(), Vec::new());
            for key in keys.iter() {
                match summary.by_key(key) {
                    Known::Row(row) => rows.push(row),
                    Known::AtMost(0) => {}
                    Known::AtMost(most) => absent.push((key, most)),
                }
            }
            (rows, Absent::Each(absent))
        }
        Some(members) => {
            let rows = summary.keyed_rows().filter(|(key, _)| members.has(*key));
            (rows.map(|(_, row)| row).collect(), any)
        }
    };
    Found { rows, absent }
}

/// The catalog is away, or is asked for the posts.
const NOT_TOLD: Refusal = Refusal::Busy { retry_after_s: 5 };

impl Global {
    /// The posts of a filter; `None` where it is of all.
    ///
    /// # Errors
    /// [`Refusal::FilterTooWide`]; [`Refusal::Busy`] where the catalog has not told them.
    pub(super) fn members(
        &self,
        filter: &Filter,
        now_ms: u64,
    ) -> Result<Option<Rc<Members>>, Refusal> {
        if filter.is_empty() {
            return Ok(None);
        }
        let request = request_of(filter, now_ms);
        let members = self.catalog.members(&request, self.table.seed);
        members.unwrap_or(Err(NOT_TOLD)).map(Some)
    }

    /// Whether [`Global::members`] needs no question to the catalog.
    pub(super) fn knows_members(&self, filter: &Filter, now_ms: u64) -> bool {
        let request = || request_of(filter, now_ms);
        filter.is_empty() || self.catalog.has_members(&request(), self.table.seed)
    }
}

/// Which posts a filter stands for now.
pub(super) fn request_of(filter: &Filter, now_ms: u64) -> MatchRequest {
    MatchRequest {
        filter: filter.clone(),
        hour: filter.published_hours.map_or(0, |_| hour_of(now_ms)),
    }
}
