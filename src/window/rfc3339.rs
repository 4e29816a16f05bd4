use chrono::{DateTime, SecondsFormat};

use super::END_OF_TIME_MS;

/// Milliseconds since 1970 of an RFC 3339 time, of any offset; fractions of a millisecond are
/// dropped. None for what is no such time, or lies before 1970.
pub fn parse_rfc3339_ms(text: &str) -> Option<u64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(time.timestamp_millis()).ok()
}

/// `2026-11-22T12:00:00Z`, with milliseconds only where they are not zero. RFC 3339 ends with
/// the year 9999: later times are given as its last millisecond.
pub fn rfc3339(ms: u64) -> String {
    let ms = ms.min(END_OF_TIME_MS - 1);
    let format = if ms.is_multiple_of(1000) {
        SecondsFormat::Secs
    } else {
        SecondsFormat::Millis
    };
    i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or_default()
        .to_rfc3339_opts(format, true)
}
