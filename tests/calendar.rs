//! The calendar against clocks that are looked at minute by minute, and against what really happened.
//!
//! `PROPTEST_CASES=100000 cargo test --release --test native calendar` runs 100,000 cases.

use hitparade::window::*;
use proptest::prelude::*;

use crate::zones::{
    self, APIA_2011, CASABLANCA_2026, HAVANA_2013, KATHMANDU, LORD_HOWE_2013, NEW_YORK_2013,
    ST_JOHNS_2010,
};

/// Moments that are looked at one by one, from 1970 on.
const WATCHED_DAYS: u64 = 8;

/// Any zone, with changes in the days that are watched: by minutes, over midnight, over a whole day.
fn zone() -> impl Strategy<Value = Zone> {
    let offset_s = || {
        prop_oneof![
            (-56_i32..=56).prop_map(|quarter| quarter * 900),
            (-1_440_i32..=1_440).prop_map(|minute| minute * 60)
        ]
    };
    let changes = prop::collection::btree_map(1..WATCHED_DAYS * 1_440, offset_s(), 0..6);
    (offset_s(), changes).prop_map(|(offset_s, changes)| {
        let changes = changes.into_iter().map(|(minute, offset_s)| ClockChange {
            at_ms: minute * MINUTE_MS,
            offset_s,
        });
        Zone::new("Test/Zone", offset_s, changes.collect()).unwrap()
    })
}

fn text(ms: u64, kind: PeriodKind, zone: &Zone) -> String {
    Period::of(ms, kind, zone).to_string()
}

proptest! {
    /// The oracle knows nothing of midnights: it looks at the clock each minute, and remembers the
    /// latest date that it has shown.
    #[test]
    fn a_moment_is_of_the_latest_date_that_clocks_have_shown(offset_s in -86_400_i32..=86_400, changes in prop::collection::btree_map(1..WATCHED_DAYS * 1_440, -1_440_i32..=1_440, 0..6)) {
        let offset_s = offset_s / 60 * 60;
        let listed: Vec<ClockChange> = changes.iter().map(|(minute, offset)| ClockChange { at_ms: minute * MINUTE_MS, offset_s: offset * 60 }).collect();
        let zone = Zone::new("Test/Zone", offset_s, listed).unwrap();
        let (mut latest_day, mut shown_s) = (i64::MIN, i64::from(offset_s));
        for minute in 0..WATCHED_DAYS * 1_440 {
            if let Some(offset) = changes.get(&minute) {
                shown_s = i64::from(*offset) * 60;
            }
            let day = (minute as i64 * 60 + shown_s).div_euclid(86_400);
            let begins = day > latest_day;
            latest_day = latest_day.max(day);
            let ms = minute * MINUTE_MS;
            let period = Period::of(ms, PeriodKind::Day, &zone);
            let date = chrono::DateTime::from_timestamp(latest_day * 86_400, 0).unwrap();
            prop_assert_eq!(period.to_string(), date.format("%Y-%m-%d").to_string());
            let span = period.span(&zone);
            prop_assert!(span.contains_ms(ms), "{:?} of {}", span, ms);
            prop_assert!(!begins || span.from_ms == ms, "{:?} begins at {}", span, ms);
            let next_ms = zone.midnight_from(ms);
            prop_assert_eq!(next_ms, if begins { ms } else { span.to_ms });
        }
    }

    #[test]
    fn periods_of_a_kind_tile_time_and_are_made_of_days(zone in zone(), ms in 0..400 * DAY_MS) {
        for kind in PeriodKind::EVERY {
            let period = Period::of(ms, kind, &zone);
            let span = period.span(&zone);
            prop_assert!(span.contains_ms(ms));
            prop_assert_eq!(period.next().span(&zone).from_ms, span.to_ms);
            prop_assert_eq!(period.previous().span(&zone).to_ms, span.from_ms);
            prop_assert_eq!(period.next().previous(), period);
            for edge in [span.from_ms, span.to_ms - 1] {
                prop_assert_eq!(Period::of(edge, kind, &zone), period);
            }
            let first_day = Period::of(span.from_ms, PeriodKind::Day, &zone);
            prop_assert!(first_day.span(&zone).from_ms == span.from_ms, "it begins where a day does");
            let before = period.last_before(&zone);
            if span.from_ms > 0 {
                prop_assert_eq!(before.span(&zone).to_ms, span.from_ms);
                prop_assert!(!before.span(&zone).is_empty());
            }
        }
    }

    #[test]
    fn a_period_is_read_as_it_is_written(ms in 10 * DAY_MS..253_000_000_000_000) {
        for kind in PeriodKind::EVERY {
            let period = Period::of(ms, kind, &Zone::utc());
            prop_assert_eq!(period.to_string().parse::<Period>(), Ok(period));
            prop_assert_eq!(period.kind(), kind);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text: String, almost in "[0-9]{1,5}(-W?[0-9]{1,3}){0,3}") {
        for text in [text, almost] {
            if let Ok(period) = text.parse::<Period>() {
                prop_assert_eq!(period.to_string(), text);
            }
        }
    }

    #[test]
    fn zones_are_alike_where_their_clocks_show_the_same(zone in zone(), at_ms in 0..WATCHED_DAYS * DAY_MS, other_s in -1_440_i32..=1_440) {
        let whole = Span::new(0, WATCHED_DAYS * DAY_MS);
        prop_assert!(zone.is_like(&zone, whole));
        let shown: String = zones::written(&zone);
        let kept = shown.lines().enumerate().filter(|(line, text)| *line == 0 || text.split_once(' ').unwrap().0.parse::<u64>().unwrap() < at_ms);
        let cut: Vec<&str> = kept.map(|(_, line)| line).collect();
        let other = Zone::read("Other/Zone", &format!("{}\n{at_ms} {}", cut.join("\n"), other_s * 60)).unwrap();
        prop_assert!(zone.is_like(&other, Span::new(0, at_ms)));
    }
}

#[test]
fn days_have_23_and_25_hours_where_the_clocks_change() {
    let zone = zones::zone(NEW_YORK_2013);
    let hours = |day: &str| day.parse::<Period>().unwrap().span(&zone).length_ms() / HOUR_MS;
    assert_eq!(hours("2013-03-09"), 24);
    assert_eq!(hours("2013-03-10"), 23);
    assert_eq!(hours("2013-11-03"), 25);
    assert_eq!(hours("2013-W10"), 167);
    assert_eq!(hours("2013-W44"), 169);
    assert_eq!(hours("2013-03"), 743);
    assert_eq!(hours("2013"), 8_760);
    let from = "2013-03-10".parse::<Period>().unwrap().span(&zone).from_ms;
    assert_eq!(rfc3339(from), "2013-03-10T05:00:00Z");
}

#[test]
fn offsets_of_a_part_of_an_hour_are_what_they_are() {
    let kathmandu = zones::zone(KATHMANDU);
    let day = "2026-11-20".parse::<Period>().unwrap().span(&kathmandu);
    assert_eq!(rfc3339(day.from_ms), "2026-11-19T18:15:00Z");
    assert_eq!(day.length_ms(), DAY_MS);
    let lord_howe = zones::zone(LORD_HOWE_2013);
    let minutes =
        |day: &str| day.parse::<Period>().unwrap().span(&lord_howe).length_ms() / MINUTE_MS;
    assert_eq!(minutes("2013-04-07"), 24 * 60 + 30);
    assert_eq!(minutes("2013-10-06"), 24 * 60 - 30);
    let casablanca = zones::zone(CASABLANCA_2026);
    let hours = |day: &str| day.parse::<Period>().unwrap().span(&casablanca).length_ms() / HOUR_MS;
    assert_eq!((hours("2026-02-15"), hours("2026-03-22")), (25, 23));
}

#[test]
fn a_day_that_was_left_out_is_empty_and_nobodys_day_before() {
    let apia = zones::zone(APIA_2011);
    let day = |text: &str| text.parse::<Period>().unwrap();
    assert!(day("2011-12-30").span(&apia).is_empty());
    let after = day("2011-12-31");
    assert_eq!(after.previous(), day("2011-12-30"));
    assert_eq!(after.last_before(&apia), day("2011-12-29"));
    assert_eq!(day("2011-12-29").span(&apia).length_ms(), DAY_MS);
    assert_eq!(day("2011-W52").span(&apia).length_ms(), 6 * DAY_MS);
    assert_eq!(
        text(
            day("2011-12-30").span(&apia).from_ms,
            PeriodKind::Day,
            &apia
        ),
        "2011-12-31"
    );
}

#[test]
fn a_midnight_that_is_left_out_or_comes_twice_begins_its_day_once() {
    // Havana: 00:00 becomes 01:00 in spring, and 01:00 becomes 00:00 in autumn.
    let havana = zones::zone(HAVANA_2013);
    let hours = |day: &str| day.parse::<Period>().unwrap().span(&havana).length_ms() / HOUR_MS;
    assert_eq!((hours("2013-03-09"), hours("2013-03-10")), (24, 23));
    assert_eq!((hours("2013-11-02"), hours("2013-11-03")), (24, 25));
    // St. John's: 00:01 becomes 23:01 of the day before, which has ended.
    let st_johns = zones::zone(ST_JOHNS_2010);
    let hours = |day: &str| day.parse::<Period>().unwrap().span(&st_johns).length_ms() / HOUR_MS;
    assert_eq!((hours("2010-11-06"), hours("2010-11-07")), (24, 25));
}

#[test]
fn what_no_calendar_has_is_refused_by_what_is_wrong_with_it() {
    for text in [
        "2026-02-29",
        "2026-W54",
        "2025-W53",
        "2026-13",
        "2026-11-31",
        "2026-00",
        "2026-W00",
        "1969",
        "0000",
        "9999",
    ] {
        assert_eq!(text.parse::<Period>(), Err(PeriodError::NoneSuch), "{text}");
    }
    for text in [
        "",
        "26",
        "2026-",
        "2026-1",
        "2026-W1",
        "2026-w47",
        "2026-11-1",
        "2026-11-01-01",
        "+026",
        "2026-+1",
        " 2026",
        "today",
    ] {
        assert_eq!(
            text.parse::<Period>(),
            Err(PeriodError::Malformed),
            "{text}"
        );
    }
    assert!("2026-W53".parse::<Period>().is_ok());
}

#[test]
fn a_zone_is_refused_that_none_can_be() {
    for name in ["", "+02:00", "a b", "Europe/Z\u{fc}rich", &"x".repeat(65)] {
        assert!(!is_zone_name(name), "{name}");
        assert_eq!(Zone::new(name, 0, Vec::new()), None);
    }
    let change = |at_ms, offset_s| ClockChange { at_ms, offset_s };
    for changes in [
        vec![change(2, 0), change(1, 0)],
        vec![change(1, 0), change(1, 60)],
        vec![change(1, 86_401)],
    ] {
        assert_eq!(Zone::new("A", 0, changes), None);
    }
    let too_many = (0..=MAX_CHANGES as u64).map(|at_ms| change(at_ms, 0));
    assert_eq!(Zone::new("A", 0, too_many.collect()), None);
    assert_eq!(Zone::new("A", i32::MIN, Vec::new()), None);
    for text in ["", "x", "0\n1", "0\n1 x", "0\n-1 0", "0\n\n"] {
        assert_eq!(Zone::read("A", text), None, "{text:?}");
    }
}
