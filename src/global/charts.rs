//! Answering: leaderboards, one post's numbers, the regions.

use std::collections::BTreeMap;

use super::ladder::read_pane;
use super::state::Global;
use crate::leaderboard::{Leaderboard, MAX_K, Place};
use crate::storage::{Storage, StorageError};
use crate::summary::{Bounds, Row, Summary};
use crate::topology::GLOBAL_SCOPE;
use crate::window::{self, DAY_MS, Kind, Span, Timeframe, Unit, Window, steps, tiles};
use crate::wire::{
    CatalogEntry, ChartRequest, Count, PostReport, PostRequest, Refusal, RegionStatus,
    WindowRequest,
};

/// Points of a post's series: a day in quarters of an hour, a week in twos of hours.
const SERIES_POINTS: usize = 100;

/// Settings that change what a chart shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChartRules {
    /// Only posts that the catalog knows are visible.
    pub require_known_posts: bool,
}

/// The plays of a window in one summary.
struct Merged {
    summary: Summary,
    damaged: bool,
}

impl Global {
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
        let window = self.window(&request.scope, request.window, now_ms)?;
        let k = (request.k_class as usize).min(MAX_K);
        let merged = self.merged(storage, &request.scope, window.span, now_ms)?;
        let mut damaged = merged.damaged;
        let mut visible = Visible::new(self, storage, rules);
        let (rows, unlisted_max) = visible.top(&merged.summary, k)?;
        let mut previous_ranks = BTreeMap::new();
        if let Some(before) = window::previous(&window, now_ms) {
            let before = self.merged(storage, &request.scope, before.span, now_ms)?;
            damaged |= before.damaged;
            let (before_rows, _) = visible.top(&before.summary, MAX_K)?;
            for (row, rank) in before_rows.iter().zip(1..) {
                previous_ranks.insert(row.id.to_owned(), rank);
            }
        }
        let mut places = Vec::with_capacity(rows.len());
        for row in rows {
            let entry = self.catalog.get(storage, row.id).map_err(refused)?;
            places.push(Place {
                post_id: row.id.to_owned(),
                view_count: row.estimate(),
                view_count_min: row.lower,
                view_count_max: row.upper,
                previous_rank: previous_ranks.get(row.id).copied(),
                card: entry.unwrap_or_default().card,
            });
        }
        Ok(Leaderboard {
            span: window.named(),
            as_of_ms: now_ms,
            total_views: merged.summary.total(),
            unlisted_max,
            incomplete: damaged,
            places,
        })
    }

    /// One post's numbers in a scope and window, over time and by region.
    ///
    /// # Errors
    /// [`Refusal`]; [`Refusal::NotFound`] for a post that is in no summary and not in the catalog.
    pub fn post(
        &self,
        storage: &impl Storage,
        request: &PostRequest,
        rules: ChartRules,
        now_ms: u64,
    ) -> Result<PostReport, Refusal> {
        let post_id = request.post_id.as_str();
        let window = self.window(&request.scope, request.window, now_ms)?;
        let merged = self.merged(storage, &request.scope, window.span, now_ms)?;
        let entry = self.catalog.get(storage, post_id).map_err(refused)?;
        if entry.is_none() && !self.was_seen(storage, &merged.summary, post_id, now_ms)? {
            return Err(Refusal::NotFound);
        }
        let (rows, _) = Visible::new(self, storage, rules).top(&merged.summary, MAX_K)?;
        let rank = rows.iter().zip(1..).find(|(row, _)| row.id == post_id);
        let mut damaged = merged.damaged;
        let mut series = Vec::new();
        for step in steps(window.span, now_ms, SERIES_POINTS) {
            let step_bounds = self.bounds(storage, &request.scope, step, post_id, now_ms)?;
            damaged |= step_bounds.1;
            series.push((step, count(step_bounds.0)));
        }
        let mut regions = Vec::new();
        for region in &self.table.regions {
            let (bounds, _) =
                self.bounds(storage, &region.region_id, window.span, post_id, now_ms)?;
            regions.push((region.region_id.clone(), count(bounds)));
        }
        regions.sort_by(|a, b| b.1.view_count.cmp(&a.1.view_count).then(a.0.cmp(&b.0)));
        Ok(PostReport {
            entry: entry.unwrap_or_else(|| CatalogEntry {
                post_id: post_id.to_owned(),
                ..CatalogEntry::default()
            }),
            span: window.named(),
            count: count(merged.summary.bounds(post_id)),
            rank: rank.map(|(_, rank)| rank),
            series,
            regions,
            incomplete: damaged,
        })
    }

    /// Every region with what was heard of it.
    ///
    /// # Errors
    /// [`Refusal`] when the disk refuses.
    pub fn regions(
        &self,
        storage: &impl Storage,
        now_ms: u64,
    ) -> Result<Vec<RegionStatus>, Refusal> {
        let day = window_of(WindowRequest::Sliding { length_ms: DAY_MS }, now_ms)?;
        let mut regions = Vec::with_capacity(self.table.regions.len());
        for region in &self.table.regions {
            let region_id = &region.region_id;
            let merged = self.merged(storage, region_id, day.span, now_ms)?;
            let of_region = self
                .live
                .provisional
                .iter()
                .filter(|(shard, copies)| shard.0 == *region_id && !copies.panes.is_empty());
            let ages = of_region.map(|(_, copies)| now_ms.saturating_sub(copies.received_ms));
            regions.push(RegionStatus {
                region_id: region_id.clone(),
                region_name: region.region_name.clone(),
                shards: region.shards_wanted(),
                hint: region.hint.clone(),
                views_24h: merged.summary.total(),
                push_age_ms: ages.max(),
            });
        }
        Ok(regions)
    }

    fn window(&self, scope: &str, request: WindowRequest, now_ms: u64) -> Result<Window, Refusal> {
        if scope != GLOBAL_SCOPE && self.table.find(scope).is_none() {
            return Err(Refusal::UnknownRegion);
        }
        window_of(request, now_ms)
    }

    /// Everything that was played in a scope and span, merged in one pass.
    fn merged(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        now_ms: u64,
    ) -> Result<Merged, Refusal> {
        let seed = self.seed();
        let mut stored = Vec::new();
        let mut damaged = false;
        for tile in tiles(span, now_ms) {
            let pane = read_pane(storage, scope, tile, seed).map_err(refused)?;
            damaged |= pane.damaged;
            stored.extend(pane.summaries);
        }
        let live = self.live.merged(scope, seed, now_ms);
        let live = live
            .iter()
            .filter(|(key, _)| span.contains(key.span()))
            .map(|(_, summary)| summary);
        let summary = Summary::merge_all(stored.iter().chain(live), seed);
        Ok(Merged { summary, damaged })
    }

    /// The bounds of one post in a span, as the sum of its panes'.
    fn bounds(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        post_id: &str,
        now_ms: u64,
    ) -> Result<(Bounds, bool), Refusal> {
        let merged = self.merged(storage, scope, span, now_ms)?;
        Ok((merged.summary.bounds(post_id), merged.damaged))
    }

    /// Whether any summary that charts are made of lists the post.
    fn was_seen(
        &self,
        storage: &impl Storage,
        window: &Summary,
        post_id: &str,
        now_ms: u64,
    ) -> Result<bool, Refusal> {
        if window.bounds(post_id).lower > 0 {
            return Ok(true);
        }
        let ever = self.merged(storage, GLOBAL_SCOPE, Span::ALL, now_ms)?;
        Ok(ever.summary.rows().any(|row| row.id == post_id))
    }
}

/// Which posts may be listed.
struct Visible<'a, S> {
    global: &'a Global,
    storage: &'a S,
    rules: ChartRules,
}

impl<'a, S: Storage> Visible<'a, S> {
    fn new(global: &'a Global, storage: &'a S, rules: ChartRules) -> Self {
        Visible {
            global,
            storage,
            rules,
        }
    }

    fn is_visible(&mut self, post_id: &str) -> Result<bool, Refusal> {
        let catalog = &self.global.catalog;
        if catalog.is_hidden(post_id) {
            return Ok(false);
        }
        Ok(!self.rules.require_known_posts
            || catalog
                .get(self.storage, post_id)
                .map_err(refused)?
                .is_some())
    }

    /// The first k visible rows, and a bound for every visible post that is not among them.
    fn top<'s>(&mut self, summary: &'s Summary, k: usize) -> Result<(Vec<Row<'s>>, u64), Refusal> {
        let mut listed = Vec::with_capacity(k.min(summary.len()));
        let mut unlisted_max = summary.unlisted_max();
        let mut asked = (2 * k).max(100);
        let mut looked_at = 0;
        // Mostly nothing is hidden, and the first slice is enough.
        while listed.len() < k && looked_at < summary.len() {
            let rows = summary.top(asked);
            for row in rows.get(looked_at..).unwrap_or_default() {
                if listed.len() < k && self.is_visible(row.id)? {
                    listed.push(*row);
                }
            }
            looked_at = rows.len();
            asked *= 8;
        }
        let last = listed.last().copied();
        for row in summary.rows() {
            let comes_after = last.is_none_or(|last| {
                (std::cmp::Reverse(last.estimate()), last.id)
                    < (std::cmp::Reverse(row.estimate()), row.id)
            });
            if comes_after && row.upper > unlisted_max && self.is_visible(row.id)? {
                unlisted_max = row.upper;
            }
        }
        Ok((listed, unlisted_max))
    }
}

fn window_of(request: WindowRequest, now_ms: u64) -> Result<Window, Refusal> {
    let timeframe = |length_ms| Timeframe::Length {
        ms: length_ms,
        unit: Unit::Minutes,
    };
    Ok(match request {
        WindowRequest::All => window::window(Kind::Sliding, Timeframe::All, now_ms),
        WindowRequest::Sliding { length_ms } => window::sliding(timeframe(length_ms), now_ms),
        WindowRequest::Tumbling { length_ms } => window::tumbling(timeframe(length_ms), now_ms),
        WindowRequest::Between { from_ms, to_ms } => window::between(from_ms, to_ms, now_ms)
            .map_err(|error| Refusal::Invalid(error.to_string()))?,
    })
}

fn count(bounds: Bounds) -> Count {
    Count {
        view_count: bounds.estimate(),
        view_count_min: bounds.lower,
        view_count_max: bounds.upper,
    }
}

fn refused(error: StorageError) -> Refusal {
    Refusal::Storage(error.0)
}
