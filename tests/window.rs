//! Windows by example: timeframes, calendars, edges, what snaps to what.

#![allow(clippy::unwrap_used)]

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
        assert!(detail.contains("from 1m to 400d, or all"), "{detail}");
    }
}

#[test]
fn the_same_length_in_another_unit_is_the_same_window() {
    for now_ms in [at(NOW), at("2026-11-23T12:00:00Z"), 0, u64::MAX] {
        for kind in [Kind::Sliding, Kind::Tumbling] {
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
        let pane = recording_pane(now_ms.saturating_sub(age_ms), now_ms);
        assert_eq!(pane.level, level, "{age_ms}");
        let folded: Vec<_> = fold_targets(pane, now_ms).map(|pane| pane.level).collect();
        assert_eq!(folded, Level::LADDER[usize::from(level.code())..]);
    }
    assert_eq!(
        recording_pane(now_ms + MINUTE_MS, now_ms).level,
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
