//! A chart: the leaderboard of a scope and window, with the rank that each place had before.
//!
//! Charts are made of ladders, which change with a flush, and of what is merged of live panes, which
//! serves for [`LIVE_MAX_AGE_MS`]. Until either changes, another shard that asks for the same chart gets
//! the one that is there: with ten regions whose readers look at the same charts, a tenth of the work.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::LIVE_MAX_AGE_MS;
use super::cache::Key;
use super::ranking::Ranked;
use super::state::Global;
use super::window_plays::refused;
use crate::leaderboard::{Leaderboard, MAX_K, Place};
use crate::settings::VisiblePosts;
use crate::storage::Storage;
use crate::topology::GLOBAL_SCOPE;
use crate::window::{self, Span};
use crate::wire::{ChartRequest, Refusal, Sort};

/// Settings that change what a chart shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChartRules {
    pub visible: VisiblePosts,
}

/// A chart that was given.
struct KeptChart {
    rules: ChartRules,
    /// When the oldest live panes that it is made of were merged.
    merged_ms: u64,
    leaderboard: Leaderboard,
}

impl KeptChart {
    /// Whether it would come out the same: of the same window, from the same live panes.
    fn is_same(&self, rules: ChartRules, span: Span, now_ms: u64) -> bool {
        let age_ms = now_ms.checked_sub(self.merged_ms);
        self.rules == rules
            && self.leaderboard.span == span
            && age_ms.is_some_and(|age_ms| age_ms < LIVE_MAX_AGE_MS)
    }
}

impl Global {
    /// The leaderboard, if it was asked for a moment ago and would come out the same.
    pub fn known_chart(
        &self,
        request: &ChartRequest,
        rules: ChartRules,
        now_ms: u64,
    ) -> Option<Leaderboard> {
        let window = self.window(&request.scope, request.window, now_ms).ok()?;
        let known = self.cache.get::<KeptChart>(&Key::Chart(request.clone()))?;
        let is_same = known.is_same(rules, window.named(), now_ms);
        is_same.then(|| known.leaderboard.clone())
    }

    /// The leaderboard of a scope and window.
    ///
    /// # Errors
    /// [`Refusal`] for an unknown region, a window that cannot be answered, or a failing disk.
    pub fn chart(
        &self,
        storage: &impl Storage,
        request: &ChartRequest,
        rules: ChartRules,
        now_ms: u64,
    ) -> Result<Leaderboard, Refusal> {
        if let Some(known) = self.known_chart(request, rules, now_ms) {
            return Ok(known);
        }
        self.fit_cache();
        let key = self.key_of(&request.scope);
        if request.sort == Sort::Distinctive {
            self.live.align(self.seed(), now_ms);
        }
        let leaderboard = self.new_chart(storage, request, rules, now_ms)?;
        let mut merged_ms = self.live.merged_ms(&key, now_ms);
        if request.sort == Sort::Distinctive {
            merged_ms = merged_ms.min(self.live.merged_ms(GLOBAL_SCOPE, now_ms));
        }
        let kept = KeptChart {
            rules,
            merged_ms,
            leaderboard: leaderboard.clone(),
        };
        let bytes = leaderboard.heap_bytes() + 2 * request.filter.heap_bytes();
        (self.cache).put(Key::Chart(request.clone()), Rc::new(kept), bytes);
        Ok(leaderboard)
    }

    fn new_chart(
        &self,
        storage: &impl Storage,
        request: &ChartRequest,
        rules: ChartRules,
        now_ms: u64,
    ) -> Result<Leaderboard, Refusal> {
        let window = self.window(&request.scope, request.window, now_ms)?;
        // Of the posts that match today, also in the window before.
        let members = self.members(storage, &request.filter, now_ms)?;
        let mut asked = Ranked {
            scope: &request.scope,
            members: members.as_deref(),
            window,
            sort: request.sort,
            k: (request.k_class as usize).min(MAX_K),
        };
        let ranking = self.ranking(storage, &asked, rules, now_ms)?;
        let mut incomplete = ranking.incomplete;
        let mut previous_ranks: BTreeMap<String, u32> = BTreeMap::new();
        if let Some(before) = window::previous(&window, now_ms, self.days()) {
            (asked.window, asked.k) = (before, MAX_K);
            // A window before without one before it has no risers.
            if asked.sort != Sort::Rising
                || window::previous(&before, now_ms, self.days()).is_some()
            {
                let before = self.ranking(storage, &asked, rules, now_ms)?;
                incomplete |= before.incomplete;
                previous_ranks.extend(before.rows.into_iter().map(|row| row.post_id).zip(1..));
            }
        }
        let mut places = Vec::with_capacity(ranking.rows.len());
        for row in ranking.rows {
            let entry = self.catalog.get(storage, &row.post_id).map_err(refused)?;
            places.push(Place {
                previous_rank: previous_ranks.get(&row.post_id).copied(),
                post_id: row.post_id,
                count: row.count,
                compared: row.compared,
                card: entry.unwrap_or_default().card,
            });
        }
        Ok(Leaderboard {
            span: window.named(),
            as_of_ms: now_ms,
            total_views: ranking.total_views,
            unlisted_max: ranking.unlisted_max,
            compared_with: ranking.compared_with,
            incomplete,
            exact: ranking.exact && !incomplete,
            places,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_given_again_as_long_as_it_would_come_out_the_same() {
        let (rules, span) = (ChartRules::default(), Span::new(1, 2));
        let kept = KeptChart {
            rules,
            merged_ms: 5_000,
            leaderboard: Leaderboard {
                span,
                as_of_ms: 5_000,
                total_views: 3,
                unlisted_max: 0,
                compared_with: None,
                incomplete: false,
                exact: true,
                places: Vec::new(),
            },
        };
        assert!(kept.is_same(rules, span, 5_999));
        assert!(
            !kept.is_same(rules, span, 6_000),
            "live panes are merged anew"
        );
        assert!(!kept.is_same(rules, span, 4_999), "the clock went back");
        assert!(
            !kept.is_same(rules, Span::new(1, 3), 5_500),
            "another window"
        );
        let stricter = ChartRules {
            visible: crate::settings::VisiblePosts::Known,
        };
        assert!(!kept.is_same(stricter, span, 5_500));
    }
}
