//! The days of the ladder: those of the installation's zone, whatever that was at the time.

use serde::{Deserialize, Serialize};

use super::{
    DAY_MS, END_OF_TIME_MS, HOUR_MS, Level, MAX_DAYS, PaneKey, Span, Zone, ceil_to_multiple,
    floor_to_multiple, recording_level,
};
use crate::mutants::{self, Mutant};

/// What any level's panes are made of. The clocks of every zone are whole quarters off UTC, today.
const QUARTER_MS: u64 = Level::Quarter.length_ms();
/// A change begins no earlier than this after it was made: nothing was folded yet of the time behind
/// it, 60 s of plays ahead of the clock and 15 minutes of clocks that differ included.
const SETTLED_AHEAD_MS: u64 = HOUR_MS;
/// What shards are told of it, so that a clock that goes back by 15 minutes breaks no promise.
const KNOWN_AHEAD_MS: u64 = HOUR_MS / 2;
/// How often the zone, or what is known of it, may change in the time that is kept. At 32 changes of the
/// clocks each of 9 bytes: 5 KB, where there usually are 13 changes in one zone: 120 bytes.
const MAX_ERAS: usize = 16;

/// Where days begin: at the midnights of a zone, and from a moment on at those of another. What was is
/// never changed, so panes that were folded stay what they are.
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
    /// Whether its days up to a moment, of those that are kept, begin where those of a zone do.
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

    /// Whether this is what changes make: for what was sent or stored.
    pub fn is_sound(&self) -> bool {
        let begins = |era: &Era| era.from_ms;
        self.eras.first().map(begins) == Some(0)
            && self.eras.len() <= MAX_ERAS
            && self.eras.is_sorted_by(|a, b| a.from_ms < b.from_ms)
            && (self.eras.iter())
                .all(|era| era.from_ms.is_multiple_of(QUARTER_MS) && era.zone.is_sound())
    }

    /// The zone whose days come next.
    pub fn zone(&self) -> Option<&Zone> {
        self.eras.last().map(|era| &era.zone)
    }

    /// The zone whose days those around a moment are.
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

    /// The number of the day that a moment lies in, as its zone counts days; days that follow each
    /// other have numbers that do, but where the zone changes.
    pub(super) fn number(&self, ms: u64) -> i32 {
        // A day begins with the quarter in which the clocks say so.
        let quarter_ends_ms =
            floor_to_multiple(ms.min(END_OF_TIME_MS), QUARTER_MS) + QUARTER_MS - 1;
        (self.era(ms)).map_or(0, |(era, _)| era.zone.day_of(quarter_ends_ms))
    }

    /// The day that a moment lies in: of 24 hours, or as many as the zone's clocks made of it.
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

    /// The pane of `level` that a moment lies in. Panes of two hours are counted from the begin of
    /// their day, and the last one of a day may be shorter: so each lies in one day, whatever a zone's
    /// clocks are off by.
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

    /// What these become where the setting, or what the platform knows of its zone, has changed; None
    /// where nothing has. Another zone counts from its next midnight that is an hour away, and so does
    /// another history of the same. What lies before is not touched. More than [`MAX_ERAS`] changes in
    /// the days that are kept have to wait.
    pub fn changed(&self, zone: &Zone, now_ms: u64) -> Option<Self> {
        let settled_ms = ceil_to_multiple(now_ms.saturating_add(SETTLED_AHEAD_MS), QUARTER_MS);
        let oldest_ms = now_ms.saturating_sub((u64::from(MAX_DAYS) + 3) * DAY_MS);
        let mut eras = self.eras.clone();
        // What is still to come may become another.
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

/// The days as a shard knows them: up to a moment it is so for ever, what comes then may change.
///
/// Days matter to a shard for late plays alone, of the day before yesterday and earlier, so it may be
/// without news for two days. A play of a later time is recorded by the quarter of an hour, which lies in
/// one day whatever the zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct KnownDays {
    pub days: Days,
    pub until_ms: u64,
}

impl KnownDays {
    /// The pane in which a shard records a play: of the finest level that is still kept for its
    /// time, `All` for what is older than the day level.
    ///
    /// That is 30 minutes of clock older than what a window asks for, so a shard whose clock is
    /// ahead never records coarser than a window will ask. See the module's three edges.
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
