//! A published chart as it is stored: one row a scope, kind and period.

use serde::{Deserialize, Serialize};

use crate::codec::{self, record};
use crate::leaderboard::{ClosedChart, ClosedPlace, Run};
use crate::storage::{Storage, StorageError, Table, Write, key_after};
use crate::window::{Period, PeriodKind, Span};

/// Stored bytes that are read at once.
const SCAN_BYTES: usize = 256 << 10;

/// The form of a row. Ranks are positions; what is usual takes a byte.
#[derive(Serialize, Deserialize)]
struct ChartRow<'a> {
    time_zone: &'a str,
    span: Span,
    closed_ms: u64,
    total_views: u64,
    unlisted_max: u64,
    incomplete: bool,
    exact: bool,
    #[serde(borrow)]
    places: Vec<PlaceRow<'a>>,
}

#[derive(Serialize, Deserialize)]
struct PlaceRow<'a> {
    post_id: &'a str,
    view_count_min: u64,
    /// From there to `view_count_max`.
    spread: u64,
    /// 0 for none.
    previous_rank: u32,
    peak_rank: u32,
    periods: u32,
    streak: u32,
    /// From its debut to this period.
    days: u32,
}

record!(ChartRow<'_> as ClosedChart v 1);

/// The write that stores a chart of a scope.
pub fn write_of(scope: &str, chart: &ClosedChart) -> Write {
    let day = chart.period.day_number();
    let places = chart.places.iter().map(|place| PlaceRow {
        post_id: &place.post_id,
        view_count_min: place.view_count_min,
        spread: place.view_count_max.saturating_sub(place.view_count_min),
        previous_rank: place.previous_rank.unwrap_or(0),
        peak_rank: place.run.peak_rank,
        periods: place.run.periods,
        streak: place.run.streak,
        days: day.saturating_sub(place.run.debut.day_number()),
    });
    let row = ChartRow {
        time_zone: &chart.time_zone,
        span: chart.span,
        closed_ms: chart.closed_ms,
        total_views: chart.total_views,
        unlisted_max: chart.unlisted_max,
        incomplete: chart.incomplete,
        exact: chart.exact,
        places: places.collect(),
    };
    Write::put(
        Table::Charts,
        key_of(scope, chart.period),
        codec::encode(&row),
    )
}

/// The chart of a row; `None` where it cannot be read.
pub fn read(period: Period, value: &[u8]) -> Option<ClosedChart> {
    let row: ChartRow<'_> = codec::decode(value).ok()?;
    let places = (1..).zip(&row.places).map(|(rank, place)| {
        Some(ClosedPlace {
            post_id: place.post_id.to_owned(),
            view_count_min: place.view_count_min,
            view_count_max: place.view_count_min.checked_add(place.spread)?,
            previous_rank: (place.previous_rank > 0).then_some(place.previous_rank),
            run: run_of(period, rank, place)?,
        })
    });
    Some(ClosedChart {
        period,
        time_zone: row.time_zone.to_owned(),
        span: row.span,
        closed_ms: row.closed_ms,
        total_views: row.total_views,
        unlisted_max: row.unlisted_max,
        incomplete: row.incomplete,
        exact: row.exact,
        places: places.collect::<Option<Vec<ClosedPlace>>>()?,
    })
}

fn run_of(period: Period, rank: u32, place: &PlaceRow<'_>) -> Option<Run> {
    let debut = period.day_number().checked_sub(place.days)?;
    Some(Run {
        rank,
        peak_rank: place.peak_rank,
        periods: place.periods,
        streak: place.streak,
        debut: Period::of_day_number(period.kind(), debut)?,
    })
}

/// Hands each place of a row to `see`, without making a chart of it. `None` where it cannot be read.
pub fn visit<'a>(
    period: Period,
    value: &'a [u8],
    mut see: impl FnMut(&'a str, Run, u64),
) -> Option<()> {
    let row: ChartRow<'a> = codec::decode(value).ok()?;
    for (rank, place) in (1..).zip(&row.places) {
        let run = run_of(period, rank, place)?;
        see(place.post_id, run, place.view_count_min);
    }
    Some(())
}

/// The rows of a scope and kind lie together in order of time.
pub fn prefix_of(scope: &str, kind: PeriodKind) -> Vec<u8> {
    [scope.as_bytes(), &[0, kind as u8]].concat()
}

pub fn key_of(scope: &str, period: Period) -> Vec<u8> {
    let mut key = prefix_of(scope, period.kind());
    key.extend_from_slice(&period.day_number().to_be_bytes());
    key
}

/// The scope and the period of a key; `None` where it is none.
pub fn parts_of(key: &[u8]) -> Option<(&str, Period)> {
    let (rest, day) = key.split_last_chunk::<4>()?;
    let (scope, [0, kind]) = rest.split_last_chunk::<2>()? else {
        return None;
    };
    let mut kinds = PeriodKind::EVERY.into_iter();
    let kind = kinds.find(|known| *known as u8 == *kind)?;
    let period = Period::of_day_number(kind, u32::from_be_bytes(*day))?;
    Some((std::str::from_utf8(scope).ok()?, period))
}

/// The periods of which a scope has rows, in order of time.
///
/// # Errors
/// When the disk refuses.
pub fn periods(
    storage: &impl Storage,
    scope: &str,
    kind: PeriodKind,
) -> Result<Vec<Period>, StorageError> {
    let keys = storage.keys(Table::Charts, &prefix_of(scope, kind))?;
    let periods = keys.iter().filter_map(|key| Some(parts_of(key)?.1));
    Ok(periods.collect())
}

/// Hands the rows of a scope and kind to `see`, in order of time, a few at a time in memory, as long as
/// it says that it wants more.
///
/// # Errors
/// When the disk refuses.
pub fn scan(
    storage: &impl Storage,
    scope: &str,
    kind: PeriodKind,
    mut see: impl FnMut(Period, &[u8], &[u8]) -> bool,
) -> Result<(), StorageError> {
    let prefix = prefix_of(scope, kind);
    let mut from = prefix.clone();
    loop {
        let rows = storage.scan(Table::Charts, &prefix, &from, SCAN_BYTES)?;
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        from = key_after(last);
        for (key, value) in &rows {
            if let Some((_, period)) = parts_of(key)
                && !see(period, key, value)
            {
                return Ok(());
            }
        }
    }
}

/// The keys of all charts of a scope.
///
/// # Errors
/// When the disk refuses.
pub fn all_of(storage: &impl Storage, scope: &str) -> Result<Vec<Write>, StorageError> {
    let mut deletes = Vec::new();
    for kind in PeriodKind::EVERY {
        let keys = storage.keys(Table::Charts, &prefix_of(scope, kind))?;
        let keys = keys.into_iter();
        deletes.extend(keys.map(|key| Write::delete(Table::Charts, key)));
    }
    Ok(deletes)
}
