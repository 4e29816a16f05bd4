//! Where days begin: kept with what was folded by them, and changed as the setting does.

use serde::{Deserialize, Serialize};

use super::state::Global;
use crate::codec::record;
use crate::storage::{Storage, StorageError, Table, Write, two_copies};
use crate::window::{Days, HOUR_MS, KnownDays, Zone};

/// The two copies of the row.
const NAME: &[u8] = b"days/";
/// How often it is looked whether a zone's clocks are known to change otherwise than before: a runtime may
/// live longer than the year of which it was told.
const LOOK_EVERY_MS: u64 = HOUR_MS;

#[derive(Serialize, Deserialize)]
struct DaysRow(Days);

record!(DaysRow v 1);

/// The days as they are stored.
#[derive(Default)]
pub(super) struct KeptDays {
    pub days: Days,
    /// None are stored: there was no event yet.
    is_new: bool,
    /// Copies of the row that cannot be read.
    pub damaged_rows: u64,
    generation: u8,
    looked_ms: Option<u64>,
    /// How often they were written, and how many of these writes are durable. What was loaded may have
    /// been written a moment ago, by a state that was dropped.
    written: u64,
    durable: u64,
}

impl KeptDays {
    /// # Errors
    /// When the disk refuses.
    pub fn load(storage: &impl Storage) -> Result<Self, StorageError> {
        let stored = two_copies::load::<DaysRow>(storage, Table::Meta, NAME)?;
        Ok(KeptDays {
            is_new: stored.record.is_none(),
            days: stored.record.map_or_else(Days::default, |row| row.0),
            damaged_rows: stored.damaged,
            generation: stored.generation,
            looked_ms: None,
            written: 1,
            durable: 0,
        })
    }

    /// The writes that store these in place of them.
    pub fn writes(&self, days: &Days) -> Vec<Write> {
        let row = DaysRow(days.clone());
        two_copies::writes(Table::Meta, NAME, self.generation, &row).into()
    }

    /// These were stored.
    pub fn written(&mut self, days: Days) {
        self.is_new = false;
        self.days = days;
        self.written += 1;
    }

    /// To be taken before a sync and handed to [`KeptDays::synced`] after it.
    pub fn writes_so_far(&self) -> u64 {
        self.written
    }

    pub fn synced(&mut self, writes: u64) {
        self.durable = self.durable.max(writes);
    }

    pub fn are_durable(&self) -> bool {
        self.durable == self.written
    }

    /// What shards are told: nothing that a crash may take back.
    pub fn told(&self, now_ms: u64) -> Option<KnownDays> {
        let is_told = self.are_durable() && !self.is_new;
        is_told.then(|| self.days.told(now_ms))
    }

    /// These were stored, and come from elsewhere: the own zone counts from the next midnight.
    pub fn adopted(&mut self, days: Days) {
        self.written(days);
        self.looked_ms = None;
    }
}

impl Global {
    /// Lets days begin at the midnights of `zone`, what `TIME_ZONE` says now: of a board that has no days and
    /// no plays yet all days, else those from the next midnight on. Looks once after each start, and once an
    /// hour.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn follow_zone(
        &mut self,
        storage: &impl Storage,
        zone: impl FnOnce() -> Option<Zone>,
        now_ms: u64,
    ) -> Result<(), StorageError> {
        let looked_ms = self.kept_days.looked_ms;
        if looked_ms.is_some_and(|looked_ms| now_ms.abs_diff(looked_ms) < LOOK_EVERY_MS) {
            return Ok(());
        }
        self.kept_days.looked_ms = Some(now_ms);
        let Some(zone) = zone() else { return Ok(()) };
        let changed = self.kept_days.days.changed(&zone, now_ms);
        let changed = match self.kept_days.is_new {
            false => changed,
            // What was counted while the setting named no zone was counted by the days of UTC.
            true if self.kept_days.damaged_rows == 0 && !self.has_no_plays(storage)? => {
                changed.or_else(|| Some(self.kept_days.days.clone()))
            }
            true => Some(Days::of(zone)),
        };
        if let Some(days) = changed {
            storage.write(&self.kept_days.writes(&days))?;
            self.kept_days.written(days);
            self.stored_anew();
        }
        Ok(())
    }

    /// Where days begin.
    pub fn days(&self) -> &Days {
        &self.kept_days.days
    }
}
