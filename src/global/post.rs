//! One post's page: its numbers in a scope and window, over time and by region, all of one moment.
//!
//! # Steps
//! A page over a year reads thousands of panes, so it is made in steps, and others have their turns in
//! between. What is live of the post is read in the first step, of every scope at once: two numbers a
//! pane. Should what is stored change before the last step, or a region be made, the page is begun anew:
//! what it has read of regions is kept by then. At the [`MAX_BEGINNINGS`]th time it is made at once. Where open
//! panes take more memory than is kept merged, regions may be up to a second older than the world.
//!
//! # Cost
//! The rank is that of a chart: what it needs of the scope is merged a stretch a step, and kept. Besides, the post
//! is looked up in what is kept merged, or in panes as they are stored: nothing of them is decoded
//! (`cargo bench --bench reading` compares the two). What pages look into often is merged, of one region a
//! page: so the first page costs little where nobody has looked at regions, and the twentieth less.

use std::rc::Rc;

use super::cache::Key;
use super::pages::PageAnswer;
use super::ranking::count;
use super::state::{Global, Stamp};
use super::window_plays::{Ahead, EmptyBefore, LiveTally, LookUp};
use super::{ChartRules, LIVE_MAX_AGE_MS};
use crate::leaderboard::{Count, MAX_K};
use crate::storage::Storage;
use crate::summary::Bounds;
use crate::topology::GLOBAL_SCOPE;
use crate::window::{Span, Window, steps};
use crate::wire::{CatalogEntry, CatalogPosition, PostReport, PostRequest, Refusal};

/// Points of a post's series: a day in quarters of an hour, a week in twos of hours.
const SERIES_POINTS: usize = 100;
/// What is stored changes every 8 s, and a page takes a second: one that was begun so often was begun
/// while much is folded.
const MAX_BEGINNINGS: u32 = 3;

/// The catalog is away, and what it says of a post decides.
pub(super) const NOBODY_KNOWS: Refusal = Refusal::Busy { retry_after_s: 5 };

/// What somebody was told a moment ago.
struct CachedPage {
    made_ms: u64,
    catalog: Option<CatalogPosition>,
    answered: PageAnswer,
}

/// A page in the making.
pub struct PostPage {
    request: PostRequest,
    window: Window,
    now_ms: u64,
    /// What is merged first, the last one first.
    ahead: Vec<Ahead>,
    parts: Option<PageParts>,
    beginnings: u32,
}

/// What there is of a page, and what is still to be read.
struct PageParts {
    /// What was stored when it was begun.
    stamp: Stamp,
    /// What was live of the post then, in the scope that is asked for.
    live: LiveTally,
    report: PostReport,
    /// Points of the series that are still to be read, the last one first.
    points: Vec<Span>,
    absent: EmptyBefore,
    /// The regions that are still to be read, with what was live of the post then.
    regions: Vec<(String, LiveTally)>,
}

impl PostPage {
    /// # Errors
    /// [`Refusal`] for an unknown region and a window that cannot be answered; [`Refusal::NotFound`]
    /// for a hidden post, where it is not asked for too; [`Refusal::Busy`] where nobody knows whether it
    /// is hidden.
    pub fn begin(global: &Global, request: PostRequest, now_ms: u64) -> Result<Self, Refusal> {
        require_visible(global, &request)?;
        let window = global.window(&request.scope, request.window, now_ms)?;
        // Of one region at most: so that no page costs much more than others.
        let regions = global.table.regions.iter();
        let often =
            regions.map(|region| global.often_looked_into(&region.region_id, window, now_ms));
        let mut ahead = { often }.find(|it| !it.is_empty()).unwrap_or_default();
        ahead.extend(global.ahead(&request.scope, &[window], now_ms));
        Ok(PostPage {
            ahead,
            request,
            window,
            now_ms,
            parts: None,
            beginnings: 0,
        })
    }

    /// Reads one part more: first what is to be merged, then everything but series and regions, then a point or a
    /// region. The page, when it was the last.
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
        if let Some(ahead) = self.ahead.pop() {
            global.merge_ahead(storage, ahead)?;
            return Ok(None);
        }
        let parts = self.parts.take().filter(|it| it.stamp == global.stamp);
        let mut parts = match parts {
            Some(parts) => parts,
            None => {
                self.beginnings += 1;
                let parts = self.parts(global, storage, rules)?;
                if self.beginnings < MAX_BEGINNINGS {
                    self.parts = Some(parts);
                    return Ok(None);
                }
                parts
            }
        };
        loop {
            if !self.read_part(global, storage, &mut parts)? {
                return Ok(Some(parts.report));
            }
            if self.beginnings < MAX_BEGINNINGS {
                self.parts = Some(parts);
                return Ok(None);
            }
        }
    }

    /// Everything but the series and the regions, and what is live of these.
    fn parts(
        &self,
        global: &Global,
        storage: &impl Storage,
        rules: ChartRules,
    ) -> Result<PageParts, Refusal> {
        let PostRequest { post_id, scope, .. } = &self.request;
        require_visible(global, &self.request)?;
        global.require(scope)?;
        global.live.align(global.seed(), self.now_ms);
        let live = |scope| global.live_tally((scope, self.window.span, post_id), self.now_ms);
        let regions = global.table.regions.iter().map(|region| &region.region_id);
        let regions: Vec<(String, LiveTally)> = regions.map(|id| (id.clone(), live(id))).collect();
        let entry = global.catalog.entry(post_id);
        let is_told = entry.is_some();
        let entry = entry.and_then(|entry| (*entry).clone());
        // What strangers called a post shows nowhere: a link to its page would say it in our name.
        let shows_known_only = rules.only_known(&global.catalog) == Some(true);
        if is_told && entry.is_none() && shows_known_only && !self.request.hidden_too {
            return Err(Refusal::NotFound);
        }
        let merged = global.merged(storage, scope, self.window.span, self.now_ms)?;
        let bounds = merged.summary.bounds(post_id);
        if entry.is_none() && bounds.lower == 0 && !self.was_seen(global, storage)? {
            return Err(match bounds.upper {
                _ if !is_told => NOBODY_KNOWS,
                0 => Refusal::NotFound,
                view_count_max => Refusal::NotCounted { view_count_max },
            });
        }
        let ranking = global.by_views(&merged, MAX_K, rules);
        let ranked = ranking.rows.iter().zip(1..);
        let rank = ranked
            .filter(|(row, _)| row.post_id == *post_id)
            .map(|(_, rank)| rank)
            .next();
        let mut points = steps(self.window.span, self.now_ms, SERIES_POINTS, global.days());
        points.reverse();
        Ok(PageParts {
            stamp: global.stamp.clone(),
            live: live(scope),
            report: PostReport {
                entry: CatalogEntry {
                    post_id: post_id.clone(),
                    hidden: global.catalog.is_hidden(post_id) == Some(true),
                    ..entry.unwrap_or_default()
                },
                span: self.window.named(),
                count: count(bounds),
                rank,
                series: Vec::with_capacity(points.len()),
                regions: Vec::with_capacity(regions.len()),
                incomplete: ranking.incomplete || !is_told,
            },
            points,
            absent: EmptyBefore::default(),
            regions,
        })
    }

    /// Reads a point of the series, or a region. Says whether there are more.
    fn read_part(
        &self,
        global: &Global,
        storage: &impl Storage,
        parts: &mut PageParts,
    ) -> Result<bool, Refusal> {
        let report = &mut parts.report;
        if let Some(span) = parts.points.pop() {
            let scope = &self.request.scope;
            let asked = (&scope[..], span);
            let how = (LookUp::Once, &mut parts.absent);
            let (bounds, incomplete) = self.tally(global, storage, asked, how, &parts.live)?;
            report.incomplete |= incomplete;
            report.series.push((span, count(bounds)));
        } else if let Some((region_id, live)) = parts.regions.pop() {
            let asked = (&region_id[..], self.window.span);
            let how = (LookUp::Often, &mut EmptyBefore::default());
            let (bounds, incomplete) = self.tally(global, storage, asked, how, &live)?;
            report.incomplete |= incomplete;
            report.regions.push((region_id, count(bounds)));
        }
        if !(parts.points.is_empty() && parts.regions.is_empty()) {
            return Ok(true);
        }
        let by_views = |a: &(String, Count), b: &(String, Count)| {
            b.1.view_count.cmp(&a.1.view_count).then(a.0.cmp(&b.0))
        };
        report.regions.sort_by(by_views);
        Ok(false)
    }

    /// The post's bounds in a scope and span, and whether plays may be missing.
    fn tally(
        &self,
        global: &Global,
        storage: &impl Storage,
        (scope, span): (&str, Span),
        how: (LookUp, &mut EmptyBefore),
        live: &LiveTally,
    ) -> Result<(Bounds, bool), Refusal> {
        let asked = (scope, span, &self.request.post_id[..]);
        let stored = global.stored_tally(storage, asked, self.now_ms, how)?;
        let (bounds, damaged) = stored;
        Ok((live.within(span, bounds), damaged || live.incomplete))
    }

    /// Whether a summary of all time lists the post, in whatever region: then it has a page, also
    /// where nobody played it. A post of which only the past is sent has one when that is folded, a minute
    /// later at most.
    fn was_seen(&self, global: &Global, storage: &impl Storage) -> Result<bool, Refusal> {
        let asked = (GLOBAL_SCOPE, Span::ALL, &self.request.post_id[..]);
        let how = (LookUp::Once, &mut EmptyBefore::default());
        let (stored, _) = global.stored_tally(storage, asked, self.now_ms, how)?;
        // Whoever has a counter was recorded since it has it.
        Ok(stored.lower > 0 || global.is_live(asked.0, asked.2, self.now_ms))
    }
}

/// What a page holds, texts included.
fn held_bytes(report: &PostReport) -> usize {
    let regions = report.regions.iter();
    let names = regions.map(|(region_id, _)| size_of::<(String, Count)>() + region_id.len());
    let texts = report.entry.post_id.len() + report.entry.card.text_bytes();
    texts + size_of_val(&report.series[..]) + names.sum::<usize>() + size_of::<PostReport>()
}

fn require_visible(global: &Global, request: &PostRequest) -> Result<(), Refusal> {
    match global.catalog.is_hidden(&request.post_id) {
        _ if request.hidden_too => Ok(()),
        Some(false) => Ok(()),
        Some(true) => Err(Refusal::NotFound),
        None => Err(NOBODY_KNOWS),
    }
}

impl Global {
    /// What was answered a moment ago, where others would get the same.
    pub fn known_page(&self, request: &PostRequest, now_ms: u64) -> Option<PageAnswer> {
        let known = self.cache.get::<CachedPage>(&Key::Page(request.clone()))?;
        let age_ms = now_ms.checked_sub(known.made_ms)?;
        let is_same = known.catalog == self.catalog.position() && age_ms < LIVE_MAX_AGE_MS;
        is_same.then(|| known.answered.clone())
    }

    /// Keeps an answer that others would get too.
    pub fn keep_page(&self, request: &PostRequest, answered: &PageAnswer, made_ms: u64) {
        use Refusal::{NotCounted, NotFound};
        let bytes = match answered {
            Ok(report) => held_bytes(report),
            Err(NotFound | NotCounted { .. }) => 0,
            Err(_) => return,
        };
        let answered = answered.clone();
        let kept = Rc::new(CachedPage {
            made_ms,
            catalog: self.catalog.position(),
            answered,
        });
        self.cache.put(Key::Page(request.clone()), kept, bytes);
    }

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
