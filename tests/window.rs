//! Windows by example: timeframes, calendars, edges, what snaps to what.

use crate::utc::{
    self, between, expires_before_ms, fold_targets, previous, sliding, steps, tiles, tumbling,
    window,
};
use hitparade::window::*;

fn at(text: &str) -> u64 {
    parse_rfc3339_ms(text).unwrap()
}

fn frame(text: &str) -> Timeframe {
    text.parse().unwrap()
}

fn text(span: Span) -> String {
    format!("{} {}", rfc3339(span.from_ms), rfc3339(span.to_ms))
}

const NOW: &str = "2026-11-23T11:52:40.500Z";

#[test]
fn every_timeframe_from_1m_to_400d_is_read_and_given_back_as_it_was_asked() {
    for (asked, given, ms) in [
        ("1m", "1m", MINUTE_MS),
        ("60m", "60m", HOUR_MS),
        ("1h", "1h", HOUR_MS),
        ("24h", "24h", DAY_MS),
        ("007d", "7d", 7 * DAY_MS),
        ("400d", "400d", 400 * DAY_MS),
        ("9600h", "9600h", 400 * DAY_MS),
        ("576000m", "576000m", 400 * DAY_MS),
    ] {
        assert_eq!(frame(asked).to_string(), given);
        assert_eq!(frame(asked).length_ms(), Some(ms));
    }
    assert_eq!(frame("all"), Timeframe::All);
    assert_eq!(frame("all").to_string(), "all");
    assert_eq!(Timeframe::default(), frame("24h"));
}

#[test]
fn a_bad_timeframe_is_an_error_that_says_what_is_allowed() {
    use TimeframeError::{Malformed, TooLong, TooShort};
    for (asked, error) in [
        ("", Malformed),
        ("h", Malformed),
        ("24", Malformed),
        ("24H", Malformed),
        ("+1h", Malformed),
        ("-1h", Malformed),
        (" 1h", Malformed),
        ("1h ", Malformed),
        ("1.5h", Malformed),
        ("1w", Malformed),
        ("60s", Malformed),
        ("ALL", Malformed),
        ("١h", Malformed),
        ("0m", TooShort),
        ("000d", TooShort),
        ("401d", TooLong),
        ("9601h", TooLong),
        ("18446744073709551615d", TooLong),
        ("99999999999999999999999999m", TooLong),
    ] {
        assert_eq!(asked.parse::<Timeframe>(), Err(error), "{asked}");
        let detail = error.to_string();
        assert!(detail.contains("from 1m to 400d, all"), "{detail}");
    }
}

#[test]
fn the_same_length_in_another_unit_is_the_same_window() {
    for now_ms in [at(NOW), at("2026-11-23T12:00:00Z"), 0, u64::MAX] {
        for kind in [WindowKind::Sliding, WindowKind::Tumbling] {
            for (one, other) in [("60m", "1h"), ("24h", "1d"), ("168h", "7d")] {
                assert_eq!(
                    window(kind, frame(one), now_ms),
                    window(kind, frame(other), now_ms)
                );
            }
        }
    }
}

#[test]
fn sliding_windows_snap_outward_to_the_finest_level_kept() {
    for (asked, span) in [
        ("1m", "2026-11-23T11:51:00Z 2026-11-23T11:53:00Z"),
        ("1h", "2026-11-23T10:52:00Z 2026-11-23T11:53:00Z"),
        ("135m", "2026-11-23T09:37:00Z 2026-11-23T11:53:00Z"),
        ("3h", "2026-11-23T08:45:00Z 2026-11-23T11:53:00Z"),
        ("24h", "2026-11-22T11:45:00Z 2026-11-23T11:53:00Z"),
        ("50h", "2026-11-21T09:45:00Z 2026-11-23T11:53:00Z"),
        ("7d", "2026-11-16T10:00:00Z 2026-11-23T11:53:00Z"),
        ("15d", "2026-11-08T10:00:00Z 2026-11-23T11:53:00Z"),
        ("30d", "2026-10-24T00:00:00Z 2026-11-23T11:53:00Z"),
        ("400d", "2025-10-19T00:00:00Z 2026-11-23T11:53:00Z"),
    ] {
        assert_eq!(text(sliding(frame(asked), at(NOW)).span), span, "{asked}");
    }
}

#[test]
fn a_window_that_ends_on_a_boundary_is_not_widened() {
    let now_ms = at("2026-11-23T12:00:00Z");
    let day = sliding(frame("24h"), now_ms);
    assert_eq!(day.span, day.requested);
    assert_eq!(text(day.span), "2026-11-22T12:00:00Z 2026-11-23T12:00:00Z");
}

#[test]
fn all_is_the_one_pane_of_all_time_and_names_a_window_from_1970() {
    let now_ms = at(NOW);
    for all in [
        sliding(Timeframe::All, now_ms),
        tumbling(Timeframe::All, now_ms),
        between(0, now_ms, now_ms).unwrap(),
        between(0, at("9999-12-31T23:59:59Z"), now_ms).unwrap(),
    ] {
        assert_eq!(tiles(all.span, now_ms), [PaneKey::ALL]);
        assert_eq!(
            text(all.named()),
            "1970-01-01T00:00:00Z 2026-11-23T11:54:00Z"
        );
        assert_eq!(previous(&all, now_ms), None);
    }
}

#[test]
fn a_play_is_recorded_at_the_finest_level_kept_and_folded_there_and_in_every_coarser_one() {
    let now_ms = at(NOW);
    for (age_ms, level) in [
        (0, Level::Minute),
        (135 * MINUTE_MS, Level::Minute),
        (4 * HOUR_MS, Level::Quarter),
        (50 * HOUR_MS, Level::Quarter),
        (3 * DAY_MS, Level::TwoHours),
        (15 * DAY_MS, Level::TwoHours),
        (17 * DAY_MS, Level::Day),
        (800 * DAY_MS, Level::Day),
        (802 * DAY_MS, Level::All),
        (u64::MAX, Level::All),
    ] {
        let pane = utc::recording_pane(now_ms.saturating_sub(age_ms), now_ms);
        assert_eq!(pane.level, level, "{age_ms}");
        let folded: Vec<_> = fold_targets(pane, now_ms)
            .iter()
            .map(|pane| pane.level)
            .collect();
        assert_eq!(folded, Level::LADDER[usize::from(level.code())..]);
    }
    assert_eq!(
        utc::recording_pane(now_ms + MINUTE_MS, now_ms).level,
        Level::Minute
    );
}

#[test]
fn codes_of_levels_are_what_they_were() {
    for (code, level) in (0..).zip(Level::LADDER) {
        assert_eq!(level.code(), code);
        assert_eq!(Level::from_code(code), Some(level));
    }
    assert_eq!(Level::from_code(5), None);
    assert_eq!(Level::from_code(255), None);
}

#[test]
fn times_are_read_and_written_as_rfc_3339() {
    for (asked, given) in [
        ("2026-11-22T12:00:00Z", "2026-11-22T12:00:00Z"),
        ("2026-11-22T12:00:00.000Z", "2026-11-22T12:00:00Z"),
        ("2026-11-22T12:00:00.5Z", "2026-11-22T12:00:00.500Z"),
        ("2026-11-22T12:00:00.0019999Z", "2026-11-22T12:00:00.001Z"),
        ("2026-11-22T12:00:00+05:45", "2026-11-22T06:15:00Z"),
        ("2028-02-29T23:59:59-01:00", "2028-03-01T00:59:59Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
    ] {
        assert_eq!(rfc3339(at(asked)), given, "{asked}");
    }
    for refused in [
        "",
        "now",
        "2026-11-22",
        "2026-11-22T12:00:00",
        "2027-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "1969-12-31T23:59:59.999Z",
        "1763900000000",
    ] {
        assert_eq!(parse_rfc3339_ms(refused), None, "{refused}");
    }
    assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
}

fn asked(from: &str, to: &str) -> Result<Window, WindowError> {
    between(at(from), at(to), at(NOW))
}

#[test]
fn a_span_from_a_time_to_itself_or_backwards_is_an_error_that_says_so() {
    let same = asked("2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z");
    assert_eq!(same, Err(WindowError::Empty));
    let backwards = asked("2026-11-22T00:00:01Z", "2026-11-22T00:00:00Z");
    assert_eq!(backwards, Err(WindowError::Reversed));
    for error in [WindowError::Empty, WindowError::Reversed] {
        assert!(error.to_string().contains("later"), "{error}");
    }
    assert_eq!(between(0, 0, at(NOW)), Err(WindowError::Empty));
}

#[test]
fn a_span_of_a_millisecond_becomes_one_pane() {
    for (age, length_ms) in [
        (HOUR_MS, MINUTE_MS),
        (DAY_MS, 15 * MINUTE_MS),
        (7 * DAY_MS, 2 * HOUR_MS),
        (70 * DAY_MS, DAY_MS),
    ] {
        let from_ms = at(NOW) - age;
        let window = between(from_ms, from_ms + 1, at(NOW)).unwrap();
        assert_eq!(window.span.length_ms(), length_ms);
        assert_eq!(tiles(window.span, at(NOW)).len(), 1);
    }
}

#[test]
fn a_span_over_the_edge_of_what_is_kept_begins_there_and_says_so() {
    // 800 days before: the first day that is kept.
    let edge = "2024-09-14T00:00:00Z";
    let over = asked("2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z").unwrap();
    assert_eq!(text(over.span), format!("{edge} 2026-01-01T00:00:00Z"));
    assert_eq!(over.requested.from_ms, at("2020-01-01T00:00:00Z"));
    assert_eq!(previous(&over, at(NOW)), None);
    let just = asked("2024-09-13T23:59:59.999Z", "2024-09-14T00:00:00.001Z").unwrap();
    assert_eq!(text(just.span), format!("{edge} 2024-09-15T00:00:00Z"));
}

#[test]
fn a_span_before_what_is_kept_is_an_error_that_names_the_oldest_day() {
    for to in ["2024-09-14T00:00:00Z", "2021-01-01T00:00:00Z"] {
        let error = asked("2020-01-01T00:00:00Z", to).unwrap_err();
        let detail = error.to_string();
        assert!(detail.contains("2024-09-14T00:00:00Z"), "{detail}");
        assert!(detail.contains("timeframe=all"), "{detail}");
    }
    // From 1970, but not until now: not all of time.
    assert!(between(0, DAY_MS, at(NOW)).is_err());
    let cut = between(0, at("2026-01-01T00:00:00Z"), at(NOW)).unwrap();
    assert!(!cut.is_all());
}

#[test]
fn a_span_before_the_first_play_is_a_window_like_any_other() {
    let window = asked("2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z").unwrap();
    assert_eq!(window.span, window.requested);
    assert_eq!(tiles(window.span, at(NOW)).len(), 31);
    // A clock near 1970: nothing is older, nothing overflows.
    let early = sliding(frame("400d"), 90_000);
    assert_eq!(early.span, Span::new(0, 2 * MINUTE_MS));
    assert_eq!(previous(&early, 90_000), None);
    assert!(tumbling(frame("1d"), 90_000).span.is_empty());
    assert!(tumbling(frame("7d"), 90_000).span.is_empty());
}

#[test]
fn a_span_may_lie_ahead_by_at_most_400_days() {
    let today = asked("2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z").unwrap();
    assert_eq!(today.span, today.requested);
    assert_eq!(tiles(today.span, at(NOW)).len(), 1);
    let year = asked("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z").unwrap();
    assert_eq!(tiles(year.span, at(NOW)).len(), 365);
    let tomorrow = asked("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z").unwrap();
    assert_eq!(tomorrow.span, tomorrow.requested);
    let error = asked("2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z").unwrap_err();
    assert!(error.to_string().contains("400 days"), "{error}");
}

#[test]
fn months_and_leap_days_are_whole_days() {
    // Asked on a leap day, with 800 days behind it and 400 ahead.
    let now_ms = at("2028-02-29T13:37:11Z");
    for (from, to, days) in [
        ("2028-01-01T00:00:00Z", "2028-02-01T00:00:00Z", 31),
        ("2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z", 29),
        ("2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z", 28),
        ("2027-12-31T00:00:00Z", "2028-01-01T00:00:00Z", 1),
        ("2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z", 365),
        ("2028-01-01T00:00:00Z", "2029-01-01T00:00:00Z", 366),
    ] {
        let window = between(at(from), at(to), now_ms).unwrap();
        assert_eq!(window.span, window.requested);
        assert_eq!(text(window.span), format!("{from} {to}"));
        let panes = tiles(window.span, now_ms);
        assert_eq!(panes.len(), days, "{from}");
        assert!(panes.iter().all(|pane| pane.level == Level::Day));
    }
}

#[test]
fn a_day_of_another_time_zone_is_answered_to_the_pane() {
    let delhi = asked("2026-11-22T00:00:00+05:30", "2026-11-23T00:00:00+05:30").unwrap();
    assert_eq!(delhi.span, delhi.requested);
    // Two weeks ago, it is two hours that are kept.
    let delhi = asked("2026-11-12T00:00:00+05:30", "2026-11-13T00:00:00+05:30").unwrap();
    assert_eq!(
        text(delhi.span),
        "2026-11-11T18:00:00Z 2026-11-12T20:00:00Z"
    );
}

#[test]
fn tumbling_windows_are_the_last_complete_ones_in_utc_and_weeks_begin_on_monday() {
    for (now, asked, span) in [
        (NOW, "1m", "2026-11-23T11:51:00Z 2026-11-23T11:52:00Z"),
        (NOW, "15m", "2026-11-23T11:30:00Z 2026-11-23T11:45:00Z"),
        (NOW, "1h", "2026-11-23T10:00:00Z 2026-11-23T11:00:00Z"),
        (NOW, "24h", "2026-11-22T00:00:00Z 2026-11-23T00:00:00Z"),
        // A Monday: the week that has just ended.
        (NOW, "7d", "2026-11-16T00:00:00Z 2026-11-23T00:00:00Z"),
        (NOW, "168h", "2026-11-16T00:00:00Z 2026-11-23T00:00:00Z"),
        // Complete at the very moment of its end, not a millisecond before.
        (
            "2026-11-23T00:00:00Z",
            "7d",
            "2026-11-16T00:00:00Z 2026-11-23T00:00:00Z",
        ),
        (
            "2026-11-22T23:59:59.999Z",
            "7d",
            "2026-11-09T00:00:00Z 2026-11-16T00:00:00Z",
        ),
        // Over the year's end, and over a leap day.
        (
            "2027-01-01T00:00:00Z",
            "1d",
            "2026-12-31T00:00:00Z 2027-01-01T00:00:00Z",
        ),
        (
            "2028-03-01T00:00:00Z",
            "24h",
            "2028-02-29T00:00:00Z 2028-03-01T00:00:00Z",
        ),
        (
            "2028-03-06T09:00:00Z",
            "7d",
            "2028-02-28T00:00:00Z 2028-03-06T00:00:00Z",
        ),
    ] {
        let window = tumbling(frame(asked), at(now));
        assert_eq!(text(window.span), span, "{asked} at {now}");
        assert_eq!(window.span, window.requested);
    }
    for weeks in 1..=57 {
        let days = frame(&format!("{}d", 7 * weeks));
        let span = tumbling(days, at(NOW)).span;
        assert_eq!((span.to_ms / DAY_MS + 3) % 7, 0, "{days} ends on a Monday");
    }
}

#[test]
fn the_window_before_is_as_long_and_ends_where_this_one_begins() {
    for (asked, this, before) in [
        (
            "1h",
            "2026-11-23T10:52:00Z 2026-11-23T11:53:00Z",
            "2026-11-23T09:52:00Z 2026-11-23T10:52:00Z",
        ),
        (
            "24h",
            "2026-11-22T11:45:00Z 2026-11-23T11:53:00Z",
            "2026-11-21T11:45:00Z 2026-11-22T11:45:00Z",
        ),
        (
            "7d",
            "2026-11-16T10:00:00Z 2026-11-23T11:53:00Z",
            "2026-11-09T10:00:00Z 2026-11-16T10:00:00Z",
        ),
        (
            "400d",
            "2025-10-19T00:00:00Z 2026-11-23T11:53:00Z",
            "2024-09-14T00:00:00Z 2025-10-19T00:00:00Z",
        ),
    ] {
        let window = sliding(frame(asked), at(NOW));
        assert_eq!(text(window.span), this);
        let previous = previous(&window, at(NOW)).unwrap();
        assert_eq!(text(previous.span), before);
        assert_eq!(previous.span, previous.requested);
    }
    let last_400_days = tumbling(frame("400d"), at(NOW));
    assert_eq!(previous(&last_400_days, at(NOW)), None);
}

#[test]
fn a_play_from_the_near_future_joins_the_sliding_window_when_its_minute_begins() {
    let play_ms = at("2026-11-23T12:00:20Z");
    for (now, inside) in [
        ("2026-11-23T11:59:30Z", false),
        ("2026-11-23T12:00:00Z", false),
        ("2026-11-23T12:00:00.001Z", true),
    ] {
        let window = sliding(frame("1h"), at(now));
        assert_eq!(window.span.contains_ms(play_ms), inside, "{now}");
        let all = sliding(Timeframe::All, at(now));
        assert!(all.named().contains_ms(play_ms), "{now}");
    }
}

#[test]
fn the_edges_of_the_ladder_are_where_the_documentation_says() {
    for (level, kept_from) in [
        (Level::Minute, "2026-11-23T09:00:00Z"),
        (Level::Quarter, "2026-11-21T08:00:00Z"),
        (Level::TwoHours, "2026-11-08T00:00:00Z"),
        (Level::Day, "2024-09-14T00:00:00Z"),
        (Level::All, "1970-01-01T00:00:00Z"),
    ] {
        assert_eq!(rfc3339(expires_before_ms(level, at(NOW))), kept_from);
    }
}

#[test]
fn the_import_of_a_year_is_one_pane_a_day_before_the_last_two_weeks() {
    let now_ms = at(NOW);
    let mut panes: Vec<PaneKey> = (0..400 * 24 * 60)
        .map(|minute| utc::recording_pane(now_ms - minute * MINUTE_MS, now_ms))
        .collect();
    panes.sort_unstable();
    panes.dedup();
    let count = |level| panes.iter().filter(|pane| pane.level == level).count();
    assert_eq!(count(Level::Minute), 173);
    assert_eq!(count(Level::Quarter), 196);
    assert_eq!(count(Level::TwoHours), 160);
    assert_eq!(count(Level::Day), 385);
}

#[test]
fn a_kind_of_window_is_read_by_its_name() {
    assert_eq!("sliding".parse(), Ok(WindowKind::Sliding));
    assert_eq!("tumbling".parse(), Ok(WindowKind::Tumbling));
    for other in ["hopping", "Sliding", ""] {
        assert!(other.parse::<WindowKind>().is_err(), "{other}");
    }
    assert_eq!(WindowKind::default(), WindowKind::Sliding);
}

#[test]
fn steps_of_a_series_are_round() {
    for (asked, max_points, count, step_ms) in [
        ("1h", 100, 61, MINUTE_MS),
        ("24h", 100, 97, 15 * MINUTE_MS),
        ("24h", 50, 25, HOUR_MS),
        ("7d", 100, 85, 2 * HOUR_MS),
        ("30d", 100, 31, DAY_MS),
        ("400d", 100, 51, 8 * DAY_MS),
    ] {
        let steps = steps(sliding(frame(asked), at(NOW)).span, at(NOW), max_points);
        assert_eq!(steps.len(), count, "{asked}");
        assert_eq!(steps[1].length_ms(), step_ms, "{asked}");
    }
    let all = sliding(Timeframe::All, at(NOW));
    assert_eq!(steps(all.span, at(NOW), 100), [Span::ALL]);
}
