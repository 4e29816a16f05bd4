use super::{AHEAD_MAX_MS, DAY_MS, Days, END_OF_TIME_MS, MINUTE_MS, PLAY_AHEAD_MAX_MS};
use super::{
    Edge, Level, Span, Timeframe, WindowKind, ceil_to_multiple, floor_to_multiple, rfc3339,
};

/// The span that answers a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Window {
    /// `requested` snapped outward to panes: what [`tiles`](super::tiles) partitions, and what
    /// a cache key is made of. [`Span::ALL`] for `all`.
    pub span: Span,
    /// What was asked for, to the millisecond. `[0, now)` for `all`.
    pub requested: Span,
    /// Where the window before begins, which this one is compared with and which ends where this one begins;
    /// `None`: it has the same length.
    pub before_ms: Option<u64>,
}

impl Window {
    /// `requested` snapped outward. Times before the day level's edge are cut off.
    fn snapped(requested: Span, now_ms: u64, days: &Days) -> Self {
        let span = Span::new(
            Edge::Query.snap_down(requested.from_ms, now_ms, days),
            Edge::Query.snap_up(requested.to_ms, now_ms, days),
        );
        Self {
            span,
            requested,
            before_ms: None,
        }
    }

    fn all(now_ms: u64) -> Self {
        Self {
            span: Span::ALL,
            requested: Span::new(0, now_ms),
            before_ms: None,
        }
    }

    pub fn is_all(&self) -> bool {
        self.span == Span::ALL
    }

    /// What the answer names as its window: the span; for `all`, from 1970 to the end of the
    /// minute of the last play that could have been accepted, 60 s ahead.
    pub fn named(&self) -> Span {
        if !self.is_all() {
            return self.span;
        }
        let latest_ms = self.requested.to_ms.saturating_add(PLAY_AHEAD_MAX_MS);
        Span::new(0, ceil_to_multiple(latest_ms, MINUTE_MS))
    }
}

/// The window of a timeframe, of either kind.
pub fn window(kind: WindowKind, timeframe: Timeframe, now_ms: u64, days: &Days) -> Window {
    match kind {
        WindowKind::Sliding => sliding(timeframe, now_ms, days),
        WindowKind::Tumbling => tumbling(timeframe, now_ms, days),
    }
}

/// The window that ends now: `[now − length, now)`, snapped outward.
pub fn sliding(timeframe: Timeframe, now_ms: u64, days: &Days) -> Window {
    let now_ms = now_ms.min(END_OF_TIME_MS);
    let Timeframe::Length { ms, .. } = timeframe else {
        return Window::all(now_ms);
    };
    Window::snapped(Span::new(now_ms.saturating_sub(ms), now_ms), now_ms, days)
}

/// The last complete span of that length, aligned to multiples of it since 1970 UTC; multiples
/// of a week to the first Monday, 1970-01-05. Empty before the first such span is complete.
pub fn tumbling(timeframe: Timeframe, now_ms: u64, days: &Days) -> Window {
    let now_ms = now_ms.min(END_OF_TIME_MS);
    let Timeframe::Length { ms, .. } = timeframe else {
        return Window::all(now_ms);
    };
    // 1970-01-01 was a Thursday.
    let first_ms = if ms.is_multiple_of(7 * DAY_MS) {
        4 * DAY_MS
    } else {
        0
    };
    let elapsed_ms = floor_to_multiple(now_ms.saturating_sub(first_ms), ms);
    let requested = if elapsed_ms == 0 {
        Span::new(0, 0)
    } else {
        let to_ms = first_ms + elapsed_ms;
        Span::new(to_ms.saturating_sub(ms), to_ms)
    };
    Window::snapped(requested, now_ms, days)
}

/// The window of a given span, snapped outward.
///
/// What lies before the oldest day that is kept cannot be told apart any more: a span that
/// begins there begins with that day instead, and the window says so. From 1970 until now or
/// later is `all`. A span may lie ahead, up to 400 days: this month, this year.
///
/// # Errors
/// When the span is empty, ends before it begins, ends before the oldest day that is kept, or
/// ends more than 400 days ahead.
pub fn between(from_ms: u64, to_ms: u64, now_ms: u64, days: &Days) -> Result<Window, WindowError> {
    let now_ms = now_ms.min(END_OF_TIME_MS);
    if from_ms == to_ms {
        return Err(WindowError::Empty);
    }
    if from_ms > to_ms {
        return Err(WindowError::Reversed);
    }
    if from_ms == 0 && to_ms >= now_ms {
        return Ok(Window::all(now_ms));
    }
    let oldest_ms = Edge::Query.of(Level::Day, now_ms, days);
    if to_ms <= oldest_ms {
        return Err(WindowError::BeforeRetention { oldest_ms });
    }
    let latest_ms = now_ms.saturating_add(AHEAD_MAX_MS);
    if to_ms > latest_ms {
        return Err(WindowError::TooFarAhead { latest_ms });
    }
    Ok(Window::snapped(Span::new(from_ms, to_ms), now_ms, days))
}

/// The window from a moment until now, `to_ms` at the latest: a period of the calendar that may be under
/// way. It is compared with what began at `before_ms` and ended where it begins, the whole last period;
/// without one, with a window of its length.
///
/// The clock of who asks may be ahead of this one: of what has just begun, the first minute is shown.
///
/// # Errors
/// As [`between`].
pub fn since(
    from_ms: u64,
    to_ms: u64,
    before_ms: Option<u64>,
    now_ms: u64,
    days: &Days,
) -> Result<Window, WindowError> {
    let begun_ms = now_ms.max(from_ms.saturating_add(1));
    let window = between(from_ms, to_ms.min(begun_ms), now_ms, days)?;
    Ok(Window {
        before_ms,
        ..window
    })
}

/// The window just before, which ends where `window` begins: of the same requested length, or from
/// [`Window::before_ms`] on.
///
/// None for `all`, for an empty window, and where it would begin before the oldest day kept.
/// Every sliding timeframe has one, 400 days included: 800 days are kept.
pub fn previous(window: &Window, now_ms: u64, days: &Days) -> Option<Window> {
    let length_ms = window.requested.length_ms();
    if window.is_all() || length_ms == 0 {
        return None;
    }
    let to_ms = window.span.from_ms;
    let from_ms = match window.before_ms {
        Some(before_ms) => before_ms,
        None => to_ms.checked_sub(length_ms)?,
    };
    if from_ms >= to_ms || from_ms < Edge::Query.of(Level::Day, now_ms, days) {
        return None;
    }
    Some(Window {
        // The end is the boundary that `window` was snapped to.
        span: Span::new(Edge::Query.snap_down(from_ms, now_ms, days), to_ms),
        requested: Span::new(from_ms, to_ms),
        before_ms: None,
    })
}

/// Why a span cannot be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WindowError {
    #[error("from and to are the same time: to is exclusive and must be later")]
    Empty,
    #[error("from is after to: to must be the later one")]
    Reversed,
    #[error("the span ends before what is kept: to must be after {}, or use timeframe=all", rfc3339(*oldest_ms))]
    BeforeRetention { oldest_ms: u64 },
    #[error("the span ends too far ahead: to must not be after {}, 400 days from now", rfc3339(*latest_ms))]
    TooFarAhead { latest_ms: u64 },
}
