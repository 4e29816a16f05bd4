use super::{Days, Edge, Level, Span, expires_before_ms};

/// A pane's name: its level, and its span.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct PaneKey {
    pub level: Level,
    pub start_ms: u64,
    /// Exclusive; `u64::MAX` for `All`.
    pub end_ms: u64,
}

impl PaneKey {
    /// The pane of all time.
    pub const ALL: Self = Self {
        level: Level::All,
        start_ms: 0,
        end_ms: u64::MAX,
    };

    /// The pane of `level` that `timestamp_ms` falls into.
    pub fn of(level: Level, timestamp_ms: u64, days: &Days) -> Self {
        Self::of_span(level, days.pane(level, timestamp_ms))
    }

    /// As [`PaneKey::of`], for a moment whose day is known.
    pub(super) fn in_day(level: Level, timestamp_ms: u64, day: Span) -> Self {
        Self::of_span(level, Days::pane_in(level, timestamp_ms, day))
    }

    const fn of_span(level: Level, span: Span) -> Self {
        Self {
            level,
            start_ms: span.from_ms,
            end_ms: span.to_ms,
        }
    }

    /// The key with this span, if a pane of `level` can have it in any zone: for keys that are read from a
    /// message or a stored row.
    pub fn checked(level: Level, start_ms: u64, end_ms: u64) -> Option<Self> {
        let pane = Self {
            level,
            start_ms,
            end_ms,
        };
        let length_ms = pane.span().length_ms();
        let is_one = match level {
            Level::All => pane == Self::ALL,
            Level::Minute | Level::Quarter => {
                length_ms == level.length_ms() && start_ms.is_multiple_of(length_ms)
            }
            Level::TwoHours | Level::Day => {
                let quarter_ms = Level::Quarter.length_ms();
                length_ms > 0
                    && length_ms <= level.longest_ms()
                    && start_ms.is_multiple_of(quarter_ms)
                    && end_ms.is_multiple_of(quarter_ms)
            }
        };
        is_one.then_some(pane)
    }

    pub const fn span(self) -> Span {
        Span::new(self.start_ms, self.end_ms)
    }
}

/// The finest level that is still kept for a play's time, by the recorder's clock.
pub(super) fn recording_level(timestamp_ms: u64, now_ms: u64, days: &Days) -> Level {
    Edge::Keep.finest_level(timestamp_ms, now_ms, days)
}

/// The panes that a sealed pane is folded into: the one of its own level and of every coarser
/// level that has not expired, finest first, `All` always and last.
///
/// Never finer than `pane`: what was recorded by the day cannot be divided into hours. A pane whose days are
/// not those of `days`, as after the import of a backup from another zone, is folded where it begins.
pub fn fold_targets(pane: PaneKey, now_ms: u64, days: &Days) -> impl Iterator<Item = PaneKey> {
    Level::LADDER
        .into_iter()
        .filter(move |level| *level >= pane.level)
        .map(move |level| PaneKey::of(level, pane.start_ms, days))
        .filter(move |target| target.end_ms > expires_before_ms(target.level, now_ms, days))
}
