//! Everything that was played in a scope and span.

use std::rc::Rc;

use super::ladder::{next_stored_ms, read_pane};
use super::merging::Merging;
use super::runs::{Run, stretches};
use super::state::Global;
use super::work::Done;
use crate::storage::{Storage, StorageError};
use crate::summary::{Bounds, Summary};
use crate::window::{self, Kind, PaneKey, Span, Timeframe, Unit, Window, tiles};
use crate::wire::{Refusal, WindowRequest};

/// The plays of a window in one summary.
pub struct Merged {
    pub summary: Summary,
    /// Plays of the window may be missing: a stored row could not be read, or shards have not told
    /// what they have open.
    pub incomplete: bool,
}

/// What is known of one post in a window, without merging: its bounds are as tight as those of the
/// merged window, or tighter.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    pub bounds: Bounds,
    /// As [`Merged::incomplete`].
    pub incomplete: bool,
}

/// How stretches of stored panes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Merged once and kept.
    AsRuns,
    /// Pane by pane, keeping nothing: for a span that only one question asks about.
    Apart,
}

impl Global {
    /// The window that is asked for, in a scope that exists.
    pub(super) fn window(
        &self,
        scope: &str,
        request: WindowRequest,
        now_ms: u64,
    ) -> Result<Window, Refusal> {
        self.require(scope)?;
        window_of(request, now_ms)
    }

    /// Merges stored and live panes.
    pub(super) fn merged(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        now_ms: u64,
    ) -> Result<Merged, Refusal> {
        let mut merging = Merging::new(self.seed());
        let add = &mut |part: Rc<Summary>| {
            self.work.merged(std::iter::once(&*part));
            merging.add(part);
        };
        let incomplete = self.visit(storage, scope, span, now_ms, Reading::AsRuns, add)?;
        Ok(Merged {
            summary: merging.finish(),
            incomplete,
        })
    }

    /// What is known of one post in a scope and span.
    pub(super) fn tally(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        now_ms: u64,
        (post_id, reading): (&str, Reading),
    ) -> Result<Tally, Refusal> {
        let mut tally = Tally {
            bounds: Bounds { lower: 0, upper: 0 },
            incomplete: false,
        };
        let add = &mut |part: Rc<Summary>| {
            self.work.merged(std::iter::once(&*part));
            let more = part.bounds(post_id);
            let sum = &mut tally.bounds;
            sum.lower = sum.lower.saturating_add(more.lower);
            sum.upper = sum.upper.saturating_add(more.upper);
        };
        let incomplete = self.visit(storage, scope, span, now_ms, reading, add)?;
        tally.incomplete = incomplete;
        Ok(tally)
    }

    /// All plays in a scope and span, exact.
    pub(super) fn total(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        now_ms: u64,
    ) -> Result<u64, Refusal> {
        let mut total = 0_u64;
        let add = &mut |part: Rc<Summary>| total = total.saturating_add(part.total());
        self.visit(storage, scope, span, now_ms, Reading::AsRuns, add)?;
        Ok(total)
    }

    /// What was done so far, to tell what a question cost.
    pub fn done(&self) -> Done {
        let done = self.work.done();
        Done {
            rows_read: done.rows_read + self.runs.recoded(),
            entries: self.catalog.reads.get(),
            ..done
        }
    }

    /// Hands stored and live plays to `add`, each in one of the summaries, one summary at a time.
    /// Says whether some may be missing.
    fn visit(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        now_ms: u64,
        reading: Reading,
        add: &mut impl FnMut(Rc<Summary>),
    ) -> Result<bool, Refusal> {
        let scope = &*self.key_of(scope);
        let mut damaged = false;
        for panes in stretches(&tiles(span, now_ms), now_ms) {
            let run = Run::of(scope, panes, now_ms).filter(|_| reading == Reading::AsRuns);
            damaged |= self.visit_stretch(storage, scope, panes, run, add)?;
        }
        self.live.visit(scope, span, self.seed(), now_ms, add);
        Ok(damaged || self.logs.is_scope_damaged(scope) || self.lacks_live_plays(scope, now_ms))
    }

    /// Hands panes that lie in a row to `add`, as one where they are to be a run. Says whether a row
    /// could not be read.
    fn visit_stretch(
        &self,
        storage: &impl Storage,
        scope: &str,
        panes: &[PaneKey],
        run: Option<Run>,
        add: &mut impl FnMut(Rc<Summary>),
    ) -> Result<bool, Refusal> {
        let seed = self.seed();
        if let Some(summary) = run.as_ref().and_then(|run| self.runs.get(run, seed)) {
            add(summary);
            return Ok(false);
        }
        let mut merging = run.is_some().then(|| Merging::new(seed));
        let mut damaged = false;
        // Most of a young ladder is empty: what is absent is passed over in one step.
        let mut absent_before_ms = 0;
        for pane in panes {
            if pane.start_ms < absent_before_ms {
                continue;
            }
            let stored = read_pane(storage, scope, *pane, seed, &self.damage).map_err(refused)?;
            damaged |= stored.damaged;
            if stored.is_absent() {
                let next_ms = next_stored_ms(storage, scope, *pane).map_err(refused)?;
                absent_before_ms = next_ms.unwrap_or(u64::MAX);
            }
            self.work.read(&stored.summaries);
            for summary in stored.summaries.into_iter().map(Rc::new) {
                match &mut merging {
                    Some(merging) => {
                        self.work.merged(std::iter::once(&*summary));
                        merging.add(summary);
                    }
                    None => add(summary),
                }
            }
        }
        if let Some((merging, run)) = merging.zip(run) {
            let merged = Rc::new(merging.finish_run());
            if !damaged {
                self.runs.keep(run, &merged);
            }
            add(merged);
        }
        Ok(damaged)
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
