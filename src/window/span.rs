use serde::{Deserialize, Serialize};

/// A half-open span of event time, `[from_ms, to_ms)`, in milliseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    pub from_ms: u64,
    pub to_ms: u64,
}

impl Span {
    /// All of time: the span of the one pane of [`Level::All`](super::Level::All).
    pub const ALL: Self = Self {
        from_ms: 0,
        to_ms: u64::MAX,
    };

    pub const fn new(from_ms: u64, to_ms: u64) -> Self {
        Self { from_ms, to_ms }
    }

    /// Whether `other` lies wholly inside. An empty `other` has no plays to lie anywhere: false.
    pub const fn contains(self, other: Self) -> bool {
        !other.is_empty() && self.from_ms <= other.from_ms && other.to_ms <= self.to_ms
    }

    /// For whoever checks what a span has.
    pub const fn contains_ms(self, timestamp_ms: u64) -> bool {
        self.from_ms <= timestamp_ms && timestamp_ms < self.to_ms
    }

    /// Zero where `to_ms` is not after `from_ms`.
    pub const fn length_ms(self) -> u64 {
        self.to_ms.saturating_sub(self.from_ms)
    }

    pub const fn is_empty(self) -> bool {
        self.length_ms() == 0
    }
}
