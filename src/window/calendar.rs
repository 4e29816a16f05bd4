//! The calendar of a time zone: days, weeks, months and years.
//!
//! A zone is data from the platform's `Intl` (`src/js/zones.js`): which offset from UTC its clocks show, from
//! which moment on. A *day* begins at the first moment at which the clocks show its date or a later one, and
//! ends where the next day begins. So days follow each other without gaps, whatever the clocks do: a day has
//! 23 or 25 hours where the clocks change, a day that was left out (30 December 2011 in Apia) is empty, and a
//! midnight that comes twice begins its day once.
//!
//! Weeks are those of ISO 8601: they begin on Monday, and the first week of a year has its first Thursday.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, Months, NaiveDate, Weekday};
use serde::{Deserialize, Serialize};

use super::{DAY_MS, END_OF_TIME_MS, Span};

/// Changes of a zone's clocks. Clocks change twice a year, at most four times: that is eight years, and no
/// question looks at more.
pub const MAX_CHANGES: usize = 32;
/// The largest offset from UTC.
const MAX_OFFSET_S: u32 = 24 * 60 * 60;
/// The longest name; those of the tz database have at most 32 bytes.
const MAX_ZONE_NAME_BYTES: usize = 64;
/// 1970-01-01 in `chrono`'s numbering of days.
const EPOCH_FROM_CE: i32 = 719_163;

/// From `at_ms` on, clocks show so many seconds more than UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClockChange {
    pub at_ms: u64,
    pub offset_s: i32,
}

/// A time zone: its offsets from UTC, for the years that are asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Zone {
    name: String,
    /// The offset before the first change.
    offset_s: i32,
    /// In order of time.
    changes: Vec<ClockChange>,
}

impl Zone {
    pub fn utc() -> Self {
        Zone {
            name: "UTC".into(),
            offset_s: 0,
            changes: Vec::new(),
        }
    }

    /// A zone whose clocks show `offset_s` more than UTC until the first of its `changes`. `None` for an invalid
    /// name, for changes out of order or more than [`MAX_CHANGES`], and for offsets of more than a day.
    pub fn new(name: &str, offset_s: i32, changes: Vec<ClockChange>) -> Option<Self> {
        let mut offsets = changes.iter().map(|change| change.offset_s);
        let is_one = is_zone_name(name)
            && changes.len() <= MAX_CHANGES
            && changes.is_sorted_by(|a, b| a.at_ms < b.at_ms)
            && offsets.all(|offset_s| offset_s.unsigned_abs() <= MAX_OFFSET_S)
            && offset_s.unsigned_abs() <= MAX_OFFSET_S;
        is_one.then(|| Zone {
            name: name.to_owned(),
            offset_s,
            changes,
        })
    }

    /// Reads what `src/js/zones.js` writes: the first offset in seconds, and then a line for each change, with
    /// its moment in milliseconds since 1970 and the offset from then on.
    pub fn read(name: &str, text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let offset_s = lines.next()?.parse().ok()?;
        let changes = lines.map(|line| {
            let (at_ms, offset_s) = line.split_once(' ')?;
            Some(ClockChange {
                at_ms: at_ms.parse().ok()?,
                offset_s: offset_s.parse().ok()?,
            })
        });
        Self::new(name, offset_s, changes.collect::<Option<_>>()?)
    }

    /// Whether [`Zone::new`] would accept it: a check of what was sent or stored.
    pub fn is_sound(&self) -> bool {
        Zone::new(&self.name, self.offset_s, self.changes.clone()).is_some()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The offsets in seconds, each with the moment from which on it holds, from 1970 on.
    pub fn offsets(&self) -> impl Iterator<Item = (u64, i32)> {
        let changes = self.changes.iter().map(|it| (it.at_ms, it.offset_s));
        std::iter::once((0, self.offset_s)).chain(changes)
    }

    /// The spans of time in which an offset holds, in order; the last one has no end.
    fn stretches(&self) -> impl Iterator<Item = (Span, i32)> {
        let ends = self.offsets().skip(1).map(|(at_ms, _)| at_ms);
        self.offsets()
            .zip(ends.chain(std::iter::once(u64::MAX)))
            .map(|((from_ms, offset_s), to_ms)| (Span::new(from_ms, to_ms), offset_s))
    }

    /// The number of the day, counted from 1970-01-01, to which a moment belongs.
    pub(super) fn day_of(&self, ms: u64) -> i32 {
        let ms = ms.min(END_OF_TIME_MS);
        let begun = self.stretches().filter(|(span, _)| span.from_ms <= ms);
        // A day that has begun goes on, even if the clocks are set back over midnight.
        let days = begun.map(|(span, offset_s)| {
            shown_ms(ms.min(span.to_ms.saturating_sub(1)), offset_s).div_euclid(DAY_MS as i64)
        });
        days.max().and_then(|day| day.try_into().ok()).unwrap_or(0)
    }

    /// When the day of this number begins.
    pub(super) fn day_begins_ms(&self, day: i32) -> u64 {
        let midnight_ms = i64::from(day) * DAY_MS as i64;
        let mut moments = self.stretches().filter_map(|(span, offset_s)| {
            let from_ms = midnight_ms - i64::from(offset_s) * 1_000;
            let from_ms = u64::try_from(from_ms).unwrap_or(0).max(span.from_ms);
            (from_ms < span.to_ms).then_some(from_ms)
        });
        moments.next().unwrap_or(u64::MAX)
    }

    /// When the first day begins that does not begin before `ms`.
    pub fn midnight_from(&self, ms: u64) -> u64 {
        let day = self.day_of(ms);
        let begins_ms = self.day_begins_ms(day);
        if begins_ms == ms {
            return ms;
        }
        // If that day is left out, it begins where the day after it does.
        self.day_begins_ms(day + 1)
    }

    /// Whether its clocks and those of another zone show the same in `span`.
    pub fn is_like(&self, other: &Self, span: Span) -> bool {
        let within = |zone: &Self| {
            let shown = zone.stretches().filter_map(|(stretch, offset_s)| {
                let from_ms = stretch.from_ms.max(span.from_ms);
                (from_ms < stretch.to_ms.min(span.to_ms)).then_some((from_ms, offset_s))
            });
            let mut shown: Vec<(u64, i32)> = shown.collect();
            shown.dedup_by_key(|(_, offset_s)| *offset_s);
            shown
        };
        within(self) == within(other)
    }
}

/// The local time, in milliseconds since local 1970.
fn shown_ms(ms: u64, offset_s: i32) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX - DAY_MS as i64) + i64::from(offset_s) * 1_000
}

/// Whether a text is well-formed as the name of a zone. Whether the zone exists, the platform knows. `+02:00`
/// is not well-formed: a zone is a place.
pub fn is_zone_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-/".contains(&byte);
    text.len() <= MAX_ZONE_NAME_BYTES
        && text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(is_plain)
}

/// A kind of calendar period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PeriodKind {
    Day,
    Week,
    Month,
    Year,
}

impl PeriodKind {
    pub const EVERY: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Year];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The kind of this [`name`](Self::name).
    pub fn of_name(name: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|kind| kind.name() == name)
    }

    /// The first day of the period that a date lies in.
    fn first_day(self, date: NaiveDate) -> NaiveDate {
        let first = match self {
            Self::Day => Some(date),
            Self::Week => {
                let since_monday = u64::from(date.weekday().num_days_from_monday());
                date.checked_sub_days(chrono::Days::new(since_monday))
            }
            Self::Month => date.with_day(1),
            Self::Year => NaiveDate::from_ymd_opt(date.year(), 1, 1),
        };
        first.unwrap_or(date)
    }
}

/// A period relative to now: the one under way, or the last complete one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CalendarFrame {
    pub kind: PeriodKind,
    pub is_last: bool,
}

/// The names by which readers ask for them.
const FRAMES: [(&str, PeriodKind, bool); 8] = [
    ("today", PeriodKind::Day, false),
    ("yesterday", PeriodKind::Day, true),
    ("this-week", PeriodKind::Week, false),
    ("last-week", PeriodKind::Week, true),
    ("this-month", PeriodKind::Month, false),
    ("last-month", PeriodKind::Month, true),
    ("this-year", PeriodKind::Year, false),
    ("last-year", PeriodKind::Year, true),
];

impl CalendarFrame {
    /// The frame of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, kind, is_last) = FRAMES.into_iter().find(|(known, ..)| *known == name)?;
        Some(Self { kind, is_last })
    }

    /// The period that it is at a moment, in a zone.
    pub fn period(self, now_ms: u64, zone: &Zone) -> Period {
        let running = Period::of(now_ms, self.kind, zone);
        if self.is_last {
            running.last_before(zone)
        } else {
            running
        }
    }
}

/// One day, week, month or year by its name, such as `2026-W47`. When it begins and ends depends on the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    kind: PeriodKind,
    first_day: NaiveDate,
}

impl Period {
    /// The period under way at a moment.
    pub fn of(ms: u64, kind: PeriodKind, zone: &Zone) -> Self {
        let date = NaiveDate::from_num_days_from_ce_opt(zone.day_of(ms) + EPOCH_FROM_CE);
        Self {
            kind,
            first_day: kind.first_day(date.unwrap_or(NaiveDate::MIN)),
        }
    }

    pub const fn kind(self) -> PeriodKind {
        self.kind
    }

    /// Its span of time in a zone: empty for a day that the zone left out, and cut off at 1970.
    pub fn span(self, zone: &Zone) -> Span {
        let begins_ms =
            |first: NaiveDate| zone.day_begins_ms(first.num_days_from_ce() - EPOCH_FROM_CE);
        Span::new(begins_ms(self.first_day), begins_ms(self.next().first_day))
    }

    /// The period before it in the calendar. A zone may have left that out: see [`Period::last_before`].
    pub fn previous(self) -> Self {
        let last_day = self.first_day.pred_opt().unwrap_or(self.first_day);
        Self {
            kind: self.kind,
            first_day: self.kind.first_day(last_day),
        }
    }

    /// The one after it in the calendar.
    pub fn next(self) -> Self {
        let first = self.first_day;
        let first_day = match self.kind {
            PeriodKind::Day => first.checked_add_days(chrono::Days::new(1)),
            PeriodKind::Week => first.checked_add_days(chrono::Days::new(7)),
            PeriodKind::Month => first.checked_add_months(Months::new(1)),
            PeriodKind::Year => first.checked_add_months(Months::new(12)),
        };
        Self {
            kind: self.kind,
            first_day: first_day.unwrap_or(first),
        }
    }

    /// The last period before it that the zone did not leave out; this one itself where there was none since
    /// 1970.
    pub fn last_before(self, zone: &Zone) -> Self {
        match self.span(zone).from_ms.checked_sub(1) {
            Some(ms) => Self::of(ms, self.kind, zone),
            None => self,
        }
    }
}

/// `2026-11-23`, `2026-W47`, `2026-11`, `2026`.
impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, week) = (self.first_day, self.first_day.iso_week());
        match self.kind {
            PeriodKind::Day => write!(
                formatter,
                "{:04}-{:02}-{:02}",
                first.year(),
                first.month(),
                first.day()
            ),
            PeriodKind::Week => write!(formatter, "{:04}-W{:02}", week.year(), week.week()),
            PeriodKind::Month => write!(formatter, "{:04}-{:02}", first.year(), first.month()),
            PeriodKind::Year => write!(formatter, "{:04}", first.year()),
        }
    }
}

/// Of the years 1970 to 9998.
impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse().ok().filter(|_: &u32| are_digits);
            number.ok_or(PeriodError::Malformed)
        };
        let year = |digits: &str| {
            let year = number(digits).ok().filter(|_| digits.len() == 4);
            let year = year.and_then(|year| i32::try_from(year).ok());
            year.ok_or(PeriodError::Malformed)
        };
        let two = |digits: &str| match digits.len() {
            2 => number(digits),
            _ => Err(PeriodError::Malformed),
        };
        let mut parts = text.split('-');
        let (first, second, third) = (parts.next(), parts.next(), parts.next());
        if parts.next().is_some() {
            return Err(PeriodError::Malformed);
        }
        let year = year(first.unwrap_or_default())?;
        let (kind, first_day) = match (second, third) {
            (None, _) => (PeriodKind::Year, NaiveDate::from_ymd_opt(year, 1, 1)),
            (Some(second), None) => match second.strip_prefix('W') {
                Some(week) => (
                    PeriodKind::Week,
                    NaiveDate::from_isoywd_opt(year, two(week)?, Weekday::Mon),
                ),
                None => (
                    PeriodKind::Month,
                    NaiveDate::from_ymd_opt(year, two(second)?, 1),
                ),
            },
            (Some(month), Some(day)) => (
                PeriodKind::Day,
                NaiveDate::from_ymd_opt(year, two(month)?, two(day)?),
            ),
        };
        let first_day = first_day.filter(|_| (1970..=9998).contains(&year));
        let first_day = first_day.ok_or(PeriodError::NoneSuch)?;
        Ok(Self { kind, first_day })
    }
}

/// Why a text names no period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    #[error(
        "not a period: write a day as 2026-11-23, a week as 2026-W47, a month as 2026-11, a year as 2026"
    )]
    Malformed,
    /// February 30, a week 54, the year 1000.
    #[error("the calendar has no such day, week, month or year")]
    NoneSuch,
}

/// The stored and sent form: the kind, and the [`day_number`](Period::day_number).
type Written = (PeriodKind, u32);
/// The Monday of the first week of 1970, as `chrono` counts days: no period begins before it.
const FIRST_FROM_CE: i32 = EPOCH_FROM_CE - 3;

impl Period {
    /// The number of its first day, counted from 1969-12-29.
    pub fn day_number(self) -> u32 {
        let day = self.first_day.num_days_from_ce() - FIRST_FROM_CE;
        day.try_into().unwrap_or(0)
    }

    /// The period of a kind with this [`day_number`](Self::day_number); `None` where no period begins on that
    /// day.
    pub fn of_day_number(kind: PeriodKind, day: u32) -> Option<Self> {
        let days = i32::try_from(day).ok()?.checked_add(FIRST_FROM_CE)?;
        let first_day = NaiveDate::from_num_days_from_ce_opt(days)?;
        let is_one = kind.first_day(first_day) == first_day && first_day.year() <= 9998;
        is_one.then_some(Self { kind, first_day })
    }
}

impl Serialize for Period {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.kind, self.day_number()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (kind, day) = Written::deserialize(deserializer)?;
        let period = Self::of_day_number(kind, day);
        period.ok_or_else(|| serde::de::Error::custom("no period begins there"))
    }
}
