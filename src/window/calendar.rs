//! The calendar of a zone: days, weeks, months and years as its people count them.
//!
//! A zone's rules are data, which the platform's `Intl` gives (`src/js/zones.js`): what its clocks
//! show from which moment on. A *day* begins with the first moment at which they show its date, or a
//! later one, and ends where the next one begins. So days follow each other without a gap whatever
//! the clocks do: one has 23 or 25 hours where they change, one that was left out (30 December 2011
//! in Apia) has none, and a midnight that comes twice begins its day once.
//!
//! Weeks are those of ISO 8601: they begin on Monday, and the first one of a year has its first
//! Thursday.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, Months, NaiveDate, Weekday};
use serde::{Deserialize, Serialize};

use super::{DAY_MS, END_OF_TIME_MS, Span};

/// Of one zone. The clocks of a place change twice a year, four times at most: eight years of those,
/// and more than are looked at.
pub const MAX_CHANGES: usize = 32;
/// No clock differs from UTC by more.
const MAX_OFFSET_S: u32 = 24 * 60 * 60;
/// A name of the tz database has 32 bytes at most.
const MAX_NAME_BYTES: usize = 64;
/// 1970-01-01, as `chrono` counts days.
const EPOCH_FROM_CE: i32 = 719_163;

/// From `at_ms` on, clocks show so many seconds more than UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    pub at_ms: u64,
    pub offset_s: i32,
}

/// What the clocks of a zone show, as far as anybody asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Zone {
    name: String,
    /// Before the first change.
    offset_s: i32,
    /// In order of time.
    changes: Vec<Change>,
}

impl Zone {
    pub fn utc() -> Self {
        Zone {
            name: "UTC".into(),
            offset_s: 0,
            changes: Vec::new(),
        }
    }

    /// A zone whose clocks show `offset_s` more than UTC until the first of its `changes`.
    /// None for what no zone says: a name that none can have, changes out of order, more than
    /// [`MAX_CHANGES`], clocks that are more than a day off.
    pub fn new(name: &str, offset_s: i32, changes: Vec<Change>) -> Option<Self> {
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

    /// A zone as `src/js/zones.js` writes it: the seconds by which its clocks are ahead of UTC at first,
    /// and on a line each, when they change, in milliseconds since 1970, and the seconds from then on.
    pub fn read(name: &str, text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let offset_s = lines.next()?.parse().ok()?;
        let changes = lines.map(|line| {
            let (at_ms, offset_s) = line.split_once(' ')?;
            Some(Change {
                at_ms: at_ms.parse().ok()?,
                offset_s: offset_s.parse().ok()?,
            })
        });
        Self::new(name, offset_s, changes.collect::<Option<_>>()?)
    }

    /// Whether this is what [`Zone::new`] makes: for what was sent or stored.
    pub fn is_sound(&self) -> bool {
        Zone::new(&self.name, self.offset_s, self.changes.clone()).is_some()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// From when on clocks show how many seconds more than UTC, in order of time, from 1970 on.
    pub fn offsets(&self) -> impl Iterator<Item = (u64, i32)> {
        let changes = self.changes.iter().map(|it| (it.at_ms, it.offset_s));
        std::iter::once((0, self.offset_s)).chain(changes)
    }

    /// From when until when which offset is shown, in order of time, the last one without an end.
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
        // Where clocks were set back over midnight, the day that had begun goes on.
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
        // A day that was left out begins where the next one does.
        self.day_begins_ms(day + 1)
    }

    /// Whether its clocks show in `span` what those of another show.
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

/// What clocks show, in milliseconds since they showed 1970.
fn shown_ms(ms: u64, offset_s: i32) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX - DAY_MS as i64) + i64::from(offset_s) * 1_000
}

/// Whether a text may be the name of a zone. Whether it is one, the platform knows. `+02:00` is none:
/// a zone is a place.
pub fn is_zone_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-/".contains(&byte);
    text.len() <= MAX_NAME_BYTES
        && text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(is_plain)
}

/// A length that the calendar knows.
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

/// A period that is named by now: the one that is under way, or the last complete one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CalendarFrame {
    pub kind: PeriodKind,
    pub is_last: bool,
}

/// Their names, as readers ask for them.
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

/// One day, week, month or year, wherever it is: its name, such as `2026-W47`. A zone says when that
/// is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    kind: PeriodKind,
    first_day: NaiveDate,
}

impl Period {
    /// The one that is under way at a moment.
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

    /// When it is. Empty for a day that a zone left out. Cut at 1970.
    pub fn span(self, zone: &Zone) -> Span {
        let begins_ms =
            |first: NaiveDate| zone.day_begins_ms(first.num_days_from_ce() - EPOCH_FROM_CE);
        Span::new(begins_ms(self.first_day), begins_ms(self.next().first_day))
    }

    /// The one before it in the calendar. A zone may have left it out: see [`Period::last_before`].
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

    /// The one that ended where this one begins in a zone: the one before it which the zone had. This
    /// one where there was none since 1970.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeriodError {
    Malformed,
    /// February 30, a week 54, the year 1000.
    NoneSuch,
}

impl fmt::Display for PeriodError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Malformed => {
                "not a period: write a day as 2026-11-23, a week as 2026-W47, a month as 2026-11, a year as 2026"
            }
            Self::NoneSuch => "the calendar has no such day, week, month or year",
        })
    }
}

impl std::error::Error for PeriodError {}

/// How a period is stored and sent: its kind, and its [`day_number`](Period::day_number).
type Written = (PeriodKind, u32);
/// The Monday of the first week of 1970, as `chrono` counts days: no period begins before it.
const FIRST_FROM_CE: i32 = EPOCH_FROM_CE - 3;

impl Period {
    /// The day that it begins with, counted from 1969-12-29.
    pub fn day_number(self) -> u32 {
        let day = self.first_day.num_days_from_ce() - FIRST_FROM_CE;
        day.try_into().unwrap_or(0)
    }

    /// The one of a kind that begins with this [`day_number`](Self::day_number); none where none does.
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
