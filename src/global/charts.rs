//! Answering: leaderboards.

use std::collections::BTreeMap;

use super::merged::refused;
use super::ranking::Ranked;
use super::state::Global;
use crate::leaderboard::{Leaderboard, MAX_K, Place};
use crate::settings::VisiblePosts;
use crate::storage::Storage;
use crate::topology::GLOBAL_SCOPE;
use crate::window;
use crate::wire::{ChartRequest, Refusal, Sort};

/// Settings that change what a chart shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChartRules {
    pub visible: VisiblePosts,
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
        let recent = self.recent.borrow();
        let known = recent.get(request, rules, window.named(), now_ms);
        known.cloned()
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
        self.shrink_caches();
        let key = self.key_of(&request.scope);
        if request.sort == Sort::Distinctive {
            self.live.align(self.seed(), now_ms);
        }
        let leaderboard = self.new_chart(storage, request, rules, now_ms)?;
        let mut merged_ms = self.live.merged_ms(&key, now_ms);
        if request.sort == Sort::Distinctive {
            merged_ms = merged_ms.min(self.live.merged_ms(GLOBAL_SCOPE, now_ms));
        }
        let mut recent = self.recent.borrow_mut();
        recent.put(request, rules, merged_ms, &leaderboard);
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
        let mut asked = Ranked {
            scope: &request.scope,
            window,
            sort: request.sort,
            k: (request.k_class as usize).min(MAX_K),
        };
        let ranking = self.ranking(storage, &asked, rules, now_ms)?;
        let mut incomplete = ranking.incomplete;
        let mut previous_ranks: BTreeMap<String, u32> = BTreeMap::new();
        if let Some(before) = window::previous(&window, now_ms) {
            (asked.window, asked.k) = (before, MAX_K);
            // A window before without one before it has no risers.
            if asked.sort != Sort::Rising || window::previous(&before, now_ms).is_some() {
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
            places,
        })
    }
}
