//! Event time: timeframes, windows, panes, the ladder. Pure arithmetic on `u64` milliseconds
//! since 1970; `now_ms` is handed in.
//!
//! A play is recorded in one *pane*, an aligned span of time, by its shard
//! ([`KnownDays::recording_pane`]), and folded by the global object into one pane of every level of the
//! *ladder* that still covers its time ([`fold_targets`]). A question becomes a [`Window`],
//! whose ends lie on pane boundaries, and the window a list of panes to merge ([`tiles`]).
//! `docs/windows.md` explains it with drawings.
//!
//! # Invariant
//! For every play folded and every window, the window's tiles hold the play exactly once if
//! its timestamp lies in the window's span, and not at all otherwise. An open pane of a shard
//! lies wholly inside or wholly outside of the span (open panes of `All` belong to `all` only).
//! It holds for plays of any lateness, as long as no two clocks differ by more than 15 minutes.
//!
//! # Three edges
//! A level is good from `now − retention` on, rounded down to a pane of the next coarser level,
//! so that where one level ends, the next one takes over on a boundary of its own. But who
//! records, who folds and who asks read different clocks, so there are three such edges,
//! 15 minutes ([`CLOCK_MARGIN_MS`]) apart:
//!
//! 1. *Query:* window ends snap to the level from `now − retention` on.
//! 2. *Tile:* windows are tiled with it from 15 minutes before: the clock that tiles may be
//!    ahead of the one that snapped.
//! 3. *Keep:* plays are recorded and folded at it, and its panes kept, from 30 minutes before:
//!    a shard whose clock is ahead records no coarser than any window asks, and a clock that
//!    goes back finds no pane that was dropped and begun anew.
//!
//! # Cost and limits
//! Panes kept a scope, at most, up to now: 180 of a minute, 210 of 15 minutes, 193 of 2 hours,
//! 802 of a day and the one of all time; plays ahead of the clock add a few minutes. A play is
//! folded into at most 5. Only [`tiles`] and [`steps`] allocate: at most 1,300
//! panes, or as many points as were asked for. Any input is answered: arithmetic saturates,
//! and a `now` later than the year 9999 counts as its end.

mod calendar;
mod days;
mod level;
mod pane;
mod question;
mod rfc3339;
mod span;
mod tiling;
mod timeframe;

pub use calendar::{
    CalendarFrame, ClockChange, MAX_CHANGES, Period, PeriodError, PeriodKind, Zone, is_zone_name,
};
pub use days::{Days, KnownDays};
pub use level::{Level, MAX_DAYS, expires_before_ms, keep_days, kept_days};
pub use pane::{PaneKey, fold_targets};
pub use question::{Window, WindowError, between, previous, since, sliding, tumbling, window};
pub use rfc3339::{parse_rfc3339_ms, parse_rfc3339_of_query_ms, rfc3339};
pub use span::Span;
pub use tiling::{steps, tiles};
pub use timeframe::{Timeframe, TimeframeError, Unit, WindowKind};

use level::Edge;
use pane::recording_level;

pub const MINUTE_MS: u64 = 60 * 1000;
pub const HOUR_MS: u64 = 60 * MINUTE_MS;
pub const DAY_MS: u64 = 24 * HOUR_MS;

/// How far the clocks of shards, the global object and readers may differ.
pub const CLOCK_MARGIN_MS: u64 = 15 * MINUTE_MS;

/// How far ahead a span may end.
pub const AHEAD_MAX_MS: u64 = 400 * DAY_MS;

/// How far ahead of the clock a play is accepted.
pub const PLAY_AHEAD_MAX_MS: u64 = 60 * 1000;

/// 10000-01-01T00:00:00Z: RFC 3339 cannot say more. A multiple of a day.
const END_OF_TIME_MS: u64 = 253_402_300_800_000;

const fn floor_to_multiple(value: u64, step: u64) -> u64 {
    match value.checked_rem(step) {
        Some(rest) => value - rest,
        None => 0,
    }
}

/// `u64::MAX` where the multiple does not fit.
const fn ceil_to_multiple(value: u64, step: u64) -> u64 {
    match value.checked_next_multiple_of(step) {
        Some(multiple) => multiple,
        None => u64::MAX,
    }
}
