//! Everything that was played in a scope and span, as one summary.

use std::rc::Rc;

use super::ladder::{next_stored_ms, read_pane};
use super::live::MergedPanes;
use super::runs::{Run, stretches};
use super::state::Global;
use crate::capacity::counters;
use crate::storage::{Storage, StorageError};
use crate::summary::{Bounds, Seed, Summary};
use crate::topology::GLOBAL_SCOPE;
use crate::window::{self, Kind, Level, PaneKey, Span, Timeframe, Unit, Window, tiles};
use crate::wire::{Refusal, WindowRequest};

/// Panes of a run that are decoded at once: 16 of 280 kB.
const PANES_AT_ONCE: usize = 16;

/// Looking for a pane takes as long as decoding so many counters.
const LEAST_A_PANE: u64 = 64;

/// The plays of a window in one summary.
pub struct Merged {
    pub summary: Summary,
    /// A stored row that belongs to the window could not be read.
    pub damaged: bool,
}

/// The plays of a window in the summaries that they are kept in, each play in one of them.
pub struct Parts {
    stored: Vec<Rc<Summary>>,
    live: MergedPanes,
    span: Span,
    pub damaged: bool,
}

impl Parts {
    fn summaries(&self) -> impl Iterator<Item = &Summary> {
        let live = self.live.iter();
        let live = live.filter(|(key, _)| self.span.contains(key.span()));
        let stored = self.stored.iter().map(|summary| &**summary);
        stored.chain(live.map(|(_, summary)| &**summary))
    }

    /// A post's bounds: what merging would give or tighter, without merging.
    pub fn bounds(&self, post_id: &str) -> Bounds {
        let none = Bounds { lower: 0, upper: 0 };
        self.summaries().fold(none, |sum, part| {
            let more = part.bounds(post_id);
            Bounds {
                lower: sum.lower.saturating_add(more.lower),
                upper: sum.upper.saturating_add(more.upper),
            }
        })
    }

    /// Whether one of them lists a post.
    pub fn list(&self, post_id: &str) -> bool {
        let lists = |part: &Summary| part.rows().any(|row| row.id == post_id);
        self.summaries().any(lists)
    }

    /// All plays, exact.
    pub fn total(&self) -> u64 {
        let totals = self.summaries().map(Summary::total);
        totals.fold(0, u64::saturating_add)
    }
}

impl Global {
    /// The window that is asked for, in a scope that exists.
    pub(super) fn window(
        &self,
        scope: &str,
        request: WindowRequest,
        now_ms: u64,
    ) -> Result<Window, Refusal> {
        if scope != GLOBAL_SCOPE && self.table.find(scope).is_none() {
            return Err(Refusal::UnknownRegion);
        }
        window_of(request, now_ms)
    }

    /// Merges stored and live panes in one pass.
    pub(super) fn merged(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        now_ms: u64,
    ) -> Result<Merged, Refusal> {
        let parts = self.parts(storage, scope, span, now_ms)?;
        Ok(Merged {
            summary: Summary::merge_all(parts.summaries(), self.seed()),
            damaged: parts.damaged,
        })
    }

    /// Counters that were read from storage so far, to tell what a question cost: 0.1 to 0.2 µs
    /// each, merging included. A pane counts as some, however few it has.
    pub fn counters_read(&self) -> u64 {
        self.counters_read.get()
    }

    /// Reads stored and live panes.
    pub(super) fn parts(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        now_ms: u64,
    ) -> Result<Parts, Refusal> {
        self.read_parts(storage, scope, span, now_ms, true)
    }

    /// Reads stored and live panes one by one and keeps nothing: for a span that only one question
    /// asks about.
    pub(super) fn parts_apart(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        now_ms: u64,
    ) -> Result<Parts, Refusal> {
        self.read_parts(storage, scope, span, now_ms, false)
    }

    fn read_parts(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        now_ms: u64,
        as_runs: bool,
    ) -> Result<Parts, Refusal> {
        let mut parts = Parts {
            stored: Vec::new(),
            live: self.live.merged(scope, self.seed(), now_ms),
            span,
            damaged: self.logs.is_scope_damaged(scope),
        };
        for panes in stretches(&tiles(span, now_ms), now_ms) {
            let run = as_runs.then(|| Run::of(scope, panes, now_ms)).flatten();
            self.add_stretch(storage, scope, panes, run, &mut parts)?;
        }
        Ok(parts)
    }

    /// Adds panes that lie in a row, as one where they are to be a run.
    fn add_stretch(
        &self,
        storage: &impl Storage,
        scope: &str,
        panes: &[PaneKey],
        run: Option<Run>,
        parts: &mut Parts,
    ) -> Result<(), Refusal> {
        let seed = self.seed();
        if let Some(summary) = run.as_ref().and_then(|run| self.runs.get(run, seed)) {
            parts.stored.push(summary);
            return Ok(());
        }
        let mut summaries: Vec<Rc<Summary>> = Vec::new();
        let mut damaged = false;
        // Most of a young ladder is empty: what is absent is passed over in one step.
        let mut absent_before_ms = 0;
        for pane in panes {
            if pane.start_ms < absent_before_ms {
                continue;
            }
            if run.is_some() && summaries.len() >= PANES_AT_ONCE {
                let merged = merge_run(&summaries, seed);
                summaries = vec![Rc::new(merged)];
            }
            let stored = read_pane(storage, scope, *pane, seed, &self.damage).map_err(refused)?;
            damaged |= stored.damaged;
            if stored.is_absent() {
                let next_ms = next_stored_ms(storage, scope, *pane).map_err(refused)?;
                absent_before_ms = next_ms.unwrap_or(u64::MAX);
            }
            let rows: usize = stored.summaries.iter().map(Summary::len).sum();
            let read = self.counters_read.get() + LEAST_A_PANE + rows as u64;
            self.counters_read.set(read);
            summaries.extend(stored.summaries.into_iter().map(Rc::new));
        }
        match run.filter(|_| !damaged) {
            Some(run) => {
                let merged = Rc::new(merge_run(&summaries, seed));
                self.runs.keep(run, &merged);
                parts.stored.push(merged);
            }
            None => parts.stored.extend(summaries),
        }
        parts.damaged |= damaged;
        Ok(())
    }
}

/// Merges panes of a run.
fn merge_run(panes: &[Rc<Summary>], seed: Seed) -> Summary {
    merge_within(panes, 2 * counters(Level::Day), seed)
}

/// Merges; where a part is exact no longer, into at most so many counters, which must be more than
/// any of the parts has: then the guarantee stays what the parts make it, as nothing that is
/// dropped was above N/m of them.
///
/// Thirty days list 25,000 posts, of which a chart shows a thousand: kept all, a month of one scope
/// would have three times as many rows (25,000 for 8,192), and each chart would merge them again.
/// What is dropped has no say in the bounds of what stays; a post behind the first 8,192 has its
/// cell's bound from here instead of its own.
pub fn merge_within(parts: &[Rc<Summary>], most: usize, seed: Seed) -> Summary {
    let all = parts.iter().map(|part| &**part);
    if parts.iter().any(|part| part.is_full()) {
        Summary::merge(all, most, seed)
    } else {
        Summary::merge_all(all, seed)
    }
}

pub(super) fn window_of(request: WindowRequest, now_ms: u64) -> Result<Window, Refusal> {
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

pub(super) fn refused(error: StorageError) -> Refusal {
    Refusal::Storage(error.0)
}
