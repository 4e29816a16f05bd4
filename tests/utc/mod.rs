//! The functions of time for days in UTC, which need no more said.

#![allow(dead_code, reason = "no test needs all of it")]

use hitparade::window::{
    self, Days, Level, PaneKey, Span, Timeframe, Window, WindowError, WindowKind,
};

pub fn window(kind: WindowKind, timeframe: Timeframe, now_ms: u64) -> Window {
    window::window(kind, timeframe, now_ms, &Days::default())
}

pub fn sliding(timeframe: Timeframe, now_ms: u64) -> Window {
    window::sliding(timeframe, now_ms, &Days::default())
}

pub fn tumbling(timeframe: Timeframe, now_ms: u64) -> Window {
    window::tumbling(timeframe, now_ms, &Days::default())
}

pub fn between(from_ms: u64, to_ms: u64, now_ms: u64) -> Result<Window, WindowError> {
    window::between(from_ms, to_ms, now_ms, &Days::default())
}

pub fn previous(window: &Window, now_ms: u64) -> Option<Window> {
    window::previous(window, now_ms, &Days::default())
}

pub fn tiles(span: Span, now_ms: u64) -> Vec<PaneKey> {
    window::tiles(span, now_ms, &Days::default())
}

pub fn steps(span: Span, now_ms: u64, max_points: usize) -> Vec<Span> {
    window::steps(span, now_ms, max_points, &Days::default())
}

pub fn expires_before_ms(level: Level, now_ms: u64) -> u64 {
    window::expires_before_ms(level, now_ms, &Days::default())
}

pub fn fold_targets(pane: PaneKey, now_ms: u64) -> Vec<PaneKey> {
    window::fold_targets(pane, now_ms, &Days::default()).collect()
}

pub fn pane_of(level: Level, timestamp_ms: u64) -> PaneKey {
    PaneKey::of(level, timestamp_ms, &Days::default())
}

/// The pane in which a shard records a play that knows where days begin, for ever.
pub fn recording_pane(timestamp_ms: u64, now_ms: u64) -> PaneKey {
    let known = window::KnownDays {
        until_ms: u64::MAX,
        ..window::KnownDays::default()
    };
    known.recording_pane(timestamp_ms, now_ms)
}
