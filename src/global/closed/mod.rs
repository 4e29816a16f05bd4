//! Published charts: each complete day, week and month of each scope, as it stood when it was closed.
//!
//! A chart is closed once, [`ClosingRules::close_after_ms`] after its period has ended, by the first event
//! after that and before anything later is folded. So it is made of what was folded by then, and of
//! nothing else: after a crash it comes out the same, and whatever comes late counts in `/top-posts` and never
//! here. Boards that sleep set no alarm for it: as nothing is folded meanwhile, their charts are the same
//! whenever they are closed.
//!
//! # The way of a chart
//! 1. [`Global::closing_is_due`] says that there is one. What is pending then waits, unless memory is short.
//! 2. [`Global::close_step`] closes the chart of one scope: the world's last. A row that is there stays. What has many
//!    panes takes some steps, each of [`PANES_A_STEP`], of which nothing is stored before the last: after a crash the
//!    chart is begun anew. One board of an instance does so at a time; another waits for it a while, and then merges a
//!    chart in one step, as everybody does who cannot wait.
//! 3. [`Global::flush`] closes all that are still due before it folds.
//!
//! The world's last row of a kind says up to where its charts are closed. It has one of every period, an
//! empty one where nothing was played; the first event of a board writes the one before its first
//! period. Empty ones are never shown.
//!
//! # The catalog
//! A chart lists what is not hidden when it is closed. The catalog is asked for that first; where it is away, or
//! memory is too short to wait, a chart has the posts of which nobody knows whether they show: they would be
//! missing for good, and what is hidden is left out wherever a chart is shown.
//!
//! # What was not closed in its time
//! Plays of a time before the board began, or that came with an import, are in no published chart until
//! somebody asks for it ([`Global::closing_of_history`]): nobody else knows when such a history is complete. It
//! closes what no chart is of, oldest first, and changes no chart that is there. Later charts then know of it. A
//! period with plays that are not folded yet waits for them, and what is after it for its chart.
//!
//! # Size
//! A place takes its id and 13 bytes: count 4, all others 1 or 2. So with ids of 11 bytes
//! a chart has 100 × 24 + 60 = 2.5 KB, and a scope's 365 days, 52 weeks and 12 months are 1.1 MB a
//! year; with ids of 36 bytes 2.1 MB, of 256 bytes 11.6 MB. They stay, whatever `RETENTION_DAYS` says, as long as
//! less than [`super::room::FREE_BYTES`] is stored; from then on the oldest of a scope and kind go for what comes.
//!
//! # Cost
//! Closing a chart is a merge of its panes, eight a step, and one pass through the charts before it (3 ms for ten years of
//! days), and writes a row. Eleven scopes: 4,700 rows a year.

mod reading;
mod row;
mod runs;
mod under_way;

use crate::leaderboard::{ClosedChart, ClosedPlace, PUBLISHED_KINDS, PUBLISHED_PLACES};
use crate::mutants::{self, Mutant};
use crate::settings::CLOSE_AFTER_MS;
use crate::storage::{Storage, StorageError, Table, Write};
use crate::topology::{GLOBAL_SCOPE, Region};
use crate::window::{self, DAY_MS, Level, MAX_DAYS, PaneKey, Period, Span, Window};
use crate::wire::{Refusal, TransferChart};

use super::chart::ChartRules;
use super::ladder::next_stored_ms;
use super::moment::write_apart;
use super::room::PaneRoom;
use super::state::Global;

pub use row::{all_of, parts_of, read};
pub use under_way::{ChartUnderWay, PANES_A_STEP};

/// What is closed when, and what it shows.
#[derive(Clone, Copy, Debug)]
pub struct ClosingRules {
    pub close_after_ms: u64,
    pub chart: ChartRules,
}

impl Default for ClosingRules {
    fn default() -> Self {
        ClosingRules {
            close_after_ms: CLOSE_AFTER_MS,
            chart: ChartRules::default(),
        }
    }
}

/// How far charts are closed.
#[derive(Default)]
pub struct Closing {
    rules: ClosingRules,
    /// The next one of each of [`PUBLISHED_KINDS`]; none before the first event.
    next: Option<[Period; PUBLISHED_KINDS.len()]>,
    /// The scopes whose chart of the period that is under way is closed.
    done: Vec<String>,
}

/// A period that is to be closed.
#[derive(Clone, Copy)]
struct Due {
    /// Its place in [`PUBLISHED_KINDS`].
    kind: usize,
    period: Period,
    span: Span,
    /// By which clock: from then on it is due.
    at_ms: u64,
}

/// What a step towards closed charts has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosingStep {
    /// There may be more to do.
    Done,
    /// Nothing was closed: the catalog is to be asked first, for what the follower of it wants.
    Asks,
    /// There is nothing to close.
    Over,
}

/// Whether a chart is closed of which something is not known of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowing {
    /// Only if all is known that the chart takes.
    All,
    /// As far as it is known. Posts of which nobody knows whether they show are on it.
    SoFar,
}

/// A walk through the periods of a history, oldest first.
pub struct History {
    /// The last one is the next.
    left: Vec<Period>,
    done: Vec<String>,
    /// Charts that were closed.
    pub closed: u64,
    /// Periods that wait for plays, or for the chart of a period that does.
    pub waiting: u64,
}

impl History {
    pub fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// The periods that are left, with those that wait.
    pub fn left(&self) -> u64 {
        self.left.len() as u64 + self.waiting
    }

    /// The next period is not closed now, nor what is after it of its kind: their charts tell of its chart.
    fn wait_for(&mut self, period: Period) {
        let is_next = |next: &mut Period| next.kind() == period.kind();
        while self.left.pop_if(is_next).is_some() {
            self.waiting += 1;
        }
    }
}

impl Closing {
    pub fn rules(&self) -> ClosingRules {
        self.rules
    }
}

/// What a step has come to of a chart.
enum Closed {
    /// Some of its panes are merged.
    InPart,
    /// The catalog is to be asked first.
    Asks,
    /// It is closed; whether there is something on it and was not before.
    Whole(bool),
}

impl Global {
    /// Closes charts by these rules from now on.
    pub fn close_by(&mut self, rules: ClosingRules) {
        self.closing.rules = rules;
    }

    /// Whether a chart is to be closed before anything is folded.
    pub fn closing_is_due(&self, now_ms: u64) -> bool {
        self.closing.next.is_none() || self.next_due(now_ms).is_some()
    }

    /// Whether a chart may be merged in steps: no other board of the instance does so now.
    pub fn may_close_in_steps(&self, now_ms: u64) -> bool {
        self.share.may_keep_chart(now_ms)
    }

    /// Closes the next chart that is due, of one scope, or merges [`PANES_A_STEP`] of its panes.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn close_step(
        &mut self,
        storage: &impl Storage,
        knowing: Knowing,
        now_ms: u64,
    ) -> Result<ClosingStep, StorageError> {
        let Some(next) = self.closing.next else {
            self.closing.next = Some(self.begin_closing(storage, now_ms)?);
            self.forget_heard_late(now_ms);
            return Ok(ClosingStep::Done);
        };
        let Some(due) = self.next_due(now_ms) else {
            return Ok(ClosingStep::Over);
        };
        self.moment.forget_idle(storage, now_ms)?;
        let Some(scope) = self.next_scope(&self.closing.done) else {
            let mut next = next;
            if let Some(next) = next.get_mut(due.kind) {
                // Nothing is kept of what is longer ago.
                let oldest_ms = now_ms.saturating_sub(u64::from(MAX_DAYS) * DAY_MS);
                let zone = self.days().zone_at(now_ms);
                let oldest = Period::of(oldest_ms, due.period.kind(), &zone);
                *next = due.period.next().max(oldest);
            }
            self.closing.next = Some(next);
            self.closing.done.clear();
            self.forget_heard_late(now_ms);
            return Ok(ClosingStep::Done);
        };
        let of = (due.period, due.span);
        match self.close(storage, &scope, of, knowing, (due.at_ms, now_ms))? {
            Closed::InPart => {}
            Closed::Asks => return Ok(ClosingStep::Asks),
            Closed::Whole(is_closed) => {
                self.closed_charts += u64::from(is_closed);
                self.closing.done.push(scope);
            }
        }
        Ok(ClosingStep::Done)
    }

    /// Nothing is due: what was heard while charts were closed, or might have been, is in the next ones.
    fn forget_heard_late(&mut self, now_ms: u64) {
        if self.next_due(now_ms).is_none() {
            self.heard_late.clear();
        }
    }

    /// Closes all charts that are due, with what is known of the catalog.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub(super) fn close_all(
        &mut self,
        storage: &impl Storage,
        now_ms: u64,
    ) -> Result<(), StorageError> {
        if mutants::active(Mutant::FoldedBeforeClosed) {
            return Ok(());
        }
        while self.close_step(storage, Knowing::SoFar, now_ms)? != ClosingStep::Over {}
        Ok(())
    }

    /// The periods of which there are plays and no charts, up to where charts are closed in their time.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn closing_of_history(
        &self,
        storage: &impl Storage,
        now_ms: u64,
    ) -> Result<History, StorageError> {
        let (mut left, zone) = (Vec::new(), self.days().zone_at(now_ms));
        let all_days = PaneKey::of(Level::Day, 0, self.days());
        let stored = next_stored_ms(storage, GLOBAL_SCOPE, all_days)?;
        let live = self.live.spans().map(|span| span.from_ms);
        let first = live.chain(stored).min();
        for next in self.closing.next.into_iter().flatten() {
            let Some(first_ms) = first else { break };
            let mut period = Period::of(first_ms, next.kind(), &zone);
            while period < next {
                if !self.is_closed(storage, period)? {
                    left.push(period);
                }
                period = period.next();
            }
        }
        left.reverse();
        Ok(History {
            left,
            done: Vec::new(),
            closed: 0,
            waiting: 0,
        })
    }

    /// Closes the next chart of a history, of one scope, as it is now, or merges [`PANES_A_STEP`] of its panes. What is
    /// due goes first.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn close_history_step(
        &mut self,
        storage: &impl Storage,
        history: &mut History,
        knowing: Knowing,
        now_ms: u64,
    ) -> Result<ClosingStep, StorageError> {
        let Some(period) = history.left.last().copied() else {
            return Ok(ClosingStep::Over);
        };
        if self.closing_is_due(now_ms) {
            return self.close_step(storage, knowing, now_ms);
        }
        let Some(scope) = self.next_scope(&history.done) else {
            history.left.pop();
            history.done.clear();
            return Ok(ClosingStep::Done);
        };
        let span = period.span(&self.days().zone_at(now_ms));
        if self.is_to_come(span, now_ms) {
            history.wait_for(period);
            history.done.clear();
            return Ok(ClosingStep::Done);
        }
        self.moment.forget_idle(storage, now_ms)?;
        match self.close(storage, &scope, (period, span), knowing, (now_ms, now_ms))? {
            Closed::InPart => {}
            Closed::Asks => return Ok(ClosingStep::Asks),
            Closed::Whole(is_closed) => {
                history.closed += u64::from(is_closed);
                self.closed_charts += u64::from(is_closed);
                history.done.push(scope);
            }
        }
        Ok(ClosingStep::Done)
    }

    /// Takes a chart that another installation has published. One that is there stays.
    ///
    /// # Errors
    /// [`Refusal`] for a chart that makes no sense, and when the disk refuses.
    pub(super) fn import_chart(
        &mut self,
        storage: &impl Storage,
        chart: &TransferChart,
        now_ms: u64,
    ) -> Result<Option<Write>, Refusal> {
        let invalid =
            |detail: &str| Refusal::Invalid(format!("chart {}: {detail}", chart.chart.period));
        chart.chart.check(now_ms).map_err(invalid)?;
        let scope = self.key_of(&chart.scope);
        let known = storage.get(Table::Charts, &row::key_of(&scope, chart.chart.period))?;
        let is_free = known.is_none_or(|value| is_empty(chart.chart.period, &value));
        if is_free {
            // Its period may be one that would have been closed here next.
            self.closing.next = None;
            self.closing.done.clear();
        }
        Ok(is_free.then(|| row::write_of(&scope, &chart.chart)))
    }

    /// What is to be closed first.
    fn next_due(&self, now_ms: u64) -> Option<Due> {
        let rules = &self.closing.rules;
        let zone = self.days().zone_at(now_ms);
        let next = self.closing.next.as_ref()?.iter().enumerate();
        let due = next.map(|(kind, period)| {
            let span = period.span(&zone);
            Due {
                kind,
                period: *period,
                span,
                at_ms: span.to_ms.saturating_add(rules.close_after_ms),
            }
        });
        due.filter(|due| due.at_ms <= now_ms)
            .min_by_key(|due| (due.at_ms, due.kind))
    }

    /// The next scope whose chart is to be closed: the world's last.
    fn next_scope(&self, done: &[String]) -> Option<String> {
        let regions = self.table.regions.iter().map(Region::key);
        let mut scopes = regions.chain([GLOBAL_SCOPE.into()]);
        let next = scopes.find(|scope| done.iter().all(|done| done != scope));
        next.map(|scope| scope.into_owned())
    }

    /// Where closing goes on: behind the world's last rows, or with the periods that are under way.
    fn begin_closing(
        &self,
        storage: &impl Storage,
        now_ms: u64,
    ) -> Result<[Period; PUBLISHED_KINDS.len()], StorageError> {
        let zone = &self.days().zone_at(now_ms);
        let mut next = PUBLISHED_KINDS.map(|kind| Period::of(now_ms, kind, zone));
        let mut begun = Vec::new();
        for next in &mut next {
            if let Some(last) = row::periods(storage, GLOBAL_SCOPE, next.kind())?.last() {
                let is_forgotten = mutants::active(Mutant::ClosedTwice);
                *next = if is_forgotten { *last } else { last.next() };
                continue;
            }
            let before = next.last_before(zone);
            let span = before.span(zone);
            let empty = ClosedChart::empty(before, zone.name(), span, now_ms);
            begun.push(row::write_of(GLOBAL_SCOPE, &empty));
        }
        if !begun.is_empty() {
            self.moment.guard(storage).write(&begun)?;
        }
        Ok(next)
    }

    /// Whether plays of a span are still to be folded, or nobody knows whether some are.
    fn is_to_come(&self, span: Span, now_ms: u64) -> bool {
        self.lacks_known_shards(GLOBAL_SCOPE, now_ms)
            || (self.live.spans()).any(|it| it.from_ms < span.to_ms && span.from_ms < it.to_ms)
    }

    /// Whether a period has charts that were shown, or a row that cannot be read.
    fn is_closed(&self, storage: &impl Storage, period: Period) -> Result<bool, StorageError> {
        let known = storage.get(Table::Charts, &row::key_of(GLOBAL_SCOPE, period))?;
        Ok(known.is_some_and(|value| !is_empty(period, &value)))
    }

    /// Closes the chart of a scope and period as it is at a moment, or merges the next of its panes: all of them, where
    /// another board keeps a chart.
    fn close(
        &mut self,
        storage: &impl Storage,
        scope: &str,
        of: (Period, Span),
        knowing: Knowing,
        (at_ms, now_ms): (u64, u64),
    ) -> Result<Closed, StorageError> {
        let (period, span) = of;
        let known = storage.get(Table::Charts, &row::key_of(scope, period))?;
        let is_there = known
            .as_deref()
            .is_some_and(|value| !is_empty(period, value));
        if is_there && !mutants::active(Mutant::ClosedTwice) {
            return Ok(Closed::Whole(false));
        }
        let may_keep = self.share.may_keep_chart(now_ms);
        let keep = |global: &Self, under_way: Option<ChartUnderWay>| {
            if let Some(under_way) = under_way.filter(|_| may_keep) {
                global.share.keep_chart(under_way, now_ms);
            }
        };
        let kept = self.share.take_chart();
        let mut under_way = kept
            .filter(|it| it.is_of(scope, of))
            .or_else(|| self.begin_chart(scope, of, at_ms));
        while let Some(merged) = &mut under_way
            && !self.merge_next(storage, merged)?
        {
            if may_keep {
                keep(self, under_way);
                return Ok(Closed::InPart);
            }
        }
        let misses = self.catalog.misses();
        let chart = match &under_way {
            Some(under_way) => self.chart_to_close(storage, under_way)?,
            None => None,
        };
        if knowing == Knowing::All && self.catalog.misses() > misses {
            keep(self, under_way);
            return Ok(Closed::Asks);
        }
        let is_of_something = chart.is_some();
        let chart = match chart {
            Some(chart) => chart,
            None if scope == GLOBAL_SCOPE && known.is_none() && !span.is_empty() => {
                ClosedChart::empty(period, self.days().zone_at(at_ms).name(), span, at_ms)
            }
            None => return Ok(Closed::Whole(false)),
        };
        let write = row::write_of(scope, &chart);
        let guarded = self.moment.guard(storage);
        let old = self.to_go_for(storage, (scope, period), &write, at_ms)?;
        guarded.atomically(|| {
            guarded.write(std::slice::from_ref(&write))?;
            write_apart(&guarded, &old)
        })?;
        Ok(Closed::Whole(is_of_something))
    }

    /// `None` where not all of the period is kept any more.
    fn begin_chart(&self, scope: &str, of: (Period, Span), at_ms: u64) -> Option<ChartUnderWay> {
        let window = self.whole(of.1, at_ms)?;
        let by = (self.seed(), self.days());
        Some(ChartUnderWay::begin(scope, of, window, at_ms, by))
    }

    /// The oldest charts of the same scope and kind, as many as there is no room for beside a new one.
    fn to_go_for(
        &self,
        storage: &impl Storage,
        (scope, period): (&str, Period),
        write: &Write,
        now_ms: u64,
    ) -> Result<Vec<Write>, StorageError> {
        let mut deletes = Vec::new();
        let Write::Put { value, .. } = write else {
            return Ok(deletes);
        };
        if !PaneRoom::of(storage, now_ms)?.is_short() {
            return Ok(deletes);
        }
        let mut bytes = 0;
        row::scan(storage, scope, period.kind(), |old, key, value_of_old| {
            let is_to_go = bytes < value.len() && old < period.previous();
            if is_to_go {
                bytes += value_of_old.len();
                deletes.push(Write::delete(Table::Charts, key));
            }
            is_to_go
        })?;
        Ok(deletes)
    }

    /// The window of a whole period; `None` where a part of it is not kept any more.
    fn whole(&self, span: Span, at_ms: u64) -> Option<Window> {
        let window = window::between(span.from_ms, span.to_ms, at_ms, self.days()).ok()?;
        (!window.is_all() && window.span.from_ms <= span.from_ms).then_some(window)
    }

    /// The chart of a period, made of what was merged; `None` where nothing was played.
    fn chart_to_close(
        &self,
        storage: &impl Storage,
        under_way: &ChartUnderWay,
    ) -> Result<Option<ClosedChart>, StorageError> {
        let ChartUnderWay {
            scope,
            period,
            at_ms,
            window,
            ..
        } = under_way;
        let (merged, is_damaged) = under_way.merged();
        if merged.total() == 0 {
            return Ok(None);
        }
        let rules = self.closing.rules.chart;
        let ranking = self.by_views_and_unknown((&merged, is_damaged), PUBLISHED_PLACES, rules);
        let ids = ranking.rows.iter().map(|row| row.post_id.as_str());
        let zone = self.days().zone_at(*at_ms);
        let past = runs::before(storage, scope, *period, ids, &zone)?;
        past.damaged.iter().for_each(|key| self.damage.note(key));
        let places = (1..).zip(&ranking.rows).map(|(rank, row)| {
            let (run, previous_rank) = past.run(&row.post_id, rank);
            ClosedPlace {
                post_id: row.post_id.clone(),
                view_count_min: row.count.view_count_min,
                view_count_max: row.count.view_count_max,
                previous_rank,
                run,
            }
        });
        let incomplete = ranking.incomplete
            || !past.damaged.is_empty()
            || self.misses_plays_before(scope, window.span.to_ms, *at_ms);
        Ok(Some(ClosedChart {
            period: *period,
            time_zone: zone.name().to_owned(),
            span: window.span,
            closed_ms: *at_ms,
            total_views: ranking.total_views,
            unlisted_max: ranking.unlisted_max,
            incomplete,
            exact: ranking.exact && !incomplete,
            places: places.collect(),
        }))
    }
}

/// Whether a row is of a period in which nothing was played. One that cannot be read is not.
fn is_empty(period: Period, value: &[u8]) -> bool {
    row::read(period, value).is_some_and(|chart| chart.is_empty())
}

/// Of what is stored, nothing but the disk refuses.
fn disk_refused(refusal: Refusal) -> StorageError {
    match refusal {
        Refusal::Storage(error) => StorageError(error),
        other => StorageError(format!("{other:?}")),
    }
}
