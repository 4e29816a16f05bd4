use super::{Edge, Level, Span, expires_before_ms, floor_to_multiple};

/// A pane's name: its level and where it starts, a multiple of the level's length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct PaneKey {
    pub level: Level,
    pub start_ms: u64,
}

impl PaneKey {
    /// The pane of all time.
    pub const ALL: Self = Self {
        level: Level::All,
        start_ms: 0,
    };

    /// The pane of `level` that `timestamp_ms` falls into.
    pub const fn of(level: Level, timestamp_ms: u64) -> Self {
        let start_ms = match level {
            Level::All => 0,
            _ => floor_to_multiple(timestamp_ms, level.length_ms()),
        };
        Self { level, start_ms }
    }

    /// The key with this start, if a pane of `level` starts there: for what is read from a
    /// message or a stored row.
    pub fn checked(level: Level, start_ms: u64) -> Option<Self> {
        let pane = Self::of(level, start_ms);
        (pane.start_ms == start_ms).then_some(pane)
    }

    /// The end, exclusive; `u64::MAX` for `All`.
    pub const fn end_ms(self) -> u64 {
        self.start_ms.saturating_add(self.level.length_ms())
    }

    pub const fn span(self) -> Span {
        Span::new(self.start_ms, self.end_ms())
    }

    /// The pane of a coarser level that this one lies in. Asked for a level that is not
    /// coarser, the pane itself.
    pub fn enclosing(self, coarser: Level) -> Self {
        if coarser <= self.level {
            return self;
        }
        Self::of(coarser, self.start_ms)
    }
}

/// The pane in which a shard records a play: of the finest level that is still kept for its
/// time, `All` for what is older than the day level.
///
/// That is 30 minutes of clock older than what a window asks for, so a shard whose clock is
/// ahead never records coarser than a window will ask. See the module's three edges.
pub fn recording_pane(timestamp_ms: u64, now_ms: u64) -> PaneKey {
    PaneKey::of(Edge::Keep.finest_level(timestamp_ms, now_ms), timestamp_ms)
}

/// The panes that a sealed pane is folded into: the one of its own level and of every coarser
/// level that has not expired, finest first, `All` always and last.
///
/// Never finer than `pane`: what was recorded by the day cannot be told apart by the hour.
pub fn fold_targets(pane: PaneKey, now_ms: u64) -> impl Iterator<Item = PaneKey> {
    Level::LADDER
        .into_iter()
        .filter(move |level| *level >= pane.level)
        .map(move |level| pane.enclosing(level))
        .filter(move |target| target.end_ms() > expires_before_ms(target.level, now_ms))
}
