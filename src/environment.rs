//! The settings as the platform has them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use worker::Env;

use crate::log::report;
use crate::settings::read_retention_days;
use crate::window::{MAX_DAYS, keep_days};

/// A setting; `None` where it is absent or empty.
pub fn setting(env: &Env, name: &'static str) -> Option<String> {
    thread_local! {
        // Settings do not change while an instance lives.
        static READ: RefCell<BTreeMap<&'static str, Option<String>>> = RefCell::default();
    }
    let read = || {
        let value = js_sys::Reflect::get(env, &name.into()).ok()?.as_string()?;
        (!value.is_empty()).then_some(value)
    };
    READ.with(|known| known.borrow_mut().entry(name).or_insert_with(read).clone())
}

/// Lets this instance keep panes as long as `RETENTION_DAYS` says; what cannot be read is told by
/// `/healthz`.
pub fn keep_as_set(env: &Env) {
    thread_local! {
        static IS_SET: Cell<bool> = const { Cell::new(false) };
    }
    if !IS_SET.replace(true) {
        let days = read_retention_days(setting(env, "RETENTION_DAYS").as_deref());
        keep_days(days.unwrap_or(MAX_DAYS));
    }
}

/// Whether a setting says yes.
pub fn setting_is_true(env: &Env, name: &'static str) -> bool {
    setting(env, name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
}

/// What was read of a setting. What is wrong with it is reported, and `otherwise` is so.
pub fn or_report<T>(read: Result<T, String>, otherwise: impl FnOnce() -> T) -> T {
    read.unwrap_or_else(|error| {
        report!("worker", "{error}");
        otherwise()
    })
}
