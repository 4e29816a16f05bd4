//! Values of JSON as senders write them.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::window::parse_rfc3339_ms;

/// A JSON string, borrowed where it has no escapes.
pub(super) fn read_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let Text(text) = serde_json::from_str(raw.get()).ok()?;
    Some(text)
}

/// Milliseconds since 1970 or RFC 3339.
pub(super) fn read_moment(raw: &RawValue) -> Option<u64> {
    if let Ok(ms) = serde_json::from_str::<u64>(raw.get()) {
        return Some(ms);
    }
    if let Ok(ms) = serde_json::from_str::<f64>(raw.get()) {
        // Some clocks give fractions of a millisecond. The cast saturates.
        return (ms >= 0.0).then_some(ms as u64);
    }
    parse_rfc3339_ms(&read_text(raw)?)
}
