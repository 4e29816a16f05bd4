use std::fmt;
use std::str::FromStr;

use super::{DAY_MS, HOUR_MS, MINUTE_MS};

/// What a reader asks for: `<n>m`, `<n>h`, `<n>d`, or `all`.
///
/// `60m` and `1h` are the same length, so they give the same window; each is displayed in the
/// unit that it was asked in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Timeframe {
    /// `ms` is a whole number of `unit`, from 1 minute to 400 days.
    Length {
        ms: u64,
        unit: Unit,
    },
    All,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Unit {
    Minutes,
    Hours,
    Days,
}

impl Unit {
    pub const fn length_ms(self) -> u64 {
        match self {
            Self::Minutes => MINUTE_MS,
            Self::Hours => HOUR_MS,
            Self::Days => DAY_MS,
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::Minutes => 'm',
            Self::Hours => 'h',
            Self::Days => 'd',
        }
    }
}

impl Timeframe {
    /// The longest length: 400 days, so that 800 days hold it and the window before it.
    pub const MAX_MS: u64 = 400 * DAY_MS;

    /// `count` units.
    ///
    /// # Errors
    /// When that is less than a minute or more than 400 days.
    pub const fn new(count: u64, unit: Unit) -> Result<Self, TimeframeError> {
        let ms = count.saturating_mul(unit.length_ms());
        if ms == 0 {
            return Err(TimeframeError::TooShort);
        }
        if ms > Self::MAX_MS {
            return Err(TimeframeError::TooLong);
        }
        Ok(Self::Length { ms, unit })
    }

    /// None for `all`.
    pub const fn length_ms(self) -> Option<u64> {
        match self {
            Self::Length { ms, .. } => Some(ms),
            Self::All => None,
        }
    }
}

/// `24h`, for readers who name none.
impl Default for Timeframe {
    fn default() -> Self {
        Self::Length {
            ms: 24 * HOUR_MS,
            unit: Unit::Hours,
        }
    }
}

impl fmt::Display for Timeframe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { ms, unit } => {
                write!(formatter, "{}{}", ms / unit.length_ms(), unit.letter())
            }
            Self::All => formatter.write_str("all"),
        }
    }
}

impl FromStr for Timeframe {
    type Err = TimeframeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self::All);
        }
        let (digits, unit) = [Unit::Minutes, Unit::Hours, Unit::Days]
            .into_iter()
            .find_map(|unit| Some((text.strip_suffix(unit.letter())?, unit)))
            .ok_or(TimeframeError::Malformed)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TimeframeError::Malformed);
        }
        // Only digits: what does not parse is too large.
        let count = digits.parse().map_err(|_| TimeframeError::TooLong)?;
        Self::new(count, unit)
    }
}

/// Why a text is no timeframe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TimeframeError {
    #[error("not a timeframe: {TIMEFRAMES}")]
    Malformed,
    #[error("the timeframe is shorter than a minute: {TIMEFRAMES}")]
    TooShort,
    #[error("the timeframe is longer than 400 days: {TIMEFRAMES}")]
    TooLong,
}

const TIMEFRAMES: &str = "use <n>m, <n>h or <n>d from 1m to 400d, all, or a period of the calendar, such as today, \
                          yesterday, this-week or last-month";

/// How a timeframe becomes a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum WindowKind {
    /// Ends now.
    #[default]
    Sliding,
    /// The last complete span of that length, aligned to UTC.
    Tumbling,
}
