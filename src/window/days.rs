//! The days of the ladder: those of the zone that the installation had at the time.

use serde::{Deserialize, Serialize};

use super::{
    DAY_MS, END_OF_TIME_MS, HOUR_MS, Level, MAX_DAYS, PaneKey, Span, Zone, ceil_to_multiple,
    floor_to_multiple, recording_level,
};
use crate::mutants::{self, Mutant};

/// All panes of a quarter or longer begin on a quarter of an hour: today every zone's offset from UTC is a
/// multiple of it.
const QUARTER_MS: u64 = Level::Quarter.length_ms();
/// A change of the zone takes effect no earlier than this after it was made. Nothing is folded yet so far
/// ahead: plays may be 60 s ahead of the clock, and clocks may differ by 15 minutes.
const SETTLED_AHEAD_MS: u64 = HOUR_MS;
/// How far ahead shards are told where days begin. It is less than [`SETTLED_AHEAD_MS`], so that a clock that
/// is set back by 15 minutes makes nothing of it wrong.
const KNOWN_AHEAD_MS: u64 = HOUR_MS / 2;
/// How often the zone, or its rules, may change within the days that are kept. With 32 changes of the clocks of
/// 9 bytes in each era, that is 5 KB; usually it is one era with 13 changes, 120 bytes.
const MAX_ERAS: usize = 16;

/// Where days begin: at the midnights of a zone, and from a certain moment on at those of another. The past
/// never changes, so folded panes keep their spans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days {
    /// In order of time. The first one begins at 0, each other one with a day.
    eras: Vec<Era>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Era {
    from_ms: u64,
    zone: Zone,
}

impl Era {
    /// Whether its days between two moments begin where those of another zone do.
    fn is_like(&self, zone: &Zone, oldest_ms: u64, to_ms: u64) -> bool {
        let seen = Span::new(self.from_ms.max(oldest_ms), to_ms);
        self.zone.is_like(zone, seen)
    }
}

impl Default for Days {
    fn default() -> Self {
        Self::of(Zone::utc())
    }
}

impl Days {
    pub fn of(zone: Zone) -> Self {
        Days {
            eras: vec![Era { from_ms: 0, zone }],
        }
    }

    /// Whether it is well-formed: a check of what was sent or stored.
    pub fn is_sound(&self) -> bool {
        let begins = |era: &Era| era.from_ms;
        self.eras.first().map(begins) == Some(0)
            && self.eras.len() <= MAX_ERAS
            && self.eras.is_sorted_by(|a, b| a.from_ms < b.from_ms)
            && (self.eras.iter())
                .all(|era| era.from_ms.is_multiple_of(QUARTER_MS) && era.zone.is_sound())
    }

    /// The zone of the day at a moment.
    pub fn zone_at(&self, ms: u64) -> Zone {
        self.era(ms)
            .map_or_else(Zone::utc, |(era, _)| era.zone.clone())
    }

    /// The era that a moment lies in, and where it ends.
    fn era(&self, ms: u64) -> Option<(&Era, u64)> {
        let behind = self.eras.partition_point(|era| era.from_ms <= ms);
        let era = self.eras.get(behind.checked_sub(1)?)?;
        Some((
            era,
            self.eras.get(behind).map_or(u64::MAX, |next| next.from_ms),
        ))
    }

    /// The number of the day that a moment lies in, counted in its zone. Consecutive days have consecutive
    /// numbers, except where the zone changes.
    pub(super) fn number(&self, ms: u64) -> i32 {
        // A day begins with the quarter of an hour in which its midnight lies.
        let quarter_ends_ms =
            floor_to_multiple(ms.min(END_OF_TIME_MS), QUARTER_MS) + QUARTER_MS - 1;
        (self.era(ms)).map_or(0, |(era, _)| era.zone.day_of(quarter_ends_ms))
    }

    /// The day that a moment lies in: 24 hours, or fewer or more where the zone's clocks change.
    pub fn day(&self, ms: u64) -> Span {
        let Some((era, era_ends_ms)) = self.era(ms).filter(|_| ms < END_OF_TIME_MS) else {
            let from_ms = floor_to_multiple(ms, DAY_MS);
            return Span::new(from_ms, from_ms.saturating_add(DAY_MS));
        };
        let day = self.number(ms);
        let begins_ms = |day| floor_to_multiple(era.zone.day_begins_ms(day), QUARTER_MS);
        Span::new(
            begins_ms(day).max(era.from_ms),
            begins_ms(day + 1).min(era_ends_ms).min(END_OF_TIME_MS),
        )
    }

    /// The pane of `level` that a moment lies in. Panes of two hours are counted from the beginning of their day,
    /// and the last one of a day may be shorter, so that each lies in one day, whatever the zone's offset.
    pub(super) fn pane(&self, level: Level, ms: u64) -> Span {
        let day = match level {
            Level::TwoHours | Level::Day => self.day(ms),
            Level::Minute | Level::Quarter | Level::All => Span::ALL,
        };
        Self::pane_in(level, ms, day)
    }

    /// As [`Days::pane`], of a moment whose day is known.
    pub(super) fn pane_in(level: Level, ms: u64, day: Span) -> Span {
        let length_ms = level.length_ms();
        match level {
            Level::Minute | Level::Quarter => {
                let from_ms = floor_to_multiple(ms, length_ms);
                Span::new(from_ms, from_ms.saturating_add(length_ms))
            }
            Level::TwoHours => {
                let begun_ms = floor_to_multiple(ms.saturating_sub(day.from_ms), length_ms);
                let from_ms = day.from_ms.saturating_add(begun_ms);
                Span::new(from_ms, from_ms.saturating_add(length_ms).min(day.to_ms))
            }
            Level::Day => day,
            Level::All => Span::ALL,
        }
    }

    /// The days after a change of the setting or of the zone's rules; `None` where nothing changed. The change
    /// takes effect at the first midnight that is at least an hour away; the time before is not touched. At
    /// more than [`MAX_ERAS`] changes within the days that are kept, it has to wait.
    pub fn changed(&self, zone: &Zone, now_ms: u64) -> Option<Self> {
        let settled_ms = ceil_to_multiple(now_ms.saturating_add(SETTLED_AHEAD_MS), QUARTER_MS);
        let oldest_ms = now_ms.saturating_sub((u64::from(MAX_DAYS) + 3) * DAY_MS);
        let mut eras = self.eras.clone();
        // Eras that have not begun yet may still be replaced.
        eras.retain(|era| era.from_ms == 0 || era.from_ms < settled_ms);
        let is_over = eras
            .partition_point(|era| era.from_ms <= oldest_ms)
            .saturating_sub(1);
        eras.drain(..is_over);
        if let Some(first) = eras.first_mut() {
            first.from_ms = 0;
        }
        let is_full = eras.len() >= MAX_ERAS;
        match eras.last_mut() {
            Some(era) if era.is_like(zone, oldest_ms, settled_ms) => era.zone.clone_from(zone),
            _ if is_full => return None,
            _ => {
                let from_ms = match mutants::active(Mutant::ZoneChangesAtOnce) {
                    true => floor_to_multiple(now_ms, QUARTER_MS),
                    false => floor_to_multiple(zone.midnight_from(settled_ms), QUARTER_MS),
                };
                let zone = zone.clone();
                eras.push(Era { from_ms, zone });
            }
        }
        let changed = Days { eras };
        (changed != *self).then_some(changed)
    }

    /// What shards are told.
    pub fn told(&self, now_ms: u64) -> KnownDays {
        KnownDays {
            days: self.clone(),
            until_ms: now_ms.saturating_add(KNOWN_AHEAD_MS),
        }
    }
}

/// The days as a shard knows them. They are final up to `until_ms`; later days may still change.
///
/// A shard needs them for late plays only, of the day before yesterday and earlier, so it may be without
/// news for two days. A play of a later day is recorded in a pane of 15 minutes, which lies in one day in any
/// zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct KnownDays {
    pub days: Days,
    pub until_ms: u64,
}

impl KnownDays {
    /// The pane in which a shard records a play: of the finest level that is still kept for its
    /// time, `All` for what is older than the day level.
    ///
    /// The levels reach 30 minutes further back than those that a window is tiled with, so that a shard whose
    /// clock is ahead never records coarser than a window needs. See the three edges in [`crate::window`].
    pub fn recording_pane(&self, timestamp_ms: u64, now_ms: u64) -> PaneKey {
        let level = recording_level(timestamp_ms, now_ms, &self.days);
        let pane = PaneKey::of(level, timestamp_ms, &self.days);
        let is_known = level == Level::All || pane.end_ms <= self.until_ms;
        if is_known || level <= Level::Quarter || mutants::active(Mutant::DaysTakenForKnown) {
            return pane;
        }
        PaneKey::of(Level::Quarter, timestamp_ms, &self.days)
    }
}
