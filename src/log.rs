//! What goes wrong and what was done, as lines of JSON: one object a line, for whoever collects them.

use serde_json::{Value, json};
use worker::{console_error, console_log};

/// Writes an error: which part of the service met it, and what it was.
pub fn error(source: &str, message: &str) {
    let error = json!({ "level": "error", "source": source, "message": message });
    line(true, &error);
}

/// Writes what was done that is no fault: a reset, an index that is built.
pub fn note(source: &str, message: &str) {
    let note = json!({ "level": "info", "source": source, "message": message });
    line(false, &note);
}

/// Writes a line.
pub fn line(is_error: bool, line: &Value) {
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
