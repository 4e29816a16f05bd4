use chrono::{DateTime, SecondsFormat};

use super::END_OF_TIME_MS;

/// Milliseconds since 1970 of an RFC 3339 time, of any offset; fractions of a millisecond are
/// dropped. `None` for any other text, and for times before 1970.
pub fn parse_rfc3339_ms(text: &str) -> Option<u64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(time.timestamp_millis()).ok()
}

/// As [`parse_rfc3339_ms`], for a time in a query, where an unescaped plus means a space: a space before the
/// offset is read as a plus.
pub fn parse_rfc3339_of_query_ms(text: &str) -> Option<u64> {
    parse_rfc3339_ms(text).or_else(|| {
        let (time, offset) = text.rsplit_once(' ')?;
        parse_rfc3339_ms(&format!("{time}+{offset}"))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_that_a_query_turned_into_a_space_is_understood() {
        let query = parse_rfc3339_of_query_ms;
        let sent = parse_rfc3339_ms("2026-11-25T00:00:00+01:00");
        assert!(sent.is_some());
        assert_eq!(query("2026-11-25T00:00:00 01:00"), sent);
        assert_eq!(query("2026-11-25T00:00:00+01:00"), sent);
        assert_eq!(
            query("2026-11-25T00:00:00.5 01:00"),
            sent.map(|ms| ms + 500)
        );
        assert_eq!(query("2026-11-24T23:00:00Z"), sent);
        for bad in [
            "",
            " ",
            "2026-11-25 01:00",
            "2026-11-25T00:00:00 01",
            "2026-11-25T00:00:00  01:00",
        ] {
            assert_eq!(query(bad), None, "{bad}");
        }
    }
}
