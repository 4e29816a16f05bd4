use super::{AHEAD_MAX_MS, CLOCK_MARGIN_MS, DAY_MS, END_OF_TIME_MS, HOUR_MS, MINUTE_MS};
use super::{Edge, Level, PaneKey, Span, ceil_to_multiple, floor_to_multiple};

/// The fewest panes that partition `span`, a snapped one, in order of time. The span of `all`
/// is the one pane of all time.
///
/// At most 33 panes for `24h` and 62 for `30d`; for the longest span, 800 days back and 400
/// ahead, at most 1,300. `now_ms` is the clock of whoever holds the panes: it may differ by
/// 15 minutes from the clock that the window was snapped with. A span that was not snapped,
/// or too long ago, is widened to what panes can tell, and cut where no level reaches.
pub fn tiles(span: Span, now_ms: u64) -> Vec<PaneKey> {
    tiles_up_to(Level::Day, span, now_ms)
}

/// The panes of a time series: like [`tiles`], with the finest panes that are still kept for
/// the whole of `span` and make at most `max_points`.
///
/// The ends of the span may need finer panes than the rest. Where even day panes are more
/// than `max_points`, day panes they are. For steps of one length, see [`steps`].
pub fn series(span: Span, now_ms: u64, max_points: usize) -> Vec<PaneKey> {
    let finest = Edge::Tile.finest_level(span.from_ms, now_ms);
    for level in Level::FINITE {
        if level < finest {
            continue;
        }
        let panes = tiles_up_to(level, span, now_ms);
        if panes.len() <= max_points {
            return panes;
        }
    }
    tiles(span, now_ms)
}

/// The steps of a time series: `span`, a snapped one, cut at the multiples of one step length,
/// the shortest that makes at most `max_points` (at least 2; the first and last step may be
/// shorter). Each step is a span that [`tiles`] partitions.
///
/// Steps are 1, 5, 15 minutes, 1, 2, 6, 12 hours, 1 day, or a power of two of days; never
/// shorter than what is still kept at the span's start. `all` is one step.
pub fn steps(span: Span, now_ms: u64, max_points: usize) -> Vec<Span> {
    if span == Span::ALL {
        return vec![span];
    }
    let span = clipped(span, now_ms);
    let shortest_ms = match Edge::Tile.finest_level(span.from_ms, now_ms) {
        Level::All => DAY_MS,
        level => level.length_ms(),
    };
    let max_points = u64::try_from(max_points).unwrap_or(u64::MAX).max(2);
    let step_ms = step_lengths_ms()
        .filter(|step_ms| *step_ms >= shortest_ms)
        .find(|step_ms| count_steps(span, *step_ms) <= max_points)
        .unwrap_or(u64::MAX);
    let mut steps = Vec::new();
    let mut from_ms = span.from_ms;
    while from_ms < span.to_ms {
        let next_ms = floor_to_multiple(from_ms, step_ms).saturating_add(step_ms);
        let to_ms = next_ms.min(span.to_ms);
        steps.push(Span::new(from_ms, to_ms));
        from_ms = to_ms;
    }
    steps
}

/// Shortest first. Each is a multiple of the longest level that is not longer than it.
fn step_lengths_ms() -> impl Iterator<Item = u64> {
    let within_a_day = [
        MINUTE_MS,
        5 * MINUTE_MS,
        15 * MINUTE_MS,
        HOUR_MS,
        2 * HOUR_MS,
        6 * HOUR_MS,
        12 * HOUR_MS,
    ];
    // 2^11 days are more than the longest span: 1,202 days.
    within_a_day
        .into_iter()
        .chain((0..=11).map(|power| DAY_MS << power))
}

fn count_steps(span: Span, step_ms: u64) -> u64 {
    if span.is_empty() {
        return 0;
    }
    span.to_ms.div_ceil(step_ms) - span.from_ms / step_ms
}

/// `span` widened to the panes that are kept at `now_ms`, cut where no level reaches.
fn clipped(span: Span, now_ms: u64) -> Span {
    let latest_ms = ceil_to_multiple(
        now_ms
            .min(END_OF_TIME_MS)
            .saturating_add(AHEAD_MAX_MS + CLOCK_MARGIN_MS),
        DAY_MS,
    );
    Span::new(
        Edge::Tile.snap_down(span.from_ms, now_ms),
        Edge::Tile.snap_up(span.to_ms.min(latest_ms), now_ms),
    )
}

/// Going from left to right, always the longest pane that starts here, ends within the span,
/// is no coarser than `coarsest` and still kept. As each length divides the next, no other
/// partition has fewer panes.
fn tiles_up_to(coarsest: Level, span: Span, now_ms: u64) -> Vec<PaneKey> {
    if span == Span::ALL {
        return vec![PaneKey::ALL];
    }
    let span = clipped(span, now_ms);
    let edges = Level::FINITE.map(|level| (level, Edge::Tile.of(level, now_ms)));
    let mut panes = Vec::new();
    let mut start_ms = span.from_ms;
    while start_ms < span.to_ms {
        let fitting = edges.iter().rev().find(|(level, edge_ms)| {
            *level <= coarsest
                && *edge_ms <= start_ms
                && start_ms.is_multiple_of(level.length_ms())
                && start_ms.saturating_add(level.length_ms()) <= span.to_ms
        });
        // Both ends were snapped, so a pane fits; were there none, the rest stays untiled.
        let Some((level, _)) = fitting else { break };
        let pane = PaneKey::of(*level, start_ms);
        panes.push(pane);
        start_ms = pane.end_ms();
    }
    panes
}
