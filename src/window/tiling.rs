use super::{AHEAD_MAX_MS, CLOCK_MARGIN_MS, END_OF_TIME_MS, MINUTE_MS};
use super::{Days, Edge, Level, PaneKey, Span, floor_to_multiple};

/// The fewest panes that partition `span`, a snapped one, in order of time. The span of `all`
/// is the one pane of all time.
///
/// At most 33 panes for `24h` and 62 for `30d`; for the longest span, 800 days back and 400
/// ahead, at most 1,300. `now_ms` is the clock of whoever holds the panes: it may differ by
/// 15 minutes from the clock that the window was snapped with. A span that was not snapped,
/// or too long ago, is widened to what panes can tell, and clipped where no level reaches.
pub fn tiles(span: Span, now_ms: u64, days: &Days) -> Vec<PaneKey> {
    // From left to right, always the longest pane that starts here, ends within the span and is still kept. As
    // each pane lies in one of the next level, no other partition has fewer panes.
    if span == Span::ALL {
        return vec![PaneKey::ALL];
    }
    let span = clipped(span, now_ms, days);
    let edges = Level::FINITE.map(|level| (level, Edge::Tile.of(level, now_ms, days)));
    let mut panes = Vec::new();
    let mut start_ms = span.from_ms;
    let mut day = days.day(start_ms);
    while start_ms < span.to_ms {
        if day.to_ms <= start_ms {
            day = days.day(start_ms);
        }
        let fitting = edges.iter().rev().find_map(|(level, edge_ms)| {
            let pane = PaneKey::in_day(*level, start_ms, day);
            let fits =
                *edge_ms <= start_ms && pane.start_ms == start_ms && pane.end_ms <= span.to_ms;
            fits.then_some(pane)
        });
        // Both ends were snapped, so a pane fits. If none did, the rest would stay untiled.
        let Some(pane) = fitting else { break };
        panes.push(pane);
        start_ms = pane.end_ms;
    }
    panes
}

/// The steps of a time series: `span`, a snapped one, split at the multiples of one step length,
/// the shortest that makes at most `max_points` (at least 2; the first and last step may be
/// shorter). Each step is a span that [`tiles`] partitions.
///
/// Steps are 1, 5, 15 minutes, 1, 2, 6, 12 hours, 1 day, or a power of two of days; never shorter than the
/// panes that are still kept at the span's start. Where the clocks change, the last step of a day may be
/// shorter. `all` is one step.
pub fn steps(span: Span, now_ms: u64, max_points: usize, days: &Days) -> Vec<Span> {
    if span == Span::ALL {
        return vec![span];
    }
    let span = clipped(span, now_ms, days);
    let finest = Edge::Tile.finest_level(span.from_ms, now_ms, days);
    let is_kept = |step: &SeriesStep| match (finest, step) {
        (Level::All | Level::Day, SeriesStep::Hours(_)) => false,
        (finest, SeriesStep::Hours(length_ms)) => finest.length_ms() <= *length_ms,
        (_, SeriesStep::Days(_)) => true,
    };
    let split = |step: SeriesStep| split_series(span, step, max_points.max(2), days);
    let hours = STEPS_MINUTES.map(|minutes| SeriesStep::Hours(minutes * MINUTE_MS));
    let days = (0..=MAX_DAYS_POWER).map(SeriesStep::Days);
    let mut steps = hours.into_iter().chain(days).filter(is_kept);
    steps.find_map(split).unwrap_or_else(|| vec![span])
}

/// How a series is split: at multiples of a length within each day, or every 2^n days.
#[derive(Clone, Copy)]
enum SeriesStep {
    Hours(u64),
    Days(u32),
}

/// The steps below a day, in minutes, shortest first. Each is a multiple of the longest level that is not
/// longer than it.
const STEPS_MINUTES: [u64; 7] = [1, 5, 15, 60, 120, 360, 720];
/// 2^11 days are more than the longest span: 1,202 days.
const MAX_DAYS_POWER: u32 = 11;

/// The steps of a span, if they are no more than `max_points`.
fn split_series(span: Span, step: SeriesStep, max_points: usize, days: &Days) -> Option<Vec<Span>> {
    let mut steps: Vec<Span> = Vec::new();
    let mut begun = None;
    let mut from_ms = span.from_ms;
    while from_ms < span.to_ms {
        let day = days.day(from_ms);
        let to_ms = match step {
            SeriesStep::Hours(length_ms) => {
                let begun_ms = floor_to_multiple(from_ms - day.from_ms, length_ms);
                (day.from_ms + begun_ms + length_ms).min(day.to_ms)
            }
            SeriesStep::Days(_) => day.to_ms,
        };
        let next = Span::new(from_ms, to_ms.min(span.to_ms));
        from_ms = next.to_ms;
        if let SeriesStep::Days(power) = step {
            let number = Some(days.number(next.from_ms) >> power);
            if number == begun
                && let Some(last) = steps.last_mut()
            {
                last.to_ms = next.to_ms;
                continue;
            }
            begun = number;
        }
        if steps.len() >= max_points {
            return None;
        }
        steps.push(next);
    }
    Some(steps)
}

/// `span` widened to the panes that are kept at `now_ms`, clipped where no level reaches.
fn clipped(span: Span, now_ms: u64, days: &Days) -> Span {
    let ahead_ms = now_ms.min(END_OF_TIME_MS) + AHEAD_MAX_MS + CLOCK_MARGIN_MS;
    let latest_ms = days.day(ahead_ms).to_ms;
    Span::new(
        Edge::Tile.snap_down(span.from_ms, now_ms, days),
        Edge::Tile.snap_up(span.to_ms.min(latest_ms), now_ms, days),
    )
}
