//! A chart that is being closed: its panes are merged a few at a time, and others have their turns in between.
//!
//! What is merged is in memory alone, of one chart in an instance. It goes when something is folded, where memory is
//! short, and where another board wants to close a chart and this one has not gone on for 5 s; whoever closes the
//! chart then begins anew, and comes to the same.

use std::rc::Rc;

use super::disk_refused;
use crate::global::Global;
use crate::global::merging::Merging;
use crate::storage::{Storage, StorageError};
use crate::summary::{Seed, Summary};
use crate::window::{Days, PaneKey, Period, Span, Window, tiles};

/// Panes that a step merges at most. Eight days of 8,192 posts take 30 ms in Wasm, so a month takes four such steps.
pub const PANES_A_STEP: usize = 8;

/// What is merged of a chart that is not closed yet.
pub struct ChartUnderWay {
    pub scope: String,
    pub period: Period,
    /// Of the whole period.
    span: Span,
    /// By which clock.
    pub at_ms: u64,
    pub window: Window,
    panes: Vec<PaneKey>,
    next: usize,
    merging: Merging,
    is_damaged: bool,
}

impl ChartUnderWay {
    pub fn begin(
        scope: &str,
        (period, span): (Period, Span),
        window: Window,
        at_ms: u64,
        (seed, days): (Seed, &Days),
    ) -> Self {
        ChartUnderWay {
            scope: scope.to_owned(),
            period,
            span,
            at_ms,
            window,
            panes: tiles(window.span, at_ms, days),
            next: 0,
            merging: Merging::new(seed),
            is_damaged: false,
        }
    }

    pub fn is_of(&self, scope: &str, (period, span): (Period, Span)) -> bool {
        self.scope == scope && (self.period, self.span) == (period, span)
    }

    /// What it holds between two steps.
    pub fn held_bytes(&self) -> usize {
        self.merging.held_bytes()
    }

    /// Everything in one, and whether a row could not be read.
    pub fn merged(&self) -> (Rc<Summary>, bool) {
        (self.merging.settled(), self.is_damaged)
    }
}

impl Global {
    /// Merges the next panes. Says whether those were the last.
    pub(super) fn merge_next(
        &self,
        storage: &impl Storage,
        under_way: &mut ChartUnderWay,
    ) -> Result<bool, StorageError> {
        let left = under_way.panes.get(under_way.next..).unwrap_or_default();
        let now = left.get(..PANES_A_STEP).unwrap_or(left);
        let of = (&*under_way.scope, now);
        let is_damaged = self.merge_stored(storage, of, &mut under_way.merging);
        under_way.is_damaged |= is_damaged.map_err(disk_refused)?;
        under_way.merging.settle();
        under_way.next += now.len();
        Ok(now.len() == left.len())
    }
}
