//! One post's page: its numbers in a scope and window, over time and by region.
//!
//! # Cost
//! Panes of the series are decoded one by one, those of each region only where no run has them. Over
//! 24h that is 15 to 25 ms, over 400 days 0.3 s, and seconds the first time, in ten regions that
//! nobody asked about for long (`npm run bench -- time`). So a page is made a scope at a time, and
//! others have their turns in between.

use super::ChartRules;
use super::merged::{Reading, refused};
use super::ranking::count;
use super::state::Global;
use crate::leaderboard::{Count, MAX_K};
use crate::storage::Storage;
use crate::topology::GLOBAL_SCOPE;
use crate::window::{Span, Window, steps};
use crate::wire::{CatalogEntry, PostReport, PostRequest, Refusal};

/// Points of a post's series: a day in quarters of an hour, a week in twos of hours.
const SERIES_POINTS: usize = 100;

/// A page in the making.
pub struct PostPage {
    request: PostRequest,
    window: Window,
    now_ms: u64,
    report: Option<PostReport>,
    /// Regions that are still to be looked at.
    regions: Vec<String>,
}

impl PostPage {
    /// # Errors
    /// [`Refusal`] for an unknown region and a window that cannot be answered; [`Refusal::NotFound`]
    /// for a hidden post, where it is not asked for too.
    pub fn begin(global: &Global, request: PostRequest, now_ms: u64) -> Result<Self, Refusal> {
        if global.catalog.is_hidden(&request.post_id) && !request.hidden_too {
            return Err(Refusal::NotFound);
        }
        let window = global.window(&request.scope, request.window, now_ms)?;
        let regions = global.table.regions.iter();
        let regions = regions.map(|region| region.region_id.clone()).collect();
        Ok(PostPage {
            request,
            window,
            now_ms,
            report: None,
            regions,
        })
    }

    /// Looks at one more scope. The page, when it was the last.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for a post that nobody played and that is not in the
    /// catalog, [`Refusal::NotCounted`] where somebody may have; when the disk refuses.
    pub fn step(
        &mut self,
        global: &Global,
        storage: &impl Storage,
        rules: ChartRules,
    ) -> Result<Option<PostReport>, Refusal> {
        let Some(report) = &mut self.report else {
            self.report = Some(self.in_scope(global, storage, rules)?);
            return Ok(None);
        };
        if let Some(region_id) = self.regions.pop() {
            let asked = (&self.request.post_id[..], Reading::AsRuns);
            let span = self.window.span;
            let tally = global.tally(storage, &region_id, span, self.now_ms, asked)?;
            report.incomplete |= tally.incomplete;
            report.regions.push((region_id, count(tally.bounds)));
        }
        if !self.regions.is_empty() {
            return Ok(None);
        }
        let by_views = |a: &(String, Count), b: &(String, Count)| {
            b.1.view_count.cmp(&a.1.view_count).then(a.0.cmp(&b.0))
        };
        report.regions.sort_by(by_views);
        Ok(self.report.take())
    }

    /// Everything but the regions.
    fn in_scope(
        &self,
        global: &Global,
        storage: &impl Storage,
        rules: ChartRules,
    ) -> Result<PostReport, Refusal> {
        let PostRequest { post_id, scope, .. } = &self.request;
        let entry = global.catalog.get(storage, post_id).map_err(refused)?;
        let merged = global.merged(storage, scope, self.window.span, self.now_ms)?;
        let bounds = merged.summary.bounds(post_id);
        if entry.is_none() && bounds.lower == 0 && !self.was_seen(global, storage)? {
            return Err(match bounds.upper {
                0 => Refusal::NotFound,
                view_count_max => Refusal::NotCounted { view_count_max },
            });
        }
        let mut incomplete = merged.incomplete;
        let ranking = global.by_views(storage, merged, MAX_K, rules)?;
        let ranked = ranking.rows.iter().zip(1..);
        let rank = ranked
            .filter(|(row, _)| row.post_id == *post_id)
            .map(|(_, rank)| rank)
            .next();
        let mut series = Vec::new();
        for step in steps(self.window.span, self.now_ms, SERIES_POINTS) {
            let asked = (&post_id[..], Reading::Apart);
            let tally = global.tally(storage, scope, step, self.now_ms, asked)?;
            incomplete |= tally.incomplete;
            series.push((step, count(tally.bounds)));
        }
        Ok(PostReport {
            entry: CatalogEntry {
                post_id: post_id.clone(),
                hidden: global.catalog.is_hidden(post_id),
                ..entry.unwrap_or_default()
            },
            span: self.window.named(),
            count: count(bounds),
            rank,
            series,
            regions: Vec::new(),
            incomplete,
        })
    }

    /// Whether a summary of all time lists the post, in whatever region: then it has a page, also
    /// where nobody played it.
    fn was_seen(&self, global: &Global, storage: &impl Storage) -> Result<bool, Refusal> {
        let asked = (&self.request.post_id[..], Reading::AsRuns);
        let ever = global.tally(storage, GLOBAL_SCOPE, Span::ALL, self.now_ms, asked)?;
        // Whoever has a counter was recorded since it has it.
        Ok(ever.bounds.lower > 0)
    }
}

impl Global {
    /// A post's page, in one go.
    ///
    /// # Errors
    /// As [`PostPage::begin`] and [`PostPage::step`].
    pub fn post(
        &self,
        storage: &impl Storage,
        request: &PostRequest,
        rules: ChartRules,
        now_ms: u64,
    ) -> Result<PostReport, Refusal> {
        let mut page = PostPage::begin(self, request.clone(), now_ms)?;
        loop {
            if let Some(report) = page.step(self, storage, rules)? {
                return Ok(report);
            }
        }
    }
}
