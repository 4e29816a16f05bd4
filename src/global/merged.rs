//! Everything that was played in a scope and span, as one summary.

use super::ladder::read_pane;
use super::state::Global;
use crate::storage::{Storage, StorageError};
use crate::summary::Summary;
use crate::topology::GLOBAL_SCOPE;
use crate::window::{self, Kind, Span, Timeframe, Unit, Window, tiles};
use crate::wire::{Refusal, WindowRequest};

/// The plays of a window in one summary.
pub struct Merged {
    pub summary: Summary,
    /// A stored row that belongs to the window could not be read.
    pub damaged: bool,
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
        let seed = self.seed();
        let mut stored = Vec::new();
        let mut damaged = self.logs.is_scope_damaged(scope);
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
