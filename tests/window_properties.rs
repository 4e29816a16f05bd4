//! What holds for every window, every clock and every input.

use std::collections::BTreeSet;

use crate::utc::{
    self, between, expires_before_ms, fold_targets, pane_of, previous, sliding, steps, tiles,
    tumbling, window,
};
use hitparade::window::*;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// The contract's words: how far an end of this age may be off, exclusive.
fn snap_ms(age_ms: u64) -> u64 {
    match age_ms {
        _ if age_ms <= 135 * MINUTE_MS => MINUTE_MS,
        _ if age_ms <= 50 * HOUR_MS => 15 * MINUTE_MS,
        _ if age_ms <= 15 * DAY_MS => 2 * HOUR_MS,
        _ => DAY_MS,
    }
}

fn timeframe() -> impl Strategy<Value = Timeframe> {
    prop_oneof![
        (1..=576_000u64).prop_map(|n| Timeframe::new(n, Unit::Minutes).unwrap()),
        (1..=300u64).prop_map(|n| Timeframe::new(n, Unit::Minutes).unwrap()),
        (1..=9_600u64).prop_map(|n| Timeframe::new(n, Unit::Hours).unwrap()),
        (1..=72u64).prop_map(|n| Timeframe::new(n, Unit::Hours).unwrap()),
        (1..=400u64).prop_map(|n| Timeframe::new(n, Unit::Days).unwrap()),
    ]
}

fn now_ms() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1_000 * DAY_MS..40_000 * DAY_MS,
        4 => (1_000 * 1_440..40_000 * 1_440u64).prop_map(|minute| minute * MINUTE_MS),
        1 => (1_000..40_000u64).prop_map(|day| day * DAY_MS),
    ]
}

/// Any number, mostly one where something begins or ends.
fn any_ms() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..3_000 * DAY_MS,
        (u64::MAX - DAY_MS)..=u64::MAX,
        20_000 * DAY_MS..20_100 * DAY_MS,
        Just(0),
        Just(u64::MAX),
        Just(253_402_300_800_000),
        Just(253_402_300_799_999),
    ]
}

fn assert_partition(panes: &[Span], span: Span) -> TestCaseResult {
    let mut next_ms = span.from_ms;
    for pane in panes {
        prop_assert_eq!(pane.from_ms, next_ms);
        prop_assert!(!pane.is_empty());
        next_ms = pane.to_ms;
    }
    prop_assert_eq!(next_ms, span.to_ms);
    Ok(())
}

fn spans(panes: &[PaneKey]) -> Vec<Span> {
    panes.iter().map(|pane| pane.span()).collect()
}

fn coarser(level: Level) -> Option<Level> {
    Level::from_code(level.code() + 1).filter(|level| *level != Level::All)
}

/// Tiles partition the span, are aligned and kept, and nowhere would a coarser pane do.
fn assert_tiled(span: Span, now_ms: u64) -> TestCaseResult {
    let panes = tiles(span, now_ms);
    assert_partition(&spans(&panes), span)?;
    for pane in panes {
        prop_assert_eq!(
            PaneKey::checked(pane.level, pane.start_ms, pane.end_ms),
            Some(pane)
        );
        prop_assert!(pane.end_ms > expires_before_ms(pane.level, now_ms));
        let fits =
            coarser(pane.level).map(|level| PaneKey::of(level, pane.start_ms, &Days::default()));
        prop_assert!(!fits.is_some_and(|coarser| span.contains(coarser.span())));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sliding_windows_snap_outward_by_less_than_the_contract_allows(
        timeframe in timeframe(), now_ms in now_ms(),
    ) {
        let window = sliding(timeframe, now_ms);
        let length_ms = timeframe.length_ms().unwrap();
        prop_assert_eq!(window.requested, Span::new(now_ms - length_ms, now_ms));
        prop_assert!(window.span.contains(window.requested));
        prop_assert!(window.requested.from_ms - window.span.from_ms < snap_ms(length_ms));
        prop_assert!(window.span.to_ms - now_ms < MINUTE_MS);
        assert_tiled(window.span, now_ms)?;
    }

    #[test]
    fn any_span_snaps_outward_by_less_than_the_contract_allows(
        now_ms in now_ms(),
        one_age_ms in 0..800 * DAY_MS, other_age_ms in prop_oneof![0..800 * DAY_MS, 0..3 * HOUR_MS],
        ahead_ms in prop_oneof![4 => Just(0), 1 => 0..400 * DAY_MS],
    ) {
        prop_assume!(one_age_ms != other_age_ms);
        let from_ms = now_ms - one_age_ms.max(other_age_ms);
        let to_ms = now_ms - one_age_ms.min(other_age_ms) + ahead_ms;
        prop_assume!(to_ms <= now_ms + AHEAD_MAX_MS);
        let window = between(from_ms, to_ms, now_ms).unwrap();
        prop_assert_eq!(window.requested, Span::new(from_ms, to_ms));
        prop_assert!(window.span.contains(window.requested));
        prop_assert!(from_ms - window.span.from_ms < snap_ms(now_ms.saturating_sub(from_ms)));
        prop_assert!(window.span.to_ms - to_ms < snap_ms(now_ms.saturating_sub(to_ms)));
        assert_tiled(window.span, now_ms)?;
    }

    #[test]
    fn a_snapped_window_stays_tileable_while_clocks_differ(
        timeframe in timeframe(), now_ms in now_ms(), tumble: bool,
        skew_ms in 0..=2 * CLOCK_MARGIN_MS,
    ) {
        let kind = if tumble { WindowKind::Tumbling } else { WindowKind::Sliding };
        let window = window(kind, timeframe, now_ms);
        let global_ms = now_ms + skew_ms - CLOCK_MARGIN_MS;
        assert_tiled(window.span, global_ms)?;
        if let Some(previous) = previous(&window, now_ms) {
            prop_assert_eq!(previous.span.to_ms, window.span.from_ms);
            prop_assert_eq!(previous.requested.length_ms(), window.requested.length_ms());
            prop_assert!(previous.span.contains(previous.requested));
            assert_tiled(previous.span, global_ms)?;
        }
    }

    #[test]
    fn every_sliding_timeframe_has_the_window_before_it(
        timeframe in timeframe(), now_ms in now_ms(),
    ) {
        prop_assert!(previous(&sliding(timeframe, now_ms), now_ms).is_some());
    }

    #[test]
    fn tumbling_windows_partition_time(timeframe in timeframe(), now_ms in now_ms()) {
        let length_ms = timeframe.length_ms().unwrap();
        let this = tumbling(timeframe, now_ms);
        prop_assert_eq!(this.requested.length_ms(), length_ms);
        // Complete, and the last one that is.
        prop_assert!(this.requested.to_ms <= now_ms);
        prop_assert!(now_ms - this.requested.to_ms < length_ms);
        // The next one begins where this one ends, and becomes the last when it is complete.
        let next_ms = this.requested.to_ms + length_ms;
        let next = tumbling(timeframe, next_ms);
        prop_assert_eq!(next.requested, Span::new(this.requested.to_ms, next_ms));
        prop_assert_eq!(tumbling(timeframe, next_ms - 1).requested, this.requested);
        assert_tiled(this.span, now_ms)?;
        // Lengths of whole panes need no snapping: their spans partition time as well.
        if length_ms.is_multiple_of(snap_ms(2 * length_ms)) {
            prop_assert_eq!(this.span, this.requested);
        }
        if length_ms.is_multiple_of(snap_ms(3 * length_ms))
            && let Some(previous) = previous(&this, now_ms)
        {
            prop_assert_eq!(previous.span, tumbling(timeframe, this.span.to_ms - 1).requested);
        }
    }

    #[test]
    fn steps_partition_the_window_within_their_number_of_points(
        timeframe in timeframe(), now_ms in now_ms(), max_points in 0..2_000usize,
    ) {
        let span = sliding(timeframe, now_ms).span;
        let steps = steps(span, now_ms, max_points);
        assert_partition(&steps, span)?;
        prop_assert!(steps.len() <= max_points.max(2));
        for step in &steps {
            assert_tiled(*step, now_ms)?;
        }
        // All but the first and last have one length.
        let lengths: BTreeSet<u64> = steps
            .iter()
            .skip(1)
            .rev()
            .skip(1)
            .map(|step| step.length_ms())
            .collect();
        prop_assert!(lengths.len() <= 1);
    }

    #[test]
    fn no_input_overflows_and_no_answer_is_long(
        a in any_ms(), b in any_ms(), now_ms in any_ms(), later_ms in any_ms(), code: u8,
        count: u64, max_points: usize,
    ) {
        let span = Span::new(a, b);
        prop_assert!(tiles(span, now_ms).len() <= 1_300);
        prop_assert!(steps(span, now_ms, max_points % 2_000).len() <= 2_000);
        let level = Level::from_code(code % 5).unwrap();
        let pane = pane_of(level, a);
        prop_assert!(pane.start_ms <= a);
        prop_assert!(fold_targets(pane, now_ms).len() <= 5);
        prop_assert_eq!(fold_targets(pane, now_ms).pop(), Some(PaneKey::ALL));
        for target in fold_targets(pane, now_ms) {
            prop_assert!(target.level >= level && target.span().from_ms <= pane.start_ms);
            prop_assert!(target.end_ms > expires_before_ms(target.level, now_ms));
        }
        prop_assert!(expires_before_ms(level, now_ms) <= now_ms);
        let recorded = utc::recording_pane(a, now_ms);
        prop_assert!(recorded.span().contains_ms(a) || recorded.end_ms == u64::MAX);
        for unit in [Unit::Minutes, Unit::Hours, Unit::Days] {
            for timeframe in [Timeframe::new(count, unit), Timeframe::new(count % 401, unit)] {
                let Ok(timeframe) = timeframe else { continue };
                prop_assert_eq!(timeframe.to_string().parse(), Ok(timeframe));
                for kind in [WindowKind::Sliding, WindowKind::Tumbling] {
                    let window = window(kind, timeframe, now_ms);
                    prop_assert!(tiles(window.span, now_ms).len() <= 1_300);
                    prop_assert!(window.named().from_ms <= window.named().to_ms);
                    let _ = previous(&window, later_ms);
                }
            }
        }
        if let Ok(window) = between(a, b, now_ms) {
            if window.is_all() {
                prop_assert_eq!(tiles(window.span, now_ms), [PaneKey::ALL]);
            } else {
                assert_tiled(window.span, now_ms)?;
            }
            let _ = previous(&window, later_ms);
        }
        let _ = rfc3339(a).len();
    }

    #[test]
    fn what_is_written_as_rfc_3339_is_read_back(ms in 0..253_402_300_800_000u64) {
        prop_assert_eq!(parse_rfc3339_ms(&rfc3339(ms)), Some(ms));
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,12}", digits in "[0-9]{0,25}[mhd]?") {
        for text in [text, digits] {
            let _ = parse_rfc3339_ms(&text);
            if let Ok(timeframe) = text.parse::<Timeframe>() {
                prop_assert_eq!(timeframe.to_string().parse(), Ok(timeframe));
            }
        }
    }
}

#[test]
fn a_day_needs_at_most_33_panes_and_a_month_62() {
    let day = Timeframe::new(24, Unit::Hours).unwrap();
    let month = Timeframe::new(30, Unit::Days).unwrap();
    let most = |timeframe| {
        (0..2 * 1_440)
            .map(|minute| 20_000 * DAY_MS + minute * MINUTE_MS)
            .flat_map(|now_ms| [now_ms, now_ms + 1])
            .map(|now_ms| tiles(sliding(timeframe, now_ms).span, now_ms).len())
            .max()
    };
    assert_eq!(most(day), Some(33));
    assert_eq!(most(month), Some(62));
}

#[test]
fn the_number_of_panes_kept_is_what_the_module_says() {
    let most = |level: Level, minutes: u64| {
        (0..minutes)
            .map(|minute| 20_000 * DAY_MS + minute * MINUTE_MS + 1)
            .map(|now_ms| {
                let kept_ms = now_ms - expires_before_ms(level, now_ms);
                kept_ms.div_ceil(level.length_ms())
            })
            .max()
    };
    assert_eq!(most(Level::Minute, 1_440), Some(180));
    assert_eq!(most(Level::Quarter, 1_440), Some(210));
    assert_eq!(most(Level::TwoHours, 1_440), Some(193));
    assert_eq!(most(Level::Day, 1_440), Some(802));
}
