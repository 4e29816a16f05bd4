//! Published charts as they are shown: with the catalog's cards, and without posts that were hidden since.

use super::row;
use crate::global::Global;
use crate::global::post::NOBODY_KNOWS;
use crate::leaderboard::{
    ClosedChart, ClosedPlace, Count, Leaderboard, ListedChart, Place, Published,
};
use crate::storage::{Storage, StorageError, Table};
use crate::topology::GLOBAL_SCOPE;
use crate::window::{Period, PeriodKind};
use crate::wire::{ListPublished, MAX_LISTED_CHARTS, PublishedList, Refusal};

impl Global {
    /// The published chart of a period, or the latest of a kind.
    ///
    /// # Errors
    /// [`Refusal`] for an unknown region, a period that has none, a row that cannot be read, and when
    /// the disk refuses.
    pub(in crate::global) fn published(
        &self,
        storage: &impl Storage,
        scope: &str,
        asked: (PeriodKind, Option<Period>),
        now_ms: u64,
    ) -> Result<Leaderboard, Refusal> {
        self.require(scope)?;
        let key = self.key_of(scope);
        let (kind, period) = asked;
        let periods = row::periods(storage, &key, kind)?;
        self.work.looked_for();
        let near = |periods: &mut dyn Iterator<Item = Period>| {
            self.first_shown(storage, &key, periods)
                .map_err(Refusal::from)
        };
        let period = match period {
            Some(period) => period,
            None => near(&mut periods.iter().rev().copied())?
                .ok_or_else(|| self.not_published(None, now_ms))?,
        };
        let Some(value) = storage.get(Table::Charts, &row::key_of(&key, period))? else {
            return Err(self.not_published(Some(period), now_ms));
        };
        let Some(chart) = row::read(period, &value) else {
            self.damage.note(&row::key_of(&key, period));
            return Err(Refusal::Damaged(format!("the chart of {period}")));
        };
        if chart.is_empty() {
            return Err(self.not_published(Some(period), now_ms));
        }
        let at = periods.partition_point(|it| *it < period);
        let (earlier, later) = periods.split_at(at);
        let earlier = near(&mut earlier.iter().rev().copied())?;
        let later = near(&mut later.iter().copied().filter(|it| *it > period))?;
        let places = self.shown_places(&chart.places, chart.places.len());
        let published = Published {
            period,
            time_zone: chart.time_zone,
            earlier,
            later,
        };
        Ok(Leaderboard {
            span: chart.span,
            as_of_ms: chart.closed_ms,
            total_views: chart.total_views,
            unlisted_max: chart.unlisted_max,
            compared_with: None,
            published: Some(published),
            exact: chart.exact,
            incomplete: chart.incomplete,
            places,
        })
    }

    /// A list of published charts, latest first; of a post's charts with the place that it had.
    ///
    /// # Errors
    /// [`Refusal`] for an unknown region, and when the disk refuses. Rows that cannot be read are left out.
    pub fn list_published(
        &self,
        storage: &impl Storage,
        request: &ListPublished,
    ) -> Result<PublishedList, Refusal> {
        self.require(&request.scope)?;
        let key = self.key_of(&request.scope);
        let limit = (request.limit as usize).clamp(1, MAX_LISTED_CHARTS);
        let post_id = request.post_id.as_deref();
        match post_id.map(|post_id| self.catalog.is_hidden(post_id)) {
            None | Some(Some(false)) => {}
            Some(Some(true)) => return Ok(PublishedList::default()),
            Some(None) => return Err(NOBODY_KNOWS),
        }
        let mut periods = row::periods(storage, &key, request.kind)?;
        periods.retain(|period| request.before.is_none_or(|before| *period < before));
        let mut list = PublishedList::default();
        while let Some(period) = periods.pop() {
            let Some(chart) = self.shown_chart(storage, &key, period)? else {
                continue;
            };
            let listed: Vec<ClosedPlace> = match post_id {
                None => chart.places,
                Some(post_id) => {
                    let own = chart.places.into_iter();
                    own.filter(|place| place.post_id == post_id).collect()
                }
            };
            if post_id.is_some() && listed.is_empty() {
                continue;
            }
            if list.charts.len() == limit {
                list.next_before = list.charts.last().map(|chart| chart.period);
                break;
            }
            let places = self.shown_places(&listed, request.places as usize);
            list.charts.push(ListedChart {
                period,
                time_zone: chart.time_zone,
                span: chart.span,
                total_views: chart.total_views,
                closed_ms: chart.closed_ms,
                places,
            });
        }
        Ok(list)
    }

    /// The first of these periods whose chart is shown.
    fn first_shown(
        &self,
        storage: &impl Storage,
        key: &str,
        periods: &mut dyn Iterator<Item = Period>,
    ) -> Result<Option<Period>, StorageError> {
        for period in periods {
            // Of regions there is none of a period without plays.
            if key != GLOBAL_SCOPE || self.shown_chart(storage, key, period)?.is_some() {
                return Ok(Some(period));
            }
        }
        Ok(None)
    }

    /// The chart of a period, where it has one that can be read.
    fn shown_chart(
        &self,
        storage: &impl Storage,
        key: &str,
        period: Period,
    ) -> Result<Option<ClosedChart>, StorageError> {
        self.work.looked_for();
        let row_key = row::key_of(key, period);
        let Some(value) = storage.get(Table::Charts, &row_key)? else {
            return Ok(None);
        };
        let chart = row::read(period, &value);
        if chart.is_none() {
            self.damage.note(&row_key);
        }
        Ok(chart.filter(|chart| !chart.is_empty()))
    }

    /// The places of which it is known that they are not hidden now, with their cards as far as those are
    /// known.
    fn shown_places(&self, places: &[ClosedPlace], most: usize) -> Vec<Place> {
        let shown = places.iter();
        let shown = shown.filter(|place| self.catalog.is_hidden(&place.post_id) == Some(false));
        let shown = shown.take(most).map(|place| {
            let entry = self.catalog.entry(&place.post_id);
            let card = entry.and_then(|entry| entry.as_ref().as_ref().map(|it| it.card.clone()));
            Place {
                post_id: place.post_id.clone(),
                count: Count {
                    view_count: place.view_count_min,
                    view_count_min: place.view_count_min,
                    view_count_max: place.view_count_max,
                },
                compared: None,
                previous_rank: place.previous_rank,
                run: Some(place.run),
                card: card.unwrap_or_default(),
            }
        });
        shown.collect()
    }

    /// Why there is no chart of a period.
    fn not_published(&self, period: Option<Period>, now_ms: u64) -> Refusal {
        let rules = &self.closing.rules;
        let Some(period) = period else {
            let detail = "no chart was published yet: the first one comes when its period is over; of plays \
                          that were sent later, POST /admin/close-charts publishes them (docs/howto.md)";
            return Refusal::NotPublished {
                detail: detail.into(),
                closes_ms: None,
            };
        };
        let span = period.span(&self.days().zone_at(now_ms));
        let closes_ms = span.to_ms.saturating_add(rules.close_after_ms);
        let detail = if now_ms < span.from_ms {
            "this period has not begun"
        } else if now_ms < span.to_ms {
            "this period is not over"
        } else if now_ms < closes_ms {
            "this period is over, and its chart is not closed yet"
        } else {
            "there is no chart of this period: nothing was played in it, or that was before charts were \
             published here, or sent later: then POST /admin/close-charts makes it (docs/howto.md)"
        };
        Refusal::NotPublished {
            detail: detail.into(),
            closes_ms: (now_ms < closes_ms).then_some(closes_ms),
        }
    }
}
