//! What goes wrong, as lines of JSON: one object a line, for whoever collects them.

use serde_json::{Map, Value};
use worker::{console_error, console_log};

/// Writes an error: which part of the service met it, and what it was.
pub fn error(source: &str, message: &str) {
    let line = serde_json::json!({ "level": "error", "source": source, "message": message });
    console_error!("{line}");
}

/// Writes a line about a request.
pub fn request(is_error: bool, fields: Map<String, Value>) {
    let mut line = Map::new();
    let level = if is_error { "error" } else { "info" };
    line.insert("level".into(), level.into());
    line.insert("source".into(), "request".into());
    line.extend(fields);
    let line = Value::Object(line);
    if is_error {
        console_error!("{line}");
    } else {
        console_log!("{line}");
    }
}

/// `report!("shard", "push: {error}")`: [`error`] with a formatted message.
macro_rules! report {
    ($source:literal, $($message:tt)*) => {
        $crate::log::error($source, &format!($($message)*))
    };
}
pub(crate) use report;
