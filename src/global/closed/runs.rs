//! How often and how high posts were on the published charts of a scope and kind.
//!
//! Nothing of it is kept beside the charts: one pass through them, oldest first, tells it. The first chart that
//! lists a post carries what it had on charts since deleted.

use std::collections::BTreeMap;

use super::row;
use crate::leaderboard::Run;
use crate::storage::{Storage, StorageError};
use crate::window::{Period, Zone};

/// A post on the charts so far.
#[derive(Clone, Copy)]
struct Past {
    run: Run,
    last: Period,
}

/// What the charts before one say of its posts.
pub struct Before {
    period: Period,
    /// The period that ended where this one began.
    previous: Period,
    posts: BTreeMap<String, Option<Past>>,
    /// The keys of rows that cannot be read.
    pub damaged: Vec<Vec<u8>>,
}

/// Reads the charts before a period.
///
/// # Errors
/// When the disk refuses.
pub fn before<'a>(
    storage: &impl Storage,
    scope: &str,
    period: Period,
    ids: impl Iterator<Item = &'a str>,
    zone: &Zone,
) -> Result<Before, StorageError> {
    let mut before = Before {
        period,
        previous: period.last_before(zone),
        posts: ids.map(|id| (id.to_owned(), None)).collect(),
        damaged: Vec::new(),
    };
    row::scan(storage, scope, period.kind(), |at, key, value| {
        if at >= period {
            return false;
        }
        let previous = at.last_before(zone);
        let posts = &mut before.posts;
        let visited = row::visit(at, value, |post_id, run, _| {
            if let Some(past) = posts.get_mut(post_id) {
                *past = Some(Past {
                    run: past.map_or(run, |past| past.then(run, previous)),
                    last: at,
                });
            }
        });
        if visited.is_none() {
            before.damaged.push(key.to_vec());
        }
        true
    })?;
    Ok(before)
}

impl Past {
    /// With another chart, as it says itself, or as it is where charts before it were closed later.
    fn then(&self, run: Run, previous: Period) -> Run {
        let streak = if self.last == previous {
            self.run.streak + 1
        } else {
            1
        };
        Run {
            rank: run.rank,
            peak_rank: self.run.peak_rank.min(run.peak_rank),
            periods: run.periods.max(self.run.periods + 1),
            streak: run.streak.max(streak),
            debut: self.run.debut.min(run.debut),
        }
    }
}

impl Before {
    /// The run of a post that has this rank now, and the rank that it had just before.
    pub fn run(&self, post_id: &str, rank: u32) -> (Run, Option<u32>) {
        let first = Run {
            rank,
            peak_rank: rank,
            periods: 1,
            streak: 1,
            debut: self.period,
        };
        match self.posts.get(post_id).copied().flatten() {
            None => (first, None),
            Some(past) => {
                let was_there = past.last == self.previous;
                let previous_rank = was_there.then_some(past.run.rank);
                (past.then(first, self.previous), previous_rank)
            }
        }
    }
}
