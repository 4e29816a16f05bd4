use std::cell::Cell;

use super::{CLOCK_MARGIN_MS, DAY_MS, Days, END_OF_TIME_MS, HOUR_MS, MINUTE_MS};

/// The most days that panes are kept: twice the longest timeframe.
pub const MAX_DAYS: u32 = 800;

thread_local! {
    /// The setting `RETENTION_DAYS`, which does not change while an instance lives.
    static DAYS: Cell<u32> = const { Cell::new(MAX_DAYS) };
}

/// Keeps panes of all levels for at most so many days. Shards, global objects and Workers must be told the
/// same.
pub fn keep_days(days: u32) {
    DAYS.set(days.clamp(1, MAX_DAYS));
}

/// How many days are kept.
pub fn kept_days() -> u32 {
    DAYS.get()
}

/// One rung of the ladder: panes of one length, kept for one retention. Finest first.
///
/// A pane lies in exactly one pane of every coarser level. [`Days`] says where the panes of a day and of two
/// hours begin and end: a day is that of the zone, and panes of two hours are counted from its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// 1 minute, for 135 minutes: twice an hour, and one quarter to snap in.
    Minute = 0,
    /// 15 minutes, for 50 hours: twice a day, and one pane of 2 hours to snap in.
    Quarter = 1,
    /// 2 hours, for 15 days: twice a week, and one day to snap in.
    TwoHours = 2,
    /// A day of the installation's zone, for [`MAX_DAYS`].
    Day = 3,
    /// One pane of all time. It is folded with each play like the others, so nothing has to
    /// move when panes of the other levels expire.
    All = 4,
}

impl Level {
    pub const LADDER: [Self; 5] = [
        Self::Minute,
        Self::Quarter,
        Self::TwoHours,
        Self::Day,
        Self::All,
    ];

    /// The levels whose panes end, finest first.
    pub(super) const FINITE: [Self; 4] = [Self::Minute, Self::Quarter, Self::TwoHours, Self::Day];

    /// The usual length of a pane in milliseconds; `u64::MAX` for `All`.
    pub const fn length_ms(self) -> u64 {
        match self {
            Self::Minute => MINUTE_MS,
            Self::Quarter => 15 * MINUTE_MS,
            Self::TwoHours => 2 * HOUR_MS,
            Self::Day => DAY_MS,
            Self::All => u64::MAX,
        }
    }

    /// The longest possible pane: where a zone moves over the date line and has a date twice, a day has up to
    /// three days.
    pub(super) const fn longest_ms(self) -> u64 {
        match self {
            Self::Day => 3 * DAY_MS,
            level => level.length_ms(),
        }
    }

    /// How far back a window may ask for this level, unless [`keep_days`] set less; `u64::MAX` for `All`.
    const fn longest_retention_ms(self) -> u64 {
        match self {
            Self::Minute => 135 * MINUTE_MS,
            Self::Quarter => 50 * HOUR_MS,
            Self::TwoHours => 15 * DAY_MS,
            Self::Day => MAX_DAYS as u64 * DAY_MS,
            Self::All => u64::MAX,
        }
    }

    /// How far back a window may ask for this level; `u64::MAX` for `All`.
    pub fn retention_ms(self) -> u64 {
        match self {
            Self::All => u64::MAX,
            finite => finite
                .longest_retention_ms()
                .min(u64::from(DAYS.get()) * DAY_MS),
        }
    }

    /// The number that is stored and sent for this level; it never changes.
    pub const fn code(self) -> u8 {
        self as u8
    }

    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Minute),
            1 => Some(Self::Quarter),
            2 => Some(Self::TwoHours),
            3 => Some(Self::Day),
            4 => Some(Self::All),
            _ => None,
        }
    }

    /// The length of a pane as exports write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::Quarter => "15m",
            Self::TwoHours => "2h",
            Self::Day => "1d",
            Self::All => "all",
        }
    }

    /// The level of this [`name`](Self::name).
    pub fn of_name(name: &str) -> Option<Self> {
        Self::LADDER.into_iter().find(|level| level.name() == name)
    }

    /// What this level's edges are aligned to: the pane of the next coarser level. `All` has
    /// no boundaries, so a day's edges are aligned to days.
    const fn edge_level(self) -> Self {
        match self {
            Self::Minute => Self::Quarter,
            Self::Quarter => Self::TwoHours,
            Self::TwoHours | Self::Day => Self::Day,
            Self::All => Self::All,
        }
    }
}

/// The three edges of a level. Each is `now − retention − margins`, rounded down to a pane of
/// the next coarser level, and each is one margin further back than the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Edge {
    /// From here on, the ends of a window snap to this level.
    Query,
    /// From here on, a window is tiled with this level.
    Tile,
    /// From here on, plays are recorded and folded at this level, and its panes are kept.
    Keep,
}

impl Edge {
    /// The time from which on `level` is good for this edge's purpose at `now_ms`; 0 for `All`.
    pub(super) fn of(self, level: Level, now_ms: u64, days: &Days) -> u64 {
        let margins_ms = match self {
            Self::Query => 0,
            Self::Tile => CLOCK_MARGIN_MS,
            Self::Keep => 2 * CLOCK_MARGIN_MS,
        };
        let oldest_ms = now_ms
            .min(END_OF_TIME_MS)
            .saturating_sub(level.retention_ms())
            .saturating_sub(margins_ms);
        days.pane(level.edge_level(), oldest_ms).from_ms
    }

    /// The finest level that is good at `timestamp_ms`; `All` where no other is.
    pub(super) fn finest_level(self, timestamp_ms: u64, now_ms: u64, days: &Days) -> Level {
        Level::FINITE
            .into_iter()
            .find(|level| self.of(*level, now_ms, days) <= timestamp_ms)
            .unwrap_or(Level::All)
    }

    /// The last pane boundary at or before `timestamp_ms`; before the day level, its edge.
    pub(super) fn snap_down(self, timestamp_ms: u64, now_ms: u64, days: &Days) -> u64 {
        match self.finest_level(timestamp_ms, now_ms, days) {
            Level::All => self.of(Level::Day, now_ms, days),
            level => days.pane(level, timestamp_ms).from_ms,
        }
    }

    /// The first pane boundary at or after `timestamp_ms`; before the day level, its edge.
    /// It does not pass the edge of a finer level, as that edge is a boundary of this one.
    pub(super) fn snap_up(self, timestamp_ms: u64, now_ms: u64, days: &Days) -> u64 {
        match self.finest_level(timestamp_ms, now_ms, days) {
            Level::All => self.of(Level::Day, now_ms, days),
            level => match days.pane(level, timestamp_ms) {
                pane if pane.from_ms == timestamp_ms => timestamp_ms,
                pane => pane.to_ms,
            },
        }
    }
}

/// Panes of this level that end at or before the returned time may be dropped. 0 for `All`:
/// it never expires.
///
/// A pane that may be dropped is folded no more either, see [`fold_targets`](super::fold_targets).
pub fn expires_before_ms(level: Level, now_ms: u64, days: &Days) -> u64 {
    Edge::Keep.of(level, now_ms, days)
}
